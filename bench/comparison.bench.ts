/**
 * Promise: comparing two experiments of 10,000 rows (5,000 examples × 2 repetitions, 5 scores each) over GraphQL takes at
 * most 5 times what a script takes that reads the same rows and does nothing but average them, although intervals and
 * p-values of nine metrics are resampled; and the gateway goes on answering others meanwhile.
 */
import { setTimeout as wait } from 'node:timers/promises';
import pg from 'pg';
import { v7 } from 'uuid';
import { HEADER, percentile, report, send } from './support/measure.js';
import { API_KEY, startSystem } from './support/system.js';

const ROUNDS = 5;
const EXAMPLES = 5_000;
const REPETITIONS = 2;
const KEYS = ['correctness', 'helpfulness', 'faithfulness', 'tone', 'brevity'];
const BATCH = 500;

const system = await startSystem();
const client = new pg.Client({
  connectionString: system.databaseUrl,
  options: '-c app.workspace_id=*',
});
try {
  const gateway = await system.gateway();
  await client.connect();
  const headers = { 'content-type': 'application/json', 'x-api-key': API_KEY };
  const post = async (path: string, body: unknown): Promise<Record<string, unknown>> => {
    const answer = await send(`${gateway.url}${path}`, {
      method: 'POST',
      headers,
      body: Buffer.from(JSON.stringify(body)),
    });
    if (answer.status >= 300) throw new Error(`${answer.status} ${answer.body.toString().slice(0, 500)}`);
    return JSON.parse(answer.body.toString()) as Record<string, unknown>;
  };

  const dataset = await post('/datasets', { name: 'bench' });
  const examples = Array.from({ length: EXAMPLES }, () => v7());
  const experiment = async (name: string): Promise<string> => {
    const { id } = await post('/sessions', { name, reference_dataset_id: dataset['id'] });
    const runs = examples.flatMap((example) =>
      Array.from({ length: REPETITIONS }, () => {
        const run = v7();
        const start = new Date().toISOString();
        return {
          id: run,
          trace_id: run,
          dotted_order: `${start.replace(/[-:.Z]/g, '')}000Z${run}`,
          start_time: start,
          end_time: new Date(Date.now() + 1_000).toISOString(),
          name: 'Target',
          run_type: 'chain',
          session_name: name,
          reference_example_id: example,
          inputs: { question: 'which' },
          outputs: { answer: 'this' },
        };
      }),
    );
    for (let at = 0; at < runs.length; at += BATCH) {
      await post('/runs/batch', { post: runs.slice(at, at + BATCH), patch: [] });
    }
    // One feedback per run and key, as clients would have sent them.
    await client.query(
      `insert into feedback (workspace_id, id, run_id, trace_id, project_id, key, score, source_type, source, created_at, updated_at)
       select r.workspace_id, gen_random_uuid(), r.id, r.trace_id, r.project_id, k.key, round(random()::numeric, 2), 'model', '{}', now(), now()
       from runs r, unnest($2::text[]) k (key) where r.project_id = $1`,
      [id, KEYS],
    );
    return String(id);
  };
  const [baseline, candidate] = [await experiment('a'), await experiment('b')];
  await client.query('analyze runs, feedback');

  const query = `query ($experiments: ComparedExperimentsInput!) {
    compareExperiments(experiments: $experiments) { results { metric verdict pairs delta interval { lower upper } adjustedPValue } }
  }`;
  const ours = async (): Promise<number> => {
    const started = performance.now();
    const { data } = (await post('/graphql', {
      query,
      variables: { experiments: { baseline, candidates: [candidate] } },
    })) as { data: { compareExperiments: { results: { pairs: number }[] } } };
    if (data.compareExperiments.results[0]?.pairs !== EXAMPLES) throw new Error(JSON.stringify(data));
    return performance.now() - started;
  };
  const bare = async (): Promise<number> => {
    const started = performance.now();
    for (const id of [baseline, candidate]) {
      const { rows } = await client.query<{ example: string; key: string; score: number }>(
        `select r.reference_example_id as example, f.key, f.score
         from runs r join feedback f on f.workspace_id = r.workspace_id and f.run_id = r.id
         where r.project_id = $1 and r.parent_run_id is null`,
        [id],
      );
      const means = new Map<string, { sum: number; n: number }>();
      for (const { example, key, score } of rows) {
        const mean = means.get(`${example} ${key}`) ?? { sum: 0, n: 0 };
        mean.sum += score;
        mean.n += 1;
        means.set(`${example} ${key}`, mean);
      }
      if (means.size !== EXAMPLES * KEYS.length) throw new Error('rows are missing');
    }
    return performance.now() - started;
  };

  /** How long others wait for the smallest request, in milliseconds, while `work` goes on. */
  const delays = async (work: Promise<unknown>): Promise<number[]> => {
    const found: number[] = [];
    let going = true;
    const done = work.finally(() => (going = false));
    while (going) {
      const started = performance.now();
      await send(`${gateway.url}/healthz`, { method: 'GET' });
      found.push(performance.now() - started);
      await wait(5);
    }
    await done;
    return found;
  };

  process.stdout.write(HEADER);
  await ours();
  await bare();
  const rounds = { ours: [] as number[], baseline: [] as number[] };
  for (let round = 0; round < ROUNDS; round += 1) {
    rounds.ours.push(await ours());
    rounds.baseline.push(await bare());
  }
  report({
    name: 'comparison of two experiments of 10,000 rows, 9 metrics, against reading and averaging their scores',
    unit: 'ms',
    goal: '≤ 5.0',
    met: (ratio) => ratio <= 5,
    ...rounds,
  });
  const waited = await delays(ours());
  const worst = Math.max(...waited).toFixed(0);
  process.stdout.write(
    `| others meanwhile: GET /healthz | p50 ${percentile(waited, 0.5).toFixed(1)} ms, max ${worst} ms | absolute | ${waited.length} requests | | |\n`,
  );
} finally {
  await client.end();
  await system.stop();
}
