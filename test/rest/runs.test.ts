/* eslint-disable @typescript-eslint/no-deprecated -- what applications in the field still call */
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import type { Client } from 'langsmith';
import { RunTree } from 'langsmith';
import type { Run } from 'langsmith/schemas';
import { v7 } from 'uuid';
import { startGateway, uuid } from './gateway.js';

const gateway = await startGateway();
afterAll(() => gateway.close());
const client = gateway.client();

async function collect<T>(items: AsyncIterable<T>): Promise<T[]> {
  const all: T[] = [];
  for await (const item of items) all.push(item);
  return all;
}

const PROJECT = 'wire reads';
let root: RunTree;
let child: RunTree;
let projectId: string;

/** A finished chain with one model call in it, and a failed tool, all sent by the SDK. */
beforeAll(async () => {
  root = new RunTree({
    name: 'agent',
    run_type: 'chain',
    project_name: PROJECT,
    client: client,
    inputs: { question: 'why?' },
    tags: ['prod'],
    extra: { metadata: { thread_id: 'thread-7', version: '3' } },
  });
  await root.postRun();
  child = root.createChild({ name: 'model', run_type: 'llm', inputs: { messages: ['why?'] } });
  await child.postRun();
  await child.end({
    outputs: 'because',
    usage_metadata: {
      input_tokens: 10,
      output_tokens: 5,
      total_tokens: 15,
      input_cost: 0.000001,
      output_cost: 0.000002,
      total_cost: 0.000003,
    },
  });
  await child.patchRun();
  const tool = root.createChild({ name: 'tool', run_type: 'tool', inputs: { q: 1 } });
  await tool.postRun();
  await tool.end(undefined, 'it broke');
  await tool.patchRun();
  await root.end({ answer: 42 });
  await root.patchRun();
  await client.awaitPendingTraceBatches();
  projectId = (await client.readProject({ projectName: PROJECT })).id;
  await client.createFeedback(root.id, 'score', { score: 1, sessionId: projectId });
  await client.createFeedback(root.id, 'score', { score: 0, sessionId: projectId });
});

test('readRun gives every key the SDKs need, times with microseconds, costs as decimal strings', async () => {
  const { body: run } = await gateway.fetch(`/runs/${child.id}`);
  expect(run).toMatchObject({
    id: child.id,
    name: 'model',
    run_type: 'llm',
    status: 'success',
    trace_id: root.id,
    session_id: projectId,
    parent_run_id: root.id,
    parent_run_ids: [root.id],
    inputs: { messages: ['why?'] },
    error: null,
    prompt_tokens: 10,
    completion_tokens: 5,
    total_tokens: 15,
    prompt_cost: '0.000001',
    completion_cost: '0.000002',
    total_cost: '0.000003',
    feedback_stats: {},
    share_token: null,
    app_path: `/o/${gateway.workspaceId}/projects/p/${projectId}/r/${child.id}`,
  });
  expect(run.start_time).toMatch(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}$/);
  const digits = run.start_time.replace(/\D/g, '');
  const ordered = String(run.dotted_order).split('.').at(-1) as string;
  expect(ordered.replace(/Z.*$/, '').replace(/\D/g, '')).toBe(digits);

  const { body: whole } = await gateway.fetch(`/runs/${root.id}`);
  expect(whole).toMatchObject({
    parent_run_id: null,
    parent_run_ids: [],
    tags: ['prod'],
    thread_id: 'thread-7',
    outputs: { answer: 42 },
    extra: { metadata: { thread_id: 'thread-7', version: '3' } },
    feedback_stats: { score: { n: 2, avg: 0.5, min: 0, max: 1, values: {} } },
  });
  const missing = await gateway.fetch(`/runs/${v7()}`);
  expect([missing.status, missing.body.detail]).toEqual([404, 'Run not found.']);
});

