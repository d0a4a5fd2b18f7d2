/** Candidates of executions, and what a harvest has met. Content is kept only while a candidate is pending. */
import type { Queryable } from '../platform/db.js';
import { keysetCondition, keysetOrder } from '../platform/keyset.js';
import type { Keyset, PageWindow } from '../platform/keyset.js';
import type { WorkspaceScope } from '../tenancy/principal.js';
import type { HarvestCandidate, HarvestPick, HarvestRun, Verdict } from './harvest.js';

export interface NewCandidate extends Omit<HarvestCandidate, 'exampleId'> {
  readonly stratum: string | null;
  readonly inputsHash: Buffer | null;
}

/** One that is to become an example. */
export interface PendingCandidate {
  readonly sourceRunId: string;
  readonly position: number;
  readonly inputs: string;
  readonly outputs: string | null;
  readonly metadata: string;
  readonly inputsHash: Buffer;
}

export interface Decision {
  readonly sourceRunId: string;
  readonly verdict: Verdict;
  readonly reason?: string | undefined;
  readonly duplicateOf?: string | undefined;
  readonly exampleId?: string | undefined;
}

export interface HarvestPlace {
  readonly harvestId: string;
  readonly datasetId: string;
  readonly harvestRunId: string;
  /** Of the definition. */
  readonly revision: number;
}

export const placeOf = ({ uuid, harvestId, datasetId, revision }: HarvestRun): HarvestPlace => ({
  harvestId,
  datasetId,
  harvestRunId: uuid,
  revision,
});

const PLAIN = `source_run_id as "sourceRunId", position, start_time as "startTime", verdict, reason,
  duplicate_of as "duplicateOf", redactions, metadata, example_id as "exampleId"`;

const BY_POSITION: Keyset = {
  value: 'position',
  type: 'int4',
  id: 'source_run_id',
  direction: 'asc',
  nullable: false,
};

/** Which candidates are taken first, over `harvest_candidates c`. */
const RANKS: Readonly<Record<HarvestPick, string>> = {
  newest: 'c.start_time desc, c.source_run_id desc',
  oldest: 'c.start_time, c.source_run_id',
  random: 'md5(c.source_run_id::text || $5), c.source_run_id',
};

export class CandidateStore {
  async insert(
    tx: Queryable,
    scope: WorkspaceScope,
    harvestRunId: string,
    candidates: readonly NewCandidate[],
  ): Promise<void> {
    if (candidates.length === 0) return;
    const column = <T>(pick: (candidate: NewCandidate) => T): T[] => candidates.map(pick);
    await tx.query(
      `/* harvest_candidates.insert */
      insert into harvest_candidates (workspace_id, harvest_run_id, source_run_id, position, start_time, verdict, reason,
        duplicate_of, redactions, stratum, inputs_hash, inputs, outputs, metadata)
      select $1::uuid, $2::uuid, source_run_id, position, start_time, verdict, reason, duplicate_of, redactions::jsonb,
        stratum, inputs_hash, inputs::json, outputs::json, metadata::json
      from unnest($3::uuid[], $4::int[], $5::timestamptz[], $6::text[], $7::text[], $8::uuid[], $9::text[],
        $10::text[], $11::bytea[], $12::text[], $13::text[], $14::text[])
        as c (source_run_id, position, start_time, verdict, reason, duplicate_of, redactions, stratum, inputs_hash,
          inputs, outputs, metadata)`,
      [
        scope.workspaceId,
        harvestRunId,
        column(({ sourceRunId }) => sourceRunId),
        column(({ position }) => position),
        column(({ startTime }) => startTime),
        column(({ verdict }) => verdict),
        column(({ reason }) => reason),
        column(({ duplicateOf }) => duplicateOf),
        column(({ redactions }) => (redactions === null ? null : JSON.stringify(redactions))),
        column(({ stratum }) => stratum),
        column(({ inputsHash }) => inputsHash),
        column(({ inputs }) => inputs),
        column(({ outputs }) => outputs),
        column(({ metadata }) => metadata),
      ],
    );
  }

