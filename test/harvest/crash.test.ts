/** Executions that die, are repeated, overlap, are called off, or come by schedule. Without workers: tests are those. */
import { afterAll, beforeAll, beforeEach, describe, expect, test } from '@jest/globals';
import type pg from 'pg';
import { everywhere, inWorkspace } from '../../src/platform/db-scope.js';
import { transaction } from '../../src/platform/db.js';
import type { JobClaim } from '../../src/platform/jobs/runner.js';
import { ScheduleService } from '../../src/schedules/schedule.service.js';
import { trustedScope } from '../../src/tenancy/principal.js';
import { principalOf } from '../runs/world.js';
import { startHarness } from '../support/harness.js';
import type { Harness } from '../support/harness.js';
import { makeDataset, makeHarvest, plantRuns, projectId, readDataset, send, startHarvest } from './world.js';
import type { TestRun } from './world.js';

let harness: Harness;
let project: string;
let number = 0;
const RUNS = 405;

beforeAll(async () => {
  harness = await startHarness();
  // More than two pages.
  for (let part = 0; part < 3; part += 1) {
    await plantRuns(
      harness,
      'many',
      Array.from({ length: RUNS / 3 }, (_, n) => ({ inputs: { question: `${part} and ${n}` } })),
    );
  }
  project = await projectId(harness, 'many');
}, 60_000);
afterAll(() => harness.close());

let dataset: string;
let harvest: string;
beforeEach(async () => {
  number += 1;
  dataset = await makeDataset(harness, `dataset ${number}`);
  harvest = await makeHarvest(harness, `harvest ${number}`, dataset, { projectIds: [project], cap: 100 });
});

class Killed extends Error {}

type Claim = Pick<JobClaim, 'transaction' | 'finish'>;

/** A claim of a process that dies at its nth transaction: before it commits, or right after. */
function claimThatDies(at: number, when: 'before' | 'after'): Claim {
  let count = 0;
  const work = async <T>(run: (tx: pg.PoolClient) => Promise<T>): Promise<T> => {
    count += 1;
    if (count > at) throw new Killed();
    const value = await transaction(harness.app.writes, async (tx) => {
      const made = await run(tx);
      if (count === at && when === 'before') throw new Killed();
      return made;
    });
    if (count === at) throw new Killed();
    return value;
  };
  return { transaction: work, finish: work };
}

const LIVES = Number.POSITIVE_INFINITY;

async function execute(harvestRunId: string, claim: Claim = claimThatDies(LIVES, 'before')): Promise<void> {
  const { workspaceId } = harness.home;
  const work = { claim, signal: new AbortController().signal, progress: () => undefined };
  await inWorkspace(workspaceId, () => harness.app.harvestWork.execute({ workspaceId, harvestRunId }, work));
}

interface Counts {
  readonly state: string;
  readonly reason: string | null;
  readonly matched: number;
  readonly added: number;
  readonly over_cap: number;
  readonly known: number;
}

async function look(id: string): Promise<Counts | undefined> {
  const { rows } = await harness.database.pool.query<Counts & Record<string, unknown>>(
    'select state, reason, matched, added, over_cap, known from harvest_runs where id = $1',
    [id],
  );
  return rows[0];
}

async function examples(): Promise<{ examples: number; sources: number; versions: number }> {
  const { rows } = await harness.database.pool.query<{ examples: number; sources: number; versions: number }>(
    `select count(*)::int as examples, count(distinct source_run_id)::int as sources,
       (select count(*)::int from dataset_versions where dataset_id = $1) as versions
     from examples where dataset_id = $1`,
    [dataset],
  );
  return rows[0] ?? { examples: -1, sources: -1, versions: -1 };
}

describe('an execution whose process dies', () => {
  // Its transactions: clear, begin, three pages, choose, finish.
  test.each([1, 2, 3, 4, 5, 6, 7].flatMap((at) => [[at, 'before'] as const, [at, 'after'] as const]))(
    'at transaction %d, %s its commit, is done exactly once by the next',
    async (at, when) => {
      const id = await startHarvest(harness, harvest);
      await expect(execute(id, claimThatDies(at, when))).rejects.toThrow(Killed);
      const isDone = at === 7 && when === 'after';
      expect(await examples()).toEqual(
        isDone ? { examples: 100, sources: 100, versions: 1 } : { examples: 0, sources: 0, versions: 0 },
      );
      await execute(id);
      await execute(id);
      expect(await look(id)).toEqual({
        state: 'applied',
        reason: null,
        matched: RUNS,
        added: 100,
        over_cap: RUNS - 100,
        known: 0,
      });
      expect(await examples()).toEqual({ examples: 100, sources: 100, versions: 1 });
    },
  );
});

