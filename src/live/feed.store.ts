/**
 * Reading and trimming the change feed. Readers take only rows below the horizon: a transaction that is still
 * open may hold a lower place than rows that can already be seen.
 */
import type pg from 'pg';
import { transaction } from '../platform/db.js';
import type { WorkspaceScope } from '../tenancy/principal.js';
import { WHOLE_ROW } from './feed-position.js';
import type { FeedPosition } from './feed-position.js';
import type { FeedEntry, FeedRow } from './feed.js';

/** Rows in log order, and the last position that was trimmed at the moment they were read. */
export interface FeedPage {
  readonly rows: readonly FeedRow[];
  readonly floor: FeedPosition;
}

/** What a subscriber follows: entries of other projects or traces are left out of its rows. */
export type FeedTopic =
  | { readonly kind: 'project'; readonly projectId: string }
  | { readonly kind: 'trace'; readonly traceId: string }
  | { readonly kind: 'experiment'; readonly experimentId: string };

interface PageRow {
  readonly floorXid: string;
  readonly floorSeq: string;
  readonly xid: string | null;
  readonly seq: string | null;
  readonly workspaceId: string;
  readonly projectIds: string[];
  readonly entries: string | null;
}

export class FeedStore {
  private readonly pool: pg.Pool;

  constructor({ pool }: { pool: pg.Pool }) {
    this.pool = pool;
  }

  /**
   * No transaction below it is open, and none will be. Must be read in a statement of its own before the rows: a
   * snapshot taken for both at once may hold rows that a transaction below them has yet to join.
   */
  async readHorizon(): Promise<bigint> {
    const { rows } = await this.pool.query<{ horizon: string }>(
      '/* feed.horizon */ select pg_snapshot_xmin(pg_current_snapshot())::text as horizon',
    );
    return BigInt(rows[0]?.horizon ?? 0);
  }

  /**
   * The horizon, and the id behind the newest transaction that has ended. Where the horizon is lower, a transaction that
   * is still open holds back what was committed after it.
   */
  async readSnapshot(): Promise<{ readonly horizon: bigint; readonly end: bigint }> {
    const { rows } = await this.pool.query<{ horizon: string; end: string }>(
      `/* feed.snapshot */
      select pg_snapshot_xmin(s)::text as horizon, pg_snapshot_xmax(s)::text as end from pg_current_snapshot() s`,
    );
    return { horizon: BigInt(rows[0]?.horizon ?? 0), end: BigInt(rows[0]?.end ?? 0) };
  }

  /** The first transaction id not given out yet: no cursor can be at or beyond it. */
  async readEnd(): Promise<bigint> {
    const { rows } = await this.pool.query<{ xmax: string }>(
      '/* feed.end */ select pg_snapshot_xmax(pg_current_snapshot())::text as xmax',
    );
    return BigInt(rows[0]?.xmax ?? 0);
  }

  /** Rows of all workspaces behind `position` and below `horizon`. By the primary key. */
  async readAfter(position: FeedPosition, horizon: bigint, limit: number): Promise<FeedPage> {
    const { rows } = await this.pool.query<PageRow>(
      `/* feed.tail */
      select f.xid::text as "floorXid", f.seq::text as "floorSeq", page.*
      from feed_floor f
      left join lateral (
        select xid::text, seq::text, workspace_id as "workspaceId", project_ids as "projectIds", entries,
          row_number() over (order by feed.xid, feed.seq) as place
        from feed
        where (feed.xid, feed.seq) >= ($1::xid8, $2::bigint) and ($3 or (feed.xid, feed.seq) > ($1::xid8, $2::bigint))
          and feed.xid < $4::xid8
        order by feed.xid, feed.seq
        limit $5
      ) page on true
      order by page.place`,
      [String(position.xid), String(position.seq), position.index !== WHOLE_ROW, String(horizon), limit],
    );
    return toPage(rows);
  }

