/**
 * The filter language as text: parsing with precise complaints, and the canonical text of a tree. What fields and
 * operators mean is in vocabulary.ts and filter-check.ts.
 */
import { parse } from '../generated/filter-parser.js';
import { AppError, assertNever } from '../platform/errors.js';
import type { Comparison, ComparisonOp, Filter, FilterLiteral } from './filter.js';
import {
  checkComparison,
  closest,
  FilterProblem,
  MAX_FILTER_DEPTH,
  MAX_FILTER_LENGTH,
  MAX_FILTER_NODES,
} from './filter-check.js';
import { findField, getField, OPERATORS } from './vocabulary.js';

/** What the grammar gives; `at` is the offset in the text. */
type Syntax =
  | { readonly kind: 'call'; readonly name: string; readonly args: readonly Syntax[]; readonly at: number }
  | { readonly kind: 'list'; readonly items: readonly Syntax[]; readonly at: number }
  | { readonly kind: 'literal'; readonly value: FilterLiteral; readonly at: number }
  | { readonly kind: 'duration'; readonly value: string; readonly at: number }
  | { readonly kind: 'name'; readonly name: string; readonly at: number };

type Call = Extract<Syntax, { kind: 'call' }>;

/** Where in a text something is. Offset from 0 in UTF-16 units, line and column from 1. */
export interface FilterPosition {
  readonly offset: number;
  readonly line: number;
  readonly column: number;
}

/** A complaint with its place; becomes the AppError. */
class Complaint extends Error {
  constructor(
    message: string,
    readonly at: number,
    readonly details: Readonly<Record<string, unknown>> = {},
  ) {
    super(message);
  }
}

/**
 * @param path of the argument the text came in, for the error.
 * @throws AppError BAD_USER_INPUT. Its message says line, column and what was expected; `details.position` has the
 * place, `details.expected` or `details.allowed` what would have been right.
 */
export function parseFilter(text: string, path?: readonly (string | number)[]): Filter {
  try {
    if (text.length > MAX_FILTER_LENGTH) {
      throw new Complaint(
        `Filters have at most ${MAX_FILTER_LENGTH} characters; this one has ${text.length}.`,
        MAX_FILTER_LENGTH,
      );
    }
    return new Reader().expression(readSyntax(text), 1);
  } catch (error) {
    if (!(error instanceof Complaint)) throw error;
    const position = positionOf(text, error.at);
    throw new AppError(
      'BAD_USER_INPUT',
      `Filter, line ${position.line}, column ${position.column}: ${error.message}`,
      {
        details: { position, problem: error.message, ...error.details },
        cause: error,
        ...(path && { path }),
      },
    );
  }
}

export type FilterCheck =
  | { readonly valid: true; readonly canonical: string }
  | { readonly valid: false; readonly error: { readonly message: string } & FilterPosition };

/** For `validateFilter`: the same judgement as a value. */
export function checkFilter(text: string): FilterCheck {
  try {
    return { valid: true, canonical: printFilter(parseFilter(text)) };
  } catch (error) {
    if (!(error instanceof AppError) || error.details === undefined) throw error;
    const position = error.details['position'] as FilterPosition;
    return { valid: false, error: { message: String(error.details['problem']), ...position } };
  }
}

function positionOf(text: string, at: number): FilterPosition {
  const offset = Math.min(at, text.length);
  const before = text.slice(0, offset).split('\n');
  return { offset, line: before.length, column: (before.at(-1)?.length ?? 0) + 1 };
}

// ── Syntax ─────────────────────────────────────────────────────────────────────────────────────────────────

interface PeggyError {
  readonly message: string;
  readonly location: { readonly start: { readonly offset: number } };
  readonly expected:
    readonly { readonly type: string; readonly description?: string; readonly text?: string }[] | null;
  readonly found: string | null;
}

const isPeggyError = (error: unknown): error is PeggyError =>
  error instanceof Error && error.name === 'SyntaxError' && 'location' in error;

const TOO_DEEP = `Filters nest at most ${MAX_FILTER_DEPTH} levels deep.`;

