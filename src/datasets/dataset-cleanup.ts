/**
 * Removing what datasets leave behind: rows of deleted ones, stages of imports that were cut off, old rejects. Not done
 * for a caller; in small batches, because an open transaction holds the change feed back.
 */
import type pg from 'pg';
import type { Clock } from '../platform/clock.js';
import { everywhere } from '../platform/db-scope.js';
import { transaction } from '../platform/db.js';
import type { Queryable } from '../platform/db.js';
import type { JobQueue } from '../platform/jobs/queue.js';
import { trustedScope } from '../tenancy/principal.js';
import type { WorkspaceScope } from '../tenancy/principal.js';
import { deleteDatasetRowsJob } from './dataset.jobs.js';
import { deleteAttachments } from './example-attachments.store.js';
import { purgeRest, purgeRows } from './example-write.store.js';

const ROW_BATCH = 500;
const REST_BATCH = 5_000;
const SWEEP_BATCH = 2_000;
const DAY_MS = 86_400_000;
/** An import is over long before. */
const STAGE_DAYS = 1;
export const REJECT_DAYS = 30;

/** Hands the removal of a dataset's rows to a job. */
export class DatasetDeletions {
  readonly #queue: JobQueue;

  constructor({ queue }: { queue: JobQueue }) {
    this.#queue = queue;
  }

  /** In the transaction that deletes the dataset. */
  async enqueue(tx: Queryable, { workspaceId }: WorkspaceScope, datasetId: string): Promise<void> {
    await this.#queue.enqueue(tx, deleteDatasetRowsJob, { workspaceId, datasetId }, { workspaceId });
  }
}

export class DatasetCleanup {
  readonly #pool: pg.Pool;
  readonly #clock: Clock;

  constructor({ pool, clock }: { pool: pg.Pool; clock: Clock }) {
    this.#pool = pool;
    this.#clock = clock;
  }

  /** Removes all rows of a dataset that is gone; `report` is told how many examples are after each batch. */
  async removeRows(
    { workspaceId, datasetId }: { workspaceId: string; datasetId: string },
    signal: AbortSignal,
    report: (removed: number) => void,
  ): Promise<number> {
    const scope = trustedScope(workspaceId);
    let total = 0;
    for (;;) {
      signal.throwIfAborted();
      const removed = await transaction(this.#pool, async (tx) => {
        const step = await purgeRows(tx, scope, datasetId, ROW_BATCH);
        await deleteAttachments(tx, scope, step.attachmentIds);
        return step.removed;
      });
      total += removed;
      report(total);
      if (removed < ROW_BATCH) break;
    }
    for (;;) {
      signal.throwIfAborted();
      if ((await purgeRest(this.#pool, scope, datasetId, REST_BATCH)) === 0) return total;
    }
  }

  /** Of all workspaces. Returns how many rows were removed. */
  async sweep(signal: AbortSignal): Promise<number> {
    return everywhere('upkeep', async () => {
      const now = this.#clock.now().getTime();
      let total = 0;
      for (const statement of [SWEEP_STAGE, SWEEP_REJECTS]) {
        const until =
          statement === SWEEP_STAGE
            ? lowestIdAt(now - STAGE_DAYS * DAY_MS)
            : new Date(now - REJECT_DAYS * DAY_MS).toISOString();
        for (;;) {
          signal.throwIfAborted();
          const { rowCount } = await this.#pool.query(statement, [until, SWEEP_BATCH]);
          total += rowCount ?? 0;
          if ((rowCount ?? 0) < SWEEP_BATCH) break;
        }
      }
      return total;
    });
  }
}

/** The least version 7 id of a moment. */
function lowestIdAt(ms: number): string {
  const hex = Math.max(0, Math.floor(ms)).toString(16).padStart(12, '0');
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-0000-0000-000000000000`;
}

const SWEEP_STAGE = `/* datasets.sweep_stage */
delete from example_stage
where (workspace_id, stage_id, position) in (
  select workspace_id, stage_id, position from example_stage where stage_id < $1::uuid limit $2
)`;

const SWEEP_REJECTS = `/* datasets.sweep_rejects */
delete from import_rejects
where (workspace_id, import_id, row) in (
  select workspace_id, import_id, row from import_rejects where created_at < $1 limit $2
)`;
