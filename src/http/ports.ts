/** What the HTTP edge asks of others, and what a group of routes is to the server that mounts it. */
import type { FastifyInstance, FastifyRequest } from 'fastify';
import { AppError } from '../platform/errors.js';
import type { Principal, Scope } from '../tenancy/principal.js';
import type { Standing } from '../tenancy/rate-limit-headers.js';
import type { BodyReader } from './body.js';

type HeaderValue = string | readonly string[] | undefined;

export interface Authenticate {
  /** @throws AppError UNAUTHENTICATED, FORBIDDEN, RATE_LIMITED or UNAVAILABLE. */
  authenticate(credentials: {
    readonly apiKey: HeaderValue;
    readonly authorization: HeaderValue;
    readonly tenantId: HeaderValue;
    readonly remoteAddress: string;
  }): Promise<Principal>;
}

export type RateClass = 'ingest' | 'api';

interface RateDecision extends Standing {
  readonly allowed: boolean;
  readonly retryAfterSeconds: number;
}

export interface RateLimit {
  take(key: string, rateClass: RateClass, amount: number): Promise<RateDecision>;
}

/**
 * Who may call a route. public: no credentials are looked at; a `:token` in the path names a link. optional: credentials are checked if there are any.
 * any: every valid key. Otherwise the key needs the scope.
 */
type Access = 'public' | 'optional' | 'any' | Scope;

declare module 'fastify' {
  interface FastifyContextConfig {
    /** Every route declares it; one without fails at registration. */
    access?: Access;
    /**
     * Which allowance a call is charged to: that of the key, or, where there is none, those of the network and of the
     * link. free: none, for probes and what clients ask before anything else. Default: api.
     */
    rateClass?: RateClass | 'free';
    /** json: parsed and cleaned into `request.body`. stream: left to the handler (`app.bodies`). Default: json. */
    body?: 'json' | 'stream';
    /** Set by the server: the RouteModule's name. */
    module?: string;
  }
  interface FastifyRequest {
    /** Set before the body is read, where the route's access asks for it. */
    principal: Principal | undefined;
  }
  interface FastifyInstance {
    readonly bodies: BodyReader;
  }
}

/**
 * v1: `/`, `/api` and `/api/v1`, because clients append their paths to whatever endpoint they were given.
 * platform: `/v1/platform` and `/api/v1/platform`. v2: `/api/v2` and `/v2`. root: as written.
 */
export type Mount = 'v1' | 'platform' | 'v2' | 'root';

/** A group of routes with relative paths. `register` runs once per prefix. */
export interface RouteModule {
  /** Label of metrics. */
  readonly name: string;
  readonly mount: Mount;
  register(app: FastifyInstance): void;
}

/** The caller of a route that is neither public nor optional. */
export function principalOf(request: FastifyRequest): Principal {
  if (request.principal === undefined) throw new AppError('UNAUTHENTICATED', 'No API key was sent.');
  return request.principal;
}
