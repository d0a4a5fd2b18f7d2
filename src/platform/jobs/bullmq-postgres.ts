/**
 * The only place that relies on what BullMQ does not document: the SQL behind its Postgres backend. BullMQ is
 * pinned exactly for it, and test/jobs/engine.test.ts holds the contract. Where a later version breaks it, the
 * outbox serves Postgres as well (`delivery: 'outbox'`).
 */
import { runMigrations } from 'bullmq';
import pg from 'pg';
import { connectionConfig, keepProcessOnLostConnection } from '../db.js';
import type { Queryable } from '../db.js';
import type { Logger } from '../log.js';
import { deliveryId } from './job.js';
import type { Delivery } from './job.js';

/**
 * A try of the delivery, not of the job: it fails only where Postgres cannot be asked. Its attempts and its
 * backoff have nothing to do with the contract's.
 */
export const DELIVERY_OPTIONS = {
  attempts: 30,
  backoff: { type: 'fixed', delay: 2_000 },
  removeOnComplete: { age: 3_600, count: 1_000 },
  removeOnFail: { age: 7 * 86_400 },
} as const;

/** The name of every delivery; schedules use the contract's name. */
export const DELIVERY_NAME = 'deliver';

/** Creates or upgrades BullMQ's tables. Safe from several processes at once; needed before the first enqueue. */
export async function prepareQueueSchema(url: string): Promise<void> {
  const client = new pg.Client(connectionConfig({ url, name: 'jobs-migrate', statementTimeoutMs: 60_000 }));
  await client.connect();
  try {
    await runMigrations(client);
  } finally {
    await client.end();
  }
}

/**
 * Hands deliveries over inside the caller's transaction: they appear with its commit, or never. The same id
 * twice is one job. Times are the database's.
 */
export async function addInTransaction(tx: Queryable, deliveries: readonly Delivery[]): Promise<void> {
  for (const delivery of deliveries) {
    const delayMs = Math.max(0, Math.round(delivery.delayMs));
    await tx.query(
      `/* jobs.add_bullmq */
      select bullmq.add_job($1, $2, $3, $4::jsonb, $5::jsonb, $6::integer, $7::bigint,
        floor(extract(epoch from clock_timestamp()) * 1000)::bigint, $8::integer,
        null, null, null, null, null, false)`,
      [
        delivery.queue,
        deliveryId(delivery),
        DELIVERY_NAME,
        JSON.stringify({ jobId: delivery.jobId, delivery: delivery.delivery }),
        JSON.stringify({ ...DELIVERY_OPTIONS, delay: delayMs, priority: delivery.priority }),
        delivery.priority,
        delayMs,
        DELIVERY_OPTIONS.attempts,
      ],
    );
  }
}

/** Which of these deliveries BullMQ still holds: waiting, delayed or active. */
export async function findLive(db: Queryable, queue: string, ids: readonly string[]): Promise<Set<string>> {
  const { rows } = await db.query<{ id: string }>(
    `/* jobs.find_live_bullmq */
    select id from bullmq.job where queue = $1 and id = any($2) and state::text not in ('completed', 'failed')`,
    [queue, ids],
  );
  return new Set(rows.map((row) => row.id));
}

/**
 * The engine's own pool. One connection per worker is checked out for LISTEN for good, hence `listeners`. BullMQ
 * gives unqualified names to a pool it did not make, hence the search path.
 */
export function createEnginePool(options: { url: string; listeners: number; log: Logger }): pg.Pool {
  const config = connectionConfig({
    url: options.url,
    name: 'jobs',
    statementTimeoutMs: 15_000,
  });
  const pool = new pg.Pool({
    ...config,
    // Ours would give BullMQ other types than it reads.
    types: pg.types,
    options: `${config.options ?? ''} -c search_path=bullmq`,
    max: options.listeners + 4,
    idleTimeoutMillis: 30_000,
  });
  pool.on('error', (error) => options.log.warn({ err: error, pool: 'jobs' }, 'idle connection lost'));
  keepProcessOnLostConnection(pool);
  return pool;
}
