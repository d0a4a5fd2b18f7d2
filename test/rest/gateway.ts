/**
 * A gateway as tracing clients meet it: real keys, the real write path, and the LangSmith protocol's reads on real
 * services. Time is the system's, because the SDK makes ids and times of its own.
 */
import { randomUUID } from 'node:crypto';
import { Client } from 'langsmith';
import { AttachmentService } from '../../src/attachments/attachment.service.js';
import { AttachmentStore } from '../../src/attachments/attachment.store.js';
import { FeedbackConfigService } from '../../src/feedback/feedback-config.service.js';
import { FeedbackConfigStore } from '../../src/feedback/feedback-config.store.js';
import { FeedbackStatsStore } from '../../src/feedback/feedback-stats.store.js';
import { FeedbackTokenService } from '../../src/feedback/feedback-token.service.js';
import { FeedbackTokenStore } from '../../src/feedback/feedback-token.store.js';
import { FeedbackService } from '../../src/feedback/feedback.service.js';
import { FeedbackStore } from '../../src/feedback/feedback.store.js';
import { Cursors } from '../../src/graphql/cursor.js';
import { attachmentRoutes } from '../../src/http/attachments.routes.js';
import { databaseCheck, readiness } from '../../src/http/health.routes.js';
import { infoRoutes } from '../../src/http/info.routes.js';
import { intakeRoutes } from '../../src/http/intake.routes.js';
import { createHttpServer } from '../../src/http/server.js';
import { IntakeService } from '../../src/ingest/intake.js';
import { PartitionCatalog } from '../../src/ingest/partition-catalog.js';
import { ProjectResolver } from '../../src/ingest/project-resolver.js';
import { RunWriter } from '../../src/ingest/run-writer.js';
import { RunZones } from '../../src/ingest/run-zones.js';
import { systemClock } from '../../src/platform/clock.js';
import { createPool } from '../../src/platform/db.js';
import { Idempotency } from '../../src/platform/idempotency.js';
import { systemIds } from '../../src/platform/ids.js';
import { createMetrics } from '../../src/platform/metrics.js';
import { createPrisma } from '../../src/platform/prisma.js';
import { ProjectService } from '../../src/projects/project.service.js';
import { ProjectStatsStore } from '../../src/projects/project-stats.store.js';
import { ProjectStore } from '../../src/projects/project.store.js';
import { createFeedbackIntake } from '../../src/rest/feedback-intake.js';
import { feedbackRoutes } from '../../src/rest/feedback.routes.js';
import { publicRoutes } from '../../src/rest/public.routes.js';
import { RunReader } from '../../src/rest/run-reader.js';
import { runV2Routes } from '../../src/rest/runs-v2.routes.js';
import { runRoutes } from '../../src/rest/runs.routes.js';
import { sessionRoutes } from '../../src/rest/sessions.routes.js';
import { workspaceRoutes } from '../../src/rest/workspace.routes.js';
import { RunDayStore } from '../../src/runs/run-day.store.js';
import { RunService } from '../../src/runs/run.service.js';
import { RunStatsStore } from '../../src/runs/run-stats.store.js';
import { RunStore } from '../../src/runs/run.store.js';
import { TraceStore } from '../../src/runs/trace.store.js';
import { RunShareService } from '../../src/sharing/run-share.service.js';
import { RunShareStore } from '../../src/sharing/run-share.store.js';
import type { Scope } from '../../src/tenancy/principal.js';
import { LocalRateLimiter, limitShapes } from '../../src/tenancy/rate-limiter.js';
import { WorkspaceService } from '../../src/tenancy/workspace.service.js';
import { WorkspaceStore } from '../../src/tenancy/workspace.store.js';
import { ThreadService } from '../../src/threads/thread.service.js';
import { ThreadStore } from '../../src/threads/thread.store.js';
import { createTenancyWorld, log, PEPPER } from '../tenancy/world.js';
import { inScope } from '../support/scoped.js';