function readSyntax(text: string): Syntax {
  try {
    // One level more than trees may have: lists inside the innermost comparison count here, not there.
    return parse(text, { maxDepth: MAX_FILTER_DEPTH + 1, tooDeep: TOO_DEEP }) as Syntax;
  } catch (error) {
    if (!isPeggyError(error)) throw error;
    const at = error.location.start.offset;
    if (error.expected === null) throw new Complaint(error.message, at);
    const expected = [...new Set(error.expected.flatMap(describeExpectation))];
    const found =
      at >= text.length
        ? 'the filter ends'
        : `found ${JSON.stringify(Array.from(text.slice(at, at + 2))[0])}`;
    throw new Complaint(`Expected ${listed(expected)}, but ${found}.`, at, { expected });
  }
}

/** What a person can type there; whitespace and the inside of texts go without saying. */
function describeExpectation(item: { type: string; description?: string; text?: string }): string[] {
  if (item.type === 'other' && item.description !== undefined) return [item.description];
  if (item.type === 'literal' && item.text !== undefined && !item.text.startsWith('\\')) {
    return [JSON.stringify(item.text)];
  }
  return item.type === 'end' ? ['the end'] : [];
}

function listed(items: readonly string[]): string {
  return items.length <= 1 ? items.join('') : `${items.slice(0, -1).join(', ')} or ${items.at(-1) ?? ''}`;
}

// ── Meaning ────────────────────────────────────────────────────────────────────────────────────────────────

const LOGIC = new Set(['and', 'or', 'not']);
const OPERATOR_NAMES = OPERATORS.map((operator) => operator.name);
const USAGE = new Map(OPERATORS.map((operator) => [operator.name, operator.usage]));

class Reader {
  private nodes = 0;

  expression(syntax: Syntax, depth: number): Filter {
    if (syntax.kind !== 'call') {
      throw new Complaint('Expected an expression such as eq(name, "x").', syntax.at);
    }
    this.nodes += 1;
    if (this.nodes > MAX_FILTER_NODES) {
      throw new Complaint(`Filters have at most ${MAX_FILTER_NODES} expressions.`, syntax.at);
    }
    if (depth > MAX_FILTER_DEPTH) throw new Complaint(TOO_DEEP, syntax.at);
    const operator = syntax.name.toLowerCase();
    if (!OPERATOR_NAMES.includes(operator)) throw unknownOperator(syntax);
    return LOGIC.has(operator)
      ? this.logic(operator, syntax, depth)
      : comparison(operator as ComparisonOp, syntax);
  }

  private logic(operator: string, call: Call, depth: number): Filter {
    if (operator === 'not') {
      const [only, extra] = call.args;
      if (only === undefined || extra !== undefined) throw misused(call, extra?.at);
      return { kind: 'not', node: this.expression(only, depth + 1) };
    }
    if (call.args.length === 0) throw new Complaint(`${operator} needs at least one expression.`, call.at);
    const nodes = call.args.map((arg) => this.expression(arg, depth + 1));
    return { kind: operator === 'and' ? 'and' : 'or', nodes };
  }
}

function unknownOperator(call: Call): Complaint {
  const near = closest(call.name.toLowerCase(), OPERATOR_NAMES);
  const hint = near === undefined ? `Operators: ${OPERATOR_NAMES.join(', ')}.` : `Did you mean ${near}?`;
  return new Complaint(`There is no operator ${JSON.stringify(call.name)}. ${hint}`, call.at, {
    allowed: OPERATOR_NAMES,
  });
}

function misused(call: Call, at = call.at): Complaint {
  const usage = USAGE.get(call.name.toLowerCase()) ?? call.name;
  return new Complaint(`${call.name} is written ${usage}.`, at, { usage });
}

function comparison(op: ComparisonOp, call: Call): Comparison {
  const [first, second, extra] = call.args;
  if (first === undefined) throw misused(call);
  if (extra !== undefined) throw misused(call, extra.at);
  if (second === undefined) {
    if (op !== 'search') throw misused(call);
    return positioned(call, first, first, () => checkComparison(op, undefined, valueOf(first)));
  }
  return positioned(call, first, second, () => checkComparison(op, fieldName(first), valueOf(second)));
}