test('two processes with the same execution, and another execution besides, add nothing twice', async () => {
  const [id, other] = [await startHarvest(harness, harvest), await startHarvest(harness, harvest)];
  const ends = await Promise.allSettled([execute(id), execute(id), execute(other)]);
  // One that was overtaken may find its candidates gone; its job is tried again.
  if (ends.some(({ status }) => status === 'rejected')) await execute(id);
  const added = ((await look(id))?.added ?? 0) + ((await look(other))?.added ?? 0);
  expect(added).toBe(100);
  expect(await examples()).toEqual({ examples: 100, sources: 100, versions: 1 });
});

test('one that is called off stops at its next page and leaves nothing', async () => {
  const id = await startHarvest(harness, harvest);
  let pages = 0;
  const plain = claimThatDies(LIVES, 'before');
  const claim: Claim = {
    ...plain,
    transaction: async (work) => {
      pages += 1;
      if (pages === 4) {
        await send(harness, 'cancelHarvestRun', 'HarvestRunIdInput', 'harvestRun { uuid }', { id });
      }
      return plain.transaction(work);
    },
  };
  await execute(id, claim);
  expect(await look(id)).toMatchObject({ state: 'cancelled', added: 0 });
  expect(await examples()).toEqual({ examples: 0, sources: 0, versions: 0 });
  const { rows } = await harness.database.pool.query(
    'select 1 from harvest_candidates where harvest_run_id = $1 and inputs is not null',
    [id],
  );
  expect(rows).toEqual([]);
  expect(pages).toBe(4);
});

test('one whose dataset is deleted fails with a reason', async () => {
  const id = await startHarvest(harness, harvest);
  await send(harness, 'deleteDataset', 'DeleteDatasetInput', 'deletedId', { id: dataset });
  await execute(id);
  expect(await look(id)).toMatchObject({ state: 'failed', reason: 'The dataset is gone.', added: 0 });
});

test('one whose job has failed for good, or was cancelled, ends', async () => {
  const [lost, cancelled, open] = [
    await startHarvest(harness, harvest),
    await startHarvest(harness, harvest),
    await startHarvest(harness, harvest),
  ];
  for (const [state, id] of [
    ['failed', lost],
    ['cancelled', cancelled],
  ]) {
    await harness.database.pool.query(
      'update jobs set state = $1 where id = (select job_id from harvest_runs where id = $2)',
      [state, id],
    );
  }
  const sweep = (): Promise<number> =>
    everywhere('jobs', () => harness.app.harvestWork.sweep(new AbortController().signal));
  expect(await sweep()).toBe(2);
  expect(await look(lost)).toMatchObject({ state: 'failed' });
  expect(await look(cancelled)).toMatchObject({ state: 'cancelled' });
  expect(await look(open)).toMatchObject({ state: 'running' });
  expect(await sweep()).toBe(0);
  await execute(open);
});

test('candidates are removed when they are old, and with a harvest what it has met', async () => {
  const id = await startHarvest(harness, harvest);
  await execute(id);
  const count = async (table: string, column: string, of: string): Promise<number> => {
    const { rows } = await harness.database.pool.query<{ count: number }>(
      `select count(*)::int as count from ${table} where ${column} = $1`,
      [of],
    );
    return rows[0]?.count ?? -1;
  };
  const tidy = (): Promise<number> =>
    everywhere('jobs', () => harness.app.harvestWork.tidy(new AbortController().signal));
  await tidy();
  expect(await count('harvest_candidates', 'harvest_run_id', id)).toBe(RUNS);
  expect(await count('harvest_sources', 'harvest_id', harvest)).toBe(RUNS);
  await send(harness, 'deleteHarvest', 'DeleteHarvestInput', 'deletedId', { id: harvest });
  await harness.database.pool.query(
    `update harvest_runs set finished_at = now() - interval '31 days' where id = $1`,
    [id],
  );
  await tidy();
  expect(await count('harvest_candidates', 'harvest_run_id', id)).toBe(0);
  expect(await count('harvest_sources', 'harvest_id', harvest)).toBe(0);
});

