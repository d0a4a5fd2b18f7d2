/** Limits and signs of life of a gateway as a client, a balancer and an operator meet them. */
import { describe, expect, test } from '@jest/globals';
import { randomBytes } from 'node:crypto';
import { request } from 'node:http';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import path from 'node:path';
import { createServer, connect } from 'node:net';
import type { Socket } from 'node:net';
import { v7 } from 'uuid';
import { createTestDatabase } from '../support/database.js';
import { eventually } from '../support/eventually.js';
import { closers, started } from '../support/started.js';
import { freePort } from '../../src/platform/port-check.js';
import { API_KEY, installOn, startGateway, untilReady } from '../support/processes.js';

const newRun = (): object => {
  const id = v7();
  const start_time = new Date().toISOString();
  return { id, trace_id: id, name: 'run', run_type: 'chain', session_name: 'limits', start_time };
};

describe('allowances', () => {
  test('requests above the allowance are refused with 429 until it comes back, per key', async () => {
    const { http, keys } = await started({ API_REQUESTS_PER_MINUTE: '5', INGEST_REQUESTS_PER_MINUTE: '3' });
    const key = keys.full.secret;
    const reads: number[] = [];
    for (let index = 0; index < 7; index += 1) reads.push((await http('/sessions', { key })).status);
    expect(reads).toEqual([200, 200, 200, 200, 200, 429, 429]);
    const refused = await http('/sessions', { key });
    expect(refused.body).toMatchObject({ error: 'RATE_LIMITED' });
    expect(Number(refused.headers.get('retry-after'))).toBeGreaterThanOrEqual(1);
    expect(refused.headers.get('x-ratelimit-limit')).toBe('5');
    expect(refused.headers.get('ratelimit-policy')).toBe('"api";q=5;w=60');
    expect(refused.headers.get('ratelimit')).toMatch(/^"api";r=0;t=\d+$/);

    // Another key, and another kind of request, have allowances of their own.
    expect((await http('/sessions', { key: keys.only.read.secret })).status).toBe(200);
    const writes: number[] = [];
    for (let index = 0; index < 4; index += 1) {
      writes.push((await http('/runs', { key, body: newRun() })).status);
    }
    expect(writes).toEqual([202, 202, 202, 429]);
    const shed = await http('/runs', { key, body: newRun() });
    // Tracing clients try three times: the first wait must be worth it.
    expect(Number(shed.headers.get('retry-after'))).toBeGreaterThanOrEqual(10);
  });

  test('a query can ask what it costs and what is left', async () => {
    const { gql, keys } = await started({ GRAPHQL_COST_PER_MINUTE: '100' });
    const before = Date.now();
    const query = '{ rateLimit { cost limit remaining resetAt } projects(first: 20) { nodes { name } } }';
    const { body } = await gql(query, {}, { key: keys.full.secret });
    const { requested } = (body.extensions as { cost: { requested: number } }).cost;
    expect(body.data?.['rateLimit']).toEqual({
      cost: requested,
      limit: 100,
      remaining: 100 - requested,
      resetAt: expect.any(String),
    });
    const { resetAt } = body.data?.['rateLimit'] as { resetAt: string };
    const seconds = (Date.parse(resetAt) - before) / 1_000;
    expect(seconds).toBeGreaterThanOrEqual(Math.ceil((requested * 60) / 100));
    expect(seconds).toBeLessThan(Math.ceil((requested * 60) / 100) + 30);
    expect((await gql('{ rateLimit { cost } }', {})).body.errors?.[0]?.extensions.code).toBe(
      'UNAUTHENTICATED',
    );
  });

  test('GraphQL operations say what they cost and are refused when the allowance is used up', async () => {
    const { gql, keys } = await started({ GRAPHQL_COST_PER_MINUTE: '100' });
    const key = keys.full.secret;
    const first = await gql('{ projects(first: 50) { nodes { name } } }', {}, { key });
    expect(first.body.errors).toBeUndefined();
    const { cost } = first.body.extensions as { cost: Record<string, number> };
    expect(Object.keys(cost).sort()).toEqual([
      'actual',
      'limit',
      'remaining',
      'requested',
      'restoreRatePerSecond',
    ]);
    const { requested = 0, actual = 0, remaining = 0, limit } = cost;
    expect(actual).toBeLessThan(requested);
    expect([limit, remaining]).toEqual([100, 100 - actual]);
    expect(first.headers.get('ratelimit-policy')).toMatch(/^"api";q=\d+;w=60, "cost";q=100;w=60$/);
    expect(first.headers.get('ratelimit')).toMatch(
      new RegExp(`^"api";r=\\d+;t=\\d+, "cost";r=${remaining};t=${Math.ceil((actual * 60) / 100)}$`),
    );

    const refused = await gql('{ runStats { rows { runCount } } }', {}, { key });
    expect(refused.status).toBe(429);
    expect(Number(refused.headers.get('retry-after'))).toBeGreaterThanOrEqual(1);
    const extensions = refused.body.errors?.[0]?.extensions;
    expect(extensions).toMatchObject({ code: 'RATE_LIMITED', cost: { limit: 100, actual: 0 } });
    expect(refused.headers.get('ratelimit')).toMatch(/, "cost";r=\d+;t=\d+$/);
    // What was refused costs nothing.
    const again = await gql('{ viewer { scopes } }', {}, { key });
    expect(again.status).toBe(200);
  });

  test('an operation above any allowance is refused for what it is', async () => {
    const { gql, keys } = await started({});
    const query =
      '{ projects(first: 100) { nodes { stats { runCount } } } runs(first: 100) { nodes { children(first: 1000) { name } } } }';
    const { status, body } = await gql(query, {}, { key: keys.full.secret });
    expect([status, body.errors?.[0]?.extensions['code']]).toEqual([400, 'QUERY_TOO_COMPLEX']);
  });

  test('bodies that would take the gateway over its bytes are turned away with 503 and taken later', async () => {
    const { url, http, keys } = await started({ MAX_IN_FLIGHT_BYTES: String(300_000) });
    const key = keys.full.secret;
    const body = JSON.stringify({ ...newRun(), inputs: { text: randomBytes(100_000).toString('hex') } });
    expect((await http('/runs', { key, body })).status).toBe(202);
    // A client that sends most of its body and then takes its time.
    const slow = request(`${url}/runs`, { method: 'POST', headers: { 'x-api-key': key } });
    slow.on('error', () => undefined);
    slow.write(body.slice(0, 190_000));
    await eventually(async () => {
      const answer = await http('/runs', { key, body });
      expect([answer.status, answer.headers.get('retry-after')]).toEqual([503, '10']);
      expect(answer.body).toMatchObject({ error: 'UNAVAILABLE' });
    });
    expect((await http('/metrics')).text).toMatch(/tracewell_ingest_shed_total\{reason="bytes"\} [1-9]/);
    slow.end(body.slice(190_000));
    const [response] = (await once(slow, 'response')) as [{ statusCode: number; resume(): void }];
    response.resume();
    expect(response.statusCode).toBe(202);
    await eventually(async () => expect((await http('/runs', { key, body })).status).toBe(202));
  });
});

