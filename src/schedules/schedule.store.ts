/** Rows of schedules. A due time is taken with a compare-and-set on next_run_at. */
import type { Queryable } from '../platform/db.js';
import { keysetCondition, keysetOrder } from '../platform/keyset.js';
import type { Keyset, PageWindow } from '../platform/keyset.js';
import type { WorkspaceScope } from '../tenancy/principal.js';
import type { Schedule, ScheduleDraft, ScheduleKind, ScheduleOutcome, SchedulePatch } from './schedule.js';

const COLUMNS = `s.id as uuid, s.name, s.kind, s.config, s.cron, s.timezone, s.enabled, s.next_run_at as "nextRunAt",
  s.last_run_at as "lastRunAt", s.last_outcome as "lastOutcome", s.last_message as "lastMessage",
  s.last_result_id as "lastResultId", s.actor, s.created_at as "createdAt", s.updated_at as "updatedAt"`;

const NEWEST_FIRST: Keyset = {
  value: 's.created_at',
  type: 'timestamptz',
  id: 's.id',
  direction: 'desc',
  nullable: false,
};

type Row = Omit<Schedule, 'config'> & { readonly config: string } & Record<string, unknown>;

const toSchedule = (row: Row): Schedule => ({ ...row, config: JSON.parse(row.config) as Schedule['config'] });

export interface ScheduleFilter {
  readonly kind?: ScheduleKind | undefined;
}

/** One due time of one schedule. */
export interface DueSchedule {
  readonly workspaceId: string;
  readonly id: string;
  readonly cron: string;
  readonly timezone: string;
  readonly dueAt: string;
}

export class ScheduleStore {
  private readonly db: Queryable;

  constructor({ db }: { db: Queryable }) {
    this.db = db;
  }

  /** The same store inside a transaction. */
  within(tx: Queryable): ScheduleStore {
    return new ScheduleStore({ db: tx });
  }

  /** Up to `limit + 1`, newest first, in reading order. */
  async list(scope: WorkspaceScope, filter: ScheduleFilter, window: PageWindow): Promise<Schedule[]> {
    const params: unknown[] = [scope.workspaceId, filter.kind ?? null];
    const { rows } = await this.db.query<Row>(
      `/* schedules.list */
      select ${COLUMNS}
      from schedules s
      where s.workspace_id = $1 and ($2::text is null or s.kind = $2)
        and ${keysetCondition(NEWEST_FIRST, window, params)}
      order by ${keysetOrder(NEWEST_FIRST, window)}
      limit $${params.push(window.limit + 1)}`,
      params,
    );
    return rows.map(toSchedule);
  }

  /** How many match, looking at no more than `limit + 1`. */
  async count(scope: WorkspaceScope, filter: ScheduleFilter, limit: number): Promise<number> {
    const { rows } = await this.db.query<{ found: number }>(
      `/* schedules.count */
      select count(*) as found
      from (
        select from schedules where workspace_id = $1 and ($2::text is null or kind = $2) limit $3
      ) matching`,
      [scope.workspaceId, filter.kind ?? null, limit + 1],
    );
    return rows[0]?.found ?? 0;
  }

  async findByIds(scope: WorkspaceScope, ids: readonly string[]): Promise<Schedule[]> {
    const { rows } = await this.db.query<Row>(
      `/* schedules.find_by_ids */
      select ${COLUMNS}
      from schedules s
      where s.workspace_id = $1 and s.id = any($2::uuid[])
      limit $3`,
      [scope.workspaceId, ids, ids.length],
    );
    return rows.map(toSchedule);
  }

