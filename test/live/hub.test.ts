import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from '@jest/globals';
import { AppError } from '../../src/platform/errors.js';
import { decodeCursor, encodeCursor } from '../../src/live/feed-position.js';
import type { FeedPosition } from '../../src/live/feed-position.js';
import { FEED_TOPIC } from '../../src/live/feed.js';
import type { LiveEvent } from '../../src/live/live-event.js';
import { createTestDatabase } from '../support/database.js';
import type { TestDatabase } from '../support/database.js';
import { patiently as eventually } from './support/patiently.js';
import { commitEntries, commitRuns, entry, newRun, newWorld, someUuid } from './support/feed-world.js';
import type { ArrangedRun, World } from './support/feed-world.js';
import {
  doorbells,
  follow,
  noDoorbell,
  plainRuns,
  projectInterest,
  runIdOf,
  startNode,
  take,
} from './support/live-node.js';
import type { LiveNode } from './support/live-node.js';

let database: TestDatabase;
let node: LiveNode;
let world: World;

beforeAll(async () => {
  database = await createTestDatabase();
});

afterAll(() => database.drop());

beforeEach(async () => {
  world = newWorld();
  node = await startNode(database.url, doorbells.Postgres(database.url));
});

afterEach(() => node.close());

/** Commits runs one batch each and rings, as a writer does. */
async function write(runs: readonly ArrangedRun[], target: World = world): Promise<void> {
  for (const run of runs) {
    await commitRuns(database.pool, target, [run]);
    node.doorbell.ring(FEED_TOPIC);
  }
}

const newRuns = (count: number) => Array.from({ length: count }, () => newRun());
const ids = (runs: readonly ArrangedRun[]) => runs.map(({ id }) => id);

describe('what a subscriber sees', () => {
  test('first a cursor to resume from, then every change of its project with the run as it is now', async () => {
    const stream = await follow(node, projectInterest(world));
    const first = await stream.next();
    expect(first.value).toMatchObject({ kind: 'Ready' });
    const run = newRun();
    await write([run]);
    const [started] = await take(stream, 1);
    expect(started).toMatchObject({
      kind: 'RunStarted',
      run: { uuid: run.id, traceId: run.traceId, name: 'a run', revision: 1 },
    });
    await database.pool.query(`update runs set revision = 5, name = 'renamed' where id = $1`, [run.id]);
    const feedbackId = someUuid();
    await commitEntries(database.pool, world, [
      entry('u', run),
      entry('e', run),
      ['f', 0, run.id, run.traceId, feedbackId],
    ]);
    node.doorbell.ring(FEED_TOPIC);
    expect(await take(stream, 3)).toMatchObject([
      { kind: 'RunUpdated', run: { uuid: run.id, name: 'renamed', revision: 5 } },
      { kind: 'RunEnded', run: { uuid: run.id } },
      { kind: 'FeedbackChanged', run: { uuid: run.id }, feedbackId },
    ]);
  });

  test('a run that is gone by now makes no event but its deletion, which has only ids', async () => {
    const stream = await follow(node, projectInterest(world));
    const [gone, there] = [newRun(), newRun()];
    await commitEntries(database.pool, world, [entry('s', gone), entry('d', gone)]);
    await write([there]);
    const events = await take(stream, 2);
    expect(events[0]).toMatchObject({ kind: 'RunDeleted', runId: gone.id, traceId: gone.traceId });
    expect(events[0]).not.toHaveProperty('run');
    expect(runIdOf(events[1] as LiveEvent)).toBe(there.id);
  });

  test('nothing of other projects, other workspaces, or of the same project id in another workspace', async () => {
    const stream = await follow(node, projectInterest(world));
    await write([newRun()], newWorld());
    await write([newRun()], { workspaceId: world.workspaceId, projectId: newWorld().projectId });
    await write([newRun()], { workspaceId: newWorld().workspaceId, projectId: world.projectId });
    const own = newRun();
    await write([own]);
    expect((await take(stream, 1)).map(runIdOf)).toEqual([own.id]);
  });

  test('with a trace for topic, the runs of that trace as it grows', async () => {
    const root = newRun();
    const child = newRun(root.id);
    const stream = await follow(node, projectInterest(world, { topic: { kind: 'trace', traceId: root.id } }));
    await write([root, newRun(), child]);
    expect((await take(stream, 2)).map(runIdOf)).toEqual([root.id, child.id]);
  });

  test('content only for those who may see it, while all others share their rows', async () => {
    const interest = projectInterest(world, { fields: ['name', 'inputs'] });
    const [plain, same, open] = await Promise.all([
      follow(node, interest),
      follow(node, interest),
      follow(node, { ...interest, content: true }),
    ]);
    await commitRuns(database.pool, world, [newRun()], { inputs: '{"question":1}' });
    node.doorbell.ring(FEED_TOPIC);
    const [first] = await take(plain, 1);
    const [second] = await take(same, 1);
    const [third] = await take(open, 1);
    expect(first).toBe(second);
    expect(first).toMatchObject({ run: { name: 'a run' } });
    expect(first).not.toHaveProperty('run.inputs');
    expect(third).toHaveProperty('run.inputs', '{"question":1}');
  });

  test('one load of runs serves any number of subscribers', async () => {
    const streams = await Promise.all(Array.from({ length: 50 }, () => follow(node, projectInterest(world))));
    const before = node.loads();
    await commitRuns(database.pool, world, newRuns(20));
    node.doorbell.ring(FEED_TOPIC);
    await Promise.all(streams.map((stream) => take(stream, 20)));
    expect(node.loads() - before).toBe(1);
  });
});

