import { afterAll, beforeEach, expect, test } from '@jest/globals';
import { v7 } from 'uuid';
import { holdStrayDays } from '../../src/ingest/partition-catalog.js';
import { transaction } from '../../src/platform/db.js';
import { ensurePartitions } from '../../src/upkeep/partition.store.js';
import { createTestDatabase } from '../support/database.js';
import { eventually } from '../support/eventually.js';

const database = await createTestDatabase();
const { pool } = database;
afterAll(() => database.drop());

const WORKSPACE = '00000000-0000-7000-8000-000000000001';
const PROJECT = '00000000-0000-7000-8000-000000000002';
const DAY = '2026-11-21';

/** A run id that names a moment of the day. */
const idAt = (time: string): string => v7({ msecs: Date.parse(`${DAY}T${time}Z`) });

const insertRun = (db: Pick<typeof pool, 'query'>, id: string, day: string, start = `${DAY} 10:00:00+00`) =>
  db.query(
    `insert into runs (workspace_id, id, day, project_id, trace_id, dotted_order, name, run_type, status, start_time,
       tags, metadata, attributes, extra, revision, merge_rank, created_at, updated_at)
     values ($1, $2, $3, $4, $2, 'x', 'run', 'chain', 'pending', $5, '{}', '{}', '{}', '{}', 1, 0, now(), now())`,
    [WORKSPACE, id, day, PROJECT, start],
  );

beforeEach(async () => {
  const { rows } = await pool.query<{ name: string }>(
    "select inhrelid::regclass::text as name from pg_inherits where inhparent = 'runs'::regclass",
  );
  for (const { name } of rows) if (name !== 'runs_stray') await pool.query(`drop table ${name}`);
  await pool.query('truncate run_partitions, run_days, run_search, runs_stray');
});

test('a partition takes the runs of its day and is made once by many', async () => {
  const made = await Promise.all([1, 2, 3].map(() => ensurePartitions(pool, [DAY, '2026-11-22', DAY])));
  expect(made.flat().sort()).toEqual([DAY, '2026-11-22']);
  const id = idAt('23:59:59.999');
  await insertRun(pool, id, DAY);
  const { rows } = await pool.query('select tableoid::regclass::text as partition from runs where id = $1', [
    id,
  ]);
  expect(rows).toEqual([{ partition: 'runs_20261121' }]);
  expect(await ensurePartitions(pool, [DAY])).toEqual([]);
});

test('a partition has the storage and the indexes of the table, and no others', async () => {
  await ensurePartitions(pool, [DAY]);
  const storage = (table: string) =>
    pool.query(
      `select attname, attstorage, attnotnull from pg_attribute where attrelid = $1::regclass and attnum > 0 order by attname`,
      [table],
    );
  const [parent, partition] = [await storage('runs'), await storage('runs_20261121')];
  expect(partition.rows).toEqual(parent.rows);
  expect(parent.rows).toContainEqual({ attname: 'inputs', attstorage: 'e', attnotnull: false });
  const { rows } = await pool.query(
    `select count(*)::int as indexes, count(parent.inhparent)::int as attached
     from pg_index i left join pg_inherits parent on parent.inhrelid = i.indexrelid
     where i.indrelid = 'runs_20261121'::regclass`,
  );
  expect(rows).toEqual([{ indexes: 7, attached: 7 }]);
});

test('runs of the day that went astray move over, others stay', async () => {
  const mine = [idAt('00:00:00.000'), idAt('23:59:59.999')];
  const others = [
    v7({ msecs: Date.parse('2026-11-20T23:59:59.999Z') }),
    v7({ msecs: Date.parse('2026-11-22T00:00:00.000Z') }),
    // Version 4, and by chance with the bits of that day.
    idAt('12:00:00.000').replace(/^(.{14})7/, '$14'),
  ];
  for (const id of mine) await insertRun(pool, id, '1970-01-01', '2026-11-19 08:00:00+00');
  for (const id of others) await insertRun(pool, id, '1970-01-01');
  await pool.query(
    `insert into run_search (workspace_id, run_id, day, words, input_pairs, output_pairs, revision)
     values ($1, $2, '1970-01-01', '', '{}', '{}', 1)`,
    [WORKSPACE, mine[0]],
  );
  await ensurePartitions(pool, [DAY]);
  const { rows } = await pool.query(
    'select id, day::text, tableoid::regclass::text as partition from runs order by partition, id',
  );
  expect(rows).toEqual([
    ...mine.map((id) => ({ id, day: DAY, partition: 'runs_20261121' })),
    ...[...others].sort().map((id) => ({ id, day: '1970-01-01', partition: 'runs_stray' })),
  ]);
  const zones = await pool.query('select day::text, first_start_on::text, last_start_on::text from run_days');
  expect(zones.rows).toEqual([{ day: DAY, first_start_on: '2026-11-19', last_start_on: '2026-11-19' }]);
  const searched = await pool.query('select day::text from run_search');
  expect(searched.rows).toEqual([{ day: DAY }]);
});

test('a writer on its way to the stray partition is waited for, and its run moves too', async () => {
  const id = idAt('10:00:00.000');
  let making: Promise<string[]> | undefined;
  await transaction(pool, async (tx) => {
    expect(await holdStrayDays(tx, [DAY])).toEqual([]);
    making = ensurePartitions(pool, [DAY]);
    await eventually(async () => {
      const { rows } = await pool.query(
        "select 1 from pg_stat_activity where wait_event_type = 'Lock' and datname = current_database()",
      );
      expect(rows).toHaveLength(1);
    });
    await insertRun(tx, id, '1970-01-01');
  });
  expect(await making).toEqual([DAY]);
  const { rows } = await pool.query('select day::text from runs where id = $1', [id]);
  expect(rows).toEqual([{ day: DAY }]);
  await transaction(pool, async (tx) => expect(await holdStrayDays(tx, [DAY])).toEqual([DAY]));
});

test('making a partition holds up neither a reader nor a writer that is at work', async () => {
  await ensurePartitions(pool, [DAY]);
  await transaction(pool, async (tx) => {
    await insertRun(tx, idAt('11:00:00.000'), DAY);
    await tx.query('select count(*) from runs');
    expect(await ensurePartitions(pool, ['2026-11-23'])).toEqual(['2026-11-23']);
  });
});

test('what is no day is refused', async () => {
  await expect(ensurePartitions(pool, ["2026-11-21'; drop table runs; --"])).rejects.toThrow('is not a day');
});
