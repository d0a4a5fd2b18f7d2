import { afterAll, expect, test } from '@jest/globals';
import { SqlParams } from '../../src/platform/sql-params.js';
import { trustedScope } from '../../src/tenancy/principal.js';
import type { ComparisonOp, Filter } from '../../src/filters/filter.js';
import { checkComparison } from '../../src/filters/filter-check.js';
import { checkFilter, parseFilter, printFilter } from '../../src/filters/filter-text.js';
import { compileRunFilters } from '../../src/filters/filter.sql.js';
import { eachLeaf, isSearchLeaf, plansOf } from '../../src/filters/filter.plan.js';
import { VOCABULARY } from '../../src/filters/vocabulary.js';
import { createTestDatabase } from '../support/database.js';
import { uuidOf } from './support/arbitraries.js';

const database = await createTestDatabase();
afterAll(() => database.drop());

const WORKSPACE = uuidOf(999);

const STATEMENTS = [
  'drop table runs',
  'select version()',
  'select pg_sleep(5)',
  'update runs set name = 1',
  'delete from runs',
  "copy runs to program 'id'",
  'select current_user',
  'insert into runs default values',
  'create role x superuser',
  'truncate runs cascade',
];
const BREAKOUTS = [
  "'",
  '"',
  "')",
  "'))",
  '\\',
  "\\'",
  "''",
  '`',
  ']',
  ')',
  '}',
  '$$',
  '$1',
  "E'\\''",
  '*/',
  "' union ",
  "' or 1=1 ",
  '1; ',
  '%27',
];

const corpus = [
  ...BREAKOUTS.flatMap((breakout) => STATEMENTS.map((statement) => `${breakout}; ${statement} --`)),
  "' or '1'='1",
  "' or ''='",
  "admin'--",
  "1' and sleep(5)#",
  '1 or 1=1',
  "' having 1=1--",
  "' group by 1--",
  "' order by 99--",
  "'||pg_sleep(5)||'",
  "'; begin; rollback; --",
  '\u02bc or 1=1',
  '\uff07 or 1=1 --',
  "' /*!50000union*/ select 1--",
  '{k,v}',
  '{"a":"b"}',
  '[1,2]',
  "'{}'::jsonb",
  'null',
  'NULL',
  '::text',
  '${1+1}',
  '{{7*7}}',
  '%00',
  '%s',
  '%',
  '_',
  '\\\\',
  '?',
  '??',
  '$0',
  '$99',
  'a\' collate "x"',
  "x' @@ 'y",
  "'a' & 'b':*",
  '!',
  '<->',
  '\n--\n',
  '\t;',
  '/**/',
];

/** Every place of the language that takes a text of the asker. */
function positions(text: string): Filter[] {
  const ops: readonly ComparisonOp[] = ['eq', 'neq', 'in', 'like', 'notlike', 'has', 'exists', 'search'];
  const filters: Filter[] = [];
  const attempt = (op: ComparisonOp, field: string | undefined, value: unknown): void => {
    try {
      filters.push(checkComparison(op, field, value));
    } catch {
      // A field that takes no such text has no place for it.
    }
  };
  for (const spec of VOCABULARY) {
    for (const op of ops) {
      if (spec.name === 'metadata' && op === 'has') {
        attempt(op, spec.name, { [text]: text, a: { [text]: [text, 1] } });
      } else attempt(op, spec.name, op === 'in' ? [text, 'other'] : text);
    }
  }
  for (const source of ['metadata', 'input', 'output']) {
    filters.push({
      kind: 'and',
      nodes: [checkComparison('eq', `${source}_key`, text), checkComparison('eq', `${source}_value`, text)],
    });
    filters.push({
      kind: 'and',
      nodes: [
        checkComparison('like', `${source}_key`, text),
        checkComparison('neq', `${source}_value`, text),
      ],
    });
  }
  attempt('search', undefined, `x ${text}`);
  return filters;
}

function compiled(filter: Filter): { text: string; values: unknown[] } {
  const params = new SqlParams();
  const matching = new Map<string, string[]>();
  for (const plan of plansOf({ run: filter })) {
    eachLeaf(plan, (leaf) => isSearchLeaf(leaf) && matching.set(leaf.key, [uuidOf(1)]));
  }
  const text = compileRunFilters(
    { run: filter },
    {
      alias: 'r',
      params,
      scope: trustedScope(WORKSPACE),
      days: ['1970-01-01'],
      search: { outdated: [uuidOf(1)], matching },
    },
  );
  return { text, values: params.values };
}

/** Without the numbers of placeholders, and with one condition for any number of words in search(field, …). */
const shape = (sql: string): string =>
  sql.replaceAll(/\$\d+/g, '$n').replaceAll(/(strpos\([^$]*\$n::text\) > 0)(?: and \1)+/g, '$1');

test('the corpus has two hundred strings and all of them have many places to go', () => {
  expect(new Set(corpus).size).toBeGreaterThanOrEqual(200);
  expect(positions('x').length).toBeGreaterThan(60);
});

test('no hostile text gets into SQL: statements differ from harmless ones in bound values only', async () => {
  const harmless = positions('harmless').map((filter) => compiled(filter).text);
  const allowed = new Set(harmless.map(shape));
  let executed = 0;
  for (const hostile of corpus) {
    const filters = positions(hostile);
    for (const filter of filters) {
      const { text } = compiled(filter);
      expect([hostile, allowed.has(shape(text))]).toEqual([hostile, true]);
      if (/\W.*\w.*\W/.test(hostile)) expect(text).not.toContain(hostile);
    }
    const all = compiled({ kind: 'or', nodes: filters });
    await database.pool.query(
      `/* filters.test */ select r.id from runs r where ${all.text} limit 1`,
      all.values,
    );
    executed += 1;
  }
  expect(executed).toBe(corpus.length);
  const { rows } = await database.pool.query(
    "select count(*)::int as tables from pg_class where relname in ('runs', 'feedback', 'run_search')",
  );
  expect(rows).toEqual([{ tables: 3 }]);
});

test('hostile names of fields and operators are refused with their place', () => {
  for (const hostile of corpus) {
    const quoted = printFilter({ kind: 'comparison', op: 'eq', field: undefined, value: hostile }).slice(
      3,
      -1,
    );
    expect(checkFilter(`eq(${quoted}, "x")`)).toMatchObject({ valid: false, error: { offset: 3 } });
    expect(checkFilter(`${hostile}(name, "x")`).valid).toBe(false);
    expect(parseFilter(`eq(name, ${quoted})`)).toEqual({
      kind: 'comparison',
      op: 'eq',
      field: 'name',
      value: hostile,
    });
  }
});
