/**
 * Every statement of workers on the units of experiments: claiming, keeping, giving back, finishing. Times are the
 * database's: clocks of processes differ.
 */
import type { Queryable } from '../platform/db.js';
import type { WorkspaceScope } from '../tenancy/principal.js';
import type {
  CacheEntry,
  ClaimedResult,
  ClaimedRow,
  ResultKey,
  ResultOutcome,
  RowKey,
  RowOutcome,
} from './unit.js';

/** A claim that is not renewed this long is lost; it is renewed every third of it. */
export const LEASE_SECONDS = 8;

const OPEN = `state in ('pending', 'running')`;
/**
 * Which units are claimed: such as wait, in their order, which the partial indexes of open units give without a sort; or
 * such as were lost with their claim.
 */
const CLAIMABLE = {
  waiting: (order: string) =>
    `state = 'pending' and available_at <= clock_timestamp() and ${IS_RUNNING} order by ${order}`,
  lost: () => `state = 'running' and claimed_until < clock_timestamp() and ${IS_RUNNING} order by losses`,
} as const;
export type Claimable = keyof typeof CLAIMABLE;
const CLAIM = `state = 'running', claim = u.claim + 1,
  losses = u.losses + case when u.state = 'running' then 1 else 0 end,
  claimed_until = clock_timestamp() + interval '${LEASE_SECONDS} seconds'`;
const IS_RUNNING = `exists (
  select from experiment_executions e
  where e.workspace_id = $1 and e.experiment_id = $2 and e.state = 'running')`;

type Finished<K, O> = { readonly unit: K; readonly outcome: O };
export type FinishedRow = Finished<ClaimedRow, RowOutcome>;
export type FinishedResult = Finished<ClaimedResult, ResultOutcome>;

const COLUMNS_OF = {
  done: 'done',
  scored: 'scored',
  failed: 'failed',
  again: 'pending',
  back: 'pending',
} as const;

export class UnitStore {
  /** Up to `limit` evaluations that are due. */
  async claimResults(
    db: Queryable,
    scope: WorkspaceScope,
    experimentId: string,
    which: Claimable,
    limit: number,
  ): Promise<ClaimedResult[]> {
    const { rows } = await db.query<ClaimedResult & Record<string, unknown>>(
      `/* experiments.claim_${which}_results */
      with picked as materialized (
        select example_id, repetition, evaluator_version_id
        from experiment_results
        where workspace_id = $1 and experiment_id = $2 and ${CLAIMABLE[which]('available_at')}
        limit $3
        for update skip locked
      )
      update experiment_results u set ${CLAIM}
      from picked p
      join experiment_rows r on r.workspace_id = $1 and r.experiment_id = $2
        and r.example_id = p.example_id and r.repetition = p.repetition
      where u.workspace_id = $1 and u.experiment_id = $2 and u.example_id = p.example_id
        and u.repetition = p.repetition and u.evaluator_version_id = p.evaluator_version_id
      returning u.example_id as "exampleId", u.repetition, u.evaluator_version_id as "evaluatorVersionId", u.claim,
        u.attempts, u.round, u.losses, r.run_id as "runId"`,
      [scope.workspaceId, experimentId, limit],
    );
    return rows;
  }

  /** Up to `limit` rows whose target is due. */
  async claimRows(
    db: Queryable,
    scope: WorkspaceScope,
    experimentId: string,
    which: Claimable,
    limit: number,
  ): Promise<ClaimedRow[]> {
    const { rows } = await db.query<ClaimedRow & Record<string, unknown>>(
      `/* experiments.claim_${which}_rows */
      with picked as materialized (
        select example_id, repetition
        from experiment_rows
        where workspace_id = $1 and experiment_id = $2 and ${CLAIMABLE[which]('position')}
        limit $3
        for update skip locked
      )
      update experiment_rows u set ${CLAIM}
      from picked p
      where u.workspace_id = $1 and u.experiment_id = $2 and u.example_id = p.example_id and u.repetition = p.repetition
      returning u.example_id as "exampleId", u.repetition, u.claim, u.attempts, u.round, u.losses, u.run_id as "runId"`,
      [scope.workspaceId, experimentId, limit],
    );
    return rows;
  }

