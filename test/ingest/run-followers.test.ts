import { afterAll, beforeAll, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { randomUUID } from 'node:crypto';
import { v7 } from 'uuid';
import { dottedSegment } from '../../src/ingest/dotted-order.js';
import type { JsonObject, RunEvent } from '../../src/ingest/run-event.js';
import { isRefusal, translateRun } from '../../src/ingest/wire-run.js';
import { createTestDatabase } from '../support/database.js';
import type { TestDatabase } from '../support/database.js';
import { Writers } from './writers.js';

let database: TestDatabase;
let writers: Writers;

beforeAll(async () => {
  database = await createTestDatabase();
  writers = new Writers(database);
});
afterAll(async () => {
  await writers.close();
  await database.drop();
});

const START_US = Date.now() * 1_000;

function eventOf(workspaceId: string, kind: RunEvent['kind'], run: JsonObject): RunEvent {
  const result = translateRun(
    { kind, run, mayBeDeep: false, mayBeLarge: false },
    { workspaceId, nowUs: START_US, newId: v7 },
  );
  if (isRefusal(result)) throw new Error(result.message);
  return result;
}

const iso = (us: number): string =>
  `${new Date(us / 1_000).toISOString().slice(0, -1)}${String(us % 1_000).padStart(3, '0')}Z`;

/** What a client says of a run's place: nothing but the parent, the trace too, everything; at once or in the patch. */
type Saying = 'parent' | 'trace' | 'all' | 'parent in the patch' | 'all in the patch';

interface PlannedRun {
  readonly id: string;
  readonly parentId: string | undefined;
  readonly startUs: number;
  readonly saying: Saying;
  /** Where it belongs, whoever arrives first. */
  readonly traceId: string;
  readonly dottedOrder: string;
}

interface Shape {
  readonly parent: number;
  readonly saying: Saying;
  readonly version: 4 | 7;
}

/** Each run hangs below an earlier one, is a root, or has a parent that never comes. */
function planOf(shapes: readonly Shape[]): PlannedRun[] {
  const runs: PlannedRun[] = [];
  for (const [index, { parent, saying, version }] of shapes.entries()) {
    const id = version === 7 ? v7() : randomUUID();
    const startUs = START_US + index * 1_001;
    const above = runs[parent];
    const missing = parent === -2 ? v7() : undefined;
    const parentId = above?.id ?? missing;
    const own = dottedSegment(startUs, id);
    runs.push({
      id,
      parentId,
      startUs,
      saying,
      traceId: above?.traceId ?? missing ?? id,
      dottedOrder:
        above !== undefined
          ? `${above.dottedOrder}.${own}`
          : missing !== undefined
            ? `${dottedSegment(startUs, missing)}.${own}`
            : own,
    });
  }
  return runs;
}

function eventsOf(workspaceId: string, run: PlannedRun): RunEvent[] {
  const parent: JsonObject = run.parentId === undefined ? {} : { parent_run_id: run.parentId };
  const all: JsonObject = { trace_id: run.traceId, dotted_order: run.dottedOrder };
  const inPost = {
    parent,
    trace: { ...parent, trace_id: run.traceId },
    all: { ...parent, ...all },
    'parent in the patch': {},
    'all in the patch': parent,
  }[run.saying];
  const inPatch = {
    parent: {},
    trace: {},
    all,
    'parent in the patch': parent,
    'all in the patch': all,
  }[run.saying];
  return [
    eventOf(workspaceId, 'create', { id: run.id, name: 'n', start_time: iso(run.startUs), ...inPost }),
    eventOf(workspaceId, 'update', { id: run.id, end_time: iso(run.startUs + 5), ...inPatch }),
  ];
}

/** Everything of a workspace's runs that may not depend on the order of arrival. */
async function stateOf(workspaceId: string): Promise<Record<string, unknown>[]> {
  const { rows } = await database.pool.query<Record<string, unknown>>(
    `select to_jsonb(r) - array['workspace_id', 'project_id', 'revision', 'created_at', 'updated_at'] as run
     from runs r where workspace_id = $1 order by id`,
    [workspaceId],
  );
  return rows.map(({ run }) => run as Record<string, unknown>);
}

/** Files feedback on, and shares, what is there at this moment. */
async function attachBelongings(workspaceId: string): Promise<void> {
  await database.pool.query(
    `insert into feedback (workspace_id, id, run_id, trace_id, project_id, key, source_type, source, created_at, updated_at)
     select workspace_id, gen_random_uuid(), id, trace_id, project_id, 'k', 'api', '{}', now(), now()
     from runs where workspace_id = $1`,
    [workspaceId],
  );
  await database.pool.query(
    `insert into run_shares (token, workspace_id, run_id, trace_id, created_at)
     select gen_random_uuid(), workspace_id, id, trace_id, now() from runs where workspace_id = $1`,
    [workspaceId],
  );
}

/** Trace of each run as feedback, shares and the last word of the feed have it. */
async function tracesElsewhere(workspaceId: string): Promise<Record<string, Record<string, string>>> {
  const query = async (text: string): Promise<Record<string, string>> => {
    const { rows } = await database.pool.query<{ id: string; traceId: string }>(text, [workspaceId]);
    return Object.fromEntries(rows.map(({ id, traceId }) => [id, traceId]));
  };
  return {
    feedback: await query(
      'select run_id as id, trace_id as "traceId" from feedback where workspace_id = $1 order by run_id',
    ),
    shares: await query(
      'select run_id as id, trace_id as "traceId" from run_shares where workspace_id = $1 order by run_id',
    ),
    feed: await query(
      `select e ->> 2 as id, e ->> 3 as "traceId"
       from feed f, json_array_elements(f.entries) with ordinality as each (e, place)
       where workspace_id = $1 order by xid, seq, place`,
    ),
  };
}

const shapes: fc.Arbitrary<Shape[]> = fc
  .array(
    fc.record({
      parent: fc.nat(),
      saying: fc.constantFrom<Saying>(
        'parent',
        'parent',
        'trace',
        'all',
        'parent in the patch',
        'all in the patch',
      ),
      version: fc.constantFrom<4 | 7>(4, 7),
    }),
    { minLength: 2, maxLength: 8 },
  )
  // -1: a root. -2: below a run that never comes.
  .map((all) => all.map((shape, index) => ({ ...shape, parent: (shape.parent % (index + 2)) - 2 })));

interface Delivery {
  readonly order: readonly number[];
  readonly again: readonly number[];
  readonly cuts: readonly number[];
  readonly attachAfter: number;
  readonly concurrent: boolean;
}

const deliveries = (events: number): fc.Arbitrary<Delivery> =>
  fc.record({
    order: fc.shuffledSubarray([...Array(events).keys()], { minLength: events, maxLength: events }),
    again: fc.array(fc.nat({ max: events - 1 }), { maxLength: 3 }),
    cuts: fc.array(fc.integer({ min: 1, max: 4 }), { minLength: events + 3, maxLength: events + 3 }),
    attachAfter: fc.nat({ max: events }),
    concurrent: fc.boolean(),
  });

test('whatever comes first, every run ends up in the trace and at the place its ancestors have', async () => {
  const both = [writers.create().writer, writers.create().writer];
  await fc.assert(
    fc.asyncProperty(
      shapes.chain((all) => fc.record({ all: fc.constant(all), delivery: deliveries(all.length * 2) })),
      async ({ all, delivery: { order, again, cuts, attachAfter, concurrent } }) => {
        const plan = planOf(all);
        const [inOrder, shuffled] = [randomUUID(), randomUUID()];
        for (const run of plan) await both[0]!.write(eventsOf(inOrder, run));

        const events = plan.flatMap((run) => eventsOf(shuffled, run));
        const schedule = [...order, ...again].flatMap((index) => events[index] ?? []);
        const writes: Promise<unknown>[] = [];
        let sent = 0;
        for (const [turn, size] of cuts.entries()) {
          const batch = schedule.slice(sent, sent + size);
          if (batch.length === 0) break;
          const write = both[turn % 2]!.write(batch);
          writes.push(write);
          if (!concurrent) await write;
          if (sent <= attachAfter && attachAfter < sent + size) {
            await Promise.all(writes);
            await attachBelongings(shuffled);
          }
          sent += size;
        }
        await Promise.all(writes);

        const state = await stateOf(shuffled);
        expect(
          state.map((run) => ({
            id: run['id'],
            parentId: run['parent_run_id'] ?? undefined,
            traceId: run['trace_id'],
            dottedOrder: run['dotted_order'],
          })),
        ).toEqual(
          plan
            .map(({ id, parentId, traceId, dottedOrder }) => ({ id, parentId, traceId, dottedOrder }))
            .sort((a, b) => (a.id < b.id ? -1 : 1)),
        );
        expect(state).toEqual(await stateOf(inOrder));
        const traces = Object.fromEntries(plan.map(({ id, traceId }) => [id, traceId]));
        for (const found of Object.values(await tracesElsewhere(shuffled))) {
          expect({ ...traces, ...found }).toEqual(traces);
        }
      },
    ),
    { numRuns: 60 },
  );
}, 120_000);

async function placesOf(workspaceId: string): Promise<Record<string, [string, string]>> {
  const { rows } = await database.pool.query<{ id: string; trace_id: string; dotted_order: string }>(
    'select id, trace_id, dotted_order from runs where workspace_id = $1',
    [workspaceId],
  );
  return Object.fromEntries(rows.map((row) => [row.id, [row.trace_id, row.dotted_order]]));
}

test("runs that are each other's ancestors stand as if each parent were missing, whoever comes first", async () => {
  const { writer } = writers.create();
  const ids = [v7(), v7(), v7()];
  const below = v7();
  const parentOf = new Map(ids.map((id, index) => [id, ids[(index + 1) % 3]!]));
  parentOf.set(below, ids[1]!);
  const segment = (id: string): string => dottedSegment(START_US, id);
  const alone = (id: string): string => `${segment(parentOf.get(id)!)}.${segment(id)}`;
  const expected: Record<string, [string, string]> = Object.fromEntries(
    ids.map((id) => [id, [parentOf.get(id)!, alone(id)]]),
  );
  expected[below] = [expected[ids[1]!]![0], `${alone(ids[1]!)}.${segment(below)}`];
  for (const order of [
    [0, 1, 2, 3],
    [3, 2, 1, 0],
    [1, 3, 0, 2],
  ]) {
    const workspaceId = randomUUID();
    for (const index of order) {
      const id = [...ids, below][index]!;
      await writer.write([
        eventOf(workspaceId, 'create', {
          id,
          parent_run_id: parentOf.get(id)!,
          start_time: iso(START_US),
        }),
      ]);
    }
    expect(await placesOf(workspaceId)).toEqual(expected);
  }
});

test('a run whose trace was deleted meanwhile does not come back below its parent', async () => {
  const { writer } = writers.create();
  const workspaceId = randomUUID();
  const [root, child, grandchild] = [v7(), v7(), v7()];
  await writer.write([
    eventOf(workspaceId, 'create', { id: root, start_time: iso(START_US) }),
    eventOf(workspaceId, 'create', { id: child, parent_run_id: root, start_time: iso(START_US) }),
  ]);
  await database.pool.query('insert into trace_tombstones values ($1, $2, now())', [workspaceId, root]);
  await writer.write([eventOf(workspaceId, 'create', { id: grandchild, parent_run_id: child })]);
  expect(Object.keys(await placesOf(workspaceId)).sort()).toEqual([root, child].sort());
});

test('a chain deeper than a place can be written is kept, flat at its end', async () => {
  const { writer } = writers.create();
  const workspaceId = randomUUID();
  const ids = Array.from({ length: 300 }, () => v7());
  const runs = ids.map((id, index) =>
    eventOf(workspaceId, 'create', {
      id,
      start_time: iso(START_US),
      ...(index === 0 ? {} : { parent_run_id: ids[index - 1]! }),
    }),
  );
  await writer.write(runs.toReversed());
  const places = await placesOf(workspaceId);
  expect(new Set(Object.values(places).map(([traceId]) => traceId))).toEqual(new Set([ids[0]]));
  const segments = ids.map((id) => places[id]![1].split('.'));
  expect(segments.map(({ length }) => length)).toEqual(ids.map((_, index) => Math.min(index + 1, 256)));
  expect(segments.map((all) => all.at(-1)!.slice(-36))).toEqual(ids);
});

test('a batch that says everything waits for no other and asks for no followers', async () => {
  const { writer } = writers.create();
  const workspaceId = randomUUID();
  const holder = await database.pool.connect();
  try {
    await writer.write([eventOf(workspaceId, 'create', { id: v7() })]);
    const { beginWrite } = await import('../../src/ingest/run-followers.js');
    await beginWrite(holder, [workspaceId], new Set());
    const [root, child] = [v7(), v7()];
    const [one, two] = [dottedSegment(START_US, root), dottedSegment(START_US, child)];
    await writer.write([
      eventOf(workspaceId, 'create', { id: root, trace_id: root, dotted_order: one }),
      eventOf(workspaceId, 'create', { id: child, trace_id: root, dotted_order: `${one}.${two}` }),
    ]);
    expect(Object.keys(await placesOf(workspaceId))).toHaveLength(3);
    const { rows } = await database.pool.query('select from run_followers where workspace_id = $1', [
      workspaceId,
    ]);
    expect(rows).toEqual([]);
  } finally {
    await holder.query('rollback');
    holder.release();
  }
});
