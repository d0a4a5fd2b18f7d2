/** Removing what nobody can reach any more, in batches. Of all workspaces. */
import type { Queryable } from '../platform/db.js';

/** Units, then executions, whose project, or comparative experiment, is gone. Returns how many; call again while it is `batch` or more. */
export async function tidyExperiments(db: Queryable, batch: number): Promise<number> {
  const { rows } = await db.query<{ removed: number }>(
    `/* experiments.tidy */
    with gone as materialized (
      select e.workspace_id, e.experiment_id
      from experiment_executions e
      where not exists (select from projects p where p.workspace_id = e.workspace_id and p.id = e.experiment_id)
        and not exists (
          select from comparative_experiments c where c.workspace_id = e.workspace_id and c.id = e.experiment_id)
      limit 100
    ),
    results as (
      delete from experiment_results s
      where (s.workspace_id, s.experiment_id, s.example_id, s.repetition, s.evaluator_version_id) in (
        select r.workspace_id, r.experiment_id, r.example_id, r.repetition, r.evaluator_version_id
        from gone g
        join experiment_results r on r.workspace_id = g.workspace_id and r.experiment_id = g.experiment_id
        limit $1)
      returning 1
    ),
    rows as (
      delete from experiment_rows u
      where (u.workspace_id, u.experiment_id, u.example_id, u.repetition) in (
        select r.workspace_id, r.experiment_id, r.example_id, r.repetition
        from gone g
        join experiment_rows r on r.workspace_id = g.workspace_id and r.experiment_id = g.experiment_id
        limit $1)
      returning 1
    ),
    executions as (
      delete from experiment_executions e
      using gone g
      where e.workspace_id = g.workspace_id and e.experiment_id = g.experiment_id
        -- What these very statements remove is still seen here: the execution goes with a later call.
        and not exists (select from experiment_rows r where r.workspace_id = g.workspace_id and r.experiment_id = g.experiment_id)
        and not exists (select from experiment_results r where r.workspace_id = g.workspace_id and r.experiment_id = g.experiment_id)
      returning 1
    )
    select (select count(*) from results) + (select count(*) from rows) as removed, (select count(*) from executions)`,
    [batch],
  );
  return rows[0]?.removed ?? 0;
}

/** Returns how many; call again while it equals `batch`. */
export async function trimEvaluationCache(db: Queryable, until: Date, batch: number): Promise<number> {
  const { rowCount } = await db.query(
    `/* experiments.trim_cache */
    delete from evaluation_cache
    where (workspace_id, key) in (
      select workspace_id, key from evaluation_cache where created_at <= $1 order by created_at limit $2
    )`,
    [until.toISOString(), batch],
  );
  return rowCount ?? 0;
}
