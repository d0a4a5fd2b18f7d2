/** The datasets of a workspace: rows, pages, names, and the lock every write of examples takes. */
import type { Queryable } from '../platform/db.js';
import { keysetCondition, keysetOrder } from '../platform/keyset.js';
import type { Keyset, PageWindow, SortDirection } from '../platform/keyset.js';
import type { WorkspaceScope } from '../tenancy/principal.js';
import type { Dataset, DatasetDraft, DatasetFilter, DatasetPatch } from './dataset.js';

const COLUMNS = `d.id as uuid, d.name, d.description, d.data_type as "dataType", d.metadata,
  d.inputs_schema::text as "inputsSchemaText", d.outputs_schema::text as "outputsSchemaText",
  d.transformations::text as "transformationsText",
  d.externally_managed as "externallyManaged", d.baseline_experiment_id as "baselineExperimentId", d.version,
  d.example_count as "exampleCount", d.created_at as "createdAt", d.updated_at as "updatedAt"`;

type DatasetRow = Omit<Dataset, 'inputsSchema' | 'outputsSchema' | 'transformations'> & {
  readonly inputsSchemaText: string | null;
  readonly outputsSchemaText: string | null;
  readonly transformationsText: string | null;
} & Record<string, unknown>;

const parsed = (text: string | null): Dataset['inputsSchema'] =>
  text === null ? null : (JSON.parse(text) as Dataset['inputsSchema']);

function toDataset({
  inputsSchemaText,
  outputsSchemaText,
  transformationsText,
  ...row
}: DatasetRow): Dataset {
  return {
    ...row,
    inputsSchema: parsed(inputsSchemaText),
    outputsSchema: parsed(outputsSchemaText),
    transformations: parsed(transformationsText),
  };
}

export const DATASET_ORDERS = ['CREATED_AT', 'UPDATED_AT', 'NAME'] as const;
export type DatasetOrder = (typeof DATASET_ORDERS)[number];

export interface DatasetListRequest {
  readonly filter: DatasetFilter;
  readonly order: DatasetOrder;
  readonly direction: SortDirection;
  readonly window: PageWindow;
  /** Rows to leave out at the start, for protocols that page by offset. */
  readonly offset?: number | undefined;
}

const KEYSETS: Readonly<Record<DatasetOrder, Pick<Keyset, 'value' | 'type'>>> = {
  CREATED_AT: { value: 'd.created_at', type: 'timestamptz' },
  UPDATED_AT: { value: 'd.updated_at', type: 'timestamptz' },
  NAME: { value: 'd.name', type: 'text' },
};

/** The where clause over `datasets d`. */
function conditions(scope: WorkspaceScope, filter: DatasetFilter, params: unknown[]): string {
  const bind = (value: unknown, type: string): string => `$${params.push(value)}::${type}`;
  const all = [`d.workspace_id = ${bind(scope.workspaceId, 'uuid')}`];
  if (filter.ids !== undefined) all.push(`d.id = any(${bind(filter.ids, 'uuid[]')})`);
  if (filter.excludeIds !== undefined) all.push(`d.id <> all(${bind(filter.excludeIds, 'uuid[]')})`);
  if (filter.name !== undefined) all.push(`d.name = ${bind(filter.name, 'text')}`);
  if (filter.nameContains !== undefined) {
    all.push(`strpos(lower(d.name), lower(${bind(filter.nameContains, 'text')})) > 0`);
  }
  if (filter.dataTypes !== undefined) all.push(`d.data_type = any(${bind(filter.dataTypes, 'text[]')})`);
  if (filter.metadata !== undefined) {
    all.push(`d.metadata @> ${bind(JSON.stringify(filter.metadata), 'jsonb')}`);
  }
  return all.join(' and ');
}

const jsonOrNull = (value: unknown): string | null =>
  value === undefined || value === null ? null : JSON.stringify(value);

export class DatasetStore {
  private readonly db: Queryable;

  constructor({ db }: { db: Queryable }) {
    this.db = db;
  }

  /** The same store inside a transaction. */
  within(tx: Queryable): DatasetStore {
    return new DatasetStore({ db: tx });
  }

  /** Up to `limit + 1` datasets in reading order. Relies on datasets_by_creation or the unique name. */
  async list(
    scope: WorkspaceScope,
    { filter, order, direction, window, offset = 0 }: DatasetListRequest,
  ): Promise<Dataset[]> {
    const params: unknown[] = [];
    const keyset: Keyset = { ...KEYSETS[order], id: 'd.id', direction, nullable: false };
    const { rows } = await this.db.query<DatasetRow>(
      `/* datasets.list */
      select ${COLUMNS}
      from datasets d
      where ${conditions(scope, filter, params)}
        and ${keysetCondition(keyset, window, params)}
      order by ${keysetOrder(keyset, window)}
      limit $${params.push(window.limit + 1)} offset $${params.push(offset)}`,
      params,
    );
    return rows.map(toDataset);
  }

