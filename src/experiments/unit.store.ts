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

// Each unit is looked up by its whole key, and changed where it was found. Joined instead, a table that was just filled
// and has no statistics yet is read from end to end for a handful of units.
const OWN_ROWS = (examples: string, repetitions: string, claims: string): string => `
  select u.place, m.claim, m.number
  from unnest(${examples}::uuid[], ${repetitions}::integer[], ${claims}::integer[]) with ordinality
    as m (example_id, repetition, claim, number)
  cross join lateral (
    select r.ctid as place from experiment_rows r
    where r.workspace_id = $1 and r.experiment_id = $2 and r.example_id = m.example_id and r.repetition = m.repetition
    limit 1
  ) u`;
const OWN_RESULTS = (examples: string, repetitions: string, versions: string, claims: string): string => `
  select u.place, m.claim, m.number
  from unnest(${examples}::uuid[], ${repetitions}::integer[], ${versions}::uuid[], ${claims}::integer[]) with ordinality
    as m (example_id, repetition, version, claim, number)
  cross join lateral (
    select r.ctid as place from experiment_results r
    where r.workspace_id = $1 and r.experiment_id = $2 and r.example_id = m.example_id
      and r.repetition = m.repetition and r.evaluator_version_id = m.version
    limit 1
  ) u`;

type Finished<K, O> = { readonly unit: K; readonly outcome: O };
export type FinishedRow = Finished<ClaimedRow, RowOutcome>;
export type FinishedResult = Finished<ClaimedResult, ResultOutcome>;

