/** JSON text that is equal for equal values, whatever the order of their keys. */
export function canonicalJson(value: unknown): string {
  if (value === undefined) return '';
  return isSorted(value) ? JSON.stringify(value) : JSON.stringify(value, sortedKeys);
}

/**
 * Whether keys are in order already, so that writing the value as it is will do: several times faster. Keys that begin
 * with a digit may be indexes, which come first whatever their order.
 */
function isSorted(value: unknown): boolean {
  if (typeof value !== 'object' || value === null) return true;
  if (Array.isArray(value)) return value.every(isSorted);
  let last = '';
  for (const [key, inner] of Object.entries(value)) {
    if (key < last || (key >= '0' && key < ':') || !isSorted(inner)) return false;
    last = key;
  }
  return true;
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
