/**
 * SQL of writing examples, within the transaction that holds the dataset's lock. Rows are added and closed; only hard
 * deletion and the purge of a deleted dataset remove any.
 */
import type { Queryable } from '../platform/db.js';
import type { WorkspaceScope } from '../tenancy/principal.js';
import { DEFAULT_SPLIT } from './dataset.js';
import type { ExampleAttachment } from './dataset.js';
import type { ExampleRow } from './example.js';
import { SHARED_COLUMNS } from './example-row.js';

/** An id that cannot be given to a new example of the dataset. */
export interface TakenId {
  readonly id: string;
  /** Undefined where it is that of another transaction that has just committed. */
  readonly datasetId: string | null;
}

export interface VersionPlace {
  readonly datasetId: string;
  readonly version: number;
  readonly createdAt: string;
}

const shared = SHARED_COLUMNS.join(', ');

/** Makes new ids the dataset's. Returns those that are taken: by another dataset, or by an example that is not deleted. */
export async function claimIds(
  tx: Queryable,
  scope: WorkspaceScope,
  datasetId: string,
  ids: readonly string[],
): Promise<TakenId[]> {
  const { rows } = await tx.query<TakenId & Record<string, unknown>>(
    `/* examples.claim_ids */
    with wanted as (
      select distinct id from unnest($3::uuid[]) as w (id)
    ), claimed as (
      insert into example_owners as o (workspace_id, example_id, dataset_id)
      select $1::uuid, id, $2::uuid from wanted order by id
      on conflict (workspace_id, example_id) do update set dataset_id = excluded.dataset_id
      where o.dataset_id = excluded.dataset_id
        or not exists (select from datasets d where d.workspace_id = o.workspace_id and d.id = o.dataset_id)
      returning example_id
    )
    select w.id, case when c.example_id is null then o.dataset_id else $2::uuid end as "datasetId"
    from wanted w
    left join claimed c on c.example_id = w.id
    left join example_owners o on o.workspace_id = $1 and o.example_id = w.id
    where c.example_id is null or exists (
      select from examples e
      where e.workspace_id = $1 and e.dataset_id = $2 and e.id = w.id and e.until_version is null
    )
    limit $4`,
    [scope.workspaceId, datasetId, ids, ids.length],
  );
  return rows;
}

/** Sizes of the current rows of examples, by id; examples that are not there are left out. */
export async function currentSizes(
  tx: Queryable,
  scope: WorkspaceScope,
  datasetId: string,
  ids: readonly string[],
): Promise<Map<string, number>> {
  const { rows } = await tx.query<{ id: string; bytes: number }>(
    `/* examples.current_sizes */
    select e.id, octet_length(e.inputs::text) + coalesce(octet_length(e.outputs::text), 0) as bytes
    from examples e
    where e.workspace_id = $1 and e.dataset_id = $2 and e.id = any($3::uuid[]) and e.until_version is null
    limit $4`,
    [scope.workspaceId, datasetId, ids, ids.length],
  );
  return new Map(rows.map(({ id, bytes }) => [id, bytes]));
}

/** Current rows, in no particular order. */
export async function readCurrent(
  tx: Queryable,
  scope: WorkspaceScope,
  datasetId: string,
  ids: readonly string[],
): Promise<ExampleRow[]> {
  const { rows } = await tx.query<
    Omit<ExampleRow, 'attachments'> & { attachments: readonly ExampleAttachment[] | null } & Record<
        string,
        unknown
      >
  >(
    `/* examples.read_current */
    select e.id, e.name, e.inputs, e.outputs, e.metadata, e.splits, e.source_run_id as "sourceRunId", e.attachments,
      e.inputs_hash as "inputsHash", e.content_hash as "contentHash",
      (extract(epoch from e.created_at) * 1000000)::int8 as "createdUs"
    from examples e
    where e.workspace_id = $1 and e.dataset_id = $2 and e.id = any($3::uuid[]) and e.until_version is null
    limit $4`,
    [scope.workspaceId, datasetId, ids, ids.length],
  );
  return rows.map((row) => ({ ...row, attachments: row.attachments ?? [] }));
}

/** Ends the current rows of examples with the version before. Returns the examples that had one. */
export async function closeCurrent(
  tx: Queryable,
  scope: WorkspaceScope,
  { datasetId, version }: VersionPlace,
  ids: readonly string[],
): Promise<string[]> {
  const { rows } = await tx.query<{ id: string }>(
    `/* examples.close */
    update examples
    set until_version = $3
    where workspace_id = $1 and dataset_id = $2 and id = any($4::uuid[]) and until_version is null
    returning id`,
    [scope.workspaceId, datasetId, version, ids],
  );
  return rows.map(({ id }) => id);
}

