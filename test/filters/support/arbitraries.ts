/**
 * Random runs and filters over small pools of values, so that conditions hold about as often as not. The pools are
 * full of what breaks quoting, patterns and encodings.
 */
import fc from 'fast-check';
import type { ComparisonOp, Filter, FilterLiteral } from '../../../src/filters/filter.js';
import { checkComparison } from '../../../src/filters/filter-check.js';
import { VOCABULARY, type FieldSpec } from '../../../src/filters/vocabulary.js';

export const NASTY = [
  '',
  'a',
  'A',
  'alpha',
  'Alpha Beta',
  "it's",
  '"quoted"',
  '100%',
  'under_score',
  'back\\slash',
  '%',
  '_',
  '\\',
  '$1',
  "'; drop table runs; --",
  'emoji 🙂🚀',
  'é',
  'É',
  'ǅ',
  '日本語',
  '\u{10ffff}',
  '\uffff',
  'tab\tnew\nline',
  '{"k": "v"}',
  'NULL',
  '{a,b}',
  '42',
  'true',
] as const;

export const KEYS = [
  'region',
  'tier',
  'a.b',
  'a',
  '__proto__',
  'constructor',
  'k"q',
  "k'q",
  '%',
  'ключ',
  '🙂',
] as const;
export const FEEDBACK_KEYS = ['helpful', 'user_rating', "it's", '%'] as const;
const WORDS = ['refund', 'policy', 'Refunds', 'CAFÉ', 'cafe', '日本', 'x1', 'straße', 'ΣΟΦΟΣ'] as const;

export const uuidOf = (n: number): string => `00000000-0000-4000-8000-${n.toString(16).padStart(12, '0')}`;

/** Ids of the runs in the pool; traces and other references are taken from the same numbers. */
export const POOL = 24;

const id = fc.integer({ min: 0, max: POOL - 1 }).map(uuidOf);
const nasty = fc.constantFrom(...NASTY);
const text = fc
  .oneof(
    { weight: 5, arbitrary: nasty },
    { weight: 1, arbitrary: fc.string({ unit: 'grapheme', maxLength: 6 }) },
  )
  .filter((value) => !value.includes('\u0000'));
const seconds = fc.constantFrom(0, 0.1, 0.75, 1, 5, 1e-7, 120, 86_400);
const count = fc.constantFrom(0, 1, 42, 9_000, 9_007_199_254_740_991);
const money = fc.constantFrom('0', '0.1', '0.10', '0.000000000001', '1', '123456.5');
const score = fc.constantFrom(0, 1, 0.2, 0.4, -1, 0.1);
const time = fc.constantFrom(
  '2026-03-01T08:00:00Z',
  '2026-03-01T08:00:00.000001Z',
  '2026-03-01T07:59:59.999999Z',
  '2026-03-02T00:00:00.5Z',
  '0001-01-01T00:00:00Z',
);
const maybe = <T>(arbitrary: fc.Arbitrary<T>): fc.Arbitrary<T | null> =>
  fc.option(arbitrary, { nil: null, freq: 3 });

const payload = fc.letrec<{ json: unknown }>((tie) => ({
  json: fc.oneof(
    { depthSize: 'small', maxDepth: 3 },
    fc.constantFrom(...NASTY, ...WORDS, 'refund policy for Cafés', 42, 1.5, true, false, null),
    fc.array(tie('json'), { maxLength: 3 }),
    fc.dictionary(fc.constantFrom(...KEYS), tie('json'), { maxKeys: 3 }),
  ),
})).json;

/** Objects only, as the wire sends them. */
const payloadObject = fc.dictionary(fc.constantFrom(...KEYS), payload, { maxKeys: 3 });

/** One row of runs, in column names; feedback beside it. */
export const runRow = (n: number) =>
  fc.record({
    id: fc.constant(uuidOf(n)),
    trace_id: id,
    parent_run_id: maybe(id),
    project_id: id,
    reference_example_id: maybe(id),
    name: text,
    run_type: fc.constantFrom('llm', 'tool', 'chain'),
    status: fc.constantFrom('pending', 'success', 'error'),
    error: maybe(fc.oneof(text, fc.constantFrom(...WORDS))),
    start_time: time,
    end_time: maybe(time),
    first_token_time: maybe(time),
    latency: maybe(seconds),
    first_token_latency: maybe(seconds),
    total_tokens: maybe(count),
    prompt_tokens: maybe(count),
    completion_tokens: maybe(count),
    total_cost: maybe(money),
    prompt_cost: maybe(money),
    completion_cost: maybe(money),
    tags: fc.uniqueArray(nasty, { maxLength: 3 }),
    thread_id: maybe(text),
    tenant_id: maybe(text),
    model: maybe(text),
    provider: maybe(text),
    dotted_order: text,
    metadata: payloadObject,
    inputs: maybe(payloadObject),
    outputs: maybe(payloadObject),
    feedback: fc.array(
      fc.record({
        key: fc.constantFrom(...FEEDBACK_KEYS),
        score: maybe(score),
        value: fc.constantFrom(null, 'good', '42', 42, 0.1, true, 'true', { a: 1 }, ['x']),
        comment: maybe(text),
        source_type: fc.constantFrom('api', 'app', 'model'),
      }),
      { maxLength: 3 },
    ),
  });

