/** The jobs of schedules: looking for what is due, and doing it. */
import { z } from 'zod';
import { defineJob } from '../platform/jobs/job.js';

const MINUTE_MS = 60_000;

/** Finds what is due in all workspaces. Late by a minute at most; a time that was missed is made up for once. */
export const tickSchedulesJob = defineJob({
  name: 'schedules.tick',
  queue: 'upkeep',
  payload: z.object({}),
  attempts: 3,
  backoff: { kind: 'exponential', baseMs: 2_000, maxMs: MINUTE_MS },
  timeoutMs: 3 * MINUTE_MS,
  dedupeId: () => 'all',
  schedule: { everyMs: MINUTE_MS, payload: {} },
  keep: { succeededMs: 60 * MINUTE_MS, failedMs: 7 * 24 * 60 * MINUTE_MS },
});

/** One due time of one schedule. Made in the transaction that moves the schedule on. */
export const fireScheduleJob = defineJob({
  name: 'schedules.fire',
  queue: 'bulk',
  payload: z.object({ workspaceId: z.uuid(), scheduleId: z.uuid(), dueAt: z.string() }),
  attempts: 8,
  backoff: { kind: 'exponential', baseMs: 2_000, maxMs: 5 * MINUTE_MS },
  timeoutMs: 10 * MINUTE_MS,
  dedupeId: ({ scheduleId, dueAt }) => `${scheduleId}/${dueAt}`,
});
