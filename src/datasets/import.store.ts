/** What imports did, and the rows they would not take. */
import type { Queryable } from '../platform/db.js';
import type { WorkspaceScope } from '../tenancy/principal.js';
import type { RowProblem } from './import-mapping.js';

export const IMPORT_FORMATS = ['csv', 'jsonl', 'examples'] as const;
/** `examples`: not from a file but from runs or another dataset. */
export type ImportFormat = (typeof IMPORT_FORMATS)[number];

export const IMPORT_MODES = ['all_or_nothing', 'quarantine'] as const;
export type ImportMode = (typeof IMPORT_MODES)[number];

export interface DatasetImport {
  readonly uuid: string;
  readonly datasetId: string;
  readonly format: ImportFormat;
  readonly mode: ImportMode;
  /** Null where it made none. */
  readonly version: number | null;
  readonly imported: number;
  readonly rejected: number;
  readonly actor: string | null;
  readonly createdAt: string;
}

export interface RejectedRow {
  /** From 1. */
  readonly row: number;
  /** As it came, cut. */
  readonly content: string;
  readonly problems: readonly RowProblem[];
}

/** Of a rejected row's content that is kept. */
export const MAX_REJECT_LENGTH = 8_192;

const COLUMNS = `id as uuid, dataset_id as "datasetId", format, mode, version, imported, rejected, actor, created_at as "createdAt"`;

export class ImportStore {
  readonly #db: Queryable;

  constructor({ db }: { db: Queryable }) {
    this.#db = db;
  }

  within(tx: Queryable): ImportStore {
    return new ImportStore({ db: tx });
  }

  async insert(
    scope: WorkspaceScope,
    made: Omit<DatasetImport, 'createdAt'>,
    now: Date,
  ): Promise<DatasetImport> {
    const createdAt = now.toISOString();
    await this.#db.query(
      `/* dataset_imports.insert */
      insert into dataset_imports (workspace_id, id, dataset_id, format, mode, version, imported, rejected, actor, created_at)
      values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)`,
      [
        scope.workspaceId,
        made.uuid,
        made.datasetId,
        made.format,
        made.mode,
        made.version,
        made.imported,
        made.rejected,
        made.actor,
        createdAt,
      ],
    );
    return { ...made, createdAt };
  }

  async find(scope: WorkspaceScope, id: string): Promise<DatasetImport | undefined> {
    const { rows } = await this.#db.query<DatasetImport & Record<string, unknown>>(
      `/* dataset_imports.find */ select ${COLUMNS} from dataset_imports where workspace_id = $1 and id = $2`,
      [scope.workspaceId, id],
    );
    return rows[0];
  }

  /** Of a dataset, newest first, behind the import `after`. */
  async list(
    scope: WorkspaceScope,
    datasetId: string,
    { limit, after }: { readonly limit: number; readonly after?: string | undefined },
  ): Promise<DatasetImport[]> {
    const { rows } = await this.#db.query<DatasetImport & Record<string, unknown>>(
      `/* dataset_imports.list */
      select ${COLUMNS} from dataset_imports
      where workspace_id = $1 and dataset_id = $2
        and ($4::uuid is null or (created_at, id) < (
          select a.created_at, a.id from dataset_imports a
          where a.workspace_id = $1 and a.dataset_id = $2 and a.id = $4
        ))
      order by created_at desc, id desc
      limit $3`,
      [scope.workspaceId, datasetId, limit, after ?? null],
    );
    return rows;
  }

  async addRejects(
    scope: WorkspaceScope,
    { importId, datasetId }: { importId: string; datasetId: string },
    rejects: readonly RejectedRow[],
    now: Date,
  ): Promise<void> {
    if (rejects.length === 0) return;
    await this.#db.query(
      `/* import_rejects.insert */
      insert into import_rejects (workspace_id, import_id, row, dataset_id, content, problems, created_at)
      select $1::uuid, $2::uuid, r.row, $3::uuid, r.content, r.problems, $7::timestamptz
      from unnest($4::bigint[], $5::text[], $6::jsonb[]) as r (row, content, problems)`,
      [
        scope.workspaceId,
        importId,
        datasetId,
        rejects.map(({ row }) => row),
        rejects.map(({ content }) => content),
        rejects.map(({ problems }) => JSON.stringify(problems)),
        now.toISOString(),
      ],
    );
  }

  /** Rejected rows of an import in order, behind row `after`. */
  async listRejects(
    scope: WorkspaceScope,
    importId: string,
    { after = 0, limit }: { after?: number; limit: number },
  ): Promise<RejectedRow[]> {
    const { rows } = await this.#db.query<RejectedRow & Record<string, unknown>>(
      `/* import_rejects.list */
      select row, content, problems from import_rejects
      where workspace_id = $1 and import_id = $2 and row > $3
      order by row
      limit $4`,
      [scope.workspaceId, importId, after, limit],
    );
    return rows;
  }

  /** Of an import that came to nothing. */
  async deleteRejects(scope: WorkspaceScope, importId: string): Promise<void> {
    await this.#db.query(
      '/* import_rejects.delete */ delete from import_rejects where workspace_id = $1 and import_id = $2',
      [scope.workspaceId, importId],
    );
  }
}
