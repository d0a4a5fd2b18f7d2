/** What resolvers are given besides their arguments. One per operation, over HTTP and socket alike. */
import type { Principal } from '../tenancy/principal.js';

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
}
