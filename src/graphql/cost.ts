/**
 * The price of an operation: before it runs from its document and variables, afterwards from what it returned.
 * An object costs 1, a scalar nothing; a list costs its length times its element; fields say otherwise with
 * `complexity`. Fragments are priced once per type they are spread on.
 */
import {
  getNamedType,
  getNullableType,
  isCompositeType,
  isListType,
  isObjectType,
  Kind,
  valueFromASTUntyped,
} from 'graphql';
import type {
  DocumentNode,
  FieldNode,
  GraphQLCompositeType,
  GraphQLField,
  GraphQLOutputType,
  GraphQLSchema,
  OperationDefinitionNode,
  SelectionNode,
  SelectionSetNode,
} from 'graphql';
import type { ListArguments } from './access.js';
import { MAX_PAGE } from './cursor.js';
import { fragmentsOf } from './fragments.js';
import type { Fragments } from './fragments.js';
import { RawRows } from './row-text.js';

/** A list nobody declared a size for. Long ones declare it with ListSize or are connections. */
const ASSUMED_LIST_SIZE = 10;
/** Above every limit; keeps sums finite whatever a client writes. */
const MAX_SIZE = 1_000_000;

export interface Price {
  readonly cost: number;
  /** Objects in lists. */
  readonly nodes: number;
  /** False when the price was worked out without looking at any variable. */
  readonly dependsOnVariables: boolean;
}

interface Sum {
  cost: number;
  nodes: number;
}

type Complexity = number | ((options: { args: ListArguments; childComplexity: number }) => number);

/** A page wrapper: its lists are as long as the arguments of the field that returns it say. */
function isConnection(type: GraphQLOutputType): boolean {
  const named = getNamedType(type);
  if (!isObjectType(named) || isListType(getNullableType(type))) return false;
  const fields = named.getFields();
  return 'pageInfo' in fields && ('nodes' in fields || 'edges' in fields);
}

const clamp = (value: unknown): number | undefined =>
  typeof value === 'number' && Number.isFinite(value)
    ? Math.min(Math.max(Math.ceil(value), 0), MAX_SIZE)
    : undefined;

function requestedPage(args: ListArguments): number {
  return clamp(args['first'] ?? args['last']) ?? MAX_PAGE;
}

/** Prices one operation with the variables it came with. */
class Pricing {
  dependsOnVariables = false;
  readonly #schema: GraphQLSchema;
  readonly #variables: ListArguments;
  readonly #fragments: Fragments;
  readonly #defaults = new Map<string, unknown>();
  readonly #memo = new Map<string, Sum>();

  constructor(
    schema: GraphQLSchema,
    fragments: Fragments,
    operation: OperationDefinitionNode,
    variables: ListArguments,
  ) {
    this.#schema = schema;
    this.#variables = variables;
    this.#fragments = fragments;
    for (const { variable, defaultValue } of operation.variableDefinitions ?? []) {
      if (defaultValue !== undefined) {
        this.#defaults.set(variable.name.value, valueFromASTUntyped(defaultValue));
      }
    }
  }

