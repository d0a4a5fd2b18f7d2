/* eslint-disable @typescript-eslint/no-deprecated -- what applications in the field still call */
/**
 * The unmodified client's `evaluate()` over a dataset made of an agent's stored runs, against the product as processes,
 * with and without Redis: what it sends comes back equal through its own reads and through GraphQL.
 */
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import type { Client, Example, Run } from 'langsmith';
import { evaluate, evaluateComparative } from 'langsmith/evaluation';
import { sendConversation, someConversations } from '../support/tau-bench.js';
import type { Conversation } from '../support/tau-bench.js';
import { eventually } from '../support/eventually.js';
import { API_KEY } from '../support/processes.js';
import { ENGINES, startProduct } from './product.js';
import type { Product } from './product.js';

const conversations = someConversations();

const DATASET = 'tau-bench airline';
const REPETITIONS = 2;
const TASKS = 25;

const byTask = new Map<number, Conversation[]>();
for (const conversation of conversations) {
  if (conversation.task_id >= TASKS) continue;
  const trials = byTask.get(conversation.task_id) ?? [];
  trials[conversation.trial] = conversation;
  byTask.set(conversation.task_id, trials);
}

let product: Product;
let client: Client;

async function collect<T>(items: AsyncIterable<T>): Promise<T[]> {
  const all: T[] = [];
  for await (const item of items) all.push(item);
  return all;
}

interface Stats {
  run_count: number;
  reference_dataset_id: string;
  feedback_stats: Record<string, { n: number; avg: number }>;
  session_feedback_stats: Record<string, { n: number; avg: number }>;
}

/** Statistics as they go over the wire; the client's type has them as plain objects. */
const statsOf = async (projectName: string): Promise<Stats> =>
  (await client.readProject({ projectName, includeStats: true })) as unknown as Stats;

interface Answer {
  readonly reward: number;
  readonly answer: string | null;
}

/** What the recorded agent answered, the next trial of a task at each call. */
function recordedAgent(offset: number): (inputs: { task_id: number }) => Promise<Answer> {
  const calls = new Map<number, number>();
  return async ({ task_id: task }) => {
    const call = calls.get(task) ?? 0;
    calls.set(task, call + 1);
    const trial = byTask.get(task)?.[offset + (call % REPETITIONS)];
    if (trial === undefined) throw new Error('no such trial');
    await Promise.resolve();
    return { reward: trial.reward, answer: trial.traj.at(-1)?.content ?? null };
  };
}

const rewarded = ({ run }: { run: Run }) => ({
  key: 'reward',
  score: (run.outputs as Answer).reward,
  comment: 'as recorded',
});
/** Whether it answers as it did in the run the example was made of. */
const same = ({ run, example }: { run: Run; example: Example }) => ({
  key: 'same',
  score: (run.outputs as Answer).answer === (example.outputs as Answer).answer,
});
const meanReward = ({ runs }: { runs: Run[] }) => ({
  key: 'mean_reward',
  score: runs.reduce((sum, { outputs }) => sum + (outputs as { reward: number }).reward, 0) / runs.length,
});

const run = (prefix: string, offset: number) =>
  evaluate(recordedAgent(offset), {
    data: DATASET,
    evaluators: [rewarded, same],
    summaryEvaluators: [meanReward],
    numRepetitions: REPETITIONS,
    maxConcurrency: 4,
    experimentPrefix: prefix,
    metadata: { model: 'gpt-4o', trials: `${offset}-${offset + 1}` },
    client,
  });

/** The agent as it was traced in its first trial of each task. */
async function traceFirstTrials(): Promise<{ task: number; id: string }[]> {
  const startMs = Math.floor(Date.now() / 1_000) * 1_000 - 3_600_000;
  const traces = await Promise.all(
    [...byTask.values()].map(([first], index) =>
      sendConversation(client, first!, { project: 'agent', startMs: startMs + index * 10_000 }),
    ),
  );
  await client.awaitPendingTraceBatches();
  await eventually(async () => {
    const stored = await collect(client.listRuns({ projectName: 'agent', isRoot: true }));
    expect(stored.filter(({ end_time: end }) => end)).toHaveLength(TASKS);
  });
  return traces.map(({ conversation, feedback }) => ({ task: conversation.task_id, id: feedback.runId }));
}

