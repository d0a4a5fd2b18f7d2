import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { randomUUID } from 'node:crypto';
import { trustedScope } from '../../src/tenancy/principal.js';
import { eventually } from '../support/eventually.js';
import { beginWrite } from '../../src/ingest/run-followers.js';
import type { RunEvent } from '../../src/ingest/run-event.js';
import { childEvent, createWorld, DAY_MS, idAt, payload, principalOf, rootEvent, segment } from './world.js';
import type { World } from './world.js';

let world: World;

beforeAll(async () => {
  world = await createWorld();
});
afterAll(() => world.close());

const now = Date.now();

interface TreeNode {
  uuid: string;
  parentRunId: string | null;
  depth: number;
  orphan: boolean;
}

interface TraceAnswer {
  trace: {
    runCount: number;
    root: { uuid: string } | null;
    runs: { nodes: TreeNode[]; pageInfo: { hasNextPage: boolean; endCursor: string } };
  };
}

const TREE = `query ($id: ID!, $first: Int! = 10000, $after: String) {
  trace(id: $id) {
    runCount root { uuid }
    runs(first: $first, after: $after) {
      nodes { uuid parentRunId depth orphan }
      pageInfo { hasNextPage endCursor }
    }
  }
}`;

test('a trace of 10,000 runs comes in one query, depth-first, with every parent before its children', async () => {
  const workspaceId = randomUUID();
  const root = rootEvent(workspaceId, now);
  const events: RunEvent[] = [root];
  for (let index = 0; events.length < 10_000; index += 1) {
    const parent = events[Math.floor(index / 4)];
    if (parent !== undefined) events.push(childEvent(parent, now + events.length));
  }
  await world.write(events);
  const { trace } = await world.query<TraceAnswer>(principalOf(workspaceId), TREE, { id: root.id });
  const dottedOrders = new Map(events.map(({ id, dottedOrder }) => [id, dottedOrder ?? '']));
  const expected = [...dottedOrders].sort(([, a], [, b]) => (a < b ? -1 : 1)).map(([id]) => id);
  expect(trace.runCount).toBe(10_000);
  expect(trace.root?.uuid).toBe(root.id);
  expect(trace.runs.nodes.map(({ uuid }) => uuid)).toEqual(expected);
  expect(trace.runs.pageInfo.hasNextPage).toBe(false);
  expect(trace.runs.nodes.some(({ orphan }) => orphan)).toBe(false);
  const depths = new Map<string, number>();
  for (const node of trace.runs.nodes) {
    expect(node.depth).toBe(node.parentRunId === null ? 0 : (depths.get(node.parentRunId) ?? NaN) + 1);
    depths.set(node.uuid, node.depth);
  }
});

test('a tree can be read in pages, and a parent on another page makes no orphan', async () => {
  const workspaceId = randomUUID();
  const root = rootEvent(workspaceId, now);
  const events = [root, ...Array.from({ length: 24 }, (_, index) => childEvent(root, now + index))];
  await world.write(events);
  const found: TreeNode[] = [];
  let after: string | undefined;
  do {
    const { trace } = await world.query<TraceAnswer>(principalOf(workspaceId), TREE, {
      id: root.id,
      first: 10,
      after,
    });
    found.push(...trace.runs.nodes);
    after = trace.runs.pageInfo.hasNextPage ? trace.runs.pageInfo.endCursor : undefined;
  } while (after !== undefined);
  expect(found.map(({ uuid }) => uuid)).toEqual(events.map(({ id }) => id));
  expect(found.filter(({ orphan }) => orphan)).toEqual([]);
});

test('runs whose parents have not arrived are shown as orphans, and a trace without a root is there', async () => {
  const workspaceId = randomUUID();
  const root = rootEvent(workspaceId, now);
  const missing = childEvent(root, now + 1);
  const orphan = childEvent(missing, now + 2);
  const below = childEvent(orphan, now + 3);
  await world.write([orphan, below]);
  const { trace } = await world.query<TraceAnswer>(principalOf(workspaceId), TREE, { id: root.id });
  expect(trace.root).toBeNull();
  expect(trace.runs.nodes).toEqual([
    { uuid: orphan.id, parentRunId: missing.id, depth: 2, orphan: true },
    { uuid: below.id, parentRunId: orphan.id, depth: 3, orphan: false },
  ]);
  await world.write([root, missing]);
  const complete = await world.query<TraceAnswer>(principalOf(workspaceId), TREE, { id: root.id });
  expect(complete.trace.root?.uuid).toBe(root.id);
  expect(complete.trace.runs.nodes.map(({ uuid }) => uuid)).toEqual([
    root.id,
    missing.id,
    orphan.id,
    below.id,
  ]);
});