test('the SDK lists runs by project, trace, id, parent, type, error and filter', async () => {
  const names = async (props: Parameters<Client['listRuns']>[0]): Promise<string[]> =>
    (await collect(client.listRuns(props))).map(({ name }) => name).sort();
  expect(await names({ projectName: PROJECT })).toEqual(['agent', 'model', 'tool']);
  expect(await names({ projectName: PROJECT, isRoot: true })).toEqual(['agent']);
  expect(await names({ traceId: root.id })).toEqual(['agent', 'model', 'tool']);
  expect(await names({ id: [child.id] })).toEqual(['model']);
  expect(await names({ projectName: PROJECT, parentRunId: root.id })).toEqual(['model', 'tool']);
  expect(await names({ projectName: PROJECT, runType: 'tool' })).toEqual(['tool']);
  expect(await names({ projectName: PROJECT, error: true })).toEqual(['tool']);
  expect(await names({ projectName: PROJECT, filter: 'eq(run_type, "llm")' })).toEqual(['model']);
  expect(
    await names({ projectName: PROJECT, filter: 'and(eq(feedback_key, "score"), eq(feedback_score, 1))' }),
  ).toEqual(['agent']);
  expect(await names({ projectName: PROJECT, traceFilter: 'has(tags, "prod")', runType: 'llm' })).toEqual([
    'model',
  ]);
  expect(await names({ projectName: PROJECT, treeFilter: 'eq(name, "tool")', isRoot: true })).toEqual([
    'agent',
  ]);
  expect(await names({ projectName: PROJECT, startTime: new Date(Date.now() + 60_000) })).toEqual([]);
});

test('repeated queries give equal runs, and a nested read finds the children', async () => {
  const [first] = await collect(client.listRuns({ projectName: PROJECT, isRoot: true }));
  const [second] = await collect(client.listRuns({ projectName: PROJECT, isRoot: true }));
  expect(second).toEqual(first);
  const whole = await client.readRun(root.id, { loadChildRuns: true });
  expect((whole.child_runs ?? []).map(({ name }: Run) => name)).toEqual(['model', 'tool']);
});

test('pages follow the cursor in both orders; a cursor of another list is refused', async () => {
  const session = [projectId];
  for (const order of ['asc', 'desc']) {
    const seen: string[] = [];
    for (let cursor: string | null = null; ;) {
      const { body } = await gateway.fetch('/runs/query', {
        body: { session, order, limit: 2, select: ['id', 'name'], cursor },
      });
      seen.push(...body.runs.map((run: Run) => run.name));
      cursor = body.cursors.next;
      if (cursor === null) break;
    }
    expect(seen).toEqual(order === 'asc' ? ['agent', 'model', 'tool'] : ['tool', 'model', 'agent']);
  }
  const { body } = await gateway.fetch('/runs/query', { body: { session, limit: 1 } });
  const foreign = await gateway.fetch('/runs/query', {
    body: { session, limit: 1, is_root: true, cursor: body.cursors.next },
  });
  expect(foreign.status).toBe(400);
  expect((await gateway.fetch('/runs/query', { body: { session, limit: 5_000 } })).body.runs.length).toBe(3);
});

test('a key without the content scope sees no content, and cannot filter by it', async () => {
  const reader = await gateway.addKey(['read']);
  const { body: tool } = await gateway.fetchWith(reader, '/runs/query', {
    body: { session: [projectId], run_type: 'tool' },
  });
  expect(tool.runs[0]).toMatchObject({
    name: 'tool',
    status: 'error',
    error: null,
    inputs: null,
    outputs: null,
    events: null,
    inputs_preview: null,
  });
  const filtered = await gateway.fetchWith(reader, '/runs/query', {
    body: { session: [projectId], filter: 'search("why")' },
  });
  expect(filtered.status).toBe(403);
});

