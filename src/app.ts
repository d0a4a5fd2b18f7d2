/**
 * The composition root: every client, store and service, built once and given what it needs. A gateway and a
 * worker build the same and use different parts of it. What is started here is stopped by `close`, in reverse.
 */
import { createHmac } from 'node:crypto';
import type pg from 'pg';
import { ContentReadLog } from './audit/content-read-log.js';
import { ContentReadService } from './audit/content-read.service.js';
import { ContentReadPartitions } from './audit/content-read-partition.store.js';
import { ContentReadStore } from './audit/content-read.store.js';
import { AttachmentService } from './attachments/attachment.service.js';
import { AttachmentStore } from './attachments/attachment.store.js';
import { ComparisonService } from './comparison/comparison.service.js';
import type { CompareTasks } from './comparison/comparison.service.js';
import { ComparisonStore } from './comparison/comparison.store.js';
import type { Config } from './config.js';
import { DatasetCleanup, DatasetDeletions } from './datasets/dataset-cleanup.js';
import { DatasetDiffStore } from './datasets/dataset-diff.store.js';
import { DatasetService } from './datasets/dataset.service.js';
import { DatasetStore } from './datasets/dataset.store.js';
import { DatasetVersionStore } from './datasets/dataset-version.store.js';
import { DatasetShareService } from './datasets/dataset-share.service.js';
import { DatasetShareStore } from './datasets/dataset-share.store.js';
import { ExampleImporter } from './datasets/example-importer.js';
import { ExampleKeysStore } from './datasets/example-keys.store.js';
import { ExampleService } from './datasets/example.service.js';
import { ExampleStore } from './datasets/example.store.js';
import { ExampleWriter } from './datasets/example-writer.js';
import { ExportService } from './datasets/export.service.js';
import { ImportService } from './datasets/import.service.js';
import { ImportStore } from './datasets/import.store.js';
import { LineageService } from './datasets/lineage.service.js';
import { SandboxedCode } from './evaluators/code-runner.js';
import type { EvaluatorRuntime } from './evaluators/evaluation.js';
import { KindRuntime } from './evaluators/evaluator-runtime.js';
import { EvaluatorTrials } from './evaluators/evaluator-trial.service.js';
import { EvaluatorService } from './evaluators/evaluator.service.js';
import { EvaluatorStore } from './evaluators/evaluator.store.js';
import { WebhookSecrets } from './evaluators/webhook.js';
import { ExperimentControlService } from './experiments/experiment-control.service.js';
import { ExperimentRunner } from './experiments/experiment-runner.js';
import { ComparativeService } from './experiments/comparative.service.js';
import { ComparativeStore } from './experiments/comparative.store.js';
import { ExperimentScoresStore } from './experiments/experiment-scores.store.js';
import { ExperimentWorkService } from './experiments/experiment-work.service.js';
import { ExperimentService } from './experiments/experiment.service.js';
import { TargetCaller } from './experiments/target-caller.js';
import { FeedbackConfigService } from './feedback/feedback-config.service.js';
import { FeedbackConfigStore } from './feedback/feedback-config.store.js';
import { FeedbackStatsStore } from './feedback/feedback-stats.store.js';
import { FeedbackTokenService } from './feedback/feedback-token.service.js';
import { FeedbackTokenStore } from './feedback/feedback-token.store.js';
import { FeedbackService } from './feedback/feedback.service.js';
import { FeedbackStore } from './feedback/feedback.store.js';
import { GateService } from './gates/gate.service.js';
import { GateStore } from './gates/gate.store.js';
import { Cursors } from './graphql/cursor.js';
import { CandidateStore } from './harvest/candidate.store.js';
import { HarvestPreviewService } from './harvest/harvest-preview.service.js';
import { HarvestRunStore } from './harvest/harvest-run.store.js';
import { HarvestSource } from './harvest/harvest-source.js';
import { HarvestWorkService } from './harvest/harvest-work.service.js';
import { HarvestWriter } from './harvest/harvest-writer.js';
import { HarvestService } from './harvest/harvest.service.js';
import { HarvestStore } from './harvest/harvest.store.js';
import { IntakeService } from './ingest/intake.js';
import type { RunSink } from './ingest/intake.js';
import { PartitionCatalog } from './ingest/partition-catalog.js';
import { ProjectResolver } from './ingest/project-resolver.js';
import { RunWriter } from './ingest/run-writer.js';
import { RunZones } from './ingest/run-zones.js';
import { JobListStore } from './jobs/job-list.store.js';
import { JobService } from './jobs/job.service.js';
import { FeedStore } from './live/feed.store.js';
import { ModelCallStore } from './models/model-call.store.js';
import { RecordingModelClient } from './models/model-client.js';
import { ModelProviderService } from './models/model-provider.service.js';
import { ModelProviderStore } from './models/model-provider.store.js';
import { ModelSpend } from './models/model-spend.js';
import { ProviderClient } from './models/provider-client.js';
import { ProviderGate } from './models/provider-gate.js';
import { ProviderGateStore } from './models/provider-gate.store.js';
import { ProviderTrial } from './models/provider-trial.js';
import { systemClock } from './platform/clock.js';
import { createPool } from './platform/db.js';
import { createDoorbell } from './platform/doorbell-factory.js';
import type { Doorbell } from './platform/doorbell.js';
import { Idempotency } from './platform/idempotency.js';
import { systemIds } from './platform/ids.js';
import { createJobs } from './platform/jobs/queue.js';
import type { JobQueue } from './platform/jobs/queue.js';
import type { Lifecycle } from './platform/lifecycle.js';
import type { Logger } from './platform/log.js';
import { createMetrics } from './platform/metrics.js';
import type { Metrics } from './platform/metrics.js';
import { createPrisma } from './platform/prisma.js';
import type { PrismaClient } from './platform/prisma.js';
import { createRedis } from './platform/redis.js';
import { OutboundClient } from './platform/outbound.js';
import { systemSleep } from './platform/sleep.js';
import { Vault } from './platform/vault.js';
import { Threads } from './platform/threads.js';
import { ProjectStatsStore } from './projects/project-stats.store.js';
import { ProjectService } from './projects/project.service.js';
import { ProjectStore } from './projects/project.store.js';
import { RunDayStore } from './runs/run-day.store.js';
import { RunStatsStore } from './runs/run-stats.store.js';
import { RunService } from './runs/run.service.js';
import { RunStore } from './runs/run.store.js';
import { TraceStore } from './runs/trace.store.js';
import { SearchIndexer } from './search/search-indexer.js';
import { SearchService } from './search/search.service.js';
import { SearchStore } from './search/search.store.js';
import { Sandbox } from './sandbox/sandbox.js';
import { ScheduleService } from './schedules/schedule.service.js';
import { RunShareService } from './sharing/run-share.service.js';
import { RunShareStore } from './sharing/run-share.store.js';
import { Authenticator } from './tenancy/authenticator.js';
import { KeyService } from './tenancy/key.service.js';
import { KeyStore } from './tenancy/key.store.js';
import { MemberService } from './tenancy/member.service.js';
import { MemberStore } from './tenancy/member.store.js';
import { limitShapes, LocalRateLimiter } from './tenancy/rate-limiter.js';
import type { RateLimiter } from './tenancy/rate-limiter.js';
import { RedisRateLimiter } from './tenancy/redis-rate-limiter.js';
import { WorkspaceService } from './tenancy/workspace.service.js';
import { WorkspaceStore } from './tenancy/workspace.store.js';
import { ThreadService } from './threads/thread.service.js';
import { ThreadStore } from './threads/thread.store.js';
import { ProjectDeletions } from './upkeep/project-deletions.js';
import { VERSION } from './version.js';

