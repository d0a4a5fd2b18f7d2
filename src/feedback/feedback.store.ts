/**
 * Every statement on the feedback table, and the few facts of runs feedback is filed under. Aggregates are in
 * feedback-stats.store.ts.
 */
import { naturalDay, STRAY_DAY } from '../ingest/run-location.js';
import type { JsonObject, JsonValue } from '../ingest/run-event.js';
import type { Queryable } from '../platform/db.js';
import { keysetCondition, keysetOrder, type Keyset, type PageWindow } from '../platform/keyset.js';
import type { WorkspaceScope } from '../tenancy/principal.js';
import type { Feedback } from './feedback.js';

/** A feedback ready to be stored: cleaned, checked, with its id. */
export interface FeedbackRow {
  readonly id: string;
  readonly run_id: string | null;
  readonly trace_id: string | null;
  readonly project_id: string | null;
  readonly key: string;
  readonly score: number | null;
  readonly value: JsonValue;
  readonly comment: string | null;
  readonly correction: JsonValue;
  readonly source: JsonObject & { readonly type: string };
  readonly feedback_group_id: string | null;
  readonly comparative_experiment_id: string | null;
  readonly extra: JsonObject | null;
  readonly thread_id: string | null;
  readonly run_start_time: string | null;
  readonly created_at: string;
}

/** Where a run belongs. */
export interface RunPlace {
  readonly runId: string;
  readonly traceId: string;
  readonly projectId: string;
  readonly threadId: string | null;
  readonly startTime: string;
}

export type FeedbackLevel = 'run' | 'thread' | 'session';

export interface FeedbackFilter {
  readonly ids?: readonly string[];
  readonly runIds?: readonly string[];
  readonly traceId?: string;
  readonly projectIds?: readonly string[];
  readonly keys?: readonly string[];
  readonly sourceTypes?: readonly string[];
  /** Of the client (`user_id`) or of the key that wrote (`ls_user_id`). */
  readonly userIds?: readonly string[];
  readonly hasScore?: boolean;
  readonly hasComment?: boolean;
  /** run: about a run. thread: about a conversation. session: about a project as a whole. */
  readonly level?: FeedbackLevel;
  readonly threadId?: string;
  /** Half-open. */
  readonly createdFrom?: string;
  readonly createdTo?: string;
  readonly comparativeExperimentId?: string;
}

/** Which feedback of a run: all of it, or what corrects its outputs. */
export interface RunFeedbackFilter {
  readonly corrected?: boolean;
}

/** A window, or an offset from the start of the list. */
export type FeedbackPage = PageWindow & { readonly offset?: number };

/** Newest first; the names are those of the columns on the way out of a page. */
const keyset = (value: string, id: string): Keyset => ({
  value,
  type: 'timestamptz',
  id,
  direction: 'desc',
  nullable: false,
});
const IN_TABLE = keyset('f.created_at', 'f.id');
const IN_PAGE = keyset('page."createdAt"', 'page.id');

const FEEDBACK_COLUMNS = `f.id, f.run_id as "runId", f.trace_id as "traceId", f.project_id as "projectId",
  f.key, f.score, f.value, f.comment, f.correction, f.source_type as "sourceType", f.source,
  f.feedback_group_id as "feedbackGroupId", f.comparative_experiment_id as "comparativeExperimentId", f.extra,
  f.thread_id as "threadId", f.run_start_time as "runStartTime", f.created_at as "createdAt",
  f.updated_at as "updatedAt"`;

/** Feedback whose run was unknown when it came. */
export interface WaitingRow {
  readonly id: string;
  readonly runId: string;
}

