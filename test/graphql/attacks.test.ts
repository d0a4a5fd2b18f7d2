/** Operations meant to hurt: each is refused with 400 and an honest code, quickly, and never with 500. */
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { getIntrospectionQuery } from 'graphql';
import { OperationGate } from '../../src/graphql/gate.js';
import type { RateLimiter } from '../../src/graphql/gate.js';
import { demoSchema } from './demo.js';
import { principalWith, startDemoServer } from './demo-server.js';
import type { DemoServer } from './demo-server.js';

/** Generous for a busy machine; the attacks took seconds without the limits. */
const QUICK_MS = 400;

let server: DemoServer;
beforeAll(async () => {
  server = await startDemoServer();
  await server.post({ query: '{ hello }' });
});
afterAll(() => server.close());

const times = (count: number, make: (index: number) => string): string =>
  Array.from({ length: count }, (_, index) => make(index)).join(' ');
const nested = (depth: number, open: string, inner: string): string =>
  `${`${open} { `.repeat(depth)}${inner}${' }'.repeat(depth)}`;

const bomb = (levels: number, leaf: string, on: string): string =>
  `${times(levels, (i) => `fragment F${i} on ${on} { ...F${i + 1} ...F${i + 1} }`)} fragment F${levels} on ${on} { ${leaf} }`;

const attacks: Record<string, { query: string; code: string; variables?: Record<string, unknown> }> = {
  '1,000 aliases': { query: `{ ${times(1_000, (i) => `a${i}: hello`)} }`, code: 'QUERY_TOO_COMPLEX' },
  'a page of a million': {
    query: '{ things(first: 1000000) { nodes { name } } }',
    code: 'QUERY_TOO_COMPLEX',
  },
  'a page of a million in a variable': {
    query: 'query ($n: Int) { things(first: $n) { nodes { name } } }',
    variables: { n: 1_000_000 },
    code: 'QUERY_TOO_COMPLEX',
  },
  'a page of a million in a default': {
    query: 'query ($n: Int = 1000000) { things(first: $n) { nodes { name } } }',
    code: 'QUERY_TOO_COMPLEX',
  },
  'children of children without a page size': {
    query: '{ things { nodes { children { nodes { children { nodes { name } } } } } } }',
    code: 'QUERY_TOO_COMPLEX',
  },
  'children of children through edges': {
    query:
      '{ things(first: 100) { edges { node { children(last: 100) { edges { node { children(first: 100) { nodes { name } } } } } } } } }',
    code: 'QUERY_TOO_COMPLEX',
  },
  'a long list of long lists': {
    query: `{ ${times(10, (i) => `l${i}: allThings { children(first: 100) { nodes { name } } }`)} }`,
    code: 'QUERY_TOO_COMPLEX',
  },
  'fragments doubling 18 levels': {
    query: `{ ...F0 } ${bomb(18, 'hello', 'Query')}`,
    code: 'QUERY_TOO_COMPLEX',
  },
  'fragments doubling 200 levels': {
    query: `{ ...F0 } ${bomb(200, 'hello', 'Query')}`,
    code: 'QUERY_TOO_COMPLEX',
  },
  'fragments doubling inside introspection': {
    query: `{ __schema { types { ...F0 } } } ${bomb(60, 'name', '__Type')}`,
    code: 'QUERY_TOO_COMPLEX',
  },
  '10,000 duplicate fields': { query: `{ ${times(10_000, () => 'hello')} }`, code: 'GRAPHQL_PARSE_FAILED' },
  '3,000 mergeable root fields': { query: `{ ${times(3_000, () => 'hello')} }`, code: 'QUERY_TOO_COMPLEX' },
  '1,300 mergeable fields below': {
    query: `{ things(first: 1) { nodes { ${times(1_300, () => 'name')} } } }`,
    code: 'QUERY_TOO_COMPLEX',
  },
  'duplicates spread over fragments': {
    query: `{ things(first: 1) { nodes { ${times(300, (i) => `...P${i}`)} } } } ${times(300, (i) => `fragment P${i} on Thing { name name uuid id }`)}`,
    code: 'QUERY_TOO_COMPLEX',
  },
  'a fragment cycle': {
    query: '{ ...A } fragment A on Query { ...B } fragment B on Query { ...A hello }',
    code: 'GRAPHQL_VALIDATION_FAILED',
  },
  '1,000 unknown directives': {
    query: `{ hello ${times(1_000, () => '@boom')} }`,
    code: 'QUERY_TOO_COMPLEX',
  },
  '50,000 nested brackets': { query: `{ echo(value: ${'['.repeat(50_000)}) }`, code: 'GRAPHQL_PARSE_FAILED' },
  '3,900 nested brackets': {
    query: `{ echo(value: ${'['.repeat(1_900)}${']'.repeat(1_900)}) }`,
    code: 'GRAPHQL_VALIDATION_FAILED',
  },
  '1,000 levels': {
    query: `{ ${nested(500, 'children { nodes', 'name')}${' }'.repeat(500)} }`,
    code: 'QUERY_TOO_COMPLEX',
  },
  '13 levels': {
    query: `{ things(first: 1) { nodes { children(first: 1) { nodes { children(first: 1) { nodes { children(first: 1) { nodes { children(first: 1) { nodes { children(first: 1) { nodes { name } } } } } } } } } } } } }`,
    code: 'QUERY_TOO_COMPLEX',
  },
  '11 root fields': { query: `{ ${times(11, (i) => `a${i}: hello`)} }`, code: 'QUERY_TOO_COMPLEX' },
  '6 mutations': {
    query: `mutation { ${times(6, (i) => `m${i}: createThing(input: { name: "x" }) { errors { code } }`)} }`,
    code: 'QUERY_TOO_COMPLEX',
  },
};

test.each(Object.entries(attacks))('%s is refused quickly', async (_name, { query, variables, code }) => {
  const started = performance.now();
  const answer = await server.post({ query, variables }, { key: 'read write' });
  const took = performance.now() - started;
  expect([answer.status, answer.body.errors?.[0]?.extensions['code']]).toEqual([400, code]);
  expect(answer.body.data).toBeUndefined();
  expect(took).toBeLessThan(QUICK_MS);
});

test('the worst document the limits let through is still validated quickly', async () => {
  const spread = times(16, (i) => `...P${i}`);
  const fragments = times(
    16,
    (i) => `fragment P${i} on Thing { name name uuid id cost cost ${i < 15 ? `...P${i + 1}` : ''} }`,
  );
  const started = performance.now();
  const answer = await server.post(
    { query: `{ things(first: 1) { nodes { ${spread} } } } ${fragments}` },
    { key: 'read' },
  );
  expect(performance.now() - started).toBeLessThan(QUICK_MS);
  expect(answer.status).toBe(200);
});

test('limits hold at their edge', async () => {
  const key = { key: 'read write' };
  expect((await server.post({ query: `{ ${times(10, (i) => `a${i}: hello`)} }` }, key)).status).toBe(200);
  expect((await server.post({ query: '{ things(first: 100) { nodes { name } } }' }, key)).status).toBe(200);
  const over = await server.post({ query: '{ things(first: 101) { nodes { name } } }' }, key);
  expect([over.status, over.body.errors?.[0]?.extensions['code']]).toEqual([200, 'BAD_USER_INPUT']);
  const five = `mutation { ${times(5, (i) => `m${i}: createThing(input: { name: "x" }) { errors { code } }`)} }`;
  expect((await server.post({ query: five }, key)).status).toBe(200);
  expect(
    (await server.post({ query: getIntrospectionQuery({ oneOf: true, specifiedByUrl: true }) }, key)).status,
  ).toBe(200);
});

test('a hundred thousand distinct documents do not grow the store', async () => {
  const gate = new OperationGate({ schema: demoSchema() });
  const document = await gate.prepare({ query: '{ hello }', principal: undefined, kind: 'http' });
  if (!document.ok) throw new Error('refused');
  for (let index = 0; index < 100_000; index += 1) {
    gate.documents.remember(`{ a${index}: hello }`, document.document);
  }
  expect(gate.documents.size).toBe(2_000);
});

function limiterWith(points: number): RateLimiter & { left: number } {
  return {
    left: points,
    take(_key, _class, amount) {
      const allowed = this.left >= amount;
      if (allowed) this.left -= amount;
      return {
        allowed,
        remaining: this.left,
        limit: points,
        retryAfterSeconds: allowed ? 0 : 12,
        restoreRatePerSecond: 5,
      };
    },
    refund(_key, _class, amount) {
      this.left += amount;
    },
  };
}

test('operations are charged their estimate, refunded the difference, and refused with 429 when nothing is left', async () => {
  const limiter = limiterWith(160);
  const paying = await startDemoServer({ limiter });
  try {
    // 1 for the connection, 100 for its rows; 30 rows exist.
    const page = { query: '{ things(first: 100) { nodes { name } } }' };
    const first = await paying.post(page, { key: 'read' });
    expect(first.body.extensions).toEqual({
      cost: { requested: 101, actual: 31, remaining: 129, limit: 160, restoreRatePerSecond: 5 },
    });
    expect(limiter.left).toBe(129);
    const nested = await paying.post({ query: '{ allThings { parts { label } } }' }, { key: 'read' });
    expect([nested.status, nested.headers.get('retry-after')]).toEqual([429, '12']);
    expect(nested.body.errors?.[0]?.extensions).toMatchObject({
      code: 'RATE_LIMITED',
      cost: { requested: 330, remaining: 129 },
    });
    expect(limiter.left).toBe(129);
    const anonymous = await paying.post({ query: '{ hello }' });
    expect(anonymous.body).toEqual({ data: { hello: 'hello you' } });
  } finally {
    await paying.close();
  }
});

test('the gate says the same to a socket, and takes only subscriptions there', async () => {
  const gate = new OperationGate({ schema: demoSchema(), limiter: limiterWith(100) });
  const caller = { principal: principalWith(['read']), kind: 'subscription' as const };
  const admitted = await gate.prepare({ query: 'subscription { ticks }', ...caller });
  expect(admitted).toMatchObject({ ok: true, cost: 1 });
  const codes = async (query: string): Promise<unknown[]> => {
    const admission = await gate.prepare({ query, ...caller });
    return admission.ok ? [] : admission.errors.map(({ extensions }) => extensions['code']);
  };
  expect(await codes('{ hello }')).toEqual(['BAD_USER_INPUT']);
  expect(await codes('subscription { ticks more }')).toEqual([
    'GRAPHQL_VALIDATION_FAILED',
    'GRAPHQL_VALIDATION_FAILED',
  ]);
  expect(await codes('subscription {')).toEqual(['GRAPHQL_PARSE_FAILED']);
  expect(await codes(`{ ${times(5_000, () => 'hello')} }`)).toEqual(['GRAPHQL_PARSE_FAILED']);
  expect(await codes(`subscription { ${times(40, (i) => `a${i}: ticks`)} }`)).toEqual(['QUERY_TOO_COMPLEX']);
});
