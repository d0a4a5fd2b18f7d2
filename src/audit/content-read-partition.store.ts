/** The months of the record of content reads: made ahead, dropped as a whole when past their retention. */
import type pg from 'pg';
import { sqlState, transaction } from '../platform/db.js';

/** Of the table, and of its row type, which is entered first. */
const DUPLICATES: ReadonlySet<string | undefined> = new Set(['42P07', '42710', '23505']);
const NAME = /^content_reads_(\d{4})(\d{2})$/;

export class ContentReadPartitions {
  readonly #pool: pg.Pool;

  constructor({ pool }: { pool: pg.Pool }) {
    this.#pool = pool;
  }

  /** Sees to it that the month of `now` and the next have a partition. Safe from any number of processes at once. */
  async ensure(now: Date): Promise<string[]> {
    const existing = new Set(await this.#list());
    const made: string[] = [];
    for (const start of [monthOf(now), monthOf(now, 1)]) {
      const name = `content_reads_${stamp(start)}`;
      if (!existing.has(name) && (await this.#create(name, start))) made.push(name);
    }
    return made;
  }

  /** Drops the months that lie before `until` as a whole, and returns their names. */
  async drop(until: Date): Promise<string[]> {
    const dropped: string[] = [];
    for (const name of await this.#list()) {
      const [, year, month] = NAME.exec(name) ?? [];
      const end = Date.UTC(Number(year), Number(month), 1);
      if (end > until.getTime()) continue;
      await transaction(this.#pool, async (tx) => {
        await tx.query("/* content_reads.drop_timeout */ set local lock_timeout = '5s'");
        await tx.query(`/* content_reads.drop_partition */ drop table ${name}`);
      });
      dropped.push(name);
    }
    return dropped;
  }

  async #list(): Promise<string[]> {
    const { rows } = await this.#pool.query<{ name: string }>(
      `/* content_reads.list_partitions */
      select c.relname as name
      from pg_inherits i join pg_class c on c.oid = i.inhrelid
      where i.inhparent = 'content_reads'::regclass
      order by 1
      limit 10000`,
    );
    return rows.map(({ name }) => name).filter((name) => NAME.test(name));
  }

  /** Built beside the table and attached, which takes no lock that a writer or reader would wait for. */
  async #create(name: string, start: Date): Promise<boolean> {
    try {
      await transaction(this.#pool, async (tx) => {
        await tx.query(
          `/* content_reads.create_partition */ create table ${name} (like content_reads including all)`,
        );
        await tx.query('/* content_reads.protect_partition */ select protect_tenant_table($1::regclass)', [
          name,
        ]);
        // Identifiers and bounds cannot be parameters; both are made of digits only.
        await tx.query(
          `/* content_reads.attach_partition */
          alter table content_reads attach partition ${name}
          for values from ('${start.toISOString()}') to ('${monthOf(start, 1).toISOString()}')`,
        );
      });
      return true;
    } catch (error) {
      // Somebody else was faster.
      if (DUPLICATES.has(sqlState(error))) return false;
      throw error;
    }
  }
}

/** The first moment of the month that is `ahead` months after that of `at`. */
const monthOf = (at: Date, ahead = 0): Date =>
  new Date(Date.UTC(at.getUTCFullYear(), at.getUTCMonth() + ahead, 1));

const stamp = (start: Date): string => start.toISOString().slice(0, 7).replace('-', '');
