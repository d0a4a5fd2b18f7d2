/** Evaluators, experiments, and what is concluded from them. */
import { createHmac } from 'node:crypto';
import { ComparisonService } from '../comparison/comparison.service.js';
import type { CompareTasks } from '../comparison/comparison.service.js';
import { ComparisonStore } from '../comparison/comparison.store.js';
import type { DatasetService } from '../datasets/dataset.service.js';
import type { ExampleService } from '../datasets/example.service.js';
import { SandboxedCode } from '../evaluators/code-runner.js';
import type { EvaluatorRuntime } from '../evaluators/evaluation.js';
import { KindRuntime } from '../evaluators/evaluator-runtime.js';
import { EvaluatorTrials } from '../evaluators/evaluator-trial.service.js';
import { EvaluatorService } from '../evaluators/evaluator.service.js';
import { EvaluatorStore } from '../evaluators/evaluator.store.js';
import { WebhookSecrets } from '../evaluators/webhook.js';
import { ComparativeControlService } from '../experiments/comparative-control.service.js';
import { ComparativeService } from '../experiments/comparative.service.js';
import { ComparativeStore } from '../experiments/comparative.store.js';
import { ExperimentControlService } from '../experiments/experiment-control.service.js';
import { ExperimentRunner } from '../experiments/experiment-runner.js';
import { ExperimentScoresStore } from '../experiments/experiment-scores.store.js';
import { ExperimentWorkService } from '../experiments/experiment-work.service.js';
import type { ExperimentService } from '../experiments/experiment.service.js';
import { TargetCaller } from '../experiments/target-caller.js';
import type { FeedbackConfigService } from '../feedback/feedback-config.service.js';
import type { FeedbackService } from '../feedback/feedback.service.js';
import { GateService } from '../gates/gate.service.js';
import { GateStore } from '../gates/gate.store.js';
import type { HarvestService } from '../harvest/harvest.service.js';
import type { RunSink } from '../ingest/intake.js';
import { createPool } from '../platform/db.js';
import type { JobQueue } from '../platform/jobs/queue.js';
import { Threads } from '../platform/threads.js';
import type { RunService } from '../runs/run.service.js';
import { Sandbox } from '../sandbox/sandbox.js';
import { ScheduleService } from '../schedules/schedule.service.js';
import { clock, ids } from './foundation.js';
import type { AppOptions, Foundation } from './foundation.js';
import type { createModels } from './models.js';
import type { createFeedback } from './traces.js';

/** Evaluations of user code at a time in one process. */
const SANDBOX_PROCESSES = 2;

export function createEvaluators(
  { writes: pool, idempotency, log }: Foundation,
  { pepper, lifecycle }: AppOptions,
  {
    models,
    outbound,
    modelProviders,
    feedbackConfigs,
    runs,
    examples,
  }: ReturnType<typeof createModels> &
    Pick<ReturnType<typeof createFeedback>, 'feedbackConfigs'> & {
      readonly runs: RunService;
      readonly examples: ExampleService;
    },
) {
  const sandbox = new Sandbox({ log, processes: SANDBOX_PROCESSES });
  lifecycle.onStop('sandbox', () => sandbox.close());
  const secrets = new WebhookSecrets({ pepper });
  const evaluators = new EvaluatorService({
    pool,
    store: new EvaluatorStore(),
    feedbackConfigs,
    providers: modelProviders,
    outbound,
    secrets,
    idempotency,
    clock,
    ids,
  });
  const evaluatorRuntime = new KindRuntime({
    judges: { models, fenceKey: createHmac('sha256', pepper).update('judge fences').digest() },
    webhooks: { outbound, clock, secrets },
    code: new SandboxedCode({ sandbox }),
  });
  const evaluatorTrials = new EvaluatorTrials({ evaluators, runtime: evaluatorRuntime, runs, examples, ids });
  return { evaluators, evaluatorRuntime, evaluatorTrials };
}

export function createExperiments(
  { databaseUrl, writes, idempotency, doorbell, log }: Foundation,
  { databaseRole: role, lifecycle }: AppOptions,
  parts: {
    readonly jobQueue: JobQueue;
    readonly datasets: DatasetService;
    readonly feedback: FeedbackService;
    readonly evaluators: EvaluatorService;
    readonly evaluatorRuntime: EvaluatorRuntime;
    readonly runSink: RunSink;
    readonly harvests: HarvestService;
    readonly experiments: ExperimentService;
  } & Pick<ReturnType<typeof createModels>, 'models' | 'modelProviders' | 'outbound' | 'vault'>,
) {
  const { jobQueue: queue, models, modelProviders: providers, outbound, vault, evaluators } = parts;
  const control = new ExperimentControlService({
    pool: writes,
    queue,
    datasets: parts.datasets,
    evaluators,
    providers,
    outbound,
    vault,
    idempotency,
    doorbell,
    clock,
    ids,
  });
  // Lanes work next to each other; in a gateway it stays without connections.
  const pool = createPool({
    url: databaseUrl,
    name: 'experiments',
    max: 6,
    statementTimeoutMs: 10_000,
    role,
    log,
  });
  lifecycle.onStop('pool experiments', () => pool.end());
  const runner = new ExperimentRunner({
    pool,
    evaluators: parts.evaluatorRuntime,
    versions: evaluators,
    providers,
    targets: new TargetCaller({ models, outbound, vault, clock }),
    feedback: parts.feedback,
    runs: parts.runSink,
    doorbell,
    clock,
    log,
  });
  // After the workers and before the pool.
  lifecycle.onStop('experiments', () => runner.settle());
  return {
    experimentControl: control,
    comparativeControl: new ComparativeControlService({
      pool: writes,
      queue,
      experiments: parts.experiments,
      evaluators,
      providers,
      idempotency,
      clock,
      ids,
    }),
    experimentWork: new ExperimentWorkService({ pool, queue, runner, doorbell, clock }),
    schedules: new ScheduleService({
      pool: writes,
      queue,
      actions: {
        experiment: (scope, schedule, dueAt) => control.startScheduled(scope, schedule, dueAt),
        harvest: (scope, schedule, dueAt) => parts.harvests.runScheduled(scope, schedule, dueAt),
      },
      idempotency,
      clock,
      ids,
    }),
  };
}

/** Comparisons that may be computed at once in one process, and wait. */
const COMPARISON_THREADS = 1;
const COMPARISON_QUEUE = 32;

export function createComparison(
  { reads, writes, idempotency }: Foundation,
  { lifecycle }: AppOptions,
  {
    experiments,
    feedbackConfigs,
  }: { experiments: ExperimentService; feedbackConfigs: FeedbackConfigService },
) {
  const threads = new Threads<CompareTasks>({
    module: new URL('../comparison/compare.thread.js', import.meta.url),
    threads: COMPARISON_THREADS,
    queue: COMPARISON_QUEUE,
  });
  lifecycle.onStop('comparison threads', () => threads.close());
  const comparisons = new ComparisonService({
    scores: new ExperimentScoresStore({ db: reads }),
    store: new ComparisonStore({ db: reads }),
    configs: feedbackConfigs,
    threads,
  });
  const gates = new GateService({
    pool: writes,
    store: new GateStore(),
    comparisons,
    experiments,
    idempotency,
    clock,
    ids,
  });
  const comparatives = new ComparativeService({
    store: new ComparativeStore({ db: writes }),
    experiments,
    clock,
    ids,
  });
  return { comparisons, comparatives, gates };
}
