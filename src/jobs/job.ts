/** A job as its workspace sees it, and why it waits. Pure: no I/O. */
import type { JobState } from '../platform/jobs/job.js';
import type { JobProgress, WaitingFacts } from '../platform/jobs/job.store.js';

export interface Job {
  readonly uuid: string;
  readonly name: string;
  readonly queue: string;
  readonly state: JobState;
  readonly progress: JobProgress | null;
  readonly attempts: number;
  readonly maxAttempts: number;
  readonly waitingReason: 'scheduled' | 'retry' | null;
  readonly error: string | null;
  readonly runAt: string;
  readonly createdAt: string;
  readonly startedAt: string | null;
  readonly finishedAt: string | null;
}

export interface JobFilter {
  readonly states?: readonly JobState[];
  readonly name?: string;
}

export type WaitingKind = 'SCHEDULED' | 'RETRY' | 'OUTBOX' | 'NO_WORKER' | 'LINE';

export interface Waiting {
  readonly kind: WaitingKind;
  /** One English sentence. */
  readonly reason: string;
  /** Jobs that come first; at most MAX_AHEAD. */
  readonly ahead: number | null;
  readonly until: string | null;
}

/** Counting a line stops here. */
const MAX_AHEAD = 1_000;

/** Why the job does not run now; null for one that runs or has ended. The first obstacle counts. */
export function whyWaiting(job: Job, facts: WaitingFacts | undefined): Waiting | null {
  if (job.state === 'waiting') {
    const kind = job.waitingReason === 'retry' ? 'RETRY' : 'SCHEDULED';
    const reason =
      kind === 'RETRY'
        ? `Attempt ${job.attempts} of ${job.maxAttempts} failed; the next is at ${toIso(job.runAt)}.`
        : `It is scheduled for ${toIso(job.runAt)}.`;
    return { kind, reason, ahead: null, until: job.runAt };
  }
  if (job.state !== 'queued' || facts === undefined) return null;
  if (!facts.hasWorker) {
    return { kind: 'NO_WORKER', reason: 'No worker is connected.', ahead: null, until: null };
  }
  if (facts.inOutbox) {
    return {
      kind: 'OUTBOX',
      reason: 'It is waiting for the outbox to reach the queue.',
      ahead: null,
      until: null,
    };
  }
  const { ahead } = facts;
  const count = ahead >= MAX_AHEAD ? `${MAX_AHEAD} or more jobs` : ahead === 1 ? '1 job' : `${ahead} jobs`;
  return { kind: 'LINE', reason: `It is queued behind ${count}.`, ahead, until: null };
}

/** Postgres text of a UTC time to RFC 3339 in whole seconds. */
const toIso = (time: string): string => `${time.slice(0, 10)}T${time.slice(11, 19)}Z`;