describe('resuming', () => {
  test('with a cursor goes on behind it, also from inside a batch', async () => {
    const runs = newRuns(5);
    const stream = await follow(node, projectInterest(world));
    await commitRuns(database.pool, world, runs.slice(0, 3));
    await write(runs.slice(3));
    const events = await take(stream, 5);
    await stream.return();
    expect(events.map(runIdOf)).toEqual(ids(runs));
    for (const [index, event] of events.entries()) {
      const resumed = await follow(node, projectInterest(world), decodeCursor(encodeCursor(event.position)));
      const rest = runs.slice(index + 1);
      const later = newRun();
      await write([later]);
      expect((await take(resumed, rest.length + 1)).map(runIdOf).slice(0, rest.length)).toEqual(ids(rest));
      await resumed.return();
    }
  });

  test('a subscriber cut off a hundred times at random misses nothing and sees nothing twice', async () => {
    const runs = newRuns(300);
    let cursor: FeedPosition | undefined;
    const seen: (string | undefined)[] = [];
    // Random, but the same in every run of the test.
    let seed = 42;
    const random = (below: number) => (seed = (seed * 1_103_515_245 + 12_345) % 2_147_483_648) % below;
    let stream = await follow(node, projectInterest(world));
    cursor = (await stream.next()).value?.position;
    const writing = (async () => {
      for (let start = 0; start < runs.length;) {
        const size = 1 + ((start * 7) % 5);
        await commitRuns(database.pool, world, runs.slice(start, start + size));
        node.doorbell.ring(FEED_TOPIC);
        start += size;
      }
    })();
    let cuts = 0;
    while (seen.length < runs.length) {
      for (let left = 1 + random(4); left > 0 && seen.length < runs.length; left -= 1) {
        const [event] = await take(stream, 1);
        seen.push(event && runIdOf(event));
        cursor = event?.position;
      }
      // Cut while an event may be on its way.
      const lost = stream.next();
      await stream.return();
      await lost;
      cuts += 1;
      stream = await follow(node, projectInterest(world), cursor);
    }
    await writing;
    await stream.return();
    expect(cuts).toBeGreaterThanOrEqual(100);
    expect(seen).toEqual(ids(runs));
  });

  test('from before the log begins says so first and then goes on with what is there', async () => {
    const stream = await follow(node, projectInterest(world));
    const start = (await stream.next()).value?.position;
    const [old, young] = [newRun(), newRun()];
    await write([old, young]);
    await take(stream, 2);
    await stream.return();
    await database.pool.query(
      `update feed set created_at = now() - interval '30 hours'
       where (xid, seq) <= (select xid, seq from feed where entries::text like '%' || $1 || '%')`,
      [old.id],
    );
    while ((await node.store.trim(24, 100)) > 0);
    const floor = await node.store.floor();

    const resumed = await follow(node, projectInterest(world), start);
    const later = newRun();
    await write([later]);
    const events = await take(resumed, 3);
    expect(events[0]).toMatchObject({ kind: 'Gap', from: start, position: floor });
    expect(events.slice(1).map(runIdOf)).toEqual([young.id, later.id]);
  });

  test('says when everything that was missed has been handed out', async () => {
    const stream = await follow(node, projectInterest(world));
    const start = (await stream.next()).value?.position;
    const runs = newRuns(3);
    await write(runs);
    await take(stream, 3);
    const resumed = await follow(node, projectInterest(world), start);
    const kinds = [];
    for (let count = 0; count < 4; count += 1) kinds.push((await resumed.next()).value?.kind);
    expect(kinds).toEqual(['RunStarted', 'RunStarted', 'RunStarted', 'Ready']);
  });

  test('with a cursor ahead of the log is refused', async () => {
    const future = { xid: (await node.store.readEnd()) + 1_000_000n, seq: 1n, index: 0 };
    await expect(follow(node, projectInterest(world), future)).rejects.toMatchObject({
      code: 'BAD_USER_INPUT',
    });
    expect(node.hub.size).toBe(0);
  });
});