const STATES = {
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
        select ctid as place
        from experiment_results
        where workspace_id = $1 and experiment_id = $2 and ${CLAIMABLE[which]('available_at')}
        limit $3
        for update skip locked
      ),
      claimed as (
        update experiment_results u set ${CLAIM}
        where u.ctid = any(array(select place from picked))
        returning u.*
      )
      select c.example_id as "exampleId", c.repetition, c.evaluator_version_id as "evaluatorVersionId", c.claim,
        c.attempts, c.round, c.losses, r.run_id as "runId", r.other_run_id as "otherRunId"
      from claimed c
      cross join lateral (
        select run_id, other_run_id from experiment_rows
        where workspace_id = $1 and experiment_id = $2 and example_id = c.example_id and repetition = c.repetition
        limit 1
      ) r`,
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
        select ctid as place
        from experiment_rows
        where workspace_id = $1 and experiment_id = $2 and ${CLAIMABLE[which]('position')}
        limit $3
        for update skip locked
      )
      update experiment_rows u set ${CLAIM}
      where u.ctid = any(array(select place from picked))
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
      with own_rows as materialized (
        ${OWN_ROWS('$3', '$4', '$5')}
      ),
      own_results as materialized (
        ${OWN_RESULTS('$6', '$7', '$8', '$9')}
      ),
      kept_rows as (
        update experiment_rows u set claimed_until = clock_timestamp() + interval '${LEASE_SECONDS} seconds'
        from own_rows m
        where u.ctid = m.place and u.claim = m.claim and u.state = 'running'
        returning m.number
      ),
      kept_results as (
        update experiment_results u set claimed_until = clock_timestamp() + interval '${LEASE_SECONDS} seconds'
        from own_results m
        where u.ctid = m.place and u.claim = m.claim and u.state = 'running'
        returning m.number
      )
      select (select state from experiment_executions where workspace_id = $1 and experiment_id = $2) as state,
        (select array_agg((number - 1)::integer) from kept_rows) as rows,
        (select array_agg((number - 1)::integer) from kept_results) as results`,
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
    const ordered = inOrder(units);
    const { rows } = await tx.query<{ place: number }>(
      `/* experiments.fence_rows */
      select m.number - 1 as place
      from unnest($3::uuid[], $4::integer[], $5::integer[]) with ordinality as m (example_id, repetition, claim, number)
      cross join lateral (
        select 1 from experiment_rows u
        where u.workspace_id = $1 and u.experiment_id = $2 and u.example_id = m.example_id
          and u.repetition = m.repetition and u.claim = m.claim and u.state = 'running'
        limit 1
        for update of u
      ) locked
      limit $6`,
      [scope.workspaceId, experimentId, ...rowArrays(ordered), units.length],
    );
    const owned = new Set(rows.map(({ place }) => ordered[place]));
    return new Set(units.flatMap((unit, index) => (owned.has(unit) ? [index] : [])));
  }

  /** As fenceRows. */
  async fenceResults(
    tx: Queryable,
    scope: WorkspaceScope,
    experimentId: string,
    units: readonly ClaimedResult[],
  ): Promise<Set<number>> {
    if (units.length === 0) return new Set();
    const ordered = inOrder(units);
    const { rows } = await tx.query<{ place: number }>(
      `/* experiments.fence_results */
      select m.number - 1 as place
      from unnest($3::uuid[], $4::integer[], $5::uuid[], $6::integer[]) with ordinality
        as m (example_id, repetition, version, claim, number)
      cross join lateral (
        select 1 from experiment_results u
        where u.workspace_id = $1 and u.experiment_id = $2 and u.example_id = m.example_id
          and u.repetition = m.repetition and u.evaluator_version_id = m.version and u.claim = m.claim
          and u.state = 'running'
        limit 1
        for update of u
      ) locked
      limit $7`,
      [scope.workspaceId, experimentId, ...resultArrays(ordered), units.length],
    );
    const owned = new Set(rows.map(({ place }) => ordered[place]));
    return new Set(units.flatMap((unit, index) => (owned.has(unit) ? [index] : [])));
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
    const outcomes = finished.map(({ outcome }) => outcome);
    const { rows } = await tx.query<{ growth: string }>(
      `/* experiments.finish_rows */
      with m as materialized (
        select m.*, u.place, u.old_cost
        from unnest($3::uuid[], $4::integer[], $5::text[], $6::integer[], $7::float8[], $8::jsonb[], $9::numeric[], $10::uuid[])
          as m (example_id, repetition, state, counts, delay, error, cost, cached_from)
        cross join lateral (
          select r.ctid as place, coalesce(r.cost, 0) as old_cost from experiment_rows r
          where r.workspace_id = $1 and r.experiment_id = $2 and r.example_id = m.example_id and r.repetition = m.repetition
          limit 1
        ) u
      ),
      finished as (
        update experiment_rows u
        set state = m.state, attempts = u.attempts + m.counts, claimed_until = null, cached_from = m.cached_from,
          error = case when m.counts = 0 then u.error else m.error end, cost = coalesce(m.cost, u.cost),
          available_at = clock_timestamp() + m.delay * interval '1 millisecond',
          finished_at = case when m.state <> 'pending' then clock_timestamp() end
        from m
        where u.ctid = m.place
      ),
      waiting as materialized (
        select s.place, m.state
        from m
        cross join lateral (
          select r.ctid as place from experiment_results r
          where r.workspace_id = $1 and r.experiment_id = $2 and r.example_id = m.example_id
            and r.repetition = m.repetition and r.state = 'pending'
          offset 0
        ) s
        where m.state <> 'pending'
      ),
      freed as (
        update experiment_results s
        set state = case w.state when 'failed' then 'skipped' else s.state end,
          available_at = case w.state when 'done' then clock_timestamp() else s.available_at end
        from waiting w
        where s.ctid = w.place
      )
      select coalesce(sum(coalesce(cost, old_cost) - old_cost), 0)::text as growth from m`,
      [
        scope.workspaceId,
        experimentId,
        finished.map(({ unit }) => unit.exampleId),
        finished.map(({ unit }) => unit.repetition),
        ...outcomeArrays(outcomes),
        outcomes.map((outcome) => (outcome.kind === 'done' ? outcome.cachedFrom : null)),
      ],
    );
    return rows[0]?.growth ?? '0';
  }

  /** As finishRows, for results; the feedback of one that was scored is stored by then. */
  async finishResults(
    tx: Queryable,
    scope: WorkspaceScope,
    experimentId: string,
    finished: readonly FinishedResult[],
  ): Promise<string> {
    if (finished.length === 0) return '0';
    const outcomes = finished.map(({ outcome }) => outcome);
    const { rows } = await tx.query<{ growth: string }>(
      `/* experiments.finish_results */
      with m as materialized (
        select m.*, u.place, u.old_cost
        from unnest($3::uuid[], $4::integer[], $5::uuid[], $6::text[], $7::integer[], $8::float8[], $9::jsonb[],
          $10::numeric[], $11::text[], $12::boolean[], $13::jsonb[])
          as m (example_id, repetition, version, state, counts, delay, error, cost, feedback_ids, cached, spread)
        cross join lateral (
          select r.ctid as place, coalesce(r.cost, 0) as old_cost from experiment_results r
          where r.workspace_id = $1 and r.experiment_id = $2 and r.example_id = m.example_id
            and r.repetition = m.repetition and r.evaluator_version_id = m.version
          limit 1
        ) u
      ),
      finished as (
        update experiment_results u
        set state = m.state, attempts = u.attempts + m.counts, claimed_until = null,
          error = case when m.counts = 0 then u.error else m.error end, cost = coalesce(m.cost, u.cost),
          available_at = clock_timestamp() + m.delay * interval '1 millisecond', feedback_ids = m.feedback_ids::uuid[],
          cached = m.cached, spread = m.spread,
          finished_at = case when m.state <> 'pending' then clock_timestamp() end
        from m
        where u.ctid = m.place
      )
      select coalesce(sum(coalesce(cost, old_cost) - old_cost), 0)::text as growth from m`,
      [
        scope.workspaceId,
        experimentId,
        finished.map(({ unit }) => unit.exampleId),
        finished.map(({ unit }) => unit.repetition),
        finished.map(({ unit }) => unit.evaluatorVersionId),
        ...outcomeArrays(outcomes),
        outcomes.map((each) => `{${each.kind === 'scored' ? each.feedback.map(({ id }) => id).join() : ''}}`),
        outcomes.map((each) => each.kind === 'scored' && each.cached),
        outcomes.map((each) =>
          each.kind === 'scored' && each.spread !== null ? JSON.stringify(each.spread) : null,
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

/** States, attempts that count, delays, errors and costs, one array each. */
const outcomeArrays = (outcomes: readonly (RowOutcome | ResultOutcome)[]): unknown[] => [
  outcomes.map(({ kind }) => STATES[kind]),
  outcomes.map(({ kind }) => (kind === 'back' ? 0 : 1)),
  outcomes.map((each) => ('delayMs' in each ? each.delayMs : 0)),
  outcomes.map((each) => ('error' in each ? JSON.stringify(each.error) : null)),
  outcomes.map(({ cost }) => cost),
];

/** Whoever locks several units locks them in this order. */
function inOrder<U extends RowKey>(units: readonly U[]): U[] {
  const key = (unit: RowKey): string =>
    `${unit.exampleId} ${unit.repetition} ${'evaluatorVersionId' in unit ? String(unit.evaluatorVersionId) : ''}`;
  return [...units].sort((x, y) => (key(x) < key(y) ? -1 : 1));
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
