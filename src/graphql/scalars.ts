/**
 * The custom scalars. Values stay text wherever a JavaScript number or Date would lose digits: microseconds,
 * money, large integers, and JSON payloads, which reach the response without being parsed (see raw-json.ts).
 */
import { GraphQLError, GraphQLScalarType, Kind, valueFromASTUntyped } from 'graphql';
import type { ValueNode } from 'graphql';
import { isUuid } from '../platform/ids.js';

function invalid(message: string): GraphQLError {
  return new GraphQLError(message, { extensions: { code: 'BAD_USER_INPUT' } });
}

/** Literals of scalars that are written as strings (or, where allowed, as numbers) in a document. */
function literalText(node: ValueNode, name: string, numbers: boolean): string {
  if (node.kind === Kind.STRING || (numbers && (node.kind === Kind.INT || node.kind === Kind.FLOAT))) {
    return node.value;
  }
  throw invalid(`${name} is written as a string.`);
}

// ── DateTime ───────────────────────────────────────────────────────────────────────────────────────────────

// Tested, not taken apart: the groups would be garbage for each time of each row.
const POSTGRES_UTC = /^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(?:\.\d{1,6})?\+00$/;
const RFC_3339 = /^(\d{4}-\d\d-\d\d)T(\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?(Z|[+-]\d\d:\d\d)$/i;

/**
 * Three digits, or six where there are microseconds: SDKs compare run times digit by digit, and some parsers (Python's
 * before 3.11) take no other number of digits.
 */
function fraction(digits: string | undefined): string {
  if (digits?.length === 3 || (digits?.length === 6 && !digits.endsWith('000'))) return digits;
  const micros = (digits ?? '').padEnd(6, '0').slice(0, 6);
  return micros.endsWith('000') ? micros.slice(0, 3) : micros;
}

/** UTC text of an RFC 3339 time with any offset, microseconds kept; undefined when it is none. */
export function normalizeDateTime(text: string): string | undefined {
  const match = RFC_3339.exec(text);
  if (match === null) return undefined;
  const [, date = '', time = '', digits, offset = 'Z'] = match;
  const local = new Date(`${date}T${time}Z`);
  // Date turns 31 February into March and accepts 24:00: only what it gives back unchanged existed.
  if (Number.isNaN(local.getTime()) || local.toISOString().slice(0, 19) !== `${date}T${time}`) {
    return undefined;
  }
  const hours = Number(offset.slice(1, 3));
  const minutes = Number(offset.slice(4, 6));
  if (hours > 23 || minutes > 59) return undefined;
  const shift = offset.length === 1 ? 0 : (offset.startsWith('-') ? 1 : -1) * (hours * 60 + minutes) * 60_000;
  const utc = new Date(local.getTime() + shift);
  if (utc.getUTCFullYear() < 1 || utc.getUTCFullYear() > 9999) return undefined;
  return `${utc.toISOString().slice(0, 19)}.${fraction(digits)}Z`;
}

function serializeDateTime(value: unknown): string {
  if (value instanceof Date) return value.toISOString();
  if (typeof value === 'string') {
    if (POSTGRES_UTC.test(value)) {
      return `${value.slice(0, 10)}T${value.slice(11, 19)}.${fraction(value.slice(20, -3))}Z`;
    }
    const normal = normalizeDateTime(value);
    if (normal !== undefined) return normal;
  }
  throw new TypeError('A DateTime field holds something that is not a time.');
}

function parseDateTime(value: unknown): string {
  const normal = typeof value === 'string' ? normalizeDateTime(value) : undefined;
  if (normal === undefined) {
    throw invalid('DateTime is RFC 3339 with an offset, e.g. 2026-11-21T10:00:00.123Z.');
  }
  return normal;
}

/** Resolvers return the text Postgres gives (or a Date) and receive RFC 3339 text in UTC, microseconds kept. */
export const DateTimeScalar = new GraphQLScalarType<string, string>({
  name: 'DateTime',
  description:
    'A moment, RFC 3339. Input takes any offset; output is UTC ("Z") with milliseconds, or microseconds where they were recorded.',
  specifiedByURL: 'https://www.rfc-editor.org/rfc/rfc3339',
  serialize: serializeDateTime,
  parseValue: parseDateTime,
  parseLiteral: (node) => parseDateTime(literalText(node, 'DateTime', false)),
});

// ── UUID ───────────────────────────────────────────────────────────────────────────────────────────────────

function parseUuid(value: unknown): string {
  if (!isUuid(value)) throw invalid('UUID has the form 01234567-89ab-cdef-0123-456789abcdef.');
  return value.toLowerCase();
}

export const UuidScalar = new GraphQLScalarType<string, string>({
  name: 'UUID',
  description: 'A UUID of any version; output is in lower case with dashes.',
  specifiedByURL: 'https://www.rfc-editor.org/rfc/rfc9562',
  serialize: (value) => {
    if (!isUuid(value)) throw new TypeError('A UUID field holds something that is not a UUID.');
    return value;
  },
  parseValue: parseUuid,
  parseLiteral: (node) => parseUuid(literalText(node, 'UUID', false)),
});

// ── JSON ───────────────────────────────────────────────────────────────────────────────────────────────────

/** Levels of JSON input, as everywhere runs come in; deeper values overflow whoever writes them recursively. */
export const MAX_JSON_DEPTH = 512;
/** Values in one JSON input, counting keys' values and list items at every level. */
export const MAX_JSON_VALUES = 200_000;

function checkJson(root: unknown): unknown {
  let values = 0;
  let level: unknown[] = [root];
  for (let depth = 0; level.length > 0; depth += 1) {
    if (depth > MAX_JSON_DEPTH) throw invalid(`JSON input may be ${MAX_JSON_DEPTH} levels deep.`);
    values += level.length;
    if (values > MAX_JSON_VALUES) throw invalid(`JSON input may have ${MAX_JSON_VALUES} values.`);
    level = level.flatMap((value): unknown[] =>
      value !== null && typeof value === 'object' ? Object.values(value) : [],
    );
  }
  return root;
}

/** Resolvers return any JSON value, or RawJson for text that is passed on verbatim. */
export const JsonScalar = new GraphQLScalarType<unknown, unknown>({
  name: 'JSON',
  description: `Any JSON value. Input is at most ${MAX_JSON_DEPTH} levels deep and has at most ${MAX_JSON_VALUES} values.`,
  specifiedByURL: 'https://www.rfc-editor.org/rfc/rfc8259',
  serialize: (value) => value,
  parseValue: checkJson,
  parseLiteral: (node, variables) => checkJson(valueFromASTUntyped(node, variables)),
});

// ── Decimal ────────────────────────────────────────────────────────────────────────────────────────────────

const DECIMAL = /^-?\d{1,40}(\.\d{1,40})?$/;

/** Prisma's Decimal and others print small values with an exponent unless asked like this. */
interface FixedPrinter {
  toFixed(): string;
}

function decimalText(value: unknown): string {
  if (typeof value === 'string') return value;
  if (typeof value === 'bigint' || (typeof value === 'number' && Number.isSafeInteger(value))) {
    return value.toString();
  }
  if (typeof value === 'object' && value !== null && 'toFixed' in value) {
    return (value as FixedPrinter).toFixed();
  }
  throw new TypeError('A Decimal field holds something that is not a decimal.');
}

function parseDecimal(value: unknown): string {
  const text = typeof value === 'number' ? String(value) : value;
  if (typeof text !== 'string' || !DECIMAL.test(text)) {
    throw invalid('Decimal is a string of digits, e.g. "0.000015".');
  }
  return text;
}

export const DecimalScalar = new GraphQLScalarType<string, string>({
  name: 'Decimal',
  description: 'An exact decimal number as a string, without an exponent: money, scores.',
  specifiedByURL: 'https://www.w3.org/TR/xmlschema-2/#decimal',
  serialize: (value) => {
    const text = decimalText(value);
    if (!DECIMAL.test(text)) throw new TypeError('A Decimal field holds something that is not a decimal.');
    return text;
  },
  parseValue: parseDecimal,
  parseLiteral: (node) => parseDecimal(literalText(node, 'Decimal', true)),
});

// ── BigInt ─────────────────────────────────────────────────────────────────────────────────────────────────

const INTEGER = /^-?\d{1,40}$/;

function parseInteger(value: unknown): string {
  const text = typeof value === 'number' && Number.isSafeInteger(value) ? String(value) : value;
  if (typeof text !== 'string' || !INTEGER.test(text)) {
    throw invalid('BigInt is a string of digits, e.g. "12345678901".');
  }
  return text;
}

export const BigIntScalar = new GraphQLScalarType<string, string>({
  name: 'BigInt',
  description: 'An integer of any size, always as a string.',
  specifiedByURL: 'https://www.w3.org/TR/xmlschema-2/#integer',
  serialize: (value) => {
    const integral = typeof value === 'bigint' || (typeof value === 'number' && Number.isSafeInteger(value));
    const text = integral ? value.toString() : value;
    if (typeof text !== 'string' || !INTEGER.test(text)) {
      throw new TypeError('A BigInt field holds something that is not an integer.');
    }
    return text;
  },
  parseValue: parseInteger,
  parseLiteral: (node) => parseInteger(literalText(node, 'BigInt', true)),
});
