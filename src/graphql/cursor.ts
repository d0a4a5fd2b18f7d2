/**
 * Cursors: signed positions in a list. A cursor names the list's order and filter, so that one used elsewhere is
 * refused instead of giving a page of nonsense; the signature keeps clients from depending on what is inside.
 */
import { createHash, createHmac, timingSafeEqual } from 'node:crypto';
import { canonicalJson } from '../platform/canonical-json.js';
import { AppError } from '../platform/errors.js';
import type { PageWindow, Position, SortDirection } from '../platform/keyset.js';

/** What makes two lists the same list. */
export interface ListIdentity {
  /** Name of the list and its sort key, e.g. `runs.startTime`. */
  readonly order: string;
  readonly direction: SortDirection;
  /** Everything else that decides which rows are in the list. JSON values; key order does not matter. */
  readonly filter?: unknown;
}

/** The relevant arguments of a list field. GraphQL clients may send null for "not given". */
export interface PageArguments {
  readonly first?: number | null;
  readonly after?: string | null;
  readonly last?: number | null;
  readonly before?: string | null;
}

/** A page window that remembers its list, so that cursors for its rows can be made. */
export interface PageRequest extends PageWindow {
  readonly list: ListIdentity;
  readonly filterHash: string;
}

export const MAX_PAGE = 100;

const VERSION = 1;
const MAC_BYTES = 8;
// Sort values are short: names of at most a few hundred characters.
const MAX_CURSOR_LENGTH = 4_096;

type Payload = [
  version: number,
  order: string,
  direction: string,
  filter: string,
  value: string | number | null,
  id: string,
];

export class Cursors {
  readonly #key: string | Buffer;

  /** @param key the same in every process of an installation, or cursors break when a balancer picks another one. */
  constructor({ key }: { key: string | Buffer }) {
    this.#key = key;
  }

  /**
   * Checks the paging arguments of one field.
   * @throws AppError BAD_USER_INPUT unless exactly one of `first` and `last` is given, from 1 to `max` (default 100),
   * and for cursors that are garbage, altered, or of another list.
   */
  request(args: PageArguments, list: ListIdentity, { max = MAX_PAGE }: { max?: number } = {}): PageRequest {
    const first = args.first ?? undefined;
    const last = args.last ?? undefined;
    const backward = first === undefined;
    const limit = first ?? last;
    if (limit === undefined || (first !== undefined && last !== undefined)) {
      throw refused('Give either "first" or "last".', 'first');
    }
    const sizeName = backward ? 'last' : 'first';
    if (!Number.isInteger(limit) || limit < 1 || limit > max) {
      throw refused(`"${sizeName}" must be between 1 and ${max}.`, sizeName);
    }
    const [cursorName, foreignName] = backward
      ? (['before', 'after'] as const)
      : (['after', 'before'] as const);
    if (typeof args[foreignName] === 'string') {
      throw refused(`"${foreignName}" does not go with "${sizeName}": use "${cursorName}".`, foreignName);
    }
    const filterHash = hashOf(list.filter);
    const cursor = args[cursorName];
    const boundary =
      typeof cursor === 'string' ? this.#decode(cursor, list, filterHash, cursorName) : undefined;
    return { limit, backward, boundary, list, filterHash };
  }

  /** The cursor of a row of the requested list. */
  encode(request: PageRequest, position: Position): string {
    const { list, filterHash } = request;
    const payload: Payload = [VERSION, list.order, list.direction, filterHash, position.value, position.id];
    const body = Buffer.from(JSON.stringify(payload));
    return Buffer.concat([this.#mac(body), body]).toString('base64url');
  }

  #decode(cursor: string, list: ListIdentity, filterHash: string, path: string): Position {
    const bytes = cursor.length <= MAX_CURSOR_LENGTH ? Buffer.from(cursor, 'base64url') : Buffer.alloc(0);
    const body = bytes.subarray(MAC_BYTES);
    const genuine =
      bytes.length > MAC_BYTES &&
      bytes.toString('base64url') === cursor &&
      timingSafeEqual(bytes.subarray(0, MAC_BYTES), this.#mac(body));
    if (!genuine) throw refused('This is not a cursor.', path);
    const [version, order, direction, filter, value, id] = JSON.parse(body.toString()) as Payload;
    if (version !== VERSION) {
      throw refused('This cursor was made by another version; start again from the beginning.', path);
    }
    if (order !== list.order || direction !== list.direction || filter !== filterHash) {
      throw refused('This cursor belongs to a list with another filter or order.', path);
    }
    return { value, id };
  }

  #mac(body: Buffer): Buffer {
    return createHmac('sha256', this.#key).update(body).digest().subarray(0, MAC_BYTES);
  }
}

function refused(message: string, path: string): AppError {
  return new AppError('BAD_USER_INPUT', message, { path: [path] });
}

/** Equal for equal JSON values, whatever the order of their keys. */
function hashOf(filter: unknown): string {
  const text = filter === undefined ? '' : canonicalJson(filter);
  return createHash('sha256').update(text).digest('base64url').slice(0, 11);
}
