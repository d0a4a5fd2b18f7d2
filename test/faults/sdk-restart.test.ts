import { afterAll, expect, test } from '@jest/globals';
import { Client } from 'langsmith';
import { RunTree } from 'langsmith/run_trees';
import { createTestDatabase } from '../support/database.js';
import { eventually } from '../support/eventually.js';
import { API_KEY, installOn, startGateway, untilReady } from '../support/processes.js';

const RESTARTS = 5;
const RUNS_PER_RESTART = 60;
const closers: (() => Promise<void>)[] = [];
afterAll(async () => {
  for (const close of closers.reverse()) await close();
});

test('the unmodified client loses nothing while the gateway is killed and comes back', async () => {
  const database = await createTestDatabase();
  closers.push(() => database.drop());
  await installOn(database.url);
  const gateway = await startGateway({ databaseUrl: database.url });
  closers.push(() => gateway.stop());
  const client = new Client({ apiUrl: gateway.url, apiKey: API_KEY, autoBatchTracing: true });

  const sent = new Map<string, number>();
  const send = async (): Promise<void> => {
    const number = sent.size;
    const run = new RunTree({
      name: 'survivor',
      run_type: 'chain',
      project_name: 'restarts',
      client,
      inputs: { number },
    });
    sent.set(run.id, number);
    await run.postRun();
    await run.end({ number });
    await run.patchRun();
  };
  for (let restart = 0; restart < RESTARTS; restart += 1) {
    for (let run = 0; run < RUNS_PER_RESTART; run += 1) {
      await send();
      if (run === RUNS_PER_RESTART / 2) gateway.kill();
      // Spread over the batches of the client, which leave every quarter of a second.
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
    await untilReady(gateway.url);
    // The client repeats a batch for some 20 s; one that met two restarts in that time would prove nothing about one.
    await client.awaitPendingTraceBatches();
  }

  await eventually(
    async () => {
      const { rows } = await database.pool.query<{
        id: string;
        status: string;
        inputs: object;
        outputs: object;
      }>('select id, status, inputs, outputs from runs where id = any($1::uuid[])', [[...sent.keys()]]);
      const wrong = rows.filter(({ id, status, inputs, outputs }) => {
        const expected = JSON.stringify({ number: sent.get(id) });
        return (
          status !== 'success' || JSON.stringify(inputs) !== expected || JSON.stringify(outputs) !== expected
        );
      });
      expect({ stored: rows.length, wrong }).toEqual({ stored: RESTARTS * RUNS_PER_RESTART, wrong: [] });
    },
    { timeoutMs: 60_000 },
  );
}, 180_000);
