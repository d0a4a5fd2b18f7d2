/**
 * Takes personal data and secrets out of an example before it is compared, kept or shown. Works on JSON text token by
 * token, so that all that is not redacted stays as it was sent. One value has one placeholder throughout an example
 * (`[EMAIL_1]`), so that who said what to whom can still be told. Whatever goes wrong is thrown: then the example must
 * not be used. Pure.
 */
import { RE2JS } from 're2js';
import type { JsonObject, JsonValue } from '../ingest/run-event.js';
import { closingQuote } from '../platform/json-text.js';
import { FINDERS, merged, namesSecret } from './secret-patterns.js';
import type { Finder, RedactionKind, Span } from './secret-patterns.js';

export const MAX_CUSTOM_PATTERNS = 20;
export const MAX_PATTERN_LENGTH = 256;
/** Characters of inputs, outputs and metadata together that are looked at. */
export const MAX_REDACTED_CHARS = 1_048_576;
/** Characters times patterns of users: the linear engine takes some 0.5 µs for each. */
const MAX_CUSTOM_WORK = 4_000_000;
/** Digits of which a number keeps each one when it is parsed. */
const EXACT_DIGITS = 15;

export interface RedactionRules {
  readonly patterns: readonly RedactionKind[];
  /** Patterns in RE2 syntax; what they find becomes `[NAME_1]`. */
  readonly custom: readonly { readonly name: string; readonly pattern: string }[];
  /** JSON pointers into `{inputs, outputs, metadata}`; `*` stands for every member or item. */
  readonly drop: readonly string[];
}

/** Parts of an example as JSON texts. */
export interface ExampleTexts {
  readonly inputs: string;
  readonly outputs: string | null;
  readonly metadata: string;
}

export interface Redacted extends ExampleTexts {
  /** How often which pattern was found, by its name in placeholders. */
  readonly found: Readonly<Record<string, number>>;
}

export class TooMuchToRedact extends Error {}

/** Why a text is no pattern; undefined where it is one. */
export function patternProblem(pattern: string): string | undefined {
  if (pattern === '' || pattern.length > MAX_PATTERN_LENGTH) {
    return `A pattern has 1 to ${MAX_PATTERN_LENGTH} characters.`;
  }
  try {
    return RE2JS.compile(pattern).matcher('').matches() ? 'A pattern must not match nothing.' : undefined;
  } catch (error) {
    return `This is not a pattern in RE2 syntax: ${error instanceof Error ? error.message : 'unknown'}.`;
  }
}

export class Redactor {
  readonly #finders: readonly (readonly [name: string, find: Finder])[];
  readonly #hidesSecrets: boolean;
  readonly #hidesCards: boolean;
  readonly #custom: number;
  readonly #drop: readonly (readonly string[])[];

