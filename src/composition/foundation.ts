/**
 * What every part of the program stands on: connections, and what else knows no domain. Started things are stopped by
 * the lifecycle, in reverse.
 */
import type pg from 'pg';
import { ContentReadLog } from '../audit/content-read-log.js';
import { ContentReadPartitions } from '../audit/content-read-partition.store.js';
import { ContentReadStore } from '../audit/content-read.store.js';
import type { Config } from '../config.js';
import { systemClock } from '../platform/clock.js';
import { shareOf } from '../platform/connection-shares.js';
import type { ShareOptions } from '../platform/connection-shares.js';
import { createPool } from '../platform/db.js';
import { createDoorbell } from '../platform/doorbell-factory.js';
import type { Doorbell } from '../platform/doorbell.js';
import { Idempotency } from '../platform/idempotency.js';
import { systemIds } from '../platform/ids.js';
import type { Lifecycle } from '../platform/lifecycle.js';
import type { Logger } from '../platform/log.js';
import { createMetrics } from '../platform/metrics.js';
import type { Metrics } from '../platform/metrics.js';
import { createPrisma } from '../platform/prisma.js';
import type { PrismaClient } from '../platform/prisma.js';
import { VERSION } from '../version.js';

export interface AppOptions {
  readonly config: Config;
  readonly databaseUrl: string;
  readonly pepper: string;
  /** Of the vault, the one that seals first (see prepareInstallation). */
  readonly vaultKeys: readonly string[];
  /** What statements on behalf of a workspace run as (see prepareInstallation). */
  readonly databaseRole?: string | undefined;
  readonly log: Logger;
  readonly lifecycle: Lifecycle;
}

export const clock = systemClock;
export const ids = systemIds;

/** Connections and what else knows no domain. */
export interface Foundation {
  readonly databaseUrl: string;
  readonly redisUrl: string | undefined;
  /** Queries of callers. None holds a connection while it asks for another: a workspace has a share of them. */
  readonly reads: pg.Pool;
  /** The tail of the feed, which everybody's live events wait for. */
  readonly feed: pg.Pool;
  /** What live subscribers are shown. */
  readonly live: pg.Pool;
  /** Asks for signs of life, so that a busy gateway is not taken for a dead one. */
  readonly probe: pg.Pool;
  /** Everything that writes, except runs. */
  readonly writes: pg.Pool;
  readonly prisma: PrismaClient;
  /** Calls with an idempotency key; its transactions are on `writes`. */
  readonly idempotency: Idempotency;
  /** Where reads of content are recorded. */
  readonly contentReads: ContentReadLog;
  readonly doorbell: Doorbell;
  readonly metrics: Metrics;
  readonly log: Logger;
}

export function createFoundation(options: AppOptions): Foundation {
  const { config, databaseUrl, databaseRole: role, pepper, log, lifecycle } = options;
  const metrics = createMetrics(VERSION);
  lifecycle.onStop('metrics', () => Promise.resolve(metrics.close()));
  const pool = (name: string, max: number, statementTimeoutMs: number, shares?: ShareOptions): pg.Pool => {
    const made = createPool({ url: databaseUrl, name, max, statementTimeoutMs, role, shares, log });
    lifecycle.onStop(`pool ${name}`, () => made.end());
    metrics.watchPool(name, made);
    return made;
  };
  const { readConnections } = config.database;
  const reads = pool('reads', readConnections, 15_000, { perWorkspace: shareOf(readConnections) });
  // Without connections in a worker process.
  const feed = pool('feed', 2, 10_000);
  const live = pool('live', 4, 5_000, { perWorkspace: 2 });
  const probe = pool('probe', 1, 1_000);
  const writes = pool('writes', 4, 10_000);
  const prisma = createPrisma(writes);
  lifecycle.onStop('prisma', () => prisma.$disconnect());
  const idempotency = new Idempotency({ pool: writes, pepper, clock });
  const contentReads = new ContentReadLog({
    store: new ContentReadStore({ db: writes }),
    partitions: new ContentReadPartitions({ pool: writes }),
    registry: metrics.registry,
    clock,
    ids,
    log,
  });
  lifecycle.onStop('content reads', () => contentReads.close());
  const redisUrl = config.redis.kind === 'redis' ? config.redis.url.reveal() : undefined;
  const doorbell = createDoorbell({ databaseUrl, redisUrl, log });
  lifecycle.onStop('doorbell', () => doorbell.close());
  return {
    databaseUrl,
    redisUrl,
    reads,
    feed,
    live,
    probe,
    writes,
    prisma,
    idempotency,
    contentReads,
    doorbell,
    metrics,
    log,
  };
}
