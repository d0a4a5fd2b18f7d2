import { deleteDatasetRowsJob, sweepImportsJob } from '../../src/datasets/dataset.jobs.js';
import { implementJob } from '../../src/platform/jobs/runner.js';
import type { WorkerServices } from '../services.js';

/** Deleting is idempotent: an execution that was cut off is gone on with by the next. */
export const deleteDatasetRows = implementJob<{ workspaceId: string; datasetId: string }, WorkerServices>(
  deleteDatasetRowsJob,
  async ({ payload, services, signal, progress }) => {
    await services.datasetCleanup.removeRows(payload, signal, (done) => progress({ done }));
  },
);

export const sweepImports = implementJob<Record<string, never>, WorkerServices>(
  sweepImportsJob,
  async ({ services, signal }) => {
    await services.datasetCleanup.sweep(signal);
  },
);
