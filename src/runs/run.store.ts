/** Reading single runs and pages of runs. Every statement is bounded to days, so that partitions are pruned. */
import { keysetCondition, keysetOrder } from '../platform/keyset.js';
import type { Keyset, PageWindow, SortDirection } from '../platform/keyset.js';
import type { Queryable } from '../platform/db.js';
import type { WorkspaceScope } from '../tenancy/principal.js';
import { selectList } from './run-columns.js';
import type { RunRow, RunSelection } from './run-columns.js';
import { RunDayStore } from './run-day.store.js';
import type { RunDay, TimeRange } from './run-day.store.js';
import { bind, runConditions } from './run-query.js';
import type { RunQuery, RunScan } from './run-query.js';

export interface RunListRequest {
  readonly query: RunQuery;
  readonly window: PageWindow;
  readonly direction: SortDirection;
  readonly selection: RunSelection;
}

/** Where the newest page of an active project lies, but for late arrivals. */
const NEAR_DAYS = 3;

/** Children of one parent that a batch reads at most. */
export const MAX_CHILDREN = 1_000;

const startKeyset = (direction: SortDirection): Keyset => ({
  value: 'r.start_time',
  type: 'timestamptz',
  id: 'r.id',
  direction,
  nullable: false,
});

export class RunStore {
  private readonly db: Queryable;
  private readonly days: RunDayStore;

  constructor({ db }: { db: Queryable }) {
    this.db = db;
    this.days = new RunDayStore({ db });
  }

  /**
   * Up to `limit + 1` runs by start time, in reading order. At most two statements: the nearest days first,
   * since a page of an active project lies in the newest of them, and the others only if they can matter.
   */
  async list(
    request: RunListRequest,
    days: readonly RunDay[],
    scan: Omit<RunScan, 'days'>,
  ): Promise<RunRow[]> {
    if (days.length === 0) return [];
    const descending = (request.direction === 'desc') !== request.window.backward;
    const nearest = [...days].sort((a, b) =>
      descending ? compare(b.lastStartOn, a.lastStartOn) : compare(a.firstStartOn, b.firstStartOn),
    );
    const near = nearest.slice(0, NEAR_DAYS);
    const rows = await this.readPage(request, { ...scan, days: near.map(({ day }) => day) });
    const lastShown = rows[request.window.limit];
    const left = nearest.slice(NEAR_DAYS).filter(({ firstStartOn, lastStartOn }) => {
      if (lastShown === undefined) return true;
      const reached = lastShown.startTime.slice(0, 10);
      return descending ? lastStartOn >= reached : firstStartOn <= reached;
    });
    if (left.length === 0) return rows;
    const others = await this.readPage(request, { ...scan, days: left.map(({ day }) => day) });
    return mergeByStart(rows, others, descending).slice(0, request.window.limit + 1);
  }

  /**
   * The page of one project found in one statement, in the days nearest to its beginning; undefined where other days
   * may hold runs of it, or nothing was found. The days are scalar subselects and not an array because only then a
   * prepared plan skips the partitions that do not matter; the limit is written out because Postgres keeps a plan only
   * where it knows that few rows are wanted (half of the statement's CPU).
   */
  async listNear(
    request: RunListRequest,
    range: TimeRange,
    scope: WorkspaceScope,
  ): Promise<RunRow[] | undefined> {
    const { query, window, direction, selection } = request;
    const descending = (direction === 'desc') !== window.backward;
    const params: unknown[] = [];
    const keyset = startKeyset(direction);
    const days = `select day, first_start_on, last_start_on from run_days
      where workspace_id = ${bind(params, scope.workspaceId, 'uuid')} and project_id = ${bind(params, query.projectIds?.[0], 'uuid')}
        ${range.from === undefined ? '' : `and last_start_on >= (${bind(params, range.from, 'timestamptz')} at time zone 'UTC')::date`}
        ${range.to === undefined ? '' : `and first_start_on <= (${bind(params, range.to, 'timestamptz')} at time zone 'UTC')::date`}`;
    const order = descending ? 'last_start_on desc, day desc' : 'first_start_on, day';
    const daysSql = Array.from(
      { length: NEAR_DAYS },
      (_, index) => `(select day from days order by ${order} offset ${index} limit 1)`,
    );
    const rest = descending ? 'last_start_on' : 'first_start_on';
    const { rows } = await this.db.query<RunRow & { restReaches: string | null }>(
      `/* runs.list_near */
      with days as materialized (${days})
      select ${selectList(selection)}, (select ${rest} from days order by ${order} offset ${NEAR_DAYS} limit 1) as "restReaches"
      from runs r
      where ${runConditions(query, { scope, days: [], daysSql, search: undefined }, params)}
        and ${keysetCondition(keyset, window, params)}
      order by ${keysetOrder(keyset, window)}
      limit ${Math.trunc(window.limit) + 1}`,
      params,
    );
    const [first] = rows;
    if (first === undefined) return undefined;
    const reaches = first.restReaches;
    if (reaches === null) return rows;
    const reached = rows[window.limit]?.startTime.slice(0, 10);
    return reached !== undefined && (descending ? reaches < reached : reaches > reached) ? rows : undefined;
  }

