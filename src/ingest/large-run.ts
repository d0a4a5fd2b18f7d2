/**
 * Messages too large to be parsed in one go, as runs: read a piece per turn, payloads as the client's text. Of a
 * payload's value only what facts are read from is made (run-facts.ts), so that twenty megabytes of `{}` stay text.
 */
import { JsonCursor, LARGE_VALUE, OPEN_BRACE, OPEN_BRACKET, parseInTurns } from '../platform/json-cursor.js';
import type { JsonRange } from '../platform/json-cursor.js';
import { MAX_JSON_DEPTH, replaceNonFinite } from '../platform/json-text.js';
import { asString, NON_FINITE, TOO_DEEP } from './payload.js';
import type { FieldText } from './payload.js';
import type { JsonObject, JsonValue, Payload } from './run-event.js';
import { isPartField, WIRE_FIELDS } from './wire-run.js';
import type { PartField } from './wire-run.js';

/** Members of extra and metadata with more characters than this are kept as text. */
const LARGE_MEMBER = 1_048_576;
const TEXT_MEMBERS = `members of more than ${LARGE_MEMBER} characters are stored as text`;
/** With more members they are kept as one text. */
const MAX_MEMBERS = 10_000;
/** More items of a list of tags, or events, are not looked at. */
const MAX_ITEMS = 1_000;

/** One run of a large message: small fields as values, the others as parts. */
export interface LargeRun {
  readonly run: JsonObject;
  readonly parts: ReadonlyMap<PartField, Payload>;
  readonly notes: readonly string[];
}

/**
 * The value the cursor stands before as a run, with the cursor behind it; undefined when it is no object.
 * @throws SyntaxError when it is no JSON.
 */
export async function readLargeRun(text: string, cursor: JsonCursor): Promise<LargeRun | undefined> {
  if (cursor.peek() !== OPEN_BRACE) {
    await cursor.skip();
    return undefined;
  }
  const run: JsonObject = {};
  const parts = new Map<PartField, Payload>();
  const notes = new Map<string, string>();
  await cursor.members(async (key) => {
    const range = await cursor.skip();
    if (!WIRE_FIELDS.has(key)) return;
    await cursor.charge(range.end - range.start);
    const member = finite(text, range);
    if (member.note !== undefined) notes.set('run', member.note);
    if (!isPartField(key)) {
      run[key] = await plainValue(member.text);
      return;
    }
    const { payload, note } = await payloadOf(key, member.text, range.depth);
    if (note !== undefined) notes.set(key, note);
    // An object's members are merged, a text of it is a part.
    if (key === 'extra' && note !== TOO_DEEP) run[key] = payload.value;
    else parts.set(key, payload);
  });
  return { run, parts, notes: [...notes].map(([field, note]) => `${field}: ${note}`) };
}

/** A field of a run that came as a large text of its own. @throws SyntaxError when it is no JSON. */
export async function readLargeField(field: PartField, text: string): Promise<FieldText> {
  const cursor = new JsonCursor(text);
  const range = await cursor.skip();
  cursor.end();
  const member = finite(text, range);
  const { payload, note } = await payloadOf(field, member.text, range.depth);
  return { payload, note: note ?? member.note };
}

function finite(text: string, range: JsonRange): { text: string; note: string | undefined } {
  const own = text.slice(range.start, range.end);
  if (!range.nonFinite) return { text: own, note: undefined };
  return { text: replaceNonFinite(own, 'null') ?? own, note: NON_FINITE };
}

async function payloadOf(field: PartField, text: string, depth: number): Promise<FieldText> {
  if (depth > MAX_JSON_DEPTH) return { payload: asString(text), note: TOO_DEEP };
  if (field !== 'extra') return { payload: { text, value: await outlineOf(field, text) }, note: undefined };
  const { value, note } = await objectOf(text);
  return { payload: { text, value }, note };
}

/** Values of so few characters are made as they are. */
const SHORT = 4_096;

const isString = (text: string): boolean => text.startsWith('"');
const isSmall = (text: string): boolean => text.length <= LARGE_VALUE || isString(text);

