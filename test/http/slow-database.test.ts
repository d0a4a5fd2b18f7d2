/** How statements that the database cancels look to clients: queries are not sent again, what was to be taken in is. */
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import type pg from 'pg';
import { createPool } from '../../src/platform/db.js';
import { createLogger } from '../../src/platform/log.js';
import { createTestDatabase } from '../support/database.js';
import type { TestDatabase } from '../support/database.js';
import { startEdge } from './edge.js';
import type { Edge } from './edge.js';

let database: TestDatabase;
let pool: pg.Pool;
let edge: Edge;

beforeAll(async () => {
  database = await createTestDatabase();
  pool = createPool({
    url: database.url,
    name: 'slow',
    max: 1,
    statementTimeoutMs: 200,
    log: createLogger('silent', 'test'),
  });
  edge = await startEdge({
    database,
    routes: [
      {
        name: 'slow',
        mount: 'root',
        register(app) {
          const sleep = () => pool.query('select pg_sleep(10)');
          app.get('/slow-query', { config: { access: 'read' } }, sleep);
          app.post('/slow-intake', { config: { access: 'ingest', rateClass: 'ingest' } }, sleep);
          app.get('/locked', { config: { access: 'read' } }, () =>
            pool.query('select from feed_floor for update'),
          );
        },
      },
    ],
  });
});

afterAll(async () => {
  await edge.close();
  await pool.end();
  await database.drop();
});

async function facts(answer: Promise<Response>): Promise<unknown[]> {
  const response = await answer;
  const { error } = (await response.json()) as { error?: string };
  return [response.status, error, response.headers.get('retry-after')];
}

test('a query that ran out of its time has an answer that no client repeats', async () => {
  expect(await facts(edge.fetch('/slow-query'))).toEqual([422, 'TIMEOUT', null]);
});

test('what could not be taken in in time is to be sent again', async () => {
  const sent = edge.fetch('/slow-intake', { method: 'POST', body: '{}' });
  expect(await facts(sent)).toEqual([503, 'UNAVAILABLE', '10']);
});

test('a lock of somebody else passes', async () => {
  const client = await database.pool.connect();
  await client.query('begin; select from feed_floor for update');
  await pool.query("set lock_timeout = '50ms'");
  expect(await facts(edge.fetch('/locked'))).toEqual([503, 'UNAVAILABLE', '10']);
  await client.query('rollback');
  client.release();
});
