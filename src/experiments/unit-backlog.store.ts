/** How much of experiments is left to do, over all workspaces: numbers for metrics, never whose they are. */
import type { Queryable } from '../platform/db.js';
import { everywhere } from '../platform/db-scope.js';

export interface UnitBacklog {
  /** target: rows whose target is to be called. evaluation: rows and evaluators. */
  readonly kind: 'target' | 'evaluation';
  /** Units that could be started now; at most 10,000 of an experiment are counted. */
  readonly pending: number;
  /** How long the oldest of them could have been; 0 where there is none. */
  readonly oldestSeconds: number;
}

/** Experiments looked at, newest first. */
const EXPERIMENTS = 1_000;

const waitingIn = (table: string): string => `
  select count(*) as pending, min(available_at) as oldest
  from (
    select u.available_at from ${table} u
    where u.workspace_id = e.workspace_id and u.experiment_id = e.experiment_id
      and u.state = 'pending' and u.available_at <= clock_timestamp()
    limit 10000
  ) waiting`;

export class UnitBacklogStore {
  private readonly db: Queryable;

  constructor({ db }: { db: Queryable }) {
    this.db = db;
  }

  /** Uses the indexes of open experiments and open units. */
  async read(): Promise<UnitBacklog[]> {
    const { rows } = await everywhere('unit backlog', () =>
      this.db.query<UnitBacklog & Record<string, unknown>>(
        `/* experiments.backlog */
        with open as materialized (
          select workspace_id, experiment_id
          from experiment_executions
          where state = 'running'
          order by created_at desc
          limit $1
        ), counted as (
          select 'target' as kind, w.* from open e cross join lateral (${waitingIn('experiment_rows')}) w
          union all
          select 'evaluation', w.* from open e cross join lateral (${waitingIn('experiment_results')}) w
        )
        select kinds.kind, coalesce(sum(pending), 0)::int8 as pending,
          coalesce(extract(epoch from clock_timestamp() - min(oldest)), 0)::float8 as "oldestSeconds"
        from (values ('target'), ('evaluation')) kinds (kind) left join counted using (kind)
        group by kinds.kind`,
        [EXPERIMENTS],
      ),
    );
    return rows;
  }
}
