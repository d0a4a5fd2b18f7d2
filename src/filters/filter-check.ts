/**
 * Judges one comparison, wherever it came from, and brings its value into the one form everything after relies on:
 * seconds, UTC times, lower-case ids, text where pairs are compared as text. Also the size limits of a filter.
 */
import { isUuid } from '../platform/ids.js';
import type { Comparison, ComparisonOp, Filter, FilterLiteral } from './filter.js';
import { formatDateTime, isStorable, parseDateTime, parseDuration } from './literals.js';
import { MAX_PAIR_VALUE, wordsOf } from './text-index.js';
import { findField, VOCABULARY, type FieldSpec } from './vocabulary.js';

/** Characters of a filter's text. */
export const MAX_FILTER_LENGTH = 8_192;
export const MAX_FILTER_NODES = 200;
export const MAX_FILTER_DEPTH = 20;
export const MAX_LIST_LENGTH = 1_000;

/** What is wrong with a comparison. Callers know where it stands and add that. */
export class FilterProblem extends Error {
  constructor(
    message: string,
    /** The part that is wrong. */
    readonly part: 'operator' | 'field' | 'value',
    readonly details: Readonly<Record<string, unknown>> = {},
    /** Index in the list of `in`. */
    readonly item?: number,
  ) {
    super(message);
  }
}

const wrong = (message: string, item?: number): FilterProblem =>
  new FilterProblem(message, 'value', {}, item);

/** How a literal is shown in messages: short, as JSON. */
const shown = (value: unknown): string => {
  const text = JSON.stringify(value);
  return text.length <= 60 ? text : `${text.slice(0, 60)}…`;
};

/**
 * @param name the field as the caller wrote it, or undefined for `search("words")` over all text.
 * @throws FilterProblem
 */
export function checkComparison(op: ComparisonOp, name: string | undefined, value: unknown): Comparison {
  if (name === undefined) {
    if (op !== 'search') throw new FilterProblem(`${op} needs a field.`, 'field');
    return { kind: 'comparison', op, field: undefined, value: searchText(value, true) };
  }
  const spec = findField(name);
  if (spec === undefined) throw unknownField(name);
  if (!spec.operators.includes(op)) {
    throw new FilterProblem(
      `${spec.name} cannot be used with ${op}; it takes ${spec.operators.join(', ')}.`,
      'operator',
      {
        allowed: spec.operators,
      },
    );
  }
  if (op === 'in') {
    return { kind: 'comparison', op, field: spec.name, value: checkList(spec, value) };
  }
  if (Array.isArray(value)) throw wrong(`${op} takes one value; a list belongs to in.`);
  if (value === null) return nullComparison(spec, op);
  return checkSingle(spec, op, value);
}

function unknownField(name: string): FilterProblem {
  const allowed = VOCABULARY.map((spec) => spec.name);
  const near = closest(name.toLowerCase(), allowed);
  const hint = near === undefined ? '' : ` Did you mean ${near}?`;
  return new FilterProblem(`There is no field ${shown(name)}.${hint}`, 'field', { allowed });
}

function nullComparison(spec: FieldSpec, op: ComparisonOp): Comparison {
  if (op !== 'eq' && op !== 'neq') throw wrong(`${op} cannot be used with null.`);
  if (!spec.nullable) {
    throw wrong(
      `${spec.name} is never null.${spec.items === 'metadata' ? ' Use exists(metadata, "key").' : ''}`,
    );
  }
  return { kind: 'comparison', op, field: spec.name, value: null };
}

function checkList(spec: FieldSpec, value: unknown): FilterLiteral[] {
  if (!Array.isArray(value)) throw wrong(`in takes a list, such as ["a", "b"].`);
  if (value.length > MAX_LIST_LENGTH) {
    throw wrong(`Lists have at most ${MAX_LIST_LENGTH} values; this one has ${value.length}.`);
  }
  return value.map((item: unknown, index) => {
    if (item === null) throw wrong('Lists cannot contain null.', index);
    return literal(spec, item, index);
  });
}

