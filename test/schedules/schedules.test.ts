import { afterAll, beforeAll, beforeEach, expect, test } from '@jest/globals';
import { randomUUID } from 'node:crypto';
import type pg from 'pg';
import { everywhere } from '../../src/platform/db-scope.js';
import { createPool } from '../../src/platform/db.js';
import { Idempotency } from '../../src/platform/idempotency.js';
import { systemIds } from '../../src/platform/ids.js';
import { JobStore } from '../../src/platform/jobs/job.store.js';
import { JobQueue } from '../../src/platform/jobs/queue.js';
import { createLogger } from '../../src/platform/log.js';
import { nextRun, scheduleProblems } from '../../src/schedules/schedule.js';
import type { Schedule, ScheduleAction } from '../../src/schedules/schedule.js';
import { ScheduleService } from '../../src/schedules/schedule.service.js';
import { principalOf } from '../runs/world.js';
import { createTestDatabase } from '../support/database.js';
import type { TestDatabase } from '../support/database.js';

let database: TestDatabase;
let pool: pg.Pool;
let now = new Date('2026-11-21T10:00:30Z');
const clock = { now: () => now };
const workspaceId = randomUUID();
const principal = principalOf(workspaceId);
const fired: string[] = [];
let action: ScheduleAction;
let service: ScheduleService;
const silence = new AbortController().signal;

beforeAll(async () => {
  database = await createTestDatabase();
  const log = createLogger('silent', 'test');
  pool = createPool({
    url: database.url,
    name: 'schedules',
    max: 4,
    statementTimeoutMs: 10_000,
    log,
    rows: 'everywhere',
  });
  const doorbell = { ring: () => undefined, listen: () => () => undefined, close: () => Promise.resolve() };
  service = new ScheduleService({
    pool,
    queue: new JobQueue({ store: new JobStore(), ids: systemIds, doorbell, delivery: 'outbox' }),
    actions: { experiment: (...args) => action(...args) },
    idempotency: new Idempotency({ pool, pepper: 'a pepper for tests', clock }),
    clock,
    ids: systemIds,
  });
});

beforeEach(async () => {
  now = new Date('2026-11-21T10:00:30Z');
  fired.length = 0;
  action = (_scope, schedule, dueAt) => {
    fired.push(`${schedule.name} ${dueAt}`);
    return Promise.resolve({ kind: 'started', resultId: schedule.uuid });
  };
  await pool.query('truncate schedules, jobs, job_outbox');
});

afterAll(async () => {
  await pool.end();
  await database.drop();
});

async function make(
  cron: string,
  fields: { name?: string; timezone?: string; enabled?: boolean } = {},
): Promise<Schedule> {
  const made = await service.create(principal, {
    name: 'nightly',
    kind: 'experiment',
    config: { n: 1 },
    cron,
    timezone: 'UTC',
    enabled: true,
    ...fields,
  });
  if (!made.ok) throw new Error(JSON.stringify(made.problems));
  return made.value;
}

const jobs = async (): Promise<{ scheduleId: string; dueAt: string }[]> =>
  (
    await pool.query<{ payload: { scheduleId: string; dueAt: string } }>(
      `select payload from jobs where name = 'schedules.fire' order by created_at, id`,
    )
  ).rows.map(({ payload }) => payload);

const find = async (id: string): Promise<Schedule | undefined> => (await service.find(principal, [id]))[0];
const fireDue = (): Promise<number> => everywhere('jobs', () => service.fireDue(silence));

test('a due time makes one job, however many look for it at once', async () => {
  const schedule = await make('*/5 * * * *');
  expect(schedule.nextRunAt).toBe('2026-11-21 10:05:00+00');
  expect(await fireDue()).toBe(0);
  now = new Date('2026-11-21T10:05:10Z');
  const counts = await Promise.all([fireDue(), fireDue(), fireDue()]);
  expect(counts.reduce((sum, count) => sum + count)).toBe(1);
  expect(await jobs()).toHaveLength(1);
  expect(await find(schedule.uuid)).toMatchObject({
    nextRunAt: '2026-11-21 10:10:00+00',
    lastRunAt: '2026-11-21 10:05:00+00',
    lastOutcome: null,
  });
});