describe('slow subscribers', () => {
  beforeEach(async () => {
    await node.close();
    node = await startNode(database.url, doorbells.Postgres(database.url), {
      limits: { events: 10, bytes: 100_000 },
    });
  });

  test('one that pauses harms nobody and catches up completely', async () => {
    const paused = await follow(node, projectInterest(world));
    const quick = await follow(node, projectInterest(world));
    const runs = newRuns(120);
    const all = take(quick, runs.length);
    await write(runs);
    expect((await all).map(runIdOf)).toEqual(ids(runs));
    expect(paused.joined).toBe(false);
    expect((await take(paused, runs.length)).map(runIdOf)).toEqual(ids(runs));
    const [more] = newRuns(1);
    const next = take(paused, 1);
    await write([more as ArrangedRun]);
    expect((await next).map(runIdOf)).toEqual([more?.id]);
    expect(paused.joined).toBe(true);
    expect(paused.behindSinceMs).toBeUndefined();
  });

  test('many that fall behind at once read on from memory, not each from the database', async () => {
    const streams = await Promise.all(Array.from({ length: 20 }, () => follow(node, projectInterest(world))));
    await Promise.all(streams.map((stream) => stream.next()));
    const runs = newRuns(600);
    const before = node.loads();
    await commitRuns(database.pool, world, runs);
    node.doorbell.ring(FEED_TOPIC);
    await eventually(() => expect(node.loads() - before).toBe(3));
    expect(streams.map(({ joined }) => joined)).not.toContain(true);
    for (const stream of streams) expect((await take(stream, runs.length)).map(runIdOf)).toEqual(ids(runs));
    expect(node.loads() - before).toBe(3);
  });

  test('one that alternates between reading and pausing sees everything once and in order', async () => {
    const stream = await follow(node, projectInterest(world));
    const runs = newRuns(200);
    const seen: (string | undefined)[] = [];
    for (let start = 0; start < runs.length; start += 25) {
      const writing = write(runs.slice(start, start + 25));
      seen.push(...(await take(stream, 7)).map(runIdOf));
      await writing;
    }
    seen.push(...(await take(stream, runs.length - seen.length)).map(runIdOf));
    expect(seen).toEqual(ids(runs));
  });

  test('one that stays behind is closed with a reason, and resumes where it was', async () => {
    await node.close();
    node = await startNode(database.url, doorbells.Postgres(database.url), {
      limits: { events: 10, bytes: 100_000 },
      patienceMs: 200,
    });
    const told: string[] = [];
    const stream = await node.hub.subscribe(projectInterest(world), {
      after: undefined,
      onBehind: ({ code }) => told.push(code),
    });
    const runs = newRuns(30);
    await write(runs.slice(0, 1));
    const [first] = await take(stream, 1);
    await write(runs.slice(1));
    await eventually(() => expect(told).toEqual(['UNAVAILABLE']));
    await expect(stream.next()).rejects.toMatchObject({ code: 'UNAVAILABLE' });
    expect(await stream.next()).toEqual({ done: true, value: undefined });
    expect(node.hub.size).toBe(0);
    const resumed = await follow(node, projectInterest(world), first?.position);
    expect((await take(resumed, 29)).map(runIdOf)).toEqual(ids(runs.slice(1)));
  });
});

