/** Arranges runs and feed rows directly in a database, as a writer would commit them. */
import type pg from 'pg';
import { v4, v7 } from 'uuid';
import { appendFeed } from '../../../src/live/feed.js';
import type { FeedEntry, FeedKind } from '../../../src/live/feed.js';
import { naturalDay } from '../../../src/ingest/run-location.js';

export interface World {
  readonly workspaceId: string;
  readonly projectId: string;
}

export const newWorld = (): World => ({ workspaceId: v7(), projectId: v7() });

export interface ArrangedRun {
  readonly id: string;
  readonly traceId: string;
}

export const newRun = (traceId?: string): ArrangedRun => {
  const id = v7();
  return { id, traceId: traceId ?? id };
};

/** Days whose partition was made, per pool: several test files share nothing. */
const partitions = new WeakMap<pg.Pool, Set<string>>();

async function ensurePartition(pool: pg.Pool, day: string): Promise<void> {
  const made = partitions.get(pool) ?? new Set();
  partitions.set(pool, made);
  if (made.has(day)) return;
  const name = `runs_test_${day.replaceAll('-', '')}`;
  await pool.query(
    `create table if not exists ${name} partition of runs for values from ('${day}') to (date '${day}' + 1)`,
  );
  made.add(day);
}

async function insertRun(
  tx: Pick<pg.Pool, 'query'>,
  { workspaceId, projectId }: World,
  run: ArrangedRun,
  values: { name?: string; tags?: string[]; inputs?: string; runType?: string } = {},
): Promise<void> {
  await tx.query(
    `insert into runs (workspace_id, id, day, project_id, trace_id, dotted_order, name, run_type, status, start_time, tags,
       metadata, attributes, extra, inputs, revision, merge_rank, created_at, updated_at)
     values ($1, $2, $3, $4, $5, $2::uuid::text, $6, $7, 'pending', now(), $8, '{}', '{}', '{}', $9, 1, 1, now(), now())`,
    [
      workspaceId,
      run.id,
      naturalDay(run.id),
      projectId,
      run.traceId,
      values.name ?? 'a run',
      values.runType ?? 'chain',
      values.tags ?? [],
      values.inputs ?? null,
    ],
  );
}

export const entry = (kind: FeedKind, run: ArrangedRun): FeedEntry => [kind, 0, run.id, run.traceId];

/** One committed batch: new runs and their feed row. */
export async function commitRuns(
  pool: pg.Pool,
  world: World,
  runs: readonly ArrangedRun[],
  values: { name?: string; tags?: string[]; inputs?: string; runType?: string } = {},
): Promise<void> {
  for (const run of runs) await ensurePartition(pool, naturalDay(run.id) ?? '');
  const client = await pool.connect();
  try {
    await client.query('begin');
    for (const run of runs) await insertRun(client, world, run, values);
    await appendFeed(
      client,
      world.workspaceId,
      [world.projectId],
      runs.map((run) => entry('s', run)),
    );
    await client.query('commit');
  } catch (error) {
    await client.query('rollback');
    throw error;
  } finally {
    client.release();
  }
}

/** A feed row alone, for runs that exist (or never did). */
export async function commitEntries(
  pool: pg.Pool,
  world: World,
  entries: readonly FeedEntry[],
): Promise<void> {
  await appendFeed(pool, world.workspaceId, [world.projectId], entries);
}

export const someUuid = (): string => v4();
