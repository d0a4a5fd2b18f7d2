/**
 * Schedules: making and changing them, finding what is due, doing it. Each kind's own settings are checked by whoever
 * owns the kind, before they get here.
 */
import type pg from 'pg';
import type { Clock } from '../platform/clock.js';
import { sqlState, transaction } from '../platform/db.js';
import type { Idempotency } from '../platform/idempotency.js';
import type { Ids } from '../platform/ids.js';
import type { JobQueue } from '../platform/jobs/queue.js';
import type { PageWindow } from '../platform/keyset.js';
import { failed, ok, problem, type Result } from '../platform/result.js';
import { requireScope, trustedScope } from '../tenancy/principal.js';
import type { Principal } from '../tenancy/principal.js';
import { nextRun, scheduleProblems } from './schedule.js';
import type { Schedule, ScheduleActions, ScheduleDraft, SchedulePatch } from './schedule.js';
import { fireScheduleJob } from './schedule.jobs.js';
import { ScheduleStore } from './schedule.store.js';
import type { ScheduleFilter } from './schedule.store.js';

export interface ScheduleServiceDeps {
  readonly pool: pg.Pool;
  readonly queue: JobQueue;
  /** What the kinds do; a process that makes no jobs needs none. */
  readonly actions: ScheduleActions;
  readonly idempotency: Idempotency;
  readonly clock: Clock;
  readonly ids: Ids;
}

const DUE_BATCH = 200;
const MAX_SCHEDULES = 1_000;

export class ScheduleService {
  private readonly deps: ScheduleServiceDeps;
  private readonly store: ScheduleStore;

  constructor(deps: ScheduleServiceDeps) {
    this.deps = deps;
    this.store = new ScheduleStore({ db: deps.pool });
  }

  /** Up to `limit + 1`, newest first, in reading order. */
  async list(principal: Principal, filter: ScheduleFilter, window: PageWindow): Promise<Schedule[]> {
    return this.store.list(requireScope(principal, 'read'), filter, window);
  }

  /** Looks at no more than `limit + 1`. */
  async count(principal: Principal, filter: ScheduleFilter, limit: number): Promise<number> {
    return this.store.count(requireScope(principal, 'read'), filter, limit);
  }

  /** In no particular order; missing and foreign ones are left out. */
  async find(principal: Principal, ids: readonly string[]): Promise<Schedule[]> {
    const scope = requireScope(principal, 'read');
    return ids.length === 0 ? [] : this.store.findByIds(scope, ids);
  }

  /**
   * The draft's `config` was checked by its kind.
   * @param said what the client sent, where the draft is not the same each time it is sent: secrets in it were sealed.
   */
  async create(
    principal: Principal,
    draft: ScheduleDraft,
    idempotencyKey?: string | null,
    said: unknown = draft,
  ): Promise<Result<Schedule>> {
    const scope = requireScope(principal, 'write');
    const problems = scheduleProblems(draft);
    if (problems.length > 0) return failed(...problems);
    const { idempotency, clock, ids } = this.deps;
    const call = { mutation: 'createSchedule', key: idempotencyKey, input: said };
    return idempotency.once(principal, call, async (tx) => {
      const store = this.store.within(tx);
      if ((await store.count(scope, {}, MAX_SCHEDULES)) >= MAX_SCHEDULES) {
        return failed(problem('LIMIT_EXCEEDED', `A workspace may have ${MAX_SCHEDULES} schedules.`));
      }
      const now = clock.now();
      const nextRunAt = draft.enabled ? nextRun(draft.cron, draft.timezone, now) : null;
      const made = await store.insert(
        scope,
        { ...draft, id: ids.uuid(), actor: principal.userId ?? principal.keyId, nextRunAt },
        now,
      );
      return made === undefined ? failed(nameTaken(draft.name)) : ok(made);
    });
  }

  /** A change of expression, zone or `enabled` counts from now: times in between are not made up for. */
  async update(principal: Principal, id: string, patch: SchedulePatch): Promise<Result<Schedule>> {
    const scope = requireScope(principal, 'write');
    const problems = scheduleProblems(patch);
    if (problems.length > 0) return failed(...problems);
    const { pool, clock } = this.deps;
    try {
      return await transaction(pool, async (tx) => {
        const store = this.store.within(tx);
        const current = await store.lock(scope, id);
        if (current === undefined) return failed(notFound());
        const now = clock.now();
        const next = {
          name: patch.name ?? current.name,
          config: patch.config ?? current.config,
          cron: patch.cron ?? current.cron,
          timezone: patch.timezone ?? current.timezone,
          enabled: patch.enabled ?? current.enabled,
        };
        const sameTimes =
          next.cron === current.cron &&
          next.timezone === current.timezone &&
          next.enabled === current.enabled &&
          current.nextRunAt !== null;
        const nextRunAt = sameTimes
          ? new Date(current.nextRunAt)
          : next.enabled
            ? nextRun(next.cron, next.timezone, now)
            : null;
        const updated = await store.update(scope, id, { ...next, nextRunAt }, now);
        return updated === undefined ? failed(notFound()) : ok(updated);
      });
    } catch (error) {
      if (sqlState(error) !== '23505') throw error;
      return failed(nameTaken(patch.name ?? ''));
    }
  }

  /** What it has started goes on. @returns the id. */
  async delete(principal: Principal, id: string): Promise<Result<string>> {
    const scope = requireScope(principal, 'write');
    return (await this.store.delete(scope, id)) ? ok(id) : failed(notFound());
  }

  /**
   * Makes a job for each schedule that is due, of all workspaces, and moves it on. A time that was missed, however
   * long ago, is made up for once. Returns how many. For a worker, outside of any workspace.
   */
  async fireDue(signal: AbortSignal): Promise<number> {
    const { pool, queue, clock } = this.deps;
    let fired = 0;
    for (;;) {
      const due = await this.store.listDue(clock.now(), DUE_BATCH);
      for (const schedule of due) {
        if (signal.aborted) return fired;
        const { workspaceId, id, dueAt } = schedule;
        const next = nextRun(schedule.cron, schedule.timezone, clock.now());
        const taken = await transaction(pool, async (tx) => {
          if (!(await this.store.within(tx).take(schedule, next))) return false;
          const payload = { workspaceId, scheduleId: id, dueAt };
          await queue.enqueue(tx, fireScheduleJob, payload, { workspaceId, actor: 'schedule' });
          return true;
        });
        if (taken) fired += 1;
      }
      if (due.length < DUE_BATCH) break;
    }
    if (fired > 0) queue.wake();
    return fired;
  }

  /** Does what a schedule does at one of its times. Safe to repeat. A deleted schedule does nothing. */
  async fire(workspaceId: string, id: string, dueAt: string): Promise<void> {
    const scope = trustedScope(workspaceId);
    const [schedule] = await this.store.findByIds(scope, [id]);
    if (schedule === undefined) return;
    const action = this.deps.actions[schedule.kind];
    if (action === undefined) throw new Error(`Nobody knows schedules of the kind ${schedule.kind}.`);
    await this.store.settle(scope, id, dueAt, await action(scope, schedule, dueAt));
  }
}

const notFound = () => problem('NOT_FOUND', 'There is no such schedule.', ['id']);
const nameTaken = (name: string) =>
  problem('ALREADY_EXISTS', `There is a schedule named "${name}".`, ['name']);