export interface AppOptions {
  readonly config: Config;
  readonly databaseUrl: string;
  readonly pepper: string;
  /** Of the vault, the one that seals first (see prepareInstallation). */
  readonly vaultKeys: readonly string[];
  /** What statements on behalf of a workspace run as (see prepareInstallation). */
  readonly databaseRole?: string | undefined;
  readonly log: Logger;
  readonly lifecycle: Lifecycle;
}

const clock = systemClock;
const ids = systemIds;

/** Connections and what else knows no domain. */
export interface Foundation {
  readonly databaseUrl: string;
  readonly redisUrl: string | undefined;
  /** Queries of callers. */
  readonly reads: pg.Pool;
  /** Everything that writes, except runs. */
  readonly writes: pg.Pool;
  readonly prisma: PrismaClient;
  /** Calls with an idempotency key; its transactions are on `writes`. */
  readonly idempotency: Idempotency;
  /** Where reads of content are recorded. */
  readonly contentReads: ContentReadLog;
  readonly doorbell: Doorbell;
  readonly metrics: Metrics;
  readonly log: Logger;
}

function createFoundation(options: AppOptions): Foundation {
  const { config, databaseUrl, databaseRole: role, pepper, log, lifecycle } = options;
  const metrics = createMetrics(VERSION);
  lifecycle.onStop('metrics', () => Promise.resolve(metrics.close()));
  const pool = (name: string, max: number, statementTimeoutMs: number): pg.Pool => {
    const made = createPool({ url: databaseUrl, name, max, statementTimeoutMs, role, log });
    lifecycle.onStop(`pool ${name}`, () => made.end());
    metrics.watchPool(name, made);
    return made;
  };
  const reads = pool('reads', config.database.readConnections, 15_000);
  const writes = pool('writes', 4, 10_000);
  const prisma = createPrisma(writes);
  lifecycle.onStop('prisma', () => prisma.$disconnect());
  const idempotency = new Idempotency({ pool: writes, pepper, clock });
  const contentReads = new ContentReadLog({
    store: new ContentReadStore({ db: writes }),
    partitions: new ContentReadPartitions({ pool: writes }),
    registry: metrics.registry,
    clock,
    ids,
    log,
  });
  lifecycle.onStop('content reads', () => contentReads.close());
  const redisUrl = config.redis.kind === 'redis' ? config.redis.url.reveal() : undefined;
  const doorbell = createDoorbell({ databaseUrl, redisUrl, log });
  lifecycle.onStop('doorbell', () => doorbell.close());
  return { databaseUrl, redisUrl, reads, writes, prisma, idempotency, contentReads, doorbell, metrics, log };
}

