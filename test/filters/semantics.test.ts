import { expect, test } from '@jest/globals';
import { assertFilterAllowed } from '../../src/filters/filter-access.js';
import { parseFilter } from '../../src/filters/filter-text.js';
import { compilePredicate, compileRunPredicates } from '../../src/filters/filter.predicate.js';
import type { FeedbackFacts, FilterableRun } from '../../src/filters/filterable-run.js';
import { parseDateTime } from '../../src/filters/literals.js';
import { SCOPES, type Principal, type Scope } from '../../src/tenancy/principal.js';

const ID = '0199aaaa-0000-7000-8000-000000000001';

const facts = (key: string, score: number | null, rest: Partial<FeedbackFacts> = {}): FeedbackFacts => ({
  key,
  score,
  value: null,
  comment: null,
  sourceType: 'api',
  ...rest,
});

function run(fields: Partial<FilterableRun> = {}): FilterableRun {
  return {
    id: ID,
    traceId: ID,
    parentRunId: undefined,
    projectId: ID,
    referenceExampleId: undefined,
    name: 'ChatOpenAI',
    runType: 'llm',
    status: 'success',
    error: undefined,
    startUs: parseDateTime('2026-03-01T12:00:00Z') ?? 0,
    endUs: undefined,
    firstTokenUs: undefined,
    latency: 0.75,
    firstTokenLatency: undefined,
    totalTokens: 9_001,
    promptTokens: undefined,
    completionTokens: undefined,
    totalCost: '0.100000000000',
    promptCost: undefined,
    completionCost: undefined,
    tags: ['canary'],
    threadId: 'chat-77',
    tenantId: undefined,
    model: undefined,
    provider: undefined,
    dottedOrder: '20260301T120000000000Z',
    attributes: { region: 'eu-west', tier: 'gold', 'a.b': ['1', '2'] },
    feedback: [facts('helpful', 0.2), facts('reward', 1, { value: 'good', comment: 'fine' })],
    content: {
      inputs: '{"filters":{"city":"Oslo"},"messages":[{"content":"refund policy?"}]}',
      outputs: undefined,
    },
    ...fields,
  };
}

const passes = (filter: string, subject = run()): boolean => compilePredicate(parseFilter(filter))(subject);

test.each([
  ['eq(metadata_key, "region")', true],
  ['eq(metadata_key, "zone")', false],
  ['and(eq(metadata_key, "region"), eq(metadata_value, "eu-west"))', true],
  ['and(eq(metadata_key, "region"), eq(metadata_value, "gold"))', false],
  ['and(and(eq(metadata_key, "region")), and(eq(metadata_value, "gold")))', true],
  ['and(eq(metadata_key, "region"), neq(metadata_value, "us"))', true],
  ['and(eq(metadata_key, "region"), neq(metadata_value, "eu-west"))', false],
  ['and(eq(metadata_key, "zone"), neq(metadata_value, "us"))', false],
  ['neq(metadata_key, "zone")', true],
  ['neq(metadata_key, "region")', false],
  ['and(neq(metadata_key, "zone"), neq(metadata_value, "silver"))', true],
  ['and(neq(metadata_key, "zone"), neq(metadata_value, "gold"))', false],
  ['and(neq(metadata_key, "zone"), eq(metadata_value, "gold"))', true],
  ['and(neq(metadata_key, "region"), eq(metadata_value, "gold"))', false],
  ['and(neq(metadata_key, "zone"), eq(metadata_value, "silver"))', false],
  ['and(in(metadata_key, ["zone", "tier"]), eq(metadata_value, "gold"))', true],
  ['and(in(metadata_key, ["zone", "region"]), eq(metadata_value, "gold"))', false],
  ['and(eq(metadata_key, "a.b"), eq(metadata_value, 2))', true],
  ['and(like(metadata_key, "reg%"), like(metadata_value, "west"))', true],
  [
    'and(and(eq(metadata_key, "region"), eq(metadata_value, "eu-west")), and(eq(metadata_key, "tier"), neq(metadata_value, "free")))',
    true,
  ],
  ['has(metadata, \'{"region": "eu-west", "tier": "gold"}\')', true],
  ['has(metadata, \'{"region": "eu-west", "tier": "free"}\')', false],
  ['has(metadata, \'{"a": {"b": [1, 2]}}\')', true],
  ['has(metadata, \'{"a": {"b": 3}}\')', false],
  ['exists(metadata, "a")', true],
  ['exists(metadata, "a.b")', true],
  ['exists(metadata, "b")', false],
  ['and(eq(feedback_key, "helpful"), lte(feedback_score, 0.2))', true],
  ['and(eq(feedback_key, "helpful"), gt(feedback_score, 0.2))', false],
  ['and(eq(feedback_key, "helpful"), eq(feedback_value, "good"))', false],
  [
    'and(eq(feedback_key, "reward"), eq(feedback_value, "good"), eq(feedback_score, true), like(feedback_comment, "ine"))',
    true,
  ],
  ['and(eq(feedback_key, "reward"), neq(feedback_score, null))', true],
  ['and(eq(feedback_key, "reward"), neq(feedback_score, 1))', false],
  ['neq(feedback_key, "rating")', true],
  ['not(and(eq(feedback_key, "reward"), gt(feedback_score, 0)))', false],
  ['and(eq(input_key, "filters.city"), like(input_value, "%slo"))', true],
  ['and(eq(input_key, "messages.content"), eq(input_value, "Oslo"))', false],
])('in correlated conditions %s is %s', (filter, expected) => {
  expect(passes(filter)).toBe(expected);
});

