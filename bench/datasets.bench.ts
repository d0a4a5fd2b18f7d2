/**
 * Promise: an import of 50,000 examples as one checked, hashed, versioned write reaches 0.3 of a bare loop that parses
 * the same lines and COPYs them into a table with the same columns and primary key. Files of 1 kB per example.
 */
import { pipeline } from 'node:stream/promises';
import { Readable } from 'node:stream';
import pg from 'pg';
import { from as copyFrom } from 'pg-copy-streams';
import { v7 } from 'uuid';
import { CopyBuffer } from '../src/ingest/copy-binary.js';
import { HEADER, report, send } from './support/measure.js';
import { API_KEY, startSystem } from './support/system.js';

const ROUNDS = 5;
const EXAMPLES = 50_000;
const BATCH = 1_000;

interface Line {
  readonly inputs: object;
  readonly outputs: object;
  readonly metadata: object;
}

const words = 'reasons answers questions causes because therefore however '.split(' ');
const text = (n: number, length: number): string => {
  let made = '';
  for (let index = n; made.length < length; index = (index * 31 + 7) % 1_009) {
    made += `${words[index % 7] ?? ''} ${index} `;
  }
  return made.slice(0, length);
};

const file = Buffer.from(
  Array.from({ length: EXAMPLES }, (_, n) => {
    const line: Line = {
      inputs: { question: text(n, 400), context: [{ id: n, text: text(n + 1, 200) }] },
      outputs: { answer: text(n + 2, 250) },
      metadata: { topic: words[n % 7] ?? '', difficulty: n % 5 },
    };
    return `${JSON.stringify(line)}\n`;
  }).join(''),
);

const system = await startSystem();
const client = new pg.Client({ connectionString: system.databaseUrl });
try {
  const gateway = await system.gateway();
  await client.connect();
  await client.query(
    'create table bare_examples (id uuid primary key, inputs json, outputs json, metadata jsonb)',
  );
  const headers = { 'content-type': 'application/json', 'x-api-key': API_KEY };

  const post = async (
    path: string,
    body: Buffer,
    type = headers['content-type'],
  ): Promise<Record<string, unknown>> => {
    const answer = await send(`${gateway.url}${path}`, {
      method: 'POST',
      headers: { ...headers, 'content-type': type },
      body,
    });
    const said = answer.body.toString();
    if (answer.status !== 200) throw new Error(`${answer.status} ${said.slice(0, 500)}`);
    return JSON.parse(said) as Record<string, unknown>;
  };

  const ours = async (round: number): Promise<number> => {
    const query = `mutation { createDataset(input: { name: "bench ${round} ${v7()}" }) { dataset { uuid } } }`;
    const made = (await post('/graphql', Buffer.from(JSON.stringify({ query })))) as {
      data: { createDataset: { dataset: { uuid: string } } };
    };
    const started = performance.now();
    const path = `/datasets/${made.data.createDataset.dataset.uuid}/import?format=jsonl`;
    const outcome = await post(path, file, 'application/x-ndjson');
    if (outcome['imported'] !== EXAMPLES) throw new Error(JSON.stringify(outcome));
    return (EXAMPLES * 1_000) / (performance.now() - started);
  };

  const bare = async (): Promise<number> => {
    const started = performance.now();
    await client.query('begin');
    const lines = file.toString().split('\n').slice(0, EXAMPLES);
    for (let at = 0; at < lines.length; at += BATCH) {
      const buffer = new CopyBuffer(BATCH * 1_500);
      for (const one of lines.slice(at, at + BATCH)) {
        const { inputs, outputs, metadata } = JSON.parse(one) as Line;
        buffer.row(4);
        buffer.uuid(v7());
        buffer.text(JSON.stringify(inputs));
        buffer.text(JSON.stringify(outputs));
        buffer.jsonb(JSON.stringify(metadata));
      }
      const stream = client.query(copyFrom('copy bare_examples from stdin (format binary)'));
      await pipeline(Readable.from([buffer.finish()]), stream);
    }
    await client.query('commit');
    return (EXAMPLES * 1_000) / (performance.now() - started);
  };

  process.stdout.write(HEADER);
  await ours(-1);
  await bare();
  const rounds = { ours: [] as number[], baseline: [] as number[] };
  for (let round = 0; round < ROUNDS; round += 1) {
    rounds.ours.push(await ours(round));
    rounds.baseline.push(await bare());
  }
  report({
    name: 'import of 50,000 examples over HTTP',
    unit: 'examples/s',
    goal: '≥ 0.30',
    met: (ratio) => ratio >= 0.3,
    ...rounds,
  });
} finally {
  await client.end();
  await system.stop();
}