function createTenancy(foundation: Foundation, { pepper, lifecycle }: AppOptions) {
  const { prisma, writes, reads, idempotency, doorbell, log } = foundation;
  const members = new MemberStore({ db: reads });
  const keys = new KeyStore({ db: writes });
  const authenticator = new Authenticator({ pepper, keys, clock, doorbell, log });
  lifecycle.onStop('authenticator', () => authenticator.close());
  return {
    authenticator,
    keys: new KeyService({ pool: writes, pepper, keys, members, idempotency, doorbell, ids, clock }),
    workspaces: new WorkspaceService({
      workspaces: new WorkspaceStore({ prisma }),
      idempotency,
      doorbell,
      ids,
      clock,
    }),
    members: new MemberService({ pool: writes, members, keys, doorbell, ids, clock }),
  };
}

function createRateLimiter({ redisUrl, log }: Foundation, { config, lifecycle }: AppOptions): RateLimiter {
  const shapes = limitShapes({
    ingest: config.limits.ingestRequestsPerMinute,
    api: config.limits.apiRequestsPerMinute,
    cost: config.limits.graphqlCostPerMinute,
  });
  if (redisUrl === undefined) return new LocalRateLimiter({ shapes, clock });
  const redis = createRedis({ url: redisUrl, name: 'limits', use: 'commands', log });
  lifecycle.onStop('redis limits', () => Promise.resolve(redis.disconnect()));
  return new RedisRateLimiter({ redis, shapes, clock, log });
}

function createFeedback({ writes, prisma, idempotency, contentReads, doorbell }: Foundation) {
  const configStore = new FeedbackConfigStore();
  const feedback = new FeedbackService({
    pool: writes,
    store: new FeedbackStore(),
    stats: new FeedbackStatsStore(),
    configs: configStore,
    idempotency,
    contentReads,
    doorbell,
    clock,
    ids,
  });
  return {
    feedback,
    feedbackConfigs: new FeedbackConfigService({ pool: writes, store: configStore, idempotency, clock }),
    feedbackTokens: new FeedbackTokenService({
      store: new FeedbackTokenStore({ prisma }),
      feedback,
      idempotency,
      clock,
    }),
  };
}

function createIngest(
  { databaseUrl, writes, doorbell, metrics, log }: Foundation,
  { config, lifecycle }: AppOptions,
) {
  const pool = createPool({
    url: databaseUrl,
    name: 'ingest',
    max: config.ingest.lanes,
    statementTimeoutMs: 10_000,
    // Used by the run writer alone, whose transactions hold what several workspaces have sent.
    rows: 'everywhere',
    log,
  });
  lifecycle.onStop('pool ingest', () => pool.end());
  metrics.watchPool('ingest', pool);
  const writer = new RunWriter({
    pool,
    lanes: config.ingest.lanes,
    projects: new ProjectResolver({ pool: writes, ids, clock }),
    zones: new RunZones({ pool: writes, partitions: new PartitionCatalog({ pool: writes }) }),
    doorbell,
    clock,
    log,
    onFlush: ({ rows, seconds }) => {
      metrics.writerBatchRuns.observe(rows);
      metrics.writerFlushSeconds.observe(seconds);
    },
  });
  lifecycle.onStop('run writer', () => writer.close());
  return { runSink: writer, intake: new IntakeService({ sink: writer, clock, ids, log, metrics }) };
}

