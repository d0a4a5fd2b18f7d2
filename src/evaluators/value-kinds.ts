/** Evaluators that look at numbers and structure: tolerance, latency, cost, JSON schema. Pure. */
import type { JsonValue } from '../ingest/run-event.js';
import { JsonSchema, SchemaTooCostly } from '../platform/json-schema.js';
import type { EvaluationSubject } from './evaluation.js';
import type { ConfigOf } from './evaluator-config.js';
import { asText, NotApplicable, pickPresent } from './pick.js';
import { referenceOf, type Verdict } from './text-kinds.js';

/** Of an output that is held against a schema. */
const MAX_CHECKED_LENGTH = 1_048_576;

// A sign directly behind a letter or digit is a dash: "3-4" holds 3 and 4.
const NUMBER =
  /(?:(?<![\p{L}\d])[-+])?(?:(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+)(?:\.\d+)?|(?<!\d)\.\d+)(?:[eE][-+]?\d+)?/gu;

/** The number a value is or holds; undefined where there is none. Commas between groups of three digits are skipped. */
export function numberIn(
  value: JsonValue,
  extract: ConfigOf<'numeric_tolerance'>['extract'],
): number | undefined {
  if (typeof value === 'number') return value;
  const only = typeof value === 'object' && value !== null ? onlyNumber(value) : undefined;
  if (only !== undefined) return only;
  const text = asText(value);
  if (extract === 'whole') return toNumber(text.trim());
  const numbers = [...text.matchAll(NUMBER)].map(([digits]) => toNumber(digits));
  return extract === 'first' ? numbers[0] : numbers.at(-1);
}

function onlyNumber(value: JsonValue[] | Record<string, JsonValue>): number | undefined {
  const leaves = (Array.isArray(value) ? value : Object.values(value)).filter((leaf) => leaf !== null);
  const [leaf] = leaves;
  return leaves.length === 1 && typeof leaf === 'number' ? leaf : undefined;
}

const PLAIN = /^[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?$/;
const GROUPED = /^[-+]?\d{1,3}(?:,\d{3})+(?:\.\d*)?(?:[eE][-+]?\d+)?$/;

function toNumber(text: string): number | undefined {
  const digits = GROUPED.test(text) ? text.replaceAll(',', '') : text;
  if (!PLAIN.test(digits)) return undefined;
  const number = Number(digits);
  return Number.isFinite(number) ? number : undefined;
}

/** True where the numbers lie within one of the tolerances. */
export function numericTolerance(config: ConfigOf<'numeric_tolerance'>, subject: EvaluationSubject): Verdict {
  const actual = numberIn(pickPresent(subject.run.outputs, config.outputPath, 'output'), config.extract);
  const expected = config.expected ?? numberIn(referenceOf(subject, config.referencePath), config.extract);
  if (expected === undefined) throw new NotApplicable('The reference output holds no number.');
  // An answer without a number is a wrong answer, not a fault of the evaluator.
  if (actual === undefined) return { score: false, comment: 'The output holds no number.' };
  const tolerance = Math.max(config.absolute ?? 0, (config.relative ?? 0) * Math.abs(expected));
  return { score: Math.abs(actual - expected) <= tolerance, comment: `${actual}, expected ${expected}` };
}

/** True where the output, or the JSON in its text, is as the schema wants it. */
export function jsonSchema(config: ConfigOf<'json_schema'>, { run }: EvaluationSubject): Verdict {
  const picked = pickPresent(run.outputs, config.outputPath, 'output');
  const text = typeof picked === 'string' ? picked : JSON.stringify(picked);
  if (text.length > MAX_CHECKED_LENGTH) {
    throw new NotApplicable(
      `The output has ${text.length} characters; schemas take up to ${MAX_CHECKED_LENGTH}.`,
    );
  }
  const value = typeof picked === 'string' ? parsedJson(picked) : picked;
  if (value === undefined) return { score: false, comment: 'The output is not JSON.' };
  const schema = JsonSchema.compile(config.schema);
  if (!schema.ok) throw new NotApplicable(schema.problems[0]?.message ?? '');
  try {
    const violations = schema.value.check(value);
    if (violations.length === 0) return { score: true };
    return {
      score: false,
      comment: violations.map(({ path, message }) => `${path || '(whole)'} ${message}`).join('\n'),
    };
  } catch (error) {
    if (error instanceof SchemaTooCostly) throw new NotApplicable(error.message);
    throw error;
  }
}

function parsedJson(text: string): JsonValue | undefined {
  try {
    return JSON.parse(text) as JsonValue;
  } catch {
    return undefined;
  }
}

export function latency(config: ConfigOf<'latency'>, { run }: EvaluationSubject): Verdict {
  const seconds = config.measure === 'total' ? run.latency : run.firstTokenLatency;
  if (seconds === null) {
    throw new NotApplicable(
      config.measure === 'total' ? 'The run has not ended.' : 'The run did not report its first token.',
    );
  }
  return config.maxSeconds === undefined
    ? { score: seconds }
    : { score: seconds <= config.maxSeconds, comment: `${seconds} s` };
}

export function cost(config: ConfigOf<'cost'>, { run }: EvaluationSubject): Verdict {
  const amount = config.measure === 'usd' ? run.totalCost : run.totalTokens;
  if (amount === null) {
    throw new NotApplicable(
      config.measure === 'usd' ? 'The cost of the run is not known.' : 'The run reported no tokens.',
    );
  }
  const value = Number(amount);
  return config.max === undefined
    ? { score: value }
    : { score: value <= config.max, comment: config.measure === 'usd' ? `$${amount}` : `${amount} tokens` };
}
