/** Feedback's services on a test database, callers of two workspaces, and runs put straight into the table. */
import type pg from 'pg';
import { FeedbackConfigService } from '../../src/feedback/feedback-config.service.js';
import { FeedbackConfigStore } from '../../src/feedback/feedback-config.store.js';
import { FeedbackService } from '../../src/feedback/feedback.service.js';
import { FeedbackStatsStore } from '../../src/feedback/feedback-stats.store.js';
import { FeedbackStore } from '../../src/feedback/feedback.store.js';
import { naturalDay, STRAY_DAY } from '../../src/ingest/run-location.js';
import { systemClock } from '../../src/platform/clock.js';
import { createPool } from '../../src/platform/db.js';
import type { Doorbell } from '../../src/platform/doorbell.js';
import { Idempotency } from '../../src/platform/idempotency.js';
import { systemIds } from '../../src/platform/ids.js';
import { createLogger } from '../../src/platform/log.js';
import type { Principal, Scope } from '../../src/tenancy/principal.js';
import { createTestDatabase } from '../support/database.js';
import { inScope } from '../support/scoped.js';

export const uuid = (): string => systemIds.uuid();

export function principal(
  workspaceId: string,
  scopes: readonly Scope[] = ['read', 'write', 'ingest', 'content'],
): Principal {
  return {
    keyId: uuid(),
    kind: 'service',
    organizationId: uuid(),
    workspaceId,
    userId: undefined,
    scopes: new Set(scopes),
    expiresAtMs: undefined,
  };
}

export interface PlantedRun {
  readonly id: string;
  readonly traceId: string;
  readonly projectId: string;
}

/** A finished run as the writer would have stored it. */
export async function plantRun(
  pool: pg.Pool,
  workspaceId: string,
  options: {
    id?: string;
    projectId?: string;
    parent?: PlantedRun & { dottedOrder?: string };
    threadId?: string;
  } = {},
): Promise<PlantedRun & { dottedOrder: string }> {
  const id = options.id ?? uuid();
  const traceId = options.parent?.traceId ?? id;
  const projectId = options.projectId ?? options.parent?.projectId ?? uuid();
  const own = `20261121T100000000000Z${id}`;
  const dottedOrder =
    options.parent === undefined ? own : `${options.parent.dottedOrder ?? options.parent.id}.${own}`;
  const natural = naturalDay(id);
  const day = natural ?? STRAY_DAY;
  if (natural !== undefined) {
    await pool.query(
      `create table if not exists runs_planted_${natural.replaceAll('-', '')} partition of runs
       for values from ('${natural}') to (date '${natural}' + 1)`,
    );
  }
  await pool.query(
    `insert into runs (workspace_id, id, day, project_id, trace_id, parent_run_id, dotted_order, name, run_type, status,
       start_time, end_time, latency, tags, thread_id, metadata, attributes, extra, inputs, outputs, revision, merge_rank,
       created_at, updated_at)
     values ($1, $2, $3, $4, $5, $6, $7, 'planted', 'chain', 'success', '2026-11-21 10:00:00.123456Z',
       '2026-11-21 10:00:01.123456Z', 1, '{}', $8, '{}', '{}', '{}', '{"question": "why"}', '{"answer": 42}', 1, 1, now(), now())`,
    [
      workspaceId,
      id,
      day,
      projectId,
      traceId,
      options.parent?.id ?? null,
      dottedOrder,
      options.threadId ?? null,
    ],
  );
  return { id, traceId, projectId, dottedOrder };
}

export async function createWorld() {
  const database = await createTestDatabase();
  const pool = createPool({
    url: database.url,
    role: database.role,
    name: 'feedback-test',
    max: 6,
    statementTimeoutMs: 20_000,
    log: createLogger('silent', 'test'),
  });
  const arranging = createPool({
    url: database.url,
    name: 'arranging',
    max: 2,
    statementTimeoutMs: 20_000,
    rows: 'everywhere',
    log: createLogger('silent', 'test'),
  });
  const rings: string[] = [];
  const doorbell: Doorbell = {
    ring: (topic) => void rings.push(topic),
    listen: () => () => undefined,
    close: async () => undefined,
  };
  const statements: string[] = [];
  const query = pool.query.bind(pool);
  // Counts what is sent through the pool, for tests of loaders.
  pool.query = ((text: unknown, ...rest: unknown[]) => {
    if (typeof text === 'string') statements.push(text.slice(0, 60));
    return (query as (...all: unknown[]) => unknown)(text, ...rest);
  }) as typeof pool.query;
  const configStore = new FeedbackConfigStore();
  const idempotency = new Idempotency({ pool, pepper: 'a pepper for tests', clock: systemClock });
  const feedback = new FeedbackService({
    pool,
    store: new FeedbackStore(),
    stats: new FeedbackStatsStore(),
    configs: configStore,
    idempotency,
    contentReads: { note: () => undefined },
    doorbell,
    clock: systemClock,
    ids: systemIds,
  });
  const configs = new FeedbackConfigService({ pool, store: configStore, idempotency, clock: systemClock });
  return {
    database,
    /** For arranging and looking, in all workspaces. */
    pool: arranging,
    doorbell,
    rings,
    statements,
    feedback: inScope(feedback),
    configs: inScope(configs),
    close: async () => {
      await Promise.all([pool.end(), arranging.end()]);
      await database.drop();
    },
  };
}