describe('signs of life', () => {
  test('every answer carries its request id, the one of the caller where there is a traceparent', async () => {
    const { http, gql, keys } = await started({});
    const key = keys.full.secret;
    const trace = '0af7651916cd43dd8448eb211c80319c';
    const headers = { traceparent: `00-${trace}-b7ad6b7169203331-01` };
    for (const answer of [
      await http('/sessions', { key, headers }),
      await http('/sessions/nonsense', { key, headers }),
      await http('/nowhere', { key, headers }),
      await http('/runs/query', { key, headers, body: '{' }),
      await gql('{', {}, { key, headers }),
    ]) {
      expect(answer.headers.get('x-request-id')).toBe(trace);
    }
    const [one, other] = [await http('/info'), await http('/info')];
    expect(one.headers.get('x-request-id')).not.toBe(other.headers.get('x-request-id'));
  });

  test('metrics have the names dashboards are built on', async () => {
    const { http, gql, keys } = await started({});
    await http('/runs', { key: keys.full.secret, body: newRun() });
    await http('/sessions', { key: 'nonsense' });
    await gql('{ viewer { scopes } }', {}, { key: keys.full.secret });
    const { status, text, headers } = await http('/metrics');
    expect([status, headers.get('content-type')?.startsWith('text/plain')]).toEqual([200, true]);
    for (const name of [
      'tracewell_ack_seconds_bucket',
      'tracewell_auth_failures_total',
      'tracewell_event_loop_lag_seconds',
      'tracewell_http_request_seconds_bucket',
      'tracewell_http_requests_total',
      'tracewell_ingest_bytes_total',
      'tracewell_ingest_inflight_bytes',
      'tracewell_ingest_runs_total',
      'tracewell_writer_batch_runs_bucket',
      'tracewell_writer_flush_seconds_bucket',
    ]) {
      expect(text).toMatch(new RegExp(`^${name}(\\{[^}]*\\})? `, 'm'));
    }
    // Whose data it is does not show.
    expect(text).not.toMatch(/[0-9a-f]{8}-[0-9a-f]{4}-/);
  });

  test('readiness goes with the database and comes back with it, liveness stays', async () => {
    const database = await createTestDatabase();
    closers.push(() => database.drop());
    const gate = await openGate(new URL(database.url));
    closers.push(() => gate.close());
    await installOn(database.url);
    const through = new URL(database.url);
    through.port = String(gate.port);
    const gateway = await startGateway({ databaseUrl: through.href });
    closers.push(() => gateway.stop());
    const statusOf = async (at: string): Promise<number> => (await fetch(gateway.url + at)).status;
    expect([await statusOf('/readyz'), await statusOf('/healthz')]).toEqual([200, 200]);
    gate.shut();
    await eventually(async () => expect(await statusOf('/readyz')).toBe(503), { timeoutMs: 20_000 });
    expect(await statusOf('/healthz')).toBe(200);
    const refused = await fetch(`${gateway.url}/sessions`, { headers: { 'x-api-key': API_KEY } });
    expect([refused.status, refused.headers.get('retry-after')]).toEqual([503, '10']);
    gate.open();
    await eventually(async () => expect(await statusOf('/readyz')).toBe(200), { timeoutMs: 20_000 });
    await eventually(
      async () => {
        const answer = await fetch(`${gateway.url}/sessions`, { headers: { 'x-api-key': API_KEY } });
        expect(answer.status).toBe(200);
      },
      { timeoutMs: 20_000 },
    );
  }, 90_000);

  test('told to stop under load, a gateway fails no request it took and exits with 0', async () => {
    const database = await createTestDatabase();
    closers.push(() => database.drop());
    await installOn(database.url);
    const port = await freePort();
    const url = `http://127.0.0.1:${port}`;
    const gateway = spawn(process.execPath, [path.resolve('dist/src/main.js')], {
      env: {
        ...process.env,
        NODE_OPTIONS: '',
        NODE_ENV: 'production',
        DATABASE_URL: database.url,
        TRACEWELL_INIT_API_KEY: API_KEY,
        INGEST_REQUESTS_PER_MINUTE: '1000000',
        API_REQUESTS_PER_MINUTE: '1000000',
        LOG_LEVEL: 'silent',
        PORT: String(port),
      },
      stdio: 'ignore',
    });
    closers.push(() => gateway.kill('SIGKILL'));
    await untilReady(url);
    const outcomes = new Map<string, number>();
    let acknowledged = 0;
    let over = false;
    const client = async (): Promise<void> => {
      while (!over) {
        const outcome = await fetch(`${url}/runs/batch`, {
          method: 'POST',
          headers: { 'content-type': 'application/json', 'x-api-key': API_KEY },
          body: JSON.stringify({ post: [newRun(), newRun()] }),
        }).then(
          async (response) => {
            await response.arrayBuffer();
            return String(response.status);
          },
          (error: unknown) => causeOf(error),
        );
        outcomes.set(outcome, (outcomes.get(outcome) ?? 0) + 1);
        if (outcome === '202') acknowledged += 2;
        if (outcome === 'ECONNREFUSED') return;
      }
    };
    const clients = Array.from({ length: 8 }, client);
    await eventually(() => expect(acknowledged).toBeGreaterThan(500), { timeoutMs: 20_000 });
    const started = performance.now();
    gateway.kill('SIGTERM');
    const [code] = (await once(gateway, 'exit')) as [number | null];
    over = true;
    await Promise.all(clients);
    expect(code).toBe(0);
    expect(performance.now() - started).toBeLessThan(30_000);
    // New connections are refused from then on, which clients try again elsewhere. Nothing else went wrong.
    expect([...outcomes.keys()].filter((outcome) => outcome !== '202' && outcome !== 'ECONNREFUSED')).toEqual(
      [],
    );
    const { rows } = await database.pool.query<{ count: number }>('select count(*)::int as count from runs');
    expect(rows[0]?.count).toBe(acknowledged);
  }, 90_000);
});

const causeOf = (error: unknown): string => {
  const { cause } = error as { cause?: { code?: string } };
  return cause?.code ?? String(error);
};

/** A way to the database that can be shut: connections end and new ones are refused. */
async function openGate(target: URL): Promise<{
  readonly port: number;
  shut(): void;
  open(): void;
  close(): Promise<void>;
}> {
  const sockets = new Set<Socket>();
  let isOpen = true;
  const server = createServer((from) => {
    if (!isOpen) {
      from.destroy();
      return;
    }
    const to = connect(Number(target.port), target.hostname);
    for (const socket of [from, to]) {
      sockets.add(socket);
      socket.on('error', () => undefined);
      socket.on('close', () => {
        sockets.delete(socket);
        from.destroy();
        to.destroy();
      });
    }
    from.pipe(to);
    to.pipe(from);
  });
  const port = await freePort();
  await new Promise<void>((resolve) => server.listen(port, '127.0.0.1', resolve));
  const shut = (): void => {
    isOpen = false;
    for (const socket of sockets) socket.destroy();
  };
  return {
    port,
    shut,
    open: () => (isOpen = true),
    close: () => {
      shut();
      return new Promise((resolve) => server.close(() => resolve()));
    },
  };
}
