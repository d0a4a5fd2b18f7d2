/**
 * Keyset paging in SQL: which rows lie behind a boundary, and in which order to read them. Lists are ordered by
 * one sort value and the id; nulls come last in both directions.
 */

export type SortDirection = 'asc' | 'desc';

/** The place between two rows: the sort value and id of one of them. Timestamps are text with microseconds. */
export interface Position {
  readonly value: string | number | null;
  readonly id: string;
}

/** One page of a list, as a store is asked for it. Read `limit + 1` rows: the extra one tells whether more follow. */
export interface PageWindow {
  /** Rows the caller gets at most. */
  readonly limit: number;
  /** True for "the last n (before …)": rows are read in reverse order and turned round by whoever shows them. */
  readonly backward: boolean;
  /** Rows strictly behind it, in reading direction. Undefined at the start of the list. */
  readonly boundary: Position | undefined;
}

/** A list's order in SQL terms. The strings go into statements: constants of a store, never input. */
export interface Keyset {
  /** Expression of the sort value, e.g. `r.start_time`. */
  readonly value: string;
  /** Its SQL type, e.g. `timestamptz`: bound text would otherwise be compared as text. */
  readonly type: string;
  readonly id: string;
  /** Default `uuid`. */
  readonly idType?: string;
  readonly direction: SortDirection;
  /** Whether the sort value can be null. Costs the row comparison, and with it the plain index scan. */
  readonly nullable: boolean;
}

/**
 * The condition that keeps rows behind the window's boundary; `true` without one. Bound values are appended to
 * `params`, whose length gives the placeholders their numbers.
 */
export function keysetCondition(keyset: Keyset, window: PageWindow, params: unknown[]): string {
  const { boundary } = window;
  if (boundary === undefined) return 'true';
  const { value, id } = keyset;
  const after = readsAscending(keyset, window) ? '>' : '<';
  const bind = (bound: unknown, type: string): string => `$${params.push(bound)}::${type}`;
  const boundId = (): string => bind(boundary.id, keyset.idType ?? 'uuid');

  if (boundary.value === null) {
    const within = `(${value} is null and ${id} ${after} ${boundId()})`;
    return window.backward ? `(${value} is not null or ${within})` : within;
  }
  const boundValue = bind(boundary.value, keyset.type);
  if (!keyset.nullable) return `(${value}, ${id}) ${after} (${boundValue}, ${boundId()})`;
  const behind = `${value} ${after} ${boundValue} or (${value} = ${boundValue} and ${id} ${after} ${boundId()})`;
  return window.backward ? `(${behind})` : `(${behind} or ${value} is null)`;
}

/** The matching `order by` list, reversed for a backward window. */
export function keysetOrder(keyset: Keyset, window: PageWindow): string {
  const direction = readsAscending(keyset, window) ? 'asc' : 'desc';
  // A nulls clause on a column that has none would keep the planner from using a plain index.
  const nulls = keyset.nullable ? ` nulls ${window.backward ? 'first' : 'last'}` : '';
  return `${keyset.value} ${direction}${nulls}, ${keyset.id} ${direction}`;
}

function readsAscending(keyset: Keyset, window: PageWindow): boolean {
  return (keyset.direction === 'asc') !== window.backward;
}
