/** Compiled and interpreted execution agree; payload text reaches the response as it was stored. */
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { parse } from 'graphql';
import { createContext } from '../../src/graphql/context.js';
import { ErrorPresenter } from '../../src/graphql/errors.js';
import { Executor } from '../../src/graphql/executor.js';
import { RawJson, stringifyWithRawJson } from '../../src/graphql/raw-json.js';
import { systemIds } from '../../src/platform/ids.js';
import { createLogger } from '../../src/platform/log.js';
import { demoSchema, HOSTILE, THINGS } from './demo.js';
import { principalWith, startDemoServer } from './demo-server.js';
import type { DemoServer } from './demo-server.js';

const schema = demoSchema();
const thingId = Buffer.from(`Thing:${THINGS[3]?.uuid}`).toString('base64url');

interface Golden {
  readonly query: string;
  readonly variables?: Record<string, unknown>;
}

const golden: Record<string, Golden> = {
  'a scalar': { query: '{ hello }' },
  'an argument in a variable': {
    query: 'query ($name: String) { hello(name: $name) }',
    variables: { name: 'Ada' },
  },
  'a variable left out': { query: 'query ($name: String = "default") { hello(name: $name) }' },
  'a page with everything': {
    query: `query ($n: Int!, $after: String) {
      things(first: $n, after: $after) {
        nodes { __typename id uuid name startTime cost tokens size payload parts { label } }
        edges { cursor node { name } }
        pageInfo { hasNextPage hasPreviousPage startCursor endCursor }
        totalCount(limit: 20) { value precision }
      }
    }`,
    variables: { n: 7 },
  },
  'the last page': {
    query: '{ things(last: 3) { nodes { name } pageInfo { hasNextPage hasPreviousPage } } }',
  },
  'pages of pages': {
    query: '{ things(first: 3) { nodes { children(first: 2) { edges { node { name payload } } } } } }',
  },
  'a refused page': { query: '{ things { nodes { name } } }' },
  'aliases and fragments': {
    query:
      '{ a: hello(name: "a") b: hello(name: "b") ...f } fragment f on Query { things(first: 1) { nodes { ...g } } } fragment g on Thing { n: name size }',
  },
  'skip and include': {
    query:
      'query ($yes: Boolean!, $no: Boolean!) { a: hello @include(if: $yes) b: hello @include(if: $no) c: hello @skip(if: $yes) d: hello @skip(if: $no) }',
    variables: { yes: true, no: false },
  },
  'a fragment spread twice under conditions': {
    query:
      'query ($no: Boolean!) { a: things(first: 1) { nodes { ...g @include(if: $no) id } } b: things(first: 1) { nodes { ...g } } } fragment g on Thing { name }',
    variables: { no: false },
  },
  'nodes of an interface': {
    query: 'query ($ids: [ID!]!) { nodes(ids: $ids) { __typename id ... on Thing { name } } }',
    variables: {
      ids: [thingId, Buffer.from(`Thing:${'f'.repeat(8)}-0000-7000-8000-000000000000`).toString('base64url')],
    },
  },
  'a bad id': { query: '{ node(id: "nonsense") { id } }' },
  'json literals': { query: '{ echo(value: { a: [1, 2.5, "x", null, true, E], b: { c: "d" } }) }' },
  'json in a variable': {
    query: 'query ($v: JSON) { echo(value: $v) }',
    variables: { v: { ['__proto__']: { polluted: true }, n: [1, null] } },
  },
  'keys named __proto__': { query: '{ echo(value: { __proto__: { polluted: true } }) __proto__: hello }' },
  'dates with offsets': {
    query: 'query ($at: DateTime!) { when(at: $at) }',
    variables: { at: '2026-11-21T12:00:00.123456+02:00' },
  },
  'one of': { query: 'query ($by: Selector!) { select(by: $by) }', variables: { by: { byName: 'a' } } },
  'one of, both': {
    query: 'query ($by: Selector!) { select(by: $by) }',
    variables: { by: { byName: 'a', byNumber: 1 } },
  },
  'an input that contains itself': {
    query: 'query ($nest: Nest!) { nested(nest: $nest) }',
    variables: { nest: { nests: [{ size: 'LARGE' }, { not: { nests: [{ size: 'SMALL' }] } }] } },
  },
  'an input that contains itself, wrong inside': {
    query: 'query ($nest: Nest!) { nested(nest: $nest) }',
    variables: { nest: { nests: [{ not: { size: 'HUGE' } }] } },
  },
  'a variable of a wrong type': {
    query: 'query ($n: Int!) { things(first: $n) { nodes { name } } }',
    variables: { n: 'seven' },
  },
  'a missing variable': { query: 'query ($at: DateTime!) { when(at: $at) }' },
  'null for a non-null argument': {
    query: 'query ($at: DateTime = "2026-11-21T00:00:00Z") { when(at: $at) }',
    variables: { at: null },
  },
  'a refusal': { query: '{ fail(how: "refuse") hello }' },
  'a wrapped refusal': { query: '{ fail(how: "wrapped") }' },
  'a fault': { query: '{ fail(how: "fault") }' },
  'a thrown string': { query: '{ fail(how: "string") }' },
  'a value of the wrong type': { query: '{ hello broken }' },
};

