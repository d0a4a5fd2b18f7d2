/**
 * Node ids: opaque to clients, `base64url("Type:uuid")` inside. Arguments take this form or the bare UUID, because
 * people copy UUIDs out of SDK logs; either way the result is a lower-case UUID.
 */
import { AppError } from '../platform/errors.js';
import { isUuid } from '../platform/ids.js';

export interface NodeRef {
  readonly type: string;
  readonly uuid: string;
}

// The longest type name we have is far below this; longer text is not worth decoding.
const MAX_LENGTH = 200;

/** The bare UUID of a row of a node type: rows carry it as `uuid`, or as `id`. */
export function bareId(row: Readonly<Record<string, unknown>>): string | undefined {
  return (row['uuid'] ?? row['id']) as string | undefined;
}

export function toGlobalId(type: string, uuid: string): string {
  return Buffer.from(`${type}:${uuid}`, 'latin1').toString('base64url');
}

/** The type and UUID in an opaque id; undefined for everything that `toGlobalId` cannot have made. */
export function decodeGlobalId(value: string): NodeRef | undefined {
  if (value.length > MAX_LENGTH) return undefined;
  const bytes = Buffer.from(value, 'base64url');
  // Node skips characters outside the alphabet; one spelling per id keeps caches and logs honest.
  if (bytes.toString('base64url') !== value) return undefined;
  const text = bytes.toString('latin1');
  const colon = text.indexOf(':');
  const type = text.slice(0, colon);
  const uuid = text.slice(colon + 1);
  if (colon < 1 || !/^[A-Za-z][A-Za-z0-9]*$/.test(type) || !isUuid(uuid)) return undefined;
  return { type, uuid: uuid.toLowerCase() };
}

/**
 * The UUID an id argument names, whether given as an opaque id of `type` or bare.
 * @param path the argument, for the error: `'id'` or `['input', 'projectId']`.
 * @throws AppError BAD_USER_INPUT for an id of another type and for anything that is not an id.
 */
export function parseId(
  type: string,
  value: string,
  path: string | readonly (string | number)[] = 'id',
): string {
  if (isUuid(value)) return value.toLowerCase();
  const where = typeof path === 'string' ? [path] : path;
  const ref = decodeGlobalId(value);
  if (ref === undefined) {
    throw new AppError('BAD_USER_INPUT', `"${where.join('.')}" is not an id.`, { path: where });
  }
  if (ref.type !== type) {
    throw new AppError(
      'BAD_USER_INPUT',
      `"${where.join('.')}" is the id of a ${ref.type}, not of a ${type}.`,
      {
        path: where,
      },
    );
  }
  return ref.uuid;
}
