/** Figures over whole experiments: progress, scores per key, usage. Each one statement for all that ask at once. */
import type { Queryable } from '../platform/db.js';
import { RunStore } from '../runs/run.store.js';
import type { WorkspaceScope } from '../tenancy/principal.js';
import type { EvaluatorProgress, ExperimentProgress, KeySummary, UsageSummary } from './experiment.js';

/** Keys shown per experiment. */
const MAX_KEYS = 200;
/** Evaluator versions shown per experiment. */
const MAX_EVALUATORS = 1_000;
const MAX_DAYS = 20_000;
/** Experiments whose outputs one other uses again. */
const MAX_ORIGINS = 1_000;

/** Rows of the experiments: units of workers, and root runs that name an example and are no unit's. */
const ROWS = `
  units as (
    select u.experiment_id, u.example_id, u.run_id, u.state, u.cached_from is not null as cached
    from experiment_rows u
    where u.workspace_id = $1 and u.experiment_id = any($2::uuid[])
  ),
  rows as (
    select * from units
    union all
    select r.project_id, r.reference_example_id, r.id,
      case r.status when 'pending' then 'running' when 'error' then 'failed' else 'done' end, false
    from runs r
    left join experiment_executions e on e.workspace_id = r.workspace_id and e.experiment_id = r.project_id
    where r.workspace_id = $1 and r.project_id = any($2::uuid[]) and r.day = any($3::date[])
      and r.parent_run_id is null and r.reference_example_id is not null
      and coalesce(e.target ->> 'kind', 'runs') = 'runs'
      and not exists (select from units u where u.run_id = r.id and u.experiment_id = r.project_id)
  )`;

export class ExperimentSummaryStore {
  private readonly db: Queryable;

  constructor({ db }: { db: Queryable }) {
    this.db = db;
  }

  /** Days that can hold runs of these experiments. */
  async days(scope: WorkspaceScope, ids: readonly string[]): Promise<string[]> {
    const { rows } = await this.db.query<{ day: string }>(
      `/* experiments.days */
      select distinct day
      from run_days
      where workspace_id = $1 and project_id = any($2::uuid[])
      limit ${MAX_DAYS}`,
      [scope.workspaceId, ids],
    );
    return rows.map(({ day }) => day);
  }

  /** Experiments without rows are left out. Two statements. */
  async progress(
    scope: WorkspaceScope,
    ids: readonly string[],
    days: readonly string[],
  ): Promise<ExperimentProgress[]> {
    const [counted, evaluators] = await Promise.all([
      this.db.query<ExperimentProgress['rows'] & { experimentId: string; examples: number }>(
        `/* experiments.progress */
        with ${ROWS}
        select experiment_id as "experimentId", count(distinct example_id) as examples, count(*) as total,
          count(*) filter (where state = 'pending') as pending, count(*) filter (where state = 'running') as running,
          count(*) filter (where state = 'done') as done, count(*) filter (where state = 'failed') as failed,
          count(*) filter (where cached) as cached
        from rows
        group by experiment_id
        limit $4`,
        [scope.workspaceId, ids, days, ids.length],
      ),
      this.evaluators(scope, ids),
    ]);
    return counted.rows.map(({ experimentId, examples, ...rows }) => ({
      experimentId,
      examples,
      rows,
      evaluators: evaluators.get(experimentId) ?? [],
    }));
  }

  /** How many rows there are, and by whom those were answered that were used again; origins that are gone are left out. */
  async reuse(
    scope: WorkspaceScope,
    id: string,
  ): Promise<{
    readonly total: number;
    readonly reused: readonly { readonly experimentId: string; readonly rows: number }[];
  }> {
    // Runs of one execution share the first 48 bits of their ids, so one of them tells where all of them are from.
    const { rows } = await this.db.query<{ sample: string | null; rows: number }>(
      `/* experiments.reused_rows */
      select min(cached_from::text) as sample, count(*)::int as rows
      from experiment_rows
      where workspace_id = $1 and experiment_id = $2
      group by left(cached_from::text, 13)
      limit ${MAX_ORIGINS}`,
      [scope.workspaceId, id],
    );
    const samples = rows.flatMap(({ sample }) => sample ?? []);
    const runs = await new RunStore({ db: this.db }).findByIds(scope, samples, {
      fields: ['projectUuid'],
      content: false,
    });
    const reused = new Map<string, number>();
    for (const { sample, rows: count } of rows) {
      const origin = runs.find(({ uuid }) => uuid === sample)?.projectUuid;
      if (origin !== undefined) reused.set(origin, (reused.get(origin) ?? 0) + count);
    }
    return {
      total: rows.reduce((sum, each) => sum + each.rows, 0),
      reused: [...reused].map(([experimentId, count]) => ({ experimentId, rows: count })),
    };
  }

