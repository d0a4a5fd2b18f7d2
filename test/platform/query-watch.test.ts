/** Connections that do not answer are given up; those that do, however often, are left alone. */
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import pg from 'pg';
import { isTransient, keepProcessOnLostConnection } from '../../src/platform/db.js';
import { watchQueries } from '../../src/platform/query-watch.js';
import { createTestDatabase } from '../support/database.js';
import type { TestDatabase } from '../support/database.js';
import { createTcpProxy } from '../support/tcp-proxy.js';
import type { TcpProxy } from '../support/tcp-proxy.js';

const TIMEOUT_MS = 1_000;
let database: TestDatabase;
let proxy: TcpProxy;
let pool: pg.Pool;
beforeAll(async () => {
  database = await createTestDatabase();
  proxy = await createTcpProxy(database.url);
  pool = new pg.Pool({ connectionString: proxy.url(database.url), max: 2 });
  pool.on('error', () => undefined);
  keepProcessOnLostConnection(pool);
  watchQueries(pool, TIMEOUT_MS);
}, 60_000);
afterAll(async () => {
  await pool.end();
  await proxy.close();
  await database.drop();
});

const pidOf = async (): Promise<number> =>
  (await pool.query<{ pid: number }>('select pg_backend_pid() as pid')).rows[0]?.pid ?? 0;

test('a query that is never answered fails as something that may pass, and the next one has another connection', async () => {
  const before = await pidOf();
  proxy.swallow(true);
  const failure = await pool.query('select 1').then(
    () => undefined,
    (error: unknown) => error,
  );
  expect(failure).toMatchObject({ message: 'Query read timeout' });
  expect(isTransient(failure)).toBe(true);
  expect(await pidOf()).not.toBe(before);
});

test('many queries one after the other are no query that takes long', async () => {
  const client = await pool.connect();
  const pid = await client.query<{ pid: number }>('select pg_backend_pid() as pid');
  const until = performance.now() + 2 * TIMEOUT_MS;
  while (performance.now() < until) await client.query('select pg_sleep(0.05)');
  const after = await client.query<{ pid: number }>('select pg_backend_pid() as pid');
  expect(after.rows).toEqual(pid.rows);
  client.release();
});
