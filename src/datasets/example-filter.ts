/**
 * The filter language on examples: `and or not`, `eq neq in` on id, `has exists` on metadata, and `eq` on the pair
 * metadata_key and metadata_value. The grammar is that of run filters; what the names mean is decided here. Pure.
 */
import { parse } from '../generated/filter-parser.js';
import type { JsonObject, JsonValue } from '../ingest/run-event.js';
import { AppError } from '../platform/errors.js';
import { isUuid } from '../platform/ids.js';
import { cleanJsonText, cleanText } from '../platform/json-text.js';

export type ExampleCondition =
  | { readonly kind: 'and' | 'or'; readonly of: readonly ExampleCondition[] }
  | { readonly kind: 'not'; readonly of: ExampleCondition }
  | { readonly kind: 'id'; readonly ids: readonly string[] }
  | { readonly kind: 'key'; readonly key: string }
  | { readonly kind: 'contains'; readonly metadata: JsonObject };

type Syntax =
  | { readonly kind: 'call'; readonly name: string; readonly args: readonly Syntax[] }
  | { readonly kind: 'list'; readonly items: readonly Syntax[] }
  | { readonly kind: 'literal'; readonly value: string | number | boolean | null }
  | { readonly kind: 'duration'; readonly value: string }
  | { readonly kind: 'name'; readonly name: string };

const MAX_LENGTH = 8_192;
const MAX_DEPTH = 20;
const MAX_PARTS = 200;

/** @throws AppError BAD_USER_INPUT saying what was expected. */
export function parseExampleFilter(text: string): ExampleCondition {
  if (text.length > MAX_LENGTH) throw refused(`A filter has at most ${MAX_LENGTH} characters.`);
  let syntax: Syntax;
  try {
    syntax = parse(text, {
      maxDepth: MAX_DEPTH,
      tooDeep: `Filters nest at most ${MAX_DEPTH} deep.`,
    }) as Syntax;
  } catch (error) {
    throw refused(error instanceof Error ? error.message : 'This is no filter.');
  }
  return conditionOf(syntax, { parts: 0 });
}

const refused = (message: string): AppError =>
  new AppError('BAD_USER_INPUT', `Filter: ${message}`, { path: ['filter'] });

function conditionOf(syntax: Syntax, seen: { parts: number }): ExampleCondition {
  seen.parts += 1;
  if (seen.parts > MAX_PARTS) throw refused(`At most ${MAX_PARTS} parts.`);
  if (syntax.kind !== 'call') {
    throw refused('a comparison was expected, such as has(metadata, \'{"k": "v"}\').');
  }
  const { name, args } = syntax;
  if (name === 'and' || name === 'or') {
    const pair = name === 'and' ? metadataPair(args) : undefined;
    if (pair !== undefined) return pair;
    if (args.length === 0) throw refused(`${name}() needs at least one part.`);
    return { kind: name, of: args.map((arg) => conditionOf(arg, seen)) };
  }
  const [first, second] = args;
  if (name === 'not' && first !== undefined && args.length === 1) {
    return { kind: 'not', of: conditionOf(first, seen) };
  }
  if (first === undefined || second === undefined || args.length !== 2) {
    throw refused(`${name}() needs a field and a value.`);
  }
  return comparisonOf(name, fieldOf(first), second);
}

/** Fields may be quoted. */
function fieldOf(syntax: Syntax): string {
  if (syntax.kind === 'name') return syntax.name;
  if (syntax.kind === 'literal' && typeof syntax.value === 'string') return syntax.value;
  throw refused('the first argument is a field: id, metadata, metadata_key or metadata_value.');
}

function comparisonOf(name: string, field: string, value: Syntax): ExampleCondition {
  if (field === 'id' && (name === 'eq' || name === 'neq' || name === 'in')) {
    const ids = (value.kind === 'list' ? value.items : [value]).map(textOf);
    if (!ids.every(isUuid)) throw refused('id is compared with UUIDs.');
    const condition: ExampleCondition = { kind: 'id', ids: ids.map((id) => id.toLowerCase()) };
    return name === 'neq' ? { kind: 'not', of: condition } : condition;
  }
  if (field === 'metadata' && name === 'exists') return { kind: 'key', key: textOf(value) };
  if (field === 'metadata' && (name === 'has' || name === 'eq')) {
    return { kind: 'contains', metadata: objectOf(textOf(value)) };
  }
  if (field === 'metadata_key' && name === 'eq') return { kind: 'key', key: textOf(value) };
  throw refused(
    `${name}(${field}, …) is not understood: fields are id, metadata, metadata_key and metadata_value.`,
  );
}

/** `and(eq(metadata_key, "k"), eq(metadata_value, "v"))` is about one pair. */
function metadataPair(args: readonly Syntax[]): ExampleCondition | undefined {
  const valueOf = (field: string): Syntax | undefined => {
    for (const arg of args) {
      const [name, value] = arg.kind === 'call' && arg.name === 'eq' ? arg.args : [];
      if (name !== undefined && value !== undefined && fieldOf(name) === field) return value;
    }
    return undefined;
  };
  const [key, value] = [valueOf('metadata_key'), valueOf('metadata_value')];
  if (args.length !== 2 || key === undefined || value?.kind !== 'literal') return undefined;
  const said = typeof value.value === 'string' ? cleanText(value.value) : value.value;
  return { kind: 'contains', metadata: Object.fromEntries([[textOf(key), said]]) };
}

function textOf(syntax: Syntax): string {
  if (syntax.kind === 'literal' && typeof syntax.value === 'string') return cleanText(syntax.value);
  throw refused('a quoted text was expected.');
}

function objectOf(text: string): JsonObject {
  try {
    const value = JSON.parse(cleanJsonText(text)) as JsonValue;
    if (value !== null && typeof value === 'object' && !Array.isArray(value)) return value;
  } catch {
    // Said below.
  }
  throw refused('metadata is compared with a JSON object, as in has(metadata, \'{"k": "v"}\').');
}

/** The condition over `examples e`; `bind` adds a parameter and gives its placeholder. */
export function exampleConditionSql(
  condition: ExampleCondition,
  bind: (value: unknown, type: string) => string,
): string {
  switch (condition.kind) {
    case 'and':
    case 'or':
      return `(${condition.of.map((part) => exampleConditionSql(part, bind)).join(` ${condition.kind} `)})`;
    case 'not':
      return `not (${exampleConditionSql(condition.of, bind)})`;
    case 'id':
      return `e.id = any(${bind(condition.ids, 'uuid[]')})`;
    case 'key':
      return `jsonb_exists(e.metadata, ${bind(condition.key, 'text')})`;
    case 'contains':
      return `e.metadata @> ${bind(JSON.stringify(condition.metadata), 'jsonb')}`;
  }
}
