/** Statistics of many projects in one statement, and lists of projects sorted by them. */
import type { Queryable } from '../platform/db.js';
import type { WorkspaceScope } from '../tenancy/principal.js';
import type { ProjectFilter, ProjectSort, ProjectStats } from './project.js';
import { projectConditions } from './project.store.js';

const MEASURES = `
  count(*) filter (where r.parent_run_id is null) as "runCount",
  max(r.start_time) filter (where r.parent_run_id is null) as "lastRunStartTime",
  (count(*) filter (where r.parent_run_id is null and r.status = 'error'))::float8
    / nullif(count(*) filter (where r.parent_run_id is null), 0) as "errorRate",
  (count(*) filter (where r.run_type = 'llm' and r.first_token_time is not null))::float8
    / nullif(count(*) filter (where r.run_type = 'llm' and r.end_time is not null), 0) as "streamingRate",
  percentile_cont(0.5) within group (order by r.latency) filter (where r.parent_run_id is null) as "latencyP50",
  percentile_cont(0.99) within group (order by r.latency) filter (where r.parent_run_id is null) as "latencyP99",
  percentile_cont(0.5) within group (order by r.first_token_latency) as "firstTokenP50",
  percentile_cont(0.99) within group (order by r.first_token_latency) as "firstTokenP99",
  coalesce(sum(r.prompt_tokens), 0)::text as "promptTokens",
  coalesce(sum(r.completion_tokens), 0)::text as "completionTokens",
  coalesce(sum(r.total_tokens), 0)::text as "totalTokens",
  trim_scale(sum(r.prompt_cost)) as "promptCost",
  trim_scale(sum(r.completion_cost)) as "completionCost",
  trim_scale(sum(r.total_cost)) as "totalCost"`;

const SORT_SQL: Readonly<Record<ProjectSort, string>> = {
  name: 'p.name',
  start_time: 'p.start_time',
  last_run_start_time: 's."lastRunStartTime"',
  latency_p50: 's."latencyP50"',
  latency_p99: 's."latencyP99"',
  error_rate: 's."errorRate"',
  runs_count: 'coalesce(s."runCount", 0)',
  feedback: 'f.average',
};

const OVER_STATS: ReadonlySet<ProjectSort> = new Set([
  'last_run_start_time',
  'latency_p50',
  'latency_p99',
  'error_rate',
  'runs_count',
]);

export const needsStats = (sort: ProjectSort): boolean => OVER_STATS.has(sort);

export interface SortedProjectsRequest {
  readonly filter: ProjectFilter;
  readonly sort: ProjectSort;
  readonly descending: boolean;
  /** The key to sort by, for `feedback`. */
  readonly feedbackKey?: string | undefined;
  /** Days of the runs that count, and the earliest start among them. */
  readonly days: readonly string[];
  readonly since?: string | undefined;
  readonly limit: number;
  readonly offset: number;
}

export class ProjectStatsStore {
  private readonly db: Queryable;

  constructor({ db }: { db: Queryable }) {
    this.db = db;
  }

  /** Projects without runs in these days are left out. */
  async compute(
    scope: WorkspaceScope,
    projectIds: readonly string[],
    days: readonly string[],
    since?: string,
  ): Promise<ProjectStats[]> {
    const { rows } = await this.db.query<ProjectStats & Record<string, unknown>>(
      `/* projects.stats */
      select r.project_id as "projectId", ${MEASURES}
      from runs r
      where r.workspace_id = $1 and r.project_id = any($2::uuid[]) and r.day = any($3::date[])
        and ($4::timestamptz is null or r.start_time >= $4)
      group by r.project_id
      limit $5`,
      [scope.workspaceId, projectIds, days, since ?? null, projectIds.length],
    );
    return rows;
  }

  /** One page by offset and the number of all that match. Projects without a value come last. */
  async listSorted(
    scope: WorkspaceScope,
    request: SortedProjectsRequest,
  ): Promise<{ projectIds: string[]; total: number }> {
    const params: unknown[] = [];
    const bind = (value: unknown, type: string): string => `$${params.push(value)}::${type}`;
    const conditions = projectConditions(scope, request.filter, params);
    const joins: string[] = [];
    if (needsStats(request.sort)) {
      const since = bind(request.since ?? null, 'timestamptz');
      joins.push(`left join (
        select r.project_id, ${MEASURES}
        from runs r
        where r.workspace_id = ${bind(scope.workspaceId, 'uuid')} and r.day = any(${bind(request.days, 'date[]')})
          and (${since} is null or r.start_time >= ${since})
        group by r.project_id
      ) s on s.project_id = p.id`);
    }
    if (request.sort === 'feedback') {
      joins.push(`left join lateral (
        select avg(score) as average
        from feedback
        where workspace_id = ${bind(scope.workspaceId, 'uuid')} and project_id = p.id
          and key = ${bind(request.feedbackKey ?? '', 'text')}
      ) f on true`);
    }
    const { rows } = await this.db.query<{ uuid: string | null; total: number }>(
      `/* projects.list_sorted */
      with matching as (
        select p.id, ${SORT_SQL[request.sort]} as sort_value
        from projects p ${joins.join(' ')}
        where ${conditions}
      ), page as (
        select id, sort_value, row_number() over (
          order by sort_value ${request.descending ? 'desc' : 'asc'} nulls last, id desc) as position
        from matching
        order by position
        limit ${bind(request.limit, 'int')} offset ${bind(request.offset, 'int')}
      )
      select page.id as uuid, counted.total
      from (select count(*) as total from matching) counted
      left join page on true
      order by page.position
      limit ${bind(request.limit, 'int')}`,
      params,
    );
    return {
      projectIds: rows.flatMap(({ uuid }) => (uuid === null ? [] : [uuid])),
      total: rows[0]?.total ?? 0,
    };
  }
}
