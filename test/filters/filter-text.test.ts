import { expect, test } from '@jest/globals';
import fc from 'fast-check';
import { AppError } from '../../src/platform/errors.js';
import { allOf, checkFilter, parseFilter, printFilter } from '../../src/filters/filter-text.js';
import { filterNeeds } from '../../src/filters/filter.plan.js';
import { VOCABULARY } from '../../src/filters/vocabulary.js';

const ID = '0199aaaa-0000-7000-8000-000000000001';

test.each([
  ['eq(name, "rerank")', 'eq(name, "rerank")'],
  [
    "and( eq('run_type','TOOL') ,\n gte(latency, \"750ms\"))",
    'and(eq(run_type, "tool"), gte(latency, "0.75s"))',
  ],
  ['gt(latency, 5s)', 'gt(latency, "5s")'],
  ['gt(latency, 1.5)', 'gt(latency, "1.5s")'],
  ['lt(first_token_latency, "2m")', 'lt(first_token_latency, "120s")'],
  ["lt(start_time, '2026-03-02T08:00:00+01:00')", 'lt(start_time, "2026-03-02T07:00:00Z")'],
  ['lt(start_time, "2026-03-02 08:00:00.1234567")', 'lt(start_time, "2026-03-02T08:00:00.123456Z")'],
  ['eq(start_time, "2026-03-02")', 'eq(start_time, "2026-03-02T00:00:00Z")'],
  [
    'or(has(tags, "canary"), and(gt(total_tokens, 9000), not(has(tag, "batch"))))',
    'or(has(tags, "canary"), and(gt(total_tokens, 9000), not(has(tags, "batch"))))',
  ],
  ['eq(tags, "a")', 'has(tags, "a")'],
  [
    'has("metadata", \'{"region": "eu-west", "tier": 1}\')',
    'has(metadata, "{\\"region\\":\\"eu-west\\",\\"tier\\":1}")',
  ],
  ['exists(metadata, "experiment_arm")', 'exists(metadata, "experiment_arm")'],
  ['eq(metadata_value, 42)', 'eq(metadata_value, "42")'],
  ['eq(metadata_value, True)', 'eq(metadata_value, "true")'],
  [`in(trace_id, ["${ID.toUpperCase()}"])`, `in(trace_id, ["${ID}"])`],
  [`eq(session_id, "${ID}")`, `eq(project_id, "${ID}")`],
  ['neq(error, None)', 'neq(error, null)'],
  ['eq(error, true)', 'neq(error, null)'],
  ['neq(error, TRUE)', 'eq(error, null)'],
  ['eq(execution_order, 1)', 'eq(is_root, true)'],
  ['EQ(Status, "Error")', 'eq(status, "error")'],
  ['and(eq(is_root, true), search("refund policy"))', 'and(eq(is_root, true), search("refund policy"))'],
  ['search(name, "agent")', 'search(name, "agent")'],
  ['like(name, "100\\%")', 'like(name, "100\\\\%")'],
  ["eq(name, 'it\\'s \\u0041 \\\\ \\n')", 'eq(name, "it\'s A \\\\ \\n")'],
  ['eq(feedback_score, true)', 'eq(feedback_score, 1)'],
  ['in(name, [])', 'in(name, [])'],
  ['eq(total_cost, -0)', 'eq(total_cost, 0)'],
])('%s reads as %s', (text, canonical) => {
  expect(printFilter(parseFilter(text))).toBe(canonical);
  expect(parseFilter(canonical)).toEqual(parseFilter(text));
});

