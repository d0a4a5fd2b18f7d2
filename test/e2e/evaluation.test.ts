/**
 * Evaluation as a user meets it, through the public API alone: a dataset from files, a model provider, evaluators,
 * experiments that workers carry out while a subscriber follows, their comparison, and a gate asked by the real
 * command line.
 */
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { spawn } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { text } from 'node:stream/consumers';
import { createClient } from 'graphql-ws';
import { WebSocket } from 'ws';
import { eventually } from '../support/eventually.js';
import { startModelServer } from '../support/model-server.js';
import type { ModelServer, ServedCall } from '../support/model-server.js';
import { API_KEY } from '../support/processes.js';
import { ENGINES, startProduct } from './product.js';
import type { Product } from './product.js';

const EXAMPLES = 50;
const IN_CSV = 30;
const REPETITIONS = 2;
const ROWS = EXAMPLES * REPETITIONS;
const JUDGE_REPEATS = 3;
const JUDGE_SCORES = [0.25, 0.5, 1];
const COMMAND_MS = 60_000;
/** Longer than the slow model's call by far, so that a call begun after the pause would be seen. */
const SLOW_MS = 150;

const question = (n: number): string => `What is ${n} + 1?`;
const asked = (content: string): number => Number(/(\d+) \+ 1/.exec(content)?.[1]);
/** What is right about each example: the model fails one in five, the endpoint every other one. */
const modelIsRight = (n: number): boolean => n % 5 !== 0;
const endpointIsRight = (n: number): boolean => n % 2 !== 0;
const said = (n: number, right: boolean): string => String(right ? n + 1 : n + 2);

/** What one example in 25 each meets: code that does not want to end, be small, or stay inside. */
const HOSTILE = `function evaluate({ run, example, steps }) {
  const n = example.inputs.n;
  if (n % 25 === 0) for (;;);
  if (n % 25 === 1) { const all = []; for (;;) all.push('x'.repeat(1e6) + all.length); }
  if (n % 25 === 2) process.exit(1);
  if (n % 25 === 3) return 'y'.repeat(1e6);
  return true;
}`;
const isHostileTo = (n: number): boolean => n % 25 < 4;

const csvOf = (from: number, to: number): string =>
  [
    'inputs.question,inputs.n,outputs.answer,metadata.tier,split',
    ...range(from, to).map((n) => `"${question(n)}",${n},${n + 1},${tierOf(n)},${splitOf(n)}`),
  ].join('\r\n');

const jsonlOf = (from: number, to: number): string =>
  range(from, to)
    .map((n) =>
      JSON.stringify({
        inputs: { question: question(n), n },
        outputs: { answer: n + 1 },
        metadata: { tier: tierOf(n) },
        split: splitOf(n),
      }),
    )
    .join('\n');

const range = (from: number, to: number): number[] => Array.from({ length: to - from }, (_, at) => from + at);
const tierOf = (n: number): string => (n % 3 === 0 ? 'gold' : 'plain');
const splitOf = (n: number): string => (n < 40 ? 'train' : 'test');

interface Progress {
  readonly rows: Readonly<Record<'total' | 'pending' | 'running' | 'done' | 'failed' | 'cached', number>>;
  readonly evaluators: readonly {
    readonly feedbackKey: string;
    readonly open: number;
    readonly scored: number;
    readonly failed: number;
    readonly cached: number;
  }[];
}
const PROGRESS = `progress {
  rows { total pending running done failed cached }
  evaluators { feedbackKey open scored failed cached }
}`;

interface Followed {
  readonly __typename: string;
  readonly cursor: string;
  readonly state?: string;
  readonly spend?: string;
  readonly progress?: Progress;
}

interface Row {
  readonly repetition: number;
  readonly state: string;
  readonly cachedFrom: string | null;
  readonly run: {
    readonly inputs: { readonly question: string; readonly n: number };
    readonly outputs: unknown;
    readonly latencySeconds: number;
  };
  readonly scores: readonly {
    readonly key: string;
    readonly score: number;
    readonly comment: string | null;
  }[];
  readonly evaluations: readonly {
    readonly feedbackKey: string;
    readonly state: string;
    readonly error: { readonly code: string; readonly message: string } | null;
    readonly spread: {
      readonly repeats: number;
      readonly values: number[];
      readonly unreadable: number;
    } | null;
    readonly cost: string | null;
  }[];
}

