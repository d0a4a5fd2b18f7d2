/** One jobs kit over a real engine, with jobs whose handlers tests supply. */
import { randomUUID } from 'node:crypto';
import type pg from 'pg';
import { Registry } from 'prom-client';
import { z } from 'zod';
import { systemClock } from '../../src/platform/clock.js';
import { createPool, transaction } from '../../src/platform/db.js';
import { createDoorbell } from '../../src/platform/doorbell-factory.js';
import type { Doorbell } from '../../src/platform/doorbell.js';
import { systemIds } from '../../src/platform/ids.js';
import { createJobEngine } from '../../src/platform/jobs/engine.js';
import type { EngineConfig, JobEngine } from '../../src/platform/jobs/engine.js';
import { defineJob } from '../../src/platform/jobs/job.js';
import type { JobContract, JobOptions } from '../../src/platform/jobs/job.js';
import { JOB_COLUMNS, JobStore } from '../../src/platform/jobs/job.store.js';
import type { JobRow } from '../../src/platform/jobs/job.store.js';
import { JobQueue } from '../../src/platform/jobs/queue.js';
import { implementJob } from '../../src/platform/jobs/runner.js';
import type { JobHandler, JobImplementation } from '../../src/platform/jobs/runner.js';
import { createLogger } from '../../src/platform/log.js';
import { startWorkers } from '../../workers/worker-group.js';
import type { WorkerGroup } from '../../workers/worker-group.js';
import { createTestDatabase } from '../support/database.js';
import type { TestDatabase } from '../support/database.js';
import { hasRedisServer, startRedisCluster } from '../support/redis-cluster.js';
import type { RedisCluster } from '../support/redis-cluster.js';

export const log = createLogger(process.env['TEST_LOG_LEVEL'] ?? 'silent', 'test');
export const redisUrl = process.env['TEST_REDIS_URL'];

export type EngineName = 'postgres' | 'postgres with outbox' | 'redis' | 'redis cluster';
/** The legs of every suite; Redis where there is one. */
export const engineNames: EngineName[] = [
  'postgres',
  'postgres with outbox',
  ...(redisUrl === undefined ? [] : (['redis'] as const)),
  ...(hasRedisServer ? (['redis cluster'] as const) : []),
];

export const unitPayload = z.object({ unit: z.string() });
export type Unit = z.infer<typeof unitPayload>;

export function defineUnitJob(options: Partial<JobOptions<Unit>> = {}): JobContract<Unit> {
  return defineJob({
    name: 'test.work',
    queue: 'work',
    payload: unitPayload,
    attempts: 3,
    backoff: { kind: 'fixed', delayMs: 50 },
    timeoutMs: 60_000,
    ...options,
  });
}

export interface Kit {
  readonly name: EngineName;
  readonly database: TestDatabase;
  readonly url: string;
  readonly prefix: string;
  /** Its own, on the engine of that name; other kits share one Redis. */
  readonly cluster: RedisCluster | undefined;
  readonly pool: pg.Pool;
  readonly store: JobStore;
  readonly doorbell: Doorbell;
  readonly queue: JobQueue;
  readonly newEngine: (queues?: readonly string[]) => Promise<JobEngine>;
  /** Starts a group of workers that the kit closes at the end. */
  readonly work: (
    implementations: readonly JobImplementation<null>[],
    sweepSeconds?: number,
  ) => Promise<WorkerGroup>;
  readonly enqueue: (contract: JobContract<Unit>, unit: string, workspaceId?: string) => Promise<string>;
  readonly job: (id: string) => Promise<JobRow>;
  readonly results: (unit: string) => Promise<number>;
  readonly close: () => Promise<void>;
}

export const handle = (
  contract: JobContract<Unit>,
  handler: JobHandler<Unit, null>,
): JobImplementation<null> => implementJob<Unit, null>(contract, handler);

/** The effect of a unit: a row that counts how often it happened. */
export async function recordResult(
  tx: Pick<pg.PoolClient, 'query'>,
  unit: string,
  claim: number,
): Promise<void> {
  await tx.query('insert into test_results (unit, claim) values ($1, $2)', [unit, claim]);
}

export function engineConnection(
  name: EngineName,
  url: string,
  clusterUrl?: string,
): EngineConfig['connection'] {
  if (name === 'redis') return { kind: 'redis', url: redisUrl ?? '' };
  return clusterUrl === undefined ? { kind: 'postgres', url } : { kind: 'redis', url: clusterUrl };
}

export async function createKit(name: EngineName): Promise<Kit> {
  const database = await createTestDatabase();
  await database.pool.query('create table test_results (unit text not null, claim bigint not null)');
  await database.pool.query('create table test_starts (unit text not null, claim bigint not null)');
  const cluster = name === 'redis cluster' ? await startRedisCluster() : undefined;
  return connectKit(name, database, `t${randomUUID().slice(0, 8)}`, cluster);
}

export async function connectKit(
  name: EngineName,
  database: TestDatabase,
  prefix: string,
  cluster?: RedisCluster,
): Promise<Kit> {
  const { url } = database;
  const pool = createPool({ url, name: 'test-jobs', max: 8, statementTimeoutMs: 10_000, log });
  const store = new JobStore();
  const connection = engineConnection(name, url, cluster?.url);
  const doorbell = createDoorbell({
    databaseUrl: url,
    redisUrl: connection.kind === 'redis' ? connection.url : undefined,
    log,
  });
  const delivery = name === 'postgres' ? 'transactional' : 'outbox';
  const queue = new JobQueue({ store, ids: systemIds, doorbell, delivery });
  const newEngine = (queues: readonly string[] = ['work']) =>
    createJobEngine({ connection, queues, log, prefix });
  if (connection.kind === 'postgres') await (await newEngine()).close();
  const groups: WorkerGroup[] = [];
  return {
    name,
    database,
    url,
    prefix,
    cluster,
    pool,
    store,
    doorbell,
    queue,
    newEngine,
    work: async (implementations, sweepSeconds = 1) => {
      const group = await startWorkers({
        pool,
        engine: await newEngine([...new Set(implementations.map((one) => one.contract.queue))]),
        store,
        queue,
        doorbell,
        services: null,
        implementations,
        concurrency: { work: 4, slow: 1 },
        registry: new Registry(),
        clock: systemClock,
        ids: systemIds,
        log,
        sweepSeconds,
      });
      groups.push(group);
      return group;
    },
    enqueue: async (contract, unit, workspaceId) => {
      const { id } = await transaction(pool, (tx) =>
        queue.enqueue(tx, contract, { unit }, { workspaceId: workspaceId ?? null }),
      );
      queue.wake();
      return id;
    },
    job: async (id) => {
      const { rows } = await pool.query<JobRow & Record<string, unknown>>(
        `select ${JOB_COLUMNS} from jobs where id = $1`,
        [id],
      );
      if (rows[0] === undefined) throw new Error(`no job ${id}`);
      return rows[0];
    },
    results: async (unit) => {
      const { rows } = await pool.query<{ n: number }>(
        'select count(*) as n from test_results where unit = $1',
        [unit],
      );
      return rows[0]?.n ?? 0;
    },
    close: async () => {
      await Promise.all(groups.map((group) => group.close(1_000)));
      await doorbell.close();
      await pool.end();
      await cluster?.stop();
      await database.drop();
    },
  };
}
