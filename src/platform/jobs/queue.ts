/**
 * Asking for work. A job is enqueued in the transaction that makes it necessary: it exists if that commits. On
 * Postgres the delivery is part of the transaction too; on Redis it waits in the outbox for the dispatcher.
 */
import type { Queryable } from '../db.js';
import type { Doorbell } from '../doorbell.js';
import type { Ids } from '../ids.js';
import { activeTraceparent } from '../telemetry.js';
import { addInTransaction } from './bullmq-postgres.js';
import { deliveryId } from './job.js';
import type { Delivery, JobContract } from './job.js';
import { JobStore } from './job.store.js';

/** Rung after deliveries were put into the outbox. */
export const OUTBOX_TOPIC = 'jobs.outbox';
/** Rung with a job's id when it was cancelled. */
export const CANCEL_TOPIC = 'jobs.cancel';

const MAX_PAYLOAD_BYTES = 8_192;

export interface EnqueueOptions {
  /** null: work of the whole installation. */
  readonly workspaceId: string | null;
  /** Not before. Default: at once. */
  readonly runAt?: Date;
  /** Who asked, for people: a key's or a user's id. */
  readonly actor?: string;
}

export interface JobQueueOptions {
  readonly store: JobStore;
  readonly ids: Ids;
  readonly doorbell: Doorbell;
  /** transactional: BullMQ's Postgres tables in the same database. outbox: works with both engines. */
  readonly delivery: 'transactional' | 'outbox';
}

export class JobQueue {
  private readonly store: JobStore;
  private readonly ids: Ids;
  private readonly doorbell: Doorbell;
  private readonly delivery: JobQueueOptions['delivery'];

  constructor({ store, ids, doorbell, delivery }: JobQueueOptions) {
    this.store = store;
    this.ids = ids;
    this.doorbell = doorbell;
    this.delivery = delivery;
  }

  /**
   * Makes a job in the caller's transaction. With a dedupe id an active job of the same id is returned instead. Call
   * `wake` after the commit to save the outbox's half second.
   * @throws when the payload does not fit the contract: that is a mistake in the program.
   */
  async enqueue<P>(
    tx: Queryable,
    contract: JobContract<P>,
    payload: P,
    options: EnqueueOptions,
  ): Promise<{ readonly id: string; readonly created: boolean }> {
    const parsed = contract.payload.parse(payload);
    const text = JSON.stringify(parsed);
    if (text.length > MAX_PAYLOAD_BYTES) throw new Error(`Payload of ${contract.name} is more than ids.`);
    const dedupeKey = contract.dedupeId?.(parsed) ?? null;
    for (;;) {
      const id = this.ids.uuid();
      const made = await this.store.insert(tx, {
        id,
        workspaceId: options.workspaceId,
        name: contract.name,
        queue: contract.queue,
        dedupeKey,
        payload: text,
        maxAttempts: contract.attempts,
        runAt: options.runAt?.toISOString() ?? null,
        actor: options.actor ?? null,
        traceparent: activeTraceparent(),
      });
      if (made !== undefined) {
        await this.deliver(tx, [made]);
        return { id, created: true };
      }
      // The job in the way may have ended between the two statements: then there is room now.
      const active = await this.store.findActive(tx, contract.name, options.workspaceId, dedupeKey ?? '');
      if (active !== undefined) return { id: active, created: false };
    }
  }

  /** Hands deliveries to the engine, or to the outbox, inside the transaction. */
  async deliver(tx: Queryable, deliveries: readonly Delivery[]): Promise<void> {
    if (this.delivery === 'transactional') {
      await addInTransaction(tx, deliveries);
    } else {
      await this.store.addToOutbox(tx, deliveries, deliveries.map(deliveryId));
    }
  }

  /** To be called after a commit that enqueued. Losing it costs half a second. */
  wake(): void {
    if (this.delivery === 'outbox') this.doorbell.ring(OUTBOX_TOPIC);
  }
}

export interface Jobs {
  readonly jobStore: JobStore;
  readonly jobQueue: JobQueue;
}

/** What every process needs to ask for work and to look at it: with a Redis through the outbox, else directly. */
export function createJobs(parts: { redisUrl: string | undefined; ids: Ids; doorbell: Doorbell }): Jobs {
  const { redisUrl, ids, doorbell } = parts;
  const jobStore = new JobStore();
  const delivery = redisUrl === undefined ? 'transactional' : 'outbox';
  return { jobStore, jobQueue: new JobQueue({ store: jobStore, ids, doorbell, delivery }) };
}
