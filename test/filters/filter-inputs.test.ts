import 'reflect-metadata';
import { expect, test } from '@jest/globals';
import fc from 'fast-check';
import { graphql } from 'graphql';
import { Arg, Query, Resolver } from 'type-graphql';
import type { Comparison, Filter } from '../../src/filters/filter.js';
import { RunWhereInput, toRunFilters } from '../../src/filters/filter.inputs.js';
import { compilePredicate } from '../../src/filters/filter.predicate.js';
import { parseFilter, printFilter } from '../../src/filters/filter-text.js';
import { FilterResolver } from '../../src/filters/filter.resolver.js';
import { filterableRun } from '../../src/filters/filterable-run.js';
import { getField } from '../../src/filters/vocabulary.js';
import { toGlobalId } from '../../src/graphql/global-id.js';
import { buildTracewellSchema } from '../../src/graphql/schema.js';
import { flattenMetadata } from '../../src/ingest/run-facts.js';
import type { JsonObject } from '../../src/ingest/run-event.js';
import { filter, POOL, runRow, type RandomRun } from './support/arbitraries.js';

const ID = '0199aaaa-0000-7000-8000-000000000001';

/** Prints the filters it is given, one line per place. */
@Resolver()
class EchoResolver {
  @Query(() => [String])
  echo(@Arg('where', () => RunWhereInput, { nullable: true }) where: RunWhereInput | null): string[] {
    return Object.entries(toRunFilters(where)).map(
      ([place, tree]) => `${place}: ${printFilter(tree as Filter)}`,
    );
  }
}

const schema = buildTracewellSchema(
  [new EchoResolver(), new FilterResolver()],
  [EchoResolver, FilterResolver],
);

async function echo(where: unknown): Promise<unknown> {
  const result = await graphql({
    schema,
    source: 'query ($where: RunWhereInput) { echo(where: $where) }',
    variableValues: { where },
  });
  if (result.errors === undefined) return result.data?.['echo'];
  const original = result.errors[0]?.originalError as { message: string; inputPath?: unknown } | undefined;
  return { message: original?.message ?? result.errors[0]?.message, path: original?.inputPath };
}

test('typed conditions and texts become one filter per place', async () => {
  expect(await echo(null)).toEqual([]);
  expect(await echo({ match: {} })).toEqual([]);
  expect(
    await echo({
      filter: 'eq(metadata_key, "a")',
      match: {
        runType: { eq: 'LLM' },
        latency: { gt: 5 },
        tags: { has: 'prod' },
        feedback: { key: { eq: 'user_rating' }, score: { lt: 0.4 } },
      },
      traceFilter: 'eq(is_root, true)',
      treeMatch: { not: { error: { isNull: true } } },
    }),
  ).toEqual([
    'run: and(and(eq(metadata_key, "a")), and(eq(run_type, "llm"), gt(latency, "5s"), has(tags, "prod"), and(eq(feedback_key, "user_rating"), lt(feedback_score, 0.4))))',
    'root: eq(is_root, true)',
    'tree: not(eq(error, null))',
  ]);
});

test('every kind of condition has its typed form', async () => {
  const project = toGlobalId('Project', ID);
  const match = {
    id: { in: [ID] },
    projectId: { eq: project },
    parentRunId: { isNull: true },
    name: { like: 'a%', search: 'b' },
    status: { in: ['ERROR'] },
    error: { isNull: false, like: 'boom' },
    startTime: { gte: '2026-03-01T08:00:00.000001Z', lt: '2026-03-02T08:00:00+01:00' },
    totalCost: { lte: 0.5 },
    isRoot: true,
    threadId: { isNull: false, notLike: 'x' },
    tags: { hasAny: ['a', 'b'], hasNot: 'c' },
    metadata: { key: { eq: 'k' }, value: { notLike: 'v' }, has: { a: { b: 1 } }, exists: 'e' },
    inputs: { key: { in: ['q'] }, like: 'text' },
    outputs: { search: 'word' },
    feedback: { score: { in: [0, 1], and: [{ gt: 0 }] }, value: { eq: 'good' }, comment: { isNull: true } },
    search: 'refund policy',
    or: [{ name: { eq: 'x' } }, { name: { eq: 'y' }, model: { eq: 'z' } }],
  };
  expect(await echo({ match })).toEqual([
    `run: and(in(id, ["${ID}"]), eq(parent_run_id, null), eq(project_id, "${ID}"), like(name, "a%"), search(name, "b"), ` +
      `in(status, ["error"]), neq(error, null), like(error, "boom"), gte(start_time, "2026-03-01T08:00:00.000001Z"), ` +
      `lt(start_time, "2026-03-02T07:00:00Z"), lte(total_cost, 0.5), eq(is_root, true), notlike(thread_id, "x"), neq(thread_id, null), ` +
      `neq(tags, "c"), in(tags, ["a", "b"]), and(eq(metadata_key, "k"), notlike(metadata_value, "v")), ` +
      `has(metadata, "{\\"a\\":{\\"b\\":1}}"), exists(metadata, "e"), and(in(input_key, ["q"])), like(inputs, "text"), ` +
      `search(outputs, "word"), and(in(feedback_score, [0, 1]), gt(feedback_score, 0), eq(feedback_value, "good"), eq(feedback_comment, null)), ` +
      `search("refund policy"), or(eq(name, "x"), and(eq(name, "y"), eq(model, "z"))))`,
  ]);
});

