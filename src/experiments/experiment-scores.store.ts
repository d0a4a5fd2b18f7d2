/**
 * All rows of an experiment with their scores at once, for statistics: four statements whatever its size. Rows for
 * people, page by page, are in experiment-rows.store.ts.
 */
import type { JsonObject } from '../ingest/run-event.js';
import type { Queryable } from '../platform/db.js';
import type { WorkspaceScope } from '../tenancy/principal.js';
import { findPlace, rowsOf } from './experiment-rows.sql.js';
import type { ExperimentPlace } from './experiment-rows.sql.js';

/** One example answered once. */
export interface ExperimentScore {
  readonly exampleId: string;
  /** From 0. */
  readonly repetition: number;
  readonly runId: string;
  /** Of the example as the experiment saw it, its splits included under `dataset_split`. Only where asked for. */
  readonly exampleMetadata?: JsonObject;
  /** By feedback key; the mean where a run was scored more than once under a key. */
  readonly scores: Readonly<Record<string, number>>;
  /** Keys whose evaluator failed on this row: errors, never scores. */
  readonly failedKeys: readonly string[];
  /** Keys whose score is that of an earlier, equal evaluation. Shown, but no new evidence. */
  readonly cachedKeys: readonly string[];
  /** The run whose output was used again. It says nothing new about the target, and nothing about its speed. */
  readonly cachedFrom: string | null;
  /** Whether the target failed. */
  readonly error: boolean;
  /** Seconds; null for an output that was used again. */
  readonly latency: number | null;
  /** US dollars of the whole trace; null where no price is known and for an output that was used again. */
  readonly cost: number | null;
  /** Of the whole trace; null as for cost. */
  readonly totalTokens: number | null;
}

/** Rows read for statistics at most; more than any experiment that can be started here. */
const MAX_SCORED_ROWS = 250_000;
/** Feedback keys that are read; a run is not scored under more. */
const MAX_KEYS = 200;

interface RowOfScores {
  readonly exampleId: string;
  readonly repetition: number;
  readonly runId: string;
  readonly cachedFrom: string | null;
  readonly error: boolean;
  readonly latency: number | null;
  readonly cost: number | null;
  readonly totalTokens: number | null;
}

interface MutableScore extends RowOfScores {
  exampleMetadata?: JsonObject;
  readonly scores: Record<string, number>;
  readonly failedKeys: string[];
  readonly cachedKeys: string[];
}

export class ExperimentScoresStore {
  private readonly db: Queryable;
  /** Rows behind these are left out. */
  readonly maxRows: number;

  constructor({ db, maxRows = MAX_SCORED_ROWS }: { db: Queryable; maxRows?: number }) {
    this.db = db;
    this.maxRows = maxRows;
  }

  /**
   * Finished rows in order of example and repetition; empty for what is no experiment of the workspace. Rows whose
   * target has not answered yet are left out.
   */
  async read(
    scope: WorkspaceScope,
    experimentId: string,
    { metadata = false }: { readonly metadata?: boolean } = {},
  ): Promise<ExperimentScore[]> {
    const place = await findPlace(this.db, scope, experimentId);
    if (place === undefined || place.days.length === 0) return [];
    const found = await this.readRows(place);
    if (found.length === 0) return [];
    const rows = found.map((row): MutableScore => ({ ...row, scores: {}, failedKeys: [], cachedKeys: [] }));
    const byRun = new Map(rows.map((row) => [row.runId, row]));
    await this.addScores(place, byRun);
    if (place.worker) await this.addStates(place, rows);
    if (metadata) await this.addMetadata(place, rows);
    return rows;
  }

  /** The version of its dataset an experiment answered; undefined for what is none. */
  async versionOf(scope: WorkspaceScope, experimentId: string): Promise<number | undefined> {
    return (await findPlace(this.db, scope, experimentId))?.datasetVersion;
  }

