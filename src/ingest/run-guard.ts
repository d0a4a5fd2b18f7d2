/**
 * What may be written at this moment: a look at tombstones, projects and followers in one statement, at the beginning
 * of the transaction that writes.
 */
import type pg from 'pg';
import { refuseFollowed } from './run-followers.js';
import type { RunDraft } from './run-merge.js';

export interface DraftToWrite {
  readonly draft: RunDraft;
  readonly day: string;
  /** The project of a run that names none. */
  readonly defaultProjectId: string;
}

/** A project was deleted since it was resolved, or never existed. Nothing was written. */
export class ProjectGoneError extends Error {
  constructor(readonly projectIds: readonly string[]) {
    super('project not found');
  }
}

const GUARD = `/* runs.guard */
select
  (select coalesce(array_agg(t.workspace_id::text || t.trace_id::text), '{}')
   from unnest($1::uuid[], $2::uuid[]) as w (workspace_id, trace_id)
   join trace_tombstones t on t.workspace_id = w.workspace_id and t.trace_id = w.trace_id) as dead_traces,
  (select coalesce(array_agg(w.id::text), '{}')
   from unnest($3::uuid[], $4::uuid[]) as w (workspace_id, id)
   where not exists (select from projects p where p.workspace_id = w.workspace_id and p.id = w.id)) as missing_projects,
  (select coalesce(array_agg(w.id::text), '{}')
   from unnest($5::uuid[]) as w (id)
   where exists (select from run_followers f where f.workspace_id = w.id)) as followed_workspaces`;

/**
 * Leaves out runs of deleted traces; refuses to write into projects that are not there, and runs that others
 * follow unless their workspace's places are held alone.
 */
export async function guard(
  client: pg.PoolClient,
  items: readonly DraftToWrite[],
  settling: ReadonlySet<string>,
): Promise<readonly DraftToWrite[]> {
  const traces = new Map<string, [string, string]>();
  const projects = new Map<string, [string, string]>();
  const shared = new Set<string>();
  for (const { draft, defaultProjectId } of items) {
    if (!settling.has(draft.workspaceId)) shared.add(draft.workspaceId);
    const traceId = draft.traceId ?? draft.parentRunId ?? draft.id;
    traces.set(draft.workspaceId + traceId, [draft.workspaceId, traceId]);
    const projectId = draft.projectId ?? defaultProjectId;
    projects.set(projectId, [draft.workspaceId, projectId]);
  }
  const column = (entries: Map<string, [string, string]>, index: 0 | 1): string[] =>
    [...entries.values()].map((entry) => entry[index]);
  const { rows } = await client.query<{
    dead_traces: string[];
    missing_projects: string[];
    followed_workspaces: string[];
  }>({
    name: 'runs.guard',
    text: GUARD,
    values: [column(traces, 0), column(traces, 1), column(projects, 0), column(projects, 1), [...shared]],
  });
  const found = rows[0];
  if (found === undefined) throw new Error('the guard answered nothing');
  if (found.missing_projects.length > 0) throw new ProjectGoneError(found.missing_projects);
  const followed = new Set(found.followed_workspaces);
  if (followed.size > 0) {
    await refuseFollowed(
      client,
      items.map(({ draft }) => draft).filter(({ workspaceId }) => followed.has(workspaceId)),
    );
  }
  if (found.dead_traces.length === 0) return items;
  const dead = new Set(found.dead_traces);
  return items.filter(
    ({ draft }) => !dead.has(draft.workspaceId + (draft.traceId ?? draft.parentRunId ?? draft.id)),
  );
}
