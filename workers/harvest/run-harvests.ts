/** Harvests: carrying them out, ending what nobody works on, tidying up. */
import { executeHarvestJob, sweepHarvestsJob, tidyHarvestsJob } from '../../src/harvest/harvest.jobs.js';
import { implementJob } from '../../src/platform/jobs/runner.js';
import type { WorkerServices } from '../services.js';

type Nothing = Record<string, never>;

export const executeHarvest = implementJob<{ workspaceId: string; harvestRunId: string }, WorkerServices>(
  executeHarvestJob,
  async ({ payload, services, claim, signal, progress }) => {
    await services.harvests.execute(payload, { claim, signal, progress });
  },
);

export const sweepHarvests = implementJob<Nothing, WorkerServices>(
  sweepHarvestsJob,
  async ({ services, signal, progress }) => {
    progress({ done: await services.harvests.sweep(signal) });
  },
);

export const tidyHarvests = implementJob<Nothing, WorkerServices>(
  tidyHarvestsJob,
  async ({ services, signal, progress }) => {
    progress({ done: await services.harvests.tidy(signal) });
  },
);
