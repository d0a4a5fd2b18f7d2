import { afterAll, beforeAll, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { randomUUID } from 'node:crypto';
import { v7 } from 'uuid';
import type { JsonObject, Payload, RunEvent } from '../../src/ingest/run-event.js';
import type { RunWriter } from '../../src/ingest/run-writer.js';
import { createTestDatabase } from '../support/database.js';
import type { TestDatabase } from '../support/database.js';
import { Writers } from './writers.js';

const WORKSPACE = randomUUID();
let database: TestDatabase;
let writers: Writers;
const createWriter = (lanes?: number): { writer: RunWriter; rings: () => number } => writers.create(lanes);

beforeAll(async () => {
  database = await createTestDatabase();
  writers = new Writers(database);
});
afterAll(async () => {
  await writers.close();
  await database.drop();
});

const payload = (value: JsonObject): Payload => ({ text: JSON.stringify(value), value });
const now = (): number => Date.now() * 1_000;

function post(id: string, fields: Partial<RunEvent> = {}): RunEvent {
  const startUs = now();
  return {
    kind: 'create',
    workspaceId: WORKSPACE,
    id,
    traceId: id,
    dottedOrder: `20261121T100000000001Z${id}`,
    project: { name: 'demo' },
    name: 'call',
    runType: 'chain',
    startUs,
    inputs: payload({ q: 'hi' }),
    ...fields,
  };
}

async function row(id: string): Promise<Record<string, unknown>> {
  const { rows } = await database.pool.query('select * from runs where workspace_id = $1 and id = $2', [
    WORKSPACE,
    id,
  ]);
  expect(rows).toHaveLength(1);
  return rows[0] as Record<string, unknown>;
}

test('a complete run comes back with everything it said and everything derived from it', async () => {
  const { writer } = createWriter();
  const id = v7();
  const startUs = 1_795_000_000_123_456;
  const refusals = await writer.write([
    post(id, {
      runType: 'llm',
      startUs,
      endUs: startUs + 1_500_000,
      outputs: payload({
        text: 'ho',
        usage_metadata: {
          input_tokens: 3,
          output_tokens: 4,
          total_tokens: 7,
          input_cost: 1e-6,
          output_cost: 2e-7,
          input_token_details: { cache_read: 1 },
        },
      }),
      metadata: {
        thread_id: 't1',
        tenant_id: 'acme',
        ls_model_name: 'toy',
        ls_provider: 'local',
        nested: { a: ['x', 'y'], n: 1 },
      },
      extra: { runtime: { sdk: 'js' } },
      events: { text: '[]', value: [{ name: 'new_token', time: '2026-11-18T11:06:41.000456Z' }] },
      tags: ['a', 'b'],
    }),
  ]);
  expect(refusals).toEqual([undefined]);
  expect(await row(id)).toMatchObject({
    name: 'call',
    run_type: 'llm',
    status: 'success',
    latency: 1.5,
    tags: ['a', 'b'],
    thread_id: 't1',
    tenant_id: 'acme',
    model: 'toy',
    provider: 'local',
    prompt_tokens: '3',
    completion_tokens: '4',
    total_tokens: '7',
    prompt_token_details: { cache_read: 1 },
    prompt_cost: '0.000001000000',
    completion_cost: '0.000000200000',
    total_cost: '0.000001200000',
    metadata: {
      thread_id: 't1',
      tenant_id: 'acme',
      ls_model_name: 'toy',
      ls_provider: 'local',
      nested: { a: ['x', 'y'], n: 1 },
    },
    attributes: {
      thread_id: 't1',
      tenant_id: 'acme',
      ls_model_name: 'toy',
      ls_provider: 'local',
      'nested.a': ['x', 'y'],
      'nested.n': '1',
    },
    extra: { runtime: { sdk: 'js' } },
    inputs: { q: 'hi' },
    inputs_preview: 'hi',
    revision: '1',
    merge_state: null,
  });
});

test('post and patch in either order, and the same again, are one row', async () => {
  const { writer, rings } = createWriter();
  const [a, b] = [v7(), v7()];
  const patch = (id: string): RunEvent => ({
    kind: 'update',
    workspaceId: WORKSPACE,
    id,
    endUs: now() + 5,
    outputs: payload({ a: 1 }),
  });
  const [postA, patchA, postB, patchB] = [post(a), patch(a), post(b), patch(b)];
  await writer.write([postA]);
  await writer.write([patchA]);
  await writer.write([patchB]);
  expect(await row(b)).toMatchObject({
    status: 'success',
    name: '',
    merge_state: expect.objectContaining({ c: 0 }),
  });
  await writer.write([postB]);
  for (const id of [a, b]) {
    expect(await row(id)).toMatchObject({
      status: 'success',
      name: 'call',
      inputs: { q: 'hi' },
      outputs: { a: 1 },
      revision: '2',
    });
  }
  const before = rings();
  await writer.write([postA, patchA]);
  await writer.write([patchB, postB]);
  expect(await row(a)).toMatchObject({ revision: '2' });
  expect(await row(b)).toMatchObject({ revision: '2' });
  expect(rings()).toBe(before);
});

test('the same id with another start time is the same run, whatever the version of the id', async () => {
  const { writer } = createWriter();
  for (const id of [v7(), randomUUID(), '00000000-0000-0000-5722-f7bfcf047bfc']) {
    const startUs = now();
    await writer.write([post(id, { startUs })]);
    await writer.write([
      { kind: 'update', workspaceId: WORKSPACE, id, startUs: startUs - 40 * 86_400_000_000, name: 'moved' },
    ]);
    expect(await row(id)).toMatchObject({
      name: 'moved',
      start_time: new Date((startUs - 40 * 86_400_000_000) / 1_000),
    });
  }
});

test('times no clock should show are stored as they are', async () => {
  const { writer } = createWriter();
  const ids = [randomUUID(), v7(), '0fffffff-ffff-7fff-bfff-ffffffffffff'];
  const startUs = Date.parse('2199-01-01T00:00:00Z') * 1_000;
  expect(await writer.write(ids.map((id) => post(id, { startUs })))).toEqual([
    undefined,
    undefined,
    undefined,
  ]);
  for (const id of ids) expect(await row(id)).toMatchObject({ start_time: new Date('2199-01-01T00:00:00Z') });
});

test('one event the database refuses is refused alone', async () => {
  const { writer } = createWriter();
  const ids = Array.from({ length: 100 }, () => v7());
  const events = ids.map((id, index) => post(id, index === 37 ? { name: 'nul \0 inside' } : {}));
  const refusals = await writer.write(events);
  expect(refusals.flatMap((refusal, index) => (refusal === undefined ? [] : [index]))).toEqual([37]);
  const { rows } = await database.pool.query(
    'select count(*)::int as n from runs where workspace_id = $1 and id = any($2::uuid[])',
    [WORKSPACE, ids],
  );
  expect(rows).toEqual([{ n: 99 }]);
});

test('a project that was deleted is made again; an unknown project id is refused', async () => {
  const { writer } = createWriter();
  const [first, second, third] = [v7(), v7(), v7()];
  await writer.write([post(first, { project: { name: 'short-lived' } })]);
  await database.pool.query('delete from projects where workspace_id = $1 and name = $2', [
    WORKSPACE,
    'short-lived',
  ]);
  const unknown = randomUUID();
  const refusals = await writer.write([
    post(second, { project: { name: 'short-lived' } }),
    post(third, { project: { id: unknown } }),
  ]);
  expect(refusals).toEqual([undefined, { id: third, field: 'session_id', message: 'project not found' }]);
  const { rows } = await database.pool.query(
    'select id from projects where workspace_id = $1 and name = $2',
    [WORKSPACE, 'short-lived'],
  );
  expect(await row(second)).toMatchObject({ project_id: (rows[0] as { id: string }).id });
});

test('events of deleted traces stay deleted', async () => {
  const { writer } = createWriter();
  const id = v7();
  await database.pool.query('insert into trace_tombstones values ($1, $2, now())', [WORKSPACE, id]);
  expect(await writer.write([post(id)])).toEqual([undefined]);
  const { rowCount } = await database.pool.query('select from runs where id = $1', [id]);
  expect(rowCount).toBe(0);
});

test('the feed names each change once, with its kind', async () => {
  const { writer } = createWriter();
  const id = v7();
  await writer.write([post(id)]);
  await writer.write([{ kind: 'update', workspaceId: WORKSPACE, id, tags: ['x'] }]);
  await writer.write([{ kind: 'update', workspaceId: WORKSPACE, id, endUs: now() }]);
  const { rows } = await database.pool.query<{ entries: [string, number, string, string][] }>(
    'select entries from feed where entries::text like $1 order by xid, seq',
    [`%${id}%`],
  );
  expect(rows.map(({ entries }) => entries)).toEqual([
    [['s', 0, id, id]],
    [['u', 0, id, id]],
    [['e', 0, id, id]],
  ]);
});

test('partitions store the columns of a run as the table says', async () => {
  const { writer } = createWriter();
  const id = v7();
  await writer.write([post(id)]);
  const { rows } = await database.pool.query(
    `select p.attname, p.attstorage, t.attstorage as wanted
     from runs r
     join pg_attribute p on p.attrelid = r.tableoid and p.attnum > 0
     join pg_attribute t on t.attrelid = 'runs'::regclass and t.attname = p.attname
     where r.workspace_id = $1 and r.id = $2 and p.attname = any('{attributes,error,inputs,inputs_preview}')
     order by p.attname`,
    [WORKSPACE, id],
  );
  expect(rows).toEqual([
    { attname: 'attributes', attstorage: 'm', wanted: 'm' },
    { attname: 'error', attstorage: 'x', wanted: 'x' },
    { attname: 'inputs', attstorage: 'e', wanted: 'e' },
    { attname: 'inputs_preview', attstorage: 'm', wanted: 'm' },
  ]);
});

test('concurrent writers of the same runs agree on one state', async () => {
  const both = [createWriter(2).writer, createWriter(2).writer];
  const ids = Array.from({ length: 25 }, () => v7());
  const startUs = now();
  const eventsOf = (id: string): RunEvent[] => [
    post(id, { startUs, metadata: { a: 1, b: 'post' } }),
    {
      kind: 'update',
      workspaceId: WORKSPACE,
      id,
      endUs: startUs + 10,
      outputs: payload({ n: 1 }),
      metadata: { b: 'patch' },
    },
    { kind: 'update', workspaceId: WORKSPACE, id, tags: ['later'], error: 'x' },
    { kind: 'update', workspaceId: WORKSPACE, id, endUs: startUs + 20, outputs: payload({ n: 2 }) },
  ];
  const deliveries = fc.sample(
    fc.shuffledSubarray(ids.flatMap(eventsOf), { minLength: 100, maxLength: 100 }),
    { numRuns: 4, seed: 7 },
  );
  await Promise.all(
    deliveries.flatMap((delivery, index) => {
      const chunks = Array.from({ length: 10 }, (_, chunk) => delivery.slice(chunk * 10, chunk * 10 + 10));
      return chunks.map((chunk) => both[index % 2]!.write(chunk));
    }),
  );
  for (const id of ids) {
    expect(await row(id)).toMatchObject({
      status: 'error',
      error: 'x',
      tags: ['later'],
      outputs: { n: 2 },
      metadata: { a: 1, b: 'patch' },
      name: 'call',
      inputs: { q: 'hi' },
      end_time: new Date(Math.floor((startUs + 20) / 1_000)),
    });
  }
});
