/** When to try again: exponential backoff with full jitter, unless the provider says when. Pure. */

const FIRST_MS = 500;
const MOST_MS = 30_000;

/** Milliseconds before the attempt that follows `failed` failed ones. @param random in [0, 1). */
export function backoffMs(failed: number, random: number): number {
  return Math.round(Math.min(MOST_MS, FIRST_MS * 2 ** (failed - 1)) * random);
}

/** Milliseconds a Retry-After header asks for: seconds or a date. Undefined for anything else. */
export function retryAfterOf(header: string | undefined, now: Date): number | undefined {
  const text = header?.trim();
  if (text === undefined || text === '') return undefined;
  if (/^\d{1,9}(\.\d+)?$/.test(text)) return Math.ceil(Number(text) * 1_000);
  const at = /^[A-Z][a-z]{2}, /.test(text) ? Date.parse(text) : Number.NaN;
  return Number.isNaN(at) ? undefined : Math.max(0, at - now.getTime());
}
