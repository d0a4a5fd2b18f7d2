import { afterAll, beforeAll, expect, test } from '@jest/globals';
import pg from 'pg';
import { checkComparison } from '../../src/filters/filter-check.js';
import { parseFilter, printFilter } from '../../src/filters/filter-text.js';
import type { ComparisonOp, FilterLiteral } from '../../src/filters/filter.js';
import type { FieldSpec, FieldType } from '../../src/filters/vocabulary.js';
import { VOCABULARY } from '../../src/filters/vocabulary.js';
import { createPool } from '../../src/platform/db.js';
import { createLogger } from '../../src/platform/log.js';
import { RunStore } from '../../src/runs/run.store.js';
import { trustedScope } from '../../src/tenancy/principal.js';
import { createTestDatabase } from '../support/database.js';
import { uuidOf } from './support/arbitraries.js';
import { DAYS, idOfRun, PROJECT, RUNS, storeSkewedProject, WORKSPACE } from './support/skewed-project.js';

const database = await createTestDatabase();
const pool = createPool({
  url: database.url,
  role: database.role,
  name: 'read',
  max: 2,
  statementTimeoutMs: 30_000,
  rows: 'everywhere',
  log: createLogger('error', 'test'),
});
beforeAll(async () => {
  // As on disks that seek for nothing; by Postgres's own assumption, small tables are read from end to end.
  const { pathname } = new URL(database.url);
  await database.pool.query(`alter database ${pathname.slice(1)} set random_page_cost = 1.1`);
  await storeSkewedProject(database.pool);
}, 120_000);
/** Reads plans as JSON, which the services' pools leave as text. */
const explainer = new pg.Pool({ connectionString: database.url, max: 1 });
afterAll(async () => {
  await explainer.end();
  await pool.end();
  await database.drop();
});

interface PlanNode {
  readonly 'Node Type': string;
  readonly 'Index Name'?: string;
  readonly 'Relation Name'?: string;
  readonly 'Actual Rows': number;
  readonly 'Actual Loops': number;
  readonly 'Rows Removed by Filter'?: number;
  readonly 'Rows Removed by Index Recheck'?: number;
  readonly Plans?: readonly PlanNode[];
}

interface Reading {
  /** Indexes that were read, those of partitions by the name of the table's. */
  readonly indexes: ReadonlySet<string>;
  /** Tables that were read from end to end. */
  readonly scanned: ReadonlySet<string>;
  /** Rows that were fetched, whether they passed or not. */
  readonly rows: number;
  /** Of these, runs. */
  readonly runs: number;
}

/** The page of a filter, and how Postgres found it. */
async function readingOf(filter: string): Promise<Reading & { found: number }> {
  const indexes = new Set<string>();
  const scanned = new Set<string>();
  let rows = 0;
  let runs = 0;
  const visit = (node: PlanNode): void => {
    const { 'Actual Loops': loops, 'Relation Name': table, 'Index Name': index } = node;
    if (loops > 0) {
      if (index !== undefined) indexes.add(parents.get(index) ?? index);
      if (node['Node Type'] === 'Seq Scan' && table !== undefined) scanned.add(table);
      if (table !== undefined) {
        const dropped = (node['Rows Removed by Filter'] ?? 0) + (node['Rows Removed by Index Recheck'] ?? 0);
        const fetched = (node['Actual Rows'] + dropped) * loops;
        rows += fetched;
        if (/^runs_2026/.test(table)) runs += fetched;
      }
    }
    for (const child of node.Plans ?? []) visit(child);
  };
  const explaining = {
    async query<R extends pg.QueryResultRow>(text: string | pg.QueryConfig, values?: unknown[]) {
      const statement = typeof text === 'string' ? text : text.text;
      const { rows: explained } = await explainer.query<{ 'QUERY PLAN': [{ Plan: PlanNode }] }>(
        `explain (analyze, timing off, format json) ${statement}`,
        values,
      );
      visit(explained[0]!['QUERY PLAN'][0].Plan);
      return pool.query<R>(text, values);
    },
  };
  const page = await new RunStore({ db: explaining }).list(
    {
      query: { projectIds: [PROJECT], filters: { run: parseFilter(filter) } },
      window: { limit: 50, backward: false, boundary: undefined },
      direction: 'desc',
      selection: { fields: ['name'], content: true },
    },
    DAYS.map((day) => ({ day, firstStartOn: day, lastStartOn: day })),
    { scope: trustedScope(WORKSPACE), search: undefined },
  );
  scanned.delete('runs_stray');
  return { indexes, scanned, rows, runs, found: page.length };
}

