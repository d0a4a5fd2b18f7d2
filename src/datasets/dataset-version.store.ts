/** Versions of datasets and the tags on them: made under the dataset's lock, found by number, tag or time. */
import type { Queryable } from '../platform/db.js';
import { keysetCondition, keysetOrder } from '../platform/keyset.js';
import type { Keyset, PageWindow } from '../platform/keyset.js';
import type { WorkspaceScope } from '../tenancy/principal.js';
import { LATEST } from './dataset.js';
import type { AsOf, DatasetVersion } from './dataset.js';

const COLUMNS = `v.dataset_id as "datasetId", v.version, v.created_at as "createdAt", v.added, v.modified, v.removed,
  v.actor, v.note,
  (select coalesce(array_agg(t.tag order by t.tag), '{}') from dataset_tags t
   where t.workspace_id = v.workspace_id and t.dataset_id = v.dataset_id and t.version = v.version) as tags`;

type VersionRow = DatasetVersion & Record<string, unknown>;

/** What a write did; a version that did nothing is not made. */
export interface VersionDraft {
  readonly version: number;
  /** Whole milliseconds, as `nextVersion` gave it. */
  readonly createdAt: string;
  readonly added: number;
  readonly modified: number;
  readonly removed: number;
  readonly actor: string | null;
  readonly note: string | null;
}

export interface DatasetTag {
  readonly tag: string;
  readonly version: number;
  readonly updatedAt: string;
}

export const MAX_TAGS = 1_000;

const VERSION_KEYSET: Keyset = {
  value: 'v.version',
  type: 'integer',
  id: 'v.dataset_id',
  direction: 'desc',
  nullable: false,
};

export class DatasetVersionStore {
  private readonly db: Queryable;

  constructor({ db }: { db: Queryable }) {
    this.db = db;
  }

  within(tx: Queryable): DatasetVersionStore {
    return new DatasetVersionStore({ db: tx });
  }

  /** Number and time of the version a transaction that holds the dataset's lock may make. */
  async next(
    scope: WorkspaceScope,
    datasetId: string,
    newest: number,
    now: Date,
  ): Promise<Pick<VersionDraft, 'version' | 'createdAt'>> {
    const { rows } = await this.db.query<{ createdAt: string }>(
      `/* dataset_versions.next */
      select greatest(date_trunc('milliseconds', $4::timestamptz), (
        select v.created_at + interval '1 millisecond' from dataset_versions v
        where v.workspace_id = $1 and v.dataset_id = $2 and v.version = $3
      ))::timestamptz as "createdAt"`,
      [scope.workspaceId, datasetId, newest, now.toISOString()],
    );
    if (rows[0] === undefined) throw new Error('a version has no time');
    return { version: newest + 1, createdAt: rows[0].createdAt };
  }

  /** Records the version and makes it the dataset's newest. */
  async make(scope: WorkspaceScope, datasetId: string, draft: VersionDraft): Promise<DatasetVersion> {
    await this.db.query(
      `/* dataset_versions.make */
      with made as (
        insert into dataset_versions
          (workspace_id, dataset_id, version, created_at, added, modified, removed, actor, note)
        values ($1, $2, $3, $4, $5, $6, $7, $8, $9)
      )
      update datasets
      set version = $3, example_count = example_count + $5 - $7, updated_at = $4
      where workspace_id = $1 and id = $2`,
      [
        scope.workspaceId,
        datasetId,
        draft.version,
        draft.createdAt,
        draft.added,
        draft.modified,
        draft.removed,
        draft.actor,
        draft.note,
      ],
    );
    return { datasetId, ...draft, tags: [] };
  }

