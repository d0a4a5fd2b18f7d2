/**
 * JSON as text: what has to be true of a client's text before it may be stored or parsed. Everything here works
 * without recursion, because a megabyte of "[" is a legal body, and looks at the text natively first, because
 * nearly every text is already clean.
 */

/** Nesting above this is stored as a string: `JSON.stringify` overflows at 50,000 levels. */
export const MAX_JSON_DEPTH = 512;

const QUOTE = '"';
const BACKSLASH = 0x5c;
const SUSPICIOUS_ESCAPE = /\\u(?:0000|[dD][89a-fA-F])/;
// A valid pair, then any other escape: an escaped backslash is consumed as a whole, so what follows it is text.
const ESCAPES = /\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|\\u([0-9a-fA-F]{4})|\\./gs;

/**
 * The text with NUL as U+2400 and lone surrogates as U+FFFD, raw or escaped: Postgres refuses both, some only when
 * the value is read. Everything else, digits of large numbers included, stays as it was.
 */
export function cleanJsonText(text: string): string {
  const raw = text.includes('\0') ? text.replaceAll('\0', '\u2400') : text;
  if (!raw.includes('\\u') || !SUSPICIOUS_ESCAPE.test(raw) || !hasUnstorableEscape(raw)) return raw;
  return raw.replace(ESCAPES, (escape: string, hex: string | undefined) => {
    if (hex === undefined) return escape;
    const code = Number.parseInt(hex, 16);
    if (code === 0) return '\\u2400';
    return code >= 0xd800 && code <= 0xdfff ? '\\ufffd' : escape;
  });
}

/**
 * Whether an escape is NUL or half a surrogate pair. Python escapes every emoji as a pair, so this must not cost
 * what replacing does: it is a tenth of it.
 */
function hasUnstorableEscape(text: string): boolean {
  let at = text.indexOf('\\');
  while (at !== -1) {
    let length = 2;
    if (text.charCodeAt(at + 1) === 0x75 /* u */) {
      length = 6;
      const unit = surrogateAt(text, at);
      if (unit === 'low' || text.startsWith('0000', at + 2)) return true;
      if (unit === 'high') {
        if (
          text.charCodeAt(at + 6) !== BACKSLASH ||
          text.charCodeAt(at + 7) !== 0x75 ||
          surrogateAt(text, at + 6) !== 'low'
        ) {
          return true;
        }
        length = 12;
      }
    }
    at = text.indexOf('\\', at + length);
  }
  return false;
}

/** Which half of a pair the escape at `at` is: D8 to DB begin one, DC to DF end one. */
function surrogateAt(text: string, at: number): 'high' | 'low' | undefined {
  if ((text.charCodeAt(at + 2) | 0x20) !== 0x64 /* d */) return undefined;
  const second = text.charCodeAt(at + 3) | 0x20;
  if (second === 0x38 || second === 0x39 || second === 0x61 || second === 0x62) return 'high';
  return second >= 0x63 && second <= 0x66 ? 'low' : undefined;
}

/** A plain string made storable, for text that did not come as JSON. */
export function cleanText(text: string): string {
  const wellFormed = text.isWellFormed() ? text : text.toWellFormed();
  return wellFormed.includes('\0') ? wellFormed.replaceAll('\0', '\u2400') : wellFormed;
}

/** The index of the quote that closes the string opened at `open`; -1 when it is not closed. */
export function closingQuote(text: string, open: number): number {
  for (let quote = text.indexOf(QUOTE, open + 1); quote !== -1; quote = text.indexOf(QUOTE, quote + 1)) {
    let slash = quote - 1;
    while (text.charCodeAt(slash) === BACKSLASH) slash -= 1;
    if ((quote - slash) % 2 === 1) return quote;
  }
  return -1;
}

