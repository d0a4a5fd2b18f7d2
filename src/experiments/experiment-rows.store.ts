/** Rows of an experiment page by page, with what was said of them. For all rows at once: experiment-scores.store.ts. */
import type { Queryable } from '../platform/db.js';
import { keysetCondition, keysetOrder } from '../platform/keyset.js';
import type { Keyset, PageWindow } from '../platform/keyset.js';
import type { WorkspaceScope } from '../tenancy/principal.js';
import { allRowsOf } from './experiment-rows.sql.js';
import type { ExperimentPlace } from './experiment-rows.sql.js';
import type { ExperimentRow, RowEvaluation, RowFilter, RowScore, ScoreCondition } from './experiment.js';

const BY_EXAMPLE: Keyset = {
  value: 'x.example_id',
  type: 'uuid',
  id: 'x.repetition',
  idType: 'integer',
  direction: 'asc',
  nullable: false,
};

/** Scores, and evaluations, shown per row. */
const MAX_PER_ROW = 200;

export class ExperimentRowsStore {
  private readonly db: Queryable;

  constructor({ db }: { db: Queryable }) {
    this.db = db;
  }

  /** Up to `limit + 1` rows by example and repetition, in reading order. */
  async list(place: ExperimentPlace, filter: RowFilter, window: PageWindow): Promise<ExperimentRow[]> {
    const params: unknown[] = [];
    const { rows } = await this.db.query<ExperimentRow & Record<string, unknown>>(
      `/* experiments.rows */
      with x as (${allRowsOf(place, params)})
      select x.example_id as "exampleId", x.repetition, x.state, x.run_id as "runId", x.cached_from as "cachedFrom",
        x.attempts, x.error
      from x
      where ${conditions(filter, params)} and ${keysetCondition(BY_EXAMPLE, window, params)}
      order by ${keysetOrder(BY_EXAMPLE, window)}
      limit $${params.push(window.limit + 1)}`,
      params,
    );
    return rows;
  }

  /** How many match, looking at no more than `limit + 1`. */
  async count(place: ExperimentPlace, filter: RowFilter, limit: number): Promise<number> {
    const params: unknown[] = [];
    const { rows } = await this.db.query<{ found: number }>(
      `/* experiments.count_rows */
      with x as (${allRowsOf(place, params)})
      select count(*) as found
      from (select from x where ${conditions(filter, params)} limit $${params.push(limit + 1)}) matching`,
      params,
    );
    return rows[0]?.found ?? 0;
  }

  /** Scores of rows by key, oldest first. By feedback_by_run. */
  async scores(scope: WorkspaceScope, runIds: readonly string[]): Promise<RowScore[]> {
    const { rows } = await this.db.query<RowScore & Record<string, unknown>>(
      `/* experiments.scores_of_rows */
      select run_id as "runId", id as "feedbackId", key, score, value, comment,
        source ->> 'evaluator_version_id' as "evaluatorVersionId", source @> '{"cached": true}' as cached
      from feedback
      where workspace_id = $1 and run_id = any($2::uuid[])
      order by run_id, key, created_at, id
      limit $3`,
      [scope.workspaceId, runIds, runIds.length * MAX_PER_ROW],
    );
    return rows;
  }

  /** What workers make, or have made, of these rows. */
  async evaluations(
    scope: WorkspaceScope,
    experimentId: string,
    rows: readonly { readonly exampleId: string; readonly repetition: number }[],
  ): Promise<RowEvaluation[]> {
    const { rows: found } = await this.db.query<RowEvaluation & Record<string, unknown>>(
      `/* experiments.evaluations_of_rows */
      select s.example_id as "exampleId", s.repetition, s.evaluator_version_id as "evaluatorVersionId",
        n.name as "evaluatorName", v.version, v.feedback_key as "feedbackKey", s.state, s.attempts, s.error, s.cached,
        s.spread, trim_scale(s.cost) as cost
      from unnest($3::uuid[], $4::integer[]) as w (example_id, repetition)
      join experiment_results s on s.workspace_id = $1 and s.experiment_id = $2
        and s.example_id = w.example_id and s.repetition = w.repetition
      join evaluator_versions v on v.workspace_id = $1 and v.id = s.evaluator_version_id
      join evaluators n on n.workspace_id = $1 and n.id = v.evaluator_id
      order by n.name, v.version
      limit $5`,
      [
        scope.workspaceId,
        experimentId,
        rows.map(({ exampleId }) => exampleId),
        rows.map(({ repetition }) => repetition),
        rows.length * MAX_PER_ROW,
      ],
    );
    return found;
  }
}

/** Over rows `x`. The first two parameters are workspace and experiment. */
function conditions(filter: RowFilter, params: unknown[]): string {
  const bind = (value: unknown, type: string): string => `$${params.push(value)}::${type}`;
  const all = ['true'];
  if (filter.exampleIds !== undefined) all.push(`x.example_id = any(${bind(filter.exampleIds, 'uuid[]')})`);
  if (filter.failed !== undefined) all.push(`(x.state = 'failed') = ${bind(filter.failed, 'boolean')}`);
  if (filter.cached !== undefined) {
    all.push(`(x.cached_from is not null) = ${bind(filter.cached, 'boolean')}`);
  }
  if (filter.evaluatorFailed !== undefined) {
    all.push(`(exists (
      select from experiment_results s
      where s.workspace_id = $1::uuid and s.experiment_id = $2::uuid and s.example_id = x.example_id
        and s.repetition = x.repetition and s.state = 'failed'
    ) or exists (
      select from feedback f
      where f.workspace_id = $1::uuid and f.run_id = x.run_id and f.score is null and f.extra @> '{"error": true}'
    )) = ${bind(filter.evaluatorFailed, 'boolean')}`);
  }
  for (const condition of filter.scores ?? []) all.push(scoreCondition(condition, bind));
  return all.join(' and ');
}

const COMPARISONS = { gt: '>', gte: '>=', lt: '<', lte: '<=' } as const;

function scoreCondition(condition: ScoreCondition, bind: (value: unknown, type: string) => string): string {
  const parts = (Object.keys(COMPARISONS) as (keyof typeof COMPARISONS)[]).flatMap((name) => {
    const bound = condition[name];
    return bound === undefined ? [] : [`avg(f.score) ${COMPARISONS[name]} ${bind(bound, 'float8')}`];
  });
  const scored = `exists (
    select from feedback f
    where f.workspace_id = $1::uuid and f.run_id = x.run_id and f.key = ${bind(condition.key, 'text')} and f.score is not null
    having ${['count(*) > 0', ...parts].join(' and ')})`;
  return condition.missing === true ? `not ${scored}` : scored;
}
