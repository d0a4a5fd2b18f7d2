/* eslint-disable @typescript-eslint/no-deprecated -- what applications in the field still call */
/**
 * What an application does with the unmodified client, against the product as processes: traces, reads back, keeps
 * its projects, judges. Details of single routes are tested in test/rest.
 */
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { execFile } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { promisify } from 'node:util';
import type { Client, Run } from 'langsmith';
import { RunTree } from 'langsmith/run_trees';
import { traceable } from 'langsmith/traceable';
import { API_KEY } from '../support/processes.js';
import { eventually } from '../support/eventually.js';
import { startProduct } from './product.js';
import type { Product } from './product.js';

let product: Product;
let client: Client;
beforeAll(async () => {
  product = await startProduct();
  client = product.client();
});
afterAll(() => product.close());

async function collect<T>(items: AsyncIterable<T>): Promise<T[]> {
  const all: T[] = [];
  for await (const item of items) all.push(item);
  return all;
}

interface WithAttachments {
  s3_urls: Record<string, { presigned_url: string; mime_type: string }>;
}

const names = (runs: readonly Run[]): string[] => runs.map(({ name }) => name);

// ── Tracing ────────────────────────────────────────────────────────────────────────────────────────────────

test('the first trace that `npm start` shows arrives when it is pasted', async () => {
  const source = await readFile('src/start.ts', 'utf8');
  const script = /node --input-type=module -e '([^']+)'/.exec(source)?.[1];
  if (script === undefined) throw new Error('src/start.ts shows no first trace');
  await promisify(execFile)(process.execPath, ['--input-type=module', '-e', script], {
    env: {
      PATH: process.env['PATH'] ?? '',
      LANGSMITH_TRACING: 'true',
      LANGSMITH_ENDPOINT: product.url,
      LANGSMITH_API_KEY: API_KEY,
    },
  });
  const [run, ...others] = await collect(client.listRuns({ projectName: 'default' }));
  expect(others).toEqual([]);
  expect(run).toMatchObject({
    name: 'hello',
    run_type: 'chain',
    status: 'success',
    inputs: { input: 'world' },
    outputs: { outputs: 'Hello world' },
    parent_run_id: null,
  });
});

test('nested calls come back as a tree, with usage counted once and money to the last digit', async () => {
  const options = { client, project_name: 'nested', tracingEnabled: true };
  // As wrapOpenAI reports: in the outputs and, again, in the metadata.
  const usage_metadata = {
    input_tokens: 11,
    output_tokens: 7,
    total_tokens: 18,
    input_token_details: { cache_read: 5 },
    output_token_details: { reasoning: 3 },
    input_cost: 0.000011,
    output_cost: 0.000001,
    total_cost: 0.000012,
  };
  const model = traceable(
    ({ question }: { question: string }) => ({
      role: 'assistant',
      content: `rain: ${question}`,
      usage_metadata,
    }),
    {
      ...options,
      name: 'ChatOpenAI',
      run_type: 'llm',
      metadata: { ls_provider: 'openai', ls_model_name: 'gpt-4o', usage_metadata },
    },
  );
  const tool = traceable(() => Promise.reject(new Error('no network')), {
    ...options,
    name: 'forecast',
    run_type: 'tool',
  });
  const agent = traceable(
    async ({ question }: { question: string }) => {
      await tool().catch(() => undefined);
      return { answer: (await model({ question })).content, usage_metadata };
    },
    { ...options, name: 'agent', run_type: 'chain', tags: ['beta'], metadata: { thread_id: 'walk' } },
  );
  await agent({ question: 'umbrella?' });
  await client.awaitPendingTraceBatches();

  const [root] = await collect(client.listRuns({ projectName: 'nested', isRoot: true }));
  if (root === undefined) throw new Error('no root');
  const tree = await client.readRun(root.id, { loadChildRuns: true });
  expect(tree).toMatchObject({
    name: 'agent',
    tags: ['beta'],
    inputs: { question: 'umbrella?' },
    outputs: { answer: 'rain: umbrella?' },
    child_runs: [
      { name: 'forecast', status: 'error', error: expect.stringMatching(/^Error: no network/) },
      {
        name: 'ChatOpenAI',
        prompt_tokens: 11,
        completion_tokens: 7,
        total_tokens: 18,
        prompt_token_details: { cache_read: 5 },
        completion_token_details: { reasoning: 3 },
        prompt_cost: '0.000011',
        completion_cost: '0.000001',
        total_cost: '0.000012',
        extra: { metadata: { ls_provider: 'openai', ls_model_name: 'gpt-4o', thread_id: 'walk' } },
      },
    ],
  });
  const { trace } = await product.query<{ trace: Record<string, unknown> }>(
    'query ($id: ID!) { trace(id: $id) { totalTokens totalCost runCount errorCount } }',
    { id: root.id },
  );
  expect(trace).toEqual({ totalTokens: '18', totalCost: '0.000012', runCount: 3, errorCount: 1 });
  expect((await client.listThreads({ projectName: 'nested' })).map(({ thread_id }) => thread_id)).toEqual([
    'walk',
  ]);
});