test('a trace over several days, with ids of every kind, is found whole', async () => {
  const workspaceId = randomUUID();
  for (const rootId of [idAt(now - 5 * DAY_MS), randomUUID()]) {
    const root = rootEvent(workspaceId, now - 5 * DAY_MS, { id: rootId });
    const events = [
      root,
      childEvent(root, now - 4 * DAY_MS),
      childEvent(root, now, { id: randomUUID() }),
      childEvent(root, now - DAY_MS, { id: idAt(now - 2_000 * DAY_MS) }),
    ];
    await world.write(events);
    const { trace } = await world.query<TraceAnswer>(principalOf(workspaceId), TREE, { id: rootId });
    expect(trace.runs.nodes.map(({ uuid }) => uuid).sort()).toEqual(events.map(({ id }) => id).sort());
  }
});

test('a run that is days older than its trace, by its own clock, belongs to it like any other', async () => {
  const workspaceId = randomUUID();
  const root = rootEvent(workspaceId, now);
  const early = childEvent(root, now - 9 * DAY_MS);
  const earlier = childEvent(early, now - 12 * DAY_MS);
  // Does not say its trace: it is where its parent is, which comes later.
  const follower: RunEvent = {
    kind: 'create',
    workspaceId,
    id: idAt(now - 15 * DAY_MS),
    parentRunId: early.id,
    project: { name: 'demo' },
    startUs: (now - 15 * DAY_MS) * 1_000,
  };
  await world.write([earlier, follower]);
  await world.write([early, root]);
  const all = [root, early, earlier, follower].map(({ id }) => id);

  world.takeStatements();
  const { trace } = await world.query<TraceAnswer>(principalOf(workspaceId), TREE, { id: root.id });
  expect(world.takeStatements().map((text) => text.slice(0, text.indexOf('*/')).trim())).toEqual([
    '/* runs.days_of_traces',
    '/* traces.summarize',
    '/* traces.tree',
    '/* runs.find_by_ids',
  ]);
  expect(trace.runCount).toBe(4);
  expect(trace.runs.nodes.map(({ uuid }) => uuid).sort()).toEqual([...all].sort());
  const first = await world.query<TraceAnswer>(principalOf(workspaceId), TREE, { id: root.id, first: 1 });
  const rest = await world.query<TraceAnswer>(principalOf(workspaceId), TREE, {
    id: root.id,
    after: first.trace.runs.pageInfo.endCursor,
  });
  expect(rest.trace.runs.nodes).toHaveLength(3);

  const [project] = await world.projects.findProjectsByName(principalOf(workspaceId), ['demo']);
  expect(await world.runs.deleteTraces(principalOf(workspaceId), project?.uuid ?? '', [root.id])).toEqual([
    root.id,
  ]);
  const { rows } = await world.database.pool.query(
    `select id::text from runs where workspace_id = $1
     union all select day::text from trace_days where workspace_id = $1 and trace_id = $2`,
    [workspaceId, root.id],
  );
  expect(rows).toEqual([]);
});

test('the totals of a trace are those of its model calls', async () => {
  const workspaceId = randomUUID();
  const root = rootEvent(workspaceId, now, { metadata: { thread_id: 'chat' }, endUs: (now + 9_000) * 1_000 });
  const usage = (tokens: number, cost: number) =>
    payload({
      usage_metadata: { input_tokens: tokens, output_tokens: 1, total_tokens: tokens + 1, total_cost: cost },
    });
  await world.write([
    root,
    childEvent(root, now + 1, { runType: 'llm', outputs: usage(10, 0.000001) }),
    childEvent(root, now + 2, { runType: 'llm', outputs: usage(20, 0.000002), error: 'no' }),
    // Repeats what its child used.
    childEvent(root, now + 3, { outputs: usage(20, 0.000002) }),
  ]);
  const data = await world.query(
    principalOf(workspaceId),
    `query ($id: ID!) { trace(id: $id) {
      runCount errorCount pendingCount latencySeconds promptTokens completionTokens totalTokens totalCost threadId project { name } } }`,
    { id: root.id },
  );
  expect(data).toEqual({
    trace: {
      runCount: 4,
      errorCount: 1,
      pendingCount: 0,
      latencySeconds: 9,
      promptTokens: '30',
      completionTokens: '2',
      totalTokens: '32',
      totalCost: '0.000003',
      threadId: 'chat',
      project: { name: 'demo' },
    },
  });
});

