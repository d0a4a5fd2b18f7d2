import { expect, test } from '@jest/globals';
import { JsonSchema, SchemaTooCostly } from '../../src/platform/json-schema.js';

function compile(schema: unknown): JsonSchema {
  const compiled = JsonSchema.compile(schema);
  if (!compiled.ok) throw new Error(compiled.problems[0]?.message);
  return compiled.value;
}

test('a schema lists what is not as it wants', () => {
  const schema = compile({
    type: 'object',
    properties: { age: { type: 'integer', minimum: 0 }, mail: { type: 'string', format: 'email' } },
    required: ['age'],
  });
  expect(schema.check({ age: 3, mail: 'a@example.com' })).toEqual([]);
  expect(schema.check({ age: -1, mail: 'nobody' })).toEqual([
    { path: '/age', message: 'must be >= 0' },
    { path: '/mail', message: 'must match format "email"' },
  ]);
  expect(schema.check({})).toEqual([{ path: '', message: "must have required property 'age'" }]);
});

test('at most twenty violations are told', () => {
  const schema = compile({ type: 'array', items: { type: 'number' } });
  expect(schema.check(Array.from({ length: 50 }, () => 'x'))).toHaveLength(20);
});

test('drafts differ in what they read', () => {
  const seven = compile({ $schema: 'http://json-schema.org/draft-07/schema#', items: [{ type: 'string' }] });
  expect(seven.check([1])).toHaveLength(1);
  const newest = compile({ prefixItems: [{ type: 'string' }] });
  expect(newest.check([1])).toHaveLength(1);
});

test.each([
  ['no object', 'string'],
  ['an unknown type', { type: 'nonsense' }],
  ['a schema elsewhere', { $ref: 'https://example.com/schema.json' }],
  ['a reference to nothing', { $ref: '#/$defs/nothing' }],
  ['a pattern that is none', { pattern: '(' }],
  ['a pattern with a back reference', { pattern: '(a)\\1' }],
  ['a schema that is too long', { enum: Array.from({ length: 20_000 }, (_, index) => index) }],
])('%s is refused', (_name, schema) => {
  expect(JsonSchema.compile(schema).ok).toBe(false);
});

test('references that double the work at every level end in an error, soon', () => {
  const $defs: Record<string, unknown> = { l0: { type: 'object' } };
  for (let level = 1; level <= 40; level += 1) {
    const below = { $ref: `#/$defs/l${level - 1}` };
    $defs[`l${level}`] = { allOf: [below, below] };
  }
  const schema = compile({ $defs, $ref: '#/$defs/l40' });
  const started = performance.now();
  expect(() => schema.check({})).toThrow(SchemaTooCostly);
  expect(performance.now() - started).toBeLessThan(5_000);
});

test('a recursive schema works on deep values', () => {
  const schema = compile({
    type: 'object',
    properties: { next: { $ref: '#' } },
    additionalProperties: false,
  });
  let value: object = {};
  for (let depth = 0; depth < 500; depth += 1) value = { next: value };
  expect(schema.check(value)).toEqual([]);
  expect(schema.check({ next: { next: { other: 1 } } })).toEqual([
    { path: '/next/next', message: 'must NOT have additional properties: "other"' },
  ]);
});

test('patterns that backtrack elsewhere are linear', () => {
  const schema = compile({ pattern: '^(a+)+$', patternProperties: { '^(a+)+$': {} } });
  const started = performance.now();
  expect(schema.check(`${'a'.repeat(20_000)}!`)).toHaveLength(1);
  expect(performance.now() - started).toBeLessThan(5_000);
});

test('equal items are found among many', () => {
  const schema = compile({ uniqueItems: true });
  const items = Array.from({ length: 50_000 }, (_, index) => ({ a: index, b: [] }));
  const started = performance.now();
  expect(schema.check(items)).toEqual([]);
  expect(schema.check([...items, { b: [], a: 7 }])).toEqual([
    { path: '', message: 'must not have equal items' },
  ]);
  expect(performance.now() - started).toBeLessThan(5_000);
});

test('constants are data even where they look like schemas', () => {
  const schema = compile({ const: { properties: { a: {} }, not: {} } });
  expect(schema.check({ properties: { a: {} }, not: {} })).toEqual([]);
  expect(compile({ properties: { properties: { type: 'string' } } }).check({ properties: 1 })).toHaveLength(
    1,
  );
});
