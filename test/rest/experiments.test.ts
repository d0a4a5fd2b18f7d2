/* Experiments over HTTP, example by example, in both versions of the LangSmith protocol, and set against each other. */
import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { v7 } from 'uuid';
import { startHarness } from '../support/harness.js';
import type { Harness, HttpAnswer } from '../support/harness.js';

let harness: Harness;
let dataset: string;
let other: string;
const examples = Array.from({ length: 5 }, (): string => randomUUID());
const experiments: { id: string; name: string; runs: string[] }[] = [];

const call = (path: string, options: { method?: string; body?: unknown } = {}): Promise<HttpAnswer> =>
  harness.http(path, { key: harness.keys.first.secret, ...options });
const answerOf = async <T>(path: string, options: { method?: string; body?: unknown } = {}): Promise<T> => {
  const { status, text, body } = await call(path, options);
  expect([status, text]).toEqual([200, text]);
  return body as T;
};

async function newExperiment(score: number): Promise<void> {
  const name = `experiment ${experiments.length}`;
  const { id } = await answerOf<{ id: string }>('/sessions', {
    body: { name, reference_dataset_id: dataset },
  });
  const runs: string[] = [];
  for (const example of examples) {
    const run = v7();
    runs.push(run);
    const child = v7();
    const start = new Date().toISOString();
    const stamp = `${start.replace(/[-:.]/g, '').slice(0, -1)}000Z`;
    const common = { trace_id: run, session_name: name, run_type: 'chain', start_time: start };
    const root = {
      ...common,
      id: run,
      name: 'target',
      dotted_order: `${stamp}${run}`,
      reference_example_id: example,
      inputs: { q: 1 },
      outputs: { a: 'x'.repeat(2_000) },
    };
    const inner = {
      ...common,
      id: child,
      name: 'inner',
      parent_run_id: run,
      dotted_order: `${stamp}${run}.${stamp}${child}`,
      reference_example_id: example,
    };
    expect((await call('/runs/batch', { body: { post: [root, inner] } })).status).toBe(202);
    await answerOf('/feedback', { body: { run_id: run, trace_id: run, session_id: id, key: 'good', score } });
  }
  experiments.push({ id, name, runs });
}

beforeAll(async () => {
  harness = await startHarness();
  const make = async (): Promise<string> =>
    (await answerOf<{ id: string }>('/datasets', { body: { name: `dataset ${randomUUID()}` } })).id;
  dataset = await make();
  other = await make();
  const bodies = examples.map((id, index) => ({ id, dataset_id: dataset, inputs: { n: index } }));
  await answerOf('/examples/bulk', { body: bodies });
  await newExperiment(1);
  await newExperiment(0);
}, 60_000);
afterAll(() => harness.close());

interface WireRow {
  id: string;
  inputs: { n: number };
  runs: { id: string; name: string; session_id?: string; outputs?: unknown; feedback_stats: unknown }[];
}

test('a page has examples with the root runs of the experiments that were asked for', async () => {
  const ids = experiments.map(({ id }) => id);
  const read = (body: object): Promise<WireRow[]> => answerOf(`/datasets/${dataset}/runs`, { body });
  const rows = await read({ session_ids: ids });
  expect(rows.map(({ id }) => id).sort()).toEqual([...examples].sort());
  for (const row of rows) {
    const index = examples.indexOf(row.id);
    expect(row.inputs).toEqual({ n: index });
    expect(row.runs.map(({ id }) => id).sort()).toEqual(experiments.map(({ runs }) => runs[index]).sort());
    expect(row.runs[0]).toMatchObject({ name: 'target', feedback_stats: { good: { n: 1 } } });
  }
  const [first] = experiments;
  const one = await read({ session_ids: [first?.id], example_ids: [examples[2]], preview: true });
  expect(one).toMatchObject([{ id: examples[2], runs: [{ id: first?.runs[2], session_id: first?.id }] }]);
  expect(one[0]?.runs[0]?.outputs).toBeNull();
  const pages = [0, 2, 4].map((offset) => read({ session_ids: ids, limit: 2, offset }));
  const paged = (await Promise.all(pages)).flat().map(({ id }) => id);
  expect(paged).toEqual(rows.map(({ id }) => id));
  const filters = { [ids[0] ?? '']: ['eq(name, "nothing")'] };
  const filtered = await read({ session_ids: ids, filters });
  expect(filtered.map(({ runs }) => runs.map((run) => run.session_id))).toEqual(examples.map(() => [ids[1]]));
});

