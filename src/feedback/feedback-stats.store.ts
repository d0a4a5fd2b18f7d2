/** Aggregates of feedback: per run and key, per project and key. Nothing here returns single feedbacks. */
import type { Queryable } from '../platform/db.js';
import type { WorkspaceScope } from '../tenancy/principal.js';
import { feedbackSources, type FeedbackFilter } from './feedback.store.js';

/** What was said under one key. Figures of scores are null where nothing had a score. */
export interface FeedbackStats {
  readonly key: string;
  /** Feedbacks, with or without a score. */
  readonly n: number;
  readonly avg: number | null;
  readonly stdev: number | null;
  readonly min: number | null;
  readonly max: number | null;
  /** How often each category or boolean was given; the commonest MAX_VALUES of them. */
  readonly valueCounts: Readonly<Record<string, number>>;
  readonly comments: number;
}

/** Distinct values listed per key. */
const MAX_VALUES = 50;
/** Keys per group. */
const MAX_KEYS = 200;

/** Numbers in `value` would make a bucket each, and objects are no categories. */
const COUNTED_VALUE = `case when jsonb_typeof(f.value) in ('string', 'boolean') then left(f.value #>> '{}', 256) end`;

type StatsRow = FeedbackStats & { group: string };

export class FeedbackStatsStore {
  /** Per run and key. Relies on feedback_by_run. */
  async byRuns(
    db: Queryable,
    scope: WorkspaceScope,
    runIds: readonly string[],
  ): Promise<Map<string, FeedbackStats[]>> {
    if (runIds.length === 0) return new Map();
    const source = `from feedback f where f.workspace_id = $1 and f.run_id = any ($2::uuid[])`;
    return this.#grouped(
      db,
      'by_runs',
      [`select f.run_id::text as "group", f.* ${source}`],
      [scope.workspaceId, runIds],
    );
  }

  /**
   * Per project and key, of feedback on runs or on projects as a whole. Relies on feedback_by_project.
   * @param waiting feedback that is not filed yet, and the project its run is in.
   */
  async byProjects(
    db: Queryable,
    scope: WorkspaceScope,
    projectIds: readonly string[],
    level: 'run' | 'session',
    waiting: readonly { readonly id: string; readonly projectId: string }[],
  ): Promise<Map<string, FeedbackStats[]>> {
    if (projectIds.length === 0) return new Map();
    const params: unknown[] = [scope.workspaceId, projectIds];
    const parts = [
      `select f.project_id::text as "group", f.* from feedback f
       where f.workspace_id = $1 and f.project_id = any ($2::uuid[])
         and ${level === 'run' ? 'f.run_id is not null' : 'f.run_id is null and f.thread_id is null'}`,
    ];
    if (level === 'run' && waiting.length > 0) {
      params.push(
        waiting.map(({ id }) => id),
        waiting.map(({ projectId }) => projectId),
      );
      parts.push(
        `select w.project_id::text as "group", f.*
         from unnest($3::uuid[], $4::uuid[]) as w (id, project_id)
         join feedback f on f.workspace_id = $1 and f.id = w.id and f.project_id is null`,
      );
    }
    return this.#grouped(db, 'by_projects', parts, params);
  }

  /** Per comparative experiment and key, of feedback on runs of these projects. Relies on feedback_by_project. */
  async byComparatives(
    db: Queryable,
    scope: WorkspaceScope,
    comparativeIds: readonly string[],
    projectIds: readonly string[],
  ): Promise<Map<string, FeedbackStats[]>> {
    if (comparativeIds.length === 0 || projectIds.length === 0) return new Map();
    return this.#grouped(
      db,
      'by_comparatives',
      [
        `select f.comparative_experiment_id::text as "group", f.* from feedback f
         where f.workspace_id = $1 and f.project_id = any ($2::uuid[])
           and f.comparative_experiment_id = any ($3::uuid[])`,
      ],
      [scope.workspaceId, projectIds, comparativeIds],
    );
  }

  /** Per key, of everything a filter matches. */
  async ofFilter(
    db: Queryable,
    scope: WorkspaceScope,
    filter: FeedbackFilter,
    waitingIds: readonly string[],
  ): Promise<FeedbackStats[]> {
    const { sources, params } = feedbackSources(scope, filter, waitingIds);
    const parts = sources.map((source) => `select 'all' as "group", f.* ${source}`);
    return (await this.#grouped(db, 'of_filter', parts, params)).get('all') ?? [];
  }

  async #grouped(
    db: Queryable,
    name: string,
    parts: readonly string[],
    params: unknown[],
  ): Promise<Map<string, FeedbackStats[]>> {
    const { rows } = await db.query<StatsRow>(
      `/* feedback_stats.${name} */
       with f as (${parts.join(' union all ')}),
       counted as (
         select f."group", f.key, ${COUNTED_VALUE} as value, count(*) as n,
           row_number() over (partition by f."group", f.key order by count(*) desc, ${COUNTED_VALUE}) as rank
         from f
         where jsonb_typeof(f.value) in ('string', 'boolean')
         group by f."group", f.key, 3
       ),
       named as (
         select "group", key, jsonb_object_agg(value, n) as values
         from counted
         where rank <= ${MAX_VALUES}
         group by "group", key
       ),
       scored as (
         select "group", key, count(*)::int as n, avg(score) as avg, stddev_samp(score) as stdev,
           min(score) as min, max(score) as max, count(comment)::int as comments,
           row_number() over (partition by "group" order by key) as rank
         from f
         group by "group", key
       )
       select s."group", s.key, s.n, s.avg, s.stdev, s.min, s.max, s.comments, coalesce(n.values, '{}') as "valueCounts"
       from scored s
       left join named n on n."group" = s."group" and n.key = s.key
       where s.rank <= ${MAX_KEYS}
       order by s."group", s.key`,
      params,
    );
    const groups = new Map<string, FeedbackStats[]>();
    for (const { group, ...stats } of rows) {
      const list = groups.get(group);
      if (list === undefined) groups.set(group, [stats]);
      else list.push(stats);
    }
    return groups;
  }
}