  /** Keeps claims. Returns the places in `units` of those that still hold, and the execution's state. */
  async renew(
    db: Queryable,
    scope: WorkspaceScope,
    experimentId: string,
    rows: readonly ClaimedRow[],
    results: readonly ClaimedResult[],
  ): Promise<{
    readonly state: string | undefined;
    readonly rows: ReadonlySet<number>;
    readonly results: ReadonlySet<number>;
  }> {
    const { rows: found } = await db.query<{
      state: string | null;
      rows: number[] | null;
      results: number[] | null;
    }>(
      `/* experiments.renew */
      with kept_rows as (
        update experiment_rows u set claimed_until = clock_timestamp() + interval '${LEASE_SECONDS} seconds'
        from unnest($3::uuid[], $4::integer[], $5::integer[]) with ordinality as m (example_id, repetition, claim, place)
        where u.workspace_id = $1 and u.experiment_id = $2 and u.example_id = m.example_id
          and u.repetition = m.repetition and u.claim = m.claim and u.state = 'running'
        returning m.place
      ),
      kept_results as (
        update experiment_results u set claimed_until = clock_timestamp() + interval '${LEASE_SECONDS} seconds'
        from unnest($6::uuid[], $7::integer[], $8::uuid[], $9::integer[]) with ordinality
          as m (example_id, repetition, version, claim, place)
        where u.workspace_id = $1 and u.experiment_id = $2 and u.example_id = m.example_id
          and u.repetition = m.repetition and u.evaluator_version_id = m.version and u.claim = m.claim
          and u.state = 'running'
        returning m.place
      )
      select (select state from experiment_executions where workspace_id = $1 and experiment_id = $2) as state,
        (select array_agg((place - 1)::integer) from kept_rows) as rows,
        (select array_agg((place - 1)::integer) from kept_results) as results`,
      [scope.workspaceId, experimentId, ...rowArrays(rows), ...resultArrays(results)],
    );
    const [answer] = found;
    return {
      state: answer?.state ?? undefined,
      rows: new Set(answer?.rows ?? []),
      results: new Set(answer?.results ?? []),
    };
  }

  /** Locks the units that these executions still own. Returns their places. */
  async fenceRows(
    tx: Queryable,
    scope: WorkspaceScope,
    experimentId: string,
    units: readonly ClaimedRow[],
  ): Promise<Set<number>> {
    if (units.length === 0) return new Set();
    const { rows } = await tx.query<{ place: number }>(
      `/* experiments.fence_rows */
      select m.place - 1 as place
      from unnest($3::uuid[], $4::integer[], $5::integer[]) with ordinality as m (example_id, repetition, claim, place)
      join experiment_rows u on u.workspace_id = $1 and u.experiment_id = $2 and u.example_id = m.example_id
        and u.repetition = m.repetition and u.claim = m.claim and u.state = 'running'
      order by u.example_id, u.repetition
      limit $6
      for update of u`,
      [scope.workspaceId, experimentId, ...rowArrays(units), units.length],
    );
    return new Set(rows.map(({ place }) => place));
  }

  /** As fenceRows. */
  async fenceResults(
    tx: Queryable,
    scope: WorkspaceScope,
    experimentId: string,
    units: readonly ClaimedResult[],
  ): Promise<Set<number>> {
    if (units.length === 0) return new Set();
    const { rows } = await tx.query<{ place: number }>(
      `/* experiments.fence_results */
      select m.place - 1 as place
      from unnest($3::uuid[], $4::integer[], $5::uuid[], $6::integer[]) with ordinality
        as m (example_id, repetition, version, claim, place)
      join experiment_results u on u.workspace_id = $1 and u.experiment_id = $2 and u.example_id = m.example_id
        and u.repetition = m.repetition and u.evaluator_version_id = m.version and u.claim = m.claim
        and u.state = 'running'
      order by u.example_id, u.repetition, u.evaluator_version_id
      limit $7
      for update of u`,
      [scope.workspaceId, experimentId, ...resultArrays(units), units.length],
    );
    return new Set(rows.map(({ place }) => place));
  }

