/** What every doorbell does, run against every engine; at a cluster, rings come from one node and are heard at another. */
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from '@jest/globals';
import { randomUUID } from 'node:crypto';
import { PostgresDoorbell } from '../../src/platform/doorbell-postgres.js';
import { RedisDoorbell } from '../../src/platform/doorbell-redis.js';
import type { Doorbell } from '../../src/platform/doorbell.js';
import { createLogger } from '../../src/platform/log.js';
import { createTestDatabase } from '../support/database.js';
import type { TestDatabase } from '../support/database.js';
import { eventually } from '../support/eventually.js';
import { hasRedisServer, startRedisCluster } from '../support/redis-cluster.js';
import type { RedisCluster } from '../support/redis-cluster.js';
import { createTcpProxy } from '../support/tcp-proxy.js';
import type { TcpProxy } from '../support/tcp-proxy.js';

const log = createLogger('silent', 'test');
let database: TestDatabase;
let cluster: RedisCluster | undefined;

beforeAll(async () => {
  database = await createTestDatabase();
  if (hasRedisServer) cluster = await startRedisCluster();
}, 30_000);

afterAll(() => Promise.all([database.drop(), cluster?.stop()]));

/** The cluster as somebody sees it who was told of some of its nodes. */
const throughNodes = (ports: readonly number[]): string => cluster?.urlOf(ports) ?? '';
const nodePort = (node: number): number => cluster?.ports[node] ?? 0;
const proxied = (proxy: TcpProxy): number => Number(new URL(proxy.url('redis://127.0.0.1')).port);
const redisDoorbell = (url: string, channel: string): Doorbell =>
  new RedisDoorbell({ url, channel, log, keepaliveMs: 300 });

const engines = {
  Postgres: {
    url: () => database.url,
    behind: (proxy: TcpProxy) => proxy.url(database.url),
    target: () => database.url,
    make: (url: string, channel: string): Doorbell =>
      new PostgresDoorbell({ url, channel, log, keepaliveMs: 300 }),
  },
  Redis: {
    url: () => process.env['TEST_REDIS_URL'] ?? '',
    behind: (proxy: TcpProxy) => proxy.url(process.env['TEST_REDIS_URL'] ?? ''),
    target: () => process.env['TEST_REDIS_URL'] ?? '',
    make: redisDoorbell,
  },
  ...(hasRedisServer && {
    'Redis Cluster': {
      url: () => throughNodes([nodePort(0)]),
      behind: (proxy: TcpProxy) => throughNodes([proxied(proxy)]),
      target: () => `redis://127.0.0.1:${nodePort(1)}`,
      make: redisDoorbell,
    },
  }),
};

