/** The product as processes on a Redis Cluster: they come up, and each of its uses of Redis reaches the cluster. */
import { afterEach, expect, test } from '@jest/globals';
import { createTestDatabase } from '../support/database.js';
import { eventually } from '../support/eventually.js';
import { createProject } from '../support/feed-load.js';
import { installOn, startGateway, startWorker } from '../support/processes.js';
import { hasRedisServer, startRedisCluster } from '../support/redis-cluster.js';

const PATIENT = { timeoutMs: 30_000, everyMs: 100 };
const closers: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const close of closers.splice(0).reverse()) await close();
}, 60_000);

(hasRedisServer ? test : test.skip)(
  'gateways and workers come up on a cluster, work, and start with a node of it away',
  async () => {
    const cluster = await startRedisCluster();
    closers.push(() => cluster.stop());
    const database = await createTestDatabase();
    closers.push(() => database.drop());
    await installOn(database.url);
    const options = { databaseUrl: database.url, redisUrl: cluster.url };
    const [gateway, worker] = await Promise.all([startGateway(options), startWorker(options)]);
    closers.push(() => Promise.all([gateway.stop(), worker.stop()]));

    await createProject(gateway.url, 'clustered');
    const keys = async (pattern: string): Promise<string[]> =>
      (await cluster.ask((node) => node.keys(pattern))).flat();
    expect((await keys('tracewell:limit:*')).length).toBeGreaterThan(0);
    await eventually(async () => {
      const { rows } = await database.pool.query("select 1 from jobs where state = 'succeeded'");
      expect(rows.length).toBeGreaterThan(0);
    }, PATIENT);
    expect((await keys('{tracewell}:*')).length).toBeGreaterThan(0);
    const channels = await cluster.ask((node) => node.pubsub('NUMSUB', 'tracewell'));
    expect(channels.reduce((sum, answer) => sum + Number(answer[1]), 0)).toBe(2);

    const home = await cluster.nodeOf('{tracewell}');
    await cluster.kill(home);
    await createProject(gateway.url, 'without a node');
    const late = await Promise.all([startGateway(options), startWorker(options)]);
    closers.push(() => Promise.all(late.map((one) => one.stop())));
    // Workers stop at once where they need not wait for what was begun.
    await cluster.restart(home);
  },
  90_000,
);
