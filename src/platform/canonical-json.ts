/** JSON text that is equal for equal values, whatever the order of their keys. */
export function canonicalJson(value: unknown): string {
  if (value === undefined) return '';
  return written(value) ?? JSON.stringify(value, sortedKeys);
}

/**
 * The text of plain JSON, several times faster than asking a function about every member; undefined where that is needed:
 * for objects that write themselves, and for keys that begin with a digit, which may be indexes and come first whatever
 * their order.
 */
function written(value: unknown): string | undefined {
  if (typeof value !== 'object' || value === null) return JSON.stringify(value);
  let text = '';
  if (Array.isArray(value)) {
    for (const item of value as readonly unknown[]) {
      const inner = item === undefined ? 'null' : written(item);
      if (inner === undefined) return undefined;
      text += text === '' ? inner : `,${inner}`;
    }
    return `[${text}]`;
  }
  if ('toJSON' in value) return undefined;
  const keys = Object.keys(value);
  if (keys.length > 1) keys.sort();
  for (const key of keys) {
    if (key >= '0' && key < ':') return undefined;
    const member = (value as Record<string, unknown>)[key];
    if (member === undefined) continue;
    const inner = written(member);
    if (inner === undefined) return undefined;
    text += `${text === '' ? '' : ','}${JSON.stringify(key)}:${inner}`;
  }
  return `{${text}}`;
}

function sortedKeys(_key: string, value: unknown): unknown {
  if (value === null || typeof value !== 'object' || Array.isArray(value)) return value;
  return Object.fromEntries(Object.entries(value).sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0)));
}

// Strings are consumed whole, so that digits in them are no numbers.
const TOKENS = /"(?:[^"\\]|\\.)*"|-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?/gs;
/** Digits a double holds for sure. */
const EXACT_DIGITS = 15;
const LONG_NUMBER = /[\d.]{16}|\d[eE]/;

/**
 * The same for JSON text: equal for texts that differ in white space and order of keys alone. Numbers with more digits
 * than a double holds keep them, where parsing would make neighbours equal.
 * @param value what the text says, where that is known.
 * @throws SyntaxError when it is no JSON.
 */
export function canonicalJsonText(text: string, value?: unknown): string {
  if (!LONG_NUMBER.test(text)) return canonicalJson(value === undefined ? JSON.parse(text) : value);
  const kept = text.replace(TOKENS, (token) =>
    // No storable string begins with NUL.
    token.startsWith(QUOTE) || isExact(token) ? token : `"\\u0000${token}"`,
  );
  return canonicalJson(JSON.parse(kept));
}

const QUOTE = '"';

const isExact = (token: string): boolean =>
  token.replace(/\D/g, '').length <= EXACT_DIGITS && Number.isFinite(Number(token));
