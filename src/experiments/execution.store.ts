/** The execution of an experiment as a whole: its settings, its state, its spend. */
import type { Queryable } from '../platform/db.js';
import type { WorkspaceScope } from '../tenancy/principal.js';
import type { ExperimentState } from './experiment.js';
import { runIdSql } from './plan.store.js';
import { targetSchema } from './target.js';
import type { Target } from './target.js';

/** What workers need to know. */
export interface ExecutionRecord {
  readonly experimentId: string;
  readonly projectName: string;
  readonly datasetId: string;
  readonly datasetVersion: number;
  readonly splits: readonly string[];
  readonly target: Target;
  readonly targetHash: Buffer;
  readonly evaluatorVersionIds: readonly string[];
  readonly repetitions: number;
  readonly concurrency: number;
  readonly maxAttempts: number;
  readonly deadlineMs: number;
  readonly seed: string;
  readonly useCache: boolean;
  readonly state: ExperimentState;
  readonly createdAt: string;
}

export type NewExecution = Omit<ExecutionRecord, 'projectName' | 'state' | 'createdAt'> & {
  readonly spendCap: string | null;
  readonly actor: string;
};

const OPEN_UNITS = `(exists (
    select from experiment_rows u
    where u.workspace_id = e.workspace_id and u.experiment_id = e.experiment_id and u.state in ('pending', 'running')
  ) or exists (
    select from experiment_results s
    where s.workspace_id = e.workspace_id and s.experiment_id = e.experiment_id and s.state in ('pending', 'running')
  ))`;

const GROWTH = '(select coalesce(sum(growth), 0) from unnest($3::numeric[]) growth)';
const CAPPED = `(case when e.state = 'running' and e.spend + ${GROWTH} >= e.spend_cap then ${OPEN_UNITS} else false end)`;

/** Calls that were answered without a price, or without a word on their tokens. */
const HAS_UNKNOWN_COST = `exists (
    select from model_calls c
    where c.workspace_id = e.workspace_id and c.owner_id = e.experiment_id and c.cost is null
      and c.state in ('answered', 'failed'))`;
const BLIND = `(case when e.state = 'running' and e.spend_cap is not null and ${HAS_UNKNOWN_COST} then ${OPEN_UNITS} else false end)`;

export interface Budget {
  readonly isCapped: boolean;
  readonly reached: boolean;
  /** Whether a call was paid for at a price that is not known. */
  readonly hasUnknownCost: boolean;
}

export class ExecutionStore {
  /** False where the experiment has an execution, such as one that was begun at the same time. */
  async insert(tx: Queryable, scope: WorkspaceScope, execution: NewExecution, now: Date): Promise<boolean> {
    const { rowCount } = await tx.query(
      `/* experiments.insert_execution */
      insert into experiment_executions (workspace_id, experiment_id, dataset_id, dataset_version, splits, target,
        target_hash, evaluator_version_ids, repetitions, concurrency, max_attempts, deadline_ms, seed, use_cache,
        spend_cap, state, actor, created_at)
      values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, 'planning', $16, $17)
      on conflict do nothing`,
      [
        scope.workspaceId,
        execution.experimentId,
        execution.datasetId,
        execution.datasetVersion,
        execution.splits,
        JSON.stringify(execution.target),
        execution.targetHash,
        execution.evaluatorVersionIds,
        execution.repetitions,
        execution.concurrency,
        execution.maxAttempts,
        execution.deadlineMs,
        execution.seed,
        execution.useCache,
        execution.spendCap,
        execution.actor,
        now.toISOString(),
      ],
    );
    return rowCount === 1;
  }

  /** Has further evaluators score what is there, with new settings. False where it was never scored or is at work. */
  async extend(tx: Queryable, scope: WorkspaceScope, execution: NewExecution): Promise<boolean> {
    const { rowCount } = await tx.query(
      `/* experiments.extend_execution */
      update experiment_executions e
      set evaluator_version_ids = array(select distinct unnest(e.evaluator_version_ids || $3::uuid[])),
        concurrency = $4, max_attempts = $5, deadline_ms = $6, use_cache = $7, spend_cap = $8, state = 'planning',
        state_reason = null, finished_at = null, revision = e.revision + 1
      where workspace_id = $1 and experiment_id = $2 and state in ('completed', 'cancelled', 'failed')`,
      [
        scope.workspaceId,
        execution.experimentId,
        execution.evaluatorVersionIds,
        execution.concurrency,
        execution.maxAttempts,
        execution.deadlineMs,
        execution.useCache,
        execution.spendCap,
      ],
    );
    return rowCount === 1;
  }