  /** Undefined when the name is taken. */
  async insert(
    scope: WorkspaceScope,
    draft: ScheduleDraft & { readonly id: string; readonly actor: string; readonly nextRunAt: Date | null },
    now: Date,
  ): Promise<Schedule | undefined> {
    const { rows } = await this.db.query<Row>(
      `/* schedules.insert */
      insert into schedules as s (workspace_id, id, name, kind, config, cron, timezone, enabled, next_run_at, actor,
        created_at, updated_at)
      values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $11)
      on conflict do nothing
      returning ${COLUMNS}`,
      [
        scope.workspaceId,
        draft.id,
        draft.name,
        draft.kind,
        JSON.stringify(draft.config),
        draft.cron,
        draft.timezone,
        draft.enabled,
        draft.nextRunAt?.toISOString() ?? null,
        draft.actor,
        now.toISOString(),
      ],
    );
    return rows.map(toSchedule)[0];
  }

  /** Locks the row until the transaction ends. */
  async lock(scope: WorkspaceScope, id: string): Promise<Schedule | undefined> {
    const { rows } = await this.db.query<Row>(
      `/* schedules.lock */
      select ${COLUMNS} from schedules s where s.workspace_id = $1 and s.id = $2 limit 1 for update`,
      [scope.workspaceId, id],
    );
    return rows.map(toSchedule)[0];
  }

  /** Fails with unique_violation when the new name is taken. */
  async update(
    scope: WorkspaceScope,
    id: string,
    next: Required<{ [K in keyof SchedulePatch]: NonNullable<SchedulePatch[K]> }> & {
      readonly nextRunAt: Date | null;
    },
    now: Date,
  ): Promise<Schedule | undefined> {
    const { rows } = await this.db.query<Row>(
      `/* schedules.update */
      update schedules s
      set name = $3, config = $4, cron = $5, timezone = $6, enabled = $7, next_run_at = $8, updated_at = $9
      where s.workspace_id = $1 and s.id = $2
      returning ${COLUMNS}`,
      [
        scope.workspaceId,
        id,
        next.name,
        JSON.stringify(next.config),
        next.cron,
        next.timezone,
        next.enabled,
        next.nextRunAt?.toISOString() ?? null,
        now.toISOString(),
      ],
    );
    return rows.map(toSchedule)[0];
  }

  /** Whether there was one. */
  async delete(scope: WorkspaceScope, id: string): Promise<boolean> {
    const { rowCount } = await this.db.query(
      '/* schedules.delete */ delete from schedules where workspace_id = $1 and id = $2',
      [scope.workspaceId, id],
    );
    return rowCount === 1;
  }

  /** Of all workspaces, the longest due first. By schedules_due. */
  async listDue(now: Date, limit: number): Promise<DueSchedule[]> {
    const { rows } = await this.db.query<DueSchedule & Record<string, unknown>>(
      `/* schedules.list_due */
      select workspace_id as "workspaceId", id, cron, timezone, next_run_at as "dueAt"
      from schedules
      where next_run_at <= $1
      order by next_run_at
      limit $2`,
      [now.toISOString(), limit],
    );
    return rows;
  }

  /** Moves a schedule on to its next time. False: somebody else took this one, or it was changed. */
  async take(due: DueSchedule, next: Date | null): Promise<boolean> {
    const { rowCount } = await this.db.query(
      `/* schedules.take */
      update schedules
      set next_run_at = $4, last_run_at = $3, last_outcome = null, last_message = null, last_result_id = null
      where workspace_id = $1 and id = $2 and next_run_at = $3`,
      [due.workspaceId, due.id, due.dueAt, next?.toISOString() ?? null],
    );
    return rowCount === 1;
  }

  /** Writes down what came of a due time, unless a later one was taken meanwhile. */
  async settle(scope: WorkspaceScope, id: string, dueAt: string, outcome: ScheduleOutcome): Promise<void> {
    await this.db.query(
      `/* schedules.settle */
      update schedules
      set last_outcome = $4, last_message = $5, last_result_id = $6
      where workspace_id = $1 and id = $2 and last_run_at = $3`,
      [
        scope.workspaceId,
        id,
        dueAt,
        outcome.kind,
        outcome.kind === 'failed' ? outcome.message : null,
        outcome.kind === 'started' ? outcome.resultId : null,
      ],
    );
  }
}
