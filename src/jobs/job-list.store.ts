/** Reading a workspace's jobs, and cancelling one. What runs them is in src/platform/jobs. */
import type { Queryable } from '../platform/db.js';
import { keysetCondition, keysetOrder } from '../platform/keyset.js';
import type { Keyset, PageWindow } from '../platform/keyset.js';
import type { WorkspaceScope } from '../tenancy/principal.js';
import type { Job, JobFilter } from './job.js';

const COLUMNS = `j.id as uuid, j.name, j.queue, j.state, j.progress, j.attempts, j.max_attempts as "maxAttempts",
  j.waiting_reason as "waitingReason", j.error, j.run_at as "runAt", j.created_at as "createdAt",
  j.started_at as "startedAt", j.finished_at as "finishedAt"`;

type JobRecord = Job & Record<string, unknown>;

/** Served by jobs_by_creation. */
const BY_CREATION: Keyset = {
  value: 'j.created_at',
  type: 'timestamptz',
  id: 'j.id',
  direction: 'desc',
  nullable: false,
};

function conditions(scope: WorkspaceScope, filter: JobFilter, params: unknown[]): string {
  const parts = [`j.workspace_id = $${params.push(scope.workspaceId)}`];
  if (filter.states !== undefined) parts.push(`j.state = any($${params.push(filter.states)}::text[])`);
  if (filter.name !== undefined) parts.push(`j.name = $${params.push(filter.name)}`);
  return parts.join(' and ');
}

export class JobListStore {
  private readonly db: Queryable;

  constructor({ db }: { db: Queryable }) {
    this.db = db;
  }

  /** Up to `limit + 1` jobs, newest first. */
  async list(scope: WorkspaceScope, filter: JobFilter, window: PageWindow): Promise<Job[]> {
    const params: unknown[] = [];
    const { rows } = await this.db.query<JobRecord>(
      `/* jobs.list */
      select ${COLUMNS}
      from jobs j
      where ${conditions(scope, filter, params)} and ${keysetCondition(BY_CREATION, window, params)}
      order by ${keysetOrder(BY_CREATION, window)}
      limit $${params.push(window.limit + 1)}`,
      params,
    );
    return rows;
  }

  /** How many match, looking at no more than `limit + 1`. */
  async count(scope: WorkspaceScope, filter: JobFilter, limit: number): Promise<number> {
    const params: unknown[] = [];
    const { rows } = await this.db.query<{ found: number }>(
      `/* jobs.count */
      select count(*) as found
      from (select from jobs j where ${conditions(scope, filter, params)} limit $${params.push(limit + 1)}) matching`,
      params,
    );
    return rows[0]?.found ?? 0;
  }

  async findByIds(scope: WorkspaceScope, ids: readonly string[]): Promise<Job[]> {
    const { rows } = await this.db.query<JobRecord>(
      `/* jobs.find_by_ids */
      select ${COLUMNS} from jobs j where j.workspace_id = $1 and j.id = any($2::uuid[]) limit $3`,
      [scope.workspaceId, ids, ids.length],
    );
    return rows;
  }

  /** Ends an active job; undefined when there is none. An execution that runs is refused from here on. */
  async cancel(scope: WorkspaceScope, id: string, keepMs: number): Promise<Job | undefined> {
    const { rows } = await this.db.query<JobRecord>(
      `/* jobs.cancel */
      with undelivered as (
        delete from job_outbox o using jobs j where o.job_id = j.id and j.workspace_id = $1 and j.id = $2
      )
      update jobs j set state = 'cancelled', waiting_reason = null, finished_at = clock_timestamp(),
        keep_until = clock_timestamp() + $3 * interval '1 millisecond'
      where j.workspace_id = $1 and j.id = $2 and j.state in ('queued', 'running', 'waiting')
      returning ${COLUMNS}`,
      [scope.workspaceId, id, keepMs],
    );
    return rows[0];
  }
}
