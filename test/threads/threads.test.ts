import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { randomUUID } from 'node:crypto';
import type { RunEvent } from '../../src/ingest/run-event.js';
import { childEvent, createWorld, DAY_MS, payload, principalOf, rootEvent } from '../runs/world.js';
import type { World } from '../runs/world.js';

let world: World;
const workspaceId = randomUUID();
const principal = principalOf(workspaceId);
const base = Date.now() - 1_000_000;
const THREADS = 12;

/** Thread n has n + 1 turns; its last turn starts at `base + n` minutes. */
const lastStart = (thread: number): number => base + thread * 60_000;
const turns: { thread: number; turn: number; root: RunEvent }[] = [];

beforeAll(async () => {
  world = await createWorld();
  const usage = payload({
    usage_metadata: { input_tokens: 4, output_tokens: 1, total_tokens: 5, total_cost: 0.5 },
  });
  const events: RunEvent[] = [rootEvent(workspaceId, base, { name: 'no thread' })];
  for (let thread = 0; thread < THREADS; thread += 1) {
    for (let turn = 0; turn <= thread; turn += 1) {
      const startMs = lastStart(thread) - (thread - turn) * 1_000;
      const root = rootEvent(workspaceId, startMs, {
        metadata: { session_id: `chat-${thread}` },
        inputs: payload({ text: `question ${turn}` }),
        outputs: payload({ text: `answer ${turn}` }),
        endUs: (startMs + (turn + 1) * 1_000) * 1_000,
        ...(turn === thread && thread % 2 === 1 && { error: 'no' }),
      });
      turns.push({ thread, turn, root });
      events.push(root, childEvent(root, startMs, { runType: 'llm', outputs: usage }));
    }
  }
  // The same thread id in another project is another thread.
  events.push(
    rootEvent(workspaceId, base, { project: { name: 'other' }, metadata: { thread_id: 'chat-3' } }),
  );
  await world.write(events);
});
afterAll(() => world.close());

const FIELDS = `threadId traceCount errorCount lastHasError firstStartTime lastStartTime latencyP50
  firstInputsPreview lastOutputsPreview usage { totalTokens totalCost } project { name }`;

interface ThreadsAnswer {
  threads: { nodes: { threadId: string }[]; pageInfo: { hasNextPage: boolean; endCursor: string } };
}

function expected(thread: number): object {
  const own = turns.filter((turn) => turn.thread === thread);
  return {
    threadId: `chat-${thread}`,
    traceCount: own.length,
    errorCount: thread % 2,
    lastHasError: thread % 2 === 1,
    firstStartTime: new Date(lastStart(thread) - thread * 1_000).toISOString(),
    lastStartTime: new Date(lastStart(thread)).toISOString(),
    latencyP50: (thread + 2) / 2,
    firstInputsPreview: expect.stringContaining('question 0'),
    lastOutputsPreview: expect.stringContaining(`answer ${thread}`),
    usage: { totalTokens: String(own.length * 5), totalCost: String(own.length * 0.5) },
    project: { name: 'demo' },
  };
}

test('threads come newest first, each with the figures of its traces', async () => {
  const found: unknown[] = [];
  for (let after: string | undefined; ;) {
    const { threads } = await world.query<ThreadsAnswer>(
      principal,
      `query ($after: String) { threads(project: { name: "demo" }, first: 5, after: $after) {
        nodes { ${FIELDS} } pageInfo { hasNextPage endCursor } } }`,
      { after },
    );
    found.push(...threads.nodes);
    if (!threads.pageInfo.hasNextPage) break;
    after = threads.pageInfo.endCursor;
  }
  expect(found).toEqual(Array.from({ length: THREADS }, (_, index) => expected(THREADS - 1 - index)));
});

test('one thread is found by its id, in its project', async () => {
  const ask = async (project: string, id: string): Promise<unknown> =>
    (
      await world.query<{ thread: unknown }>(
        principal,
        `query ($project: String!, $id: String!) { thread(project: { name: $project }, id: $id) { ${FIELDS} } }`,
        { project, id },
      )
    ).thread;
  expect(await ask('demo', 'chat-3')).toEqual(expected(3));
  expect(await ask('other', 'chat-3')).toMatchObject({ traceCount: 1 });
  expect(await ask('other', 'chat-4')).toBeNull();
  expect(await ask('nowhere', 'chat-3')).toBeNull();
});

test('a filter narrows the roots the figures are over', async () => {
  const { threads } = await world.query<{ threads: { nodes: object[]; totalCount: object } }>(
    principal,
    `{ threads(project: { name: "demo" }, first: 20, where: { filter: "eq(status, \\"error\\")" }) {
      nodes { threadId traceCount } totalCount { value precision } } }`,
  );
  const odd = [11, 9, 7, 5, 3, 1];
  expect(threads).toEqual({
    nodes: odd.map((thread) => ({ threadId: `chat-${thread}`, traceCount: 1 })),
    totalCount: { value: odd.length, precision: 'EXACT' },
  });
});

test('the number of statements does not grow with the threads', async () => {
  const count = async (first: number): Promise<number> => {
    world.takeStatements();
    await world.query(
      principal,
      `query ($first: Int!) { threads(project: { name: "demo" }, first: $first) { nodes { ${FIELDS} } } }`,
      {
        first,
      },
    );
    return world.takeStatements().length;
  };
  expect(await count(10)).toBe(await count(1));
});

test('pages over many days show each thread once, where its newest trace is', async () => {
  const elsewhere = randomUUID();
  const events: RunEvent[] = [];
  for (let day = 0; day < 20; day += 1) {
    const metadata = { thread_id: `day-${day}` };
    events.push(rootEvent(elsewhere, base - day * DAY_MS, { metadata }));
    // Every fourth thread began long before.
    if (day % 4 === 0) events.push(rootEvent(elsewhere, base - (day + 9) * DAY_MS, { metadata }));
  }
  await world.write(events);
  for (const first of [3, 7, 19]) {
    const found: string[] = [];
    for (let after: string | undefined; ;) {
      const { threads } = await world.query<ThreadsAnswer>(
        principalOf(elsewhere),
        `query ($first: Int!, $after: String) { threads(project: { name: "demo" }, first: $first, after: $after) {
          nodes { threadId } pageInfo { hasNextPage endCursor } } }`,
        { first, after },
      );
      found.push(...threads.nodes.map(({ threadId }) => threadId));
      if (!threads.pageInfo.hasNextPage) break;
      after = threads.pageInfo.endCursor;
    }
    expect(found).toEqual(Array.from({ length: 20 }, (_, day) => `day-${day}`));
  }
});

test('previews are content', async () => {
  world.takeStatements();
  const data = await world.query(
    principalOf(workspaceId, ['read']),
    `{ thread(project: { name: "demo" }, id: "chat-2") { traceCount firstInputsPreview lastOutputsPreview } }`,
  );
  expect(data).toEqual({ thread: { traceCount: 3, firstInputsPreview: null, lastOutputsPreview: null } });
  expect(world.takeStatements().join()).not.toMatch(/preview/);
});
