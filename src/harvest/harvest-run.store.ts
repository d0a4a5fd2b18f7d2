/** Executions of harvests: their state, their counts, and the sweeping of those whose job is gone. */
import type { Queryable } from '../platform/db.js';
import { keysetCondition, keysetOrder } from '../platform/keyset.js';
import type { Keyset, PageWindow } from '../platform/keyset.js';
import type { WorkspaceScope } from '../tenancy/principal.js';
import type { HarvestDefinition, HarvestRun, HarvestRunState } from './harvest.js';

const COLUMNS = `id as uuid, harvest_id as "harvestId", harvest_name as "harvestName", dataset_id as "datasetId",
  revision, definition, state, reason, window_from as "windowFrom", window_to as "windowTo",
  dataset_version as "datasetVersion", matched, internal, known, redacted, exact_duplicates as "exactDuplicates",
  near_duplicates as "nearDuplicates", over_cap as "overCap", pending, added, rejected, failed, version,
  job_id as "jobId", actor, decided_by as "decidedBy", created_at as "createdAt", finished_at as "finishedAt"`;

const NEWEST: Keyset = {
  value: 'created_at',
  type: 'timestamptz',
  id: 'id',
  direction: 'desc',
  nullable: false,
};

type RunRow = Omit<HarvestRun, 'definition'> & { definition: string };

const toRun = (row: RunRow): HarvestRun => ({
  ...row,
  definition: JSON.parse(row.definition) as HarvestDefinition,
});

export type NewHarvestRun = Pick<
  HarvestRun,
  | 'uuid'
  | 'harvestId'
  | 'harvestName'
  | 'datasetId'
  | 'revision'
  | 'definition'
  | 'windowFrom'
  | 'windowTo'
  | 'actor'
>;

export interface HarvestRunFilter {
  readonly harvestId?: string | undefined;
  readonly states?: readonly HarvestRunState[] | undefined;
}

export interface RunEnd {
  readonly from: readonly HarvestRunState[];
  readonly to: HarvestRunState;
  readonly reason?: string | undefined;
  readonly version?: number | undefined;
  readonly decidedBy?: string | undefined;
}

/** An execution that is said to run, and the state of its job; null where there is none. */
export interface LooseRun {
  readonly workspaceId: string;
  readonly id: string;
  readonly jobState: string | null;
}

/** The where clause over `harvest_runs`. */
function conditions(
  scope: WorkspaceScope,
  { harvestId, states }: HarvestRunFilter,
  params: unknown[],
): string {
  const all = [`workspace_id = $${params.push(scope.workspaceId)}::uuid`];
  if (harvestId !== undefined) all.push(`harvest_id = $${params.push(harvestId)}::uuid`);
  if (states !== undefined) all.push(`state = any($${params.push(states)}::text[])`);
  return all.join(' and ');
}

export class HarvestRunStore {
  /** Undefined where the id is taken: it was made before. */
  async insert(
    tx: Queryable,
    scope: WorkspaceScope,
    run: NewHarvestRun,
    now: Date,
  ): Promise<HarvestRun | undefined> {
    const { rows } = await tx.query<RunRow>(
      `/* harvest_runs.insert */
      insert into harvest_runs (workspace_id, id, harvest_id, harvest_name, dataset_id, revision, definition, state,
        window_from, window_to, actor, created_at)
      values ($1, $2, $3, $4, $5, $6, $7, 'running', $8, $9, $10, $11)
      on conflict (workspace_id, id) do nothing
      returning ${COLUMNS}`,
      [
        scope.workspaceId,
        run.uuid,
        run.harvestId,
        run.harvestName,
        run.datasetId,
        run.revision,
        JSON.stringify(run.definition),
        run.windowFrom,
        run.windowTo,
        run.actor,
        now.toISOString(),
      ],
    );
    return rows[0] && toRun(rows[0]);
  }

  async setJob(tx: Queryable, scope: WorkspaceScope, id: string, jobId: string): Promise<void> {
    await tx.query(
      '/* harvest_runs.set_job */ update harvest_runs set job_id = $3 where workspace_id = $1 and id = $2',
      [scope.workspaceId, id, jobId],
    );
  }

  /** Whoever decides on it too waits until the transaction ends. */
  async lock(tx: Queryable, scope: WorkspaceScope, id: string): Promise<HarvestRun | undefined> {
    const { rows } = await tx.query<RunRow>(
      `/* harvest_runs.lock */
      select ${COLUMNS} from harvest_runs where workspace_id = $1 and id = $2 limit 1 for update`,
      [scope.workspaceId, id],
    );
    return rows[0] && toRun(rows[0]);
  }

  /** Begins anew. False where it does not run any more. */
  async begin(tx: Queryable, scope: WorkspaceScope, id: string, datasetVersion: number): Promise<boolean> {
    const { rowCount } = await tx.query(
      `/* harvest_runs.begin */
      update harvest_runs set matched = 0, internal = 0, dataset_version = $3
      where workspace_id = $1 and id = $2 and state = 'running'`,
      [scope.workspaceId, id, datasetVersion],
    );
    return rowCount === 1;
  }

