/** Failures as HTTP answers: `{detail, error, ...}` for refusals, an id for faults, Retry-After where it helps. */
import type { FastifyError, FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import { isTooSlow, isTransient, isUnstorableText } from '../platform/db.js';
import { AppError, findAppError, tooSlow, unstorableText } from '../platform/errors.js';
import type { Ids } from '../platform/ids.js';
import type { Metrics } from '../platform/metrics.js';
import type { RateClass } from './ports.js';

interface ErrorBody {
  readonly detail: string;
  readonly error?: string;
  readonly error_id?: string;
  readonly [fact: string]: unknown;
}

export function installErrorHandling(app: FastifyInstance, deps: { ids: Ids; metrics: Metrics }): void {
  app.setNotFoundHandler((_request, reply) =>
    reply.code(404).send({ detail: 'Path not found.', error: 'NOT_FOUND' }),
  );
  app.setErrorHandler((error, request, reply) => {
    const refusal = findAppError(error) ?? refusalOf(error, request.routeOptions.config.rateClass);
    if (refusal !== undefined) return sendRefusal(refusal, request, reply, deps.metrics);
    const errorId = deps.ids.uuid();
    request.log.error({ err: error, errorId }, 'request failed');
    const body: ErrorBody = { detail: 'Internal error', error_id: errorId };
    return reply.code(500).send(body);
  });
}

function sendRefusal(
  refusal: AppError,
  request: FastifyRequest,
  reply: FastifyReply,
  metrics: Metrics,
): FastifyReply {
  if (refusal.code === 'UNAVAILABLE' || refusal.code === 'TIMEOUT') {
    if (refusal.code === 'UNAVAILABLE' && isTransient(refusal.cause)) {
      metrics.ingestShed.inc({ reason: 'database' });
    }
    request.log.warn({ err: refusal }, 'request turned away');
  }
  if (refusal.code === 'UNAUTHENTICATED' || refusal.code === 'FORBIDDEN') {
    metrics.authFailures.inc({ reason: refusal.code.toLowerCase() });
  }
  if (refusal.retryAfterSeconds !== undefined) {
    void reply.header('retry-after', String(refusal.retryAfterSeconds));
  }
  const body: ErrorBody = {
    detail: refusal.status === 404 ? sayNotFound(refusal.message) : refusal.message,
    error: refusal.code,
    ...refusal.details,
  };
  return reply.code(refusal.status).send(body);
}

/** The SDKs look for these two words in the body. */
const sayNotFound = (message: string): string =>
  message.includes('not found') ? message : `${message} (not found)`;

/** What the server itself or the database says in its own way. Clients send again what was not taken in, and should. */
function refusalOf(error: unknown, rateClass: RateClass | 'free' | undefined): AppError | undefined {
  if (isTooSlow(error) && rateClass !== 'ingest') return tooSlow(error);
  if (isTransient(error)) {
    return new AppError('UNAVAILABLE', 'The database cannot be reached at this moment. Try again shortly.', {
      cause: error,
    });
  }
  if (isUnstorableText(error)) return unstorableText(error);
  const status = (error as Partial<FastifyError>).statusCode;
  if (status === undefined || status < 400 || status >= 500) return undefined;
  const code =
    status === 413
      ? 'PAYLOAD_TOO_LARGE'
      : status === 415
        ? 'UNSUPPORTED_MEDIA_TYPE'
        : status === 404
          ? 'NOT_FOUND'
          : 'BAD_USER_INPUT';
  return new AppError(code, (error as Error).message, { cause: error });
}
