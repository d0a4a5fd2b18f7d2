/**
 * The change feed's format: one row per committed batch and workspace, written in the same transaction as the
 * change. Cursors are positions in it.
 */
import type { Queryable } from '../platform/db.js';

/**
 * s: a run was first heard of. e: it ended (or failed). u: it changed otherwise. f: feedback on it changed. d: it was deleted.
 * x: the experiment that is its project made progress; its id stands for run and trace.
 */
export type FeedKind = 's' | 'e' | 'u' | 'f' | 'd' | 'x';

/** [kind, index into the row's project ids, run id, trace id, feedback id (kind f only)] */
export type FeedEntry = readonly [
  kind: FeedKind,
  project: number,
  runId: string,
  traceId: string,
  feedbackId?: string,
];

export interface FeedRow {
  readonly xid: string;
  readonly seq: string;
  readonly workspaceId: string;
  readonly projectIds: readonly string[];
  readonly entries: readonly FeedEntry[];
}

/** The doorbell topic that is rung after a commit that wrote feed rows. The payload means nothing. */
export const FEED_TOPIC = 'feed';

/** Appends to the feed inside the caller's transaction. The caller rings FEED_TOPIC after its commit. */
export async function appendFeed(
  tx: Queryable,
  workspaceId: string,
  projectIds: readonly string[],
  entries: readonly FeedEntry[],
): Promise<void> {
  await tx.query(
    '/* feed.append */ insert into feed (workspace_id, project_ids, entries) values ($1, $2, $3)',
    [workspaceId, projectIds, JSON.stringify(entries)],
  );
}
