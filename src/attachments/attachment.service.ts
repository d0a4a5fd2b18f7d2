/**
 * Attachments of runs: taken in piece by piece while a request arrives, read back through presigned links. An
 * attachment is committed before the run event that mentions it is written.
 */
import type { ContentReads } from '../audit/content-read.js';
import { INTAKE_LIMITS } from '../ingest/limits.js';
import type { AttachmentRef, Refusal } from '../ingest/run-event.js';
import type { Clock } from '../platform/clock.js';
import { inWorkspace } from '../platform/db-scope.js';
import { AppError } from '../platform/errors.js';
import type { Ids } from '../platform/ids.js';
import { trustedScope } from '../tenancy/principal.js';
import type { Operation, WorkspaceScope } from '../tenancy/principal.js';
import { linkKey, makeToken, readToken } from './attachment-link.js';
import type { Attachment } from './attachment.js';
import { CHUNK_BYTES, safeMimeType } from './attachment.js';
import type { AttachmentStore, StoredAttachment } from './attachment.store.js';

export interface AttachmentDeps {
  readonly store: AttachmentStore;
  readonly contentReads: ContentReads;
  readonly clock: Clock;
  readonly ids: Ids;
  /** The installation's pepper; links are signed with a key derived from it. */
  readonly pepper: string;
}

/** Long enough to look at a page and fetch what it shows. */
const LINK_SECONDS = 3_600;

export class AttachmentService {
  readonly #deps: AttachmentDeps;
  readonly #key: Buffer;

  constructor(deps: AttachmentDeps) {
    this.#deps = deps;
    this.#key = linkKey(deps.pepper);
  }

  /** Starts taking in one attachment. Whoever starts it ends it with `finish` or `abort`. */
  begin(
    scope: WorkspaceScope,
    upload: { runId: string; name: string; mimeType: string | undefined },
  ): AttachmentUpload {
    return new AttachmentUpload(this.#deps, scope, { ...upload, mimeType: safeMimeType(upload.mimeType) });
  }

  /** Removes those of these attachments whose run is not stored. */
  async discardWithoutRun(scope: WorkspaceScope, attachments: readonly StoredAttachment[]): Promise<void> {
    if (attachments.length > 0) await this.#deps.store.removeWithoutRun(scope, attachments);
  }

  /**
   * A path that shows the attachment without credentials for the next hour, to be put behind the address the
   * client knows the gateway by. Says nothing about whether the attachment exists.
   */
  presign(scope: WorkspaceScope, runId: string, name: string): string {
    const expiresAt = Math.floor(this.#deps.clock.now().getTime() / 1_000) + LINK_SECONDS;
    return `/attachments/${makeToken(this.#key, { workspaceId: scope.workspaceId, runId, name, expiresAt })}`;
  }

  /**
   * The attachment a link shows. Chunks are read one at a time, as fast as they are taken.
   * @throws AppError UNAUTHENTICATED for a link that is not valid (any more), NOT_FOUND when nothing is there.
   */
  async open(
    token: string,
    operation: Operation,
  ): Promise<{ attachment: Attachment; chunks: AsyncIterable<Buffer> }> {
    const target = readToken(this.#key, token, this.#deps.clock.now().getTime() / 1_000);
    if (target === undefined) throw new AppError('UNAUTHENTICATED', 'This link is not valid or has expired.');
    const scope = trustedScope(target.workspaceId);
    const attachment = await inWorkspace(scope.workspaceId, () =>
      this.#deps.store.find(scope, target.runId, target.name),
    );
    if (attachment === undefined) throw new AppError('NOT_FOUND', 'Attachment not found.');
    const holder = { ...scope, keyId: '', kind: 'service', userId: undefined, operation } as const;
    const ids = [`${target.runId}/${target.name}`];
    this.#deps.contentReads.note(holder, { type: 'attachment', ids, fields: ['attachments'] });
    return { attachment, chunks: this.#chunks(scope, attachment) };
  }

  async *#chunks(scope: WorkspaceScope, attachment: Attachment): AsyncGenerator<Buffer, void, undefined> {
    for (let sent = 0, position = 0; sent < attachment.size; position += 1) {
      // Each by itself: who pulls at the stream is not who opened it.
      const data = await inWorkspace(scope.workspaceId, () =>
        this.#deps.store.readChunk(scope, attachment.id, position),
      );
      // Replaced or deleted while it was being read: better a broken download than a short one that looks whole.
      if (data === undefined) throw new Error('An attachment changed while it was read.');
      sent += data.length;
      yield data;
    }
  }
}

/** One attachment on its way in. `push` only remembers; `flush` writes what makes full chunks. */
export class AttachmentUpload {
  readonly #deps: AttachmentDeps;
  readonly #scope: WorkspaceScope;
  readonly #upload: { readonly runId: string; readonly name: string; readonly mimeType: string };
  /** The attachment's own, not its run's. */
  readonly id: string;
  #pending: Buffer[] = [];
  #pendingBytes = 0;
  #size = 0;
  #position = 0;

  constructor(
    deps: AttachmentDeps,
    scope: WorkspaceScope,
    upload: { runId: string; name: string; mimeType: string },
  ) {
    this.#deps = deps;
    this.#scope = scope;
    this.#upload = upload;
    this.id = deps.ids.uuid();
  }

  /** Bytes beyond the limit are counted, not kept. */
  push(data: Buffer): void {
    this.#size += data.length;
    if (this.#tooLarge) return;
    this.#pending.push(data);
    this.#pendingBytes += data.length;
  }

  get #tooLarge(): boolean {
    return this.#size > INTAKE_LIMITS.attachmentBytes;
  }

  get hasFullChunk(): boolean {
    return this.#pendingBytes >= CHUNK_BYTES;
  }

  async flush(): Promise<void> {
    while (this.#pendingBytes > CHUNK_BYTES) {
      const all = Buffer.concat(this.#pending);
      await this.#deps.store.addChunk(this.#scope, this.id, this.#position, all.subarray(0, CHUNK_BYTES));
      this.#position += 1;
      const rest = all.subarray(CHUNK_BYTES);
      this.#pending = rest.length === 0 ? [] : [rest];
      this.#pendingBytes = rest.length;
    }
  }

  /** Commits the attachment, replacing one of the same name. */
  async finish(): Promise<AttachmentRef | Refusal> {
    const { runId, name, mimeType } = this.#upload;
    if (this.#tooLarge) return this.#refuse(`is larger than ${INTAKE_LIMITS.attachmentBytes} bytes`);
    await this.flush();
    const lastChunk =
      this.#pendingBytes === 0 ? undefined : { position: this.#position, data: Buffer.concat(this.#pending) };
    const added = await this.#deps.store.add(
      this.#scope,
      { id: this.id, runId, name, mimeType, size: this.#size, createdAt: this.#deps.clock.now(), lastChunk },
      INTAKE_LIMITS.attachmentsPerRun,
    );
    if (!added) return this.#refuse(`is one more than the ${INTAKE_LIMITS.attachmentsPerRun} a run may have`);
    return { name, mimeType, size: this.#size };
  }

  /** Gives up: what was written is removed. */
  async abort(): Promise<void> {
    this.#pending = [];
    if (this.#position > 0) await this.#deps.store.discard(this.#scope, this.id);
  }

  async #refuse(reason: string): Promise<Refusal> {
    await this.abort();
    const { runId, name } = this.#upload;
    return {
      id: runId,
      field: `attachment.${name}`,
      message: `The attachment ${reason}; the run itself is kept.`,
    };
  }
}