const CREATE = {
  createDataset: ['CreateDatasetInput', 'dataset { id uuid }'],
  createModelProvider: ['CreateModelProviderInput', 'modelProvider { id uuid }'],
  createEvaluator: ['CreateEvaluatorInput', 'evaluator { id uuid }'],
  createGate: ['CreateGateInput', 'gate { id uuid }'],
  startExperiment: ['StartExperimentInput', 'experiment { id uuid }'],
} as const;

/** A small application behind an address, which answers `{"result": {"output": …}}`. */
async function startEndpoint(): Promise<{
  readonly url: string;
  readonly host: string;
  readonly server: Server;
}> {
  const server = createServer((request, response) => {
    text(request)
      .then((body) => {
        const n = asked((JSON.parse(body) as { q: string }).q);
        response.writeHead(200, { 'content-type': 'application/json' });
        response.end(JSON.stringify({ result: { output: said(n, endpointIsRight(n)) } }));
      })
      .catch(() => response.destroy());
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const host = `127.0.0.1:${(server.address() as AddressInfo).port}`;
  return { url: `http://${host}/answer`, host, server };
}

test('npx finds the command line in a checkout', async () => {
  // A cache of its own: npx keeps what it once found.
  const cache = await mkdtemp(path.join(tmpdir(), 'tracewell-npx-'));
  const child = spawn('npx', ['tracewell', 'gate', '--help'], {
    env: { ...process.env, npm_config_cache: cache },
    stdio: ['ignore', 'pipe', 'inherit'],
    timeout: COMMAND_MS,
  });
  expect(await text(child.stdout)).toContain('tracewell gate --candidate X');
  await rm(cache, { recursive: true, force: true });
}, 60_000);

describe.each(ENGINES)('on %s', (engine) => {
  let product: Product;
  let model: ModelServer;
  let endpoint: Awaited<ReturnType<typeof startEndpoint>>;
  let datasetId: string;
  let providerId: string;

  beforeAll(async () => {
    model = await startModelServer({
      delayMs: [1, 10],
      script: ({ schema, model: name, messages, earlier }) => {
        if (schema !== undefined) {
          const score = JUDGE_SCORES[earlier % JUDGE_SCORES.length] ?? 0;
          return { kind: 'answer', value: { reasoning: 'because of the sum', score } };
        }
        const n = asked(messages.at(-1)?.content ?? '');
        return {
          kind: 'answer',
          text: said(n, modelIsRight(n)),
          ...(name === 'slow' && { delayMs: SLOW_MS }),
        };
      },
    });
    endpoint = await startEndpoint();
    product = await startProduct(engine, {
      OUTBOUND_ALLOWED_PRIVATE_HOSTS: `${model.host},${endpoint.host}`,
    });
  }, 120_000);
  afterAll(async () => {
    await product.close();
    await model.close();
    endpoint.server.closeAllConnections();
    await new Promise((resolve) => endpoint.server.close(resolve));
  });

  async function create(field: keyof typeof CREATE, input: object): Promise<string> {
    const [type, shape] = CREATE[field];
    const { result } = await product.query<{ result: Record<string, unknown> & { errors: unknown[] } }>(
      `mutation ($input: ${type}!) { result: ${field}(input: $input) { ${shape} errors { code message path } } }`,
      { input },
    );
    const { errors, ...made } = result;
    expect(errors).toEqual([]);
    return (Object.values(made)[0] as { id: string }).id;
  }

  async function steer(field: string, id: string): Promise<void> {
    const type = field === 'resumeExperiment' ? 'ResumeExperimentInput' : 'ExperimentIdInput';
    const { result } = await product.query<{ result: { errors: unknown[] } }>(
      `mutation ($input: ${type}!) { result: ${field}(input: $input) { errors { code message } } }`,
      { input: { id } },
    );
    expect(result.errors).toEqual([]);
  }

  const look = async (
    id: string,
  ): Promise<{ state: string; stateReason: string | null; progress: Progress }> =>
    (
      await product.query<{ experiment: { state: string; stateReason: string | null; progress: Progress } }>(
        `query ($id: ID!) { experiment(id: $id) { state stateReason ${PROGRESS} } }`,
        { id },
      )
    ).experiment;

  const untilState = (id: string, state: string): ReturnType<typeof look> =>
    eventually(
      async () => {
        const seen = await look(id);
        if (seen.state !== state) throw new Error(`it is ${JSON.stringify(seen)}`);
        return seen;
      },
      { timeoutMs: 60_000, everyMs: 100 },
    );

  /** Follows an experiment to its end, over a second connection after a few events. */
  async function follow(id: string): Promise<Followed[]> {
    const seen: Followed[] = [];
    const hasEnded = (): boolean => seen.at(-1)?.state === 'COMPLETED';
    while (!hasEnded()) {
      const client = createClient({
        url: `${product.url.replace('http', 'ws')}/graphql`,
        webSocketImpl: WebSocket,
        connectionParams: { apiKey: API_KEY },
        retryAttempts: 0,
      });
      const isFirst = seen.length === 0;
      const events = client.iterate<{ experimentEvents: Followed }>({
        query: `subscription ($id: ID!, $after: String) {
          experimentEvents(experimentId: $id, after: $after) {
            __typename
            ... on FeedEvent { cursor }
            ... on ExperimentProgressed { state spend ${PROGRESS} }
          }
        }`,
        variables: { id, after: seen.at(-1)?.cursor ?? null },
      });
      for await (const { data, errors } of events) {
        expect(errors).toBeUndefined();
        if (data) seen.push(data.experimentEvents);
        if (hasEnded() || (isFirst && seen.length >= 4)) break;
      }
      await client.dispose();
    }
    return seen;
  }

  async function rowsOf(id: string): Promise<Row[]> {
    const { experiment } = await product.query<{ experiment: { rows: { nodes: Row[] } } }>(
      `query ($id: ID!) { experiment(id: $id) { rows(first: 100) { nodes {
        repetition state cachedFrom run { inputs outputs latencySeconds } scores { key score comment }
        evaluations { feedbackKey state error { code message } spread { repeats values unreadable } cost }
      } } } }`,
      { id },
    );
    return experiment.rows.nodes;
  }

  const scoreOf = ({ scores }: Row, key: string): number | undefined =>
    scores.find((score) => score.key === key)?.score;

  const byModel = (name = 'sums'): object => ({
    model: {
      providerId,
      model: name,
      messages: [{ role: 'USER', content: 'Answer with a number alone. {{inputs.question}}' }],
    },
  });
  const byEndpoint = (): object => ({
    http: { url: endpoint.url, body: { q: '{{inputs.question}}' }, outputPath: '/result' },
  });

  const experiment = (name: string, target: object, fields: object = {}): Promise<string> =>
    create('startExperiment', {
      experiment: {
        name,
        datasetId,
        target,
        evaluators: ['exact', 'shape', 'code', 'quality', 'seconds'].map((evaluator) => ({
          name: evaluator,
        })),
        repetitions: REPETITIONS,
        ...fields,
      },
    });

  async function gate(args: readonly string[]): Promise<{ code: number | null; out: string; err: string }> {
    const main = path.resolve('dist/src/cli/main.js');
    const child = spawn(process.execPath, [main, 'gate', ...args], {
      env: { PATH: process.env['PATH'], TRACEWELL_URL: product.url, TRACEWELL_API_KEY: API_KEY },
      stdio: ['ignore', 'pipe', 'pipe'],
      timeout: COMMAND_MS,
    });
    const closed = new Promise<number | null>((resolve) => child.once('close', resolve));
    const [out, err, code] = await Promise.all([text(child.stdout), text(child.stderr), closed]);
    return { code, out, err };
  }

  let first: string;
  let candidate: string;

  test('files become a dataset: CSV and JSONL, a version each', async () => {
    datasetId = await create('createDataset', { name: 'sums' });
    const { node } = await product.query<{ node: { uuid: string } }>(
      'query ($id: ID!) { node(id: $id) { ... on Dataset { uuid } } }',
      { id: datasetId },
    );
    const upload = async (body: string, type: string, query = ''): Promise<unknown> => {
      const response = await fetch(`${product.url}/api/v1/datasets/${node.uuid}/import${query}`, {
        method: 'POST',
        headers: { 'x-api-key': API_KEY, 'content-type': type },
        body,
      });
      expect(response.status).toBe(200);
      return response.json();
    };
    expect(await upload(csvOf(0, IN_CSV), 'text/csv', '?json_cells=true')).toMatchObject({
      version: 1,
      imported: IN_CSV,
      rejected: 0,
    });
    expect(await upload(jsonlOf(IN_CSV, EXAMPLES), 'application/x-ndjson')).toMatchObject({
      version: 2,
      imported: EXAMPLES - IN_CSV,
      rejected: 0,
    });
    const { dataset } = await product.query<{
      dataset: { examples: { totalCount: { value: number }; nodes: { inputs: { n: number } }[] } };
    }>(
      `query ($id: ID!) { dataset(id: $id) {
        examples(first: 100) { totalCount { value } nodes { inputs outputs metadata splits } }
      } }`,
      { id: datasetId },
    );
    expect(dataset.examples.totalCount.value).toBe(EXAMPLES);
    const inOrder = [...dataset.examples.nodes].sort((a, b) => a.inputs.n - b.inputs.n);
    expect(inOrder).toEqual(
      range(0, EXAMPLES).map((n) => ({
        inputs: { question: question(n), n },
        outputs: { answer: n + 1 },
        metadata: expect.objectContaining({ tier: tierOf(n) }),
        splits: [splitOf(n)],
      })),
    );
  });

  test('a provider and evaluators of five kinds are made', async () => {
    providerId = await create('createModelProvider', {
      name: 'local',
      kind: 'OPENAI_COMPATIBLE',
      baseUrl: model.baseUrl,
      secret: 'sk-0123456789',
      prices: [{ model: '*', inputPerMillion: '2.50', outputPerMillion: '10.00' }],
    });
    const { testModelProvider: trial } = await product.query<{ testModelProvider: unknown }>(
      `mutation ($input: TestModelProviderInput!) { testModelProvider(input: $input) { trial { answered } errors { message } } }`,
      { input: { id: providerId, model: 'sums' } },
    );
    expect(trial).toEqual({ trial: { answered: true }, errors: [] });
    const evaluators: [key: string, kind: string, config: object][] = [
      ['exact', 'EXACT_MATCH', { outputPath: '/output', referencePath: '/answer' }],
      ['shape', 'REGEX', { outputPath: '/output', pattern: '^\\d+$' }],
      [
        'code',
        'CODE',
        {
          code: 'function evaluate({ run, example }) { return Number(run.outputs.output) === example.reference.answer }',
        },
      ],
      [
        'quality',
        'LLM_JUDGE',
        {
          providerId,
          model: 'judge',
          repeats: JUDGE_REPEATS,
          messages: [{ role: 'user', content: 'How good is {{output}} as an answer to {{input}}?' }],
          score: { type: 'number', min: 0, max: 1 },
        },
      ],
      ['seconds', 'LATENCY', {}],
    ];
    for (const [key, kind, config] of evaluators) {
      await create('createEvaluator', { name: key, kind, feedbackKey: key, config });
    }
  });

  test('a subscriber follows a prompt over all examples to the end, without a gap', async () => {
    const before = model.calls.length;
    first = await experiment('by model', byModel(), { metadata: { revision_id: 'commit-1' } });
    const events = await follow(first);
    expect(new Set(events.map(({ __typename }) => __typename))).toEqual(
      new Set(['Ready', 'ExperimentProgressed']),
    );
    const cursors = events.filter(({ __typename }) => __typename !== 'Ready').map(({ cursor }) => cursor);
    expect(new Set(cursors).size).toBe(cursors.length);
    const done = events.flatMap(({ progress }) => (progress ? [progress.rows.done] : []));
    expect(done).toEqual([...done].sort((a, b) => a - b));
    const last = events.at(-1);
    expect(last?.progress).toEqual({
      rows: { total: ROWS, pending: 0, running: 0, done: ROWS, failed: 0, cached: 0 },
      evaluators: ['code', 'exact', 'quality', 'seconds', 'shape'].map((feedbackKey) => ({
        feedbackKey,
        open: 0,
        scored: ROWS,
        failed: 0,
        cached: 0,
      })),
    });
    const calls = model.calls.slice(before);
    expect(calls).toHaveLength(ROWS * (1 + JUDGE_REPEATS));
    expect(Number(last?.spend)).toBeCloseTo(Number(model.spent(calls)), 10);
  }, 120_000);

  test('every row has its scores, its judge spread and what it cost', async () => {
    const rows = await rowsOf(first);
    expect(rows).toHaveLength(ROWS);
    expect(rows.map(({ run, repetition }) => `${run.inputs.n}/${repetition}`).sort()).toEqual(
      range(0, EXAMPLES)
        .flatMap((n) => range(0, REPETITIONS).map((repetition) => `${n}/${repetition}`))
        .sort(),
    );
    for (const row of rows) {
      const { n } = row.run.inputs;
      expect(row).toMatchObject({
        state: 'DONE',
        cachedFrom: null,
        run: { outputs: { output: said(n, modelIsRight(n)) } },
      });
      expect(scoreOf(row, 'exact')).toBe(Number(modelIsRight(n)));
      expect(scoreOf(row, 'code')).toBe(Number(modelIsRight(n)));
      expect(scoreOf(row, 'shape')).toBe(1);
      expect(scoreOf(row, 'seconds')).toBeCloseTo(row.run.latencySeconds, 6);
      const judged = row.evaluations.find(({ feedbackKey }) => feedbackKey === 'quality');
      const values = judged?.spread?.values ?? [];
      expect(judged?.spread).toMatchObject({ repeats: JUDGE_REPEATS, unreadable: 0 });
      expect(values).toHaveLength(JUDGE_REPEATS);
      expect(scoreOf(row, 'quality')).toBe([...values].sort((a, b) => a - b)[1]);
      expect(Number(judged?.cost)).toBeGreaterThan(0);
    }
  });

  test('the calls of judges are runs, and told apart', async () => {
    const { runs } = await product.query<{
      runs: {
        totalCount: { value: number };
        nodes: { runType: string; metadata: Record<string, unknown> }[];
      };
    }>(
      `{ runs(project: { name: "evaluators" }, first: 5) { totalCount { value } nodes { runType metadata } } }`,
    );
    expect(runs.totalCount.value).toBe(ROWS * JUDGE_REPEATS);
    for (const run of runs.nodes) {
      expect(run).toMatchObject({ runType: 'LLM', metadata: { ls_model_name: 'judge' } });
    }
  });

  test('an application behind an address is scored alike', async () => {
    candidate = await experiment('by address', byEndpoint(), { metadata: { revision_id: 'commit-2' } });
    const events = await follow(candidate);
    expect(events.some(({ __typename }) => __typename === 'Gap')).toBe(false);
    for (const row of await rowsOf(candidate)) {
      const { n } = row.run.inputs;
      expect(row.run.outputs).toEqual({ output: said(n, endpointIsRight(n)) });
      expect(scoreOf(row, 'exact')).toBe(Number(endpointIsRight(n)));
    }
  }, 120_000);

  test('the same experiment again calls nobody: every row and score is a hit', async () => {
    const before = model.calls.length;
    const again = await experiment('by model again', byModel());
    const { progress } = await untilState(again, 'COMPLETED');
    expect(progress.rows).toMatchObject({ done: ROWS, cached: ROWS });
    // How long a call took says nothing about the next, and code is shown that too: neither is taken from the cache.
    for (const { feedbackKey, cached } of progress.evaluators) {
      const isMeasured = feedbackKey === 'seconds' || feedbackKey === 'code';
      expect({ feedbackKey, cached }).toEqual({ feedbackKey, cached: isMeasured ? 0 : ROWS });
    }
    expect(model.calls).toHaveLength(before);
    expect((await rowsOf(again)).every(({ cachedFrom }) => cachedFrom !== null)).toBe(true);
  }, 120_000);

  test('an experiment pauses, goes on and is called off', async () => {
    const isSlow = ({ model: name }: ServedCall): boolean => name === 'slow';
    const slow = await experiment('slow', byModel('slow'), {
      evaluators: [{ name: 'exact' }],
      concurrency: 2,
      useCache: false,
    });
    const untilDone = (least: number): Promise<unknown> =>
      eventually(
        async () => {
          const { progress } = await look(slow);
          if (progress.rows.done < least) throw new Error(`done: ${progress.rows.done}`);
        },
        { timeoutMs: 30_000, everyMs: 50 },
      );
    await untilDone(1);
    await steer('pauseExperiment', slow);
    await eventually(
      async () => {
        const { state, progress } = await look(slow);
        if (state !== 'PAUSED' || progress.rows.running > 0) throw new Error(`it is ${state}`);
      },
      { timeoutMs: 30_000, everyMs: 50 },
    );
    const paused = await look(slow);
    const calls = model.calls.filter(isSlow).length;
    expect(paused.progress.rows.done).toBeLessThan(ROWS);
    await steer('resumeExperiment', slow);
    await untilDone(paused.progress.rows.done + 2);
    expect(model.calls.filter(isSlow).length).toBeGreaterThan(calls);
    await steer('cancelExperiment', slow);
    const { progress } = await untilState(slow, 'CANCELLED');
    expect(progress.rows.done).toBeGreaterThanOrEqual(paused.progress.rows.done + 2);
    expect(progress.rows.done).toBeLessThan(ROWS);
  }, 120_000);

  test('the comparison finds what differs, with its uncertainty, and the examples it comes from', async () => {
    const { compareExperiments: compared } = await product.query<{
      compareExperiments: { results: { metric: string; slice: unknown; [figure: string]: unknown }[] };
    }>(
      `query ($experiments: ComparedExperimentsInput!) {
        compareExperiments(experiments: $experiments, settings: { metrics: ["exact", "shape"], sliceBy: ["tier"] }) {
          results { metric slice { key value } verdict pairs delta baselineMean candidateMean
            interval { lower upper } adjustedPValue minimumDetectableEffect }
          warnings
        }
      }`,
      { experiments: { baseline: first, candidates: [candidate] } },
    );
    const whole = new Map(
      compared.results.filter(({ slice }) => slice === null).map((result) => [result.metric, result]),
    );
    expect(whole.get('exact')).toMatchObject({
      verdict: 'REGRESSED',
      pairs: EXAMPLES,
      baselineMean: expect.closeTo(0.8, 9),
      candidateMean: expect.closeTo(0.5, 9),
      delta: expect.closeTo(-0.3, 9),
    });
    const { lower, upper } = whole.get('exact')?.['interval'] as { lower: number; upper: number };
    expect(lower).toBeLessThan(-0.3);
    expect(upper).toBeGreaterThan(-0.3);
    expect(upper).toBeLessThan(0);
    expect(whole.get('shape')).toMatchObject({ verdict: 'NEUTRAL', delta: 0 });
    expect(compared.results.filter(({ slice }) => slice !== null)).toHaveLength(4);

    const { comparedExamples } = await product.query<{
      comparedExamples: {
        totalCount: { value: number };
        nodes: { cells: { scores: { mean: number }[] }[] }[];
      };
    }>(
      `query ($experiments: ComparedExperimentsInput!, $where: ComparedExampleWhere) {
        comparedExamples(experiments: $experiments, where: $where, metrics: ["exact"], first: 50) {
          totalCount { value } nodes { exampleId cells { scores { metric mean } } }
        }
      }`,
      {
        experiments: { baseline: first, candidates: [candidate] },
        where: { metric: 'exact', passedBy: [first], failedBy: [candidate] },
      },
    );
    const lost = range(0, EXAMPLES).filter((n) => modelIsRight(n) && !endpointIsRight(n));
    expect(comparedExamples.totalCount.value).toBe(lost.length);
    for (const { cells } of comparedExamples.nodes) {
      expect(cells.map(({ scores }) => scores[0]?.mean)).toEqual([1, 0]);
    }
  });

  test('the command line passes what is as good, and blocks what fails twice', async () => {
    await create('createGate', {
      name: 'release',
      rules: [{ kind: 'no_regression', metrics: ['exact'] }],
      failuresToBlock: 2,
    });
    const asGood = await experiment('as good', byModel(), {
      evaluators: [{ name: 'exact' }],
      useCache: false,
    });
    const baseline = ['--baseline', 'by model', '--gate', 'release'];
    const passed = await gate(['--candidate', 'as good', ...baseline, '--wait', '60']);
    expect(passed).toMatchObject({ code: 0, err: '' });
    expect(passed.out).toContain('PASS');
    await untilState(asGood, 'COMPLETED');

    const once = await gate(['--candidate', 'by address', ...baseline]);
    expect(once).toMatchObject({ code: 2, err: '' });
    // Asking again about the same experiment is no second try.
    expect((await gate(['--candidate', 'by address', ...baseline])).code).toBe(2);
    const second = await experiment('by address, again', byEndpoint(), {
      metadata: { revision_id: 'commit-2' },
    });
    const { progress } = await untilState(second, 'COMPLETED');
    // What stands behind an address may be something else by now: it was asked again.
    expect(progress.rows.cached).toBe(0);
    const twice = await gate(['--candidate', 'by address, again', ...baseline, '--json', '-']);
    expect(twice).toMatchObject({ code: 1, err: '' });
    expect(JSON.parse(twice.out)).toMatchObject({
      verdict: 'FAIL',
      blocks: true,
      failures: 2,
      candidateRef: 'commit-2',
    });

    const unknown = await gate(['--candidate', 'nobody', ...baseline]);
    expect(unknown).toMatchObject({ code: 3, out: '' });
    expect(unknown.err).toContain('candidate: There is no such experiment.');
  }, 180_000);

  test('hostile code fails its own rows, with a reason, and nothing else', async () => {
    await create('createEvaluator', {
      name: 'hostile',
      kind: 'CODE',
      feedbackKey: 'hostile',
      config: { code: HOSTILE },
    });
    const id = await experiment('with hostile code', byEndpoint(), {
      evaluators: [{ name: 'hostile' }, { name: 'exact' }],
      repetitions: 1,
    });
    const { progress } = await untilState(id, 'COMPLETED');
    const hostile = range(0, EXAMPLES).filter(isHostileTo).length;
    expect(progress.rows).toMatchObject({ done: EXAMPLES, failed: 0 });
    expect(progress.evaluators).toMatchObject([
      { feedbackKey: 'exact', scored: EXAMPLES, failed: 0 },
      { feedbackKey: 'hostile', scored: EXAMPLES - hostile, failed: hostile },
    ]);
    for (const row of await rowsOf(id)) {
      const { n } = row.run.inputs;
      const evaluation = row.evaluations.find(({ feedbackKey }) => feedbackKey === 'hostile');
      // Which limit a memory bomb meets first is up to the machine.
      const codes = [/^TIMEOUT$/, /^(MEMORY_LIMIT|TIMEOUT)$/, /^EVALUATOR_FAILED$/, /^EVALUATOR_FAILED$/];
      expect(evaluation?.error?.code ?? '').toMatch(codes[n % 25] ?? /^$/);
      if (evaluation?.error) expect(evaluation.error.message.length).toBeGreaterThan(10);
      else expect(scoreOf(row, 'hostile')).toBe(1);
    }
  }, 120_000);
});
