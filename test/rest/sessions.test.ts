/* eslint-disable @typescript-eslint/no-deprecated -- what applications in the field still call */
import { afterAll, expect, test } from '@jest/globals';
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

test('every workspace has a default project, from which clients learn their tenant', async () => {
  const { body } = await gateway.fetch('/sessions?limit=1');
  expect(body).toMatchObject([
    { name: 'default', tenant_id: gateway.workspaceId, reference_dataset_id: null },
  ]);
});

test('the SDK creates, reads, lists, changes and deletes projects', async () => {
  const created = await client.createProject({
    projectName: 'sdk project',
    description: 'd',
    metadata: { team: 'x' },
  });
  expect(created).toMatchObject({
    name: 'sdk project',
    description: 'd',
    extra: { metadata: { team: 'x' } },
    tenant_id: gateway.workspaceId,
  });
  expect(await client.hasProject({ projectName: 'sdk project' })).toBe(true);
  expect(await client.hasProject({ projectName: 'none' })).toBe(false);
  expect((await client.readProject({ projectId: created.id })).id).toBe(created.id);
  await expect(client.createProject({ projectName: 'sdk project' })).rejects.toThrow(/409/);
  const upserted = await client.createProject({
    projectName: 'sdk project',
    description: 'new',
    upsert: true,
  });
  expect(upserted).toMatchObject({ id: created.id, description: 'new', extra: { metadata: { team: 'x' } } });
  expect((await collect(client.listProjects({ nameContains: 'SDK' }))).map(({ name }) => name)).toEqual([
    'sdk project',
  ]);
  expect((await collect(client.listProjects({ metadata: { team: 'x' } }))).map(({ name }) => name)).toEqual([
    'sdk project',
  ]);
  expect(await collect(client.listProjects({ metadata: { team: 'y' } }))).toEqual([]);

  const { body: patched } = await gateway.fetch(`/sessions/${created.id}`, {
    method: 'PATCH',
    body: { name: null, description: null, extra: null, end_time: '2026-11-21T10:00:00.123456' },
  });
  expect(patched).toMatchObject({
    name: 'sdk project',
    description: 'new',
    end_time: '2026-11-21T10:00:00.123456+00:00',
    extra: { metadata: { team: 'x' } },
  });

  await client.deleteProject({ projectName: 'sdk project' });
  expect((await gateway.fetch(`/sessions/${created.id}`)).status).toBe(404);
  expect((await gateway.fetch(`/sessions/${created.id}`, { method: 'DELETE' })).status).toBe(404);
});

test('lists are never shorter than asked for while there are more, and say how many there are', async () => {
  await Promise.all(
    Array.from({ length: 120 }, (_, index) =>
      client.createProject({ projectName: `page ${String(index).padStart(3, '0')}` }),
    ),
  );
  const first = await gateway.fetch('/sessions?name_contains=page&limit=100&sort_by=name&sort_by_desc=False');
  expect(first.body.length).toBe(100);
  expect(first.headers.get('x-pagination-total')).toBe('120');
  expect(first.body[0].name).toBe('page 000');
  const second = await gateway.fetch(
    '/sessions?name_contains=page&limit=100&offset=100&sort_by=name&sort_by_desc=False',
  );
  expect(second.body.map(({ name }: { name: string }) => name).at(-1)).toBe('page 119');
  expect((await collect(client.listProjects({ nameContains: 'page' }))).length).toBe(120);
  expect((await gateway.fetch('/sessions?limit=1000')).status).toBe(422);
  expect((await gateway.fetch('/sessions?sort_by=colour')).status).toBe(422);
});

test('an experiment is found by its dataset and shows what was said of it and of its runs', async () => {
  const dataset = uuid();
  const id = uuid();
  await gateway.fetch('/sessions', {
    body: { id, name: 'experiment', reference_dataset_id: dataset, extra: null },
  });
  const runId = v7();
  await gateway.fetch('/runs', {
    body: {
      id: runId,
      name: 'r',
      run_type: 'chain',
      session_name: 'experiment',
      trace_id: runId,
      dotted_order: `20261121T100000000000Z${runId}`,
      start_time: 1_795_000_000_000,
      inputs: {},
    },
  });
  await client.createFeedback(runId, 'correct', { score: 1, sessionId: id });
  await client.createFeedback(null, 'summary', { score: 0.5, projectId: id });
  const { body } = await gateway.fetch(`/sessions/${id}`);
  expect(body).toMatchObject({
    id,
    reference_dataset_id: dataset,
    run_count: 1,
    feedback_stats: { correct: { n: 1, avg: 1 } },
    session_feedback_stats: { summary: { n: 1, avg: 0.5 } },
  });
  const listed = await gateway.fetch(`/sessions?reference_dataset=${dataset}&include_stats=True`);
  expect(listed.body).toEqual([body]);
  expect((await gateway.fetch(`/sessions?reference_dataset=${dataset}`)).body[0].run_count).toBeNull();
  expect((await gateway.fetch('/sessions?reference_free=true&name=experiment')).body).toEqual([]);
});

test('settings and workspaces describe where a key is at home', async () => {
  const { body: settings } = await gateway.fetch('/settings');
  expect(settings).toMatchObject({ id: gateway.workspaceId, tenant_handle: expect.any(String) });
  for (const path of ['/workspaces', '/tenants']) {
    const { body } = await gateway.fetch(path);
    expect(body).toMatchObject([
      { id: gateway.workspaceId, is_deleted: false, permissions: expect.arrayContaining(['read']) },
    ]);
  }
});