test.each([
  ['', 1, 1, 'Expected a name, but the filter ends.'],
  ['eq(name "x")', 1, 9, 'Expected "(", "," or ")", but found "\\"".'],
  ['eq(name, "x"', 1, 13, 'Expected "," or ")", but the filter ends.'],
  ['eq(name, "x', 1, 12, 'Expected a closing ", but the filter ends.'],
  ['eq(name, "x") or', 1, 15, 'Expected the end, but found "o".'],
  ['and(\n  eq(nmae, "x"))', 2, 6, 'There is no field "nmae". Did you mean name?'],
  [
    'equals(name, "x")',
    1,
    1,
    'There is no operator "equals". Operators: and, or, not, eq, neq, gt, gte, lt, lte, in, has, exists, like, notlike, search.',
  ],
  ['gtt(latency, 1)', 1, 1, 'There is no operator "gtt". Did you mean gt?'],
  [
    'gt(latency, "fast")',
    1,
    13,
    'latency needs a duration such as "5s", "1500ms" or "2m", or a number of seconds; got "fast".',
  ],
  ['gt(name, "x")', 1, 1, 'name cannot be used with gt; it takes eq, neq, in, like, notlike, search.'],
  ['eq(name, null)', 1, 10, 'name is never null.'],
  ['gt(latency, null)', 1, 13, 'gt cannot be used with null.'],
  ['eq(status, "done")', 1, 12, 'status is one of pending, success, error; got "done".'],
  ['eq(id, "not-a-uuid")', 1, 8, 'id is a UUID; "not-a-uuid" is none.'],
  [`in(id, ["${ID}", 7])`, 1, 49, 'id is a UUID; 7 is none.'],
  [
    'eq(start_time, "2026-02-30")',
    1,
    16,
    'start_time needs a time such as "2026-03-01T08:00:00Z"; got "2026-02-30".',
  ],
  [
    'eq(start_time, "0001-01-01T00:00:00+14:00")',
    1,
    16,
    'start_time needs a time such as "2026-03-01T08:00:00Z"; got "0001-01-01T00:00:00+14:00".',
  ],
  ['eq(total_tokens, 1.5)', 1, 18, 'total_tokens needs a whole number; got 1.5.'],
  ['eq(total_tokens, 9007199254740992)', 1, 18, 'total_tokens needs a whole number; got 9007199254740992.'],
  ['gt(total_cost, 1e999)', 1, 16, 'This number is too large.'],
  ['eq(execution_order, 2)', 1, 21, 'execution_order can only be compared with 1, the root of a trace.'],
  [
    'eq(error, "boom")',
    1,
    11,
    'error is compared with null, true or false; look into its text with like or search.',
  ],
  ['and()', 1, 1, 'and needs at least one expression.'],
  ['not(eq(name, "a"), eq(name, "b"))', 1, 20, 'not is written not(a).'],
  ['eq(name)', 1, 1, 'eq is written eq(field, value).'],
  ['eq(name, "a", "b")', 1, 15, 'eq is written eq(field, value).'],
  ['eq(name, rerank)', 1, 10, 'Expected a value. Texts are written in quotes: "rerank".'],
  ['in(name, "a")', 1, 10, 'in takes a list, such as ["a", "b"].'],
  ['eq(name, ["a"])', 1, 10, 'eq takes one value; a list belongs to in.'],
  ['in(name, ["a", null])', 1, 16, 'Lists cannot contain null.'],
  ['and("x")', 1, 5, 'Expected an expression such as eq(name, "x").'],
  ['eq(name, "a\\u0000")', 1, 10, 'Texts in filters cannot contain NUL or half of a surrogate pair.'],
  ['eq(name, "\\ud800")', 1, 10, 'Texts in filters cannot contain NUL or half of a surrogate pair.'],
  ['search("!?")', 1, 8, 'search needs at least one letter or digit.'],
  ['has(metadata, "{broken")', 1, 15, `has(metadata, …) needs a JSON object such as '{"k": "v"}'.`],
  ['has(metadata, \'{"k": null}\')', 1, 15, 'has(metadata, …) cannot ask for null.'],
  ['eq(metadata_value, null)', 1, 20, 'metadata_value is never null. Use exists(metadata, "key").'],
])('%s is refused at line %i, column %i: %s', (text, line, column, message) => {
  const check = checkFilter(text);
  if (check.valid) throw new Error(`accepted as ${check.canonical}`);
  expect({ line: check.error.line, column: check.error.column, message: check.error.message }).toEqual({
    line,
    column,
    message,
  });
});

test('a refusal is BAD_USER_INPUT with place, path and what is allowed', () => {
  let thrown: unknown;
  try {
    parseFilter('and(eq(name, "x"),\n eq(foo, 1))', ['where', 'filter']);
  } catch (error) {
    thrown = error;
  }
  expect(thrown).toBeInstanceOf(AppError);
  const error = thrown as AppError;
  expect(error.code).toBe('BAD_USER_INPUT');
  expect(error.message).toBe('Filter, line 2, column 5: There is no field "foo".');
  expect(error.inputPath).toEqual(['where', 'filter']);
  expect(error.details).toMatchObject({
    position: { offset: 23, line: 2, column: 5 },
    allowed: VOCABULARY.map((field) => field.name),
  });
});

