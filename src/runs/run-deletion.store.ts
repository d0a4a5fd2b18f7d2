/**
 * Removing runs with all that hangs on them. There are no foreign keys into runs, so the cascade is written here,
 * once, for every way a run can go. All functions work inside the caller's transaction.
 */
import { awaitWriters } from '../ingest/run-followers.js';
import { appendFeed } from '../live/feed.js';
import type { FeedEntry } from '../live/feed.js';
import type { Queryable } from '../platform/db.js';
import type { WorkspaceScope } from '../tenancy/principal.js';

interface DeletedRun {
  readonly id: string;
  readonly traceId: string;
  readonly projectId: string;
}

/** Entries per feed row: readers hold a row in memory as a whole. */
const FEED_ROW_ENTRIES = 1_000;

/** Statements that remove what belongs to runs $2 of workspace $1. Chunks go before the rows that lead to them. */
const CASCADE: readonly string[] = [
  `/* attachments.delete_chunks_of_runs */
  delete from attachment_chunks c
  using attachments a
  where a.workspace_id = $1 and a.run_id = any($2::uuid[]) and c.workspace_id = $1 and c.attachment_id = a.id`,
  `/* attachments.delete_of_runs */ delete from attachments where workspace_id = $1 and run_id = any($2::uuid[])`,
  `/* feedback.delete_of_runs */ delete from feedback where workspace_id = $1 and run_id = any($2::uuid[])`,
  `/* feedback_tokens.delete_of_runs */
  delete from feedback_tokens where workspace_id = $1 and run_id = any($2::uuid[])`,
  `/* run_shares.delete_of_runs */ delete from run_shares where workspace_id = $1 and run_id = any($2::uuid[])`,
  // The indexer would do it when it reads the feed; an erased text must be gone at once.
  `/* run_search.delete_of_runs */ delete from run_search where workspace_id = $1 and run_id = any($2::uuid[])`,
  `/* run_followers.delete_of_runs */ delete from run_followers where workspace_id = $1 and run_id = any($2::uuid[])`,
  `/* runs.delete_locators */ delete from run_locator where workspace_id = $1 and run_id = any($2::uuid[])`,
];

/** Which traces of a project, and where their runs can be. */
export interface TracesToDelete {
  readonly projectId: string;
  readonly traceIds: readonly string[];
  readonly days: readonly string[];
}

/**
 * Marks the traces that have a run in the project as deleted, and returns them. Once this is committed, no event
 * makes a run of them: writers look at the marks before they write, and the lock waits for those that looked
 * before. It holds the workspace's writers up for the moment it takes, hence a transaction of its own without the
 * deletion; those of other workspaces go on.
 */
export async function buryTraces(
  tx: Queryable,
  scope: WorkspaceScope,
  { projectId, traceIds, days }: TracesToDelete,
  now: Date,
): Promise<string[]> {
  const { rows } = await tx.query<{ traceId: string }>(
    `/* traces.find_of_project */
    select distinct trace_id as "traceId"
    from runs
    where workspace_id = $1 and trace_id = any($2::uuid[]) and project_id = $3 and day = any($4::date[])
    limit $5`,
    [scope.workspaceId, traceIds, projectId, days, traceIds.length],
  );
  const found = rows.map(({ traceId }) => traceId);
  if (found.length === 0) return [];
  await awaitWriters(tx, scope.workspaceId);
  await tx.query(
    `/* traces.bury */
    insert into trace_tombstones (workspace_id, trace_id, deleted_at)
    select $1, trace_id, $3 from unnest($2::uuid[]) t (trace_id)
    on conflict (workspace_id, trace_id) do nothing`,
    [scope.workspaceId, found, now.toISOString()],
  );
  return found;
}

/** Deletes all runs of buried traces, in whatever projects they are. Repeating it is harmless. */
export async function deleteTraces(
  tx: Queryable,
  scope: WorkspaceScope,
  { traceIds, days }: Pick<TracesToDelete, 'traceIds' | 'days'>,
): Promise<number> {
  const { rows } = await tx.query<DeletedRun & Record<string, unknown>>(
    `/* traces.delete */
    delete from runs
    where workspace_id = $1 and trace_id = any($2::uuid[]) and day = any($3::date[])
    returning id, trace_id as "traceId", project_id as "projectId"`,
    [scope.workspaceId, traceIds, days],
  );
  await tx.query(
    `/* trace_days.delete */ delete from trace_days where workspace_id = $1 and trace_id = any($2::uuid[])`,
    [scope.workspaceId, traceIds],
  );
  await forget(tx, scope, rows);
  return rows.length;
}

/**
 * Deletes up to `batch` runs of one day of a project. `done` once no day is left; until then call again.
 * Running twice at once is harmless: each takes what the other has not.
 */
export async function deleteRunsOfProject(
  tx: Queryable,
  scope: WorkspaceScope,
  projectId: string,
  batch: number,
): Promise<{ deleted: number; done: boolean }> {
  const { rows: days } = await tx.query<{ day: string }>(
    `/* runs.first_day_of_project */
    select day from run_days where workspace_id = $1 and project_id = $2 order by day limit 1`,
    [scope.workspaceId, projectId],
  );
  const day = days[0]?.day;
  if (day === undefined) {
    await tx.query(
      `/* feedback.delete_of_project */ delete from feedback where workspace_id = $1 and project_id = $2 and run_id is null`,
      [scope.workspaceId, projectId],
    );
    // Traces may have runs in other projects, too: only days without any are known to lead nowhere.
    await tx.query(
      `/* trace_days.delete_empty */
      delete from trace_days t
      where workspace_id = $1
        and not exists (select from run_days d where d.workspace_id = $1 and d.day = t.day)`,
      [scope.workspaceId],
    );
    return { deleted: 0, done: true };
  }
  const { rows } = await tx.query<DeletedRun & Record<string, unknown>>(
    `/* runs.delete_of_project */
    delete from runs
    where workspace_id = $1 and day = $3 and id in (
      select id from runs where workspace_id = $1 and project_id = $2 and day = $3 limit $4)
    returning id, trace_id as "traceId", project_id as "projectId"`,
    [scope.workspaceId, projectId, day, batch],
  );
  await forget(tx, scope, rows);
  if (rows.length < batch) {
    await tx.query(
      `/* runs.forget_day */
      delete from run_days
      where workspace_id = $1 and project_id = $2 and day = $3
        and not exists (select from runs where workspace_id = $1 and project_id = $2 and day = $3)`,
      [scope.workspaceId, projectId, day],
    );
  }
  return { deleted: rows.length, done: false };
}

async function forget(tx: Queryable, scope: WorkspaceScope, runs: readonly DeletedRun[]): Promise<void> {
  if (runs.length === 0) return;
  const ids = runs.map(({ id }) => id);
  for (const statement of CASCADE) await tx.query(statement, [scope.workspaceId, ids]);
  for (let start = 0; start < runs.length; start += FEED_ROW_ENTRIES) {
    const part = runs.slice(start, start + FEED_ROW_ENTRIES);
    const projectIds = [...new Set(part.map(({ projectId }) => projectId))];
    const entries = part.map(({ id, traceId, projectId }): FeedEntry => [
      'd',
      projectIds.indexOf(projectId),
      id,
      traceId,
    ]);
    await appendFeed(tx, scope.workspaceId, projectIds, entries);
  }
}
