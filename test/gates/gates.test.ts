import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { v7 } from 'uuid';
import { compare } from '../../src/comparison/compare.js';
import { matrix } from '../../src/comparison/comparison-matrix.js';
import type { MatrixCondition } from '../../src/comparison/comparison-matrix.js';
import { ComparisonService } from '../../src/comparison/comparison.service.js';
import { ComparisonStore } from '../../src/comparison/comparison.store.js';
import { ExperimentScoresStore } from '../../src/experiments/experiment-scores.store.js';
import { inWorkspace } from '../../src/platform/db-scope.js';
import type { Principal } from '../../src/tenancy/principal.js';
import { runGate } from '../../src/cli/gate.js';
import { ask, insertDataset } from '../experiments/world.js';
import { startHarness } from '../support/harness.js';
import type { Harness } from '../support/harness.js';

let harness: Harness;
let folder: string;
let datasetId: string;
const examples = Array.from({ length: 40 }, (_, index) => ({
  id: `0b000000-0000-4000-8000-0000000000${String(index).padStart(2, '0')}`,
  inputs: { n: index },
}));

/** An experiment as an SDK makes it: runs that name examples, one feedback each. Returns its id. */
async function experiment(
  name: string,
  score: (index: number) => number | undefined,
  metadata: Record<string, unknown> = {},
  topic: (index: number) => string = () => 'other',
  hasEnded = true,
): Promise<string> {
  const key = harness.keys.first.secret;
  const session = await harness.http('/sessions', {
    key,
    body: { name, reference_dataset_id: datasetId, extra: { metadata } },
  });
  expect(session.status).toBe(200);
  const start = Date.now() - 60_000;
  const runs = examples.map(({ id: example, inputs }, index) => {
    const id = v7();
    const time = (ms: number): string => new Date(start + index * 10 + ms).toISOString();
    return {
      id,
      trace_id: id,
      dotted_order: `${time(0).replace(/[-:.]/g, '').replace('Z', '000Z')}${id}`,
      start_time: time(0),
      end_time: time(1_000),
      name: 'Target',
      run_type: 'chain',
      session_name: name,
      reference_example_id: example,
      inputs,
      outputs: { answer: index },
    };
  });
  const posted = await harness.http('/runs/batch', { key, body: { post: runs, patch: [] } });
  expect(posted.status).toBe(202);
  for (const [index, { id }] of runs.entries()) {
    const value = score(index);
    for (const body of [
      ...(value === undefined ? [] : [{ key: 'correct', score: value }]),
      { key: 'topic', value: topic(index) },
    ]) {
      const answer = await harness.http('/feedback', {
        key,
        body: { ...body, run_id: id, trace_id: id, session_id: (session.body as { id: string }).id },
      });
      expect(answer.status).toBe(200);
    }
  }
  const { id } = session.body as { id: string };
  if (hasEnded) {
    const body = { end_time: new Date().toISOString() };
    expect((await harness.http(`/sessions/${id}`, { key, method: 'PATCH', body })).status).toBe(200);
  }
  return id;
}

const good = (index: number): number => (index % 10 === 0 ? 0 : 1);
const bad = (index: number): number => (index % 10 < 5 ? 0 : 1);

beforeAll(async () => {
  harness = await startHarness();
  folder = await mkdtemp(path.join(tmpdir(), 'tracewell-gate-'));
  datasetId = await insertDataset(harness, examples);
  await experiment('baseline', good);
  await experiment('same', good, { revision_id: 'commit-1' });
  await experiment('worse', bad, { revision_id: 'commit-2' });
  await experiment('worse again', bad, { revision_id: 'commit-2' });
  await experiment('patchy', (index) => (index < 30 ? good(index) : undefined));
  await experiment('refunds', good, {}, (index) => (index < 20 ? 'refund' : 'other'));
}, 120_000);

afterAll(async () => {
  await rm(folder, { recursive: true, force: true });
  await harness.close();
});

const EVALUATE = `mutation ($input: EvaluateGateInput!) {
  evaluateGate(input: $input) {
    evaluation {
      id uuid verdict blocks failures candidateRef gateRevision
      report { warnings outcomes { verdict findings { metric verdict reason n delta } } }
    }
    errors { code message path }
  }
}`;

