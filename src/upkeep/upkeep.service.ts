/**
 * The use cases of upkeep. Not done for a caller, hence without a principal; each works in small batches, because
 * an open transaction holds the change feed back, and stops between them when the signal says so.
 */
import type pg from 'pg';
import type { AttachmentStore } from '../attachments/attachment.store.js';
import type { ContentReadPartitions } from '../audit/content-read-partition.store.js';
import { addDays, dayOf, DAYS_AHEAD } from '../ingest/run-location.js';
import { MODEL_CALL_DAYS, trimModelCalls } from '../models/model-call.store.js';
import type { Clock } from '../platform/clock.js';
import { IDEMPOTENCY_HOURS } from '../platform/idempotency.js';
import { trimIdempotencyRecords } from '../platform/idempotency.store.js';
import { everywhere } from '../platform/db-scope.js';
import type { JobStore } from '../platform/jobs/job.store.js';
import { trustedScope } from '../tenancy/principal.js';
import type { WorkspaceScope } from '../tenancy/principal.js';
import { ensurePartitions, lowestId } from './partition.store.js';
import { ORPHAN_WINDOW_MS } from './upkeep.store.js';
import type { UpkeepStore } from './upkeep.store.js';

const HOUR_MS = 3_600_000;
const BATCH = 1_000;
const FEED_BATCH = 5_000;
const RUN_BATCH = 500;

/** Removes the oldest feed rows; returns how many, `batch` while there may be more. */
export interface FeedTrimmer {
  trim(olderThanHours: number, batch: number): Promise<number>;
}

/** Deletes up to `batch` runs of a project with all that hangs on them. */
export interface RunDeleter {
  deleteProjectRuns(
    scope: WorkspaceScope,
    projectId: string,
    options: { batch: number },
  ): Promise<{ readonly deleted: number; readonly done: boolean }>;
}

export interface UpkeepDependencies {
  readonly pool: pg.Pool;
  readonly store: UpkeepStore;
  readonly jobs: JobStore;
  readonly attachments: AttachmentStore;
  readonly feed: FeedTrimmer;
  readonly runs: RunDeleter;
  readonly clock: Clock;
  readonly feedRetentionHours: number;
  readonly contentReads: ContentReadPartitions;
  readonly contentReadRetentionDays: number;
}

export class UpkeepService {
  private readonly deps: UpkeepDependencies;

  constructor(deps: UpkeepDependencies) {
    this.deps = deps;
  }

  /** Days of runs and months of the record of content reads. Returns the days whose partition was made. */
  async ensurePartitions(): Promise<string[]> {
    const today = dayOf(this.deps.clock.now().getTime());
    const days = Array.from({ length: DAYS_AHEAD + 2 }, (_, index) => addDays(today, index - 1));
    return everywhere('upkeep', async () => {
      await this.deps.contentReads.ensure(this.deps.clock.now());
      return ensurePartitions(this.deps.pool, days);
    });
  }

  /** Days behind today that have a partition, without a gap. */
  partitionsAhead(): Promise<number> {
    const today = dayOf(this.deps.clock.now().getTime());
    return everywhere('upkeep', () => this.deps.store.partitionsAhead(today));
  }

  async trimFeed(signal: AbortSignal): Promise<number> {
    const { feed, feedRetentionHours } = this.deps;
    return inBatches(signal, FEED_BATCH, (batch) => feed.trim(feedRetentionHours, batch));
  }

  /** Drops months of the record of content reads that lie wholly before its retention. Returns how many. */
  async expireContentReads(): Promise<number> {
    const { contentReads, contentReadRetentionDays, clock } = this.deps;
    const until = new Date(clock.now().getTime() - contentReadRetentionDays * 24 * HOUR_MS);
    return everywhere('upkeep', async () => (await contentReads.drop(until)).length);
  }

  async expireLinks(signal: AbortSignal): Promise<number> {
    const { store, clock } = this.deps;
    const now = clock.now().getTime();
    const shares = await inBatches(signal, BATCH, (batch) => store.expireShares(now, batch));
    const tokens = await inBatches(signal, BATCH, (batch) => store.expireFeedbackTokens(now, batch));
    return shares + tokens;
  }

  async sweepAttachments(signal: AbortSignal): Promise<number> {
    const { store, clock } = this.deps;
    const now = clock.now().getTime();
    let removed = 0;
    let after: string | undefined;
    for (;;) {
      const workspaces = await store.listWorkspaces(after, BATCH);
      for (const workspace of workspaces) {
        removed += await inBatches(signal, 100, (batch) => store.removeOrphanChunks(workspace, now, batch));
        removed += await this.sweepAttachmentsWithoutRun(workspace, now, signal);
      }
      after = workspaces.at(-1);
      if (after === undefined || workspaces.length < BATCH) return removed;
    }
  }

  /** Those of runs that were refused, where the request that brought them did not get to remove them. */
  private async sweepAttachmentsWithoutRun(
    workspaceId: string,
    now: number,
    signal: AbortSignal,
  ): Promise<number> {
    const { attachments } = this.deps;
    const scope = trustedScope(workspaceId);
    const until = lowestId(now - HOUR_MS);
    let after = lowestId(now - ORPHAN_WINDOW_MS);
    let removed = 0;
    for (;;) {
      signal.throwIfAborted();
      const made = await attachments.listMade(scope, { after, until, limit: BATCH });
      if (made.length > 0) removed += await attachments.removeWithoutRun(scope, made);
      after = made.at(-1)?.id ?? after;
      if (made.length < BATCH) return removed;
    }
  }

  async trimJobs(signal: AbortSignal): Promise<number> {
    const { pool, jobs } = this.deps;
    return inBatches(signal, BATCH, (batch) => jobs.trim(pool, batch));
  }

  async trimIdempotency(signal: AbortSignal): Promise<number> {
    const { pool, clock } = this.deps;
    const until = new Date(clock.now().getTime() - IDEMPOTENCY_HOURS * HOUR_MS);
    return inBatches(signal, BATCH, (batch) => trimIdempotencyRecords(pool, until, batch));
  }

  async trimModelCalls(signal: AbortSignal): Promise<number> {
    const { pool, clock } = this.deps;
    const until = new Date(clock.now().getTime() - MODEL_CALL_DAYS * 24 * HOUR_MS);
    return inBatches(signal, BATCH, (batch) => trimModelCalls(pool, until, batch));
  }

  /** Deletes a project's runs; `report` is told how many are gone after each batch. */
  async deleteProjectRuns(
    target: { workspaceId: string; projectId: string },
    signal: AbortSignal,
    report: (deleted: number) => void,
  ): Promise<number> {
    const scope = trustedScope(target.workspaceId);
    let deleted = 0;
    for (;;) {
      signal.throwIfAborted();
      const step = await this.deps.runs.deleteProjectRuns(scope, target.projectId, { batch: RUN_BATCH });
      deleted += step.deleted;
      report(deleted);
      if (step.done) return deleted;
    }
  }
}

async function inBatches(
  signal: AbortSignal,
  batch: number,
  step: (batch: number) => Promise<number>,
): Promise<number> {
  let total = 0;
  for (;;) {
    signal.throwIfAborted();
    const count = await step(batch);
    total += count;
    if (count < batch) return total;
  }
}
