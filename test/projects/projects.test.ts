import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { randomUUID } from 'node:crypto';
import type { RunEvent } from '../../src/ingest/run-event.js';
import { childEvent, createWorld, payload, principalOf, rootEvent } from '../runs/world.js';
import type { World } from '../runs/world.js';

let world: World;

beforeAll(async () => {
  world = await createWorld();
});
afterAll(() => world.close());

const now = Date.now();

interface ProjectsAnswer {
  projects: { nodes: { name: string }[]; pageInfo: { hasNextPage: boolean; endCursor: string } };
}

const CREATE = `mutation ($input: CreateProjectInput!) {
  createProject(input: $input) { project { id uuid name description extra } errors { code path } } }`;

interface CreateAnswer {
  createProject: { project: { id: string; uuid: string; name: string } | null; errors: object[] };
}

test('a new workspace shows the project "default"', async () => {
  const principal = principalOf(randomUUID());
  const list = `{ projects(first: 5) { nodes { name } totalCount { value precision } } }`;
  const expected = {
    projects: { nodes: [{ name: 'default' }], totalCount: { value: 1, precision: 'EXACT' } },
  };
  expect(await world.query(principal, list)).toEqual(expected);
  expect(await world.query(principal, list)).toEqual(expected);
});

test('a project is created, changed, found by name and by either form of its id, and deleted', async () => {
  const principal = principalOf(randomUUID());
  const { createProject } = await world.query<CreateAnswer>(principal, CREATE, {
    input: { name: 'first', description: 'd', extra: { metadata: { team: 'a' } } },
  });
  expect(createProject).toMatchObject({
    project: { name: 'first', description: 'd', extra: { metadata: { team: 'a' } } },
    errors: [],
  });
  const { id, uuid } = createProject.project ?? { id: '', uuid: '' };
  const taken = await world.query<CreateAnswer>(principal, CREATE, { input: { name: 'first' } });
  expect(taken.createProject).toEqual({
    project: null,
    errors: [{ code: 'ALREADY_EXISTS', path: ['name'] }],
  });

  const changed = await world.query(
    principal,
    `mutation ($id: ID!) { updateProject(input: { id: $id, patch: { name: "second", description: null } }) {
      project { name description extra } errors { code } } }`,
    { id },
  );
  expect(changed).toEqual({
    updateProject: {
      project: { name: 'second', description: null, extra: { metadata: { team: 'a' } } },
      errors: [],
    },
  });
  const found = await world.query(
    principal,
    `query ($id: ID!, $uuid: ID!) {
      a: project(id: $id) { uuid } b: project(id: $uuid) { uuid } c: project(name: "second") { uuid }
      d: node(id: $id) { uuid ... on Project { name } } e: project(name: "first") { uuid } }`,
    { id, uuid },
  );
  expect(found).toEqual({ a: { uuid }, b: { uuid }, c: { uuid }, d: { uuid, name: 'second' }, e: null });

  const remove = `mutation ($id: ID!) { deleteProject(input: { id: $id }) { deletedId errors { code } } }`;
  expect(await world.query(principal, remove, { id })).toEqual({
    deleteProject: { deletedId: id, errors: [] },
  });
  expect(await world.query(principal, remove, { id })).toEqual({
    deleteProject: { deletedId: null, errors: [{ code: 'NOT_FOUND' }] },
  });
  expect(await world.query(principal, `{ project(name: "second") { name } }`)).toEqual({ project: null });
});

test('a rename to a taken name and unusable names are refused with their place', async () => {
  const principal = principalOf(randomUUID());
  await world.query(principal, CREATE, { input: { name: 'a' } });
  const { createProject } = await world.query<CreateAnswer>(principal, CREATE, { input: { name: 'b' } });
  const renamed = await world.projects.updateProject(principal, createProject.project?.uuid ?? '', {
    name: 'a',
  });
  expect(renamed).toMatchObject({ ok: false, problems: [{ code: 'ALREADY_EXISTS', path: ['name'] }] });
  for (const name of ['', '  ', 'x'.repeat(501), 'nul\u0000']) {
    const answer = await world.query<CreateAnswer>(principal, CREATE, { input: { name } });
    expect(answer.createProject).toEqual({ project: null, errors: [{ code: 'INVALID', path: ['name'] }] });
  }
});

