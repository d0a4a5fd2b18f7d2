/**
 * Keeps the search index behind the feed. It takes committed feed rows in log order from a saved position, indexes the
 * runs they name as they are now, and saves the new position after them. Any number of processes may run it: one works,
 * the others find the lock taken.
 */
import type pg from 'pg';
import type { Queryable } from '../platform/db.js';
import { everywhere } from '../platform/db-scope.js';
import type { FeedRow } from '../live/feed.js';
import type { FeedPage } from '../live/feed.store.js';
import type { FeedPosition } from '../live/feed-position.js';
import { beforeXid, isTrimmed, WHOLE_ROW } from '../live/feed-position.js';
import type { Logger } from '../platform/log.js';
import { trustedScope } from '../tenancy/principal.js';
import type { SearchStore, SweepPlace } from './search.store.js';

/** What the indexer needs of the feed (FeedStore). */
export interface IndexedFeed {
  readHorizon(): Promise<bigint>;
  readAfter(position: FeedPosition, horizon: bigint, limit: number): Promise<FeedPage>;
}

export interface SearchIndexerDeps {
  readonly pool: pg.Pool;
  readonly store: SearchStore;
  readonly feed: IndexedFeed;
  readonly log: Logger;
}

export interface IndexerStep {
  /** Runs whose index row was written now. */
  readonly indexed: number;
  /** There was more below the horizon than one step takes: call again at once. */
  readonly behind: boolean;
}

/** Any constant will do as long as nobody else uses it in this database. */
const INDEXER_LOCK = 7_239_401_116;
const FEED_ROWS = 200;
const SWEEP_RUNS = 2_000;
/** Feed entries per step, give or take a row: what is looked up at once. */
const STEP_RUNS = 5_000;

const NOTHING: IndexerStep = { indexed: 0, behind: false };

export class SearchIndexer {
  /** A walk over all runs, after the feed was trimmed before it was read. Lost at a restart, then begun anew. */
  private sweeping: { readonly floor: FeedPosition; after: SweepPlace | undefined } | undefined;
  private running: Promise<IndexerStep> | undefined;

  constructor(private readonly deps: SearchIndexerDeps) {}

  /** One step, or the end of the one that is under way. Does nothing while another process is at it. */
  runOnce(): Promise<IndexerStep> {
    this.running ??= everywhere('search index', () => this.exclusively((db) => this.step(db))).finally(() => {
      this.running = undefined;
    });
    return this.running;
  }

  /** Forgets up to `limit` runs of days before `day`, whose partitions have gone. Returns how many it were. */
  async forgetBefore(day: string, limit: number): Promise<number> {
    return everywhere('search index', () => this.deps.store.removeBefore(this.deps.pool, day, limit));
  }

  /**
   * The lock belongs to the session and everything is written in that session: whoever can still write still has the
   * lock. There is no transaction around the work, which would hold the feed's readers back.
   */
  private async exclusively(work: (db: Queryable) => Promise<IndexerStep>): Promise<IndexerStep> {
    const client = await this.deps.pool.connect();
    let broken: Error | undefined;
    try {
      const { rows } = await client.query<{ locked: boolean }>(
        '/* search.lock */ select pg_try_advisory_lock($1) as locked',
        [INDEXER_LOCK],
      );
      if (rows[0]?.locked !== true) return NOTHING;
      const done = await work(client);
      await client.query('/* search.unlock */ select pg_advisory_unlock($1)', [INDEXER_LOCK]);
      return done;
    } catch (error) {
      // Whatever went wrong: a connection that may still hold the lock must not go back to the pool.
      broken = error instanceof Error ? error : new Error(String(error));
      throw error;
    } finally {
      client.release(broken);
    }
  }

