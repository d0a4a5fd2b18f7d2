/**
 * Use cases over runs and traces, for every protocol: lists, single runs, trees, statistics, deletion. Asserts the
 * scope, refuses filters that look into content the caller may not see, and finds the days to look at.
 */
import type pg from 'pg';
import type { ContentReads } from '../audit/content-read.js';
import { assertFilterAllowed } from '../filters/filter-access.js';
import type { RunFilters } from '../filters/filter.js';
import type { SearchResolution } from '../filters/search-resolution.js';
import { FEED_TOPIC } from '../live/feed.js';
import type { Clock } from '../platform/clock.js';
import { transaction } from '../platform/db.js';
import type { Doorbell } from '../platform/doorbell.js';
import { AppError } from '../platform/errors.js';
import type { PageWindow, SortDirection } from '../platform/keyset.js';
import { mayReadContent, requireScope } from '../tenancy/principal.js';
import type { Principal, WorkspaceScope } from '../tenancy/principal.js';
import { contentFields } from './run-columns.js';
import type { RunField, RunRow } from './run-columns.js';
import type { RunDay, RunDayStore, TimeRange } from './run-day.store.js';
import { buryTraces, deleteRunsOfProject, deleteTraces } from './run-deletion.store.js';
import type { RunQuery } from './run-query.js';
import { assertStatsShape } from './run-stats.js';
import type { RunStatsResult, StatsShape } from './run-stats.js';
import type { RunStatsStore } from './run-stats.store.js';
import { MAX_STATS_ROWS } from './run-stats.js';
import { MAX_CHILDREN } from './run.store.js';
import type { RunStore } from './run.store.js';
import { isTraceRunField, TRACE_RUN_FIELDS } from './trace-run.js';
import type { TraceRun } from './trace-run.js';
import type { TraceStore, TraceSummary } from './trace.store.js';

/** Finds out what the full-text conditions of a filter match; undefined where it has none. */
export interface SearchResolver {
  resolve(scope: WorkspaceScope, filters: RunFilters | undefined): Promise<SearchResolution | undefined>;
}

export interface RunServiceDeps {
  /** For the transactions of deletion. */
  readonly pool: pg.Pool;
  readonly runs: RunStore;
  readonly traces: TraceStore;
  readonly stats: RunStatsStore;
  readonly days: RunDayStore;
  readonly search: SearchResolver;
  readonly contentReads: ContentReads;
  readonly doorbell: Doorbell;
  readonly clock: Clock;
}

export interface RunListOptions {
  /** Of the start time. Ties are broken by id. */
  readonly direction: SortDirection;
  readonly window: PageWindow;
  /** What to read besides `uuid` and `startTime`. Content is left out for callers who may not see it. */
  readonly fields: readonly RunField[];
}

/** A tree node; an orphan's parent is not among the stored runs of the trace. */
export interface PlacedTraceRun extends TraceRun {
  readonly orphan: boolean;
}

export interface TraceRunsOptions {
  readonly limit: number;
  readonly after?: string | undefined;
  readonly fields?: readonly (keyof PlacedTraceRun)[];
}

export interface Parent {
  readonly id: string;
  readonly traceId: string;
}

export const MAX_TRACE_RUNS = 10_000;
export const MAX_TRACES_PER_DELETION = 100;
/** Projects that are searched at once when none is named. */
const MAX_PROJECTS = 1_000;
const ANY_START: Pick<RunDay, 'firstStartOn' | 'lastStartOn'> = { firstStartOn: '', lastStartOn: '~' };

/** A query with its projects found, and where to look for its runs. */
interface Plan {
  readonly query: RunQuery;
  readonly days: readonly RunDay[];
  readonly search: SearchResolution | undefined;
}

export class RunService {
  private readonly deps: RunServiceDeps;

  constructor(deps: RunServiceDeps) {
    this.deps = deps;
  }

  /**
   * Up to `limit + 1` runs in reading order, by start time.
   * @throws AppError FORBIDDEN for a filter on content without the content scope.
   */
  async listRuns(principal: Principal, query: RunQuery, options: RunListOptions): Promise<RunRow[]> {
    const scope = requireScope(principal, 'read');
    const { window, direction } = options;
    const selection = { fields: options.fields, content: mayReadContent(principal) };
    const range = rangeBehind(query.timeRange, options);
    if (isPlainList(query)) {
      const near = await this.deps.runs.listNear({ query, window, direction, selection }, range, scope);
      if (near !== undefined) return this.noted(principal, near, options.fields, window.limit);
    }
    const plan = await this.plan(principal, scope, query, range);
    const request = { query: plan.query, window, direction, selection };
    const rows = await this.deps.runs.list(request, plan.days, { scope, search: plan.search });
    return this.noted(principal, rows, options.fields, window.limit);
  }

