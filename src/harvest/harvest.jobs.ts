/** The jobs of harvests: carrying one out, and looking after what is open and what is old. */
import { z } from 'zod';
import { defineJob } from '../platform/jobs/job.js';

const MINUTE_MS = 60_000;

/** Reads, judges and adds or proposes. Begins anew after a crash; what it has added it has added once. */
export const executeHarvestJob = defineJob({
  name: 'harvests.execute',
  queue: 'bulk',
  payload: z.object({ workspaceId: z.uuid(), harvestRunId: z.uuid() }),
  attempts: 5,
  backoff: { kind: 'exponential', baseMs: 2_000, maxMs: 5 * MINUTE_MS },
  timeoutMs: 120 * MINUTE_MS,
  dedupeId: ({ harvestRunId }) => harvestRunId,
});

/** Ends executions whose job has failed for good or was cancelled. */
export const sweepHarvestsJob = defineJob({
  name: 'harvests.sweep',
  queue: 'upkeep',
  payload: z.object({}),
  attempts: 3,
  backoff: { kind: 'exponential', baseMs: 2_000, maxMs: MINUTE_MS },
  timeoutMs: 3 * MINUTE_MS,
  dedupeId: () => 'all',
  schedule: { everyMs: MINUTE_MS, payload: {} },
  keep: { succeededMs: 60 * MINUTE_MS, failedMs: 24 * 60 * MINUTE_MS },
});

/** Removes candidates nobody looks at any more, and what deleted harvests have left. */
export const tidyHarvestsJob = defineJob({
  name: 'harvests.tidy',
  queue: 'upkeep',
  payload: z.object({}),
  attempts: 3,
  backoff: { kind: 'exponential', baseMs: 5_000, maxMs: MINUTE_MS },
  timeoutMs: 30 * MINUTE_MS,
  dedupeId: () => 'all',
  schedule: { everyMs: 60 * MINUTE_MS, payload: {} },
});