describe.each(Object.entries(engines))('the %s doorbell', (_name, engine) => {
  let channel: string;
  let proxy: TcpProxy;
  let here: Doorbell;
  let there: Doorbell;

  beforeEach(async () => {
    channel = `test-${randomUUID()}`;
    proxy = await createTcpProxy(engine.target());
    here = engine.make(engine.url(), channel);
    there = engine.make(engine.behind(proxy), channel);
  });

  afterEach(async () => {
    await Promise.all([here.close(), there.close()]);
    await proxy.close();
  });

  /** Rings until `there` hears, as rings before the connection stands are nobody's. */
  async function connected(): Promise<void> {
    const heard = new Set<string>();
    const stop = there.listen('hello', (payload) => heard.add(payload));
    await eventually(() => {
      here.ring('hello', String(heard.size));
      expect(heard.size).toBeGreaterThan(0);
    });
    stop();
  }

  test('wakes listeners of the same topic here and there, with the payload, and no others', async () => {
    await connected();
    const rings: string[] = [];
    here.listen('runs', (payload) => rings.push(`here ${payload}`));
    there.listen('runs', (payload) => rings.push(`there ${payload}`));
    there.listen('other', (payload) => rings.push(`other ${payload}`));
    here.ring('runs', 'a payload with spaces');
    await eventually(() => expect(rings).toHaveLength(2));
    expect(rings.sort()).toEqual(['here a payload with spaces', 'there a payload with spaces']);
  });

  test('a listener that stopped hears nothing more', async () => {
    await connected();
    const rings: string[] = [];
    const stop = there.listen('runs', () => rings.push('stopped'));
    there.listen('runs', (payload) => rings.push(payload));
    stop();
    here.ring('runs', 'one');
    await eventually(() => expect(rings).toEqual(['one']));
  });

  test('a burst of equal rings is coalesced and still heard', async () => {
    await connected();
    const rings: string[] = [];
    there.listen('runs', (payload) => rings.push(payload));
    for (let index = 0; index < 2_000; index += 1) here.ring('runs', 'x');
    here.ring('runs', 'last');
    await eventually(() => expect(rings).toContain('last'));
    expect(rings.length).toBeLessThan(20);
    expect(rings).toContain('x');
  });

  test('a payload that is too long is left out, the ring is not', async () => {
    await connected();
    const rings: string[] = [];
    there.listen('runs', (payload) => rings.push(payload));
    here.ring('runs', 'ü'.repeat(5_000));
    await eventually(() => expect(rings).toEqual(['']));
  });

  test('a listener that throws harms no other', async () => {
    const rings: string[] = [];
    here.listen('runs', () => {
      throw new Error('broken');
    });
    here.listen('runs', (payload) => rings.push(payload));
    here.ring('runs', 'one');
    await eventually(() => expect(rings).toEqual(['one']));
  });

  test('hears again after its connection was cut', async () => {
    await connected();
    proxy.cut();
    await connected();
  });

  test('rings while the server is away are heard here at once and there when it is back', async () => {
    await connected();
    const rings: string[] = [];
    there.listen('runs', (payload) => rings.push(`there ${payload}`));
    here.listen('runs', (payload) => rings.push(`here ${payload}`));
    proxy.cut();
    there.ring('runs', 'late');
    await eventually(() => expect(rings.sort()).toEqual(['here late', 'there late']));
  });

  test('notices a connection that only looks open', async () => {
    await connected();
    proxy.swallow(true);
    await connected();
  });

  test('closes while the server is away', async () => {
    await connected();
    proxy.refuse(true);
    await eventually(() => expect(proxy.connections).toBe(0));
    await there.close();
  }, 10_000);

  test('closing twice is one closing, and nothing is rung or heard after it', async () => {
    await connected();
    const rings: string[] = [];
    there.listen('runs', (payload) => rings.push(payload));
    await there.close();
    await there.close();
    there.ring('runs', 'mine');
    here.ring('runs', 'theirs');
    const heard: string[] = [];
    here.listen('after', (payload) => heard.push(payload));
    here.ring('after', 'x');
    await eventually(() => expect(heard).toEqual(['x']));
    expect(rings).toEqual([]);
    await eventually(() => expect(proxy.connections).toBe(0));
  });
});

(hasRedisServer ? test : test.skip)(
  'a doorbell whose node of the cluster goes away is heard, and hears, through the next one',
  async () => {
    const channel = `test-${randomUUID()}`;
    const proxies = await Promise.all(
      [1, 2].map((node) => createTcpProxy(`redis://127.0.0.1:${nodePort(node)}`)),
    );
    const here = redisDoorbell(throughNodes([nodePort(0)]), channel);
    const there = redisDoorbell(throughNodes(proxies.map(proxied)), channel);
    const [heardHere, heardThere] = [new Set<string>(), new Set<string>()];
    here.listen('there', (payload) => heardHere.add(payload));
    there.listen('here', (payload) => heardThere.add(payload));
    const both = (turn: string): Promise<void> =>
      eventually(() => {
        here.ring('here', turn);
        there.ring('there', turn);
        expect([heardHere.has(turn), heardThere.has(turn)]).toEqual([true, true]);
      });
    await both('at first');
    for (const proxy of proxies) {
      proxy.refuse(true);
      await both(`without ${proxied(proxy)}`);
      proxy.refuse(false);
    }
    await Promise.all([here.close(), there.close()]);
    await Promise.all(proxies.map((proxy) => proxy.close()));
  },
  30_000,
);