test.each([
  [
    { match: { name: { eq: null } } },
    'null is no condition. Leave the field out, or ask with isNull.',
    ['where', 'match', 'name', 'eq'],
  ],
  [{ match: { name: {} } }, 'At least one condition is needed here.', ['where', 'match', 'name']],
  [{ match: { or: [] } }, 'or needs at least one filter.', ['where', 'match', 'or']],
  [
    { match: { or: [{ name: { eq: 'a' } }, {}] } },
    'A filter needs at least one condition here.',
    ['where', 'match', 'or', 1],
  ],
  [{ match: { not: {} } }, 'A filter needs at least one condition here.', ['where', 'match', 'not']],
  [{ match: { metadata: {} } }, 'metadata needs at least one condition.', ['where', 'match', 'metadata']],
  [
    { match: { id: { in: [ID, 'nope'] } } },
    '"where.match.id.in.1" is not an id.',
    ['where', 'match', 'id', 'in', 1],
  ],
  [
    { match: { id: { eq: toGlobalId('Project', ID) } } },
    '"where.match.id.eq" is the id of a Project, not of a Run.',
    ['where', 'match', 'id', 'eq'],
  ],
  [
    { match: { runType: { in: ['llm', 'robot'] } } },
    'run_type is one of tool, chain, llm, retriever, embedding, prompt, parser; got "robot".',
    ['where', 'match', 'runType', 'in', 1],
  ],
  [{ match: { id: { isNull: true } } }, 'id is never null.', ['where', 'match', 'id', 'isNull']],
  [
    { match: { name: { eq: 'a\u0000' } } },
    'Texts in filters cannot contain NUL or half of a surrogate pair.',
    ['where', 'match', 'name', 'eq'],
  ],
  [{ filter: 'eq(x, 1)' }, 'Filter, line 1, column 4: There is no field "x".', ['where', 'filter']],
])('%j is refused', async (where, message, path) => {
  expect(await echo(where)).toEqual({ message, path });
});

test('typed filters keep to the limits of size', async () => {
  const leaves = (count: number) => ({
    match: { and: Array.from({ length: count }, () => ({ isRoot: true })) },
  });
  expect(await echo(leaves(199))).toHaveLength(1);
  expect(await echo(leaves(200))).toMatchObject({ message: 'Filters have at most 200 expressions.' });
  const deep = (levels: number): object => (levels === 1 ? { isRoot: true } : { not: deep(levels - 1) });
  expect(await echo({ match: deep(20) })).toHaveLength(1);
  expect(await echo({ match: deep(21) })).toMatchObject({ message: 'Filters nest at most 20 levels deep.' });
  expect(await echo({ match: deep(300) })).toMatchObject({ message: 'This filter nests too deep.' });
});

// ── Equal power: every tree can be said in typed form ─────────────────────────────────────────────────────

const CAMEL = (name: string): string =>
  name.replace(/_([a-z])/g, (_, letter: string) => letter.toUpperCase());
const ITEM_PART: Readonly<Record<string, string>> = { source_type: 'source' };

function comparatorOf({ op, value }: Comparison): Record<string, unknown> {
  if (value === null) return { isNull: op === 'eq' };
  return { [op === 'notlike' ? 'notLike' : op]: value };
}

