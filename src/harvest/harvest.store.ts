/** Harvests as they are defined. Names are unique in a workspace. */
import type { Queryable } from '../platform/db.js';
import { keysetCondition, keysetOrder } from '../platform/keyset.js';
import type { Keyset, PageWindow } from '../platform/keyset.js';
import type { WorkspaceScope } from '../tenancy/principal.js';
import type { Harvest, HarvestDefinition } from './harvest.js';

const COLUMNS = `id as uuid, name, description, dataset_id as "datasetId", definition, revision,
  harvested_to as "harvestedTo", created_at as "createdAt", updated_at as "updatedAt"`;

const NEWEST: Keyset = {
  value: 'created_at',
  type: 'timestamptz',
  id: 'id',
  direction: 'desc',
  nullable: false,
};

type HarvestRow = Omit<Harvest, 'definition'> & { definition: string };

const toHarvest = (row: HarvestRow): Harvest => ({
  ...row,
  definition: JSON.parse(row.definition) as HarvestDefinition,
});

export interface HarvestFilter {
  readonly datasetId?: string | undefined;
}

/** The where clause over `harvests`. */
function conditions(scope: WorkspaceScope, { datasetId }: HarvestFilter, params: unknown[]): string {
  const all = [`workspace_id = $${params.push(scope.workspaceId)}::uuid`];
  if (datasetId !== undefined) all.push(`dataset_id = $${params.push(datasetId)}::uuid`);
  return all.join(' and ');
}

export class HarvestStore {
  /** Undefined where the name is taken. */
  async insert(
    tx: Queryable,
    scope: WorkspaceScope,
    harvest: Pick<Harvest, 'uuid' | 'name' | 'description' | 'datasetId' | 'definition'> & {
      readonly actor: string;
    },
    now: Date,
  ): Promise<Harvest | undefined> {
    const { uuid, name, description, datasetId, definition, actor } = harvest;
    const { rows } = await tx.query<HarvestRow>(
      `/* harvests.insert */
      insert into harvests (workspace_id, id, name, description, dataset_id, definition, revision, actor, created_at,
        updated_at)
      values ($1, $2, $3, $4, $5, $6, 1, $7, $8, $8)
      on conflict (workspace_id, name) do nothing
      returning ${COLUMNS}`,
      [
        scope.workspaceId,
        uuid,
        name,
        description,
        datasetId,
        JSON.stringify(definition),
        actor,
        now.toISOString(),
      ],
    );
    return rows[0] && toHarvest(rows[0]);
  }

  /** Whoever changes it too waits until the transaction ends. */
  async lock(tx: Queryable, scope: WorkspaceScope, id: string): Promise<Harvest | undefined> {
    const { rows } = await tx.query<HarvestRow>(
      `/* harvests.lock */ select ${COLUMNS} from harvests where workspace_id = $1 and id = $2 limit 1 for update`,
      [scope.workspaceId, id],
    );
    return rows[0] && toHarvest(rows[0]);
  }

  /** Another definition or dataset is the next revision; a new dataset is harvested from the beginning. */
  async update(
    tx: Queryable,
    scope: WorkspaceScope,
    { uuid, name, description, datasetId, definition }: Harvest,
    now: Date,
  ): Promise<Harvest | undefined> {
    const { rows } = await tx.query<HarvestRow>(
      `/* harvests.update */
      update harvests
      set name = $3, description = $4, dataset_id = $5, definition = $6::json, updated_at = $7,
        revision = revision + case when dataset_id = $5 and definition::text = $6::json::text then 0 else 1 end,
        harvested_to = case when dataset_id = $5 then harvested_to end
      where workspace_id = $1 and id = $2
      returning ${COLUMNS}`,
      [scope.workspaceId, uuid, name, description, datasetId, JSON.stringify(definition), now.toISOString()],
    );
    return rows[0] && toHarvest(rows[0]);
  }

  /** What an execution has looked at; a change of the definition in between does not count as looked at. */
  async harvestedTo(
    tx: Queryable,
    scope: WorkspaceScope,
    { id, datasetId, revision, to }: { id: string; datasetId: string; revision: number; to: string },
  ): Promise<void> {
    await tx.query(
      `/* harvests.harvested_to */
      update harvests
      set harvested_to = greatest(harvested_to, $5::timestamptz)
      where workspace_id = $1 and id = $2 and dataset_id = $3 and revision = $4`,
      [scope.workspaceId, id, datasetId, revision, to],
    );
  }

  async delete(tx: Queryable, scope: WorkspaceScope, id: string): Promise<boolean> {
    const { rowCount } = await tx.query(
      '/* harvests.delete */ delete from harvests where workspace_id = $1 and id = $2',
      [scope.workspaceId, id],
    );
    return rowCount === 1;
  }

  async findByIds(db: Queryable, scope: WorkspaceScope, ids: readonly string[]): Promise<Harvest[]> {
    const { rows } = await db.query<HarvestRow>(
      `/* harvests.find */ select ${COLUMNS} from harvests where workspace_id = $1 and id = any($2::uuid[]) limit $3`,
      [scope.workspaceId, ids, ids.length],
    );
    return rows.map(toHarvest);
  }

  async findByName(db: Queryable, scope: WorkspaceScope, name: string): Promise<Harvest | undefined> {
    const { rows } = await db.query<HarvestRow>(
      `/* harvests.find_by_name */ select ${COLUMNS} from harvests where workspace_id = $1 and name = $2 limit 1`,
      [scope.workspaceId, name],
    );
    return rows[0] && toHarvest(rows[0]);
  }

  /** Up to `limit + 1`, newest first, in reading order. */
  async list(
    db: Queryable,
    scope: WorkspaceScope,
    filter: HarvestFilter,
    window: PageWindow,
  ): Promise<Harvest[]> {
    const params: unknown[] = [];
    const { rows } = await db.query<HarvestRow>(
      `/* harvests.list */
      select ${COLUMNS} from harvests
      where ${conditions(scope, filter, params)} and ${keysetCondition(NEWEST, window, params)}
      order by ${keysetOrder(NEWEST, window)}
      limit $${params.push(window.limit + 1)}`,
      params,
    );
    return rows.map(toHarvest);
  }

  /** Looks at no more than `limit`. */
  async count(db: Queryable, scope: WorkspaceScope, filter: HarvestFilter, limit: number): Promise<number> {
    const params: unknown[] = [];
    const { rows } = await db.query<{ count: number }>(
      `/* harvests.count */
      select count(*) as count
      from (select from harvests where ${conditions(scope, filter, params)} limit $${params.push(limit)}) found`,
      params,
    );
    return rows[0]?.count ?? 0;
  }
}
