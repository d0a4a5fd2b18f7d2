/**
 * JSON read a piece per turn of the event loop. `JSON.parse` of a body of many small values holds everything else up
 * for seconds and fills the heap; here a text is checked and taken apart by position, and only what is needed becomes
 * values. Works without recursion.
 */
import { setImmediate } from 'node:timers/promises';

/** What is done before others get their turn, in tokens read: some two milliseconds. */
const TOKENS_PER_TURN = 25_000;
/** Characters that may cost as much as a token once they are values. */
const CHARACTERS_PER_TOKEN = 2;
/** Values of more characters are not made in one go. */
export const LARGE_VALUE = 65_536;

/** A value in a text, from its first character to behind its last. */
export interface JsonRange {
  readonly start: number;
  readonly end: number;
  /** Levels of nesting; 0 for a scalar. */
  readonly depth: number;
  /** Objects and lists in it, itself included. */
  readonly containers: number;
  /** Whether NaN, Infinity or -Infinity, which Python writes and JSON has not, is in it. */
  readonly nonFinite: boolean;
}

type State = 'value' | 'value or end' | 'key' | 'key or end' | 'after';

const QUOTE = 0x22;
const COMMA = 0x2c;
const COLON = 0x3a;
const BACKSLASH = 0x5c;
export const OPEN_BRACKET = 0x5b;
const CLOSE_BRACKET = 0x5d;
export const OPEN_BRACE = 0x7b;
const CLOSE_BRACE = 0x7d;

// White space beyond the four characters is refused by what is expected behind it.
const WHITESPACE = /[ \t\n\r]*/y;
const PLAIN_TEXT = /[^"\\\u0000-\u001f]*/y;
const ESCAPE = /\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4})/y;
const NUMBER = /-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?/y;
const LITERAL = /true|false|null/y;
const NON_FINITE = /NaN|-?Infinity/y;

export class JsonCursor {
  /** Starts and ends of the containers of more than LARGE_VALUE characters that were skipped. */
  readonly large = new Map<number, number>();
  readonly #text: string;
  #at: number;
  #tokens = TOKENS_PER_TURN;
  // Of the value that is being skipped.
  #state: State = 'value';
  #inString = false;
  #starts = new Float64Array(64);
  #depth = 0;
  #deepest = 0;
  #containers = 0;
  #nonFinite = false;

  constructor(text: string, at = 0) {
    this.#text = text;
    this.#at = at;
  }

  /** The next character that counts, as its code; NaN at the end. */
  peek(): number {
    const code = this.#text.charCodeAt(this.#at);
    if (code > 0x20) return code;
    this.#match(WHITESPACE);
    return this.#text.charCodeAt(this.#at);
  }

  /** Where the next character that counts is. */
  get position(): number {
    this.peek();
    return this.#at;
  }

