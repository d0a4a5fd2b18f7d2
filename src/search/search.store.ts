/**
 * The search index's tables: rows of run_search, the indexer's place in the feed, and the runs to be indexed. Which
 * words and pairs a run has is src/filters/text-index.ts's.
 */
import { naturalDay, STRAY_DAY } from '../ingest/run-location.js';
import { workspaceWord } from '../filters/search-resolution.js';
import { MAX_PAYLOAD, textIndexOf, type SearchableRun } from '../filters/text-index.js';
import type { Queryable } from '../platform/db.js';
import type { WorkspaceScope } from '../tenancy/principal.js';

/** The last feed row that was worked off. Decimal text, as Postgres prints xid8 and int8. */
export interface SearchPosition {
  readonly xid: string;
  readonly seq: string;
}

/** A run whose index row is missing or shows another revision. */
export interface StaleRun extends SearchableRun {
  readonly workspaceId: string;
  readonly id: string;
  readonly day: string;
  readonly revision: number;
  /** It has an index row, of another revision. */
  readonly outdated: boolean;
}

/** Where a walk over all runs stands: the last key looked at. */
export interface SweepPlace {
  readonly workspaceId: string;
  readonly id: string;
  readonly day: string;
}

interface StaleRow {
  outdated: boolean;
  workspaceId: string;
  id: string;
  day: string;
  revision: number;
  name: string;
  error: string | null;
  inputs: string | null;
  outputs: string | null;
}

/** Runs and stored payload bytes fetched at once: what is parsed is held in memory as a whole. */
const FETCH_RUNS = 500;
const FETCH_BYTES = 32 * 1_024 * 1_024;

// pg_column_size reads the size from the row; the payload itself is fetched for the runs that stay. Payloads above
// the index's limit are not fetched at all (a character has at least one byte, so none within it is missed).
const PAYLOAD_SIZE = `coalesce(pg_column_size(r.inputs), 0) + coalesce(pg_column_size(r.outputs), 0)`;
const payload = (side: 'inputs' | 'outputs'): string =>
  `case when pg_column_size(r.${side}) <= ${4 * MAX_PAYLOAD} then r.${side} end as ${side}`;
const STALE_COLUMNS = `r.workspace_id as "workspaceId", r.id, r.day, r.revision, r.name, r.error,
  ${payload('inputs')}, ${payload('outputs')}`;

export class SearchStore {
  /** Where the indexer stands. */
  async position(db: Queryable): Promise<SearchPosition> {
    const { rows } = await db.query<{ xid: string; seq: string }>(
      '/* search.position */ select xid::text, seq::text from search_position',
    );
    const [row] = rows;
    if (row === undefined) throw new Error('search_position is empty: the migration was not applied');
    return row;
  }

  /** Saves where the indexer stands. Only ever called by the one that holds the lock. */
  async advance(db: Queryable, to: SearchPosition): Promise<void> {
    await db.query('/* search.advance */ update search_position set xid = $1::xid8, seq = $2::bigint', [
      to.xid,
      to.seq,
    ]);
  }

  /**
   * Runs of a workspace that changed behind the indexer's position, at most `limit` of them. By feed_by_workspace.
   */
  async tail(db: Queryable, scope: WorkspaceScope, limit: number): Promise<string[]> {
    const { rows } = await db.query<{ id: string }>(
      `/* search.tail */
      select distinct entry ->> 2 as id
      from search_position p
      cross join lateral (
        select entries from feed
        where workspace_id = $1 and (xid, seq) > (p.xid, p.seq)
      ) f
      cross join lateral json_array_elements(f.entries) entry
      where entry ->> 0 in ('s', 'e', 'u')
      limit $2`,
      [scope.workspaceId, limit],
    );
    return rows.map(({ id }) => id);
  }

