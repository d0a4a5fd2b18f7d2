import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { randomUUID } from 'node:crypto';
import { v7 } from 'uuid';
import { dottedSegment } from '../../src/ingest/dotted-order.js';
import type { JsonObject, RunEvent } from '../../src/ingest/run-event.js';
import { isRefusal, translateRun } from '../../src/ingest/wire-run.js';
import { createTestDatabase } from '../support/database.js';
import type { TestDatabase } from '../support/database.js';
import { seeded } from '../support/seeded.js';
import { Writers } from './writers.js';

const SEED = Number(process.env['FAULT_SEED'] ?? 42);
/** Of each of the two kinds. */
const SCHEDULES = 5_000;
/** Schedules that are under way at once: each step of theirs is a transaction or two of each writer. */
const AT_ONCE = 500;
const START_US = Date.now() * 1_000;
const DAY_US = 86_400_000_000;

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

const random = seeded(SEED);
const below = (limit: number): number => Math.floor(random() * limit);
const chance = (share: number): boolean => random() < share;
const pick = <T>(...values: readonly T[]): T => values[below(values.length)]!;

function shuffled<T>(values: readonly T[]): T[] {
  const result = [...values];
  for (let last = result.length - 1; last > 0; last -= 1) {
    const other = below(last + 1);
    [result[last], result[other]] = [result[other]!, result[last]!];
  }
  return result;
}

const iso = (us: number): string =>
  `${new Date(us / 1_000).toISOString().slice(0, -1)}${String(us % 1_000).padStart(3, '0')}Z`;

interface Said {
  readonly kind: RunEvent['kind'];
  readonly run: JsonObject;
}

/** What clients say of one run: posted and patched, by some once more with another start and other words. */
function runOf(
  id: string,
  { parent = {}, all }: { parent?: JsonObject; all: JsonObject },
  { startUs, follows }: { startUs: number; follows: boolean },
): Said[] {
  const saying = follows ? pick('all', 'all', 'parent', 'parent in the patch') : 'all';
  const inPost = saying === 'all' ? { ...parent, ...all } : saying === 'parent' ? parent : {};
  const inPatch = saying === 'parent in the patch' ? parent : pick({}, all);
  const post = {
    id,
    name: 'first',
    run_type: 'chain',
    start_time: iso(startUs),
    inputs: { q: id },
    tags: ['a'],
  };
  const patch = {
    id,
    end_time: iso(startUs + 5_000),
    outputs: { a: id },
    extra: { metadata: { patched: true } },
  };
  const said: Said[] = [
    { kind: 'create', run: { ...post, ...inPost, extra: { metadata: { user: 'u', thread_id: 't' } } } },
    { kind: 'update', run: { ...patch, ...inPatch } },
  ];
  if (chance(0.2)) {
    said.push({
      kind: 'create',
      run: { ...post, ...inPost, name: 'second', start_time: iso(startUs + DAY_US), inputs: { q: 2 } },
    });
  }
  if (chance(0.2)) {
    said.push({
      kind: 'update',
      run: { id, end_time: iso(startUs + 9_000), error: 'late', outputs: { a: 'late' } },
    });
  }
  if (chance(0.1)) {
    said.push({ kind: 'update', run: { id, tags: ['b'], extra: { metadata: { user: 'v' } } } });
  }
  return said;
}

/** A trace of two to four runs, in the order in which its program ran. */
function traceOf(follows: boolean): Said[] {
  const runs: { id: string; dottedOrder: string }[] = [];
  const said: Said[] = [];
  const size = 2 + below(3);
  for (let index = 0; index < size; index += 1) {
    const id = chance(0.7) ? v7() : randomUUID();
    const startUs = START_US + index * 1_001;
    const parent = runs[below(runs.length)];
    const own = dottedSegment(startUs, id);
    const dottedOrder = parent === undefined ? own : `${parent.dottedOrder}.${own}`;
    runs.push({ id, dottedOrder });
    said.push(
      ...runOf(
        id,
        {
          ...(parent === undefined ? {} : { parent: { parent_run_id: parent.id } }),
          all: { trace_id: runs[0]!.id, dotted_order: dottedOrder },
        },
        { startUs, follows },
      ),
    );
  }
  return said;
}

function eventOf(workspaceId: string, { kind, run }: Said): RunEvent {
  const event = translateRun(
    { kind, run, mayBeDeep: false, mayBeLarge: false },
    { workspaceId, nowUs: START_US, newId: v7 },
  );
  if (isRefusal(event)) throw new Error(event.message);
  return event;
}

/** One of the events for each writer and step: any order, some twice, both writers at once. */
function deliveriesOf(said: readonly Said[]): Said[][][] {
  const again = said.filter(() => chance(0.25));
  const steps: Said[][][] = [];
  let left = shuffled([...said, ...again]);
  while (left.length > 0) {
    const step: Said[][] = [[], []];
    for (const event of left.splice(0, 1 + below(4))) step[below(2)]!.push(event);
    steps.push(step);
    left = [...left];
  }
  return steps;
}

/** What may not depend on the order of arrival, by run. The day of an id that tells none is that of its first start. */
async function statesOf(workspaceId: string): Promise<Map<string, string>> {
  const { rows } = await database.pool.query<{ id: string; state: string }>(
    `select id, (to_jsonb(r) - array['workspace_id', 'project_id', 'day', 'revision', 'created_at', 'updated_at'])::text as state
     from runs r where workspace_id = $1`,
    [workspaceId],
  );
  const states = new Map(rows.map(({ id, state }) => [id, state]));
  expect(states.size).toBe(rows.length);
  return states;
}

// Where runs follow their parents, writers take turns in the workspace; where all say their places, they meet in rows.
test.each([
  ['that say their places', false],
  ['some of which follow their parents', true],
] as const)(
  '5,000 traces of runs %s, told in any order, in pieces, doubled and by two at once, end up as those told in order',
  async (_, follows) => {
    const [inOrder, anyOrder] = [randomUUID(), randomUUID()];
    const { writer: teller } = writers.create();
    const both = [writers.create().writer, writers.create().writer];
    const accepted = (refusals: readonly unknown[]): void => {
      expect(refusals.filter((refusal) => refusal !== undefined)).toEqual([]);
    };
    for (let from = 0; from < SCHEDULES; from += AT_ONCE) {
      const traces = Array.from({ length: AT_ONCE }, () => traceOf(follows));
      const deliveries = traces.map(deliveriesOf);
      accepted(await teller.write(traces.flat().map((said) => eventOf(inOrder, said))));
      const steps = Math.max(...deliveries.map(({ length }) => length));
      for (let step = 0; step < steps; step += 1) {
        await Promise.all(
          both.map(async (writer, index) => {
            const said = deliveries.flatMap((delivery) => delivery[step]?.[index] ?? []);
            accepted(await writer.write(said.map((one) => eventOf(anyOrder, one))));
          }),
        );
      }
    }
    const expected = await statesOf(inOrder);
    const found = await statesOf(anyOrder);
    expect(expected.size).toBeGreaterThan(2 * SCHEDULES);
    const wrong = [...expected].filter(([id, state]) => found.get(id) !== state);
    expect({
      seed: SEED,
      runs: found.size,
      wrong: wrong.slice(0, 3).map(([id, state]) => [state, found.get(id)]),
    }).toEqual({
      seed: SEED,
      runs: expected.size,
      wrong: [],
    });
  },
  180_000,
);
