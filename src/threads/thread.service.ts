/** Use cases over threads: pages of them, one by its id, what they used. */
import type { ContentReads } from '../audit/content-read.js';
import { assertFilterAllowed } from '../filters/filter-access.js';
import { addDays, TRACE_SPAN_DAYS } from '../ingest/run-location.js';
import { mayReadContent, requireScope } from '../tenancy/principal.js';
import type { Principal } from '../tenancy/principal.js';
import type { RunDay, RunDayStore } from '../runs/run-day.store.js';
import type { RunQuery, RunScan } from '../runs/run-query.js';
import type { SearchResolver } from '../runs/run.service.js';
import type { ThreadPosition, ThreadRow, ThreadStore, ThreadUsage } from './thread.store.js';

/** Which threads: those with a root run that matches. Figures are over the matching roots. */
export type ThreadQuery = Pick<RunQuery, 'timeRange' | 'filters' | 'threadId'> & {
  readonly projectId: string;
};

interface Plan {
  readonly runs: RunQuery;
  readonly days: readonly RunDay[];
  readonly scan: Omit<RunScan, 'days'>;
}

export interface ThreadServiceDeps {
  readonly threads: ThreadStore;
  readonly days: RunDayStore;
  readonly search: SearchResolver;
  readonly contentReads: ContentReads;
}

const PREVIEWS = ['firstInputsPreview', 'lastOutputsPreview'];

export class ThreadService {
  private readonly deps: ThreadServiceDeps;

  constructor(deps: ThreadServiceDeps) {
    this.deps = deps;
  }

  /** Up to `limit + 1` threads, the one with the newest trace first. A thread moves up with each new trace. */
  async listThreads(
    principal: Principal,
    query: ThreadQuery,
    page: { limit: number; after?: ThreadPosition | undefined },
    { previews = true }: { previews?: boolean } = {},
  ): Promise<ThreadRow[]> {
    const { runs, days, scan } = await this.plan(principal, query);
    if (days.length === 0) return [];
    const { threads } = this.deps;
    const threadIds =
      query.threadId === undefined ? await threads.listIds(runs, days, scan, page) : [query.threadId];
    if (threadIds.length === 0) return [];
    const content = previews && mayReadContent(principal);
    const found = await threads.describe(runs, { ...scan, days: days.map(({ day }) => day) }, threadIds, {
      content,
    });
    const byId = new Map(found.map((thread) => [thread.threadId, thread]));
    const rows = threadIds.flatMap((id) => byId.get(id) ?? []);
    if (content) {
      const ids = rows.slice(0, page.limit).map(({ threadId }) => threadId);
      this.deps.contentReads.note(principal, { type: 'thread', ids, fields: PREVIEWS });
    }
    return rows;
  }

  async findThread(
    principal: Principal,
    projectId: string,
    threadId: string,
    options: { previews?: boolean } = {},
  ): Promise<ThreadRow | undefined> {
    return (await this.listThreads(principal, { projectId, threadId }, { limit: 1 }, options))[0];
  }

  /** How many threads match; `limit + 1` stands for "more than limit". */
  async countThreads(principal: Principal, query: ThreadQuery, limit: number): Promise<number> {
    const { runs, days, scan } = await this.plan(principal, query);
    if (days.length === 0) return 0;
    return this.deps.threads.count(runs, { ...scan, days: days.map(({ day }) => day) }, limit);
  }

  /**
   * Tokens and money over all runs of all traces of the threads. Runs that live more than a week after the last
   * trace began are not looked for.
   */
  async usageOf(
    principal: Principal,
    projectId: string,
    threads: readonly Pick<ThreadRow, 'threadId' | 'firstStartTime' | 'lastStartTime'>[],
  ): Promise<ThreadUsage[]> {
    const scope = requireScope(principal, 'read');
    const first = threads.map(({ firstStartTime }) => firstStartTime).sort()[0];
    const last = threads
      .map(({ lastStartTime }) => lastStartTime.slice(0, 10))
      .sort()
      .at(-1);
    if (first === undefined || last === undefined) return [];
    const range = { from: first, to: addDays(last, TRACE_SPAN_DAYS) };
    const days = await this.deps.days.ofProjects(scope, undefined, range);
    return this.deps.threads.usage(
      scope,
      projectId,
      threads.map(({ threadId }) => threadId),
      days.map(({ day }) => day),
    );
  }

  private async plan(principal: Principal, query: ThreadQuery): Promise<Plan> {
    const scope = requireScope(principal, 'read');
    const { projectId, timeRange, filters, threadId } = query;
    if (filters !== undefined) assertFilterAllowed(principal, filters);
    const search = filters === undefined ? undefined : await this.deps.search.resolve(scope, filters);
    const days = await this.deps.days.ofProjects(scope, [projectId], timeRange);
    return {
      runs: { projectIds: [projectId], timeRange, filters, threadId },
      days,
      scan: { scope, search },
    };
  }
}
