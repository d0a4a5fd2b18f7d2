import { implementJob } from '../../src/platform/jobs/runner.js';
import { deleteProjectRunsJob } from '../../src/upkeep/upkeep.jobs.js';
import type { WorkerServices } from '../services.js';

/** Deleting is idempotent: an execution that was cut off is gone on with by the next. */
export const deleteProjectRuns = implementJob<{ workspaceId: string; projectId: string }, WorkerServices>(
  deleteProjectRunsJob,
  async ({ payload, services, signal, progress }) => {
    await services.upkeep.deleteProjectRuns(payload, signal, (done) => progress({ done }));
  },
);
