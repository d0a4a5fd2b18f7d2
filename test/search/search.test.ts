import { afterEach, beforeEach, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { randomUUID } from 'node:crypto';
import type pg from 'pg';
import { v7 } from 'uuid';
import type { Filter } from '../../src/filters/filter.js';
import { compilePredicate } from '../../src/filters/filter.predicate.js';
import { compileRunFilters } from '../../src/filters/filter.sql.js';
import { parseFilter } from '../../src/filters/filter-text.js';
import { filterableColumns, filterableRun, type FilterableRow } from '../../src/filters/filterable-run.js';
import { COMPLETE_INDEX } from '../../src/filters/search-resolution.js';
import { appendFeed } from '../../src/live/feed.js';
import type { FeedKind } from '../../src/live/feed.js';
import { FeedStore } from '../../src/live/feed.store.js';
import { systemClock } from '../../src/platform/clock.js';
import { createPool, transaction } from '../../src/platform/db.js';
import { createLogger } from '../../src/platform/log.js';
import { SqlParams } from '../../src/platform/sql-params.js';
import { SearchIndexer } from '../../src/search/search-indexer.js';
import { SearchService } from '../../src/search/search.service.js';
import { SearchStore } from '../../src/search/search.store.js';
import { trustedScope } from '../../src/tenancy/principal.js';
import { createTestDatabase, type TestDatabase } from '../support/database.js';
import { eventually } from '../support/eventually.js';

const log = createLogger('silent', 'test');
const WORKSPACE = randomUUID();
const OTHER = randomUUID();
const PROJECT = randomUUID();
const DAY = '1970-01-01';

let database: TestDatabase;
let pool: pg.Pool;
let indexer: SearchIndexer;
let search: SearchService;
/** A search whose indexer is always busy elsewhere: all that is not indexed is judged on the spot. */
let unhelped: SearchService;
const store = new SearchStore();
// Never the same twice, as the writer's: a deleted run's id does not come back.
let revision = 0;

beforeEach(async () => {
  database = await createTestDatabase();
  pool = createPool({ url: database.url, name: 'search', max: 6, statementTimeoutMs: 20_000, log });
  indexer = createIndexer();
  search = new SearchService({ pool, store, indexer, clock: systemClock, log });
  const idle = { runOnce: () => Promise.resolve({ indexed: 0, behind: false }) };
  unhelped = new SearchService({ pool, store, indexer: idle, clock: systemClock, log });
});

afterEach(async () => {
  await pool.end();
  await database.drop();
});

const createIndexer = (): SearchIndexer =>
  new SearchIndexer({ pool, store, feed: new FeedStore({ pool }), log });

interface Content {
  readonly name?: string;
  readonly error?: string | null;
  /** JSON text. */
  readonly inputs?: string | null;
  readonly outputs?: string | null;
}

/** Stores runs as the writer does, with their feed row in the same transaction; a run that is there gets a new revision. */
async function write(
  runs: readonly (Content & { id: string })[],
  workspaceId = WORKSPACE,
  tx?: pg.PoolClient,
): Promise<void> {
  const work = async (client: pg.PoolClient): Promise<void> => {
    for (const run of runs) {
      await client.query(
        `insert into runs (workspace_id, id, day, project_id, trace_id, dotted_order, name, run_type, status, start_time, error, tags, metadata, attributes,
           extra, inputs, outputs, revision, merge_rank, created_at, updated_at)
         values ($1, $2, '${DAY}', $3, $2, 'x', $4, 'llm', 'success', now(), $5, '{}', '{}', '{}', '{}', $6, $7, $8, 0, now(), now())
         on conflict (workspace_id, id, day) do update set name = excluded.name, error = excluded.error, inputs = excluded.inputs,
           outputs = excluded.outputs, revision = excluded.revision`,
        [
          workspaceId,
          run.id,
          PROJECT,
          run.name ?? 'run',
          run.error ?? null,
          run.inputs ?? null,
          run.outputs ?? null,
          (revision += 1),
        ],
      );
    }
    await announce(
      client,
      'u',
      runs.map(({ id }) => id),
      workspaceId,
    );
  };
  await (tx === undefined ? transaction(pool, work) : work(tx));
}

async function announce(
  client: pg.PoolClient,
  kind: FeedKind,
  ids: readonly string[],
  workspaceId = WORKSPACE,
): Promise<void> {
  await appendFeed(
    client,
    workspaceId,
    [PROJECT],
    ids.map((id) => [kind, 0, id, id]),
  );
}

async function remove(ids: readonly string[]): Promise<void> {
  await transaction(pool, async (tx) => {
    await tx.query('delete from runs where workspace_id = $1 and id = any($2)', [WORKSPACE, ids]);
    await announce(tx, 'd', ids);
  });
}

async function find(filter: string | Filter, service = search, workspaceId = WORKSPACE): Promise<string[]> {
  const filters = { run: typeof filter === 'string' ? parseFilter(filter) : filter };
  const scope = trustedScope(workspaceId);
  const resolution = await service.resolve(scope, filters);
  const params = new SqlParams();
  const condition = compileRunFilters(filters, {
    alias: 'r',
    params,
    scope,
    days: undefined,
    ...(resolution && { search: resolution }),
  });
  const { rows } = await pool.query<{ id: string }>(
    `select id from runs r where r.workspace_id = ${params.add(workspaceId)} and ${condition} order by id`,
    params.values,
  );
  return rows.map(({ id }) => id);
}

/** Steps until the last feed row is worked off: transactions of other databases on the server hold the horizon back too. */
async function drain(one = indexer): Promise<number> {
  let indexed = 0;
  await eventually(async () => {
    for (let step = await one.runOnce(); ; step = await one.runOnce()) {
      indexed += step.indexed;
      if (!step.behind) break;
    }
    const { rows } = await pool.query<{ level: boolean }>(
      'select not exists (select from feed f, search_position p where (f.xid, f.seq) > (p.xid, p.seq)) as level',
    );
    expect(rows).toEqual([{ level: true }]);
  });
  return indexed;
}

const count = async (table: string): Promise<number> =>
  (await pool.query<{ count: number }>(`select count(*)::int as count from ${table}`)).rows[0]?.count ?? -1;

test('a run is found as soon as it is committed, and the same before and after it is indexed', async () => {
  const [a, b, c] = [v7(), v7(), randomUUID()];
  await write([
    { id: a, name: 'agent', inputs: '{"messages":[{"content":"What is your Refund Policy?"}]}' },
    { id: b, name: 'Café lookup', outputs: '{"answer":"refunded","score":5}' },
    { id: c, error: 'policy refused: 日本語', inputs: '{"filters":{"city":"Oslo"}}' },
  ]);
  await write([{ id: a, inputs: '{"q":"refund policy"}' }], OTHER);
  const expectations: [string, string[]][] = [
    ['search("refund policy")', [a]],
    ['search("REFUND")', [a, b]],
    ['search("pol ref")', [a, c]],
    ['search("fund")', []],
    ['search("cafe")', [b]],
    ['search("本")', [c]],
    ['search("messages")', []],
    ['not(search("refund"))', [c]],
    ['or(search("oslo"), search("lookup"))', [b, c]],
    ['and(eq(input_key, "filters.city"), eq(input_value, "Oslo"))', [c]],
    ['and(eq(input_key, "filters.city"), like(input_value, "%slo"))', [c]],
    ['eq(output_value, 5)', [b]],
    ['neq(output_key, "score")', [a, c]],
    ['and(eq(output_key, "answer"), neq(output_value, "5"))', [b]],
    ['and(eq(output_key, "answer"), eq(output_value, "5"))', []],
  ];
  const check = async (service: SearchService): Promise<void> => {
    for (const [filter, ids] of expectations) {
      expect([filter, await find(filter, service)]).toEqual([filter, [...ids].sort()]);
    }
  };
  await check(unhelped);
  const scope = trustedScope(WORKSPACE);
  const any = { run: parseFilter('search("agent")') };
  expect(await unhelped.resolve(scope, any)).toEqual({
    outdated: [],
    matching: new Map([['["agent"]', [a]]]),
  });

  expect(await drain()).toBe(4);
  expect(await search.resolve(scope, any)).toBe(COMPLETE_INDEX);
  await check(unhelped);
  await check(search);
  expect(await find('search("refund policy")', search, OTHER)).toEqual([a]);
});

test('a changed run is found by its new text only, a deleted one not at all', async () => {
  const [a, b] = [v7(), v7()];
  await write([
    { id: a, inputs: '{"q":"first"}' },
    { id: b, inputs: '{"q":"first"}' },
  ]);
  await drain();
  await write([{ id: a, inputs: '{"q":"second"}' }]);
  expect(await find('search("first")', unhelped)).toEqual([b]);
  expect(await find('search("second")', unhelped)).toEqual([a]);
  expect(await find('not(search("first"))', unhelped)).toEqual([a]);
  await remove([b]);
  expect(await find('search("first")', unhelped)).toEqual([]);
  expect(await drain()).toBe(1);
  expect(await find('search("second")')).toEqual([a]);
  expect(await count('run_search')).toBe(1);
});

test('a search brings the index up to date itself, and does without where that fails', async () => {
  const id = v7();
  await write([{ id, inputs: '{"q":"apple"}' }]);
  const failing = { runOnce: () => Promise.reject(new Error('no connection')) };
  const service = new SearchService({ pool, store, indexer: failing, clock: systemClock, log });
  expect(await find('search("apple")', service)).toEqual([id]);
  expect(await count('run_search')).toBe(0);
  await eventually(async () => {
    expect(await find('search("apple")')).toEqual([id]);
    expect(await count('run_search')).toBe(1);
  });
});

test('filters without a search cost no statement', async () => {
  const silent = { query: () => Promise.reject(new Error('a statement was sent')) } as unknown as pg.Pool;
  const service = new SearchService({ pool: silent, store, indexer, clock: systemClock, log });
  const scope = trustedScope(WORKSPACE);
  expect(await service.resolve(scope, undefined)).toBeUndefined();
  expect(await service.resolve(scope, {})).toBeUndefined();
  expect(
    await service.resolve(scope, {
      run: parseFilter('like(inputs, "x")'),
      tree: parseFilter('lt(feedback_score, 1)'),
    }),
  ).toBeUndefined();
  await expect(service.resolve(scope, { tree: parseFilter('search("x")') })).rejects.toThrow(
    'a statement was sent',
  );
});

test('a transaction that commits late is not skipped', async () => {
  const [slow, quick] = [v7(), v7()];
  const client = await pool.connect();
  try {
    await client.query('begin');
    await write([{ id: slow, inputs: '{"q":"apple"}' }], WORKSPACE, client);
    await write([{ id: quick, inputs: '{"q":"apple"}' }]);
    expect(await indexer.runOnce()).toEqual({ indexed: 0, behind: false });
    expect(await find('search("apple")', unhelped)).toEqual([quick]);
    await client.query('commit');
  } finally {
    client.release();
  }
  expect(await find('search("apple")', unhelped)).toEqual([slow, quick].sort());
  expect(await drain()).toBe(2);
  expect(await find('search("apple")', unhelped)).toEqual([slow, quick].sort());
});

test('several indexers at once index everything once and end at the same position', async () => {
  const ids = Array.from({ length: 1_200 }, () => v7());
  for (let start = 0; start < ids.length; start += 4) {
    await write(
      ids
        .slice(start, start + 4)
        .map((id, n) => ({ id, inputs: JSON.stringify({ n: `word${(start + n) % 7}` }) })),
    );
  }
  const indexers = [indexer, createIndexer(), createIndexer()];
  await Promise.all(indexers.map((one) => drain(one)));
  await drain();
  expect(await count('run_search')).toBe(1_200);
  expect((await find('search("word3")')).length).toBe(ids.filter((_, n) => n % 7 === 3).length);
  expect(await indexer.runOnce()).toEqual({ indexed: 0, behind: false });
});

test('a long tail is indexed before it is searched', async () => {
  const service = new SearchService({ pool, store, indexer, clock: systemClock, log, maxTail: 10 });
  const ids = Array.from({ length: 25 }, () => v7());
  for (const id of ids) await write([{ id, inputs: '{"q":"needle"}' }]);
  expect(await find('search("needle")', service)).toEqual([...ids].sort());
  expect(await count('run_search')).toBeGreaterThanOrEqual(15);
});

test('a tail that does not shrink is refused in the end', async () => {
  const stuck = { runOnce: () => Promise.resolve({ indexed: 0, behind: true }) };
  const service = new SearchService({
    pool,
    store,
    indexer: stuck,
    clock: systemClock,
    log,
    maxTail: 1,
    maxWaitMs: 120,
  });
  for (let n = 0; n < 3; n += 1) await write([{ id: v7() }]);
  await expect(find('search("x")', service)).rejects.toMatchObject({ code: 'UNAVAILABLE' });
});

test('a feed that was trimmed before it was read makes the indexer look at all runs', async () => {
  const [a, b, c] = [v7(), randomUUID(), v7()];
  await write([{ id: a, inputs: '{"q":"apple"}' }]);
  await write([{ id: b, inputs: '{"q":"apple"}' }], OTHER);
  await pool.query(
    'update feed_floor set (xid, seq) = (select xid, seq from feed order by xid desc, seq desc limit 1)',
  );
  await pool.query('delete from feed');
  await write([{ id: c, inputs: '{"q":"apple"}' }]);
  expect(await drain()).toBe(3);
  expect(await find('search("apple")')).toEqual([a, c].sort());
  expect(await find('search("apple")', search, OTHER)).toEqual([b]);
  expect(await indexer.runOnce()).toEqual({ indexed: 0, behind: false });
});

test('an index from another time is read anew', async () => {
  await pool.query("update search_position set xid = '9000000000000', seq = 5");
  const id = v7();
  await write([{ id, inputs: '{"q":"apple"}' }]);
  expect(await drain()).toBe(1);
  expect(await find('search("apple")')).toEqual([id]);
});

test('no payload stops the indexer', async () => {
  const nasty = [
    '{"a":"nul \\u0000 x"}',
    '{"\\ud800":"\\udfff"}',
    '"text"',
    '[]',
    '{"a":1e400}',
    '{"":""}',
    `{"a":"${"'\\\\".repeat(50)}"}`,
    '{"a":"%_"}',
    '{"__proto__":{"x":"y"}}',
  ];
  const deep = `${'{"a":'.repeat(500)}"bottom"${'}'.repeat(500)}`;
  const long = JSON.stringify({ text: Array.from({ length: 60_000 }, (_, n) => `word${n}ß${n}`).join(' ') });
  const ids = [...nasty, deep, long].map(() => v7());
  await write([...nasty, deep, long].map((inputs, n) => ({ id: ids[n] ?? '', inputs, outputs: inputs })));
  expect(await drain()).toBe(ids.length);
  expect(await find('search("bottom")')).toEqual([ids.at(-2)]);
  expect(await find('search("word1ß1")')).toEqual([ids.at(-1)]);
  expect(await find('eq(input_key, "__proto__.x")')).toEqual([ids.at(-3)]);
});

test('days that have gone are forgotten', async () => {
  await pool.query(
    `insert into run_search select $1, gen_random_uuid(), d, 'x'::tsvector, '{}', '{}', 1 from unnest(array['1970-01-01', '2026-01-01', '2026-01-02', '2026-01-03']::date[]) d`,
    [WORKSPACE],
  );
  expect(await indexer.forgetBefore('2026-01-03', 1)).toBe(1);
  expect(await indexer.forgetBefore('2026-01-03', 100)).toBe(1);
  const { rows } = await pool.query('select day::text from run_search order by day');
  expect(rows).toEqual([{ day: '1970-01-01' }, { day: '2026-01-03' }]);
});

test('whatever was written and indexed so far, SQL finds what the predicate finds', async () => {
  const ids = Array.from({ length: 8 }, () => v7());
  const texts = ['refund', 'refund policy', 'Café', '日本', 'x', '', '5'];
  const content = fc.record({
    name: fc.constantFrom(...texts),
    error: fc.option(fc.constantFrom(...texts)),
    inputs: fc.option(
      fc
        .dictionary(fc.constantFrom('a', 'b.c', 'q"'), fc.constantFrom(...texts), { maxKeys: 2 })
        .map((value) => JSON.stringify(value)),
    ),
    outputs: fc.option(fc.constantFrom('{"a":{"b":"refund"}}', '{"a":["x",5]}')),
  });
  const action = fc.oneof(
    {
      weight: 4,
      arbitrary: fc
        .tuple(fc.constantFrom(...ids), content)
        .map(([id, fields]) => ({ kind: 'write', run: { id, ...fields } }) as const),
    },
    { weight: 1, arbitrary: fc.constantFrom(...ids).map((id) => ({ kind: 'remove', id }) as const) },
    { weight: 2, arbitrary: fc.constant({ kind: 'index' } as const) },
  );
  const filters = [
    'search("ref")',
    'not(search("cafe"))',
    'search("日")',
    'or(eq(input_key, "a"), search("x"))',
    'neq(output_key, "a.b")',
    'and(eq(input_key, "b.c"), neq(input_value, "x"))',
    'eq(output_value, 5)',
    'and(in(input_key, ["a", "q\\""]), like(input_value, "%f%"))',
  ].map((text) => parseFilter(text));
  await fc.assert(
    fc.asyncProperty(fc.array(action, { minLength: 1, maxLength: 12 }), async (actions) => {
      for (const one of actions) {
        if (one.kind === 'write') await write([one.run]);
        else if (one.kind === 'remove') await remove([one.id]);
        else await indexer.runOnce();
      }
      const { rows } = await pool.query<FilterableRow>(
        `select ${filterableColumns('r', true)} from runs r where workspace_id = $1 order by id`,
        [WORKSPACE],
      );
      const runs = rows.map((row) => filterableRun(row));
      for (const filter of filters) {
        const passes = compilePredicate(filter);
        expect(await find(filter, unhelped)).toEqual(runs.filter(passes).map(({ id }) => id));
      }
      for (const filter of filters) {
        expect(await find(filter)).toEqual(runs.filter(compilePredicate(filter)).map(({ id }) => id));
      }
    }),
    { numRuns: 40, seed: 17 },
  );
});
