/**
 * Filters as SQL: one boolean expression over an alias of runs, true or false for every row and never null, so that
 * `not` means the same as in the predicate. Identifiers come from the vocabulary; every value is bound.
 */
import { STRAY_DAY, TRACE_SPAN_DAYS } from '../ingest/run-location.js';
import { assertNever } from '../platform/errors.js';
import type { SqlParams } from '../platform/sql-params.js';
import type { WorkspaceScope } from '../tenancy/principal.js';
import { valuesMeant } from './feedback-value.js';
import type { RunFilters } from './filter.js';
import {
  planFilter,
  type ItemGroup,
  type ItemTest,
  type Plan,
  type SearchLeaf,
  type Test,
} from './filter.plan.js';
import { COMPLETE_INDEX, searchQuery, type SearchResolution } from './search-resolution.js';
import type { FieldSpec, FieldType } from './vocabulary.js';

export interface CompileOptions {
  /** Of the outer runs; not one of root_run, tree_run, f, s, p, v, k. */
  readonly alias: string;
  readonly params: SqlParams;
  readonly scope: WorkspaceScope;
  /**
   * Days (partitions) in which roots and other runs of the filtered runs' traces can live, at least those up to
   * TRACE_SPAN_DAYS away. Undefined reads all partitions.
   */
  readonly days: readonly string[] | undefined;
  /** From `SearchService.resolve`; without it the index is taken to be complete. */
  readonly search?: SearchResolution;
}

/** The condition for a run to pass: itself, the root of its trace and some run of its trace. `true` without filters. */
export function compileRunFilters(filters: RunFilters, options: CompileOptions): string {
  const compiler = new Compiler(options);
  const { alias } = options;
  const conditions: string[] = [];
  if (filters.run !== undefined) conditions.push(compiler.plan(planFilter(filters.run), alias));
  if (filters.root !== undefined) {
    const root = compiler.plan(planFilter(filters.root), 'root_run');
    conditions.push(compiler.existsRun('root_run', alias, `root_run.id = ${alias}.trace_id`, root));
  }
  if (filters.tree !== undefined) {
    const member = compiler.plan(planFilter(filters.tree), 'tree_run');
    conditions.push(compiler.existsRun('tree_run', alias, `tree_run.trace_id = ${alias}.trace_id`, member));
  }
  return conditions.length === 0 ? 'true' : allOfSql(conditions);
}

const CASTS: Readonly<Record<FieldType, string>> = {
  uuid: 'uuid',
  string: 'text',
  enum: 'text',
  error: 'text',
  datetime: 'timestamptz',
  duration: 'float8',
  number: 'float8',
  integer: 'bigint',
  decimal: 'numeric',
  boolean: 'boolean',
  tags: 'text',
  metadata: 'text',
  json: 'text',
  key: 'text',
  value: 'text',
};

const ORDERS = { gt: '>', gte: '>=', lt: '<', lte: '<=' } as const;

/** More combinations of keys and values than this are not spelled out for the index. */
const MAX_CONTAINMENTS = 2_000;

const allOfSql = (conditions: readonly string[]): string =>
  conditions.length === 0 ? 'true' : `(${conditions.join(' and ')})`;
const anyOfSql = (conditions: readonly string[]): string =>
  conditions.length === 0 ? 'false' : `(${conditions.join(' or ')})`;

/** Holds for every run: makes Postgres look into an index over roots and one over all others, where it uses neither. */
export const inBothIndexes = (alias: string): string =>
  `(${alias}.parent_run_id is null or ${alias}.parent_run_id is not null)`;

class Compiler {
  private readonly params: SqlParams;

  constructor(private readonly options: CompileOptions) {
    this.params = options.params;
  }

  private get workspace(): string {
    return this.params.once('filter.workspace', this.options.scope.workspaceId, 'uuid');
  }

  private dayCondition(alias: string): string[] {
    const { days } = this.options;
    return days === undefined
      ? []
      : [`${alias}.day = any(${this.params.once('filter.days', days, 'date[]')})`];
  }

  /**
   * A run of the same trace that meets the condition and lives near the run itself. Said by the run's own day and not
   * only by `days`, so that lists, counts and subscriptions, which read different days, agree.
   */
  existsRun(alias: string, outer: string, join: string, condition: string): string {
    const near = `${alias}.day between ${outer}.day - ${TRACE_SPAN_DAYS} and ${outer}.day + ${TRACE_SPAN_DAYS}`;
    const stray = [outer, alias].map((name) => `${name}.day = '${STRAY_DAY}'`);
    const where = [
      `${alias}.workspace_id = ${this.workspace}`,
      join,
      ...this.dayCondition(alias),
      anyOfSql([near, ...stray]),
      condition,
    ];
    return `exists (select 1 from runs ${alias} where ${where.join(' and ')})`;
  }

