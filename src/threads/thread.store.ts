/** Threads: the traces of a project that share a thread id. A thread is nothing but its root runs. */
import type { Queryable } from '../platform/db.js';
import type { RunDay } from '../runs/run-day.store.js';
import { bind, runConditions } from '../runs/run-query.js';
import type { RunQuery, RunScan } from '../runs/run-query.js';
import type { WorkspaceScope } from '../tenancy/principal.js';

/** Durations in seconds. */
export interface ThreadRow {
  readonly threadId: string;
  readonly traceCount: number;
  readonly firstStartTime: string;
  readonly lastStartTime: string;
  readonly latencyP50: number | null;
  readonly latencyP99: number | null;
  readonly errorCount: number;
  readonly lastHasError: boolean;
  /** Content: inputs of the first trace, outputs of the last, shortened. Absent where not to be shown. */
  readonly firstInputsPreview?: string | null;
  readonly lastOutputsPreview?: string | null;
}

/** Sums as text over all model calls of the thread's traces. */
export interface ThreadUsage {
  readonly threadId: string;
  readonly promptTokens: string;
  readonly completionTokens: string;
  readonly totalTokens: string;
  readonly promptCost: string | null;
  readonly completionCost: string | null;
  readonly totalCost: string | null;
}

/** The last start of a thread and its id. */
export interface ThreadPosition {
  readonly lastStartTime: string;
  readonly threadId: string;
}

/** Where the newest threads of an active project are. */
const NEAR_DAYS = 3;

const rootsOfThreads = (query: RunQuery): RunQuery => ({ ...query, isRoot: true });

export class ThreadStore {
  private readonly db: Queryable;

  constructor({ db }: { db: Queryable }) {
    this.db = db;
  }

  /**
   * The ids of up to `limit + 1` threads, the one with the newest trace first. The newest days are read first: a
   * page of an active project lies there. At most two statements.
   */
  async listIds(
    query: RunQuery,
    days: readonly RunDay[],
    scan: Omit<RunScan, 'days'>,
    page: { limit: number; after?: ThreadPosition | undefined },
  ): Promise<string[]> {
    const newest = [...days].sort((a, b) => (a.lastStartOn < b.lastStartOn ? 1 : -1));
    // Threads with a trace behind the cursor's back are not to be shown again, so those days are needed, too.
    const shown = page.after?.lastStartTime.slice(0, 10);
    const passed = shown === undefined ? 0 : newest.filter(({ lastStartOn }) => lastStartOn >= shown).length;
    const near = newest.slice(0, passed + NEAR_DAYS);
    const read = (of: readonly RunDay[]): Promise<ThreadPosition[]> =>
      this.readIds(query, { ...scan, days: of.map(({ day }) => day) }, page);
    let found = await read(near);
    const reached = found[page.limit]?.lastStartTime.slice(0, 10);
    const mayHoldNewer = ({ lastStartOn }: RunDay): boolean =>
      reached === undefined || lastStartOn >= reached;
    if (newest.slice(near.length).some(mayHoldNewer)) found = await read(newest);
    return found.map(({ threadId }) => threadId);
  }

  private async readIds(
    query: RunQuery,
    scan: RunScan,
    page: { limit: number; after?: ThreadPosition | undefined },
  ): Promise<ThreadPosition[]> {
    const params: unknown[] = [];
    const conditions = runConditions(rootsOfThreads(query), scan, params);
    const behind =
      page.after === undefined
        ? ''
        : `having (max(r.start_time), r.thread_id) <
            (${bind(params, page.after.lastStartTime, 'timestamptz')}, ${bind(params, page.after.threadId, 'text')})`;
    const { rows } = await this.db.query<ThreadPosition & Record<string, unknown>>(
      `/* threads.list */
      select r.thread_id as "threadId", max(r.start_time) as "lastStartTime"
      from runs r
      where ${conditions} and r.thread_id is not null
      group by r.thread_id
      ${behind}
      order by max(r.start_time) desc, r.thread_id desc
      limit ${bind(params, page.limit + 1, 'int')}`,
      params,
    );
    return rows;
  }

  /** The figures of threads over the roots that match, in no particular order. Relies on runs_by_thread. */
  async describe(
    query: RunQuery,
    scan: RunScan,
    threadIds: readonly string[],
    { content }: { content: boolean },
  ): Promise<ThreadRow[]> {
    const params: unknown[] = [];
    const previews = content
      ? `, (array_agg(r.inputs_preview order by r.start_time, r.id))[1] as "firstInputsPreview",
          (array_agg(r.outputs_preview order by r.start_time desc, r.id desc))[1] as "lastOutputsPreview"`
      : '';
    const { rows } = await this.db.query<ThreadRow & Record<string, unknown>>(
      `/* threads.describe */
      select r.thread_id as "threadId", count(*) as "traceCount", min(r.start_time) as "firstStartTime",
        max(r.start_time) as "lastStartTime",
        percentile_cont(0.5) within group (order by r.latency) as "latencyP50",
        percentile_cont(0.99) within group (order by r.latency) as "latencyP99",
        count(*) filter (where r.status = 'error') as "errorCount",
        (array_agg(r.error is not null order by r.start_time desc, r.id desc))[1] as "lastHasError"
        ${previews}
      from runs r
      where ${runConditions(rootsOfThreads(query), scan, params)}
        and r.thread_id = any(${bind(params, threadIds, 'text[]')})
      group by r.thread_id
      limit ${bind(params, threadIds.length, 'int')}`,
      params,
    );
    return rows;
  }

  /** How many threads match, looking at no more than `limit + 1`. */
  async count(query: RunQuery, scan: RunScan, limit: number): Promise<number> {
    const params: unknown[] = [];
    const { rows } = await this.db.query<{ found: number }>(
      `/* threads.count */
      select count(*) as found
      from (
        select distinct r.thread_id
        from runs r
        where ${runConditions(rootsOfThreads(query), scan, params)} and r.thread_id is not null
        limit ${bind(params, limit + 1, 'int')}
      ) matching`,
      params,
    );
    return rows[0]?.found ?? 0;
  }

  /** Tokens and money of threads of one project, all runs of their traces included. */
  async usage(
    scope: WorkspaceScope,
    projectId: string,
    threadIds: readonly string[],
    days: readonly string[],
  ): Promise<ThreadUsage[]> {
    const { rows } = await this.db.query<ThreadUsage & Record<string, unknown>>(
      `/* threads.usage */
      select root.thread_id as "threadId",
        coalesce(sum(r.prompt_tokens), 0)::text as "promptTokens",
        coalesce(sum(r.completion_tokens), 0)::text as "completionTokens",
        coalesce(sum(r.total_tokens), 0)::text as "totalTokens",
        trim_scale(sum(r.prompt_cost)) as "promptCost",
        trim_scale(sum(r.completion_cost)) as "completionCost",
        trim_scale(sum(r.total_cost)) as "totalCost"
      from runs root
      join runs r on r.workspace_id = root.workspace_id and r.trace_id = root.trace_id and r.day = any($4::date[])
      where root.workspace_id = $1 and root.project_id = $2 and root.thread_id = any($3::text[])
        and root.parent_run_id is null and root.day = any($4::date[])
      group by root.thread_id
      limit $5`,
      [scope.workspaceId, projectId, threadIds, days, threadIds.length],
    );
    return rows;
  }
}