interface Evaluated {
  evaluation: {
    id: string;
    uuid: string;
    verdict: string;
    blocks: boolean;
    failures: number;
    candidateRef: string;
    report: { outcomes: { findings: { metric: string; verdict: string; n: number; delta: number }[] }[] };
  } | null;
  errors: { code: string; message: string; path: string[] }[];
}

const evaluate = async (input: object): Promise<Evaluated> =>
  (await ask<{ evaluateGate: Evaluated }>(harness, EVALUATE, { input })).evaluateGate;

const named = (name: string): { name: string } => ({ name });

test('without rules nothing may regress: an equal experiment passes, a worse one is blocked', async () => {
  const same = await evaluate({ candidate: named('same'), baseline: named('baseline') });
  expect(same.errors).toEqual([]);
  expect(same.evaluation).toMatchObject({
    verdict: 'PASS',
    blocks: false,
    failures: 0,
    candidateRef: 'commit-1',
  });

  const worse = await evaluate({ candidate: named('worse'), baseline: named('baseline') });
  expect(worse.evaluation).toMatchObject({
    verdict: 'FAIL',
    blocks: true,
    failures: 1,
    candidateRef: 'commit-2',
  });
  const finding = worse.evaluation?.report.outcomes[0]?.findings.find(({ metric }) => metric === 'correct');
  expect(finding).toMatchObject({ verdict: 'FAIL', n: 40 });
  expect(finding?.delta).toBeCloseTo(-0.4, 12);
});

test('a candidate without scores for some examples is not believed', async () => {
  const rules = [{ kind: 'no_regression', metrics: ['correct'] }];
  const { evaluation } = await evaluate({ candidate: named('patchy'), baseline: named('baseline'), rules });
  expect(evaluation).toMatchObject({ verdict: 'INCONCLUSIVE', blocks: false });
});

test('a label that spikes blocks', async () => {
  const rules = [{ kind: 'label_spike', key: 'topic', maximumIncrease: 0.1 }];
  const ok = await evaluate({ candidate: named('same'), baseline: named('baseline'), rules });
  expect(ok.evaluation).toMatchObject({ verdict: 'PASS' });
  const spiked = await evaluate({ candidate: named('refunds'), baseline: named('baseline'), rules });
  expect(spiked.evaluation).toMatchObject({ verdict: 'FAIL', blocks: true });
});

test('a gate that wants two failures blocks a candidate with the second experiment, not with the second question', async () => {
  const { createGate } = await ask<{ createGate: { gate: { id: string; revision: number } } }>(
    harness,
    `mutation ($input: CreateGateInput!) {
      createGate(input: $input) { gate { id revision rules settings { alpha minimumPairs } failuresToBlock } errors { message } }
    }`,
    {
      input: {
        name: 'release',
        rules: [
          { kind: 'no_regression', metrics: ['correct'] },
          { kind: 'threshold', metric: 'correct', atLeast: 0.8 },
        ],
        settings: { alpha: 0.01 },
        failuresToBlock: 2,
      },
    },
  );
  expect(createGate.gate).toMatchObject({
    revision: 1,
    failuresToBlock: 2,
    settings: { alpha: 0.01, minimumPairs: 10 },
  });
  const gate = named('release');
  const ask2 = async (candidate: string) =>
    (await evaluate({ gate, candidate: named(candidate), baseline: named('baseline') })).evaluation;
  expect(await ask2('worse')).toMatchObject({ verdict: 'FAIL', failures: 1, blocks: false });
  expect(await ask2('worse')).toMatchObject({ verdict: 'FAIL', failures: 1, blocks: false });
  expect(await ask2('worse again')).toMatchObject({ verdict: 'FAIL', failures: 2, blocks: true });
  expect(await ask2('same')).toMatchObject({ verdict: 'PASS', failures: 0, blocks: false });

  const { node } = await ask<{
    node: { evaluations: { nodes: unknown[]; totalCount: unknown }; flakiness: unknown };
  }>(
    harness,
    `query ($id: ID!) {
      node(id: $id) { ... on Gate {
        flakiness { candidates flaky }
        evaluations(first: 3, candidateRef: "commit-2") { nodes { verdict failures blocks } totalCount { value } }
      } }
    }`,
    { id: createGate.gate.id },
  );
  expect(node).toEqual({
    flakiness: { candidates: 1, flaky: 0 },
    evaluations: {
      nodes: [
        { verdict: 'FAIL', failures: 2, blocks: true },
        { verdict: 'FAIL', failures: 1, blocks: false },
        { verdict: 'FAIL', failures: 1, blocks: false },
      ],
      totalCount: { value: 3 },
    },
  });
});

