import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import type pg from 'pg';
import { UnitBacklogStore } from '../../src/experiments/unit-backlog.store.js';
import { createPool } from '../../src/platform/db.js';
import { createLogger } from '../../src/platform/log.js';
import { createTestDatabase } from '../support/database.js';
import type { TestDatabase } from '../support/database.js';

let database: TestDatabase;
let pool: pg.Pool;
beforeAll(async () => {
  database = await createTestDatabase();
  const { url } = database;
  pool = createPool({
    url,
    name: 'test',
    max: 2,
    statementTimeoutMs: 5_000,
    log: createLogger('silent', 'test'),
  });
}, 60_000);
afterAll(async () => {
  await pool.end();
  await database.drop();
});

/** An experiment in a workspace of its own, with rows by state and the seconds since they could be started. */
async function plant(state: string, rows: readonly (readonly [string, number])[]): Promise<void> {
  const [workspace, experiment] = [randomUUID(), randomUUID()];
  await database.pool.query(
    `insert into experiment_executions (workspace_id, experiment_id, dataset_id, dataset_version, splits, target,
      target_hash, evaluator_version_ids, repetitions, concurrency, max_attempts, seed, use_cache, state, created_at)
    values ($1, $2, $2, 1, '{}', '{}', '\\x00', '{}', 1, 1, 3, 1, false, $3, now())`,
    [workspace, experiment, state],
  );
  for (const [position, [rowState, seconds]] of rows.entries()) {
    const id = randomUUID();
    const values = [workspace, experiment, id, rowState, seconds, position];
    await database.pool.query(
      `insert into experiment_rows (workspace_id, experiment_id, example_id, repetition, position, state, available_at, run_id)
      values ($1, $2, $3, 0, $6, $4, now() - $5 * interval '1 second', $3)`,
      values,
    );
    await database.pool.query(
      `insert into experiment_results (workspace_id, experiment_id, example_id, repetition, evaluator_version_id, state,
        available_at)
      values ($1, $2, $3, 0, $3, $4, now() - $5 * interval '1 second' + $6 * interval '0 seconds')`,
      [workspace, experiment, id, position === 0 ? rowState : 'skipped', seconds, position],
    );
  }
}

test('the backlog counts what could be started now, of experiments that run, in every workspace', async () => {
  const store = new UnitBacklogStore({ db: pool });
  const read = async () =>
    Object.fromEntries(
      (await store.read()).map(({ kind, ...rest }) => [
        kind,
        { ...rest, oldestSeconds: Math.floor(rest.oldestSeconds / 10) * 10 },
      ]),
    );
  const nothing = { pending: 0, oldestSeconds: 0 };
  expect(await read()).toEqual({ target: nothing, evaluation: nothing });
  await plant('paused', [['pending', 9_000]]);
  await plant('running', [
    ['pending', 400],
    ['pending', 10],
    ['running', 800],
    ['done', 900],
    ['pending', -60],
  ]);
  await plant('running', [
    ['done', 5],
    ['pending', 20],
  ]);
  expect(await read()).toEqual({
    target: { pending: 3, oldestSeconds: 400 },
    evaluation: { pending: 1, oldestSeconds: 400 },
  });
});
