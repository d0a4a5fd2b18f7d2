/**
 * The filter language's tree. Text and typed input both become this; SQL and predicate are both made from it.
 * Pure: no parsing, no SQL.
 */

export type ComparisonOp =
  'eq' | 'neq' | 'gt' | 'gte' | 'lt' | 'lte' | 'in' | 'like' | 'notlike' | 'has' | 'exists' | 'search';

export type FilterLiteral = string | number | boolean | null;

export interface Comparison {
  readonly kind: 'comparison';
  readonly op: ComparisonOp;
  /** A field of the vocabulary; undefined only for `search("text")` over all text. */
  readonly field: string | undefined;
  readonly value: FilterLiteral | readonly FilterLiteral[];
}

export type Filter =
  | { readonly kind: 'and'; readonly nodes: readonly Filter[] }
  | { readonly kind: 'or'; readonly nodes: readonly Filter[] }
  | { readonly kind: 'not'; readonly node: Filter }
  | Comparison;

/** The three places a filter can apply to, ANDed: the run, the root of its trace, any run of its trace. */
export interface RunFilters {
  readonly run?: Filter;
  readonly root?: Filter;
  readonly tree?: Filter;
}
