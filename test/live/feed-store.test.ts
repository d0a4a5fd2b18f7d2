import { afterAll, beforeAll, beforeEach, describe, expect, test } from '@jest/globals';
import { createPool } from '../../src/platform/db.js';
import { createLogger } from '../../src/platform/log.js';
import { beforeXid, comparePositions, wholeRow } from '../../src/live/feed-position.js';
import { FeedStore } from '../../src/live/feed.store.js';
import { appendFeed } from '../../src/live/feed.js';
import type { FeedRow } from '../../src/live/feed.js';
import { trustedScope } from '../../src/tenancy/principal.js';
import { createTestDatabase } from '../support/database.js';
import type { TestDatabase } from '../support/database.js';
import { patiently as eventually } from './support/patiently.js';
import { commitEntries, entry, newRun, newWorld } from './support/feed-world.js';
import type { ArrangedRun, World } from './support/feed-world.js';
import type pg from 'pg';

let database: TestDatabase;
let pool: pg.Pool;
let store: FeedStore;
let world: World;

beforeAll(async () => {
  database = await createTestDatabase();
  // Not the arranging pool: the store relies on how the program's pools return json and int8.
  pool = createPool({
    url: database.url,
    name: 'live',
    max: 2,
    statementTimeoutMs: 10_000,
    log: createLogger('silent', 'test'),
  });
  store = new FeedStore({ pool });
});

afterAll(async () => {
  await pool.end();
  await database.drop();
});

beforeEach(async () => {
  world = newWorld();
  await database.pool.query('truncate feed');
  await database.pool.query(`update feed_floor set xid = '0', seq = 0`);
});

const runIds = (rows: readonly FeedRow[]) => rows.flatMap(({ entries }) => entries.map(([, , id]) => id));

/** The horizon, once everything of this test that is committed lies below it: other databases hold it back, too. */
async function horizonAbove(run: ArrangedRun): Promise<bigint> {
  return eventually(async () => {
    const horizon = await store.readHorizon();
    const { rows } = await store.readAfter(beforeXid(0n), horizon, 10_000);
    expect(runIds(rows)).toContain(run.id);
    return horizon;
  });
}

test('rows come back as they were appended, in order', async () => {
  const [first, second] = [newRun(), newRun()];
  await commitEntries(database.pool, world, [entry('s', first), entry('e', first)]);
  await commitEntries(database.pool, world, [['f', 0, second.id, second.traceId, first.id]]);
  const { rows, floor } = await store.readAfter(beforeXid(0n), await horizonAbove(second), 10);
  expect(rows.map(({ workspaceId, projectIds, entries }) => ({ workspaceId, projectIds, entries }))).toEqual([
    {
      workspaceId: world.workspaceId,
      projectIds: [world.projectId],
      entries: [entry('s', first), entry('e', first)],
    },
    {
      workspaceId: world.workspaceId,
      projectIds: [world.projectId],
      entries: [['f', 0, second.id, second.traceId, first.id]],
    },
  ]);
  expect(floor).toMatchObject({ xid: 0n, seq: 0n });
});

test('pages go on behind the last row, and from inside a row that was seen in part', async () => {
  const runs = [newRun(), newRun(), newRun()];
  for (const run of runs) await commitEntries(database.pool, world, [entry('s', run), entry('e', run)]);
  const horizon = await horizonAbove(runs[2] as ArrangedRun);
  const { rows: head } = await store.readAfter(beforeXid(0n), horizon, 2);
  expect(head).toHaveLength(2);
  const last = wholeRow(head[1] as FeedRow);
  expect(runIds((await store.readAfter(last, horizon, 2)).rows)).toEqual([runs[2]?.id, runs[2]?.id]);
  const inside = { ...last, index: 0 };
  expect(runIds((await store.readAfter(inside, horizon, 2)).rows)).toEqual(
    [runs[1], runs[1], runs[2], runs[2]].map((run) => run?.id),
  );
});

test('an open transaction holds back what was committed after it began, and none of it is skipped', async () => {
  const [slow, quick] = [newRun(), newRun()];
  const start = beforeXid(await store.readHorizon());
  const client = await database.pool.connect();
  await client.query('begin');
  await appendFeed(client, world.workspaceId, [world.projectId], [entry('s', slow)]);
  await commitEntries(database.pool, world, [entry('s', quick)]);

  const held = await store.readHorizon();
  expect(runIds((await store.readAfter(start, held, 10)).rows)).toEqual([]);
  expect(await store.isHeldBack(held)).toBe(true);
  expect(await store.lagSeconds(start)).toBeGreaterThan(0);

  await client.query('commit');
  client.release();
  const horizon = await horizonAbove(quick);
  expect(runIds((await store.readAfter(start, horizon, 10)).rows)).toEqual([slow.id, quick.id]);
  expect(await store.isHeldBack(horizon)).toBe(false);
  expect(await store.lagSeconds(beforeXid(horizon))).toBe(0);
});