/** Field names may be quoted, as some clients do. */
function fieldName(syntax: Syntax): string {
  if (syntax.kind === 'name') return syntax.name;
  if (syntax.kind === 'literal' && typeof syntax.value === 'string') return syntax.value;
  throw new Complaint('Expected a field name.', syntax.at);
}

function valueOf(syntax: Syntax): FilterLiteral | FilterLiteral[] {
  switch (syntax.kind) {
    case 'literal':
    case 'duration':
      return syntax.value;
    case 'list':
      return syntax.items.map((item) => {
        if (item.kind === 'literal' || item.kind === 'duration') return item.value;
        throw item.kind === 'name'
          ? unquoted(item.name, item.at)
          : new Complaint('Lists contain plain values only.', item.at);
      });
    case 'name':
      throw unquoted(syntax.name, syntax.at);
    case 'call':
      throw new Complaint('Expected a value, found an expression.', syntax.at);
    default:
      return assertNever(syntax);
  }
}

function unquoted(name: string, at: number): Complaint {
  return new Complaint(`Expected a value. Texts are written in quotes: ${JSON.stringify(name)}.`, at);
}

/** Runs a check and gives its complaint the place of the part that is wrong. */
function positioned(call: Call, field: Syntax, value: Syntax, check: () => Comparison): Comparison {
  try {
    return check();
  } catch (error) {
    if (!(error instanceof FilterProblem)) throw error;
    const item = error.item !== undefined && value.kind === 'list' ? value.items[error.item] : undefined;
    const at = error.part === 'operator' ? call.at : error.part === 'field' ? field.at : (item ?? value).at;
    throw new Complaint(error.message, at, error.details);
  }
}

// ── Canonical text ─────────────────────────────────────────────────────────────────────────────────────────

/** The canonical text: `parseFilter(printFilter(filter))` is the same tree. */
export function printFilter(filter: Filter): string {
  switch (filter.kind) {
    case 'and':
    case 'or':
      return `${filter.kind}(${filter.nodes.map(printFilter).join(', ')})`;
    case 'not':
      return `not(${printFilter(filter.node)})`;
    case 'comparison':
      return filter.field === undefined
        ? `${filter.op}(${printValue(filter)})`
        : `${filter.op}(${filter.field}, ${printValue(filter)})`;
    default:
      return assertNever(filter);
  }
}

function printValue({ field, value }: Comparison): string {
  const duration = field !== undefined && findField(field)?.type === 'duration';
  const one = (item: FilterLiteral): string => {
    if (typeof item === 'number') return duration ? `"${item}s"` : String(item);
    return typeof item === 'string' ? quote(item) : String(item);
  };
  return typeof value === 'object' && value !== null ? `[${value.map(one).join(', ')}]` : one(value);
}

const ESCAPES: Readonly<Record<string, string>> = {
  '"': '\\"',
  '\\': '\\\\',
  '\n': '\\n',
  '\t': '\\t',
  '\r': '\\r',
  '\b': '\\b',
  '\f': '\\f',
};

function quote(text: string): string {
  return `"${text.replace(/["\\\n\t\r\b\f]/g, (char) => ESCAPES[char] ?? char)}"`;
}

/** Fields that speak of one of several items; conditions on them within one `and` speak of the same item. */
const correlates = (filter: Filter): boolean =>
  filter.kind === 'comparison' && filter.field !== undefined && getField(filter.field).items !== undefined;

/**
 * Joins filters that come from different places so that each keeps its meaning: a bare condition on a pair does not
 * get correlated with its neighbours. Undefined ones are left out; undefined when nothing is left.
 */
export function allOf(...filters: readonly (Filter | undefined)[]): Filter | undefined {
  const present = filters.filter((filter) => filter !== undefined);
  if (present.length <= 1) return present[0];
  return {
    kind: 'and',
    nodes: present.map((filter) => (correlates(filter) ? { kind: 'and', nodes: [filter] } : filter)),
  };
}
