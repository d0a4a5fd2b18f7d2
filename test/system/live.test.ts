/**
 * Live delivery over two gateways that are processes: whatever happens to connections and gateways, a subscriber that
 * resumes with its last cursor sees every matching event exactly once and in order.
 */
import { afterEach, describe, expect, test } from '@jest/globals';
import { decodeCursor, comparePositions } from '../../src/live/feed-position.js';
import { createTestDatabase } from '../support/database.js';
import { eventually } from '../support/eventually.js';
import { createProject, EVENTS, gql, logOf, residentBytes, sendBatch } from '../support/feed-load.js';
import type { Sent } from '../support/feed-load.js';
import { ENGINES, ownRedis } from '../support/harness.js';
import { seeded } from '../support/seeded.js';
import { LiveClient } from '../support/live-client.js';
import type { LiveClientOptions } from '../support/live-client.js';
import { API_KEY, installOn, startGateway } from '../support/processes.js';

const SEED = Number(process.env['FAULT_SEED'] ?? 42);
const RUNS = 20_000;
const PER_BATCH = 100;
const CUTS = 100;
const MB = 1024 * 1024;

const closers: (() => Promise<void> | void)[] = [];
afterEach(async () => {
  for (const close of closers.splice(0).reverse()) await close();
}, 30_000);

/** Cuts the subscriber off `CUTS` times, after a random number of events each. */
function cutting(
  random: () => number,
  events: number,
): Required<Pick<LiveClientOptions, 'onEvent'>> & { left(): number } {
  let left = CUTS;
  let next = 0;
  let seen = 0;
  const draw = (): number => 1 + Math.floor(random() * ((1.6 * events) / CUTS));
  next = draw();
  return {
    left: () => left,
    onEvent: (_event, client) => {
      seen += 1;
      if (seen < next || left === 0) return;
      left -= 1;
      next = seen + draw();
      client.cut();
    },
  };
}

async function startTwo(engine: (typeof ENGINES)[number]) {
  const database = await createTestDatabase();
  closers.push(() => database.drop());
  const redisUrl = await ownRedis(engine);
  await installOn(database.url);
  const gateways = await Promise.all([0, 1].map(() => startGateway({ databaseUrl: database.url, redisUrl })));
  closers.push(async () => {
    await Promise.all(gateways.map((gateway) => gateway.stop()));
  });
  const urls = gateways.map(({ url }) => url);
  const [url = ''] = urls;
  const project = await createProject(url, 'live');
  const subscribe = (
    options: Partial<LiveClientOptions> & { where?: unknown },
    after?: string,
  ): LiveClient => {
    const { where, ...rest } = options;
    const client = new LiveClient(
      {
        url: () => url,
        apiKey: API_KEY,
        query: EVENTS('uuid name'),
        variables: { project, ...(where !== undefined && { where }) },
        ...rest,
      },
      after,
    );
    closers.push(() => client.stop());
    return client;
  };
  return { database, gateways, urls, url, project, subscribe };
}