test('a schedule harvests once for each of its times, and each time up to the cap of what is new', async () => {
  const { app, home } = harness;
  const week = (number: number): TestRun[] =>
    Array.from({ length: 5 }, (_, n) => ({ inputs: { question: `${n} of week ${number}` } }));
  await plantRuns(harness, 'weekly', week(1));
  harvest = await makeHarvest(harness, `weekly ${number}`, dataset, {
    projectIds: [await projectId(harness, 'weekly')],
    cap: 3,
  });
  let now = new Date('2031-03-03T05:30:00Z');
  const schedules = new ScheduleService({
    pool: app.writes,
    queue: app.jobQueue,
    actions: { harvest: (scope, schedule, dueAt) => app.harvests.runScheduled(scope, schedule, dueAt) },
    idempotency: app.idempotency,
    clock: { now: () => now },
    ids: app.ids,
  });
  const principal = principalOf(home.workspaceId, ['read', 'write', 'content']);
  const inHome = <T>(work: () => Promise<T>): Promise<T> => inWorkspace(home.workspaceId, work);
  const config = await inHome(() => app.harvests.prepareSchedule(principal, harvest));
  if (!config.ok) throw new Error('there is no harvest');
  const made = await inHome(() =>
    schedules.create(principal, {
      name: 'every Monday',
      kind: 'harvest',
      config: config.value,
      cron: '0 6 * * 1',
      timezone: 'UTC',
      enabled: true,
    }),
  );
  if (!made.ok) throw new Error('there is no schedule');
  const { uuid } = made.value;
  const fireDue = (): Promise<number> =>
    everywhere('jobs', () => schedules.fireDue(new AbortController().signal));
  const runs = async (): Promise<string[]> => {
    const { rows } = await harness.database.pool.query<{ id: string }>(
      'select id from harvest_runs where harvest_id = $1 order by created_at, id',
      [harvest],
    );
    return rows.map(({ id }) => id);
  };
  expect(await fireDue()).toBe(0);
  now = new Date('2031-03-03T06:00:20Z');
  expect(await Promise.all([fireDue(), fireDue()])).toContain(1);
  const due = '2031-03-03 06:00:00+00';
  const fire = (at: string): Promise<void> => inHome(() => schedules.fire(home.workspaceId, uuid, at));
  await Promise.allSettled([fire(due), fire(due)]);
  await fire(due);
  const first = await runs();
  expect(first).toHaveLength(1);
  await execute(first[0] ?? '');
  expect((await readDataset(harness, dataset)).version).toBe(1);
  const [schedule] = await inHome(() => schedules.find(principal, [uuid]));
  expect(schedule).toMatchObject({ lastOutcome: 'started', lastResultId: first[0] });
  expect(await look(first[0] ?? '')).toMatchObject({ state: 'applied', added: 3, over_cap: 2 });

  await plantRuns(harness, 'weekly', week(2));
  now = new Date('2031-03-10T06:00:00Z');
  expect(await fireDue()).toBe(1);
  await fire('2031-03-10 06:00:00+00');
  const second = (await runs()).find((id) => id !== first[0]) ?? '';
  await execute(second);
  // The window reaches back over the first week, but what was over its cap is not this week's.
  expect(await look(second)).toMatchObject({ state: 'applied', known: 5, added: 3, over_cap: 2 });
  const third = await startHarvest(harness, harvest);
  await execute(third);
  expect(await look(third)).toMatchObject({ state: 'applied', known: 10, added: 0, over_cap: 0 });

  await send(harness, 'deleteHarvest', 'DeleteHarvestInput', 'deletedId', { id: harvest });
  const [orphan] = await inHome(() => schedules.find(principal, [uuid]));
  if (orphan === undefined) throw new Error('the schedule is gone');
  const outcome = await inHome(() =>
    app.harvests.runScheduled(trustedScope(home.workspaceId), orphan, '2031-03-17 06:00:00+00'),
  );
  expect(outcome).toEqual({ kind: 'failed', message: 'There is no such harvest.' });
});
