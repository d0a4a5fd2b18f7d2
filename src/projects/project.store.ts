/** The projects of a workspace: rows, pages, names. Statistics over their runs are in project-stats.store.ts. */
import type { Queryable } from '../platform/db.js';
import { keysetCondition, keysetOrder } from '../platform/keyset.js';
import type { Keyset, PageWindow, SortDirection } from '../platform/keyset.js';
import type { WorkspaceScope } from '../tenancy/principal.js';
import type { Project, ProjectDraft, ProjectFilter, ProjectPatch } from './project.js';

const COLUMNS = `p.id as uuid, p.name, p.description, p.extra, p.reference_dataset_id as "referenceDatasetId",
  p.start_time as "startTime", p.end_time as "endTime", p.created_at as "createdAt", p.updated_at as "updatedAt"`;

export type ProjectOrder = 'CREATED_AT' | 'NAME';

export interface DatasetExperiments {
  readonly count: number;
  readonly lastStartTime: string | null;
}

export interface ProjectListRequest {
  readonly filter: ProjectFilter;
  readonly order: ProjectOrder;
  readonly direction: SortDirection;
  readonly window: PageWindow;
}

const keysetOf = (order: ProjectOrder, direction: SortDirection): Keyset =>
  order === 'NAME'
    ? { value: 'p.name', type: 'text', id: 'p.id', direction, nullable: false }
    : { value: 'p.created_at', type: 'timestamptz', id: 'p.id', direction, nullable: false };

/** The where clause over `projects p`. */
export function projectConditions(scope: WorkspaceScope, filter: ProjectFilter, params: unknown[]): string {
  const bind = (value: unknown, type: string): string => `$${params.push(value)}::${type}`;
  const conditions = [`p.workspace_id = ${bind(scope.workspaceId, 'uuid')}`];
  if (filter.ids !== undefined) conditions.push(`p.id = any(${bind(filter.ids, 'uuid[]')})`);
  if (filter.name !== undefined) conditions.push(`p.name = ${bind(filter.name, 'text')}`);
  if (filter.nameContains !== undefined) {
    conditions.push(`strpos(lower(p.name), lower(${bind(filter.nameContains, 'text')})) > 0`);
  }
  if (filter.referenceDatasetIds !== undefined) {
    conditions.push(`p.reference_dataset_id = any(${bind(filter.referenceDatasetIds, 'uuid[]')})`);
  }
  if (filter.referenceFree !== undefined) {
    conditions.push(`p.reference_dataset_id is ${filter.referenceFree ? '' : 'not '}null`);
  }
  if (filter.metadata !== undefined) {
    conditions.push(`p.extra -> 'metadata' @> ${bind(JSON.stringify(filter.metadata), 'jsonb')}`);
  }
  return conditions.join(' and ');
}

export class ProjectStore {
  private readonly db: Queryable;

  constructor({ db }: { db: Queryable }) {
    this.db = db;
  }

  /** The same store inside a transaction. */
  within(tx: Queryable): ProjectStore {
    return new ProjectStore({ db: tx });
  }

  /** Up to `limit + 1` projects in reading order. Relies on projects_by_creation or the unique name. */
  async list(
    scope: WorkspaceScope,
    { filter, order, direction, window }: ProjectListRequest,
  ): Promise<Project[]> {
    const params: unknown[] = [];
    const keyset = keysetOf(order, direction);
    const { rows } = await this.db.query<Project & Record<string, unknown>>(
      `/* projects.list */
      select ${COLUMNS}
      from projects p
      where ${projectConditions(scope, filter, params)}
        and ${keysetCondition(keyset, window, params)}
      order by ${keysetOrder(keyset, window)}
      limit $${params.push(window.limit + 1)}`,
      params,
    );
    return rows;
  }

  /** How many match, looking at no more than `limit + 1`. */
  async count(scope: WorkspaceScope, filter: ProjectFilter, limit: number): Promise<number> {
    const params: unknown[] = [];
    const { rows } = await this.db.query<{ found: number }>(
      `/* projects.count */
      select count(*) as found
      from (select from projects p where ${projectConditions(scope, filter, params)} limit $${params.push(limit + 1)}) matching`,
      params,
    );
    return rows[0]?.found ?? 0;
  }