describe.each(ENGINES)('on %s', (engine) => {
  test('subscribers that are cut off, frozen or left by their gateway get every event once and in order', async () => {
    const { database, gateways, urls, project, subscribe } = await startTwo(engine);
    const random = seeded(SEED);
    const anywhere = (): string => urls[Math.floor(random() * urls.length)] ?? '';
    const cutAll = cutting(seeded(SEED + 1), RUNS);
    const cutEven = cutting(seeded(SEED + 2), RUNS / 2);
    const all = subscribe({ url: anywhere, onEvent: cutAll.onEvent });
    const even = subscribe({
      url: anywhere,
      where: { filter: 'eq(name, "even")' },
      onEvent: cutEven.onEvent,
    });
    // Asks for payloads and then stops reading: far more than the network holds for it.
    const frozen = subscribe({ url: () => urls[0] ?? '', query: EVENTS('uuid inputs') });
    await eventually(() => {
      for (const client of [all, even, frozen]) expect(client.ready).toBe(1);
    });
    frozen.freeze();

    const filler = 'x'.repeat(1_500);
    const sent: Sent[] = [];
    let peak = 0;
    let batch = 0;
    const send = async (): Promise<void> => {
      while (batch < RUNS / PER_BATCH) {
        batch += 1;
        if (batch === RUNS / PER_BATCH / 2) gateways[1]?.kill();
        if (batch % 20 === 0) peak = Math.max(peak, ...(await Promise.all(gateways.map(residentBytes))));
        sent.push(...(await sendBatch(urls, random, PER_BATCH, filler)));
      }
    };
    await Promise.all([send(), send(), send()]);

    // A repeated batch may have been committed before its gateway died: each run then has one event still.
    const ids = new Set(sent.map(({ id }) => id));
    const evenIds = new Set(sent.filter(({ name }) => name === 'even').map(({ id }) => id));
    await eventually(
      () => {
        expect(new Set(all.events.map(({ runId }) => runId)).size).toBe(ids.size);
        expect(new Set(even.events.map(({ runId }) => runId)).size).toBe(evenIds.size);
      },
      { timeoutMs: 30_000, everyMs: 100 },
    );
    peak = Math.max(peak, ...(await Promise.all(gateways.map(residentBytes))));
    const log = await logOf(database, project);
    expect(all.events.map(({ cursor }) => cursor)).toEqual(log.map(({ cursor }) => cursor));
    expect(all.events.map(({ runId }) => runId)).toEqual(log.map(({ runId }) => runId));
    const evenLog = log.filter(({ runId }) => evenIds.has(runId));
    expect(even.events.map(({ cursor }) => cursor)).toEqual(evenLog.map(({ cursor }) => cursor));
    expect(new Set(log.map(({ runId }) => runId))).toEqual(ids);
    const positions = all.events.map(({ cursor }) => decodeCursor(cursor));
    expect(
      positions.every((one, index) => {
        const previous = positions[index - 1];
        return previous === undefined || comparePositions(previous, one) < 0;
      }),
    ).toBe(true);
    // Both really were cut off, and went on elsewhere.
    expect([cutAll.left(), cutEven.left()]).toEqual([0, 0]);
    expect(all.connections).toBeGreaterThan(CUTS);

    // Whoever did not read harmed nobody, cost no memory to speak of, and has no gap.
    expect(frozen.events.length).toBeLessThan(RUNS);
    expect(peak).toBeGreaterThan(50 * MB);
    expect(peak).toBeLessThan(700 * MB);
    frozen.thaw();
    await eventually(() => expect(frozen.events.length).toBeGreaterThanOrEqual(log.length), {
      timeoutMs: 30_000,
      everyMs: 100,
    });
    expect(frozen.events.map(({ cursor }) => cursor)).toEqual(log.map(({ cursor }) => cursor));
  }, 150_000);

  test('a cursor from before what was trimmed is told of the gap and goes on behind it', async () => {
    const { database, url, urls, project, subscribe } = await startTwo(engine);
    const client = subscribe({});
    await eventually(() => expect(client.ready).toBe(1));
    for (let batch = 0; batch < 3; batch += 1) await sendBatch(urls, () => 0, 10, '');
    await eventually(() => expect(client.events).toHaveLength(30));
    client.stop();
    const old = client.events[4]?.cursor;
    // As retention does it: the rows go, and the floor says up to where.
    await database.pool.query(`with gone as (
        delete from feed where (xid, seq) in (select xid, seq from feed order by xid, seq limit 2) returning xid, seq)
      update feed_floor set (xid, seq) = (select xid, seq from gone order by xid desc, seq desc limit 1)`);
    const late = subscribe({ url: () => url }, old);
    await eventually(() => expect(late.ready).toBe(1));
    expect(late.events.map(({ type }) => type)).toEqual(['Gap', ...Array<string>(10).fill('RunStarted')]);
    const log = await logOf(database, project);
    expect(late.events.slice(1).map(({ cursor }) => cursor)).toEqual(log.map(({ cursor }) => cursor));
    await sendBatch(urls, () => 0, 10, '');
    await eventually(() => expect(late.events).toHaveLength(21));
  }, 60_000);

  test('revoking a key on one gateway closes its sockets on the other within five seconds', async () => {
    const { urls, subscribe } = await startTwo(engine);
    const [first = '', second = ''] = urls;
    const made = (await gql(
      first,
      'mutation { createApiKey(input: { name: "short", scopes: [READ] }) { secret apiKey { id } } }',
    )) as { createApiKey: { secret: string; apiKey: { id: string } } };
    const { secret, apiKey } = made.createApiKey;
    const client = subscribe({ url: () => second, apiKey: secret });
    const other = subscribe({ url: () => second });
    await eventually(() => expect([client.ready, other.ready]).toEqual([1, 1]));
    const started = performance.now();
    await gql(first, 'mutation ($id: ID!) { revokeApiKey(input: { id: $id }) { errors { message } } }', {
      id: apiKey.id,
    });
    await eventually(() => expect(client.closeCodes[0]).toBe(4403), { timeoutMs: 6_000 });
    expect(performance.now() - started).toBeLessThan(5_000);
    await eventually(() => expect(client.closeCodes.length).toBeGreaterThan(1));
    expect(client.connections).toBe(1);
    expect(other.closeCodes).toEqual([]);
  }, 60_000);
});