test('two writers that interleave lose nothing to a reader that follows them', async () => {
  const WRITERS = 3;
  const EACH = 60;
  const written: string[] = [];
  let position = beforeXid(await store.readHorizon());
  const seen: string[] = [];
  let writing = true;
  const read = async () => {
    const horizon = await store.readHorizon();
    const { rows } = await store.readAfter(position, horizon, 7);
    for (const row of rows) {
      expect(comparePositions(wholeRow(row), position)).toBeGreaterThan(0);
      position = wholeRow(row);
    }
    seen.push(...runIds(rows));
  };
  const reader = (async () => {
    while (writing) await read();
  })();
  await Promise.all(
    Array.from({ length: WRITERS }, async (_unused, writer) => {
      const client = await database.pool.connect();
      for (let batch = 0; batch < EACH; batch += 1) {
        const run = newRun();
        await client.query('begin');
        await appendFeed(client, world.workspaceId, [world.projectId], [entry('s', run)]);
        // Transactions of different length, so that commits overtake each other.
        if ((batch + writer) % 4 === 0) await client.query('select pg_sleep(0.003)');
        await client.query(batch % 10 === 9 ? 'rollback' : 'commit');
        if (batch % 10 !== 9) written.push(run.id);
      }
      client.release();
    }),
  );
  writing = false;
  await reader;
  await eventually(async () => {
    await read();
    expect(seen).toHaveLength(written.length);
  });
  expect([...seen].sort()).toEqual([...written].sort());
});

describe('the part of one workspace', () => {
  test('shows no other workspace, and entries only where the topic is concerned', async () => {
    const other = { workspaceId: newWorld().workspaceId, projectId: world.projectId };
    const elsewhere = { workspaceId: world.workspaceId, projectId: newWorld().projectId };
    const [own, foreign, neighbour] = [newRun(), newRun(), newRun()];
    await commitEntries(database.pool, world, [entry('s', own)]);
    await commitEntries(database.pool, other, [entry('s', foreign)]);
    await commitEntries(database.pool, elsewhere, [entry('s', neighbour)]);
    const until = beforeXid(await horizonAbove(neighbour));
    const scope = trustedScope(world.workspaceId);
    const read = (topic: Parameters<FeedStore['readWorkspace']>[1]) =>
      store.readWorkspace(scope, topic, beforeXid(0n), until, 10);

    const { rows: ofProject } = await read({ kind: 'project', projectId: world.projectId });
    expect(ofProject.map(({ entries }) => entries)).toEqual([[entry('s', own)], []]);
    const { rows: ofTrace } = await read({ kind: 'trace', traceId: neighbour.traceId });
    expect(ofTrace.map(({ entries }) => entries)).toEqual([[], [entry('s', neighbour)]]);
  });

  test('ends with the given position, that row included', async () => {
    const runs = [newRun(), newRun(), newRun()];
    for (const run of runs) await commitEntries(database.pool, world, [entry('s', run)]);
    const { rows } = await store.readAfter(beforeXid(0n), await horizonAbove(runs[2] as ArrangedRun), 10);
    const topic = { kind: 'project', projectId: world.projectId } as const;
    const until = wholeRow(rows[1] as FeedRow);
    const page = await store.readWorkspace(trustedScope(world.workspaceId), topic, beforeXid(0n), until, 10);
    expect(runIds(page.rows)).toEqual([runs[0]?.id, runs[1]?.id]);
  });
});

describe('trimming', () => {
  const age = (run: ArrangedRun, hours: number) =>
    database.pool.query(
      `update feed set created_at = now() - make_interval(hours => $2) where entries::text like '%' || $1 || '%'`,
      [run.id, hours],
    );

  test('removes old rows in small batches from the start and moves the floor with them', async () => {
    const runs = [newRun(), newRun(), newRun(), newRun()];
    for (const run of runs) await commitEntries(database.pool, world, [entry('s', run)]);
    for (const run of runs.slice(0, 3)) await age(run, 30);
    await horizonAbove(runs[3] as ArrangedRun);
    const { rows } = await store.readAfter(beforeXid(0n), await horizonAbove(runs[3] as ArrangedRun), 10);

    expect(await store.trim(24, 2)).toBe(2);
    expect(await store.floor()).toEqual(wholeRow(rows[1] as FeedRow));
    expect(await store.trim(24, 2)).toBe(1);
    expect(await store.trim(24, 2)).toBe(0);
    expect(await store.floor()).toEqual(wholeRow(rows[2] as FeedRow));
    const left = await store.readAfter(beforeXid(0n), await store.readHorizon(), 10);
    expect(runIds(left.rows)).toEqual([runs[3]?.id]);
    expect(left.floor).toEqual(wholeRow(rows[2] as FeedRow));
  });

  test('stops at the first row that is young enough, so that the floor hides nothing', async () => {
    const runs = [newRun(), newRun(), newRun()];
    for (const run of runs) await commitEntries(database.pool, world, [entry('s', run)]);
    await age(runs[0] as ArrangedRun, 30);
    await age(runs[2] as ArrangedRun, 30);
    await eventually(async () => {
      const { rows } = await store.readAfter(beforeXid(0n), await store.readHorizon(), 10);
      expect(rows).toHaveLength(3);
    });
    expect(await store.trim(24, 10)).toBe(1);
    expect(await store.trim(24, 10)).toBe(0);
  });
});
