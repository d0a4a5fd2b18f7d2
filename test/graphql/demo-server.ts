/** The demo schema behind the real transport, on a port of its own. */
import { fastify } from 'fastify';
import type { GraphQLSchema } from 'graphql';
import { Writable } from 'node:stream';
import { pino } from 'pino';
import { createContext } from '../../src/graphql/context.js';
import { ErrorPresenter } from '../../src/graphql/errors.js';
import { Executor } from '../../src/graphql/executor.js';
import { OperationGate } from '../../src/graphql/gate.js';
import type { GateLimits, RateLimiter } from '../../src/graphql/gate.js';
import { createGraphqlHandler } from '../../src/graphql/server.js';
import { AppError } from '../../src/platform/errors.js';
import { systemIds } from '../../src/platform/ids.js';
import { SCOPES } from '../../src/tenancy/principal.js';
import type { Principal, Scope } from '../../src/tenancy/principal.js';
import { demoSchema } from './demo.js';

export function principalWith(scopes: readonly Scope[], keyId = 'key'): Principal {
  return {
    keyId,
    kind: 'service',
    organizationId: 'organization',
    workspaceId: '00000000-0000-4000-8000-000000000001',
    userId: undefined,
    scopes: new Set(scopes),
    expiresAtMs: undefined,
  };
}

export interface DemoServer {
  readonly url: string;
  readonly schema: GraphQLSchema;
  readonly executor: Executor;
  readonly gate: OperationGate;
  /** Parsed log lines so far. */
  readonly logged: Record<string, unknown>[];
  /** POSTs an operation. The key is a list of scopes; none for an anonymous caller. */
  post(body: unknown, options?: { key?: string; headers?: Record<string, string> }): Promise<Answer>;
  close(): Promise<void>;
}

export interface Answer {
  readonly status: number;
  readonly headers: Headers;
  readonly text: string;
  readonly body: {
    data?: Record<string, unknown> | null;
    errors?: { message: string; path?: unknown; extensions: Record<string, unknown> }[];
    extensions?: Record<string, unknown>;
  };
}

export interface DemoServerOptions {
  readonly schema?: GraphQLSchema;
  readonly limiter?: RateLimiter;
  readonly limits?: GateLimits;
  readonly compileAfter?: number;
  readonly deadlineMs?: number;
}

export async function startDemoServer(options: DemoServerOptions = {}): Promise<DemoServer> {
  const { schema = demoSchema(), limiter, limits, compileAfter = 20, deadlineMs } = options;
  const logged: Record<string, unknown>[] = [];
  const sink = new Writable({
    write: (chunk: Buffer, _encoding, done) => {
      logged.push(JSON.parse(chunk.toString()) as Record<string, unknown>);
      done();
    },
  });
  const log = pino({ level: 'info' }, sink);
  const gate = new OperationGate({ schema, ...(limiter && { limiter }), ...(limits && { limits }) });
  const executor = new Executor({ schema, compileAfter });
  const handler = await createGraphqlHandler({
    schema,
    gate,
    executor,
    presenter: new ErrorPresenter({ log, ids: systemIds }),
    log,
    ...(deadlineMs !== undefined && { deadlineMs }),
    contextFor: (request, signal) => {
      const key = request.headers['x-api-key'];
      if (key === 'wrong') throw new AppError('UNAUTHENTICATED', 'This key is not known.');
      const scopes = SCOPES.filter((scope) => key?.includes(scope) === true);
      return createContext({
        principal: key === undefined ? undefined : principalWith(scopes),
        signal,
        requestId: request.id,
      });
    },
  });
  const app = fastify();
  await app.register(handler.plugin);
  const url = `${await app.listen({ host: '127.0.0.1', port: 0 })}/graphql`;
  return {
    url,
    schema,
    executor,
    gate,
    logged,
    post: async (body, { key, headers } = {}) => {
      const response = await fetch(url, {
        method: 'POST',
        headers: {
          'content-type': 'application/json',
          ...(key === undefined ? {} : { 'x-api-key': key }),
          ...headers,
        },
        body: typeof body === 'string' ? body : JSON.stringify(body),
      });
      const text = await response.text();
      return {
        status: response.status,
        headers: response.headers,
        text,
        body: JSON.parse(text) as Answer['body'],
      };
    },
    close: async () => {
      await app.close();
      await handler.stop();
    },
  };
}