test('another workspace finds nothing', async () => {
  const stranger = await gateway.addStranger();
  expect((await gateway.fetchWith(stranger, `/runs/${root.id}`)).status).toBe(404);
  expect(
    (await gateway.fetchWith(stranger, '/runs/query', { body: { session: [projectId] } })).body.runs,
  ).toEqual([]);
  expect((await gateway.fetchWith(stranger, '/runs/query', { body: { id: [root.id] } })).body.runs).toEqual(
    [],
  );
  expect((await gateway.fetchWith(stranger, `/sessions/${projectId}`)).status).toBe(404);
  expect(
    (
      await gateway.fetchWith(stranger, `/runs/${root.id}/share`, {
        method: 'PUT',
        body: { share_token: uuid() },
      })
    ).status,
  ).toBe(404);
});

test('statistics, whole and by group', async () => {
  const stats = await client.getRunStats({ projectNames: [PROJECT], runType: 'llm' });
  expect(stats).toMatchObject({ run_count: 1, total_tokens: 15, total_cost: '0.000003', error_rate: 0 });
  const grouped = await gateway.fetch('/runs/stats', {
    body: { session: [projectId], group_by: { attribute: 'run_type' } },
  });
  expect(
    Object.fromEntries(
      Object.entries(grouped.body).map(([key, value]) => [key, (value as { run_count: number }).run_count]),
    ),
  ).toEqual({ chain: 1, llm: 1, tool: 1 });
  const whole = await gateway.fetch('/runs/stats', { body: { session: [projectId], is_root: true } });
  expect(whole.body.feedback_stats).toEqual({ score: { n: 2, avg: 0.5 } });
  expect((await gateway.fetch('/runs/stats', { body: { session: [uuid()] } })).body).toMatchObject({
    run_count: 0,
  });
});

test('threads: grouped, one by its id, and through the SDK', async () => {
  const grouped = await gateway.fetch('/runs/group', {
    body: { session_id: projectId, group_by: 'conversation' },
  });
  expect(grouped.body).toMatchObject({ total: 1, groups: [{ group_key: 'thread-7', count: 1 }] });
  expect((await gateway.fetch(`/runs/threads/thread-7?session_id=${projectId}`)).body).toMatchObject({
    thread_id: 'thread-7',
    count: 1,
  });
  expect((await gateway.fetch(`/runs/threads/none?session_id=${projectId}`)).status).toBe(404);
  expect((await client.listThreads({ projectName: PROJECT })).map(({ thread_id }) => thread_id)).toEqual([
    'thread-7',
  ]);
});

test('a filter is checked without being run', async () => {
  const { body } = await gateway.fetch('/runs/query/validate', {
    body: { filter: 'eq(run_type, "llm")', tree_filter: 'eq(nonsense' },
  });
  expect(body).toMatchObject({ valid: false, errors: [{ field: 'tree_filter' }] });
  expect(
    (await gateway.fetch('/runs/query/validate', { body: { filter: 'eq(run_type, "llm")' } })).body,
  ).toEqual({ valid: true, errors: [] });
  expect(
    (await gateway.fetch('/runs/query', { body: { session: [projectId], filter: 'eq(nonsense' } })).status,
  ).toBe(400);
});