test('failures of a gate that was changed since do not count', async () => {
  const rules = [{ kind: 'no_regression', metrics: ['correct'] }];
  const { createGate } = await ask<{ createGate: { gate: { id: string } } }>(
    harness,
    'mutation ($input: CreateGateInput!) { createGate(input: $input) { gate { id } errors { message } } }',
    { input: { name: 'changed', rules, settings: { minimumPairs: 20 }, failuresToBlock: 2 } },
  );
  const ask2 = async (candidate: string) =>
    (await evaluate({ gate: named('changed'), candidate: named(candidate), baseline: named('baseline') }))
      .evaluation;
  expect(await ask2('worse')).toMatchObject({ gateRevision: 1, failures: 1, blocks: false });
  await ask(
    harness,
    'mutation ($input: UpdateGateInput!) { updateGate(input: $input) { errors { message } } }',
    { input: { id: createGate.gate.id, settings: { minimumPairs: 10 } } },
  );
  expect(await ask2('worse again')).toMatchObject({ gateRevision: 2, failures: 1, blocks: false });
  expect(await ask2('worse')).toMatchObject({ gateRevision: 2, failures: 2, blocks: true });
});

test('questions asked at once are counted one after the other', async () => {
  await ask(
    harness,
    'mutation ($input: CreateGateInput!) { createGate(input: $input) { errors { message } } }',
    { input: { name: 'busy', rules: [{ kind: 'no_regression', metrics: ['correct'] }], failuresToBlock: 2 } },
  );
  const answers = await Promise.all(
    ['worse', 'worse again', 'worse', 'worse again'].map((candidate) =>
      evaluate({ gate: named('busy'), candidate: named(candidate), baseline: named('baseline') }),
    ),
  );
  const failures = answers.map(({ evaluation }) => evaluation?.failures).sort();
  expect(failures[0]).toBe(1);
  expect(failures.at(-1)).toBe(2);
});

test('mistakes are named', async () => {
  const problems = async (input: object) =>
    (await evaluate(input)).errors.map(({ code, path: at }) => [code, at]);
  expect(await problems({ candidate: named('nobody'), baseline: named('baseline') })).toEqual([
    ['NOT_FOUND', ['candidate']],
  ]);
  expect(await problems({ candidate: named('same') })).toEqual([['INVALID', ['baseline']]]);
  expect(await problems({ candidate: named('same'), baseline: named('same') })).toEqual([
    ['INVALID', ['baseline']],
  ]);
  expect(await problems({ gate: named('nobody'), candidate: named('same') })).toEqual([
    ['NOT_FOUND', ['gate']],
  ]);
  expect(
    await problems({
      candidate: named('same'),
      rules: [{ kind: 'threshold', metric: 'correct' }, { kind: 'x' }],
    }),
  ).toEqual([
    ['INVALID', ['rules', '1', 'kind']],
    ['INVALID', ['rules', '0']],
  ]);
  const misspelt = [
    { kind: 'threshold', metric: 'correct', atLeast: 0.5, slice: { key: 'tier', value: 'x', keys: 1 } },
    { kind: 'no_regression', metrics: ['correct'], burdn: 'non_inferiority' },
    { kind: 'improvement', metric: 'correct', atLeast: 0.5 },
    { kind: 'label_spike', key: 'topic', maximumIncrease: 0.1, label: ['billing'] },
  ];
  expect(await problems({ candidate: named('same'), baseline: named('baseline'), rules: misspelt })).toEqual([
    ['INVALID', ['rules', '0', 'slice', 'keys']],
    ['INVALID', ['rules', '1', 'burdn']],
    ['INVALID', ['rules', '2', 'atLeast']],
    ['INVALID', ['rules', '3', 'label']],
  ]);
});

