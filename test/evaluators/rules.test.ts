import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { parseConfig, type EvaluatorKind } from '../../src/evaluators/evaluator-config.js';
import type { EvaluationStep } from '../../src/evaluators/evaluation.js';
import { applyRule } from '../../src/evaluators/evaluator-runtime.js';
import { asText, NotApplicable, pick, pointerProblem } from '../../src/evaluators/pick.js';
import { lengthOf, normalise, normalisedDistance, type Verdict } from '../../src/evaluators/text-kinds.js';
import type { JsonObject, JsonValue } from '../../src/ingest/run-event.js';
import { subjectOf, toolStep } from './subjects.js';

type RuleKind = Exclude<EvaluatorKind, 'llm_judge' | 'code' | 'webhook' | 'pairwise'>;

interface Case {
  readonly config?: JsonObject;
  readonly output: JsonValue;
  readonly reference?: JsonValue;
  readonly steps?: readonly EvaluationStep[];
  readonly run?: Parameters<typeof subjectOf>[2];
  readonly score: Verdict['score'] | 'not applicable';
  readonly comment?: string;
}

function verdictOf(kind: RuleKind, { config = {}, output, reference, steps, run }: Case): Verdict {
  const spec = parseConfig(kind, config);
  if (!spec.ok) throw new Error(JSON.stringify(spec.problems));
  const subject = subjectOf(output, reference, run);
  return applyRule(spec.value as Parameters<typeof applyRule>[0], { ...subject, ...(steps && { steps }) });
}

function table(kind: RuleKind, cases: Readonly<Record<string, Case>>): void {
  describe(kind, () => {
    test.each(Object.entries(cases))('%s', (_name, one) => {
      if (one.score === 'not applicable') {
        expect(() => verdictOf(kind, one)).toThrow(NotApplicable);
        return;
      }
      const verdict = verdictOf(kind, one);
      if (typeof one.score === 'number') expect(verdict.score).toBeCloseTo(one.score, 10);
      else expect(verdict.score).toBe(one.score);
      if (one.comment !== undefined) expect(verdict.comment).toBe(one.comment);
    });
  });
}

table('exact_match', {
  'equal texts': { output: 'Paris', reference: 'Paris', score: true },
  'different texts': { output: 'Paris', reference: 'Lyon', score: false },
  'white space at the ends is not compared': { output: ' Paris\n', reference: 'Paris', score: true },
  'white space is compared where wanted': {
    config: { whitespace: 'keep' },
    output: 'Paris ',
    reference: 'Paris',
    score: false,
  },
  'white space within counts': { output: 'New  York', reference: 'New York', score: false },
  'white space within is one space where wanted': {
    config: { whitespace: 'collapse' },
    output: 'New \n York',
    reference: 'New York',
    score: true,
  },
  'case counts': { output: 'paris', reference: 'Paris', score: false },
  'case does not count where wanted': {
    config: { ignoreCase: true },
    output: 'STRASSE ΟΔΟΣ',
    reference: 'straße οδος',
    score: true,
  },
  'composed and decomposed letters are equal': { output: 'cafe\u0301', reference: 'caf\u00e9', score: true },
  'unless told otherwise': {
    config: { unicode: 'none' },
    output: 'cafe\u0301',
    reference: 'caf\u00e9',
    score: false,
  },
  'full-width letters are equal in NFKC': {
    config: { unicode: 'NFKC' },
    output: 'ＡＢＣ１',
    reference: 'ABC1',
    score: true,
  },
  'the only text of an object is its text': {
    output: { answer: 'Paris', error: null, sources: [] },
    reference: 'Paris',
    score: true,
  },
  'an object with two texts is its JSON': {
    output: { a: 'x', b: 'y' },
    reference: { a: 'x', b: 'y' },
    score: true,
  },
  'JSON is compared without regard to the order of keys': {
    config: { compare: 'json' },
    output: '{"b": 1, "a": [1, 2]}',
    reference: { a: [1, 2], b: 1 },
    score: true,
  },
  'the order of lists counts': {
    config: { compare: 'json' },
    output: [2, 1],
    reference: [1, 2],
    score: false,
  },
  'texts that are no JSON are compared as texts': {
    config: { compare: 'json' },
    output: '{broken',
    reference: '{broken',
    score: true,
  },
  'a path picks both sides': {
    config: { outputPath: '/messages/-1/content', referencePath: '/answer' },
    output: { messages: [{ content: 'hm' }, { content: 'Paris' }] },
    reference: { answer: 'Paris', why: 'it is' },
    score: true,
  },
  'a constant stands for the reference': { config: { expected: 'Paris' }, output: 'Paris', score: true },
  'false is an output': { config: { expected: false }, output: false, score: true },
  'an empty text is an output': { output: '', reference: 'Paris', score: false },
  'no output': { output: null, reference: 'Paris', score: 'not applicable' },
  'no example': { output: 'Paris', score: 'not applicable' },
  'no reference': { output: 'Paris', reference: null, score: 'not applicable' },
  'a path that leads nowhere': {
    config: { outputPath: '/answer' },
    output: { other: 1 },
    reference: 'Paris',
    score: 'not applicable',
  },
  'inherited properties are no data': {
    config: { outputPath: '/constructor/name' },
    output: { other: 1 },
    reference: 'Object',
    score: 'not applicable',
  },
});

