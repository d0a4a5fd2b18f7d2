/** Remembers the days of runs that lie before their trace, where readers of the trace would not look for them. */
import type { Queryable } from '../platform/db.js';

export interface TraceDay {
  readonly workspaceId: string;
  readonly traceId: string;
  readonly day: string;
}

/** Adds what is not there yet. The caller has picked them by `precedesTrace`; mostly there are none. */
export async function addTraceDays(db: Queryable, days: readonly TraceDay[]): Promise<void> {
  if (days.length === 0) return;
  await db.query(
    `/* trace_days.add */
    insert into trace_days (workspace_id, trace_id, day)
    select distinct * from unnest($1::uuid[], $2::uuid[], $3::date[]) d (workspace_id, trace_id, day)
    order by 1, 2, 3
    on conflict (workspace_id, trace_id, day) do nothing`,
    [
      days.map(({ workspaceId }) => workspaceId),
      days.map(({ traceId }) => traceId),
      days.map(({ day }) => day),
    ],
  );
}