test('experiments are set side by side, over slices and example by example', async () => {
  const ids = new Map(
    (
      await ask<{ experiments: { nodes: { name: string; id: string; uuid: string }[] } }>(
        harness,
        '{ experiments(first: 20) { nodes { name id uuid } } }',
      )
    ).experiments.nodes.map(({ name, id }) => [name, id]),
  );
  const experiments = { baseline: ids.get('baseline'), candidates: [ids.get('same'), ids.get('worse')] };
  const { compareExperiments } = await ask<{ compareExperiments: { results: Record<string, unknown>[] } }>(
    harness,
    `query ($experiments: ComparedExperimentsInput!) {
      compareExperiments(experiments: $experiments, settings: { metrics: ["correct", "topic=*"] }) {
        baseline { name } candidates { name } seed warnings
        results { metric direction verdict pairs better worse tied test baselineMean candidateMean
          interval { lower upper method } adjustedPValue }
      }
    }`,
    { experiments },
  );
  expect(compareExperiments).toMatchObject({
    baseline: { name: 'baseline' },
    candidates: [{ name: 'same' }, { name: 'worse' }],
    warnings: [],
  });
  expect(compareExperiments.results).toHaveLength(4);
  expect(compareExperiments.results[0]).toMatchObject({
    metric: 'correct',
    verdict: 'NEUTRAL',
    pairs: 40,
    tied: 40,
    test: 'MCNEMAR',
  });
  expect(compareExperiments.results[1]).toMatchObject({
    metric: 'topic=other',
    direction: 'NONE',
    verdict: 'NEUTRAL',
  });
  expect(compareExperiments.results[2]).toMatchObject({
    metric: 'correct',
    verdict: 'REGRESSED',
    better: 0,
    worse: 16,
    baselineMean: 0.9,
    candidateMean: 0.5,
  });

  const pageOf = `query ($experiments: ComparedExperimentsInput!, $where: ComparedExampleWhere, $after: String) {
    comparedExamples(experiments: $experiments, where: $where, first: 10, after: $after) {
      totalCount { value } pageInfo { hasNextPage endCursor } nodes { exampleId cells { runIds scores { metric mean } } }
    }
  }`;
  const where = { metric: 'correct', passedBy: [ids.get('baseline')], failedBy: [ids.get('worse')] };
  const seen: string[] = [];
  let after: string | undefined;
  for (;;) {
    const { comparedExamples } = await ask<{
      comparedExamples: {
        totalCount: { value: number };
        pageInfo: { hasNextPage: boolean; endCursor: string };
        nodes: { exampleId: string }[];
      };
    }>(harness, pageOf, { experiments, where, after });
    expect(comparedExamples.totalCount.value).toBe(16);
    seen.push(...comparedExamples.nodes.map(({ exampleId }) => exampleId));
    if (!comparedExamples.pageInfo.hasNextPage) break;
    after = comparedExamples.pageInfo.endCursor;
  }
  expect(seen).toEqual(
    examples.filter((_, index) => good(index) === 1 && bad(index) === 0).map(({ id }) => id),
  );
});

const call = async (...args: string[]): Promise<{ code: number; out: string; err: string }> => {
  let out = '';
  let err = '';
  const code = await runGate(args, {
    env: { TRACEWELL_URL: `${harness.url}/api/v1/`, TRACEWELL_API_KEY: harness.keys.first.secret },
    out: (text) => (out += text),
    err: (text) => (err += text),
  });
  return { code, out, err };
};

