/**
 * SQL of attachments. Chunks come first, the row that makes them visible last, in the statement that also replaces
 * an older attachment of the same name: a reader sees all of one or all of the other.
 */
import type pg from 'pg';
import type { WorkspaceScope } from '../tenancy/principal.js';
import type { Attachment } from './attachment.js';

export interface NewAttachment extends Attachment {
  readonly runId: string;
  readonly createdAt: Date;
  /** The last chunk and its position; undefined when all were written before. */
  readonly lastChunk: { readonly position: number; readonly data: Buffer } | undefined;
}

export class AttachmentStore {
  readonly #pool: pg.Pool;

  constructor(deps: { pool: pg.Pool }) {
    this.#pool = deps.pool;
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
   * swept up (`deleteOrphans`).
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
   * Removes up to `limit` chunks that no attachment shows and whose id was made before `beforeId` (version 7 ids sort
   * by time): uploads that were cut off. Over all workspaces, for upkeep.
   */
  async deleteOrphans(beforeId: string, limit: number): Promise<number> {
    const { rowCount } = await this.#pool.query(
      `/* attachments.delete_orphans */
       delete from attachment_chunks as chunk
       using (
         select c.workspace_id, c.attachment_id, c.position from attachment_chunks c
         where c.attachment_id < $1
           and not exists (select from attachments a where a.workspace_id = c.workspace_id and a.id = c.attachment_id)
         limit $2
       ) as orphan
       where chunk.workspace_id = orphan.workspace_id
         and chunk.attachment_id = orphan.attachment_id
         and chunk.position = orphan.position`,
      [beforeId, limit],
    );
    return rowCount ?? 0;
  }
}