  /** Removes up to `batch`; call again while it is that many. */
  async clear(tx: Queryable, scope: WorkspaceScope, harvestRunId: string, batch: number): Promise<number> {
    const { rows } = await tx.query<{ id: string }>(
      `/* harvest_candidates.list_ids */
      select source_run_id as id from harvest_candidates
      where workspace_id = $1 and harvest_run_id = $2
      limit $3`,
      [scope.workspaceId, harvestRunId, batch],
    );
    if (rows.length === 0) return 0;
    await tx.query(
      `/* harvest_candidates.clear */
      delete from harvest_candidates
      where workspace_id = $1 and harvest_run_id = $2 and source_run_id = any($3::uuid[])`,
      [scope.workspaceId, harvestRunId, rows.map(({ id }) => id)],
    );
    return rows.length;
  }

  /** How many are pending, by stratum. */
  async strata(db: Queryable, scope: WorkspaceScope, harvestRunId: string): Promise<Map<string, number>> {
    const { rows } = await db.query<{ stratum: string; count: number }>(
      `/* harvest_candidates.strata */
      select coalesce(stratum, '') as stratum, count(*) as count
      from harvest_candidates
      where workspace_id = $1 and harvest_run_id = $2 and verdict = 'pending'
      group by 1`,
      [scope.workspaceId, harvestRunId],
    );
    return new Map(rows.map(({ stratum, count }) => [stratum, count]));
  }

  /** Keeps so many of each stratum pending, and puts the others over the cap. */
  async keep(
    tx: Queryable,
    scope: WorkspaceScope,
    harvestRunId: string,
    shares: ReadonlyMap<string, number>,
    { pick, seed }: { readonly pick: HarvestPick; readonly seed: string },
  ): Promise<void> {
    const params: unknown[] = [scope.workspaceId, harvestRunId, [...shares.keys()], [...shares.values()]];
    if (pick === 'random') params.push(seed);
    const { rows } = await tx.query<{ id: string }>(
      `/* harvest_candidates.over_cap */
      select id from (
        select c.source_run_id as id, s.share,
          row_number() over (partition by coalesce(c.stratum, '') order by ${RANKS[pick]}) as rank
        from harvest_candidates c
        join unnest($3::text[], $4::int[]) as s (stratum, share) on s.stratum = coalesce(c.stratum, '')
        where c.workspace_id = $1 and c.harvest_run_id = $2 and c.verdict = 'pending'
      ) ranked
      where rank > share`,
      params,
    );
    if (rows.length === 0) return;
    // Not one statement: of rows written a moment ago the planner knows nothing, and would join them row by row.
    await tx.query(
      `/* harvest_candidates.drop_over_cap */
      update harvest_candidates
      set verdict = 'over_cap', inputs = null, outputs = null, metadata = null
      where workspace_id = $1 and harvest_run_id = $2 and source_run_id = any($3::uuid[])`,
      [scope.workspaceId, harvestRunId, rows.map(({ id }) => id)],
    );
  }

  /** The next pending ones in order of position. */
  async pending(
    tx: Queryable,
    scope: WorkspaceScope,
    harvestRunId: string,
    { after, limit }: { readonly after: number; readonly limit: number },
  ): Promise<PendingCandidate[]> {
    const { rows } = await tx.query<PendingCandidate & Record<string, unknown>>(
      `/* harvest_candidates.pending */
      select source_run_id as "sourceRunId", position, inputs, outputs, metadata, inputs_hash as "inputsHash"
      from harvest_candidates
      where workspace_id = $1 and harvest_run_id = $2 and verdict = 'pending' and position > $3
      order by position
      limit $4`,
      [scope.workspaceId, harvestRunId, after, limit],
    );
    return rows;
  }

  async pendingIds(tx: Queryable, scope: WorkspaceScope, harvestRunId: string): Promise<string[]> {
    const { rows } = await tx.query<{ id: string }>(
      `/* harvest_candidates.pending_ids */
      select source_run_id as id from harvest_candidates
      where workspace_id = $1 and harvest_run_id = $2 and verdict = 'pending'`,
      [scope.workspaceId, harvestRunId],
    );
    return rows.map(({ id }) => id);
  }

  async decide(
    tx: Queryable,
    scope: WorkspaceScope,
    harvestRunId: string,
    decisions: readonly Decision[],
  ): Promise<void> {
    if (decisions.length === 0) return;
    await tx.query(
      `/* harvest_candidates.decide */
      update harvest_candidates c
      set verdict = d.verdict, reason = d.reason, duplicate_of = d.duplicate_of, example_id = d.example_id,
        inputs = null, outputs = null, metadata = null
      from unnest($3::uuid[], $4::text[], $5::text[], $6::uuid[], $7::uuid[])
        as d (source_run_id, verdict, reason, duplicate_of, example_id)
      where c.workspace_id = $1 and c.harvest_run_id = $2 and c.source_run_id = d.source_run_id
        and c.source_run_id = any($3::uuid[])`,
      [
        scope.workspaceId,
        harvestRunId,
        decisions.map(({ sourceRunId }) => sourceRunId),
        decisions.map(({ verdict }) => verdict),
        decisions.map(({ reason }) => reason ?? null),
        decisions.map(({ duplicateOf }) => duplicateOf ?? null),
        decisions.map(({ exampleId }) => exampleId ?? null),
      ],
    );
  }