test('length, expressions and depth are allowed up to their limits and not beyond', () => {
  const name = (length: number) => `eq(name, "${'x'.repeat(length - 12)}")`;
  expect(checkFilter(name(8_192)).valid).toBe(true);
  expect(checkFilter(name(8_193))).toMatchObject({ valid: false, error: { offset: 8_192 } });

  const wide = (leaves: number) =>
    `and(${Array.from({ length: leaves }, () => 'eq(is_root,1=1)'.replace('1=1', 'true')).join(',')})`;
  expect(checkFilter(wide(199)).valid).toBe(true);
  expect(checkFilter(wide(200))).toMatchObject({
    valid: false,
    error: { message: 'Filters have at most 200 expressions.' },
  });

  const deep = (levels: number) => `${'not('.repeat(levels - 1)}in(name, ["x"])${')'.repeat(levels - 1)}`;
  expect(checkFilter(deep(20)).valid).toBe(true);
  expect(checkFilter(deep(21))).toMatchObject({
    valid: false,
    error: { message: 'Filters nest at most 20 levels deep.' },
  });
  expect(checkFilter('('.repeat(8_000)).valid).toBe(false);
  expect(checkFilter('eq('.repeat(2_600))).toMatchObject({
    valid: false,
    error: { message: 'Filters nest at most 20 levels deep.' },
  });
  expect(checkFilter(`eq(name, ${'['.repeat(4_000)}`)).toMatchObject({
    valid: false,
    error: { message: 'Filters nest at most 20 levels deep.' },
  });
});

test('a thousand values are a list, one more are not', () => {
  const list = (length: number) => `in(name, [${Array.from({ length }, () => '""').join(',')}])`;
  expect(checkFilter(list(1_000)).valid).toBe(true);
  expect(checkFilter(list(1_001))).toMatchObject({
    valid: false,
    error: { message: 'Lists have at most 1000 values; this one has 1001.' },
  });
});

test('any text is a filter or refused with a place inside it', () => {
  const pieces = fc.constantFrom(
    'and(',
    'or(',
    'not(',
    'eq(',
    'in(',
    'like(',
    'search(',
    'has(',
    ')',
    ',',
    '[',
    ']',
    'name',
    'latency',
    'metadata',
    'metadata_key',
    'feedback_score',
    '"x"',
    "'y'",
    '5s',
    '-1e3',
    'null',
    'true',
    '\\',
    '"',
    ' ',
    '\n',
    '\u0000',
    '🙂',
    'start_time',
    '"2026-01-01"',
    '__proto__',
    'constructor',
    'toString',
  );
  const texts = fc.oneof(
    fc.string({ unit: 'binary', maxLength: 60 }),
    fc.array(pieces, { maxLength: 14 }).map((parts) => parts.join('')),
  );
  fc.assert(
    fc.property(texts, (text) => {
      const check = checkFilter(text);
      if (check.valid) expect(checkFilter(check.canonical)).toEqual(check);
      else {
        expect(check.error.message).not.toBe('');
        expect(check.error.offset).toBeGreaterThanOrEqual(0);
        expect(check.error.offset).toBeLessThanOrEqual(text.length);
      }
    }),
    { numRuns: 20_000 },
  );
});

test('filters from different places keep their meaning when joined', () => {
  const joined = allOf(
    parseFilter('eq(metadata_key, "a")'),
    undefined,
    parseFilter('eq(metadata_value, "b")'),
    parseFilter('eq(name, "n")'),
  );
  expect(joined && printFilter(joined)).toBe(
    'and(and(eq(metadata_key, "a")), and(eq(metadata_value, "b")), eq(name, "n"))',
  );
  expect(allOf(undefined)).toBeUndefined();
});

test.each([
  ['eq(name, "x")', {}],
  ['neq(error, null)', {}],
  ['eq(error, true)', {}],
  ['has(metadata, \'{"a": 1}\')', {}],
  ['like(error, "x")', { byContent: true }],
  ['not(search(error, "x"))', { byContent: true }],
  ['or(eq(name, "x"), not(like(inputs, "x")))', { byContent: true, content: true }],
  ['search("x")', { byContent: true, content: true, search: true }],
  ['eq(output_key, "x")', { byContent: true, content: true, search: true }],
  ['lt(feedback_score, 0.5)', { feedback: true }],
])('%s needs %j', (text, needs) => {
  const nothing = {
    content: false,
    feedback: false,
    search: false,
    root: false,
    tree: false,
    byContent: false,
  };
  expect(filterNeeds({ run: parseFilter(text) })).toEqual({ ...nothing, ...needs });
  expect(filterNeeds({ root: parseFilter(text), tree: parseFilter(text) })).toEqual({
    ...nothing,
    ...needs,
    root: true,
    tree: true,
  });
});
