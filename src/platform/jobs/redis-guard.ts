/**
 * What the jobs need of a Redis: that it evicts nothing, keeps what it was given, and has room. Of a cluster, every master
 * is asked; one that is away does not answer for the others.
 */
import { Cluster } from 'ioredis';
import type { Redis } from 'ioredis';
import type { Logger } from '../log.js';

/** The share of `maxmemory` above which nothing more is published: a full Redis cannot even finish jobs. */
export const HIGH_WATER = 0.7;

/** Redis would lose jobs, or is not what its URL says. The message says which setting to change. */
export class UnsafeRedis extends Error {
  override readonly name = 'UnsafeRedis';
}

// INFO instead of CONFIG: hosted servers forbid the latter.
async function readInfo(
  redis: Redis,
  section: 'cluster' | 'memory' | 'persistence',
): Promise<Map<string, string>> {
  const text = await redis.info(section);
  return new Map(
    text.split('\r\n').flatMap((line) => {
      const colon = line.indexOf(':');
      return colon < 0 ? [] : [[line.slice(0, colon), line.slice(colon + 1)] as const];
    }),
  );
}

/**
 * Asks one server, or all masters that answer.
 * @throws Error where none does.
 */
async function ask<T>(redis: Redis | Cluster, question: (master: Redis) => Promise<T>): Promise<T[]> {
  if (!(redis instanceof Cluster)) return [await question(redis)];
  const settled = await Promise.allSettled(redis.nodes('master').map(question));
  const answers = settled.flatMap((one) => (one.status === 'fulfilled' ? [one.value] : []));
  if (answers.length === 0) throw new Error('no node of the Redis cluster answers');
  return answers;
}

/** @throws UnsafeRedis where the server is part of no cluster. */
function untilConnected(cluster: Cluster): Promise<void> {
  if (cluster.status === 'ready') return Promise.resolve();
  return new Promise((resolve, reject) => {
    const look = (error: Error & { lastNodeError?: Error }): void => {
      if (!error.lastNodeError?.message.includes('cluster support disabled')) return;
      cluster.off('error', look);
      reject(new UnsafeRedis('This Redis is no cluster: REDIS_URL has to start with redis:// or rediss://.'));
    };
    cluster.on('error', look);
    cluster.once('ready', () => {
      cluster.off('error', look);
      resolve();
    });
  });
}

async function findProblems(redis: Redis): Promise<string[]> {
  const [memory, persistence] = await Promise.all([
    readInfo(redis, 'memory'),
    readInfo(redis, 'persistence'),
  ]);
  const policy = memory.get('maxmemory_policy');
  return [
    ...(policy === 'noeviction' ? [] : [`maxmemory-policy is ${policy ?? 'unknown'}; set it to noeviction`]),
    ...(persistence.get('aof_enabled') === '1' ? [] : ['it does not persist; set appendonly to yes']),
  ];
}

/**
 * Refuses a Redis that may lose jobs.
 * @throws UnsafeRedis unless `allowVolatile`; then a warning is logged instead, and lost jobs are made again from
 * Postgres by the sweeper.
 */
export async function guardRedis(
  redis: Redis | Cluster,
  options: { allowVolatile: boolean; log: Logger },
): Promise<void> {
  if (redis instanceof Cluster) await untilConnected(redis);
  else if ((await readInfo(redis, 'cluster')).get('cluster_enabled') === '1') {
    throw new UnsafeRedis(
      'This Redis is part of a cluster: REDIS_URL has to start with redis+cluster:// or rediss+cluster://.',
    );
  }
  const problems = [...new Set((await ask(redis, findProblems)).flat())];
  if (problems.length === 0) return;
  const message = `This Redis may lose jobs: ${problems.join(', and ')}. ALLOW_VOLATILE_REDIS=true starts all the same.`;
  if (!options.allowVolatile) throw new UnsafeRedis(message);
  options.log.warn(message);
}

/** Used share of the memory limit, of the fullest master; 0 where there is no limit. */
export async function redisPressure(redis: Redis | Cluster): Promise<number> {
  const shares = await ask(redis, async (master) => {
    const memory = await readInfo(master, 'memory');
    const limit = Number(memory.get('maxmemory') ?? 0);
    return limit > 0 ? Number(memory.get('used_memory') ?? 0) / limit : 0;
  });
  return Math.max(...shares);
}
