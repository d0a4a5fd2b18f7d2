/** What resolvers are given besides their arguments. One per operation, over HTTP and socket alike. */
import { AppError } from '../platform/errors.js';
import type { Principal } from '../tenancy/principal.js';

/** What an operation was charged, and what its key has left. */
export interface Allowance {
  readonly requested: number;
  readonly remaining: number;
  readonly limit: number;
  readonly restoreRatePerSecond: number;
}

/** Makes a loader (or any per-operation cache) from the context. The function's identity is its key. */
export type LoaderFactory<T> = (context: GraphqlContext) => T;

export interface GraphqlContext {
  /** Undefined for anonymous callers, who may only introspect nothing and read `__typename`. */
  readonly principal: Principal | undefined;
  /** The same instance for the same factory within one operation. */
  loader<T>(factory: LoaderFactory<T>): T;
  /** Aborted when the client goes away or the operation's time is up. */
  readonly signal: AbortSignal;
  readonly requestId: string;
  /** Set when the operation was admitted, for callers with an allowance. */
  allowance?: Allowance;
  /**
   * Counts the request's body as intake until it is answered; absent where there is none.
   * @throws AppError UNAVAILABLE when the process holds too much already.
   */
  holdBody?: () => void;
}

/**
 * The caller.
 * @throws AppError UNAUTHENTICATED for anonymous ones.
 */
export function requirePrincipal(context: GraphqlContext): Principal {
  if (context.principal === undefined) {
    throw new AppError(
      'UNAUTHENTICATED',
      'This needs an API key, in the header X-API-Key or as a bearer token.',
    );
  }
  return context.principal;
}

export interface ContextParts {
  readonly principal: Principal | undefined;
  readonly signal: AbortSignal;
  readonly requestId: string;
}

/** A context with an empty set of loaders: make one per operation, socket operations included. */
export function createContext({ principal, signal, requestId }: ContextParts): GraphqlContext {
  const loaders = new Map<LoaderFactory<unknown>, unknown>();
  const context: GraphqlContext = {
    principal,
    signal,
    requestId,
    loader<T>(factory: LoaderFactory<T>): T {
      if (!loaders.has(factory)) loaders.set(factory, factory(context));
      return loaders.get(factory) as T;
    },
  };
  return context;
}
