/**
 * Prepares a batch for writing: finds each run's day, makes missing partitions, and widens the zone map. All of
 * it is committed before the runs are and harms nobody alone: an empty partition, a locator row without a run,
 * a zone or a day of a trace that promises too much.
 */
import type pg from 'pg';
import type { PartitionCatalog } from './partition-catalog.js';
import { dayOf, mayHavePartition, naturalDay, precedesTrace, STRAY_DAY } from './run-location.js';
import type { RunDraft } from './run-merge.js';
import { startOf } from './run-row.js';
import type { DraftToWrite } from './run-guard.js';
import { addTraceDays } from './trace-days.js';
import type { TraceDay } from './trace-days.js';

interface Zone {
  workspaceId: string;
  projectId: string;
  day: string;
  first: string;
  last: string;
}

const MAX_CACHED_ZONES = 50_000;

export class RunZones {
  readonly #pool: pg.Pool;
  readonly #partitions: PartitionCatalog;
  readonly #zones = new Map<string, Zone>();

  constructor(deps: { pool: pg.Pool; partitions: PartitionCatalog }) {
    this.#pool = deps.pool;
    this.#partitions = deps.partitions;
  }

  /** Forgets what was seen of the zone map; the next batch looks again. */
  forget(): void {
    this.#zones.clear();
  }

  /** Partitions for these days exist after all; sees them. */
  async relocate(days: readonly string[]): Promise<void> {
    await this.#partitions.ensure(days);
  }

  /** The drafts with their days, ready to write. `defaults` are the workspaces' default projects. */
  async locate(
    drafts: readonly RunDraft[],
    defaults: ReadonlyMap<string, string>,
    nowUs: number,
  ): Promise<DraftToWrite[]> {
    const days = await this.#days(drafts, nowUs);
    const located = drafts.map((draft, index) => {
      const day = days[index] ?? STRAY_DAY;
      const defaultProjectId = draft.projectId ?? defaults.get(draft.workspaceId) ?? '';
      return { draft, day, defaultProjectId };
    });
    await this.#widen(located, nowUs);
    await addTraceDays(this.#pool, located.flatMap(dayBeforeTrace));
    return located;
  }

  async #days(drafts: readonly RunDraft[], nowUs: number): Promise<string[]> {
    const days = drafts.map((draft) => this.#ownDay(draft.id, nowUs));
    const unknown = drafts.flatMap((draft, index) =>
      days[index] === undefined
        ? [{ index, workspaceId: draft.workspaceId, id: draft.id, day: preferredDay(draft, nowUs) }]
        : [],
    );
    const missing = new Set(
      [...days, ...unknown.map((entry) => entry.day)].filter(
        (day) => day !== undefined && !this.#partitions.has(day),
      ),
    );
    missing.delete(STRAY_DAY);
    if (missing.size > 0) {
      await this.#partitions.ensure([...missing].filter((day) => day !== undefined).sort());
    }
    if (unknown.length > 0) {
      const found = await this.#lookUp(unknown);
      for (const entry of unknown) days[entry.index] = found.get(entry.workspaceId + entry.id) ?? entry.day;
    }
    return days.map((day) => day ?? STRAY_DAY);
  }

  /** The day the id names, or the stray one; undefined when only the locator can tell. */
  #ownDay(id: string, nowUs: number): string | undefined {
    const day = naturalDay(id);
    if (day === undefined) return undefined;
    return this.#partitions.has(day) || mayHavePartition(day, nowUs / 1_000) ? day : STRAY_DAY;
  }

