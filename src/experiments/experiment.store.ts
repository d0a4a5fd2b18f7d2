/** The experiments of a workspace: projects with a reference dataset, and what workers are told about them. */
import type { Queryable } from '../platform/db.js';
import { keysetCondition, keysetOrder } from '../platform/keyset.js';
import type { Keyset, PageWindow } from '../platform/keyset.js';
import type { WorkspaceScope } from '../tenancy/principal.js';
import { shownTarget } from './target.js';
import type { Execution, Experiment, ExperimentFilter, ExperimentState } from './experiment.js';

const COLUMNS = `p.id as uuid, p.name, p.description, coalesce(p.extra -> 'metadata', '{}') as metadata,
  p.reference_dataset_id as "datasetId", p.start_time as "startTime", p.end_time as "endTime",
  p.created_at as "createdAt", p.updated_at as "updatedAt",
  e.state, e.state_reason as "stateReason", e.dataset_version as "datasetVersion", e.splits, e.target,
  e.evaluator_version_ids as "evaluatorVersionIds", e.repetitions, e.concurrency, e.max_attempts as "maxAttempts",
  e.deadline_ms as "deadlineMs", e.seed::text as seed, e.use_cache as "useCache",
  trim_scale(e.spend_cap) as "spendCap", trim_scale(e.spend) as spend, e.revision,
  e.started_at as "startedAt", e.finished_at as "finishedAt"`;
const SOURCE = `projects p
  left join experiment_executions e on e.workspace_id = p.workspace_id and e.experiment_id = p.id`;

const NEWEST_FIRST: Keyset = {
  value: 'p.created_at',
  type: 'timestamptz',
  id: 'p.id',
  direction: 'desc',
  nullable: false,
};

type Row = Omit<Experiment, 'kind' | 'execution' | 'state' | 'metadata'> & {
  readonly metadata: unknown;
  readonly state: ExperimentState | null;
  readonly datasetVersion: number | null;
  readonly target: string | null;
} & Record<string, unknown>;

export class ExperimentStore {
  private readonly db: Queryable;

  constructor({ db }: { db: Queryable }) {
    this.db = db;
  }

  /** Up to `limit + 1`, newest first, in reading order. By projects_by_creation. */
  async list(scope: WorkspaceScope, filter: ExperimentFilter, window: PageWindow): Promise<Experiment[]> {
    const params: unknown[] = [];
    const { rows } = await this.db.query<Row>(
      `/* experiments.list */
      select ${COLUMNS}
      from ${SOURCE}
      where ${conditions(scope, filter, params)} and ${keysetCondition(NEWEST_FIRST, window, params)}
      order by ${keysetOrder(NEWEST_FIRST, window)}
      limit $${params.push(window.limit + 1)}`,
      params,
    );
    return rows.map(toExperiment);
  }

  /** How many match, looking at no more than `limit + 1`. */
  async count(scope: WorkspaceScope, filter: ExperimentFilter, limit: number): Promise<number> {
    const params: unknown[] = [];
    const { rows } = await this.db.query<{ found: number }>(
      `/* experiments.count */
      select count(*) as found
      from (select from ${SOURCE} where ${conditions(scope, filter, params)} limit $${params.push(limit + 1)}) matching`,
      params,
    );
    return rows[0]?.found ?? 0;
  }

  /** In no particular order; projects without a reference dataset are no experiments. */
  async findByIds(scope: WorkspaceScope, ids: readonly string[]): Promise<Experiment[]> {
    const { rows } = await this.db.query<Row>(
      `/* experiments.find_by_ids */
      select ${COLUMNS}
      from ${SOURCE}
      where p.workspace_id = $1 and p.id = any($2::uuid[]) and p.reference_dataset_id is not null
      limit $3`,
      [scope.workspaceId, ids, ids.length],
    );
    return rows.map(toExperiment);
  }

  async findByName(scope: WorkspaceScope, name: string): Promise<Experiment | undefined> {
    const { rows } = await this.db.query<Row>(
      `/* experiments.find_named */
      select ${COLUMNS}
      from ${SOURCE}
      where p.workspace_id = $1 and p.name = $2 and p.reference_dataset_id is not null
      limit 1`,
      [scope.workspaceId, name],
    );
    return rows.map(toExperiment)[0];
  }
}

function conditions(scope: WorkspaceScope, filter: ExperimentFilter, params: unknown[]): string {
  const bind = (value: unknown, type: string): string => `$${params.push(value)}::${type}`;
  const all = [`p.workspace_id = ${bind(scope.workspaceId, 'uuid')}`];
  if (filter.datasetIds === undefined) all.push('p.reference_dataset_id is not null');
  else all.push(`p.reference_dataset_id = any(${bind(filter.datasetIds, 'uuid[]')})`);
  if (filter.nameContains !== undefined) {
    all.push(`strpos(lower(p.name), lower(${bind(filter.nameContains, 'text')})) > 0`);
  }
  if (filter.kind === 'worker') all.push(`e.target ->> 'kind' <> 'runs'`);
  if (filter.kind === 'client') all.push(`coalesce(e.target ->> 'kind', 'runs') = 'runs'`);
  return all.join(' and ');
}

function toExperiment(row: Row): Experiment {
  const { datasetVersion, metadata, endTime } = row;
  const execution = datasetVersion === null ? null : toExecution(row);
  return {
    uuid: row.uuid,
    name: row.name,
    description: row.description,
    metadata: isObject(metadata) ? metadata : {},
    datasetId: row.datasetId,
    // Scoring runs that are there already does not make them a worker's.
    kind: execution === null || execution.target['kind'] === 'runs' ? 'client' : 'worker',
    state: row.state ?? (endTime === null && !saysItEnded(metadata) ? null : 'completed'),
    stateReason: row.stateReason,
    startTime: row.startTime,
    endTime,
    createdAt: row.createdAt,
    updatedAt: row.updatedAt,
    execution,
  };
}

function toExecution(row: Row): Execution {
  const target = JSON.parse(row.target ?? '{}') as Execution['target'];
  return { ...(row as unknown as Execution), target: shownTarget(target) };
}

/** evaluate() of the SDKs ends with telling the dataset version, and with nothing else. */
const saysItEnded = (metadata: unknown): boolean =>
  isObject(metadata) && (metadata['dataset_version'] ?? null) !== null;

const isObject = (value: unknown): value is Experiment['metadata'] =>
  typeof value === 'object' && value !== null && !Array.isArray(value);
