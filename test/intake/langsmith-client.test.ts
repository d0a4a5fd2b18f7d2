/** The unmodified `langsmith` client, with only its endpoint and key changed. */
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { Client, RunTree } from 'langsmith';
import { traceable } from 'langsmith/traceable';
import { trustedScope } from '../../src/tenancy/principal.js';
import { createTestDatabase } from '../support/database.js';
import type { TestDatabase } from '../support/database.js';
import { eventually } from '../support/eventually.js';
import { startEdge } from '../http/edge.js';
import type { Edge } from '../http/edge.js';

let database: TestDatabase;
let edge: Edge;
beforeAll(async () => {
  database = await createTestDatabase();
  edge = await startEdge({ database });
});
afterAll(async () => {
  await edge.close();
  await database.drop();
});

const client = (prefix = '', options: { autoBatchTracing?: boolean } = {}): Client =>
  new Client({ apiUrl: edge.url + prefix, apiKey: 'all', autoBatchTracing: true, ...options });

interface Row {
  id: string;
  name: string;
  run_type: string;
  status: string;
  depth: number;
  thread_id: string | null;
  parent_run_id: string | null;
  inputs: Record<string, unknown>;
  outputs: Record<string, unknown> | null;
  error: string | null;
  events: { name: string }[] | null;
}

async function runsOf(project: string): Promise<Row[]> {
  const { rows } = await database.pool.query<Row>(
    `select r.id, r.name, r.run_type, r.status, r.thread_id, r.parent_run_id, r.inputs, r.outputs, r.error, r.events,
            (length(r.dotted_order) + 1) / 59 as depth
     from runs r join projects p on p.workspace_id = r.workspace_id and p.id = r.project_id
     where r.workspace_id = $1 and p.name = $2
     order by r.dotted_order`,
    [edge.workspaceId, project],
  );
  return rows;
}

async function traceSomething(langsmith: Client, project: string): Promise<void> {
  const options = { client: langsmith, project_name: project, tracingEnabled: true };
  const model = traceable((question: string) => ({ answer: `re: ${question}` }), {
    ...options,
    name: 'model',
    run_type: 'llm',
  });
  const stream = traceable(
    async function* () {
      yield 'tok0';
      await Promise.resolve();
      yield 'tok1';
    },
    { ...options, name: 'stream', run_type: 'llm' },
  );
  const failing = traceable(() => Promise.reject(new Error('kaput')), {
    ...options,
    name: 'failing',
    run_type: 'tool',
  });
  const outer = traceable(
    async (question: { who: string }) => {
      await model(question.who);
      for await (const token of stream()) expect(token).toMatch(/^tok/);
      await failing().catch(() => undefined);
      return { reply: `hi ${question.who}` };
    },
    { ...options, name: 'outer', run_type: 'chain', metadata: { thread_id: 'thr-1' } },
  );
  await outer({ who: 'bob' });
  await langsmith.flush();
  await langsmith.awaitPendingTraceBatches();
}

test.each(['', '/api', '/api/v1'])(
  'nested traces arrive under "%s" with everything the application did',
  async (prefix) => {
    const project = `nested${prefix}`;
    await traceSomething(client(prefix), project);
    const runs = await runsOf(project);
    const [outer] = runs;
    expect(
      runs.map(({ name, run_type, status, depth, error, outputs }) => ({
        name,
        run_type,
        status,
        depth,
        error: error?.split('\n')[0] ?? null,
        outputs,
      })),
    ).toEqual([
      {
        name: 'outer',
        run_type: 'chain',
        status: 'success',
        depth: 1,
        error: null,
        outputs: { reply: 'hi bob' },
      },
      {
        name: 'model',
        run_type: 'llm',
        status: 'success',
        depth: 2,
        error: null,
        outputs: { answer: 're: bob' },
      },
      {
        name: 'stream',
        run_type: 'llm',
        status: 'success',
        depth: 2,
        error: null,
        outputs: { outputs: ['tok0', 'tok1'] },
      },
      { name: 'failing', run_type: 'tool', status: 'error', depth: 2, error: 'Error: kaput', outputs: null },
    ]);
    expect(runs.slice(1).every((run) => run.parent_run_id === outer?.id)).toBe(true);
    expect(outer).toMatchObject({ inputs: { who: 'bob' }, thread_id: 'thr-1' });
    expect(runs[2]?.events?.map(({ name }) => name)).toEqual(['new_token', 'new_token']);
  },
);

