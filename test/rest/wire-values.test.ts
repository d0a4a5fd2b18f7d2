import { expect, test } from '@jest/globals';
import fc from 'fast-check';
import { parentRunIds } from '../../src/rest/run.wire.js';
import { fromWireTime, toNaiveTime, toZonedTime } from '../../src/rest/wire-values.js';

test('times keep their microseconds, and have all six digits whatever is stored', () => {
  expect(toNaiveTime('2026-11-21 10:00:00+00')).toBe('2026-11-21T10:00:00.000000');
  expect(toNaiveTime('2026-11-21 10:00:00.12+00')).toBe('2026-11-21T10:00:00.120000');
  expect(toZonedTime('2026-11-21 10:00:00.123456+00')).toBe('2026-11-21T10:00:00.123456+00:00');
  expect(() => toNaiveTime('yesterday')).toThrow();
});

test.each([
  ['2026-11-21T10:00:00.123456', '2026-11-21T10:00:00.123456Z'],
  ['2026-11-21T12:00:00.123456+02:00', '2026-11-21T10:00:00.123456Z'],
  ['2026-11-21T10:00:00Z', '2026-11-21T10:00:00.000000Z'],
  [1_795_000_000_123, '2026-11-18T11:06:40.123000Z'],
])('%s is %s', (given, expected) => {
  expect(fromWireTime(given)).toBe(expected);
});

test.each(['', 'soon', '2026-13-01T00:00:00Z', true, null, undefined, {}])('%j is no time', (given) => {
  expect(fromWireTime(given)).toBeUndefined();
});

test('any moment a client can send is read back to the microsecond', () => {
  const first = Date.parse('1900-01-01');
  const last = Date.parse('2100-01-01');
  fc.assert(
    fc.property(fc.integer({ min: first, max: last }), fc.integer({ min: 0, max: 999 }), (ms, micros) => {
      const text = `${new Date(ms).toISOString().slice(0, -1)}${String(micros).padStart(3, '0')}Z`;
      expect(fromWireTime(text)).toBe(text);
    }),
  );
});

test('ancestors are read off the dotted order, root first', () => {
  const ids = [
    '11111111-1111-4111-8111-111111111111',
    '22222222-2222-4222-8222-222222222222',
    '33333333-3333-4333-8333-333333333333',
  ];
  const order = ids.map((id) => `20261121T100000000000Z${id}`).join('.');
  expect(parentRunIds(order)).toEqual(ids.slice(0, 2));
  expect(parentRunIds(order.split('.')[0] as string)).toEqual([]);
});
