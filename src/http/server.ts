/**
 * The HTTP server of a gateway: connections, request ids, prefixes, bodies, metrics and draining. What the routes
 * do is theirs; who may call them is in access.ts, how failures look in errors.ts.
 */
import { fastify, LogController } from 'fastify';
import type { FastifyBaseLogger, FastifyInstance, FastifyRequest } from 'fastify';
import type { IncomingMessage } from 'node:http';
import { Server as NetServer } from 'node:net';
import { setTimeout } from 'node:timers/promises';
import { AppError } from '../platform/errors.js';
import type { Ids } from '../platform/ids.js';
import type { Logger } from '../platform/log.js';
import type { Metrics } from '../platform/metrics.js';
import { trustOf } from '../platform/network.js';
import { parseTraceparent } from '../platform/telemetry.js';
import { installAccess } from './access.js';
import { BodyReader } from './body.js';
import { limitConnections } from './connection-limit.js';
import { installCors } from './cors.js';
import { installErrorHandling } from './errors.js';
import { healthRoutes } from './health.routes.js';
import type { Readiness } from './health.routes.js';
import type { Authenticate, Mount, RateLimit, RouteModule } from './ports.js';
import { installTracing } from './tracing.js';

export interface HttpServerOptions {
  readonly log: Logger;
  readonly ids: Ids;
  readonly metrics: Metrics;
  readonly authenticator: Authenticate;
  readonly rateLimiter: RateLimit;
  readonly routes: readonly RouteModule[];
  readonly limits: {
    readonly maxInFlightBytes: number;
    /** Open at once from one address. Default: no limit. */
    readonly connectionsPerAddress?: number;
  };
  /** Addresses and CIDRs of proxies that say who a client is. Default: nobody does. */
  readonly trustedProxies?: readonly string[];
  /** Of web pages that may call, such as `https://console.example.com`. Default: none. */
  readonly allowedOrigins?: readonly string[];
  /** What a probe of readiness finds, besides draining. */
  readonly ready: () => Promise<Readiness>;
}

export interface HttpServer {
  /** For what needs the server itself: sockets, plugins of the GraphQL transport. */
  readonly app: FastifyInstance;
  /** Resolves with the address, `http://host:port`. */
  listen(address: { host: string; port: number }): Promise<string>;
  /**
   * Stops accepting connections at once, answers what open connections still bring and closes the rest. Idempotent;
   * resolves when the last connection is gone.
   */
  drain(): Promise<void>;
}

const PREFIXES: Readonly<Record<Mount, readonly string[]>> = {
  v1: ['', '/api', '/api/v1'],
  platform: ['/v1/platform', '/api/v1/platform'],
  v2: ['/api/v2', '/v2'],
  root: [''],
};

// Above the idle time of any usual balancer, which would otherwise send into a connection that just closed.
const KEEP_ALIVE_MS = 75_000;
export const HEADERS_MS = 10_000;
export const REQUEST_MS = 300_000;
/** What clients get to notice that a connection is good for one more request only. */
const LAST_REQUESTS_MS = 1_000;
const REQUESTS_PER_SOCKET = 10_000;
// Presigned links carry an attachment's name.
const MAX_PARAM_LENGTH = 4_096;