test('the command answers with its exit code, a table, JSON and Markdown', async () => {
  const json = path.join(folder, 'gate.json');
  const markdown = path.join(folder, 'gate.md');
  const rules = path.join(folder, 'rules.json');
  await writeFile(rules, JSON.stringify([{ kind: 'no_regression', metrics: ['correct'] }]));
  const baseline = ['--baseline', 'baseline'];
  const passed = await call('--candidate', 'same', ...baseline, '--json', json, '--markdown', markdown);
  expect(passed).toMatchObject({ code: 0, err: '' });
  expect(passed.out).toContain('PASS: commit-1 may be released.');
  expect(passed.out).toContain('95 %');
  expect(JSON.parse(await readFile(json, 'utf8'))).toMatchObject({ verdict: 'PASS', blocks: false });
  expect(await readFile(markdown, 'utf8')).toContain('### Gate: PASS');

  expect(await call('--candidate', 'worse', ...baseline)).toMatchObject({ code: 1 });
  const failed = await call(
    '--candidate',
    'worse',
    ...baseline,
    '--rules',
    rules,
    '--ref',
    'v2',
    '--json',
    '-',
  );
  expect(failed.code).toBe(1);
  expect(JSON.parse(failed.out)).toMatchObject({
    verdict: 'FAIL',
    candidateRef: 'v2',
    conclusion: 'FAIL: v2 is blocked.',
  });

  expect(await call('--candidate', 'patchy', ...baseline, '--rules', rules)).toMatchObject({ code: 2 });
  // One failure of a gate that wants two. Its intervals are those of its own level.
  const once = await call('--candidate', 'worse', ...baseline, '--gate', 'release', '--ref', 'v3');
  expect(once.code).toBe(2);
  expect(once.out).toContain('99 %');
  expect(
    await call('--candidate', 'worse again', ...baseline, '--gate', 'release', '--ref', 'v3'),
  ).toMatchObject({
    code: 1,
  });
});

test('an experiment whose client goes on is waited for, and warned of', async () => {
  const key = harness.keys.first.secret;
  const id = await experiment('going on', good, {}, undefined, false);
  const ask2 = { candidate: named('going on'), baseline: named('baseline') };
  const { evaluation } = await evaluate(ask2);
  expect(evaluation).toMatchObject({
    verdict: 'PASS',
    report: {
      warnings: expect.arrayContaining([`The client of experiment ${id} has not said that it has ended.`]),
    },
  });
  const run = {
    id: v7(),
    name: 'Target',
    run_type: 'chain',
    session_name: 'going on',
    start_time: new Date().toISOString(),
    reference_example_id: examples[0]!.id,
    inputs: {},
  };
  expect((await harness.http('/runs', { key, body: run })).status).toBe(202);
  expect(await evaluate(ask2)).toMatchObject({
    evaluation: null,
    errors: [{ code: 'CONFLICT', message: 'The experiment "going on" has not finished.' }],
  });
  const candidate = ['--candidate', 'going on', '--baseline', 'baseline'];
  expect(await call(...candidate)).toMatchObject({ code: 2, out: '' });
  const waiting = call(...candidate, '--wait', '60');
  const ended = { end_time: new Date().toISOString(), outputs: { answer: 0 } };
  expect((await harness.http(`/runs/${run.id}`, { key, method: 'PATCH', body: ended })).status).toBe(202);
  // Nothing is under way any more; the client has still not said that this is all.
  expect(await call(...candidate, '--wait', '1')).toMatchObject({ code: 2, out: '' });
  const metadata = { dataset_version: new Date().toISOString() };
  const told = await harness.http(`/sessions/${id}`, { key, method: 'PATCH', body: { extra: { metadata } } });
  expect(told.status).toBe(200);
  expect(await waiting).toMatchObject({ code: 0, err: '' });
}, 60_000);

test('a question that cannot be asked is neither a pass nor a failure', async () => {
  expect(await call()).toMatchObject({
    code: 3,
    err: '--candidate is missing. See tracewell gate --help.\n',
  });
  expect(await call('--candidate', 'nobody', '--baseline', 'baseline')).toMatchObject({
    code: 3,
    err: 'candidate: There is no such experiment.\n',
  });
  expect(await call('--candidate', 'same', '--unknown')).toMatchObject({ code: 3 });
  expect(await call('--candidate', 'same', '--baseline', 'baseline', '--api-key', 'wrong')).toMatchObject({
    code: 3,
  });
  expect(await call('--candidate', 'same', '--url', 'http://127.0.0.1:9')).toMatchObject({ code: 3 });
  expect(await call('--help')).toMatchObject({ code: 0 });
});