  /** @throws Error for a pattern that is none. */
  constructor({ patterns, custom, drop }: RedactionRules) {
    const builtIn = (Object.keys(FINDERS) as RedactionKind[]).filter((kind) => patterns.includes(kind));
    this.#finders = [
      ...builtIn.map((kind) => [kind.toUpperCase(), FINDERS[kind]] as const),
      ...custom.map(({ name, pattern }) => [name, finderOf(RE2JS.compile(pattern))] as const),
    ];
    this.#hidesSecrets = patterns.includes('secret');
    this.#hidesCards = patterns.includes('credit_card');
    this.#custom = custom.length;
    this.#drop = drop.map((pointer) => pointer.slice(1).split('/').map(unescaped));
  }

  /** @throws TooMuchToRedact and whatever else goes wrong. */
  redact(example: ExampleTexts): Redacted {
    const chars = example.inputs.length + (example.outputs?.length ?? 0) + example.metadata.length;
    if (chars > MAX_REDACTED_CHARS || chars * this.#custom > MAX_CUSTOM_WORK) throw new TooMuchToRedact();
    const kept = this.#drop.length === 0 ? example : this.#dropped(example);
    if (this.#finders.length === 0) return { ...kept, found: {} };
    const placeholders = new Placeholders();
    const inputs = this.#json(kept.inputs, placeholders);
    const outputs = kept.outputs === null ? null : this.#json(kept.outputs, placeholders);
    const metadata = this.#json(kept.metadata, placeholders);
    return { inputs, outputs, metadata, found: placeholders.found };
  }

  #dropped({ inputs, outputs, metadata }: ExampleTexts): ExampleTexts {
    const example: JsonObject = {
      inputs: JSON.parse(inputs) as JsonValue,
      outputs: outputs === null ? null : (JSON.parse(outputs) as JsonValue),
      metadata: JSON.parse(metadata) as JsonValue,
    };
    const touched = new Set(this.#drop.filter((path) => drop(example, path) > 0).map(([part]) => part));
    const text = (part: string, before: string | null): string | null => {
      if (touched.has('*') || touched.has(part)) return toText(example[part]);
      return before;
    };
    return {
      inputs: text('inputs', inputs) ?? 'null',
      outputs: text('outputs', outputs),
      metadata: text('metadata', metadata) ?? '{}',
    };
  }

  /** Tokens are strings (names of members among them) and numbers; everything else cannot hold anything. */
  #json(text: string, placeholders: Placeholders): string {
    let result = '';
    let done = 0;
    let key = '';
    for (let at = 0; at < text.length; at += 1) {
      const code = text.charCodeAt(at);
      if (code === QUOTE) {
        const end = closingQuote(text, at) + 1;
        if (end <= at) throw new SyntaxError('a string does not end');
        const isKey = isName(text, end);
        const value = JSON.parse(text.slice(at, end)) as string;
        const hidden =
          !isKey && this.#hidesSecrets && namesSecret(key) && value !== ''
            ? placeholders.of('SECRET', value)
            : this.#text(value, placeholders);
        if (hidden !== value) {
          result += text.slice(done, at) + JSON.stringify(hidden);
          done = end;
        }
        key = isKey ? value : '';
        at = end - 1;
      } else if (code === MINUS || isDigit(code)) {
        const end = numberEnd(text, at);
        const number = text.slice(at, end);
        const hidden = this.#number(number, key, placeholders);
        if (hidden !== number) {
          result += text.slice(done, at) + JSON.stringify(hidden);
          done = end;
        }
        key = '';
        at = end - 1;
      } else if (code === OPEN_BRACE || code === OPEN_BRACKET || code === COMMA) key = '';
    }
    return result + text.slice(done);
  }

  #number(text: string, key: string, placeholders: Placeholders): string {
    if (this.#hidesSecrets && namesSecret(key)) return placeholders.of('SECRET', text);
    // One of so many digits may have been written with others than were meant.
    const digits = text.replace(/\D/g, '').length;
    if (this.#hidesCards && /^\d+$/.test(text) && digits > EXACT_DIGITS && digits <= 19) {
      return placeholders.of('CREDIT_CARD', text);
    }
    return this.#text(text, placeholders);
  }

  #text(text: string, placeholders: Placeholders): string {
    let result = text;
    for (const [name, find] of this.#finders) {
      const spans = find(result);
      if (spans.length === 0) continue;
      let hidden = '';
      let done = 0;
      for (const [from, to] of spans) {
        hidden += result.slice(done, from) + placeholders.of(name, result.slice(from, to));
        done = to;
      }
      result = hidden + result.slice(done);
    }
    return result;
  }
}

const QUOTE = 0x22;
const MINUS = 0x2d;
const COMMA = 0x2c;
const OPEN_BRACE = 0x7b;
const OPEN_BRACKET = 0x5b;

const isDigit = (code: number): boolean => code >= 0x30 && code <= 0x39;

const COLON = /[ \t\r\n]*:/y;

/** Whether the string that ends there is the name of a member. */
function isName(text: string, end: number): boolean {
  COLON.lastIndex = end;
  return COLON.test(text);
}

const NUMBER = /-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?/y;

function numberEnd(text: string, at: number): number {
  NUMBER.lastIndex = at;
  return NUMBER.test(text) ? NUMBER.lastIndex : at + 1;
}

/** Numbered in order of appearance, by kind. */
class Placeholders {
  readonly found: Record<string, number> = {};
  readonly #known = new Map<string, string>();
  readonly #last = new Map<string, number>();

  of(name: string, value: string): string {
    this.found[name] = (this.found[name] ?? 0) + 1;
    const key = `${name} ${value}`;
    const known = this.#known.get(key);
    if (known !== undefined) return known;
    const number = (this.#last.get(name) ?? 0) + 1;
    this.#last.set(name, number);
    const made = `[${name}_${number}]`;
    this.#known.set(key, made);
    return made;
  }
}

/** The linear engine: no pattern can take longer than the text times its own length. */
const finderOf =
  (pattern: RE2JS): Finder =>
  (text) => {
    const spans: Span[] = [];
    const matcher = pattern.matcher(text);
    while (matcher.find()) {
      if (matcher.end() > matcher.start()) spans.push([matcher.start(), matcher.end()]);
    }
    return merged(spans);
  };

const unescaped = (part: string): string => part.replaceAll('~1', '/').replaceAll('~0', '~');

const toText = (value: JsonValue | undefined): string | null =>
  value === undefined || value === null ? null : JSON.stringify(value);

/** Removes what a path names; items of lists become null, so that others keep their places. Returns how many. */
function drop(value: JsonValue | undefined, [part, ...rest]: readonly string[]): number {
  if (typeof value !== 'object' || value === null || part === undefined) return 0;
  const names = part === '*' ? Object.keys(value) : Object.hasOwn(value, part) ? [part] : [];
  let dropped = 0;
  for (const name of names) {
    const container = value as Record<string, JsonValue>;
    if (rest.length > 0) {
      dropped += drop(container[name], rest);
    } else {
      if (Array.isArray(value)) value[Number(name)] = null;
      else Reflect.deleteProperty(container, name);
      dropped += 1;
    }
  }
  return dropped;
}