/** Of a field that is short, or of a type that is refused, for which any value of that type will do. */
async function plainValue(text: string): Promise<JsonValue> {
  if (isSmall(text)) return JSON.parse(text) as JsonValue;
  return text.startsWith('[') ? itemsOf(text, plainValue) : text.startsWith('{') ? {} : null;
}

async function itemsOf(text: string, read: (item: string) => Promise<JsonValue>): Promise<JsonValue[]> {
  const found: JsonValue[] = [];
  const cursor = new JsonCursor(text);
  await cursor.items(async () => {
    const { start, end } = await cursor.skip();
    if (found.length > MAX_ITEMS) return;
    await cursor.charge(end - start);
    found.push(await read(text.slice(start, end)));
  });
  return found;
}

/** An object whose members are merged one by one, and flattened: large ones are made texts. */
async function objectOf(text: string): Promise<{ value: JsonValue; note: string | undefined }> {
  if (isSmall(text) || !text.startsWith('{')) return { value: await plainValue(text), note: undefined };
  // Without a prototype: a key called __proto__ is a key like any other.
  const object = Object.create(null) as JsonObject;
  const cursor = new JsonCursor(text);
  let note: string | undefined;
  let members = 0;
  await cursor.members(async (key) => {
    const { start, end } = await cursor.skip();
    members += 1;
    if (members > MAX_MEMBERS) return;
    const member = text.slice(start, end);
    if (key === 'metadata') {
      const inner = await objectOf(member);
      object[key] = inner.value;
      note ??= inner.note;
    } else if (end - start > LARGE_MEMBER && !isString(member)) {
      object[key] = member;
      note = TEXT_MEMBERS;
    } else object[key] = (await parseInTurns(member, MAX_JSON_DEPTH)) as JsonValue;
  });
  return members > MAX_MEMBERS ? { value: { text }, note: TEXT_MEMBERS } : { value: object, note };
}

/** Members that usage and previews are read from. */
const TOLD = new Set(['usage_metadata', 'usage', 'llm_output', 'content', 'messages']);

/** A value from which the same facts are read as from the text's, and next to nothing more. */
async function outlineOf(field: PartField, text: string): Promise<JsonValue> {
  if (text.length <= SHORT || isString(text)) return JSON.parse(text) as JsonValue;
  // What is no text is stored as one.
  if (field === 'error') return text;
  if (text.startsWith('[')) return field === 'events' ? itemsOf(text, tokenTime) : [null];
  const outline = Object.create(null) as JsonObject;
  const cursor = new JsonCursor(text);
  await cursor.members(async (key) => {
    const isList = cursor.peek() === OPEN_BRACKET;
    const { start, end } = await cursor.skip();
    // Whether a member is the only one counts: two names say that it is not.
    if (!TOLD.has(key) && Object.keys(outline).length >= 2) return;
    await cursor.charge(end - start);
    const member = text.slice(start, end);
    outline[key] =
      key === 'messages' && isList
        ? [await lastContent(member)]
        : isString(member) || (TOLD.has(key) && isSmall(member))
          ? (JSON.parse(member) as JsonValue)
          : null;
  });
  return outline;
}

/** The last of a list of messages, with its content if that is a string. */
async function lastContent(messages: string): Promise<JsonValue> {
  let last: JsonRange | undefined;
  const cursor = new JsonCursor(messages);
  await cursor.items(async () => void (last = await cursor.skip()));
  return last === undefined ? null : memberOf(messages.slice(last.start, last.end), ['content']);
}

/** An event's name and time. */
const tokenTime = (event: string): Promise<JsonValue> => memberOf(event, ['name', 'time']);

/** An object with those members that are no containers. */
async function memberOf(text: string, names: readonly string[]): Promise<JsonValue> {
  if (!text.startsWith('{')) return null;
  const found: JsonObject = {};
  const cursor = new JsonCursor(text);
  await cursor.members(async (key) => {
    const { start, end, depth } = await cursor.skip();
    if (names.includes(key) && depth === 0) found[key] = JSON.parse(text.slice(start, end)) as JsonValue;
  });
  return found;
}
