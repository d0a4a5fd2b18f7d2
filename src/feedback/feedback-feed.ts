/** Feedback in the change feed. */
import { appendFeed, type FeedEntry } from '../live/feed.js';
import type { Queryable } from '../platform/db.js';
import type { WorkspaceScope } from '../tenancy/principal.js';
import type { Feedback } from './feedback.js';

/**
 * Appends changed feedback to the feed, in the caller's transaction. Returns whether anything was: feedback that
 * belongs to no known run concerns no subscriber yet.
 */
export async function publishFeedback(
  tx: Queryable,
  scope: WorkspaceScope,
  changed: readonly Feedback[],
): Promise<boolean> {
  const projects: string[] = [];
  const entries: FeedEntry[] = [];
  for (const { id, runId, traceId, projectId } of changed) {
    if (runId === null || traceId === null || projectId === null) continue;
    let project = projects.indexOf(projectId);
    if (project === -1) project = projects.push(projectId) - 1;
    entries.push(['f', project, runId, traceId, id]);
  }
  if (entries.length > 0) await appendFeed(tx, scope.workspaceId, projects, entries);
  return entries.length > 0;
}
