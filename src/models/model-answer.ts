/** What a model answered, read as what it was asked for. Nothing is guessed: a number in prose is prose. Pure. */
import type { JsonObject, JsonValue } from '../ingest/run-event.js';
import { JsonSchema, SchemaTooCostly } from '../platform/json-schema.js';
import { isDeeperThan, MAX_JSON_DEPTH } from '../platform/json-text.js';

export type ReadAnswer =
  | { readonly kind: 'readable'; readonly value: JsonValue }
  | { readonly kind: 'unreadable'; readonly message: string };

const unreadable = (message: string): ReadAnswer => ({ kind: 'unreadable', message });

/** JSON in a code block and nothing beside it: models that know no response formats answer like this. */
const CODE_BLOCK = /^```(?:json)?[^\S\n]*\n([^]*)\n[^\S\n]*```$/;

/** @param schema undefined where any text will do; the value is null then. */
export function readAnswer(text: string, schema: JsonObject | undefined): ReadAnswer {
  if (schema === undefined) return { kind: 'readable', value: null };
  const trimmed = text.trim();
  if (trimmed === '') return unreadable('The answer is empty.');
  const json = CODE_BLOCK.exec(trimmed)?.[1] ?? trimmed;
  if (isDeeperThan(json, MAX_JSON_DEPTH)) return unreadable('The answer is JSON that nests too deep.');
  let value: JsonValue;
  try {
    value = JSON.parse(json) as JsonValue;
  } catch {
    return unreadable('The answer is not JSON, though it was asked to be.');
  }
  const compiled = JsonSchema.compile(schema);
  if (!compiled.ok) return unreadable(compiled.problems[0]?.message ?? 'The schema cannot be used.');
  try {
    const [violation] = compiled.value.check(value);
    if (violation === undefined) return { kind: 'readable', value };
    const where = violation.path === '' ? 'The answer' : `The answer at ${violation.path}`;
    return unreadable(`${where} is not as its schema wants it: ${violation.message}`);
  } catch (error) {
    if (!(error instanceof SchemaTooCostly)) throw error;
    return unreadable('The answer takes too long to compare with its schema.');
  }
}
