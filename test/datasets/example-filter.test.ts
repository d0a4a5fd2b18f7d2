/* Filters on examples: what they mean, what they refuse, and that nothing of their texts becomes SQL. */
import { afterAll, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { exampleConditionSql, parseExampleFilter } from '../../src/datasets/example-filter.js';
import type { ExampleCondition } from '../../src/datasets/example-filter.js';
import { AppError } from '../../src/platform/errors.js';
import { createTestDatabase } from '../support/database.js';

const database = await createTestDatabase();
afterAll(() => database.drop());

const ID = '0b000000-0000-4000-8000-000000000001';

test.each<[string, ExampleCondition]>([
  [`eq(id, "${ID.toUpperCase()}")`, { kind: 'id', ids: [ID] }],
  [`neq(id, '${ID}')`, { kind: 'not', of: { kind: 'id', ids: [ID] } }],
  [`in(id, ["${ID}"])`, { kind: 'id', ids: [ID] }],
  ['exists(metadata, "k")', { kind: 'key', key: 'k' }],
  ['exists("metadata", "k")', { kind: 'key', key: 'k' }],
  [`has(metadata, '{"a": {"b": [1]}}')`, { kind: 'contains', metadata: { a: { b: [1] } } }],
  ['and(eq(metadata_key, "k"), eq(metadata_value, 7))', { kind: 'contains', metadata: { k: 7 } }],
  ['eq(metadata_key, "k")', { kind: 'key', key: 'k' }],
  [
    'or(not(exists(metadata, "a")), exists(metadata, "b"))',
    {
      kind: 'or',
      of: [
        { kind: 'not', of: { kind: 'key', key: 'a' } },
        { kind: 'key', key: 'b' },
      ],
    },
  ],
])('%s is understood', (text, condition) => {
  expect(parseExampleFilter(text)).toEqual(condition);
});

test.each([
  '',
  'metadata',
  'exists(metadata)',
  'exists(metadata, k)',
  'exists(name, "k")',
  'eq(id, "x")',
  'gt(id, 1)',
  'has(metadata, "[1]")',
  'has(metadata, "{")',
  'and()',
  'eq(metadata_value, "v")',
  `${'not('.repeat(30)}exists(metadata, "k")${')'.repeat(30)}`,
  `or(${Array.from({ length: 201 }, () => 'exists(metadata, "k")').join(',')})`,
  `exists(metadata, "${'k'.repeat(9_000)}")`,
])('text %# is no filter: what was expected is said', (text) => {
  expect(() => parseExampleFilter(text)).toThrow(AppError);
  expect(() => parseExampleFilter(text)).toThrow(/^Filter: /);
});

/** In the quotes of the language. */
const quoted = (text: string): string => `"${text.replace(/[\\"]/g, '\\$&')}"`;

type Next = () => number;

interface Shaped {
  readonly text: string;
  /** The statement with its parameters counted. */
  readonly sql: (next: Next) => string;
}

const anyText = fc.oneof(
  fc.string({ unit: 'binary', maxLength: 20 }),
  fc.constantFrom(
    "'; drop table examples --",
    '$1',
    "')) or true --",
    '\u0000',
    '\ud800',
    "\\' or 1=1",
    '*/ --',
  ),
);
const leaf: fc.Arbitrary<Shaped> = fc.oneof(
  fc.uuid().map((id) => ({ text: `eq(id, "${id}")`, sql: (next: Next) => `e.id = any($${next()}::uuid[])` })),
  anyText.map((key) => ({
    text: `exists(metadata, ${quoted(key)})`,
    sql: (next: Next) => `jsonb_exists(e.metadata, $${next()}::text)`,
  })),
  fc.tuple(anyText, anyText).map(([key, value]) => ({
    text: `has(metadata, ${quoted(JSON.stringify({ [key]: value }))})`,
    sql: (next: Next) => `e.metadata @> $${next()}::jsonb`,
  })),
  fc.tuple(anyText, fc.oneof(anyText.map(quoted), fc.integer().map(String))).map(([key, value]) => ({
    text: `and(eq(metadata_key, ${quoted(key)}), eq(metadata_value, ${value}))`,
    sql: (next: Next) => `e.metadata @> $${next()}::jsonb`,
  })),
);
const { filter } = fc.letrec<{ filter: Shaped }>((tie) => ({
  filter: fc.oneof(
    { depthSize: 'small', withCrossShrink: true },
    leaf,
    tie('filter').map(({ text, sql }) => ({
      text: `not(${text})`,
      sql: (next: Next) => `not (${sql(next)})`,
    })),
    fc
      .tuple(fc.constantFrom('and', 'or'), fc.array(tie('filter'), { minLength: 1, maxLength: 3 }))
      .map(([name, parts]) => ({
        text: `${name}(${parts.map(({ text }) => text).join(', ')})`,
        sql: (next: Next) => `(${parts.map(({ sql }) => sql(next)).join(` ${name} `)})`,
      })),
  ),
}));

test('the statement depends on the shape of a filter alone, and runs, whatever the texts are', async () => {
  await fc.assert(
    fc.asyncProperty(filter, async ({ text, sql: expected }) => {
      const params: unknown[] = [];
      const sql = exampleConditionSql(
        parseExampleFilter(text),
        (value, type) => `$${params.push(value)}::${type}`,
      );
      let count = 0;
      expect(sql).toBe(expected(() => (count += 1)));
      await database.pool.query(`select 1 from examples e where ${sql} limit 1`, params);
    }),
    { numRuns: 300 },
  );
});

test('any text is a filter or is refused, never an error of ours', () => {
  fc.assert(
    fc.property(
      fc.oneof(
        anyText,
        filter.map(({ text }) => text.slice(1)),
      ),
      (text) => {
        try {
          parseExampleFilter(text);
        } catch (error) {
          expect(error).toBeInstanceOf(AppError);
        }
      },
    ),
  );
});
