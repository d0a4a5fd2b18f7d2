/**
 * The day partitions of runs: which exist, and making them. A partition is made beside its parent and then
 * attached, which blocks neither readers nor writers. Runs that had to go to the stray partition because their
 * day had none move over in the same transaction, shut off from writers of stray runs by an advisory lock.
 */
import type pg from 'pg';
import { addDays, STRAY_DAY } from '../ingest/run-location.js';
import { sqlState, transaction } from '../platform/db.js';
import type { Queryable } from '../platform/db.js';
import type { Logger } from '../platform/log.js';

// Taken exclusively to make a partition, shared to write a stray run.
const PARTITION_LOCK = 7_239_401_116;
const LOCK_TIMEOUT_MS = 2_000;

export const partitionName = (day: string): string => `runs_${day.replaceAll('-', '')}`;

export interface PartitionStoreDeps {
  readonly pool: pg.Pool;
  readonly log: Logger;
}

export class PartitionStore {
  readonly #pool: pg.Pool;
  readonly #log: Logger;
  #known = new Set<string>();

  constructor(deps: PartitionStoreDeps) {
    this.#pool = deps.pool;
    this.#log = deps.log;
  }

  /** Whether a partition for the day was seen. False may be out of date; `ensure` looks. */
  has(day: string): boolean {
    return this.#known.has(day);
  }

  /** The days that have a partition, oldest first. */
  async list(): Promise<string[]> {
    const { rows } = await this.#pool.query<{ day: string }>(
      `/* partitions.list */
       select to_char(to_date(right(c.relname, 8), 'YYYYMMDD'), 'YYYY-MM-DD') as day
       from pg_inherits i join pg_class c on c.oid = i.inhrelid
       where i.inhparent = 'runs'::regclass and c.relname ~ '^runs_[0-9]{8}$'
       order by 1`,
    );
    this.#known = new Set(rows.map((row) => row.day));
    return rows.map((row) => row.day);
  }

  /** Makes the partitions that do not exist yet. Safe to call from several processes at once. */
  async ensure(days: readonly string[]): Promise<void> {
    if (days.every((day) => this.#known.has(day))) return;
    await this.list();
    for (const day of days) {
      if (this.#known.has(day) || day === STRAY_DAY) continue;
      await this.#create(day);
      this.#known.add(day);
    }
  }

  /** Attaching waits for running transactions; it gives up early and tries again instead of making others wait. */
  async #create(day: string): Promise<void> {
    for (let attempt = 1; ; attempt += 1) {
      try {
        const moved = await transaction(this.#pool, (tx) => createPartition(tx, day));
        this.#log.info({ day, moved }, 'partition made');
        return;
      } catch (error) {
        const state = sqlState(error);
        if ((state !== '55P03' && state !== '40P01') || attempt === 10) throw error;
      }
    }
  }
}

async function createPartition(tx: Queryable, day: string): Promise<number> {
  const name = partitionName(day);
  await tx.query(`set local lock_timeout = ${LOCK_TIMEOUT_MS}`);
  await tx.query('select pg_advisory_xact_lock($1)', [PARTITION_LOCK]);
  const { rows } = await tx.query<{ there: boolean }>('select to_regclass($1) is not null as there', [name]);
  if (rows[0]?.there === true) return 0;
  await tx.query(
    `create table ${name} (like runs including defaults including storage including constraints)`,
  );
  await tx.query(
    `alter table runs attach partition ${name} for values from ('${day}') to ('${addDays(day, 1)}')`,
  );
  // A UUIDv7 names its day in its first 48 bits, in milliseconds.
  const { rowCount } = await tx.query(
    `/* partitions.adopt_strays */
     update runs set day = $1::date
     where day = $2::date and substr(id::text, 15, 1) = '7'
       and to_timestamp(('x' || substr(id::text, 1, 8) || substr(id::text, 10, 4))::bit(48)::bigint / 1000.0) >= $1::date
       and to_timestamp(('x' || substr(id::text, 1, 8) || substr(id::text, 10, 4))::bit(48)::bigint / 1000.0) < $1::date + 1`,
    [day, STRAY_DAY],
  );
  if ((rowCount ?? 0) > 0) {
    await tx.query(
      `/* partitions.adopt_zones */
       insert into run_days (workspace_id, project_id, day, first_start_on, last_start_on)
       select workspace_id, project_id, $1::date, min(start_time)::date, max(start_time)::date
       from runs where day = $1::date group by workspace_id, project_id
       on conflict (workspace_id, project_id, day) do nothing`,
      [day],
    );
  }
  return rowCount ?? 0;
}

/**
 * Keeps partitions from being made until the transaction ends, and says which of the days got one meanwhile: a
 * stray run of such a day belongs there now.
 */
export async function holdStrayDays(tx: Queryable, days: readonly string[]): Promise<string[]> {
  await tx.query('select pg_advisory_xact_lock_shared($1)', [PARTITION_LOCK]);
  const { rows } = await tx.query<{ day: string }>(
    'select day from unnest($1::text[], $2::text[]) as wanted (day, name) where to_regclass(name) is not null',
    [days, days.map(partitionName)],
  );
  return rows.map((row) => row.day);
}
