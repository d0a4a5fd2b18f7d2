/**
 * BullMQ behind one factory, on Postgres or on Redis. The engine only delivers job ids, at least once; what is to
 * be done and whether it was done is in the jobs table.
 */
import type { EventEmitter } from 'node:events';
import { createPostgresBackend, Queue, UnrecoverableError, Worker } from 'bullmq';
import type { ConnectionOptions, Job, QueueOptions, WorkerOptions } from 'bullmq';
import type pg from 'pg';
import type { Cluster, Redis } from 'ioredis';
import { createRedis } from '../redis.js';
import { parseClusterUrl } from '../redis-url.js';
import type { Logger } from '../log.js';
import {
  createEnginePool,
  DELIVERY_NAME,
  DELIVERY_OPTIONS,
  findLive,
  prepareQueueSchema,
} from './bullmq-postgres.js';
import { deliveryId, SCHEDULE_QUEUE } from './job.js';
import type { Delivery } from './job.js';
import { guardRedis, redisPressure } from './redis-guard.js';

/**
 * A job of a dead process starts again after lock + stalled interval at the latest, 7 s in measurements. The event
 * loop must never be blocked for half of the lock.
 */
const LOCK_MS = 5_000;
const STALLED_EVERY_MS = 2_000;
const MAX_STALLED = 3;
/** A LISTEN connection that is half open sleeps until the queue's next delayed job; this is that job. */
const TICK_EVERY_MS = 10_000;
const TICK = 'tick';

export interface EngineConfig {
  readonly connection:
    | { readonly kind: 'postgres'; readonly url: string }
    | { readonly kind: 'redis'; readonly url: string; readonly allowVolatile?: boolean };
  /** Every queue this process adds to or works on. */
  readonly queues: readonly string[];
  readonly log: Logger;
  /** Namespace of the keys in Redis; tests share one server. */
  readonly prefix?: string;
}

export interface Delivered {
  readonly jobId: string;
  readonly delivery: number;
  readonly queue: string;
  /** The engine gave it to a worker before, who died or froze. */
  readonly isRedelivered: boolean;
}

/** What a worker is given. Throwing means "deliver again later"; `Undeliverable` means "never again". */
export type Deliver = (job: Delivered) => Promise<void>;

export interface WorkOptions {
  readonly queue: string;
  readonly concurrency: number;
  readonly deliver: Deliver;
  readonly onStalled?: () => void;
}

export interface Schedule {
  readonly id: string;
  readonly everyMs: number;
}

export interface JobEngine {
  readonly kind: 'postgres' | 'redis';
  /** Its connections, on Postgres. */
  readonly pool: pg.Pool | undefined;
  /** Hands deliveries over; one that the engine already holds is ignored. */
  add(deliveries: readonly Delivery[]): Promise<void>;
  /** Which of these ids of a queue still wait, are delayed or are being worked on. */
  live(queue: string, ids: readonly string[]): Promise<Set<string>>;
  /** Starts a worker; it takes jobs until `pause` or `close`. */
  work(options: WorkOptions): Promise<void>;
  /** Starts the worker that is told when a schedule is due. */
  workSchedules(due: (scheduleId: string) => Promise<void>): Promise<void>;
  /** Makes the engine's schedules and ticks what they should be: creates, changes, removes. Run it again and again. */
  reconcile(schedules: readonly Schedule[]): Promise<void>;
  /** 0 to 1: how full the engine's memory is. 0 where there is no limit. */
  pressure(): Promise<number>;
  /** Takes no further jobs; those being worked on go on. */
  pause(): void;
  /** Waits for jobs being worked on, at most `timeoutMs`, then closes all connections. Idempotent. */
  close(timeoutMs?: number): Promise<void>;
}

/** Thrown by `Deliver`: the job failed for good, and the engine is to keep the delivery among its failed ones. */
export class Undeliverable extends UnrecoverableError {}