  private async readRows(place: ExperimentPlace): Promise<RowOfScores[]> {
    const params: unknown[] = [];
    // The trace's usage and not the root's: models are called below it.
    const { rows } = await this.db.query<RowOfScores & Record<string, unknown>>(
      `/* experiments.score_rows */
      with rows as (${rowsOf(place, params)}),
      spent as (
        select r.trace_id, sum(r.total_tokens)::float8 as tokens, sum(r.total_cost)::float8 as cost
        from runs r
        where r.workspace_id = $1 and r.project_id = $2 and r.day = any($3::date[])
          and (r.total_tokens is not null or r.total_cost is not null)
        group by r.trace_id
      )
      select rows.example_id as "exampleId", rows.repetition, rows.run_id as "runId",
        rows.cached_from as "cachedFrom", rows.error,
        case when rows.cached_from is null then rows.latency end as latency,
        case when rows.cached_from is null then spent.cost end as cost,
        case when rows.cached_from is null then spent.tokens end as "totalTokens"
      from rows
      left join spent on spent.trace_id = rows.trace_id
      where rows.status <> 'pending'
      order by rows.example_id, rows.repetition
      limit ${this.maxRows}`,
      params,
    );
    return rows;
  }

  /** As one JSON text per key: fifty thousand single rows cost the driver ten times as much. */
  private async addScores(place: ExperimentPlace, byRun: ReadonlyMap<string, MutableScore>): Promise<void> {
    const { rows } = await this.db.query<{
      key: string;
      runIds: string;
      scores: string;
      failed: string;
    }>(
      `/* experiments.scores */
      with given as (
        select f.key, f.run_id, avg(f.score) as score, bool_or(f.score is null and f.extra @> '{"error": true}') as failed
        from (
          select key, run_id, score, extra from feedback
          where workspace_id = $1 and project_id = $2 and run_id is not null
          union all
          select key, run_id, score, extra from feedback
          where workspace_id = $1 and project_id is null and run_id is not null and run_id = any($3::uuid[])
        ) f
        group by f.key, f.run_id
      )
      select key, json_agg(run_id)::text as "runIds", json_agg(score)::text as scores, json_agg(failed)::text as failed
      from given
      where score is not null or failed
      group by key
      order by key
      limit ${MAX_KEYS}`,
      [place.workspaceId, place.experimentId, [...byRun.keys()]],
    );
    for (const { key, ...columns } of rows) {
      const runIds = JSON.parse(columns.runIds) as string[];
      const scores = JSON.parse(columns.scores) as (number | null)[];
      const failed = JSON.parse(columns.failed) as (boolean | null)[];
      runIds.forEach((runId, index) => {
        const row = byRun.get(runId);
        const score = scores[index];
        if (typeof score === 'number') {
          if (row !== undefined) row.scores[key] = score;
        } else if (failed[index] === true) row?.failedKeys.push(key);
      });
    }
  }

  /** What a worker knows besides: evaluations that failed for good, and those that were answered from the cache. */
  private async addStates(place: ExperimentPlace, rows: readonly MutableScore[]): Promise<void> {
    const byPlace = new Map(rows.map((row) => [`${row.exampleId} ${row.repetition}`, row]));
    const { rows: results } = await this.db.query<{
      exampleId: string;
      repetition: number;
      key: string;
      cached: boolean;
    }>(
      `/* experiments.score_states */
      select s.example_id as "exampleId", s.repetition, v.feedback_key as key, s.cached
      from experiment_results s
      join evaluator_versions v on v.workspace_id = s.workspace_id and v.id = s.evaluator_version_id
      where s.workspace_id = $1 and s.experiment_id = $2 and (s.state = 'failed' or s.cached)
      order by s.example_id, s.repetition, v.feedback_key
      limit ${MAX_SCORED_ROWS * 4}`,
      [place.workspaceId, place.experimentId],
    );
    for (const { exampleId, repetition, key, cached } of results) {
      const row = byPlace.get(`${exampleId} ${repetition}`);
      const keys = cached ? row?.cachedKeys : row?.failedKeys;
      if (keys?.includes(key) === false) keys.push(key);
    }
  }

  private async addMetadata(place: ExperimentPlace, rows: readonly MutableScore[]): Promise<void> {
    const { rows: examples } = await this.db.query<{
      id: string;
      metadata: JsonObject;
      splits: string[];
    }>(
      `/* experiments.score_examples */
      select id, metadata, splits
      from examples
      where workspace_id = $1 and dataset_id = $2 and id = any($3::uuid[])
        and since_version <= $4 and (until_version is null or until_version > $4)
      limit ${MAX_SCORED_ROWS}`,
      [
        place.workspaceId,
        place.datasetId,
        [...new Set(rows.map(({ exampleId }) => exampleId))],
        place.datasetVersion,
      ],
    );
    const byId = new Map(
      examples.map(({ id, metadata, splits }) => [id, { ...metadata, dataset_split: splits }]),
    );
    for (const row of rows) row.exampleMetadata = byId.get(row.exampleId) ?? {};
  }
}
