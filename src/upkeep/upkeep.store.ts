/** Removes what has expired or was never finished, in batches. Works over all workspaces, so it takes no scope. */
import type pg from 'pg';
import { lowestId } from './partition.store.js';

const HOUR_MS = 3_600_000;
/** Orphans are looked for among chunks this old at most: the job runs hourly. */
export const ORPHAN_WINDOW_MS = 7 * 24 * HOUR_MS;

export class UpkeepStore {
  private readonly pool: pg.Pool;

  constructor({ pool }: { pool: pg.Pool }) {
    this.pool = pool;
  }

  /** Share links of runs whose time is up. Returns how many; call again while it equals `batch`. */
  async expireShares(nowMs: number, batch: number): Promise<number> {
    const { rowCount } = await this.pool.query(
      `/* upkeep.expire_shares */
      delete from run_shares
      where (workspace_id, token) in (
        select workspace_id, token from run_shares where expires_at <= $1 order by expires_at limit $2
      )`,
      [new Date(nowMs), batch],
    );
    return rowCount ?? 0;
  }

  /** Feedback forms whose time is up. Returns how many; call again while it equals `batch`. */
  async expireFeedbackTokens(nowMs: number, batch: number): Promise<number> {
    const { rowCount } = await this.pool.query(
      `/* upkeep.expire_feedback_tokens */
      delete from feedback_tokens
      where (workspace_id, id) in (
        select workspace_id, id from feedback_tokens where expires_at <= $1 order by expires_at limit $2
      )`,
      [new Date(nowMs), batch],
    );
    return rowCount ?? 0;
  }

  /** Days from `today` (`YYYY-MM-DD`) on that have a partition, without a gap. */
  async partitionsAhead(today: string): Promise<number> {
    const { rows } = await this.pool.query<{ ahead: number }>(
      `/* upkeep.partitions_ahead */
      select count(*) as ahead
      from (select day, row_number() over (order by day) as place from run_partitions where day > $1::date) later
      where day = $1::date + place::int`,
      [today],
    );
    return rows[0]?.ahead ?? 0;
  }

  /** Workspaces in order of their ids, deleted ones too. */
  async listWorkspaces(after: string | undefined, limit: number): Promise<string[]> {
    const { rows } = await this.pool.query<{ id: string }>(
      '/* upkeep.list_workspaces */ select id from workspaces where $1::uuid is null or id > $1 order by id limit $2',
      [after ?? null, limit],
    );
    return rows.map((row) => row.id);
  }

  /**
   * Chunks that were stored more than an hour ago and whose attachment never came to be: the upload was cut off.
   * Attachment ids are version 7, so their age is in the key, and the key serves the range. Returns the number of
   * attachments removed; call again while it equals `batch`.
   */
  async removeOrphanChunks(workspaceId: string, nowMs: number, batch: number): Promise<number> {
    const { rows } = await this.pool.query(
      `/* upkeep.remove_orphan_chunks */
      with orphans as (
        select attachment_id
        from attachment_chunks c
        where c.workspace_id = $1 and c.attachment_id >= $2 and c.attachment_id < $3 and c.position = 0
          and not exists (
            select from attachments a where a.workspace_id = c.workspace_id and a.id = c.attachment_id
          )
        order by attachment_id
        limit $4
      ), removed as (
        delete from attachment_chunks
        where workspace_id = $1 and attachment_id in (select attachment_id from orphans)
      )
      select attachment_id from orphans`,
      [workspaceId, lowestId(nowMs - ORPHAN_WINDOW_MS), lowestId(nowMs - HOUR_MS), batch],
    );
    return rows.length;
  }
}
