/** A worker process's parts, over the clients and services of app.ts: job engine, handlers, health port. */
import type pg from 'pg';
import { ContentReadPartitions } from '../src/audit/content-read-partition.store.js';
import { AttachmentStore } from '../src/attachments/attachment.store.js';
import type { Config } from '../src/config.js';
import type { DatasetCleanup } from '../src/datasets/dataset-cleanup.js';
import type { ExperimentWorkService } from '../src/experiments/experiment-work.service.js';
import { UnitBacklogStore } from '../src/experiments/unit-backlog.store.js';
import type { HarvestWorkService } from '../src/harvest/harvest-work.service.js';
import { FeedStore } from '../src/live/feed.store.js';
import type { Clock } from '../src/platform/clock.js';
import type { Doorbell } from '../src/platform/doorbell.js';
import type { Ids } from '../src/platform/ids.js';
import { createJobEngine } from '../src/platform/jobs/engine.js';
import type { Jobs } from '../src/platform/jobs/queue.js';
import type { Lifecycle } from '../src/platform/lifecycle.js';
import type { Logger } from '../src/platform/log.js';
import type { Metrics } from '../src/platform/metrics.js';
import type { ScheduleService } from '../src/schedules/schedule.service.js';
import { UpkeepService } from '../src/upkeep/upkeep.service.js';
import type { RunDeleter } from '../src/upkeep/upkeep.service.js';
import { UpkeepStore } from '../src/upkeep/upkeep.store.js';
import { startHealthServer } from './health-server.js';
import type { HealthServer } from './health-server.js';
import { measure } from './measure.js';
import { concurrency, implementations } from './registry.js';
import { startWorkers } from './worker-group.js';
import type { WorkerGroup } from './worker-group.js';

/** What of the app a worker process needs. */
export interface WorkerApp extends Jobs {
  readonly databaseUrl: string;
  readonly writes: pg.Pool;
  readonly doorbell: Doorbell;
  readonly metrics: Metrics;
  readonly log: Logger;
  readonly clock: Clock;
  readonly ids: Ids;
  readonly runs: RunDeleter;
  readonly datasetCleanup: DatasetCleanup;
  readonly schedules: ScheduleService;
  readonly experimentWork: ExperimentWorkService;
  readonly harvestWork: HarvestWorkService;
  /** One process at a time does the work, the others find it taken. */
  readonly indexer: { runOnce(): Promise<{ readonly behind: boolean }> };
  readonly feedback: { attachWaiting(): Promise<number> };
}

const GRACE_MS = 20_000;

/** Starts the handlers of every job. They share the caller's pool; the engine has connections of its own. */
export async function createWorkers(
  app: WorkerApp,
  config: Pick<Config, 'redis' | 'feed' | 'contentReads'>,
  lifecycle: Lifecycle,
): Promise<WorkerGroup> {
  const upkeep = new UpkeepService({
    pool: app.writes,
    store: new UpkeepStore({ pool: app.writes }),
    jobs: app.jobStore,
    attachments: new AttachmentStore({ pool: app.writes }),
    feed: new FeedStore({ pool: app.writes }),
    runs: app.runs,
    clock: app.clock,
    feedRetentionHours: config.feed.retentionHours,
    contentReads: new ContentReadPartitions({ pool: app.writes }),
    contentReadRetentionDays: config.contentReads.retentionDays,
  });
  // Before anything else: a run that arrives today must find its partition.
  await upkeep.ensurePartitions();
  const engine = await createJobEngine({
    connection:
      config.redis.kind === 'redis'
        ? { kind: 'redis', url: config.redis.url.reveal(), allowVolatile: config.redis.allowVolatile }
        : { kind: 'postgres', url: app.databaseUrl },
    queues: Object.keys(concurrency),
    log: app.log,
  });
  if (engine.pool !== undefined) app.metrics.watchPool('jobs', engine.pool);
  const backlog = new UnitBacklogStore({ db: app.writes });
  measure({
    metrics: app.metrics,
    partitionsAhead: () => upkeep.partitionsAhead(),
    unitBacklog: () => backlog.read(),
  });
  const group = await startWorkers({
    pool: app.writes,
    engine,
    store: app.jobStore,
    queue: app.jobQueue,
    doorbell: app.doorbell,
    services: {
      upkeep,
      datasetCleanup: app.datasetCleanup,
      schedules: app.schedules,
      experiments: app.experimentWork,
      harvests: app.harvestWork,
    },
    implementations,
    concurrency,
    // Not woken by the feed: searches look at what is not indexed themselves, and a second's worth is one batch.
    continuous: [
      { name: 'search.index', everyMs: 1_000, runOnce: async () => (await app.indexer.runOnce()).behind },
      // Feedback often comes before its run; readers find it meanwhile, subscribers hear of it once it is filed.
      {
        name: 'feedback.attach',
        everyMs: 2_000,
        runOnce: async () => (await app.feedback.attachWaiting()) > 0,
      },
    ],
    registry: app.metrics.registry,
    clock: app.clock,
    ids: app.ids,
    log: app.log,
  });
  lifecycle.onStop('workers', () => group.close(GRACE_MS), GRACE_MS + 8_000);
  return group;
}

/** The port probes and Prometheus ask. Ready while the process works and can reach the database. */
export async function serveHealth(
  app: WorkerApp,
  group: WorkerGroup,
  address: { readonly host: string; readonly port: number },
  lifecycle: Lifecycle,
): Promise<HealthServer> {
  const server = await startHealthServer({
    ...address,
    metrics: app.metrics,
    isReady: () => group.isHealthy() && !lifecycle.stopping,
    log: app.log,
  });
  lifecycle.onStop('health', () => server.close());
  return server;
}
