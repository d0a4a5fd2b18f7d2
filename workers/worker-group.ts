/**
 * All that works on jobs in one process: a worker per queue, schedules, the outbox dispatcher, the sweeper and the
 * search indexer. Made and closed as one, so that it can share a process with a gateway.
 */
import type pg from 'pg';
import type { Registry } from 'prom-client';
import type { Clock } from '../src/platform/clock.js';
import { transaction } from '../src/platform/db.js';
import { everywhere } from '../src/platform/db-scope.js';
import type { Doorbell } from '../src/platform/doorbell.js';
import type { Ids } from '../src/platform/ids.js';
import { OutboxDispatcher } from '../src/platform/jobs/dispatcher.js';
import type { JobEngine } from '../src/platform/jobs/engine.js';
import { createJobMetrics } from '../src/platform/jobs/job-metrics.js';
import type { JobStore } from '../src/platform/jobs/job.store.js';
import { startLoop } from '../src/platform/jobs/loop.js';
import type { Loop } from '../src/platform/jobs/loop.js';
import type { JobQueue } from '../src/platform/jobs/queue.js';
import { JobRunner } from '../src/platform/jobs/runner.js';
import type { JobImplementation } from '../src/platform/jobs/runner.js';
import { JobSweeper } from '../src/platform/jobs/sweeper.js';
import type { Logger } from '../src/platform/log.js';

const REPORT_EVERY_MS = 5_000;

/** Work that never ends and belongs to no job, such as keeping an index up to date. Woken by a doorbell. */
export interface ContinuousWork {
  readonly name: string;
  readonly everyMs: number;
  readonly topic?: string;
  /** One round. True: there is more to do at once. */
  readonly runOnce: () => Promise<boolean>;
}

export interface WorkerGroupOptions<S> {
  readonly pool: pg.Pool;
  readonly engine: JobEngine;
  readonly store: JobStore;
  readonly queue: JobQueue;
  readonly doorbell: Doorbell;
  readonly services: S;
  readonly implementations: readonly JobImplementation<S>[];
  /** Jobs that run at once, by queue; every queue of the implementations has an entry. */
  readonly concurrency: Readonly<Record<string, number>>;
  readonly continuous?: readonly ContinuousWork[];
  readonly registry: Registry;
  readonly clock: Clock;
  readonly ids: Ids;
  readonly log: Logger;
  /** Default 15. Tests are in a hurry. */
  readonly sweepSeconds?: number;
}

export interface WorkerGroup {
  /** Whether this process showed itself to the others within the last 15 s: its database answers. */
  readonly isHealthy: () => boolean;
  /** Carries what is due now; for tests and for a process that is about to end. */
  readonly dispatcher: OutboxDispatcher;
  readonly sweeper: JobSweeper;
  /** Lets running jobs end for at most `graceMs`, gives the rest back, closes the engine. Idempotent. */
  close(graceMs?: number): Promise<void>;
}

/** Starts everything. A schedule the engine does not know yet, or whose time passed meanwhile, is due at once. */
export async function startWorkers<S>(options: WorkerGroupOptions<S>): Promise<WorkerGroup> {
  const { pool, engine, store, queue, doorbell, implementations, log } = options;
  const queues = queuesOf(options);
  const dispatcher = new OutboxDispatcher({ pool, store, engine, doorbell, log });
  const metrics = createJobMetrics({
    registry: options.registry,
    outboxAgeSeconds: () => store.outboxAgeSeconds(pool),
    isPressed: () => dispatcher.isPressed,
    now: () => options.clock.now().getTime(),
  });
  const runner = new JobRunner({ ...options, observer: metrics.observer });
  const scheduled = implementations.map(({ contract }) => contract).filter((contract) => contract.schedule);
  const sweeper = new JobSweeper({
    pool,
    store,
    engine,
    queue,
    queues,
    schedules: scheduled.map(({ name, schedule }) => ({ id: name, everyMs: schedule?.everyMs ?? 0 })),
    log,
    ...(options.sweepSeconds !== undefined && { everySeconds: options.sweepSeconds }),
  });

  const enqueueScheduled = async (name: string): Promise<void> => {
    const contract = scheduled.find((one) => one.name === name);
    // A schedule of another version; reconciling removes it.
    if (contract?.schedule === undefined) return;
    const { payload } = contract.schedule;
    await everywhere('jobs', () =>
      transaction(pool, (tx) =>
        queue.enqueue(tx, contract, payload, { workspaceId: null, actor: 'schedule' }),
      ),
    );
    queue.wake();
  };

  const workerId = options.ids.uuid();
  let seenAt = performance.now();
  const loops: Loop[] = [
    startLoop({
      name: 'presence',
      everyMs: REPORT_EVERY_MS,
      work: async () => {
        await store.reportWorker(pool, workerId, queues);
        seenAt = performance.now();
        return false;
      },
      log,
    }),
  ];
  const unlisten: (() => void)[] = [];
  for (const work of options.continuous ?? []) {
    const loop = startLoop({ name: work.name, everyMs: work.everyMs, work: work.runOnce, log });
    loops.push(loop);
    if (work.topic !== undefined) unlisten.push(doorbell.listen(work.topic, () => loop.wake()));
  }

  runner.start();
  dispatcher.start();
  for (const name of queues) {
    await engine.work({
      queue: name,
      concurrency: options.concurrency[name] ?? 1,
      deliver: runner.deliver,
      onStalled: () => metrics.stalled(name),
    });
  }
  await engine.workSchedules(enqueueScheduled);
  sweeper.start();

  let closing: Promise<void> | undefined;
  const shutDown = async (graceMs: number): Promise<void> => {
    engine.pause();
    for (const stopListening of unlisten) stopListening();
    await Promise.all([runner.stop(graceMs), ...loops.map((loop) => loop.stop()), sweeper.stop()]);
    await dispatcher.stop();
    await engine.close(3_000);
    await store.removeWorker(pool, workerId);
  };
  return {
    isHealthy: () => performance.now() - seenAt < 3 * REPORT_EVERY_MS,
    dispatcher,
    sweeper,
    close: (graceMs = 20_000) => (closing ??= shutDown(graceMs)),
  };
}

function queuesOf<S>({ implementations, concurrency }: WorkerGroupOptions<S>): string[] {
  const names = implementations.map(({ contract }) => contract.name);
  const twice = names.find((name, index) => names.indexOf(name) !== index);
  if (twice !== undefined) throw new Error(`Job ${twice} has two handlers.`);
  const queues = [...new Set(implementations.map(({ contract }) => contract.queue))];
  const missing = queues.find((queue) => concurrency[queue] === undefined);
  if (missing !== undefined) throw new Error(`Queue ${missing} has no concurrency.`);
  return queues;
}
