/** Rows of shared datasets. A share is found by its unguessable token before the workspace is known. */
import type { Queryable } from '../platform/db.js';
import type { WorkspaceScope } from '../tenancy/principal.js';

/** Whoever has the token may read the dataset, content included. */
export interface DatasetShare {
  readonly token: string;
  readonly workspaceId: string;
  readonly datasetId: string;
  readonly createdAt: string;
}

const COLUMNS = `token, workspace_id as "workspaceId", dataset_id as "datasetId", created_at as "createdAt"`;

type ShareRow = DatasetShare & Record<string, unknown>;

export class DatasetShareStore {
  readonly #db: Queryable;

  constructor({ db }: { db: Queryable }) {
    this.#db = db;
  }

  /** A dataset has one share: sharing again keeps its token. Undefined where there is no such dataset. */
  async ensure(
    scope: WorkspaceScope,
    datasetId: string,
    token: string,
    now: Date,
  ): Promise<DatasetShare | undefined> {
    const { rows } = await this.#db.query<ShareRow>(
      `/* dataset_shares.ensure */
      insert into dataset_shares (token, workspace_id, dataset_id, created_at)
      select $3::uuid, d.workspace_id, d.id, $4::timestamptz from datasets d
      where d.workspace_id = $1 and d.id = $2
      on conflict (workspace_id, dataset_id) do update set created_at = dataset_shares.created_at
      returning ${COLUMNS}`,
      [scope.workspaceId, datasetId, token, now.toISOString()],
    );
    return rows[0];
  }

  async findByDatasets(scope: WorkspaceScope, datasetIds: readonly string[]): Promise<DatasetShare[]> {
    const { rows } = await this.#db.query<ShareRow>(
      `/* dataset_shares.find */ select ${COLUMNS} from dataset_shares
      where workspace_id = $1 and dataset_id = any($2::uuid[])
      limit $3`,
      [scope.workspaceId, datasetIds, datasetIds.length],
    );
    return rows;
  }

  /** The workspace is what is looked for. */
  async open(token: string): Promise<DatasetShare | undefined> {
    const { rows } = await this.#db.query<ShareRow>(
      `/* dataset_shares.open */ select ${COLUMNS} from dataset_shares where token = $1`,
      [token],
    );
    return rows[0];
  }

  /** Whether there was one. */
  async delete(scope: WorkspaceScope, datasetId: string): Promise<boolean> {
    const { rowCount } = await this.#db.query(
      '/* dataset_shares.delete */ delete from dataset_shares where workspace_id = $1 and dataset_id = $2',
      [scope.workspaceId, datasetId],
    );
    return rowCount === 1;
  }
}
