import { afterAll, beforeEach, expect, test } from '@jest/globals';
import { randomUUID } from 'node:crypto';
import type pg from 'pg';
import { createPool } from '../../src/platform/db.js';
import { Idempotency } from '../../src/platform/idempotency.js';
import { trimIdempotencyRecords } from '../../src/platform/idempotency.store.js';
import { createLogger } from '../../src/platform/log.js';
import { failed, ok, problem } from '../../src/platform/result.js';
import type { Result } from '../../src/platform/result.js';
import { createTestDatabase } from '../support/database.js';
import { eventually } from '../support/eventually.js';

const database = await createTestDatabase();
const log = createLogger('silent', 'test');
const CONNECTIONS = 8;
const pool = createPool({
  url: database.url,
  name: 'once',
  max: CONNECTIONS,
  statementTimeoutMs: 10_000,
  log,
});
const START = Date.parse('2026-11-21T10:00:00Z');
const HOUR_MS = 3_600_000;
let nowMs = START;
const clock = { now: () => new Date(nowMs) };
const once = new Idempotency({ pool, pepper: 'a pepper for tests', clock });
const caller = { workspaceId: randomUUID(), keyId: randomUUID() };

await database.pool.query('create table things (id uuid primary key, name text not null)');

beforeEach(async () => {
  nowMs = START;
  await database.pool.query('truncate things, idempotency_records');
});
afterAll(async () => {
  await pool.end();
  await database.drop();
});

interface Thing {
  readonly id: string;
  readonly madeAt: Date;
  readonly note: string;
}

async function insertThing(tx: pg.PoolClient, name: string): Promise<Result<Thing>> {
  const id = randomUUID();
  await tx.query('insert into things (id, name) values ($1, $2)', [id, name]);
  return ok({ id, madeAt: clock.now(), note: 'd is no date' });
}

function make(key: string | undefined, name = 'one', who = caller, mutation = 'createThing') {
  return once.once(who, { mutation, key, input: { name } }, (tx) => insertThing(tx, name));
}

async function count(table: 'things' | 'idempotency_records'): Promise<number> {
  const { rows } = await database.pool.query<{ n: number }>(`select count(*)::int as n from ${table}`);
  return rows[0]?.n ?? -1;
}

test('a repetition gets the first answer, dates and all, and makes nothing', async () => {
  const first = await make('k');
  nowMs += 1_000;
  expect(await make('k')).toStrictEqual(first);
  expect(await count('things')).toBe(1);
});

test('without a key each call stands for itself and leaves no record', async () => {
  await make(undefined);
  await make(undefined);
  expect([await count('things'), await count('idempotency_records')]).toEqual([2, 0]);
});

test('of many calls at once exactly one takes effect, the others repeat it or are told to come back', async () => {
  let underWay = 0;
  // Nobody is done before as many are at it as there are connections, or were turned away.
  const call = (): Promise<Result<Thing>> =>
    once
      .once(caller, { mutation: 'createThing', key: 'k', input: { name: 'one' } }, async (tx) => {
        const made = await insertThing(tx, 'one');
        underWay += 1;
        await eventually(() => expect(underWay).toBeGreaterThanOrEqual(CONNECTIONS));
        return made;
      })
      .catch((error: unknown) => {
        underWay += 1;
        throw error;
      });
  const outcomes = await Promise.allSettled(Array.from({ length: 20 }, call));
  const answers = outcomes.flatMap((each) => (each.status === 'fulfilled' ? [each.value] : []));
  const refusals = outcomes.flatMap((each) => (each.status === 'rejected' ? [each.reason as unknown] : []));
  expect(await count('things')).toBe(1);
  expect(answers.length).toBeGreaterThan(0);
  for (const answer of answers) expect(answer).toStrictEqual(answers[0]);
  for (const refusal of refusals) {
    expect(refusal).toMatchObject({ code: 'CONFLICT', retryAfterSeconds: 1, details: { retryable: true } });
  }
  expect(await make('k')).toStrictEqual(answers[0]);
});

test('while a call is going on its repetition is refused at once', async () => {
  let finish: (() => void) | undefined;
  const finished = new Promise<void>((resolve) => (finish = resolve));
  let started: (() => void) | undefined;
  const running = new Promise<void>((resolve) => (started = resolve));
  const slow = once.once(
    caller,
    { mutation: 'createThing', key: 'k', input: { name: 'one' } },
    async (tx) => {
      started?.();
      await finished;
      return insertThing(tx, 'one');
    },
  );
  await running;
  await expect(make('k')).rejects.toMatchObject({ code: 'CONFLICT' });
  await make('another');
  finish?.();
  expect(await make('k').catch(() => slow.then(() => make('k')))).toStrictEqual(await slow);
});

