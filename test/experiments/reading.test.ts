import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { randomUUID } from 'node:crypto';
import { v7 } from 'uuid';
import { startHarness } from '../support/harness.js';
import type { Harness } from '../support/harness.js';
import { ask, insertDataset } from './world.js';

let harness: Harness;
let datasetId: string;
let experimentId: string;
const examples = Array.from({ length: 4 }, (_, index) => ({
  id: `0a000000-0000-4000-8000-00000000000${index}`,
  inputs: { n: index },
}));
const runs = new Map<string, string>();

beforeAll(async () => {
  harness = await startHarness();
  const key = harness.keys.first.secret;
  datasetId = await insertDataset(harness, examples);
  const session = await harness.http('/sessions', {
    key,
    body: { name: 'capitals', reference_dataset_id: datasetId, extra: { metadata: { model: 'm' } } },
  });
  experimentId = (session.body as { id: string }).id;
  const start = Date.now() - 60_000;
  const post = examples.flatMap(({ id, inputs }, index) =>
    [0, 1].map((repetition) => {
      const runId = v7();
      runs.set(`${id} ${repetition}`, runId);
      return {
        id: runId,
        trace_id: runId,
        // Sent in this order, started the other way round.
        start_time: new Date(start + repetition * 10_000 + index).toISOString(),
        end_time: new Date(start + repetition * 10_000 + index + 1_000).toISOString(),
        name: 'Target',
        run_type: 'chain',
        session_name: 'capitals',
        reference_example_id: id,
        inputs,
        outputs: { answer: index },
        ...(index === 3 && { error: 'boom' }),
      };
    }),
  );
  await harness.http('/runs/batch', { key, body: { post: [...post].reverse(), patch: [] } });
  for (const [place, runId] of runs) {
    if (place.startsWith(examples[3]?.id ?? '')) continue;
    const good = place.endsWith('0');
    const body = { run_id: runId, key: 'correct', score: good ? 1 : 0, feedback_source: { type: 'model' } };
    const answer = await harness.http('/feedback', { key, body });
    expect(answer.status).toBe(200);
  }
  await harness.http('/feedback', {
    key,
    body: {
      run_id: runs.get(`${examples[0]?.id ?? ''} 0`),
      key: 'tone',
      score: null,
      extra: { error: true },
    },
  });
}, 60_000);

afterAll(() => harness.close());

test("an SDK's experiment shows its facts, progress, scores and usage", async () => {
  const { experiment } = await ask<{ experiment: Record<string, unknown> }>(
    harness,
    `query ($name: String!) {
      experiment(name: $name) {
        uuid name kind state datasetId metadata execution { spend }
        project { uuid }
        progress { examples rows { total pending running done failed cached } evaluators { key: feedbackKey } }
        scores { key n mean standardDeviation errors cached }
        usage { latencyP50 totalTokens totalCost }
      }
    }`,
    { name: 'capitals' },
  );
  expect(experiment).toEqual({
    uuid: experimentId,
    name: 'capitals',
    kind: 'CLIENT',
    state: null,
    datasetId,
    metadata: { model: 'm' },
    execution: null,
    project: { uuid: experimentId },
    progress: {
      examples: 4,
      rows: { total: 8, pending: 0, running: 0, done: 6, failed: 2, cached: 0 },
      evaluators: [],
    },
    scores: [
      { key: 'correct', n: 6, mean: 0.5, standardDeviation: expect.closeTo(0.5477, 3), errors: 0, cached: 0 },
      { key: 'tone', n: 0, mean: null, standardDeviation: null, errors: 1, cached: 0 },
    ],
    usage: { latencyP50: 1, totalTokens: '0', totalCost: null },
  });
});

const ROWS = `query ($id: ID!, $first: Int!, $after: String, $where: ExperimentRowWhereInput) {
  experiment(id: $id) {
    rows(first: $first, after: $after, where: $where) {
      nodes {
        exampleId repetition state runId error { code }
        run { inputs outputs error }
        scores { key score cached }
        evaluations { state }
      }
      pageInfo { hasNextPage endCursor }
      totalCount { value }
    }
  }
}`;

interface RowsAnswer {
  readonly experiment: {
    readonly rows: {
      readonly nodes: { exampleId: string; repetition: number; runId: string }[];
      readonly pageInfo: { readonly hasNextPage: boolean; readonly endCursor: string };
      readonly totalCount: { readonly value: number };
    };
  };
}

