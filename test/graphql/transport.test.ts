/** GraphQL over HTTP: the protocol audit, access, errors, limits of time and size. */
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { getIntrospectionQuery } from 'graphql';
import { auditServer } from 'graphql-http';
import { startDemoServer } from './demo-server.js';
import type { DemoServer } from './demo-server.js';

let server: DemoServer;
beforeAll(async () => {
  server = await startDemoServer({ deadlineMs: 300 });
});
afterAll(() => server.close());

test('the GraphQL over HTTP audit passes but for three wishes of an older draft', async () => {
  const results = await auditServer({
    url: server.url,
    fetchFn: (url: string, init: RequestInit = {}) => {
      const headers = new Headers(init.headers);
      headers.set('apollo-require-preflight', '1');
      headers.set('x-api-key', 'read');
      return fetch(url, { ...init, headers });
    },
  });
  const failed = results.filter(({ status }) => status !== 'ok').map(({ id }) => id);
  expect(failed.sort()).toEqual(['572B', '7B9B', 'FDE2']);
  expect(results).toHaveLength(61);
});

test('a query answers with data, is not cached, and GET works with a preflight header', async () => {
  const posted = await server.post({ query: '{ hello(name: "Ada") }' });
  expect(posted.status).toBe(200);
  expect(posted.body).toEqual({ data: { hello: 'hello Ada' } });
  expect(posted.headers.get('cache-control')).toBe('no-store');

  const got = await fetch(`${server.url}?query=${encodeURIComponent('{ hello }')}`, {
    headers: { 'apollo-require-preflight': '1' },
  });
  expect(await got.json()).toEqual({ data: { hello: 'hello you' } });
});

test('forged cross-site requests, batches and mutations over GET are refused', async () => {
  const plain = await fetch(server.url, {
    method: 'POST',
    body: '{"query":"{ hello }"}',
    headers: { 'content-type': 'text/plain' },
  });
  expect(plain.status).toBe(400);
  const batch = await server.post([{ query: '{ hello }' }]);
  expect(batch.status).toBe(400);
  const mutation = await fetch(
    `${server.url}?query=${encodeURIComponent('mutation { createThing(input: { name: "a" }) { errors { code } } }')}`,
    { headers: { 'apollo-require-preflight': '1', 'x-api-key': 'write' } },
  );
  expect(mutation.status).toBe(405);
  expect(mutation.headers.get('allow')).toBe('POST');
});

test('bodies that are no JSON, too large or compressed are refused as GraphQL errors', async () => {
  const broken = await server.post('{"query": ');
  expect([broken.status, broken.body.errors?.[0]?.extensions['code']]).toEqual([400, 'BAD_USER_INPUT']);
  const large = await server.post({ query: '{ hello }', variables: { padding: 'x'.repeat(1024 * 1024) } });
  expect([large.status, large.body.errors?.[0]?.extensions['code']]).toEqual([413, 'PAYLOAD_TOO_LARGE']);
  const packed = await server.post({ query: '{ hello }' }, { headers: { 'content-encoding': 'gzip' } });
  expect([packed.status, packed.body.errors?.[0]?.extensions['code']]).toEqual([
    415,
    'UNSUPPORTED_MEDIA_TYPE',
  ]);
});

test('a body of a great many objects is read like any other', async () => {
  const many = `[${'{},'.repeat(20_000)}{}]`;
  const query = 'query ($name: String!) { hello(name: $name) }';
  const body = (end: string): string =>
    `{"query":${JSON.stringify(query)},"extensions":{"many":${many}},"variables":{"name":"Ada"}${end}`;
  expect((await server.post(body('}'))).body).toEqual({ data: { hello: 'hello Ada' } });
  const broken = await server.post(body(''));
  expect([broken.status, broken.body.errors?.[0]?.extensions['code']]).toEqual([400, 'BAD_USER_INPUT']);
});