/** Puts examples into a split or takes them out of it. Returns those it changed; one in no other split is in `base`. */
export async function changeSplit(
  tx: Queryable,
  scope: WorkspaceScope,
  { datasetId, version, createdAt }: VersionPlace,
  { split, remove, ids }: { split: string; remove: boolean; ids: readonly string[] },
): Promise<string[]> {
  const changed = remove
    ? `case when array_remove(splits, $5::text) = '{}' then array['${DEFAULT_SPLIT}'] else array_remove(splits, $5) end`
    : `splits || array[$5::text]`;
  const affected = remove
    ? `$5 = any(splits) and not (splits = array['${DEFAULT_SPLIT}'] and $5 = '${DEFAULT_SPLIT}')`
    : `$5 <> all(splits)`;
  const kept = SHARED_COLUMNS.filter((column) => column !== 'splits').join(', ');
  const { rows } = await tx.query<{ id: string }>(
    `/* examples.change_split */
    with closed as (
      update examples
      set until_version = $3
      where workspace_id = $1 and dataset_id = $2 and id = any($6::uuid[]) and until_version is null and ${affected}
      returning *
    )
    insert into examples (workspace_id, dataset_id, since_version, modified_at, splits, ${kept})
    select workspace_id, dataset_id, $3::integer, $4::timestamptz, ${changed}, ${kept} from closed
    returning id`,
    [scope.workspaceId, datasetId, version, createdAt, split, ids],
  );
  return rows.map(({ id }) => id);
}

/** Removes examples from all versions and frees their ids. Returns how many, and how many were in the newest version. */
export async function removeForEver(
  tx: Queryable,
  scope: WorkspaceScope,
  datasetId: string,
  ids: readonly string[],
): Promise<{ removed: string[]; current: number; attachmentIds: string[] }> {
  const { rows } = await tx.query<{ id: string; current: boolean; attachmentIds: string[] }>(
    `/* examples.remove_for_ever */
    with gone as (
      delete from examples where workspace_id = $1 and dataset_id = $2 and id = any($3::uuid[])
      returning id, until_version, attachments
    ), freed as (
      delete from example_owners where workspace_id = $1 and dataset_id = $2 and example_id = any($3::uuid[])
    )
    select g.id, bool_or(g.until_version is null) as current,
      coalesce(array_agg(distinct a.item ->> 'id') filter (where a.item is not null), '{}') as "attachmentIds"
    from gone g left join lateral jsonb_array_elements(g.attachments) as a (item) on true
    group by g.id`,
    [scope.workspaceId, datasetId, ids],
  );
  return {
    removed: rows.map(({ id }) => id),
    current: rows.filter(({ current }) => current).length,
    attachmentIds: rows.flatMap(({ attachmentIds }) => attachmentIds),
  };
}

/** Of these, the examples that have any row in the dataset. */
export async function findKnown(
  tx: Queryable,
  scope: WorkspaceScope,
  datasetId: string,
  ids: readonly string[],
): Promise<Set<string>> {
  const { rows } = await tx.query<{ id: string }>(
    `/* examples.find_known */
    select distinct e.id from examples e
    where e.workspace_id = $1 and e.dataset_id = $2 and e.id = any($3::uuid[])
    limit $4`,
    [scope.workspaceId, datasetId, ids, ids.length],
  );
  return new Set(rows.map(({ id }) => id));
}

// ── The stage ──────────────────────────────────────────────────────────────────────────────────────────────

export interface StagedConflict {
  readonly position: number;
  readonly id: string;
  readonly kind: 'repeated' | 'exists' | 'elsewhere';
}

/** Staged rows whose id came before in the upload, is that of a current example, or belongs to another dataset. */
export async function stagedConflicts(
  tx: Queryable,
  scope: WorkspaceScope,
  { datasetId, stageId }: { datasetId: string; stageId: string },
  limit: number,
): Promise<StagedConflict[]> {
  const { rows } = await tx.query<StagedConflict & Record<string, unknown>>(
    `/* examples.staged_conflicts */
    select * from (
      select s.position, s.id, case
        when row_number() over (partition by s.id order by s.position) > 1 then 'repeated'
        when o.dataset_id <> $2 then 'elsewhere'
        when e.id is not null then 'exists'
      end as kind
      from example_stage s
      left join example_owners o on o.workspace_id = $1 and o.example_id = s.id
        and exists (select from datasets d where d.workspace_id = $1 and d.id = o.dataset_id)
      left join examples e on e.workspace_id = $1 and e.dataset_id = $2 and e.id = s.id and e.until_version is null
      where s.workspace_id = $1 and s.stage_id = $3
    ) checked
    where kind is not null
    order by position
    limit $4`,
    [scope.workspaceId, datasetId, stageId, limit],
  );
  return rows;
}