table('contains', {
  'all of the phrases': { config: { phrases: ['Paris', 'france'] }, output: 'Paris, France.', score: true },
  'one is missing': {
    config: { phrases: ['Paris', 'Rome'] },
    output: 'Paris, France.',
    score: false,
    comment: 'Missing: "Rome"',
  },
  'any of the phrases': {
    config: { phrases: ['Rome', 'Paris'], match: 'any' },
    output: 'Paris',
    score: true,
  },
  'none of them': { config: { phrases: ['Rome', 'Oslo'], match: 'any' }, output: 'Paris', score: false },
  'case counts where wanted': {
    config: { phrases: ['paris'], ignoreCase: false },
    output: 'Paris',
    score: false,
  },
  'whole words only': { config: { phrases: ['cat'], wholeWords: true }, output: 'concatenate', score: false },
  'a word at the ends': { config: { phrases: ['cat'], wholeWords: true }, output: 'cat', score: true },
  'a later place counts': {
    config: { phrases: ['cat'], wholeWords: true },
    output: 'concatenate the (cat)!',
    score: true,
  },
  'letters beyond the first plane are letters': {
    config: { phrases: ['cat'], wholeWords: true },
    output: '\u{1D4B6}cat',
    score: false,
  },
  'phrases of the reference': { output: 'Paris is in France', reference: ['paris', 'FRANCE'], score: true },
  'one phrase of the reference': {
    output: 'Paris is in France',
    reference: { answer: 'Paris' },
    score: true,
  },
  'an empty list of the reference': { output: 'Paris', reference: [], score: 'not applicable' },
  'an empty phrase of the reference': { output: 'Paris', reference: [' '], score: 'not applicable' },
  'line breaks between words': { config: { phrases: ['New York'] }, output: 'New\n   York', score: true },
});

table('forbidden_phrases', {
  'none is there': { config: { phrases: ['as an AI'] }, output: 'Paris', score: true },
  'one is there': {
    config: { phrases: ['As an AI', 'sorry'] },
    output: 'as an ai, I cannot',
    score: false,
    comment: 'Found: "As an AI"',
  },
  'no output': { config: { phrases: ['x'] }, output: null, score: 'not applicable' },
});

table('required_keywords', {
  'all are there': { config: { phrases: ['a', 'b'] }, output: 'a b', score: 1 },
  'half are there': {
    config: { phrases: ['paris', 'rome'] },
    output: 'Paris',
    score: 0.5,
    comment: 'Missing: "rome"',
  },
  'none is there': { config: { phrases: ['oslo', 'rome', 'bern'] }, output: 'Paris', score: 0 },
  'many are missing': {
    config: { phrases: Array.from({ length: 12 }, (_, index) => `word${index}x`) },
    output: 'nothing',
    score: 0,
    comment: `Missing: ${Array.from({ length: 10 }, (_, index) => `"word${index}x"`).join(', ')} and 2 more`,
  },
});

table('regex', {
  'found anywhere': { config: { pattern: '\\d{4}' }, output: 'in 1789', score: true },
  'not found': { config: { pattern: '\\d{5}' }, output: 'in 1789', score: false },
  'the whole text': { config: { pattern: '\\d{4}', match: 'full' }, output: 'in 1789', score: false },
  'not expected': {
    config: { pattern: 'sorry', expect: 'no_match', ignoreCase: true },
    output: 'SORRY',
    score: false,
  },
  lines: { config: { pattern: '^b$', multiline: true }, output: 'a\nb\nc', score: true },
  'without lines': { config: { pattern: '^b$' }, output: 'a\nb\nc', score: false },
  'the point matches line ends where wanted': {
    config: { pattern: 'a.b', dotAll: true },
    output: 'a\nb',
    score: true,
  },
  'too long an output': { config: { pattern: 'a' }, output: 'b'.repeat(262_145), score: 'not applicable' },
});

