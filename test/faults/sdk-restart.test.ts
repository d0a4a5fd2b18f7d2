import { afterAll, expect, test } from '@jest/globals';
import { Client } from 'langsmith';
import { RunTree } from 'langsmith/run_trees';
import { createTestDatabase } from '../support/database.js';
import { eventually } from '../support/eventually.js';
import { API_KEY, installOn, startGateway, untilReady } from '../support/processes.js';

/** Side by side, each with a client of its own: what takes time is waiting for the clients. */
const GATEWAYS = 2;
/** Of each gateway. */
const RESTARTS = 10;
const RUNS_PER_RESTART = 40;
const KILL_AT = 10;
const PATIENCE = { timeoutMs: 60_000 };
const closers: (() => Promise<void>)[] = [];
afterAll(async () => {
  for (const close of closers.reverse()) await close();
});

test('the unmodified client loses nothing in 20 restarts of gateways that are killed', async () => {
  const database = await createTestDatabase();
  closers.push(() => database.drop());
  await installOn(database.url);

  const stored = async (ids: readonly string[]): Promise<number> => {
    const { rows } = await database.pool.query<{ n: number }>(
      `select count(*)::int as n from runs where id = any($1::uuid[]) and status = 'success'`,
      [ids],
    );
    return rows[0]?.n ?? 0;
  };

  /** The numbers that were sent, by run. */
  const sendThroughRestarts = async (): Promise<Map<string, number>> => {
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
    let beforeLastKill: string[] = [];
    for (let restart = 0; restart < RESTARTS; restart += 1) {
      for (let run = 0; run < RUNS_PER_RESTART; run += 1) {
        if (run === KILL_AT) {
          // The client tries a batch five times in some 20 s. Each may meet two restarts; more could take all its tries.
          await eventually(
            async () => expect(await stored(beforeLastKill)).toBe(beforeLastKill.length),
            PATIENCE,
          );
          beforeLastKill = [...sent.keys()];
          gateway.kill();
        }
        await send();
        // Spread over the batches of the client, which leave every quarter of a second.
        await new Promise((resolve) => setTimeout(resolve, 25));
      }
      await untilReady(gateway.url);
    }
    await client.awaitPendingTraceBatches();
    return sent;
  };

  const all = await Promise.all(Array.from({ length: GATEWAYS }, sendThroughRestarts));
  const sent = new Map(all.flatMap((some) => [...some]));
  expect(sent.size).toBe(GATEWAYS * RESTARTS * RUNS_PER_RESTART);
  await eventually(async () => {
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
    expect({ stored: rows.length, wrong }).toEqual({ stored: sent.size, wrong: [] });
  }, PATIENCE);
}, 300_000);