function checkSingle(spec: FieldSpec, op: ComparisonOp, value: unknown): Comparison {
  const made = (newOp: ComparisonOp, newValue: FilterLiteral, name = spec.name): Comparison => ({
    kind: 'comparison',
    op: newOp,
    field: name,
    value: newValue,
  });
  if (op === 'like' || op === 'notlike') return made(op, text(value));
  if (op === 'search') return made(op, searchText(value, false));
  switch (spec.type) {
    case 'error':
      if (typeof value !== 'boolean') {
        throw wrong(`error is compared with null, true or false; look into its text with like or search.`);
      }
      // "has an error" has one spelling in the tree.
      return made((op === 'eq') === value ? 'neq' : 'eq', null);
    case 'boolean':
      return made(op, bool(spec, value));
    case 'tags':
      return made(op === 'eq' ? 'has' : op, text(value));
    case 'metadata':
      return made(op, op === 'has' ? pairsText(value) : text(value));
    case 'integer':
      if (spec.name !== 'execution_order') return made(op, literal(spec, value));
      if (number(value) !== 1) {
        throw wrong('execution_order can only be compared with 1, the root of a trace.');
      }
      return made(op, true, 'is_root');
    case 'value':
      if (op === 'eq' || op === 'neq') return made(op, literal(spec, value));
      return made(op, number(value) ?? fail(`${spec.name} is ordered as a number; ${shown(value)} is none.`));
    case 'uuid':
    case 'string':
    case 'enum':
    case 'datetime':
    case 'duration':
    case 'number':
    case 'decimal':
    case 'json':
    case 'key':
      return made(op, literal(spec, value));
  }
}

function literal(spec: FieldSpec, value: unknown, item?: number): FilterLiteral {
  switch (spec.type) {
    case 'uuid': {
      if (!isUuid(value)) throw wrong(`${spec.name} is a UUID; ${shown(value)} is none.`, item);
      return value.toLowerCase();
    }
    case 'enum': {
      const values = spec.values ?? [];
      const found =
        typeof value === 'string' ? values.find((allowed) => allowed === value.toLowerCase()) : undefined;
      if (found === undefined) {
        throw new FilterProblem(
          `${spec.name} is one of ${values.join(', ')}; got ${shown(value)}.`,
          'value',
          { allowed: values },
          item,
        );
      }
      return found;
    }
    case 'datetime': {
      const micros = typeof value === 'string' ? parseDateTime(value) : undefined;
      if (micros === undefined) {
        throw wrong(`${spec.name} needs a time such as "2026-03-01T08:00:00Z"; got ${shown(value)}.`, item);
      }
      return formatDateTime(micros);
    }
    case 'duration': {
      const seconds =
        typeof value === 'number' ? value : typeof value === 'string' ? parseDuration(value) : undefined;
      if (seconds === undefined || !Number.isFinite(seconds)) {
        throw wrong(
          `${spec.name} needs a duration such as "5s", "1500ms" or "2m", or a number of seconds; got ${shown(value)}.`,
          item,
        );
      }
      return seconds === 0 ? 0 : seconds;
    }
    case 'integer': {
      const count = number(value);
      if (count === undefined || !Number.isSafeInteger(count)) {
        throw wrong(`${spec.name} needs a whole number; got ${shown(value)}.`, item);
      }
      return count;
    }
    case 'number':
    case 'decimal': {
      const amount = typeof value === 'boolean' && spec.type === 'number' ? Number(value) : number(value);
      if (amount === undefined) throw wrong(`${spec.name} needs a number; got ${shown(value)}.`, item);
      return amount;
    }
    case 'value': {
      const written = typeof value === 'boolean' ? String(value) : text(value, item);
      if (spec.search && written.length > MAX_PAIR_VALUE) {
        throw wrong(
          `${spec.name} sees the first ${MAX_PAIR_VALUE} characters of a value; use like on ${spec.items ?? 'the payload'}.`,
          item,
        );
      }
      return written;
    }
    case 'string':
    case 'error':
    case 'boolean':
    case 'tags':
    case 'metadata':
    case 'json':
    case 'key':
      return text(value, item);
  }
}

function fail(message: string): never {
  throw wrong(message);
}

/** A finite number, also written as text. -0 becomes 0, which prints and compares the same everywhere. */
function number(value: unknown): number | undefined {
  const parsed =
    typeof value === 'string' && /^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i.test(value.trim())
      ? Number(value)
      : value;
  return typeof parsed === 'number' && Number.isFinite(parsed) ? parsed + 0 : undefined;
}

function bool(spec: FieldSpec, value: unknown): boolean {
  if (value === true || value === false) return value;
  const lower = typeof value === 'string' ? value.toLowerCase() : undefined;
  if (lower === 'true' || lower === 'false') return lower === 'true';
  throw wrong(`${spec.name} is true or false; got ${shown(value)}.`);
}

