/** A cluster that loses the master of the jobs for a while: what was asked for is done, and done once. */
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { createJobEngine } from '../../src/platform/jobs/engine.js';
import { OutboxDispatcher } from '../../src/platform/jobs/dispatcher.js';
import { eventually } from '../support/eventually.js';
import { hasRedisServer, startRedisCluster } from '../support/redis-cluster.js';
import type { RedisCluster } from '../support/redis-cluster.js';
import { createKit, defineUnitJob, handle, log, recordResult, redisUrl } from './harness.js';
import type { Kit } from './harness.js';

const contract = defineUnitJob();
const record = handle(contract, ({ payload, claim }) =>
  claim.finish((tx) => recordResult(tx, payload.unit, claim.number)),
);

const start = (url: string) => createJobEngine({ connection: { kind: 'redis', url }, queues: ['work'], log });

(hasRedisServer ? describe : describe.skip)('jobs on a Redis Cluster', () => {
  let kit: Kit;
  let cluster: RedisCluster;
  /** The node that has the jobs. */
  let home: number;
  const ids: string[] = [];
  const ask = async (count: number): Promise<void> => {
    const units = Array.from({ length: count }, (_, n) => `unit ${ids.length + n}`);
    ids.push(...(await Promise.all(units.map((unit) => kit.enqueue(contract, unit)))));
  };
  const done = async (): Promise<number> => {
    const { rows } = await kit.pool.query<{ n: number }>(
      "select count(*)::int as n from jobs where state = 'succeeded'",
    );
    return rows[0]?.n ?? 0;
  };

  beforeAll(async () => {
    kit = await createKit('redis cluster');
    cluster = kit.cluster as RedisCluster;
    home = await cluster.nodeOf(`{${kit.prefix}}`);
  }, 30_000);
  afterAll(() => kit.close(), 30_000);

  test('a master without room holds back what is published, also where it has no jobs', async () => {
    const engine = await kit.newEngine();
    const limit = (bytes: string): Promise<unknown> =>
      cluster.ask(async (node) => {
        if (node.options.port === cluster.ports[(home + 1) % 3]) await node.config('SET', 'maxmemory', bytes);
      });
    await limit('100kb');
    await ask(1);
    const dispatcher = new OutboxDispatcher({ ...kit, engine, log });
    expect(await dispatcher.dispatchOnce()).toBe(0);
    expect(dispatcher.isPressed).toBe(true);
    await limit('0');
    await eventually(async () => expect(await dispatcher.dispatchOnce()).toBe(1));
    await engine.close();
  }, 30_000);

  test('all keys of the jobs are at one node, under a prefix with braces', async () => {
    await kit.work([record]);
    await eventually(async () => expect(await done()).toBe(ids.length));
    const keys = await cluster.ask((node) => node.keys('*'));
    expect(keys.map((found) => found.length > 0)).toEqual([0, 1, 2].map((node) => node === home));
    expect(keys.flat().filter((key) => !key.startsWith(`{${kit.prefix}}:`))).toEqual([]);
  }, 30_000);

  test.each(['kept', 'lost'] as const)(
    'every unit is done once when a master is killed and comes back with its data %s',
    async (data) => {
      const before = await done();
      await ask(40);
      await eventually(async () => expect(await done()).toBeGreaterThan(before));
      await cluster.kill(home);
      // Taken in while nobody can deliver it.
      await ask(40);
      expect(await kit.job(ids.at(-1) ?? '')).toMatchObject({ state: 'queued', attempts: 0 });
      await cluster.restart(home, data);
      await ask(40);
      await eventually(async () => expect(await done()).toBe(ids.length), { timeoutMs: 40_000 });
      const { rows } = await kit.pool.query(
        'select unit, count(*)::int as n from test_results group by unit',
      );
      expect(rows).toHaveLength(ids.length);
      expect(rows.filter(({ n }) => n !== 1)).toEqual([]);
    },
    60_000,
  );

  test('one whose masters may lose jobs is refused, and a URL of the wrong kind says which is right', async () => {
    const unsafe = await startRedisCluster(['--maxmemory-policy', 'allkeys-lru']);
    try {
      await expect(start(unsafe.url)).rejects.toThrow(
        'This Redis may lose jobs: maxmemory-policy is allkeys-lru; set it to noeviction.',
      );
      const plain = unsafe.urlOf(unsafe.ports.slice(0, 1)).replace('redis+cluster', 'redis');
      await expect(start(plain)).rejects.toThrow(
        'This Redis is part of a cluster: REDIS_URL has to start with redis+cluster:// or rediss+cluster://.',
      );
    } finally {
      await unsafe.stop();
    }
  }, 30_000);

  (redisUrl === undefined ? test.skip : test)('a single server is refused as a cluster', async () => {
    await expect(start((redisUrl ?? '').replace('redis://', 'redis+cluster://'))).rejects.toThrow(
      'This Redis is no cluster: REDIS_URL has to start with redis:// or rediss://.',
    );
  });
});
