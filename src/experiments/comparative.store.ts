/** Comparative experiments of the LangSmith protocol: which experiments somebody judges against each other, in pairs. */
import type { Queryable } from '../platform/db.js';
import { keysetCondition, keysetOrder } from '../platform/keyset.js';
import type { Keyset, PageWindow } from '../platform/keyset.js';
import type { JsonObject } from '../ingest/run-event.js';
import type { WorkspaceScope } from '../tenancy/principal.js';

export interface ComparativeExperiment {
  readonly uuid: string;
  readonly name: string | null;
  readonly description: string | null;
  readonly datasetId: string;
  readonly experimentIds: readonly string[];
  readonly extra: JsonObject;
  readonly createdAt: string;
  readonly updatedAt: string;
}

const COLUMNS = `id as uuid, name, description, reference_dataset_id as "datasetId", experiment_ids as "experimentIds",
  extra, created_at as "createdAt", updated_at as "updatedAt"`;

const NEWEST: Keyset = {
  value: 'created_at',
  type: 'timestamptz',
  id: 'id',
  direction: 'desc',
  nullable: false,
};

type Draft = Omit<ComparativeExperiment, 'createdAt' | 'updatedAt'>;

export class ComparativeStore {
  private readonly db: Queryable;

  constructor({ db }: { db: Queryable }) {
    this.db = db;
  }

  /** Undefined where the id is taken. */
  async insert(
    scope: WorkspaceScope,
    draft: Draft,
    createdAt: string,
  ): Promise<ComparativeExperiment | undefined> {
    const { rows } = await this.db.query<ComparativeExperiment & Record<string, unknown>>(
      `/* comparative.insert */
      insert into comparative_experiments (workspace_id, id, name, description, reference_dataset_id, experiment_ids,
        extra, created_at, updated_at)
      values ($1, $2, $3, $4, $5, $6, $7, $8, $8)
      on conflict do nothing
      returning ${COLUMNS}`,
      [
        scope.workspaceId,
        draft.uuid,
        draft.name,
        draft.description,
        draft.datasetId,
        draft.experimentIds,
        JSON.stringify(draft.extra),
        createdAt,
      ],
    );
    return rows[0];
  }

  /** Up to `limit + 1` of a dataset, newest first. */
  async list(
    scope: WorkspaceScope,
    datasetId: string,
    { window, offset = 0 }: { readonly window: PageWindow; readonly offset?: number },
  ): Promise<ComparativeExperiment[]> {
    const params: unknown[] = [scope.workspaceId, datasetId];
    const { rows } = await this.db.query<ComparativeExperiment & Record<string, unknown>>(
      `/* comparative.list */
      select ${COLUMNS}
      from comparative_experiments
      where workspace_id = $1 and reference_dataset_id = $2 and ${keysetCondition(NEWEST, window, params)}
      order by ${keysetOrder(NEWEST, window)}
      limit $${params.push(window.limit + 1)} offset $${params.push(offset)}`,
      params,
    );
    return rows;
  }

  async delete(scope: WorkspaceScope, id: string): Promise<boolean> {
    const { rowCount } = await this.db.query(
      '/* comparative.delete */ delete from comparative_experiments where workspace_id = $1 and id = $2',
      [scope.workspaceId, id],
    );
    return rowCount === 1;
  }
}
