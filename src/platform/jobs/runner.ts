/**
 * Runs deliveries: claims the row, calls the handler with a deadline, writes down how it went. An execution may be
 * overtaken by another one (its process froze, its lock expired); its claim number then no longer matches, and
 * everything it still tries through its claim is refused.
 */
import type pg from 'pg';
import { transaction } from '../db.js';
import { everywhere, inWorkspace } from '../db-scope.js';
import type { Doorbell } from '../doorbell.js';
import { AppError } from '../errors.js';
import type { Logger } from '../log.js';
import { annotate, inLinkedSpan, markFailed } from '../telemetry.js';
import { Undeliverable } from './engine.js';
import type { Deliver } from './engine.js';
import {
  afterFailure,
  Interrupted,
  JobTimeout,
  MAX_CRASHES,
  PermanentFailure,
  StaleExecution,
} from './job.js';
import type { JobContract } from './job.js';
import type { JobProgress, JobRow, JobStore } from './job.store.js';
import { startLoop } from './loop.js';
import type { Loop } from './loop.js';
import { CANCEL_TOPIC } from './queue.js';
import type { JobQueue } from './queue.js';

/** What an execution may do to the database, as long as it owns its job. */
export interface JobClaim {
  readonly jobId: string;
  /** Grows with each execution of the job. */
  readonly number: number;
  /**
   * One transaction of effects; the job cannot change hands until it ends. Keep it short.
   * @throws StaleExecution, and nothing is written, when the job has changed hands or was cancelled.
   */
  transaction<T>(work: (tx: pg.PoolClient) => Promise<T>): Promise<T>;
  /** Like `transaction`, and the job has succeeded with its commit: effect and "done" are one. */
  finish<T>(work: (tx: pg.PoolClient) => Promise<T>): Promise<T>;
}

export interface JobContext<P, S> {
  readonly payload: P;
  readonly workspaceId: string | null;
  readonly services: S;
  /** Aborted at the deadline, on cancellation, when the job changes hands and when the process must go. */
  readonly signal: AbortSignal;
  readonly log: Logger;
  /** Shown to who asks for the job. Cheap: written with the next heartbeat. */
  readonly progress: (progress: JobProgress) => void;
  readonly claim: JobClaim;
}

/** Idempotent: it may run again after any crash, and twice at once. Looks at `signal` between units of work. */
export type JobHandler<P, S> = (context: JobContext<P, S>) => Promise<void>;

export interface JobImplementation<S> {
  readonly contract: JobContract;
  readonly handler: JobHandler<unknown, S>;
}

/** Binds a handler to its contract; the payload it is given was checked against it. */
export function implementJob<P, S>(
  contract: JobContract<P>,
  handler: JobHandler<P, S>,
): JobImplementation<S> {
  return { contract: contract as JobContract, handler: handler as JobHandler<unknown, S> };
}

/** What the runner tells about its work; each is called once per execution. */
export interface RunnerObserver {
  started?(job: JobRow): void;
  ended?(
    job: JobRow,
    outcome: 'succeeded' | 'retried' | 'failed' | 'stale' | 'interrupted',
    seconds: number,
  ): void;
}

export interface RunnerOptions<S> {
  readonly pool: pg.Pool;
  readonly store: JobStore;
  readonly queue: JobQueue;
  readonly services: S;
  readonly implementations: readonly JobImplementation<S>[];
  readonly doorbell: Doorbell;
  readonly log: Logger;
  readonly observer?: RunnerObserver;
  /** Default 3,000; at most a third of the time after which an execution is taken for dead. */
  readonly heartbeatMs?: number;
}

interface Execution {
  readonly job: JobRow;
  readonly abort: AbortController;
  progress: JobProgress | undefined;
  /** The handler's own `finish` committed. */
  finished: boolean;
}

const MAX_ERROR_CHARS = 2_000;

export class JobRunner<S> {
  private readonly options: RunnerOptions<S>;
  private readonly implementations: ReadonlyMap<string, JobImplementation<S>>;
  private readonly executions = new Set<Execution>();
  private readonly idle = new Set<() => void>();
  private heartbeat: Loop | undefined;
  private unlisten: (() => void) | undefined;
  private stopping = false;
  /** Settles when the suspect whose turn it is has ended. */
  private suspects: Promise<void> = Promise.resolve();

  constructor(options: RunnerOptions<S>) {
    this.options = options;
    this.implementations = new Map(options.implementations.map((one) => [one.contract.name, one]));
  }

  start(): void {
    const { heartbeatMs = 3_000, doorbell, log } = this.options;
    this.heartbeat = startLoop({ name: 'heartbeat', everyMs: heartbeatMs, work: () => this.beat(), log });
    this.unlisten = doorbell.listen(CANCEL_TOPIC, (jobId) => {
      for (const execution of this.executions) if (execution.job.id === jobId) this.heartbeat?.wake();
    });
  }

  get running(): number {
    return this.executions.size;
  }