  /** Finds or makes the locator rows of runs whose id does not tell. The first writer's day holds. */
  async #lookUp(
    entries: readonly { workspaceId: string; id: string; day: string }[],
  ): Promise<Map<string, string>> {
    const sorted = [...entries].sort((a, b) => (a.workspaceId + a.id < b.workspaceId + b.id ? -1 : 1));
    const ids = [sorted.map((entry) => entry.workspaceId), sorted.map((entry) => entry.id)];
    const find = async (): Promise<Map<string, string>> => {
      const { rows } = await this.#pool.query<{ key: string; day: string }>(
        `/* locator.find */
         select l.workspace_id::text || l.run_id::text as key, l.day::text as day
         from unnest($1::uuid[], $2::uuid[]) as wanted (workspace_id, run_id)
         join run_locator l on l.workspace_id = wanted.workspace_id and l.run_id = wanted.run_id`,
        ids,
      );
      return new Map(rows.map((row) => [row.key, row.day]));
    };
    const found = await find();
    if (found.size === sorted.length) return found;
    await this.#pool.query(
      `/* locator.add */
       insert into run_locator (workspace_id, run_id, day)
       select * from unnest($1::uuid[], $2::uuid[], $3::date[])
       on conflict (workspace_id, run_id) do nothing`,
      [...ids, sorted.map((entry) => entry.day)],
    );
    return find();
  }

  async #widen(located: readonly DraftToWrite[], nowUs: number): Promise<void> {
    const wider = new Map<string, Zone>();
    let last: Zone | undefined;
    for (const { draft, day, defaultProjectId } of located) {
      const projectId = draft.projectId ?? defaultProjectId;
      const startOn = dayOf(startOf(draft, nowUs) / 1_000);
      // Neighbours mostly share their zone; asking the map for each would be the dearest part.
      if (last !== undefined && covers(last, draft.workspaceId, projectId, day, startOn)) continue;
      const key = `${draft.workspaceId}/${projectId}/${day}`;
      const known = wider.get(key) ?? this.#zones.get(key);
      if (known === undefined || known.first > startOn || startOn > known.last) {
        last = {
          workspaceId: draft.workspaceId,
          projectId,
          day,
          first: known !== undefined && known.first <= startOn ? known.first : startOn,
          last: known !== undefined && known.last >= startOn ? known.last : startOn,
        };
        wider.set(key, last);
      } else last = known;
    }
    if (wider.size === 0) return;
    const zones = [...wider.entries()].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, zone]) => zone);
    await this.#pool.query(
      `/* zones.widen */
       insert into run_days (workspace_id, project_id, day, first_start_on, last_start_on)
       select * from unnest($1::uuid[], $2::uuid[], $3::date[], $4::date[], $5::date[])
       on conflict (workspace_id, project_id, day) do update
       set first_start_on = least(run_days.first_start_on, excluded.first_start_on),
           last_start_on = greatest(run_days.last_start_on, excluded.last_start_on)`,
      [
        zones.map((zone) => zone.workspaceId),
        zones.map((zone) => zone.projectId),
        zones.map((zone) => zone.day),
        zones.map((zone) => zone.first),
        zones.map((zone) => zone.last),
      ],
    );
    if (this.#zones.size > MAX_CACHED_ZONES) this.forget();
    for (const [key, zone] of wider) this.#zones.set(key, zone);
  }
}

/** The day of a run that says its trace and lies before it. Of runs that follow their parents the tree knows. */
function dayBeforeTrace({ draft, day }: DraftToWrite): [TraceDay] | [] {
  const { workspaceId, id, traceId } = draft;
  if (traceId === undefined || traceId === id) return [];
  // A stray run moves to its own day should that get a partition.
  const lasting = day === STRAY_DAY ? (naturalDay(id) ?? day) : day;
  return precedesTrace(lasting, traceId) ? [{ workspaceId, traceId, day: lasting }] : [];
}

const covers = (zone: Zone, workspaceId: string, projectId: string, day: string, startOn: string): boolean =>
  zone.day === day &&
  zone.first <= startOn &&
  startOn <= zone.last &&
  zone.projectId === projectId &&
  zone.workspaceId === workspaceId;

/** Where a run whose id does not tell is put at first sight: the day it started, else today. */
function preferredDay(draft: RunDraft, nowUs: number): string {
  const started = dayOf(startOf(draft, nowUs) / 1_000);
  return mayHavePartition(started, nowUs / 1_000) ? started : dayOf(nowUs / 1_000);
}
