/** Use cases over threads: pages of them, one by its id, what they used. */
import { assertFilterAllowed } from '../filters/filter-access.js';
import { mayReadContent, requireScope } from '../tenancy/principal.js';
import type { Principal } from '../tenancy/principal.js';
import type { RunDayStore } from '../runs/run-day.store.js';
import type { RunQuery } from '../runs/run-query.js';
import type { SearchResolver } from '../runs/run.service.js';
import type { ThreadPosition, ThreadRow, ThreadStore, ThreadUsage } from './thread.store.js';

/** Which threads: those with a root run that matches. Figures are over the matching roots. */
export type ThreadQuery = Pick<RunQuery, 'timeRange' | 'filters' | 'threadId'> & {
  readonly projectId: string;
};

export interface ThreadServiceDeps {
  readonly threads: ThreadStore;
  readonly days: RunDayStore;
  readonly search: SearchResolver;
}

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
  ): Promise<ThreadRow[]> {
    const { runs, scan } = await this.plan(principal, query);
    if (scan.days.length === 0) return [];
    return this.deps.threads.list(runs, scan, { ...page, content: mayReadContent(principal) });
  }

  async findThread(
    principal: Principal,
    projectId: string,
    threadId: string,
  ): Promise<ThreadRow | undefined> {
    return (await this.listThreads(principal, { projectId, threadId }, { limit: 1 }))[0];
  }

  /** How many threads match; `limit + 1` stands for "more than limit". */
  async countThreads(principal: Principal, query: ThreadQuery, limit: number): Promise<number> {
    const { runs, scan } = await this.plan(principal, query);
    return scan.days.length === 0 ? 0 : this.deps.threads.count(runs, scan, limit);
  }

  /** Tokens and money over all runs of all traces of the threads. */
  async usageOf(
    principal: Principal,
    projectId: string,
    threadIds: readonly string[],
  ): Promise<ThreadUsage[]> {
    const scope = requireScope(principal, 'read');
    const days = await this.deps.days.ofProjects(scope, undefined);
    return this.deps.threads.usage(
      scope,
      projectId,
      threadIds,
      days.map(({ day }) => day),
    );
  }

  private async plan(
    principal: Principal,
    query: ThreadQuery,
  ): Promise<{ runs: RunQuery; scan: Parameters<ThreadStore['list']>[1] }> {
    const scope = requireScope(principal, 'read');
    const { projectId, timeRange, filters, threadId } = query;
    if (filters !== undefined) assertFilterAllowed(principal, filters);
    const search = filters === undefined ? undefined : await this.deps.search.resolve(scope, filters);
    const days = await this.deps.days.ofProjects(scope, [projectId], timeRange);
    return {
      runs: { projectIds: [projectId], timeRange, filters, threadId },
      scan: { scope, search, days: days.map(({ day }) => day) },
    };
  }
}