  private async step(db: Queryable): Promise<IndexerStep> {
    const { store, feed, log } = this.deps;
    const saved = await store.position(db);
    const position: FeedPosition = { xid: BigInt(saved.xid), seq: BigInt(saved.seq), index: WHOLE_ROW };
    const horizon = await feed.readHorizon();
    if (position.xid > beforeXid(horizon).xid) {
      // Transaction ids only run backwards on a database that was restored elsewhere.
      log.error('the feed went back in time, it is indexed from its beginning');
      await store.advance(db, { xid: '0', seq: '0' });
      return { indexed: 0, behind: true };
    }
    const page = await feed.readAfter(position, horizon, FEED_ROWS);
    if (isTrimmed(position, page.floor)) return this.sweep(db, page.floor);
    const { rows, changed, removed } = portionOf(page.rows);
    const last = rows.at(-1);
    if (last === undefined) return NOTHING;
    // Removals first: a run that was deleted and written again is one that was written. Changed runs are read after
    // the feed rows that name them, so what is found is at least as new.
    for (const [workspaceId, ids] of removed) await store.remove(db, trustedScope(workspaceId), [...ids]);
    const indexed = await this.index(db, changed);
    // Last: a step that breaks off is done again, and twice does no harm.
    await store.advance(db, last);
    return { indexed, behind: rows.length < page.rows.length || page.rows.length === FEED_ROWS };
  }

  private async index(db: Queryable, changed: RunIds): Promise<number> {
    const { store } = this.deps;
    let indexed = 0;
    for (const [workspaceId, ids] of changed) {
      const wanted = [...ids];
      let after: string | undefined;
      for (;;) {
        const runs = await store.stale(db, trustedScope(workspaceId), wanted, after);
        if (runs.length === 0) break;
        await store.upsert(db, runs);
        indexed += runs.length;
        after = runs.at(-1)?.id;
      }
    }
    return indexed;
  }

  /**
   * The feed was trimmed before it was read: what changed in between is unknown, so all runs are looked at once. Until
   * that is done searches can miss runs that changed in the gap.
   */
  private async sweep(db: Queryable, floor: FeedPosition): Promise<IndexerStep> {
    const { store, log } = this.deps;
    if (this.sweeping === undefined) {
      log.warn(
        { floor: String(floor.xid) },
        'the feed was trimmed before it was indexed, all runs are looked at',
      );
      this.sweeping = { floor, after: undefined };
    }
    const places = await store.sweep(db, this.sweeping.after, SWEEP_RUNS);
    const found: RunIds = new Map();
    for (const { workspaceId, id } of places) collect(found, workspaceId, id);
    const indexed = await this.index(db, found);
    if (places.length === SWEEP_RUNS) {
      this.sweeping.after = places.at(-1);
      return { indexed, behind: true };
    }
    // Everything up to the floor of the walk's beginning was committed before the walk began.
    const reached = this.sweeping.floor;
    await store.advance(db, { xid: String(reached.xid), seq: String(reached.seq) });
    this.sweeping = undefined;
    return { indexed, behind: true };
  }
}

/** Run ids by workspace. */
type RunIds = Map<string, Set<string>>;

function collect(ids: RunIds, workspaceId: string, id: string): void {
  const own = ids.get(workspaceId);
  if (own === undefined) ids.set(workspaceId, new Set([id]));
  else own.add(id);
}

/** The first rows, as many as name STEP_RUNS runs, and the runs they name. */
function portionOf(page: readonly FeedRow[]): { rows: FeedRow[]; changed: RunIds; removed: RunIds } {
  const rows: FeedRow[] = [];
  const changed: RunIds = new Map();
  const removed: RunIds = new Map();
  let entries = 0;
  for (const row of page) {
    if (entries >= STEP_RUNS) break;
    rows.push(row);
    entries += row.entries.length;
    for (const [kind, , runId] of row.entries) {
      if (kind !== 'f' && kind !== 'x') collect(kind === 'd' ? removed : changed, row.workspaceId, runId);
    }
  }
  return { rows, changed, removed };
}
