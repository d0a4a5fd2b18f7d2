/** Comparative experiments of the LangSmith protocol: which experiments somebody judges against each other, in pairs. */
import type { Queryable } from '../platform/db.js';
import { keysetCondition, keysetOrder } from '../platform/keyset.js';
import type { Keyset, PageWindow } from '../platform/keyset.js';
import type { JsonObject } from '../ingest/run-event.js';
import type { WorkspaceScope } from '../tenancy/principal.js';
import type { ExperimentState } from './experiment.js';

export interface ComparativeExperiment {
  readonly uuid: string;
  readonly name: string | null;
  readonly description: string | null;
  readonly datasetId: string;
  readonly experimentIds: readonly string[];
  readonly extra: JsonObject;
  readonly createdAt: string;
  readonly updatedAt: string;
}

const COLUMNS = `id as uuid, name, description, reference_dataset_id as "datasetId", experiment_ids as "experimentIds",
  extra, created_at as "createdAt", updated_at as "updatedAt"`;

const NEWEST: Keyset = {
  value: 'created_at',
  type: 'timestamptz',
  id: 'id',
  direction: 'desc',
  nullable: false,
};

/** A comparative experiment whose pairs workers have judged. */
export interface JudgedComparison {
  readonly uuid: string;
  readonly name: string | null;
  readonly description: string | null;
  readonly datasetId: string;
  /** First and second. */
  readonly experimentIds: readonly string[];
  readonly evaluatorVersionId: string;
  readonly state: ExperimentState;
  readonly stateReason: string | null;
  /** US dollars, decimal text. */
  readonly spendCap: string | null;
  readonly spend: string;
  readonly createdAt: string;
  readonly finishedAt: string | null;
  readonly total: number;
  readonly open: number;
  readonly compared: number;
  /** Errors of the judge; they are in no rate. */
  readonly failed: number;
  /** Pairs of which a side has no output. */
  readonly skipped: number;
}

export interface PairVerdict {
  readonly exampleId: string;
  /** 0: the first is better, 1: the second. */
  readonly preference: '0' | '1' | 'tie';
  readonly questions: number;
  readonly firstPlace: number;
  readonly secondPlace: number;
}

/** As many as one experiment has rows. */
const MAX_PAIRS = 100_000;

type Draft = Omit<ComparativeExperiment, 'createdAt' | 'updatedAt'>;

export class ComparativeStore {
  private readonly db: Queryable;

  constructor({ db }: { db: Queryable }) {
    this.db = db;
  }

  /** Undefined where the id is taken. */
  async insert(
    scope: WorkspaceScope,
    draft: Draft,
    createdAt: string,
  ): Promise<ComparativeExperiment | undefined> {
    const { rows } = await this.db.query<ComparativeExperiment & Record<string, unknown>>(
      `/* comparative.insert */
      insert into comparative_experiments (workspace_id, id, name, description, reference_dataset_id, experiment_ids,
        extra, created_at, updated_at)
      values ($1, $2, $3, $4, $5, $6, $7, $8, $8)
      on conflict do nothing
      returning ${COLUMNS}`,
      [
        scope.workspaceId,
        draft.uuid,
        draft.name,
        draft.description,
        draft.datasetId,
        draft.experimentIds,
        JSON.stringify(draft.extra),
        createdAt,
      ],
    );
    return rows[0];
  }

  /** Up to `limit + 1` of a dataset, newest first. */
  async list(
    scope: WorkspaceScope,
    datasetId: string,
    { window, offset = 0 }: { readonly window: PageWindow; readonly offset?: number },
  ): Promise<ComparativeExperiment[]> {
    const params: unknown[] = [scope.workspaceId, datasetId];
    const { rows } = await this.db.query<ComparativeExperiment & Record<string, unknown>>(
      `/* comparative.list */
      select ${COLUMNS}
      from comparative_experiments
      where workspace_id = $1 and reference_dataset_id = $2 and ${keysetCondition(NEWEST, window, params)}
      order by ${keysetOrder(NEWEST, window)}
      limit $${params.push(window.limit + 1)} offset $${params.push(offset)}`,
      params,
    );
    return rows;
  }

  /** Those of these that workers judge, as far as they have come; in no particular order. */
  async findJudged(scope: WorkspaceScope, ids: readonly string[]): Promise<JudgedComparison[]> {
    const { rows } = await this.db.query<JudgedComparison & Record<string, unknown>>(
      `/* comparative.find_judged */
      select c.id as uuid, c.name, c.description, c.reference_dataset_id as "datasetId", c.experiment_ids as "experimentIds",
        e.evaluator_version_ids[1] as "evaluatorVersionId", e.state, e.state_reason as "stateReason",
        trim_scale(e.spend_cap)::text as "spendCap", trim_scale(e.spend)::text as spend, c.created_at as "createdAt",
        e.finished_at as "finishedAt", coalesce(u.total, 0) as total, coalesce(u.open, 0) as open,
        coalesce(u.compared, 0) as compared, coalesce(u.failed, 0) as failed, coalesce(u.skipped, 0) as skipped
      from comparative_experiments c
      join experiment_executions e on e.workspace_id = c.workspace_id and e.experiment_id = c.id
      left join lateral (
        select count(*)::int as total, count(*) filter (where r.state in ('pending', 'running'))::int as open,
          count(*) filter (where r.state = 'scored')::int as compared,
          count(*) filter (where r.state = 'failed')::int as failed,
          count(*) filter (where r.state = 'skipped')::int as skipped
        from experiment_results r
        where r.workspace_id = c.workspace_id and r.experiment_id = c.id
      ) u on true
      where c.workspace_id = $1 and c.id = any($2::uuid[])
      limit $3`,
      [scope.workspaceId, ids, ids.length],
    );
    return rows;
  }

  /** What the judge said of each pair. */
  async verdicts(scope: WorkspaceScope, id: string): Promise<PairVerdict[]> {
    const { rows } = await this.db.query<PairVerdict & Record<string, unknown>>(
      `/* comparative.verdicts */
      select example_id as "exampleId", spread ->> 'preference' as preference,
        (spread #>> '{positionBias,pairs}')::int as questions,
        (spread #>> '{positionBias,firstPlace}')::int as "firstPlace",
        (spread #>> '{positionBias,secondPlace}')::int as "secondPlace"
      from experiment_results
      where workspace_id = $1 and experiment_id = $2 and state = 'scored'
      order by example_id, repetition
      limit ${MAX_PAIRS}`,
      [scope.workspaceId, id],
    );
    return rows;
  }

  async delete(scope: WorkspaceScope, id: string): Promise<boolean> {
    const { rowCount } = await this.db.query(
      `/* comparative.delete */
      with gone as (
        delete from comparative_experiments where workspace_id = $1 and id = $2 returning workspace_id, id
      ),
      stopped as (
        update experiment_executions e
        set state = 'cancelled', state_reason = 'It was deleted.', finished_at = clock_timestamp()
        from gone
        where e.workspace_id = gone.workspace_id and e.experiment_id = gone.id and e.state in ('planning', 'running', 'paused')
      )
      select 1 from gone limit 1`,
      [scope.workspaceId, id],
    );
    return rowCount === 1;
  }
}
