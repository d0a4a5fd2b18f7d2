/**
 * Patterns of `like`: `%` is any text, `_` any one character, a backslash takes the next character literally, and a
 * pattern without `%` is looked for anywhere in the text. Case matters. Pure.
 */

const ANY = Symbol('%');
const ONE = Symbol('_');
type Piece = string | typeof ANY | typeof ONE;

export interface LikePattern {
  /** For SQL's `like` with its default escape character. Never ends in a lone backslash, which SQL refuses. */
  readonly sql: string;
  matches(text: string): boolean;
}

export function likePattern(pattern: string): LikePattern {
  const parsed = pieces(pattern);
  const framed: readonly Piece[] = parsed.includes(ANY) ? parsed : [ANY, ...parsed, ANY];
  return { sql: framed.map(toSql).join(''), matches: (text) => matches(framed, Array.from(text)) };
}

function pieces(pattern: string): Piece[] {
  const found: Piece[] = [];
  let escaped = false;
  for (const char of pattern) {
    if (escaped || (char !== '\\' && char !== '%' && char !== '_')) {
      found.push(char);
      escaped = false;
    } else if (char === '\\') escaped = true;
    else found.push(char === '%' ? ANY : ONE);
  }
  if (escaped) found.push('\\');
  return found;
}

function toSql(piece: Piece): string {
  if (piece === ANY) return '%';
  if (piece === ONE) return '_';
  return piece === '%' || piece === '_' || piece === '\\' ? `\\${piece}` : piece;
}

/** Greedy with one point of return per `%`: at worst text times pattern, never exponential. */
function matches(pattern: readonly Piece[], text: readonly string[]): boolean {
  let p = 0;
  let t = 0;
  let resumePattern = -1;
  let resumeText = -1;
  while (t < text.length) {
    const piece = pattern[p];
    if (piece === ANY) {
      resumePattern = p += 1;
      resumeText = t;
    } else if (piece !== undefined && (piece === ONE || piece === text[t])) {
      p += 1;
      t += 1;
    } else if (resumePattern >= 0) {
      p = resumePattern;
      t = resumeText += 1;
    } else return false;
  }
  while (pattern[p] === ANY) p += 1;
  return p === pattern.length;
}
