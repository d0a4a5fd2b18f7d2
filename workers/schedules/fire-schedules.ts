/** Schedules: one job looks for what is due, one does what is due. */
import { implementJob } from '../../src/platform/jobs/runner.js';
import { fireScheduleJob, tickSchedulesJob } from '../../src/schedules/schedule.jobs.js';
import type { WorkerServices } from '../services.js';

export const tickSchedules = implementJob<Record<string, never>, WorkerServices>(
  tickSchedulesJob,
  async ({ services, signal, progress }) => {
    progress({ done: await services.schedules.fireDue(signal) });
  },
);

export const fireSchedule = implementJob<
  { workspaceId: string; scheduleId: string; dueAt: string },
  WorkerServices
>(fireScheduleJob, async ({ payload, services }) => {
  await services.schedules.fire(payload.workspaceId, payload.scheduleId, payload.dueAt);
});