  /**
   * Writes down outcomes of fenced rows and what follows for their results. Returns by how much the known spend grew,
   * decimal text.
   */
  async finishRows(
    tx: Queryable,
    scope: WorkspaceScope,
    experimentId: string,
    finished: readonly FinishedRow[],
  ): Promise<string> {
    if (finished.length === 0) return '0';
    const { rows } = await tx.query<{ growth: string }>(
      `/* experiments.finish_rows */
      with m as materialized (
        select m.*, coalesce(u.cost, 0) as old_cost
        from jsonb_to_recordset($3::jsonb) as m (example_id uuid, repetition integer, state text, counts integer,
          delay float8, error jsonb, cached_from uuid, cost numeric)
        join experiment_rows u on u.workspace_id = $1 and u.experiment_id = $2 and u.example_id = m.example_id
          and u.repetition = m.repetition
      ),
      finished as (
        update experiment_rows u
        set state = m.state, attempts = u.attempts + m.counts, claimed_until = null, cached_from = m.cached_from,
          error = case when m.counts = 0 then u.error else m.error end, cost = coalesce(m.cost, u.cost),
          available_at = clock_timestamp() + m.delay * interval '1 millisecond',
          finished_at = case when m.state <> 'pending' then clock_timestamp() end
        from m
        where u.workspace_id = $1 and u.experiment_id = $2 and u.example_id = m.example_id and u.repetition = m.repetition
      ),
      freed as (
        update experiment_results s
        set state = case m.state when 'failed' then 'skipped' else s.state end,
          available_at = case m.state when 'done' then clock_timestamp() else s.available_at end
        from m
        where s.workspace_id = $1 and s.experiment_id = $2 and s.example_id = m.example_id
          and s.repetition = m.repetition and m.state <> 'pending' and s.state = 'pending'
      )
      select coalesce(sum(coalesce(cost, old_cost) - old_cost), 0)::text as growth from m`,
      [
        scope.workspaceId,
        experimentId,
        JSON.stringify(
          finished.map(({ unit, outcome }) => ({
            ...keyOf(unit),
            ...common(outcome),
            cached_from: outcome.kind === 'done' ? outcome.cachedFrom : null,
          })),
        ),
      ],
    );
    return rows[0]?.growth ?? '0';
  }

  /** As finishRows, for results; `feedbackIds` are those that were stored for a scored one. */
  async finishResults(
    tx: Queryable,
    scope: WorkspaceScope,
    experimentId: string,
    finished: readonly FinishedResult[],
  ): Promise<string> {
    if (finished.length === 0) return '0';
    const { rows } = await tx.query<{ growth: string }>(
      `/* experiments.finish_results */
      with m as materialized (
        select m.*, coalesce(u.cost, 0) as old_cost
        from jsonb_to_recordset($3::jsonb) as m (example_id uuid, repetition integer, evaluator_version_id uuid,
          state text, counts integer, delay float8, error jsonb, feedback_ids uuid[], cached boolean, spread jsonb,
          cost numeric)
        join experiment_results u on u.workspace_id = $1 and u.experiment_id = $2 and u.example_id = m.example_id
          and u.repetition = m.repetition and u.evaluator_version_id = m.evaluator_version_id
      ),
      finished as (
        update experiment_results u
        set state = m.state, attempts = u.attempts + m.counts, claimed_until = null,
          error = case when m.counts = 0 then u.error else m.error end, cost = coalesce(m.cost, u.cost),
          available_at = clock_timestamp() + m.delay * interval '1 millisecond', feedback_ids = m.feedback_ids,
          cached = m.cached, spread = m.spread,
          finished_at = case when m.state <> 'pending' then clock_timestamp() end
        from m
        where u.workspace_id = $1 and u.experiment_id = $2 and u.example_id = m.example_id
          and u.repetition = m.repetition and u.evaluator_version_id = m.evaluator_version_id
      )
      select coalesce(sum(coalesce(cost, old_cost) - old_cost), 0)::text as growth from m`,
      [
        scope.workspaceId,
        experimentId,
        JSON.stringify(
          finished.map(({ unit, outcome }) => ({
            ...keyOf(unit),
            evaluator_version_id: unit.evaluatorVersionId,
            ...common(outcome),
            feedback_ids: outcome.kind === 'scored' ? outcome.feedback.map(({ id }) => id) : [],
            cached: outcome.kind === 'scored' && outcome.cached,
            spread: outcome.kind === 'scored' ? outcome.spread : null,
          })),
        ),
      ],
    );
    return rows[0]?.growth ?? '0';
  }

