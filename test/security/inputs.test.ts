/**
 * Bad values in every place of the calls that have to do with evaluation. The places come from the schema and from the
 * fixtures of the tenancy matrix, and within JSON from the JSON itself: whatever stands there, the caller is told what
 * is wrong or gets what was asked for, and never a fault of the server.
 */
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { randomUUID } from 'node:crypto';
import { getNamedType, getNullableType, isEnumType, isInputObjectType, isListType } from 'graphql';
import type { GraphQLField, GraphQLInputType, GraphQLSchema } from 'graphql';
import { createApi } from '../../src/api.js';
import { startHarness } from '../support/harness.js';
import type { Harness } from '../support/harness.js';
import { MUTATIONS, QUERIES } from './graphql-calls.js';
import type { Operation } from './graphql-calls.js';
import type { Names } from './names.js';
import { plantTenant } from './tenant.js';

const ABOUT =
  /dataset|example|split|evaluator|experiment|gate|provider|harvest|schedule|compar|preference|import/i;
/** Their calls reach for the network, which is no part of this. */
const OUTSIDE = new Set(['testModelProvider']);
const AT_ONCE = 8;

type Args = Readonly<Record<string, unknown>>;
type Path = readonly (string | number)[];

/** With `__proto__` as a key of its own, as JSON brings it. */
const parsed = (text: string): unknown => JSON.parse(text) as unknown;
const nested = (depth: number): unknown => parsed(`${'['.repeat(depth)}${']'.repeat(depth)}`);

const TEXTS: readonly unknown[] = [
  '',
  'a\u0000b',
  '\ud800',
  'x'.repeat(70_000),
  '__proto__',
  'constructor',
  "'; drop table runs; --",
  '{{inputs.__proto__.constructor}}',
  '/a/~2',
  7,
  true,
  null,
  {},
];
const JSONS: readonly unknown[] = [
  null,
  -1,
  1e308,
  '',
  'a\u0000b',
  '\udfff',
  'x'.repeat(70_000),
  '__proto__',
  false,
  [],
  [null],
  {},
  parsed('{"__proto__": {"polluted": true}, "constructor": {"prototype": {}}}'),
  parsed('{"kind": "__proto__", "type": "constructor", "\\u0000": 1}'),
  nested(150),
  Array.from({ length: 2_000 }, (_, index) => index),
];
const SCALARS: Readonly<Record<string, readonly unknown[]>> = {
  String: TEXTS,
  ID: [
    ...TEXTS,
    Buffer.from('Nobody:x').toString('base64url'),
    Buffer.from(`Project:${randomUUID()}`).toString('base64url'),
    randomUUID(),
    `${randomUUID()}\u0000`,
  ],
  UUID: [...TEXTS, randomUUID(), 'urn:uuid:0'],
  Int: [-1, 0, 2_147_483_647, -2_147_483_648, 1.5, 1e300, '1', null, [], {}],
  Float: [-1, 0, 1e308, -1e308, 5e-324, '1', null, [], {}],
  Boolean: [null, 'true', 1, {}],
  BigInt: ['9223372036854775807', '9223372036854775808', '-1', '', 'x', '1e9', 1.5, null, {}],
  Decimal: [
    '1e400',
    '1e-400',
    '-1',
    '9'.repeat(400),
    `0.${'1'.repeat(400)}`,
    'NaN',
    'Infinity',
    '',
    null,
    {},
  ],
  DateTime: [
    '',
    'yesterday',
    '0000-01-01T00:00:00Z',
    '9999-12-31T23:59:59.999999Z',
    '+275760-09-13T00:00:00Z',
    '-004713-11-24T00:00:00Z',
    '2026-02-30T00:00:00Z',
    '2026-01-01T00:00:00+99:99',
    'infinity',
    0,
    null,
    {},
  ],
  JSON: JSONS,
};

/** What may be put in the place of a value of this type. */
function valuesFor(type: GraphQLInputType, value: unknown): readonly unknown[] {
  const bare = getNullableType(type);
  if (isListType(bare)) {
    const [first] = Array.isArray(value) ? (value as unknown[]) : [];
    const many = first === undefined ? [] : [Array.from({ length: 1_200 }, () => first), [first, first]];
    return [null, [], [null], [[]], {}, 'x', ...many];
  }
  if (isInputObjectType(bare)) {
    return [null, {}, [], 'x', { unknown: 1 }, parsed('{"__proto__": {"id": "x"}}'), { constructor: 1 }];
  }
  if (isEnumType(bare)) return [null, 'NOPE', '__proto__', 'toString', 1, {}];
  return SCALARS[bare.name] ?? JSONS;
}

