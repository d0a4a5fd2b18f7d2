/**
 * Builds the schema from resolver classes and adds what decorators cannot say: ids of nodes and @oneOf inputs.
 * Resolver instances come from the composition root; there is no container.
 */
import 'reflect-metadata';
import { getNamedType, isInputObjectType, isObjectType, lexicographicSortSchema, printSchema } from 'graphql';
import type { GraphQLObjectType, GraphQLSchema } from 'graphql';
import { buildSchemaSync } from 'type-graphql';
import type { NonEmptyArray, PubSub } from 'type-graphql';
import { accessOf } from './access.js';
import { bareId, toGlobalId } from './global-id.js';
import { RESOLVER_CLASSES } from './resolvers.js';
import type { ResolverClass } from './resolvers.js';
import { addTextFields, MADE_OF_UUID } from './row-text.js';
import { DateTimeScalar } from './scalars.js';

// type-graphql demands one as soon as there is a subscription. Ours read the feed instead.
const noPubSub: PubSub = {
  publish: () => {
    throw new Error('Subscriptions read the feed; nothing is published.');
  },
  subscribe: () => {
    throw new Error('Subscriptions read the feed; every one has a subscribe function of its own.');
  },
};

/**
 * The schema that is served.
 * @throws when a listed class has no instance, or an instance is of a class that is not listed.
 */
export function buildTracewellSchema(
  instances: readonly object[],
  classes: readonly ResolverClass[] = RESOLVER_CLASSES,
): GraphQLSchema {
  const byClass = new Map<unknown, object>(instances.map((instance) => [instance.constructor, instance]));
  const missing = classes.filter((resolver) => !byClass.has(resolver)).map(({ name }) => name);
  if (missing.length > 0) throw new Error(`Resolvers without an instance: ${missing.join(', ')}.`);
  const unlisted = instances.filter(
    ({ constructor }) => !classes.some((resolver) => resolver === constructor),
  );
  if (unlisted.length > 0) {
    throw new Error(
      `Resolvers that are not in RESOLVER_CLASSES: ${unlisted.map((one) => one.constructor.name).join(', ')}.`,
    );
  }
  return build(classes, (resolver) => byClass.get(resolver));
}

/** The schema's text as it is committed in schema.graphql. Needs no instance: nothing is resolved. */
export function printTracewellSchema(classes: readonly ResolverClass[] = RESOLVER_CLASSES): string {
  return `${printSchema(lexicographicSortSchema(build(classes, () => undefined)))}\n`;
}

function build(classes: readonly ResolverClass[], instanceOf: (resolver: unknown) => unknown): GraphQLSchema {
  const schema = buildSchemaSync({
    resolvers: [...classes] as unknown as NonEmptyArray<ResolverClass>,
    container: { get: instanceOf },
    // Only what the resolvers reach, not every decorated class that happens to be loaded.
    orphanedTypes: [],
    scalarsMap: [{ type: Date, scalar: DateTimeScalar }],
    validate: false,
    pubSub: noPubSub,
  });
  for (const type of Object.values(schema.getTypeMap())) {
    if (isObjectType(type) && type.getInterfaces().some(({ name }) => name === 'Node')) addNodeIds(type);
    // type-graphql prints the directive but does not enforce it.
    if (
      isInputObjectType(type) &&
      type.astNode?.directives?.some(({ name }) => name.value === 'oneOf') === true
    ) {
      type.isOneOf = true;
    }
  }
  addTextFields(schema);
  return schema;
}

/** Both fields are made from the row's bare UUID unless the type resolves them itself. */
function addNodeIds(type: GraphQLObjectType): void {
  const { id, uuid } = type.getFields();
  if (id !== undefined && id.resolve === undefined) {
    id.resolve = (row: Readonly<Record<string, unknown>>) => {
      const value = bareId(row);
      return value === undefined ? undefined : toGlobalId(type.name, value);
    };
    id.extensions = { ...id.extensions, [MADE_OF_UUID]: 'id' };
  }
  if (uuid !== undefined && uuid.resolve === undefined) {
    uuid.resolve = bareId;
    uuid.extensions = { ...uuid.extensions, [MADE_OF_UUID]: 'uuid' };
  }
}

/** Runs carry ids of the client's, and the same id again is the same run. */
const REPEATABLE_BY_ITS_IDS: ReadonlySet<string> = new Set(['createRuns']);

/**
 * What the schema fails to say about itself: access of a root field, price of a page. The gate would treat the
 * first as "nobody without admin" and the second as its rows alone, so nothing is unsafe, but neither is meant.
 * Also mutations that create and cannot be repeated.
 */
export function schemaProblems(schema: GraphQLSchema = build(RESOLVER_CLASSES, () => undefined)): string[] {
  const problems: string[] = [];
  const roots = [schema.getQueryType(), schema.getMutationType(), schema.getSubscriptionType()];
  for (const type of Object.values(schema.getTypeMap())) {
    if (!isObjectType(type) || type.name.startsWith('__')) continue;
    for (const field of Object.values(type.getFields())) {
      const name = `${type.name}.${field.name}`;
      if (roots.includes(type) && accessOf(field) === undefined) {
        problems.push(`${name} does not say who may use it (RequiresAccess).`);
      }
      const paged = field.args.some((arg) => arg.name === 'first' || arg.name === 'last');
      const { complexity, listSize } = field.extensions;
      if (paged && complexity === undefined && listSize === undefined) {
        problems.push(`${name} takes a page size but has neither complexity nor ListSize.`);
      }
    }
  }
  for (const field of Object.values(schema.getMutationType()?.getFields() ?? {})) {
    if (!/^create[A-Z]/.test(field.name) || REPEATABLE_BY_ITS_IDS.has(field.name)) continue;
    const input = getNamedType(field.args.find(({ name }) => name === 'input')?.type);
    if (!isInputObjectType(input) || input.getFields()['idempotencyKey'] === undefined) {
      problems.push(
        `Mutation.${field.name} cannot be repeated: its input has no idempotencyKey (IdempotentInput).`,
      );
    }
  }
  return problems;
}