function typed(tree: Filter): object {
  if (tree.kind === 'not') return { not: typed(tree.node) };
  if (tree.kind === 'or') return { or: tree.nodes.map(typed) };
  if (tree.kind === 'comparison') return typedComparison(tree);
  const sources = new Map<string, Comparison[]>();
  const others: object[] = [];
  for (const node of tree.nodes) {
    const items =
      node.kind === 'comparison' && node.field !== undefined ? getField(node.field).items : undefined;
    if (items === undefined) others.push(typed(node));
    else sources.set(items, [...(sources.get(items) ?? []), node as Comparison]);
  }
  for (const [source, comparisons] of sources) others.push({ [source]: matcher(comparisons) });
  return { and: others };
}

function matcher(comparisons: readonly Comparison[]): Record<string, unknown> {
  const parts: Record<string, { and: unknown[] }> = {};
  for (const comparison of comparisons) {
    const spec = getField(comparison.field ?? '');
    const part =
      spec.type === 'key'
        ? 'key'
        : spec.items === 'feedback'
          ? (ITEM_PART[spec.column ?? ''] ?? spec.column ?? '')
          : 'value';
    (parts[part] ??= { and: [] }).and.push(comparatorOf(comparison));
  }
  return parts;
}

function typedComparison(comparison: Comparison): object {
  const { op, field, value } = comparison;
  if (field === undefined) return { search: String(value) };
  const spec = getField(field);
  if (spec.items !== undefined) return { [spec.items]: matcher([comparison]) };
  if (spec.type === 'boolean') {
    return op === 'eq' ? { isRoot: value === true } : { not: { isRoot: value === true } };
  }
  if (spec.type === 'tags') {
    return { tags: { [op === 'in' ? 'hasAny' : op === 'neq' ? 'hasNot' : 'has']: value } };
  }
  if (spec.type === 'metadata') {
    return {
      metadata: op === 'has' ? { has: JSON.parse(String(value)) as unknown } : { exists: String(value) },
    };
  }
  return { [CAMEL(spec.name)]: comparatorOf(comparison) };
}

test('typed form, tree and text say the same', () => {
  const [rows] = fc.sample(fc.tuple(...Array.from({ length: POOL }, (_, n) => runRow(n))), {
    numRuns: 1,
    seed: 21,
  }) as [RandomRun[]];
  const runs = rows.map((row) =>
    filterableRun(
      {
        ...row,
        attributes: flattenMetadata(row.metadata as JsonObject),
        inputs: row.inputs === null ? null : JSON.stringify(row.inputs),
        outputs: row.outputs === null ? null : JSON.stringify(row.outputs),
      },
      row.feedback.map(({ source_type, ...facts }) => ({ ...facts, sourceType: source_type })),
    ),
  );
  fc.assert(
    fc.property(filter, (tree) => {
      const { run } = toRunFilters(JSON.parse(JSON.stringify({ match: typed(tree) })) as RunWhereInput);
      if (run === undefined) throw new Error('nothing left of the filter');
      const text = printFilter(run);
      expect(parseFilter(text)).toEqual(run);
      const [wanted, given] = [compilePredicate(tree), compilePredicate(run)];
      expect({ text, passed: runs.map(given) }).toEqual({ text, passed: runs.map(wanted) });
    }),
    { numRuns: 1_000 },
  );
});

test('the vocabulary and the judgement of a text are there for editors', async () => {
  const result = await graphql({
    schema,
    source: `{
      filterVocabulary { maxLength maxNodes maxDepth maxListLength fields { name type operators aliases nullable content index values } operators { name usage } }
      good: validateFilter(filter: "and(search('x'))") { valid canonical needsContent error { message } }
      bad: validateFilter(filter: "eq(name,\\n 5s") { valid canonical needsContent error { message offset line column } }
    }`,
  });
  expect(result.errors).toBeUndefined();
  expect(result.data).toMatchObject({
    filterVocabulary: { maxLength: 8_192, maxNodes: 200, maxDepth: 20, maxListLength: 1_000 },
    good: { valid: true, canonical: 'and(search("x"))', needsContent: true, error: null },
    bad: {
      valid: false,
      canonical: null,
      needsContent: null,
      error: { message: 'Expected "," or ")", but the filter ends.', offset: 12, line: 2, column: 4 },
    },
  });
  const { fields } = result.data?.['filterVocabulary'] as { fields: { name: string }[] };
  expect(fields).toHaveLength(42);
  expect(fields.find(({ name }) => name === 'status')).toEqual({
    name: 'status',
    type: 'enum',
    operators: ['eq', 'neq', 'in'],
    aliases: [],
    nullable: false,
    content: false,
    index: null,
    values: ['pending', 'success', 'error'],
  });
});
