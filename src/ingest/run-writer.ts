/**
 * The one write path of runs: a group commit. Requests hand in events and wait; a lane that is free takes what
 * has gathered (up to 1,000 runs or 4 MB), merges the events of each run, and commits runs, feed and locator
 * in one transaction. Only then are the requests answered.
 *
 *   gathering ──lane free──▶ resolve projects, make partitions and zones (committed ahead: harmless alone)
 *             ──▶ transaction: guard → rows that exist: lock, merge, update → new rows: insert → feed → commit
 *             ──▶ ring the feed's doorbell, answer
 *
 * Most rows are new. They are copied straight into runs; when that meets a run that exists after all, the
 * transaction is given up and run again through the stage, which finds out row by row. A lost connection or a
 * deadlock repeats the transaction: everything in it is idempotent. A row the database refuses is found by
 * halving and refused alone.
 */
import type pg from 'pg';
import type { Clock } from '../platform/clock.js';
import { isTransient, sqlState } from '../platform/db.js';
import { everywhere } from '../platform/db-scope.js';
import type { Doorbell } from '../platform/doorbell.js';
import { AppError } from '../platform/errors.js';
import type { Logger } from '../platform/log.js';
import { callerSpan, inSharedSpan, markFailed } from '../platform/telemetry.js';
import { FEED_TOPIC } from '../live/feed.js';
import { DEFAULT_PROJECT } from './project-resolver.js';
import type { ProjectResolver } from './project-resolver.js';
import type { Refusal, RunEvent } from './run-event.js';
import { FollowedError } from './run-followers.js';
import { ProjectGoneError } from './run-guard.js';
import { draftOf, mergeDrafts } from './run-merge.js';
import type { RunDraft } from './run-merge.js';
import { StaleLocationError, writeDrafts } from './run-write.js';
import type { RunZones } from './run-zones.js';

const MAX_ROWS = 1_000;
const MAX_BYTES = 4 * 1024 * 1024;
const RETRY_FOR_MS = 5_000;
/** After a new row turned out to exist, this many batches go through the stage at once. */
const CAUTIOUS_BATCHES = 20;

export interface RunWriterDeps {
  /** As many connections as lanes, used by nobody else. */
  readonly pool: pg.Pool;
  readonly lanes: number;
  readonly projects: ProjectResolver;
  readonly zones: RunZones;
  readonly doorbell: Doorbell;
  readonly clock: Clock;
  readonly log: Logger;
  /** Called after each commit, for metrics. */
  readonly onFlush?: (flush: { rows: number; bytes: number; seconds: number }) => void;
}

interface Submission {
  readonly events: readonly RunEvent[];
  readonly caller: ReturnType<typeof callerSpan>;
  readonly bytes: number;
  readonly refusals: (Refusal | undefined)[];
  /** Batches that still hold events of this submission. */
  open: number;
  resolve(refusals: readonly (Refusal | undefined)[]): void;
  reject(error: unknown): void;
}

interface Gathered {
  readonly submission: Submission;
  readonly index: number;
  readonly event: RunEvent;
}

const payloadBytes = (event: RunEvent): number =>
  600 +
  (event.inputs?.text.length ?? 0) +
  (event.outputs?.text.length ?? 0) +
  (event.events?.text.length ?? 0) +
  (event.serialized?.text.length ?? 0);

export class RunWriter {
  readonly #deps: RunWriterDeps;
  readonly #queue: Gathered[] = [];
  #busyLanes = 0;
  #cautious = 0;
  #closed = false;
  #idle: (() => void) | undefined;

  constructor(deps: RunWriterDeps) {
    this.#deps = deps;
  }

