/** GraphQL mounted on the gateway's own HTTP server: credentials, bodies and allowances of the edge apply. */
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { createContext } from '../../src/graphql/context.js';
import { ErrorPresenter } from '../../src/graphql/errors.js';
import { Executor } from '../../src/graphql/executor.js';
import { OperationGate } from '../../src/graphql/gate.js';
import { createGraphqlHandler } from '../../src/graphql/server.js';
import type { GraphqlHandler } from '../../src/graphql/server.js';
import { createHttpServer } from '../../src/http/server.js';
import type { HttpServer } from '../../src/http/server.js';
import { systemClock } from '../../src/platform/clock.js';
import { AppError } from '../../src/platform/errors.js';
import { systemIds } from '../../src/platform/ids.js';
import { createLogger } from '../../src/platform/log.js';
import { createMetrics } from '../../src/platform/metrics.js';
import { LocalRateLimiter, limitShapes } from '../../src/tenancy/rate-limiter.js';
import { principalWith } from './demo-server.js';
import { demoSchema } from './demo.js';

let server: HttpServer;
let handler: GraphqlHandler;
let url: string;
const metrics = createMetrics();
beforeAll(async () => {
  const log = createLogger('silent', 'test');
  const rateLimiter = new LocalRateLimiter({
    shapes: limitShapes({ ingest: 100, api: 100, cost: 200 }),
    clock: systemClock,
  });
  server = await createHttpServer({
    log,
    ids: systemIds,
    metrics,
    rateLimiter,
    authenticator: {
      authenticate: ({ apiKey }) =>
        apiKey === 'reader'
          ? Promise.resolve(principalWith(['read']))
          : Promise.reject(new AppError('UNAUTHENTICATED', 'This API key is not known here.')),
    },
    routes: [],
    limits: { maxInFlightBytes: 1_000_000 },
    ready: () => Promise.resolve({ ready: true, checks: {} } as never),
  });
  const schema = demoSchema();
  handler = await createGraphqlHandler({
    schema,
    gate: new OperationGate({ schema, limiter: rateLimiter }),
    executor: new Executor({ schema }),
    presenter: new ErrorPresenter({ log, ids: systemIds }),
    log,
    contextFor: (request, signal) =>
      createContext({ principal: request.principal, signal, requestId: request.id }),
  });
  await server.app.register(handler.plugin);
  url = await server.listen({ host: '127.0.0.1', port: 0 });
});
afterAll(async () => {
  await server.drain();
  await handler.stop();
  metrics.close();
});

async function post(
  body: string,
  key?: string,
): Promise<{ status: number; json: Record<string, unknown>; headers: Headers }> {
  const response = await fetch(`${url}/graphql`, {
    method: 'POST',
    body,
    headers: { 'content-type': 'application/json', ...(key === undefined ? {} : { 'x-api-key': key }) },
  });
  return {
    status: response.status,
    json: (await response.json()) as Record<string, unknown>,
    headers: response.headers,
  };
}

test('anonymous and signed-in operations get through, with their price', async () => {
  expect((await post('{"query":"{ hello }"}')).json).toEqual({ data: { hello: 'hello you' } });
  const signedIn = await post('{"query":"{ things(first: 10) { nodes { name } } }"}', 'reader');
  expect(signedIn.status).toBe(200);
  expect(signedIn.json['extensions']).toEqual({
    cost: {
      requested: 11,
      actual: 11,
      remaining: expect.any(Number),
      limit: 200,
      restoreRatePerSecond: expect.any(Number),
    },
  });
});

test('failures of the edge are worded as GraphQL errors on this path, and only here', async () => {
  const unknown = await post('{"query":"{ hello }"}', 'nobody');
  expect([unknown.status, unknown.json]).toEqual([
    401,
    { errors: [{ message: 'This API key is not known here.', extensions: { code: 'UNAUTHENTICATED' } }] },
  ]);
  const broken = await post('{"query"');
  expect([broken.status, broken.json]).toEqual([
    400,
    { errors: [{ message: 'The body is not JSON.', extensions: { code: 'BAD_USER_INPUT' } }] },
  ]);
  const elsewhere = await fetch(`${url}/nowhere`);
  expect(await elsewhere.json()).toEqual({ detail: 'Path not found.', error: 'NOT_FOUND' });
});

test('a used-up allowance of cost points answers 429 with Retry-After', async () => {
  const dear = '{"query":"{ things(first: 90) { nodes { children(first: 1) { nodes { name } } } } }"}';
  let answer = await post(dear, 'reader');
  for (let calls = 0; calls < 5 && answer.status === 200; calls += 1) answer = await post(dear, 'reader');
  expect(answer.status).toBe(429);
  expect(Number(answer.headers.get('retry-after'))).toBeGreaterThan(0);
});