export type RandomRun = ReturnType<typeof runRow> extends fc.Arbitrary<infer T> ? T : never;

function literalOf(spec: FieldSpec, op: ComparisonOp): fc.Arbitrary<FilterLiteral> {
  if (op === 'like' || op === 'notlike') {
    return fc.oneof(
      nasty,
      fc
        .array(fc.constantFrom('%', '_', '\\', 'a', 'A', 'é', '🙂', '1', '"'), { maxLength: 5 })
        .map((parts) => parts.join('')),
    );
  }
  if (op === 'search') {
    return fc.oneof(
      fc.constantFrom(...WORDS, 'ALPHA beta', 'É', '"QUOTED"', '%'),
      text.filter((value) => value.trim() !== ''),
    );
  }
  switch (spec.type) {
    case 'uuid':
      return id;
    case 'enum':
      return fc.constantFrom(...(spec.values ?? [])).map((value) => value.toUpperCase());
    case 'error':
    case 'boolean':
      return fc.boolean();
    case 'datetime':
      return time;
    case 'duration':
      return fc.oneof(seconds, fc.constantFrom('5s', '750ms', '2m', '1d'));
    case 'integer':
      return spec.name === 'execution_order' ? fc.constant(1) : count;
    case 'decimal':
      return fc.constantFrom(0, 0.1, 1e-12, 1, 123456.5, 1e300, -1);
    case 'number':
      return score;
    case 'metadata':
      return op === 'exists'
        ? fc.constantFrom(...KEYS)
        : payloadObject.map((object) => JSON.stringify(withoutNulls(object)));
    case 'key':
      return spec.items === 'feedback' ? fc.constantFrom(...FEEDBACK_KEYS) : fc.constantFrom(...KEYS);
    case 'value':
      if (spec.name === 'feedback_value') {
        return op === 'eq' || op === 'neq' || op === 'in'
          ? fc.constantFrom('good', '42', 42, 0.1, true, '{"a":1}')
          : fc.constantFrom(0.1, 42, 0);
      }
      return fc.oneof(fc.constantFrom<FilterLiteral>(42, true, 1.5), nasty);
    case 'string':
    case 'tags':
    case 'json':
      return spec.name === 'feedback_source' ? fc.constantFrom('api', 'app') : text;
  }
}

function withoutNulls(value: unknown): unknown {
  if (Array.isArray(value)) return value.filter((item) => item !== null).map(withoutNulls);
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(
    Object.entries(value)
      .filter(([, item]) => item !== null)
      .map(([key, item]) => [key, withoutNulls(item)]),
  );
}

export function comparisonOn(spec: FieldSpec): fc.Arbitrary<Filter> {
  return fc.constantFrom(...spec.operators).chain((op): fc.Arbitrary<Filter> => {
    const one = literalOf(spec, op);
    if (op === 'in') {
      return fc.array(one, { maxLength: 4 }).map((list) => checkComparison(op, spec.name, list));
    }
    const nullable = spec.nullable && (op === 'eq' || op === 'neq') && spec.name !== 'is_root';
    return (nullable ? fc.option(one, { nil: null, freq: 4 }) : one).map((value) =>
      checkComparison(op, spec.name, value),
    );
  });
}

const fullText: fc.Arbitrary<Filter> = fc
  .constantFrom(...WORDS, 'refund policy', 'pol ref', 'a')
  .map((words) => checkComparison('search', undefined, words));

const comparison = fc.oneof(
  { weight: 12, arbitrary: fc.constantFrom(...VOCABULARY).chain(comparisonOn) },
  { weight: 1, arbitrary: fullText },
);

/** Several conditions on the items of one source in one `and`: what correlation is about. */
const correlated: fc.Arbitrary<Filter> = fc
  .constantFrom('metadata', 'inputs', 'outputs', 'feedback')
  .chain((source) => {
    const specs = VOCABULARY.filter((spec) => spec.items === source);
    return fc
      .array(fc.constantFrom(...specs).chain(comparisonOn), { minLength: 2, maxLength: 3 })
      .map((nodes): Filter => ({ kind: 'and', nodes }));
  });

export const filter: fc.Arbitrary<Filter> = fc.letrec<{ node: Filter }>((tie) => ({
  node: fc.oneof(
    { maxDepth: 3, depthSize: 'small' },
    comparison,
    correlated,
    fc
      .tuple(fc.constantFrom('and', 'or'), fc.array(tie('node'), { minLength: 1, maxLength: 3 }))
      .map(([kind, nodes]): Filter => ({ kind: kind as 'and', nodes })),
    tie('node').map((node): Filter => ({ kind: 'not', node })),
  ),
})).node;
