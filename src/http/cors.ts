/**
 * Web pages of other origins that may call. Credentials are headers that a page has to set itself, never cookies, so an
 * origin that is allowed gets nothing but what its own key may.
 */
import cors from '@fastify/cors';
import type { FastifyInstance } from 'fastify';

const PREFLIGHT_SECONDS = 600;

const METHODS = ['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE'];
const REQUEST_HEADERS = [
  'accept',
  'apollo-require-preflight',
  'authorization',
  'content-encoding',
  'content-type',
  'traceparent',
  'x-api-key',
  'x-apollo-operation-name',
  'x-tenant-id',
];
const RESPONSE_HEADERS = [
  'content-disposition',
  'ratelimit',
  'ratelimit-policy',
  'retry-after',
  'x-ratelimit-limit',
  'x-ratelimit-remaining',
  'x-request-id',
];

/** Before all other hooks: refusals have to be readable, too. */
export async function installCors(app: FastifyInstance, origins: readonly string[]): Promise<void> {
  if (origins.length === 0) return;
  await app.register(cors, {
    origin: [...origins],
    methods: METHODS,
    allowedHeaders: REQUEST_HEADERS,
    exposedHeaders: RESPONSE_HEADERS,
    maxAge: PREFLIGHT_SECONDS,
  });
}
