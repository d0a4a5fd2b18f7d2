/** What comparisons read beside the scores: labels, how far judges disagree with themselves, and whether work goes on. */
import type { Queryable } from '../platform/db.js';
import type { WorkspaceScope } from '../tenancy/principal.js';
import type { RowLabel } from './score-tables.js';

const MAX_LABELS = 1_000_000;
/** More examples than any dataset has. */
const MAX_CHANGED = 10_000_000;

export interface Progress {
  readonly unfinished: ReadonlySet<string>;
  readonly unended: ReadonlySet<string>;
}

export class ComparisonStore {
  private readonly db: Queryable;

  constructor({ db }: { db: Queryable }) {
    this.db = db;
  }

  /**
   * Text values of feedback on these runs of an experiment, also of feedback that is not filed yet; the latest where a
   * run has several under a key.
   */
  async labels(
    scope: WorkspaceScope,
    experimentId: string,
    keys: readonly string[],
    runIds: readonly string[],
  ): Promise<RowLabel[]> {
    const { rows } = await this.db.query<{ runId: string; key: string; label: string }>(
      `/* comparison.labels */
      select distinct on (run_id, key) run_id as "runId", key, value #>> '{}' as label
      from feedback
      where workspace_id = $1 and key = any($3::text[]) and run_id is not null and jsonb_typeof(value) = 'string'
        and (project_id = $2 or (project_id is null and run_id = any($4::uuid[])))
      order by run_id, key, created_at desc, id
      limit ${MAX_LABELS}`,
      [scope.workspaceId, experimentId, keys, runIds],
    );
    return rows;
  }

  /** By feedback key: the mean standard deviation between repeats of a judge, where it was asked more than once. */
  async judgeDeviation(scope: WorkspaceScope, experimentId: string): Promise<Record<string, number>> {
    const { rows } = await this.db.query<{ key: string; deviation: number }>(
      `/* comparison.judge_deviation */
      select v.feedback_key as key, avg((s.spread ->> 'standardDeviation')::double precision) as deviation
      from experiment_results s
      join evaluator_versions v on v.workspace_id = s.workspace_id and v.id = s.evaluator_version_id
      where s.workspace_id = $1 and s.experiment_id = $2 and s.spread ->> 'standardDeviation' is not null
      group by v.feedback_key
      limit 1000`,
      [scope.workspaceId, experimentId],
    );
    return Object.fromEntries(rows.map(({ key, deviation }) => [key, deviation]));
  }

  /**
   * How far work on experiments is: `unfinished` are those a worker is not done with, and those of clients of which a row
   * is under way; `unended` those whose client has not said that they have ended, which not every client does.
   */
  async progress(scope: WorkspaceScope, experimentIds: readonly string[]): Promise<Progress> {
    const { rows } = await this.db.query<{ id: string; unfinished: boolean; days: string }>(
      `/* comparison.progress */
      select p.id, e.state is not null as unfinished, case when e.state is null then (
          select coalesce(json_agg(distinct day), '[]') from run_days
          where workspace_id = p.workspace_id and project_id = p.id
        ) else '[]' end::text as days
      from projects p
      left join experiment_executions e on e.workspace_id = p.workspace_id and e.experiment_id = p.id
      where p.workspace_id = $1 and p.id = any($2::uuid[])
        and (e.state in ('planning', 'running', 'paused')
          or (e.state is null and p.end_time is null and p.extra #>> '{metadata,dataset_version}' is null))
      limit 100`,
      [scope.workspaceId, experimentIds],
    );
    const unended = rows.filter(({ unfinished }) => !unfinished);
    const pending =
      unended.length === 0
        ? []
        : await this.pending(
            scope,
            unended.map(({ id }) => id),
            unended.flatMap(({ days }) => JSON.parse(days) as string[]),
          );
    return {
      unfinished: new Set([...rows.filter((row) => row.unfinished).map(({ id }) => id), ...pending]),
      unended: new Set(unended.map(({ id }) => id)),
    };
  }

  private async pending(
    scope: WorkspaceScope,
    experimentIds: readonly string[],
    days: readonly string[],
  ): Promise<string[]> {
    const { rows } = await this.db.query<{ id: string }>(
      `/* comparison.pending */
      select distinct project_id as id
      from runs
      where workspace_id = $1 and project_id = any($2::uuid[]) and day = any($3::date[])
        and parent_run_id is null and reference_example_id is not null and status = 'pending'
      limit 100`,
      [scope.workspaceId, experimentIds, days],
    );
    return rows.map(({ id }) => id);
  }

  /** Examples whose inputs, outputs or metadata differ between two versions of a dataset, of those in both. */
  async changedExamples(
    scope: WorkspaceScope,
    datasetId: string,
    versions: readonly [number, number],
  ): Promise<Set<string>> {
    const [from, to] = versions;
    if (from === to) return new Set();
    const { rows } = await this.db.query<{ id: string }>(
      `/* comparison.changed_examples */
      select a.id
      from examples a
      join examples b on b.workspace_id = a.workspace_id and b.dataset_id = a.dataset_id and b.id = a.id
      where a.workspace_id = $1 and a.dataset_id = $2
        and a.since_version <= $3 and (a.until_version is null or a.until_version > $3)
        and b.since_version <= $4 and (b.until_version is null or b.until_version > $4)
        and a.since_version <> b.since_version and a.content_hash <> b.content_hash
      limit ${MAX_CHANGED}`,
      [scope.workspaceId, datasetId, from, to],
    );
    return new Set(rows.map(({ id }) => id));
  }

  /** Of each experiment, in order of ids, what changes with it and with the feedback on its rows. */
  async revisions(scope: WorkspaceScope, experimentIds: readonly string[]): Promise<string[]> {
    const { rows } = await this.db.query<{ revision: string }>(
      `/* comparison.revisions */
      select concat_ws('/', p.id, p.updated_at, e.revision, f.given, f.changed) as revision
      from projects p
      left join experiment_executions e on e.workspace_id = p.workspace_id and e.experiment_id = p.id
      left join lateral (
        select count(*) as given, max(updated_at) as changed
        from feedback
        where workspace_id = p.workspace_id and project_id = p.id
      ) f on true
      where p.workspace_id = $1 and p.id = any($2::uuid[])
      order by p.id
      limit 100`,
      [scope.workspaceId, experimentIds],
    );
    return rows.map(({ revision }) => revision);
  }

  /** The dataset each experiment is about. What is no experiment of the workspace is left out. */
  async datasetsOf(scope: WorkspaceScope, experimentIds: readonly string[]): Promise<Map<string, string>> {
    const { rows } = await this.db.query<{ id: string; datasetId: string }>(
      `/* comparison.datasets */
      select id, reference_dataset_id as "datasetId"
      from projects
      where workspace_id = $1 and id = any($2::uuid[]) and reference_dataset_id is not null
      limit 100`,
      [scope.workspaceId, experimentIds],
    );
    return new Map(rows.map(({ id, datasetId }) => [id, datasetId]));
  }

  /** The experiment a dataset's others are compared with unless told otherwise. */
  async baselineOf(scope: WorkspaceScope, datasetId: string): Promise<string | undefined> {
    const { rows } = await this.db.query<{ id: string | null }>(
      `/* comparison.baseline */
      select baseline_experiment_id as id from datasets where workspace_id = $1 and id = $2 limit 1`,
      [scope.workspaceId, datasetId],
    );
    return rows[0]?.id ?? undefined;
  }
}
