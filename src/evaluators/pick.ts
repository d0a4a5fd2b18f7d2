/**
 * Which part of an input, output or reference an evaluator looks at: JSON pointers (RFC 6901), with negative list
 * indexes counted from the end. Pure.
 */
import type { JsonValue } from '../ingest/run-event.js';

/** The evaluator cannot work on this subject. Never leaves src/evaluators: the runtime makes it an error. */
export class NotApplicable extends Error {}

const INDEX = /^(?:0|-?[1-9]\d{0,8})$/;

/** Why a text is no pointer; undefined where it is one. */
export function pointerProblem(pointer: string): string | undefined {
  if (pointer !== '' && !pointer.startsWith('/')) {
    return 'A path is a JSON pointer: "" for the whole, else it starts with "/", such as /messages/-1/content.';
  }
  return /~(?![01])/.test(pointer) ? 'In a path "~" is written "~0" and "/" is written "~1".' : undefined;
}

/** What a pointer leads to; undefined where it leads nowhere. */
export function pick(value: JsonValue, pointer: string): JsonValue | undefined {
  if (pointer === '') return value;
  let current: JsonValue | undefined = value;
  for (const part of pointer.slice(1).split('/')) {
    const key = part.replaceAll('~1', '/').replaceAll('~0', '~');
    if (Array.isArray(current)) current = INDEX.test(key) ? current.at(Number(key)) : undefined;
    else if (current !== null && typeof current === 'object' && Object.hasOwn(current, key)) {
      current = current[key];
    } else return undefined;
    if (current === undefined) return undefined;
  }
  return current;
}

/**
 * The part a pointer leads to.
 * @param what named in the error: "output", "reference".
 * @throws NotApplicable where there is nothing.
 */
export function pickPresent(value: JsonValue, pointer: string, what: string): JsonValue {
  if (value === null) throw new NotApplicable(`There is no ${what}.`);
  const found = pick(value, pointer);
  if (found === undefined || found === null) {
    throw new NotApplicable(`The ${what} has nothing at the path "${pointer}".`);
  }
  return found;
}

/**
 * A value as text: a text itself; the only text of an object that holds nothing else, such as {"answer": "42"};
 * JSON otherwise.
 */
export function asText(value: JsonValue): string {
  if (typeof value === 'string') return value;
  return onlyText(value) ?? JSON.stringify(value);
}

/** The one string leaf, where every other leaf is null. */
function onlyText(value: JsonValue): string | undefined {
  let found: string | undefined;
  let level: JsonValue[] = [value];
  while (level.length > 0) {
    const next: JsonValue[] = [];
    for (const item of level) {
      if (item === null) continue;
      if (typeof item === 'object') {
        for (const inner of Array.isArray(item) ? item : Object.values(item)) next.push(inner);
      } else if (typeof item === 'string' && found === undefined) found = item;
      else return undefined;
    }
    level = next;
  }
  return found;
}
