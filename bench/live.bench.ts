/**
 * Promise: with 100 subscribers of a project, an event reaches 95 % of them within 50 ms of its commit. Measured from
 * the acknowledgement of the batch, which follows the commit, to the arrival at each subscriber.
 */
import { createClient } from 'graphql-ws';
import WebSocket from 'ws';
import { percentile, send } from './support/measure.js';
import { wireRun } from './support/runs.js';
import { API_KEY, startSystem } from './support/system.js';

const SUBSCRIBERS = 100;
// A key may hold 20 sockets.
const SOCKETS = 20;
const BATCHES = 200;
const RUNS_PER_BATCH = 5;
const PAUSE_MS = 50;

const system = await startSystem();
const closers: (() => unknown)[] = [];
try {
  const gateway = await system.gateway();
  const headers = { 'content-type': 'application/json', 'x-api-key': API_KEY };
  const post = async (path: string, payload: object): Promise<string> => {
    const { status, body } = await send(`${gateway.url}${path}`, {
      method: 'POST',
      headers,
      body: Buffer.from(JSON.stringify(payload)),
    });
    if (status >= 300) throw new Error(`${status} ${body.toString().slice(0, 300)}`);
    return body.toString();
  };
  await post('/runs/batch', { post: [wireRun('small')], patch: [] });
  const found = JSON.parse(await post('/graphql', { query: '{ project(name: "bench") { id } }' })) as {
    data: { project: { id: string } };
  };

  const acknowledged = new Map<string, number>();
  const arrivals: { id: string; at: number }[] = [];
  let ready = 0;
  const clients = Array.from({ length: SOCKETS }, () =>
    createClient({
      url: `${gateway.url.replace('http', 'ws')}/graphql`,
      webSocketImpl: WebSocket,
      lazy: false,
      connectionParams: { apiKey: API_KEY },
    }),
  );
  closers.push(...clients.map((client) => () => client.dispose()));
  for (let subscriber = 0; subscriber < SUBSCRIBERS; subscriber += 1) {
    const client = clients[subscriber % SOCKETS]!;
    client.subscribe<{ runEvents: { __typename: string; run?: { uuid: string } } }>(
      {
        query:
          'subscription ($project: ID!) { runEvents(project: $project) { __typename ... on RunChange { run { uuid name status latencySeconds } } } }',
        variables: { project: found.data.project.id },
      },
      {
        next: ({ data }) => {
          if (data?.runEvents.__typename === 'Ready') ready += 1;
          if (data?.runEvents.run !== undefined) {
            arrivals.push({ id: data.runEvents.run.uuid, at: performance.now() });
          }
        },
        error: (error) => process.stderr.write(`subscriber failed: ${JSON.stringify(error)}\n`),
        complete: () => undefined,
      },
    );
  }
  const until = async (what: string, done: () => boolean): Promise<void> => {
    const deadline = Date.now() + 30_000;
    while (!done()) {
      if (Date.now() > deadline) throw new Error(`${what} took too long`);
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
  };
  await until('subscribing', () => ready === SUBSCRIBERS);

  for (let batch = 0; batch < BATCHES; batch += 1) {
    const runs = Array.from({ length: RUNS_PER_BATCH }, () => wireRun('small'));
    await post('/runs/batch', { post: runs, patch: [] });
    const now = performance.now();
    for (const run of runs) acknowledged.set(run.id, now);
    await new Promise((resolve) => setTimeout(resolve, PAUSE_MS));
  }
  await until('delivery', () => arrivals.length >= BATCHES * RUNS_PER_BATCH * SUBSCRIBERS);
  const ms = arrivals.map(({ id, at }) => Math.max(0, at - (acknowledged.get(id) ?? at)));
  const p95 = percentile(ms, 0.95);
  process.stdout.write(
    `| commit → subscriber, ${SUBSCRIBERS} subscribers, ${BATCHES * RUNS_PER_BATCH} runs | p50 ${percentile(ms, 0.5).toFixed(1)} ms, p95 ${p95.toFixed(1)} ms, ` +
      `max ${Math.max(...ms).toFixed(1)} ms | absolute | ${arrivals.length} of ${BATCHES * RUNS_PER_BATCH * SUBSCRIBERS} delivered | p95 ≤ 50 ms | ${p95 <= 50 ? 'met' : 'MISSED'} |\n`,
  );
} finally {
  for (const close of closers) await close();
  await system.stop();
}