  /** How many runs match; `limit + 1` stands for "more than limit". */
  async countRuns(principal: Principal, query: RunQuery, limit: number): Promise<number> {
    const scope = requireScope(principal, 'read');
    const { query: planned, days, search } = await this.plan(principal, scope, query);
    if (days.length === 0) return 0;
    return this.deps.runs.count(planned, { scope, search, days: days.map(({ day }) => day) }, limit);
  }

  /** In no particular order; missing and foreign ones are left out. */
  async findRuns(
    principal: Principal,
    ids: readonly string[],
    fields: readonly RunField[],
  ): Promise<RunRow[]> {
    const scope = requireScope(principal, 'read');
    const selection = { fields, content: mayReadContent(principal) };
    return this.noted(principal, await this.deps.runs.findByIds(scope, [...new Set(ids)], selection), fields);
  }

  async findRun(principal: Principal, id: string, fields: readonly RunField[]): Promise<RunRow | undefined> {
    return (await this.findRuns(principal, [id], fields))[0];
  }

  /** The first children of each parent, by parent and order. Rows carry `parentRunId`. */
  async listChildren(
    principal: Principal,
    parents: readonly Parent[],
    limit: number,
    fields: readonly RunField[],
  ): Promise<RunRow[]> {
    const scope = requireScope(principal, 'read');
    if (limit < 1 || limit > MAX_CHILDREN) {
      throw new AppError('BAD_USER_INPUT', `"first" must be between 1 and ${MAX_CHILDREN}.`, {
        path: ['first'],
      });
    }
    const days = await this.daysOfParents(scope, parents);
    const selection = { fields, content: mayReadContent(principal) };
    const rows = await this.deps.runs.findChildren(scope, parents, days, limit, selection);
    return this.noted(principal, rows, fields);
  }

  async countChildren(principal: Principal, parents: readonly Parent[]): Promise<Map<string, number>> {
    const scope = requireScope(principal, 'read');
    return this.deps.runs.countChildren(scope, parents, await this.daysOfParents(scope, parents));
  }

  /** Totals of traces, in no particular order; those of which no run is stored are left out. */
  async findTraces(principal: Principal, traceIds: readonly string[]): Promise<TraceSummary[]> {
    const scope = requireScope(principal, 'read');
    const days = await this.deps.days.ofTraces(scope, traceIds);
    return this.deps.traces.summarize(scope, traceIds, days);
  }

  async findTrace(principal: Principal, traceId: string): Promise<TraceSummary | undefined> {
    return (await this.findTraces(principal, [traceId]))[0];
  }

  /**
   * Up to `limit + 1` nodes of a trace in depth-first order behind the run `after`, without payloads. What is not among
   * `fields` (all, if not given) is absent from the nodes.
   */
  async listTraceRuns(
    principal: Principal,
    traceId: string,
    { limit, after, fields }: TraceRunsOptions,
  ): Promise<PlacedTraceRun[]> {
    const scope = requireScope(principal, 'read');
    const { traces, days } = this.deps;
    const wantsOrphans = fields?.includes('orphan') ?? true;
    const columns = fields?.filter(isTraceRunField) ?? TRACE_RUN_FIELDS;
    const request = {
      traceId,
      limit,
      fields: wantsOrphans ? [...columns, 'parentRunId' as const] : columns,
    };
    const nodes =
      after === undefined
        ? await traces.listTree(scope, request)
        : await traces.listRuns(scope, request, await days.ofTraces(scope, [traceId]), after);
    // In place: the rows are fresh, and copies would cost more than all else done to them.
    const placed = nodes as (TraceRun & { orphan: boolean })[];
    if (!wantsOrphans) return placed;
    const present = new Set(nodes.map(({ uuid }) => uuid));
    const elsewhere = new Set(
      nodes.flatMap(({ parentRunId }) =>
        parentRunId === null || present.has(parentRunId) ? [] : [parentRunId],
      ),
    );
    // On the first and only page they are missing for sure; with several pages they may be on another one.
    const complete = after === undefined && nodes.length <= limit;
    if (elsewhere.size > 0 && !complete) {
      const where = await days.ofTraces(scope, [traceId]);
      for (const id of await traces.findPresent(scope, traceId, [...elsewhere], where)) present.add(id);
    }
    for (const node of placed) node.orphan = node.parentRunId !== null && !present.has(node.parentRunId);
    return placed;
  }

  /**
   * Exact statistics over the runs that match.
   * @throws AppError BAD_USER_INPUT when the question makes no sense or has too many groups times buckets.
   */
  async stats(principal: Principal, query: RunQuery, shape: StatsShape): Promise<RunStatsResult> {
    const scope = requireScope(principal, 'read');
    assertStatsShape(shape, query.timeRange, this.deps.clock.now());
    const { query: planned, days, search } = await this.plan(principal, scope, query);
    const scan = { scope, search, days: days.map(({ day }) => day) };
    const result = await this.deps.stats.compute(planned, scan, shape);
    if (result.rows.length > MAX_STATS_ROWS) {
      throw new AppError(
        'BAD_USER_INPUT',
        `The answer has more than ${MAX_STATS_ROWS} rows: shorten the range, take longer buckets or fewer groups.`,
        { path: ['bucket'] },
      );
    }
    return result;
  }

