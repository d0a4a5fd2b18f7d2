/** A Redis Cluster of three masters on free ports, for a test of its own. Its nodes can be killed and started again. */
import { spawn, spawnSync } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { Redis } from 'ioredis';
import { freePort, portProblem } from '../../src/platform/port-check.js';
import { eventually } from './eventually.js';

export const hasRedisServer = spawnSync('redis-server', ['--version']).status === 0;
if (!hasRedisServer) process.stderr.write('Redis Cluster leg: SKIPPED, no redis-server on PATH.\n');

/** Every character of it has a meaning in URLs. */
const PASSWORD = 'p@ss:w/rd,#1';
const SLOTS = [
  [0, 5_460],
  [5_461, 10_922],
  [10_923, 16_383],
] as const;

export interface RedisCluster {
  readonly url: string;
  readonly ports: readonly number[];
  /** The URL of a cluster whose nodes are said to listen on these ports. */
  urlOf(ports: readonly number[]): string;
  /** Asks every node. */
  ask<T>(question: (node: Redis) => Promise<T>): Promise<T[]>;
  /** Which node, 0 to 2, has the key. */
  nodeOf(key: string): Promise<number>;
  /** kill -9 */
  kill(node: number): Promise<void>;
  /** Starts a killed node again, with what it had on disk or without; its place in the cluster it has in both cases. */
  restart(node: number, data?: 'kept' | 'lost'): Promise<void>;
  stop(): Promise<void>;
}

/** The nodes talk to each other on a second port, 10,000 above. */
async function portPair(): Promise<number> {
  for (;;) {
    const port = await freePort();
    if (port <= 55_000 && (await portProblem({ host: '127.0.0.1', port: port + 10_000 })) === undefined) {
      return port;
    }
  }
}

export async function startRedisCluster(flags: readonly string[] = []): Promise<RedisCluster> {
  const directory = await mkdtemp(path.join(os.tmpdir(), 'tracewell-cluster-'));
  const ports = [await portPair(), await portPair(), await portPair()] as const;
  const servers: ChildProcess[] = [];

  const start = async (node: number): Promise<void> => {
    const own = path.join(directory, String(node));
    await mkdir(own, { recursive: true });
    const settings = {
      port: ports[node],
      bind: '127.0.0.1',
      dir: own,
      'cluster-enabled': 'yes',
      'cluster-node-timeout': 1_000,
      appendonly: 'yes',
      'maxmemory-policy': 'noeviction',
      save: '',
      requirepass: PASSWORD,
      masterauth: PASSWORD,
    };
    const settled = Object.entries(settings).flatMap(([name, value]) => [`--${name}`, String(value)]);
    servers[node] = spawn('redis-server', [...settled, ...flags], { stdio: 'ignore' });
  };
  const kill = async (node: number): Promise<void> => {
    const server = servers[node];
    if (server === undefined || server.signalCode !== null || server.exitCode !== null) return;
    server.kill('SIGKILL');
    await once(server, 'exit');
  };
  const on = async <T>(node: number, question: (redis: Redis) => Promise<T>): Promise<T> => {
    const redis = new Redis(ports[node] as number, '127.0.0.1', { password: PASSWORD });
    redis.on('error', () => undefined);
    try {
      return await question(redis);
    } finally {
      redis.disconnect();
    }
  };
  const ask = <T>(question: (redis: Redis) => Promise<T>): Promise<T[]> =>
    Promise.all(ports.map((_, node) => on(node, question)));
  const complete = (): Promise<void> =>
    eventually(
      async () => {
        const states = await ask((redis) => redis.cluster('INFO'));
        for (const state of states) {
          if (!/cluster_state:ok[\s\S]*cluster_known_nodes:3/.test(state)) throw new Error(state);
        }
      },
      { timeoutMs: 20_000, everyMs: 50 },
    );
  const urlOf = (some: readonly number[]): string =>
    `redis+cluster://:${encodeURIComponent(PASSWORD)}@${some.map((port) => `127.0.0.1:${port}`).join(',')}`;

  await Promise.all(ports.map((_, node) => start(node)));
  await Promise.all(
    SLOTS.map(([first, last], node) =>
      on(node, async (redis) => {
        await redis.call('CLUSTER', 'ADDSLOTSRANGE', first, last);
        await redis.call('CLUSTER', 'SET-CONFIG-EPOCH', node + 1);
      }),
    ),
  );
  await on(0, async (redis) => {
    for (const port of ports.slice(1)) await redis.call('CLUSTER', 'MEET', '127.0.0.1', port);
  });
  await complete();
  return {
    url: urlOf(ports),
    ports,
    urlOf,
    ask,
    nodeOf: async (key) => {
      const slot = Number(await on(0, (redis) => redis.call('CLUSTER', 'KEYSLOT', key)));
      return SLOTS.findIndex(([, last]) => slot <= last);
    },
    kill,
    restart: async (node, data = 'kept') => {
      if (data === 'lost') await rm(path.join(directory, String(node), 'appendonlydir'), { recursive: true });
      await start(node);
      await complete();
    },
    stop: async () => {
      await Promise.all(ports.map((_, node) => kill(node)));
      await rm(directory, { recursive: true, force: true });
    },
  };
}
