/**
 * Between tree and execution: what a filter asks, with correlated conditions gathered and negations made explicit.
 * SQL and predicate are both made from a plan, so that neither has an opinion of its own. Every plan node is true
 * or false for every run, never unknown.
 */
import { flattenMetadata } from '../ingest/run-facts.js';
import type { JsonObject } from '../ingest/run-event.js';
import { assertNever } from '../platform/errors.js';
import type { Comparison, Filter, FilterLiteral, RunFilters } from './filter.js';
import { likePattern, type LikePattern } from './like.js';
import { lowerAscii } from './literals.js';
import { wordsOf } from './text-index.js';
import { getField, type FieldSpec, type ItemSource } from './vocabulary.js';

export type Order = 'gt' | 'gte' | 'lt' | 'lte';

/** One positive condition on one value. Values are never null; a value that is not there passes `null` and nothing else. */
export type Test =
  | { readonly kind: 'equal'; readonly value: string | number }
  | { readonly kind: 'oneOf'; readonly values: readonly (string | number)[] }
  | { readonly kind: 'order'; readonly order: Order; readonly value: string | number }
  | { readonly kind: 'like'; readonly pattern: LikePattern }
  /** Every word occurs, ASCII letters in any case; the words are lower-case already. */
  | { readonly kind: 'words'; readonly words: readonly string[] }
  | { readonly kind: 'null' }
  | { readonly kind: 'present' };

export interface ItemTest {
  readonly spec: FieldSpec;
  readonly test: Test;
}

/**
 * Conditions of one `and` on the items of one source:
 * some item passes all of `keys` and `values` (if there are any); no item passes any of `notKeys`; no item that
 * passes `keys` passes any of `notValues`.
 */
export interface ItemGroup {
  readonly source: ItemSource;
  readonly keys: readonly ItemTest[];
  readonly values: readonly ItemTest[];
  readonly notKeys: readonly ItemTest[];
  readonly notValues: readonly ItemTest[];
}

/** What the search index answers. The key is the same for the same question. */
export type SearchLeaf = { readonly key: string } & (
  | { readonly kind: 'search'; readonly words: readonly string[] }
  | { readonly kind: 'payload'; readonly group: ItemGroup }
);

export type Plan =
  | { readonly kind: 'all' | 'any'; readonly parts: readonly Plan[] }
  | { readonly kind: 'not'; readonly part: Plan }
  | { readonly kind: 'field'; readonly spec: FieldSpec; readonly test: Test }
  | { readonly kind: 'json'; readonly side: 'inputs' | 'outputs'; readonly test: Test }
  | { readonly kind: 'root' }
  | { readonly kind: 'tags'; readonly anyOf: readonly string[] }
  | { readonly kind: 'attributes'; readonly pairs: readonly (readonly [key: string, value: string])[] }
  | { readonly kind: 'attribute'; readonly key: string }
  | { readonly kind: 'items'; readonly group: ItemGroup }
  | SearchLeaf;

export function planFilter(filter: Filter): Plan {
  switch (filter.kind) {
    case 'and':
      return planAnd(filter.nodes);
    case 'or':
      return { kind: 'any', parts: filter.nodes.map(planFilter) };
    case 'not':
      return { kind: 'not', part: planFilter(filter.node) };
    case 'comparison':
      return planAnd([filter]);
    default:
      return assertNever(filter);
  }
}

function planAnd(nodes: readonly Filter[]): Plan {
  const parts: Plan[] = [];
  const items = new Map<ItemSource, { spec: FieldSpec; comparison: Comparison }[]>();
  for (const node of nodes) {
    const spec = node.kind === 'comparison' && node.field !== undefined ? getField(node.field) : undefined;
    if (node.kind !== 'comparison') parts.push(planFilter(node));
    else if (spec?.items === undefined) parts.push(planComparison(node, spec));
    else {
      const conditions = items.get(spec.items) ?? [];
      conditions.push({ spec, comparison: node });
      items.set(spec.items, conditions);
    }
  }
  for (const [source, conditions] of items) parts.push(planItems(source, conditions));
  const [only, second] = parts;
  return only !== undefined && second === undefined ? only : { kind: 'all', parts };
}

function planItems(
  source: ItemSource,
  conditions: readonly { spec: FieldSpec; comparison: Comparison }[],
): Plan {
  const keys: ItemTest[] = [];
  const values: ItemTest[] = [];
  const notKeys: ItemTest[] = [];
  const notValues: ItemTest[] = [];
  for (const { spec, comparison } of conditions) {
    // "Some item has a score" is what neq(feedback_score, null) is written for, not "no item lacks one".
    const present = comparison.op === 'neq' && comparison.value === null;
    const negative = !present && (comparison.op === 'neq' || comparison.op === 'notlike');
    const test: Test = present ? { kind: 'present' } : positiveTest(comparison);
    if (spec.type === 'key') (negative ? notKeys : keys).push({ spec, test });
    else (negative ? notValues : values).push({ spec, test });
  }
  const group: ItemGroup = { source, keys, values, notKeys, notValues };
  if (source === 'metadata' || source === 'feedback') return { kind: 'items', group };
  return { kind: 'payload', group, key: leafKey(source, conditions) };
}