test('the second version follows cursors, and shows of runs what is selected', async () => {
  interface Page {
    items: { id: string; runs: Record<string, unknown>[] }[];
    next_cursor: string | null;
    has_more: boolean;
  }
  const path = `/v2/datasets/${dataset}/experiment-runs`;
  const body = { experiment_ids: [experiments[0]?.id], page_size: 2, selects: ['NAME', 'STATUS'] };
  const seen: string[] = [];
  let cursor: string | null = null;
  do {
    const page: Page = await answerOf(path, { body: { ...body, cursor } });
    expect(page.has_more).toBe(page.next_cursor !== null);
    for (const { id, runs } of page.items) {
      seen.push(id);
      const [run] = runs;
      expect(run).toEqual({
        id: experiments[0]?.runs[examples.indexOf(id)],
        name: 'target',
        status: run?.['status'],
      });
    }
    cursor = page.next_cursor;
  } while (cursor !== null);
  expect(seen).toHaveLength(5);
  expect(new Set(seen)).toEqual(new Set(examples));
  const { next_cursor: next } = await answerOf<Page>(path, { body });
  const otherList = { ...body, experiment_ids: [experiments[1]?.id], cursor: next };
  expect((await call(path, { body: otherList })).status).toBe(400);
  expect((await call(`/v2/datasets/${randomUUID()}/experiment-runs`, { body })).status).toBe(404);
});

test('experiments are set against each other, and the verdicts are counted', async () => {
  const ids = experiments.map(({ id }) => id);
  const body = {
    id: randomUUID(),
    name: 'A against B',
    experiment_ids: ids,
    reference_dataset_id: dataset,
    created_at: '2026-01-02T03:04:05.678Z',
    extra: { note: 1 },
  };
  const made = await answerOf('/datasets/comparative', { body });
  expect(made).toMatchObject({
    id: body.id,
    name: 'A against B',
    reference_dataset_id: dataset,
    extra: { note: 1 },
    created_at: '2026-01-02T03:04:05.678000+00:00',
    experiments_info: experiments.map(({ id, name }) => ({ id, name })),
    feedback_stats: {},
  });
  for (const [index, { id, runs }] of experiments.entries()) {
    const [run] = runs;
    await answerOf('/feedback', {
      body: {
        run_id: run,
        trace_id: run,
        session_id: id,
        key: 'preferred',
        score: index,
        comparative_experiment_id: body.id,
      },
    });
  }
  const found = await answerOf<object[]>(`/datasets/${dataset}/comparative`);
  expect(found).toMatchObject([{ id: body.id, feedback_stats: { preferred: { n: 2, avg: 0.5 } } }]);
  expect(await answerOf(`/datasets/${other}/comparative`)).toEqual([]);
  const again = { ...body, experiment_ids: [...ids, randomUUID()], id: randomUUID() };
  expect((await call('/datasets/comparative', { body: again })).status).toBe(404);
  expect(
    (await call('/datasets/comparative', { body: { ...body, id: randomUUID(), experiment_ids: [ids[0]] } }))
      .status,
  ).toBe(422);
  expect((await call('/datasets/comparative', { body })).status).toBe(409);
  await answerOf(`/datasets/comparative/${body.id}`, { method: 'DELETE' });
  expect((await call(`/datasets/comparative/${body.id}`, { method: 'DELETE' })).status).toBe(404);
});
