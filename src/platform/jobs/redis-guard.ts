/** What the jobs need of a Redis: that it evicts nothing, keeps what it was given, and has room. */
import type { Redis } from 'ioredis';
import type { Logger } from '../log.js';

/** The share of `maxmemory` above which nothing more is published: a full Redis cannot even finish jobs. */
export const HIGH_WATER = 0.7;

/** Redis would lose jobs. The message says which setting to change. */
export class UnsafeRedis extends Error {
  override readonly name = 'UnsafeRedis';
}

// INFO instead of CONFIG: hosted servers forbid the latter.
async function readInfo(redis: Redis, section: 'memory' | 'persistence'): Promise<Map<string, string>> {
  const text = await redis.info(section);
  return new Map(
    text.split('\r\n').flatMap((line) => {
      const colon = line.indexOf(':');
      return colon < 0 ? [] : [[line.slice(0, colon), line.slice(colon + 1)] as const];
    }),
  );
}

/**
 * Refuses a Redis that may lose jobs.
 * @throws UnsafeRedis unless `allowVolatile`; then a warning is logged instead, and lost jobs are made again from
 * Postgres by the sweeper.
 */
export async function guardRedis(
  redis: Redis,
  options: { allowVolatile: boolean; log: Logger },
): Promise<void> {
  const [memory, persistence] = await Promise.all([
    readInfo(redis, 'memory'),
    readInfo(redis, 'persistence'),
  ]);
  const policy = memory.get('maxmemory_policy');
  const problems = [
    ...(policy === 'noeviction' ? [] : [`maxmemory-policy is ${policy ?? 'unknown'}; set it to noeviction`]),
    ...(persistence.get('aof_enabled') === '1' ? [] : ['it does not persist; set appendonly to yes']),
  ];
  if (problems.length === 0) return;
  const message = `This Redis may lose jobs: ${problems.join(', and ')}. ALLOW_VOLATILE_REDIS=true starts all the same.`;
  if (!options.allowVolatile) throw new UnsafeRedis(message);
  options.log.warn(message);
}

/** Used share of the memory limit; 0 where there is none. */
export async function redisPressure(redis: Redis): Promise<number> {
  const memory = await readInfo(redis, 'memory');
  const limit = Number(memory.get('maxmemory') ?? 0);
  return limit > 0 ? Number(memory.get('used_memory') ?? 0) / limit : 0;
}
