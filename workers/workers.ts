/** A worker process's parts, over the clients and services of app.ts: job engine, handlers, health port. */
import type pg from 'pg';
import type { Config } from '../src/config.js';
import { FEED_TOPIC } from '../src/live/feed.js';
import { FeedStore } from '../src/live/feed.store.js';
import type { Clock } from '../src/platform/clock.js';
import { transaction } from '../src/platform/db.js';
import type { Doorbell } from '../src/platform/doorbell.js';
import type { Ids } from '../src/platform/ids.js';
import { createJobEngine } from '../src/platform/jobs/engine.js';
import { createJobs } from '../src/platform/jobs/queue.js';
import type { Jobs } from '../src/platform/jobs/queue.js';
import type { Lifecycle } from '../src/platform/lifecycle.js';
import type { Logger } from '../src/platform/log.js';
import type { Metrics } from '../src/platform/metrics.js';
import { deleteRunsOfProject } from '../src/runs/run-deletion.store.js';
import { UpkeepService } from '../src/upkeep/upkeep.service.js';
import type { FeedTrimmer, RunDeleter } from '../src/upkeep/upkeep.service.js';
import { UpkeepStore } from '../src/upkeep/upkeep.store.js';
import { startHealthServer } from './health-server.js';
import type { HealthServer } from './health-server.js';
import { concurrency, implementations } from './registry.js';
import { startWorkers } from './worker-group.js';
import type { ContinuousWork, WorkerGroup } from './worker-group.js';

/** What of the app a worker process needs. */
export interface WorkerBase {
  readonly databaseUrl: string;
  readonly redisUrl: string | undefined;
  readonly writes: pg.Pool;
  readonly doorbell: Doorbell;
  readonly metrics: Metrics;
  readonly log: Logger;
  readonly clock: Clock;
  readonly ids: Ids;
}

export interface WorkerApp extends WorkerBase, Jobs {
  readonly feed: FeedTrimmer;
  readonly runs: RunDeleter;
}

/** Adds what only workers use. */
export function createWorkerApp(base: WorkerBase): WorkerApp {
  const { writes, doorbell } = base;
  return {
    ...base,
    ...createJobs(base),
    feed: new FeedStore({ pool: writes }),
    runs: {
      deleteProjectRuns: async (scope, projectId, { batch }) => {
        const step = await transaction(writes, (tx) => deleteRunsOfProject(tx, scope, projectId, batch));
        if (step.deleted > 0) doorbell.ring(FEED_TOPIC);
        return step;
      },
    },
  };
}

/** Whoever runs workers may add what follows the feed or keeps an index. */
export interface WorkersOptions {
  readonly continuous?: readonly ContinuousWork[];
}

const GRACE_MS = 20_000;

/** Starts the handlers of every job. They share the caller's pool; the engine has connections of its own. */
export async function createWorkers(
  app: WorkerApp,
  config: Pick<Config, 'redis' | 'feed'>,
  lifecycle: Lifecycle,
  { continuous = [] }: WorkersOptions = {},
): Promise<WorkerGroup> {
  const upkeep = new UpkeepService({
    pool: app.writes,
    store: new UpkeepStore({ pool: app.writes }),
    jobs: app.jobStore,
    feed: app.feed,
    runs: app.runs,
    clock: app.clock,
    feedRetentionHours: config.feed.retentionHours,
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
  const group = await startWorkers({
    pool: app.writes,
    engine,
    store: app.jobStore,
    queue: app.jobQueue,
    doorbell: app.doorbell,
    services: { upkeep },
    implementations,
    concurrency,
    continuous,
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