  plan(plan: Plan, alias: string): string {
    switch (plan.kind) {
      case 'all':
        return allOfSql(plan.parts.map((part) => this.plan(part, alias)));
      case 'any':
        return anyOfSql(plan.parts.map((part) => this.plan(part, alias)));
      case 'not':
        return `(not ${this.plan(plan.part, alias)})`;
      case 'field':
        return this.field(plan.spec, plan.test, alias);
      case 'json':
        return this.test(`${alias}.${plan.side}::text`, plan.test, 'text', true);
      case 'root':
        return `(${alias}.parent_run_id is null)`;
      case 'tags':
        return `(${alias}.tags && ${this.params.add(plan.anyOf, 'text[]')})`;
      case 'attributes':
        return allOfSql(
          plan.pairs.map(([key, value]) => this.contains(`${alias}.attributes`, [key], [value])),
        );
      case 'attribute':
        return this.hasKey(`${alias}.attributes`, plan.key);
      case 'items':
        return plan.group.source === 'feedback'
          ? this.feedback(plan.group, alias)
          : this.pairs(plan.group, `${alias}.attributes`);
      case 'search':
      case 'payload':
        return this.indexed(plan, alias);
      default:
        return assertNever(plan);
    }
  }

  private field(spec: FieldSpec, test: Test, alias: string): string {
    const condition = this.test(`${alias}.${columnOf(spec)}`, test, CASTS[spec.type], spec.nullable);
    const finds = spec.rootsIndexedApart === true && (test.kind === 'equal' || test.kind === 'oneOf');
    return finds ? `(${condition} and ${inBothIndexes(alias)})` : condition;
  }

  /** A null fails every test but `null`; the guard keeps it from making the expression null. */
  private test(expression: string, test: Test, cast: string, nullable: boolean): string {
    if (test.kind === 'null') return `(${expression} is null)`;
    if (test.kind === 'present') return `(${expression} is not null)`;
    const conditions = nullable ? [`${expression} is not null`] : [];
    switch (test.kind) {
      case 'equal':
        conditions.push(`${expression} = ${this.params.add(test.value, cast)}`);
        break;
      case 'oneOf':
        conditions.push(`${expression} = any(${this.params.add(test.values, `${cast}[]`)})`);
        break;
      case 'order':
        conditions.push(`${expression} ${ORDERS[test.order]} ${this.params.add(test.value, cast)}`);
        break;
      case 'like':
        conditions.push(`${expression} like ${this.params.add(test.pattern.sql, 'text')}`);
        break;
      case 'words':
        // The "C" collation lowers ASCII only, on every server and as the predicate does.
        for (const word of test.words) {
          conditions.push(`strpos(lower((${expression}) collate "C"), ${this.params.add(word, 'text')}) > 0`);
        }
        break;
      default:
        return assertNever(test);
    }
    return allOfSql(conditions);
  }

  // ── Pairs: metadata, and the payload pairs of the search index ───────────────────────────────────────────

  private pairs(group: ItemGroup, column: string): string {
    const conditions: string[] = [];
    if (group.keys.length + group.values.length > 0) {
      conditions.push(this.somePair(column, group.keys, group.values));
    }
    for (const key of group.notKeys) conditions.push(`(not ${this.somePair(column, [key], [])})`);
    for (const value of group.notValues) {
      conditions.push(`(not ${this.somePair(column, group.keys, [value])})`);
    }
    return allOfSql(conditions);
  }

  private somePair(column: string, keys: readonly ItemTest[], values: readonly ItemTest[]): string {
    const exactKeys = exactly(keys);
    const exactValues = exactly(values);
    if (exactKeys !== undefined && values.length === 0) {
      return exactKeys.length === 0 ? 'false' : `(${column} ?| ${this.params.add(exactKeys, 'text[]')})`;
    }
    if (
      exactKeys !== undefined &&
      exactValues !== undefined &&
      exactKeys.length * exactValues.length <= MAX_CONTAINMENTS
    ) {
      return this.contains(column, exactKeys, exactValues);
    }
    const conditions = keys.map(({ test }) => this.test('p.key', test, 'text', false));
    if (values.length > 0) {
      const items = `jsonb_array_elements_text(case jsonb_typeof(p.value) when 'array' then p.value else jsonb_build_array(p.value) end)`;
      const tests = values.map(({ test }) => this.test('v.item', test, 'text', false));
      conditions.push(`exists (select 1 from ${items} v(item) where ${allOfSql(tests)})`);
    }
    return `exists (select 1 from jsonb_each(${column}) p(key, value) where ${allOfSql(conditions)})`;
  }

