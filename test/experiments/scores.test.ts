import { afterAll, beforeAll, expect, test } from '@jest/globals';
import type pg from 'pg';
import { ExperimentScoresStore } from '../../src/experiments/experiment-scores.store.js';
import { createPool } from '../../src/platform/db.js';
import { createLogger } from '../../src/platform/log.js';
import { trustedScope } from '../../src/tenancy/principal.js';
import { createTestDatabase } from '../support/database.js';
import type { TestDatabase } from '../support/database.js';

const WORKSPACE = '01990000-0000-7000-8000-000000000001';
const OTHER = '01990000-0000-7000-8000-000000000002';
const DATASET = '01990000-0000-7000-8000-00000000d001';
const EXPERIMENT = '01990000-0000-7000-8000-00000000e001';
const SMALL = '01990000-0000-7000-8000-00000000e002';
const uuid = (kind: string, sql: string): string =>
  `('01990000-0000-7000-${kind}-' || lpad(to_hex(${sql}), 12, '0'))::uuid`;

let database: TestDatabase;
let pool: pg.Pool;
const scope = trustedScope(WORKSPACE);

beforeAll(async () => {
  database = await createTestDatabase();
  pool = createPool({
    url: database.url,
    name: 'scores',
    max: 2,
    statementTimeoutMs: 30_000,
    log: createLogger('silent', 'test'),
    rows: 'everywhere',
  });
  await pool.query(
    `insert into datasets (workspace_id, id, name, data_type, version, created_at, updated_at)
     values ($1, $2, 'questions', 'kv', 2, now(), now())`,
    [WORKSPACE, DATASET],
  );
  await pool.query(
    `insert into examples (workspace_id, dataset_id, id, since_version, until_version, name, inputs, metadata, splits,
       inputs_hash, content_hash, created_at, modified_at)
     select $1, $2, ${uuid('a000', 'n')}, 1, case when n = 0 then 2 end, n::text, '{}',
       jsonb_build_object('n', n), '{base}', '', '', now(), now()
     from generate_series(0, 2499) n`,
    [WORKSPACE, DATASET],
  );
  for (const [id, name, metadata] of [
    [EXPERIMENT, 'large', {}],
    [SMALL, 'small', {}],
  ] as const) {
    await pool.query(
      `insert into projects (workspace_id, id, name, extra, reference_dataset_id, start_time, created_at, updated_at)
       values ($1, $2, $3, $4, $5, now(), now(), now())`,
      [WORKSPACE, id, name, { metadata }, DATASET],
    );
    await pool.query(
      `insert into run_days (workspace_id, project_id, day, first_start_on, last_start_on)
       values ($1, $2, '1970-01-01', '2026-11-01', '2026-11-02')`,
      [WORKSPACE, id],
    );
  }
});

afterAll(async () => {
  await pool.end();
  await database.drop();
});

/** Roots of a project, `times` per example, each a second after the one before. */
async function insertRuns(project: string, examples: number, times: number, kind: string): Promise<void> {
  await pool.query(
    `insert into runs (workspace_id, id, day, project_id, trace_id, dotted_order, name, run_type, status, start_time,
       end_time, latency, error, tags, reference_example_id, metadata, attributes, extra, revision, merge_rank,
       total_tokens, total_cost, created_at, updated_at)
     select $1, id, '1970-01-01', $2, id, '', 'root', 'chain', case when n % 10 = 9 then 'error' else 'success' end,
       timestamptz '2026-11-01' + make_interval(secs => $4::int - n), timestamptz '2026-11-02', 1.5,
       case when n % 10 = 9 then 'boom' end, '{}', ${uuid('a000', 'n % $3::int')}, '{}', '{}', '{}', 1, 0, 5, 0.25,
       now(), now()
     from (select n, ${uuid(kind, 'n')} as id from generate_series(0, $3::int * $4::int - 1) n) made`,
    [WORKSPACE, project, examples, times],
  );
}

