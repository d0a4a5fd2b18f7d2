/**
 * JSON text on its way from the database to the response, neither parsed nor written again: payloads are most of
 * the bytes we serve. A RawJson prints as a marker while the response is stringified; the markers are then
 * replaced by the texts. The marker's token is random per process and never leaves it, so no stored string can imitate one.
 */
import { randomBytes } from 'node:crypto';

const TOKEN = `raw:${randomBytes(24).toString('base64url')}:`;
const MARKER = `"${TOKEN}`;

// Stringifying is synchronous and does not nest, so one place for "the response being written" is enough.
let current: string[] | undefined;

/** Valid JSON text, given to clients as it is. */
export class RawJson {
  constructor(readonly text: string) {}

  /** Called by JSON.stringify: the marker within stringifyWithRawJson, the value elsewhere. */
  toJSON(): unknown {
    if (current === undefined) return JSON.parse(this.text);
    return `${TOKEN}${current.push(this.text)}`;
  }
}

/** RawJson for a column that may be null. */
export function rawJson(text: string | null): RawJson | null {
  return text === null ? null : new RawJson(text);
}

/** JSON.stringify, with each RawJson's text in its place. */
export function stringifyWithRawJson(value: unknown): string {
  const texts: string[] = [];
  current = texts;
  let template: string;
  try {
    template = JSON.stringify(value);
  } finally {
    current = undefined;
  }
  if (texts.length === 0) return template;

  // Markers print in the order they were made, each with its number and a quote behind the token.
  let text = '';
  let from = 0;
  for (const raw of texts) {
    const marker = template.indexOf(MARKER, from);
    text += template.slice(from, marker) + raw;
    from = template.indexOf('"', marker + MARKER.length) + 1;
  }
  return text + template.slice(from);
}
