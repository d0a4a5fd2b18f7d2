/** Statistics over runs, computed by Postgres from the rows themselves: exact counts, exact percentiles. */
import type { Queryable } from '../platform/db.js';
import { bind, runConditions } from './run-query.js';
import type { RunQuery, RunScan } from './run-query.js';
import { MAX_STATS_ROWS } from './run-stats.js';
import type { Bucket, FeedbackAverage, GroupKind, RunStatsRow, StatsShape } from './run-stats.js';

const GROUP_SQL: Readonly<Record<Exclude<GroupKind, 'METADATA'>, string>> = {
  NAME: 'r.name',
  RUN_TYPE: 'r.run_type',
  STATUS: 'r.status',
  PROJECT: 'r.project_id::text',
  MODEL: 'r.model',
  PROVIDER: 'r.provider',
  TENANT: 'r.tenant_id',
  // A run counts once for each of its tags.
  TAG: 'tag.tag',
  VERSION: `(r.attributes ->> 'revision_id')`,
};

const BUCKET_UNIT: Readonly<Record<Bucket, string>> = {
  MINUTE: 'minute',
  HOUR: 'hour',
  DAY: 'day',
  WEEK: 'week',
};

const percentile = (fraction: number, column: string): string =>
  `percentile_cont(${fraction}) within group (order by ${column})`;
const exactPercentile = (fraction: number, column: string): string =>
  `percentile_disc(${fraction}) within group (order by ${column})`;

const MEASURES = `
  count(*) as "runCount",
  count(*) filter (where r.status = 'error') as "errorCount",
  count(*) filter (where r.status = 'pending') as "pendingCount",
  (count(*) filter (where r.status = 'error'))::float8 / nullif(count(*), 0) as "errorRate",
  (count(*) filter (where r.run_type = 'llm' and r.first_token_time is not null))::float8
    / nullif(count(*) filter (where r.run_type = 'llm' and r.end_time is not null), 0) as "streamingRate",
  min(r.start_time) as "firstRunStartTime", max(r.start_time) as "lastRunStartTime",
  ${percentile(0.5, 'r.latency')} as "latencyP50",
  ${percentile(0.95, 'r.latency')} as "latencyP95",
  ${percentile(0.99, 'r.latency')} as "latencyP99",
  ${percentile(0.5, 'r.first_token_latency')} as "firstTokenP50",
  ${percentile(0.95, 'r.first_token_latency')} as "firstTokenP95",
  ${percentile(0.99, 'r.first_token_latency')} as "firstTokenP99",
  ${percentile(0.5, 'r.total_tokens')} as "tokensP50",
  ${percentile(0.99, 'r.total_tokens')} as "tokensP99",
  trim_scale(${exactPercentile(0.5, 'r.total_cost')}) as "costP50",
  trim_scale(${exactPercentile(0.99, 'r.total_cost')}) as "costP99",
  coalesce(sum(r.prompt_tokens), 0)::text as "promptTokens",
  coalesce(sum(r.completion_tokens), 0)::text as "completionTokens",
  coalesce(sum(r.total_tokens), 0)::text as "totalTokens",
  trim_scale(sum(r.prompt_cost)) as "promptCost",
  trim_scale(sum(r.completion_cost)) as "completionCost",
  trim_scale(sum(r.total_cost)) as "totalCost"`;

interface Grouping {
  /** Added to `from runs r`. */
  readonly join: string;
  /** Group expressions, the bucket last. */
  readonly expressions: readonly string[];
  readonly groupCount: number;
}

export class RunStatsStore {
  private readonly db: Queryable;

  constructor({ db }: { db: Queryable }) {
    this.db = db;
  }

