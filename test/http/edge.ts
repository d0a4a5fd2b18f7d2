/** A gateway's HTTP edge on a free port, with keys of its own and, where a database is given, the real write path. */
import { randomUUID } from 'node:crypto';
import { AttachmentService } from '../../src/attachments/attachment.service.js';
import { AttachmentStore } from '../../src/attachments/attachment.store.js';
import { attachmentRoutes } from '../../src/http/attachments.routes.js';
import { databaseCheck, readiness } from '../../src/http/health.routes.js';
import { infoRoutes } from '../../src/http/info.routes.js';
import { intakeRoutes } from '../../src/http/intake.routes.js';
import type { RouteModule } from '../../src/http/ports.js';
import { createHttpServer } from '../../src/http/server.js';
import type { HttpServer } from '../../src/http/server.js';
import { IntakeService } from '../../src/ingest/intake.js';
import type { RunSink } from '../../src/ingest/intake.js';
import type { JsonObject } from '../../src/ingest/run-event.js';
import { systemClock } from '../../src/platform/clock.js';
import type { Clock } from '../../src/platform/clock.js';
import { createPool } from '../../src/platform/db.js';
import { AppError } from '../../src/platform/errors.js';
import { systemIds } from '../../src/platform/ids.js';
import { createLogger } from '../../src/platform/log.js';
import { createMetrics } from '../../src/platform/metrics.js';
import type { Metrics } from '../../src/platform/metrics.js';
import { SCOPES } from '../../src/tenancy/principal.js';
import type { Principal, Scope } from '../../src/tenancy/principal.js';
import { LocalRateLimiter, limitShapes } from '../../src/tenancy/rate-limiter.js';
import { Writers } from '../ingest/writers.js';
import type { TestDatabase } from '../support/database.js';

export interface Edge {
  readonly url: string;
  readonly server: HttpServer;
  readonly metrics: Metrics;
  readonly workspaceId: string;
  readonly attachments: AttachmentService;
  readonly intake: IntakeService;
  /** Of the key that may do everything. */
  readonly principal: Principal;
  /** Feedback objects that came along with runs. */
  readonly feedback: JsonObject[];
  /** A request with the key that may do everything. */
  fetch(path: string, init?: RequestInit & { key?: string | undefined }): Promise<Response>;
  close(): Promise<void>;
}

export interface EdgeOptions {
  readonly database: TestDatabase;
  /** In place of the real writer, for what is about the edge alone. */
  readonly sink?: RunSink;
  readonly routes?: readonly RouteModule[];
  readonly maxInFlightBytes?: number;
  readonly ingestPerMinute?: number;
  readonly clock?: Clock;
}

function principal(workspaceId: string, scopes: readonly Scope[]): Principal {
  return {
    keyId: randomUUID(),
    kind: 'service',
    organizationId: randomUUID(),
    workspaceId,
    userId: undefined,
    scopes: new Set(scopes),
    expiresAtMs: undefined,
  };
}

export async function startEdge(options: EdgeOptions): Promise<Edge> {
  const log = createLogger('silent', 'test');
  const metrics = createMetrics();
  const ids = systemIds;
  const clock = options.clock ?? systemClock;
  const workspaceId = randomUUID();
  const everything = principal(workspaceId, SCOPES);
  const keys = new Map([
    ['all', everything],
    ['reader', principal(workspaceId, ['read'])],
  ]);
  const pool = createPool({
    url: options.database.url,
    name: 'ingest',
    max: 2,
    statementTimeoutMs: 20_000,
    log,
  });
  const writers = new Writers(options.database);
  const { writer } = writers.create();
  const intake = new IntakeService({ sink: options.sink ?? writer, clock, ids, log, metrics });
  const attachments = new AttachmentService({
    contentReads: { note: () => undefined },
    store: new AttachmentStore({ pool }),
    clock,
    ids,
    pepper: 'a pepper of thirty-two characters',
  });
  const feedback: JsonObject[] = [];
  const server = await createHttpServer({
    log,
    ids,
    metrics,
    authenticator: {
      authenticate: ({ apiKey }) => {
        const found = keys.get(String(apiKey));
        if (found !== undefined) return Promise.resolve(found);
        if (apiKey === 'organisation') {
          return Promise.reject(
            new AppError('FORBIDDEN', 'Name a workspace.', {
              details: { error: 'org_scoped_key_requires_workspace' },
            }),
          );
        }
        return Promise.reject(new AppError('UNAUTHENTICATED', 'This API key is not known here.'));
      },
    },
    rateLimiter: new LocalRateLimiter({
      shapes: limitShapes({ ingest: options.ingestPerMinute ?? 100_000, api: 100_000, cost: 1 }),
      clock,
    }),
    routes: [
      intakeRoutes({
        intake,
        attachments,
        ids,
        feedback: (_principal, items) => {
          feedback.push(...items);
          return Promise.resolve([]);
        },
      }),
      infoRoutes({ version: '0.0.0', v2Queries: true }),
      attachmentRoutes({ attachments }),
      ...(options.routes ?? []),
    ],
    limits: { maxInFlightBytes: options.maxInFlightBytes ?? 256 * 1024 * 1024 },
    ready: readiness({ database: databaseCheck(pool) }),
  });
  const url = await server.listen({ host: '127.0.0.1', port: 0 });
  return {
    url,
    server,
    metrics,
    workspaceId,
    intake,
    principal: everything,
    attachments,
    feedback,
    fetch: (path, init = {}) => {
      const headers = new Headers(init.headers);
      if (!('key' in init)) headers.set('x-api-key', 'all');
      else if (init.key !== undefined) headers.set('x-api-key', init.key);
      return fetch(url + path, { ...init, headers });
    },
    close: async () => {
      await server.drain();
      await writers.close();
      await pool.end();
      metrics.close();
    },
  };
}

export const json = (value: unknown): RequestInit => ({
  method: 'POST',
  headers: { 'content-type': 'application/json' },
  body: JSON.stringify(value),
});
