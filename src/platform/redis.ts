/** Redis connections. Each kind of use has one of its own: a subscribed or blocked connection can do nothing else. */
import { Redis } from 'ioredis';
import type { RedisOptions } from 'ioredis';
import type { Logger } from './log.js';

export interface RedisConnectionOptions {
  readonly url: string;
  /** Shown in CLIENT LIST; fault tests pick their victims by it. */
  readonly name: string;
  readonly log: Logger;
  /**
   * commands: fails at once while the server is away, so that callers decide what that means.
   * subscriber: waits for the server and subscribes again; needs a PING now and then, or it is taken for dead.
   * jobs: waits without end, as BullMQ's blocking reads demand.
   */
  readonly use: 'commands' | 'subscriber' | 'jobs';
}

const USES = {
  commands: { enableOfflineQueue: false, maxRetriesPerRequest: 0, commandTimeout: 5_000 },
  subscriber: { maxRetriesPerRequest: null, autoResubscribe: true },
  jobs: { maxRetriesPerRequest: null },
} satisfies Record<RedisConnectionOptions['use'], RedisOptions>;

/** Connects in the background and stays connected until `disconnect()` or `quit()`. */
export function createRedis(options: RedisConnectionOptions): Redis {
  const redis = new Redis(options.url, {
    ...USES[options.use],
    connectionName: `tracewell-${options.name}`,
    connectTimeout: 2_000,
    // A half-open connection would never say goodbye.
    disconnectTimeout: 500,
    keepAlive: 10_000,
    retryStrategy: (attempt) => Math.min(100 * 2 ** Math.min(attempt, 6), 5_000),
  });
  redis.on('error', (error: Error) =>
    options.log.warn({ err: error, redis: options.name }, 'redis connection trouble'),
  );
  return redis;
}