test('another input under the same key is refused and changes nothing; the order of keys is no difference', async () => {
  const call = (input: object) =>
    once.once(caller, { mutation: 'm', key: 'k', input }, (tx) => insertThing(tx, 'one'));
  const first = await call({ a: 1, b: { c: [1, 2], d: 2 } });
  expect(await call({ b: { d: 2, c: [1, 2] }, a: 1 })).toStrictEqual(first);
  await expect(call({ a: 1, b: { c: [2, 1], d: 2 } })).rejects.toMatchObject({
    code: 'IDEMPOTENCY_MISMATCH',
    inputPath: ['input', 'idempotencyKey'],
  });
  expect(await count('things')).toBe(1);
});

test('workspaces, callers and mutations have keys of their own', async () => {
  await make('k');
  await make('k', 'two', { ...caller, workspaceId: randomUUID() });
  await make('k', 'three', { ...caller, keyId: randomUUID() });
  await make('k', 'four', caller, 'createOther');
  expect(await count('things')).toBe(4);
});

test('a connection that dies before the commit leaves neither the thing nor the record, and the key works', async () => {
  const killed = once.once(
    caller,
    { mutation: 'createThing', key: 'k', input: { name: 'one' } },
    async (tx) => {
      const made = await insertThing(tx, 'one');
      const { rows } = await tx.query<{ pid: number }>('select pg_backend_pid() as pid');
      await database.pool.query('select pg_terminate_backend($1)', [rows[0]?.pid]);
      return made;
    },
  );
  await expect(killed).rejects.toThrow();
  expect([await count('things'), await count('idempotency_records')]).toEqual([0, 0]);
  expect((await make('k')).ok).toBe(true);
  expect(await count('things')).toBe(1);
});

test('a call that fails, by an error or with problems, is rolled back and its key is free', async () => {
  const call = { mutation: 'createThing', key: 'k', input: { name: 'one' } };
  const refused = await once.once(caller, call, async (tx): Promise<Result<Thing>> => {
    await insertThing(tx, 'half');
    return failed(problem('ALREADY_EXISTS', 'Taken.', ['name']));
  });
  expect(refused).toEqual({
    ok: false,
    problems: [{ code: 'ALREADY_EXISTS', message: 'Taken.', path: ['name'], retryable: false }],
  });
  const broken = once.once(caller, call, async (tx) => {
    await insertThing(tx, 'half');
    throw new Error('a fault');
  });
  await expect(broken).rejects.toThrow('a fault');
  expect([await count('things'), await count('idempotency_records')]).toEqual([0, 0]);
  expect((await make('k', 'a corrected input')).ok).toBe(true);
});

test('keys without characters and endless ones are refused', async () => {
  for (const key of ['', 'x'.repeat(256)]) {
    await expect(make(key)).rejects.toMatchObject({ code: 'BAD_USER_INPUT' });
  }
  expect((await make('x'.repeat(255))).ok).toBe(true);
});

test('a key is forgotten after 24 hours, whether or not its record was removed by then', async () => {
  const first = await make('k');
  nowMs = START + 24 * HOUR_MS - 1;
  expect(await make('k')).toStrictEqual(first);
  nowMs = START + 24 * HOUR_MS;
  expect(await make('k', 'something else')).not.toStrictEqual(first);
  expect([await count('things'), await count('idempotency_records')]).toEqual([2, 1]);
  await make('recent');
  expect(await trimIdempotencyRecords(pool, new Date(START + 24 * HOUR_MS - 1), 100)).toBe(0);
  nowMs += 1;
  await make('younger');
  expect(await trimIdempotencyRecords(pool, new Date(START + 24 * HOUR_MS), 1)).toBe(1);
  expect(await trimIdempotencyRecords(pool, new Date(START + 24 * HOUR_MS), 100)).toBe(1);
  expect(await count('idempotency_records')).toBe(1);
});

test('what is stored tells neither the key nor the answer', async () => {
  const secret = 'a secret that is shown once';
  const call = { mutation: 'createThing', key: 'the clients key', input: { note: 'a private note' } };
  expect(await once.once(caller, call, () => Promise.resolve(ok({ secret })))).toEqual(ok({ secret }));
  const { rows } = await database.pool.query<{ dump: string }>(
    `select convert_from(decode(replace(encode(id || request_hash || result, 'hex'), '00', '20'), 'hex'), 'latin1')
       || r::text as dump from idempotency_records r`,
  );
  for (const word of [secret, 'the clients key', 'private note', caller.keyId]) {
    expect(rows[0]?.dump).not.toContain(word);
  }
  expect(await once.once(caller, call, () => Promise.reject(new Error('ran again')))).toEqual(ok({ secret }));
});
