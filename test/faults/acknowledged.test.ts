import { afterAll, expect, test } from '@jest/globals';
import { chmod, mkdtemp, rm } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import pg from 'pg';
import { startEmbeddedPostgres } from '../../src/platform/embedded-postgres.js';
import { createLogger } from '../../src/platform/log.js';
import { createTestDatabase } from '../support/database.js';
import { checkJournals, JournalClient } from '../support/journal.js';
import { seeded } from '../support/seeded.js';
import { freePort } from '../../src/platform/port-check.js';
import { API_KEY, installOn, startGateway, untilReady } from '../support/processes.js';

const SEED = Number(process.env['FAULT_SEED'] ?? 42);
const CLIENTS = 4;
const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));
const closers: (() => Promise<void>)[] = [];
afterAll(async () => {
  for (const close of closers.reverse()) await close();
});

/** Lets four clients write while `fault` does its worst, then lets them finish. */
async function underFire(
  url: string,
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
  await fault(random);
  stopped = true;
  await Promise.all(writing);
  return clients;
}

test('killing the gateway 20 times loses no acknowledged run and stores none twice', async () => {
  const database = await createTestDatabase();
  closers.push(() => database.drop());
  await installOn(database.url);
  const gateway = await startGateway({ databaseUrl: database.url });
  closers.push(() => gateway.stop());
  const clients = await underFire(gateway.url, async (random) => {
    for (let kill = 0; kill < 20; kill += 1) {
      await pause(100 + random() * 400);
      gateway.kill();
      await pause(20);
      await untilReady(gateway.url);
    }
  });
  const { acknowledged, wrong } = await checkJournals(database.pool, clients);
  expect(wrong).toEqual([]);
  expect(acknowledged).toBeGreaterThan(1_000);
}, 180_000);

test('restarting Postgres in the middle loses no acknowledged run', async () => {
  const dataDir = await mkdtemp(path.join(os.tmpdir(), 'tracewell-fault-'));
  await chmod(dataDir, 0o711);
  closers.push(() => rm(dataDir, { recursive: true, force: true }));
  const options = { dataDir, log: createLogger('silent', 'test'), port: await freePort() };
  let postgres = await startEmbeddedPostgres(options);
  closers.push(() => postgres.stop());
  await installOn(postgres.url);
  const gateway = await startGateway({ databaseUrl: postgres.url });
  closers.push(() => gateway.stop());
  const clients = await underFire(gateway.url, async (random) => {
    for (let restart = 0; restart < 5; restart += 1) {
      await pause(300 + random() * 500);
      await postgres.stop();
      postgres = await startEmbeddedPostgres(options);
      await untilReady(gateway.url);
    }
  });
  const pool = new pg.Pool({ connectionString: postgres.url, max: 1 });
  const { acknowledged, wrong } = await checkJournals(pool, clients);
  await pool.end();
  expect(wrong).toEqual([]);
  expect(acknowledged).toBeGreaterThan(500);
}, 180_000);