test('times that were missed are made up for once, with the oldest of them', async () => {
  const schedule = await make('*/5 * * * *');
  now = new Date('2026-11-21T14:02:00Z');
  expect(await fireDue()).toBe(1);
  expect(await fireDue()).toBe(0);
  expect(await jobs()).toMatchObject([{ scheduleId: schedule.uuid, dueAt: '2026-11-21 10:05:00+00' }]);
  expect((await find(schedule.uuid))?.nextRunAt).toBe('2026-11-21 14:05:00+00');
});

test('what came of a time is written down, unless a later time was taken', async () => {
  const schedule = await make('*/5 * * * *');
  now = new Date('2026-11-21T10:05:00Z');
  await fireDue();
  const due = '2026-11-21 10:05:00+00';
  await service.fire(workspaceId, schedule.uuid, due);
  expect(fired).toEqual([`nightly ${due}`]);
  expect(await find(schedule.uuid)).toMatchObject({ lastOutcome: 'started', lastResultId: schedule.uuid });
  now = new Date('2026-11-21T10:10:00Z');
  await fireDue();
  action = () => Promise.resolve({ kind: 'failed', message: 'There is no such dataset.' });
  await service.fire(workspaceId, schedule.uuid, due);
  expect(await find(schedule.uuid)).toMatchObject({ lastOutcome: null });
  await service.fire(workspaceId, schedule.uuid, '2026-11-21 10:10:00+00');
  expect(await find(schedule.uuid)).toMatchObject({
    lastOutcome: 'failed',
    lastMessage: 'There is no such dataset.',
  });
});

test('new times and enabling count from now; renaming moves nothing', async () => {
  const { uuid } = await make('0 12 * * *');
  now = new Date('2026-11-21T11:00:00Z');
  const change = async (patch: Parameters<ScheduleService['update']>[2]) => {
    const result = await service.update(principal, uuid, patch);
    return result.ok ? result.value.nextRunAt : result.problems[0]?.code;
  };
  expect(await change({ name: 'daily' })).toBe('2026-11-21 12:00:00+00');
  expect(await change({ timezone: 'Asia/Tokyo' })).toBe('2026-11-22 03:00:00+00');
  expect(await change({ enabled: false })).toBeNull();
  now = new Date('2026-11-25T00:00:00Z');
  expect(await fireDue()).toBe(0);
  expect(await change({ enabled: true })).toBe('2026-11-25 03:00:00+00');
  await make('0 0 * * *', { name: 'other' });
  expect(await change({ name: 'other' })).toBe('ALREADY_EXISTS');
  expect((await service.update(principalOf(randomUUID()), uuid, { name: 'mine' })).ok).toBe(false);
});

test('a deleted schedule does nothing any more', async () => {
  const { uuid } = await make('* * * * *');
  expect((await service.delete(principalOf(randomUUID()), uuid)).ok).toBe(false);
  expect((await service.delete(principal, uuid)).ok).toBe(true);
  await service.fire(workspaceId, uuid, '2026-11-21 10:05:00+00');
  expect(fired).toEqual([]);
});

test.each([
  ['* * * *', 'UTC'],
  ['* * * * * *', 'UTC'],
  ['@daily', 'UTC'],
  ['H * * * *', 'UTC'],
  ['61 * * * *', 'UTC'],
  ['nonsense every single day please', 'UTC'],
  ['* * * * *', 'Mars/Olympus'],
])('%s in %s is refused', (cron, timezone) => {
  expect(scheduleProblems({ cron, timezone })).toHaveLength(1);
});

test('local times follow the clocks of their zone', () => {
  const at = (after: string): string | undefined =>
    nextRun('30 2 * * *', 'Europe/Berlin', new Date(after))?.toISOString();
  expect(at('2026-03-27T12:00:00Z')).toBe('2026-03-28T01:30:00.000Z');
  // The night in which 02:30 does not exist still has a run.
  expect(at('2026-03-28T12:00:00Z')?.slice(0, 10)).toBe('2026-03-29');
  expect(at('2026-03-29T12:00:00Z')).toBe('2026-03-30T00:30:00.000Z');
  expect(nextRun('0 0 30 2 *', 'UTC', new Date('2026-01-01T00:00:00Z'))).toBeNull();
  expect(scheduleProblems({ cron: '0 6 * * MON-THU', timezone: 'Europe/Berlin' })).toEqual([]);
});