test('attachments come back byte for byte, without a key', async () => {
  const picture = Uint8Array.from({ length: 70_000 }, (_, index) => (index * 7) % 256);
  const run = new RunTree({
    name: 'look',
    run_type: 'tool',
    project_name: 'attachments',
    client,
    inputs: { what: 'picture' },
    attachments: {
      picture: ['image/png', picture],
      note: ['text/plain', new TextEncoder().encode('seen')],
    },
  });
  await run.postRun();
  await run.end({ ok: true });
  await run.patchRun();
  await client.awaitPendingTraceBatches();

  // A list brings them as well, although clients do not select them there.
  const [listed] = await collect(client.listRuns({ projectName: 'attachments' }));
  expect(Object.keys((listed as unknown as WithAttachments).s3_urls)).toHaveLength(2);
  const { s3_urls } = (await client.readRun(run.id)) as unknown as WithAttachments;
  expect(Object.keys(s3_urls).sort()).toEqual(['attachment.note', 'attachment.picture']);
  const download = async (name: string): Promise<[string | null, Uint8Array]> => {
    const response = await fetch(s3_urls[name]?.presigned_url ?? '');
    return [response.headers.get('content-type'), new Uint8Array(await response.arrayBuffer())];
  };
  expect(await download('attachment.picture')).toEqual(['image/png', picture]);
  expect(await download('attachment.note')).toEqual([
    expect.stringContaining('text/plain'),
    new TextEncoder().encode('seen'),
  ]);
});

// ── Reading ────────────────────────────────────────────────────────────────────────────────────────────────

test('listRuns pages through more than a request returns, filters, and selects', async () => {
  const startMs = Date.now() - 600_000;
  const projectName = 'many';
  for (let index = 0; index < 130; index += 1) {
    const root = new RunTree({
      name: `root ${index}`,
      run_type: 'chain',
      project_name: projectName,
      client,
      start_time: startMs + index * 1_000,
      inputs: { index },
    });
    await root.postRun();
    const child = root.createChild({ name: `child ${index}`, run_type: 'tool', inputs: {} });
    await child.postRun();
    await child.end({ index }, index % 10 === 0 ? 'broken' : undefined);
    await child.patchRun();
    await root.end({ index }, undefined, startMs + index * 1_000 + 500);
    await root.patchRun();
  }
  await client.awaitPendingTraceBatches();
  const newestFirst = Array.from({ length: 130 }, (_, index) => `root ${129 - index}`);
  expect(names(await collect(client.listRuns({ projectName, isRoot: true })))).toEqual(newestFirst);
  expect(names(await collect(client.listRuns({ projectName, executionOrder: 1 })))).toEqual(newestFirst);
  expect(names(await collect(client.listRuns({ projectName, isRoot: true, limit: 120 })))).toEqual(
    newestFirst.slice(0, 120),
  );
  expect(names(await collect(client.listRuns({ projectName, isRoot: true, order: 'asc' })))).toEqual(
    newestFirst.toReversed(),
  );
  expect(await collect(client.listRuns({ projectName }))).toHaveLength(260);
  const failed = await collect(client.listRuns({ projectName, error: true }));
  expect(failed.map(({ error }) => error)).toEqual(Array.from({ length: 13 }, () => 'broken'));
  expect(await collect(client.listRuns({ projectName, error: false }))).toHaveLength(247);
  expect(
    names(await collect(client.listRuns({ projectName, startTime: new Date(startMs + 128_000) }))),
  ).toEqual(expect.arrayContaining(['root 128', 'root 129']));
  const [selected] = await collect(
    client.listRuns({ projectName, filter: 'eq(name, "root 7")', select: ['name', 'inputs'] }),
  );
  expect(selected).toMatchObject({ name: 'root 7', inputs: { index: 7 }, outputs: null });
});