  /**
   * Waits for running handlers, at most `graceMs`; then aborts them and gives their jobs back. Deliveries that still
   * arrive are refused, which makes the engine deliver them again elsewhere.
   */
  async stop(graceMs: number): Promise<void> {
    this.stopping = true;
    await this.whenIdle(graceMs);
    for (const execution of this.executions) {
      execution.abort.abort(new Interrupted('The process is going down.'));
    }
    await this.whenIdle(2_000);
    this.unlisten?.();
    await this.heartbeat?.stop();
  }

  /** What the engine calls for each delivery. */
  readonly deliver: Deliver = (delivered) => everywhere('jobs', () => this.serve(delivered));

  private async serve({ jobId, delivery, isRedelivered }: Parameters<Deliver>[0]): Promise<void> {
    const { pool, store } = this.options;
    const maySuspect = isRedelivered || delivery > 1;
    if (!maySuspect || !(await store.isSuspect(pool, jobId))) return this.take(jobId, delivery);
    // Jobs whose process died run one after the other: when it dies again, only one of them can be to blame, and
    // those that merely ran beside it are not given up with it.
    const turn = this.suspects.then(() => this.take(jobId, delivery));
    this.suspects = turn.catch(() => undefined);
    return turn;
  }

  private async take(jobId: string, delivery: number): Promise<void> {
    if (this.stopping) throw new Interrupted('The process is going down.');
    const { pool, store } = this.options;
    const job = await store.claim(pool, jobId, delivery);
    // Finished, cancelled, removed, not due, or in other hands: nothing to do for this delivery.
    if (job === undefined) return;
    const implementation = this.implementations.get(job.name);
    if (implementation === undefined) {
      return this.fail(job, undefined, `No worker knows the job "${job.name}".`);
    }
    if (job.crashes >= MAX_CRASHES) {
      return this.fail(job, implementation.contract, `Its process died ${job.crashes} times while it ran.`);
    }
    const attributes = { 'tracewell.job.name': job.name, 'tracewell.job.id': job.id };
    await inLinkedSpan(`job ${job.name}`, job.traceparent, attributes, () =>
      this.execute(job, implementation),
    );
  }

  private async execute(job: JobRow, { contract, handler }: JobImplementation<S>): Promise<void> {
    const { observer, services } = this.options;
    const execution: Execution = { job, abort: new AbortController(), progress: undefined, finished: false };
    this.executions.add(execution);
    observer?.started?.(job);
    const began = performance.now();
    const { signal } = execution.abort;
    const deadline = setTimeout(() => {
      execution.abort.abort(new JobTimeout(`It took longer than ${contract.timeoutMs} ms.`));
    }, contract.timeoutMs);
    try {
      const payload = contract.payload.safeParse(job.payload);
      if (!payload.success) throw new PermanentFailure('Its payload is not what this version expects.');
      const handle = (): Promise<void> =>
        handler({
          payload: payload.data,
          workspaceId: job.workspaceId,
          services,
          signal,
          log: this.options.log.child({ job: job.name, jobId: job.id, claim: job.claim }),
          progress: (progress) => {
            execution.progress = progress;
          },
          claim: this.makeClaim(execution, contract),
        });
      const work = job.workspaceId === null ? handle() : inWorkspace(job.workspaceId, handle);
      await abortable(work, signal);
      const outcome = await this.succeed(execution, contract);
      this.ended(job, outcome, seconds(began));
    } catch (error) {
      const outcome = await this.settle(execution, contract, error);
      if (outcome === 'failed' || outcome === 'retried') markFailed(error);
      this.ended(job, outcome, seconds(began));
      if (outcome === 'failed') throw new Undeliverable(messageOf(error));
    } finally {
      clearTimeout(deadline);
      this.executions.delete(execution);
      if (this.executions.size === 0) for (const resolve of this.idle) resolve();
    }
  }

  private readonly ended: Required<RunnerObserver>['ended'] = (job, outcome, took) => {
    this.options.observer?.ended?.(job, outcome, took);
    annotate({ 'tracewell.job.outcome': outcome, 'tracewell.job.attempt': job.attempts });
  };

  private makeClaim(execution: Execution, contract: JobContract): JobClaim {
    const { pool, store } = this.options;
    const { id, claim } = execution.job;
    const fenced = <T>(
      work: (tx: pg.PoolClient) => Promise<T>,
      before: (tx: pg.PoolClient) => Promise<void>,
    ) =>
      transaction(pool, async (tx) => {
        if (!(await store.fence(tx, id, claim))) throw new StaleExecution('The job is in other hands.');
        const value = await work(tx);
        await before(tx);
        return value;
      });
    return {
      jobId: id,
      number: claim,
      transaction: (work) => fenced(work, () => Promise.resolve()),
      finish: async (work) => {
        const value = await fenced(work, async (tx) => {
          await store.finish(tx, id, claim, {
            state: 'succeeded',
            error: null,
            progress: execution.progress,
            keepMs: contract.keep.succeededMs,
          });
        });
        execution.finished = true;
        return value;
      },
    };
  }

