/** The removal of what a deleted dataset held. */
import { z } from 'zod';
import { defineJob } from '../platform/jobs/job.js';

const MINUTE_MS = 60_000;

/** In batches. Enqueued in the transaction that deletes the dataset. */
export const deleteDatasetRowsJob = defineJob({
  name: 'datasets.delete_rows',
  queue: 'bulk',
  payload: z.object({ workspaceId: z.uuid(), datasetId: z.uuid() }),
  attempts: 20,
  backoff: { kind: 'exponential', baseMs: 2_000, maxMs: 5 * MINUTE_MS },
  timeoutMs: 60 * MINUTE_MS,
  dedupeId: ({ datasetId }) => datasetId,
});

/** What imports that were cut off left on the stage, and rejects nobody needs any more. */
export const sweepImportsJob = defineJob({
  name: 'datasets.sweep_imports',
  queue: 'upkeep',
  payload: z.object({}),
  attempts: 3,
  backoff: { kind: 'exponential', baseMs: 5_000, maxMs: MINUTE_MS },
  timeoutMs: 30 * MINUTE_MS,
  dedupeId: () => 'all',
  keep: { succeededMs: 60 * MINUTE_MS, failedMs: 7 * 24 * 60 * MINUTE_MS },
  schedule: { everyMs: 60 * MINUTE_MS, payload: {} },
});
