import { implementJob } from '../../src/platform/jobs/runner.js';
import { ensurePartitionsJob } from '../../src/upkeep/upkeep.jobs.js';
import type { WorkerServices } from '../services.js';

export const ensurePartitions = implementJob<Record<string, never>, WorkerServices>(
  ensurePartitionsJob,
  async ({ services, log }) => {
    const days = await services.upkeep.ensurePartitions();
    if (days.length > 0) log.info({ days }, 'partitions made');
  },
);
