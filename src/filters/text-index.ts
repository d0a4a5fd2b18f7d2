/**
 * What a search can see of a run: its words and its flattened payload pairs. The index stores what these functions
 * give and predicates compute the same on the spot, so that both agree to the letter. Pure.
 */
import type { JsonValue } from '../ingest/run-event.js';
import type { FilterableRun } from './filterable-run.js';
import { isStorable } from './literals.js';

/** Longer words are cut, in texts and in queries alike. In characters. */
const MAX_WORD = 64;
/** Characters of a payload's JSON; larger ones are found by name and error only. */
export const MAX_PAYLOAD = 8 * 1_024 * 1_024;
/** Characters of text looked at per run, name and error first; a bound on the work, not on what is stored. */
const MAX_TEXT = 1_000_000;
/** Distinct words kept per run, in UTF-8 bytes: a tsvector holds a megabyte. */
const MAX_WORD_BYTES = 512 * 1_024;
/** Distinct pair keys kept per payload, and values altogether. */
const MAX_KEYS = 200;
const MAX_VALUES = 1_000;
const MAX_KEY_LENGTH = 256;
/** Characters kept of a pair's value. */
export const MAX_PAIR_VALUE = 512;

// Scripts without spaces between words: every character is a word, so that any part of a phrase is found.
const ALONE = String.raw`[\p{Script=Han}\p{Script=Hiragana}\p{Script=Katakana}]`;
const WORDS = new RegExp(String.raw`${ALONE}|(?:(?!${ALONE})[\p{L}\p{N}])+`, 'gu');
/** Letters, digits and what combines with them. */
const RUNS = /[\p{L}\p{N}\p{M}]+/gu;
const MARKS = /\p{M}+/gu;
const ASCII_WORDS = /[a-z0-9]+/g;

const ASCII = /^[\x00-\x7f]*$/;

/**
 * The words of a text in order: runs of letters and digits without case, accents and compatibility forms ("ＣＡＦÉ"
 * and "cafe" are one word). Everything else separates.
 */
export function wordsOf(text: string): string[] {
  if (ASCII.test(text)) return cut(text.toLowerCase().match(ASCII_WORDS) ?? []);
  const words: string[] = [];
  const seen = new Map<string, readonly string[]>();
  for (const run of text.match(RUNS) ?? []) {
    const known = seen.get(run);
    if (known !== undefined) words.push(...known);
    else if (ASCII.test(run)) words.push(run.toLowerCase());
    else {
      const made = folded(run).match(WORDS) ?? [];
      seen.set(run, made);
      words.push(...made);
    }
  }
  return cut(words);
}

/** One run at a time: nearly all runs of nearly all texts are plain and need none of this. */
function folded(run: string): string {
  const bare = run.normalize('NFKD').replace(MARKS, '').toLowerCase().replace(MARKS, '');
  return bare.replaceAll('ς', 'σ').normalize('NFC');
}

function cut(words: readonly string[]): string[] {
  return words.map((word) => (word.length <= MAX_WORD ? word : Array.from(word).slice(0, MAX_WORD).join('')));
}

/** Path -> text or distinct texts, as metadata attributes are. */
export type Pairs = Readonly<Record<string, string | readonly string[]>>;

export interface TextIndex {
  /** Distinct, in no particular order. */
  readonly words: readonly string[];
  readonly inputs: Pairs;
  readonly outputs: Pairs;
}

/** What of a run the index is made of. */
export type SearchableRun = Pick<FilterableRun, 'name' | 'error' | 'content'>;

const memory = new WeakMap<SearchableRun, TextIndex>();

/** The run's searchable text, made once per run object. The run must have been loaded with its content. */
export function textIndexOf(run: SearchableRun): TextIndex {
  const known = memory.get(run);
  if (known !== undefined) return known;
  const made = indexText(run);
  memory.set(run, made);
  return made;
}

