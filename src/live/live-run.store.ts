/**
 * Runs for live events: those a batch changed, as filters see them, and which of them pass a filter that looks at their
 * trace. Rows for the events themselves are read as everywhere else.
 */
import { filterNeeds } from '../filters/filter.plan.js';
import { compilePredicate } from '../filters/filter.predicate.js';
import { compileRunFilters } from '../filters/filter.sql.js';
import type { RunFilters } from '../filters/filter.js';
import { filterableColumns, filterableRun } from '../filters/filterable-run.js';
import type { FeedbackFacts, FilterableRow, FilterableRun } from '../filters/filterable-run.js';
import type { SearchResolution } from '../filters/search-resolution.js';
import type { Queryable } from '../platform/db.js';
import { SqlParams } from '../platform/sql-params.js';
import type { RunRow, RunSelection } from '../runs/run-columns.js';
import type { WorkspaceScope } from '../tenancy/principal.js';
import type { ExperimentNews, LiveFilter, LiveRunSource, RunPlace } from './live-event.js';

export interface LiveRunStoreDeps {
  readonly db: Queryable;
  readonly runs: {
    findByIds(scope: WorkspaceScope, ids: readonly string[], selection: RunSelection): Promise<RunRow[]>;
  };
  readonly days: {
    ofRuns(scope: WorkspaceScope, ids: readonly string[]): Promise<string[]>;
    ofTraces(scope: WorkspaceScope, traceIds: readonly string[]): Promise<string[]>;
  };
  readonly search: {
    resolve(scope: WorkspaceScope, filters: RunFilters | undefined): Promise<SearchResolution | undefined>;
  };
  readonly experiments?: {
    findNews(scope: WorkspaceScope, ids: readonly string[]): Promise<ExperimentNews[]>;
  };
}

/** Feedback rows of one batch of runs; a run with more is judged by its first. */
const MAX_FEEDBACK = 50_000;

interface FeedbackRow {
  readonly runId: string;
  readonly key: string;
  readonly score: number | null;
  readonly value: unknown;
  readonly comment: string | null;
  readonly sourceType: string;
}

export class LiveRunStore implements LiveRunSource {
  readonly #deps: LiveRunStoreDeps;

  constructor(deps: LiveRunStoreDeps) {
    this.#deps = deps;
  }

  async findExperimentNews(scope: WorkspaceScope, ids: readonly string[]): Promise<ExperimentNews[]> {
    return (await this.#deps.experiments?.findNews(scope, ids)) ?? [];
  }

  findByIds(scope: WorkspaceScope, ids: readonly string[], selection: RunSelection): Promise<RunRow[]> {
    return this.#deps.runs.findByIds(scope, ids, selection);
  }

  async findFilterable(
    scope: WorkspaceScope,
    ids: readonly string[],
    needs: { readonly content: boolean; readonly feedback: boolean },
  ): Promise<FilterableRun[]> {
    const days = await this.#deps.days.ofRuns(scope, ids);
    const [{ rows }, feedback] = await Promise.all([
      this.#deps.db.query<FilterableRow>(
        `/* live.filterable_runs */
        select ${filterableColumns('r', needs.content)}
        from runs r
        where r.workspace_id = $1 and r.id = any($2::uuid[]) and r.day = any($3::date[])
        limit $4`,
        [scope.workspaceId, ids, days, ids.length],
      ),
      needs.feedback ? this.#feedbackOf(scope, ids) : new Map<string, FeedbackFacts[]>(),
    ]);
    return rows.map((row) => filterableRun(row, feedback.get(row.id)));
  }

  async matchingIds(
    scope: WorkspaceScope,
    filters: RunFilters,
    runs: readonly RunPlace[],
  ): Promise<ReadonlySet<string>> {
    const { days, search } = this.#deps;
    const ids = runs.map(({ runId }) => runId);
    const traceIds = [...new Set(runs.map(({ traceId }) => traceId))];
    const [ownDays, traceDays, resolution] = await Promise.all([
      days.ofRuns(scope, ids),
      days.ofTraces(scope, traceIds),
      search.resolve(scope, filters),
    ]);
    const params = new SqlParams();
    const { rows } = await this.#deps.db.query<{ id: string }>(
      `/* live.matching_runs */
      select r.id
      from runs r
      where r.workspace_id = ${params.add(scope.workspaceId, 'uuid')}
        and r.id = any(${params.add(ids, 'uuid[]')})
        and r.day = any(${params.add(ownDays, 'date[]')})
        and ${compileRunFilters(filters, {
          alias: 'r',
          params,
          scope,
          days: traceDays,
          ...(resolution === undefined ? {} : { search: resolution }),
        })}
      limit ${params.add(ids.length, 'int')}`,
      params.values,
    );
    return new Set(rows.map(({ id }) => id));
  }

  /** By feedback_by_run. */
  async #feedbackOf(scope: WorkspaceScope, ids: readonly string[]): Promise<Map<string, FeedbackFacts[]>> {
    const { rows } = await this.#deps.db.query<FeedbackRow>(
      `/* live.feedback_of_runs */
      select run_id as "runId", key, score, value, comment, source_type as "sourceType"
      from feedback
      where workspace_id = $1 and run_id = any($2::uuid[])
      order by run_id, created_at, id
      limit ${MAX_FEEDBACK}`,
      [scope.workspaceId, ids],
    );
    const byRun = new Map<string, FeedbackFacts[]>();
    for (const { runId, ...facts } of rows) {
      const known = byRun.get(runId);
      if (known === undefined) byRun.set(runId, [facts]);
      else known.push(facts);
    }
    return byRun;
  }
}

/** How a subscription's filters are asked: by predicate where the run alone tells, else by the database. */
export function liveFilter(filters: RunFilters): LiveFilter | undefined {
  const { run, root, tree } = filters;
  if (run === undefined && root === undefined && tree === undefined) return undefined;
  const { content, feedback } = filterNeeds(filters);
  return {
    filters,
    needs: { content, feedback },
    test: run !== undefined && root === undefined && tree === undefined ? compilePredicate(run) : undefined,
  };
}
