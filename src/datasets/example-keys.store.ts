/** Which keys the examples of a version have: the columns of a file they are written to. */
import type { Queryable } from '../platform/db.js';
import type { WorkspaceScope } from '../tenancy/principal.js';

export interface ExampleKeys {
  readonly inputs: readonly string[];
  readonly outputs: readonly string[];
  readonly metadata: readonly string[];
}

export class ExampleKeysStore {
  readonly #db: Queryable;

  constructor({ db }: { db: Queryable }) {
    this.#db = db;
  }

  /**
   * The first `limit` keys of each, by name; the empty key stands for a value that is no object. A pass over the
   * version's rows. A key is left out where its name is longer than 1,000 characters.
   */
  async columns(
    scope: WorkspaceScope,
    {
      datasetId,
      version,
      splits,
    }: { datasetId: string; version: number; splits?: readonly string[] | undefined },
    limit: number,
  ): Promise<ExampleKeys> {
    const { rows } = await this.#db.query<{ field: keyof ExampleKeys; key: string }>(
      `/* examples.keys */
      with rows as (
        select e.inputs, e.outputs, e.metadata::json as metadata from examples e
        where e.workspace_id = $1 and e.dataset_id = $2 and e.since_version <= $3
          and (e.until_version is null or e.until_version > $3) and ($4::text[] is null or e.splits && $4)
      ), fields as (
        select 'inputs' as field, inputs as value from rows
        union all select 'outputs', outputs from rows
        union all select 'metadata', metadata from rows
      ), keys as (
        select distinct f.field, k.key
        from fields f cross join lateral (
          select json_object_keys(case when json_typeof(f.value) = 'object' then f.value else '{"": 0}' end) as key
        ) k
        where f.value is not null and json_typeof(f.value) <> 'null'
      ), counted as (
        select field, key, row_number() over (partition by field order by key collate "C") as position
        from keys where length(key) <= 1000
      )
      select field, key from counted where position <= $5 order by field, position`,
      [scope.workspaceId, datasetId, version, splits ?? null, limit],
    );
    const of = (field: keyof ExampleKeys): string[] =>
      rows.filter((row) => row.field === field).map(({ key }) => key);
    return { inputs: of('inputs'), outputs: of('outputs'), metadata: of('metadata') };
  }
}