  /**
   * Commits events. Resolves after the commit with one entry per event: undefined, or why it was not stored.
   * Safe to repeat: the same events give the same rows.
   * @throws AppError UNAVAILABLE when the database could not be reached; nothing is known to be stored then.
   */
  write(events: readonly RunEvent[]): Promise<readonly (Refusal | undefined)[]> {
    if (this.#closed) return Promise.reject(new AppError('UNAVAILABLE', 'The server is shutting down.'));
    if (events.length === 0) return Promise.resolve([]);
    return new Promise((resolve, reject) => {
      const submission: Submission = {
        events,
        caller: callerSpan(),
        bytes: 0,
        refusals: new Array<Refusal | undefined>(events.length).fill(undefined),
        open: events.length,
        resolve,
        reject,
      };
      for (const [index, event] of events.entries()) this.#queue.push({ submission, index, event });
      this.#startLanes();
    });
  }

  /** Events that wait for a lane. */
  get waiting(): number {
    return this.#queue.length;
  }

  /** Refuses new events, writes out what was accepted. */
  async close(): Promise<void> {
    this.#closed = true;
    if (this.#busyLanes > 0 || this.#queue.length > 0) {
      await new Promise<void>((resolve) => (this.#idle = resolve));
    }
  }

  #startLanes(): void {
    while (this.#busyLanes < this.#deps.lanes && this.#queue.length > 0) {
      this.#busyLanes += 1;
      // A lane outlives the request that starts it, and writes what others have sent too.
      void everywhere('run writing', () => this.#runLane());
    }
  }

  async #runLane(): Promise<void> {
    // Requests that arrive in the same turn of the event loop belong into one batch.
    await new Promise((resolve) => setImmediate(resolve));
    while (this.#queue.length > 0) {
      const batch = this.#take();
      const callers = () => batch.map(({ submission }) => submission.caller);
      await inSharedSpan('runs.flush', callers, { 'tracewell.runs': batch.length }, () => this.#flush(batch));
    }
    this.#busyLanes -= 1;
    if (this.#busyLanes === 0) this.#idle?.();
  }

  #take(): Gathered[] {
    let bytes = 0;
    let rows = 0;
    while (rows < this.#queue.length && rows < MAX_ROWS && (rows === 0 || bytes < MAX_BYTES)) {
      const next = this.#queue[rows];
      if (next !== undefined) bytes += payloadBytes(next.event);
      rows += 1;
    }
    return this.#queue.splice(0, rows);
  }

  async #flush(batch: readonly Gathered[]): Promise<void> {
    const started = performance.now();
    try {
      await this.#commit(batch, started);
      const bytes = batch.reduce((total, { event }) => total + payloadBytes(event), 0);
      this.#deps.onFlush?.({ rows: batch.length, bytes, seconds: (performance.now() - started) / 1_000 });
      for (const { submission } of batch) settle(submission);
    } catch (error) {
      const reported = isTransient(error)
        ? new AppError('UNAVAILABLE', 'The database cannot be reached at the moment.', { cause: error })
        : error;
      markFailed(error);
      this.#deps.log.error({ err: error, events: batch.length }, 'a batch of runs could not be written');
      for (const submission of new Set(batch.map((entry) => entry.submission))) submission.reject(reported);
    }
  }

  /** Commits a batch, repeating it while the reason to fail passes, halving it to find a row that is refused. */
  async #commit(all: readonly Gathered[], started: number): Promise<void> {
    let batch = all;
    const settling = new Set<string>();
    for (let attempt = 1; ; attempt += 1) {
      try {
        if (batch.length > 0) await this.#attempt(batch, settling);
        return;
      } catch (error) {
        if (error instanceof FollowedError) {
          for (const id of error.workspaceIds) settling.add(id);
        } else if (error instanceof ProjectGoneError) {
          this.#deps.projects.forget();
          batch = refuseUnknownProjects(batch, error);
        } else if (error instanceof StaleLocationError) {
          await this.#deps.zones.relocate(error.days);
        } else if (sqlState(error) === '23505') {
          this.#cautious = CAUTIOUS_BATCHES;
        } else if (sqlState(error) === '23514') {
          // No partition for a row although there was one: it was dropped meanwhile.
          this.#deps.zones.forget();
        } else if (isDataError(error)) {
          return this.#halve(batch, error, started);
        } else if (!isTransient(error)) {
          throw error;
        }
        if (performance.now() - started > RETRY_FOR_MS || attempt > 20) throw error;
        if (isTransient(error)) {
          await new Promise((resolve) => setTimeout(resolve, Math.min(25 * 2 ** attempt, 500)));
        }
      }
    }
  }

  async #halve(batch: readonly Gathered[], error: unknown, started: number): Promise<void> {
    const [first] = batch;
    if (first === undefined) return;
    if (batch.length === 1) {
      const reason = error instanceof Error ? error.message : String(error);
      first.submission.refusals[first.index] = {
        id: first.event.id,
        field: undefined,
        message: `The run cannot be stored: ${reason}`,
      };
      return;
    }
    const middle = Math.ceil(batch.length / 2);
    await this.#commit(batch.slice(0, middle), started);
    await this.#commit(batch.slice(middle), performance.now());
  }

