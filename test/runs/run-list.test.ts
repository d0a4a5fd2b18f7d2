import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { randomUUID } from 'node:crypto';
import type { RunEvent } from '../../src/ingest/run-event.js';
import { seeded } from '../support/seeded.js';
import { childEvent, createWorld, DAY_MS, idAt, payload, principalOf, rootEvent } from './world.js';
import type { World } from './world.js';

let world: World;

beforeAll(async () => {
  world = await createWorld();
});
afterAll(() => world.close());

const now = Date.now();

/** Newest first, ties by id. */
const newestFirst = (events: readonly RunEvent[]): string[] =>
  [...events]
    .sort((a, b) => (b.startUs ?? 0) - (a.startUs ?? 0) || (a.id < b.id ? 1 : -1))
    .map(({ id }) => id);

const PAGE = `query ($project: ProjectRef, $first: Int, $after: String, $last: Int, $before: String, $direction: OrderDirection! = DESC) {
  runs(project: $project, first: $first, after: $after, last: $last, before: $before, orderBy: { direction: $direction }) {
    nodes { uuid }
    pageInfo { hasNextPage hasPreviousPage startCursor endCursor }
  }
}`;

interface PageAnswer {
  runs: {
    nodes: { uuid: string }[];
    pageInfo: { hasNextPage: boolean; hasPreviousPage: boolean; startCursor: string; endCursor: string };
  };
}

async function readAll(
  principal: ReturnType<typeof principalOf>,
  variables: Record<string, unknown>,
  size: number,
  between: () => Promise<void> = () => Promise.resolve(),
): Promise<string[]> {
  const found: string[] = [];
  let after: string | undefined;
  for (;;) {
    const { runs } = await world.query<PageAnswer>(principal, PAGE, { ...variables, first: size, after });
    found.push(...runs.nodes.map(({ uuid }) => uuid));
    if (!runs.pageInfo.hasNextPage) return found;
    after = runs.pageInfo.endCursor;
    await between();
  }
}

test('pages over many days give every run once, newest first, whatever day its id lives in', async () => {
  const workspaceId = randomUUID();
  const principal = principalOf(workspaceId);
  const random = seeded(1);
  const events = Array.from({ length: 300 }, () => {
    const startMs = now - Math.floor(random() * 40) * DAY_MS - Math.floor(random() * 3_600_000);
    // A third came late or with ids of another clock, some with ids that tell no time.
    const kind = random();
    const id = kind < 0.2 ? idAt(startMs + 3 * DAY_MS) : kind < 0.4 ? randomUUID() : idAt(startMs);
    return rootEvent(workspaceId, startMs, { id });
  });
  await world.write(events);

  const expected = newestFirst(events);
  expect(await readAll(principal, { project: { name: 'demo' } }, 23)).toEqual(expected);
  expect(await readAll(principal, { project: { name: 'demo' }, direction: 'ASC' }, 50)).toEqual(
    expected.toReversed(),
  );
  const { runs } = await world.query<PageAnswer>(principal, PAGE, { project: { name: 'demo' }, last: 10 });
  expect(runs.nodes.map(({ uuid }) => uuid)).toEqual(expected.slice(-10));
  expect(runs.pageInfo).toMatchObject({ hasNextPage: false, hasPreviousPage: true });
  const before = await world.query<PageAnswer>(principal, PAGE, {
    project: { name: 'demo' },
    last: 10,
    before: runs.pageInfo.startCursor,
  });
  expect(before.runs.nodes.map(({ uuid }) => uuid)).toEqual(expected.slice(-20, -10));
});

test('a list over several projects is in one order', async () => {
  const workspaceId = randomUUID();
  const random = seeded(2);
  const events = Array.from({ length: 90 }, (_, index) =>
    rootEvent(workspaceId, now - Math.floor(random() * 10 * DAY_MS), { project: { name: `p${index % 3}` } }),
  );
  await world.write(events);
  expect(await readAll(principalOf(workspaceId), {}, 17)).toEqual(newestFirst(events));
});

test('paging while runs arrive neither repeats nor skips', async () => {
  const workspaceId = randomUUID();
  const principal = principalOf(workspaceId);
  const events = Array.from({ length: 120 }, (_, index) =>
    rootEvent(workspaceId, now - 60_000 - index * 1_000),
  );
  await world.write(events);
  let arrived = 0;
  const found = await readAll(principal, { project: { name: 'demo' } }, 7, async () => {
    const newer = Array.from({ length: 5 }, () => rootEvent(workspaceId, now + (arrived += 1)));
    await world.write(newer);
  });
  expect(found).toEqual(newestFirst(events));
});