const presenter = new ErrorPresenter({ log: createLogger('silent', 'test'), ids: systemIds });

async function run(executor: Executor, { query, variables }: Golden): Promise<unknown> {
  const result = await executor.execute({
    document: documentOf(query),
    variables,
    contextValue: createContext({
      principal: principalWith(['read']),
      signal: new AbortController().signal,
      requestId: 'r',
    }),
  });
  const errors = result.errors?.map((error) => {
    const { message, path, extensions } = presenter.present(error);
    return { message, path, code: extensions?.['code'] };
  });
  return JSON.parse(stringifyWithRawJson({ data: result.data, errors }));
}

const documents = new Map<string, ReturnType<typeof parse>>();
function documentOf(query: string): ReturnType<typeof parse> {
  const document = documents.get(query) ?? parse(query);
  documents.set(query, document);
  return document;
}

test.each(Object.entries(golden))(
  '%s gives the same result interpreted and compiled',
  async (_name, operation) => {
    const interpreted = await run(
      new Executor({ schema, compileAfter: Number.POSITIVE_INFINITY }),
      operation,
    );
    const compiler = new Executor({ schema, compileAfter: 0 });
    expect(await run(compiler, operation)).toEqual(interpreted);
    expect(await run(compiler, operation)).toEqual(interpreted);
    expect(({} as { polluted?: unknown }).polluted).toBeUndefined();
  },
);

test('documents are compiled after their share of runs and forgotten when too many are', async () => {
  const executor = new Executor({ schema, compileAfter: 2, maxCompiled: 1 });
  const first = golden['a page with everything'] as Golden;
  const compiled: boolean[] = [];
  for (let index = 0; index < 4; index += 1) {
    await run(executor, first);
    compiled.push(executor.isCompiled(documentOf(first.query)));
  }
  expect(compiled).toEqual([false, false, true, true]);
  const second = golden['a scalar'] as Golden;
  for (let index = 0; index < 3; index += 1) await run(executor, second);
  expect(executor.isCompiled(documentOf(second.query))).toBe(true);
  expect(executor.isCompiled(documentOf(first.query))).toBe(false);
});

const neverCompiled = {
  introspection: '{ __schema { queryType { name } } }',
  mutations: 'mutation { createThing(input: { name: "a" }) { errors { code } } }',
  'several operations': 'query A { hello } query B { hello }',
  'conditions on a fragment that is spread twice': (
    golden['a fragment spread twice under conditions'] as Golden
  ).query,
  interfaces: (golden['nodes of an interface'] as Golden).query,
  'keys named __proto__': (golden['keys named __proto__'] as Golden).query,
};

