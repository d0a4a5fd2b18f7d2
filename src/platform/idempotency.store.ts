/** Records of calls that were made with an idempotency key. Which calls are the same is decided in idempotency.ts. */
import type pg from 'pg';
import type { Queryable } from './db.js';

export interface IdempotencyRecord {
  readonly workspaceId: string;
  readonly id: Buffer;
  readonly mutation: string;
  readonly requestHash: Buffer;
  readonly result: Buffer;
}

type RecordKey = Pick<IdempotencyRecord, 'workspaceId' | 'id'>;

export class IdempotencyStore {
  /** Whether nobody else holds the call at the moment; then it is this transaction's until its end. */
  async claim(tx: Queryable, { id }: RecordKey): Promise<boolean> {
    const { rows } = await tx.query<{ claimed: boolean }>(
      '/* idempotency.claim */ select pg_try_advisory_xact_lock($1::bigint) as claimed',
      [id.readBigInt64BE(0).toString()],
    );
    return rows[0]?.claimed === true;
  }

  /** The record of a call that was answered after `since`. */
  async find(
    tx: Queryable,
    { workspaceId, id }: RecordKey,
    since: Date,
  ): Promise<Pick<IdempotencyRecord, 'requestHash' | 'result'> | undefined> {
    const { rows } = await tx.query<Pick<IdempotencyRecord, 'requestHash' | 'result'>>(
      `/* idempotency.find */
      select request_hash as "requestHash", result
      from idempotency_records
      where workspace_id = $1 and id = $2 and created_at > $3
      limit 1`,
      [workspaceId, id, since.toISOString()],
    );
    return rows[0];
  }

  /** Replaces a record that is too old to count and was not removed yet. */
  async save(tx: Queryable, record: IdempotencyRecord, now: Date): Promise<void> {
    await tx.query(
      `/* idempotency.save */
      insert into idempotency_records (workspace_id, id, mutation, request_hash, result, created_at)
      values ($1, $2, $3, $4, $5, $6)
      on conflict (workspace_id, id) do update set
        request_hash = excluded.request_hash, result = excluded.result, created_at = excluded.created_at`,
      [record.workspaceId, record.id, record.mutation, record.requestHash, record.result, now.toISOString()],
    );
  }
}

/** Removes records of all workspaces. Returns how many; call again while it equals `batch`. */
export async function trimIdempotencyRecords(pool: pg.Pool, until: Date, batch: number): Promise<number> {
  const { rowCount } = await pool.query(
    `/* idempotency.trim */
    delete from idempotency_records
    where (workspace_id, id) in (
      select workspace_id, id from idempotency_records where created_at <= $1 order by created_at limit $2
    )`,
    [until.toISOString(), batch],
  );
  return rowCount ?? 0;
}