  /** The version that is meant; undefined where there is none, such as any version of an empty dataset. */
  async find(scope: WorkspaceScope, datasetId: string, asOf: AsOf): Promise<DatasetVersion | undefined> {
    const params: unknown[] = [scope.workspaceId, datasetId];
    const { rows } = await this.db.query<VersionRow>(
      `/* dataset_versions.find */
      select ${COLUMNS}
      from dataset_versions v
      where v.workspace_id = $1 and v.dataset_id = $2 and ${asOfCondition(asOf, params)}
      order by v.version desc
      limit 1`,
      params,
    );
    return rows[0];
  }

  /** Up to `limit + 1` versions, newest first, with `exampleId` only those that changed this example. */
  async list(
    scope: WorkspaceScope,
    datasetId: string,
    {
      window,
      exampleId,
      offset = 0,
    }: { window: PageWindow; exampleId?: string | undefined; offset?: number },
  ): Promise<DatasetVersion[]> {
    const params: unknown[] = [scope.workspaceId, datasetId];
    const changed =
      exampleId === undefined
        ? 'true'
        : `exists (select from examples e where e.workspace_id = $1 and e.dataset_id = $2
             and e.id = $${params.push(exampleId)} and v.version in (e.since_version, e.until_version))`;
    const { rows } = await this.db.query<VersionRow>(
      `/* dataset_versions.list */
      select ${COLUMNS}
      from dataset_versions v
      where v.workspace_id = $1 and v.dataset_id = $2 and ${changed}
        and ${keysetCondition(VERSION_KEYSET, window, params)}
      order by ${keysetOrder(VERSION_KEYSET, window)}
      limit $${params.push(window.limit + 1)} offset $${params.push(offset)}`,
      params,
    );
    return rows;
  }

  async listTags(scope: WorkspaceScope, datasetId: string): Promise<DatasetTag[]> {
    const { rows } = await this.db.query<DatasetTag & Record<string, unknown>>(
      `/* dataset_tags.list */
      select tag, version, updated_at as "updatedAt"
      from dataset_tags
      where workspace_id = $1 and dataset_id = $2
      order by tag
      limit $3`,
      [scope.workspaceId, datasetId, MAX_TAGS],
    );
    return rows;
  }

  /** Moves or makes a tag, under the dataset's lock. False where the dataset has too many others. */
  async setTag(
    scope: WorkspaceScope,
    datasetId: string,
    { tag, version }: { tag: string; version: number },
    now: Date,
  ): Promise<boolean> {
    const { rowCount } = await this.db.query(
      `/* dataset_tags.set */
      insert into dataset_tags (workspace_id, dataset_id, tag, version, updated_at)
      select $1::uuid, $2::uuid, $3::text, $4::integer, $5::timestamptz
      where (select count(*) from dataset_tags where workspace_id = $1 and dataset_id = $2 and tag <> $3) < $6
      on conflict (workspace_id, dataset_id, tag)
      do update set version = excluded.version, updated_at = excluded.updated_at`,
      [scope.workspaceId, datasetId, tag, version, now.toISOString(), MAX_TAGS],
    );
    return rowCount === 1;
  }

  /** Whether there was one. */
  async deleteTag(scope: WorkspaceScope, datasetId: string, tag: string): Promise<boolean> {
    const { rowCount } = await this.db.query(
      '/* dataset_tags.delete */ delete from dataset_tags where workspace_id = $1 and dataset_id = $2 and tag = $3',
      [scope.workspaceId, datasetId, tag],
    );
    return rowCount === 1;
  }
}

/** Times are inclusive; versions have whole milliseconds, so a client that cuts a version's time still finds it. */
function asOfCondition(asOf: AsOf, params: unknown[]): string {
  if ('version' in asOf) return `v.version = $${params.push(asOf.version)}::integer`;
  if ('time' in asOf) return `v.created_at <= $${params.push(asOf.time)}::timestamptz`;
  if (asOf.tag === LATEST) return 'true';
  return `v.version = (
    select t.version from dataset_tags t
    where t.workspace_id = $1 and t.dataset_id = $2 and t.tag = $${params.push(asOf.tag)})`;
}