test.each([
  ['gzip', '/runs/multipart', 'gzip', {}],
  ['no compression', '/runs/multipart', null, { instance_flags: { gzip_body_enabled: false } }],
  ['JSON batches', '/runs/batch', null, { batch_ingest_config: { use_multipart_endpoint: false } }],
])('with %s the client sends to %s and nothing is lost', async (way, path, encoding, info) => {
  const sent: [string, string | null][] = [];
  const langsmith = new Client({
    apiUrl: edge.url,
    apiKey: 'all',
    fetchImplementation: (async (input: string, init?: RequestInit) => {
      if (input.endsWith('/info')) {
        return Response.json({ ...((await (await fetch(input, init)).json()) as object), ...info });
      }
      sent.push([new URL(input).pathname, new Headers(init?.headers).get('content-encoding')]);
      return fetch(input, init);
    }) as typeof fetch,
  });
  await traceSomething(langsmith, way);
  expect(new Set(sent.map((request) => request.join()))).toEqual(new Set([[path, encoding].join()]));
  expect((await runsOf(way)).map(({ status }) => status)).toEqual(['success', 'success', 'success', 'error']);
});

test('a post and its patch in different windows make one run', async () => {
  const langsmith = client();
  const run = new RunTree({
    name: 'slow',
    run_type: 'chain',
    inputs: { a: 1 },
    client: langsmith,
    project_name: 'windows',
    tags: ['x'],
    tracingEnabled: true,
  });
  await run.postRun();
  await langsmith.flush();
  await langsmith.awaitPendingTraceBatches();
  expect(await runsOf('windows')).toMatchObject([{ status: 'pending', outputs: null }]);
  await run.end({ b: 2 });
  await run.patchRun();
  await langsmith.flush();
  await langsmith.awaitPendingTraceBatches();
  expect(await runsOf('windows')).toMatchObject([
    { id: run.id, status: 'success', inputs: { a: 1 }, outputs: { b: 2 } },
  ]);
});

test('without batching, runs are posted and patched one by one', async () => {
  const langsmith = client('', { autoBatchTracing: false });
  await traceSomething(langsmith, 'unbatched');
  // The client does not wait for its last patches.
  await eventually(async () => {
    expect((await runsOf('unbatched')).map(({ name, status }) => [name, status])).toEqual([
      ['outer', 'success'],
      ['model', 'success'],
      ['stream', 'success'],
      ['failing', 'error'],
    ]);
  });
});

test('a run made without an id or a place is stored', async () => {
  await client('', { autoBatchTracing: false }).createRun({
    name: 'solo',
    run_type: 'tool',
    inputs: { z: 1 },
    project_name: 'solo',
  });
  expect(await runsOf('solo')).toMatchObject([{ name: 'solo', inputs: { z: 1 }, depth: 1 }]);
});

test('attachments arrive with their run and come back by link', async () => {
  const langsmith = client();
  const run = new RunTree({
    name: 'with files',
    run_type: 'tool',
    inputs: {},
    client: langsmith,
    project_name: 'files',
    attachments: { note: ['text/plain', new TextEncoder().encode('hello')] },
    tracingEnabled: true,
  });
  await run.postRun();
  await run.end({});
  await run.patchRun();
  await langsmith.flush();
  await langsmith.awaitPendingTraceBatches();
  const path = edge.attachments.presign(trustedScope(edge.workspaceId), run.id, 'note');
  const response = await edge.fetch(path, { key: undefined });
  expect([response.headers.get('content-type'), await response.text()]).toEqual(['text/plain', 'hello']);
});

test('a refusal reaches the application as a message it can print', async () => {
  const langsmith = client('', { autoBatchTracing: false });
  await expect(langsmith.createRun({ name: 'bad', run_type: 'banana', inputs: {} })).rejects.toThrow(
    /422.*run_type must be one of/s,
  );
});