test('anonymous callers reach public fields only, and no introspection', async () => {
  const introspection = { query: getIntrospectionQuery() };
  const refused = await server.post(introspection);
  expect([refused.status, refused.body.errors?.[0]?.extensions['code']]).toEqual([401, 'UNAUTHENTICATED']);
  expect(refused.text).not.toContain('createThing');
  const allowed = await server.post(introspection, { key: 'read' });
  expect(allowed.status).toBe(200);
  expect(allowed.text).toContain('createThing');

  const things = await server.post({ query: '{ things(first: 1) { nodes { name } } }' });
  expect([things.status, things.body.errors?.[0]?.extensions['code']]).toEqual([401, 'UNAUTHENTICATED']);
  // Once more: the document is known by now, and known documents are not for everybody either.
  expect((await server.post(introspection)).status).toBe(401);
});

test('a key without the declared scope is refused before anything runs, fragments included', async () => {
  const answer = await server.post(
    { query: 'query { hello ...f } fragment f on Query { secret }' },
    { key: 'read' },
  );
  expect(answer.status).toBe(403);
  expect(answer.body).toEqual({
    errors: [
      {
        message: '"secret" needs the scope "admin".',
        extensions: { code: 'FORBIDDEN', missingScope: 'admin', field: 'secret' },
      },
    ],
  });
});

test('credentials that are refused while the context is made keep their status', async () => {
  const answer = await server.post({ query: '{ hello }' }, { key: 'wrong' });
  expect([answer.status, answer.body.errors?.[0]?.extensions['code']]).toEqual([401, 'UNAUTHENTICATED']);
});

test('refusals keep code, message, path and details, wrapped or not', async () => {
  const refused = await server.post({ query: '{ fail(how: "refuse") }' });
  expect(refused.status).toBe(200);
  expect(refused.body).toEqual({
    errors: [
      {
        message: 'Not now.',
        locations: [{ line: 1, column: 3 }],
        path: ['fail'],
        extensions: { code: 'CONFLICT', inputPath: ['how'], version: 3 },
      },
    ],
    data: { fail: null },
  });
  const wrapped = await server.post({ query: '{ fail(how: "wrapped") }' });
  expect(wrapped.body.errors?.[0]).toMatchObject({ message: 'Gone.', extensions: { code: 'NOT_FOUND' } });
  const anonymous = await server.post({ query: '{ fail(how: "anonymous") }' });
  expect(anonymous.body.errors?.[0]?.extensions['code']).toBe('UNAUTHENTICATED');
});

test('faults are masked, logged once, and found again by their id', async () => {
  for (const how of ['fault', 'string']) {
    const before = server.logged.length;
    const answer = await server.post({ query: `query Q { fail(how: "${how}") }` }, { key: 'read' });
    expect(answer.text).not.toContain('secrets');
    const error = answer.body.errors?.[0];
    expect(error?.message).toBe('Something went wrong on our side.');
    expect(error?.extensions).toEqual({ code: 'INTERNAL_SERVER_ERROR', errorId: expect.any(String) });
    const lines = server.logged.slice(before);
    expect(lines).toHaveLength(1);
    expect(lines[0]).toMatchObject({
      errorId: error?.extensions['errorId'],
      operationName: 'Q',
      workspaceId: '00000000-0000-4000-8000-000000000001',
    });
  }
  const broken = await server.post({ query: '{ broken }' });
  expect(broken.body.errors?.[0]?.extensions['code']).toBe('INTERNAL_SERVER_ERROR');
  expect(broken.text).not.toContain('not a number');
});

test('a lost database and a used-up allowance set status and Retry-After, unless part of the data is there', async () => {
  const lost = await server.post({ query: '{ fail(how: "database") }' });
  expect([lost.status, lost.headers.get('retry-after')]).toEqual([503, '10']);
  expect(lost.body.errors?.[0]?.extensions).toEqual({ code: 'UNAVAILABLE', retryAfterSeconds: 10 });
  const slow = await server.post({ query: '{ fail(how: "statement") }' });
  expect([slow.status, slow.headers.get('retry-after')]).toEqual([422, null]);
  expect(slow.body.errors?.[0]?.extensions).toEqual({ code: 'TIMEOUT' });
  const limited = await server.post({ query: '{ fail(how: "limit") }' });
  expect([limited.status, limited.headers.get('retry-after')]).toEqual([429, '7']);
  const partial = await server.post({ query: '{ hello fail(how: "limit") }' });
  expect([partial.status, partial.headers.get('retry-after')]).toEqual([200, null]);
});

