/**
 * The zone map over the partitions of runs: which days can hold what a reader looks for. Days are read first and
 * bound as constants, because only then does Postgres leave the other partitions out of the plan.
 */
import { firstDayOfTrace, naturalDay, STRAY_DAY } from '../ingest/run-location.js';
import type { Queryable } from '../platform/db.js';
import type { WorkspaceScope } from '../tenancy/principal.js';

/** A day with the first and last start dates (UTC, `YYYY-MM-DD`) of the runs that may live in it. */
export interface RunDay {
  readonly day: string;
  readonly firstStartOn: string;
  readonly lastStartOn: string;
}

/** Start times, half-open; either end may be missing. ISO 8601 or the database's own text. */
export interface TimeRange {
  readonly from?: string | undefined;
  readonly to?: string | undefined;
}

/** More days than partitions can exist: partitions reach 400 days back, and retention removes them. */
const MAX_DAYS = 20_000;

export class RunDayStore {
  private readonly db: Queryable;

  constructor({ db }: { db: Queryable }) {
    this.db = db;
  }

  /** Days that can hold runs of these projects (all projects where undefined) that start in the range. */
  async ofProjects(
    scope: WorkspaceScope,
    projectIds: readonly string[] | undefined,
    range: TimeRange = {},
  ): Promise<RunDay[]> {
    const { rows } = await this.db.query<{ day: string; firstStartOn: string; lastStartOn: string }>(
      `/* runs.days_of_projects */
      select day, min(first_start_on) as "firstStartOn", max(last_start_on) as "lastStartOn"
      from run_days
      where workspace_id = $1
        and ($2::uuid[] is null or project_id = any($2))
        and ($3::timestamptz is null or last_start_on >= ($3 at time zone 'UTC')::date)
        and ($4::timestamptz is null or first_start_on <= ($4 at time zone 'UTC')::date)
      group by day
      order by day desc
      limit ${MAX_DAYS}`,
      [scope.workspaceId, projectIds ?? null, range.from ?? null, range.to ?? null],
    );
    return rows;
  }

  /** Projects that can have runs in the range, for readers that name no project. */
  async projectsWithRuns(scope: WorkspaceScope, range: TimeRange, limit: number): Promise<string[]> {
    const { rows } = await this.db.query<{ projectId: string }>(
      `/* runs.projects_with_runs */
      select project_id as "projectId"
      from run_days
      where workspace_id = $1
        and ($2::timestamptz is null or last_start_on >= ($2 at time zone 'UTC')::date)
        and ($3::timestamptz is null or first_start_on <= ($3 at time zone 'UTC')::date)
      group by project_id
      order by max(last_start_on) desc, project_id desc
      limit $4`,
      [scope.workspaceId, range.from ?? null, range.to ?? null, limit],
    );
    return rows.map(({ projectId }) => projectId);
  }

  /**
   * Days that can hold runs of these traces: from the day before the first of their roots on, and those noted for
   * runs of wrong clocks. A root whose id tells no time leaves every day possible.
   */
  async ofTraces(scope: WorkspaceScope, traceIds: readonly string[]): Promise<string[]> {
    const { rows } = await this.db.query<{ day: string }>(
      `/* runs.days_of_traces */
      select distinct day
      from run_days
      where workspace_id = $1 and ($2::date is null or day >= $2::date or day = '${STRAY_DAY}'
        or day in (select day from trace_days where workspace_id = $1 and trace_id = any($3::uuid[])))
      order by day desc
      limit ${MAX_DAYS}`,
      [scope.workspaceId, earliestDay(traceIds) ?? null, traceIds],
    );
    return rows.map(({ day }) => day);
  }

  /**
   * Days that can hold the runs with these ids. An id that tells its day lives there or with the strays, any other
   * where the locator says. The locator is asked in a statement of its own, and only for those: planning a join
   * with every partition costs more than the question.
   */
  async ofRuns(scope: WorkspaceScope, ids: readonly string[]): Promise<string[]> {
    const days = new Set([STRAY_DAY]);
    const untold: string[] = [];
    for (const id of ids) {
      const day = naturalDay(id);
      if (day === undefined) untold.push(id);
      else days.add(day);
    }
    if (untold.length > 0) {
      const { rows } = await this.db.query<{ day: string }>(
        `/* runs.locate */
        select distinct day
        from run_locator
        where workspace_id = $1 and run_id = any($2::uuid[])
        limit $3`,
        [scope.workspaceId, untold, untold.length],
      );
      for (const { day } of rows) days.add(day);
    }
    return [...days];
  }
}

/** The first day these traces are looked for in; undefined where every day is possible. */
export function earliestDay(traceIds: readonly string[]): string | undefined {
  let earliest: string | undefined;
  for (const id of traceIds) {
    const day = firstDayOfTrace(id);
    if (day === undefined) return undefined;
    if (earliest === undefined || day < earliest) earliest = day;
  }
  return earliest;
}
