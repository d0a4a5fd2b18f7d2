/** The small languages of the wire: times, dotted orders, JSON text that must be storable. */
import { expect, test } from '@jest/globals';
import fc from 'fast-check';
import { randomUUID } from 'node:crypto';
import { dottedSegment, dottedStart, parseDottedOrder } from '../../src/ingest/dotted-order.js';
import { parseWireTime } from '../../src/ingest/wire-time.js';
import {
  cleanJsonText,
  cleanText,
  isDeeperThan,
  nestsDeeper,
  replaceNonFinite,
  stringifyDeep,
} from '../../src/platform/json-text.js';

const us = (iso: string): number => Date.parse(iso) * 1_000;

test.each([
  ['2026-11-20T23:33:21.141001Z', us('2026-11-20T23:33:21.141Z') + 1],
  ['2026-11-20T23:33:21.141Z', us('2026-11-20T23:33:21.141Z')],
  ['2026-11-20T23:33:21', us('2026-11-20T23:33:21Z')],
  ['2026-11-20 23:33:21.5', us('2026-11-20T23:33:21.500Z')],
  ['2026-11-20T23:33:21.141001+02:00', us('2026-11-20T21:33:21.141Z') + 1],
  ['2026-11-20T23:33:21-0530', us('2026-11-21T05:03:21Z')],
  ['2026-11-20T23:33:21.123456789Z', us('2026-11-20T23:33:21.123Z') + 456],
  ['2026-11-20', us('2026-11-20T00:00:00Z')],
  ['1969-12-31T23:59:59.999999Z', -1],
  ['0001-01-01T00:00:00Z', us('0001-01-01T00:00:00Z')],
  ['9999-12-31T23:59:59.999Z', us('9999-12-31T23:59:59.999Z')],
  [1795217601213, 1795217601213_000],
  [1795217601213.5, 1795217601213_500],
  [1795217601, 1795217601_000_000],
  ['1795217601213', 1795217601213_000],
  [0, 0],
])('%p is a time', (value, expected) => {
  expect(parseWireTime(value)).toBe(expected);
});

test.each([
  '',
  'yesterday',
  '2026-13-01T00:00:00Z',
  '2026-02-30T00:00:00Z',
  '2026-01-01T25:00:00Z',
  '10000-01-01T00:00:00Z',
  '0000-12-31T00:00:00Z',
  1e18,
  -1e18,
  Number.NaN,
  Number.POSITIVE_INFINITY,
  true,
  {},
  [],
])('%p is no time', (value) => {
  expect(parseWireTime(value)).toBeNaN();
});

test('null and absent say nothing about a time', () => {
  expect(parseWireTime(null)).toBeUndefined();
  expect(parseWireTime(undefined)).toBeUndefined();
});

test('any instant with microseconds survives its text in any offset', () => {
  fc.assert(
    fc.property(
      fc.integer({ min: us('1900-01-01T00:00:00Z'), max: us('2250-01-01T00:00:00Z') }),
      fc.integer({ min: -14 * 60, max: 14 * 60 }),
      (instant, offset) => {
        const ms = Math.floor(instant / 1_000);
        const local = new Date(ms + offset * 60_000).toISOString().slice(0, -1);
        const micros = String(instant - ms * 1_000).padStart(3, '0');
        const two = (n: number): string => String(n).padStart(2, '0');
        const zone = `${offset < 0 ? '-' : '+'}${two(Math.floor(Math.abs(offset) / 60))}:${two(Math.abs(offset) % 60)}`;
        expect(parseWireTime(`${local}${micros}${zone}`)).toBe(instant);
      },
    ),
  );
});

test('no text makes the time parser throw', () => {
  fc.assert(
    fc.property(fc.anything(), (value) => {
      const time = parseWireTime(value);
      expect(time === undefined || typeof time === 'number').toBe(true);
    }),
  );
});

test('times as the SDKs write them are read like all others', () => {
  const part = (max: number, length: number): fc.Arbitrary<string> =>
    fc.nat({ max }).map((value) => String(value).padStart(length, '0'));
  const time = fc
    .tuple(
      part(9_999, 4),
      part(13, 2),
      part(32, 2),
      part(25, 2),
      part(61, 2),
      part(61, 2),
      fc.stringMatching(/^[0-9x]{2,7}$/),
      fc.constantFrom('', 'Z', '+00:00', '+01:30', 'z', ' Z', 'Y'),
    )
    .map(([y, mo, d, h, mi, s, f, zone]) => `${y}-${mo}-${d}T${h}:${mi}:${s}.${f}${zone}`);
  fc.assert(
    // White space before it is trimmed by the general form only.
    fc.property(time, (text) => expect(parseWireTime(text)).toBe(parseWireTime(` ${text}`))),
    { numRuns: 5_000 },
  );
});

test('a chain of segments is read back as run, parent and trace', () => {
  const instant = fc.integer({ min: us('1970-01-01T00:00:00Z'), max: us('2200-01-01T00:00:00Z') });
  fc.assert(
    fc.property(fc.array(fc.tuple(instant, fc.uuid()), { minLength: 1, maxLength: 40 }), (chain) => {
      const text = chain.map(([time, id]) => dottedSegment(time, id)).join('.');
      const dotted = parseDottedOrder(text);
      if (dotted === undefined) throw new Error('not read');
      expect(dotted).toMatchObject({
        text,
        id: chain.at(-1)?.[1],
        traceId: chain[0]?.[1],
        parentId: chain.at(-2)?.[1],
      });
      expect(parseWireTime(dottedStart(dotted))).toBe(chain.at(-1)?.[0]);
    }),
  );
});

