import { afterAll, beforeEach, expect, test } from '@jest/globals';
import { randomUUID } from 'node:crypto';
import { Registry } from 'prom-client';
import { ContentReadLog } from '../../src/audit/content-read-log.js';
import type { ContentReadLogDeps } from '../../src/audit/content-read-log.js';
import type { ContentCaller } from '../../src/audit/content-read.js';
import { ContentReadPartitions } from '../../src/audit/content-read-partition.store.js';
import { ContentReadStore } from '../../src/audit/content-read.store.js';
import type { ContentReadRow } from '../../src/audit/content-read.store.js';
import { createPool } from '../../src/platform/db.js';
import { everywhere } from '../../src/platform/db-scope.js';
import { systemIds } from '../../src/platform/ids.js';
import { createLogger } from '../../src/platform/log.js';
import type { Operation } from '../../src/tenancy/principal.js';
import { createTestDatabase } from '../support/database.js';
import { eventually } from '../support/eventually.js';

const database = await createTestDatabase();
const log = createLogger('silent', 'test');
const pool = createPool({ url: database.url, name: 'audit', max: 2, statementTimeoutMs: 10_000, log });
const store = new ContentReadStore({ db: pool });
const partitions = new ContentReadPartitions({ pool });
let nowMs = Date.now();
const clock = { now: () => new Date(nowMs) };
const common = { store, partitions, clock, ids: systemIds, log };
const newLog = (deps: Partial<ContentReadLogDeps> = {}): ContentReadLog =>
  new ContentReadLog({ ...common, registry: new Registry(), ...deps });
const workspaceId = randomUUID();

beforeEach(async () => {
  nowMs = Date.now();
  await database.pool.query('truncate content_reads');
});
afterAll(async () => {
  await pool.end();
  await database.drop();
});

const operation = (name = 'query Runs', via: Operation['via'] = 'graphql'): Operation => ({
  requestId: 'request',
  via,
  name,
});
const caller = (of: Operation = operation()): ContentCaller => ({
  workspaceId,
  keyId: randomUUID(),
  kind: 'service',
  userId: undefined,
  operation: of,
});
const ids = (count: number): string[] => Array.from({ length: count }, () => randomUUID());

async function stored() {
  const { rows } = await database.pool.query<{
    operation: string;
    via: string;
    caller: string;
    key: string | null;
    kept: number;
    count: number;
    fields: string[];
  }>(
    `select operation, via, caller, key_id as key, cardinality(object_ids) as kept, object_count::int as count, fields
     from content_reads order by read_at, id`,
  );
  return rows;
}

test('all that one operation reads is one row, however many steps and flushes it takes', async () => {
  const audit = newLog();
  const who = caller();
  const [first, second] = [ids(3), ids(2)];
  audit.note(who, { type: 'run', ids: first, fields: ['inputs'] });
  audit.note(who, { type: 'run', ids: [...first, ...second], fields: ['outputs', 'inputs'] });
  expect(audit.waiting).toBe(1);
  await audit.flush();
  const third = ids(1);
  nowMs += 5_000;
  audit.note(who, { type: 'run', ids: [...second, ...third], fields: ['error'] });
  await audit.close();
  expect(await stored()).toEqual([
    {
      operation: 'query Runs',
      via: 'graphql',
      caller: 'service',
      key: who.keyId,
      kept: 6,
      count: 6,
      fields: ['error', 'inputs', 'outputs'],
    },
  ]);
  const { rows } = await database.pool.query<{ ids: string[] }>(
    'select object_ids as ids from content_reads',
  );
  expect(rows[0]?.ids).toEqual([...first, ...second, ...third]);
});

test('operations of one key, and kinds of objects of one operation, have rows of their own', async () => {
  const audit = newLog();
  const who = caller();
  audit.note(who, { type: 'run', ids: ids(1), fields: ['inputs'] });
  audit.note(who, { type: 'thread', ids: ['a thread'], fields: ['firstInputsPreview'] });
  audit.note(
    { ...who, operation: operation('GET /runs/:id', 'rest') },
    { type: 'run', ids: ids(1), fields: ['error'] },
  );
  await audit.close();
  expect((await stored()).map(({ operation, via }) => `${via} ${operation}`).sort()).toEqual([
    'graphql query Runs',
    'graphql query Runs',
    'rest GET /runs/:id',
  ]);
});

test('nothing is noted where nothing was found or no content was asked for', async () => {
  const audit = newLog();
  audit.note(caller(), { type: 'run', ids: [], fields: ['inputs'] });
  audit.note(caller(), { type: 'run', ids: ids(1), fields: [] });
  expect(audit.waiting).toBe(0);
  await audit.close();
});