  /** Relies on runs_roots, runs_by_time or runs_by_thread: each partition yields its rows in order. */
  private async readPage(
    { query, window, direction, selection }: RunListRequest,
    scan: RunScan,
  ): Promise<RunRow[]> {
    const params: unknown[] = [];
    const keyset = startKeyset(direction);
    const severalProjects =
      (query.projectIds?.length ?? 0) > 1 && query.traceIds === undefined && query.ids === undefined;
    const conditions = runConditions(query, scan, params, severalProjects ? 'p.id' : undefined);
    const page = `select ${selectList(selection)}
      from runs r
      where ${conditions}
        and ${keysetCondition(keyset, window, params)}
      order by ${keysetOrder(keyset, window)}
      limit ${bind(params, window.limit + 1, 'int')}`;
    if (!severalProjects) return (await this.db.query<RunRow>(`/* runs.list */ ${page}`, params)).rows;

    // One ordered scan per project: an index on (project, time) cannot give several projects in time order.
    const outer: Keyset = { ...keyset, value: 'page."startTime"', id: 'page.uuid' };
    const { rows } = await this.db.query<RunRow>(
      `/* runs.list_of_projects */
      select page.*
      from unnest(${bind(params, query.projectIds, 'uuid[]')}) p (id)
      cross join lateral (${page}) page
      order by ${keysetOrder(outer, window)}
      limit ${bind(params, window.limit + 1, 'int')}`,
      params,
    );
    return rows;
  }

  /** How many runs match, looking at no more than `limit + 1`. */
  async count(query: RunQuery, scan: RunScan, limit: number): Promise<number> {
    const params: unknown[] = [];
    const { rows } = await this.db.query<{ found: number }>(
      `/* runs.count */
      select count(*) as found
      from (
        select from runs r
        where ${runConditions(query, scan, params)}
        limit ${bind(params, limit + 1, 'int')}
      ) matching`,
      params,
    );
    return rows[0]?.found ?? 0;
  }

  /**
   * The runs with these ids, in no particular order; missing ones are left out. One statement for ids that tell
   * their day, two if some do not.
   */
  async findByIds(scope: WorkspaceScope, ids: readonly string[], selection: RunSelection): Promise<RunRow[]> {
    if (ids.length === 0) return [];
    const days = await this.days.ofRuns(scope, ids);
    const { rows } = await this.db.query<RunRow>(
      `/* runs.find_by_ids */
      select ${selectList(selection)}
      from runs r
      where r.workspace_id = $1 and r.id = any($2::uuid[]) and r.day = any($3::date[])
      limit $4`,
      [scope.workspaceId, ids, days, ids.length],
    );
    return rows;
  }

  /** The first `limit` children of each parent in their order. Rows carry `parentRunId`. */
  async findChildren(
    scope: WorkspaceScope,
    parents: readonly { readonly id: string; readonly traceId: string }[],
    days: readonly string[],
    limit: number,
    selection: RunSelection,
  ): Promise<RunRow[]> {
    const fields = [...selection.fields, 'parentRunId', 'dottedOrder'] as const;
    const { rows } = await this.db.query<RunRow & { position: number }>(
      `/* runs.children */
      select *
      from (
        select ${selectList({ ...selection, fields })},
          row_number() over (partition by r.parent_run_id order by r.dotted_order, r.id) as position
        from runs r
        where r.workspace_id = $1 and r.trace_id = any($2::uuid[]) and r.parent_run_id = any($3::uuid[])
          and r.day = any($4::date[])
      ) child
      where position <= $5
      order by "parentRunId", position
      limit $6`,
      [
        scope.workspaceId,
        [...new Set(parents.map(({ traceId }) => traceId))],
        parents.map(({ id }) => id),
        days,
        limit,
        limit * parents.length,
      ],
    );
    return rows;
  }

  async countChildren(
    scope: WorkspaceScope,
    parents: readonly { readonly id: string; readonly traceId: string }[],
    days: readonly string[],
  ): Promise<Map<string, number>> {
    const { rows } = await this.db.query<{ id: string; children: number }>(
      `/* runs.count_children */
      select r.parent_run_id as id, count(*) as children
      from runs r
      where r.workspace_id = $1 and r.trace_id = any($2::uuid[]) and r.parent_run_id = any($3::uuid[])
        and r.day = any($4::date[])
      group by r.parent_run_id
      limit $5`,
      [
        scope.workspaceId,
        [...new Set(parents.map(({ traceId }) => traceId))],
        parents.map(({ id }) => id),
        days,
        parents.length,
      ],
    );
    return new Map(rows.map(({ id, children }) => [id, children]));
  }
}

const compare = (a: string, b: string): number => (a < b ? -1 : a > b ? 1 : 0);

/** Two pages in the same order as one. Timestamps as the database prints them sort as text, and so do UUIDs. */
function mergeByStart(left: readonly RunRow[], right: readonly RunRow[], descending: boolean): RunRow[] {
  const sign = descending ? -1 : 1;
  return [...left, ...right].sort(
    (a, b) => sign * (compare(a.startTime, b.startTime) || compare(a.uuid, b.uuid)),
  );
}