test('a page in the nearest days takes one statement; one over many days at most three reads of runs', async () => {
  const workspaceId = randomUUID();
  const principal = principalOf(workspaceId);
  await world.write(Array.from({ length: 30 }, (_, index) => rootEvent(workspaceId, now - index * DAY_MS)));
  const reads = async (first: number): Promise<string[]> => {
    world.takeStatements();
    await world.query(principal, PAGE, { project: { name: 'demo' }, first });
    return world.takeStatements().flatMap((text) => /\/\* (runs\.\w+)/.exec(text)?.[1] ?? []);
  };
  expect(await reads(2)).toEqual(['runs.list_near']);
  expect(await reads(20)).toEqual(['runs.list_near', 'runs.days_of_projects', 'runs.list', 'runs.list']);
});

test('the number of statements does not grow with the rows', async () => {
  const workspaceId = randomUUID();
  const principal = principalOf(workspaceId);
  const roots = Array.from({ length: 100 }, (_, index) => rootEvent(workspaceId, now - index * 1_000));
  await world.write([...roots, ...roots.map((root) => childEvent(root, now))]);
  const count = async (first: number): Promise<number> => {
    world.takeStatements();
    const data = await world.query<{ runs: { nodes: { children: unknown[]; childCount: number }[] } }>(
      principal,
      `query ($first: Int) {
        runs(project: { name: "demo" }, rootsOnly: true, first: $first) {
          nodes { uuid name project { name stats { runCount } } childCount children(first: 3) { name project { name } } }
          edges { cursor node { id } }
          totalCount { value }
        }
      }`,
      { first },
    );
    expect(data.runs.nodes).toHaveLength(first);
    expect(
      data.runs.nodes.every(({ children, childCount }) => children.length === 1 && childCount === 1),
    ).toBe(true);
    return world.takeStatements().length;
  };
  const one = await count(1);
  expect(await count(10)).toBe(one);
  expect(await count(100)).toBe(one);
});

test('totalCount stops at its limit and says so', async () => {
  const workspaceId = randomUUID();
  await world.write(Array.from({ length: 12 }, (_, index) => rootEvent(workspaceId, now - index)));
  const data = await world.query(
    principalOf(workspaceId),
    `{ runs(project: { name: "demo" }, first: 1) { exact: totalCount { value precision } least: totalCount(limit: 5) { value precision } } }`,
  );
  expect(data).toEqual({
    runs: { exact: { value: 12, precision: 'EXACT' }, least: { value: 5, precision: 'AT_LEAST' } },
  });
});

test('filters, roots, threads and time ranges narrow a list', async () => {
  const workspaceId = randomUUID();
  const principal = principalOf(workspaceId);
  const slow = rootEvent(workspaceId, now - 5_000, { endUs: (now + 5_000) * 1_000, tags: ['prod'] });
  const talk = rootEvent(workspaceId, now - DAY_MS, { metadata: { thread_id: 'chat-1' } });
  const child = childEvent(slow, now - 4_000, { runType: 'llm' });
  await world.write([slow, talk, child]);
  const list = async (args: string): Promise<string[]> => {
    const { runs } = await world.query<PageAnswer>(
      principal,
      `{ runs(project: { name: "demo" }, first: 10, ${args}) { nodes { uuid } } }`,
    );
    return runs.nodes.map(({ uuid }) => uuid);
  };
  expect(await list('rootsOnly: true')).toEqual([slow.id, talk.id]);
  expect(await list('threadId: "chat-1"')).toEqual([talk.id]);
  expect(await list(`traceId: "${slow.id}"`)).toEqual([child.id, slow.id]);
  expect(await list(`timeRange: { to: "${new Date(now - 6_000).toISOString()}" }`)).toEqual([talk.id]);
  expect(await list(`where: { filter: "and(gt(latency, \\"5s\\"), has(tags, \\"prod\\"))" }`)).toEqual([
    slow.id,
  ]);
  expect(
    await list(`where: { match: { runType: { eq: "llm" } }, traceFilter: "has(tags, \\"prod\\")" }`),
  ).toEqual([child.id]);
});

