/**
 * The files of examples, in the attachment store under ids of their own: a file belongs to the example it was uploaded
 * for and to each version that shows it, not to a run, and goes with the last of them.
 */
import type { Queryable } from '../platform/db.js';
import type { WorkspaceScope } from '../tenancy/principal.js';
import type { ExampleAttachment } from './dataset.js';

/** A file to copy: of a run (`ownerId` is its id) or of another example. */
export interface AttachmentSource {
  readonly ownerId: string;
  readonly name: string;
  readonly newId: string;
}

/**
 * Copies files. Returns the copies, by `newId`; those whose source is not there (any more) are left out.
 * @param chunkIds of the copies' bytes, one for each source; version 7, so that upkeep knows their age.
 */
export async function copyAttachments(
  db: Queryable,
  scope: WorkspaceScope,
  sources: readonly AttachmentSource[],
  chunkIds: readonly string[],
  now: Date,
): Promise<Map<string, ExampleAttachment>> {
  if (sources.length === 0) return new Map();
  const { rows } = await db.query<ExampleAttachment & Record<string, unknown>>(
    `/* example_attachments.copy */
    with wanted as (
      select * from unnest($2::uuid[], $3::text[], $4::uuid[], $5::uuid[]) as w (owner_id, name, new_id, chunk_id)
    ), copied as (
      insert into attachments (workspace_id, run_id, name, id, mime_type, size, created_at)
      select a.workspace_id, w.new_id, a.name, w.chunk_id, a.mime_type, a.size, $6
      from wanted w join attachments a on a.workspace_id = $1 and a.run_id = w.owner_id and a.name = w.name
      returning run_id, name, mime_type, size
    ), bytes as (
      insert into attachment_chunks (workspace_id, attachment_id, position, data)
      select c.workspace_id, w.chunk_id, c.position, c.data
      from wanted w
      join attachments a on a.workspace_id = $1 and a.run_id = w.owner_id and a.name = w.name
      join attachment_chunks c on c.workspace_id = $1 and c.attachment_id = a.id
    )
    select run_id as id, name, mime_type as "mimeType", size from copied`,
    [
      scope.workspaceId,
      sources.map(({ ownerId }) => ownerId),
      sources.map(({ name }) => name),
      sources.map(({ newId }) => newId),
      chunkIds,
      now.toISOString(),
    ],
  );
  return new Map(rows.map((row) => [row.id, row]));
}

/** Makes files readable under new names too: links name the file, and older versions keep the old name. */
export async function nameAttachments(
  tx: Queryable,
  scope: WorkspaceScope,
  named: readonly { readonly id: string; readonly name: string }[],
): Promise<void> {
  if (named.length === 0) return;
  await tx.query(
    `/* example_attachments.name */
    insert into attachments (workspace_id, run_id, name, id, mime_type, size, created_at)
    select distinct on (w.id, w.name) a.workspace_id, a.run_id, w.name, a.id, a.mime_type, a.size, a.created_at
    from unnest($2::uuid[], $3::text[]) as w (id, name)
    join attachments a on a.workspace_id = $1 and a.run_id = w.id
    on conflict (workspace_id, run_id, name) do nothing`,
    [scope.workspaceId, named.map(({ id }) => id), named.map(({ name }) => name)],
  );
}

/** Removes files no row shows any more, with their bytes. */
export async function deleteAttachments(
  tx: Queryable,
  scope: WorkspaceScope,
  ids: readonly string[],
): Promise<void> {
  if (ids.length === 0) return;
  await tx.query(
    `/* example_attachments.delete */
    with gone as (
      delete from attachments where workspace_id = $1 and run_id = any($2::uuid[]) returning id
    )
    delete from attachment_chunks where workspace_id = $1 and attachment_id in (select id from gone)`,
    [scope.workspaceId, ids],
  );
}
