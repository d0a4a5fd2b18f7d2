/**
 * An experiment of 200 examples, three repetitions and four evaluators against a model server that is slow, busy,
 * hangs and talks nonsense, carried out by two workers that are killed ten times. In the end every row has exactly one
 * result per evaluator, judges that failed are errors and no scores, and the spend is what the server has billed.
 */
import { afterEach, expect, test } from '@jest/globals';
import { randomUUID } from 'node:crypto';
import {
  addEvaluator,
  addProvider,
  insertDataset,
  judgeConfig,
  look,
  startExperiment,
  untilState,
} from '../experiments/world.js';
import type { Seen, Site } from '../experiments/world.js';
import { createTestDatabase } from '../support/database.js';
import { eventually } from '../support/eventually.js';
import { ENGINES, ownRedis } from '../support/harness.js';
import type { GraphqlAnswer } from '../support/harness.js';
import { startModelServer } from '../support/model-server.js';
import { API_KEY, installOn, startGateway, startWorker } from '../support/processes.js';

const EXAMPLES = 200;
const REPETITIONS = 3;
const EVALUATORS = 4;
const KILLS = 10;

const closing: (() => Promise<void>)[] = [];
afterEach(async () => {
  for (const close of closing.splice(0).reverse()) await close();
});

const evaluated = ({ progress }: Seen): number =>
  progress.evaluators.reduce((sum, { scored, failed, skipped }) => sum + scored + failed + skipped, 0);

test.each(ENGINES)(
  'ten killed workers lose and double nothing (%s)',
  async (engine) => {
    const model = await startModelServer({
      seed: 7,
      delayMs: [2, 40],
      // The provider knows a call that is made again by its key, as those do that bill it once.
      remembersKeys: true,
      faults: {
        rateLimited: 0.03,
        serverError: 0.02,
        hang: 0.005,
        reset: 0.01,
        brokenJson: 0.01,
        prose: 0.02,
        wrongSchema: 0.02,
      },
    });
    closing.push(() => model.close());
    const database = await createTestDatabase();
    closing.push(() => database.drop());
    const { workspaceId } = await installOn(database.url);
    const redisUrl = await ownRedis(engine);
    const options = {
      databaseUrl: database.url,
      redisUrl,
      env: {
        OUTBOUND_ALLOWED_PRIVATE_HOSTS: model.host,
        ...(redisUrl !== undefined && { ALLOW_VOLATILE_REDIS: 'true' }),
      },
    };
    const gateway = await startGateway(options);
    closing.push(() => gateway.stop());
    const workers = await Promise.all([startWorker(options), startWorker(options)]);
    closing.push(async () => {
      await Promise.all(workers.map((worker) => worker.stop()));
    });
    const site: Site = {
      database,
      home: { workspaceId },
      keys: { first: { secret: API_KEY } },
      gql: async (query, variables = {}) => {
        const response = await fetch(`${gateway.url}/graphql`, {
          method: 'POST',
          headers: { 'content-type': 'application/json', 'x-api-key': API_KEY },
          body: JSON.stringify({ query, variables }),
        });
        const text = await response.text();
        const body = JSON.parse(text) as GraphqlAnswer['body'];
        return { status: response.status, text, headers: response.headers, body };
      },
    };

    const providerId = await addProvider(site, model.baseUrl, { maxConcurrency: 24, timeout: 1 });
    const datasetId = await insertDataset(
      site,
      Array.from({ length: EXAMPLES }, (_, index) => ({
        id: randomUUID(),
        inputs: { question: `question ${index}` },
        outputs: { answer: `answer ${index}` },
      })),
    );
    await addEvaluator(site, 'exact', 'EXACT_MATCH', { outputPath: '/output', referencePath: '/answer' });
    await addEvaluator(site, 'short', 'LENGTH', { outputPath: '/output', unit: 'characters', max: 1_000 });
    await addEvaluator(site, 'quality', 'LLM_JUDGE', judgeConfig(providerId));
    await addEvaluator(site, 'tone', 'LLM_JUDGE', judgeConfig(providerId, { model: 'other', repeats: 2 }));
    const id = await startExperiment(site, {
      name: `hard ${engine}`,
      datasetId,
      target: {
        model: { providerId, model: 'target', messages: [{ role: 'USER', content: '{{inputs.question}}' }] },
      },
      evaluators: [{ name: 'exact' }, { name: 'short' }, { name: 'quality' }, { name: 'tone' }],
      repetitions: REPETITIONS,
      concurrency: 24,
      maxAttempts: 10,
      useCache: false,
    });

    const all = EXAMPLES * REPETITIONS * EVALUATORS;
    for (let kill = 1; kill <= KILLS; kill += 1) {
      // Each kill finds work under way: neither the first nor the last of it.
      await eventually(
        async () => {
          const seen = await look(site, id);
          if (evaluated(seen) < (all * kill) / (KILLS + 2)) {
            throw new Error(`only ${evaluated(seen)} are evaluated`);
          }
        },
        { timeoutMs: 120_000, everyMs: 50 },
      );
      workers[kill % 2]?.kill();
    }
    const seen = await untilState(site, id, 'COMPLETED', 180_000);

    const { rows, evaluators } = seen.progress;
    expect(rows).toMatchObject({ total: EXAMPLES * REPETITIONS, pending: 0, running: 0, cached: 0 });
    expect(evaluated(seen)).toBe(all);
    for (const { scored, failed, skipped } of evaluators) {
      expect(scored + failed + skipped).toBe(EXAMPLES * REPETITIONS);
    }
    const { rows: doubled } = await database.pool.query(
      `select run_id, key from feedback group by run_id, key having count(*) > 1`,
    );
    expect(doubled).toEqual([]);
    const { rows: stored } = await database.pool.query<{
      key: string;
      state: string;
      units: number;
      feedback: number;
    }>(
      `select v.feedback_key as key, s.state, count(distinct (s.example_id, s.repetition))::int as units,
         count(f.id)::int as feedback
       from experiment_results s
       join evaluator_versions v on v.id = s.evaluator_version_id
       join experiment_rows u on u.experiment_id = s.experiment_id and u.example_id = s.example_id and u.repetition = s.repetition
       left join feedback f on f.run_id = u.run_id and f.key = v.feedback_key
       where s.experiment_id = $1
       group by 1, 2`,
      [id],
    );
    for (const { state, units, feedback } of stored) expect(feedback).toBe(state === 'scored' ? units : 0);
    // What the judge said in prose is no score.
    const quality = stored.find(({ key, state }) => key === 'quality' && state === 'failed');
    expect(quality?.units).toBeGreaterThan(0);
    const { rows: roots } = await database.pool.query<{ runs: number }>(
      `select count(*)::int as runs from runs where project_id = $1 and parent_run_id is null`,
      [id],
    );
    expect(roots[0]?.runs).toBe(EXAMPLES * REPETITIONS);
    expect(Number(seen.execution.spend)).toBeCloseTo(Number(model.spent()), 10);
  },
  420_000,
);