test('of very many objects the first 500 ids are kept and all are counted', async () => {
  const audit = newLog();
  audit.note(caller(), { type: 'run', ids: ids(1_300), fields: ['inputs'] });
  await audit.close();
  expect(await stored()).toMatchObject([{ kept: 500, count: 1_300 }]);
});

test('holders of links are not named by their secret, and the installation itself by no key', async () => {
  const audit = newLog();
  audit.note(caller(operation('GET /public/:token/run', 'link')), {
    type: 'run',
    ids: ids(1),
    fields: ['inputs'],
  });
  audit.note({ ...caller(), operation: undefined } as unknown as ContentCaller, {
    type: 'run',
    ids: ids(1),
    fields: ['inputs'],
  });
  await audit.close();
  expect((await stored()).map(({ via, caller, key }) => [via, caller, key])).toEqual([
    ['link', 'link', null],
    ['system', 'system', null],
  ]);
});

test('a stream has a row for each flush', async () => {
  const audit = newLog();
  const who = caller(operation('subscription Live', 'live'));
  for (let flush = 0; flush < 2; flush += 1) {
    audit.note(who, { type: 'run', ids: ids(1), fields: ['inputs'] });
    audit.note(who, { type: 'run', ids: ids(1), fields: ['inputs'] });
    await audit.flush();
  }
  await audit.close();
  expect((await stored()).map(({ count }) => count)).toEqual([2, 2]);
});

test('rows are written by themselves within the flush time, in one statement for many operations', async () => {
  let statements = 0;
  const counting = {
    save: (rows: readonly ContentReadRow[]) => {
      statements += 1;
      return store.save(rows);
    },
  };
  const audit = newLog({ store: counting, flushMs: 50 });
  for (let index = 0; index < 300; index += 1) {
    audit.note(caller(), { type: 'run', ids: ids(2), fields: ['inputs'] });
  }
  await eventually(async () => expect(await stored()).toHaveLength(300));
  expect(statements).toBe(1);
  await audit.close();
});

test('what cannot be written waits and is written later, once; beyond the bound reads are refused', async () => {
  let away = true;
  const failing = {
    save: (rows: readonly ContentReadRow[]) =>
      away ? Promise.reject(Object.assign(new Error('away'), { code: 'ECONNREFUSED' })) : store.save(rows),
  };
  const audit = newLog({ store: failing, maxWaitingIds: 10 });
  const who = caller();
  audit.note(who, { type: 'run', ids: ids(6), fields: ['inputs'] });
  await audit.flush();
  expect(audit.waiting).toBe(1);
  audit.note(who, { type: 'run', ids: ids(5), fields: ['inputs'] });
  expect(() => audit.note(caller(), { type: 'run', ids: ids(1), fields: ['inputs'] })).toThrow(
    'Reads of content cannot be recorded at this moment.',
  );
  away = false;
  await audit.flush();
  expect(await stored()).toMatchObject([{ kept: 11, count: 11 }]);
  audit.note(caller(), { type: 'run', ids: ids(1), fields: ['inputs'] });
  await audit.close();
  expect(await stored()).toHaveLength(2);
});

test('a row that can never be written does not keep others from it', async () => {
  const audit = newLog();
  const bad = { ...caller(), workspaceId: 'no uuid' };
  audit.note(caller(), { type: 'run', ids: ids(1), fields: ['inputs'] });
  audit.note(bad, { type: 'run', ids: ids(1), fields: ['inputs'] });
  audit.note(caller(), { type: 'run', ids: ids(1), fields: ['inputs'] });
  await audit.close();
  expect([audit.waiting, (await stored()).length]).toEqual([0, 2]);
});

test('a month without a partition gets one; months past their retention go, younger ones stay', async () => {
  nowMs = Date.parse('2031-05-31T23:59:59Z');
  const audit = newLog();
  audit.note(caller(), { type: 'run', ids: ids(1), fields: ['inputs'] });
  audit.note(caller(), { type: 'run', ids: ids(1), fields: ['inputs'] });
  await audit.close();
  expect(await stored()).toHaveLength(2);
  const inScope = <T>(work: () => Promise<T>): Promise<T> => everywhere('upkeep', work);
  expect(await inScope(() => partitions.ensure(clock.now()))).toEqual([]);
  const together = await Promise.all(
    [1, 2, 3].map(() => inScope(() => partitions.ensure(new Date('2031-07-01T00:00:00Z')))),
  );
  expect(together.flat().sort()).toEqual(['content_reads_203107', 'content_reads_203108']);
  expect(await inScope(() => partitions.drop(new Date('2031-06-30T23:59:59Z')))).not.toContain(
    'content_reads_203106',
  );
  expect(await inScope(() => partitions.drop(new Date('2031-07-01T00:00:00Z')))).toEqual([
    'content_reads_203106',
  ]);
  expect(await stored()).toEqual([]);
  await inScope(() => partitions.ensure(new Date()));
});
