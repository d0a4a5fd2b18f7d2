/** Evaluators that look at the output as text: equality, phrases, patterns, length, edit distance. Pure. */
import { distance } from 'fastest-levenshtein';
import { RE2JS } from 're2js';
import type { JsonValue } from '../ingest/run-event.js';
import { canonicalJson } from '../platform/canonical-json.js';
import type { EvaluationSubject, Score } from './evaluation.js';
import type { ConfigOf } from './evaluator-config.js';
import { asText, NotApplicable, pickPresent } from './pick.js';

/** A score without its key. */
export type Verdict = Omit<Score, 'key'>;

/** Characters a pattern is matched against: the linear engine takes some 0.5 µs for each. */
export const MAX_MATCHED_LENGTH = 262_144;
/** Code points of each text whose edit distance is computed: the time grows with their product. */
export const MAX_COMPARED_LENGTH = 10_000;
const MAX_NAMED = 10;

type Normalisation = Pick<ConfigOf<'exact_match'>, 'ignoreCase' | 'whitespace' | 'unicode'>;

/** Texts that mean the same by the config's lights come out equal. Doing it twice changes nothing. */
export function normalise(text: string, { ignoreCase, whitespace, unicode }: Normalisation): string {
  let normal = text;
  if (ignoreCase) normal = foldCase(normal);
  if (unicode !== 'none') normal = normal.normalize(unicode);
  // Composing can yield letters that have a lower case of their own.
  if (ignoreCase && unicode !== 'none') normal = foldCase(normal).normalize(unicode);
  if (whitespace === 'collapse') normal = normal.replace(/\s+/g, ' ');
  return whitespace === 'keep' ? normal : normal.trim();
}

// Upper case first: "ß" and "SS", "ς" and "Σ" meet there only.
const foldCase = (text: string): string => text.toUpperCase().toLowerCase();

const outputText = ({ run }: EvaluationSubject, path: string): string =>
  asText(pickPresent(run.outputs, path, 'output'));

export function referenceOf({ example }: EvaluationSubject, path: string): JsonValue {
  if (example === undefined) {
    throw new NotApplicable('There is no reference output: the run belongs to no example.');
  }
  return pickPresent(example.reference, path, 'reference output');
}

export function exactMatch(config: ConfigOf<'exact_match'>, subject: EvaluationSubject): Verdict {
  const actual = pickPresent(subject.run.outputs, config.outputPath, 'output');
  const expected = config.expected ?? referenceOf(subject, config.referencePath);
  const comparable = config.compare === 'json' ? comparableJson : (value: JsonValue) => asText(value);
  return { score: normalise(comparable(actual), config) === normalise(comparable(expected), config) };
}

/** Texts that hold JSON are compared by what they hold. */
function comparableJson(value: JsonValue): string {
  if (typeof value !== 'string') return canonicalJson(value);
  try {
    return canonicalJson(JSON.parse(value));
  } catch {
    return canonicalJson(value);
  }
}

type PhraseConfig = ConfigOf<'contains'> | ConfigOf<'forbidden_phrases'> | ConfigOf<'required_keywords'>;

/** The phrases that are in the output, and those that are not. */
function findPhrases(
  config: PhraseConfig,
  subject: EvaluationSubject,
): { found: string[]; missing: string[] } {
  const phrases = config.phrases ?? phrasesOf(referenceOf(subject, config.referencePath));
  const text = normalise(outputText(subject, config.outputPath), config);
  const found: string[] = [];
  const missing: string[] = [];
  for (const phrase of phrases) {
    const normal = normalise(phrase, config);
    if (normal === '') throw new NotApplicable('A phrase to look for is empty.');
    const present = config.wholeWords ? hasWords(text, normal) : text.includes(normal);
    (present ? found : missing).push(phrase);
  }
  return { found, missing };
}

function phrasesOf(reference: JsonValue): string[] {
  if (!Array.isArray(reference)) return [asText(reference)];
  if (reference.length === 0) throw new NotApplicable('The reference output is an empty list of phrases.');
  return reference.map((item) => asText(item));
}

const WORD_CHARACTER = /[\p{L}\p{N}\p{M}_]/u;

function hasWords(text: string, phrase: string): boolean {
  for (let at = text.indexOf(phrase); at !== -1; at = text.indexOf(phrase, at + 1)) {
    const before = Array.from(text.slice(Math.max(0, at - 2), at)).at(-1) ?? '';
    const [behind = ''] = text.slice(at + phrase.length, at + phrase.length + 2);
    if (!WORD_CHARACTER.test(before) && !WORD_CHARACTER.test(behind)) return true;
  }
  return false;
}

export function contains(config: ConfigOf<'contains'>, subject: EvaluationSubject): Verdict {
  const { found, missing } = findPhrases(config, subject);
  if (config.match === 'any') {
    return found.length > 0 ? { score: true } : { score: false, comment: 'None of the phrases is there.' };
  }
  return missing.length === 0 ? { score: true } : { score: false, comment: `Missing: ${named(missing)}` };
}