  private async succeed(execution: Execution, contract: JobContract): Promise<'succeeded' | 'stale'> {
    if (execution.finished) return 'succeeded';
    const { pool, store } = this.options;
    const finished = await store.finish(pool, execution.job.id, execution.job.claim, {
      state: 'succeeded',
      error: null,
      progress: execution.progress,
      keepMs: contract.keep.succeededMs,
    });
    return finished ? 'succeeded' : 'stale';
  }

  private async settle(
    execution: Execution,
    contract: JobContract,
    error: unknown,
  ): Promise<'retried' | 'failed' | 'stale' | 'interrupted' | 'succeeded'> {
    const { job, progress } = execution;
    // What came after the job's own finish cannot undo it.
    if (execution.finished) return 'succeeded';
    if (error instanceof StaleExecution) return 'stale';
    if (error instanceof Interrupted) {
      const back = { delayMs: 0, error: null, progress, countsAsAttempt: false };
      return (await this.again(job, back)) ? 'interrupted' : 'stale';
    }
    const next = afterFailure(contract, job, error);
    this.options.log.warn(
      { err: error, job: job.name, jobId: job.id, attempt: job.attempts, next },
      'job failed',
    );
    if (next.kind === 'fail') {
      const { pool, store } = this.options;
      const ended = await store.finish(pool, job.id, job.claim, {
        state: 'failed',
        error: messageOf(error),
        progress,
        keepMs: contract.keep.failedMs,
      });
      return ended ? 'failed' : 'stale';
    }
    const retry = { delayMs: next.delayMs, error: messageOf(error), progress, countsAsAttempt: true };
    return (await this.again(job, retry)) ? 'retried' : 'stale';
  }

  /** Row and delivery in one transaction: a job that is to be tried again always has a delivery. */
  private async again(job: JobRow, how: Parameters<JobStore['retry']>[3]): Promise<boolean> {
    const { pool, store, queue } = this.options;
    const delivered = await transaction(pool, async (tx) => {
      const delivery = await store.retry(tx, job.id, job.claim, how);
      if (delivery !== undefined) await queue.deliver(tx, [delivery]);
      return delivery !== undefined;
    });
    queue.wake();
    return delivered;
  }

  private async fail(job: JobRow, contract: JobContract | undefined, error: string): Promise<void> {
    const { pool, store, log, observer } = this.options;
    log.error({ job: job.name, jobId: job.id, crashes: job.crashes }, error);
    const keepMs = contract?.keep.failedMs ?? 7 * 86_400_000;
    await store.finish(pool, job.id, job.claim, { state: 'failed', error, progress: undefined, keepMs });
    observer?.ended?.(job, 'failed', 0);
    throw new Undeliverable(error);
  }

  private async beat(): Promise<false> {
    if (this.executions.size === 0) return false;
    const { pool, store } = this.options;
    const beating = [...this.executions].filter((execution) => !execution.finished);
    const mine = await store.beat(
      pool,
      beating.map(({ job, progress }) => ({ jobId: job.id, claim: job.claim, progress })),
    );
    for (const execution of beating) {
      if (mine.has(execution.job.id) || execution.finished) continue;
      execution.abort.abort(new StaleExecution('The job was cancelled or is in other hands.'));
    }
    return false;
  }

  private async whenIdle(timeoutMs: number): Promise<void> {
    if (this.executions.size === 0) return;
    let timer: NodeJS.Timeout | undefined;
    let resolveIdle: () => void = () => undefined;
    const idle = new Promise<void>((resolve) => {
      resolveIdle = resolve;
      this.idle.add(resolve);
      timer = setTimeout(resolve, timeoutMs);
    });
    await idle;
    clearTimeout(timer);
    this.idle.delete(resolveIdle);
  }
}

/** Settles with the work, or as soon as the signal is aborted: a handler that does not listen is left behind, fenced. */
async function abortable(work: Promise<void>, signal: AbortSignal): Promise<void> {
  let onAbort: () => void = () => undefined;
  const aborted = new Promise<never>((_, reject) => {
    onAbort = () => reject(signal.reason instanceof Error ? signal.reason : new Error('Aborted.'));
    signal.addEventListener('abort', onAbort, { once: true });
  });
  try {
    await Promise.race([work, aborted]);
  } catch (error) {
    // A handler that listens fails with whatever its libraries make of an abort; the reason is what happened.
    throw signal.aborted && signal.reason instanceof Error ? signal.reason : error;
  } finally {
    signal.removeEventListener('abort', onAbort);
    work.catch(() => undefined);
  }
}

const seconds = (began: number): number => (performance.now() - began) / 1_000;

/**
 * What callers are shown. Messages that were written for them are kept; those of other errors may hold anything, so
 * they are in the log only.
 */
function messageOf(error: unknown): string {
  const isOurs =
    error instanceof PermanentFailure || error instanceof JobTimeout || error instanceof AppError;
  if (!isOurs) return 'An unexpected error; the log has it under the id of this job.';
  return error.message.slice(0, MAX_ERROR_CHARS).replaceAll('\u0000', '');
}