test('patterns that run for years elsewhere are linear here', () => {
  const patterns = [
    '(a+)+$',
    '(a|aa)+$',
    '(a|a?)+$',
    '(.*a){20}$',
    '([a-zA-Z]+)*$',
    '(a*)*b',
    '^(([a-z])+.)+[A-Z]([a-z])+$',
    '(x+x+)+y',
    '(a{0,30}){0,30}$',
  ];
  const output = `${'a'.repeat(5_000)}!`;
  const started = performance.now();
  for (const pattern of patterns) verdictOf('regex', { config: { pattern }, output, score: false });
  expect(performance.now() - started).toBeLessThan(10_000);
});

table('length', {
  'characters are code points': {
    config: { min: 3, max: 3 },
    output: 'a😀b',
    score: true,
    comment: '3 characters',
  },
  'too short': { config: { min: 4 }, output: 'abc', score: false },
  'too long': { config: { max: 2 }, output: 'abc', score: false },
  words: {
    config: { unit: 'words', max: 5 },
    output: "It's a well-known fact — truly",
    score: true,
    comment: '5 words',
  },
  tokens: { config: { unit: 'tokens', max: 3 }, output: 'a b c', score: true, comment: '3 tokens' },
  'an empty text': { config: { max: 0 }, output: '', score: true, comment: '0 characters' },
});

table('edit_distance', {
  equal: { output: 'Paris', reference: 'Paris', score: 1 },
  'kitten and sitting': { output: 'kitten', reference: 'sitting', score: 1 - 3 / 7 },
  'as a distance': { config: { measure: 'distance' }, output: 'kitten', reference: 'sitting', score: 3 / 7 },
  'nothing in common': { output: 'abc', reference: 'xyz', score: 0 },
  'similar enough': { config: { threshold: 0.5 }, output: 'kitten', reference: 'sitting', score: true },
  'too distant': {
    config: { measure: 'distance', threshold: 0.4 },
    output: 'kitten',
    reference: 'sitting',
    score: false,
    comment: 'distance 0.4286',
  },
  'one symbol is one edit': { output: '😀', reference: '😃', score: 0 },
  'both empty': { output: '', reference: '', score: 1 },
  'too long': { output: 'a'.repeat(10_001), reference: 'a', score: 'not applicable' },
  'as long as it may be': { output: 'a'.repeat(10_000), reference: 'b'.repeat(10_000), score: 0 },
});

table('numeric_tolerance', {
  'within the absolute tolerance': { config: { absolute: 0.5 }, output: 10.5, reference: 10, score: true },
  'outside it': { config: { absolute: 0.4 }, output: 10.5, reference: 10, score: false },
  'within the relative tolerance': { config: { relative: 0.1 }, output: '109', reference: 100, score: true },
  'one of both is enough': {
    config: { relative: 0.01, absolute: 20 },
    output: 109,
    reference: 100,
    score: true,
  },
  'negative numbers': { config: { relative: 0.1 }, output: -109, reference: -100, score: true },
  'a constant': { config: { expected: 42, absolute: 0 }, output: { answer: '42' }, score: true },
  'the only number of an object': {
    config: { expected: 42, absolute: 0 },
    output: { answer: 42 },
    score: true,
  },
  'the last number of a text': {
    config: { expected: 1234.5, absolute: 0, extract: 'last' },
    output: 'First 3, then 7-8, so it is $1,234.50.',
    score: true,
  },
  'the first number of a text': {
    config: { expected: -3e-2, absolute: 0, extract: 'first' },
    output: 'about -3e-2 or 7',
    score: true,
  },
  'a dash is no sign': {
    config: { expected: 4, absolute: 0, extract: 'last' },
    output: 'pages 3-4',
    score: true,
  },
  'no number in the output': {
    config: { expected: 4, absolute: 1 },
    output: 'four',
    score: false,
    comment: 'The output holds no number.',
  },
  'no number in the reference': {
    config: { absolute: 1 },
    output: 4,
    reference: 'four',
    score: 'not applicable',
  },
  'infinity is no number': { config: { expected: 4, absolute: 1 }, output: 'Infinity', score: false },
  'hexadecimal is no number': { config: { expected: 16, absolute: 0 }, output: '0x10', score: false },
});