test('a deleted trace is gone with all that hung on it, and late events do not bring it back', async () => {
  const workspaceId = randomUUID();
  const principal = principalOf(workspaceId);
  const root = rootEvent(workspaceId, now, { id: randomUUID() });
  const child = childEvent(root, now + 1);
  const other = rootEvent(workspaceId, now + 2);
  await world.write([root, child, other]);
  const { pool } = world.database;
  await pool.query(
    `insert into feedback (workspace_id, id, run_id, key, source_type, source, created_at, updated_at)
     values ($1, $2, $3, 'k', 'api', '{}', now(), now())`,
    [workspaceId, randomUUID(), child.id],
  );
  const attachment = randomUUID();
  await pool.query(`insert into attachments values ($1, $2, 'f', $3, 'text/plain', 1, now())`, [
    workspaceId,
    root.id,
    attachment,
  ]);
  await pool.query(`insert into attachment_chunks values ($1, $2, 0, '\\x00')`, [workspaceId, attachment]);

  const unknown = randomUUID();
  const data = await world.query(
    principal,
    `mutation ($ids: [UUID!]!) { deleteTraces(input: { project: { name: "demo" }, traceIds: $ids }) {
      deletedTraceIds errors { code path } } }`,
    { ids: [root.id, unknown] },
  );
  expect(data).toEqual({
    deleteTraces: { deletedTraceIds: [root.id], errors: [{ code: 'NOT_FOUND', path: ['traceIds', '1'] }] },
  });
  await world.write([root, childEvent(root, now + 5)]);
  const left = await pool.query(
    `select (select array_agg(id) from runs where workspace_id = $1) as runs,
       (select count(*)::int from feedback where workspace_id = $1) as feedback,
       (select count(*)::int from attachments where workspace_id = $1) as attachments,
       (select count(*)::int from attachment_chunks where workspace_id = $1) as chunks,
       (select count(*)::int from run_locator where workspace_id = $1) as located`,
    [workspaceId],
  );
  expect(left.rows[0]).toMatchObject({ runs: [other.id], feedback: 0, attachments: 0, chunks: 0 });
  const { rows: feed } = await pool.query<{ entries: unknown[][] }>(
    `select entries from feed where workspace_id = $1 and entries::text like '%"d"%'`,
    [workspaceId],
  );
  expect(
    feed.flatMap(({ entries }) => entries.map(([kind, , id, trace]) => [kind, id, trace])).sort(),
  ).toEqual(
    [
      ['d', root.id, root.id],
      ['d', child.id, root.id],
    ].sort(),
  );
});

test('a run that is being written while its trace is deleted goes with it', async () => {
  const workspaceId = randomUUID();
  const root = rootEvent(workspaceId, now);
  await world.write([root]);
  const [project] = await world.projects.findProjectsByName(principalOf(workspaceId), ['demo']);
  const { pool } = world.database;
  // A writer that has looked for tombstones, found none, and is about to commit.
  const writer = await pool.connect();
  await beginWrite(writer, [workspaceId], new Set());
  await writer.query('select from trace_tombstones where workspace_id = $1', [workspaceId]);
  await writer.query(
    `insert into runs select (jsonb_populate_record(r, jsonb_build_object('id', $3::text, 'parent_run_id', $2::text))).*
     from runs r where workspace_id = $1 and id = $2::uuid`,
    [workspaceId, root.id, idAt(now)],
  );
  const deletion = world.runs.deleteTraces(principalOf(workspaceId), project?.uuid ?? '', [root.id]);
  try {
    await deletionWaits();
    await writer.query('commit');
  } finally {
    writer.release(true);
  }
  expect(await deletion).toEqual([root.id]);
  const { rows } = await pool.query('select id from runs where workspace_id = $1', [workspaceId]);
  expect(rows).toEqual([]);
});

test('a deletion that waits holds up no other workspace, and none waits for a dump of the database', async () => {
  const [workspaceId, other] = [randomUUID(), randomUUID()];
  const root = rootEvent(workspaceId, now);
  await world.write([root, rootEvent(other, now)]);
  const [project] = await world.projects.findProjectsByName(principalOf(workspaceId), ['demo']);
  const { pool } = world.database;
  const [writer, dump] = [await pool.connect(), await pool.connect()];
  await beginWrite(writer, [workspaceId], new Set());
  try {
    // What pg_dump holds on every table until it is done.
    await dump.query('begin; lock table trace_tombstones in access share mode');
    const deletion = world.runs.deleteTraces(principalOf(workspaceId), project?.uuid ?? '', [root.id]);
    await deletionWaits();
    const late = rootEvent(other, now);
    await world.write([late]);
    expect(await world.runs.findRun(principalOf(other), late.id, [])).toMatchObject({ uuid: late.id });
    await writer.query('commit');
    expect(await deletion).toEqual([root.id]);
  } finally {
    for (const client of [writer, dump]) client.release(true);
  }
});

