/**
 * What a job is: its contract as data, its states, and the rules for trying again. Pure: no I/O.
 *
 * A job row moves queued → running → succeeded | failed. A failure that counts moves it to waiting until run_at
 * and back to running; so does a start in the future. cancelled is reached from every active state.
 */
import { createHash } from 'node:crypto';
import type { z } from 'zod';

export const JOB_STATES = ['queued', 'running', 'waiting', 'succeeded', 'failed', 'cancelled'] as const;
export type JobState = (typeof JOB_STATES)[number];

export type Backoff =
  | { readonly kind: 'fixed'; readonly delayMs: number }
  /** `baseMs` doubled with each attempt, at most `maxMs`, less up to half of it by chance. */
  | { readonly kind: 'exponential'; readonly baseMs: number; readonly maxMs: number };

export interface JobContract<P = unknown> {
  /** `domain.verb`, unique over the program. */
  readonly name: string;
  /** Jobs of one queue share workers; letters, digits and dashes. */
  readonly queue: string;
  /** Ids and versions only. Fields added later are optional: jobs of the last release are still queued. */
  readonly payload: z.ZodType<P>;
  /** Executions that may fail before the job does. Executions that die with their process are counted apart. */
  readonly attempts: number;
  readonly backoff: Backoff;
  /** An execution longer than this is aborted and counts as failed. */
  readonly timeoutMs: number;
  /**
   * At most one active job per name, workspace and this id; a second one is absorbed by the first. So a handler
   * whose work can grow while it runs looks again before it ends.
   */
  readonly dedupeId?: (payload: P) => string;
  /** Makes a job of the whole installation again and again; at the latest this long after the last was made. */
  readonly schedule?: { readonly everyMs: number; readonly payload: P };
  /** How long the finished row can be looked up. */
  readonly keep: { readonly succeededMs: number; readonly failedMs: number };
}

const DAY_MS = 86_400_000;
const NAME = /^[a-z][a-z0-9_]*\.[a-z][a-z0-9_]*$/;
const QUEUE = /^[a-z][a-z0-9-]*$/;

/** The queue the schedules of all contracts live in; no contract may use it. */
export const SCHEDULE_QUEUE = 'schedules';

export type JobOptions<P> = Omit<JobContract<P>, 'keep'> & Partial<Pick<JobContract<P>, 'keep'>>;

/** @throws when a name, a count or a time makes no sense: that is a mistake in the program. */
export function defineJob<P>(options: JobOptions<P>): JobContract<P> {
  if (!NAME.test(options.name)) throw new Error(`Job name "${options.name}" is not of the form domain.verb.`);
  if (!QUEUE.test(options.queue) || options.queue === SCHEDULE_QUEUE) {
    throw new Error(`Job ${options.name} cannot use the queue "${options.queue}".`);
  }
  if (options.attempts < 1 || options.timeoutMs < 1) throw new Error(`Job ${options.name} could never run.`);
  return Object.freeze({ keep: { succeededMs: DAY_MS, failedMs: 7 * DAY_MS }, ...options });
}

/** The job cannot succeed, however often it is tried: what it works on is gone or refused. */
export class PermanentFailure extends Error {
  override readonly name = 'PermanentFailure';
}

/** Another execution owns the job now, or it was cancelled: nothing this one does counts any more. */
export class StaleExecution extends Error {
  override readonly name = 'StaleExecution';
}

/** The process is going down; the job goes back to the queue and the execution is not counted. */
export class Interrupted extends Error {
  override readonly name = 'Interrupted';
}

/** The deadline of one execution. Counts as a failure. */
export class JobTimeout extends Error {
  override readonly name = 'JobTimeout';
}

/** Executions that may die with their process before the job is given up: it is likely what kills them. */
export const MAX_CRASHES = 3;

/** What to do after an execution failed. `attempts` includes the one that failed. */
export function afterFailure(
  contract: Pick<JobContract, 'attempts' | 'backoff'>,
  job: { readonly id: string; readonly attempts: number },
  error: unknown,
): { readonly kind: 'fail' } | { readonly kind: 'retry'; readonly delayMs: number } {
  if (error instanceof PermanentFailure || job.attempts >= contract.attempts) return { kind: 'fail' };
  return { kind: 'retry', delayMs: backoffMs(contract.backoff, job.id, job.attempts) };
}

/** Chance is drawn from the job's id, so that jobs that failed together come back apart and tests are exact. */
export function backoffMs(backoff: Backoff, jobId: string, attempt: number): number {
  if (backoff.kind === 'fixed') return backoff.delayMs;
  const full = Math.min(backoff.baseMs * 2 ** Math.min(attempt - 1, 30), backoff.maxMs);
  const chance = createHash('sha1').update(`${jobId}/${attempt}`).digest().readUInt32BE(0) / 2 ** 32;
  return Math.round(full * (1 - chance / 2));
}

/** One handing over of a job to the engine. */
export interface Delivery {
  readonly jobId: string;
  /** Grows with each retry and each repair by the sweeper. */
  readonly delivery: number;
  readonly queue: string;
  readonly priority: number;
  readonly delayMs: number;
}

/** The engine's job id. Not an integer and without a colon: BullMQ refuses those. */
export const deliveryId = (job: { readonly jobId: string; readonly delivery: number }): string =>
  `job-${job.jobId}-${job.delivery}`;