describe.each(ENGINES)('on %s', (engine) => {
  beforeAll(async () => {
    product = await startProduct(engine);
    client = product.client();
  }, 60_000);
  afterAll(() => product.close());

  test('evaluate() with repetitions, row and summary evaluators comes back whole', async () => {
    const dataset = await client.createDataset(DATASET, {
      description: 'fifty tasks, four trials',
      metadata: { origin: 'tau' },
    });
    const roots = await traceFirstTrials();
    for (const split of ['even', 'odd']) {
      const wanted = roots.filter(({ task }) => (task % 2 === 0) === (split === 'even'));
      const { createExamplesFromRuns: made } = await product.query<{
        createExamplesFromRuns: { exampleIds: string[]; errors: { message: string }[] };
      }>(
        `mutation ($input: CreateExamplesFromRunsInput!) {
        createExamplesFromRuns(input: $input) { exampleIds errors { message } }
      }`,
        {
          input: {
            datasetId: dataset.id,
            runIds: wanted.map(({ id }) => id),
            splits: [split],
            mapping: {
              inputs: [
                { from: '/metadata/task_id', to: 'task_id' },
                { from: '/inputs/instruction', to: 'instruction' },
              ],
              metadata: [{ from: '/metadata/thread_id', to: 'thread' }],
            },
          },
        },
      );
      expect(made.errors).toEqual([]);
      expect(made.exampleIds).toHaveLength(wanted.length);
    }
    const examples = await collect(client.listExamples({ datasetId: dataset.id }));
    expect(examples).toHaveLength(TASKS);
    for (const { inputs, outputs, metadata, source_run_id: source } of examples) {
      const task = roots.find(({ id }) => id === source)?.task ?? -1;
      const [first] = byTask.get(task) ?? [];
      expect(inputs).toEqual({ task_id: task, instruction: first!.info.task.instruction });
      expect(outputs).toEqual({ reward: first!.reward, answer: first!.traj.at(-1)?.content ?? null });
      expect(metadata).toEqual({
        thread: `customer-${first!.info.task.user_id}`,
        dataset_split: [task % 2 === 0 ? 'even' : 'odd'],
      });
    }

    const results = await run('trials-0-1', 0);
    expect(results.results).toHaveLength(TASKS * REPETITIONS);
    await client.awaitPendingTraceBatches();

    // The client's own reads.
    const runs = await eventually(async () => {
      const found = await collect(client.listRuns({ projectName: results.experimentName, isRoot: true }));
      expect(found).toHaveLength(TASKS * REPETITIONS);
      expect(found.every(({ end_time: end }) => end)).toBe(true);
      return found;
    });
    const expected = new Map(results.results.map((result) => [result.run.id, result]));
    for (const found of runs) {
      const result = expected.get(found.id)!;
      expect(found.outputs).toEqual(result.run.outputs);
      expect(found.reference_example_id).toBe(result.example.id);
    }
    const project = await eventually(async () => {
      const read = await statsOf(results.experimentName);
      expect(read.feedback_stats['reward']?.n).toBe(TASKS * REPETITIONS);
      return read;
    });
    const rewards = results.results.map(({ run: { outputs } }) => (outputs as { reward: number }).reward);
    const mean = rewards.reduce((sum, reward) => sum + reward, 0) / rewards.length;
    expect(project.feedback_stats['reward']?.avg).toBeCloseTo(mean, 6);
    expect(project.session_feedback_stats['mean_reward']?.avg).toBeCloseTo(mean, 4);
    expect(project.reference_dataset_id).toBe(dataset.id);
    expect(project.run_count).toBe(TASKS * REPETITIONS);

    // The same through GraphQL.
    const { experiment } = await product.query<{
      experiment: {
        kind: string;
        datasetId: string;
        metadata: Record<string, unknown>;
        scores: { key: string; n: number; mean: number; errors: number }[];
        rows: {
          nodes: {
            exampleId: string;
            repetition: number;
            run: { uuid: string; outputs: Answer };
            scores: { key: string; score: number }[];
          }[];
        };
      };
    }>(
      `query ($name: String!) {
      experiment(name: $name) {
        kind datasetId metadata
        scores { key n mean errors }
        rows(first: 100) { nodes { exampleId repetition run { uuid outputs } scores { key score } } }
      }
    }`,
      { name: results.experimentName },
    );
    expect(experiment).toMatchObject({
      kind: 'CLIENT',
      datasetId: dataset.id,
      metadata: { model: 'gpt-4o', trials: '0-1', num_repetitions: REPETITIONS },
    });
    const rows = experiment.rows.nodes;
    expect(rows).toHaveLength(TASKS * REPETITIONS);
    expect(rows.map(({ exampleId, repetition }) => `${exampleId} ${repetition}`).sort()).toEqual(
      examples.flatMap(({ id }) => [`${id} 0`, `${id} 1`]).sort(),
    );
    for (const row of rows) {
      const result = expected.get(row.run.uuid)!;
      expect(row.run.outputs).toEqual(result.run.outputs);
      const { reward, answer } = row.run.outputs;
      const reference = result.example.outputs as Answer;
      expect(row.scores.map(({ key, score }) => [key, score]).sort()).toEqual([
        ['reward', reward],
        ['same', answer === reference.answer ? 1 : 0],
      ]);
    }
    expect(experiment.scores.map(({ key, n, errors }) => [key, n, errors]).sort()).toEqual([
      ['reward', TASKS * REPETITIONS, 0],
      ['same', TASKS * REPETITIONS, 0],
    ]);
  });

  test('two experiments of one agent do not differ, and the gate lets the second pass', async () => {
    const [baseline] = await collect(client.listProjects({ referenceDatasetName: DATASET }));
    const second = await run('trials-2-3', 2);
    await client.awaitPendingTraceBatches();
    await eventually(async () => {
      const read = await statsOf(second.experimentName);
      expect(read.feedback_stats['reward']?.n).toBe(TASKS * REPETITIONS);
    });
    const { evaluateGate } = await product.query<{
      evaluateGate: {
        evaluation: { verdict: string; report: { outcomes: { findings: { n: number }[] }[] } };
      };
    }>(
      `mutation ($input: EvaluateGateInput!) {
      evaluateGate(input: $input) { evaluation { verdict report { outcomes { findings { metric n reason } } } } errors { message } }
    }`,
      {
        input: {
          candidate: { name: second.experimentName },
          baseline: { name: baseline!.name },
          rules: [{ kind: 'no_regression', metrics: ['reward'] }],
        },
      },
    );
    expect(evaluateGate.evaluation).toMatchObject({ verdict: 'PASS' });
    expect(evaluateGate.evaluation.report.outcomes[0]!.findings[0]!.n).toBe(TASKS);
  });

  test('experiments are judged in pairs, and read example by example', async () => {
    const experiments = await collect(client.listProjects({ referenceDatasetName: DATASET }));
    const dataset = await client.readDataset({ datasetName: DATASET });
    const names = experiments.map(({ name }) => name!);
    await evaluateComparative([names[0]!, names[1]!], {
      client,
      evaluators: [
        ({ runs }: { runs: Run[] }) => ({
          key: 'preferred',
          scores: Object.fromEntries(
            runs.map((each, index) => [
              each.id,
              (each.outputs as { reward: number }).reward >= 0.5 && index === 0 ? 1 : 0,
            ]),
          ),
        }),
      ],
    });
    const call = async (path: string, body?: unknown): Promise<unknown> => {
      const response = await fetch(`${product.url}${path}`, {
        method: body === undefined ? 'GET' : 'POST',
        headers: { 'x-api-key': API_KEY, 'content-type': 'application/json' },
        ...(body !== undefined && { body: JSON.stringify(body) }),
      });
      expect(response.status).toBe(200);
      return response.json();
    };
    const comparatives = (await call(`/datasets/${dataset.id}/comparative`)) as {
      experiments_info: { name: string }[];
    }[];
    expect(comparatives).toHaveLength(1);
    expect(comparatives[0]!.experiments_info.map(({ name }) => name).sort()).toEqual([...names].sort());

    const rows = (await call(`/datasets/${dataset.id}/runs`, {
      session_ids: experiments.map(({ id }) => id),
      offset: 0,
      limit: 10,
      preview: true,
    })) as {
      id: string;
      runs: { session_id: string; inputs: unknown; outputs_preview: string; feedback_stats: object }[];
    }[];
    expect(rows).toHaveLength(10);
    for (const { runs } of rows) {
      expect(runs).toHaveLength(experiments.length * REPETITIONS);
      expect(runs[0]).toMatchObject({ inputs: null, feedback_stats: { reward: { n: 1 } } });
      expect(runs[0]!.outputs_preview).toContain('reward');
    }
  });

  test('a shared dataset is copied by who holds the link only', async () => {
    const { share_token: token } = await client.shareDataset(undefined, DATASET);
    await client.clonePublicDataset(token, { sourceApiUrl: product.url, datasetName: 'copy' });
    const [original, copy] = await Promise.all(
      [DATASET, 'copy'].map((datasetName) => collect(client.listExamples({ datasetName }))),
    );
    const inputs = (list: Example[]): string[] => list.map((each) => JSON.stringify(each.inputs)).sort();
    expect(inputs(copy!)).toEqual(inputs(original!));
  });
});