export class FeedbackStore {
  /**
   * Facts of those runs that exist, by run id. At most as many as asked for. The days are found first and bound as
   * constants, because only then does Postgres leave the other partitions out of the plan.
   */
  async findRuns(
    db: Queryable,
    scope: WorkspaceScope,
    runIds: readonly string[],
  ): Promise<Map<string, RunPlace>> {
    if (runIds.length === 0) return new Map();
    const located = await db.query<{ day: string }>(
      `/* feedback.find_run_days */
       select distinct day from run_locator where workspace_id = $1 and run_id = any ($2::uuid[]) limit $3`,
      [scope.workspaceId, runIds, runIds.length],
    );
    const days = new Set([STRAY_DAY, ...located.rows.map(({ day }) => day)]);
    for (const id of runIds) {
      const day = naturalDay(id);
      if (day !== undefined) days.add(day);
    }
    const { rows } = await db.query<RunPlace & Record<string, unknown>>(
      `/* feedback.find_runs */
       select id as "runId", trace_id as "traceId", project_id as "projectId", thread_id as "threadId",
         start_time as "startTime"
       from runs
       where workspace_id = $1 and id = any ($2::uuid[]) and day = any ($3::date[])
       limit $4`,
      [scope.workspaceId, runIds, [...days], runIds.length],
    );
    return new Map(rows.map((row) => [row.runId, row]));
  }

  /**
   * Writes each row, or merges it into the stored feedback with its id: what a row says wins, what it does not
   * say stays. A row whose id is taken by feedback with another key or on another run is not written and not
   * returned. Ids must be distinct.
   */
  async upsert(
    tx: Queryable,
    scope: WorkspaceScope,
    rows: readonly FeedbackRow[],
    now: string,
  ): Promise<Feedback[]> {
    // One order of locks for every writer: two batches with the same ids cannot wait for each other.
    const sorted = rows.toSorted((left, right) => (left.id < right.id ? -1 : 1));
    const { rows: stored } = await tx.query<Feedback & Record<string, unknown>>(
      `/* feedback.upsert */
       insert into feedback as f (workspace_id, id, run_id, trace_id, project_id, key, score, value, comment, correction,
         source_type, source, feedback_group_id, comparative_experiment_id, extra, thread_id, run_start_time,
         created_at, updated_at)
       select $1, d.id, d.run_id, d.trace_id, d.project_id, d.key, d.score, d.value, d.comment, d.correction,
         d.source ->> 'type', d.source, d.feedback_group_id,
         d.comparative_experiment_id, d.extra, d.thread_id, d.run_start_time, d.created_at, $3
       from jsonb_to_recordset($2::jsonb) as d (id uuid, run_id uuid, trace_id uuid, project_id uuid, key text,
         score double precision, value jsonb, comment text, correction jsonb, source jsonb, feedback_group_id uuid,
         comparative_experiment_id uuid, extra jsonb, thread_id text, run_start_time timestamptz, created_at timestamptz)
       on conflict (workspace_id, id) do update set
         run_id = coalesce(f.run_id, excluded.run_id),
         trace_id = coalesce(excluded.trace_id, f.trace_id),
         project_id = coalesce(excluded.project_id, f.project_id),
         score = coalesce(excluded.score, f.score),
         value = coalesce(excluded.value, f.value),
         comment = coalesce(excluded.comment, f.comment),
         correction = coalesce(excluded.correction, f.correction),
         -- "api" is what an unnamed source is filed as: it never replaces a better name.
         source_type = case when excluded.source_type = 'api' then f.source_type else excluded.source_type end,
         source = case when excluded.source_type = 'api' and f.source_type <> 'api'
           then excluded.source || f.source else f.source || excluded.source end,
         feedback_group_id = coalesce(excluded.feedback_group_id, f.feedback_group_id),
         comparative_experiment_id = coalesce(excluded.comparative_experiment_id, f.comparative_experiment_id),
         extra = coalesce(excluded.extra, f.extra),
         thread_id = coalesce(excluded.thread_id, f.thread_id),
         run_start_time = coalesce(excluded.run_start_time, f.run_start_time),
         updated_at = excluded.updated_at
       where f.key = excluded.key and (f.run_id = excluded.run_id or f.run_id is null or excluded.run_id is null)
       returning ${FEEDBACK_COLUMNS}`,
      [scope.workspaceId, JSON.stringify(sorted), now],
    );
    return stored;
  }

