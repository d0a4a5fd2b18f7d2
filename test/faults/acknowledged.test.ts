/**
 * Acknowledged is committed, whatever dies meanwhile. For a long run by hand:
 * `FAULT_KILLS=50 FAULT_RUNS=100000 npm test -- test/faults/acknowledged`; `FAULT_SEED` plays another schedule.
 */
import { afterAll, expect, test } from '@jest/globals';
import { chmod, mkdtemp, readFile, rm } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import pg from 'pg';
import { startEmbeddedPostgres } from '../../src/platform/embedded-postgres.js';
import { createLogger } from '../../src/platform/log.js';
import { createTestDatabase } from '../support/database.js';
import { eventually } from '../support/eventually.js';
import { checkJournals, JournalClient } from '../support/journal.js';
import { seeded } from '../support/seeded.js';
import { freePort } from '../../src/platform/port-check.js';
import { API_KEY, installOn, startGateway, untilReady } from '../support/processes.js';

const SEED = Number(process.env['FAULT_SEED'] ?? 42);
/** Kills of the gateway; a fifth as many of Postgres, each way. */
const KILLS = Number(process.env['FAULT_KILLS'] ?? 20);
/** Runs to be acknowledged at least while the gateway is killed; half as many while Postgres is, each way. */
const RUNS = Number(process.env['FAULT_RUNS'] ?? 1_000);
const TIMEOUT_MS = 120_000 + KILLS * 3_000 + RUNS * 20;
const CLIENTS = 4;
const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));
const closers: (() => Promise<void>)[] = [];
afterAll(async () => {
  for (const close of closers.reverse()) await close();
});

/** Lets four clients write while `fault` does its worst again and again, then lets them finish. */
async function underFire(
  url: string,
  { times, runs }: { times: number; runs: number },
  fault: (random: () => number) => Promise<void>,
): Promise<JournalClient[]> {
  const random = seeded(SEED);
  const clients = Array.from(
    { length: CLIENTS },
    (_, index) =>
      new JournalClient({
        url: () => url,
        apiKey: API_KEY,
        project: 'journal',
        giveUp: 0.05,
        random: seeded(SEED + index + 1),
      }),
  );
  let stopped = false;
  const writing = clients.map((client) => client.run(() => stopped));
  const sent = (): number => clients.reduce((sum, client) => sum + client.sent.size, 0);
  // Not all that was sent is acknowledged: some are given up.
  for (let round = 0; round < times || sent() < runs * 1.2; round += 1) await fault(random);
  stopped = true;
  await Promise.all(writing);
  return clients;
}

async function expectNothingLost(
  databaseUrl: string,
  clients: readonly JournalClient[],
  runs: number,
): Promise<void> {
  const pool = new pg.Pool({ connectionString: databaseUrl, max: 1 });
  const { acknowledged, wrong } = await checkJournals(pool, clients);
  await pool.end();
  expect({ seed: SEED, wrong: wrong.slice(0, 10) }).toEqual({ seed: SEED, wrong: [] });
  expect(acknowledged).toBeGreaterThanOrEqual(runs);
}

test(
  'killing the gateway again and again loses no acknowledged run and stores none twice',
  async () => {
    const database = await createTestDatabase();
    closers.push(() => database.drop());
    await installOn(database.url);
    const gateway = await startGateway({ databaseUrl: database.url });
    closers.push(() => gateway.stop());
    const clients = await underFire(gateway.url, { times: KILLS, runs: RUNS }, async (random) => {
      await pause(100 + random() * 400);
      gateway.kill();
      await pause(20);
      await untilReady(gateway.url);
    });
    await expectNothingLost(database.url, clients, RUNS);
  },
  TIMEOUT_MS,
);

/** How Postgres ends: asked to; without a checkpoint, as when its machine crashes; its parent process killed. */
const ENDINGS = ['SIGINT', 'SIGQUIT', 'SIGKILL'] as const;

test.each(ENDINGS)(
  'ending Postgres in the middle by %s loses no acknowledged run',
  async (ending) => {
    const dataDir = await mkdtemp(path.join(os.tmpdir(), 'tracewell-fault-'));
    await chmod(dataDir, 0o711);
    closers.push(() => rm(dataDir, { recursive: true, force: true }));
    // Durable as it is installed, unlike the server the other tests share.
    const options = { dataDir, log: createLogger('silent', 'test'), port: await freePort() };
    let postgres = await startEmbeddedPostgres(options);
    closers.push(() => postgres.stop());
    await installOn(postgres.url);
    const gateway = await startGateway({ databaseUrl: postgres.url });
    closers.push(() => gateway.stop());
    const clients = await underFire(
      gateway.url,
      { times: Math.ceil(KILLS / 5), runs: RUNS / 2 },
      async (random) => {
        await pause(300 + random() * 500);
        const pidFile = path.join(postgres.dataDir, 'postmaster.pid');
        process.kill(Number((await readFile(pidFile, 'utf8')).split('\n')[0]), ending);
        await postgres.died;
        // Orphans of a killed parent still hold the cluster's memory for a moment; until then none starts.
        postgres = await eventually(() => startEmbeddedPostgres(options), {
          timeoutMs: 30_000,
          everyMs: 100,
        });
        await untilReady(gateway.url);
      },
    );
    const { rows } = await ask(postgres.url, 'show fsync');
    expect(rows).toEqual([{ fsync: 'on' }]);
    await expectNothingLost(postgres.url, clients, RUNS / 2);
  },
  TIMEOUT_MS,
);

async function ask(url: string, text: string): Promise<pg.QueryResult> {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  return client.query(text).finally(() => client.end());
}