test('upsert changes what the draft says and leaves the rest', async () => {
  const principal = principalOf(randomUUID());
  const dataset = randomUUID();
  const first = await world.projects.createProject(principal, {
    name: 'x',
    description: 'old',
    referenceDatasetId: dataset,
  });
  const again = await world.projects.createProject(
    principal,
    { name: 'x', extra: { metadata: { k: 1 } } },
    { upsert: true },
  );
  if (!first.ok || !again.ok) throw new Error('refused');
  expect(again.value).toMatchObject({
    uuid: first.value.uuid,
    description: 'old',
    referenceDatasetId: dataset,
    extra: { metadata: { k: 1 } },
  });
});

test('lists page by either order, and narrow by name and kind', async () => {
  const principal = principalOf(randomUUID());
  const names = ['delta', 'alpha', 'Charlie', 'bravo', 'echo'];
  for (const name of names) {
    await world.query(principal, CREATE, {
      input: { name, ...(name === 'echo' && { referenceDatasetId: randomUUID() }) },
    });
  }
  const read = async (args: string): Promise<string[]> => {
    const found: string[] = [];
    for (let after: string | undefined; ;) {
      const { projects } = await world.query<ProjectsAnswer>(
        principal,
        `query ($after: String) { projects(first: 2, after: $after, ${args}) { nodes { name } pageInfo { hasNextPage endCursor } } }`,
        { after },
      );
      found.push(...projects.nodes.map(({ name }) => name));
      if (!projects.pageInfo.hasNextPage) return found;
      after = projects.pageInfo.endCursor;
    }
  };
  const all = ['default', ...names];
  expect(
    (await read('orderBy: { field: CREATED_AT, direction: ASC }')).filter((name) => name !== 'default'),
  ).toEqual(names);
  const byName = await read('orderBy: { field: NAME, direction: ASC }');
  expect([...byName].sort()).toEqual([...all].sort());
  expect(await read('orderBy: { field: NAME, direction: DESC }')).toEqual(byName.toReversed());
  expect(await read('nameContains: "CHAR"')).toEqual(['Charlie']);
  expect(await read('referenceFree: false')).toEqual(['echo']);
});

test('statistics of many projects are one statement and count only what is theirs', async () => {
  const workspaceId = randomUUID();
  const principal = principalOf(workspaceId);
  const usage = payload({
    usage_metadata: { input_tokens: 3, output_tokens: 2, total_tokens: 5, total_cost: 0.25 },
  });
  const events: RunEvent[] = [];
  for (let index = 0; index < 10; index += 1) {
    for (let count = 0; count <= index; count += 1) {
      const startMs = now - count * 1_000;
      const root = rootEvent(workspaceId, startMs, {
        project: { name: `p${index}` },
        endUs: (startMs + 1_000 * (count + 1)) * 1_000,
        ...(count === 0 && { error: 'no' }),
      });
      events.push(root, childEvent(root, startMs, { runType: 'llm', outputs: usage }));
    }
  }
  await world.write(events);
  const ask = async (first: number): Promise<{ name: string; stats: Record<string, unknown> }[]> => {
    const data = await world.query<{
      projects: { nodes: { name: string; stats: Record<string, unknown> }[] };
    }>(
      principal,
      `query ($first: Int!) { projects(first: $first, nameContains: "p") { nodes {
        name stats { runCount errorRate latencyP50 latencyP99 lastRunStartTime totalTokens totalCost } } } }`,
      { first },
    );
    return data.projects.nodes;
  };
  await ask(1);
  world.takeStatements();
  await ask(1);
  const statements = world.takeStatements().length;
  const nodes = await ask(10);
  expect(world.takeStatements()).toHaveLength(statements);
  expect(nodes).toHaveLength(10);
  for (const { name, stats } of nodes) {
    const runs = Number(name.slice(1)) + 1;
    expect(stats).toEqual({
      runCount: runs,
      errorRate: expect.closeTo(1 / runs, 9),
      latencyP50: expect.closeTo((runs + 1) / 2, 6),
      latencyP99: expect.closeTo(1 + (runs - 1) * 0.99, 6),
      lastRunStartTime: new Date(now).toISOString(),
      totalTokens: String(runs * 5),
      totalCost: String(runs * 0.25),
    });
  }
  const since = await world.projects.statsOf(principal, [], new Date(now).toISOString());
  expect(since).toEqual([]);

  const page = await world.projects.listProjectsByOffset(principal, {
    filter: { nameContains: 'p' },
    sort: 'runs_count',
    descending: true,
    limit: 3,
    offset: 2,
  });
  expect(page.total).toBe(10);
  expect(page.projects.map(({ name }) => name)).toEqual(['p7', 'p6', 'p5']);
  const beyond = await world.projects.listProjectsByOffset(principal, {
    filter: { nameContains: 'p' },
    sort: 'latency_p50',
    descending: false,
    limit: 3,
    offset: 50,
  });
  expect(beyond).toEqual({ projects: [], total: 10 });
});