table('latency', {
  'the seconds themselves': { output: 'x', score: 1.5 },
  'fast enough': { config: { maxSeconds: 1.5 }, output: 'x', score: true, comment: '1.5 s' },
  'too slow': { config: { maxSeconds: 1.4 }, output: 'x', score: false },
  'the first token': { config: { measure: 'first_token' }, output: 'x', score: 0.25 },
  'a run that has not ended': { output: 'x', run: { latency: null }, score: 'not applicable' },
  'a run without an output': { output: null, score: 1.5 },
});

table('cost', {
  dollars: { output: 'x', score: 0.0031 },
  'cheap enough': { config: { max: 0.0031 }, output: 'x', score: true, comment: '$0.0031' },
  'too dear': { config: { max: 0.003 }, output: 'x', score: false },
  tokens: { config: { measure: 'tokens' }, output: 'x', score: 120 },
  unknown: { output: 'x', run: { totalCost: null }, score: 'not applicable' },
});

const CITY_SCHEMA = {
  type: 'object',
  properties: { city: { type: 'string', pattern: '^[A-Z]' } },
  required: ['city'],
  additionalProperties: false,
};

table('json_schema', {
  'as the schema wants it': { config: { schema: CITY_SCHEMA }, output: { city: 'Paris' }, score: true },
  'JSON in a text': { config: { schema: CITY_SCHEMA }, output: '{"city": "Paris"}', score: true },
  'not JSON': {
    config: { schema: CITY_SCHEMA },
    output: 'Paris',
    score: false,
    comment: 'The output is not JSON.',
  },
  'against the schema': {
    config: { schema: CITY_SCHEMA },
    output: { city: 'paris', extra: 1 },
    score: false,
    comment: '(whole) must NOT have additional properties: "extra"\n/city must match pattern "^[A-Z]"',
  },
  'a path': { config: { schema: { type: 'number' }, outputPath: '/n' }, output: { n: 1 }, score: true },
});

const SEARCH = toolStep('search', { query: 'Paris' });
const BOOK = toolStep('book', { input: '{"hotel": 7, "nights": 2}' });
const RETRIEVAL = { ...toolStep('docs'), runType: 'retriever' };

table('tool_trajectory', {
  'the calls in order': {
    output: null,
    steps: [SEARCH, RETRIEVAL, BOOK],
    reference: [
      { name: 'search', arguments: { query: 'Paris' } },
      { name: 'book', arguments: { nights: 2, hotel: 7 } },
    ],
    score: true,
  },
  'names alone': { output: null, steps: [SEARCH, BOOK], reference: ['search', 'book'], score: true },
  'another order': {
    output: null,
    steps: [BOOK, SEARCH],
    reference: ['search', 'book'],
    score: false,
    comment: 'Missing: "book". Not expected: "book({\\"hotel\\":7,\\"nights\\":2})"',
  },
  'any order where wanted': {
    config: { match: 'unordered' },
    output: null,
    steps: [BOOK, SEARCH],
    reference: ['search', 'book'],
    score: true,
  },
  'a call too many': {
    config: { match: 'unordered', arguments: 'ignore' },
    output: null,
    steps: [BOOK, SEARCH, SEARCH],
    reference: ['search', 'book'],
    score: false,
    comment: 'Not expected: "search({\\"query\\":\\"Paris\\"})"',
  },
  'calls on top where allowed': {
    config: { match: 'superset' },
    output: null,
    steps: [BOOK, SEARCH, SEARCH],
    reference: ['search', 'book'],
    score: true,
  },
  'a call missing where all are needed': {
    config: { match: 'superset' },
    output: null,
    steps: [BOOK],
    reference: ['search', 'book'],
    score: false,
    comment: 'Missing: "search"',
  },
  'a call missing where none is needed': {
    config: { match: 'subset' },
    output: null,
    steps: [BOOK],
    reference: ['search', 'book'],
    score: true,
  },
  'other arguments': {
    output: null,
    steps: [SEARCH],
    reference: [{ name: 'search', arguments: { query: 'Rome' } }],
    score: false,
  },
  'arguments that do not matter': {
    config: { arguments: 'ignore' },
    output: null,
    steps: [SEARCH],
    reference: [{ name: 'search', arguments: { query: 'Rome' } }],
    score: true,
  },
  'some of the arguments': {
    config: { arguments: 'contained' },
    output: null,
    steps: [BOOK],
    reference: [{ name: 'book', arguments: { hotel: 7 } }],
    score: true,
  },
  'the call that fits best is left for who needs it': {
    config: { match: 'unordered', arguments: 'contained' },
    output: null,
    steps: [toolStep('f', { a: 1, b: 2 }), toolStep('f', { a: 1 })],
    reference: [
      { name: 'f', arguments: { a: 1 } },
      { name: 'f', arguments: { a: 1, b: 2 } },
    ],
    score: true,
  },
  'calls as OpenAI writes them': {
    output: null,
    steps: [SEARCH],
    reference: {
      tool_calls: [
        { id: '1', type: 'function', function: { name: 'search', arguments: '{"query":"Paris"}' } },
      ],
    },
    score: true,
  },
  'expected calls of the config': {
    config: { expected: [{ name: 'search' }] },
    output: null,
    steps: [SEARCH],
    score: true,
  },
  'no calls expected and none made': {
    config: { expected: [] },
    output: null,
    steps: [RETRIEVAL],
    score: true,
  },
  'no steps known': { config: { expected: [] }, output: null, score: 'not applicable' },
  'a reference that is no list': { output: null, steps: [], reference: 'search', score: 'not applicable' },
  'a call without a name': {
    output: null,
    steps: [],
    reference: [{ arguments: {} }],
    score: 'not applicable',
  },
});

