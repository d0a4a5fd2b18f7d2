/** The pure rules of feedback: what is storable, what a config allows, and what it says when it does not. */
import { afterAll, expect, test } from '@jest/globals';
import fc from 'fast-check';
import {
  definitionProblems,
  describeAllowed,
  sameDefinition,
  type FeedbackConfig,
} from '../../src/feedback/feedback-config.js';
import { cleanJson, completeJudgement, judgementOf, refusalOf } from '../../src/feedback/feedback.js';
import type { JsonValue } from '../../src/ingest/run-event.js';
import { createTestDatabase } from '../support/database.js';

const database = await createTestDatabase();
afterAll(() => database.drop());

const config = (parts: Partial<FeedbackConfig>): FeedbackConfig => ({
  key: 'k',
  type: 'continuous',
  min: null,
  max: null,
  categories: [],
  isLowerScoreBetter: false,
  createdAt: '',
  updatedAt: '',
  ...parts,
});

// Any UTF-16, lone surrogates and NUL included.
const anyText = fc.string({
  unit: fc.integer({ min: 0, max: 0xffff }).map((code) => String.fromCharCode(code)),
  maxLength: 20,
});
const anyJson = fc.letrec<{ value: JsonValue }>((tie) => ({
  value: fc.oneof(
    { maxDepth: 4 },
    fc.constant(null),
    fc.boolean(),
    fc.integer(),
    anyText,
    fc.array(tie('value'), { maxLength: 4 }),
    fc.dictionary(anyText, tie('value'), { maxKeys: 4 }),
  ),
})).value;

test('whatever JSON is cleaned can be kept by Postgres, comes back as it is, and is not changed by cleaning again', async () => {
  await fc.assert(
    fc.asyncProperty(anyJson, async (value) => {
      const clean = cleanJson(value);
      expect(cleanJson(clean as JsonValue)).toEqual(clean);
      const { rows } = await database.pool.query('select $1::jsonb as kept', [JSON.stringify(clean)]);
      expect(rows[0].kept).toEqual(JSON.parse(JSON.stringify(clean)));
    }),
    { numRuns: 200 },
  );
});

test('a key named __proto__ is data like any other', () => {
  const clean = cleanJson(JSON.parse('{"__proto__": {"polluted": true}}') as JsonValue) as object;
  expect(Object.keys(clean)).toEqual(['__proto__']);
  expect(({} as { polluted?: boolean }).polluted).toBeUndefined();
});

test('a continuous config allows exactly what lies between its bounds', () => {
  fc.assert(
    fc.property(
      fc.double({ noNaN: true }),
      fc.option(fc.integer()),
      fc.option(fc.integer()),
      (score, min, max) => {
        const allowed = (min === null || score >= min) && (max === null || score <= max);
        expect(refusalOf('k', { score, value: null }, config({ min, max })) === undefined).toBe(allowed);
      },
    ),
  );
});

const tone = config({
  type: 'categorical',
  categories: [
    { value: 1, label: 'good' },
    { value: 0, label: null },
  ],
});

test.each([
  [{ score: 1, value: null }, true],
  [{ score: 0, value: 'good' }, true],
  [{ score: null, value: 'good' }, true],
  [{ score: null, value: '0' }, true],
  [{ score: null, value: 1 }, true],
  [{ score: null, value: true }, true],
  [{ score: null, value: null }, true],
  [{ score: 2, value: null }, false],
  [{ score: null, value: 'bad' }, false],
  [{ score: null, value: 3 }, false],
])('a categorical config and %j: allowed is %s', (judgement, allowed) => {
  expect(refusalOf('k', judgement, tone) === undefined).toBe(allowed);
});

test('a category that is named brings its score; a score that is given stays', () => {
  expect(completeJudgement({ score: null, value: 'good' }, tone)).toEqual({ score: 1, value: 'good' });
  expect(completeJudgement({ score: 0, value: 'good' }, tone)).toEqual({ score: 0, value: 'good' });
  expect(completeJudgement({ score: null, value: 'good' }, config({}))).toEqual({
    score: null,
    value: 'good',
  });
});

test('without a config everything is allowed, and a freeform one allows everything', () => {
  expect(refusalOf('k', { score: 1e9, value: { any: 'thing' } }, undefined)).toBeUndefined();
  expect(
    refusalOf('k', { score: 1e9, value: { any: 'thing' } }, config({ type: 'freeform' })),
  ).toBeUndefined();
});

test('a boolean is 1 or 0 and its own value', () => {
  expect(judgementOf(true, undefined)).toEqual({ score: 1, value: true });
  expect(judgementOf(false, null)).toEqual({ score: 0, value: false });
  expect(judgementOf(true, 'up')).toEqual({ score: 1, value: 'up' });
  expect(judgementOf(undefined, undefined)).toEqual({ score: null, value: null });
});

test('what is allowed is said in words', () => {
  expect(describeAllowed(config({ min: 0, max: 1 }))).toBe('a score from 0 to 1');
  expect(describeAllowed(config({ min: 0 }))).toBe('a score of at least 0');
  expect(describeAllowed(config({ max: 5 }))).toBe('a score of at most 5');
  expect(describeAllowed(config({}))).toBe('any score');
  expect(describeAllowed(tone)).toBe('one of: good (1), 0');
});

test('definitions that make no sense are refused; equal ones are recognised whatever they leave unused', () => {
  const codes = (parts: Partial<FeedbackConfig>): number => definitionProblems(config(parts)).length;
  expect(codes({ min: 0, max: 0 })).toBe(0);
  expect(codes({ min: 1, max: 0 })).toBe(1);
  expect(codes({ min: Number.NaN })).toBe(1);
  expect(codes({ type: 'categorical' })).toBe(1);
  expect(
    codes({
      type: 'categorical',
      categories: [
        { value: 1, label: 'a' },
        { value: 1, label: 'b' },
      ],
    }),
  ).toBe(1);
  expect(
    codes({
      type: 'categorical',
      categories: [
        { value: 1, label: 'a' },
        { value: 2, label: 'a' },
      ],
    }),
  ).toBe(1);
  expect(
    codes({
      type: 'categorical',
      categories: Array.from({ length: 201 }, (_, value) => ({ value, label: null })),
    }),
  ).toBe(1);
  expect(sameDefinition(config({ type: 'freeform', min: 1 }), config({ type: 'freeform' }))).toBe(true);
  expect(sameDefinition(config({ min: 1 }), config({ min: 2 }))).toBe(false);
});