  /**
   * Those of the runs whose index row does not show their latest revision, in order of id behind `afterId`: as many
   * as fit into memory. Empty when there are no more.
   */
  async stale(
    db: Queryable,
    scope: WorkspaceScope,
    ids: readonly string[],
    afterId: string | undefined,
  ): Promise<StaleRun[]> {
    if (ids.length === 0) return [];
    const { rows } = await db.query<StaleRow>(
      `/* search.stale */
      with candidates as (
        select asked.id, r.day, s.revision is not null as outdated, row_number() over (order by asked.id) as place,
          sum(${PAYLOAD_SIZE}) over (order by asked.id) - (${PAYLOAD_SIZE}) as bytes_before
        from unnest($2::uuid[], $3::date[]) as asked (id, day)
        left join run_locator l on l.workspace_id = $1 and l.run_id = asked.id
        cross join lateral (
          select day, revision, inputs, outputs
          from runs
          where workspace_id = $1 and id = asked.id and day in (asked.day, l.day, date '${STRAY_DAY}')
          limit 1
        ) r
        left join run_search s on s.workspace_id = $1 and s.run_id = asked.id
        where s.revision is distinct from r.revision and ($4::uuid is null or asked.id > $4)
      )
      select c.outdated, ${STALE_COLUMNS}
      from candidates c
      join runs r on r.workspace_id = $1 and r.id = c.id and r.day = c.day
      where c.place <= $5 and c.bytes_before < $6
      order by r.id`,
      [
        scope.workspaceId,
        ids,
        ids.map((id) => naturalDay(id) ?? null),
        afterId ?? null,
        FETCH_RUNS,
        FETCH_BYTES,
      ],
    );
    return rows.map(toStaleRun);
  }

  /** The keys of the next `limit` runs of all workspaces, in order of the primary key. */
  async sweep(db: Queryable, after: SweepPlace | undefined, limit: number): Promise<SweepPlace[]> {
    const { rows } = await db.query<{ workspaceId: string; id: string; day: string }>(
      `/* search.sweep */
      select workspace_id as "workspaceId", id, day
      from runs
      ${after === undefined ? '' : 'where (workspace_id, id, day) > ($2::uuid, $3::uuid, $4::date)'}
      order by workspace_id, id, day
      limit $1`,
      after === undefined ? [limit] : [limit, after.workspaceId, after.id, after.day],
    );
    return rows;
  }

  /** Writes index rows. Twice does no harm. Only ever called by the one that holds the lock. */
  async upsert(tx: Queryable, runs: readonly StaleRun[]): Promise<void> {
    if (runs.length === 0) return;
    const indexes = runs.map(textIndexOf);
    await tx.query(
      `/* search.upsert */
      insert into run_search (workspace_id, run_id, day, words, input_pairs, output_pairs, revision)
      select workspace_id, run_id, day, words::tsvector, input_pairs::jsonb, output_pairs::jsonb, revision
      from unnest($1::uuid[], $2::uuid[], $3::date[], $4::text[], $5::text[], $6::text[], $7::bigint[])
        as row (workspace_id, run_id, day, words, input_pairs, output_pairs, revision)
      order by workspace_id, run_id
      on conflict (workspace_id, run_id) do update set
        day = excluded.day, words = excluded.words, input_pairs = excluded.input_pairs,
        output_pairs = excluded.output_pairs, revision = excluded.revision
      where run_search.revision <> excluded.revision`,
      [
        runs.map((run) => run.workspaceId),
        runs.map((run) => run.id),
        runs.map((run) => run.day),
        // Words are letters and digits, so quotes are all the tsvector syntax needs.
        runs.map((run, index) =>
          [workspaceWord(run.workspaceId), ...(indexes[index]?.words ?? [])]
            .map((word) => `'${word}'`)
            .join(' '),
        ),
        indexes.map((index) => JSON.stringify(index.inputs)),
        indexes.map((index) => JSON.stringify(index.outputs)),
        runs.map((run) => run.revision),
      ],
    );
  }

  /** Forgets runs that were deleted. */
  async remove(tx: Queryable, scope: WorkspaceScope, ids: readonly string[]): Promise<void> {
    if (ids.length === 0) return;
    await tx.query(
      '/* search.remove */ delete from run_search where workspace_id = $1 and run_id = any($2::uuid[])',
      [scope.workspaceId, ids],
    );
  }

  /** Forgets up to `limit` runs of all workspaces that lived before `day`. Returns how many it were. */
  async removeBefore(db: Queryable, day: string, limit: number): Promise<number> {
    const { rowCount } = await db.query(
      `/* search.remove_before */
      delete from run_search
      where (workspace_id, run_id) in (select workspace_id, run_id from run_search where day < $1 and day > date '${STRAY_DAY}' limit $2)`,
      [day, limit],
    );
    return rowCount ?? 0;
  }
}

function toStaleRun({ inputs, outputs, error, ...row }: StaleRow): StaleRun {
  return {
    ...row,
    error: error ?? undefined,
    content: { inputs: inputs ?? undefined, outputs: outputs ?? undefined },
  };
}