  /**
   * Up to `limit + 1`, newest first, in reading order. Relies on feedback_by_run, feedback_by_project or
   * feedback_by_creation.
   */
  async list(
    db: Queryable,
    scope: WorkspaceScope,
    filter: FeedbackFilter,
    page: FeedbackPage,
    waitingIds: readonly string[] = [],
  ): Promise<Feedback[]> {
    const { sources, params } = feedbackSources(scope, filter, waitingIds);
    const behind = keysetCondition(IN_TABLE, page, params);
    const offset = page.offset ?? 0;
    const reach = `$${params.push(page.limit + 1 + offset)}`;
    const branches = sources.map(
      (source) =>
        `(select ${FEEDBACK_COLUMNS} ${source} and ${behind} order by ${keysetOrder(IN_TABLE, page)} limit ${reach})`,
    );
    const { rows } = await db.query<Feedback & Record<string, unknown>>(
      `/* feedback.list */ select * from (${branches.join(' union all ')}) as page
       order by ${keysetOrder(IN_PAGE, page)} limit $${params.push(page.limit + 1)} offset $${params.push(offset)}`,
      params,
    );
    return rows;
  }

  /** How many match, counted up to `limit`. */
  async count(
    db: Queryable,
    scope: WorkspaceScope,
    filter: FeedbackFilter,
    limit: number,
    waitingIds: readonly string[] = [],
  ): Promise<number> {
    const { sources, params } = feedbackSources(scope, filter, waitingIds);
    const reach = `$${params.push(limit)}`;
    const branches = sources.map((source) => `(select 1 ${source} limit ${reach})`);
    const { rows } = await db.query<{ count: number }>(
      `/* feedback.count */ select count(*)::int as count
       from (select 1 from (${branches.join(' union all ')}) as found limit ${reach}) as counted`,
      params,
    );
    return rows[0]?.count ?? 0;
  }

  /** Up to `limit + 1` feedbacks of each run, newest first, in one statement for all runs. */
  async listByRuns(
    db: Queryable,
    scope: WorkspaceScope,
    runIds: readonly string[],
    page: PageWindow,
    { corrected = false }: RunFeedbackFilter = {},
  ): Promise<Feedback[]> {
    const params: unknown[] = [scope.workspaceId, runIds, page.limit + 1];
    const { rows } = await db.query<Feedback & Record<string, unknown>>(
      `/* feedback.list_by_runs */
       select page.*
       from unnest($2::uuid[]) as asked (run_id)
       cross join lateral (
         select ${FEEDBACK_COLUMNS}
         from feedback f
         where f.workspace_id = $1 and f.run_id = asked.run_id and ${keysetCondition(IN_TABLE, page, params)}
           ${corrected ? 'and f.correction is not null' : ''}
         order by ${keysetOrder(IN_TABLE, page)}
         limit $3
       ) as page
       order by ${keysetOrder(IN_PAGE, page)}`,
      params,
    );
    return rows;
  }

  /** How many feedbacks each run has, counted up to `limit`; runs without are absent. */
  async countByRuns(
    db: Queryable,
    scope: WorkspaceScope,
    runIds: readonly string[],
    limit: number,
  ): Promise<Map<string, number>> {
    const { rows } = await db.query<{ runId: string; count: number }>(
      `/* feedback.count_by_runs */
       select run_id as "runId", least(count(*), $3)::int as count
       from feedback
       where workspace_id = $1 and run_id = any ($2::uuid[])
       group by run_id
       limit ${runIds.length}`,
      [scope.workspaceId, runIds, limit],
    );
    return new Map(rows.map(({ runId, count }) => [runId, count]));
  }