  private async evaluators(
    scope: WorkspaceScope,
    ids: readonly string[],
  ): Promise<Map<string, EvaluatorProgress[]>> {
    const { rows } = await this.db.query<
      EvaluatorProgress & { experimentId: string } & Record<string, unknown>
    >(
      `/* experiments.progress_of_evaluators */
      with counted as (
        select experiment_id, evaluator_version_id,
          count(*) filter (where state in ('pending', 'running')) as open,
          count(*) filter (where state = 'scored') as scored, count(*) filter (where state = 'failed') as failed,
          count(*) filter (where state = 'skipped') as skipped, count(*) filter (where cached) as cached,
          trim_scale(sum(cost)) as cost
        from experiment_results
        where workspace_id = $1 and experiment_id = any($2::uuid[])
        group by experiment_id, evaluator_version_id
      )
      select c.experiment_id as "experimentId", c.evaluator_version_id as "evaluatorVersionId",
        v.evaluator_id as "evaluatorId", n.name as "evaluatorName", v.version, v.feedback_key as "feedbackKey",
        c.open, c.scored, c.failed, c.skipped, c.cached, c.cost
      from counted c
      join evaluator_versions v on v.workspace_id = $1 and v.id = c.evaluator_version_id
      join evaluators n on n.workspace_id = v.workspace_id and n.id = v.evaluator_id
      order by n.name, v.version
      limit $3`,
      [scope.workspaceId, ids, ids.length * MAX_EVALUATORS],
    );
    return groupBy(rows, ({ experimentId, ...evaluator }) => [experimentId, evaluator]);
  }

  /**
   * Per key, by experiment. A row that was scored more than once under a key counts once, with the mean. Feedback that
   * came before its run, and is not filed yet, counts too.
   */
  async keys(
    scope: WorkspaceScope,
    ids: readonly string[],
    days: readonly string[],
  ): Promise<Map<string, KeySummary[]>> {
    const { rows } = await this.db.query<KeySummary & { experimentId: string } & Record<string, unknown>>(
      `/* experiments.keys */
      with given as (
        select f.project_id, f.key, f.run_id, avg(f.score) as score,
          bool_or(f.score is null and f.extra @> '{"error": true}') as failed,
          bool_and(f.source @> '{"cached": true}') as cached
        from (
          select project_id, key, run_id, score, extra, source from feedback
          where workspace_id = $1 and project_id = any($2::uuid[]) and run_id is not null
          union all
          select r.project_id, w.key, w.run_id, w.score, w.extra, w.source
          from feedback w
          join runs r on r.workspace_id = w.workspace_id and r.id = w.run_id and r.day = any($4::date[])
          where w.workspace_id = $1 and w.project_id is null and w.run_id is not null
            and r.project_id = any($2::uuid[])
        ) f
        group by f.project_id, f.key, f.run_id
      ),
      said as (
        select project_id, key, count(score) as n, avg(score) as mean, stddev_samp(score) as deviation,
          min(score) as min, max(score) as max, count(*) filter (where score is null and failed) as errors,
          count(*) filter (where score is not null and cached) as cached
        from given
        group by project_id, key
      ),
      broken as (
        select s.experiment_id as project_id, v.feedback_key as key, count(*) as errors
        from experiment_results s
        join evaluator_versions v on v.workspace_id = s.workspace_id and v.id = s.evaluator_version_id
        where s.workspace_id = $1 and s.experiment_id = any($2::uuid[]) and s.state = 'failed'
        group by 1, 2
      ),
      ranked as (
        select project_id, key, coalesce(n, 0) as n, mean, deviation, min, max,
          coalesce(s.errors, 0) + coalesce(b.errors, 0) as errors, coalesce(cached, 0) as cached,
          row_number() over (partition by project_id order by key) as rank
        from said s
        full join broken b using (project_id, key)
      )
      select project_id as "experimentId", key, n, mean, deviation as "standardDeviation", min, max, errors, cached
      from ranked
      where rank <= ${MAX_KEYS} and (n > 0 or errors > 0)
      order by project_id, key
      limit $3`,
      [scope.workspaceId, ids, ids.length * MAX_KEYS, days],
    );
    return groupBy(rows, ({ experimentId, ...summary }) => [experimentId, summary]);
  }

  /** Experiments without runs are left out. */
  async usage(
    scope: WorkspaceScope,
    ids: readonly string[],
    days: readonly string[],
  ): Promise<UsageSummary[]> {
    const { rows } = await this.db.query<UsageSummary & Record<string, unknown>>(
      `/* experiments.usage */
      with reused as (
        select run_id from experiment_rows
        where workspace_id = $1 and experiment_id = any($2::uuid[]) and cached_from is not null
      )
      select r.project_id as "experimentId",
        avg(r.latency) filter (where ${CALLED}) as "latencyMean",
        percentile_cont(0.5) within group (order by r.latency) filter (where ${CALLED}) as "latencyP50",
        percentile_cont(0.95) within group (order by r.latency) filter (where ${CALLED}) as "latencyP95",
        coalesce(sum(r.total_tokens), 0)::bigint as "totalTokens", trim_scale(sum(r.total_cost)) as "totalCost"
      from runs r
      where r.workspace_id = $1 and r.project_id = any($2::uuid[]) and r.day = any($3::date[])
      group by r.project_id
      limit $4`,
      [scope.workspaceId, ids, days, ids.length],
    );
    return rows;
  }
}

const CALLED = `r.parent_run_id is null and r.reference_example_id is not null and r.id not in (select run_id from reused)`;

function groupBy<R, T>(rows: readonly R[], split: (row: R) => [key: string, value: T]): Map<string, T[]> {
  const groups = new Map<string, T[]>();
  for (const row of rows) {
    const [key, value] = split(row);
    const group = groups.get(key);
    if (group === undefined) groups.set(key, [value]);
    else group.push(value);
  }
  return groups;
}
