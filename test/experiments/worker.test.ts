import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { createClient } from 'graphql-ws';
import { createServer } from 'node:http';
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { v4, v7 } from 'uuid';
import { WebSocket } from 'ws';
import { ExperimentScoresStore } from '../../src/experiments/experiment-scores.store.js';
import { inWorkspace } from '../../src/platform/db-scope.js';
import { Lifecycle } from '../../src/platform/lifecycle.js';
import { trustedScope } from '../../src/tenancy/principal.js';
import { createWorkers } from '../../workers/workers.js';
import { eventually } from '../support/eventually.js';
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
  look,
  startExperiment,
  steer,
  untilState,
} from './world.js';

let harness: Harness;
let model: ModelServer;
let providerId: string;
let datasetId: string;
/** An address experiments call; what it answers is up to the test. */
let answer: (request: IncomingMessage, response: ServerResponse) => void;
const address = createServer((request, response) => answer(request, response));
const examples = Array.from({ length: 6 }, (_, index) => ({
  id: v4(),
  inputs: { question: `What is ${index} + 1?` },
  outputs: { answer: `${index + 1}` },
  splits: [index < 4 ? 'train' : 'test'],
}));

beforeAll(async () => {
  model = await startModelServer({
    answer: ({ schema, messages, model: name }) => {
      const asked = messages.at(-1)?.content ?? '';
      if (schema === undefined) {
        return name === 'wrong' ? 'no idea' : `${Number(/(\d+) \+ 1/.exec(asked)?.[1] ?? 0) + 1}`;
      }
      if (!JSON.stringify(schema).includes('preferred')) return { reasoning: 'because', score: 0.5 };
      // Whoever has an idea is preferred, wherever it stands.
      const second = asked.indexOf('name="second"');
      return { reasoning: 'it knows', preferred: asked.indexOf('no idea') > second ? 'first' : 'second' };
    },
  });
  await new Promise<void>((resolve) => address.listen(0, '127.0.0.1', resolve));
  const hosts = `${model.host},127.0.0.1:${(address.address() as AddressInfo).port}`;
  harness = await startHarness({ workers: true, env: { OUTBOUND_ALLOWED_PRIVATE_HOSTS: hosts } });
  providerId = await addProvider(harness, model.baseUrl);
  datasetId = await insertDataset(harness, examples);
}, 60_000);

