import { afterAll, beforeAll, expect, test } from '@jest/globals';
import http from 'node:http';
import { v7 } from 'uuid';
import { startGateway } from './gateway.js';

const gateway = await startGateway();
afterAll(() => gateway.close());
const client = gateway.client();

async function collect<T>(items: AsyncIterable<T>): Promise<T[]> {
  const all: T[] = [];
  for await (const item of items) all.push(item);
  return all;
}

const PROJECT = 'second version';
const roots = [v7(), v7(), v7()];
const child = v7();
let projectId: string;

beforeAll(async () => {
  const stamp = (ms: number): string => new Date(ms).toISOString().replace(/[-:.]/g, '').replace('Z', '000Z');
  const start = Date.now() - 60_000;
  const rootOrder = (index: number): string => `${stamp(start + index)}${roots[index]}`;
  const post = roots.map((id, index) => ({
    id,
    trace_id: id,
    dotted_order: rootOrder(index),
    name: `root ${index}`,
    run_type: 'chain',
    session_name: PROJECT,
    start_time: new Date(start + index).toISOString(),
    end_time: new Date(start + index + 500).toISOString(),
    inputs: { index },
    outputs: { done: true },
    extra: { metadata: { thread_id: index === 2 ? 'other' : 'talk', n: 1 } },
  }));
  const model = {
    id: child,
    trace_id: roots[0],
    parent_run_id: roots[0],
    dotted_order: `${rootOrder(0)}.${stamp(start + 1)}${child}`,
    name: 'model',
    run_type: 'llm',
    session_name: PROJECT,
    start_time: new Date(start + 1).toISOString(),
    end_time: new Date(start + 2).toISOString(),
    inputs: {},
    outputs: { usage_metadata: { input_tokens: 3, output_tokens: 4, total_tokens: 7, total_cost: 0.25 } },
    error: 'refused',
  };
  const answer = await gateway.fetch('/runs/batch', { body: { post: [...post, model], patch: [] } });
  expect(answer.status).toBeLessThan(300);
  projectId = (await client.readProject({ projectName: PROJECT })).id;
});

test('a query gives what is selected, and the id alone without a selection', async () => {
  const plain = await gateway.fetch('/api/v2/runs/query', {
    body: { project_ids: [projectId], run_type: 'LLM' },
  });
  expect(plain.body).toEqual({ items: [{ id: child }], next_cursor: null, has_more: false });
  const selected = await gateway.fetch('/v2/runs/query', {
    body: {
      ids: [child],
      selects: [
        'NAME',
        'RUN_TYPE',
        'STATUS',
        'IS_ROOT',
        'PARENT_RUN_IDS',
        'TOTAL_TOKENS',
        'TOTAL_COST',
        'ERROR_PREVIEW',
        'METADATA',
        'TAGS',
        'FEEDBACK_STATS',
        'SHARE_URL',
        'NONSENSE',
      ],
    },
  });
  expect(selected.body.items).toEqual([
    {
      id: child,
      name: 'model',
      run_type: 'LLM',
      status: 'ERROR',
      is_root: false,
      parent_run_ids: [roots[0]],
      total_tokens: 7,
      total_cost: 0.25,
      error_preview: 'refused',
      metadata: {},
      tags: [],
      feedback_stats: {},
      share_url: null,
    },
  ]);
});

test('a key and a workspace that come twice, as from the Python SDK, come once; two different ones are refused', async () => {
  const ask = (...headers: string[]): Promise<number | undefined> =>
    new Promise((resolve, reject) => {
      const request = http.request(`${gateway.url}/sessions?limit=1`, { headers }, (response) => {
        response.resume();
        resolve(response.statusCode);
      });
      request.on('error', reject);
      request.end();
    });
  const host = ['Host', new URL(gateway.url).host];
  const key = ['X-API-Key', gateway.apiKey, 'x-api-key', gateway.apiKey];
  const workspace = ['X-Tenant-Id', gateway.workspaceId, 'x-tenant-id', gateway.workspaceId];
  expect(await ask(...host, ...key, ...workspace)).toBe(200);
  expect(await ask(...host, 'X-API-Key', gateway.apiKey, 'x-api-key', 'another')).toBe(401);
  expect(await ask(...host, ...key, 'X-Tenant-Id', gateway.workspaceId, 'x-tenant-id', v7())).not.toBe(200);
});

