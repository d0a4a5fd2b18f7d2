/**
 * From one JSON value to another as a JSON patch (RFC 6902). Linear in the size of both: lists keep a common beginning
 * and end, and what lies between is replaced position by position, so a patch is right but not always the shortest.
 */
import type { JsonValue } from '../ingest/run-event.js';

export type PatchOperation =
  | { readonly op: 'add' | 'replace'; readonly path: string; readonly value: JsonValue }
  | { readonly op: 'remove'; readonly path: string };

const escaped = (key: string): string => key.replaceAll('~', '~0').replaceAll('/', '~1');

const isObject = (value: JsonValue): value is { [key: string]: JsonValue } =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

/** Operations to be applied in order. Values nest no deeper than examples may. */
export function jsonPatch(from: JsonValue, to: JsonValue, path = ''): PatchOperation[] {
  if (from === to) return [];
  if (isObject(from) && isObject(to)) return objectPatch(from, to, path);
  if (Array.isArray(from) && Array.isArray(to)) return listPatch(from, to, path);
  return [{ op: 'replace', path, value: to }];
}

function objectPatch(
  from: { [key: string]: JsonValue },
  to: { [key: string]: JsonValue },
  path: string,
): PatchOperation[] {
  const operations: PatchOperation[] = [];
  for (const [key, value] of Object.entries(from)) {
    const where = `${path}/${escaped(key)}`;
    if (!Object.hasOwn(to, key)) operations.push({ op: 'remove', path: where });
    else operations.push(...jsonPatch(value, to[key] ?? null, where));
  }
  for (const [key, value] of Object.entries(to)) {
    if (!Object.hasOwn(from, key)) operations.push({ op: 'add', path: `${path}/${escaped(key)}`, value });
  }
  return operations;
}

function listPatch(from: readonly JsonValue[], to: readonly JsonValue[], path: string): PatchOperation[] {
  const shorter = Math.min(from.length, to.length);
  let start = 0;
  while (start < shorter && isSame(from[start] ?? null, to[start] ?? null)) start += 1;
  let end = 0;
  while (
    end < shorter - start &&
    isSame(from[from.length - 1 - end] ?? null, to[to.length - 1 - end] ?? null)
  ) {
    end += 1;
  }
  const both = shorter - end;
  const operations: PatchOperation[] = [];
  for (let index = start; index < both; index += 1) {
    operations.push(...jsonPatch(from[index] ?? null, to[index] ?? null, `${path}/${index}`));
  }
  for (let index = from.length - end - 1; index >= both; index -= 1) {
    operations.push({ op: 'remove', path: `${path}/${index}` });
  }
  for (let index = both; index < to.length - end; index += 1) {
    operations.push({ op: 'add', path: `${path}/${index}`, value: to[index] ?? null });
  }
  return operations;
}

/** Objects are equal whatever the order of their keys. */
function isSame(a: JsonValue, b: JsonValue): boolean {
  if (a === b) return true;
  if (Array.isArray(a)) {
    return (
      Array.isArray(b) && a.length === b.length && a.every((item, index) => isSame(item, b[index] ?? null))
    );
  }
  if (!isObject(a) || !isObject(b)) return false;
  const keys = Object.keys(a);
  return (
    keys.length === Object.keys(b).length &&
    keys.every((key) => Object.hasOwn(b, key) && isSame(a[key] ?? null, b[key] ?? null))
  );
}
