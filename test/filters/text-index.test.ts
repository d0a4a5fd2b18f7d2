import { expect, test } from '@jest/globals';
import { likePattern } from '../../src/filters/like.js';
import {
  compareCodePoints,
  compareDecimals,
  formatDateTime,
  parseDateTime,
  parseDuration,
} from '../../src/filters/literals.js';
import { pairsOf, textIndexOf, wordsOf } from '../../src/filters/text-index.js';

test.each([
  ['Refund policy, v2!', ['refund', 'policy', 'v2']],
  ['ＣＡＦÉ café CAFE\u0301', ['cafe', 'cafe', 'cafe']],
  ['ΣΟΦΟΣ σοφός', ['σοφοσ', 'σοφοσ']],
  ['İstanbul', ['istanbul']],
  ['日本語 test', ['日', '本', '語', 'test']],
  ['abc日本def', ['abc', '日', '本', 'def']],
  ['ガギ', ['カ', 'キ']],
  ['한국어 말', ['한국어', '말']],
  ['snake_case kebab-case a.b', ['snake', 'case', 'kebab', 'case', 'a', 'b']],
  ["it's 3.14 🙂", ['it', 's', '3', '14']],
  ['', []],
  ['x'.repeat(100), ['x'.repeat(64)]],
])('the words of %j are %j', (text, words) => {
  expect(wordsOf(text)).toEqual(words);
});

test('words come from name, error and the texts inside payloads, not from their keys', () => {
  const index = textIndexOf({
    name: 'Agent',
    error: 'boom',
    content: { inputs: '{"question": ["deep", {"nested": "Value"}], "n": 5}', outputs: undefined },
  });
  expect([...index.words].sort()).toEqual(['agent', 'boom', 'deep', 'value']);
});

test('a payload that cannot be taken apart leaves a run findable by its name', () => {
  const index = textIndexOf({
    name: 'Agent',
    error: undefined,
    content: { inputs: 'not json', outputs: undefined },
  });
  expect(index).toEqual({ words: ['agent'], inputs: {}, outputs: {} });
});

test('pairs join keys with dots and see through arrays', () => {
  expect(
    pairsOf({
      messages: [{ content: 'hi' }, { content: 'yo' }, { content: 'hi' }],
      n: 1,
      b: false,
      x: null,
      deep: { er: 'v' },
    }),
  ).toEqual({
    'messages.content': ['hi', 'yo'],
    n: '1',
    b: 'false',
    'deep.er': 'v',
  });
});

test('pairs are bounded: 200 keys, 1000 values, 512 characters a value, and storable', () => {
  const keys = Object.fromEntries(Array.from({ length: 201 }, (_, n) => [`k${n}`, 'v']));
  expect(Object.keys(pairsOf(keys))).toHaveLength(200);
  expect(pairsOf({ list: Array.from({ length: 1_001 }, (_, n) => `v${n}`) })['list']).toHaveLength(1_000);
  expect(pairsOf({ a: 'x'.repeat(513), b: `${'x'.repeat(511)}🙂`, c: 'nul\u0000', d: '\ud800' })).toEqual({
    a: 'x'.repeat(512),
    b: 'x'.repeat(511),
    c: 'nul\ufffd',
    d: '\ufffd',
  });
});

test.each([
  ['abc', 'xabcx', true],
  ['abc', 'ABC', false],
  ['a%', 'abc', true],
  ['a%', 'xabc', false],
  ['%c', 'abc', true],
  ['a_c%', 'a🙂c', true],
  ['a_c', 'xa🙂cx', true],
  ['100\\%', 'at 100% now', true],
  ['100\\%', 'at 1000 now', false],
  ['\\_%', '_x', true],
  ['\\_%', 'ax', false],
  ['\\', 'a\\b', true],
  ['', '', true],
  ['%', '', true],
  ['_%', '', false],
  ['%a%b%', 'xxaxxbxx', true],
  ['%a%b%', 'xxbxxaxx', false],
])('like %j on %j is %j', (pattern, text, expected) => {
  expect(likePattern(pattern).matches(text)).toBe(expected);
});

test('a hostile pattern costs no more than pattern times text', () => {
  const started = performance.now();
  expect(likePattern(`${'%a'.repeat(2_000)}%b`).matches('a'.repeat(20_000))).toBe(false);
  expect(performance.now() - started).toBeLessThan(2_000);
});

test.each([
  ['5s', 5],
  ['1500ms', 1.5],
  ['2m', 120],
  ['1h', 3_600],
  ['1d', 86_400],
  ['0.5', 0.5],
  ['-1e1s', -10],
  ['5 s', 5],
  ['5x', undefined],
  ['', undefined],
  ['1e999', undefined],
])('the duration %j is %j seconds', (text, seconds) => {
  expect(parseDuration(text)).toBe(seconds);
});

test.each([
  ['2026-03-01T08:00:00.123456Z', '2026-03-01T08:00:00.123456Z'],
  ['2026-11-21 10:00:00.1+00', '2026-11-21T10:00:00.100Z'],
  ['2026-03-01T08:00:00+0530', '2026-03-01T02:30:00Z'],
  ['2026-03-01T08:00', '2026-03-01T08:00:00Z'],
  ['1969-12-31T23:59:59.999999Z', '1969-12-31T23:59:59.999999Z'],
  ['0001-01-01', '0001-01-01T00:00:00Z'],
  ['2026-02-29', undefined],
  ['2026-13-01', undefined],
  ['2026-03-01T24:00', undefined],
  ['9999-12-31T23:59:59-12:00', undefined],
  ['10000-01-01', undefined],
  ['infinity', undefined],
  ['now', undefined],
])('the time %s is %s', (text, canonical) => {
  const micros = parseDateTime(text);
  expect(micros === undefined ? undefined : formatDateTime(micros)).toBe(canonical);
});

test('decimals compare by value whatever their spelling', () => {
  expect(compareDecimals('0.10', '1e-1')).toBe(0);
  expect(compareDecimals('-0', '0')).toBe(0);
  expect(compareDecimals('0.000000000001', '1e-12')).toBe(0);
  expect(compareDecimals('9007199254740993', '9007199254740992')).toBe(1);
  expect(compareDecimals('-1.5', '-1.4')).toBe(-1);
  expect(compareDecimals('1e300', '123.5')).toBe(1);
});

test('texts are ordered as Postgres orders their bytes', () => {
  const texts = ['', 'a', 'ab', 'b', '\ud7ff', '\ue000', '\uffff', '🙂', '\u{10ffff}', 'A', 'é'];
  const byBytes = texts.toSorted((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)));
  expect(texts.toSorted(compareCodePoints)).toEqual(byBytes);
});
