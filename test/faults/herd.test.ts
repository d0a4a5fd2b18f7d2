/** A gateway that dies with a thousand subscribers: all come back at once, each where it was. */
import { afterEach, expect, test } from '@jest/globals';
import { createTestDatabase } from '../support/database.js';
import { eventually } from '../support/eventually.js';
import { createProject, EVENTS, gql, logOf, residentBytes, sendBatch } from '../support/feed-load.js';
import { LiveClient } from '../support/live-client.js';
import { installOn, startGateway, untilReady } from '../support/processes.js';
import { seeded } from '../support/seeded.js';

const SOCKETS = 1_000;
const SOCKETS_PER_KEY = 20;
const MB = 1024 * 1024;
const closers: (() => Promise<void> | void)[] = [];
afterEach(async () => {
  for (const close of closers.splice(0).reverse()) await close();
}, 60_000);

async function makeKeys(url: string, count: number): Promise<string[]> {
  const query =
    'mutation ($name: String!) { createApiKey(input: { name: $name, scopes: [READ] }) { secret } }';
  const keys: string[] = [];
  for (let index = 0; index < count; index += 1) {
    const made = (await gql(url, query, { name: `herd ${index}` })) as { createApiKey: { secret: string } };
    keys.push(made.createApiKey.secret);
  }
  return keys;
}

test('a thousand subscribers are live again within 30 s of their gateway, and miss nothing', async () => {
  const database = await createTestDatabase();
  closers.push(() => database.drop());
  await installOn(database.url);
  const gateway = await startGateway({
    databaseUrl: database.url,
    env: { MAX_CONNECTIONS_PER_ADDRESS: '5000' },
  });
  closers.push(() => gateway.stop());
  const { url } = gateway;
  const project = await createProject(url, 'live');
  const keys = await makeKeys(url, SOCKETS / SOCKETS_PER_KEY);
  const random = seeded(Number(process.env['FAULT_SEED'] ?? 42));
  const clients = Array.from(
    { length: SOCKETS },
    (_, index) =>
      new LiveClient({
        url: () => url,
        apiKey: keys[Math.floor(index / SOCKETS_PER_KEY)] ?? '',
        query: EVENTS('uuid name'),
        variables: { project },
        // As clients of graphql-ws wait: some time, and no two the same.
        retryMs: () => 200 + random() * 800,
      }),
  );
  closers.push(() => clients.forEach((client) => client.stop()));
  await eventually(() => expect(clients.filter(({ ready }) => ready > 0)).toHaveLength(SOCKETS), {
    timeoutMs: 30_000,
    everyMs: 100,
  });
  const send = () => sendBatch([url], random, 20, '');
  for (let batch = 0; batch < 3; batch += 1) await send();
  await eventually(() => expect(Math.min(...clients.map(({ events }) => events.length))).toBe(60), {
    timeoutMs: 20_000,
    everyMs: 100,
  });
  // Nobody has seen all there is when the gateway dies.
  const cursor = clients[0]?.cursor;
  await send();
  gateway.kill();
  await eventually(() => expect(clients.every(({ closeCodes }) => closeCodes.length > 0)).toBe(true));
  await untilReady(url);
  const readyAt = performance.now();
  // Runs go on arriving while everybody reconnects.
  for (let batch = 0; batch < 5; batch += 1) await send();
  await eventually(() => expect(clients.filter(({ ready }) => ready > 1)).toHaveLength(SOCKETS), {
    timeoutMs: 30_000,
    everyMs: 50,
  });
  const backMs = performance.now() - readyAt;
  expect(cursor).toBeDefined();

  const log = (await logOf(database, project)).map((entry) => entry.cursor);
  expect(log).toHaveLength(180);
  await eventually(() => expect(Math.min(...clients.map(({ events }) => events.length))).toBe(log.length), {
    timeoutMs: 20_000,
    everyMs: 100,
  });
  expect(backMs).toBeLessThan(30_000);
  for (const { events, errors } of clients) {
    expect(events.map((event) => event.cursor)).toEqual(log);
    expect(errors).toEqual([]);
  }
  expect(await residentBytes(gateway)).toBeLessThan(600 * MB);
}, 150_000);