test('the SDK pages through runs and traces and reads one', async () => {
  const names = async (params: object): Promise<(string | undefined)[]> =>
    (
      await collect(
        await client.runs.query({ project_ids: [projectId], selects: ['NAME'], page_size: 2, ...params }),
      )
    ).map(({ name }) => name);
  expect((await names({})).sort()).toEqual(['model', 'root 0', 'root 1', 'root 2']);
  expect(await names({ is_root: true })).toEqual(['root 2', 'root 1', 'root 0']);
  expect(await names({ is_root: true, sort_order: 'ASC' })).toEqual(['root 0', 'root 1', 'root 2']);
  expect(await names({ has_error: true })).toEqual(['model']);
  expect(await names({ filter: 'eq(name, "root 1")' })).toEqual(['root 1']);
  expect(await names({ min_start_time: new Date(Date.now() + 60_000).toISOString() })).toEqual([]);

  const traces = await collect(
    await client.traces.query({ project_id: projectId, selects: ['NAME'], page_size: 2 }),
  );
  expect(traces.map(({ root_run }) => root_run?.name)).toEqual(['root 2', 'root 1', 'root 0']);
  expect(traces.at(-1)).toMatchObject({
    root_run: { id: roots[0] },
    trace_aggregates: { total_tokens: 7, total_cost: 0.25 },
  });
  const listed = await client.traces.listRuns(roots[0] as string, {
    project_id: projectId,
    selects: ['NAME'],
  });
  expect(listed.items?.map(({ name }) => name)).toEqual(['root 0', 'model']);
  const one = await client.runs.retrieve(roots[0] as string, {
    project_id: projectId,
    selects: ['NAME', 'INPUTS', 'LATENCY_SECONDS'],
    start_time: new Date().toISOString(),
  });
  expect(one).toEqual({ id: roots[0], name: 'root 0', inputs: { index: 0 }, latency_seconds: 0.5 });
});

test('the SDK reads threads, their traces and their figures', async () => {
  const threads = await collect(await client.threads.query({ project_id: projectId, page_size: 1 }));
  expect(threads.map(({ thread_id, count }) => [thread_id, count])).toEqual([
    ['other', 1],
    ['talk', 2],
  ]);
  expect(threads[1]).toMatchObject({ total_tokens: 7, num_errored_turns: 0 });
  const traces = await collect(
    await client.threads.listTraces('talk', { project_id: projectId, page_size: 1, selects: ['NAME'] }),
  );
  expect(traces).toMatchObject([
    { trace_id: roots[1], name: 'root 1' },
    { trace_id: roots[0], name: 'root 0' },
  ]);
  expect(
    await client.threads.stats('talk', { session_id: projectId, selects: ['TURNS', 'TOTAL_TOKENS'] }),
  ).toEqual({ turns: 2, total_tokens: 7 });
});

test('the SDK shares a trace through one of its runs and takes it back', async () => {
  const { share_token: token } = await client.runs.share.create(child, {
    session_id: projectId,
    trace_id: roots[0] as string,
  });
  const shared = await client.public.runs.query(token as string, { selects: ['NAME'] });
  expect(shared.items?.map(({ name }) => name)).toEqual(['root 0', 'model']);
  const one = await gateway.fetchWith(undefined, `/api/v2/public/${token}/run/${child}?selects=NAME`);
  expect(one.body).toEqual({ id: child, name: 'model' });
  expect(
    (await gateway.fetchWith(undefined, `/api/v2/public/${token}/run/${roots[1]}?selects=NAME`)).status,
  ).toBe(404);
  await client.runs.share.delete(roots[0] as string, { session_id: projectId });
  await client.runs.share.delete(roots[0] as string, { session_id: projectId });
  expect(
    (await gateway.fetchWith(undefined, `/api/v2/public/${token}/runs/query`, { body: {} })).status,
  ).toBe(404);
});

test('content needs its scope, workspaces stay apart, a cursor belongs to its list', async () => {
  const reader = await gateway.addKey(['read']);
  const { body } = await gateway.fetchWith(
    reader,
    `/api/v2/runs/${child}?selects=ERROR&selects=INPUTS&selects=NAME`,
  );
  expect(body).toEqual({ id: child, name: 'model', error: null, inputs: null });
  const stranger = await gateway.addStranger();
  expect((await gateway.fetchWith(stranger, `/api/v2/runs/${child}`)).status).toBe(404);
  expect(
    (await gateway.fetchWith(stranger, '/api/v2/traces/query', { body: { project_id: projectId } })).body
      .items,
  ).toEqual([]);
  const first = await gateway.fetch('/api/v2/runs/query', {
    body: { project_ids: [projectId], page_size: 1 },
  });
  const foreign = await gateway.fetch('/api/v2/runs/query', {
    body: { project_ids: [projectId], is_root: true, cursor: first.body.next_cursor },
  });
  expect([first.body.has_more, foreign.status]).toEqual([true, 400]);
});
