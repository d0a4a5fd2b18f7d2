/**
 * Filters as functions over loaded runs, for live subscriptions and everything else that has the run at hand. They
 * agree with filter.sql.ts to the letter.
 */
import { assertNever } from '../platform/errors.js';
import { valuesMeant } from './feedback-value.js';
import type { Filter, RunFilters } from './filter.js';
import {
  planFilter,
  type ItemGroup,
  type ItemTest,
  type Order,
  type Plan,
  type SearchLeaf,
  type Test,
} from './filter.plan.js';
import type { FeedbackFacts, FilterableRun } from './filterable-run.js';
import { compareCodePoints, compareDecimals, lowerAscii, parseDateTime } from './literals.js';
import { hasWords, textIndexOf, type Pairs, type SearchableRun } from './text-index.js';
import type { FieldSpec, FieldType } from './vocabulary.js';

export type RunPredicate = (run: FilterableRun) => boolean;

/** A run with what its trace filters need. */
export interface TraceView {
  readonly run: FilterableRun;
  /** The run whose id is the trace id; undefined while it has not arrived. */
  readonly root?: FilterableRun | undefined;
  /** All known runs of the trace, this one included. */
  readonly tree?: readonly FilterableRun[] | undefined;
}

/** Load what `filterNeeds` says before asking it. @throws Error for a run that lacks needed content. */
export function compilePredicate(filter: Filter): RunPredicate {
  return compilePlan(planFilter(filter));
}

export function compileRunPredicates(filters: RunFilters): (view: TraceView) => boolean {
  const own = filters.run && compilePredicate(filters.run);
  const root = filters.root && compilePredicate(filters.root);
  const member = filters.tree && compilePredicate(filters.tree);
  return (view) =>
    (own === undefined || own(view.run)) &&
    (root === undefined || (view.root !== undefined && root(view.root))) &&
    (member === undefined || (view.tree ?? []).some(member));
}

/** One question of the search index, asked of a run itself. */
export function compileSearchLeaf(leaf: SearchLeaf): (run: SearchableRun) => boolean {
  if (leaf.kind === 'search') return (run) => hasWords(textIndexOf(run), leaf.words);
  const matches = pairsPredicate(leaf.group);
  return leaf.group.source === 'inputs'
    ? (run) => matches(textIndexOf(run).inputs)
    : (run) => matches(textIndexOf(run).outputs);
}

function compilePlan(plan: Plan): RunPredicate {
  switch (plan.kind) {
    case 'all': {
      const parts = plan.parts.map(compilePlan);
      return (run) => parts.every((part) => part(run));
    }
    case 'any': {
      const parts = plan.parts.map(compilePlan);
      return (run) => parts.some((part) => part(run));
    }
    case 'not': {
      const part = compilePlan(plan.part);
      return (run) => !part(run);
    }
    case 'field': {
      const get = getterOf(plan.spec);
      const passes = compileTest(plan.test, plan.spec.type);
      return (run) => passes(get(run));
    }
    case 'json': {
      const passes = compileTest(plan.test, 'json');
      return (run) => passes(contentOf(run)[plan.side]);
    }
    case 'root':
      return (run) => run.parentRunId === undefined;
    case 'tags':
      return (run) => plan.anyOf.some((tag) => run.tags.includes(tag));
    case 'attributes':
      return (run) => plan.pairs.every(([key, value]) => valuesAt(run.attributes, key).includes(value));
    case 'attribute': {
      const prefix = `${plan.key}.`;
      return (run) =>
        Object.hasOwn(run.attributes, plan.key) ||
        Object.keys(run.attributes).some((key) => key.startsWith(prefix));
    }
    case 'items': {
      if (plan.group.source === 'feedback') {
        const matches = feedbackPredicate(plan.group);
        return (run) => matches(run.feedback);
      }
      const matches = pairsPredicate(plan.group);
      return (run) => matches(run.attributes);
    }
    case 'search':
    case 'payload':
      return compileSearchLeaf(plan);
    default:
      return assertNever(plan);
  }
}

function getterOf(spec: FieldSpec): (run: FilterableRun) => string | number | undefined {
  if (spec.get === undefined) throw new Error(`${spec.name} has no value of its own`);
  return spec.get;
}

function contentOf(run: FilterableRun): NonNullable<FilterableRun['content']> {
  if (run.content === undefined) {
    throw new Error('a filter looked for content in a run that was loaded without');
  }
  return run.content;
}

type Value = string | number | undefined;