test('projects by metadata, by dataset and by feedback', async () => {
  const workspaceId = randomUUID();
  const principal = principalOf(workspaceId);
  const dataset = randomUUID();
  const make = async (name: string, team: string, referenceDatasetId?: string): Promise<string> => {
    const made = await world.projects.createProject(principal, {
      name,
      extra: { metadata: { team } },
      referenceDatasetId,
    });
    if (!made.ok) throw new Error('refused');
    return made.value.uuid;
  };
  const a = await make('a', 'red');
  const b = await make('b', 'red', dataset);
  await make('c', 'blue', dataset);
  for (const [projectId, score] of [
    [a, 0.2],
    [b, 0.9],
  ] as const) {
    await world.database.pool.query(
      `insert into feedback (workspace_id, id, project_id, key, score, source_type, source, created_at, updated_at)
       values ($1, $2, $3, 'fit', $4, 'api', '{}', now(), now())`,
      [workspaceId, randomUUID(), projectId, score],
    );
  }
  const names = async (filter: object, sort: 'name' | 'feedback' = 'name'): Promise<string[]> => {
    const page = { filter, sort, descending: sort === 'feedback', feedbackKey: 'fit', limit: 10, offset: 0 };
    return (await world.projects.listProjectsByOffset(principal, page)).projects.map(({ name }) => name);
  };
  expect(await names({ metadata: { team: 'red' } })).toEqual(['a', 'b']);
  expect(await names({ referenceDatasetIds: [dataset] })).toEqual(['b', 'c']);
  expect(await names({ referenceFree: true })).toEqual(['a', 'default']);
  expect((await names({ referenceFree: undefined }, 'feedback')).slice(0, 2)).toEqual(['b', 'a']);
});

test('reading needs the read scope, changing the write scope; another workspace sees and changes nothing', async () => {
  const workspaceId = randomUUID();
  const principal = principalOf(workspaceId);
  const { createProject } = await world.query<CreateAnswer>(principal, CREATE, { input: { name: 'mine' } });
  const id = createProject.project?.uuid ?? '';
  const reader = principalOf(workspaceId, ['read']);
  await expect(world.projects.createProject(reader, { name: 'x' })).rejects.toMatchObject({
    code: 'FORBIDDEN',
  });
  await expect(world.projects.updateProject(reader, id, { name: 'x' })).rejects.toMatchObject({
    code: 'FORBIDDEN',
  });
  await expect(world.projects.deleteProject(reader, id)).rejects.toMatchObject({ code: 'FORBIDDEN' });
  await expect(world.projects.findProjects(principalOf(workspaceId, ['ingest']), [id])).rejects.toMatchObject(
    {
      code: 'FORBIDDEN',
    },
  );
  const stranger = principalOf(randomUUID());
  expect(await world.projects.findProjects(stranger, [id])).toEqual([]);
  expect(await world.projects.updateProject(stranger, id, { name: 'x' })).toMatchObject({ ok: false });
  expect(await world.projects.deleteProject(stranger, id)).toMatchObject({ ok: false });
  expect(await world.projects.findProjects(principal, [id])).toMatchObject([{ name: 'mine' }]);
});
