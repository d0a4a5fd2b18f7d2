/** What changed between two versions of a dataset, either of which may be the older one. One pass over its rows. */
import type { Queryable } from '../platform/db.js';
import { keysetCondition, keysetOrder } from '../platform/keyset.js';
import type { Keyset, PageWindow } from '../platform/keyset.js';
import type { WorkspaceScope } from '../tenancy/principal.js';
import type { ChangeKind, ExampleDifference, VersionRange } from './dataset.js';

const KEYSET: Keyset = {
  value: 'c."exampleId"',
  type: 'uuid',
  id: 'c."exampleId"',
  direction: 'asc',
  nullable: false,
};

/**
 * The changes from version $3 to version $4. An example that changed and changed back has other rows but no change;
 * one that was changed and then removed is only removed.
 */
const CHANGES = `(
  select coalesce(a.id, b.id) as "exampleId",
    case when a.id is null then 'added' when b.id is null then 'removed' else 'modified' end as kind
  from (
    select id, content_hash, splits, name, source_run_id from examples
    where workspace_id = $1 and dataset_id = $2 and since_version <= $3
      and (until_version is null or until_version > $3)
      and not (since_version <= $4 and (until_version is null or until_version > $4))
  ) a
  full join (
    select id, content_hash, splits, name, source_run_id from examples
    where workspace_id = $1 and dataset_id = $2 and since_version <= $4
      and (until_version is null or until_version > $4)
      and not (since_version <= $3 and (until_version is null or until_version > $3))
  ) b on b.id = a.id
  where a.id is null or b.id is null
    or (a.content_hash, a.splits, a.name) <> (b.content_hash, b.splits, b.name)
    or a.source_run_id is distinct from b.source_run_id
)`;

export class DatasetDiffStore {
  private readonly db: Queryable;

  constructor({ db }: { db: Queryable }) {
    this.db = db;
  }

  async counts(scope: WorkspaceScope, range: VersionRange): Promise<Record<ChangeKind, number>> {
    const { rows } = await this.db.query<{ kind: ChangeKind; count: number }>(
      `/* dataset_diff.counts */
      select c.kind, count(*) as count from ${CHANGES} c group by c.kind limit 3`,
      [scope.workspaceId, range.datasetId, range.from, range.to],
    );
    const counts = { added: 0, removed: 0, modified: 0 };
    for (const { kind, count } of rows) counts[kind] = count;
    return counts;
  }

  /** Up to `limit + 1` changes in order of the examples' ids. */
  async list(
    scope: WorkspaceScope,
    range: VersionRange,
    kinds: readonly ChangeKind[],
    window: PageWindow,
  ): Promise<ExampleDifference[]> {
    const params: unknown[] = [scope.workspaceId, range.datasetId, range.from, range.to, kinds];
    const { rows } = await this.db.query<ExampleDifference & Record<string, unknown>>(
      `/* dataset_diff.list */
      select c."exampleId", c.kind
      from ${CHANGES} c
      where c.kind = any($5::text[]) and ${keysetCondition(KEYSET, window, params)}
      order by ${keysetOrder(KEYSET, window)}
      limit $${params.push(window.limit + 1)}`,
      params,
    );
    return rows;
  }
}
