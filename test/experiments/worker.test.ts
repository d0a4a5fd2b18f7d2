import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { v4 } from 'uuid';
import { startHarness } from '../support/harness.js';
import type { Harness } from '../support/harness.js';
import { startModelServer } from '../support/model-server.js';
import type { ModelServer } from '../support/model-server.js';
import {
  addEvaluator,
  addProvider,
  ask,
  insertDataset,
  judgeConfig,
  startExperiment,
  untilState,
} from './world.js';

let harness: Harness;
let model: ModelServer;
let providerId: string;
let datasetId: string;
const examples = Array.from({ length: 6 }, (_, index) => ({
  id: v4(),
  inputs: { question: `What is ${index} + 1?` },
  outputs: { answer: `${index + 1}` },
  splits: [index < 4 ? 'train' : 'test'],
}));

beforeAll(async () => {
  model = await startModelServer({
    answer: ({ schema, messages }) =>
      schema === undefined
        ? `${Number(/(\d+) \+ 1/.exec(messages.at(-1)?.content ?? '')?.[1] ?? 0) + 1}`
        : { reasoning: 'because', score: 0.5 },
  });
  harness = await startHarness({ workers: true, env: { OUTBOUND_ALLOWED_PRIVATE_HOSTS: model.host } });
  providerId = await addProvider(harness, model.baseUrl);
  datasetId = await insertDataset(harness, examples);
}, 60_000);

afterAll(async () => {
  await harness.close();
  await model.close();
});

const prompt = (fields: object = {}) => ({
  model: {
    providerId,
    model: 'target',
    messages: [{ role: 'USER', content: 'Answer: {{inputs.question}}' }],
    ...fields,
  },
});

test('a prompt is answered, scored and paid for, row by row', async () => {
  const exact = await addEvaluator(harness, 'exact', 'EXACT_MATCH', {
    outputPath: '/output',
    referencePath: '/answer',
  });
  const judge = await addEvaluator(harness, 'quality', 'LLM_JUDGE', judgeConfig(providerId));
  const id = await startExperiment(harness, {
    name: 'sums',
    datasetId,
    target: prompt(),
    evaluators: [{ id: exact }, { name: 'quality' }],
    repetitions: 2,
    useCache: false,
  });
  const seen = await untilState(harness, id, 'COMPLETED');
  expect(seen.progress.rows).toEqual({ total: 12, pending: 0, running: 0, done: 12, failed: 0, cached: 0 });
  expect(seen.progress.evaluators).toMatchObject([
    { feedbackKey: 'exact', open: 0, scored: 12, failed: 0, cost: null },
    { feedbackKey: 'quality', open: 0, scored: 12, failed: 0 },
  ]);
  expect(seen.scores).toMatchObject([
    { key: 'exact', n: 12, mean: 1, errors: 0 },
    { key: 'quality', n: 12, mean: 0.5, errors: 0 },
  ]);
  expect(Number(seen.execution.spend)).toBeCloseTo(Number(model.spent()), 12);
  expect(model.calls).toHaveLength(24);

  const { experiment } = await ask<{ experiment: { rows: { nodes: Record<string, unknown>[] } } }>(
    harness,
    `query ($id: ID!) { experiment(id: $id) { rows(first: 1) { nodes {
      repetition state run { inputs outputs error referenceExampleId children { name runType totalCost } }
      scores { key score comment cached } evaluations { evaluatorName state spread { repeats } cost }
    } } } }`,
    { id },
  );
  expect(experiment.rows.nodes[0]).toMatchObject({
    repetition: 0,
    state: 'DONE',
    run: { error: null, children: [{ name: 'target', runType: 'LLM' }] },
    scores: [
      { key: 'exact', score: 1 },
      { key: 'quality', score: 0.5, comment: 'because', cached: false },
    ],
    evaluations: [
      { evaluatorName: 'exact', state: 'SCORED' },
      { evaluatorName: 'quality', state: 'SCORED' },
    ],
  });
  expect(judge).toBeDefined();
}, 60_000);