/** Every place in these arguments, those that are not filled among them. */
function placesIn(
  field: GraphQLField<unknown, unknown>,
  args: Args,
): { path: Path; values: readonly unknown[] }[] {
  const places: { path: Path; values: readonly unknown[] }[] = [];
  const visitJson = (value: unknown, path: Path): void => {
    if (typeof value !== 'object' || value === null) return;
    for (const [key, inner] of Object.entries(value)) {
      const at = [...path, Array.isArray(value) ? Number(key) : key];
      places.push({ path: at, values: JSONS });
      visitJson(inner, at);
    }
  };
  const visit = (type: GraphQLInputType, value: unknown, path: Path): void => {
    places.push({ path, values: valuesFor(type, value) });
    const bare = getNullableType(type);
    if (isListType(bare)) {
      if (Array.isArray(value) && value.length > 0) visit(bare.ofType, value[0], [...path, 0]);
    } else if (isInputObjectType(bare)) {
      if (typeof value !== 'object' || value === null) return;
      for (const inner of Object.values(bare.getFields())) {
        visit(inner.type, (value as Args)[inner.name], [...path, inner.name]);
      }
    } else if (getNamedType(bare).name === 'JSON') visitJson(value, path);
  };
  for (const arg of field.args) visit(arg.type, args[arg.name], [arg.name]);
  return places;
}

function withValue(value: unknown, [head, ...rest]: Path, put: unknown): unknown {
  if (head === undefined) return put;
  if (Array.isArray(value)) {
    return value.map((one, index) => (index === head ? withValue(one, rest, put) : (one as unknown)));
  }
  const object = (value ?? {}) as Args;
  return { ...object, [head]: withValue(object[head], rest, put) };
}

/** Configs of every kind of evaluator, so that each place of each is tried. */
const CONFIGS: Readonly<Record<string, (names: Names) => object>> = {
  EXACT_MATCH: () => ({
    outputPath: '/a',
    referencePath: '/a',
    expected: 'x',
    compare: 'text',
    ignoreCase: true,
  }),
  CONTAINS: () => ({ phrases: ['x'], match: 'any', wholeWords: true }),
  FORBIDDEN_PHRASES: () => ({ phrases: ['x'] }),
  REQUIRED_KEYWORDS: () => ({ phrases: ['x'] }),
  REGEX: () => ({ pattern: 'a', ignoreCase: true, match: 'full', expect: 'no_match' }),
  LENGTH: () => ({ unit: 'words', min: 1, max: 2 }),
  JSON_SCHEMA: () => ({ schema: { type: 'object', properties: { a: { type: 'string', pattern: 'a' } } } }),
  EDIT_DISTANCE: () => ({ measure: 'similarity', threshold: 0.5 }),
  NUMERIC_TOLERANCE: () => ({ absolute: 1, relative: 0.1, expected: 3, extract: 'first' }),
  LATENCY: () => ({ measure: 'total', maxSeconds: 1 }),
  COST: () => ({ measure: 'usd', max: 1 }),
  TOOL_TRAJECTORY: () => ({
    expected: [{ name: 'x', arguments: { a: 1 } }],
    match: 'strict',
    arguments: 'exact',
  }),
  LLM_JUDGE: ({ modelProvider }) => ({
    providerId: modelProvider,
    model: 'm',
    repeats: 3,
    parameters: { temperature: 1 },
    messages: [{ role: 'user', content: '{{output}}' }],
    score: {
      type: 'labels',
      labels: [
        { label: 'wrong', score: 0 },
        { label: 'right', score: 1 },
      ],
    },
  }),
  PAIRWISE: ({ modelProvider }) => ({
    providerId: modelProvider,
    model: 'm',
    messages: [{ role: 'user', content: '{{first}} {{second}}' }],
    allowTie: true,
  }),
  CODE: () => ({ code: 'function evaluate() { return 1 }', steps: true }),
  WEBHOOK: () => ({ url: 'https://hooks.invalid/', timeoutMs: 1_000 }),
};