describe('filters that the database is asked about', () => {
  const MATCH_ALL = { filters: {}, needs: { content: false, feedback: false }, test: undefined };
  /** What asking does; undefined: it is answered. */
  let trouble: (() => Promise<never>) | undefined;
  let asked: number;

  beforeEach(async () => {
    await node.close();
    trouble = undefined;
    asked = 0;
    node = await startNode(database.url, doorbells.Postgres(database.url), {
      batchMs: 300,
      runs: (pool) => ({
        ...plainRuns(pool),
        matchingIds: (_scope, _filters, runs) => {
          asked += 1;
          return trouble?.() ?? Promise.resolve(new Set(runs.map(({ runId }) => runId)));
        },
      }),
    });
  });

  test('and that hangs hold up nobody else, and miss nothing once it answers', async () => {
    const [costly, plain, elsewhere] = [
      projectInterest(world, { filter: MATCH_ALL }),
      projectInterest(world),
      newWorld(),
    ];
    const affected = await follow(node, costly);
    const neighbours = [await follow(node, plain), await follow(node, projectInterest(elsewhere))];
    const release: (() => void)[] = [];
    trouble = () => new Promise((_resolve, reject) => release.push(() => reject(new Error('released'))));
    const [own, other] = [newRuns(5), newRuns(5)];
    const seen = Promise.all(neighbours.map((stream) => take(stream, 5)));
    for (const [index, run] of own.entries()) {
      await write([run]);
      await write([other[index] as ArrangedRun], elsewhere);
    }
    expect((await seen).map((events) => events.map(runIdOf))).toEqual([ids(own), ids(other)]);
    // Nothing has been answered: the first question still hangs.
    expect(asked).toBeGreaterThan(0);
    trouble = undefined;
    const rest = take(affected, 6);
    for (const letGo of release.splice(0)) letGo();
    const last = newRun();
    await write([last]);
    expect((await rest).map(runIdOf)).toEqual(ids([...own, last]));
  });

  test('and that fails hold up nobody else, and miss nothing once it answers', async () => {
    const affected = await follow(node, projectInterest(world, { filter: MATCH_ALL }));
    const elsewhere = newWorld();
    const neighbour = await follow(node, projectInterest(elsewhere));
    trouble = () => Promise.reject(new AppError('UNAVAILABLE', 'The search index is catching up.'));
    const own = newRuns(3);
    const seen = take(affected, own.length + 1);
    await write(own);
    // More than the tail reads at once.
    const other = newRuns(250);
    const all = take(neighbour, other.length);
    await write(other, elsewhere);
    expect((await all).map(runIdOf)).toEqual(ids(other));
    await eventually(() => expect(affected.behindSinceMs).toBeDefined());
    trouble = undefined;
    const last = newRun();
    await write([last]);
    expect((await seen).map(runIdOf)).toEqual(ids([...own, last]));
    void affected.next();
    await eventually(() => expect([affected.joined, affected.behindSinceMs]).toEqual([true, undefined]));
  });

  test('for ever end their own subscribers, who may come back', async () => {
    await node.close();
    const closed: string[] = [];
    node = await startNode(database.url, doorbells.Postgres(database.url), {
      patienceMs: 200,
      runs: (pool) => ({
        ...plainRuns(pool),
        matchingIds: () => Promise.reject(Object.assign(new Error('canceling statement'), { code: '57014' })),
      }),
    });
    const stream = await node.hub.subscribe(projectInterest(world, { filter: MATCH_ALL }), {
      after: undefined,
      onBehind: ({ code }) => closed.push(code),
    });
    const outcome = take(stream, 1).catch((error: unknown) => error);
    await write([newRun()]);
    expect(await outcome).toMatchObject({ code: 'UNAVAILABLE', retryAfterSeconds: 10 });
    expect(closed).toEqual(['UNAVAILABLE']);
  });
});