  /** @throws SyntaxError when there is more than white space. */
  end(): void {
    if (this.position < this.#text.length) this.#fail();
  }

  /**
   * The members of the object that begins here, one after the other. `visit` leaves the cursor behind the value.
   * @throws SyntaxError when the text is no JSON.
   */
  async members(visit: (key: string) => Promise<void>): Promise<void> {
    if (!this.#takes(OPEN_BRACE)) this.#fail();
    if (this.#takes(CLOSE_BRACE)) return;
    do {
      const start = this.position;
      if (!this.#takes(QUOTE)) this.#fail();
      while (!this.#finishString()) await this.#yield();
      const key = JSON.parse(this.#text.slice(start, this.#at)) as string;
      if (!this.#takes(COLON)) this.#fail();
      await visit(key);
    } while (this.#takes(COMMA));
    if (!this.#takes(CLOSE_BRACE)) this.#fail();
  }

  /** The items of the array that begins here, as `members`. */
  async items(visit: (index: number) => Promise<void>): Promise<void> {
    if (!this.#takes(OPEN_BRACKET)) this.#fail();
    if (this.#takes(CLOSE_BRACKET)) return;
    let index = 0;
    do await visit(index++);
    while (this.#takes(COMMA));
    if (!this.#takes(CLOSE_BRACKET)) this.#fail();
  }

  /**
   * Goes behind the value that begins here.
   * @throws SyntaxError when it is no JSON.
   */
  async skip(): Promise<JsonRange> {
    const start = this.position;
    this.#state = 'value';
    this.#depth = 0;
    this.#deepest = 0;
    this.#containers = 0;
    this.#nonFinite = false;
    while (!this.#advance()) await this.#yield();
    return {
      start,
      end: this.#at,
      depth: this.#deepest,
      containers: this.#containers,
      nonFinite: this.#nonFinite,
    };
  }

  /** Leaves others their turn if making values of so many characters has used up this one. */
  async charge(characters: number): Promise<void> {
    this.#tokens -= characters / CHARACTERS_PER_TOKEN;
    if (this.#tokens <= 0) await this.#yield();
  }

  async #yield(): Promise<void> {
    await setImmediate();
    this.#tokens = TOKENS_PER_TURN;
  }

  /** Whether the value has been passed; false when it is another's turn. */
  #advance(): boolean {
    while (this.#tokens > 0) {
      this.#tokens -= 1;
      if (this.#inString) {
        if (!this.#finishString()) return false;
        if (this.#passString()) return true;
        continue;
      }
      const code = this.peek();
      if (this.#state === 'after') {
        const object = (this.#starts[this.#depth - 1] ?? 0) < 0;
        if (code === COMMA) {
          this.#at += 1;
          this.#state = object ? 'key' : 'value';
        } else if (code !== (object ? CLOSE_BRACE : CLOSE_BRACKET)) this.#fail();
        else if (this.#close()) return true;
      } else if (code === QUOTE) {
        this.#at += 1;
        this.#inString = true;
      } else if (code === CLOSE_BRACE && this.#state === 'key or end') {
        if (this.#close()) return true;
      } else if (code === CLOSE_BRACKET && this.#state === 'value or end') {
        if (this.#close()) return true;
      } else if (this.#state === 'key' || this.#state === 'key or end') this.#fail();
      else if (code === OPEN_BRACE) this.#open(-1, 'key or end');
      else if (code === OPEN_BRACKET) this.#open(1, 'value or end');
      else {
        this.#skipWord();
        this.#state = 'after';
        if (this.#depth === 0) return true;
      }
    }
    return false;
  }

  /** Objects are told from arrays by the sign of their start, which begins at one. */
  #open(sign: 1 | -1, state: State): void {
    if (this.#depth === this.#starts.length) {
      const grown = new Float64Array(this.#depth * 2);
      grown.set(this.#starts);
      this.#starts = grown;
    }
    this.#starts[this.#depth] = sign * (this.#at + 1);
    this.#depth += 1;
    this.#containers += 1;
    if (this.#depth > this.#deepest) this.#deepest = this.#depth;
    this.#at += 1;
    this.#state = state;
  }

  #close(): boolean {
    this.#depth -= 1;
    this.#at += 1;
    this.#state = 'after';
    const start = Math.abs(this.#starts[this.#depth] ?? 0) - 1;
    if (this.#at - start > LARGE_VALUE) this.large.set(start, this.#at);
    return this.#depth === 0;
  }

  /** Behind a string that was a key or a value. */
  #passString(): boolean {
    if (this.#state === 'key' || this.#state === 'key or end') {
      if (!this.#takes(COLON)) this.#fail();
      this.#state = 'value';
      return false;
    }
    this.#state = 'after';
    return this.#depth === 0;
  }

  /** Goes behind the closing quote; false when it is another's turn. */
  #finishString(): boolean {
    for (; this.#tokens > 0; this.#tokens -= 1) {
      this.#match(PLAIN_TEXT);
      const code = this.#text.charCodeAt(this.#at);
      if (code === QUOTE) {
        this.#at += 1;
        this.#inString = false;
        return true;
      }
      if (code !== BACKSLASH || !this.#match(ESCAPE)) this.#fail();
    }
    return false;
  }

  #skipWord(): void {
    if (this.#match(NUMBER) || this.#match(LITERAL)) return;
    if (!this.#match(NON_FINITE)) this.#fail();
    this.#nonFinite = true;
  }

  #takes(code: number): boolean {
    if (this.peek() !== code) return false;
    this.#at += 1;
    return true;
  }

  #match(pattern: RegExp): boolean {
    pattern.lastIndex = this.#at;
    if (!pattern.test(this.#text)) return false;
    this.#at = pattern.lastIndex;
    return true;
  }

  #fail(): never {
    // The text belongs into no message: it is a client's.
    throw new SyntaxError(`Not valid JSON at position ${this.#at}.`);
  }
}

/** Objects and lists that are made of one text: some 100 MB of memory. */
const MAX_CONTAINERS = 1_000_000;

/** The text is JSON of which no value is made: it nests too deep, or holds too many objects and lists. */
export class JsonShapeError extends Error {
  constructor(readonly problem: 'deep' | 'many') {
    super(problem === 'deep' ? 'JSON nests too deep' : `more than ${MAX_CONTAINERS} objects and lists`);
  }
}

/**
 * `JSON.parse` of a large text, a piece per turn.
 * @throws SyntaxError when it is no JSON; JsonShapeError.
 */
export async function parseInTurns(text: string, maxDepth: number): Promise<unknown> {
  const found = new JsonCursor(text);
  const { depth, containers, nonFinite } = await found.skip();
  found.end();
  if (nonFinite) throw new SyntaxError('Not valid JSON: a number that is not finite.');
  if (depth > maxDepth) throw new JsonShapeError('deep');
  if (containers > MAX_CONTAINERS) throw new JsonShapeError('many');
  const cursor = new JsonCursor(text);
  const read = async (): Promise<unknown> => {
    if (!found.large.has(cursor.position)) {
      const { start, end } = await cursor.skip();
      await cursor.charge(end - start);
      return JSON.parse(text.slice(start, end));
    }
    if (cursor.peek() === OPEN_BRACKET) {
      const list: unknown[] = [];
      await cursor.items(async () => void list.push(await read()));
      return list;
    }
    const object: Record<string, unknown> = {};
    await cursor.members(async (key) => {
      const value = await read();
      if (key === '__proto__') {
        Object.defineProperty(object, key, { value, enumerable: true, configurable: true, writable: true });
      } else object[key] = value;
    });
    return object;
  };
  return read();
}
