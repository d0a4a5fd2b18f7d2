/**
 * Relay connections over plain rows: the types, the paging arguments, and the page made from `limit + 1` rows.
 * Edges and cursors are made only when they are selected: signing fifty cursors costs as much as the rest.
 */
import { Arg, ArgsType, Extensions, Field, Int, ObjectType, registerEnumType, Root } from 'type-graphql';
import type { ClassType } from 'type-graphql';
import { AppError } from '../platform/errors.js';
import type { Position } from '../platform/keyset.js';
import type { Cursors, PageArguments, PageRequest } from './cursor.js';
import { AS_TEXT } from './row-text.js';

/** Cost of a `totalCount`: it reads up to `limit` index entries. */
const COUNT_COMPLEXITY = 10;
export const MAX_COUNT = 10_000;

@ArgsType()
export class PageArgs implements PageArguments {
  @Field(() => Int, { nullable: true, description: 'How many from the start, or after the cursor `after`.' })
  first?: number | null;

  @Field(() => String, { nullable: true, description: 'A cursor; goes with `first`.' })
  after?: string | null;

  @Field(() => Int, { nullable: true, description: 'How many from the end, or before the cursor `before`.' })
  last?: number | null;

  @Field(() => String, { nullable: true, description: 'A cursor; goes with `last`.' })
  before?: string | null;
}

@ObjectType({ simpleResolvers: true })
export class PageInfo {
  @Field(() => Boolean, { description: 'Whether more follow. With `before`, always true.' })
  hasNextPage!: boolean;

  @Field(() => Boolean, { description: 'Whether some precede. With `after`, always true.' })
  hasPreviousPage!: boolean;

  @Field(() => String, { nullable: true })
  startCursor!: string | null;

  @Field(() => String, { nullable: true })
  endCursor!: string | null;
}

export const CountPrecision = { EXACT: 'EXACT', AT_LEAST: 'AT_LEAST' } as const;

registerEnumType(CountPrecision, {
  name: 'CountPrecision',
  valuesConfig: {
    EXACT: { description: 'There are exactly that many.' },
    AT_LEAST: { description: 'Counting stopped at the limit; there are more.' },
  },
});

@ObjectType({ simpleResolvers: true, description: 'A count that stops at a limit.' })
export class Count {
  @Field(() => Int)
  value!: number;

  @Field(() => CountPrecision)
  precision!: keyof typeof CountPrecision;
}

/**
 * Checks the length of a list that has no cursors.
 * @throws AppError BAD_USER_INPUT
 */
export function assertFirst(first: number, max: number): void {
  if (first < 1 || first > max) {
    throw new AppError('BAD_USER_INPUT', `"first" must be between 1 and ${max}.`, { path: ['first'] });
  }
}

/** A count from a statement that looks at up to `limit + 1` rows. */
export function toCount(found: number, limit: number): Count {
  return found > limit ? { value: limit, precision: 'AT_LEAST' } : { value: found, precision: 'EXACT' };
}

export interface Edge<T> {
  readonly node: T;
  readonly cursor: string;
}

export interface PageOptions<T> {
  readonly cursors: Cursors;
  readonly request: PageRequest;
  /** Up to `limit + 1` rows in the order the window asks for: reversed for a backward one. */
  readonly rows: readonly T[];
  readonly position: (row: T) => Position;
  /** How many rows the list has in all, looking at no more than `limit + 1` (see toCount). */
  readonly count: (limit: number) => Promise<Count>;
}

/** What a resolver returns for a connection. */
export class Page<T> {
  readonly nodes: readonly T[];
  readonly #options: PageOptions<T>;

  constructor(options: PageOptions<T>) {
    this.#options = options;
    const { request, rows } = options;
    const shown = rows.slice(0, request.limit);
    this.nodes = request.backward ? shown.reverse() : shown;
  }

  edges(): Edge<T>[] {
    return this.nodes.map((node) => ({ node, cursor: this.#cursor(node) }));
  }

  pageInfo(): PageInfo {
    const { request, rows } = this.#options;
    const more = rows.length > request.limit;
    // The row a cursor came from lies on its other side, so something is there without looking.
    const behind = request.boundary !== undefined;
    const start = this.nodes[0];
    const end = this.nodes.at(-1);
    return {
      hasNextPage: request.backward ? behind : more,
      hasPreviousPage: request.backward ? more : behind,
      startCursor: start === undefined ? null : this.#cursor(start),
      endCursor: end === undefined ? null : this.#cursor(end),
    };
  }

  async totalCount(limit: number): Promise<Count> {
    if (limit < 1 || limit > MAX_COUNT) {
      throw new AppError('BAD_USER_INPUT', `"limit" must be between 1 and ${MAX_COUNT}.`, {
        path: ['limit'],
      });
    }
    return this.#options.count(limit);
  }

  #cursor(node: T): string {
    return this.#options.cursors.encode(this.#options.request, this.#options.position(node));
  }
}

/** A page from `limit + 1` rows. */
export function pageFromRows<T>(options: PageOptions<T>): Page<T> {
  return new Page(options);
}

/**
 * Value of `complexity` on a field that returns a connection: a page costs its rows, selected or not. What is
 * selected of each row is already counted `first` or `last` times in `childComplexity`.
 */
export function pageComplexity({
  args,
  childComplexity,
}: {
  args: PageArguments;
  childComplexity: number;
}): number {
  return 1 + Math.max(args.first ?? args.last ?? 1, childComplexity);
}

export interface ConnectionTypes<T> {
  readonly Connection: ClassType<Page<T>>;
  readonly Edge: ClassType<Edge<T>>;
}

/**
 * The types `<name>Connection` and `<name>Edge`. Call once per name, at module level. Fields that return the
 * connection declare `complexity: pageComplexity` and give a `Page`.
 */
export function connectionTypes<T extends object = object>(
  nodeType: () => ClassType,
  name: string,
): ConnectionTypes<T> {
  @ObjectType(`${name}Edge`, { simpleResolvers: true })
  class EdgeType implements Edge<T> {
    @Field(() => nodeType())
    node!: T;

    @Field(() => String)
    cursor!: string;
  }

  @ObjectType(`${name}Connection`, { simpleResolvers: true })
  class ConnectionType {
    @Extensions(AS_TEXT)
    @Field(() => [nodeType()], { description: 'The rows, without the cursors.' })
    nodes!: readonly T[];

    @Extensions(AS_TEXT)
    @Field(() => [EdgeType])
    edges(@Root() page: Page<T>): Edge<T>[] {
      return page.edges();
    }

    @Field(() => PageInfo)
    pageInfo(@Root() page: Page<T>): PageInfo {
      return page.pageInfo();
    }

    @Field(() => Count, {
      complexity: COUNT_COMPLEXITY,
      description: 'How many there are in all. Counting stops at `limit`, which is at most 10000.',
    })
    totalCount(
      @Root() page: Page<T>,
      @Arg('limit', () => Int, { defaultValue: MAX_COUNT }) limit: number,
    ): Promise<Count> {
      return page.totalCount(limit);
    }
  }

  return { Connection: ConnectionType as unknown as ClassType<Page<T>>, Edge: EdgeType };
}
