/** The edge itself: who gets in, how failures look, probes, prefixes, draining. */
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { readdirSync } from 'node:fs';
import net from 'node:net';
import { databaseCheck, migrationsCheck, readiness } from '../../src/http/health.routes.js';
import { createHttpServer } from '../../src/http/server.js';
import { createLogger } from '../../src/platform/log.js';
import { AppError } from '../../src/platform/errors.js';
import { systemIds } from '../../src/platform/ids.js';
import { createMetrics } from '../../src/platform/metrics.js';
import type { RouteModule } from '../../src/http/ports.js';
import { createTestDatabase, MIGRATIONS } from '../support/database.js';
import type { TestDatabase } from '../support/database.js';
import { eventually } from '../support/eventually.js';
import { json, startEdge } from './edge.js';
import type { Edge } from './edge.js';

let release: (() => void) | undefined;

const probes: RouteModule = {
  name: 'probes',
  mount: 'v1',
  register(app) {
    app.get('/fault', { config: { access: 'public' } }, () => Promise.reject(new Error('secret detail')));
    app.get('/transient', { config: { access: 'public' } }, () =>
      Promise.reject(Object.assign(new Error('terminating connection'), { code: '57P01' })),
    );
    app.get('/refused', { config: { access: 'public' } }, () =>
      Promise.reject(new AppError('CONFLICT', 'Taken.', { details: { by: 'me' } })),
    );
    app.get('/missing', { config: { access: 'public' } }, () =>
      Promise.reject(new AppError('NOT_FOUND', 'No such example.')),
    );
    app.get('/who', { config: { access: 'optional' } }, async (request) => ({
      key: request.principal?.keyId ?? null,
    }));
    app.get('/admin', { config: { access: 'admin' } }, async () => ({ ok: true }));
    app.post('/echo', { config: { access: 'any' } }, async (request) => ({ body: request.body ?? null }));
    app.delete('/echo', { config: { access: 'any' } }, async (request) => ({ body: request.body ?? null }));
    app.get('/slow', { config: { access: 'public' } }, async () => {
      await new Promise<void>((resolve) => (release = resolve));
      return { done: true };
    });
  },
};

let database: TestDatabase;
let edge: Edge;
beforeAll(async () => {
  database = await createTestDatabase();
  edge = await startEdge({ database, routes: [probes] });
});
afterAll(async () => {
  await edge.close();
  await database.drop();
});

const body = async (response: Response): Promise<unknown> => response.json();

test('faults show an id and nothing else', async () => {
  const response = await edge.fetch('/fault');
  expect(response.status).toBe(500);
  expect(await body(response)).toEqual({
    detail: 'Internal error',
    error_id: expect.stringMatching(/^[0-9a-f-]{36}$/),
  });
});

test('a database that went away is 503 with Retry-After', async () => {
  const response = await edge.fetch('/transient');
  expect([response.status, response.headers.get('retry-after')]).toEqual([503, '10']);
  expect(await body(response)).toMatchObject({ error: 'UNAVAILABLE' });
});

test('refusals carry their code and details', async () => {
  const response = await edge.fetch('/refused');
  expect([response.status, await body(response)]).toEqual([
    409,
    { detail: 'Taken.', error: 'CONFLICT', by: 'me' },
  ]);
});

test('404 says "not found", for rows and for paths', async () => {
  expect(await (await edge.fetch('/missing')).text()).toContain('not found');
  const response = await edge.fetch('/no/such/path', { method: 'POST', key: undefined });
  expect([response.status, await response.text()]).toEqual([404, expect.stringContaining('not found')]);
});

test('no key, an unknown key and a key without the scope are refused differently', async () => {
  const answers = await Promise.all(
    [undefined, 'unknown', 'reader', 'organisation', 'all'].map(async (key) => {
      const response = await edge.fetch('/admin', { key });
      return [response.status, ((await body(response)) as { error?: string }).error];
    }),
  );
  expect(answers).toEqual([
    [401, 'UNAUTHENTICATED'],
    [401, 'UNAUTHENTICATED'],
    [403, 'FORBIDDEN'],
    [403, 'org_scoped_key_requires_workspace'],
    [200, undefined],
  ]);
});

test('optional access checks credentials only where there are any', async () => {
  expect(await body(await edge.fetch('/who', { key: undefined }))).toEqual({ key: null });
  expect(await body(await edge.fetch('/who'))).toEqual({ key: expect.any(String) });
  expect((await edge.fetch('/who', { key: 'unknown' })).status).toBe(401);
});

test('a route that does not say who may call it cannot be registered', async () => {
  const metrics = createMetrics();
  const open: RouteModule = {
    name: 'open',
    mount: 'v1',
    register: (app) => void app.get('/open', async () => ({})),
  };
  const creating = createHttpServer({
    log: createLogger('silent', 'test'),
    ids: systemIds,
    metrics,
    authenticator: { authenticate: () => Promise.reject(new Error('unused')) },
    rateLimiter: { take: () => Promise.reject(new Error('unused')) },
    routes: [open],
    limits: { maxInFlightBytes: 1 },
    ready: () => Promise.resolve({ ok: true, checks: {} }),
  });
  await expect(creating).rejects.toThrow(/does not say who may call it/);
  metrics.close();
});

