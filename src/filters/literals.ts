/**
 * The values of the filter language: durations, canonical times, exact decimals, and the order Postgres has text
 * in. Pure.
 */

const DURATION = /^([+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:e[+-]?\d+)?)\s*(ms|s|m|h|d)?$/i;
const SECONDS: Readonly<Record<string, number>> = { s: 1, m: 60, h: 3_600, d: 86_400 };

/** Seconds in "5s", "1500ms", "2m", "1h", "1d" or "5"; undefined for anything else. */
export function parseDuration(text: string): number | undefined {
  const match = DURATION.exec(text.trim());
  if (match === null) return undefined;
  const number = Number(match[1]);
  const unit = (match[2] ?? 's').toLowerCase();
  const seconds = unit === 'ms' ? number / 1_000 : number * (SECONDS[unit] ?? 1);
  return Number.isFinite(seconds) ? seconds : undefined;
}

const DATE_TIME =
  /^(\d{4})-(\d\d)-(\d\d)(?:[T ](\d\d):(\d\d)(?::(\d\d)(?:[.,](\d{1,12}))?)?\s?(?:Z|([+-])(\d\d)(?::?(\d\d))?)?)?$/i;

/** Years 1 to 9999, which Postgres and ISO 8601 both write with four digits. An offset can lead out of them. */
const EARLIEST_US = -62_135_596_800_000_000;
const END_US = 253_402_300_800_000_000;

/**
 * Microseconds since the epoch of an ISO 8601 time, as clients write it and as Postgres prints it. A time without
 * an offset is UTC, a date is its midnight; finer than microseconds is cut off. Undefined for anything else, for
 * example the 30th of February.
 */
export function parseDateTime(text: string): number | undefined {
  const match = DATE_TIME.exec(text.trim());
  if (match === null) return undefined;
  const part = (index: number): number => Number(match[index] ?? 0);
  if (part(1) < 1 || part(4) > 23 || part(5) > 59 || part(6) > 59 || part(9) > 15 || part(10) > 59) {
    return undefined;
  }
  const date = new Date(0);
  date.setUTCFullYear(part(1), part(2) - 1, part(3));
  // Date rolls the 31st of April over; whoever writes it has made a mistake.
  if (date.getUTCMonth() !== part(2) - 1 || date.getUTCDate() !== part(3)) return undefined;
  const minutes = part(4) * 60 + part(5) - (match[8] === '-' ? -1 : 1) * (part(9) * 60 + part(10));
  const micros = Number((match[7] ?? '').slice(0, 6).padEnd(6, '0'));
  const value = date.getTime() * 1_000 + (minutes * 60 + part(6)) * 1_000_000 + micros;
  return value >= EARLIEST_US && value < END_US ? value : undefined;
}

/** The one way a time is written in canonical filters: UTC, with as many digits as it needs. */
export function formatDateTime(micros: number): string {
  const ms = Math.floor(micros / 1_000);
  const rest = micros - ms * 1_000;
  const text = new Date(ms).toISOString();
  if (rest !== 0) return `${text.slice(0, -1)}${String(rest).padStart(3, '0')}Z`;
  return text.endsWith('.000Z') ? `${text.slice(0, -5)}Z` : text;
}

const DECIMAL = /^([+-]?)(\d*)(?:\.(\d*))?(?:e([+-]?\d+))?$/i;

/** Orders two decimal texts ("0.10" equals "1e-1") exactly. Negative, zero or positive, like a comparator. */
export function compareDecimals(a: string, b: string): number {
  const left = toScaled(a);
  const right = toScaled(b);
  const scale = Math.max(left.scale, right.scale);
  const l = left.units * 10n ** BigInt(scale - left.scale);
  const r = right.units * 10n ** BigInt(scale - right.scale);
  return l < r ? -1 : l > r ? 1 : 0;
}

function toScaled(text: string): { units: bigint; scale: number } {
  const match = DECIMAL.exec(text);
  if (match === null) throw new Error('not a decimal');
  const [, sign = '', whole = '', fraction = '', exponent = '0'] = match;
  const shift = Number(exponent);
  const digits = BigInt(`${whole}${fraction}` || '0') * (sign === '-' ? -1n : 1n);
  const scale = fraction.length - shift;
  return scale < 0 ? { units: digits * 10n ** BigInt(-scale), scale: 0 } : { units: digits, scale };
}

/** Orders text by code point, which is the order of its UTF-8 bytes and so of Postgres's "C" collation. */
export function compareCodePoints(a: string, b: string): number {
  const length = Math.min(a.length, b.length);
  for (let i = 0; i < length; i += 1) {
    const difference = codeUnitRank(a.charCodeAt(i)) - codeUnitRank(b.charCodeAt(i));
    if (difference !== 0) return difference;
  }
  return a.length - b.length;
}

/** UTF-16 puts surrogates below U+E000..U+FFFF, though the characters they stand for come after those. */
function codeUnitRank(unit: number): number {
  if (unit < 0xd800) return unit;
  return unit >= 0xe000 ? unit - 0x800 : unit + 0x2000;
}

/** ASCII letters to lower case and nothing else: what lower() does under the "C" collation on every server. */
export function lowerAscii(text: string): string {
  return text.replace(/[A-Z]+/g, (letters) => letters.toLowerCase());
}

/** Whether Postgres can store and compare the text: no NUL, no half of a surrogate pair. */
export function isStorable(text: string): boolean {
  return !text.includes('\u0000') && !/[\ud800-\udfff]/u.test(text);
}