const parents = new Map<string, string>();
const ids: Record<string, string> = {};
beforeAll(async () => {
  const { rows } = await database.pool.query<{ child: string; parent: string }>(
    `select i.inhrelid::regclass::text as child, i.inhparent::regclass::text as parent
     from pg_inherits i join pg_class c on c.oid = i.inhrelid where c.relkind = 'i'`,
  );
  for (const { child, parent } of rows) parents.set(child, parent);
  for (const n of [7, 805, 807]) ids[n] = await idOfRun(database.pool, n);
});

/** Conditions that few runs meet, by field and operator, and the index that finds those runs. */
const SERVED: Record<string, readonly [filter: () => string, index: string]> = {
  'id eq': [() => `eq(id, "${ids[7]}")`, 'runs_pkey'],
  'id in': [() => `in(id, ["${ids[7]}", "${ids[807]}"])`, 'runs_pkey'],
  'trace_id eq': [() => `eq(trace_id, "${ids[805]}")`, 'runs_by_trace'],
  'trace_id in': [() => `in(trace_id, ["${ids[805]}"])`, 'runs_by_trace'],
  'project_id eq': [() => `eq(project_id, "${PROJECT}")`, 'runs_by_time'],
  'start_time eq': [() => 'eq(start_time, "2026-11-02T00:00:00Z")', 'runs_by_time'],
  'start_time lt': [() => 'lt(start_time, "2026-11-01T00:01:00Z")', 'runs_by_time'],
  'start_time lte': [() => 'lte(start_time, "2026-11-01T00:01:00Z")', 'runs_by_time'],
  'start_time gt': [() => 'gt(start_time, "2026-11-04T23:59:00Z")', 'runs_by_time'],
  'start_time gte': [() => 'gte(start_time, "2026-11-04T23:59:00Z")', 'runs_by_time'],
  'is_root eq': [() => 'eq(is_root, true)', 'runs_roots'],
  'is_root neq': [() => 'neq(is_root, false)', 'runs_roots'],
  'execution_order eq': [() => 'eq(execution_order, 1)', 'runs_roots'],
  'thread_id eq': [() => 'eq(thread_id, "thread 3")', 'runs_by_thread_below'],
  'thread_id in': [() => 'in(thread_id, ["thread 3", "thread 4"])', 'runs_by_thread_below'],
  'tags has': [() => 'has(tags, "rare")', 'runs_by_attribute'],
  'tags eq': [() => 'eq(tags, "rare")', 'runs_by_attribute'],
  'tags in': [() => 'in(tags, ["rare", "none"])', 'runs_by_attribute'],
  'metadata has': [() => `has(metadata, '{"customer":"c3"}')`, 'runs_by_attribute'],
  'metadata_value eq': [
    () => 'and(eq(metadata_key, "customer"), eq(metadata_value, "c3"))',
    'runs_by_attribute',
  ],
  'metadata_value in': [
    () => 'and(eq(metadata_key, "customer"), in(metadata_value, ["c3", "c4"]))',
    'runs_by_attribute',
  ],
  'input_value eq': [() => 'and(eq(input_key, "q"), eq(input_value, "rare"))', 'run_search_by_input'],
  'input_value in': [() => 'and(eq(input_key, "q"), in(input_value, ["rare"]))', 'run_search_by_input'],
  'output_value eq': [() => 'and(eq(output_key, "a"), eq(output_value, "rare"))', 'run_search_by_output'],
  'output_value in': [() => 'and(eq(output_key, "a"), in(output_value, ["rare"]))', 'run_search_by_output'],
  'feedback_key eq': [() => 'eq(feedback_key, "rare")', 'feedback_by_key'],
  'feedback_key in': [() => 'in(feedback_key, ["rare", "none"])', 'feedback_by_key'],
  'feedback_score lt': [() => 'and(eq(feedback_key, "common"), lt(feedback_score, 0.5))', 'feedback_by_key'],
  'feedback_score lte': [
    () => 'and(eq(feedback_key, "common"), lte(feedback_score, 0.4))',
    'feedback_by_key',
  ],
  'feedback_score gt': [() => 'and(eq(feedback_key, "rare"), gt(feedback_score, 0.05))', 'feedback_by_key'],
  'feedback_score gte': [() => 'and(eq(feedback_key, "rare"), gte(feedback_score, 0.1))', 'feedback_by_key'],
  'feedback_score eq': [() => 'and(eq(feedback_key, "common"), eq(feedback_score, 0.1))', 'feedback_by_key'],
  'feedback_score in': [
    () => 'and(eq(feedback_key, "common"), in(feedback_score, [0.1]))',
    'feedback_by_key',
  ],
  'feedback_value eq': [() => 'and(eq(feedback_key, "rare"), eq(feedback_value, "rare"))', 'feedback_by_key'],
  'feedback_comment eq': [
    () => 'and(eq(feedback_key, "rare"), eq(feedback_comment, "comment"))',
    'feedback_by_key',
  ],
  'feedback_source eq': [
    () => 'and(eq(feedback_key, "rare"), eq(feedback_source, "api"))',
    'feedback_by_key',
  ],
};