  /** Decides alike on all that are pending, but for those in `except`. Returns which were. */
  async decideRest(
    tx: Queryable,
    scope: WorkspaceScope,
    harvestRunId: string,
    verdict: Verdict,
    except: readonly string[] = [],
  ): Promise<string[]> {
    const { rows } = await tx.query<{ id: string }>(
      `/* harvest_candidates.decide_rest */
      update harvest_candidates
      set verdict = $3, inputs = null, outputs = null, metadata = null
      where workspace_id = $1 and harvest_run_id = $2 and verdict = 'pending' and source_run_id <> all($4::uuid[])
      returning source_run_id as id`,
      [scope.workspaceId, harvestRunId, verdict, except],
    );
    return rows.map(({ id }) => id);
  }

  /** Takes the content away from what nobody will decide on any more. */
  async forgetContent(tx: Queryable, scope: WorkspaceScope, harvestRunIds: readonly string[]): Promise<void> {
    await tx.query(
      `/* harvest_candidates.forget_content */
      update harvest_candidates
      set inputs = null, outputs = null, metadata = null
      where workspace_id = $1 and harvest_run_id = any($2::uuid[]) and verdict = 'pending'`,
      [scope.workspaceId, harvestRunIds],
    );
  }

  /** Up to `limit + 1` in order of position, in reading order. Without `content`, inputs and outputs are null. */
  async list(
    db: Queryable,
    scope: WorkspaceScope,
    request: {
      readonly harvestRunId: string;
      readonly verdicts?: readonly Verdict[] | undefined;
      readonly window: PageWindow;
      readonly content: boolean;
    },
  ): Promise<HarvestCandidate[]> {
    const { harvestRunId, verdicts, window, content } = request;
    const params: unknown[] = [scope.workspaceId, harvestRunId, verdicts ?? null];
    const { rows } = await db.query<HarvestCandidate & Record<string, unknown>>(
      `/* harvest_candidates.list */
      select ${PLAIN}, ${content ? 'inputs, outputs' : 'null::json as inputs, null::json as outputs'}
      from harvest_candidates
      where workspace_id = $1 and harvest_run_id = $2 and ($3::text[] is null or verdict = any($3))
        and ${keysetCondition(BY_POSITION, window, params)}
      order by ${keysetOrder(BY_POSITION, window)}
      limit $${params.push(window.limit + 1)}`,
      params,
    );
    return rows;
  }

  /** Looks at no more than `limit`. */
  async count(
    db: Queryable,
    scope: WorkspaceScope,
    harvestRunId: string,
    verdicts: readonly Verdict[] | undefined,
    limit: number,
  ): Promise<number> {
    const { rows } = await db.query<{ count: number }>(
      `/* harvest_candidates.count */
      select count(*) as count from (
        select from harvest_candidates
        where workspace_id = $1 and harvest_run_id = $2 and ($3::text[] is null or verdict = any($3))
        limit $4
      ) found`,
      [scope.workspaceId, harvestRunId, verdicts ?? null, limit],
    );
    return rows[0]?.count ?? 0;
  }

  // ── What a harvest has met ───────────────────────────────────────────────────────────────────────────────

  /** Of these runs, those the harvest has met before. What an older definition passed over counts as new. */
  async known(
    db: Queryable,
    scope: WorkspaceScope,
    { harvestId, datasetId, revision }: Omit<HarvestPlace, 'harvestRunId'>,
    runIds: readonly string[],
  ): Promise<string[]> {
    const { rows } = await db.query<{ id: string }>(
      `/* harvest_sources.known */
      select source_run_id as id from harvest_sources
      where workspace_id = $1 and harvest_id = $2 and dataset_id = $3 and source_run_id = any($4::uuid[])
        and (outcome <> 'passed_over' or revision >= $5)
      limit $6`,
      [scope.workspaceId, harvestId, datasetId, runIds, revision, runIds.length],
    );
    return rows.map(({ id }) => id);
  }