test('content is neither shown nor read without its scope', async () => {
  const workspaceId = randomUUID();
  const run = rootEvent(workspaceId, now, {
    inputs: payload({ question: 'secret' }),
    outputs: payload({ answer: 42 }),
    error: 'it broke',
    extra: { runtime: { sdk: 'x' } },
    metadata: { plan: 'gold' },
    attachments: [{ name: 'a.txt', mimeType: 'text/plain', size: 3 }],
  });
  await world.write([run]);
  const query = `query ($id: ID!) { run(id: $id) {
    id uuid contentVisible hasError status inputs outputs error inputsPreview extra metadata attachments { name url size } } }`;
  world.takeStatements();
  const hidden = await world.query<{ run: object }>(principalOf(workspaceId, ['read']), query, {
    id: run.id,
  });
  expect(hidden.run).toMatchObject({
    uuid: run.id,
    contentVisible: false,
    hasError: true,
    status: 'ERROR',
    inputs: null,
    outputs: null,
    error: null,
    inputsPreview: null,
    extra: { metadata: { plan: 'gold' } },
    metadata: { plan: 'gold' },
    attachments: null,
  });
  expect(world.takeStatements().join()).not.toMatch(/r\.(inputs|outputs|events|serialized|attachments)/);

  const shown = await world.query<{ run: { id: string } }>(principalOf(workspaceId), query, { id: run.id });
  expect(shown.run).toMatchObject({
    contentVisible: true,
    inputs: { question: 'secret' },
    outputs: { answer: 42 },
    error: 'it broke',
    extra: { runtime: { sdk: 'x' }, metadata: { plan: 'gold' } },
    attachments: [{ name: 'a.txt', size: '3', url: `https://files.example/${run.id}/a.txt` }],
  });
  const refused = await world.execute(
    principalOf(workspaceId, ['read']),
    `{ runs(project: { name: "demo" }, first: 1, where: { filter: "like(inputs, \\"%secret%\\")" }) { nodes { uuid } } }`,
  );
  expect(refused.errors?.[0]?.message).toMatch(/scope "content"/);
  const node = await world.query(
    principalOf(workspaceId),
    `query ($id: ID!) { node(id: $id) { uuid ... on Run { name } } }`,
    {
      id: shown.run.id,
    },
  );
  expect(node).toEqual({ node: { uuid: run.id, name: 'root' } });
});

test('payloads are read only when they are selected', async () => {
  const workspaceId = randomUUID();
  await world.write([rootEvent(workspaceId, now, { inputs: payload({ a: 1 }) })]);
  world.takeStatements();
  await world.query(
    principalOf(workspaceId),
    `{ runs(project: { name: "demo" }, first: 1) { nodes { name status } } }`,
  );
  expect(world.takeStatements().join()).not.toMatch(/inputs/);
  await world.query(
    principalOf(workspaceId),
    `{ runs(project: { name: "demo" }, first: 1) { edges { node { ...F } } } } fragment F on Run { inputs }`,
  );
  expect(world.takeStatements().join()).toMatch(/r\.inputs as "inputs"/);
});

test('runs are found by ids of every kind, however many by the same statements', async () => {
  const workspaceId = randomUUID();
  const principal = principalOf(workspaceId);
  const ids = [idAt(now), randomUUID(), idAt(now - 1_500 * DAY_MS), idAt(now - 20 * DAY_MS), randomUUID()];
  await world.write(ids.map((id) => rootEvent(workspaceId, now, { id })));
  world.takeStatements();
  const found = await world.runs.findRuns(principal, [...ids, randomUUID()], ['name']);
  expect(found.map(({ uuid }) => uuid).sort()).toEqual([...ids].sort());
  expect(world.takeStatements()).toHaveLength(2);
  await world.runs.findRuns(
    principal,
    ids.filter((id) => id[14] === '7'),
    ['name'],
  );
  expect(world.takeStatements()).toHaveLength(1);
});

test('another workspace sees nothing', async () => {
  const workspaceId = randomUUID();
  const run = rootEvent(workspaceId, now);
  await world.write([run]);
  const { runs: own } = await world.query<PageAnswer>(principalOf(workspaceId), PAGE, { first: 5 });
  expect(own.nodes).toHaveLength(1);
  const [project] = await world.projects.findProjectsByName(principalOf(workspaceId), ['demo']);
  const stranger = principalOf(randomUUID());
  const seen = await world.query(
    stranger,
    `query ($id: ID!, $project: ID!) {
      run(id: $id) { uuid } trace(id: $id) { uuid } project(id: $project) { name }
      runs(project: { id: $project }, first: 5) { nodes { uuid } totalCount { value } }
      threads(project: { id: $project }, first: 5) { nodes { threadId } }
      runStats(projects: [{ id: $project }]) { rows { runCount } }
    }`,
    { id: run.id, project: project?.uuid },
  );
  expect(seen).toEqual({
    run: null,
    trace: null,
    project: null,
    runs: { nodes: [], totalCount: { value: 0 } },
    threads: { nodes: [] },
    runStats: { rows: [{ runCount: 0 }] },
  });
  expect(await world.runs.deleteTraces(stranger, project?.uuid ?? '', [run.id])).toEqual([]);
  expect(await world.runs.findRun(principalOf(workspaceId), run.id, [])).toBeDefined();
});