/** Language models and what else users name an address for. */
function createModels(
  { writes: pool, idempotency, metrics, log }: Foundation,
  { config, vaultKeys, lifecycle }: AppOptions,
  runs: RunSink,
) {
  const outbound = new OutboundClient({ allowedHosts: config.outbound.allowedHosts });
  lifecycle.onStop('outbound', () => outbound.close());
  const vault = new Vault({ keys: vaultKeys });
  const calls = new ModelCallStore();
  const gates = new ProviderGateStore();
  const providers = new ModelProviderService({
    pool,
    store: new ModelProviderStore(),
    vault,
    outbound,
    idempotency,
    ids,
    clock,
  });
  const client = new ProviderClient({ outbound, clock });
  const gate = new ProviderGate({ pool, store: gates, ids, sleep: systemSleep, log });
  return {
    outbound,
    vault,
    modelProviders: providers,
    modelSpend: new ModelSpend({ pool, calls }),
    providerTrial: new ProviderTrial({ providers, gate, client }),
    models: new RecordingModelClient({
      pool,
      calls,
      providers,
      gate,
      gates,
      client,
      runs,
      clock,
      sleep: systemSleep,
      metrics,
      log,
    }),
  };
}

function createSearch({ reads, writes, log }: Foundation) {
  const store = new SearchStore();
  const indexer = new SearchIndexer({ pool: writes, store, feed: new FeedStore({ pool: writes }), log });
  return { indexer, search: new SearchService({ pool: reads, store, indexer, clock, log }) };
}

function createReading(
  { reads, writes, idempotency, contentReads, doorbell }: Foundation,
  search: SearchService,
  jobQueue: JobQueue,
) {
  const runStore = new RunStore({ db: reads });
  const days = new RunDayStore({ db: reads });
  const runs = new RunService({
    pool: writes,
    runs: runStore,
    traces: new TraceStore({ db: reads }),
    stats: new RunStatsStore({ db: reads }),
    days,
    search,
    contentReads,
    doorbell,
    clock,
  });
  return {
    runStore,
    runDays: days,
    runs,
    projects: new ProjectService({
      pool: writes,
      projects: new ProjectStore({ db: writes }),
      stats: new ProjectStatsStore({ db: reads }),
      days,
      deletions: new ProjectDeletions({ queue: jobQueue }),
      idempotency,
      clock,
      ids,
    }),
    threads: new ThreadService({ threads: new ThreadStore({ db: reads }), days, search, contentReads }),
    experiments: new ExperimentService({ db: reads, contentReads }),
    shares: new RunShareService({ store: new RunShareStore({ db: writes }), runs, clock }),
  };
}

function createDatasets(
  { databaseUrl, reads, writes, idempotency, contentReads, log }: Foundation,
  { databaseRole: role, lifecycle }: AppOptions,
  { runs, feedback, jobQueue }: { runs: RunService; feedback: FeedbackService; jobQueue: JobQueue },
) {
  // The one statement that makes a version of all an import brought takes longer than other writes may.
  const bulk = createPool({
    url: databaseUrl,
    name: 'datasets',
    max: 3,
    statementTimeoutMs: 120_000,
    role,
    log,
  });
  lifecycle.onStop('pool datasets', () => bulk.end());
  const exampleStore = new ExampleStore({ db: reads });
  const exampleWriter = new ExampleWriter({ clock, ids });
  const datasets = new DatasetService({
    pool: writes,
    datasets: new DatasetStore({ db: reads }),
    versions: new DatasetVersionStore({ db: reads }),
    examples: exampleStore,
    deletions: new DatasetDeletions({ queue: jobQueue }),
    idempotency,
    contentReads,
    clock,
    ids,
  });
  const examples = new ExampleService({
    pool: writes,
    datasets,
    examples: exampleStore,
    diffs: new DatasetDiffStore({ db: reads }),
    writer: exampleWriter,
    idempotency,
    contentReads,
  });
  const importer = new ExampleImporter({ pool: bulk, clock, ids });
  return {
    exampleStore,
    exampleWriter,
    exampleImporter: importer,
    datasets,
    examples,
    imports: new ImportService({ importer, imports: new ImportStore({ db: reads }), contentReads }),
    exports: new ExportService({
      datasets,
      examples: exampleStore,
      keys: new ExampleKeysStore({ db: reads }),
      runs,
      feedback,
      contentReads,
    }),
    lineage: new LineageService({
      pool: writes,
      datasets,
      examples: exampleStore,
      runs,
      writer: exampleWriter,
      importer,
      idempotency,
      clock,
      ids,
    }),
    datasetShares: new DatasetShareService({ store: new DatasetShareStore({ db: writes }), clock }),
    datasetCleanup: new DatasetCleanup({ pool: writes, clock }),
  };
}

