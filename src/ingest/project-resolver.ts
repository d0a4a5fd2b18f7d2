/**
 * Projects by name, made on first use, for the write path. Keeps what it found for a while; the writer checks
 * in its transaction that a project still exists and asks again when it does not.
 */
import type pg from 'pg';
import type { Clock } from '../platform/clock.js';
import type { Ids } from '../platform/ids.js';

export const DEFAULT_PROJECT = 'default';

const MAX_CACHED = 10_000;

export interface ProjectResolverDeps {
  readonly pool: pg.Pool;
  readonly ids: Ids;
  readonly clock: Clock;
}

export class ProjectResolver {
  readonly #deps: ProjectResolverDeps;
  readonly #byName = new Map<string, string>();

  constructor(deps: ProjectResolverDeps) {
    this.#deps = deps;
  }

  /** The id of the project of this name if it was asked for before; undefined otherwise. */
  cached(workspaceId: string, name: string): string | undefined {
    return this.#byName.get(`${workspaceId}/${name}`);
  }

  /**
   * Ids of the named projects, in order; missing ones are made. Committed when this resolves, which is before
   * the runs are: an empty project harms nobody.
   */
  async ensure(wanted: readonly { workspaceId: string; name: string }[]): Promise<string[]> {
    const missing = wanted.filter(({ workspaceId, name }) => this.cached(workspaceId, name) === undefined);
    if (missing.length > 0) await this.#findOrCreate(missing);
    return wanted.map(({ workspaceId, name }) => {
      const id = this.cached(workspaceId, name);
      if (id === undefined) throw new Error('a project vanished while it was being made');
      return id;
    });
  }

  /** Forgets everything; the next batch looks again. */
  forget(): void {
    this.#byName.clear();
  }

  async #findOrCreate(wanted: readonly { workspaceId: string; name: string }[]): Promise<void> {
    const now = this.#deps.clock.now().toISOString();
    const unique = [
      ...new Map(wanted.map((entry) => [`${entry.workspaceId}/${entry.name}`, entry])).values(),
    ];
    // Sorted, so that two writers making the same projects cannot wait for each other.
    unique.sort((a, b) => (a.workspaceId + a.name < b.workspaceId + b.name ? -1 : 1));
    const workspaceIds = unique.map((entry) => entry.workspaceId);
    const names = unique.map((entry) => entry.name);
    await this.#deps.pool.query(
      `/* projects.ensure */
       insert into projects (workspace_id, id, name, start_time, created_at, updated_at)
       select workspace_id, id, name, $4::timestamptz, $4::timestamptz, $4::timestamptz
       from unnest($1::uuid[], $2::uuid[], $3::text[]) as wanted (workspace_id, id, name)
       where not exists (
         select from projects p where p.workspace_id = wanted.workspace_id and p.name = wanted.name)
       on conflict (workspace_id, name) do nothing`,
      [workspaceIds, unique.map(() => this.#deps.ids.uuid()), names, now],
    );
    const { rows } = await this.#deps.pool.query<{ workspace_id: string; name: string; id: string }>(
      `/* projects.find_by_names */
       select p.workspace_id, p.name, p.id
       from unnest($1::uuid[], $2::text[]) as wanted (workspace_id, name)
       join projects p on p.workspace_id = wanted.workspace_id and p.name = wanted.name`,
      [workspaceIds, names],
    );
    if (this.#byName.size > MAX_CACHED) this.forget();
    for (const row of rows) this.#byName.set(`${row.workspace_id}/${row.name}`, row.id);
  }
}
