/**
 * Compares the jobs table with what the engine holds and delivers again what was lost: by a flushed Redis, by a
 * worker that died at a bad moment, by a bug. Several may run at once; every change names the state it saw.
 */
import type pg from 'pg';
import { transaction } from '../db.js';
import { everywhere } from '../db-scope.js';
import type { Logger } from '../log.js';
import type { JobEngine, Schedule } from './engine.js';
import { deliveryId, MAX_CRASHES } from './job.js';
import type { JobStore, SweptJob } from './job.store.js';
import { startLoop } from './loop.js';
import type { Loop } from './loop.js';
import type { JobQueue } from './queue.js';

const BATCH = 500;
const FAILED_KEEP_MS = 7 * 86_400_000;

export interface SweeperOptions {
  readonly pool: pg.Pool;
  readonly store: JobStore;
  readonly engine: JobEngine;
  readonly queue: JobQueue;
  readonly schedules: readonly Schedule[];
  /** Queues the engine was given; jobs of other queues are somebody else's to look after. */
  readonly queues: readonly string[];
  readonly log: Logger;
  /** Default 15. A job is looked at when it was made, or looked at, this long ago. */
  readonly everySeconds?: number;
  /** Default 60. How often schedules are put right. */
  readonly reconcileSeconds?: number;
}

export class JobSweeper {
  private readonly options: SweeperOptions;
  private readonly loops: Loop[] = [];

  constructor(options: SweeperOptions) {
    this.options = options;
  }

  start(): void {
    const { log, everySeconds = 15, reconcileSeconds = 60 } = this.options;
    this.loops.push(
      startLoop({
        name: 'schedules',
        everyMs: reconcileSeconds * 1_000,
        work: () => this.reconcile().then(() => false),
        log,
      }),
      startLoop({
        name: 'sweeper',
        everyMs: everySeconds * 1_000,
        work: async () => (await this.sweepOnce()) === BATCH,
        log,
      }),
    );
  }

  async stop(): Promise<void> {
    await Promise.all(this.loops.map((loop) => loop.stop()));
  }

  /** Puts the engine's schedules right: a flushed Redis loses them without a word. */
  async reconcile(): Promise<void> {
    await this.options.engine.reconcile(this.options.schedules);
  }

  /** One look. Returns how many jobs were looked at. */
  sweepOnce(): Promise<number> {
    return everywhere('jobs', () => this.sweep());
  }

  private async sweep(): Promise<number> {
    const { pool, store, engine, queues, everySeconds = 15 } = this.options;
    const jobs = await store.listUnchecked(pool, everySeconds, BATCH);
    const known: string[] = [];
    for (const queue of new Set(jobs.map((job) => job.queue))) {
      const ofQueue = jobs.filter((job) => job.queue === queue);
      if (!queues.includes(queue)) {
        known.push(...ofQueue.map((job) => job.id));
        continue;
      }
      const live = await engine.live(queue, ofQueue.map(idOf));
      known.push(...ofQueue.filter((job) => live.has(idOf(job))).map((job) => job.id));
      for (const job of ofQueue) if (!live.has(idOf(job))) await this.repair(job);
    }
    if (known.length > 0) await store.markChecked(pool, known);
    return jobs.length;
  }

  private async repair(job: SweptJob): Promise<void> {
    const { pool, store, queue, log } = this.options;
    if (job.state === 'running' && job.crashes + 1 >= MAX_CRASHES) {
      const buried = await store.bury(
        pool,
        job,
        `Its process died ${MAX_CRASHES} times while it ran.`,
        FAILED_KEEP_MS,
      );
      if (buried) log.error({ jobId: job.id }, 'job given up: its process keeps dying');
      return;
    }
    const repaired = await transaction(pool, async (tx) => {
      const delivery = await store.redeliver(tx, job);
      if (delivery !== undefined) await queue.deliver(tx, [delivery]);
      return delivery !== undefined;
    });
    if (!repaired) return;
    log.warn({ jobId: job.id, state: job.state }, 'the queue had lost this job; it was delivered again');
    queue.wake();
  }
}

const idOf = (job: SweptJob): string => deliveryId({ jobId: job.id, delivery: job.delivery });
