/** Every job this program knows, and how many of each queue run at once in one process. */
import type { JobImplementation } from '../src/platform/jobs/runner.js';
import { deleteDatasetRows, sweepImports } from './datasets/remove-rows.js';
import {
  executeExperiment,
  planExperiment,
  sweepExperiments,
  tidyExperiments,
} from './experiments/run-experiments.js';
import { executeHarvest, sweepHarvests, tidyHarvests } from './harvest/run-harvests.js';
import { fireSchedule, tickSchedules } from './schedules/fire-schedules.js';
import type { WorkerServices } from './services.js';
import { deleteProjectRuns } from './upkeep/delete-project-runs.js';
import { ensurePartitions } from './upkeep/ensure-partitions.js';
import {
  expireContentReads,
  expireLinks,
  sweepAttachments,
  trimFeed,
  trimIdempotency,
  trimJobs,
  trimModelCalls,
} from './upkeep/remove-expired.js';

export const implementations: readonly JobImplementation<WorkerServices>[] = [
  ensurePartitions,
  trimFeed,
  expireLinks,
  expireContentReads,
  sweepAttachments,
  trimJobs,
  trimIdempotency,
  trimModelCalls,
  deleteProjectRuns,
  deleteDatasetRows,
  sweepImports,
  tickSchedules,
  fireSchedule,
  planExperiment,
  executeExperiment,
  sweepExperiments,
  tidyExperiments,
  executeHarvest,
  sweepHarvests,
  tidyHarvests,
];

/** Queues by name. A queue of its own is for work that must not wait behind other work. */
export const concurrency: Readonly<Record<string, number>> = {
  /** Small and regular. */
  upkeep: 2,
  /** Long, for one workspace each. */
  bulk: 2,
  /** Lanes of experiments: mostly waiting for models. */
  experiments: 8,
};
