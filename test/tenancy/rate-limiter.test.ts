import { afterAll, beforeEach, describe, expect, test } from '@jest/globals';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { createServer } from 'node:net';
import type { AddressInfo, Socket } from 'node:net';
import { Redis } from 'ioredis';
import type { Cluster } from 'ioredis';
import fc from 'fast-check';
import { createRedis } from '../../src/platform/redis.js';
import { LocalRateLimiter, limitShapes } from '../../src/tenancy/rate-limiter.js';
import type { RateLimiter } from '../../src/tenancy/rate-limiter.js';
import { RedisRateLimiter } from '../../src/tenancy/redis-rate-limiter.js';
import { TokenBuckets } from '../../src/tenancy/token-buckets.js';
import { eventually } from '../support/eventually.js';
import { hasRedisServer, startRedisCluster } from '../support/redis-cluster.js';
import { TestClock, log } from './world.js';

const redisUrl = process.env['TEST_REDIS_URL'];
const shapes = limitShapes({ ingest: 6_000, api: 60, cost: 600 });
let clock = new TestClock();
beforeEach(() => {
  clock = new TestClock();
});

const redis = redisUrl === undefined ? undefined : new Redis(redisUrl);
const cluster = hasRedisServer ? await startRedisCluster() : undefined;
const connect = (url: string) => createRedis({ url, name: 'limits', use: 'commands', log });
const clustered = cluster === undefined ? undefined : connect(cluster.url);
if (clustered !== undefined) await once(clustered, 'ready');
afterAll(async () => {
  await redis?.quit();
  clustered?.disconnect();
  await cluster?.stop();
});

const implementations: [string, () => RateLimiter][] = [
  ['local', () => new LocalRateLimiter({ shapes, clock })],
];
for (const [name, client] of [
  ['redis', redis],
  ['redis cluster', clustered],
] as const) {
  if (client === undefined) continue;
  implementations.push([
    name,
    () =>
      new RedisRateLimiter({
        redis: client,
        shapes,
        clock,
        log,
        prefix: `test-${randomBytes(6).toString('hex')}`,
        timeSource: 'clock',
      }),
  ]);
}

describe.each(implementations)('%s', (_, make) => {
  test('allows exactly the burst, then exactly what is restored', async () => {
    const limiter = make();
    for (let n = 1; n <= 59; n += 1) await limiter.take('k', 'api');
    expect(await limiter.take('k', 'api')).toEqual({
      allowed: true,
      remaining: 0,
      retryAfterSeconds: 0,
      limit: 60,
      restoreRatePerSecond: 1,
    });
    expect(await limiter.take('k', 'api')).toEqual({
      allowed: false,
      remaining: 0,
      retryAfterSeconds: 1,
      limit: 60,
      restoreRatePerSecond: 1,
    });
    clock.advance(999);
    expect((await limiter.take('k', 'api')).allowed).toBe(false);
    clock.advance(1);
    expect((await limiter.take('k', 'api')).allowed).toBe(true);
    expect((await limiter.take('k', 'api')).allowed).toBe(false);
  });

  test('keeps keys and classes apart', async () => {
    const limiter = make();
    await limiter.take('k', 'api', 60);
    expect((await limiter.take('k', 'api')).allowed).toBe(false);
    expect((await limiter.take('other', 'api')).allowed).toBe(true);
    expect((await limiter.take('k', 'cost', 600)).allowed).toBe(true);
    expect(await limiter.take('k', 'ingest')).toMatchObject({ allowed: true, limit: 500, remaining: 499 });
  });

  test('takes all or nothing, says when to come back, and gives back', async () => {
    const limiter = make();
    await limiter.take('k', 'cost', 500);
    expect(await limiter.take('k', 'cost', 150)).toMatchObject({
      allowed: false,
      remaining: 100,
      retryAfterSeconds: 5,
    });
    expect(await limiter.take('k', 'cost', 100)).toMatchObject({ allowed: true, remaining: 0 });
    await limiter.refund('k', 'cost', 30);
    expect(await limiter.take('k', 'cost', 30)).toMatchObject({ allowed: true, remaining: 0 });
    await limiter.refund('k', 'cost', 5_000);
    expect(await limiter.take('k', 'cost', 1)).toMatchObject({ allowed: true, remaining: 599 });
    await limiter.refund('k', 'cost', 5_000);
    await limiter.take('k', 'cost', 600);
    expect(await limiter.take('k', 'cost', 1)).toMatchObject({ allowed: false, remaining: 0 });
  });

  test('an amount above the whole bucket needs a full one and empties it', async () => {
    const limiter = make();
    expect(await limiter.take('k', 'cost', 10_000)).toMatchObject({ allowed: true, remaining: 0 });
    clock.advance(59_900);
    expect(await limiter.take('k', 'cost', 10_000)).toMatchObject({ allowed: false, retryAfterSeconds: 1 });
    clock.advance(100);
    expect(await limiter.take('k', 'cost', 10_000)).toMatchObject({ allowed: true, remaining: 0 });
  });

  test('a clock that steps back takes nothing away and gives nothing', async () => {
    const limiter = make();
    await limiter.take('k', 'api', 50);
    clock.advance(-3_600_000);
    expect(await limiter.take('k', 'api', 10)).toMatchObject({ allowed: true, remaining: 0 });
    expect((await limiter.take('k', 'api')).allowed).toBe(false);
  });
});

