/** Where a key stands, in the words of the IETF draft "RateLimit header fields for HTTP". */

/** An allowance after a call was charged to it. */
export interface Standing {
  readonly limit: number;
  readonly remaining: number;
  /** Default: the limit comes back in a minute. */
  readonly restoreRatePerSecond?: number;
}

/** Seconds until the whole limit is there again if nothing more is taken. */
export function secondsToReset({ limit, remaining, restoreRatePerSecond = limit / 60 }: Standing): number {
  return restoreRatePerSecond > 0 ? Math.ceil(Math.max(0, limit - remaining) / restoreRatePerSecond) : 0;
}

/**
 * `name` tells allowances apart where a response speaks of several; their values are joined with commas.
 * Policy: q is the limit, w the seconds in which it comes back. State: r is what is left, t the seconds until all is.
 */
export function rateLimitHeaders(
  name: string,
  standing: Standing,
): { readonly 'ratelimit-policy': string; readonly ratelimit: string } {
  const { limit, remaining } = standing;
  const window = secondsToReset({ ...standing, remaining: 0 });
  return {
    'ratelimit-policy': `"${name}";q=${Math.floor(limit)};w=${window}`,
    ratelimit: `"${name}";r=${Math.max(0, Math.floor(remaining))};t=${secondsToReset(standing)}`,
  };
}
