/**
 * Makes the day partitions of runs. A partition is built beside the table and attached, which takes no lock that a
 * writer or a reader would wait for. Runs of that day that went to runs_stray while it had no partition move over
 * in the same transaction, behind the lock on run_partitions that the migration describes.
 */
import { setTimeout as delay } from 'node:timers/promises';
import type pg from 'pg';
import { sqlState, transaction } from '../platform/db.js';

const DAY = /^\d{4}-\d{2}-\d{2}$/;
const LOCK_NOT_AVAILABLE = '55P03';
const DEADLOCK = '40P01';
const TRIES = 10;

/**
 * Sees to it that each of these days (`YYYY-MM-DD`, UTC) has a partition of runs. Safe from any number of processes
 * at once.
 * @returns the days whose partition was made now.
 * @throws when a lock was not to be had within some 20 s, and for anything that is no day.
 */
export async function ensurePartitions(pool: pg.Pool, days: readonly string[]): Promise<string[]> {
  for (const day of days) if (!DAY.test(day)) throw new Error(`"${day}" is not a day.`);
  const { rows } = await pool.query<{ day: string }>(
    '/* upkeep.list_partitions */ select day::text from run_partitions where day = any($1::date[])',
    [days],
  );
  const existing = new Set(rows.map((row) => row.day));
  const made: string[] = [];
  for (const day of [...new Set(days)].sort()) {
    if (!existing.has(day) && (await createPatiently(pool, day))) made.push(day);
  }
  return made;
}

async function createPatiently(pool: pg.Pool, day: string): Promise<boolean> {
  for (let attempt = 1; ; attempt += 1) {
    try {
      return await transaction(pool, (tx) => createPartition(tx, day));
    } catch (error) {
      const state = sqlState(error);
      if ((state !== LOCK_NOT_AVAILABLE && state !== DEADLOCK) || attempt === TRIES) throw error;
      await delay(50 * attempt);
    }
  }
}

async function createPartition(tx: pg.PoolClient, day: string): Promise<boolean> {
  await tx.query("/* upkeep.partition_timeout */ set local lock_timeout = '2s'");
  // Waits for writers that hold the share lock; from here on they see this day once we commit.
  const claimed = await tx.query(
    '/* upkeep.claim_partition */ insert into run_partitions (day) values ($1) on conflict do nothing',
    [day],
  );
  if (claimed.rowCount === 0) return false;
  // The name is made of digits only; identifiers and bounds cannot be parameters.
  const table = `runs_${day.replaceAll('-', '')}`;
  await tx.query(`/* upkeep.create_partition */ create table ${table} (like runs including all)`);
  await moveStrays(tx, day, table);
  await tx.query(
    `/* upkeep.attach_partition */
    alter table runs attach partition ${table} for values from ('${day}') to (date '${day}' + 1)`,
  );
  return true;
}

/** Version 7 ids sort by time, so a day is a range of ids. */
async function moveStrays(tx: pg.PoolClient, day: string, table: string): Promise<void> {
  const from = lowestId(Date.parse(day));
  const until = lowestId(Date.parse(day) + 86_400_000);
  const { rowCount } = await tx.query(
    `/* upkeep.move_strays */
    with moved as (
      delete from runs_stray
      where id >= $1::uuid and id < $2::uuid and substr(id::text, 15, 1) = '7'
      returning *
    )
    insert into ${table} select * from moved`,
    [from, until],
  );
  if (rowCount === 0) return;
  await tx.query(`/* upkeep.date_strays */ update ${table} set day = $1`, [day]);
  await tx.query(
    `/* upkeep.date_searched */
    update run_search s set day = r.day from ${table} r where s.workspace_id = r.workspace_id and s.run_id = r.id`,
  );
  await tx.query(
    `/* upkeep.widen_zones */
    insert into run_days (workspace_id, project_id, day, first_start_on, last_start_on)
    select workspace_id, project_id, day, min(start_time at time zone 'UTC')::date,
      max(start_time at time zone 'UTC')::date
    from ${table}
    group by workspace_id, project_id, day
    on conflict (workspace_id, project_id, day) do update set
      first_start_on = least(run_days.first_start_on, excluded.first_start_on),
      last_start_on = greatest(run_days.last_start_on, excluded.last_start_on)`,
  );
}

/** The least UUID whose version 7 time is `ms`. */
export function lowestId(ms: number): string {
  const hex = Math.max(0, Math.floor(ms)).toString(16).padStart(12, '0');
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-0000-0000-000000000000`;
}
