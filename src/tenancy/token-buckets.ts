/** Token buckets in this process's memory. Bounded: the bucket used longest ago is forgotten, that is, refilled. */
import type { Clock } from '../platform/clock.js';

export interface BucketShape {
  /** Tokens a full bucket holds: the burst. */
  readonly capacity: number;
  readonly restorePerSecond: number;
}

export interface BucketState {
  readonly allowed: boolean;
  /** Whole tokens left. */
  readonly remaining: number;
  /** Seconds until the refused amount would be there, at least 1; 0 where it was allowed. */
  readonly retryAfterSeconds: number;
}

/** What a bucket is asked for at most: a call dearer than the bucket needs all of it instead of never passing. */
export const chargeable = (shape: BucketShape, amount: number): number => Math.min(amount, shape.capacity);

/** The answer to a caller, given the tokens after the attempt. */
export function bucketState(
  shape: BucketShape,
  allowed: boolean,
  tokens: number,
  amount: number,
): BucketState {
  const missing = chargeable(shape, amount) - tokens;
  return {
    allowed,
    remaining: Math.max(0, Math.floor(tokens)),
    retryAfterSeconds: allowed ? 0 : Math.max(1, Math.ceil(missing / shape.restorePerSecond)),
  };
}

export class TokenBuckets {
  readonly #buckets = new Map<string, { tokens: number; atMs: number }>();
  readonly #clock: Clock;
  readonly #maxBuckets: number;

  constructor(deps: { clock: Clock; maxBuckets?: number }) {
    this.#clock = deps.clock;
    this.#maxBuckets = deps.maxBuckets ?? 50_000;
  }

  /** Takes `amount` tokens, or none if they are not all there. */
  take(name: string, shape: BucketShape, amount: number): BucketState {
    const bucket = this.#refilled(name, shape);
    const charge = chargeable(shape, amount);
    const allowed = bucket.tokens >= charge;
    if (allowed) bucket.tokens -= charge;
    return bucketState(shape, allowed, bucket.tokens, amount);
  }

  /** Gives tokens back, up to a full bucket. */
  refund(name: string, shape: BucketShape, amount: number): void {
    const bucket = this.#refilled(name, shape);
    bucket.tokens = Math.min(shape.capacity, bucket.tokens + amount);
  }

  get size(): number {
    return this.#buckets.size;
  }

  #refilled(name: string, shape: BucketShape): { tokens: number; atMs: number } {
    const nowMs = this.#clock.now().getTime();
    const bucket = this.#buckets.get(name) ?? { tokens: shape.capacity, atMs: nowMs };
    // A clock that steps back must not take tokens away.
    const elapsedMs = Math.max(0, nowMs - bucket.atMs);
    bucket.tokens = Math.min(shape.capacity, bucket.tokens + (elapsedMs * shape.restorePerSecond) / 1_000);
    bucket.atMs = nowMs;
    this.#buckets.delete(name);
    this.#buckets.set(name, bucket);
    if (this.#buckets.size > this.#maxBuckets) {
      const oldest = this.#buckets.keys().next();
      if (oldest.done !== true) this.#buckets.delete(oldest.value);
    }
    return bucket;
  }
}
