/** The jobs of the installation that keep it tidy, and the deletion of what a project held. */
import { z } from 'zod';
import { defineJob } from '../platform/jobs/job.js';

const nothing = z.object({});
const MINUTE_MS = 60_000;
const HOUR_MS = 60 * MINUTE_MS;

/** One at a time; the next one in line would do the same work. */
const upkeep = {
  queue: 'upkeep',
  payload: nothing,
  attempts: 3,
  backoff: { kind: 'exponential', baseMs: 5_000, maxMs: MINUTE_MS },
  dedupeId: () => 'all',
  keep: { succeededMs: HOUR_MS, failedMs: 7 * 24 * HOUR_MS },
} as const;

/** Day partitions of runs exist from yesterday to a week ahead. */
export const ensurePartitionsJob = defineJob({
  ...upkeep,
  name: 'partitions.ensure',
  attempts: 10,
  timeoutMs: 5 * MINUTE_MS,
  schedule: { everyMs: HOUR_MS, payload: {} },
});

/** The change feed keeps only its retention time. */
export const trimFeedJob = defineJob({
  ...upkeep,
  name: 'feed.trim',
  timeoutMs: 10 * MINUTE_MS,
  schedule: { everyMs: 10 * MINUTE_MS, payload: {} },
});

/** Share links and feedback forms end at their time. */
export const expireLinksJob = defineJob({
  ...upkeep,
  name: 'shares.expire',
  timeoutMs: 10 * MINUTE_MS,
  schedule: { everyMs: 10 * MINUTE_MS, payload: {} },
});

/** Attachment bytes whose upload was cut off. */
export const sweepAttachmentsJob = defineJob({
  ...upkeep,
  name: 'attachments.sweep',
  timeoutMs: 30 * MINUTE_MS,
  schedule: { everyMs: HOUR_MS, payload: {} },
});

/** Finished jobs beyond their keeping time. */
export const trimJobsJob = defineJob({
  ...upkeep,
  name: 'jobs.trim',
  timeoutMs: 10 * MINUTE_MS,
  schedule: { everyMs: HOUR_MS, payload: {} },
});

/** Months of the record of content reads past their retention. */
export const expireContentReadsJob = defineJob({
  ...upkeep,
  name: 'content_reads.expire',
  timeoutMs: 10 * MINUTE_MS,
  schedule: { everyMs: 6 * HOUR_MS, payload: {} },
});

/** Answers of calls with an idempotency key that count no longer. */
export const trimIdempotencyJob = defineJob({
  ...upkeep,
  name: 'idempotency.trim',
  timeoutMs: 10 * MINUTE_MS,
  schedule: { everyMs: HOUR_MS, payload: {} },
});

/** Records of model calls that nobody will ask for again. */
export const trimModelCallsJob = defineJob({
  ...upkeep,
  name: 'model_calls.trim',
  timeoutMs: 10 * MINUTE_MS,
  schedule: { everyMs: 6 * HOUR_MS, payload: {} },
});

/** All runs of a deleted project, in batches. Enqueued in the transaction that deletes the project. */
export const deleteProjectRunsJob = defineJob({
  name: 'projects.delete_runs',
  queue: 'bulk',
  payload: z.object({ workspaceId: z.uuid(), projectId: z.uuid() }),
  attempts: 20,
  backoff: { kind: 'exponential', baseMs: 2_000, maxMs: 5 * MINUTE_MS },
  timeoutMs: HOUR_MS,
  dedupeId: ({ projectId }) => projectId,
});
