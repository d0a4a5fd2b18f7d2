/** Limits per key and class of work, as token buckets: the promise, and its keeping within one process. */
import type { Clock } from '../platform/clock.js';
import { TokenBuckets } from './token-buckets.js';
import type { BucketShape, BucketState } from './token-buckets.js';

/** ingest: intake requests. api: other requests. cost: GraphQL cost points. */
export type LimitClass = 'ingest' | 'api' | 'cost';

export type LimitShapes = Readonly<Record<LimitClass, BucketShape>>;

export interface RateDecision extends BucketState {
  /** Tokens of a full bucket. */
  readonly limit: number;
  readonly restoreRatePerSecond: number;
}

export interface RateLimiter {
  /**
   * Takes `amount` (default 1) from the bucket of `key` and `cls`, all or nothing. An amount above the whole bucket
   * needs a full one and empties it. Never throws.
   */
  take(key: string, cls: LimitClass, amount?: number): Promise<RateDecision>;
  /** Gives back what was taken for work that turned out cheaper or was not done. Never throws. */
  refund(key: string, cls: LimitClass, amount: number): Promise<void>;
}

/** The intake's burst: what a client that flushes its backlog may send at once. */
export const INGEST_BURST = 500;

/** Shapes from the configured rates per minute. Only intake has a burst smaller than its minute. */
export function limitShapes(perMinute: Readonly<Record<LimitClass, number>>): LimitShapes {
  const shape = (rate: number, burst: number): BucketShape => ({
    capacity: Math.min(rate, burst),
    restorePerSecond: rate / 60,
  });
  return {
    ingest: shape(perMinute.ingest, INGEST_BURST),
    api: shape(perMinute.api, perMinute.api),
    cost: shape(perMinute.cost, perMinute.cost),
  };
}

export const toDecision = (shape: BucketShape, state: BucketState): RateDecision => ({
  ...state,
  limit: shape.capacity,
  restoreRatePerSecond: shape.restorePerSecond,
});

/** For one gateway, and for any gateway while Redis is away: then each of them grants the limit by itself. */
export class LocalRateLimiter implements RateLimiter {
  readonly #shapes: LimitShapes;
  readonly #buckets: TokenBuckets;

  constructor(deps: { shapes: LimitShapes; clock: Clock; maxBuckets?: number }) {
    this.#shapes = deps.shapes;
    this.#buckets = new TokenBuckets(deps);
  }

  take(key: string, cls: LimitClass, amount = 1): Promise<RateDecision> {
    const shape = this.#shapes[cls];
    return Promise.resolve(toDecision(shape, this.#buckets.take(`${cls}:${key}`, shape, amount)));
  }

  refund(key: string, cls: LimitClass, amount: number): Promise<void> {
    this.#buckets.refund(`${cls}:${key}`, this.#shapes[cls], amount);
    return Promise.resolve();
  }
}
