/** Rows of content reads: written in batches over all workspaces, listed within one. */
import type { Queryable } from '../platform/db.js';
import { keysetCondition, keysetOrder } from '../platform/keyset.js';
import type { Keyset, PageWindow } from '../platform/keyset.js';
import type { WorkspaceScope } from '../tenancy/principal.js';
import type { ContentRead } from './content-read.js';

/** New, or more of one that was written before. */
export interface ContentReadRow extends Omit<ContentRead, 'readAt'> {
  readonly workspaceId: string;
  readonly readAt: Date;
}

/** Conditions, all of which hold. Absent means no condition. */
export interface ContentReadFilter {
  /** ISO times; `from` included, `to` not. */
  readonly from?: string | undefined;
  readonly to?: string | undefined;
  readonly keyId?: string | undefined;
  readonly userId?: string | undefined;
  readonly objectId?: string | undefined;
}

const NEWEST_FIRST: Keyset = {
  value: 'read_at',
  type: 'timestamptz',
  id: 'id',
  direction: 'desc',
  nullable: false,
};

const COLUMNS = `id, read_at as "readAt", caller, key_id as "keyId", user_id as "userId", request_id as "requestId",
  via, operation, object_type as "objectType", object_ids as "objectIds", object_count as "objectCount", fields`;

export class ContentReadStore {
  readonly #db: Queryable;

  constructor({ db }: { db: Queryable }) {
    this.#db = db;
  }

  /** Rows of any workspaces, each id once. As one JSON text, which costs two thirds of thirteen arrays. */
  async save(rows: readonly ContentReadRow[]): Promise<void> {
    await this.#db.query(
      `/* content_reads.save */
      insert into content_reads as c (workspace_id, read_at, id, caller, key_id, user_id, request_id, via, operation,
        object_type, object_ids, object_count, fields)
      select "workspaceId", "readAt", id, caller, "keyId", "userId", "requestId", via, operation,
        "objectType", "objectIds", "objectCount", fields
      from json_to_recordset($1::json) as x ("workspaceId" uuid, "readAt" timestamptz, id uuid, caller text,
        "keyId" uuid, "userId" uuid, "requestId" text, via text, operation text, "objectType" text,
        "objectIds" text[], "objectCount" bigint, fields text[])
      on conflict (workspace_id, read_at, id) do update set
        object_ids = c.object_ids || excluded.object_ids,
        object_count = c.object_count + excluded.object_count,
        fields = excluded.fields`,
      [JSON.stringify(rows)],
    );
  }

  /** Up to `limit + 1`, newest first, in reading order. Relies on the primary key. */
  async list(scope: WorkspaceScope, filter: ContentReadFilter, window: PageWindow): Promise<ContentRead[]> {
    const params: unknown[] = [];
    const { rows } = await this.#db.query<ContentRead & Record<string, unknown>>(
      `/* content_reads.list */
      select ${COLUMNS}
      from content_reads
      where ${conditions(scope, filter, params)} and ${keysetCondition(NEWEST_FIRST, window, params)}
      order by ${keysetOrder(NEWEST_FIRST, window)}
      limit $${params.push(window.limit + 1)}`,
      params,
    );
    return rows;
  }

  /** How many match, looking at no more than `limit + 1`. */
  async count(scope: WorkspaceScope, filter: ContentReadFilter, limit: number): Promise<number> {
    const params: unknown[] = [];
    const { rows } = await this.#db.query<{ found: number }>(
      `/* content_reads.count */
      select count(*) as found
      from (select from content_reads where ${conditions(scope, filter, params)} limit $${params.push(limit + 1)}) matching`,
      params,
    );
    return rows[0]?.found ?? 0;
  }
}

function conditions(scope: WorkspaceScope, filter: ContentReadFilter, params: unknown[]): string {
  const bind = (value: unknown, type: string): string => `$${params.push(value)}::${type}`;
  const found = [`workspace_id = ${bind(scope.workspaceId, 'uuid')}`];
  if (filter.from !== undefined) found.push(`read_at >= ${bind(filter.from, 'timestamptz')}`);
  if (filter.to !== undefined) found.push(`read_at < ${bind(filter.to, 'timestamptz')}`);
  if (filter.keyId !== undefined) found.push(`key_id = ${bind(filter.keyId, 'uuid')}`);
  if (filter.userId !== undefined) found.push(`user_id = ${bind(filter.userId, 'uuid')}`);
  if (filter.objectId !== undefined) found.push(`object_ids @> array[${bind(filter.objectId, 'text')}]`);
  return found.join(' and ');
}