  /** By dataset: how many experiments it has, and when the last one started. */
  async experimentsOf(
    scope: WorkspaceScope,
    datasetIds: readonly string[],
  ): Promise<Map<string, DatasetExperiments>> {
    const { rows } = await this.db.query<DatasetExperiments & { datasetId: string }>(
      `/* projects.experiments_of */
      select reference_dataset_id as "datasetId", count(*)::int as count, max(start_time) as "lastStartTime"
      from projects
      where workspace_id = $1 and reference_dataset_id = any($2::uuid[])
      group by reference_dataset_id
      limit $3`,
      [scope.workspaceId, datasetIds, datasetIds.length],
    );
    return new Map(rows.map(({ datasetId, ...found }) => [datasetId, found]));
  }

  async findByIds(scope: WorkspaceScope, ids: readonly string[]): Promise<Project[]> {
    const { rows } = await this.db.query<Project & Record<string, unknown>>(
      `/* projects.find_by_ids */
      select ${COLUMNS}
      from projects p
      where p.workspace_id = $1 and p.id = any($2::uuid[])
      limit $3`,
      [scope.workspaceId, ids, ids.length],
    );
    return rows;
  }

  async findByNames(scope: WorkspaceScope, names: readonly string[]): Promise<Project[]> {
    const { rows } = await this.db.query<Project & Record<string, unknown>>(
      `/* projects.find_named */
      select ${COLUMNS}
      from projects p
      where p.workspace_id = $1 and p.name = any($2::text[])
      limit $3`,
      [scope.workspaceId, names, names.length],
    );
    return rows;
  }

  /** Undefined when the name or the id is taken. */
  async insert(
    scope: WorkspaceScope,
    draft: ProjectDraft & { readonly id: string },
    now: Date,
  ): Promise<Project | undefined> {
    const { rows } = await this.db.query<Project & Record<string, unknown>>(
      `/* projects.insert */
      insert into projects as p
        (workspace_id, id, name, description, extra, reference_dataset_id, start_time, created_at, updated_at)
      values ($1, $2, $3, $4, $5, $6, $7, $8, $8)
      on conflict do nothing
      returning ${COLUMNS}`,
      [
        scope.workspaceId,
        draft.id,
        draft.name,
        draft.description ?? null,
        JSON.stringify(draft.extra ?? {}),
        draft.referenceDatasetId ?? null,
        draft.startTime ?? now.toISOString(),
        now.toISOString(),
      ],
    );
    return rows[0];
  }

  /** Makes an empty project of this name unless there is one. A read when there is. */
  async ensure(scope: WorkspaceScope, id: string, name: string, now: Date): Promise<void> {
    await this.db.query(
      `/* projects.ensure_one */
      insert into projects (workspace_id, id, name, start_time, created_at, updated_at)
      select $1, $2, $3, $4, $4, $4
      where not exists (select from projects where workspace_id = $1 and name = $3)
      on conflict do nothing`,
      [scope.workspaceId, id, name, now.toISOString()],
    );
  }

  /** Undefined when there is no such project. Fails with unique_violation when the new name is taken. */
  async update(
    scope: WorkspaceScope,
    id: string,
    patch: ProjectPatch & Pick<ProjectDraft, 'referenceDatasetId'>,
    now: Date,
  ): Promise<Project | undefined> {
    const params: unknown[] = [scope.workspaceId, id, now.toISOString()];
    const changes = ['updated_at = $3'];
    const set = (column: string, value: unknown): void => {
      if (value !== undefined) changes.push(`${column} = $${params.push(value)}`);
    };
    set('name', patch.name);
    set('description', patch.description);
    set('extra', patch.extra === undefined ? undefined : JSON.stringify(patch.extra));
    set('reference_dataset_id', patch.referenceDatasetId);
    set('end_time', patch.endTime);
    const { rows } = await this.db.query<Project & Record<string, unknown>>(
      `/* projects.update */
      update projects p
      set ${changes.join(', ')}
      where p.workspace_id = $1 and p.id = $2
      returning ${COLUMNS}`,
      params,
    );
    return rows[0];
  }
}

/** Removes the row; its runs are left to a job. Whether there was one. */
export async function deleteProjectRow(tx: Queryable, scope: WorkspaceScope, id: string): Promise<boolean> {
  const { rowCount } = await tx.query(
    '/* projects.delete */ delete from projects where workspace_id = $1 and id = $2',
    [scope.workspaceId, id],
  );
  return rowCount === 1;
}