test.each(Object.entries(neverCompiled))('%s are never compiled', async (_name, query) => {
  const executor = new Executor({ schema, compileAfter: 0 });
  await executor.execute({
    document: documentOf(query),
    operationName: query.startsWith('query A') ? 'A' : null,
    contextValue: {},
  });
  expect(executor.isCompiled(documentOf(query))).toBe(false);
});

test('text that the compiler would take for code is never compiled, however it is spelt', async () => {
  const marker = '__MAGIC_DATE__33a9e76d_02e0_4128_8e92_3530ad3da74d';
  const code = 'globalThis.owned = true';
  const executor = new Executor({ schema, compileAfter: 0 });
  const spellings = [marker, marker.replace('__M', '\\u005f_M'), marker.replace('MAGIC', 'MAG\\u0049C')];
  for (const spelling of spellings) {
    for (const query of [
      `{ hello(name: "${spelling}${code}") }`,
      `query ($n: String = "${spelling}${code}") { hello(name: $n) }`,
      `{ echo(value: { a: ["${spelling}${code}"] }) }`,
      `{ hello(name: """${marker}${code}""") }`,
    ]) {
      const result = await run(executor, { query });
      expect(JSON.stringify(result)).toContain('globalThis.owned');
      expect(executor.isCompiled(documentOf(query))).toBe(false);
    }
  }
  expect(globalThis).not.toHaveProperty('owned');
});

test('rows with promises or functions for properties keep a document from being compiled', async () => {
  const { buildSchema } = await import('graphql');
  const plain = buildSchema('type Query { a: A } type A { later: String now: String }');
  const query = plain.getQueryType()?.getFields()['a'];
  if (query === undefined) throw new Error('no field');
  query.resolve = () => ({ later: Promise.resolve('later'), now: () => 'now' });
  const executor = new Executor({ schema: plain, compileAfter: 2 });
  const document = parse('{ a { later now } }');
  for (let index = 0; index < 5; index += 1) {
    const { data } = await executor.execute({ document, contextValue: {} });
    expect(JSON.parse(JSON.stringify(data))).toEqual({ a: { later: 'later', now: 'now' } });
  }
  expect(executor.isCompiled(document)).toBe(false);
});

let server: DemoServer;
beforeAll(async () => {
  server = await startDemoServer({ compileAfter: 1 });
});
afterAll(() => server.close());

test('payload text reaches the response digit by digit, compiled or not', async () => {
  const body = { query: '{ things(first: 4) { nodes { name payload } } }' };
  for (let index = 0; index < 4; index += 1) {
    const { text, body: parsed } = await server.post(body, { key: 'read' });
    expect(text).toContain(`{ "n" : 1.0, "text": ${JSON.stringify(HOSTILE)} }`);
    expect(parsed.data).toMatchObject({
      things: {
        nodes: [
          { payload: null },
          { payload: { n: 1, text: HOSTILE } },
          { payload: { n: 2 } },
          { payload: null },
        ],
      },
    });
  }
});

test('nothing stored can imitate a marker', () => {
  const texts = ['"raw:x:1"', JSON.stringify(HOSTILE), '{"a":"$&$1$`"}', 'null', '[]', '"\\u0000"'];
  for (const text of texts) {
    const value = {
      before: JSON.parse(text) as unknown,
      raw: new RawJson(text),
      again: [new RawJson(text), HOSTILE],
      text,
    };
    const written = stringifyWithRawJson(value);
    const parsed = JSON.parse(text) as unknown;
    expect(JSON.parse(written)).toEqual({ before: parsed, raw: parsed, again: [parsed, HOSTILE], text });
    expect(written).toContain(`"raw":${text}`);
  }
  // Elsewhere it prints as its value.
  expect(JSON.stringify({ raw: new RawJson('{"a":1}') })).toBe('{"raw":{"a":1}}');
});