test('every v1 path answers under each prefix, with a trailing slash and a bare question mark', async () => {
  for (const path of ['/info', '/api/info', '/api/v1/info', '/info/', '/info?', '/api/v1/info/?']) {
    const response = await edge.fetch(path, { key: undefined, redirect: 'error' });
    expect([path, response.status]).toEqual([path, 200]);
  }
});

test('/info has all six keys of the batch configuration and the flags', async () => {
  expect(await body(await edge.fetch('/info', { key: 'not-a-real-key' }))).toMatchObject({
    version: '0.16.20',
    batch_ingest_config: {
      use_multipart_endpoint: true,
      size_limit: 100,
      size_limit_bytes: 20971520,
      scale_up_qsize_trigger: 1000,
      scale_up_nthreads_limit: 16,
      scale_down_nempty_trigger: 4,
    },
    instance_flags: {
      gzip_body_enabled: true,
      zstd_compression_enabled: true,
      dataset_examples_multipart_enabled: true,
    },
  });
});

test('JSON is read by content, whatever the header says and the method is', async () => {
  const text = await edge.fetch('/echo', {
    method: 'POST',
    headers: { 'content-type': 'text/plain;charset=UTF-8' },
    body: '{"a":"\\u0000"}',
  });
  expect(await body(text)).toEqual({ body: { a: '\u2400' } });
  const bytes = await edge.fetch('/echo', { method: 'DELETE', body: new TextEncoder().encode('[1]') });
  expect(await body(bytes)).toEqual({ body: [1] });
  expect(await body(await edge.fetch('/echo', { method: 'POST' }))).toEqual({ body: null });
});

test.each([
  ['{"a":', 400],
  [Buffer.from([0x22, 0xff, 0x22]), 400],
  ['['.repeat(600) + ']'.repeat(600), 400],
])('a body that is no storable JSON is refused', async (text, status) => {
  const response = await edge.fetch('/echo', {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: text,
  });
  expect(response.status).toBe(status);
});

test('a request keeps the trace id it came with', async () => {
  const trace = '0af7651916cd43dd8448eb211c80319c';
  const response = await edge.fetch('/ok', { headers: { traceparent: `00-${trace}-b7ad6b7169203331-01` } });
  expect(response.headers.get('x-request-id')).toBe(trace);
});

test('probes and metrics answer without a key', async () => {
  for (const path of ['/ok', '/healthz', '/info/health']) {
    const response = await edge.fetch(path, { key: undefined });
    expect([path, response.status, await body(response)]).toEqual([
      path,
      200,
      expect.objectContaining({ ok: true }),
    ]);
  }
  expect(await body(await edge.fetch('/readyz', { key: undefined }))).toEqual({
    ok: true,
    checks: { database: 'ok', draining: 'ok' },
  });
  const metrics = await (await edge.fetch('/metrics', { key: undefined })).text();
  expect(metrics).toContain('tracewell_http_requests_total{module="health",status="2xx"}');
});

test('readiness names what failed, what is late and what is missing', async () => {
  const [newest = ''] = readdirSync(MIGRATIONS)
    .filter((name) => !name.endsWith('.toml'))
    .sort()
    .reverse();
  const never = new Promise<void>(() => undefined);
  const find = readiness({
    database: databaseCheck(database.pool),
    migrations: migrationsCheck(database.pool, newest),
    newer: migrationsCheck(database.pool, '99991231000000_unknown'),
    stuck: () => never,
  });
  expect(await find()).toEqual({
    ok: false,
    checks: { database: 'ok', migrations: 'ok', newer: 'failed', stuck: 'no answer within 1000 ms' },
  });
});

test('a key over its allowance is told to wait ten seconds', async () => {
  const small = await startEdge({
    database,
    ingestPerMinute: 2,
    sink: { write: (events) => Promise.resolve(events.map(() => undefined)) },
  });
  const run = (): Promise<Response> => small.fetch('/runs', json({ name: 'x', run_type: 'chain' }));
  expect([(await run()).status, (await run()).status]).toEqual([202, 202]);
  const refused = await run();
  expect([refused.status, Number(refused.headers.get('retry-after'))]).toEqual([429, expect.any(Number)]);
  expect(Number(refused.headers.get('retry-after'))).toBeGreaterThanOrEqual(10);
  // The other class has an allowance of its own.
  expect((await small.fetch('/ok')).status).toBe(200);
  await small.close();
});

test('draining refuses connections, ends what is under way and closes idle ones', async () => {
  const draining = await startEdge({ database, routes: [probes] });
  await (await draining.fetch('/ok')).text();
  const slow = draining.fetch('/slow');
  await eventually(() => {
    expect(release).toBeDefined();
  });
  const port = Number(new URL(draining.url).port);
  const drained = draining.server.drain();
  await eventually(async () => {
    await expect(
      new Promise((resolve, reject) => {
        const socket = net.connect(port, '127.0.0.1', () => {
          socket.destroy();
          resolve(undefined);
        });
        socket.on('error', reject);
      }),
    ).rejects.toThrow();
  });
  release?.();
  const response = await slow;
  expect([response.status, response.headers.get('connection'), await body(response)]).toEqual([
    200,
    'close',
    { done: true },
  ]);
  await drained;
  await draining.close();
});