function compileTest(test: Test, type: FieldType): (value: Value) => boolean {
  const comparable = (literal: string | number): string | number =>
    type === 'datetime'
      ? (parseDateTime(String(literal)) ?? Number.NaN)
      : type === 'decimal'
        ? String(literal)
        : literal;
  const compare = comparatorOf(type);
  switch (test.kind) {
    case 'null':
      return (value) => value === undefined;
    case 'present':
      return (value) => value !== undefined;
    case 'equal': {
      const wanted = comparable(test.value);
      return (value) => value !== undefined && compare(value, wanted) === 0;
    }
    case 'oneOf': {
      const wanted = test.values.map(comparable);
      return (value) => value !== undefined && wanted.some((one) => compare(value, one) === 0);
    }
    case 'order': {
      const limit = comparable(test.value);
      return (value) => value !== undefined && inOrder(test.order, compare(value, limit));
    }
    case 'like':
      return (value) => value !== undefined && test.pattern.matches(String(value));
    case 'words':
      return (value) => {
        if (value === undefined) return false;
        const text = lowerAscii(String(value));
        return test.words.every((word) => text.includes(word));
      };
    default:
      return assertNever(test);
  }
}

function comparatorOf(type: FieldType): (a: string | number, b: string | number) => number {
  if (type === 'decimal') return (a, b) => compareDecimals(String(a), String(b));
  return (a, b) => (typeof a === 'number' ? a - Number(b) : compareCodePoints(a, String(b)));
}

function inOrder(order: Order, comparison: number): boolean {
  switch (order) {
    case 'gt':
      return comparison > 0;
    case 'gte':
      return comparison >= 0;
    case 'lt':
      return comparison < 0;
    case 'lte':
      return comparison <= 0;
    default:
      return assertNever(order);
  }
}

// ── Items ──────────────────────────────────────────────────────────────────────────────────────────────────

type ItemPredicate<T> = (item: T) => boolean;

/** See ItemGroup: the same sentence, over any kind of item. */
function groupPredicate<T>(
  group: ItemGroup,
  some: (keys: readonly ItemTest[], values: readonly ItemTest[]) => ItemPredicate<T>,
): ItemPredicate<T> {
  const required = group.keys.length + group.values.length > 0 ? [some(group.keys, group.values)] : [];
  const forbidden = [
    ...group.notKeys.map((key) => some([key], [])),
    ...group.notValues.map((value) => some(group.keys, [value])),
  ];
  return (items) =>
    required.every((matches) => matches(items)) && !forbidden.some((matches) => matches(items));
}

function pairsPredicate(group: ItemGroup): ItemPredicate<Pairs> {
  return groupPredicate<Pairs>(group, (keys, values) => {
    const keyTests = keys.map(({ test }) => compileTest(test, 'string'));
    const valueTests = values.map(({ test }) => compileTest(test, 'string'));
    return (pairs) =>
      Object.keys(pairs).some(
        (key) =>
          keyTests.every((passes) => passes(key)) &&
          (valueTests.length === 0 ||
            valuesAt(pairs, key).some((value) => valueTests.every((passes) => passes(value)))),
      );
  });
}

function valuesAt(pairs: Pairs, key: string): readonly string[] {
  const value = Object.hasOwn(pairs, key) ? pairs[key] : undefined;
  return value === undefined ? [] : typeof value === 'string' ? [value] : value;
}

function feedbackPredicate(group: ItemGroup): ItemPredicate<readonly FeedbackFacts[]> {
  return groupPredicate<readonly FeedbackFacts[]>(group, (keys, values) => {
    const tests = [...keys, ...values].map(feedbackTest);
    return (rows) => rows.some((row) => tests.every((passes) => passes(row)));
  });
}

function feedbackTest({ spec, test }: ItemTest): (row: FeedbackFacts) => boolean {
  if (spec.type === 'value') return feedbackValueTest(test);
  const passes = compileTest(test, spec.type);
  const get = FEEDBACK_VALUES[spec.column ?? ''];
  if (get === undefined) throw new Error(`${spec.name} has no value of its own`);
  return (row) => passes(get(row));
}

const FEEDBACK_VALUES: Readonly<Record<string, (row: FeedbackFacts) => Value>> = {
  key: (row) => row.key,
  score: (row) => row.score ?? undefined,
  comment: (row) => row.comment ?? undefined,
  source_type: (row) => row.sourceType,
};

function feedbackValueTest(test: Test): (row: FeedbackFacts) => boolean {
  switch (test.kind) {
    case 'null':
      return (row) => row.value === null || row.value === undefined;
    case 'present':
      return (row) => row.value !== null && row.value !== undefined;
    case 'equal':
    case 'oneOf': {
      const wanted = new Set<unknown>(
        (test.kind === 'equal' ? [test.value] : test.values).flatMap((text) => valuesMeant(String(text))),
      );
      return (row) => wanted.has(row.value);
    }
    case 'order': {
      const limit = String(test.value);
      return (row) =>
        typeof row.value === 'number' && inOrder(test.order, compareDecimals(String(row.value), limit));
    }
    case 'like':
    case 'words':
      throw new Error(`feedback values have no ${test.kind}`);
  }
}
