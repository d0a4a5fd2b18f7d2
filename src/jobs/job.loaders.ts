/** Batched reads of one operation: jobs by id, and why they wait. */
import DataLoader from 'dataloader';
import type { Principal } from '../tenancy/principal.js';
import type { Job, Waiting } from './job.js';
import type { JobService } from './job.service.js';

const MAX_BATCH = 500;

export class JobLoaders {
  readonly byId: DataLoader<string, Job | undefined>;
  readonly waiting: DataLoader<Job, Waiting | null>;

  constructor({ service, principal }: { service: JobService; principal: Principal }) {
    this.byId = new DataLoader(
      async (ids: readonly string[]) => {
        const found = new Map((await service.findJobs(principal, ids)).map((job) => [job.uuid, job]));
        return ids.map((id) => found.get(id));
      },
      { name: 'jobs.find', maxBatchSize: MAX_BATCH },
    );
    this.waiting = new DataLoader((jobs: readonly Job[]) => service.whyWaiting(principal, jobs), {
      name: 'jobs.waiting',
      maxBatchSize: MAX_BATCH,
    });
  }
}