test('links lead to the run and to its project', async () => {
  const { id: projectId } = await client.readProject({ projectName: 'many' });
  const [run] = await collect(client.listRuns({ projectName: 'many', limit: 1 }));
  if (run === undefined) throw new Error('no run');
  const place = `/o/${product.workspaceId}/projects/p/${projectId}`;
  expect(new URL(await client.getProjectUrl({ projectName: 'many' })).pathname).toBe(place);
  expect(new URL(await client.getRunUrl({ runId: run.id })).pathname).toBe(`${place}/r/${run.id}`);
  expect(new URL(await client.getRunUrl({ run })).pathname).toBe(`${place}/r/${run.id}`);
});

// ── Projects ───────────────────────────────────────────────────────────────────────────────────────────────

test('projects are made once, changed, read with figures, and deleted with their runs', async () => {
  const made = await client.createProject({ projectName: 'kept', metadata: { team: 'x' } });
  await expect(client.createProject({ projectName: 'kept' })).rejects.toMatchObject({
    name: 'LangSmithConflictError',
  });
  expect((await client.createProject({ projectName: 'kept', upsert: true })).id).toBe(made.id);
  const endTime = new Date().toISOString();
  const changed = await client.updateProject(made.id, { description: 'now with words', endTime });
  expect(changed).toMatchObject({
    name: 'kept',
    description: 'now with words',
    extra: { metadata: { team: 'x' } },
  });

  await traceable(() => ({ usage_metadata: { input_tokens: 2, output_tokens: 3, total_tokens: 5 } }), {
    client,
    project_name: 'kept',
    name: 'model',
    run_type: 'llm',
    tracingEnabled: true,
  })();
  await client.awaitPendingTraceBatches();
  const [run] = await collect(client.listRuns({ projectName: 'kept' }));
  expect(await client.readProject({ projectName: 'kept', includeStats: true })).toMatchObject({
    id: made.id,
    run_count: 1,
    total_tokens: 5,
    error_rate: 0,
  });

  await client.deleteProject({ projectName: 'kept' });
  expect(await client.hasProject({ projectName: 'kept' })).toBe(false);
  // Its runs are removed in the background.
  await eventually(() =>
    expect(client.readRun(run?.id ?? '')).rejects.toMatchObject({ name: 'LangSmithNotFoundError' }),
  );
});

test('listProjects pages through more than a request returns', async () => {
  const wanted = Array.from({ length: 105 }, (_, index) => `paged ${index}`);
  await Promise.all(wanted.map((projectName) => client.createProject({ projectName })));
  const found = await collect(client.listProjects({ nameContains: 'paged' }));
  expect(found.map(({ name }) => name).sort()).toEqual([...wanted].sort());
});

// ── Feedback ───────────────────────────────────────────────────────────────────────────────────────────────

test('an evaluator’s results are feedback on its run', async () => {
  const [run] = await collect(client.listRuns({ projectName: 'many', isRoot: true, limit: 1 }));
  if (run === undefined) throw new Error('no run');
  await client.logEvaluationFeedback(
    {
      results: [
        { key: 'exact', score: true, comment: 'same' },
        { key: 'length', score: 0.25, value: 'short', evaluatorInfo: { version: 2 } },
      ],
    },
    run,
    { by: 'test' },
  );
  const feedback = await collect(client.listFeedback({ runIds: [run.id], feedbackSourceTypes: ['model'] }));
  expect(feedback.sort((a, b) => (a.key < b.key ? -1 : 1))).toMatchObject([
    { key: 'exact', score: 1, comment: 'same', run_id: run.id, trace_id: run.trace_id },
    { key: 'length', score: 0.25, value: 'short', feedback_source: { type: 'model' } },
  ]);
  expect((await client.readRun(run.id)).feedback_stats).toMatchObject({
    exact: { n: 1, avg: 1 },
    length: { n: 1, avg: 0.25 },
  });
});

test('a presigned token takes feedback without a key, and is listed', async () => {
  const [run] = await collect(client.listRuns({ projectName: 'many', isRoot: true, limit: 1 }));
  if (run === undefined) throw new Error('no run');
  const token = await client.createPresignedFeedbackToken(run.id, 'thumbs', {
    expiration: { hours: 1 },
    feedbackConfig: { type: 'continuous', min: 0, max: 1 },
  });
  expect((await collect(client.listPresignedFeedbackTokens(run.id))).map(({ id }) => id)).toEqual([token.id]);
  expect((await fetch(`${token.url}?score=1`)).status).toBe(200);
  expect(await collect(client.listFeedback({ runIds: [run.id], feedbackKeys: ['thumbs'] }))).toMatchObject([
    { key: 'thumbs', score: 1, run_id: run.id },
  ]);
  const refused = await fetch(`${token.url}?score=2`);
  expect([refused.status, await refused.text()]).toEqual([422, expect.stringContaining('1')]);
});