  async #attempt(batch: readonly Gathered[], settling: ReadonlySet<string>): Promise<void> {
    const { zones, clock, pool, doorbell } = this.#deps;
    const { drafts, defaults } = await this.#drafts(batch);
    const nowUs = clock.now().getTime() * 1_000;
    const toWrite = await zones.locate(drafts, defaults, nowUs);
    const client = await pool.connect();
    let broken: Error | undefined;
    try {
      const changed = await writeDrafts(client, toWrite, {
        nowUs,
        optimistic: this.#cautious === 0,
        settling,
      });
      if (this.#cautious > 0) this.#cautious -= 1;
      if (changed) doorbell.ring(FEED_TOPIC);
    } catch (error) {
      // A refused COPY leaves the connection in order after a rollback; one that does not answer is thrown away.
      await client.query('rollback').catch((rollbackError: unknown) => {
        broken = rollbackError instanceof Error ? rollbackError : new Error(String(rollbackError));
      });
      throw error;
    } finally {
      client.release(broken);
    }
  }

  /** One draft per run of the batch, in order of id so that lanes cannot wait for each other in a circle. */
  async #drafts(batch: readonly Gathered[]): Promise<{ drafts: RunDraft[]; defaults: Map<string, string> }> {
    const { projects } = this.#deps;
    await projects.ensure(
      batch.flatMap(({ event: { workspaceId, project } }) => {
        if (project === undefined) return [{ workspaceId, name: DEFAULT_PROJECT }];
        return 'name' in project ? [{ workspaceId, name: project.name }] : [];
      }),
    );
    const defaults = new Map<string, string>();
    const merged = new Map<string, RunDraft>();
    for (const { event } of batch) {
      const draft = draftOf(event, projectIdOf(event, projects));
      if (draft.projectId === undefined && !defaults.has(event.workspaceId)) {
        const id = projects.cached(event.workspaceId, DEFAULT_PROJECT);
        if (id !== undefined) defaults.set(event.workspaceId, id);
      }
      const key = event.workspaceId + event.id;
      const other = merged.get(key);
      merged.set(key, other === undefined ? draft : mergeDrafts(other, draft));
    }
    const drafts = [...merged.entries()].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, draft]) => draft);
    return { drafts, defaults };
  }
}

/** A project named by id is never made: its runs are refused. One named by name is made again. */
function refuseUnknownProjects(
  batch: readonly Gathered[],
  { projectIds }: ProjectGoneError,
): readonly Gathered[] {
  return batch.filter(({ submission, index, event }) => {
    const unknown =
      event.project !== undefined && 'id' in event.project && projectIds.includes(event.project.id);
    if (unknown) {
      submission.refusals[index] = { id: event.id, field: 'session_id', message: 'project not found' };
    }
    return !unknown;
  });
}

function projectIdOf(event: RunEvent, projects: ProjectResolver): string | undefined {
  if (event.project === undefined) return undefined;
  return 'id' in event.project ? event.project.id : projects.cached(event.workspaceId, event.project.name);
}

/** Class 22: data exceptions; 54: a limit such as an index row's size. The row is at fault, not the moment. */
function isDataError(error: unknown): boolean {
  const state = sqlState(error);
  return state !== undefined && (state.startsWith('22') || state.startsWith('54') || state === '23502');
}

function settle(submission: Submission): void {
  submission.open -= 1;
  if (submission.open === 0) submission.resolve(submission.refusals);
}