  /**
   * Deletes whole traces of a project with everything that hangs on their runs; events that arrive later are
   * dropped. Returns the traces that were there.
   */
  async deleteTraces(
    principal: Principal,
    projectId: string,
    traceIds: readonly string[],
  ): Promise<string[]> {
    const scope = requireScope(principal, 'write');
    if (traceIds.length > MAX_TRACES_PER_DELETION) {
      throw new AppError('BAD_USER_INPUT', `At most ${MAX_TRACES_PER_DELETION} traces go at once.`, {
        path: ['traceIds'],
      });
    }
    if (traceIds.length === 0) return [];
    const { pool, days, clock, doorbell } = this.deps;
    const known = await days.ofTraces(scope, traceIds);
    const request = { projectId, traceIds, days: known };
    const buried = await transaction(pool, (tx) => buryTraces(tx, scope, request, clock.now()));
    if (buried.length === 0) return [];
    // A writer that was waited for may have made the first run of a day.
    const where = { traceIds: buried, days: await days.ofTraces(scope, buried) };
    const deleted = await transaction(pool, (tx) => deleteTraces(tx, scope, where));
    if (deleted > 0) doorbell.ring(FEED_TOPIC);
    return buried;
  }

  /**
   * One step of removing the runs of a deleted project, at most `batch` of them; call until `done`. For the
   * job that follows a project's deletion.
   */
  async deleteProjectRuns(
    scope: WorkspaceScope,
    projectId: string,
    { batch }: { batch: number },
  ): Promise<{ deleted: number; done: boolean }> {
    const result = await transaction(this.deps.pool, (tx) =>
      deleteRunsOfProject(tx, scope, projectId, batch),
    );
    if (result.deleted > 0) this.deps.doorbell.ring(FEED_TOPIC);
    return result;
  }

  /** Records that content of the first `shown` rows was read, where it was. */
  private noted(
    principal: Principal,
    rows: RunRow[],
    fields: readonly RunField[],
    shown = rows.length,
  ): RunRow[] {
    const content = contentFields(fields);
    if (content.length > 0 && rows.length > 0 && mayReadContent(principal)) {
      const ids = rows.slice(0, shown).map(({ uuid }) => uuid);
      this.deps.contentReads.note(principal, { type: 'run', ids, fields: content });
    }
    return rows;
  }

  private daysOfParents(scope: WorkspaceScope, parents: readonly Parent[]): Promise<string[]> {
    return this.deps.days.ofTraces(scope, [...new Set(parents.map(({ traceId }) => traceId))]);
  }

  /** @param reach the range of start times that can matter; the query's own unless a cursor narrows it. */
  private async plan(
    principal: Principal,
    scope: WorkspaceScope,
    query: RunQuery,
    reach: TimeRange | undefined = query.timeRange,
  ): Promise<Plan> {
    if (query.filters !== undefined) assertFilterAllowed(principal, query.filters);
    const { days, search } = this.deps;
    const resolved = query.filters === undefined ? undefined : await search.resolve(scope, query.filters);
    const anyStart = (found: readonly string[]): RunDay[] => found.map((day) => ({ day, ...ANY_START }));
    if (query.ids !== undefined) {
      return { query, search: resolved, days: anyStart(await days.ofRuns(scope, query.ids)) };
    }
    if (query.traceIds !== undefined) {
      return { query, search: resolved, days: anyStart(await days.ofTraces(scope, query.traceIds)) };
    }
    const projectIds = query.projectIds ?? (await this.allProjects(scope, reach ?? {}));
    const found = await days.ofProjects(scope, projectIds, reach);
    return { query: { ...query, projectIds }, search: resolved, days: found };
  }

  private async allProjects(scope: WorkspaceScope, reach: TimeRange): Promise<string[]> {
    const projectIds = await this.deps.days.projectsWithRuns(scope, reach, MAX_PROJECTS + 1);
    if (projectIds.length > MAX_PROJECTS) {
      throw new AppError(
        'BAD_USER_INPUT',
        `More than ${MAX_PROJECTS} projects would be searched: name some, or a shorter time range.`,
        {
          path: ['project'],
        },
      );
    }
    return projectIds;
  }
}

/** A cursor is a start time of the list itself, so nothing on its other side can matter. */
/** One project, and nothing that must know the days beforehand. */
const isPlainList = ({ projectIds, filters, ids, traceIds }: RunQuery): boolean =>
  projectIds?.length === 1 && filters === undefined && ids === undefined && traceIds === undefined;

function rangeBehind(range: TimeRange = {}, { window, direction }: RunListOptions): TimeRange {
  const boundary = window.boundary?.value;
  if (typeof boundary !== 'string') return range;
  const descending = (direction === 'desc') !== window.backward;
  return descending ? { from: range.from, to: boundary } : { from: boundary, to: range.to };
}