export async function createHttpServer(options: HttpServerOptions): Promise<HttpServer> {
  const { log, ids, metrics } = options;
  let draining: Promise<void> | undefined;
  const loggerInstance: FastifyBaseLogger = log;
  const trust = trustOf(options.trustedProxies ?? []);
  const app: FastifyInstance = fastify({
    loggerInstance,
    trustProxy: trust,
    // One line per request of our own (installTelemetry) instead of two.
    logController: new LogController({ disableRequestLogging: true }),
    keepAliveTimeout: KEEP_ALIVE_MS,
    requestTimeout: REQUEST_MS,
    maxRequestsPerSocket: REQUESTS_PER_SOCKET,
    http: { headersTimeout: HEADERS_MS, connectionsCheckingInterval: 5_000 },
    genReqId: (request) => traceIdOf(request) ?? ids.uuid(),
    // Requests that still come in on open connections while draining are served; readiness turned away the rest.
    return503OnClosing: false,
    routerOptions: { ignoreTrailingSlash: true, maxParamLength: MAX_PARAM_LENGTH },
  });
  limitConnections(app.server, {
    perAddress: options.limits.connectionsPerAddress ?? Infinity,
    isExempt: trust,
    onRefused: () => metrics.ingestShed.inc({ reason: 'connections' }),
  });
  await installCors(app, options.allowedOrigins ?? []);
  app.decorate('bodies', new BodyReader({ maxInFlightBytes: options.limits.maxInFlightBytes, metrics }));
  installBodies(app);
  installErrorHandling(app, { ids, metrics });
  installTracing(app);
  installAccess(app, options);
  installTelemetry(app, metrics);
  app.addHook('onSend', async (request, reply) => {
    void reply.header('x-request-id', request.id);
    if (draining !== undefined) void reply.header('connection', 'close');
  });
  const health = healthRoutes({ metrics, ready: options.ready, isDraining: () => draining !== undefined });
  for (const module of [...options.routes, ...health]) await mount(app, module);
  return {
    app,
    listen: async ({ host, port }) => app.listen({ host, port }),
    drain: async () => {
      draining ??= drainServer(app);
      await draining;
    },
  };
}

/**
 * Closing a server ends its idle connections, and a client may be writing its next request into one at that moment.
 * So they are kept a little longer: their next answer says that it is the last.
 */
async function drainServer(app: FastifyInstance): Promise<void> {
  const { server } = app;
  // The close of HTTP servers would end idle connections; that of the socket server below it only stops listening.
  const gone = new Promise<void>((resolve) => NetServer.prototype.close.call(server, () => resolve()));
  await Promise.race([gone, setTimeout(LAST_REQUESTS_MS, undefined, { ref: false })]);
  await app.close();
}

async function mount(app: FastifyInstance, module: RouteModule): Promise<void> {
  for (const prefix of PREFIXES[module.mount]) {
    await app.register(
      // eslint-disable-next-line @typescript-eslint/require-await -- only a promise turns what a module throws into a refusal to start
      async (scope) => {
        scope.addHook('onRoute', (route) => {
          route.config = { ...route.config, module: module.name };
        });
        module.register(scope);
      },
      { prefix },
    );
  }
}

/** Content types are not looked at for JSON: the SDKs send some of it as text/plain. */
function installBodies(app: FastifyInstance): void {
  app.removeAllContentTypeParsers();
  app.addContentTypeParser('*', async (request: FastifyRequest, payload: IncomingMessage) => {
    if (request.routeOptions.config.body === 'stream') return undefined;
    if (request.headers['content-type']?.startsWith('multipart/') === true) {
      throw new AppError('UNSUPPORTED_MEDIA_TYPE', 'This path takes JSON.');
    }
    return app.bodies.json(payload);
  });
}

function installTelemetry(app: FastifyInstance, metrics: Metrics): void {
  app.addHook('onResponse', async (request, reply) => {
    const module = request.routeOptions.config.module ?? 'none';
    metrics.httpRequests.inc({ module, status: `${Math.floor(reply.statusCode / 100)}xx` });
    metrics.httpSeconds.observe({ module }, reply.elapsedTime / 1_000);
    const line = {
      method: request.method,
      path: request.routeOptions.url,
      status: reply.statusCode,
      ms: Math.round(reply.elapsedTime),
    };
    if (reply.statusCode >= 400) request.log.info(line, 'request');
    else request.log.debug(line, 'request');
  });
}

/** The trace id of a W3C traceparent header, so that one id finds a request in all logs. */
function traceIdOf(request: IncomingMessage): string | undefined {
  const header = request.headers['traceparent'];
  return typeof header === 'string' ? parseTraceparent(header)?.traceId : undefined;
}