test.each([
  ['and(eq(run_type, "tool"), gte(latency, "750ms"))', false],
  ['and(eq(run_type, "LLM"), gte(latency, "750ms"), lt(latency, "1s"))', true],
  [
    'and(eq(status, "Success"), gt(start_time, "2026-03-01T08:00:00Z"), lt(start_time, \'2026-03-02T08:00:00+01:00\'))',
    true,
  ],
  ['or(has(tags, "canary"), and(gt(total_tokens, 9000), not(has(tags, "batch"))))', true],
  ['in(tags, ["batch", "canary"])', true],
  ['neq(tags, "canary")', false],
  ['eq(total_cost, 0.1)', true],
  ['lt(total_cost, 0.1)', false],
  ['neq(error, null)', false],
  ['eq(error, false)', true],
  ['search(name, "openai CHAT")', true],
  ['search(name, "agent")', false],
  ['like(name, "chat")', false],
  ['like(name, "Chat%")', true],
  ['like(inputs, "\\"city\\":\\"Oslo\\"")', true],
  ['like(outputs, "%")', false],
  ['notlike(outputs, "%")', true],
  ['search("refund pol")', true],
  ['search("refund messages")', false],
  ['eq(thread_id, "chat-77")', true],
  ['neq(tenant_id, "acme")', true],
  ['eq(tenant_id, null)', true],
  ['gt(first_token_latency, 0)', false],
  ['not(gt(first_token_latency, 0))', true],
  ['eq(is_root, true)', true],
  ['neq(execution_order, 1)', false],
  [`in(trace_id, ["${ID}"])`, true],
  ['gte(dotted_order, "20260301T")', true],
  ['in(name, [])', false],
])('%s is %s', (filter, expected) => {
  expect(passes(filter)).toBe(expected);
});

test('the three filters speak of the run, the root of its trace and any run of its trace', () => {
  const root = run({ feedback: [facts('helpful', 1)] });
  const child = run({ id: ID.replace('1', '2'), name: 'fetch_docs', parentRunId: ID, feedback: [] });
  const sibling = run({ id: ID.replace('1', '3'), name: 'expand_query', parentRunId: ID });
  const matches = compileRunPredicates({
    run: parseFilter('eq(name, "fetch_docs")'),
    root: parseFilter('and(eq(feedback_key, "helpful"), eq(feedback_score, 1))'),
    tree: parseFilter('eq(name, "expand_query")'),
  });
  const tree = [root, child, sibling];
  expect(matches({ run: child, root, tree })).toBe(true);
  expect(matches({ run: sibling, root, tree })).toBe(false);
  expect(matches({ run: child, root: sibling, tree })).toBe(false);
  expect(matches({ run: child, root: undefined, tree })).toBe(false);
  expect(matches({ run: child, root, tree: [root, child] })).toBe(false);
  expect(compileRunPredicates({})({ run: child })).toBe(true);
});

test('a filter that looks for content in a run loaded without it is a fault, not an answer', () => {
  expect(() => passes('search("x")', run({ content: undefined }))).toThrow('loaded without');
  expect(() => passes('like(inputs, "x")', run({ content: undefined }))).toThrow('loaded without');
});

test('content can be asked about with the content scope only', () => {
  const principal = (...scopes: Scope[]): Principal => ({
    keyId: ID,
    kind: 'service',
    organizationId: ID,
    workspaceId: ID,
    userId: undefined,
    scopes: new Set(scopes),
    expiresAtMs: undefined,
  });
  const content = [
    'search("x")',
    'like(error, "x")',
    'not(search(error, "x"))',
    'eq(input_key, "x")',
    'or(eq(name, "a"), neq(output_value, "x"))',
    'notlike(outputs, "x")',
    'like(feedback_comment, "%x%")',
  ];
  for (const text of content) {
    for (const filters of [
      { run: parseFilter(text) },
      { root: parseFilter(text) },
      { tree: parseFilter(text) },
    ]) {
      expect(() =>
        assertFilterAllowed(principal(...SCOPES.filter((scope) => scope !== 'content')), filters),
      ).toThrow(expect.objectContaining({ code: 'FORBIDDEN', details: { missingScope: 'content' } }));
      expect(() => assertFilterAllowed(principal('read', 'content'), filters)).not.toThrow();
    }
  }
  for (const text of [
    'neq(error, null)',
    'eq(status, "error")',
    'search(name, "x")',
    'eq(metadata_key, "x")',
    'eq(feedback_key, "x")',
  ]) {
    expect(() => assertFilterAllowed(principal('read'), { run: parseFilter(text) })).not.toThrow();
  }
});