/** Text as Postgres can hold it; numbers are taken as they print. */
function text(value: unknown, item?: number): string {
  const found = typeof value === 'number' && Number.isFinite(value) ? String(value) : value;
  if (typeof found !== 'string') throw wrong(`A text is needed here; got ${shown(value)}.`, item);
  if (found.length > MAX_FILTER_LENGTH) {
    throw wrong(`Texts in filters have at most ${MAX_FILTER_LENGTH} characters.`, item);
  }
  if (!isStorable(found)) {
    throw wrong('Texts in filters cannot contain NUL or half of a surrogate pair.', item);
  }
  return found;
}

function searchText(value: unknown, folded: boolean): string {
  const wanted = text(value);
  const words = folded ? wordsOf(wanted) : wanted.match(/\S+/g);
  if (words === null || words.length === 0) {
    throw wrong(folded ? 'search needs at least one letter or digit.' : 'search needs at least one word.');
  }
  return wanted;
}

/** The object of `has(metadata, …)`, as canonical JSON text. */
function pairsText(value: unknown): string {
  let object: unknown = value;
  if (typeof value === 'string') {
    try {
      object = JSON.parse(value);
    } catch {
      throw wrong(`has(metadata, …) needs a JSON object such as '{"k": "v"}'.`);
    }
  }
  if (typeof object !== 'object' || object === null || Array.isArray(object)) {
    throw wrong(`has(metadata, …) needs a JSON object such as '{"k": "v"}'; got ${shown(value)}.`);
  }
  checkPairs(object, 0, 0);
  const canonical = JSON.stringify(object);
  if (canonical.length > MAX_FILTER_LENGTH) {
    throw wrong(`Texts in filters have at most ${MAX_FILTER_LENGTH} characters.`);
  }
  return canonical;
}

function checkPairs(value: unknown, depth: number, pathLength: number): void {
  if (value === null) throw wrong('has(metadata, …) cannot ask for null.');
  if (typeof value === 'string') text(value);
  if (typeof value !== 'object') return;
  if (depth >= MAX_FILTER_DEPTH) {
    throw wrong(`has(metadata, …) nests at most ${MAX_FILTER_DEPTH} levels deep.`);
  }
  for (const [key, inner] of Object.entries(value)) {
    const length = Array.isArray(value) ? pathLength : pathLength + key.length + 1;
    if (length > 256 || key === '' || !isStorable(key)) {
      throw wrong('has(metadata, …) has a key that metadata cannot have.');
    }
    checkPairs(inner, depth + 1, length);
  }
}

/** @throws FilterProblem when a tree has more nodes or levels than allowed. */
export function checkSize(filter: Filter): void {
  let nodes = 0;
  const visit = (node: Filter, depth: number): void => {
    nodes += 1;
    if (nodes > MAX_FILTER_NODES) throw wrong(`Filters have at most ${MAX_FILTER_NODES} expressions.`);
    if (depth > MAX_FILTER_DEPTH) throw wrong(`Filters nest at most ${MAX_FILTER_DEPTH} levels deep.`);
    if (node.kind === 'not') visit(node.node, depth + 1);
    else if (node.kind !== 'comparison') for (const inner of node.nodes) visit(inner, depth + 1);
  };
  visit(filter, 1);
}

/** The nearest of some names within two edits, for "did you mean". */
export function closest(name: string, candidates: readonly string[]): string | undefined {
  let best: string | undefined;
  let bestDistance = Math.min(3, Math.floor(name.length / 2) + 1);
  for (const candidate of candidates) {
    const distance = editDistance(name, candidate, bestDistance);
    if (distance < bestDistance) {
      best = candidate;
      bestDistance = distance;
    }
  }
  return best;
}

function editDistance(a: string, b: string, limit: number): number {
  if (Math.abs(a.length - b.length) >= limit) return limit;
  let row = Array.from({ length: b.length + 1 }, (_, index) => index);
  for (let i = 1; i <= a.length; i += 1) {
    const next = [i];
    for (let j = 1; j <= b.length; j += 1) {
      const substitute = (row[j - 1] ?? 0) + (a[i - 1] === b[j - 1] ? 0 : 1);
      next.push(Math.min(substitute, (row[j] ?? 0) + 1, (next[j - 1] ?? 0) + 1));
    }
    row = next;
  }
  return row[b.length] ?? limit;
}