const leafKey = (source: string, conditions: readonly { comparison: Comparison }[]): string =>
  JSON.stringify([
    source,
    ...conditions.map(({ comparison }) => [comparison.op, comparison.field, comparison.value]),
  ]);

function planComparison(comparison: Comparison, spec: FieldSpec | undefined): Plan {
  const { op, value } = comparison;
  if (spec === undefined) {
    const words = [...new Set(wordsOf(String(value)))];
    return { kind: 'search', words, key: JSON.stringify(words) };
  }
  const negate = (part: Plan, when: boolean): Plan => (when ? { kind: 'not', part } : part);
  switch (spec.type) {
    case 'boolean':
      return negate({ kind: 'root' }, (op === 'neq') === (value === true));
    case 'tags': {
      const anyOf = (Array.isArray(value) ? value : [value]) as readonly string[];
      return negate({ kind: 'tags', anyOf }, op === 'neq');
    }
    case 'metadata':
      if (op === 'exists') return { kind: 'attribute', key: String(value) };
      return { kind: 'attributes', pairs: flatPairs(String(value)) };
    case 'json': {
      const side = spec.name === 'inputs' ? 'inputs' : 'outputs';
      return negate({ kind: 'json', side, test: positiveTest(comparison) }, op === 'notlike');
    }
    case 'uuid':
    case 'string':
    case 'enum':
    case 'datetime':
    case 'duration':
    case 'integer':
    case 'number':
    case 'decimal':
    case 'error':
    case 'key':
    case 'value':
      return negate(
        { kind: 'field', spec, test: positiveTest(comparison) },
        op === 'neq' || op === 'notlike',
      );
  }
}

function flatPairs(json: string): [string, string][] {
  const flat = flattenMetadata(JSON.parse(json) as JsonObject);
  return Object.entries(flat).flatMap(([key, value]) =>
    typeof value === 'string'
      ? [[key, value] as [string, string]]
      : value.map((one) => [key, one] as [string, string]),
  );
}

/** The condition without its negation: neq tests what eq tests. */
function positiveTest({ op, value }: Comparison): Test {
  switch (op) {
    case 'eq':
    case 'neq':
      return value === null ? { kind: 'null' } : { kind: 'equal', value: scalar(value) };
    case 'gt':
    case 'gte':
    case 'lt':
    case 'lte':
      return { kind: 'order', order: op, value: scalar(value) };
    case 'in':
      return { kind: 'oneOf', values: Array.isArray(value) ? value.map(scalar) : [] };
    case 'like':
    case 'notlike':
      return { kind: 'like', pattern: likePattern(String(value)) };
    case 'search':
      return { kind: 'words', words: lowerAscii(String(value)).match(/\S+/g) ?? [] };
    case 'has':
    case 'exists':
      throw new Error(`${op} has no test`);
    default:
      return assertNever(op);
  }
}

function scalar(value: FilterLiteral | readonly FilterLiteral[]): string | number {
  if (typeof value === 'string' || typeof value === 'number') return value;
  throw new Error('a filter was not checked before it was used');
}

// ── Needs ──────────────────────────────────────────────────────────────────────────────────────────────────

/** What a run must be loaded with before a predicate can judge it, and what its asker must be allowed to see. */
export interface FilterNeeds {
  /** The stored inputs and outputs. */
  readonly content: boolean;
  readonly feedback: boolean;
  /** The search index, in SQL. */
  readonly search: boolean;
  /** The root of the run's trace. */
  readonly root: boolean;
  /** All runs of the trace. */
  readonly tree: boolean;
  /** The answer tells about inputs, outputs or error text: needs the content scope. */
  readonly byContent: boolean;
}

export function filterNeeds(filters: RunFilters): FilterNeeds {
  const needs = {
    content: false,
    feedback: false,
    search: false,
    root: filters.root !== undefined,
    tree: filters.tree !== undefined,
    byContent: false,
  };
  for (const plan of plansOf(filters)) {
    eachLeaf(plan, (leaf) => {
      if (isSearchLeaf(leaf)) needs.search = true;
      if (isSearchLeaf(leaf) || leaf.kind === 'json') needs.content = needs.byContent = true;
      if (leaf.kind === 'items' && leaf.group.source === 'feedback') {
        needs.feedback = true;
        const { values, notValues } = leaf.group;
        if ([...values, ...notValues].some(({ spec }) => spec.content)) needs.byContent = true;
      }
      if (leaf.kind === 'field' && leaf.spec.type === 'error' && leaf.test.kind !== 'null') {
        needs.byContent = true;
      }
    });
  }
  return needs;
}

export function plansOf(filters: RunFilters): Plan[] {
  return [filters.run, filters.root, filters.tree].flatMap((filter) =>
    filter === undefined ? [] : [planFilter(filter)],
  );
}

export function eachLeaf(plan: Plan, visit: (leaf: Plan) => void): void {
  if (plan.kind === 'all' || plan.kind === 'any') for (const part of plan.parts) eachLeaf(part, visit);
  else if (plan.kind === 'not') eachLeaf(plan.part, visit);
  else visit(plan);
}

export function isSearchLeaf(plan: Plan): plan is SearchLeaf {
  return plan.kind === 'search' || plan.kind === 'payload';
}
