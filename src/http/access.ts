/**
 * Who may call what, decided before a body is read. Each route declares its access; the credentials are checked,
 * then the scope, then the key's allowance. Callers without a key have the allowances of their network and their link.
 */
import { createHash } from 'node:crypto';
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import { inWorkspace } from '../platform/db-scope.js';
import { AppError, RETRY_AFTER_SECONDS } from '../platform/errors.js';
import type { Metrics } from '../platform/metrics.js';
import { networkOf } from '../platform/network.js';
import { requireScope } from '../tenancy/principal.js';
import { rateLimitHeaders } from '../tenancy/rate-limit-headers.js';
import type { Authenticate, RateClass, RateLimit } from './ports.js';

export interface AccessDeps {
  readonly authenticator: Authenticate;
  readonly rateLimiter: RateLimit;
  readonly metrics: Metrics;
}

export function installAccess(app: FastifyInstance, deps: AccessDeps): void {
  app.decorateRequest('principal', undefined);
  app.addHook('onRoute', (route) => {
    if (route.config?.access === undefined) {
      throw new Error(
        `The route ${String(route.method)} ${route.url} does not say who may call it (config.access).`,
      );
    }
  });
  app.addHook('onRequest', async (request, reply) => {
    const { access, rateClass } = request.routeOptions.config;
    // Paths that do not exist have no config; the answer is the same for everybody.
    if (access === undefined || rateClass === 'free') return;
    if (access === 'public' || (access === 'optional' && !hasCredentials(request))) {
      await chargeStranger(deps, request, rateClass ?? 'api', reply);
      return;
    }
    const principal = await deps.authenticator.authenticate({
      apiKey: said(request, 'x-api-key'),
      authorization: request.headers.authorization,
      tenantId: said(request, 'x-tenant-id'),
      remoteAddress: request.ip,
    });
    if (access !== 'optional' && access !== 'any') requireScope(principal, access);
    // A principal of its own, because that of the authenticator is every request's with this key.
    const name = `${request.method} ${request.routeOptions.url ?? ''}`;
    request.principal = { ...principal, operation: { requestId: request.id, via: 'rest', name } };
    await charge(deps, { id: principal.keyId, name: 'This key' }, rateClass ?? 'api', reply);
  });
  // The last hook, and with a callback: only so does the handler run inside. Bodies are read before, in any context.
  app.addHook('preHandler', (request, _reply, done) => {
    if (request.principal === undefined) done();
    else inWorkspace(request.principal.workspaceId, done);
  });
}

/** The Python SDK's second client sends these twice, in two spellings: saying the same again says nothing else. */
function said(request: FastifyRequest, name: string): string | readonly string[] | undefined {
  const [value, ...others] = new Set(request.raw.headersDistinct[name]);
  return others.length === 0 ? value : request.headers[name];
}

const hasCredentials = (request: FastifyRequest): boolean =>
  request.headers['x-api-key'] !== undefined || request.headers.authorization !== undefined;

/** The network first: links that are only guessed are as many as somebody likes. */
async function chargeStranger(
  deps: AccessDeps,
  request: FastifyRequest,
  rateClass: RateClass,
  reply: FastifyReply,
): Promise<void> {
  const network = { id: `network:${networkOf(request.ip)}`, name: 'Your network' };
  await charge(deps, network, rateClass, reply);
  const { token } = request.params as { token?: string };
  if (token === undefined) return;
  const digest = createHash('sha256').update(token).digest('base64url');
  await charge(deps, { id: `link:${digest}`, name: 'This link' }, rateClass, reply);
}

async function charge(
  deps: AccessDeps,
  whose: { readonly id: string; readonly name: string },
  rateClass: RateClass,
  reply: FastifyReply,
): Promise<void> {
  const decision = await deps.rateLimiter.take(whose.id, rateClass, 1);
  void reply
    .header('x-ratelimit-limit', decision.limit)
    .header('x-ratelimit-remaining', decision.remaining)
    .headers(rateLimitHeaders(rateClass, decision));
  if (decision.allowed) return;
  deps.metrics.ingestShed.inc({ reason: 'rate' });
  // Tracing clients give up after a few tries: a short wait would only spend them.
  const least = rateClass === 'ingest' ? RETRY_AFTER_SECONDS : 1;
  throw new AppError('RATE_LIMITED', `${whose.name} has used up its allowance of requests for now.`, {
    retryAfterSeconds: Math.max(least, Math.ceil(decision.retryAfterSeconds)),
  });
}
