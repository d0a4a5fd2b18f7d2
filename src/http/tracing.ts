/**
 * A span per request, within the caller's trace where it sent a W3C traceparent. What the LangSmith SDKs send under
 * other names (`langsmith-trace`, `baggage`) is about the runs of their users and not looked at here.
 */
import type { FastifyInstance } from 'fastify';
import { isTracing, startRequestSpan } from '../platform/telemetry.js';

/** Call before any other hook is added: what hooks do belongs to the request. */
export function installTracing(app: FastifyInstance): void {
  if (!isTracing()) return;
  // With a callback: only so do the hooks that follow, and the handler, run inside.
  app.addHook('onRequest', (request, reply, done) => {
    const { config, url } = request.routeOptions;
    if (config.module === 'health') return done();
    const { traceparent, tracestate } = request.headers;
    const span = startRequestSpan(
      url === undefined ? request.method : `${request.method} ${url}`,
      { traceparent: one(traceparent), tracestate: one(tracestate) },
      {
        'http.request.method': request.method,
        ...(url !== undefined && { 'http.route': url }),
        'tracewell.request_id': request.id,
      },
    );
    if (span === undefined) return done();
    // Comes after the last byte and when the client is gone before.
    reply.raw.once('close', () => {
      const { statusCode, writableFinished } = reply.raw;
      const attributes = {
        'http.response.status_code': statusCode,
        ...(request.principal !== undefined && { 'tracewell.workspace_id': request.principal.workspaceId }),
        ...(!writableFinished && { 'error.type': 'client_closed' }),
      };
      span.end(attributes, statusCode >= 500);
    });
    span.enter(done);
  });
}

const one = (header: string | string[] | undefined): string | undefined =>
  typeof header === 'string' ? header : undefined;
