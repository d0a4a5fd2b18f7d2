/**
 * What can be asked of runs, whatever the protocol, and the where clause it becomes. Lists, counts, statistics and
 * threads all select runs through this one place.
 */
import type { RunFilters } from '../filters/filter.js';
import { compileRunFilters, inBothIndexes } from '../filters/filter.sql.js';
import type { SearchResolution } from '../filters/search-resolution.js';
import { addDays, STRAY_DAY, TRACE_SPAN_DAYS } from '../ingest/run-location.js';
import { SqlParams } from '../platform/sql-params.js';
import type { WorkspaceScope } from '../tenancy/principal.js';
import type { TimeRange } from './run-day.store.js';
import type { RunType } from './run.js';

/** Conditions on runs, all of which hold. Absent means no condition; an empty list matches nothing. */
export interface RunQuery {
  readonly projectIds?: readonly string[] | undefined;
  readonly ids?: readonly string[] | undefined;
  readonly traceIds?: readonly string[] | undefined;
  readonly parentRunId?: string | undefined;
  readonly threadId?: string | undefined;
  readonly referenceExampleIds?: readonly string[] | undefined;
  readonly runType?: RunType | undefined;
  readonly isRoot?: boolean | undefined;
  readonly hasError?: boolean | undefined;
  /** Of the run's start, half-open. */
  readonly timeRange?: TimeRange | undefined;
  readonly filters?: RunFilters | undefined;
}

/** What a statement needs besides the query: where to look, and what the full-text terms stand for. */
export interface RunScan {
  readonly scope: WorkspaceScope;
  readonly days: readonly string[];
  readonly search: SearchResolution | undefined;
  /** Instead of `days`: expressions for single days, which a kept plan can still prune by. Not with filters. */
  readonly daysSql?: readonly string[];
}

/** Appends a value to a statement's parameters and gives its placeholder. */
export const bind = (params: unknown[], value: unknown, type: string): string =>
  `$${params.push(value)}::${type}`;

/**
 * The where clause over `runs r`.
 * @param projectSql what `r.project_id` is compared with when the caller joins projects itself.
 */
export function runConditions(
  query: RunQuery,
  scan: RunScan,
  params: unknown[],
  projectSql?: string,
): string {
  const conditions = [`r.workspace_id = ${bind(params, scan.scope.workspaceId, 'uuid')}`];
  const add = (condition: string): void => {
    conditions.push(condition);
  };
  const [firstProject, ...moreProjects] = query.projectIds ?? [];
  if (projectSql !== undefined) add(`r.project_id = ${projectSql}`);
  else if (firstProject !== undefined && moreProjects.length === 0) {
    add(`r.project_id = ${bind(params, firstProject, 'uuid')}`);
  } else if (query.projectIds !== undefined) {
    add(`r.project_id = any(${bind(params, query.projectIds, 'uuid[]')})`);
  }

  if (scan.daysSql !== undefined) add(`r.day in (${scan.daysSql.join(', ')})`);
  else add(`r.day = any(${bind(params, scan.days, 'date[]')})`);
  if (query.ids !== undefined) add(`r.id = any(${bind(params, query.ids, 'uuid[]')})`);
  if (query.traceIds !== undefined) add(`r.trace_id = any(${bind(params, query.traceIds, 'uuid[]')})`);
  if (query.parentRunId !== undefined) add(`r.parent_run_id = ${bind(params, query.parentRunId, 'uuid')}`);
  if (query.isRoot !== undefined) add(`r.parent_run_id is ${query.isRoot ? '' : 'not '}null`);
  if (query.threadId !== undefined) {
    add(`r.thread_id = ${bind(params, query.threadId, 'text')}`);
    if (query.isRoot === undefined) add(inBothIndexes('r'));
  }
  if (query.runType !== undefined) add(`r.run_type = ${bind(params, query.runType, 'text')}`);
  if (query.hasError !== undefined) add(`r.error is ${query.hasError ? 'not ' : ''}null`);
  if (query.referenceExampleIds !== undefined) {
    add(`r.reference_example_id = any(${bind(params, query.referenceExampleIds, 'uuid[]')})`);
  }
  const { from, to } = query.timeRange ?? {};
  if (from !== undefined) add(`r.start_time >= ${bind(params, from, 'timestamptz')}`);
  if (to !== undefined) add(`r.start_time < ${bind(params, to, 'timestamptz')}`);
  if (query.filters !== undefined) {
    add(
      compileRunFilters(query.filters, {
        alias: 'r',
        params: new SqlParams(params),
        scope: scan.scope,
        days: daysOfSameTraces(scan.days),
        ...(scan.search !== undefined && { search: scan.search }),
      }),
    );
  }
  return conditions.join('\n and ');
}

/** Where all runs of the traces that have runs in these days are judged to be; undefined stands for everywhere. */
function daysOfSameTraces(days: readonly string[]): readonly string[] | undefined {
  const dated = days.filter((day) => day !== STRAY_DAY).sort();
  const [first] = dated;
  const last = dated.at(-1);
  // Strays tell nothing about where the rest of their traces is.
  if (first === undefined || last === undefined || dated.length < days.length) return undefined;
  const wide = [STRAY_DAY];
  const end = addDays(last, TRACE_SPAN_DAYS);
  for (let day = addDays(first, -TRACE_SPAN_DAYS); day <= end; day = addDays(day, 1)) wide.push(day);
  return wide;
}
