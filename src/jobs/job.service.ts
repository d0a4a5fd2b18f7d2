/** What callers may know about the jobs of their workspace, and the one thing they may do: cancel. */
import type { Queryable } from '../platform/db.js';
import { everywhere } from '../platform/db-scope.js';
import type { Doorbell } from '../platform/doorbell.js';
import type { JobStore } from '../platform/jobs/job.store.js';
import { CANCEL_TOPIC } from '../platform/jobs/queue.js';
import type { PageWindow } from '../platform/keyset.js';
import { failed, ok, problem } from '../platform/result.js';
import type { Result } from '../platform/result.js';
import { requireScope } from '../tenancy/principal.js';
import type { Principal } from '../tenancy/principal.js';
import type { JobListStore } from './job-list.store.js';
import { whyWaiting } from './job.js';
import type { Job, JobFilter, Waiting } from './job.js';

const KEEP_CANCELLED_MS = 7 * 86_400_000;

export interface JobServiceDeps {
  readonly jobs: JobListStore;
  /** Facts about lines and workers. */
  readonly queue: JobStore;
  readonly db: Queryable;
  readonly doorbell: Doorbell;
}

export class JobService {
  private readonly deps: JobServiceDeps;

  constructor(deps: JobServiceDeps) {
    this.deps = deps;
  }

  async list(principal: Principal, filter: JobFilter, window: PageWindow): Promise<Job[]> {
    return this.deps.jobs.list(requireScope(principal, 'read'), filter, window);
  }

  /** Looks at no more than `limit + 1`. */
  async count(principal: Principal, filter: JobFilter, limit: number): Promise<number> {
    return this.deps.jobs.count(requireScope(principal, 'read'), filter, limit);
  }

  async findJobs(principal: Principal, ids: readonly string[]): Promise<Job[]> {
    return this.deps.jobs.findByIds(requireScope(principal, 'read'), ids);
  }

  /** Why each of these jobs waits, in their order. The caller was given the jobs by this service. */
  async whyWaiting(principal: Principal, jobs: readonly Job[]): Promise<(Waiting | null)[]> {
    requireScope(principal, 'read');
    const queued = jobs.filter((job) => job.state === 'queued').map((job) => job.uuid);
    const facts =
      queued.length === 0
        ? undefined
        : await everywhere('place in line', () => this.deps.queue.waitingFacts(this.deps.db, queued));
    return jobs.map((job) => whyWaiting(job, facts?.get(job.uuid)));
  }

  /** What a running job has written stays; it writes nothing after this. */
  async cancel(principal: Principal, id: string): Promise<Result<Job>> {
    const scope = requireScope(principal, 'write');
    const cancelled = await this.deps.jobs.cancel(scope, id, KEEP_CANCELLED_MS);
    if (cancelled !== undefined) {
      this.deps.doorbell.ring(CANCEL_TOPIC, id);
      return ok(cancelled);
    }
    const [job] = await this.deps.jobs.findByIds(scope, [id]);
    return job === undefined
      ? failed(problem('NOT_FOUND', 'There is no such job.', ['id']))
      : failed(
          problem(
            'CONFLICT',
            `The job has already ended: it ${job.state === 'cancelled' ? 'was ' : ''}${job.state}.`,
            ['id'],
          ),
        );
  }
}