  async find(
    db: Queryable,
    scope: WorkspaceScope,
    experimentId: string,
  ): Promise<ExecutionRecord | undefined> {
    const { rows } = await db.query<
      Omit<ExecutionRecord, 'target'> & { target: string } & Record<string, unknown>
    >(
      `/* experiments.find_execution */
      select e.experiment_id as "experimentId", coalesce(p.name, '') as "projectName", e.dataset_id as "datasetId",
        e.dataset_version as "datasetVersion", e.splits, e.target, e.target_hash as "targetHash",
        e.evaluator_version_ids as "evaluatorVersionIds", e.repetitions, e.concurrency,
        e.max_attempts as "maxAttempts", e.deadline_ms as "deadlineMs", e.seed::text as seed,
        e.use_cache as "useCache", e.state, e.created_at as "createdAt"
      from experiment_executions e
      left join projects p on p.workspace_id = e.workspace_id and p.id = e.experiment_id
      where e.workspace_id = $1 and e.experiment_id = $2
      limit 1`,
      [scope.workspaceId, experimentId],
    );
    const [row] = rows;
    return row && { ...row, target: targetSchema.parse(JSON.parse(row.target)) };
  }

  /** Locks the row until the transaction ends. Those who change state come one after the other. */
  async lock(
    tx: Queryable,
    scope: WorkspaceScope,
    experimentId: string,
  ): Promise<ExperimentState | undefined> {
    const { rows } = await tx.query<{ state: ExperimentState }>(
      `/* experiments.lock_execution */
      select state from experiment_executions where workspace_id = $1 and experiment_id = $2 limit 1 for update`,
      [scope.workspaceId, experimentId],
    );
    return rows[0]?.state;
  }

  /** From one of `from` to `to`. Whether it was in one of them. */
  async move(
    tx: Queryable,
    scope: WorkspaceScope,
    experimentId: string,
    change: {
      readonly from: readonly ExperimentState[];
      readonly to: ExperimentState;
      readonly reason?: string;
    },
  ): Promise<boolean> {
    const { rowCount } = await tx.query(
      `/* experiments.move */
      update experiment_executions
      set state = $4, state_reason = $5, revision = revision + 1,
        started_at = case when $4 = 'running' then coalesce(started_at, clock_timestamp()) else started_at end,
        finished_at = case when $4 in ('completed', 'cancelled', 'failed') then clock_timestamp() end
      where workspace_id = $1 and experiment_id = $2 and state = any($3::text[])`,
      [scope.workspaceId, experimentId, change.from, change.to, change.reason ?? null],
    );
    return rowCount === 1;
  }

  async setSpendCap(
    tx: Queryable,
    scope: WorkspaceScope,
    experimentId: string,
    cap: string | null,
  ): Promise<void> {
    await tx.query(
      `/* experiments.set_spend_cap */
      update experiment_executions set spend_cap = $3 where workspace_id = $1 and experiment_id = $2`,
      [scope.workspaceId, experimentId, cap],
    );
  }

  /** What is not there may not spend anything. */
  async budget(db: Queryable, scope: WorkspaceScope, experimentId: string): Promise<Budget> {
    const { rows } = await db.query<{ isCapped: boolean; reached: boolean; hasUnknownCost: boolean }>(
      `/* experiments.budget */
      select e.spend_cap is not null as "isCapped", coalesce(e.spend >= e.spend_cap, false) as reached,
        ${HAS_UNKNOWN_COST} as "hasUnknownCost"
      from experiment_executions e where e.workspace_id = $1 and e.experiment_id = $2 limit 1`,
      [scope.workspaceId, experimentId],
    );
    return rows[0] ?? { isCapped: true, reached: true, hasUnknownCost: false };
  }