  /** Price of a selection set for one object; within a connection of `pageSize` rows. */
  estimate(set: SelectionSetNode, parent: GraphQLCompositeType, pageSize: number | undefined): Sum {
    const sum: Sum = { cost: 0, nodes: 0 };
    for (const node of set.selections) {
      if (!this.#isIncluded(node)) continue;
      const part =
        node.kind === Kind.FIELD ? this.#field(node, parent, pageSize) : this.#spread(node, parent, pageSize);
      sum.cost += part.cost;
      sum.nodes += part.nodes;
    }
    return sum;
  }

  #spread(
    node: Exclude<SelectionNode, FieldNode>,
    parent: GraphQLCompositeType,
    pageSize: number | undefined,
  ): Sum {
    if (node.kind === Kind.INLINE_FRAGMENT) {
      return this.estimate(
        node.selectionSet,
        conditioned(this.#schema, node.typeCondition?.name.value, parent),
        pageSize,
      );
    }
    const key = `${node.name.value}\n${parent.name}\n${pageSize ?? ''}`;
    const known = this.#memo.get(key);
    if (known !== undefined) return known;
    const fragment = this.#fragments.get(node.name.value);
    if (fragment === undefined) return { cost: 0, nodes: 0 };
    const type = conditioned(this.#schema, fragment.typeCondition.name.value, parent);
    const sum = this.estimate(fragment.selectionSet, type, pageSize);
    this.#memo.set(key, sum);
    return sum;
  }

  #field(node: FieldNode, parent: GraphQLCompositeType, pageSize: number | undefined): Sum {
    const field = fieldOf(parent, node);
    if (field === undefined) return { cost: 0, nodes: 0 };
    const named = getNamedType(field.type);
    const composite = isCompositeType(named);
    const args = lazily(() => this.#arguments(field, node));
    const list = isListType(getNullableType(field.type));
    const size = list && composite ? this.#listSize(field, args, pageSize) : 1;
    const page = isConnection(field.type) ? requestedPage(args()) : undefined;
    const child =
      composite && node.selectionSet !== undefined
        ? this.estimate(node.selectionSet, named, page)
        : { cost: 0, nodes: 0 };
    const perElement = list && composite ? 1 : 0;
    const childComplexity = size * (perElement + child.cost);
    return {
      cost: ownCost(field, args, childComplexity, composite && !list ? 1 : 0),
      nodes: size * (perElement + child.nodes),
    };
  }

  #listSize(
    field: GraphQLField<unknown, unknown>,
    args: () => ListArguments,
    pageSize: number | undefined,
  ): number {
    const declared = field.extensions['listSize'] as number | { argument: string } | undefined;
    if (typeof declared === 'number') return declared;
    if (declared !== undefined) {
      const value = args()[declared.argument];
      return Array.isArray(value) ? value.length : (clamp(value) ?? ASSUMED_LIST_SIZE);
    }
    if (pageSize !== undefined && (field.name === 'nodes' || field.name === 'edges')) return pageSize;
    if (field.args.some(({ name }) => name === 'first' || name === 'last')) return requestedPage(args());
    if (field.args.some(({ name }) => name === 'limit')) return clamp(args()['limit']) ?? MAX_PAGE;
    return ASSUMED_LIST_SIZE;
  }

  /** Values as written: unchecked, enums as their names. The executor refuses bad ones later. */
  #arguments(field: GraphQLField<unknown, unknown>, node: FieldNode): ListArguments {
    const values: Record<string, unknown> = Object.create(null) as Record<string, unknown>;
    for (const arg of field.args) if (arg.defaultValue !== undefined) values[arg.name] = arg.defaultValue;
    for (const { name, value } of node.arguments ?? []) {
      const given =
        value.kind === Kind.VARIABLE ? this.#variable(value.name.value) : valueFromASTUntyped(value);
      if (given !== undefined) values[name.value] = given;
    }
    return values;
  }

  #variable(name: string): unknown {
    this.dependsOnVariables = true;
    return Object.hasOwn(this.#variables, name) ? this.#variables[name] : this.#defaults.get(name);
  }

  #isIncluded(node: SelectionNode): boolean {
    for (const directive of node.directives ?? []) {
      const name = directive.name.value;
      if (name !== 'skip' && name !== 'include') continue;
      const value = directive.arguments?.[0]?.value;
      const on =
        value?.kind === Kind.VARIABLE
          ? this.#variable(value.name.value)
          : value?.kind === Kind.BOOLEAN && value.value;
      if (on === (name === 'skip')) return false;
    }
    return true;
  }

  /** What a selection set cost for one object, from the object returned for it. */
  actual(plan: Plan, value: Readonly<Record<string, unknown>>): number {
    let cost = 0;
    for (const priced of plan) cost += this.#actualField(priced, value[priced.key]);
    return cost;
  }

  #actualField({ field, node, below }: PricedField, value: unknown): number {
    if (value === undefined) return 0;
    const written = value instanceof RawRows;
    const list = written || Array.isArray(value);
    let child = list && below !== undefined ? value.length : 0;
    if (written) child += value.objects;
    // Rows of scalars are not looked at one by one.
    else if (below !== undefined && below().length > 0) {
      for (const item of list ? (value as unknown[]) : [value]) {
        if (item !== null && typeof item === 'object') {
          child += this.actual(below(), item as Record<string, unknown>);
        }
      }
    }
    const args = lazily(() => {
      const given = this.#arguments(field, node);
      const rows = isConnection(field.type) ? rowsIn(value) : undefined;
      return rows === undefined ? given : { ...given, first: rows };
    });
    return ownCost(field, args, child, below !== undefined && !list ? 1 : 0);
  }
}

