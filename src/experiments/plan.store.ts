/** Laying out the units of an experiment: set-based, and safe to repeat since every unit has a natural key. */
import type { Queryable } from '../platform/db.js';
import type { WorkspaceScope } from '../tenancy/principal.js';
import { rowsOf } from './experiment-rows.sql.js';
import type { ExperimentPlace } from './experiment-rows.sql.js';

export interface PlanBatch {
  readonly experimentId: string;
  readonly datasetId: string;
  readonly datasetVersion: number;
  readonly splits: readonly string[];
  readonly repetitions: number;
  /** Of the execution: part of the runs' ids, so that planning again gives the same. */
  readonly createdAt: string;
  /** The example behind which to go on. */
  readonly after: string | undefined;
  /** Examples laid out before. */
  readonly laidOut: number;
}

const EXAMPLES_PER_BATCH = 1_000;

/** A UUIDv7 of the execution's time, so that all its runs live in one day; the rest follows from the unit. */
export const runIdSql = (createdAt: string, unit: string): string => `(
  lpad(to_hex((extract(epoch from ${createdAt}) * 1000)::bigint), 12, '0') || '7' || substr(md5(${unit}), 1, 3)
  || '8' || substr(md5(${unit}), 4, 15))::uuid`;

export class PlanStore {
  /** Rows of the next examples of the pinned version. Returns those examples; none when there are no more. */
  async planExamples(tx: Queryable, scope: WorkspaceScope, batch: PlanBatch): Promise<string[]> {
    const unit = `$2::text || '/' || p.id || '/' || repetition || '/0'`;
    const { rows } = await tx.query<{ id: string }>(
      `/* experiments.plan_examples */
      with picked as (
        select e.id, row_number() over (order by e.id) + $8::integer as ordinal
        from examples e
        where e.workspace_id = $1 and e.dataset_id = $3 and e.since_version <= $4
          and (e.until_version is null or e.until_version > $4)
          and (cardinality($5::text[]) = 0 or e.splits && $5::text[])
          and ($7::uuid is null or e.id > $7::uuid)
        order by e.id
        limit ${EXAMPLES_PER_BATCH}
      ),
      made as (
        insert into experiment_rows (workspace_id, experiment_id, example_id, repetition, position, state, available_at, run_id)
        -- Every example once before any a second time: an experiment that is stopped has seen all of them.
        select $1, $2::uuid, p.id, repetition, repetition * 100001 + p.ordinal, 'pending', clock_timestamp(),
          ${runIdSql('$9::timestamptz', unit)}
        from picked p cross join generate_series(0, $6::integer - 1) repetition
        on conflict do nothing
      )
      select id from picked order by id`,
      [
        scope.workspaceId,
        batch.experimentId,
        batch.datasetId,
        batch.datasetVersion,
        batch.splits,
        batch.repetitions,
        batch.after ?? null,
        batch.laidOut,
        batch.createdAt,
      ],
    );
    return rows.map(({ id }) => id);
  }

  /** Rows of runs that are there and have ended; the others are left out for good. */
  async planRuns(tx: Queryable, place: ExperimentPlace): Promise<void> {
    const params: unknown[] = [];
    const runs = rowsOf({ ...place, worker: false }, params);
    await tx.query(
      `/* experiments.plan_runs */
      insert into experiment_rows (workspace_id, experiment_id, example_id, repetition, position, state, available_at,
        run_id, attempts, finished_at)
      select $1::uuid, $2::uuid, m.example_id, m.repetition, row_number() over (order by m.start_time, m.run_id),
        case when m.error then 'failed' else 'done' end, clock_timestamp(), m.run_id, 1, clock_timestamp()
      from (${runs}) m
      where m.status <> 'pending'
        and not exists (
          select from experiment_rows u
          where u.workspace_id = $1::uuid and u.experiment_id = $2::uuid and u.run_id = m.run_id
        )
      on conflict do nothing`,
      params,
    );
  }

  /**
   * A row per example and repetition that both experiments have answered; one whose target failed on either side has
   * failed. Examples that changed between the versions they answered are no pairs.
   */
  async planPairs(
    tx: Queryable,
    comparisonId: string,
    first: ExperimentPlace,
    second: ExperimentPlace,
  ): Promise<number> {
    const state = "case when m.error then 'failed' else 'done' end";
    const params: unknown[] = [];
    const firstRuns = rowsOf(first, params);
    await tx.query(
      `/* experiments.plan_pairs */
      insert into experiment_rows (workspace_id, experiment_id, example_id, repetition, position, state, available_at,
        run_id, attempts, finished_at)
      select $1::uuid, $${params.push(comparisonId)}::uuid, m.example_id, m.repetition,
        row_number() over (order by m.repetition, m.example_id), ${state}, clock_timestamp(), m.run_id, 1, clock_timestamp()
      from (${firstRuns}) m
      where m.status <> 'pending'
      on conflict do nothing`,
      params,
    );
    const others: unknown[] = [];
    const secondRuns = rowsOf(second, others);
    await tx.query(
      `/* experiments.join_pairs */
      update experiment_rows u
      set other_run_id = m.run_id, state = case when m.error then 'failed' else u.state end
      from (${secondRuns}) m
      where u.workspace_id = $1 and u.experiment_id = $${others.push(comparisonId)}::uuid
        and u.example_id = m.example_id and u.repetition = m.repetition and m.status <> 'pending'`,
      others,
    );
    await tx.query(
      `/* experiments.drop_single_rows */
      delete from experiment_rows u
      where u.workspace_id = $1 and u.experiment_id = $2 and (u.other_run_id is null or exists (
        select from examples a
        join examples b on b.workspace_id = a.workspace_id and b.dataset_id = a.dataset_id and b.id = a.id
        where a.workspace_id = $1 and a.dataset_id = $3 and a.id = u.example_id
          and a.since_version <= $4 and (a.until_version is null or a.until_version > $4)
          and b.since_version <= $5 and (b.until_version is null or b.until_version > $5)
          and a.content_hash <> b.content_hash))`,
      [first.workspaceId, comparisonId, first.datasetId, first.datasetVersion, second.datasetVersion],
    );
    const { rows } = await tx.query<{ pairs: number }>(
      `/* experiments.count_pairs */
      select count(*)::int as pairs from experiment_rows where workspace_id = $1 and experiment_id = $2`,
      [first.workspaceId, comparisonId],
    );
    return rows[0]?.pairs ?? 0;
  }

  /** A result per row and evaluator version that has none yet; of some examples' rows, or of all. */
  async planResults(
    tx: Queryable,
    scope: WorkspaceScope,
    experimentId: string,
    evaluatorVersionIds: readonly string[],
    exampleIds?: readonly string[],
  ): Promise<void> {
    await tx.query(
      `/* experiments.plan_results */
      insert into experiment_results (workspace_id, experiment_id, example_id, repetition, evaluator_version_id, state,
        available_at)
      select u.workspace_id, u.experiment_id, u.example_id, u.repetition, version,
        case u.state when 'failed' then 'skipped' else 'pending' end,
        case u.state when 'done' then clock_timestamp() else 'infinity' end
      from experiment_rows u cross join unnest($3::uuid[]) version
      where u.workspace_id = $1 and u.experiment_id = $2 and ($4::uuid[] is null or u.example_id = any($4))
      on conflict do nothing`,
      [scope.workspaceId, experimentId, evaluatorVersionIds, exampleIds ?? null],
    );
  }
}