  /**
   * Rows of one workspace behind `position` up to and including `until`, for a subscriber that reads by itself.
   * Rows that do not concern the topic come without entries, so that a page always makes progress. By
   * feed_by_workspace.
   */
  async readWorkspace(
    scope: WorkspaceScope,
    topic: FeedTopic,
    position: FeedPosition,
    until: FeedPosition,
    limit: number,
  ): Promise<FeedPage> {
    const concerns =
      topic.kind === 'trace' ? 'strpos(entries::text, $8::text) > 0' : 'project_ids @> array[$8::uuid]';
    const { rows } = await this.pool.query<PageRow>(
      `/* feed.replay_${topic.kind} */
      select f.xid::text as "floorXid", f.seq::text as "floorSeq", page.*
      from feed_floor f
      left join lateral (
        select xid::text, seq::text, workspace_id as "workspaceId", project_ids as "projectIds",
          case when ${concerns} then entries end as entries,
          row_number() over (order by feed.xid, feed.seq) as place
        from feed
        where workspace_id = $1
          and (feed.xid, feed.seq) >= ($2::xid8, $3::bigint) and ($4 or (feed.xid, feed.seq) > ($2::xid8, $3::bigint))
          and (feed.xid, feed.seq) <= ($5::xid8, $6::bigint)
        order by feed.xid, feed.seq
        limit $7
      ) page on true
      order by page.place`,
      [
        scope.workspaceId,
        String(position.xid),
        String(position.seq),
        position.index !== WHOLE_ROW,
        String(until.xid),
        String(until.seq),
        limit,
        idOf(topic),
      ],
    );
    return toPage(rows);
  }

  /** Whether rows wait behind the horizon for a transaction that is still open. */
  async isHeldBack(horizon: bigint): Promise<boolean> {
    const { rows } = await this.pool.query<{ held: boolean }>(
      '/* feed.held_back */ select exists (select from feed where xid >= $1::xid8) as held',
      [String(horizon)],
    );
    return rows[0]?.held ?? false;
  }

  /** The last position that was trimmed. */
  async floor(): Promise<FeedPosition> {
    const { rows } = await this.pool.query<{ xid: string; seq: string }>(
      '/* feed.floor */ select xid::text, seq::text from feed_floor',
    );
    return { xid: BigInt(rows[0]?.xid ?? 0), seq: BigInt(rows[0]?.seq ?? 0), index: WHOLE_ROW };
  }

  /** Age in seconds of the oldest row a reader at `position` has not taken; 0 where there is none. */
  async lagSeconds(position: FeedPosition): Promise<number> {
    const { rows } = await this.pool.query<{ lag: number }>(
      `/* feed.lag */
      select greatest(extract(epoch from clock_timestamp() - created_at), 0)::float8 as lag
      from feed
      where (xid, seq) >= ($1::xid8, $2::bigint) and ($3 or (xid, seq) > ($1::xid8, $2::bigint))
      order by xid, seq
      limit 1`,
      [String(position.xid), String(position.seq), position.index !== WHOLE_ROW],
    );
    return rows[0]?.lag ?? 0;
  }

  /**
   * Removes up to `batch` of the oldest rows if they are older than `olderThanHours`, and moves the floor in the same
   * transaction. Small batches, since an open transaction holds every reader back. Two trims at once wait for each
   * other on the floor's row.
   * @returns rows removed; call again while it equals `batch`.
   */
  async trim(olderThanHours: number, batch: number): Promise<number> {
    const horizon = await this.readHorizon();
    return transaction(this.pool, async (tx) => {
      await tx.query('/* feed.trim_lock */ select from feed_floor for update');
      // Only an unbroken run of old rows from the start: the floor is one position.
      const { rows } = await tx.query<{ xid: string; seq: string }>(
        `/* feed.trim_find */
        select xid::text, seq::text
        from (
          select xid, seq, bool_and(created_at < now() - make_interval(hours => $1)) over (order by xid, seq) as old
          from (select xid, seq, created_at from feed where xid < $2::xid8 order by xid, seq limit $3) head
        ) aged
        where old
        order by aged.xid desc, aged.seq desc
        limit 1`,
        [olderThanHours, String(horizon), batch],
      );
      const [last] = rows;
      if (last === undefined) return 0;
      await tx.query('/* feed.trim_floor */ update feed_floor set xid = $1::xid8, seq = $2::bigint', [
        last.xid,
        last.seq,
      ]);
      const { rowCount } = await tx.query(
        '/* feed.trim */ delete from feed where (xid, seq) <= ($1::xid8, $2::bigint)',
        [last.xid, last.seq],
      );
      return rowCount ?? 0;
    });
  }
}

function idOf(topic: FeedTopic): string {
  if (topic.kind === 'trace') return topic.traceId;
  return topic.kind === 'project' ? topic.projectId : topic.experimentId;
}

function toPage(rows: readonly PageRow[]): FeedPage {
  const [first] = rows;
  return {
    floor: { xid: BigInt(first?.floorXid ?? 0), seq: BigInt(first?.floorSeq ?? 0), index: WHOLE_ROW },
    rows: rows.flatMap((row) =>
      row.xid === null || row.seq === null
        ? []
        : [
            {
              xid: row.xid,
              seq: row.seq,
              workspaceId: row.workspaceId,
              projectIds: row.projectIds,
              entries: row.entries === null ? [] : (JSON.parse(row.entries) as FeedEntry[]),
            },
          ],
    ),
  };
}
