import { afterAll, beforeAll, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { createPool } from '../../src/platform/db.js';
import { createLogger } from '../../src/platform/log.js';
import { SqlParams } from '../../src/platform/sql-params.js';
import { trustedScope } from '../../src/tenancy/principal.js';
import type { Filter, RunFilters } from '../../src/filters/filter.js';
import { parseFilter, printFilter } from '../../src/filters/filter-text.js';
import { compileRunPredicates } from '../../src/filters/filter.predicate.js';
import { compileRunFilters } from '../../src/filters/filter.sql.js';
import type { FilterableRun } from '../../src/filters/filterable-run.js';
import { VOCABULARY } from '../../src/filters/vocabulary.js';
import { createTestDatabase } from '../support/database.js';
import { comparisonOn, filter, POOL, runRow, type RandomRun } from './support/arbitraries.js';
import { indexRuns, loadRuns, storeRuns } from './support/stored-runs.js';

const database = await createTestDatabase();
const pool = createPool({
  url: database.url,
  name: 'test',
  max: 2,
  statementTimeoutMs: 20_000,
  log: createLogger('error', 'test'),
});
afterAll(async () => {
  await pool.end();
  await database.drop();
});

const WORKSPACE = '00000000-0000-4000-9000-000000000001';
const FOREIGN = '00000000-0000-4000-9000-000000000002';
const scope = trustedScope(WORKSPACE);
let runs: FilterableRun[];

beforeAll(async () => {
  const numbers = Array.from({ length: POOL }, (_, n) => n);
  // The same ids exist in another workspace with other values: whatever leaks from there shows as a difference.
  for (const [workspace, seed] of [
    [WORKSPACE, 7],
    [FOREIGN, 8],
  ] as const) {
    const [rows] = fc.sample(fc.tuple(...numbers.map(runRow)), { numRuns: 1, seed }) as [RandomRun[]];
    await storeRuns(pool, workspace, rows);
    await indexRuns(pool, workspace, await loadRuns(pool, workspace));
  }
  runs = await loadRuns(pool, WORKSPACE);
});

async function selected(filters: RunFilters): Promise<string[]> {
  const params = new SqlParams();
  const workspace = params.add(WORKSPACE, 'uuid');
  const condition = compileRunFilters(filters, { alias: 'r', params, scope, days: ['1970-01-01'] });
  const { rows } = await pool.query<{ id: string; verdict: boolean | null }>(
    `select r.id, ${condition} as verdict from runs r where r.workspace_id = ${workspace} order by r.id`,
    params.values,
  );
  for (const row of rows) expect(row.verdict).not.toBeNull();
  return rows.filter((row) => row.verdict === true).map((row) => row.id);
}

function judged(filters: RunFilters): string[] {
  const passes = compileRunPredicates(filters);
  const view = (run: FilterableRun) => ({
    run,
    root: runs.find((other) => other.id === run.traceId),
    tree: runs.filter((other) => other.traceId === run.traceId),
  });
  return runs.filter((run) => passes(view(run))).map((run) => run.id);
}

test('SQL and predicate agree on every field and operator', async () => {
  for (const spec of VOCABULARY) {
    for (const leaf of fc.sample(comparisonOn(spec), { numRuns: 25, seed: 11 })) {
      const result = { filter: printFilter(leaf), ids: await selected({ run: leaf }) };
      expect(result).toEqual({ filter: printFilter(leaf), ids: judged({ run: leaf }) });
    }
  }
});

test('SQL and predicate agree on random filters, on the run, its root and its tree', async () => {
  const place = fc.option(filter, { nil: undefined, freq: 2 });
  const combined = fc
    .record({ run: place, root: place, tree: place })
    .map(
      (filters) =>
        Object.fromEntries(Object.entries(filters).filter(([, value]) => value !== undefined)) as RunFilters,
    );
  let pairs = 0;
  let passed = 0;
  for (const filters of [
    ...fc.sample(filter, { numRuns: 450, seed: 3 }).map((run: Filter): RunFilters => ({ run })),
    ...fc.sample(combined, { numRuns: 250, seed: 5 }),
  ]) {
    const expected = judged(filters);
    expect({ filters: describe(filters), ids: await selected(filters) }).toEqual({
      filters: describe(filters),
      ids: expected,
    });
    pairs += runs.length;
    passed += expected.length;
  }
  expect(pairs).toBeGreaterThan(10_000);
  // Random filters that always or never hold would prove nothing.
  expect(passed / pairs).toBeGreaterThan(0.1);
  expect(passed / pairs).toBeLessThan(0.9);
});

const describe = (filters: RunFilters): Record<string, string> =>
  Object.fromEntries(Object.entries(filters).map(([place, tree]) => [place, printFilter(tree as Filter)]));

test('a tree survives being printed and parsed', () => {
  fc.assert(
    fc.property(filter, (tree) => {
      expect(parseFilter(printFilter(tree))).toEqual(tree);
    }),
    { numRuns: 2_000 },
  );
});