/** Whether brackets nest deeper than `limit`. Strings are jumped over natively: most of a payload is strings. */
export function isDeeperThan(text: string, limit: number): boolean {
  if (text.length <= limit) return false;
  let depth = 0;
  for (let at = 0; at < text.length; at += 1) {
    const code = text.charCodeAt(at);
    if (code === 0x22) {
      at = closingQuote(text, at);
      if (at === -1) return false;
    } else if (code === 0x5b || code === 0x7b) {
      depth += 1;
      if (depth > limit) return true;
    } else if (code === 0x5d || code === 0x7d) depth -= 1;
  }
  return false;
}

/** Texts of more characters may take long however they look. */
export const LONG_TEXT = 1_048_576;
/** Objects and lists that are parsed in some five milliseconds. */
export const MANY_CONTAINERS = 15_000;

/** Whether `JSON.parse` may hold everything else up for longer than a few milliseconds. */
export function takesLongToParse(text: string): boolean {
  if (text.length <= MANY_CONTAINERS * 2) return false;
  if (text.length > LONG_TEXT) return true;
  let containers = 0;
  for (let at = 0; at < text.length; at += 1) {
    const code = text.charCodeAt(at);
    if (code === 0x22) {
      at = closingQuote(text, at);
      if (at === -1) return false;
    } else if ((code === 0x5b || code === 0x7b) && ++containers > MANY_CONTAINERS) return true;
  }
  return false;
}

/** Whether objects and arrays nest deeper than `limit` in a parsed value. */
export function nestsDeeper(value: unknown, limit: number): boolean {
  let level: unknown[] = [value];
  for (let depth = 0; level.length > 0; depth += 1) {
    const next: unknown[] = [];
    for (const item of level) {
      if (typeof item !== 'object' || item === null) continue;
      if (depth === limit) return true;
      for (const inner of Array.isArray(item) ? item : Object.values(item)) {
        if (typeof inner === 'object' && inner !== null) next.push(inner);
      }
    }
    level = next;
  }
  return false;
}

/** `JSON.stringify` for parsed JSON of any depth. */
export function stringifyDeep(value: unknown): string {
  const parts: string[] = [];
  // Either text to append or a value still to be written.
  const work: ({ readonly text: string } | { readonly value: unknown })[] = [{ value }];
  for (let item = work.pop(); item !== undefined; item = work.pop()) {
    if ('text' in item) {
      parts.push(item.text);
    } else if (typeof item.value !== 'object' || item.value === null) {
      parts.push(item.value === undefined ? 'null' : JSON.stringify(item.value));
    } else if (Array.isArray(item.value)) {
      const list: readonly unknown[] = item.value;
      work.push({ text: ']' });
      for (let index = list.length - 1; index >= 0; index -= 1) {
        work.push({ value: list[index] }, { text: index === 0 ? '' : ',' });
      }
      parts.push('[');
    } else {
      const entries = Object.entries(item.value);
      work.push({ text: '}' });
      for (let index = entries.length - 1; index >= 0; index -= 1) {
        const [key, inner] = entries[index] as [string, unknown];
        work.push({ value: inner }, { text: `${index === 0 ? '' : ','}${JSON.stringify(key)}:` });
      }
      parts.push('{');
    }
  }
  return parts.join('');
}

const NON_FINITE = /(-?Infinity|NaN)(?![A-Za-z0-9_$])/g;

/** The text with NaN, Infinity and -Infinity outside strings (Python writes them) replaced; undefined if there are none. */
export function replaceNonFinite(text: string, replacement: string): string | undefined {
  if (!text.includes('NaN') && !text.includes('Infinity')) return undefined;
  const parts: string[] = [];
  let found = false;
  for (let at = 0; at < text.length;) {
    const open = text.indexOf(QUOTE, at);
    const outside = open === -1 ? text.slice(at) : text.slice(at, open);
    const replaced = outside.replace(NON_FINITE, replacement);
    found ||= replaced !== outside;
    parts.push(replaced);
    if (open === -1) break;
    const close = closingQuote(text, open);
    if (close === -1) return undefined;
    parts.push(text.slice(open, close + 1));
    at = close + 1;
  }
  return found ? parts.join('') : undefined;
}
