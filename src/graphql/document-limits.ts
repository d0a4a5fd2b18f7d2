/**
 * Limits on a document's shape, checked before validation because some validation rules are themselves slow on
 * hostile documents. Everything here is linear in the document: fragments are measured once, however often they
 * are spread.
 */
import { GraphQLError, Kind, OperationTypeNode } from 'graphql';
import type {
  DocumentNode,
  FragmentDefinitionNode,
  OperationDefinitionNode,
  SelectionSetNode,
} from 'graphql';

export interface DocumentLimits {
  readonly maxTokens: number;
  readonly maxDepth: number;
  /** Introspection queries of common tools are deeper than any other. */
  readonly maxIntrospectionDepth: number;
  readonly maxAliases: number;
  readonly maxDirectives: number;
  readonly maxRootFields: Readonly<Record<OperationDefinitionNode['operation'], number>>;
  /** Selections with every fragment written out. */
  readonly maxSelections: number;
  /** Sum of squares of how often each response name occurs: what comparing equal names costs the validator. */
  readonly maxComparisons: number;
}

export const DOCUMENT_LIMITS: DocumentLimits = {
  maxTokens: 4_000,
  maxDepth: 12,
  maxIntrospectionDepth: 20,
  maxAliases: 30,
  maxDirectives: 50,
  maxRootFields: { query: 10, mutation: 5, subscription: 1 },
  maxSelections: 5_000,
  maxComparisons: 100_000,
};

export function tooComplex(message: string, extensions: Record<string, unknown> = {}): GraphQLError {
  return new GraphQLError(message, { extensions: { code: 'QUERY_TOO_COMPLEX', ...extensions } });
}

/** Such as `query Traces`, or `query runs` where the operation has no name. At most 200 characters. */
export function describeOperation({ operation, name, selectionSet }: OperationDefinitionNode): string {
  const [first] = selectionSet.selections;
  const field = first?.kind === Kind.FIELD ? first.name.value : undefined;
  return [operation, name?.value ?? field]
    .filter((part) => part !== undefined)
    .join(' ')
    .slice(0, 200);
}

/** Size of a selection set with its fragments written out. */
interface Extent {
  readonly depth: number;
  readonly introspectionDepth: number;
  readonly selections: number;
  /** Fields directly in it, not below. */
  readonly fields: number;
}

const NOTHING: Extent = { depth: 0, introspectionDepth: 0, selections: 0, fields: 0 };

const isIntrospection = (name: string): boolean => name === '__schema' || name === '__type';

class Measurement {
  aliases = 0;
  directives = 0;
  introspects = false;
  readonly #names = new Map<string, number>();
  readonly #fragments = new Map<string, FragmentDefinitionNode>();
  readonly #extents = new Map<string, Extent>();

  constructor(document: DocumentNode) {
    for (const definition of document.definitions) {
      if (definition.kind === Kind.FRAGMENT_DEFINITION) {
        this.#fragments.set(definition.name.value, definition);
      }
    }
    // Fragments nobody spreads are validated like the others, so their names count too.
    for (const name of this.#fragments.keys()) this.#fragment(name);
  }

  get comparisons(): number {
    let sum = 0;
    for (const count of this.#names.values()) sum += count * count;
    return sum;
  }

  operation(node: OperationDefinitionNode): Extent {
    this.directives += node.directives?.length ?? 0;
    return this.#selectionSet(node.selectionSet);
  }

  #fragment(name: string): Extent {
    const known = this.#extents.get(name);
    if (known !== undefined) return known;
    const node = this.#fragments.get(name);
    if (node === undefined) return NOTHING;
    // A fragment within itself counts nothing here: the validator has the better message for it.
    this.#extents.set(name, NOTHING);
    this.directives += node.directives?.length ?? 0;
    const extent = this.#selectionSet(node.selectionSet);
    this.#extents.set(name, extent);
    return extent;
  }

  #selectionSet(set: SelectionSetNode): Extent {
    let { depth, introspectionDepth, selections, fields } = NOTHING;
    for (const node of set.selections) {
      this.directives += node.directives?.length ?? 0;
      let below = NOTHING;
      let step = 0;
      if (node.kind === Kind.FIELD) {
        step = 1;
        fields += 1;
        const name = node.alias?.value ?? node.name.value;
        if (node.alias !== undefined) this.aliases += 1;
        this.#names.set(name, (this.#names.get(name) ?? 0) + 1);
        if (node.selectionSet !== undefined) below = this.#selectionSet(node.selectionSet);
        if (isIntrospection(node.name.value)) {
          this.introspects = true;
          introspectionDepth = Math.max(introspectionDepth, step + below.depth);
          below = { ...below, depth: 0 };
        }
      } else {
        below =
          node.kind === Kind.INLINE_FRAGMENT
            ? this.#selectionSet(node.selectionSet)
            : this.#fragment(node.name.value);
        fields += below.fields;
      }
      depth = Math.max(depth, step + below.depth);
      introspectionDepth = Math.max(introspectionDepth, below.introspectionDepth);
      selections += 1 + below.selections;
    }
    return { depth, introspectionDepth, selections, fields };
  }
}

export interface DocumentShape {
  /** Whether any operation asks for `__schema` or `__type`. */
  readonly introspects: boolean;
  /** Every limit the document breaks. */
  readonly errors: readonly GraphQLError[];
}

export function measureDocument(document: DocumentNode, limits: DocumentLimits): DocumentShape {
  const measurement = new Measurement(document);
  const errors: GraphQLError[] = [];
  const check = (what: string, found: number, allowed: number): void => {
    if (found > allowed) {
      errors.push(tooComplex(`The document has ${found} ${what}; ${allowed} are allowed.`));
    }
  };
  for (const node of document.definitions) {
    if (node.kind !== Kind.OPERATION_DEFINITION) continue;
    const extent = measurement.operation(node);
    check('levels', extent.depth, limits.maxDepth);
    check('levels of introspection', extent.introspectionDepth, limits.maxIntrospectionDepth);
    check('selections with its fragments written out', extent.selections, limits.maxSelections);
    // The validator has its own message for a subscription with several root fields.
    if (node.operation !== OperationTypeNode.SUBSCRIPTION) {
      check(`root fields in a ${node.operation}`, extent.fields, limits.maxRootFields[node.operation]);
    }
  }
  check('aliases', measurement.aliases, limits.maxAliases);
  check('directives', measurement.directives, limits.maxDirectives);
  check('repetitions of the same names', measurement.comparisons, limits.maxComparisons);
  return { introspects: measurement.introspects, errors };
}