test('no sequence of calls gets more than the burst and what time restored', () => {
  const step = fc.record({
    waitMs: fc.integer({ min: 0, max: 2_000 }),
    amount: fc.integer({ min: 1, max: 20 }),
  });
  fc.assert(
    fc.property(fc.array(step, { maxLength: 100 }), (steps) => {
      const time = new TestClock();
      const startMs = time.nowMs;
      const buckets = new TokenBuckets({ clock: time });
      const shape = { capacity: 20, restorePerSecond: 3 };
      let granted = 0;
      for (const { waitMs, amount } of steps) {
        time.advance(waitMs);
        if (buckets.take('k', shape, amount).allowed) granted += amount;
        expect(granted).toBeLessThanOrEqual(20 + (3 * (time.nowMs - startMs)) / 1_000 + 1e-6);
      }
    }),
  );
});

test('memory is bounded, whatever keys come', () => {
  const buckets = new TokenBuckets({ clock, maxBuckets: 100 });
  for (let n = 0; n < 10_000; n += 1) buckets.take(`k${n}`, { capacity: 1, restorePerSecond: 1 }, 1);
  expect(buckets.size).toBe(100);
});

const withRedis = redis === undefined ? test.skip : test;

withRedis('gateways share one limit through Redis, by its clock, and buckets expire', async () => {
  const client = redis as Redis;
  const prefix = `test-${randomBytes(6).toString('hex')}`;
  const gateways = [0, 3_600_000].map((skewMs) => {
    const skewed = new TestClock();
    skewed.advance(skewMs);
    return new RedisRateLimiter({ redis: client, shapes, clock: skewed, log, prefix });
  });
  let granted = 0;
  for (let n = 0; n < 100; n += 1) {
    const decision = await (gateways[n % 2] as RedisRateLimiter).take('k', 'api');
    if (decision.allowed) granted += 1;
  }
  // One token a second comes back while this runs.
  expect(granted).toBeGreaterThanOrEqual(60);
  expect(granted).toBeLessThanOrEqual(62);
  const ttl = await client.pttl(`${prefix}:limit:api:k`);
  expect(ttl).toBeGreaterThan(50_000);
  expect(ttl).toBeLessThanOrEqual(61_000);
});

test.each([
  ['Redis', 'redis://127.0.0.1:1'],
  ['the whole cluster', 'redis+cluster://127.0.0.1:1,127.0.0.1:2'],
])('while %s is away the local limits hold and nobody is refused for it', async (_, url) => {
  const gone = connect(url);
  const limiter = new RedisRateLimiter({ redis: gone, shapes, clock, log });
  for (let n = 0; n < 60; n += 1) expect((await limiter.take('k', 'api')).allowed).toBe(true);
  expect((await limiter.take('k', 'api')).allowed).toBe(false);
  await limiter.refund('k', 'api', 1);
  expect((await limiter.take('k', 'api')).allowed).toBe(true);
  gone.disconnect();
});

(cluster === undefined ? test.skip : test)(
  'while one node of a cluster is away nobody is refused for it, and limits are shared again when it is back',
  async () => {
    const prefix = `test-${randomBytes(6).toString('hex')}`;
    const keys = Array.from({ length: 30 }, (_unused, n) => `k${n}`);
    const limiter = new RedisRateLimiter({ redis: clustered as Cluster, shapes, clock, log, prefix });
    const shared = async (): Promise<number> => {
      const found = await cluster?.ask((node) => node.keys(`${prefix}:*`));
      return found?.flat().length ?? 0;
    };
    const takeAll = async (): Promise<void> => {
      for (const key of keys) expect((await limiter.take(key, 'api')).allowed).toBe(true);
    };
    await takeAll();
    // Keys of every node: those of the three together.
    expect(await shared()).toBe(keys.length);
    await cluster?.kill(1);
    const startedMs = performance.now();
    for (let round = 0; round < 3; round += 1) {
      clock.advance(2_000);
      await takeAll();
    }
    // Each round waits for the broken Redis once.
    expect(performance.now() - startedMs).toBeLessThan(3_000);
    await cluster?.restart(1, 'lost');
    await eventually(async () => {
      clock.advance(2_000);
      await takeAll();
      expect(await shared()).toBe(keys.length);
    });
  },
  30_000,
);

test('a Redis that accepts and never answers costs a quarter of a second once, not every request', async () => {
  const sockets: Socket[] = [];
  const silent = createServer((socket) => sockets.push(socket));
  await new Promise<void>((resolve) => silent.listen(0, '127.0.0.1', resolve));
  const { port } = silent.address() as AddressInfo;
  const client = new Redis(port, '127.0.0.1', {
    enableReadyCheck: false,
    maxRetriesPerRequest: 0,
    commandTimeout: 5_000,
  });
  client.on('error', () => undefined);
  const limiter = new RedisRateLimiter({ redis: client, shapes, clock, log });
  const startedMs = performance.now();
  for (let n = 0; n < 50; n += 1) expect((await limiter.take('k', 'api')).allowed).toBe(true);
  expect(performance.now() - startedMs).toBeLessThan(1_500);
  client.disconnect();
  for (const socket of sockets) socket.destroy();
  await new Promise((resolve) => silent.close(resolve));
});