test('sharing: one link per run, readable without a key, gone when taken back', async () => {
  expect((await gateway.fetch(`/runs/${root.id}/share`)).text).toBe('null');
  expect(await client.readRunSharedLink(root.id)).toBeUndefined();
  const shareId = uuid();
  const link = await client.shareRun(root.id, { shareId });
  expect(link.endsWith(`/public/${shareId}/r`)).toBe(true);
  expect(await client.shareRun(root.id)).toBe(link);
  expect(await client.readRunSharedLink(root.id)).toBe(link);

  const open = (path: string, init?: { body?: unknown }) =>
    gateway.fetchWith(undefined, `/public/${shareId}${path}`, init);
  expect((await open('/run')).body).toMatchObject({ id: root.id, inputs: { question: 'why?' } });
  expect((await open(`/run/${child.id}`)).body).toMatchObject({ id: child.id });
  expect(
    (await open('/runs/query', { body: { select: ['id'] } })).body.runs.map((run: Run) => run.name).sort(),
  ).toEqual(['agent', 'model', 'tool']);
  expect((await open('/feedbacks')).body.map((each: { score: number }) => each.score).sort()).toEqual([0, 1]);
  const page = await open('/r');
  expect([page.status, page.headers.get('content-type')]).toEqual([200, 'text/html; charset=utf-8']);
  expect(page.headers.get('content-security-policy')).toContain("default-src 'none'");
  expect(page.text).toContain('agent');

  const other = new RunTree({
    name: '<script>alert(1)</script>',
    run_type: 'chain',
    project_name: PROJECT,
    client: client,
    inputs: { html: '<img src=x>' },
  });
  await other.postRun();
  await client.awaitPendingTraceBatches();
  expect((await open(`/run/${other.id}`)).status).toBe(404);
  expect((await open('/runs/query', { body: { id: [other.id] } })).body.runs).toEqual([]);
  const otherPage = await gateway.fetchWith(undefined, new URL(await client.shareRun(other.id)).pathname);
  expect(otherPage.text).not.toMatch(/<script|<img/);

  await client.unshareRun(root.id);
  await client.unshareRun(root.id);
  for (const path of ['/run', '/r', '/feedbacks', `/run/${child.id}`]) {
    expect((await open(path)).status).toBe(404);
  }
  expect(await client.readRunSharedLink(root.id)).toBeUndefined();
});

test('a share expires; sharing again then makes a new link; a key without content cannot share', async () => {
  const soon = new Date(Date.now() + 3_600_000).toISOString();
  const { body: shared } = await gateway.fetch(`/runs/${child.id}/share`, {
    method: 'PUT',
    body: { expires_at: soon },
  });
  expect((await gateway.fetchWith(undefined, `/public/${shared.share_token}/run`)).status).toBe(200);
  await gateway.database.pool.query(`update run_shares set expires_at = now() where token = $1`, [
    shared.share_token,
  ]);
  expect((await gateway.fetchWith(undefined, `/public/${shared.share_token}/run`)).status).toBe(404);
  expect((await gateway.fetch(`/runs/${child.id}/share`)).text).toBe('null');
  const { body: again } = await gateway.fetch(`/runs/${child.id}/share`, { method: 'PUT', body: {} });
  expect(again.share_token).not.toBe(shared.share_token);
  const writer = await gateway.addKey(['read', 'write']);
  expect(
    (await gateway.fetchWith(writer, `/runs/${root.id}/share`, { method: 'PUT', body: {} })).status,
  ).toBe(403);
  expect((await gateway.fetch(`/runs/${root.id}/share`)).text).toBe('null');
  const taken = await gateway.fetch(`/runs/${root.id}/share`, {
    method: 'PUT',
    body: { share_token: again.share_token },
  });
  expect(taken.status).toBe(409);
  expect((await gateway.fetch(`/runs/${v7()}/share`, { method: 'PUT', body: {} })).status).toBe(404);
});

test('attachments come back as links that need no key', async () => {
  const runId = v7();
  await client.createRun({
    id: runId,
    name: 'with file',
    run_type: 'chain',
    project_name: PROJECT,
    inputs: {},
    trace_id: runId,
    dotted_order: `20261121T100000000000Z${runId}`,
    attachments: { note: ['text/plain', new TextEncoder().encode('hello')] },
  });
  await client.awaitPendingTraceBatches();
  const { body } = await gateway.fetch(`/runs/${runId}`);
  const link = body.s3_urls['attachment.note'];
  expect(link.mime_type).toBe('text/plain');
  const fetched = await fetch(link.presigned_url);
  expect([fetched.status, await fetched.text()]).toEqual([200, 'hello']);
});

test('deleting traces removes them', async () => {
  const answer = await gateway.fetch('/runs/delete', {
    body: { session_id: projectId, trace_ids: [root.id] },
  });
  expect([answer.status, answer.body.trace_ids]).toEqual([202, [root.id]]);
  expect((await gateway.fetch(`/runs/${child.id}`)).status).toBe(404);
});