afterAll(async () => {
  await harness.close();
  await model.close();
  address.closeAllConnections();
  await new Promise((resolve) => address.close(resolve));
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

test('what was answered and scored before is used again, and shown as no new evidence', async () => {
  const definition = {
    datasetId,
    target: prompt({ model: 'cached' }),
    evaluators: [{ name: 'exact' }, { name: 'quality' }],
  };
  await untilState(harness, await startExperiment(harness, { ...definition, repetitions: 2 }), 'COMPLETED');
  const before = model.calls.length;
  const id = await startExperiment(harness, { ...definition, repetitions: 3 });
  const seen = await untilState(harness, id, 'COMPLETED');
  // The third repetition is new: six answers and six judgements.
  expect(model.calls.length - before).toBe(12);
  expect(seen.progress.rows).toMatchObject({ done: 18, cached: 12 });
  expect(seen.progress.evaluators).toMatchObject([
    { feedbackKey: 'exact', scored: 18, cached: 12 },
    { feedbackKey: 'quality', scored: 18, cached: 12 },
  ]);
  expect(seen.scores).toMatchObject([
    { key: 'exact', n: 18, mean: 1 },
    { key: 'quality', n: 18, mean: 0.5 },
  ]);
  const scores = await inWorkspace(harness.home.workspaceId, () =>
    new ExperimentScoresStore({ db: harness.app.reads }).read(trustedScope(harness.home.workspaceId), id),
  );
  const cached = scores.filter(({ cachedFrom }) => cachedFrom !== null);
  expect(cached).toHaveLength(12);
  for (const row of cached) {
    expect(row).toMatchObject({ latency: null, cost: null, cachedKeys: ['exact', 'quality'] });
  }
  expect(scores.filter(({ cost }) => cost !== null)).toHaveLength(6);
}, 60_000);

test('a split as of a version, against an address that fails now and then', async () => {
  const seen: { body: unknown; secret: string | undefined }[] = [];
  let failures = 2;
  answer = (request, response) => {
    let text = '';
    request.on('data', (chunk) => (text += String(chunk)));
    request.on('end', () => {
      const body = JSON.parse(text) as { q: string; n: number[] };
      seen.push({ body, secret: request.headers['x-secret'] as string | undefined });
      if (failures-- > 0) response.writeHead(503, { 'retry-after': '0' }).end('{}');
      else if (body.q.includes('1 + 1')) response.writeHead(400).end('{}');
      else response.end(JSON.stringify({ result: { text: `re: ${body.q}` } }));
    });
  };
  const id = await startExperiment(harness, {
    name: 'over http',
    datasetId,
    asOf: { version: 1 },
    splits: ['train'],
    target: {
      http: {
        url: `http://127.0.0.1:${(address.address() as AddressInfo).port}/answer`,
        headers: [{ name: 'X-Secret', value: 'hush' }],
        body: { q: 'Q: {{inputs.question}}', n: [1, 2], all: '{{inputs}}' },
        outputPath: '/result',
      },
    },
    evaluators: [{ name: 'exact' }],
  });
  const done = await untilState(harness, id, 'COMPLETED');
  expect(done.progress.rows).toMatchObject({ total: 4, done: 3, failed: 1 });
  expect(done.progress.evaluators).toMatchObject([{ scored: 0, failed: 3, skipped: 1 }]);
  expect(seen).toHaveLength(6);
  expect(seen[0]?.secret).toBe('hush');
  expect(seen.map(({ body }) => (body as { all: object }).all)).toContainEqual({
    question: 'What is 2 + 1?',
  });
  const { experiment } = await ask<{
    experiment: { execution: { target: unknown }; rows: { nodes: unknown[] } };
  }>(
    harness,
    `query ($id: ID!) { experiment(id: $id) { execution { target }
      rows(first: 9, where: { failed: true }) { nodes { error { code } run { error outputs } } } } }`,
    { id },
  );
  expect(JSON.stringify(experiment.execution.target)).not.toMatch(/hush|sealed/);
  expect(experiment.rows.nodes).toEqual([
    {
      error: { code: 'TARGET_REFUSED' },
      run: { error: 'TARGET_REFUSED: The target answered with status 400.', outputs: null },
    },
  ]);
  // What failed is tried again with a run of its own; what the evaluator cannot work on fails again.
  await steer(harness, 'retryFailedExperiment', { id });
  const again = await untilState(harness, id, 'COMPLETED');
  expect(again.progress.rows).toMatchObject({ total: 4, done: 3, failed: 1 });
  expect(seen).toHaveLength(7);
}, 60_000);

test('an address is asked again, unless its version says that it is the same', async () => {
  let asked = 0;
  let say = 'before';
  answer = (request, response) => {
    request.resume().on('end', () => {
      asked += 1;
      response.end(JSON.stringify({ output: say }));
    });
  };
  const release = async (version?: string): Promise<unknown> => {
    const url = `http://127.0.0.1:${(address.address() as AddressInfo).port}/release`;
    const id = await startExperiment(harness, {
      datasetId,
      target: { http: { url, ...(version !== undefined && { version }) } },
      evaluators: [],
    });
    const { progress } = await untilState(harness, id, 'COMPLETED');
    const { experiment } = await ask<{
      experiment: { rows: { nodes: { run: { outputs: { output: string } } }[] } };
    }>(harness, 'query ($id: ID!) { experiment(id: $id) { rows(first: 9) { nodes { run { outputs } } } } }', {
      id,
    });
    const said = [...new Set(experiment.rows.nodes.map(({ run }) => run.outputs.output))];
    return { asked, said, cached: progress.rows['cached'] };
  };
  expect(await release()).toEqual({ asked: 6, said: ['before'], cached: 0 });
  // Other code behind the same address: what it says has to be seen.
  say = 'after';
  expect(await release()).toEqual({ asked: 12, said: ['after'], cached: 0 });
  expect(await release('1')).toEqual({ asked: 18, said: ['after'], cached: 0 });
  say = 'later';
  expect(await release('1')).toEqual({ asked: 18, said: ['after'], cached: 6 });
  expect(await release('2')).toEqual({ asked: 24, said: ['later'], cached: 0 });
}, 60_000);

test('a provider that moved is asked again, as target and as judge', async () => {
  const moving = await addProvider(harness, model.baseUrl, { name: 'moving' });
  await addEvaluator(harness, 'moved', 'LLM_JUDGE', judgeConfig(moving));
  const again = async (target: object): Promise<{ calls: number; cached: number; judged: number }> => {
    const before = model.calls.length;
    const id = await startExperiment(harness, { datasetId, target, evaluators: [{ name: 'moved' }] });
    const { progress } = await untilState(harness, id, 'COMPLETED');
    return {
      calls: model.calls.length - before,
      cached: progress.rows['cached'] ?? 0,
      judged: progress.evaluators[0]?.cached ?? 0,
    };
  };
  const target = prompt({ providerId: moving, model: 'moving' });
  expect(await again(target)).toEqual({ calls: 12, cached: 0, judged: 0 });
  expect(await again(target)).toEqual({ calls: 0, cached: 6, judged: 6 });
  const moved = await ask<{ updateModelProvider: { errors: unknown[] } }>(
    harness,
    'mutation ($input: UpdateModelProviderInput!) { updateModelProvider(input: $input) { errors { message } } }',
    { input: { id: moving, patch: { baseUrl: `${model.baseUrl}/` } } },
  );
  expect(moved.updateModelProvider.errors).toEqual([]);
  expect(await again(target)).toEqual({ calls: 12, cached: 0, judged: 0 });
}, 60_000);

test('a copy of a failed try is the same try; one that is measured anew is a second', async () => {
  const by = (name: string, fields: object = {}): Promise<string> =>
    startExperiment(harness, {
      datasetId,
      target: prompt({ model: name }),
      evaluators: [{ name: 'exact' }],
      metadata: { revision_id: 'commit-7' },
      ...fields,
    });
  const baseline = await by('right');
  await untilState(harness, baseline, 'COMPLETED');
  await ask(
    harness,
    'mutation ($input: CreateGateInput!) { createGate(input: $input) { errors { message } } }',
    {
      input: {
        name: 'twice',
        rules: [{ kind: 'no_regression', metrics: ['exact'] }],
        settings: { minimumPairs: 2 },
        failuresToBlock: 2,
      },
    },
  );
  const verdict = async (candidate: string): Promise<unknown> => {
    const { evaluateGate } = await ask<{ evaluateGate: { evaluation: unknown } }>(
      harness,
      `mutation ($input: EvaluateGateInput!) { evaluateGate(input: $input) {
        evaluation { verdict failures blocks evidenceExperimentId } errors { message } } }`,
      { input: { gate: { name: 'twice' }, candidate: { id: candidate }, baseline: { id: baseline } } },
    );
    return evaluateGate.evaluation;
  };
  const first = await by('wrong');
  await untilState(harness, first, 'COMPLETED');
  const once = { verdict: 'FAIL', failures: 1, blocks: false, evidenceExperimentId: first };
  expect(await verdict(first)).toEqual(once);
  const copy = await by('wrong');
  const { progress } = await untilState(harness, copy, 'COMPLETED');
  expect(progress.rows['cached']).toBe(6);
  expect(await verdict(copy)).toEqual(once);
  const second = await by('wrong', { useCache: false });
  await untilState(harness, second, 'COMPLETED');
  expect(await verdict(second)).toEqual({
    verdict: 'FAIL',
    failures: 2,
    blocks: true,
    evidenceExperimentId: second,
  });
}, 60_000);

test('runs that are there are scored in place', async () => {
  const key = harness.keys.first.secret;
  const session = await harness.http('/sessions', {
    key,
    body: { name: 'by sdk', reference_dataset_id: datasetId },
  });
  const { id } = session.body as { id: string };
  const post = examples.map((example, index) => {
    const runId = v7();
    return {
      id: runId,
      trace_id: runId,
      name: 'Target',
      run_type: 'chain',
      session_name: 'by sdk',
      start_time: new Date(Date.now() - 5_000).toISOString(),
      end_time: new Date(Date.now() - 4_000).toISOString(),
      reference_example_id: example.id,
      inputs: example.inputs,
      ...(index === 0
        ? { error: 'boom' }
        : { outputs: { output: index === 1 ? 'wrong' : example.outputs.answer } }),
    };
  });
  await harness.http('/runs/batch', { key, body: { post, patch: [] } });
  await startExperiment(harness, { target: { runs: { experimentId: id } }, evaluators: [{ name: 'exact' }] });
  const seen = await untilState(harness, id, 'COMPLETED');
  expect(seen.progress.rows).toMatchObject({ total: 6, done: 5, failed: 1 });
  expect(seen.scores).toMatchObject([{ key: 'exact', n: 5, mean: 0.8 }]);
  // Once more with another evaluator: nothing is scored twice.
  await startExperiment(harness, {
    target: { runs: { experimentId: id } },
    evaluators: [{ name: 'exact' }, { name: 'quality' }],
  });
  const more = await untilState(harness, id, 'COMPLETED');
  expect(more.scores).toMatchObject([
    { key: 'exact', n: 5 },
    { key: 'quality', n: 5 },
  ]);
  expect(more.progress.evaluators.map(({ scored }) => scored)).toEqual([5, 5]);
  // The same for one whose target workers have called.
  await addEvaluator(harness, 'short', 'LENGTH', { outputPath: '/output', max: 9 });
  const { experiment } = await ask<{ experiment: { uuid: string } }>(
    harness,
    '{ experiment(name: "sums") { uuid } }',
  );
  const runs = { experimentId: experiment.uuid };
  const calls = model.calls.length;
  await startExperiment(harness, { target: { runs }, evaluators: [{ name: 'short' }] });
  const extended = await untilState(harness, experiment.uuid, 'COMPLETED');
  expect(extended.scores.map(({ key, n }) => [key, n])).toEqual([
    ['exact', 12],
    ['quality', 12],
    ['short', 12],
  ]);
  expect(model.calls).toHaveLength(calls);
}, 60_000);

test('the spend cap pauses with a reason, a higher one goes on, and cancelling ends it', async () => {
  const id = await startExperiment(harness, {
    datasetId,
    target: prompt({ model: 'capped' }),
    evaluators: [{ name: 'quality' }],
    repetitions: 4,
    concurrency: 1,
    useCache: false,
    spendCap: '0.0001',
  });
  const paused = await untilState(harness, id, 'PAUSED');
  expect(paused.stateReason).toBe('The spend cap of $0.0001 is reached.');
  expect(paused.progress.rows.done).toBeLessThan(24);
  const spent = Number(paused.execution.spend);
  expect(spent).toBeGreaterThanOrEqual(0.0001);
  const calls = model.calls.length;
  await expect(steer(harness, 'resumeExperiment', { id })).rejects.toThrow('spend cap');
  expect((await steer(harness, 'resumeExperiment', { id, spendCap: '10' })).state).toBe('RUNNING');
  await eventually(() => expect(model.calls.length).toBeGreaterThan(calls));
  expect((await steer(harness, 'pauseExperiment', { id })).state).toBe('PAUSED');
  await expect(steer(harness, 'pauseExperiment', { id })).rejects.toThrow('CONFLICT');
  expect((await steer(harness, 'cancelExperiment', { id })).state).toBe('CANCELLED');
  await expect(steer(harness, 'resumeExperiment', { id })).rejects.toThrow('CONFLICT');
}, 60_000);

test('a spend cap needs prices, and a call of unknown cost stops what it cannot bound', async () => {
  const url = `http://127.0.0.1:${(address.address() as AddressInfo).port}/v1`;
  const silent = await addProvider(harness, url, { name: 'silent', secret: null, prices: [] });
  const capped = { datasetId, concurrency: 1, useCache: false, spendCap: '5' };
  const refusal = (name: string): string => `The provider has no price for the model \\"${name}\\"`;
  const target = prompt({ providerId: silent, model: 'mute' });
  await expect(startExperiment(harness, { ...capped, target, evaluators: [] })).rejects.toThrow(
    refusal('mute'),
  );
  await addEvaluator(harness, 'unpriced', 'LLM_JUDGE', judgeConfig(silent));
  await expect(
    startExperiment(harness, { ...capped, target: prompt(), evaluators: [{ name: 'unpriced' }] }),
  ).rejects.toThrow(refusal('judge'));

  const setPrices = (prices: object[]): Promise<unknown> =>
    ask(
      harness,
      'mutation ($input: UpdateModelProviderInput!) { updateModelProvider(input: $input) { errors { message } } }',
      { input: { id: silent, patch: { prices } } },
    );
  await setPrices([{ model: '*', inputPerMillion: '1', outputPerMillion: '1' }]);
  let asked = 0;
  let meanwhile = async (): Promise<unknown> => undefined;
  answer = (request, response) => {
    request.resume().on('end', () => {
      asked += 1;
      const choices = [{ index: 0, message: { role: 'assistant', content: '1' }, finish_reason: 'stop' }];
      const usage = { prompt_tokens: 1, completion_tokens: 1, total_tokens: 2 };
      const body = { id: 'x', object: 'chat.completion', created: 1, model: 'mute', choices };
      // The first experiment is told nothing of what it used.
      void meanwhile().then(() => response.end(JSON.stringify(asked === 1 ? body : { ...body, usage })));
    });
  };
  const id = await startExperiment(harness, { ...capped, target, evaluators: [] });
  const paused = await untilState(harness, id, 'PAUSED');
  expect(paused.stateReason).toBe('The cost of a call is not known: the spend cap of $5 cannot be kept.');
  expect(paused.progress.rows).toMatchObject({ done: 1, pending: 5 });
  await expect(steer(harness, 'resumeExperiment', { id, spendCap: '9' })).rejects.toThrow('is not known');
  await steer(harness, 'resumeExperiment', { id, spendCap: null });
  expect((await untilState(harness, id, 'COMPLETED')).progress.rows).toMatchObject({ done: 6 });

  // A price that goes away while it runs: nothing is asked without one.
  const before = asked;
  meanwhile = () => setPrices([]);
  const other = await startExperiment(harness, { ...capped, target, evaluators: [] });
  const stopped = await untilState(harness, other, 'PAUSED');
  expect(stopped.stateReason).toBe('There is no price for one of its models: its spend cap cannot be kept.');
  expect(stopped.progress.rows).toMatchObject({ done: 1, pending: 5 });
  expect(asked).toBe(before + 1);
  await expect(steer(harness, 'resumeExperiment', { id: other })).rejects.toThrow(refusal('mute'));
}, 60_000);

test('an evaluator that compares is refused where one experiment is scored', async () => {
  await addEvaluator(harness, 'preference', 'PAIRWISE', {
    providerId,
    model: 'judge',
    messages: [{ role: 'user', content: 'Which is better? {{first}} {{second}}' }],
  });
  await expect(
    startExperiment(harness, { datasetId, target: prompt(), evaluators: [{ name: 'preference' }] }),
  ).rejects.toThrow('compares the outputs of two experiments and scores none by itself.');
}, 60_000);

const COMPARISON = `comparison {
  uuid state stateReason spend total open compared failed skipped experimentIds
  winRate { examples rate interval { lower upper } wins losses ties positionBias { pairs firstPlace secondPlace } }
}`;

interface Compared {
  readonly uuid: string;
  readonly state: string;
  readonly spend: string;
  readonly [figure: string]: unknown;
}

async function comparison(field: string, type: string, input: object): Promise<Compared> {
  const { result } = await ask<{ result: { comparison: Compared | null; errors: unknown[] } }>(
    harness,
    `mutation ($input: ${type}!) { result: ${field}(input: $input) { ${COMPARISON} errors { code message } } }`,
    { input },
  );
  if (result.comparison === null) throw new Error(JSON.stringify(result.errors));
  return result.comparison;
}

const startComparison = (input: object): Promise<Compared> =>
  comparison('startComparison', 'StartComparisonInput', input);

const untilCompared = (id: string, state: string): Promise<Compared> =>
  eventually(
    async () => {
      const { pairComparison } = await ask<{ pairComparison: Compared }>(
        harness,
        `query ($id: ID!) { pairComparison(id: $id) { ${COMPARISON.slice('comparison {'.length)} }`,
        { id },
      );
      if (pairComparison.state !== state) throw new Error(`it is ${JSON.stringify(pairComparison)}`);
      return pairComparison;
    },
    { timeoutMs: 30_000, everyMs: 100 },
  );

test('two experiments are judged pair by pair, in both orders, once', async () => {
  const by = async (name: string): Promise<string> => {
    const id = await startExperiment(harness, {
      datasetId,
      target: prompt({ model: name }),
      evaluators: [],
      repetitions: 2,
      useCache: false,
    });
    await untilState(harness, id, 'COMPLETED');
    return id;
  };
  const [first, second] = [await by('wrong'), await by('right')];
  const before = model.calls.length;
  const input = { first, second, evaluator: { name: 'preference' }, name: 'duel', idempotencyKey: 'duel 1' };
  const { uuid } = await startComparison(input);
  expect((await startComparison(input)).uuid).toBe(uuid);
  const done = await untilCompared(uuid, 'COMPLETED');
  expect(model.calls.length - before).toBe(24);
  expect(done).toMatchObject({
    total: 12,
    open: 0,
    compared: 12,
    failed: 0,
    skipped: 0,
    experimentIds: [first, second],
    winRate: {
      examples: 6,
      rate: 1,
      interval: { lower: 1, upper: 1 },
      wins: 12,
      losses: 0,
      ties: 0,
      positionBias: { pairs: 12, firstPlace: 0, secondPlace: 0 },
    },
  });
  expect(Number(done.spend)).toBeGreaterThan(0);
  const scoresOf = async (id: string): Promise<unknown> => (await look(harness, id)).scores;
  expect(await scoresOf(first)).toMatchObject([{ key: 'preference', n: 12, mean: 0 }]);
  expect(await scoresOf(second)).toMatchObject([{ key: 'preference', n: 12, mean: 1 }]);
  const { rows } = await harness.database.pool.query<{ pairs: number; both: boolean }>(
    `select count(distinct feedback_group_id)::int as pairs, bool_and(n = 2) as both from (
       select feedback_group_id, count(*) over (partition by feedback_group_id) as n
       from feedback where comparative_experiment_id = $1) f`,
    [uuid],
  );
  expect(rows).toEqual([{ pairs: 12, both: true }]);

  await expect(startComparison({ first, second: first, evaluator: { name: 'preference' } })).rejects.toThrow(
    'cannot be compared with itself',
  );
  await expect(startComparison({ first, second, evaluator: { name: 'quality' } })).rejects.toThrow(
    'PAIRWISE',
  );
  const unknown = { first, second: v4(), evaluator: { name: 'preference' } };
  await expect(startComparison(unknown)).rejects.toThrow('There is no such experiment.');
}, 60_000);

test('a comparison stops at its spend cap, goes on with a higher one, and is called off', async () => {
  const { experiments } = await ask<{ experiments: { nodes: { uuid: string }[] } }>(
    harness,
    'query ($id: UUID!) { experiments(first: 2, datasetIds: [$id]) { nodes { uuid } } }',
    { id: datasetId },
  );
  const [second = '', first = ''] = experiments.nodes.map(({ uuid }) => uuid);
  const capped = { first, second, evaluator: { name: 'preference' }, concurrency: 1, spendCap: '0.0001' };
  const { uuid: id } = await startComparison(capped);
  const paused = await untilCompared(id, 'PAUSED');
  expect(paused['stateReason']).toBe('The spend cap of $0.0001 is reached.');
  expect(paused['open']).toBeGreaterThan(0);
  const resume = (spendCap?: string): Promise<Compared> =>
    comparison('resumeComparison', 'ResumeComparisonInput', { id, ...(spendCap && { spendCap }) });
  await expect(resume()).rejects.toThrow('spend cap is reached');
  expect((await resume('5')).state).toBe('RUNNING');
  expect(await untilCompared(id, 'COMPLETED')).toMatchObject({ open: 0, compared: 12 });
  const other = await startComparison(capped);
  await untilCompared(other.uuid, 'PAUSED');
  const cancelled = await comparison('cancelComparison', 'ComparisonIdInput', { id: other.uuid });
  expect(cancelled.state).toBe('CANCELLED');
  await expect(comparison('cancelComparison', 'ComparisonIdInput', { id: other.uuid })).rejects.toThrow(
    'has ended',
  );
}, 60_000);

test('followers are told of every step, and resume without loss', async () => {
  const id = await startExperiment(harness, {
    datasetId,
    target: prompt({ model: 'followed' }),
    evaluators: [{ name: 'exact' }],
    repetitions: 8,
    concurrency: 1,
    useCache: false,
  });
  const client = createClient({
    url: harness.socketUrl,
    webSocketImpl: WebSocket,
    connectionParams: { 'x-api-key': harness.keys.first.secret },
  });
  const query = `subscription ($id: ID!, $after: String) { experimentEvents(experimentId: $id, after: $after) {
    __typename ... on ExperimentProgressed { cursor state spend progress { rows { done } } } ... on Ready { cursor } } }`;
  const follow = async (after?: string): Promise<{ state?: string; cursor: string; done?: number }[]> => {
    const events: { state?: string; cursor: string; done?: number }[] = [];
    for await (const { data } of client.iterate<{
      experimentEvents: { cursor: string; state?: string; progress?: { rows: { done: number } } };
    }>({ query, variables: { id, after: after ?? null } })) {
      if (data === null || data === undefined) throw new Error('no data');
      const { cursor, state, progress } = data.experimentEvents;
      events.push({
        cursor,
        ...(state !== undefined && { state }),
        ...(progress && { done: progress.rows.done }),
      });
      if (state === 'COMPLETED') return events;
    }
    return events;
  };
  const live = await follow();
  expect(live.at(-1)).toMatchObject({ state: 'COMPLETED', done: 48 });
  const done = live.flatMap((event) => event.done ?? []);
  expect(done).toEqual([...done].sort((a, b) => a - b));
  const resumed = await follow(live[0]?.cursor);
  expect(resumed.at(-1)).toMatchObject({ state: 'COMPLETED', done: 48 });
  await client.dispose();
}, 60_000);

test('a schedule starts an experiment per due time', async () => {
  const input = {
    schedule: { name: 'nightly', cron: '0 3 * * *', timezone: 'Europe/Berlin' },
    experiment: { datasetId, target: prompt({ model: 'nightly' }), evaluators: [{ name: 'exact' }] },
  };
  const { made } = await ask<{ made: { schedule: { uuid: string; nextRunAt: string }; errors: unknown[] } }>(
    harness,
    `mutation ($input: CreateExperimentScheduleInput!) {
      made: createExperimentSchedule(input: $input) { schedule { uuid nextRunAt config } errors { message } } }`,
    { input },
  );
  expect(made.errors).toEqual([]);
  const fire = (dueAt: string) =>
    inWorkspace(harness.home.workspaceId, () =>
      harness.app.schedules.fire(harness.home.workspaceId, made.schedule.uuid, dueAt),
    );
  await fire('2026-11-21 02:00:00+00');
  await fire('2026-11-21 02:00:00+00');
  await fire('2026-11-22 02:00:00+00');
  const { experiments } = await ask<{ experiments: { nodes: { uuid: string; name: string }[] } }>(
    harness,
    `{ experiments(first: 10, nameContains: "nightly") { nodes { uuid name } } }`,
  );
  expect(experiments.nodes.map(({ name }) => name)).toEqual([
    'nightly 2026-11-22 02:00',
    'nightly 2026-11-21 02:00',
  ]);
  for (const { uuid } of experiments.nodes) await untilState(harness, uuid, 'COMPLETED');
}, 60_000);

test('a worker that is told to go gives back what it holds, and nothing counts against it', async () => {
  const own = await startHarness({ env: { OUTBOUND_ALLOWED_PRIVATE_HOSTS: model.host } });
  try {
    const provider = await addProvider(own, model.baseUrl);
    const dataset = await insertDataset(own, examples, 'slow');
    model.next(...Array.from({ length: 4 }, () => ({ kind: 'hang' as const })));
    await startExperiment(own, {
      datasetId: dataset,
      target: {
        model: { providerId: provider, model: 'slow', messages: [{ role: 'USER', content: 'wait' }] },
      },
      evaluators: [],
      concurrency: 4,
      useCache: false,
    });
    const before = model.calls.length;
    const group = await createWorkers(own.app, own.config, new Lifecycle(own.app.log));
    await eventually(() => expect(model.calls.length - before).toBe(4));
    await group.close(100);
    // Well before any lease runs out.
    await eventually(
      async () => {
        const { rows } = await own.database.pool.query(
          `select state, count(*)::int as units, sum(attempts)::int as attempts, sum(losses)::int as losses
           from experiment_rows group by state`,
        );
        expect(rows).toEqual([{ state: 'pending', units: 6, attempts: 0, losses: 0 }]);
      },
      { timeoutMs: 3_000 },
    );
  } finally {
    await own.close();
  }
}, 90_000);
