/**
 * Times as clients send them: ISO 8601 with Z, an offset or nothing (then UTC), or numbers of milliseconds since
 * the epoch. Microseconds survive. Clocks that are wrong are kept as they are, as long as the year has four digits.
 */

const ISO =
  /^(\d{4})-(\d\d)-(\d\d)(?:[T ](\d\d):(\d\d)(?::(\d\d)(?:[.,](\d{1,9}))?)?\s*(Z|z|[+-]\d\d(?::?\d\d)?)?)?$/;
const NUMBER = /^-?\d+(?:\.\d+)?$/;

const MIN_US = Date.parse('0001-01-01T00:00:00Z') * 1_000;
// The last microsecond of 9999 lies between two doubles; this is the greater one below it.
const MAX_US = 253_402_300_799_999_968;
/** Numbers below this are seconds: as milliseconds they would lie before March 1973. */
const SECONDS_BELOW = 1e11;

function inRange(us: number): number {
  if (!(us >= MIN_US) || us > MAX_US + 32) return Number.NaN;
  return Math.min(us, MAX_US);
}

function fromNumber(value: number): number {
  return inRange(Math.round(Math.abs(value) < SECONDS_BELOW ? value * 1e6 : value * 1e3));
}

function utcMs(
  year: number,
  month: number,
  day: number,
  hour: number,
  minute: number,
  second: number,
): number {
  if (month < 1 || month > 12 || day < 1 || hour > 23 || minute > 59 || second > 60) return Number.NaN;
  const date = new Date(0);
  date.setUTCFullYear(year, month - 1, day);
  // 31 April would silently become 1 May.
  if (date.getUTCDate() !== day) return Number.NaN;
  return date.getTime() + ((hour * 60 + minute) * 60 + second) * 1_000;
}

function offsetMinutes(zone: string | undefined): number {
  if (zone === undefined || zone === 'Z' || zone === 'z') return 0;
  const hours = Number(zone.slice(1, 3));
  const minutes = zone.length > 3 ? Number(zone.slice(-2)) : 0;
  return (zone.charCodeAt(0) === 0x2d ? -1 : 1) * (hours * 60 + minutes);
}

function fromText(text: string): number {
  const match = ISO.exec(text.trim());
  if (match === null) return NUMBER.test(text) ? fromNumber(Number(text)) : Number.NaN;
  const [, year, month, day, hour = '0', minute = '0', second = '0', fraction = '', zone] = match;
  const ms = utcMs(Number(year), Number(month), Number(day), Number(hour), Number(minute), Number(second));
  const micros = Number(fraction.slice(0, 6).padEnd(6, '0'));
  return inRange((ms - offsetMinutes(zone) * 60_000) * 1_000 + micros);
}

const DASH = 0x2d;
const digit = (text: string, at: number): number => text.charCodeAt(at) - 0x30;
/** The number of `length` digits at `at`; NaN where one is none. */
function digits(text: string, at: number, length: number): number {
  let value = 0;
  for (let index = at; index < at + length; index += 1) {
    const next = digit(text, index);
    if (!(next >= 0 && next <= 9)) return Number.NaN;
    value = value * 10 + next;
  }
  return value;
}

/**
 * What the SDKs write, `2026-11-21T10:00:00.123456` or with three digits, with Z, `+00:00` or nothing behind it;
 * undefined for all else. Twice per run, and a tenth of what the general form costs.
 */
function fromSdkText(text: string): number | undefined {
  const { length } = text;
  if (
    length < 23 ||
    text.charCodeAt(4) !== DASH ||
    text.charCodeAt(7) !== DASH ||
    text.charCodeAt(10) !== 0x54 /* T */ ||
    text.charCodeAt(13) !== 0x3a /* : */ ||
    text.charCodeAt(16) !== 0x3a ||
    text.charCodeAt(19) !== 0x2e /* . */
  ) {
    return undefined;
  }
  const places = digit(text, 23) >= 0 && digit(text, 23) <= 9 ? 6 : 3;
  const end = 20 + places;
  const hasZone = length > end;
  if (hasZone && !(length === end + 1 && text.charCodeAt(end) === 0x5a) && text.slice(end) !== '+00:00') {
    return undefined;
  }
  const year = digits(text, 0, 4);
  const month = digits(text, 5, 2);
  const day = digits(text, 8, 2);
  const hour = digits(text, 11, 2);
  const minute = digits(text, 14, 2);
  const second = digits(text, 17, 2);
  const fraction = digits(text, 20, places) * (places === 6 ? 1 : 1_000);
  // Days that some month has not, leap seconds and ancient years are the general form's business, as is nonsense.
  const lastSafeDay = month === 2 ? 28 : 30;
  if (!(year >= 1970 && day >= 1 && day <= lastSafeDay && hour <= 23 && minute <= 59 && second <= 59)) {
    return undefined;
  }
  if (!(month >= 1 && month <= 12)) return undefined;
  const us = Date.UTC(year, month - 1, day, hour, minute, second) * 1_000 + fraction;
  return Number.isNaN(us) ? undefined : us;
}

/** Microseconds since the epoch; undefined for null and absent; NaN for what is no time of years 1 to 9999. */
export function parseWireTime(value: unknown): number | undefined {
  if (value === undefined || value === null) return undefined;
  if (typeof value === 'string') return fromSdkText(value) ?? fromText(value);
  if (typeof value === 'number') return fromNumber(value);
  return value instanceof Date ? inRange(value.getTime() * 1_000) : Number.NaN;
}