/** Comparisons that may be computed at once in one process, and wait. */
const COMPARISON_THREADS = 1;
const COMPARISON_QUEUE = 32;

function createComparison(
  { reads, writes, idempotency }: Foundation,
  { lifecycle }: AppOptions,
  {
    experiments,
    feedbackConfigs,
  }: { experiments: ExperimentService; feedbackConfigs: FeedbackConfigService },
) {
  const threads = new Threads<CompareTasks>({
    module: new URL('./comparison/compare.thread.js', import.meta.url),
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

/** Evaluations of user code at a time in one process. */
const SANDBOX_PROCESSES = 2;

function createEvaluators(
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

function createHarvests(
  { reads, writes: pool, idempotency, contentReads }: Foundation,
  parts: {
    readonly jobQueue: JobQueue;
    readonly runs: RunService;
    readonly projects: ProjectService;
    readonly datasets: DatasetService;
    readonly exampleStore: ExampleStore;
  },
) {
  const { jobQueue: queue, datasets, projects } = parts;
  const candidates = new CandidateStore();
  const stores = { harvests: new HarvestStore(), runs: new HarvestRunStore(), candidates };
  const writer = new HarvestWriter({ candidates, clock, ids });
  const source = new HarvestSource({
    db: reads,
    runs: parts.runs,
    examples: parts.exampleStore,
    candidates,
  });
  const harvests = new HarvestService({
    ...stores,
    pool,
    queue,
    writer,
    datasets,
    projects,
    idempotency,
    contentReads,
    clock,
    ids,
  });
  return {
    harvests,
    harvestPreviews: new HarvestPreviewService({ harvests, datasets, source, clock }),
    harvestWork: new HarvestWorkService({ ...stores, pool, datasets, source, writer, clock }),
  };
}

function createExperiments(
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

export type App = ReturnType<typeof createApp>;

export function createApp(options: AppOptions) {
  const foundation = createFoundation(options);
  const { redisUrl, doorbell, reads } = foundation;
  const jobs = createJobs({ redisUrl, ids, doorbell });
  const { indexer, search } = createSearch(foundation);
  const ingest = createIngest(foundation, options);
  const reading = createReading(foundation, search, jobs.jobQueue);
  const feedback = createFeedback(foundation);
  const models = createModels(foundation, options, ingest.runSink);
  const datasets = createDatasets(foundation, options, { ...reading, ...feedback, ...jobs });
  const harvests = createHarvests(foundation, { ...jobs, ...reading, ...datasets });
  const evaluators = createEvaluators(foundation, options, {
    ...models,
    ...feedback,
    ...reading,
    ...datasets,
  });
  return {
    ...foundation,
    ...jobs,
    indexer,
    search,
    ...reading,
    jobs: new JobService({
      jobs: new JobListStore({ db: reads }),
      queue: jobs.jobStore,
      db: reads,
      doorbell,
    }),
    // Signed with a key of their own, the same in every process of the installation.
    cursors: new Cursors({ key: createHmac('sha256', options.pepper).update('cursors').digest() }),
    clock,
    ids,
    ...createTenancy(foundation, options),
    rateLimiter: createRateLimiter(foundation, options),
    contentReadService: new ContentReadService({ store: new ContentReadStore({ db: reads }) }),
    attachments: new AttachmentService({
      store: new AttachmentStore({ pool: foundation.writes }),
      contentReads: foundation.contentReads,
      clock,
      ids,
      pepper: options.pepper,
    }),
    ...feedback,
    ...createComparison(foundation, options, { ...reading, ...feedback }),
    ...datasets,
    ...evaluators,
    ...harvests,
    ...createExperiments(foundation, options, {
      ...harvests,
      ...jobs,
      ...models,
      ...feedback,
      ...datasets,
      ...evaluators,
      ...ingest,
    }),
    ...ingest,
    ...models,
  };
}