  async find(db: Queryable, scope: WorkspaceScope, ids: readonly string[]): Promise<Feedback[]> {
    const { rows } = await db.query<Feedback & Record<string, unknown>>(
      `/* feedback.find */ select ${FEEDBACK_COLUMNS} from feedback f
       where f.workspace_id = $1 and f.id = any ($2::uuid[]) limit ${ids.length}`,
      [scope.workspaceId, ids],
    );
    return rows;
  }

  /** The feedback, locked until the transaction ends. */
  async lock(tx: Queryable, scope: WorkspaceScope, id: string): Promise<Feedback | undefined> {
    const { rows } = await tx.query<Feedback & Record<string, unknown>>(
      `/* feedback.lock */ select ${FEEDBACK_COLUMNS} from feedback f
       where f.workspace_id = $1 and f.id = $2 for update`,
      [scope.workspaceId, id],
    );
    return rows[0];
  }

  /** Replaces what a patch may change. */
  async replace(
    tx: Queryable,
    scope: WorkspaceScope,
    id: string,
    next: Pick<Feedback, 'score' | 'value' | 'comment' | 'correction'>,
    now: string,
  ): Promise<Feedback | undefined> {
    const { rows } = await tx.query<Feedback & Record<string, unknown>>(
      `/* feedback.replace */ update feedback f
       set score = $3, value = $4, comment = $5, correction = $6, updated_at = $7
       where f.workspace_id = $1 and f.id = $2
       returning ${FEEDBACK_COLUMNS}`,
      [scope.workspaceId, id, next.score, json(next.value), next.comment, json(next.correction), now],
    );
    return rows[0];
  }

  async delete(tx: Queryable, scope: WorkspaceScope, ids: readonly string[]): Promise<Feedback[]> {
    const { rows } = await tx.query<Feedback & Record<string, unknown>>(
      `/* feedback.delete */ delete from feedback f
       where f.workspace_id = $1 and f.id = any ($2::uuid[])
       returning ${FEEDBACK_COLUMNS}`,
      [scope.workspaceId, ids],
    );
    return rows;
  }

  /** A workspace's feedback that came before its run, newest first. Relies on feedback_unattached. */
  async listWaitingOf(
    db: Queryable,
    scope: WorkspaceScope,
    since: string,
    limit: number,
  ): Promise<WaitingRow[]> {
    const { rows } = await db.query<WaitingRow & Record<string, unknown>>(
      `/* feedback.list_waiting_of */
       select id, run_id as "runId"
       from feedback
       where workspace_id = $1 and project_id is null and run_id is not null and created_at >= $2
       order by created_at desc
       limit $3`,
      [scope.workspaceId, since, limit],
    );
    return rows;
  }

  /**
   * The same of all workspaces, older than `before`. Upkeep only: what is found is filed per workspace. Relies on
   * feedback_unattached.
   */
  async listWaiting(
    db: Queryable,
    since: string,
    limit: number,
    before?: { readonly createdAt: string; readonly id: string },
  ): Promise<(WaitingRow & { workspaceId: string; createdAt: string })[]> {
    const { rows } = await db.query<WaitingRow & { workspaceId: string; createdAt: string }>(
      `/* feedback.list_waiting */
       select workspace_id as "workspaceId", id, run_id as "runId", created_at as "createdAt"
       from feedback
       where project_id is null and run_id is not null and created_at >= $2
         and ($3::timestamptz is null or (created_at, id) < ($3::timestamptz, $4::uuid))
       order by created_at desc, id desc
       limit $1`,
      [limit, since, before?.createdAt ?? null, before?.id ?? null],
    );
    return rows;
  }