export async function startGateway() {
  const world = await createTenancyWorld();
  const clock = systemClock;
  const ids = systemIds;
  const { doorbell } = world;
  const { url: databaseUrl, role } = world.database;
  const connect = (name: string, max: number, rows: 'scope' | 'everywhere') =>
    createPool({ url: databaseUrl, name, max, statementTimeoutMs: 20_000, rows, role, log });
  const pool = connect('read', 4, 'scope');
  const ingestPool = connect('ingest', 2, 'everywhere');
  const statements: string[] = [];
  const query = pool.query.bind(pool) as (...all: unknown[]) => unknown;
  // Names of what the services send outside transactions, for tests that count.
  pool.query = ((text: unknown, ...rest: unknown[]) => {
    statements.push(/\/\* (\S+) \*\//.exec(String(text))?.[1] ?? 'unnamed');
    return query(text, ...rest);
  }) as typeof pool.query;
  const metrics = createMetrics();
  const prisma = createPrisma(pool);
  const writer = new RunWriter({
    pool: ingestPool,
    lanes: 2,
    projects: new ProjectResolver({ pool, ids, clock }),
    zones: new RunZones({ pool, partitions: new PartitionCatalog({ pool }) }),
    doorbell,
    clock,
    log,
  });
  const intake = new IntakeService({ sink: writer, clock, ids, log, metrics });
  // Their record has tests of its own.
  const contentReads = { note: () => undefined };
  const attachments = new AttachmentService({
    store: new AttachmentStore({ pool }),
    contentReads,
    clock,
    ids,
    pepper: PEPPER,
  });
  const configStore = new FeedbackConfigStore();
  const idempotency = new Idempotency({ pool, pepper: PEPPER, clock });
  const feedback = new FeedbackService({
    pool,
    store: new FeedbackStore(),
    stats: new FeedbackStatsStore(),
    configs: configStore,
    idempotency,
    contentReads,
    doorbell,
    clock,
    ids,
  });
  const configs = new FeedbackConfigService({ pool, store: configStore, idempotency, clock });
  const tokenStore = new FeedbackTokenStore({ prisma });
  const tokens = new FeedbackTokenService({ store: tokenStore, feedback, idempotency, clock });
  const days = new RunDayStore({ db: pool });
  // Full text has tests of its own; nothing here searches.
  const search = { resolve: () => Promise.resolve(undefined) };
  const runs = new RunService({
    pool,
    runs: new RunStore({ db: pool }),
    traces: new TraceStore({ db: pool }),
    stats: new RunStatsStore({ db: pool }),
    days,
    search,
    contentReads,
    doorbell,
    clock,
  });
  const threads = new ThreadService({ threads: new ThreadStore({ db: pool }), days, search, contentReads });
  const projects = new ProjectService({
    pool,
    projects: new ProjectStore({ db: pool }),
    stats: new ProjectStatsStore({ db: pool }),
    days,
    deletions: { enqueue: () => Promise.resolve() },
    idempotency,
    clock,
    ids,
  });
  const workspaces = new WorkspaceService({
    workspaces: new WorkspaceStore({ prisma }),
    idempotency,
    doorbell,
    ids,
    clock,
  });
  const shares = new RunShareService({ store: new RunShareStore({ db: pool }), runs, clock });
  const cursors = new Cursors({ key: PEPPER });
  const reader = new RunReader({ runs, feedback, shares, links: attachments, cursors });
  const publicUrl = undefined;
  const server = await createHttpServer({
    log,
    ids,
    metrics,
    authenticator: world.authenticator({ clock }),
    rateLimiter: new LocalRateLimiter({
      shapes: limitShapes({ ingest: 100_000, api: 100_000, cost: 1 }),
      clock,
    }),
    routes: [
      intakeRoutes({ intake, attachments, ids, feedback: createFeedbackIntake({ feedback }) }),
      infoRoutes({ version: '0.0.0', v2Queries: false }),
      attachmentRoutes({ attachments }),
      feedbackRoutes({ feedback, configs, tokens, clock, publicUrl }),
      runRoutes({ runs, threads, shares, reader, publicUrl }),
      publicRoutes({ runs, feedback, shares, reader, publicUrl }),
      runV2Routes({ runs, threads, projects, shares, reader, cursors, clock, publicUrl }),
      sessionRoutes({ projects, feedback }),
      workspaceRoutes({ workspaces }),
    ],
    limits: { maxInFlightBytes: 64 * 1024 * 1024 },
    ready: readiness({ database: databaseCheck(pool) }),
  });
  const url = await server.listen({ host: '127.0.0.1', port: 0 });

  const fetchWith = async (
    apiKey: string | undefined,
    path: string,
    init: { method?: string; body?: unknown } = {},
  ) => {
    const response = await fetch(url + path, {
      method: init.method ?? (init.body === undefined ? 'GET' : 'POST'),
      headers: {
        ...(apiKey !== undefined && { 'x-api-key': apiKey }),
        ...(init.body !== undefined && { 'content-type': 'application/json' }),
      },
      ...(init.body !== undefined && { body: JSON.stringify(init.body) }),
    });
    const text = await response.text();
    const isJson = response.headers.get('content-type')?.startsWith('application/json') === true;
    return {
      status: response.status,
      headers: response.headers,
      text,
      body: isJson ? JSON.parse(text) : undefined,
    };
  };

  return {
    url,
    world,
    statements,
    services: {
      feedback: inScope(feedback),
      configs: inScope(configs),
      tokens: inScope(tokens),
      runs: inScope(runs),
      projects: inScope(projects),
      shares: inScope(shares),
      cursors,
    },
    apiKey: world.apiKey,
    workspaceId: world.workspaceId,
    database: world.database,
    client: (apiKey = world.apiKey) =>
      new Client({ apiUrl: url, apiKey, callerOptions: { maxRetries: 0 }, autoBatchTracing: true }),
    /** With the key that may do everything. */
    fetch: (path: string, init?: { method?: string; body?: unknown }) => fetchWith(world.apiKey, path, init),
    fetchWith,
    addKey: async (scopes: readonly Scope[]) => (await world.addKey({ scopes })).secret,
    /** A key of another workspace. */
    addStranger: async () => (await world.addKey({ workspaceId: await world.addWorkspace() })).secret,
    close: async () => {
      await server.drain();
      await writer.close();
      await Promise.all([pool.end(), ingestPool.end()]);
      metrics.close();
      await world.close();
    },
  };
}

export const uuid = (): string => randomUUID();
