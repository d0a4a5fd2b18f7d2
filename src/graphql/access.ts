/**
 * What the schema says about its own fields besides their types: who may use them, and how long a list can get.
 * The gate reads both before anything runs.
 */
import { Extensions } from 'type-graphql';
import type { GraphQLField } from 'graphql';
import { SCOPES } from '../tenancy/principal.js';
import type { Scope } from '../tenancy/principal.js';

/** A scope; or any signed-in caller; or everybody (share links prove themselves with their token). */
export type Access = Scope | 'authenticated' | 'public';

/** Every field of Query, Mutation and Subscription carries it. The gate refuses callers without the scope. */
export function RequiresAccess(access: Access): MethodDecorator {
  return Extensions({ access });
}

export type ListArguments = Readonly<Record<string, unknown>>;

/** How long a list without `first`/`last` can get: a number, or the name of the argument that says so. */
export function ListSize(size: number | { readonly argument: string }): MethodDecorator & PropertyDecorator {
  return Extensions({ listSize: size });
}

export function accessOf(field: GraphQLField<unknown, unknown>): Access | undefined {
  const access = field.extensions['access'];
  const known: readonly unknown[] = [...SCOPES, 'authenticated', 'public'];
  return known.includes(access) ? (access as Access) : undefined;
}