  /**
   * Rows by bucket, larger groups first; groups beyond `maxGroups` are cut off and reported. One statement, and
   * one more for feedback. `rows` may be longer than MAX_STATS_ROWS by one: the question was too large then.
   */
  async compute(
    query: RunQuery,
    scan: RunScan,
    shape: StatsShape,
  ): Promise<{ rows: RunStatsRow[]; truncated: boolean }> {
    const params: unknown[] = [];
    const grouping = groupingOf(shape, params);
    const keys = grouping.expressions.map((_, index) => `k${index}`);
    const groupKeys = keys.slice(0, grouping.groupCount);
    const named = grouping.expressions.map((expression, index) => `${expression} as k${index}`);
    const ranked =
      groupKeys.length === 0
        ? '0 as total, 1 as rank'
        : `total, dense_rank() over (order by total desc, ${groupKeys.join(', ')}) as rank`;
    const total =
      groupKeys.length === 0 ? '' : `, sum("runCount") over (partition by ${groupKeys.join(', ')}) as total`;
    const { rows } = await this.db.query<Record<string, unknown> & { rank: number }>(
      `/* runs.stats */
      select *
      from (
        select *, ${ranked}
        from (
          select *${total}
          from (
            select ${[...named, MEASURES].join(', ')}
            from runs r ${grouping.join}
            where ${runConditions(query, scan, params)}
            ${keys.length === 0 ? '' : `group by ${keys.join(', ')}`}
          ) measured
        ) totalled
      ) ranked
      where rank <= ${bind(params, shape.maxGroups + 1, 'int')}
      order by ${[...keys.slice(grouping.groupCount), 'rank'].join(', ')}
      limit ${MAX_STATS_ROWS + 1}`,
      params,
    );
    const kept = rows.filter(({ rank }) => rank <= shape.maxGroups);
    const feedback = shape.feedback
      ? await this.feedback(query, scan, shape)
      : new Map<string, FeedbackAverage[]>();
    return {
      rows: kept.map((row) => toStatsRow(row, grouping, shape, feedback)),
      truncated: kept.length < rows.length,
    };
  }

  /** Averages per key for the same grouping, by the row's key. */
  private async feedback(
    query: RunQuery,
    scan: RunScan,
    shape: StatsShape,
  ): Promise<Map<string, FeedbackAverage[]>> {
    const params: unknown[] = [];
    const grouping = groupingOf(shape, params);
    const keys = grouping.expressions.map((_, index) => `k${index}`);
    const named = grouping.expressions.map((expression, index) => `${expression} as k${index}, `).join('');
    const { rows } = await this.db.query<
      Record<string, string | null> & { key: string; count: number; average: number }
    >(
      `/* runs.feedback_stats */
      select ${named}f.key, count(*) as count, avg(f.score) as average
      from runs r ${grouping.join}
      join feedback f on f.workspace_id = r.workspace_id and f.run_id = r.id
      where ${runConditions(query, scan, params)}
      group by ${[...keys, 'f.key'].join(', ')}
      order by f.key
      limit ${MAX_STATS_ROWS}`,
      params,
    );
    const averages = new Map<string, FeedbackAverage[]>();
    for (const row of rows) {
      const rowKey = JSON.stringify(keys.map((key) => row[key]));
      const list = averages.get(rowKey) ?? [];
      list.push({ key: row.key, count: row.count, average: row.average });
      averages.set(rowKey, list);
    }
    return averages;
  }
}

function groupingOf({ groupBy, bucket, zone }: StatsShape, params: unknown[]): Grouping {
  const expressions = groupBy.map(({ kind, key }) =>
    kind === 'METADATA' ? `(r.attributes ->> ${bind(params, key, 'text')})` : GROUP_SQL[kind],
  );
  const byTag = groupBy.some(({ kind }) => kind === 'TAG');
  if (bucket !== undefined) {
    expressions.push(`date_trunc('${BUCKET_UNIT[bucket]}', r.start_time, ${bind(params, zone, 'text')})`);
  }
  return {
    join: byTag ? 'left join lateral (select distinct unnest(r.tags) as tag) tag on true' : '',
    expressions,
    groupCount: groupBy.length,
  };
}

function toStatsRow(
  row: Record<string, unknown>,
  grouping: Grouping,
  shape: StatsShape,
  feedback: ReadonlyMap<string, readonly FeedbackAverage[]>,
): RunStatsRow {
  const keys = grouping.expressions.map((_, index) => (row[`k${index}`] ?? null) as string | null);
  return {
    ...(row as unknown as RunStatsRow),
    groups: keys.slice(0, grouping.groupCount),
    bucketStart: shape.bucket === undefined ? null : (keys.at(-1) ?? null),
    feedback: feedback.get(JSON.stringify(keys)) ?? [],
  };
}
