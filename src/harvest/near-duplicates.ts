/**
 * Finds texts that are nearly the same: the share of overlapping pieces of five characters (Jaccard), estimated by
 * MinHash and looked up by locality-sensitive hashing. The same texts in the same order give the same answers, in
 * every process. Pure.
 */
import type { JsonValue } from '../ingest/run-event.js';

const HASHES = 64;
const ROWS = 4;
const BANDS = HASHES / ROWS;
const SHINGLE = 5;
/** What is behind is not looked at. */
const MAX_CHARS = 65_536;

/** Below this, too many pairs would be missed: the chance to find one at 0.6 is 89%, at 0.8 it is 99.98%. */
export const MIN_THRESHOLD = 0.6;
/** Texts that share a band are compared up to this many, the earliest first: thousands alike are no news. */
const MAX_COMPARED = 1_000;
/** Texts one index holds, for some 3 KB each. */
export const MAX_INDEXED = 50_000;

export type Signature = Uint32Array;

/** The words of all strings and numbers in a value, in any order of members; names of members do not count. */
export function comparableText(value: JsonValue): string {
  const parts: string[] = [];
  let length = 0;
  const visit = (part: JsonValue): void => {
    if (length > MAX_CHARS || part === null) return;
    if (Array.isArray(part)) for (const item of part) visit(item);
    else if (typeof part === 'object') for (const key of Object.keys(part).sort()) visit(part[key] ?? null);
    else {
      const text = String(part);
      parts.push(text);
      length += text.length + 1;
    }
  };
  visit(value);
  return parts
    .join(' ')
    .slice(0, MAX_CHARS)
    .normalize('NFKC')
    .toLowerCase()
    .replace(/[^\p{L}\p{N}]+/gu, ' ')
    .trim();
}

/** FNV-1a, with the bits mixed once more. */
function hash(text: string, from: number, to: number): number {
  let value = 0x811c9dc5;
  for (let at = from; at < to; at += 1) value = Math.imul(value ^ text.charCodeAt(at), 0x01000193);
  return mix(value);
}

function mix(value: number): number {
  let mixed = Math.imul(value ^ (value >>> 16), 0x85ebca6b);
  mixed = Math.imul(mixed ^ (mixed >>> 13), 0xc2b2ae35);
  return (mixed ^ (mixed >>> 16)) >>> 0;
}

// Constants, so that signatures of different processes can be compared.
const FACTORS = Uint32Array.from({ length: HASHES }, (_, index) => mix(0x9e3779b9 + index) | 1);
const TERMS = Uint32Array.from({ length: HASHES }, (_, index) => mix(0x7f4a7c15 + index));

/** Of a text made by comparableText. Undefined for one without a word: nothing can be said of it. */
export function signatureOf(text: string): Signature | undefined {
  if (text === '') return undefined;
  const signature = new Uint32Array(HASHES).fill(0xffffffff);
  const seen = new Set<number>();
  const last = Math.max(0, text.length - SHINGLE);
  for (let at = 0; at <= last; at += 1) {
    const piece = hash(text, at, Math.min(at + SHINGLE, text.length));
    if (seen.has(piece)) continue;
    seen.add(piece);
    for (let each = 0; each < HASHES; each += 1) {
      const value = (Math.imul(piece, FACTORS[each] ?? 1) + (TERMS[each] ?? 0)) >>> 0;
      const mixed = (value ^ (value >>> 15)) >>> 0;
      if (mixed < (signature[each] ?? 0)) signature[each] = mixed;
    }
  }
  return signature;
}

/** From 0 to 1; 1 for equal texts. */
export function similarity(a: Signature, b: Signature): number {
  let equal = 0;
  for (let each = 0; each < HASHES; each += 1) if (a[each] === b[each]) equal += 1;
  return equal / HASHES;
}

export class NearIndex {
  readonly #threshold: number;
  readonly #signatures: Signature[] = [];
  readonly #ids: string[] = [];
  readonly #buckets = Array.from({ length: BANDS }, () => new Map<number, number[]>());

  /** @param threshold from MIN_THRESHOLD to 1: how alike two texts must be. */
  constructor(threshold: number) {
    this.#threshold = threshold;
  }

  get size(): number {
    return this.#ids.length;
  }

  /** The most similar of those that are alike enough, the earliest where several are; undefined where none is. */
  find(signature: Signature): string | undefined {
    let best: { place: number; share: number } | undefined;
    const looked = new Set<number>();
    for (const [band, bucket] of this.#buckets.entries()) {
      for (const place of bucket.get(bandHash(signature, band)) ?? []) {
        if (looked.has(place)) continue;
        if (looked.size === MAX_COMPARED) return best && this.#ids[best.place];
        looked.add(place);
        const other = this.#signatures[place];
        const share = other === undefined ? 0 : similarity(signature, other);
        if (share < this.#threshold) continue;
        const isBetter =
          best === undefined || share > best.share || (share === best.share && place < best.place);
        if (isBetter) best = { place, share };
      }
    }
    return best && this.#ids[best.place];
  }

  add(id: string, signature: Signature): void {
    const place = this.#ids.push(id) - 1;
    this.#signatures.push(signature);
    for (const [band, bucket] of this.#buckets.entries()) {
      const key = bandHash(signature, band);
      const places = bucket.get(key);
      if (places === undefined) bucket.set(key, [place]);
      else places.push(place);
    }
  }
}

function bandHash(signature: Signature, band: number): number {
  let value = band + 1;
  for (let row = 0; row < ROWS; row += 1) value = mix(value ^ (signature[band * ROWS + row] ?? 0));
  return value;
}
