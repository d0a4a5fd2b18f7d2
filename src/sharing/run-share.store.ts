/** Rows of shared runs. A share is found by its unguessable token before the workspace is known. */
import { sqlState, type Queryable } from '../platform/db.js';
import type { WorkspaceScope } from '../tenancy/principal.js';

/** Whoever has the token may read the trace of the run, content included, until it expires. */
export interface RunShare {
  readonly token: string;
  readonly workspaceId: string;
  readonly runId: string;
  readonly traceId: string;
  readonly createdAt: string;
  /** Null: never. */
  readonly expiresAt: string | null;
}

const COLUMNS = `token, workspace_id as "workspaceId", run_id as "runId", trace_id as "traceId",
  created_at as "createdAt", expires_at as "expiresAt"`;

type ShareRow = RunShare & Record<string, unknown>;

export class RunShareStore {
  readonly #db: Queryable;

  constructor({ db }: { db: Queryable }) {
    this.#db = db;
  }

  /**
   * Shares a run, or renews its share: a share that is still good keeps its token, so that links already sent go
   * on working. Undefined where the token is taken by another run, of whichever workspace.
   */
  async upsert(
    scope: WorkspaceScope,
    share: Pick<RunShare, 'token' | 'runId' | 'traceId' | 'expiresAt'>,
    now: string,
  ): Promise<RunShare | undefined> {
    try {
      const { rows } = await this.#db.query<ShareRow>(
        `/* run_shares.upsert */
         insert into run_shares as s (token, workspace_id, run_id, trace_id, created_at, expires_at)
         values ($2, $1, $3, $4, $5, $6)
         on conflict (workspace_id, run_id) do update set
           token = case when s.expires_at <= excluded.created_at then excluded.token else s.token end,
           created_at = case when s.expires_at <= excluded.created_at then excluded.created_at else s.created_at end,
           expires_at = excluded.expires_at
         returning ${COLUMNS}`,
        [scope.workspaceId, share.token, share.runId, share.traceId, now, share.expiresAt],
      );
      return rows[0];
    } catch (error) {
      if (sqlState(error) === '23505') return undefined;
      throw error;
    }
  }

  /** Those of the runs' shares that are still good. */
  async findByRuns(scope: WorkspaceScope, runIds: readonly string[], now: string): Promise<RunShare[]> {
    const { rows } = await this.#db.query<ShareRow>(
      `/* run_shares.find_by_runs */ select ${COLUMNS} from run_shares
       where workspace_id = $1 and run_id = any ($2::uuid[]) and (expires_at is null or expires_at > $3)
       limit ${runIds.length}`,
      [scope.workspaceId, runIds, now],
    );
    return rows;
  }

  /** The share with this token, if it is still good. The workspace is what is looked for. */
  async open(token: string, now: string): Promise<RunShare | undefined> {
    const { rows } = await this.#db.query<ShareRow>(
      `/* run_shares.open */ select ${COLUMNS} from run_shares
       where token = $1 and (expires_at is null or expires_at > $2)`,
      [token, now],
    );
    return rows[0];
  }

  /** Whether there was one. */
  async delete(scope: WorkspaceScope, runId: string): Promise<boolean> {
    const { rowCount } = await this.#db.query(
      `/* run_shares.delete */ delete from run_shares where workspace_id = $1 and run_id = $2`,
      [scope.workspaceId, runId],
    );
    return rowCount === 1;
  }
}