  /** How many match, looking at no more than `limit + 1`. */
  async count(scope: WorkspaceScope, filter: DatasetFilter, limit: number): Promise<number> {
    const params: unknown[] = [];
    const { rows } = await this.db.query<{ found: number }>(
      `/* datasets.count */
      select count(*) as found
      from (select from datasets d where ${conditions(scope, filter, params)} limit $${params.push(limit + 1)}) matching`,
      params,
    );
    return rows[0]?.found ?? 0;
  }

  async findByIds(scope: WorkspaceScope, ids: readonly string[]): Promise<Dataset[]> {
    const { rows } = await this.db.query<DatasetRow>(
      `/* datasets.find_by_ids */
      select ${COLUMNS}
      from datasets d
      where d.workspace_id = $1 and d.id = any($2::uuid[])
      limit $3`,
      [scope.workspaceId, ids, ids.length],
    );
    return rows.map(toDataset);
  }

  async findByNames(scope: WorkspaceScope, names: readonly string[]): Promise<Dataset[]> {
    const { rows } = await this.db.query<DatasetRow>(
      `/* datasets.find_named */
      select ${COLUMNS}
      from datasets d
      where d.workspace_id = $1 and d.name = any($2::text[])
      limit $3`,
      [scope.workspaceId, names, names.length],
    );
    return rows.map(toDataset);
  }

  /** In a transaction: nobody else writes examples, tags or schemas of this dataset until it ends. */
  async lock(scope: WorkspaceScope, id: string): Promise<Dataset | undefined> {
    const { rows } = await this.db.query<DatasetRow>(
      `/* datasets.lock */
      select ${COLUMNS}
      from datasets d
      where d.workspace_id = $1 and d.id = $2
      for update`,
      [scope.workspaceId, id],
    );
    return rows[0] && toDataset(rows[0]);
  }

  /**
   * Undefined when the name or the id is taken. The id of a deleted dataset is taken until its rows are removed:
   * they would be the new one's.
   */
  async insert(
    scope: WorkspaceScope,
    draft: DatasetDraft & { readonly id: string },
    now: Date,
  ): Promise<Dataset | undefined> {
    const { rows } = await this.db.query<DatasetRow>(
      `/* datasets.insert */
      insert into datasets as d (workspace_id, id, name, description, data_type, metadata, inputs_schema, outputs_schema,
        transformations, externally_managed, created_at, updated_at)
      select $1::uuid, $2::uuid, $3, $4, $5, $6::jsonb, $7::json, $8::json, $9::json, $10::boolean,
        coalesce($11::timestamptz, $12), $12::timestamptz
      where not exists (select from dataset_versions v where v.workspace_id = $1 and v.dataset_id = $2)
      on conflict do nothing
      returning ${COLUMNS}`,
      [
        scope.workspaceId,
        draft.id,
        draft.name,
        draft.description ?? null,
        draft.dataType ?? 'kv',
        JSON.stringify(draft.metadata ?? {}),
        jsonOrNull(draft.inputsSchema),
        jsonOrNull(draft.outputsSchema),
        jsonOrNull(draft.transformations),
        draft.externallyManaged ?? false,
        draft.createdAt ?? null,
        now.toISOString(),
      ],
    );
    return rows[0] && toDataset(rows[0]);
  }

  /** Undefined when there is no such dataset. Fails with unique_violation when the new name is taken. */
  async update(
    scope: WorkspaceScope,
    id: string,
    patch: DatasetPatch,
    now: Date,
  ): Promise<Dataset | undefined> {
    const params: unknown[] = [scope.workspaceId, id, now.toISOString()];
    const changes = ['updated_at = $3'];
    const set = (column: string, value: unknown): void => {
      if (value !== undefined) changes.push(`${column} = $${params.push(value)}`);
    };
    const json = (value: unknown): string | null | undefined =>
      value === undefined ? undefined : jsonOrNull(value);
    set('name', patch.name);
    set('description', patch.description);
    set('metadata', patch.metadata === undefined ? undefined : JSON.stringify(patch.metadata));
    set('inputs_schema', json(patch.inputsSchema));
    set('outputs_schema', json(patch.outputsSchema));
    set('transformations', json(patch.transformations));
    set('baseline_experiment_id', patch.baselineExperimentId);
    const { rows } = await this.db.query<DatasetRow>(
      `/* datasets.update */
      update datasets d
      set ${changes.join(', ')}
      where d.workspace_id = $1 and d.id = $2
      returning ${COLUMNS}`,
      params,
    );
    return rows[0] && toDataset(rows[0]);
  }

  /** Removes the row and the links to it; what it held is left to a job. Whether there was one. */
  async delete(scope: WorkspaceScope, id: string): Promise<boolean> {
    const { rows } = await this.db.query(
      `/* datasets.delete */
      with gone as (
        delete from datasets where workspace_id = $1 and id = $2 returning id
      ), unshared as (
        delete from dataset_shares where workspace_id = $1 and dataset_id in (select id from gone)
      )
      select id from gone`,
      [scope.workspaceId, id],
    );
    return rows.length === 1;
  }
}
