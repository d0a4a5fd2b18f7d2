/** The claims of units, without any worker around them: who may take what, and whose outcome counts. */
import { afterAll, beforeAll, beforeEach, expect, test } from '@jest/globals';
import { randomUUID } from 'node:crypto';
import type pg from 'pg';
import { ExecutionStore } from '../../src/experiments/execution.store.js';
import { PlanStore } from '../../src/experiments/plan.store.js';
import { UnitCommits } from '../../src/experiments/unit-commits.js';
import { UnitStore } from '../../src/experiments/unit.store.js';
import type { ClaimedResult } from '../../src/experiments/unit.js';
import { backoffMs, evaluationId } from '../../src/experiments/unit.js';
import { everywhere } from '../../src/platform/db-scope.js';
import { createPool, transaction } from '../../src/platform/db.js';
import { createLogger } from '../../src/platform/log.js';
import { trustedScope } from '../../src/tenancy/principal.js';
import { startHarness } from '../support/harness.js';
import type { Harness } from '../support/harness.js';
import { addEvaluator, insertDataset } from './world.js';

const EXAMPLES = 5;

let harness: Harness;
let pool: pg.Pool;
let datasetId: string;
let versionId: string;
let experimentId: string;
const units = new UnitStore();
const executions = new ExecutionStore();

beforeAll(async () => {
  harness = await startHarness();
  const log = createLogger('silent', 'test');
  pool = createPool({
    url: harness.database.url,
    name: 'units',
    max: 8,
    statementTimeoutMs: 10_000,
    log,
    rows: 'everywhere',
  });
  datasetId = await insertDataset(
    harness,
    Array.from({ length: EXAMPLES }, () => ({ id: randomUUID(), inputs: {} })),
  );
  const evaluatorId = await addEvaluator(harness, 'short', 'LENGTH', { max: 10 });
  const { rows } = await pool.query<{ id: string }>(
    'select id from evaluator_versions where evaluator_id = $1',
    [evaluatorId],
  );
  versionId = rows[0]?.id ?? '';
}, 60_000);

afterAll(async () => {
  await pool.end();
  await harness.close();
});

const scope = () => trustedScope(harness.home.workspaceId);
const commits = () =>
  new UnitCommits(
    {
      pool,
      units,
      executions,
      feedback: harness.app.feedback,
      doorbell: harness.app.doorbell,
      log: harness.app.log,
    },
    scope(),
    experimentId,
  );

/** A running experiment with a row per example, each done, so that its evaluation can be claimed. */
beforeEach(async () => {
  experimentId = randomUUID();
  await pool.query(
    `insert into projects (workspace_id, id, name, reference_dataset_id, start_time, created_at, updated_at)
     values ($1, $2, $3, $4, now(), now(), now())`,
    [harness.home.workspaceId, experimentId, experimentId, datasetId],
  );
  await executions.insert(
    pool,
    scope(),
    {
      experimentId,
      datasetId,
      datasetVersion: 1,
      splits: [],
      target: { kind: 'runs' },
      targetHash: Buffer.alloc(32),
      evaluatorVersionIds: [versionId],
      repetitions: 1,
      concurrency: 4,
      maxAttempts: 3,
      deadlineMs: 1_000,
      seed: '0',
      useCache: false,
      spendCap: null,
      actor: 'test',
    },
    new Date(),
  );
  const createdAt = '2026-11-21 10:00:00+00';
  const plans = new PlanStore();
  const batch = {
    experimentId,
    datasetId,
    datasetVersion: 1,
    splits: [],
    repetitions: 1,
    createdAt,
    laidOut: 0,
  };
  // Laid out twice, there once.
  for (let time = 1; time <= 2; time += 1) {
    const ids = await plans.planExamples(pool, scope(), { ...batch, after: undefined });
    expect(ids).toHaveLength(EXAMPLES);
    await plans.planResults(pool, scope(), experimentId, [versionId], ids);
  }
  await executions.move(pool, scope(), experimentId, { from: ['planning'], to: 'running' });
  const rows = await units.claimRows(pool, scope(), experimentId, 'waiting', 100);
  expect(new Set(rows.map(({ runId }) => runId)).size).toBe(EXAMPLES);
  for (const unit of rows) {
    await commits().add({
      kind: 'row',
      unit,
      outcome: { kind: 'done', cachedFrom: null, cost: null, cache: undefined },
    });
  }
});

const claim = async (limit = 100): Promise<ClaimedResult[]> => {
  const waiting = await units.claimResults(pool, scope(), experimentId, 'waiting', limit);
  return [
    ...waiting,
    ...(await units.claimResults(pool, scope(), experimentId, 'lost', limit - waiting.length)),
  ];
};

const score = (unit: ClaimedResult, value: number, cost: string | null = null) =>
  everywhere('jobs', () =>
    commits().add({
      kind: 'result',
      unit,
      outcome: {
        kind: 'scored',
        feedback: [
          {
            id: randomUUID(),
            key: 'short',
            score: value,
            value: undefined,
            comment: undefined,
            source: { type: 'model' },
          },
        ],
        cached: false,
        spread: null,
        cost,
        cache: undefined,
      },
    }),
  );

const feedback = async (runId: string): Promise<number[]> =>
  (await pool.query<{ score: number }>('select score from feedback where run_id = $1', [runId])).rows.map(
    (row) => row.score,
  );

const expire = (): Promise<unknown> =>
  pool.query(
    `update experiment_results set claimed_until = now() - interval '1 second' where state = 'running'`,
  );

