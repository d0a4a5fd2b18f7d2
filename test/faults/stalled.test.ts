/**
 * Subscribers that stop reading while events go on: what they have not taken is not kept for them in memory, and once
 * they read again they get every event, in order. FAULT_RUNS sets how many events they leave; with
 * `FAULT_RUNS=100000 npm test -- test/faults/stalled` they stay behind longer than the minute after which a subscriber
 * is closed, and resume.
 */
import { afterEach, expect, test } from '@jest/globals';
import { setTimeout as pause } from 'node:timers/promises';
import { createTestDatabase } from '../support/database.js';
import { eventually } from '../support/eventually.js';
import { createProject, EVENTS, logOf, residentBytes, sendBatch } from '../support/feed-load.js';
import { LiveClient } from '../support/live-client.js';
import { API_KEY, installOn, startGateway } from '../support/processes.js';
import type { RunningGateway } from '../support/processes.js';
import { seeded } from '../support/seeded.js';

const RUNS = Number(process.env['FAULT_RUNS'] ?? 4_000);
const WARM_UP = 2_500;
const STALLED = 12;
const PER_BATCH = 100;
const WRITERS = 4;
const PAUSE_MS = 200;
const MB = 1024 * 1024;
/** Of each event. Text of its own per subscriber: its query is unlike the others'. */
const FILLER = 'x'.repeat(8_000);
const closers: (() => Promise<void> | void)[] = [];
afterEach(async () => {
  for (const close of closers.splice(0).reverse()) await close();
}, 60_000);

/** Sends at 2,000 runs a second at most. Returns the most memory the gateway had meanwhile. */
async function load(gateway: RunningGateway, runs: number): Promise<number> {
  const random = seeded(1);
  let left = runs;
  let peak = 0;
  const write = async (): Promise<void> => {
    while (left > 0) {
      left -= PER_BATCH;
      await Promise.all([sendBatch([gateway.url], random, PER_BATCH, FILLER), pause(PAUSE_MS)]);
      peak = Math.max(peak, await residentBytes(gateway));
    }
  };
  await Promise.all(Array.from({ length: WRITERS }, write));
  return peak;
}

test(
  'subscribers that do not read cost no memory to speak of, and miss nothing',
  async () => {
    const database = await createTestDatabase();
    closers.push(() => database.drop());
    await installOn(database.url);
    const gateway = await startGateway({ databaseUrl: database.url });
    closers.push(() => gateway.stop());
    const { url } = gateway;
    const project = await createProject(url, 'live');
    const subscribe = (alias: string): LiveClient => {
      const query = EVENTS(`uuid ${alias}: inputs`);
      const client = new LiveClient({ url: () => url, apiKey: API_KEY, query, variables: { project } });
      closers.push(() => client.stop());
      return client;
    };
    const reading = subscribe('reader');
    const clients = Array.from({ length: STALLED }, (_, index) => subscribe(`stalled${index}`));
    await eventually(() => expect([reading, ...clients].every(({ ready }) => ready === 1)).toBe(true));
    // Everybody reads: what this load takes by itself. Twice, because the heap grows to its size at first.
    const before = Math.max(await load(gateway, WARM_UP), await load(gateway, WARM_UP));
    const read = 2 * WARM_UP;
    const everybodyHas = (count: number) => () =>
      expect(Math.min(...[reading, ...clients].map(({ events }) => events.length))).toBe(count);
    await eventually(everybodyHas(read), { timeoutMs: 60_000, everyMs: 100 });

    for (const client of clients) client.freeze();
    const during = await load(gateway, RUNS);
    await eventually(() => expect(reading.events.length).toBe(read + RUNS), {
      timeoutMs: 20_000,
      everyMs: 100,
    });
    const peak = Math.max(during, await residentBytes(gateway));
    const unread = clients.reduce((sum, { events }) => sum + read + RUNS - events.length, 0);
    // Kept for them it would be many times the growth that is allowed here.
    expect((unread * FILLER.length) / MB).toBeGreaterThan(250);
    expect((peak - before) / MB).toBeLessThan(150);

    for (const client of clients) client.thaw();
    const log = (await logOf(database, project)).map(({ cursor }) => cursor);
    expect(log).toHaveLength(read + RUNS);
    await eventually(everybodyHas(log.length), { timeoutMs: 60_000 + 5 * RUNS, everyMs: 100 });
    for (const { events, errors } of [reading, ...clients]) {
      expect(events.map(({ cursor }) => cursor)).toEqual(log);
      expect(errors).toEqual([]);
    }
  },
  180_000 + 8 * RUNS,
);
