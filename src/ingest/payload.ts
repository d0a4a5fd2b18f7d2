/**
 * From the text or value of one field to a payload that can be stored: the text stays exactly as the client sent
 * it unless it nests too deep or is too large; then it becomes a JSON string of itself, and a note says so.
 */
import {
  cleanJsonText,
  isDeeperThan,
  MAX_JSON_DEPTH,
  nestsDeeper,
  replaceNonFinite,
  stringifyDeep,
} from '../platform/json-text.js';
import type { JsonObject, JsonValue, Payload } from './run-event.js';

export interface FieldText {
  readonly payload: Payload;
  /** What was changed, if anything. */
  readonly note: string | undefined;
}

export const TOO_DEEP = `nested deeper than ${MAX_JSON_DEPTH} levels, stored as text`;
export const NON_FINITE = 'NaN and Infinity are no JSON, stored as null';

export const asString = (text: string): Payload & { readonly value: string } => ({
  text: JSON.stringify(text),
  value: text,
});

/**
 * A field that came as a text of its own.
 * @throws SyntaxError when it is no JSON.
 */
export function payloadFromText(raw: string): FieldText {
  const text = cleanJsonText(raw);
  if (isDeeperThan(text, MAX_JSON_DEPTH)) return { payload: asString(text), note: TOO_DEEP };
  try {
    return { payload: { text, value: JSON.parse(text) as JsonValue }, note: undefined };
  } catch (error) {
    const finite = replaceNonFinite(text, 'null');
    if (finite === undefined) throw error;
    return { payload: { text: finite, value: JSON.parse(finite) as JsonValue }, note: NON_FINITE };
  }
}

/**
 * A field that came inside a larger, already clean value. `mayBeDeep` says whether its depth is in doubt, `text` is
 * what it came as, where that is known.
 */
export function payloadFromValue(value: JsonValue, mayBeDeep: boolean, text?: string): FieldText {
  if (mayBeDeep && nestsDeeper(value, MAX_JSON_DEPTH)) {
    return { payload: asString(stringifyDeep(value)), note: TOO_DEEP };
  }
  return { payload: { text: text ?? JSON.stringify(value), value }, note: undefined };
}

/** An object whose too deep members are replaced by their text. */
export function shallowEnough(object: JsonObject): { object: JsonObject; note: string | undefined } {
  if (!nestsDeeper(object, MAX_JSON_DEPTH)) return { object, note: undefined };
  const entries = Object.entries(object).map(([key, value]): [string, JsonValue] => [
    key,
    nestsDeeper(value, MAX_JSON_DEPTH - 2) ? stringifyDeep(value) : value,
  ]);
  return { object: Object.fromEntries(entries), note: TOO_DEEP };
}

/** The beginning of a text as a payload whose text has at most `maxBytes` bytes. */
export function cutPayload(text: string, maxBytes: number): Payload & { readonly value: string } {
  let length = Math.min(text.length, Math.max(maxBytes, 0));
  for (;;) {
    const payload = asString(text.slice(0, length).toWellFormed());
    const bytes = Buffer.byteLength(payload.text);
    if (length === 0 || bytes <= maxBytes) return payload;
    length = Math.min(length - 1, Math.floor((length * maxBytes) / bytes));
  }
}

/** A whole message of a client, parsed once. */
export interface WireText {
  readonly value: JsonValue;
  /** Present when NaN or Infinity was met: each became this string, which cannot occur otherwise. */
  readonly nonFinite: string | undefined;
}

/**
 * Parses a clean message that holds one or more runs. `marker` is a string nobody else can have put into it.
 * @throws SyntaxError when it is no JSON.
 */
export function parseWireText(text: string, marker: () => string): WireText {
  try {
    return { value: JSON.parse(text) as JsonValue, nonFinite: undefined };
  } catch (error) {
    const nonFinite = marker();
    const marked = replaceNonFinite(text, JSON.stringify(nonFinite));
    if (marked === undefined) throw error;
    return { value: JSON.parse(marked) as JsonValue, nonFinite };
  }
}

/** The item with the marker of `parseWireText` turned into null, and a note if it had one. */
export function withoutNonFinite(
  item: JsonValue,
  marker: string,
): { item: JsonValue; note: string | undefined } {
  const text = stringifyDeep(item);
  const quoted = JSON.stringify(marker);
  if (!text.includes(quoted)) return { item, note: undefined };
  return { item: JSON.parse(text.replaceAll(quoted, 'null')) as JsonValue, note: NON_FINITE };
}
