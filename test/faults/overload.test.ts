/** More than a gateway takes, sent by a clock and not by answers: what is refused is refused at once and says when to come back. */
import { afterEach, expect, test } from '@jest/globals';
import { v7 } from 'uuid';
import { createTestDatabase } from '../support/database.js';
import { eventually } from '../support/eventually.js';
import { API_KEY, installOn, startGateway } from '../support/processes.js';

const closers: (() => Promise<void> | void)[] = [];
afterEach(async () => {
  for (const close of closers.splice(0).reverse()) await close();
}, 60_000);

/** What the key may send at once; five times as much is sent. */
const ALLOWANCE = 60;
const REQUESTS = 5 * ALLOWANCE;
/** Of a request, and of what the gateway holds at once. */
const BODY_BYTES = 50_000;
const IN_FLIGHT_BYTES = 20 * BODY_BYTES;
const EVERY_MS = 10;

interface Answer {
  readonly id: string;
  readonly status: number;
  readonly retryAfter: string | null;
}

async function send(url: string, filler: string): Promise<Answer> {
  const id = v7();
  const run = {
    id,
    trace_id: id,
    name: 'run',
    run_type: 'chain',
    session_name: 'overload',
    inputs: { filler },
  };
  const response = await fetch(`${url}/runs/batch`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', 'x-api-key': API_KEY },
    body: JSON.stringify({ post: [{ ...run, start_time: new Date().toISOString() }] }),
  });
  await response.arrayBuffer();
  return { id, status: response.status, retryAfter: response.headers.get('retry-after') };
}

/** `count` requests, some with each tick, whatever has been answered by then. */
function sendByTheClock(count: number, one: () => Promise<void>): Promise<void> {
  const underWay: Promise<void>[] = [];
  return new Promise((resolve, reject) => {
    const clock = setInterval(() => {
      for (let index = 0; index < 5 && underWay.length < count; index += 1) underWay.push(one());
      if (underWay.length < count) return;
      clearInterval(clock);
      Promise.all(underWay).then(() => resolve(), reject);
    }, EVERY_MS);
  });
}

test('five times what a gateway takes is answered to the last request, and what it took is stored', async () => {
  const database = await createTestDatabase();
  closers.push(() => database.drop());
  await installOn(database.url);
  const { url, stop } = await startGateway({
    databaseUrl: database.url,
    env: {
      INGEST_REQUESTS_PER_MINUTE: String(ALLOWANCE),
      MAX_IN_FLIGHT_BYTES: String(IN_FLIGHT_BYTES),
    },
  });
  closers.push(stop);
  // Nothing can be committed for now, so what is taken in stays in flight.
  const client = await database.pool.connect();
  await client.query('begin; lock table runs in exclusive mode');
  const answers: Answer[] = [];
  const filler = 'x'.repeat(BODY_BYTES);
  const all = sendByTheClock(REQUESTS, async () => void answers.push(await send(url, filler)));
  const withStatus = (status: number): Answer[] => answers.filter((answer) => answer.status === status);

  // All refusals come while what was taken in still waits.
  await eventually(() => {
    expect(withStatus(429).length).toBeGreaterThanOrEqual(REQUESTS - 2 * ALLOWANCE);
    expect(withStatus(503).length).toBeGreaterThanOrEqual(ALLOWANCE / 2);
  });
  expect((await fetch(`${url}/readyz`)).status).toBe(200);
  expect(withStatus(202)).toEqual([]);
  await client.query('rollback');
  client.release();

  await all;
  const accepted = withStatus(202);
  expect(answers.length).toBe(REQUESTS);
  expect(accepted.length + withStatus(429).length + withStatus(503).length).toBe(REQUESTS);
  // As many as there is room for, and no fewer.
  expect(accepted.length).toBeGreaterThanOrEqual(IN_FLIGHT_BYTES / BODY_BYTES - 1);
  for (const { retryAfter } of withStatus(503)) expect(retryAfter).toBe('10');
  for (const { retryAfter } of withStatus(429)) expect(Number(retryAfter)).toBeGreaterThanOrEqual(10);
  const { rows } = await database.pool.query<{ id: string }>('select id from runs');
  expect(rows.map(({ id }) => id).sort()).toEqual(accepted.map(({ id }) => id).sort());

  // And then it is calm.
  await eventually(async () => expect((await send(url, filler)).status).toBe(202));
  const metrics = await (await fetch(`${url}/metrics`)).text();
  expect(metrics).toMatch(/^tracewell_ingest_inflight_bytes 0$/m);
  for (const reason of ['rate', 'bytes']) {
    const [, shed] =
      new RegExp(`^tracewell_ingest_shed_total\\{reason="${reason}"\\} (\\d+)$`, 'm').exec(metrics) ?? [];
    expect(Number(shed)).toBeGreaterThanOrEqual(withStatus(reason === 'rate' ? 429 : 503).length);
  }
});
