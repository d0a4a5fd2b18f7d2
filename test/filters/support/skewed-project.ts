/**
 * A project as large ones are, for tests of plans: 16,000 runs over four days, most values common, a few rare, beside
 * three times as many of other projects and workspaces. Written by SQL, because only numbers and skew matter.
 */
import type pg from 'pg';
import { workspaceWord } from '../../../src/filters/search-resolution.js';
import { ensurePartitions } from '../../../src/upkeep/partition.store.js';
import { uuidOf } from './arbitraries.js';

export const WORKSPACE = uuidOf(0xa0);
export const PROJECT = uuidOf(0xb0);
export const DAYS = ['2026-11-01', '2026-11-02', '2026-11-03', '2026-11-04'] as const;
export const RUNS = 16_000;
/** Every so many runs is one with the rare values; the other values are on all. */
const RARE_EVERY = 800;
/** A trace is a root and four children. */
const TRACE_SIZE = 5;

/** The run `n`, in SQL: its version 7 id names the millisecond it started in. */
const startMs = (n: string): string =>
  `(extract(epoch from timestamptz '${DAYS[0]}') * 1000 + (${n}) % ${RUNS} * ${Math.floor((DAYS.length * 86_400_000) / RUNS)})::bigint`;
const idOf = (n: string): string =>
  `(lpad(to_hex(${startMs(n)}), 12, '0') || '7000a000' || lpad(to_hex(${n}), 12, '0'))::uuid`;

export async function idOfRun(pool: pg.Pool, n: number): Promise<string> {
  const { rows } = await pool.query<{ id: string }>(`select ${idOf(String(n))} as id`);
  return rows[0]?.id ?? '';
}

async function storeRuns(
  pool: pg.Pool,
  { workspaceId, projectId, place }: { workspaceId: string; projectId: string; place: number },
): Promise<void> {
  const root = `n - n % ${TRACE_SIZE}`;
  const rare = `n % ${RARE_EVERY} = 7`;
  await pool.query(
    `insert into runs (workspace_id, id, day, project_id, trace_id, parent_run_id, dotted_order, name, run_type, status,
       start_time, end_time, first_token_time, latency, first_token_latency, error, tags, thread_id, tenant_id, model,
       provider, prompt_tokens, completion_tokens, total_tokens, prompt_cost, completion_cost, total_cost,
       reference_example_id, metadata, attributes, extra, inputs, outputs, revision, merge_rank, created_at, updated_at)
     select $1, ${idOf('n')}, to_timestamp(${startMs('n')} / 1000.0)::date, $2, ${idOf(root)},
       case when n % ${TRACE_SIZE} > 0 then ${idOf(root)} end, to_char(n, '0000000'),
       case when ${rare} then 'rare' else 'step ' || n % 20 end, case when ${rare} then 'tool' else 'llm' end,
       case when ${rare} then 'error' else 'success' end,
       to_timestamp(${startMs('n')} / 1000.0), to_timestamp(${startMs('n')} / 1000.0 + 1),
       to_timestamp(${startMs('n')} / 1000.0 + 0.1), n % 100, 0.1, case when ${rare} then 'it failed' end,
       case when ${rare} then '{common,rare}' else '{common}' end::text[],
       'thread ' || n / 20, 'tenant ' || n % 50, case when ${rare} then 'rare' else 'common' end, 'provider',
       n % 1000, n % 1000, n % 1000, n % 1000, n % 1000, n % 1000, case when ${rare} then $3::uuid end, '{}',
       jsonb_build_object('stage', case when ${rare} then 'rare' else 'common' end, 'customer', 'c' || n / 20), '{}',
       '{"q": "what is common"}', '{"a": "something"}', 1, 0, now(), now()
     from generate_series($4::int, ${RUNS - 1} + $4::int) n`,
    [workspaceId, projectId, uuidOf(0xe0), place * RUNS],
  );
  await pool.query(
    `insert into run_search (workspace_id, run_id, day, words, input_pairs, output_pairs, revision)
     select r.workspace_id, r.id, r.day, array_to_tsvector(array[$3, 'common'] || case when r.name = 'rare' then array['rare'] else '{}' end),
       jsonb_build_object('q', r.name), jsonb_build_object('a', r.name), 1
     from runs r where r.workspace_id = $1 and r.project_id = $2`,
    [workspaceId, projectId, workspaceWord(workspaceId)],
  );
  // A score on every run, and one on few; what judges have not reached is where nobody has filed it.
  await pool.query(
    `insert into feedback (workspace_id, id, run_id, trace_id, project_id, key, score, value, comment, source_type, source, created_at, updated_at)
     select r.workspace_id, gen_random_uuid(), r.id, r.trace_id, r.project_id, k.key,
       case when r.name = 'rare' then 0.1 else 0.5 + r.latency / 200 end, to_jsonb(r.name), 'comment', 'api', '{}', now(), now()
     from runs r cross join (values ('common'), ('rare')) k (key)
     where r.workspace_id = $1 and r.project_id = $2 and (k.key = 'common' or r.name = 'rare')`,
    [workspaceId, projectId],
  );
}

/** Stores all of it, with statistics as autovacuum would have gathered them. */
export async function storeSkewedProject(pool: pg.Pool): Promise<void> {
  await ensurePartitions(pool, DAYS);
  const places = [
    [WORKSPACE, PROJECT],
    [WORKSPACE, uuidOf(0xb1)],
    [uuidOf(0xa1), uuidOf(0xb2)],
    [uuidOf(0xa2), uuidOf(0xb3)],
  ] as const;
  for (const [place, [workspaceId, projectId]] of places.entries()) {
    await storeRuns(pool, { workspaceId, projectId, place });
  }
  await pool.query('vacuum analyze runs, feedback, run_search');
}