/** Takes rows off the stage. */
export async function unstage(
  tx: Queryable,
  scope: WorkspaceScope,
  stageId: string,
  positions: readonly number[],
): Promise<void> {
  await tx.query(
    `/* examples.unstage */
    delete from example_stage where workspace_id = $1 and stage_id = $2 and position = any($3::bigint[])`,
    [scope.workspaceId, stageId, positions],
  );
}

/**
 * Makes what is staged part of a version. Returns how many; fewer than staged where an id was taken meanwhile. Rows come
 * as they lie, which is as they came: sorting them by position spilled 69 MB of 50,000 examples to disk.
 */
export async function insertStaged(
  tx: Queryable,
  scope: WorkspaceScope,
  { datasetId, version, createdAt }: VersionPlace,
  stageId: string,
): Promise<{ claimed: number; inserted: number }> {
  const { rowCount: claimed } = await tx.query(
    `/* examples.claim_staged */
    insert into example_owners as o (workspace_id, example_id, dataset_id)
    select $1::uuid, s.id, $2::uuid from example_stage s where s.workspace_id = $1 and s.stage_id = $3 order by s.id
    on conflict (workspace_id, example_id) do update set dataset_id = excluded.dataset_id
    where o.dataset_id = excluded.dataset_id
      or not exists (select from datasets d where d.workspace_id = o.workspace_id and d.id = o.dataset_id)`,
    [scope.workspaceId, datasetId, stageId],
  );
  const { rowCount: inserted } = await tx.query(
    `/* examples.insert_staged */
    insert into examples (workspace_id, dataset_id, since_version, modified_at, ${shared})
    select $1::uuid, $2::uuid, $3::integer, $4::timestamptz, ${shared}
    from example_stage where workspace_id = $1 and stage_id = $5`,
    [scope.workspaceId, datasetId, version, createdAt, stageId],
  );
  return { claimed: claimed ?? 0, inserted: inserted ?? 0 };
}

export async function clearStage(db: Queryable, scope: WorkspaceScope, stageId: string): Promise<void> {
  await db.query(
    '/* examples.clear_stage */ delete from example_stage where workspace_id = $1 and stage_id = $2',
    [scope.workspaceId, stageId],
  );
}

// ── What a deleted dataset leaves ──────────────────────────────────────────────────────────────────────────

/** Removes up to `batch` rows of a dataset that is gone. */
export async function purgeRows(
  tx: Queryable,
  scope: WorkspaceScope,
  datasetId: string,
  batch: number,
): Promise<{ removed: number; attachmentIds: string[] }> {
  const { rows } = await tx.query<{ attachmentIds: string[] }>(
    `/* examples.purge */
    with gone as (
      delete from examples
      where (workspace_id, dataset_id, id, since_version) in (
        select workspace_id, dataset_id, id, since_version from examples
        where workspace_id = $1 and dataset_id = $2
        limit $3
      )
      returning id, since_version, attachments
    )
    select coalesce(array_agg(a.item ->> 'id') filter (where a.item is not null), '{}') as "attachmentIds"
    from gone g left join lateral jsonb_array_elements(g.attachments) as a (item) on true
    group by g.id, g.since_version`,
    [scope.workspaceId, datasetId, batch],
  );
  return { removed: rows.length, attachmentIds: rows.flatMap(({ attachmentIds }) => attachmentIds) };
}

/** Of a dataset that is gone: what is kept besides its rows, `versions` last because they hold its id. */
export async function purgeRest(
  tx: Queryable,
  scope: WorkspaceScope,
  datasetId: string,
  batch: number,
): Promise<number> {
  for (const [table, key] of [
    ['example_owners', 'example_id'],
    ['import_rejects', 'row, import_id'],
    ['dataset_imports', 'id'],
    ['dataset_tags', 'tag'],
    ['dataset_versions', 'version'],
  ] as const) {
    const { rowCount } = await tx.query(
      `/* datasets.purge_${table} */
      delete from ${table}
      where workspace_id = $1 and dataset_id = $2 and (${key}) in (
        select ${key} from ${table} where workspace_id = $1 and dataset_id = $2 limit $3
      )`,
      [scope.workspaceId, datasetId, batch],
    );
    if ((rowCount ?? 0) > 0) return rowCount ?? 0;
  }
  return 0;
}
