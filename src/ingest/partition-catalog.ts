/**
 * Which days have a partition, as far as this process has seen. Partitions are made by src/upkeep; here they are
 * asked for, and kept from appearing while a run of such a day is being put into the stray partition.
 */
import type pg from 'pg';
import type { Queryable } from '../platform/db.js';
import { ensurePartitions } from '../upkeep/partition.store.js';

export class PartitionCatalog {
  readonly #pool: pg.Pool;
  readonly #known = new Set<string>();

  constructor(deps: { pool: pg.Pool }) {
    this.#pool = deps.pool;
  }

  /** Whether a partition for the day was seen. False may be out of date; `ensure` looks. */
  has(day: string): boolean {
    return this.#known.has(day);
  }

  /** Sees to it that the days have partitions. */
  async ensure(days: readonly string[]): Promise<void> {
    await ensurePartitions(this.#pool, days);
    for (const day of days) this.#known.add(day);
  }
}

/**
 * Keeps partitions from being made until the transaction ends, and says which of the days have got one: a stray
 * run of such a day belongs there now.
 */
export async function holdStrayDays(tx: Queryable, days: readonly string[]): Promise<string[]> {
  await tx.query('/* partitions.hold */ lock table run_partitions in share mode');
  const { rows } = await tx.query<{ day: string }>(
    '/* partitions.appeared */ select day::text as day from run_partitions where day = any($1::date[])',
    [days],
  );
  return rows.map((row) => row.day);
}