  /** When the next open unit can be claimed. `open` false: nothing is left to do. */
  async findNext(
    db: Queryable,
    scope: WorkspaceScope,
    experimentId: string,
  ): Promise<{ readonly open: boolean; readonly dueInMs: number }> {
    const due = (table: string): string => `(
      select min(case when state = 'pending' then available_at else greatest(claimed_until, available_at) end)
      from ${table} where workspace_id = $1 and experiment_id = $2 and ${OPEN})`;
    const { rows } = await db.query<{ open: boolean; dueInMs: number | null }>(
      `/* experiments.find_next */
      select due is not null as open,
        case when due < 'infinity' then greatest(extract(epoch from due - clock_timestamp()) * 1000, 0)::float8 end as "dueInMs"
      from (select least(${due('experiment_rows')}, ${due('experiment_results')}) as due) next`,
      [scope.workspaceId, experimentId],
    );
    return { open: rows[0]?.open ?? false, dueInMs: rows[0]?.dueInMs ?? 0 };
  }

  /** Cached values by hex key. */
  async findCached(
    db: Queryable,
    scope: WorkspaceScope,
    keys: readonly Buffer[],
  ): Promise<Map<string, { readonly runId: string; readonly value: string }>> {
    if (keys.length === 0) return new Map();
    const { rows } = await db.query<{ key: string; runId: string; value: string }>(
      `/* experiments.find_cached */
      select encode(key, 'hex') as key, run_id as "runId", value
      from evaluation_cache
      where workspace_id = $1 and key = any($2::bytea[])
      limit $3`,
      [scope.workspaceId, keys, keys.length],
    );
    return new Map(rows.map(({ key, ...cached }) => [key, cached]));
  }

  /** The first value of a key stays. */
  async saveCached(tx: Queryable, scope: WorkspaceScope, entries: readonly CacheEntry[]): Promise<void> {
    if (entries.length === 0) return;
    await tx.query(
      `/* experiments.save_cached */
      insert into evaluation_cache (workspace_id, key, kind, run_id, value, created_at)
      select $1, *, clock_timestamp() from unnest($2::bytea[], $3::text[], $4::uuid[], $5::json[])
      on conflict do nothing`,
      [
        scope.workspaceId,
        entries.map(({ key }) => key),
        entries.map(({ kind }) => kind),
        entries.map(({ runId }) => runId),
        entries.map(({ value }) => value),
      ],
    );
  }
}

const keyOf = ({ exampleId, repetition }: RowKey) => ({ example_id: exampleId, repetition });

function common(outcome: RowOutcome | ResultOutcome): Record<string, unknown> {
  const { kind } = outcome;
  return {
    state: COLUMNS_OF[kind],
    counts: kind === 'back' ? 0 : 1,
    delay: kind === 'again' || kind === 'back' ? outcome.delayMs : 0,
    error: kind === 'failed' || kind === 'again' ? outcome.error : null,
    cost: outcome.cost,
  };
}

const rowArrays = (units: readonly (RowKey & { readonly claim: number })[]): unknown[] => [
  units.map(({ exampleId }) => exampleId),
  units.map(({ repetition }) => repetition),
  units.map(({ claim }) => claim),
];

const resultArrays = (units: readonly (ResultKey & { readonly claim: number })[]): unknown[] => [
  units.map(({ exampleId }) => exampleId),
  units.map(({ repetition }) => repetition),
  units.map(({ evaluatorVersionId }) => evaluatorVersionId),
  units.map(({ claim }) => claim),
];