/** True where none is there. */
export function forbiddenPhrases(config: ConfigOf<'forbidden_phrases'>, subject: EvaluationSubject): Verdict {
  const { found } = findPhrases(config, subject);
  return found.length === 0 ? { score: true } : { score: false, comment: `Found: ${named(found)}` };
}

/** The share of the keywords that is there. */
export function requiredKeywords(config: ConfigOf<'required_keywords'>, subject: EvaluationSubject): Verdict {
  const { found, missing } = findPhrases(config, subject);
  const score = found.length / (found.length + missing.length);
  return missing.length === 0 ? { score } : { score, comment: `Missing: ${named(missing)}` };
}

export function named(phrases: readonly string[]): string {
  const shown = phrases.slice(0, MAX_NAMED).map((phrase) => JSON.stringify(phrase));
  return phrases.length > MAX_NAMED
    ? `${shown.join(', ')} and ${phrases.length - MAX_NAMED} more`
    : shown.join(', ');
}

export function regex(config: ConfigOf<'regex'>, subject: EvaluationSubject): Verdict {
  const text = outputText(subject, config.outputPath);
  if (text.length > MAX_MATCHED_LENGTH) {
    throw new NotApplicable(
      `The output has ${text.length} characters; patterns take up to ${MAX_MATCHED_LENGTH}.`,
    );
  }
  const flags =
    (config.ignoreCase ? RE2JS.CASE_INSENSITIVE : 0) |
    (config.multiline ? RE2JS.MULTILINE : 0) |
    (config.dotAll ? RE2JS.DOTALL : 0);
  const matcher = RE2JS.compile(config.pattern, flags).matcher(text);
  const matched = config.match === 'full' ? matcher.matches() : matcher.find();
  return { score: matched === (config.expect === 'match') };
}

// A letter or digit and what belongs to it. Texts without spaces between words count as one word per run of letters.
const WORD = /[\p{L}\p{N}](?:[\p{L}\p{N}\p{M}_'’-]*[\p{L}\p{N}\p{M}])?/gu;

/** Code points; words; or an estimate of tokens: four bytes each, and at least one per word. */
export function lengthOf(text: string, unit: ConfigOf<'length'>['unit']): number {
  switch (unit) {
    case 'characters':
      return codePoints(text);
    case 'words':
      return countMatches(text, WORD);
    case 'tokens':
      return Math.max(countMatches(text, WORD), Math.ceil(Buffer.byteLength(text) / 4));
  }
}

function codePoints(text: string): number {
  let total = text.length;
  for (let at = 0; at < text.length; at += 1) {
    if ((text.codePointAt(at) ?? 0) > 0xffff) {
      total -= 1;
      at += 1;
    }
  }
  return total;
}

function countMatches(text: string, pattern: RegExp): number {
  let total = 0;
  for (const match of text.matchAll(pattern)) total += match.length > 0 ? 1 : 0;
  return total;
}

export function length(config: ConfigOf<'length'>, subject: EvaluationSubject): Verdict {
  const actual = lengthOf(outputText(subject, config.outputPath), config.unit);
  const { min = 0, max = Number.POSITIVE_INFINITY } = config;
  return { score: actual >= min && actual <= max, comment: `${actual} ${config.unit}` };
}

/**
 * The edit distance by code points as a share of the longer text: 0 for equal texts, 1 for texts with nothing in
 * common. Both at most MAX_COMPARED_LENGTH long.
 */
export function normalisedDistance(left: string, right: string): number {
  const longer = Math.max(codePoints(left), codePoints(right));
  if (longer === 0) return 0;
  const units = new Map<string, string>();
  // The library counts UTF-16 units: each different code point gets a unit of its own.
  const recoded = [left, right].map((text) =>
    Array.from(text, (point) => {
      const unit = units.get(point) ?? String.fromCharCode(units.size);
      units.set(point, unit);
      return unit;
    }).join(''),
  );
  return distance(recoded[0] ?? '', recoded[1] ?? '') / longer;
}

export function editDistance(config: ConfigOf<'edit_distance'>, subject: EvaluationSubject): Verdict {
  const actual = normalise(outputText(subject, config.outputPath), config);
  const expected = normalise(asText(referenceOf(subject, config.referencePath)), config);
  for (const [what, text] of [
    ['output', actual],
    ['reference', expected],
  ] as const) {
    if (text.length > MAX_COMPARED_LENGTH && codePoints(text) > MAX_COMPARED_LENGTH) {
      throw new NotApplicable(`The ${what} has more than ${MAX_COMPARED_LENGTH} characters to compare.`);
    }
  }
  const apart = normalisedDistance(actual, expected);
  const measured = config.measure === 'distance' ? apart : 1 - apart;
  if (config.threshold === undefined) return { score: measured };
  const passes = config.measure === 'distance' ? measured <= config.threshold : measured >= config.threshold;
  return { score: passes, comment: `${config.measure} ${measured.toFixed(4)}` };
}