const BAD_CONFIGS: readonly (readonly [EvaluatorKind, unknown, string])[] = [
  ['exact_match', null, 'config'],
  ['exact_match', { ignorCase: true }, 'config.ignorCase'],
  ['exact_match', { outputPath: 'answer' }, 'config.outputPath'],
  ['exact_match', { outputPath: '/a~2' }, 'config.outputPath'],
  ['exact_match', { whitespace: 'some' }, 'config.whitespace'],
  ['contains', { phrases: [] }, 'config.phrases'],
  ['contains', { phrases: [''] }, 'config.phrases.0'],
  ['contains', { phrases: ['a', 3] }, 'config.phrases.1'],
  ['forbidden_phrases', {}, 'config.phrases'],
  ['regex', {}, 'config.pattern'],
  ['regex', { pattern: '(' }, 'config.pattern'],
  ['regex', { pattern: 'a'.repeat(257) }, 'config.pattern'],
  ['regex', { pattern: '(?=a)b' }, 'config.pattern'],
  ['regex', { pattern: '(a)\\1' }, 'config.pattern'],
  ['length', {}, 'config.min'],
  ['length', { min: 5, max: 4 }, 'config.min'],
  ['length', { min: 1.5 }, 'config.min'],
  ['length', { min: -1 }, 'config.min'],
  ['json_schema', { schema: { type: 'nonsense' } }, 'config.schema'],
  ['json_schema', { schema: { $ref: 'https://example.com/schema.json' } }, 'config.schema'],
  ['json_schema', { schema: 'string' }, 'config.schema'],
  ['edit_distance', { threshold: 1.1 }, 'config.threshold'],
  ['numeric_tolerance', {}, 'config.absolute'],
  ['numeric_tolerance', { absolute: Number.POSITIVE_INFINITY }, 'config.absolute'],
  ['latency', { maxSeconds: -1 }, 'config.maxSeconds'],
  ['cost', { max: '1' }, 'config.max'],
  ['tool_trajectory', { expected: [{}] }, 'config.expected.0.name'],
  ['code', {}, 'config.code'],
  ['code', { code: 'x'.repeat(65_537) }, 'config.code'],
  ['webhook', { url: 'ftp://example.com' }, 'config.url'],
  ['webhook', { url: 'example.com' }, 'config.url'],
];

test.each(BAD_CONFIGS)('%s refuses %j and names %s', (kind, config, path) => {
  const parsed = parseConfig(kind, config);
  expect(parsed.ok).toBe(false);
  if (!parsed.ok) expect(parsed.problems.map((one) => one.path.join('.'))).toContain(path);
});

test('a config keeps its defaults', () => {
  const parsed = parseConfig('exact_match', {});
  expect(parsed).toEqual({
    ok: true,
    value: {
      kind: 'exact_match',
      config: {
        outputPath: '',
        referencePath: '',
        compare: 'text',
        ignoreCase: false,
        whitespace: 'trim',
        unicode: 'NFC',
      },
    },
  });
});

test('all problems of a config are told at once', () => {
  const parsed = parseConfig('regex', { pattern: '(', match: 'some', nonsense: 1 });
  expect(!parsed.ok && parsed.problems.map(({ path }) => path.join('.')).sort()).toEqual([
    'config.match',
    'config.nonsense',
    'config.pattern',
  ]);
});