  /**
   * Adds to the spend. At the cap, and where a cap cannot be kept because the cost of a call is not known, what is left of
   * the experiment is paused. Returns its state then.
   */
  async spend(
    tx: Queryable,
    scope: WorkspaceScope,
    experimentId: string,
    growths: readonly string[],
  ): Promise<ExperimentState | undefined> {
    const { rows } = await tx.query<{ state: ExperimentState }>(
      `/* experiments.spend */
      update experiment_executions e
      set spend = e.spend + ${GROWTH}, revision = e.revision + 1,
        state = case when ${CAPPED} or ${BLIND} then 'paused' else e.state end,
        state_reason = case when ${CAPPED} then 'The spend cap of $' || trim_scale(e.spend_cap) || ' is reached.'
          when ${BLIND} then 'The cost of a call is not known: the spend cap of $' || trim_scale(e.spend_cap) || ' cannot be kept.'
          else e.state_reason end
      where e.workspace_id = $1 and e.experiment_id = $2
      returning e.state`,
      [scope.workspaceId, experimentId, growths],
    );
    return rows[0]?.state;
  }

  /** When nothing is left to do: it is completed, and so is its project. Whether it was this call that did it. */
  async complete(tx: Queryable, scope: WorkspaceScope, experimentId: string): Promise<boolean> {
    const { rowCount } = await tx.query(
      `/* experiments.complete */
      with completed as (
        update experiment_executions e
        set state = 'completed', state_reason = null, finished_at = clock_timestamp(), revision = e.revision + 1
        where e.workspace_id = $1 and e.experiment_id = $2 and e.state = 'running' and not ${OPEN_UNITS}
        returning e.experiment_id
      ),
      ended as (
        update projects p set end_time = clock_timestamp(), updated_at = clock_timestamp()
        from completed c
        where p.workspace_id = $1 and p.id = c.experiment_id
      )
      select 1 from completed limit 1`,
      [scope.workspaceId, experimentId],
    );
    return rowCount === 1;
  }

  /** What failed for good is to be tried again, with runs and calls of its own. Returns how many units. */
  async retryFailed(tx: Queryable, scope: WorkspaceScope, experimentId: string): Promise<number> {
    const { rows } = await tx.query<{ units: number }>(
      `/* experiments.retry_failed */
      with again as (
        update experiment_rows u
        set state = 'pending', attempts = 0, round = u.round + 1, losses = 0, error = null, cost = null,
          available_at = clock_timestamp(), finished_at = null,
          run_id = ${runIdSql('e.created_at', `u.experiment_id || '/' || u.example_id || '/' || u.repetition || '/' || (u.round + 1)`)}
        from experiment_executions e
        where e.workspace_id = $1 and e.experiment_id = $2 and e.target ->> 'kind' not in ('runs', 'pairs')
          and u.workspace_id = $1 and u.experiment_id = $2 and u.state = 'failed'
        returning u.example_id, u.repetition
      ),
      woken as (
        update experiment_results s
        set state = 'pending', available_at = 'infinity', finished_at = null
        from again a
        where s.workspace_id = $1 and s.experiment_id = $2 and s.example_id = a.example_id
          and s.repetition = a.repetition and s.state = 'skipped'
      ),
      evaluations as (
        update experiment_results s
        set state = 'pending', attempts = 0, round = s.round + 1, losses = 0, error = null, cost = null,
          available_at = clock_timestamp(), finished_at = null
        where s.workspace_id = $1 and s.experiment_id = $2 and s.state = 'failed'
        returning 1
      )
      select (select count(*) from again) + (select count(*) from evaluations) as units`,
      [scope.workspaceId, experimentId],
    );
    return rows[0]?.units ?? 0;
  }

  /** Executions that should have jobs, of all workspaces, the oldest first. */
  async listOpen(
    db: Queryable,
    limit: number,
  ): Promise<
    {
      readonly workspaceId: string;
      readonly experimentId: string;
      readonly state: ExperimentState;
      readonly concurrency: number;
    }[]
  > {
    const { rows } = await db.query<{
      workspaceId: string;
      experimentId: string;
      state: ExperimentState;
      concurrency: number;
    }>(
      `/* experiments.list_open */
      select workspace_id as "workspaceId", experiment_id as "experimentId", state, concurrency
      from experiment_executions
      where state in ('planning', 'running')
      order by created_at
      limit $1`,
      [limit],
    );
    return rows;
  }
}
