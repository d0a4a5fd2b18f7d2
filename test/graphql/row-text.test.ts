/** Rows written as text are the rows that are executed field by field: the same JSON, the same price, the same refusals. */
import { expect, test } from '@jest/globals';
import fc from 'fast-check';
import { getOperationAST, introspectionFromSchema, parse, printSchema, validate } from 'graphql';
import { createContext } from '../../src/graphql/context.js';
import { PriceList } from '../../src/graphql/cost.js';
import { Executor } from '../../src/graphql/executor.js';
import { stringifyWithRawJson } from '../../src/graphql/raw-json.js';
import { RawRows } from '../../src/graphql/row-text.js';
import { demoSchema } from './demo.js';
import { principalWith } from './demo-server.js';

const schema = demoSchema();
const prices = new PriceList(schema);

interface Outcome {
  readonly json: unknown;
  readonly cost: number;
  /** Lists that came as text. */
  readonly texts: number;
}

async function run(
  query: string,
  compileAfter: number,
  variables: Record<string, unknown> = {},
): Promise<Outcome> {
  const document = parse(query);
  expect(validate(schema, document)).toEqual([]);
  const { data, errors } = await new Executor({ schema, compileAfter }).execute({
    document,
    variables,
    contextValue: createContext({
      principal: principalWith(['read']),
      signal: new AbortController().signal,
      requestId: 'r',
    }),
  });
  const operation = getOperationAST(document);
  if (!operation) throw new Error('no operation');
  return {
    json: JSON.parse(stringifyWithRawJson({ data, errors: errors?.map(({ message }) => message) })),
    cost: prices.actual({ document, operation, variables }, data),
    texts: textsIn(data),
  };
}

function textsIn(value: unknown): number {
  if (value instanceof RawRows) return 1;
  if (typeof value !== 'object' || value === null) return 0;
  return Object.values(value).reduce<number>((sum, inner) => sum + textsIn(inner), 0);
}

async function both(query: string, variables?: Record<string, unknown>): Promise<Outcome> {
  const executed = await run(query, Number.POSITIVE_INFINITY, variables);
  const written = await run(query, 0, variables);
  expect(written.json).toEqual(executed.json);
  // Objects that are selected twice are priced as often as they are selected, or once.
  const twice = [/nodes \{/g, /parts \{/g].some((lists) => (query.match(lists)?.length ?? 0) > 1);
  if (!twice) expect(written.cost).toBe(executed.cost);
  expect(executed.texts).toBe(0);
  return written;
}

const LEAVES = ['__typename', 'id', 'uuid', 'name', 'startTime', 'cost', 'tokens', 'size', 'payload'];

/** Selections on a Thing: fields under their own names or others, pieces of it in fragments. */
const selection: fc.Arbitrary<string> = fc.letrec<{ set: string; part: string }>((tie) => ({
  part: fc.oneof(
    { weight: 6, arbitrary: fc.constantFrom(...LEAVES) },
    { weight: 2, arbitrary: fc.constantFrom(...LEAVES).map((name) => `other_${name}: ${name}`) },
    {
      weight: 1,
      arbitrary: fc.constantFrom('parts { label }', 'parts { __typename l: label }', 'ps: parts { label }'),
    },
    { weight: 1, arbitrary: fc.constantFrom('... on Node { id uuid }', '...Named') },
    { weight: 1, arbitrary: tie('set').map((set) => `... on Thing { ${set} }`) },
  ),
  set: fc.array(tie('part'), { minLength: 1, maxLength: 8 }).map((parts) => parts.join(' ')),
})).set;

test('any selection of plain fields gives the same as text', async () => {
  await fc.assert(
    fc.asyncProperty(selection, selection, fc.boolean(), async (first, second, edges) => {
      const set = edges ? `edges { cursor node { ${first} } }` : `nodes { ${first} } nodes { ${second} }`;
      const named = set.includes('...Named') ? 'fragment Named on Thing { n: name size }' : '';
      const { texts } = await both(
        `query ($n: Int!) { things(first: $n) { ${set} pageInfo { hasNextPage endCursor } } } ${named}`,
        { n: 5 },
      );
      expect(texts).toBe(1);
    }),
    { numRuns: 300 },
  );
});

test.each([
  ['an empty list', 'query ($c: String) { things(first: 1, after: $c) { nodes { name } } }', 1],
  ['an alias on the list', '{ things(first: 2) { rows: nodes { name } again: nodes { size } } }', 2],
  [
    'nodes and edges at once',
    '{ things(first: 2) { nodes { name payload } edges { node { payload } } } }',
    2,
  ],
  [
    'a row with a list of its own',
    '{ things(first: 2) { nodes { name children(first: 2) { nodes { name } } } } }',
    0,
  ],
  [
    'a condition on a field',
    '{ things(first: 2) { nodes { name @include(if: true) size @skip(if: true) } } }',
    0,
  ],
  ['a condition on the list', '{ things(first: 2) { nodes @skip(if: false) { name } } }', 0],
  [
    'one list that cannot be text',
    '{ a: things(first: 1) { nodes { name } } b: things(first: 1) { nodes { children(first: 1) { pageInfo { endCursor } } } } }',
    0,
  ],
])('%s', async (_name, query, expected) => {
  expect((await both(query)).texts).toBe(expected);
});

test('characters that JSON escapes come back as they were', async () => {
  const texts = [
    '"',
    '\\',
    '\n',
    '\u0000',
    '\u007f',
    '\u2028',
    '\ud83d\ude00',
    '\ud800',
    'ü'.repeat(500),
    '</script>',
  ];
  const { buildSchema } = await import('graphql');
  const { addTextFields, AS_TEXT } = await import('../../src/graphql/row-text.js');
  const plain = buildSchema(
    'type Query { page: Page } type Page { nodes: [Row!]! } type Row { text: String! number: Float list: [String!]! }',
  );
  const page = plain.getQueryType()?.getFields()['page'];
  const nodes = (
    plain.getType('Page') as unknown as { getFields(): Record<string, { extensions: object }> }
  ).getFields()['nodes'];
  if (page === undefined || nodes === undefined) throw new Error('no field');
  nodes.extensions = AS_TEXT;
  addTextFields(plain);
  const rows = texts.map((text, index) => ({
    text,
    number: index === 0 ? null : index / 3,
    list: [text, ''],
  }));
  page.resolve = () => ({ nodes: rows });
  const executor = new Executor({ schema: plain, compileAfter: 0 });
  const { data } = await executor.execute({
    document: parse('{ page { nodes { text number list } } }'),
    contextValue: {},
  });
  expect(textsIn(data)).toBe(1);
  expect(JSON.parse(stringifyWithRawJson(data))).toEqual({
    page: { nodes: JSON.parse(JSON.stringify(rows)) },
  });

  page.resolve = () => ({ nodes: [{ text: null, list: [] }] });
  const broken = await executor.execute({ document: parse('{ page { nodes { text } } }'), contextValue: {} });
  expect(broken.errors?.map(({ message }) => message)).toEqual([
    'Cannot return null for non-nullable field Row.text.',
  ]);
  expect(broken.data).toEqual({ page: null });
});

test('nobody sees the second field or can name it', () => {
  expect(printSchema(schema)).not.toContain('$text');
  expect(JSON.stringify(introspectionFromSchema(schema))).not.toContain('$text');
  expect(() => parse('{ things(first: 1) { nodes$text } }')).toThrow('Syntax Error');
});
