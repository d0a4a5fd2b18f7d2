/**
 * Where an experiment's rows lie and the one statement part that makes them, for every reader: root runs of its
 * project that name an example, numbered per example.
 */
import type { Queryable } from '../platform/db.js';
import type { WorkspaceScope } from '../tenancy/principal.js';

/** What a reader of rows needs to know first, read once. */
export interface ExperimentPlace {
  readonly workspaceId: string;
  readonly experimentId: string;
  readonly datasetId: string;
  /** The dataset version its examples are read as of. */
  readonly datasetVersion: number;
  /** Whether a worker carries it out or scored it, so that there are units to look at. */
  readonly worker: boolean;
  /** Whether runs that are no unit of a worker are rows too: they are, unless workers called the target themselves. */
  readonly foreignRuns: boolean;
  /** Repetitions a worker knows; runs of others are numbered behind them. */
  readonly repetitions: number;
  /** Days that can hold its runs. */
  readonly days: readonly string[];
}

const MAX_DAYS = 20_000;

/** Undefined for what is no experiment of the workspace. Two statements at most. */
export async function findPlace(
  db: Queryable,
  scope: WorkspaceScope,
  experimentId: string,
): Promise<ExperimentPlace | undefined> {
  const { rows } = await db.query<{
    datasetId: string;
    asOf: string | null;
    newest: number | null;
    pinned: number | null;
    repetitions: number | null;
    targetKind: string | null;
    days: string;
  }>(
    `/* experiments.place */
    select p.reference_dataset_id as "datasetId", p.extra #>> '{metadata,dataset_version}' as "asOf",
      d.version as newest, e.dataset_version as pinned, e.repetitions, e.target ->> 'kind' as "targetKind",
      (select coalesce(json_agg(day), '[]') from (
        select day from run_days
        where workspace_id = p.workspace_id and project_id = p.id
        limit ${MAX_DAYS}) days)::text as days
    from projects p
    left join datasets d on d.workspace_id = p.workspace_id and d.id = p.reference_dataset_id
    left join experiment_executions e on e.workspace_id = p.workspace_id and e.experiment_id = p.id
    where p.workspace_id = $1 and p.id = $2 and p.reference_dataset_id is not null
    limit 1`,
    [scope.workspaceId, experimentId],
  );
  const [row] = rows;
  if (row === undefined) return undefined;
  const { datasetId, pinned, newest } = row;
  return {
    workspaceId: scope.workspaceId,
    experimentId,
    datasetId,
    datasetVersion: pinned ?? (await versionAt(db, scope, datasetId, row.asOf)) ?? newest ?? 0,
    worker: pinned !== null,
    foreignRuns: (row.targetKind ?? 'runs') === 'runs',
    repetitions: row.repetitions ?? 0,
    days: JSON.parse(row.days) as string[],
  };
}

/** SDKs say in the project's metadata as of when they read the dataset. Undefined where that is no time. */
export async function versionAt(
  db: Queryable,
  scope: WorkspaceScope,
  datasetId: string,
  asOf: string | null,
): Promise<number | undefined> {
  const ms = asOf === null ? Number.NaN : Date.parse(asOf);
  if (Number.isNaN(ms)) return undefined;
  const { rows } = await db.query<{ version: number }>(
    `/* experiments.version_at */
    select version
    from dataset_versions
    where workspace_id = $1 and dataset_id = $2 and created_at <= $3
    order by created_at desc
    limit 1`,
    [scope.workspaceId, datasetId, new Date(ms).toISOString()],
  );
  return rows[0]?.version;
}

/**
 * The runs that are rows, with `example_id`, `repetition`, `run_id`, `trace_id`, `status`, `error` (whether the run
 * failed), `latency`, `start_time` and `cached_from`. A worker's units say which repetition a run is; runs of an
 * SDK are numbered by start and id. The first three parameters are workspace, project and days.
 */
export function rowsOf(place: ExperimentPlace, params: unknown[]): string {
  if (params.length > 0) throw new Error('The parameters of rows come first.');
  params.push(place.workspaceId, place.experimentId, place.days);
  const roots = `from runs r
    where r.workspace_id = $1::uuid and r.project_id = $2::uuid and r.day = any($3::date[])
      and r.parent_run_id is null and r.reference_example_id is not null`;
  const facts = `r.trace_id, r.status, (r.status = 'error') as error, r.latency, r.start_time`;
  if (!place.worker) {
    return `select r.reference_example_id as example_id, r.id as run_id, ${facts}, null::uuid as cached_from,
      (row_number() over (partition by r.reference_example_id order by r.start_time, r.id) - 1)::integer as repetition
      ${roots}`;
  }
  params.push(place.repetitions);
  return `select r.reference_example_id as example_id, r.id as run_id, ${facts}, u.cached_from,
    coalesce(u.repetition, ($4::integer - 1 + row_number() over (
      partition by r.reference_example_id, u.run_id is null order by r.start_time, r.id))::integer) as repetition
    from (select r.* ${roots}) r
    ${place.foreignRuns ? 'left join' : 'join'} experiment_rows u on u.workspace_id = $1::uuid and u.experiment_id = $2::uuid and u.run_id = r.id`;
}

/**
 * All rows, also those whose target has not been called yet, with `example_id`, `repetition`, `state`, `run_id`,
 * `cached_from`, `attempts` and `error` (`{code, message}`). Parameters as for `rowsOf`.
 */
export function allRowsOf(place: ExperimentPlace, params: unknown[]): string {
  const made = rowsOf(place, params);
  const state = `case m.status when 'pending' then 'running' when 'error' then 'failed' else 'done' end`;
  if (!place.worker) {
    return `select m.example_id, m.repetition, ${state} as state, m.run_id, m.cached_from, 1 as attempts,
      null::jsonb as error
      from (${made}) m`;
  }
  return `select coalesce(u.example_id, m.example_id) as example_id, coalesce(u.repetition, m.repetition) as repetition,
    coalesce(u.state, ${state}) as state, m.run_id, u.cached_from, coalesce(u.attempts, 1) as attempts, u.error
    from (${made}) m
    full join (
      select example_id, repetition, state, run_id, cached_from, attempts, error
      from experiment_rows
      where workspace_id = $1::uuid and experiment_id = $2::uuid
    ) u on u.run_id = m.run_id`;
}