test('ten thousand rows with five keys are read at once', async () => {
  await insertRuns(EXPERIMENT, 2_500, 4, 'b000');
  await pool.query(
    `insert into feedback (workspace_id, id, run_id, trace_id, project_id, key, score, source_type, source,
       created_at, updated_at)
     select workspace_id, gen_random_uuid(), id, id, project_id, 'key' || k, k / 10.0, 'model', '{}', now(), now()
     from runs cross join generate_series(1, 5) k
     where workspace_id = $1 and project_id = $2`,
    [WORKSPACE, EXPERIMENT],
  );
  await pool.query('analyze');
  const store = new ExperimentScoresStore({ db: pool });
  await store.read(scope, EXPERIMENT);
  const rows = await store.read(scope, EXPERIMENT);
  expect(rows).toHaveLength(10_000);
  expect(rows[0]).toEqual({
    exampleId: '01990000-0000-7000-a000-000000000000',
    repetition: 0,
    // The last of its four starts first.
    runId: `01990000-0000-7000-b000-${(7_500).toString(16).padStart(12, '0')}`,
    scores: { key1: 0.1, key2: 0.2, key3: 0.3, key4: 0.4, key5: 0.5 },
    failedKeys: [],
    cachedKeys: [],
    cachedFrom: null,
    error: false,
    latency: 1.5,
    cost: 0.25,
    totalTokens: 5,
  });
  expect(rows.slice(0, 4).map(({ repetition }) => repetition)).toEqual([0, 1, 2, 3]);
  expect(rows.filter(({ error }) => error)).toHaveLength(1_000);
}, 60_000);

test('several scores of a key are averaged, errors are no scores, and usage is that of the trace', async () => {
  await insertRuns(SMALL, 1, 1, 'c000');
  const root = '01990000-0000-7000-c000-000000000000';
  const insert = (score: number | null, extra: object | null, project: string | null): Promise<unknown> =>
    pool.query(
      `insert into feedback (workspace_id, id, run_id, trace_id, project_id, key, score, source_type, source, extra,
         created_at, updated_at)
       values ($1, gen_random_uuid(), $2, $2, $3, $4, $5, 'api', '{}', $6, now(), now())`,
      [WORKSPACE, root, project, score === null ? 'judge' : 'quality', score, extra],
    );
  await insert(1, null, SMALL);
  // Not filed yet.
  await insert(0, null, null);
  await insert(null, { error: true }, SMALL);
  await pool.query(
    `insert into runs (workspace_id, id, day, project_id, trace_id, parent_run_id, dotted_order, name, run_type, status,
       start_time, tags, metadata, attributes, extra, revision, merge_rank, total_tokens, total_cost, created_at, updated_at)
     values ($1, gen_random_uuid(), '1970-01-01', $2, $3, $3, '', 'child', 'llm', 'success', now(), '{}', '{}', '{}', '{}',
       1, 0, 7, 0.5, now(), now())`,
    [WORKSPACE, SMALL, root],
  );
  const store = new ExperimentScoresStore({ db: pool });
  expect(await store.read(scope, SMALL, { metadata: true })).toEqual([
    expect.objectContaining({
      scores: { quality: 0.5 },
      failedKeys: ['judge'],
      cost: 0.75,
      totalTokens: 12,
      // The example left the newest version; nothing says this experiment saw an older one.
      exampleMetadata: {},
    }),
  ]);
  await pool.query(
    `insert into dataset_versions (workspace_id, dataset_id, version, created_at, added, modified, removed)
     values ($1, $2, 1, '2026-11-01', 1, 0, 0), ($1, $2, 2, '2026-11-03', 0, 0, 1)`,
    [WORKSPACE, DATASET],
  );
  await pool.query(
    `update projects set extra = '{"metadata": {"dataset_version": "2026-11-02T00:00:00.000Z"}}'
     where workspace_id = $1 and id = $2`,
    [WORKSPACE, SMALL],
  );
  const [row] = await store.read(scope, SMALL, { metadata: true });
  expect(row?.exampleMetadata).toEqual({ n: 0, dataset_split: ['base'] });
});

test('another workspace reads nothing', async () => {
  const store = new ExperimentScoresStore({ db: pool });
  expect(await store.read(trustedScope(OTHER), EXPERIMENT)).toEqual([]);
});