describe('streams', () => {
  test('end at once when they are cancelled, even while they wait', async () => {
    const stream = await follow(node, projectInterest(world));
    await stream.next();
    const waiting = [stream.next(), stream.next()];
    expect(node.hub.size).toBe(1);
    const before = performance.now();
    await stream.return();
    await Promise.all(waiting);
    expect(performance.now() - before).toBeLessThan(50);
    expect(await waiting[0]).toEqual({ done: true, value: undefined });
    expect(await waiting[1]).toEqual({ done: true, value: undefined });
    expect(node.hub.size).toBe(0);
  });

  test('that have everything are told how far they are, and can resume from there', async () => {
    const stream = await follow(node, projectInterest(world));
    const start = (await stream.next()).value?.position;
    await write([newRun()], newWorld());
    const told: LiveEvent[] = [];
    void stream.next().then(({ value }) => value && told.push(value));
    await eventually(() => {
      node.hub.checkpoint();
      expect(told).toMatchObject([{ kind: 'Ready' }]);
    });
    const position = told[0]?.position;
    expect(encodeCursor(position as FeedPosition)).not.toBe(encodeCursor(start as FeedPosition));
    const resumed = await follow(node, projectInterest(world), position);
    const run = newRun();
    await write([run]);
    expect((await take(resumed, 1)).map(runIdOf)).toEqual([run.id]);
  });
});

describe('the reader', () => {
  test('brings events within two seconds though no doorbell rings', async () => {
    const deaf = await startNode(database.url, noDoorbell);
    const stream = await follow(deaf, projectInterest(world));
    await stream.next();
    // Transactions elsewhere on the server hold the horizon back, so one quick event of several is the proof.
    await eventually(async () => {
      const run = newRun();
      const before = performance.now();
      await commitRuns(database.pool, world, [run]);
      expect((await take(stream, 1)).map(runIdOf)).toEqual([run.id]);
      expect(performance.now() - before).toBeLessThan(2_500);
    });
    await deaf.close();
  });

  test('goes on where it was after the database threw it out', async () => {
    const stream = await follow(node, projectInterest(world));
    const runs = newRuns(40);
    const all = take(stream, runs.length);
    for (const [index, run] of runs.entries()) {
      await write([run]);
      if (index % 10 === 5) {
        await database.pool.query(
          `select pg_terminate_backend(pid) from pg_stat_activity
           where datname = current_database() and application_name in ('tracewell-live', 'tracewell-doorbell')`,
        );
      }
    }
    expect((await all).map(runIdOf)).toEqual(ids(runs));
  });

  test('soon brings what an open transaction held back, though its end is not rung for', async () => {
    const stream = await follow(node, projectInterest(world));
    await stream.next();
    const client = await database.pool.connect();
    await client.query('begin');
    await client.query('select pg_current_xact_id()');
    const run = newRun();
    await write([run]);
    const event = take(stream, 1);
    await eventually(async () =>
      expect(await node.store.isHeldBack(await node.store.readHorizon())).toBe(true),
    );
    await client.query('commit');
    client.release();
    expect((await event).map(runIdOf)).toEqual([run.id]);
  });

  test('shows its lag as a metric', async () => {
    const text = await node.registry.metrics();
    expect(text).toMatch(/^tracewell_feed_lag_seconds \d/m);
  });
});

describe.each(Object.entries(doorbells))(
  'two gateways on one database with %s doorbells',
  (_name, makeDoorbell) => {
    test('show the same events in the same order, and a subscriber can move between them', async () => {
      const one = await startNode(database.url, makeDoorbell(database.url));
      const two = await startNode(database.url, makeDoorbell(database.url));
      try {
        const runs = newRuns(100);
        const [a, b] = await Promise.all([
          follow(one, projectInterest(world)),
          follow(two, projectInterest(world)),
        ]);
        const seen = Promise.all([take(a, runs.length), take(b, runs.length)]);
        const mover = (async () => {
          const events: LiveEvent[] = [];
          let after = (await (await follow(one, projectInterest(world))).next()).value?.position;
          for (let turn = 0; events.length < runs.length; turn += 1) {
            const stream = await follow(turn % 2 === 0 ? two : one, projectInterest(world), after);
            events.push(...(await take(stream, Math.min(9, runs.length - events.length))));
            after = events.at(-1)?.position;
            await stream.return();
          }
          return events;
        })();
        await Promise.all(
          [runs.slice(0, 50), runs.slice(50)].map(async (half, index) => {
            for (const run of half) {
              await commitRuns(database.pool, world, [run]);
              (index === 0 ? one : two).doorbell.ring(FEED_TOPIC);
            }
          }),
        );
        const [first, second] = await seen;
        expect(first.map(runIdOf)).toEqual(second.map(runIdOf));
        expect(new Set(first.map(runIdOf))).toEqual(new Set(ids(runs)));
        expect((await mover).map(runIdOf)).toEqual(first.map(runIdOf));
      } finally {
        await Promise.all([one.close(), two.close()]);
      }
    });
  },
);