const RULES: readonly object[] = [
  { kind: 'no_regression', metrics: ['a'], sliceBy: ['b'], burden: 'regression' },
  { kind: 'threshold', metric: 'a', atLeast: 0.5, certainty: 'interval', slice: { key: 'a', value: 'b' } },
  { kind: 'improvement', metric: 'a' },
  { kind: 'label_spike', key: 'a', labels: ['x'], maximumIncrease: 0.1 },
];

let harness: Harness;
let schema: GraphQLSchema;
let names: Names;

beforeAll(async () => {
  harness = await startHarness();
  ({ schema } = createApi(harness.app, undefined));
  names = await plantTenant(harness);
}, 60_000);
afterAll(() => harness.close());

const fieldOf = (operation: Operation, name: string): GraphQLField<unknown, unknown> => {
  const root = operation === 'query' ? schema.getQueryType() : schema.getMutationType();
  const field = root?.getFields()[name];
  if (field === undefined) throw new Error(`There is no ${operation} ${name}.`);
  return field;
};

/** Faults among the answers to these arguments with every bad value in every place. */
async function faultsOf(operation: Operation, name: string, args: Args): Promise<string[]> {
  const field = fieldOf(operation, name);
  const declared = field.args.map((arg) => `$${arg.name}: ${String(arg.type)}`).join(', ');
  const passed = field.args.map((arg) => `${arg.name}: $${arg.name}`).join(', ');
  const leaf = 'getFields' in getNamedType(field.type) ? '{ __typename }' : '';
  const document = `${operation} (${declared}) { it: ${name}(${passed}) ${leaf} }`;
  const tries = placesIn(field, args).flatMap(({ path, values }) =>
    values.map((value) => ({ path, value, variables: withValue(args, path, value) as Args })),
  );
  const faults: string[] = [];
  const left = tries.values();
  const lane = async (): Promise<void> => {
    for (const { path, value, variables } of left) {
      const { status, body, text } = await harness.gql(document, variables, {
        key: harness.keys.full.secret,
      });
      const codes = (body.errors ?? []).map(({ extensions }) => String(extensions['code']));
      if (
        status >= 500 ||
        codes.some((code) => /INTERNAL/.test(code)) ||
        /INTERNAL_SERVER_ERROR/.test(text)
      ) {
        faults.push(
          `${name} ${path.join('.')} = ${JSON.stringify(value).slice(0, 60)}: ${status} ${text.slice(0, 200)}`,
        );
      }
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, lane));
  return faults;
}

const calls = (
  [
    ['query', QUERIES],
    ['mutation', MUTATIONS],
  ] as const
).flatMap(([operation, known]) =>
  Object.entries(known).flatMap(([name, call]) =>
    ABOUT.test(name) && !OUTSIDE.has(name) ? [{ operation, name, call }] : [],
  ),
);

test.each(calls.filter(({ name }) => !/^delete|^cancel/.test(name)))(
  '$operation $name takes no bad value for a fault of the server',
  async ({ operation, name, call }) => {
    for (const args of call.args(names)) expect(await faultsOf(operation, name, args)).toEqual([]);
  },
  120_000,
);

test.each(Object.entries(CONFIGS))(
  'no config of %s is a fault of the server',
  async (kind, config) => {
    const input = { name: 'x', kind, feedbackKey: 'fuzz', config: config(names) };
    expect(await faultsOf('mutation', 'createEvaluator', { input })).toEqual([]);
  },
  120_000,
);

test('no rule of a gate is a fault of the server', async () => {
  const input = { name: 'x', rules: RULES };
  expect(await faultsOf('mutation', 'createGate', { input })).toEqual([]);
  const asked = { candidate: { id: names.project }, baseline: { id: names.project }, rules: RULES };
  expect(await faultsOf('mutation', 'evaluateGate', { input: asked })).toEqual([]);
}, 120_000);

test.each(calls.filter(({ name }) => /^delete|^cancel/.test(name)))(
  '$operation $name takes no bad value for a fault of the server',
  async ({ operation, name, call }) => {
    for (const args of call.args(names)) expect(await faultsOf(operation, name, args)).toEqual([]);
  },
  120_000,
);

test('nothing reached the prototypes', () => {
  expect(({} as Record<string, unknown>)['polluted']).toBeUndefined();
});