test('ids in upper case are the same ids', () => {
  const id = 'ABCDEF01-2345-4789-ABCD-EF0123456789';
  expect(parseDottedOrder(`20261121T100000123456Z${id}`)).toMatchObject({
    id: id.toLowerCase(),
    text: `20261121T100000123456Z${id.toLowerCase()}`,
  });
});

test('anything else is no dotted order', () => {
  const good = dottedSegment(0, randomUUID());
  for (const text of [
    '',
    '.',
    good + '.',
    good.slice(1),
    good + good,
    `${good}_${good}`,
    good.replace('Z', 'X'),
  ]) {
    expect(parseDottedOrder(text)).toBeUndefined();
  }
  fc.assert(fc.property(fc.string(), (text) => parseDottedOrder(text) === undefined));
});

test.each([
  ['"a\\u0000b"', '"a\\u2400b"'],
  ['"a\\\\u0000b"', '"a\\\\u0000b"'],
  ['"\\\\\\u0000"', '"\\\\\\u2400"'],
  ['"\\ud83d\\ude00"', '"\\ud83d\\ude00"'],
  ['"\\ud83d"', '"\\ufffd"'],
  ['"\\ude00\\ud83d"', '"\\ufffd\\ufffd"'],
  ['"\\ud83d\\ud83d\\ude00"', '"\\ufffd\\ud83d\\ude00"'],
  ['"\\u00e9"', '"\\u00e9"'],
  ['"a\0b"', '"a\u2400b"'],
  ['{"n":12345678901234567890}', '{"n":12345678901234567890}'],
])('%p is cleaned to %p', (text, expected) => {
  expect(cleanJsonText(text)).toBe(expected);
});

test('cleaned JSON has the same meaning but for NUL and lone surrogates', () => {
  const character = fc.integer({ min: 0, max: 0xffff }).map((code) => String.fromCharCode(code));
  const nasty = fc.array(fc.oneof(character, fc.constantFrom('\0', '\ud800', '\udc00', '\\', '"', 'u0000')));
  fc.assert(
    fc.property(nasty, (characters) => {
      const value = characters.join('');
      const cleaned = JSON.parse(cleanJsonText(JSON.stringify(value))) as string;
      expect(cleaned).toBe(cleanText(value));
      expect(cleaned.isWellFormed() && !cleaned.includes('\0')).toBe(true);
    }),
  );
});

test('text in which everything is escaped is cleaned the same', () => {
  const unit = fc.constantFrom(
    0,
    0x41,
    0xe9,
    0xd800,
    0xd83d,
    0xdbff,
    0xdc00,
    0xde00,
    0xdfff,
    0xd7ff,
    0xe000,
    0x5c,
    0x22,
  );
  fc.assert(
    fc.property(fc.array(unit), fc.boolean(), (units, upper) => {
      const hex = (code: number): string => code.toString(16).padStart(4, '0');
      const text = `"${units.map((code) => `\\u${upper ? hex(code).toUpperCase() : hex(code)}`).join('')}"`;
      const cleaned = cleanJsonText(text);
      expect(JSON.parse(cleaned)).toBe(cleanText(String.fromCharCode(...units)));
      if (JSON.parse(text) === JSON.parse(cleaned)) expect(cleaned).toBe(text);
    }),
  );
});

test('depth is counted outside strings only', () => {
  expect(isDeeperThan('['.repeat(512) + ']'.repeat(512), 512)).toBe(false);
  expect(isDeeperThan('['.repeat(513) + ']'.repeat(513), 512)).toBe(true);
  expect(isDeeperThan(JSON.stringify('['.repeat(2_000)), 512)).toBe(false);
  expect(isDeeperThan(JSON.stringify('"\\'.repeat(2_000) + '['.repeat(2_000)), 512)).toBe(false);
  expect(isDeeperThan('[],'.repeat(2_000), 512)).toBe(false);
});

test('text and value agree on depth, and a million levels overflow nothing', () => {
  fc.assert(
    fc.property(fc.jsonValue({ maxDepth: 8 }), fc.integer({ min: 0, max: 8 }), (value, limit) => {
      const text = JSON.stringify(value);
      // The text scan may stop at texts too short to be that deep.
      expect(isDeeperThan(text, limit)).toBe(nestsDeeper(value, limit));
      expect(stringifyDeep(value)).toBe(text);
    }),
  );
  const deep = '['.repeat(1_000_000) + ']'.repeat(1_000_000);
  const value: unknown = JSON.parse(deep);
  expect(nestsDeeper(value, 512)).toBe(true);
  expect(stringifyDeep(value)).toBe(deep);
});

test('a key called __proto__ stays a key', () => {
  const text = '{"__proto__":{"x":1},"a":[{"__proto__":2}]}';
  expect(stringifyDeep(JSON.parse(text))).toBe(text);
});

test.each([
  ['{"a":NaN,"b":-Infinity,"c":[Infinity]}', '{"a":null,"b":null,"c":[null]}'],
  ['{"NaN":"NaN Infinity","b":NaN}', '{"NaN":"NaN Infinity","b":null}'],
  ['{"a":"\\"NaN","b":NaN}', '{"a":"\\"NaN","b":null}'],
])('%p is read as %p', (text, expected) => {
  expect(replaceNonFinite(text, 'null')).toBe(expected);
});

test('texts without such numbers are left to fail as they are', () => {
  expect(replaceNonFinite('{"a":"NaN"', 'null')).toBeUndefined();
  expect(replaceNonFinite('{"a":1', 'null')).toBeUndefined();
});