const rowsOf = async (variables: Record<string, unknown>): Promise<RowsAnswer['experiment']['rows']> =>
  (await ask<RowsAnswer>(harness, ROWS, { id: experimentId, first: 100, ...variables })).experiment.rows;

test('rows come by example and repetition, repetitions counted by start, page by page', async () => {
  const expected = examples.flatMap(({ id }) => [`${id} 0`, `${id} 1`]);
  const seen: string[] = [];
  let after: string | undefined;
  for (;;) {
    const page = await rowsOf({ first: 3, after });
    expect(page.totalCount.value).toBe(8);
    for (const { exampleId, repetition, runId } of page.nodes) {
      expect(runs.get(`${exampleId} ${repetition}`)).toBe(runId);
      seen.push(`${exampleId} ${repetition}`);
    }
    if (!page.pageInfo.hasNextPage) break;
    after = page.pageInfo.endCursor;
  }
  expect(seen).toEqual(expected);
  const [first] = (await rowsOf({ first: 1 })).nodes;
  expect(first).toEqual({
    exampleId: examples[0]?.id,
    repetition: 0,
    state: 'DONE',
    runId: runs.get(expected[0] ?? ''),
    error: null,
    run: { inputs: { n: 0 }, outputs: { answer: 0 }, error: null },
    scores: [
      { key: 'correct', score: 1, cached: false },
      { key: 'tone', score: null, cached: false },
    ],
    evaluations: [],
  });
});

test.each([
  ['failed rows', { failed: true }, ['3 0', '3 1']],
  ['rows with a failed evaluator', { evaluatorFailed: true }, ['0 0']],
  ['one example', { exampleIds: [examples[2]?.id] }, ['2 0', '2 1']],
  ['a score above', { scores: [{ key: 'correct', gt: 0.5 }] }, ['0 0', '1 0', '2 0']],
  ['a score within', { scores: [{ key: 'correct', gte: 0, lte: 0.5 }] }, ['0 1', '1 1', '2 1']],
  ['no score', { scores: [{ key: 'correct', missing: true }] }, ['3 0', '3 1']],
])('rows are found by %s', async (_name, where, expected) => {
  const { nodes, totalCount } = await rowsOf({ where });
  expect(nodes.map(({ exampleId, repetition }) => `${exampleId.slice(-1)} ${repetition}`)).toEqual(expected);
  expect(totalCount.value).toBe(expected.length);
});

test('the number of statements does not grow with the rows', async () => {
  const statements = async (first: number): Promise<string[]> => {
    const { reads } = harness.app;
    const seen: string[] = [];
    const query = reads.query.bind(reads) as (...all: unknown[]) => unknown;
    reads.query = ((text: unknown, ...rest: unknown[]) => {
      seen.push(/\/\* (\S+) \*\//.exec(typeof text === 'string' ? text : String(text))?.[1] ?? 'unnamed');
      return query(text, ...rest);
    }) as typeof reads.query;
    await rowsOf({ first });
    reads.query = query as typeof reads.query;
    return seen.filter((name) => !name.startsWith('idempotency')).sort();
  };
  expect(await statements(8)).toEqual(await statements(2));
});

test('experiments are listed by dataset, and other projects and workspaces are none', async () => {
  await harness.http('/sessions', { key: harness.keys.first.secret, body: { name: 'no experiment' } });
  const list = `query ($datasetIds: [UUID!]) { experiments(first: 10, datasetIds: $datasetIds) { nodes { name } totalCount { value } } }`;
  const found = { experiments: { nodes: [{ name: 'capitals' }], totalCount: { value: 1 } } };
  expect(await ask(harness, list)).toEqual(found);
  expect(await ask(harness, list, { datasetIds: [datasetId] })).toEqual(found);
  const none = { experiments: { nodes: [], totalCount: { value: 0 } } };
  expect(await ask(harness, list, { datasetIds: [randomUUID()] })).toEqual(none);
  expect(await ask(harness, list, {}, harness.keys.neighbour.secret)).toEqual(none);
  expect(await ask(harness, ROWS, { id: experimentId, first: 5 }, harness.keys.stranger.secret)).toEqual({
    experiment: null,
  });
});