/** Until a deletion waits for writers of its workspace. */
const deletionWaits = (): Promise<void> =>
  eventually(
    async () => {
      const { rows } = await world.database.pool.query(
        `select 1 from pg_locks where not granted and locktype = 'advisory' and mode = 'ExclusiveLock'
         and database = (select oid from pg_database where datname = current_database())`,
      );
      expect(rows).toHaveLength(1);
    },
    { timeoutMs: 3_000 },
  );

test('deleting needs the write scope and changes nothing without it', async () => {
  const workspaceId = randomUUID();
  const root = rootEvent(workspaceId, now);
  await world.write([root]);
  const [project] = await world.projects.findProjectsByName(principalOf(workspaceId), ['demo']);
  await expect(
    world.runs.deleteTraces(principalOf(workspaceId, ['read', 'content', 'ingest']), project?.uuid ?? '', [
      root.id,
    ]),
  ).rejects.toMatchObject({ code: 'FORBIDDEN' });
  expect(await world.runs.findRun(principalOf(workspaceId), root.id, [])).toBeDefined();
});

test("a deleted project's runs are removed in batches, and nothing else", async () => {
  const workspaceId = randomUUID();
  const principal = principalOf(workspaceId);
  const doomed = Array.from({ length: 25 }, (_, index) =>
    rootEvent(workspaceId, now - index * DAY_MS, { project: { name: 'doomed' } }),
  );
  const kept = rootEvent(workspaceId, now);
  await world.write([...doomed, kept]);
  const [project] = await world.projects.findProjectsByName(principal, ['doomed']);
  const id = project?.uuid ?? '';
  expect(await world.projects.deleteProject(principal, id)).toEqual({ ok: true, value: id });
  expect(world.enqueued).toContain(id);
  expect(await world.projects.findProjects(principal, [id])).toEqual([]);

  const scope = trustedScope(workspaceId);
  let deleted = 0;
  for (let done = false; !done;) {
    const step = await world.runs.deleteProjectRuns(scope, id, { batch: 10 });
    expect(step.deleted).toBeLessThanOrEqual(10);
    deleted += step.deleted;
    done = step.done;
  }
  expect(deleted).toBe(25);
  const { rows } = await world.database.pool.query('select id from runs where workspace_id = $1', [
    workspaceId,
  ]);
  expect(rows).toEqual([{ id: kept.id }]);
  expect(await world.runs.deleteProjectRuns(scope, id, { batch: 10 })).toEqual({ deleted: 0, done: true });
});

test('createRuns and updateRuns answer for each item in its order', async () => {
  const workspaceId = randomUUID();
  const principal = principalOf(workspaceId);
  const [good, bad] = [idAt(now), idAt(now)];
  const startTime = new Date(now).toISOString();
  const created = await world.query(
    principal,
    `mutation ($runs: [CreateRunItem!]!) { createRuns(input: { runs: $runs }) {
      acceptedCount results { id accepted errors { code path } } } }`,
    {
      runs: [
        { id: bad, name: 'bad', runType: 'TOOL', startTime, dottedOrder: 'nonsense' },
        {
          id: good,
          name: 'good',
          runType: 'LLM',
          startTime,
          project: { name: 'graph' },
          inputs: { q: 1 },
          metadata: { user: 'u' },
          extra: { runtime: { a: 1 } },
          dottedOrder: segment(now, good),
          traceId: good,
        },
      ],
    },
  );
  expect(created).toMatchObject({
    createRuns: {
      acceptedCount: 1,
      results: [
        { id: bad, accepted: false },
        { id: good, accepted: true, errors: [] },
      ],
    },
  });
  await world.query(
    principal,
    `mutation ($runs: [UpdateRunItem!]!) { updateRuns(input: { runs: $runs }) { acceptedCount } }`,
    {
      runs: [
        {
          id: good,
          traceId: good,
          dottedOrder: segment(now, good),
          outputs: { a: 2 },
          endTime: new Date(now + 1_500).toISOString(),
        },
      ],
    },
  );
  const data = await world.query(
    principal,
    `query ($id: ID!) { run(id: $id) { name runType status latencySeconds inputs outputs metadata extra project { name } } }`,
    { id: good },
  );
  expect(data).toEqual({
    run: {
      name: 'good',
      runType: 'LLM',
      status: 'SUCCESS',
      latencySeconds: 1.5,
      inputs: { q: 1 },
      outputs: { a: 2 },
      metadata: { user: 'u' },
      extra: { metadata: { user: 'u' }, runtime: { a: 1 } },
      project: { name: 'graph' },
    },
  });
});