/** A field that can cost something: an object, a list of objects, or one with a complexity. */
interface PricedField {
  readonly key: string;
  readonly field: GraphQLField<unknown, unknown>;
  readonly node: FieldNode;
  /** What can cost something below it; undefined for scalars. */
  readonly below: (() => Plan) | undefined;
}

type Plan = readonly PricedField[];

/** The fields of a selection set that can cost something, fragments written out. */
function planFor(
  schema: GraphQLSchema,
  fragments: Fragments,
  set: SelectionSetNode,
  parent: GraphQLCompositeType,
): PricedField[] {
  return set.selections.flatMap((node) => {
    if (node.kind !== Kind.FIELD) {
      const fragment = node.kind === Kind.INLINE_FRAGMENT ? node : fragments.get(node.name.value);
      if (fragment === undefined) return [];
      return planFor(
        schema,
        fragments,
        fragment.selectionSet,
        conditioned(schema, fragment.typeCondition?.name.value, parent),
      );
    }
    const field = fieldOf(parent, node);
    if (field === undefined) return [];
    const key = node.alias?.value ?? node.name.value;
    const named = getNamedType(field.type);
    const { selectionSet } = node;
    if (!isCompositeType(named) || selectionSet === undefined) {
      return field.extensions['complexity'] === undefined ? [] : [{ key, field, node, below: undefined }];
    }
    return [{ key, field, node, below: lazily(() => planFor(schema, fragments, selectionSet, named)) }];
  });
}

function conditioned(
  schema: GraphQLSchema,
  name: string | undefined,
  parent: GraphQLCompositeType,
): GraphQLCompositeType {
  const type = name === undefined ? parent : schema.getType(name);
  return isCompositeType(type) ? type : parent;
}

function rowsIn(connection: unknown): number | undefined {
  if (connection === null || typeof connection !== 'object') return 0;
  const { nodes, edges } = connection as { nodes?: unknown; edges?: unknown };
  const rows = nodes ?? edges;
  return Array.isArray(rows) || rows instanceof RawRows ? rows.length : undefined;
}

function ownCost(
  field: GraphQLField<unknown, unknown>,
  args: () => ListArguments,
  childComplexity: number,
  fallback: number,
): number {
  const complexity = field.extensions['complexity'] as Complexity | undefined;
  if (typeof complexity === 'function') return complexity({ args: args(), childComplexity });
  return (complexity ?? fallback) + childComplexity;
}

function fieldOf(parent: GraphQLCompositeType, node: FieldNode): GraphQLField<unknown, unknown> | undefined {
  return 'getFields' in parent ? parent.getFields()[node.name.value] : undefined;
}

function lazily<T>(make: () => T): () => T {
  let made: { readonly value: T } | undefined;
  return () => (made ??= { value: make() }).value;
}

export interface PricedOperation {
  /** Valid against the schema. */
  readonly document: DocumentNode;
  readonly operation: OperationDefinitionNode;
  /** As the client sent them. */
  readonly variables: ListArguments;
}

export class PriceList {
  readonly #schema: GraphQLSchema;
  readonly #plans = new WeakMap<OperationDefinitionNode, Plan>();

  constructor(schema: GraphQLSchema) {
    this.#schema = schema;
  }

  /** What an operation may cost at most, by its own words. */
  estimate({ document, operation, variables }: PricedOperation): Price {
    const root = this.#schema.getRootType(operation.operation);
    if (!root) return { cost: 0, nodes: 0, dependsOnVariables: false };
    const pricing = new Pricing(this.#schema, fragmentsOf(document), operation, variables);
    const { cost, nodes } = pricing.estimate(operation.selectionSet, root, undefined);
    return { cost, nodes, dependsOnVariables: pricing.dependsOnVariables };
  }

  /** What it cost, given its result; for giving back what was charged too much. */
  actual({ document, operation, variables }: PricedOperation, data: unknown): number {
    const root = this.#schema.getRootType(operation.operation);
    if (!root || data === null || typeof data !== 'object') return 0;
    const fragments = fragmentsOf(document);
    let plan = this.#plans.get(operation);
    if (plan === undefined) {
      plan = planFor(this.#schema, fragments, operation.selectionSet, root);
      this.#plans.set(operation, plan);
    }
    return new Pricing(this.#schema, fragments, operation, variables).actual(
      plan,
      data as Record<string, unknown>,
    );
  }
}
