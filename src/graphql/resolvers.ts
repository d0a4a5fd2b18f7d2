/** Every resolver class of the API. A class that is not listed here does not exist for clients. */
import { NodeResolver } from './node.resolver.js';

// The constructor's parameters differ from class to class and do not matter here.
export type ResolverClass = new (...dependencies: never[]) => object;

export const RESOLVER_CLASSES: readonly ResolverClass[] = [NodeResolver];