test('a pointer leads where RFC 6901 says', () => {
  // The document and the pointers of section 5.
  const value: JsonValue = JSON.parse(
    '{"foo":["bar","baz"],"":0,"a/b":1,"c%d":2,"e^f":3,"g|h":4,"i\\\\j":5,"k\\"l":6," ":7,"m~n":8}',
  );
  const expected: readonly (readonly [string, JsonValue])[] = [
    ['', value],
    ['/foo', ['bar', 'baz']],
    ['/foo/0', 'bar'],
    ['/', 0],
    ['/a~1b', 1],
    ['/c%d', 2],
    ['/e^f', 3],
    ['/g|h', 4],
    ['/i\\j', 5],
    ['/k"l', 6],
    ['/ ', 7],
    ['/m~0n', 8],
  ];
  for (const [pointer, found] of expected) {
    expect(pointerProblem(pointer)).toBeUndefined();
    expect(pick(value, pointer)).toEqual(found);
  }
  expect(pick(value, '/foo/-1')).toBe('baz');
  for (const nowhere of ['/foo/2', '/foo/00', '/foo/1.0', '/foo/bar', '/nothing', '/foo/0/x']) {
    expect(pick(value, nowhere)).toBeUndefined();
  }
});

test.each<readonly [JsonValue, string]>([
  ['text', 'text'],
  [{ answer: 'text' }, 'text'],
  [{ answer: { content: 'text' }, error: null, tools: [] }, 'text'],
  [['text'], 'text'],
  [{ answer: 'text', score: 1 }, '{"answer":"text","score":1}'],
  [{ a: 'x', b: 'y' }, '{"a":"x","b":"y"}'],
  [{}, '{}'],
  [3, '3'],
])('%j as text is %s', (value, text) => {
  expect(asText(value)).toBe(text);
});

const texts = fc.string({ unit: 'binary', maxLength: 40 });

test('the edit distance is a metric', () => {
  const distance = (left: string, right: string): number =>
    Math.round(normalisedDistance(left, right) * Math.max(Array.from(left).length, Array.from(right).length));
  fc.assert(
    fc.property(texts, texts, texts, (a, b, c) => {
      expect(distance(a, a)).toBe(0);
      expect(distance(a, b)).toBe(distance(b, a));
      expect(distance(a, b) === 0).toBe(a === b);
      expect(distance(a, c)).toBeLessThanOrEqual(distance(a, b) + distance(b, c));
      expect(normalisedDistance(a, b)).toBeLessThanOrEqual(1);
    }),
    { numRuns: 1_000 },
  );
});

test('the edit distance is what the definition by recursion says', () => {
  const slow = (a: readonly string[], b: readonly string[]): number => {
    let row = b.map((_, index) => index + 1);
    for (const [i, left] of a.entries()) {
      let previous = i;
      const next: number[] = [];
      let before = i + 1;
      for (const [j, right] of b.entries()) {
        const above = row[j] ?? 0;
        before = Math.min(above + 1, before + 1, previous + (left === right ? 0 : 1));
        previous = above;
        next.push(before);
      }
      row = next;
    }
    return row.at(-1) ?? a.length;
  };
  fc.assert(
    fc.property(texts, texts, (a, b) => {
      const longer = Math.max(Array.from(a).length, Array.from(b).length);
      expect(normalisedDistance(a, b)).toBe(longer === 0 ? 0 : slow(Array.from(a), Array.from(b)) / longer);
    }),
    { numRuns: 1_000 },
  );
});

test('normalising twice changes nothing', () => {
  const options = fc.record({
    ignoreCase: fc.boolean(),
    whitespace: fc.constantFrom('keep' as const, 'trim' as const, 'collapse' as const),
    unicode: fc.constantFrom('none' as const, 'NFC' as const, 'NFKC' as const),
  });
  fc.assert(
    fc.property(fc.string({ unit: 'binary', maxLength: 60 }), options, (text, config) => {
      const once = normalise(text, config);
      expect(normalise(once, config)).toBe(once);
    }),
    { numRuns: 5_000 },
  );
});

test('characters are counted as iteration counts them', () => {
  fc.assert(
    fc.property(fc.string({ unit: 'binary' }), (text) => {
      expect(lengthOf(text, 'characters')).toBe(Array.from(text).length);
    }),
  );
  expect(lengthOf('\ud800a', 'characters')).toBe(2);
});
