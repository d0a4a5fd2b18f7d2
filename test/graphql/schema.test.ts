/** What every schema we serve has to say about itself, and what the scalars take and give. */
import { expect, test } from '@jest/globals';
import { buildSchema, isObjectType } from 'graphql';
import {
  normalizeDateTime,
  BigIntScalar,
  DateTimeScalar,
  DecimalScalar,
  JsonScalar,
  UuidScalar,
} from '../../src/graphql/scalars.js';
import { NodeResolver, NodeTypes } from '../../src/graphql/node.resolver.js';
import { buildTracewellSchema, printTracewellSchema, schemaProblems } from '../../src/graphql/schema.js';
import { RESOLVER_CLASSES } from '../../src/graphql/resolvers.js';
import { DemoResolver, demoSchema } from './demo.js';

test('the served schema declares access and prices everywhere', () => {
  expect(schemaProblems()).toEqual([]);
  expect(RESOLVER_CLASSES).toContain(NodeResolver);
});

test('a field without access, a page without a price and an unlimited list are named', () => {
  const schema = buildSchema(`
    type Query { open: String page(first: Int): PageConnection }
    type PageConnection { nodes: [String!]! pageInfo: String }
  `);
  expect(schemaProblems(schema)).toEqual([
    'Query.open does not say who may use it (RequiresAccess).',
    'Query.page does not say who may use it (RequiresAccess).',
    'Query.page takes a page size but has neither complexity nor ListSize.',
  ]);
});

test('a resolver without an instance, and an instance that is not listed, stop the start', () => {
  expect(() => buildTracewellSchema([], [DemoResolver])).toThrow(
    'Resolvers without an instance: DemoResolver.',
  );
  const node = new NodeResolver({ nodeTypes: new NodeTypes() });
  expect(() => buildTracewellSchema([new DemoResolver(), node], [DemoResolver])).toThrow(
    'Resolvers that are not in RESOLVER_CLASSES: NodeResolver.',
  );
});

test('the printed schema is stable, complete and names every custom scalar’s specification', () => {
  const printed = printTracewellSchema([DemoResolver]);
  expect(printed).toBe(printTracewellSchema([DemoResolver]));
  expect(printed).toContain('input Selector @oneOf {');
  expect(printed).toContain('type BasicUserError implements UserError {');
  for (const scalar of printed.match(/^scalar .*$/gm) ?? []) {
    expect(scalar).toMatch(/@specifiedBy\(url: "https:/);
  }
});

test('object types of nodes resolve both forms of their id from the bare one', () => {
  const type = demoSchema().getType('Thing');
  if (!isObjectType(type)) throw new Error('no Thing');
  const uuid = '00000000-0000-7000-8000-000000000001';
  const resolve = (field: string, row: object): unknown =>
    type.getFields()[field]?.resolve?.(row, {}, {}, {} as never);
  expect(resolve('id', { uuid })).toBe(Buffer.from(`Thing:${uuid}`).toString('base64url'));
  expect(resolve('id', { id: uuid })).toBe(Buffer.from(`Thing:${uuid}`).toString('base64url'));
  expect(resolve('uuid', { id: uuid })).toBe(uuid);
});

test('DateTime gives UTC with milliseconds, or with the microseconds that were recorded', () => {
  const cases: [string, string][] = [
    ['2026-11-21 10:00:00+00', '2026-11-21T10:00:00.000Z'],
    ['2026-11-21 10:00:00.1+00', '2026-11-21T10:00:00.100Z'],
    ['2026-11-21 10:00:00.123+00', '2026-11-21T10:00:00.123Z'],
    ['2026-11-21 10:00:00.123456+00', '2026-11-21T10:00:00.123456Z'],
    ['2026-11-21 10:00:00.12345+00', '2026-11-21T10:00:00.123450Z'],
    ['2026-11-21T12:00:00.5+02:00', '2026-11-21T10:00:00.500Z'],
  ];
  for (const [stored, shown] of cases) expect(DateTimeScalar.serialize(stored)).toBe(shown);
  expect(DateTimeScalar.serialize(new Date(0))).toBe('1970-01-01T00:00:00.000Z');
  for (const nonsense of ['2026-11-21', 'infinity', 5, null]) {
    expect(() => DateTimeScalar.serialize(nonsense)).toThrow(TypeError);
  }
});

test('DateTime takes any offset and refuses days that do not exist', () => {
  expect(normalizeDateTime('2026-11-21T10:00:00.123456789-05:30')).toBe('2026-11-21T15:30:00.123456Z');
  expect(normalizeDateTime('2026-03-01t00:30:00+01:00')).toBe('2026-02-28T23:30:00.000Z');
  for (const nonsense of [
    '2026-02-30T00:00:00Z',
    '2026-11-21T24:00:00Z',
    '2026-11-21T10:00:00',
    '2026-11-21',
    '2026-11-21T10:00:00+25:00',
    '2026-13-01T00:00:00Z',
    '0000-01-01T00:00:00+01:00',
  ]) {
    expect(normalizeDateTime(nonsense)).toBeUndefined();
  }
});

test('Decimal and BigInt keep every digit', () => {
  expect(DecimalScalar.serialize('0.000000123')).toBe('0.000000123');
  expect(DecimalScalar.serialize({ toFixed: () => '0.000000123' })).toBe('0.000000123');
  expect(DecimalScalar.parseValue('-12.50')).toBe('-12.50');
  for (const nonsense of ['1e-7', '', '.5', 'NaN', '1,5', {}, Number.NaN, 1e-7]) {
    expect(() => DecimalScalar.parseValue(nonsense)).toThrow();
  }
  expect(BigIntScalar.serialize(12_345_678_901)).toBe('12345678901');
  expect(BigIntScalar.serialize(2n ** 70n)).toBe('1180591620717411303424');
  expect(() => BigIntScalar.serialize(2 ** 60)).toThrow(TypeError);
  expect(BigIntScalar.parseValue('9007199254740993')).toBe('9007199254740993');
  expect(() => BigIntScalar.parseValue(1.5)).toThrow();
});

test('UUID takes any case and JSON is bounded', () => {
  expect(UuidScalar.parseValue('ABCDEF01-2345-6789-abcd-ef0123456789')).toBe(
    'abcdef01-2345-6789-abcd-ef0123456789',
  );
  expect(() => UuidScalar.parseValue('abc')).toThrow();
  let deep: unknown = 1;
  for (let level = 0; level < 512; level += 1) deep = [deep];
  expect(JsonScalar.parseValue(deep)).toBe(deep);
  expect(() => JsonScalar.parseValue([deep])).toThrow('512 levels');
  expect(() => JsonScalar.parseValue(Array.from({ length: 200_000 }, () => 0))).toThrow('200000 values');
});