interface Backend {
  readonly queueOptions: QueueOptions;
  readonly workerOptions: Omit<WorkerOptions, 'concurrency'>;
  readonly pool: pg.Pool | undefined;
  readonly redis: Redis | Cluster | undefined;
  disconnect(): Promise<void>;
}

/**
 * Connects, makes BullMQ's tables where they are missing, and checks the Redis.
 * @throws UnsafeRedis when the Redis may lose jobs.
 */
export async function createJobEngine(config: EngineConfig): Promise<JobEngine> {
  const backend = config.connection.kind === 'postgres' ? await onPostgres(config) : await onRedis(config);
  return new BullEngine(config, backend);
}

async function onPostgres({ connection, queues, log }: EngineConfig): Promise<Backend> {
  await prepareQueueSchema(connection.url);
  const pool = createEnginePool({ url: connection.url, listeners: queues.length + 1, log });
  // BullMQ types the connection as Redis options unless the class is bound to a backend type.
  const options = { connection: pool as unknown as ConnectionOptions };
  return {
    queueOptions: options,
    workerOptions: options,
    pool,
    redis: undefined,
    disconnect: () => pool.end(),
  };
}

async function onRedis({ connection, log, prefix = 'tracewell' }: EngineConfig): Promise<Backend> {
  const redis = createRedis({ url: connection.url, name: 'jobs', use: 'jobs', log });
  const options = {
    connection: redis as unknown as ConnectionOptions,
    // BullMQ's scripts touch several keys; the braces keep all of them at one node.
    prefix: parseClusterUrl(connection.url) === undefined ? prefix : `{${prefix}}`,
  };
  try {
    await guardRedis(redis, {
      allowVolatile: connection.kind === 'redis' && connection.allowVolatile === true,
      log,
    });
  } catch (error) {
    redis.disconnect();
    throw error;
  }
  return {
    queueOptions: options,
    workerOptions: options,
    pool: undefined,
    redis,
    disconnect: async () => {
      await Promise.race([redis.quit().catch(() => undefined), expire(1_000)]);
      redis.disconnect();
    },
  };
}

const expire = (ms: number): Promise<'expired'> =>
  new Promise((resolve) => {
    setTimeout(() => resolve('expired'), ms).unref();
  });

class BullEngine implements JobEngine {
  readonly kind: 'postgres' | 'redis';
  readonly pool: pg.Pool | undefined;
  private readonly log: Logger;
  private readonly backend: Backend;
  private readonly queues: ReadonlyMap<string, Queue>;
  private readonly workers: Worker[] = [];
  private closing: Promise<void> | undefined;

  constructor(config: EngineConfig, backend: Backend) {
    this.kind = config.connection.kind;
    this.log = config.log;
    this.backend = backend;
    this.pool = backend.pool;
    this.queues = new Map(
      [...config.queues, SCHEDULE_QUEUE].map((name) => [name, this.watch(this.makeQueue(name), name)]),
    );
  }

  async add(deliveries: readonly Delivery[]): Promise<void> {
    for (const queue of new Set(deliveries.map((delivery) => delivery.queue))) {
      const group = deliveries.filter((delivery) => delivery.queue === queue);
      await this.queue(queue).addBulk(
        group.map((delivery) => ({
          name: DELIVERY_NAME,
          data: { jobId: delivery.jobId, delivery: delivery.delivery },
          opts: {
            ...DELIVERY_OPTIONS,
            jobId: deliveryId(delivery),
            priority: delivery.priority,
            delay: Math.max(0, Math.round(delivery.delayMs)),
          },
        })),
      );
    }
  }

  async live(queue: string, ids: readonly string[]): Promise<Set<string>> {
    if (this.backend.pool !== undefined) return findLive(this.backend.pool, queue, ids);
    const bull = this.queue(queue);
    const states = await Promise.all(ids.map((id) => bull.getJobState(id)));
    const gone = new Set(['completed', 'failed', 'unknown']);
    return new Set(ids.filter((_, index) => !gone.has(states[index] ?? 'unknown')));
  }

