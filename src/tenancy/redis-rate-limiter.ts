/**
 * Limits that hold across gateways: the buckets are in Redis, changed by one script on one key, which a cluster
 * wants too. When Redis fails or is slow
 * the local limiter decides; nobody is refused because the limiter broke.
 */
import type { Cluster, Redis, Result } from 'ioredis';
import type { Clock } from '../platform/clock.js';
import type { Logger } from '../platform/log.js';
import { LocalRateLimiter, toDecision } from './rate-limiter.js';
import type { LimitClass, LimitShapes, RateDecision, RateLimiter } from './rate-limiter.js';
import { bucketState, chargeable } from './token-buckets.js';

declare module 'ioredis' {
  interface RedisCommander<Context> {
    tracewellTakeTokens(
      bucket: string,
      capacity: number,
      restorePerSecond: number,
      charge: number,
      nowMs: number | '',
    ): Result<[allowed: number, tokens: string], Context>;
  }
}

// The server's clock, unless one is given: gateways whose clocks differ must not refill one bucket twice. A bucket
// expires once it would be full. Numbers come back as text because Redis cuts fractions off.
const SCRIPT = `
local capacity, rate, charge = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local now = tonumber(ARGV[4])
if not now then
  local time = redis.call('TIME')
  now = time[1] * 1000 + math.floor(time[2] / 1000)
end
local stored = redis.call('HMGET', KEYS[1], 'tokens', 'at')
local tokens, at = tonumber(stored[1]) or capacity, tonumber(stored[2]) or now
tokens = math.min(capacity, tokens + math.max(0, now - at) * rate / 1000)
local allowed = 0
if tokens >= charge then
  allowed = 1
  tokens = math.min(capacity, tokens - charge)
end
redis.call('HSET', KEYS[1], 'tokens', string.format('%.6f', tokens), 'at', string.format('%.0f', math.max(now, at)))
redis.call('PEXPIRE', KEYS[1], math.ceil((capacity - tokens) / rate * 1000) + 1000)
return { allowed, string.format('%.6f', tokens) }
`;

/** How long a request waits for the limiter, and how long a broken Redis is left alone. */
const PATIENCE_MS = 250;
const PAUSE_MS = 1_000;

export interface RedisRateLimiterDeps {
  readonly redis: Redis | Cluster;
  readonly shapes: LimitShapes;
  readonly clock: Clock;
  readonly log: Logger;
  /** Start of every key, default `tracewell`. */
  readonly prefix?: string;
  /** Default `server`: elapsed time is Redis' own. `clock`: the given clock's, for tests. */
  readonly timeSource?: 'server' | 'clock';
}

export class RedisRateLimiter implements RateLimiter {
  readonly #deps: RedisRateLimiterDeps;
  readonly #local: LocalRateLimiter;
  #pausedUntilMs = 0;

  constructor(deps: RedisRateLimiterDeps) {
    this.#deps = deps;
    this.#local = new LocalRateLimiter(deps);
    deps.redis.defineCommand('tracewellTakeTokens', { numberOfKeys: 1, lua: SCRIPT });
  }

  async take(key: string, cls: LimitClass, amount = 1): Promise<RateDecision> {
    const shape = this.#deps.shapes[cls];
    const answer = await this.#run(key, cls, chargeable(shape, amount));
    if (answer === undefined) return this.#local.take(key, cls, amount);
    const [allowed, tokens] = answer;
    return toDecision(shape, bucketState(shape, allowed === 1, Number(tokens), amount));
  }

  async refund(key: string, cls: LimitClass, amount: number): Promise<void> {
    if ((await this.#run(key, cls, -amount)) === undefined) await this.#local.refund(key, cls, amount);
  }

  /** Undefined where Redis did not answer in time. */
  async #run(key: string, cls: LimitClass, charge: number): Promise<[number, string] | undefined> {
    const { redis, shapes, clock, prefix = 'tracewell', timeSource } = this.#deps;
    const nowMs = clock.now().getTime();
    if (nowMs < this.#pausedUntilMs) return undefined;
    const { capacity, restorePerSecond } = shapes[cls];
    let timer: NodeJS.Timeout | undefined;
    const tooLate = new Promise<never>((_, reject) => {
      timer = setTimeout(() => reject(new Error(`no answer within ${PATIENCE_MS} ms`)), PATIENCE_MS);
    });
    try {
      const bucket = `${prefix}:limit:${cls}:${key}`;
      const given = timeSource === 'clock' ? nowMs : '';
      return await Promise.race([
        redis.tracewellTakeTokens(bucket, capacity, restorePerSecond, charge, given),
        tooLate,
      ]);
    } catch (error) {
      this.#pausedUntilMs = nowMs + PAUSE_MS;
      this.#deps.log.warn({ err: error }, 'rate limits fall back to this process');
      return undefined;
    } finally {
      clearTimeout(timer);
    }
  }
}