test.each(Object.keys(SERVED))('%s finds few runs by its index', async (name) => {
  const [filter, index] = SERVED[name]!;
  const { indexes, scanned, rows, found } = await readingOf(filter());
  expect(found).toBeGreaterThan(0);
  expect([...scanned]).toEqual([]);
  expect(rows).toBeLessThan(RUNS / 20);
  expect([...indexes]).toContain(index);
});

/** Conditions that most runs meet: a page is read from the newest run on, whatever index there is. */
const COMMON = [
  'has(tags, "common")',
  'eq(feedback_key, "common")',
  'and(eq(feedback_key, "common"), gt(feedback_score, 0.2))',
  'and(eq(metadata_key, "stage"), eq(metadata_value, "common"))',
];

test.each(COMMON)('%s reads no more than a page needs', async (filter) => {
  const { scanned, rows, found } = await readingOf(filter);
  expect(found).toBe(51);
  expect([...scanned]).toEqual([]);
  expect(rows).toBeLessThan(RUNS / 20);
});
/** A literal that no run, or hardly any, has. */
const LITERALS: Record<FieldType, FilterLiteral> = {
  uuid: uuidOf(1),
  string: 'none',
  enum: 'tool',
  error: 'none',
  datetime: '2026-11-09T00:00:00Z',
  duration: '1000s',
  number: -1,
  integer: -1,
  decimal: -1,
  boolean: true,
  tags: 'none',
  metadata: 'none',
  json: 'none',
  key: 'none',
  value: 'none',
};

function literalFor({ name, type, values }: FieldSpec, op: ComparisonOp): FilterLiteral {
  if (type === 'enum') return values?.[0] ?? '';
  if (type === 'error' && (op === 'eq' || op === 'neq')) return true;
  if (name === 'execution_order') return 1;
  if (name === 'feedback_value' && ['gt', 'gte', 'lt', 'lte'].includes(op)) return -1;
  if (type === 'metadata' && op === 'has') return '{"none":"none"}';
  return LITERALS[type];
}

const leaves = VOCABULARY.flatMap((spec) =>
  spec.operators.filter((op) => SERVED[`${spec.name} ${op}`] === undefined).map((op) => [spec, op] as const),
);

test.each(leaves.map(([spec, op]) => [`${spec.name} ${op}`, spec, op] as const))(
  '%s reads the runs of its project at most, by an index',
  async (_, spec, op) => {
    const literal = literalFor(spec, op);
    const filter = checkComparison(op, spec.name, op === 'in' ? [literal] : literal);
    const { scanned, runs } = await readingOf(printFilter(filter));
    expect([...scanned]).toEqual([]);
    expect(runs).toBeLessThanOrEqual(RUNS);
  },
);

// Postgres takes a word's beginning to match one row in 200 at least, so it may read the project's runs beside the index.
test('full-text search asks its index, and reads the runs of its project at most', async () => {
  const { indexes, scanned, runs, found } = await readingOf('search("rare")');
  expect(found).toBe(20);
  expect([...scanned]).toEqual([]);
  expect([...indexes]).toContain('run_search_by_word');
  expect(runs).toBeLessThanOrEqual(RUNS * 1.1);
});

test('what the vocabulary says serves a field does', () => {
  const said = VOCABULARY.filter(({ index }) => index !== undefined).map(({ name, index }) => [name, index]);
  const shown = Object.entries(SERVED).map(([key, [, index]]) => [key.split(' ')[0], index]);
  for (const [name, index] of said) expect(shown).toContainEqual([name, index]);
});