  /**
   * Writes down what becomes of runs. Returns those that are this execution's: of two that meet a run, the one that
   * commits first has it, the other waits here for that commit.
   */
  async take(
    tx: Queryable,
    scope: WorkspaceScope,
    { harvestId, datasetId, harvestRunId, revision }: HarvestPlace,
    runIds: readonly string[],
    outcome: 'proposed' | 'added' | 'rejected',
    now: Date,
  ): Promise<Set<string>> {
    if (runIds.length === 0) return new Set();
    const { rows } = await tx.query<{ id: string }>(
      `/* harvest_sources.take */
      insert into harvest_sources as s (workspace_id, harvest_id, dataset_id, source_run_id, harvest_run_id, outcome,
        created_at)
      select $1::uuid, $2::uuid, $3::uuid, id, $4::uuid, $6, $7::timestamptz
      from unnest($5::uuid[]) as r (id) order by id
      on conflict (workspace_id, harvest_id, dataset_id, source_run_id) do update
      set outcome = excluded.outcome, harvest_run_id = excluded.harvest_run_id, revision = null
      where s.harvest_run_id = excluded.harvest_run_id or (s.outcome = 'passed_over' and s.revision < $8)
      returning source_run_id as id`,
      [
        scope.workspaceId,
        harvestId,
        datasetId,
        harvestRunId,
        [...runIds].sort(),
        outcome,
        now.toISOString(),
        revision,
      ],
    );
    return new Set(rows.map(({ id }) => id));
  }

  /**
   * Writes down which runs the cap or a duplicate has left out, so that the same definition does not take them later:
   * a cap would only be a page size, and a duplicate of something deleted would bring it back.
   */
  async passOver(
    tx: Queryable,
    scope: WorkspaceScope,
    { harvestId, datasetId, harvestRunId, revision }: HarvestPlace,
    now: Date,
  ): Promise<void> {
    await tx.query(
      `/* harvest_sources.pass_over */
      insert into harvest_sources as s (workspace_id, harvest_id, dataset_id, source_run_id, harvest_run_id, outcome,
        created_at, revision)
      select workspace_id, $2::uuid, $3::uuid, source_run_id, harvest_run_id, 'passed_over', $6::timestamptz, $5::int
      from harvest_candidates
      where workspace_id = $1 and harvest_run_id = $4
        and verdict in ('over_cap', 'exact_duplicate', 'near_duplicate')
      order by source_run_id
      on conflict (workspace_id, harvest_id, dataset_id, source_run_id) do update
      set harvest_run_id = excluded.harvest_run_id, revision = excluded.revision
      where s.outcome = 'passed_over' and s.revision < excluded.revision`,
      [scope.workspaceId, harvestId, datasetId, harvestRunId, revision, now.toISOString()],
    );
  }

  /** These runs may be harvested again. */
  async release(
    tx: Queryable,
    scope: WorkspaceScope,
    harvestRunId: string,
    outcomes: readonly ('proposed' | 'passed_over')[],
  ): Promise<void> {
    await tx.query(
      `/* harvest_sources.release */
      delete from harvest_sources where workspace_id = $1 and harvest_run_id = $2 and outcome = any($3::text[])`,
      [scope.workspaceId, harvestRunId, outcomes],
    );
  }
}

/** Removes candidates of executions that ended before `until`, and what deleted harvests have left. Of all workspaces. */
export async function tidyHarvests(db: Queryable, until: Date, batch: number): Promise<number> {
  const { rowCount: candidates } = await db.query(
    `/* harvests.tidy_candidates */
    delete from harvest_candidates
    where (workspace_id, harvest_run_id, source_run_id) in (
      select c.workspace_id, c.harvest_run_id, c.source_run_id
      from harvest_runs r
      join harvest_candidates c on c.workspace_id = r.workspace_id and c.harvest_run_id = r.id
      where r.finished_at < $1
      limit $2
    )`,
    [until.toISOString(), batch],
  );
  const { rowCount: sources } = await db.query(
    `/* harvests.tidy_sources */
    delete from harvest_sources
    where (workspace_id, harvest_id, dataset_id, source_run_id) in (
      select s.workspace_id, s.harvest_id, s.dataset_id, s.source_run_id
      from harvest_sources s
      where not exists (select from harvests h where h.workspace_id = s.workspace_id and h.id = s.harvest_id)
      limit $1
    )`,
    [batch],
  );
  return Math.max(candidates ?? 0, sources ?? 0);
}
