/** What the record of content reads knows of a read. Who decides what content is: src/runs/run-columns.ts and its like. */
import type { Operation, Principal } from '../tenancy/principal.js';

/** How content went out. system: read by the installation itself, outside of any request. */
export type ContentReadVia = Operation['via'] | 'system';

export interface ContentRead {
  readonly id: string;
  /** UTC text with microseconds, when the operation first read content. */
  readonly readAt: string;
  readonly caller: ContentReader;
  readonly keyId: string | null;
  readonly userId: string | null;
  readonly requestId: string;
  readonly via: ContentReadVia;
  readonly operation: string;
  readonly objectType: string;
  /** At most MAX_IDS. */
  readonly objectIds: readonly string[];
  readonly objectCount: number;
  readonly fields: readonly string[];
}

export type ContentReader = 'service' | 'personal' | 'link' | 'system';

/** Objects whose content one step of an operation has read. */
export interface ContentNote {
  /** One word, such as `run`. */
  readonly type: string;
  readonly ids: readonly string[];
  /** The content fields among those that were read. */
  readonly fields: readonly string[];
}

/** Who reads: a Principal is one, and whoever holds a link to one thing. */
export type ContentCaller = Pick<Principal, 'workspaceId' | 'keyId' | 'kind' | 'userId' | 'operation'>;

/** Where readers of content say so. */
export interface ContentReads {
  /**
   * Notes a read under the caller's operation. Costs no waiting: rows are written within two seconds.
   * @throws AppError UNAVAILABLE where so much waits to be written that no more is taken: then the content must not be
   * shown.
   */
  note(caller: ContentCaller, note: ContentNote): void;
}

/** Ids kept of one operation; beyond them objects are only counted. */
export const MAX_IDS = 500;