/** Whether every word begins some word of the run. */
export function hasWords(index: TextIndex, words: readonly string[]): boolean {
  return words.every((word) => index.words.some((candidate) => candidate.startsWith(word)));
}

function indexText(run: SearchableRun): TextIndex {
  if (run.content === undefined) {
    throw new Error('a filter looked for content in a run that was loaded without');
  }
  const inputs = parsed(run.content.inputs);
  const outputs = parsed(run.content.outputs);
  const words = new Set<string>();
  let textLeft = MAX_TEXT;
  let bytesLeft = MAX_WORD_BYTES;
  const add = (text: string): void => {
    if (textLeft <= 0 || bytesLeft <= 0) return;
    const seen = text.length <= textLeft ? text : text.slice(0, textLeft);
    textLeft -= seen.length;
    for (const word of wordsOf(seen)) {
      if (words.has(word)) continue;
      bytesLeft -= Buffer.byteLength(word);
      if (bytesLeft < 0) return;
      words.add(word);
    }
  };
  add(run.name);
  if (run.error !== undefined) add(run.error);
  eachText(inputs, add);
  eachText(outputs, add);
  return { words: [...words], inputs: pairsOf(inputs), outputs: pairsOf(outputs) };
}

/** The payload's value; null for one that is too large to be taken apart, or is none after all. */
function parsed(text: string | undefined): JsonValue {
  if (text === undefined || text.length > MAX_PAYLOAD) return null;
  try {
    return JSON.parse(text) as JsonValue;
  } catch (error) {
    if (error instanceof SyntaxError) return null;
    throw error;
  }
}

function eachText(value: JsonValue, visit: (text: string) => void): void {
  if (typeof value === 'string') visit(value);
  else if (Array.isArray(value)) for (const item of value) eachText(item, visit);
  else if (typeof value === 'object' && value !== null) {
    for (const item of Object.values(value)) eachText(item, visit);
  }
}

/**
 * A payload as pairs: nested keys joined with dots, arrays transparent, numbers and booleans as their JSON text,
 * nulls left out.
 */
export function pairsOf(payload: JsonValue): Pairs {
  const pairs = Object.create(null) as Record<string, string | string[]>;
  let keys = 0;
  let values = 0;
  const keep = (rawPath: string, rawText: string): void => {
    if (values >= MAX_VALUES || rawPath.length > MAX_KEY_LENGTH) return;
    const path = storable(rawPath);
    const text = storable(rawText);
    const present = pairs[path];
    if (present === undefined) {
      if (keys >= MAX_KEYS) return;
      keys += 1;
      pairs[path] = text;
    } else if (typeof present === 'string') {
      if (present === text) return;
      pairs[path] = [present, text];
    } else if (present.includes(text)) return;
    else present.push(text);
    values += 1;
  };
  const visit = (path: string, value: JsonValue): void => {
    if (value === null) return;
    if (Array.isArray(value)) for (const item of value) visit(path, item);
    else if (typeof value === 'object') {
      for (const [key, item] of Object.entries(value)) visit(path === '' ? key : `${path}.${key}`, item);
    } else if (path !== '') keep(path, shorten(typeof value === 'string' ? value : JSON.stringify(value)));
  };
  visit('', payload);
  return pairs;
}

/** jsonb refuses NUL and halves of surrogate pairs; one such run must not hold up the index. */
function storable(text: string): string {
  return isStorable(text) ? text : text.replace(/\u0000|[\ud800-\udfff]/gu, '\ufffd');
}

/** Never between the halves of a surrogate pair, which jsonb would refuse. */
function shorten(text: string): string {
  if (text.length <= MAX_PAIR_VALUE) return text;
  const last = text.charCodeAt(MAX_PAIR_VALUE - 1);
  return text.slice(0, last >= 0xd800 && last <= 0xdbff ? MAX_PAIR_VALUE - 1 : MAX_PAIR_VALUE);
}