const spend = async (): Promise<number> => {
  const { rows } = await pool.query<{ spend: string }>(
    'select spend from experiment_executions where experiment_id = $1',
    [experimentId],
  );
  return Number(rows[0]?.spend);
};

test('claimers that come at once share the units, and none is claimed twice', async () => {
  const claimed = (await Promise.all([claim(2), claim(2), claim(2), claim(2)])).flat();
  expect(claimed).toHaveLength(EXAMPLES);
  expect(new Set(claimed.map(({ exampleId }) => exampleId)).size).toBe(EXAMPLES);
  expect(await claim()).toEqual([]);
});

test('an execution whose claim was lost is refused, whenever it comes', async () => {
  const [old] = await claim(1);
  if (old === undefined) throw new Error('nothing was claimed');
  await expire();
  const again = (await claim()).find(({ exampleId }) => exampleId === old.exampleId);
  if (again === undefined) throw new Error('it was not claimed again');
  expect(again).toMatchObject({ claim: old.claim + 1, losses: 1, attempts: 0 });
  expect(evaluationId(experimentId, again)).toBe(evaluationId(experimentId, old));
  await score(old, 0, '5');
  expect(await feedback(old.runId)).toEqual([]);
  expect(await spend()).toBe(0);
  await score(again, 1, '0.25');
  await score(old, 0, '5');
  await score(again, 0, '5');
  expect(await feedback(old.runId)).toEqual([1]);
  expect(await spend()).toBe(0.25);
  const kept = await units.renew(pool, scope(), experimentId, [], [old, again]);
  expect([...kept.results]).toEqual([]);
});

test('what was paid in attempts of one round counts once, and a new round counts anew', async () => {
  const [unit] = await claim(1);
  if (unit === undefined) throw new Error('nothing was claimed');
  const error = { code: 'RATE_LIMITED', message: 'slow down' };
  await commits().add({ kind: 'result', unit, outcome: { kind: 'again', error, delayMs: 0, cost: '0.1' } });
  const second = (await claim()).find(({ exampleId }) => exampleId === unit.exampleId);
  if (second === undefined) throw new Error('it was not claimed again');
  expect(second.attempts).toBe(1);
  await commits().add({ kind: 'result', unit: second, outcome: { kind: 'failed', error, cost: '0.3' } });
  expect(await spend()).toBeCloseTo(0.3, 12);
  expect(await transaction(pool, (tx) => executions.retryFailed(tx, scope(), experimentId))).toBe(1);
  const third = (await claim()).find(({ exampleId }) => exampleId === unit.exampleId);
  if (third === undefined) throw new Error('it was not claimed again');
  expect(third).toMatchObject({ round: 1, attempts: 0 });
  expect(evaluationId(experimentId, third)).not.toBe(evaluationId(experimentId, unit));
  await score(third, 1, '0.2');
  expect(await spend()).toBeCloseTo(0.5, 12);
});

test('nothing is claimed while it is paused; what comes after it was cancelled is only paid for', async () => {
  const [first, second] = await claim(2);
  if (first === undefined || second === undefined) throw new Error('nothing was claimed');
  await executions.move(pool, scope(), experimentId, { from: ['running'], to: 'paused' });
  expect(await claim()).toEqual([]);
  await score(first, 1);
  expect(await feedback(first.runId)).toEqual([1]);
  await executions.move(pool, scope(), experimentId, { from: ['paused'], to: 'cancelled' });
  await score(second, 1, '0.5');
  expect(await feedback(second.runId)).toEqual([]);
  expect(await spend()).toBe(0.5);
});

test('a score its key does not allow is an error, and its neighbours are stored', async () => {
  const [first, second] = await claim(2);
  if (first === undefined || second === undefined) throw new Error('nothing was claimed');
  const group = commits();
  const outcome = (value: number) => ({
    kind: 'scored' as const,
    feedback: [
      {
        id: randomUUID(),
        key: 'short',
        score: value,
        value: undefined,
        comment: undefined,
        source: { type: 'model' },
      },
    ],
    cached: false,
    spread: null,
    cost: null,
    cache: undefined,
  });
  await everywhere('jobs', () =>
    Promise.all([
      group.add({ kind: 'result', unit: first, outcome: outcome(77) }),
      group.add({ kind: 'result', unit: second, outcome: outcome(1) }),
    ]),
  );
  expect(await feedback(first.runId)).toEqual([]);
  expect(await feedback(second.runId)).toEqual([1]);
  const { rows } = await pool.query<{ error: { code: string } }>(
    `select error from experiment_results where experiment_id = $1 and state = 'failed'`,
    [experimentId],
  );
  expect(rows.map(({ error }) => error.code)).toEqual(['SCORE_REFUSED']);
});

test('an experiment is completed once, when nothing is open', async () => {
  expect(await executions.complete(pool, scope(), experimentId)).toBe(false);
  for (const unit of await claim()) await score(unit, 1);
  expect(await units.findNext(pool, scope(), experimentId)).toEqual({ open: false, dueInMs: 0 });
  expect(await executions.complete(pool, scope(), experimentId)).toBe(true);
  expect(await executions.complete(pool, scope(), experimentId)).toBe(false);
});

test('waits grow, differ by unit, and are never shorter than what was asked for', () => {
  const waits = [0, 1, 2, 3, 10, 40].map((attempts) => backoffMs(attempts, 'a'));
  expect(waits).toEqual([...waits].sort((a, b) => a - b));
  expect(Math.max(...waits)).toBeLessThanOrEqual(60_000);
  expect(backoffMs(3, 'a')).not.toBe(backoffMs(3, 'b'));
  expect(backoffMs(0, 'a', 5_000)).toBe(5_000);
});
