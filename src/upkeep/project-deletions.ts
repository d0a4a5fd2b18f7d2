/** Hands the removal of a deleted project's runs to a job. */
import type { Queryable } from '../platform/db.js';
import type { JobQueue } from '../platform/jobs/queue.js';
import type { WorkspaceScope } from '../tenancy/principal.js';
import { deleteProjectRunsJob } from './upkeep.jobs.js';

export class ProjectDeletions {
  private readonly queue: JobQueue;

  constructor({ queue }: { queue: JobQueue }) {
    this.queue = queue;
  }

  /** In the transaction that deletes the project. */
  async enqueue(tx: Queryable, { workspaceId }: WorkspaceScope, projectId: string): Promise<void> {
    await this.queue.enqueue(tx, deleteProjectRunsJob, { workspaceId, projectId }, { workspaceId });
  }
}
