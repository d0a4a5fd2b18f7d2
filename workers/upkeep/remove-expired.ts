/** Handlers that only remove what is past its time; each does as much as there is, in batches. */
import type { JobContract } from '../../src/platform/jobs/job.js';
import { implementJob } from '../../src/platform/jobs/runner.js';
import type { JobImplementation } from '../../src/platform/jobs/runner.js';
import type { UpkeepService } from '../../src/upkeep/upkeep.service.js';
import {
  expireContentReadsJob,
  expireLinksJob,
  sweepAttachmentsJob,
  trimFeedJob,
  trimIdempotencyJob,
  trimJobsJob,
  trimModelCallsJob,
} from '../../src/upkeep/upkeep.jobs.js';
import type { WorkerServices } from '../services.js';

function removal<P>(
  contract: JobContract<P>,
  remove: (upkeep: UpkeepService, signal: AbortSignal) => Promise<number>,
): JobImplementation<WorkerServices> {
  return implementJob<P, WorkerServices>(contract, async ({ services, signal, progress }) => {
    progress({ done: await remove(services.upkeep, signal) });
  });
}

export const trimFeed = removal(trimFeedJob, (upkeep, signal) => upkeep.trimFeed(signal));
export const expireContentReads = removal(expireContentReadsJob, (upkeep) => upkeep.expireContentReads());
export const expireLinks = removal(expireLinksJob, (upkeep, signal) => upkeep.expireLinks(signal));
export const sweepAttachments = removal(sweepAttachmentsJob, (upkeep, signal) =>
  upkeep.sweepAttachments(signal),
);
export const trimIdempotency = removal(trimIdempotencyJob, (upkeep, signal) =>
  upkeep.trimIdempotency(signal),
);
export const trimJobs = removal(trimJobsJob, (upkeep, signal) => upkeep.trimJobs(signal));
export const trimModelCalls = removal(trimModelCallsJob, (upkeep, signal) => upkeep.trimModelCalls(signal));