test('examples that changed between the versions of two experiments are left out, with a warning', async () => {
  const before = await experiment('before the change', good, { dataset_version: new Date().toISOString() });
  const { pool } = harness.database;
  const { workspaceId } = harness.home;
  const ids = examples.slice(0, 15).map(({ id }) => id);
  await pool.query(
    `update examples set until_version = 2
     where workspace_id = $1 and dataset_id = $2 and id = any($3::uuid[]) and since_version = 1`,
    [workspaceId, datasetId, ids],
  );
  await pool.query(
    `insert into examples (workspace_id, dataset_id, id, since_version, name, inputs, outputs, metadata, splits,
       inputs_hash, content_hash, created_at, modified_at)
     select workspace_id, dataset_id, id, 2, name, inputs, '{"answer": "another"}', metadata, splits, inputs_hash,
       sha256('another'), created_at, now()
     from examples where workspace_id = $1 and dataset_id = $2 and id = any($3::uuid[]) and since_version = 1`,
    [workspaceId, datasetId, ids],
  );
  await pool.query(
    `insert into dataset_versions (workspace_id, dataset_id, version, created_at, added, modified, removed)
     values ($1, $2, 2, clock_timestamp(), 0, 15, 0)`,
    [workspaceId, datasetId],
  );
  await pool.query('update datasets set version = 2 where workspace_id = $1 and id = $2', [
    workspaceId,
    datasetId,
  ]);
  const after = await experiment('after the change', bad, { dataset_version: new Date().toISOString() });
  const { compareExperiments } = await ask<{
    compareExperiments: { results: unknown[]; warnings: string[] };
  }>(
    harness,
    `query ($experiments: ComparedExperimentsInput!) {
      compareExperiments(experiments: $experiments, settings: { metrics: ["correct"] }) {
        results { pairs changedExamples unpaired { baseline candidate } } warnings
      }
    }`,
    { experiments: { baseline: before, candidates: [after] } },
  );
  expect(compareExperiments).toEqual({
    results: [{ pairs: 25, changedExamples: 15, unpaired: { baseline: 0, candidate: 0 } }],
    warnings: [
      `15 examples of experiment ${after} are not those of the baseline any more: the dataset changed. They are left out.`,
    ],
  });
});

test('pages of compared examples are computed once, on a thread, until something changes', async () => {
  const key = harness.keys.first.secret;
  const [baselineId, candidateId] = [
    await experiment('paged baseline', good),
    await experiment('paged', bad),
  ];
  let loads = 0;
  const scores = new ExperimentScoresStore({ db: harness.app.reads, maxRows: 30 });
  const read = scores.read.bind(scores);
  scores.read = (...args) => {
    loads += 1;
    return read(...args);
  };
  const asked: string[] = [];
  const tasks = { compare, matrix };
  const threads = {
    run: (name: keyof typeof tasks, input: never) => {
      asked.push(name);
      return Promise.resolve(tasks[name](input));
    },
  };
  const service = new ComparisonService({
    scores,
    store: new ComparisonStore({ db: harness.app.reads }),
    configs: harness.app.feedbackConfigs,
    threads: threads as never,
  });
  const principal: Principal = {
    keyId: 'key',
    kind: 'service',
    organizationId: '',
    workspaceId: harness.home.workspaceId,
    userId: undefined,
    scopes: new Set(['read']),
    expiresAtMs: undefined,
  };
  const lost = { metric: 'correct', passAt: 1, passedBy: [baselineId], failedBy: [candidateId] };
  const page = (condition: MatrixCondition = lost) =>
    inWorkspace(harness.home.workspaceId, () =>
      service.matrix(principal, baselineId, [candidateId], ['correct'], condition),
    );
  const first = await page();
  expect(await page()).toBe(first);
  expect({ loads, asked }).toEqual({ loads: 2, asked: ['matrix'] });
  await page({ ...lost, failedBy: [] });
  expect(loads).toBe(4);
  const changed = first[0]?.cells[1]?.runIds[0];
  const body = { run_id: changed, trace_id: changed, session_id: candidateId, key: 'correct', score: 1 };
  expect((await harness.http('/feedback', { key, body })).status).toBe(200);
  const fresh = await page();
  expect(loads).toBe(6);
  expect(fresh.length).toBe(first.length);
  expect(fresh).not.toBe(first);
  // Rows that are left out are told of.
  const { warnings } = await inWorkspace(harness.home.workspaceId, () =>
    service.compare(principal, baselineId, [candidateId], { metrics: ['correct'] }),
  );
  expect(warnings).toEqual(
    [baselineId, candidateId].map(
      (id) => `Experiment ${id} has 30 rows or more; those behind them are left out.`,
    ),
  );
});
