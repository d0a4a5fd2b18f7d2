/**
 * JSON text on its way from the database to the response, neither parsed nor written again: payloads are most of
 * the bytes we serve. A RawJson prints as a marker while the response is stringified; the markers are then
 * replaced by the texts. The marker's token is random per response, so no stored string can imitate one.
 */
import { randomBytes } from 'node:crypto';

interface Splice {
  readonly token: string;
  readonly texts: string[];
}

// Stringifying is synchronous and does not nest, so one place for "the response being written" is enough.
let current: Splice | undefined;

/** Valid JSON text, given to clients as it is. */
export class RawJson {
  constructor(readonly text: string) {}

  /** Called by JSON.stringify: the marker within stringifyWithRawJson, the value elsewhere. */
  toJSON(): unknown {
    if (current === undefined) return JSON.parse(this.text);
    return `${current.token}${current.texts.push(this.text)}`;
  }
}

/** RawJson for a column that may be null. */
export function rawJson(text: string | null): RawJson | null {
  return text === null ? null : new RawJson(text);
}

/** JSON.stringify, with each RawJson's text in its place. */
export function stringifyWithRawJson(value: unknown): string {
  const splice: Splice = { token: `raw:${randomBytes(16).toString('base64url')}:`, texts: [] };
  current = splice;
  let template: string;
  try {
    template = JSON.stringify(value);
  } finally {
    current = undefined;
  }
  if (splice.texts.length === 0) return template;

  const parts: string[] = [];
  let from = 0;
  for (const [index, text] of splice.texts.entries()) {
    const marker = `"${splice.token}${index + 1}"`;
    const at = template.indexOf(marker, from);
    parts.push(template.slice(from, at), text);
    from = at + marker.length;
  }
  parts.push(template.slice(from));
  return parts.join('');
}