  /** Counts what was read. False where it does not run any more. */
  async advance(
    tx: Queryable,
    scope: WorkspaceScope,
    id: string,
    { matched, internal }: { matched: number; internal: number },
  ): Promise<boolean> {
    const { rowCount } = await tx.query(
      `/* harvest_runs.advance */
      update harvest_runs set matched = matched + $3, internal = internal + $4
      where workspace_id = $1 and id = $2 and state = 'running'`,
      [scope.workspaceId, id, matched, internal],
    );
    return rowCount === 1;
  }

  /** Moves it on and counts its candidates by verdict. Undefined where it is in none of the states `from`. */
  async move(
    tx: Queryable,
    scope: WorkspaceScope,
    id: string,
    { from, to, reason, version, decidedBy }: RunEnd,
    now: Date,
  ): Promise<HarvestRun | undefined> {
    const { rows } = await tx.query<RunRow>(
      `/* harvest_runs.move */
      update harvest_runs r
      set state = $4, reason = $5, version = $6, decided_by = $7,
        finished_at = case when $4 = 'proposed' then null else $8::timestamptz end,
        known = c.known_count, redacted = c.redacted_count, exact_duplicates = c.exact_count,
        near_duplicates = c.near_count, over_cap = c.over_cap_count, pending = c.pending_count,
        added = c.added_count, rejected = c.rejected_count, failed = c.failed_count
      from (
        select count(*) filter (where verdict = 'known') as known_count,
          count(*) filter (where redactions is not null) as redacted_count,
          count(*) filter (where verdict = 'exact_duplicate') as exact_count,
          count(*) filter (where verdict = 'near_duplicate') as near_count,
          count(*) filter (where verdict = 'over_cap') as over_cap_count,
          count(*) filter (where verdict = 'pending') as pending_count,
          count(*) filter (where verdict = 'added') as added_count,
          count(*) filter (where verdict = 'rejected') as rejected_count,
          count(*) filter (where verdict = 'failed') as failed_count
        from harvest_candidates
        where workspace_id = $1 and harvest_run_id = $2
      ) c
      where r.workspace_id = $1 and r.id = $2 and r.state = any($3::text[])
      returning ${COLUMNS}`,
      [
        scope.workspaceId,
        id,
        from,
        to,
        reason ?? null,
        version ?? null,
        decidedBy ?? null,
        now.toISOString(),
      ],
    );
    return rows[0] && toRun(rows[0]);
  }

  async findByIds(db: Queryable, scope: WorkspaceScope, ids: readonly string[]): Promise<HarvestRun[]> {
    const { rows } = await db.query<RunRow>(
      `/* harvest_runs.find */
      select ${COLUMNS} from harvest_runs where workspace_id = $1 and id = any($2::uuid[]) limit $3`,
      [scope.workspaceId, ids, ids.length],
    );
    return rows.map(toRun);
  }

  /** Up to `limit + 1`, newest first, in reading order. */
  async list(
    db: Queryable,
    scope: WorkspaceScope,
    filter: HarvestRunFilter,
    window: PageWindow,
  ): Promise<HarvestRun[]> {
    const params: unknown[] = [];
    const { rows } = await db.query<RunRow>(
      `/* harvest_runs.list */
      select ${COLUMNS} from harvest_runs
      where ${conditions(scope, filter, params)} and ${keysetCondition(NEWEST, window, params)}
      order by ${keysetOrder(NEWEST, window)}
      limit $${params.push(window.limit + 1)}`,
      params,
    );
    return rows.map(toRun);
  }

  /** Looks at no more than `limit`. */
  async count(
    db: Queryable,
    scope: WorkspaceScope,
    filter: HarvestRunFilter,
    limit: number,
  ): Promise<number> {
    const params: unknown[] = [];
    const { rows } = await db.query<{ count: number }>(
      `/* harvest_runs.count */
      select count(*) as count
      from (select from harvest_runs where ${conditions(scope, filter, params)} limit $${params.push(limit)}) found`,
      params,
    );
    return rows[0]?.count ?? 0;
  }

  /** Executions of a harvest that have not ended. */
  async openOf(tx: Queryable, scope: WorkspaceScope, harvestId: string, limit: number): Promise<string[]> {
    const { rows } = await tx.query<{ id: string }>(
      `/* harvest_runs.open_of */
      select id from harvest_runs
      where workspace_id = $1 and harvest_id = $2 and state in ('running', 'proposed')
      limit $3`,
      [scope.workspaceId, harvestId, limit],
    );
    return rows.map(({ id }) => id);
  }

  /** Executions that run without a job that does: it has failed for good, was cancelled, or is gone. Of all workspaces. */
  async listLoose(db: Queryable, limit: number): Promise<LooseRun[]> {
    const { rows } = await db.query<LooseRun & Record<string, unknown>>(
      `/* harvest_runs.list_loose */
      select r.workspace_id as "workspaceId", r.id, j.state as "jobState"
      from harvest_runs r left join jobs j on j.id = r.job_id
      where r.state = 'running' and (j.id is null or j.state in ('succeeded', 'failed', 'cancelled'))
      order by r.created_at
      limit $1`,
      [limit],
    );
    return rows;
  }
}
