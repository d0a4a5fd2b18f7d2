/** Picks the doorbell of this installation: Redis where there is one, Postgres otherwise. */
import { PostgresDoorbell } from './doorbell-postgres.js';
import { RedisDoorbell } from './doorbell-redis.js';
import type { Doorbell } from './doorbell.js';
import type { Logger } from './log.js';

export interface DoorbellConfig {
  readonly databaseUrl: string;
  /** Undefined: LISTEN/NOTIFY. */
  readonly redisUrl: string | undefined;
  readonly log: Logger;
}

/** Connects in the background and stays connected until it is closed. */
export function createDoorbell({ databaseUrl, redisUrl, log }: DoorbellConfig): Doorbell {
  return redisUrl === undefined
    ? new PostgresDoorbell({ url: databaseUrl, log })
    : new RedisDoorbell({ url: redisUrl, log });
}
