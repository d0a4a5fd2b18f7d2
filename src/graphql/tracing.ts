/**
 * Spans of operations, and of the resolvers in them that took long. A span per field would cost more than most fields;
 * so resolvers are timed, and only a slow one gets its span, afterwards.
 */
import { createHash } from 'node:crypto';
import { getOperationAST, isObjectType } from 'graphql';
import type { DocumentNode, ExecutionResult, GraphQLFieldResolver, GraphQLSchema } from 'graphql';
import { annotate, inSpan, isTracing, markFailed, recordSpan } from '../platform/telemetry.js';
import { isFault } from './errors.js';

const SLOW_MS = 50;
/** Of one operation: a slow loader makes every row of a list slow. */
const MAX_SLOW = 20;

export interface TracedOperation {
  readonly document: DocumentNode;
  readonly operationName: string | null | undefined;
  /** Cost points, where they were charged to somebody. */
  readonly cost: number | undefined;
}

/** Runs an operation in its span: kind, name, hash of the document. Never variables, never document text. */
export function inOperationSpan(
  operation: TracedOperation,
  work: () => Promise<ExecutionResult>,
): Promise<ExecutionResult> {
  if (!isTracing()) return work();
  const { document, operationName, cost } = operation;
  const node = getOperationAST(document, operationName);
  const attributes = {
    ...(node?.name !== undefined && { 'graphql.operation.name': node.name.value }),
    'graphql.operation.type': node?.operation ?? 'unknown',
    'tracewell.graphql.document_hash': hashOf(document),
    ...(cost !== undefined && { 'tracewell.graphql.cost': cost }),
  };
  return inSpan(`graphql ${node?.operation ?? 'unknown'}`, { attributes }, async () => {
    const result = await work();
    const { errors = [] } = result;
    if (errors.length > 0) annotate({ 'tracewell.graphql.errors': errors.length });
    const fault = errors.find(isFault);
    if (fault !== undefined) markFailed(fault.originalError ?? fault);
    return result;
  });
}

const hashes = new WeakMap<DocumentNode, string>();

function hashOf(document: DocumentNode): string {
  let hash = hashes.get(document);
  if (hash === undefined) {
    hash = createHash('sha256')
      .update(document.loc?.source.body ?? '')
      .digest('hex');
    hashes.set(document, hash);
  }
  return hash;
}

/** Times every resolver of queries and mutations that answers with a promise. Changes the schema. */
export function traceSlowResolvers(schema: GraphQLSchema): void {
  const subscription = schema.getSubscriptionType();
  for (const type of Object.values(schema.getTypeMap())) {
    if (!isObjectType(type) || type === subscription || type.name.startsWith('__')) continue;
    for (const field of Object.values(type.getFields())) {
      const { resolve } = field;
      if (resolve !== undefined) field.resolve = timed(`${type.name}.${field.name}`, resolve);
    }
  }
}

const slowOnes = new WeakMap<object, number>();

function timed(
  field: string,
  resolve: GraphQLFieldResolver<unknown, unknown>,
): GraphQLFieldResolver<unknown, unknown> {
  return (source, args, context, info) => {
    const beganMs = performance.now();
    const value = resolve(source, args, context, info);
    if (!(value instanceof Promise)) return value;
    const note = (): void => {
      if (performance.now() - beganMs < SLOW_MS || typeof context !== 'object' || context === null) return;
      const before = slowOnes.get(context) ?? 0;
      slowOnes.set(context, before + 1);
      if (before < MAX_SLOW) recordSpan('graphql resolve', beganMs, { 'graphql.field': field });
    };
    value.then(note, note);
    return value;
  };
}
