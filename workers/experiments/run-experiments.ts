/** Experiments: laying them out, working on them lane by lane, looking after them. */
import { implementJob } from '../../src/platform/jobs/runner.js';
import {
  executeExperimentJob,
  planExperimentJob,
  sweepExperimentsJob,
  tidyExperimentsJob,
} from '../../src/experiments/experiment.jobs.js';
import type { WorkerServices } from '../services.js';

type Nothing = Record<string, never>;
interface Experiment {
  readonly workspaceId: string;
  readonly experimentId: string;
}

export const planExperiment = implementJob<Experiment, WorkerServices>(
  planExperimentJob,
  async ({ payload, services, claim, signal }) => {
    await services.experiments.plan(payload, claim, signal);
  },
);

export const executeExperiment = implementJob<Experiment & { lane: number; turn: number }, WorkerServices>(
  executeExperimentJob,
  async ({ payload, services, claim, signal }) => {
    await services.experiments.execute(payload, claim, signal);
  },
);

export const sweepExperiments = implementJob<Nothing, WorkerServices>(
  sweepExperimentsJob,
  async ({ services, signal, progress }) => {
    progress({ done: await services.experiments.sweep(signal) });
  },
);

export const tidyExperiments = implementJob<Nothing, WorkerServices>(
  tidyExperimentsJob,
  async ({ services, signal, progress }) => {
    progress({ done: await services.experiments.tidy(signal) });
  },
);