test('an operation past its deadline is given up and its signal aborted', async () => {
  const answer = await server.post({ query: '{ slow }' });
  expect([answer.status, answer.headers.get('retry-after')]).toEqual([422, null]);
  expect(answer.body.errors?.[0]?.extensions).toMatchObject({ code: 'TIMEOUT', deadlineMs: 300 });
});

test('variables, operations and names that are wrong get GraphQL messages without suggestions', async () => {
  const variable = await server.post({
    query: 'query ($at: DateTime!) { when(at: $at) }',
    variables: { at: '2026-02-31T00:00:00Z' },
  });
  expect([variable.status, variable.body.errors?.[0]?.extensions['code']]).toEqual([400, 'BAD_USER_INPUT']);
  const typed = await server.post(
    { query: 'query ($n: Int!) { things(first: $n) { nodes { name } } }', variables: { n: 'seven' } },
    { key: 'read' },
  );
  expect([typed.status, typed.body.errors]).toMatchObject([
    400,
    [
      {
        message: expect.stringContaining('Variable "$n" got invalid value "seven"'),
        extensions: { code: 'BAD_USER_INPUT' },
      },
    ],
  ]);
  const literal = await server.post({ query: '{ when(at: "yesterday") }' });
  expect([literal.status, literal.body.errors?.[0]?.extensions['code']]).toEqual([
    400,
    'GRAPHQL_VALIDATION_FAILED',
  ]);
  const name = await server.post({ query: '{ helo wen }' });
  expect(name.status).toBe(400);
  expect(name.body.errors?.map(({ message }) => message)).toEqual([
    'Cannot query field "helo" on type "Query".',
    'Cannot query field "wen" on type "Query".',
  ]);
  const operation = await server.post({ query: 'query A { hello } query B { hello }', operationName: 'C' });
  expect([operation.status, operation.body.errors?.[0]?.message]).toEqual([
    400,
    'Unknown operation named "C".',
  ]);
  const subscription = await server.post({ query: 'subscription { ticks }' });
  expect([subscription.status, subscription.body.errors?.[0]?.extensions['code']]).toEqual([
    400,
    'BAD_USER_INPUT',
  ]);
});

test('oneOf inputs take exactly one key, as literals and as variables', async () => {
  const query = 'query ($by: Selector!) { select(by: $by) }';
  const one = await server.post({ query, variables: { by: { byNumber: 1 } } });
  expect(one.body).toEqual({ data: { select: '{"byNumber":1}' } });
  expect((await server.post({ query, variables: { by: { byNumber: 1, byName: 'a' } } })).status).toBe(400);
  expect((await server.post({ query: '{ select(by: { byNumber: 1, byName: "a" }) }' })).status).toBe(400);
});

test('a payload reports problems as user errors and does nothing', async () => {
  const query =
    'mutation ($name: String!) { createThing(input: { name: $name }) { thing { name } errors { __typename code message path retryable } } }';
  const failed = await server.post({ query, variables: { name: '' } }, { key: 'write' });
  expect(failed.body.data).toEqual({
    createThing: {
      thing: null,
      errors: [
        {
          __typename: 'BasicUserError',
          code: 'INVALID',
          message: 'A name is needed.',
          path: ['name'],
          retryable: false,
        },
      ],
    },
  });
  const done = await server.post({ query, variables: { name: 'x' } }, { key: 'write' });
  expect(done.body.data).toEqual({ createThing: { thing: { name: 'thing 0' }, errors: [] } });
});