  /** Some of the keys has some of the values, alone or in its list of values. Served by the GIN index. */
  private contains(column: string, keys: readonly string[], values: readonly string[]): string {
    const patterns = keys.flatMap((key) =>
      values.flatMap((value) => [JSON.stringify({ [key]: value }), JSON.stringify({ [key]: [value] })]),
    );
    return patterns.length === 0 ? 'false' : `(${column} @> any(${this.params.add(patterns, 'jsonb[]')}))`;
  }

  /** The key itself, or a nested object under it, whose keys were joined with dots. */
  private hasKey(column: string, key: string): string {
    const nested = `exists (select 1 from jsonb_object_keys(${column}) k(name) where starts_with(k.name, ${this.params.add(`${key}.`, 'text')}))`;
    return `(${column} ? ${this.params.add(key, 'text')} or ${nested})`;
  }

  // ── Feedback ─────────────────────────────────────────────────────────────────────────────────────────────

  private feedback(group: ItemGroup, alias: string): string {
    const some = (tests: readonly ItemTest[]): string => {
      const where = [
        `f.workspace_id = ${this.workspace}`,
        `f.run_id = ${alias}.id`,
        ...tests.map((item) => this.feedbackTest(item)),
      ];
      return `exists (select 1 from feedback f where ${where.join(' and ')})`;
    };
    const conditions: string[] = [];
    if (group.keys.length + group.values.length > 0) conditions.push(some([...group.keys, ...group.values]));
    for (const key of group.notKeys) conditions.push(`(not ${some([key])})`);
    for (const value of group.notValues) conditions.push(`(not ${some([...group.keys, value])})`);
    return allOfSql(conditions);
  }

  private feedbackTest({ spec, test }: ItemTest): string {
    const expression = `f.${columnOf(spec)}`;
    if (spec.type !== 'value') return this.test(expression, test, CASTS[spec.type], spec.nullable);
    // jsonb: SQL null and JSON null are both "no value".
    const isNull = `(${expression} is null or ${expression} = 'null'::jsonb)`;
    switch (test.kind) {
      case 'null':
        return isNull;
      case 'present':
        return `(not ${isNull})`;
      case 'equal':
      case 'oneOf': {
        const texts = test.kind === 'equal' ? [test.value] : test.values;
        const values = texts.flatMap((text) =>
          valuesMeant(String(text)).map((value) => JSON.stringify(value)),
        );
        return `(${expression} is not null and ${expression} = any(${this.params.add(values, 'jsonb[]')}))`;
      }
      case 'order': {
        const bound = this.params.add(test.value, 'numeric');
        return `(case when jsonb_typeof(${expression}) = 'number' then ${expression}::numeric ${ORDERS[test.order]} ${bound} else false end)`;
      }
      case 'like':
      case 'words':
        throw new Error(`feedback values have no ${test.kind}`);
    }
  }

  // ── Search index ─────────────────────────────────────────────────────────────────────────────────────────

  /**
   * The index row for runs it has seen; for those that changed since, what was found out in this program. One `in`
   * over both, because an `or` would keep the planner from starting at the index.
   */
  private indexed(leaf: SearchLeaf, alias: string): string {
    const where = [
      `s.workspace_id = ${this.workspace}`,
      ...this.dayCondition('s'),
      this.indexCondition(leaf),
    ];
    const { outdated, matching } = this.options.search ?? COMPLETE_INDEX;
    if (outdated.length > 0) {
      where.push(`s.run_id <> all(${this.params.once('filter.outdated', outdated, 'uuid[]')})`);
    }
    let rows = `select s.run_id from run_search s where ${where.join(' and ')}`;
    const found = matching.get(leaf.key);
    if (found === undefined && matching.size > 0) {
      throw new Error('the search resolution belongs to other filters');
    }
    if (found !== undefined && found.length > 0) {
      rows += ` union all select unnest(${this.params.add(found, 'uuid[]')})`;
    }
    return `(${alias}.id in (${rows}))`;
  }

  private indexCondition(leaf: SearchLeaf): string {
    if (leaf.kind === 'search') {
      const query = searchQuery(this.options.scope.workspaceId, leaf.words);
      return `s.words @@ ${this.params.add(query, 'tsquery')}`;
    }
    return this.pairs(leaf.group, leaf.group.source === 'inputs' ? 's.input_pairs' : 's.output_pairs');
  }
}

function columnOf(spec: FieldSpec): string {
  if (spec.column === undefined) throw new Error(`${spec.name} has no column`);
  return spec.column;
}

/** The values that pass all of the tests, when those only ask for equality. Undefined otherwise, or without tests. */
function exactly(tests: readonly ItemTest[]): string[] | undefined {
  let values: string[] | undefined;
  for (const { test } of tests) {
    if (test.kind !== 'equal' && test.kind !== 'oneOf') return undefined;
    const these = (test.kind === 'equal' ? [test.value] : test.values).map(String);
    values = values === undefined ? [...new Set(these)] : values.filter((value) => these.includes(value));
  }
  return values;
}