  async work({ queue, concurrency, deliver, onStalled }: WorkOptions): Promise<void> {
    await this.startWorker(
      queue,
      concurrency,
      onStalled,
      async (job: Job<{ jobId: string; delivery: number }>) => {
        if (job.name !== TICK) await deliver({ ...job.data, queue, isRedelivered: job.stalledCounter > 0 });
      },
    );
  }

  async workSchedules(due: (scheduleId: string) => Promise<void>): Promise<void> {
    await this.startWorker(SCHEDULE_QUEUE, 1, undefined, async (job) => {
      if (job.name !== TICK) await due(job.name);
    });
  }

  async reconcile(schedules: readonly Schedule[]): Promise<void> {
    const once = { removeOnComplete: true, removeOnFail: true };
    for (const [name, queue] of this.queues) {
      await queue.upsertJobScheduler(TICK, { every: TICK_EVERY_MS }, { name: TICK, opts: once });
      if (name !== SCHEDULE_QUEUE) continue;
      for (const { id, everyMs } of schedules) {
        await queue.upsertJobScheduler(id, { every: everyMs }, { name: id, opts: once });
      }
      const wanted = new Set([TICK, ...schedules.map((schedule) => schedule.id)]);
      for (const found of await queue.getJobSchedulers(0, 999)) {
        if (!wanted.has(found.key)) await queue.removeJobScheduler(found.key);
      }
    }
  }

  async pressure(): Promise<number> {
    return this.backend.redis === undefined ? 0 : redisPressure(this.backend.redis);
  }

  pause(): void {
    for (const worker of this.workers) void worker.pause(true);
  }

  close(timeoutMs = 25_000): Promise<void> {
    this.closing ??= this.shutDown(timeoutMs);
    return this.closing;
  }

  /** Workers before their pool: a worker whose pool has ended asks it again without a pause, for ever. */
  private async shutDown(timeoutMs: number): Promise<void> {
    const closed = Promise.all(this.workers.map((worker) => worker.close()));
    if ((await Promise.race([closed, expire(timeoutMs)])) === 'expired') {
      this.log.warn({ timeoutMs }, 'workers did not finish in time; their jobs will be delivered again');
      for (const worker of this.workers) await Promise.race([worker.disconnect(), expire(1_000)]);
    }
    await Promise.race([Promise.all([...this.queues.values()].map((queue) => queue.close())), expire(2_000)]);
    await Promise.race([this.backend.disconnect(), expire(2_000)]);
  }

  private queue(name: string): Queue {
    const queue = this.queues.get(name);
    if (queue === undefined) throw new Error(`The job engine was not given the queue "${name}".`);
    return queue;
  }

  private makeQueue(name: string): Queue {
    if (this.backend.pool === undefined) return new Queue(name, this.backend.queueOptions);
    return new Queue(name, this.backend.queueOptions, createPostgresBackend as never);
  }

  private async startWorker<D>(
    name: string,
    concurrency: number,
    onStalled: (() => void) | undefined,
    processor: (job: Job<D>) => Promise<void>,
  ): Promise<void> {
    const options: WorkerOptions = {
      ...this.backend.workerOptions,
      autorun: false,
      concurrency,
      lockDuration: LOCK_MS,
      stalledInterval: STALLED_EVERY_MS,
      maxStalledCount: MAX_STALLED,
    };
    const worker =
      this.backend.pool === undefined
        ? new Worker<D>(name, processor, options)
        : (new Worker(
            name,
            processor as never,
            options,
            createPostgresBackend as never,
          ) as unknown as Worker<D>);
    this.watch(worker, name);
    worker.on('stalled', () => onStalled?.());
    await worker.waitUntilReady();
    this.workers.push(worker);
    worker.run().catch((error: unknown) => this.log.error({ err: error, queue: name }, 'worker stopped'));
  }

  private watch<T extends Pick<EventEmitter, 'on'>>(source: T, queue: string): T {
    // Without a listener an error event would end the process.
    source.on('error', (error: Error) => {
      if (this.closing === undefined) this.log.warn({ err: error, queue }, 'job queue trouble');
    });
    return source;
  }
}
