/**
 * SQL of attachments. Chunks come first, the row that makes them visible last, in the statement that also replaces
 * an older attachment of the same name: a reader sees all of one or all of the other.
 */
import type pg from 'pg';
import { RunDayStore } from '../runs/run-day.store.js';
import type { WorkspaceScope } from '../tenancy/principal.js';
import type { Attachment } from './attachment.js';

export interface NewAttachment extends Attachment {
  readonly runId: string;
  readonly createdAt: Date;
  /** The last chunk and its position; undefined when all were written before. */
  readonly lastChunk: { readonly position: number; readonly data: Buffer } | undefined;
}

/** An attachment that was made visible: its own id and its run's. */
export interface StoredAttachment {
  readonly id: string;
  readonly runId: string;
}

export class AttachmentStore {
  readonly #pool: pg.Pool;
  readonly #days: RunDayStore;

  constructor(deps: { pool: pg.Pool }) {
    this.#pool = deps.pool;
    this.#days = new RunDayStore({ db: deps.pool });
  }

  async addChunk(scope: WorkspaceScope, attachmentId: string, position: number, data: Buffer): Promise<void> {
    await this.#pool.query(
      `/* attachments.add_chunk */
       insert into attachment_chunks (workspace_id, attachment_id, position, data) values ($1, $2, $3, $4)`,
      [scope.workspaceId, attachmentId, position, data],
    );
  }

  /**
   * Makes an attachment visible and removes the one it replaces. False when the run already has `maxPerRun` others;
   * nothing is written then. If two of one name are added at once the later wins; the chunks of the other are
   * swept up by upkeep.
   */
  async add(scope: WorkspaceScope, attachment: NewAttachment, maxPerRun: number): Promise<boolean> {
    const { rowCount } = await this.#pool.query(
      `/* attachments.add */
       with replaced as (
         select id from attachments where workspace_id = $1 and run_id = $2 and name = $3
       ), added as (
         insert into attachments (workspace_id, run_id, name, id, mime_type, size, created_at)
         select $1, $2, $3, $4, $5, $6, $7
         where (select count(*) from attachments where workspace_id = $1 and run_id = $2 and name <> $3) < $8
         on conflict (workspace_id, run_id, name)
         do update set id = excluded.id, mime_type = excluded.mime_type, size = excluded.size, created_at = excluded.created_at
         returning 1
       ), last_chunk as (
         insert into attachment_chunks (workspace_id, attachment_id, position, data)
         select $1, $4, $9, $10::bytea from added where $10::bytea is not null
       ), removed as (
         delete from attachment_chunks
         where workspace_id = $1 and attachment_id in (select id from replaced) and exists (select from added)
       )
       select from added`,
      [
        scope.workspaceId,
        attachment.runId,
        attachment.name,
        attachment.id,
        attachment.mimeType,
        attachment.size,
        attachment.createdAt,
        maxPerRun,
        attachment.lastChunk?.position ?? 0,
        attachment.lastChunk?.data ?? null,
      ],
    );
    return rowCount === 1;
  }

  /** Removes chunks whose attachment was never made visible. */
  async discard(scope: WorkspaceScope, attachmentId: string): Promise<void> {
    await this.#pool.query(
      '/* attachments.discard */ delete from attachment_chunks where workspace_id = $1 and attachment_id = $2',
      [scope.workspaceId, attachmentId],
    );
  }

  async find(scope: WorkspaceScope, runId: string, name: string): Promise<Attachment | undefined> {
    const { rows } = await this.#pool.query<{ id: string; mimeType: string; size: number }>(
      `/* attachments.find */
       select id, mime_type as "mimeType", size from attachments
       where workspace_id = $1 and run_id = $2 and name = $3
       limit 1`,
      [scope.workspaceId, runId, name],
    );
    const row = rows[0];
    return row === undefined ? undefined : { ...row, name };
  }

  async readChunk(
    scope: WorkspaceScope,
    attachmentId: string,
    position: number,
  ): Promise<Buffer | undefined> {
    const { rows } = await this.#pool.query<{ data: Buffer }>(
      `/* attachments.read_chunk */
       select data from attachment_chunks
       where workspace_id = $1 and attachment_id = $2 and position = $3
       limit 1`,
      [scope.workspaceId, attachmentId, position],
    );
    return rows[0]?.data;
  }

  /**
   * Removes those of these attachments whose run is not stored. For what a request left behind that brought no run; by
   * id, because another request may have replaced one meanwhile. Returns how many went.
   */
  async removeWithoutRun(scope: WorkspaceScope, attachments: readonly StoredAttachment[]): Promise<number> {
    const runIds = [...new Set(attachments.map(({ runId }) => runId))];
    const { rows } = await this.#pool.query<{ removed: number }>(
      `/* attachments.remove_without_run */
       with removed as (
         delete from attachments a
         where a.workspace_id = $1 and a.id = any($2::uuid[])
           and not exists (
             select from runs r where r.workspace_id = $1 and r.id = a.run_id and r.day = any($3::date[]))
         returning a.id
       ), chunks as (
         delete from attachment_chunks where workspace_id = $1 and attachment_id in (select id from removed)
       )
       select count(*)::int as removed from removed`,
      [scope.workspaceId, attachments.map(({ id }) => id), await this.#days.ofRuns(scope, runIds)],
    );
    return rows[0]?.removed ?? 0;
  }

  /** Up to `limit` attachments with ids (version 7, which sort by time) behind `after` and before `until`, by id. */
  async listMade(
    scope: WorkspaceScope,
    { after, until, limit }: { after: string; until: string; limit: number },
  ): Promise<StoredAttachment[]> {
    const { rows } = await this.#pool.query<{ id: string; runId: string }>(
      `/* attachments.list_made */
       select id, run_id as "runId" from attachments
       where workspace_id = $1 and id > $2 and id < $3
       order by id
       limit $4`,
      [scope.workspaceId, after, until, limit],
    );
    return rows;
  }
}
