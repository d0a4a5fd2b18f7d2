/** Reading one trace as a whole: its tree without payloads, and its totals. */
import { STRAY_DAY } from '../ingest/run-location.js';
import type { Queryable } from '../platform/db.js';
import type { WorkspaceScope } from '../tenancy/principal.js';
import { earliestDay } from './run-day.store.js';
import type { TraceRun, TraceRunField } from './trace-run.js';

export interface TraceSummary {
  readonly traceId: string;
  readonly runCount: number;
  readonly errorCount: number;
  readonly pendingCount: number;
  readonly startTime: string;
  /** Of the run that ended last; null while none has. */
  readonly endTime: string | null;
  /** From the first start to the last end. */
  readonly latencySeconds: number | null;
  /** Sums over model calls, as text: only these carry usage. */
  readonly promptTokens: string;
  readonly completionTokens: string;
  readonly totalTokens: string;
  readonly promptCost: string | null;
  readonly completionCost: string | null;
  readonly totalCost: string | null;
  readonly rootId: string | null;
  readonly projectId: string;
  readonly threadId: string | null;
}

const NODE_COLUMNS: Readonly<Record<TraceRunField, string>> = {
  uuid: 'id',
  parentRunId: 'parent_run_id',
  dottedOrder: 'dotted_order',
  depth: `length(dotted_order) - length(replace(dotted_order, '.', ''))`,
  name: 'name',
  runType: 'run_type',
  status: 'status',
  hasError: '(error is not null)',
  startTime: 'start_time',
  endTime: 'end_time',
  latencySeconds: 'latency',
  firstTokenLatencySeconds: 'first_token_latency',
  model: 'model',
  promptTokens: 'prompt_tokens',
  completionTokens: 'completion_tokens',
  totalTokens: 'total_tokens',
  totalCost: 'trim_scale(total_cost)',
  revision: 'revision',
};

const nodeColumns = (fields: readonly TraceRunField[]): string =>
  [...new Set<TraceRunField>(['uuid', ...fields])]
    .map((field) => `${NODE_COLUMNS[field]} as "${field}"`)
    .join(', ');

/** What to read of the nodes besides their uuid: columns that are not named are absent from the rows. */
export interface TraceRunsRequest {
  readonly traceId: string;
  readonly limit: number;
  readonly fields: readonly TraceRunField[];
}

export class TraceStore {
  private readonly db: Queryable;

  constructor({ db }: { db: Queryable }) {
    this.db = db;
  }

  /**
   * The first `limit + 1` nodes of a tree in depth-first order, its days found in the same statement. The partitions of
   * other days cost one probe each of runs_by_trace, less than a statement of its own to leave them out.
   */
  async listTree(scope: WorkspaceScope, { traceId, limit, fields }: TraceRunsRequest): Promise<TraceRun[]> {
    const { rows } = await this.db.query<TraceRun>(
      `/* traces.tree */
      select ${nodeColumns(fields)}
      from runs
      where workspace_id = $1 and trace_id = $2 and day = any(array(
        select day from run_days
        where workspace_id = $1 and ($3::date is null or day >= $3::date or day = '${STRAY_DAY}')
        union all
        select day from trace_days where workspace_id = $1 and trace_id = $2))
      order by dotted_order, id
      limit $4`,
      [scope.workspaceId, traceId, earliestDay([traceId]) ?? null, limit + 1],
    );
    return rows;
  }

  /** Up to `limit + 1` nodes in depth-first order, behind the run `after`. Relies on runs_by_trace. */
  async listRuns(
    scope: WorkspaceScope,
    { traceId, limit, fields }: TraceRunsRequest,
    days: readonly string[],
    after: string,
  ): Promise<TraceRun[]> {
    const { rows } = await this.db.query<TraceRun>(
      `/* traces.runs */
      select ${nodeColumns(fields)}
      from runs
      where workspace_id = $1 and trace_id = $2 and day = any($3::date[])
        and (dotted_order, id) > (
          select dotted_order, id
          from runs
          where workspace_id = $1 and trace_id = $2 and id = $4 and day = any($3::date[]))
      order by dotted_order, id
      limit $5`,
      [scope.workspaceId, traceId, days, after, limit + 1],
    );
    return rows;
  }

  /** Which of these ids are runs of the trace. */
  async findPresent(
    scope: WorkspaceScope,
    traceId: string,
    ids: readonly string[],
    days: readonly string[],
  ): Promise<ReadonlySet<string>> {
    const { rows } = await this.db.query<{ id: string }>(
      `/* traces.present */
      select id
      from runs
      where workspace_id = $1 and trace_id = $2 and id = any($3::uuid[]) and day = any($4::date[])
      limit $5`,
      [scope.workspaceId, traceId, ids, days, ids.length],
    );
    return new Set(rows.map(({ id }) => id));
  }

  /** Totals of traces; those without a run are left out. */
  async summarize(
    scope: WorkspaceScope,
    traceIds: readonly string[],
    days: readonly string[],
  ): Promise<TraceSummary[]> {
    const { rows } = await this.db.query<TraceSummary>(
      `/* traces.summarize */
      select trace_id as "traceId", count(*) as "runCount", count(*) filter (where status = 'error') as "errorCount",
        count(*) filter (where status = 'pending') as "pendingCount",
        min(start_time) as "startTime", max(end_time) as "endTime",
        greatest(0, extract(epoch from max(end_time) - min(start_time)))::float8 as "latencySeconds",
        coalesce(sum(prompt_tokens), 0)::text as "promptTokens",
        coalesce(sum(completion_tokens), 0)::text as "completionTokens",
        coalesce(sum(total_tokens), 0)::text as "totalTokens",
        trim_scale(sum(prompt_cost)) as "promptCost", trim_scale(sum(completion_cost)) as "completionCost",
        trim_scale(sum(total_cost)) as "totalCost",
        (array_agg(id) filter (where parent_run_id is null))[1] as "rootId",
        -- What the root says, else what the first run in depth-first order says.
        (array_agg(project_id order by parent_run_id is not null, dotted_order))[1] as "projectId",
        (array_agg(thread_id order by thread_id is null, parent_run_id is not null, dotted_order))[1] as "threadId"
      from runs
      where workspace_id = $1 and trace_id = any($2::uuid[]) and day = any($3::date[])
      group by trace_id
      limit $4`,
      [scope.workspaceId, traceIds, days, traceIds.length],
    );
    return rows;
  }
}