  /** Files waiting feedback under its run. Feedback filed by someone else meanwhile is left alone and not returned. */
  async attach(
    tx: Queryable,
    scope: WorkspaceScope,
    places: readonly (RunPlace & { id: string })[],
  ): Promise<Feedback[]> {
    const { rows } = await tx.query<Feedback & Record<string, unknown>>(
      `/* feedback.attach */
       update feedback f
       set project_id = p.project_id, trace_id = p.trace_id, thread_id = coalesce(f.thread_id, p.thread_id),
         run_start_time = p.start_time
       from unnest($2::uuid[], $3::uuid[], $4::uuid[], $5::text[], $6::timestamptz[])
         as p (id, project_id, trace_id, thread_id, start_time)
       where f.workspace_id = $1 and f.id = p.id and f.project_id is null
       returning ${FEEDBACK_COLUMNS}`,
      [
        scope.workspaceId,
        places.map(({ id }) => id),
        places.map(({ projectId }) => projectId),
        places.map(({ traceId }) => traceId),
        places.map(({ threadId }) => threadId),
        places.map(({ startTime }) => startTime),
      ],
    );
    return rows;
  }
}

const json = (value: JsonValue): string | null => (value === null ? null : JSON.stringify(value));

/** Feedback on a run carries the run's thread too; what is said of a thread itself names no run. */
const LEVELS: Readonly<Record<FeedbackLevel, string>> = {
  run: 'f.run_id is not null',
  thread: '(f.run_id is null and f.thread_id is not null)',
  session: '(f.run_id is null and f.thread_id is null)',
};

/**
 * The `from … where` clauses whose union is what a filter asks for. A filter by project or trace has two: what is
 * filed there, and what waits although its run is there by now (`waitingIds`). They cannot overlap.
 */
export function feedbackSources(
  scope: WorkspaceScope,
  filter: FeedbackFilter,
  waitingIds: readonly string[],
): { sources: string[]; params: unknown[] } {
  const params: unknown[] = [scope.workspaceId];
  const bind = (value: unknown): string => `$${params.push(value)}`;
  const where = ['f.workspace_id = $1'];
  const add = (condition: string): void => {
    where.push(condition);
  };
  if (filter.ids !== undefined) add(`f.id = any (${bind(filter.ids)}::uuid[])`);
  if (filter.runIds !== undefined) add(`f.run_id = any (${bind(filter.runIds)}::uuid[])`);
  if (filter.keys !== undefined) add(`f.key = any (${bind(filter.keys)}::text[])`);
  if (filter.sourceTypes !== undefined) add(`f.source_type = any (${bind(filter.sourceTypes)}::text[])`);
  if (filter.userIds !== undefined) {
    const users = bind(filter.userIds);
    add(
      `(f.source ->> 'user_id' = any (${users}::text[]) or f.source ->> 'ls_user_id' = any (${users}::text[]))`,
    );
  }
  if (filter.hasScore !== undefined) add(`f.score is ${filter.hasScore ? 'not ' : ''}null`);
  if (filter.hasComment !== undefined) add(`f.comment is ${filter.hasComment ? 'not ' : ''}null`);
  if (filter.level !== undefined) add(LEVELS[filter.level]);
  if (filter.threadId !== undefined) add(`f.thread_id = ${bind(filter.threadId)}`);
  if (filter.createdFrom !== undefined) add(`f.created_at >= ${bind(filter.createdFrom)}::timestamptz`);
  if (filter.createdTo !== undefined) add(`f.created_at < ${bind(filter.createdTo)}::timestamptz`);
  if (filter.comparativeExperimentId !== undefined) {
    add(`f.comparative_experiment_id = ${bind(filter.comparativeExperimentId)}`);
  }
  const common = `from feedback f where ${where.join(' and ')}`;
  const places: string[] = [];
  if (filter.projectIds !== undefined) places.push(`f.project_id = any (${bind(filter.projectIds)}::uuid[])`);
  if (filter.traceId !== undefined) places.push(`f.trace_id = ${bind(filter.traceId)}`);
  const sources = [[common, ...places].join(' and ')];
  if (waitingIds.length > 0) {
    const ids = bind(waitingIds);
    sources.push(
      `${common} and f.id = any (${ids}::uuid[]) and not coalesce(${places.join(' and ')}, false)`,
    );
  }
  return { sources, params };
}
