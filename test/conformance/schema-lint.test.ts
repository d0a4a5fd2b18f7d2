import { afterAll, expect, test } from '@jest/globals';
import { readFileSync } from 'node:fs';
import { createTestDatabase } from '../support/database.js';

const database = await createTestDatabase();
afterAll(() => database.drop());

/** Tables that belong to no workspace, or are looked up before it is known. Everything else is a tenant table. */
const NOT_TENANT: Readonly<Record<string, string>> = {
  _prisma_migrations: 'installation: which migrations ran',
  installation: 'installation: settings that outlive a process',
  organizations: 'reference: owns workspaces',
  workspaces: 'reference: what workspace_id names',
  users: 'reference: people, across organisations',
  organization_members: 'reference: keyed by organisation',
  api_keys: 'reference: looked up by MAC before the workspace is known',
  run_shares: 'local: looked up by an unguessable token',
  feedback_tokens: 'local: looked up by an unguessable token',
  dataset_shares: 'local: looked up by an unguessable token',
  feed: 'local: an order over all workspaces, on one node',
  feed_floor: 'local: one row',
  run_partitions: 'local: which partitions exist',
  jobs: 'local: also holds work of the whole installation',
  job_outbox: 'local: deliveries on their way',
  job_workers: 'local: living worker processes',
  search_position: 'local: how far the indexer has read the feed',
};

const tables = async (): Promise<string[]> => {
  const { rows } = await database.pool.query<{ name: string }>(
    `select c.relname as name from pg_class c join pg_namespace n on n.oid = c.relnamespace
     where n.nspname = 'public' and c.relkind in ('r', 'p') and not c.relispartition order by 1`,
  );
  return rows.map((row) => row.name);
};

const tenantTables = async (): Promise<string[]> => (await tables()).filter((name) => !(name in NOT_TENANT));

test('every exception is a table that exists', async () => {
  const existing = await tables();
  expect(Object.keys(NOT_TENANT).filter((name) => !existing.includes(name))).toEqual([]);
});

test('every tenant table starts its primary key and unique constraints with workspace_id', async () => {
  const { rows } = await database.pool.query<{
    table: string;
    index: string;
    first: string;
    columns: string[];
  }>(
    `select t.relname as table, i.relname as index, x.indisprimary,
       (select a.attname from pg_attribute a where a.attrelid = t.oid and a.attnum = x.indkey[0]) as first
     from pg_index x join pg_class t on t.oid = x.indrelid join pg_class i on i.oid = x.indexrelid
     where x.indisunique and t.relname = any($1) and not t.relispartition`,
    [await tenantTables()],
  );
  expect(rows.length).toBeGreaterThan(5);
  expect(
    rows
      .filter((row) => row.first !== 'workspace_id')
      .map(({ table, index, first }) => ({ table, index, first })),
  ).toEqual([]);
});

test('every tenant table has a primary key', async () => {
  const { rows } = await database.pool.query<{ table: string }>(
    `select t.relname as table from pg_class t where t.relname = any($1)
     and not exists (select from pg_index x where x.indrelid = t.oid and x.indisprimary)`,
    [await tenantTables()],
  );
  expect(rows).toEqual([]);
});

test('no foreign key touches runs, feedback or the feed, and no table has a trigger or a default partition', async () => {
  const { rows: keys } = await database.pool.query<{ name: string }>(
    `select conname as name from pg_constraint where contype = 'f'
     and (conrelid::regclass::text ~ '^(runs|feedback|feed)' or confrelid::regclass::text ~ '^(runs|feedback|feed)')`,
  );
  expect(keys).toEqual([]);
  const { rows: triggers } = await database.pool.query(
    'select tgname from pg_trigger where not tgisinternal',
  );
  expect(triggers).toEqual([]);
  const { rows: partitions } = await database.pool.query(
    'select partrelid::regclass from pg_partitioned_table where partdefid <> 0',
  );
  expect(partitions).toEqual([]);
});

test('schema.prisma names the tables and columns of the migrated database', async () => {
  const { rows } = await database.pool.query<{
    table: string;
    column: string;
    nullable: boolean;
    type: string;
  }>(
    `select table_name as table, column_name as column, is_nullable = 'YES' as nullable, udt_name as type
     from information_schema.columns where table_schema = 'public' order by 1, 2`,
  );
  const modelled = modelsOfPrismaSchema();
  const unmodelled = new Set(['_prisma_migrations', 'feed', 'feed_floor', 'search_position']);
  const actual = rows.filter(
    ({ table, type }) =>
      !unmodelled.has(table) && !/^runs_/.test(table) && type !== 'tsvector' && modelled.has(table),
  );
  const found = actual.map(
    ({ table, column, nullable, type }) => `${table}.${column} ${type}${nullable ? '?' : ''}`,
  );
  const expected = [...modelled].flatMap(([table, columns]) => columns.map((column) => `${table}.${column}`));
  expect(expected.sort()).toEqual(found.sort());
  const missing = (await tables()).filter((name) => !unmodelled.has(name) && !modelled.has(name));
  expect(missing).toEqual([]);
});

const TYPES: Readonly<Record<string, string>> = {
  String: 'text',
  Int: 'int4',
  BigInt: 'int8',
  Float: 'float8',
  Boolean: 'bool',
  Json: 'jsonb',
  Bytes: 'bytea',
  Decimal: 'numeric',
  'db.Uuid': 'uuid',
  'db.Timestamptz': 'timestamptz',
  'db.Date': 'date',
  'db.Json': 'json',
  'db.Decimal': 'numeric',
  'db.Real': 'float4',
  'db.SmallInt': 'int2',
  'db.Xml': 'xml',
  'db.VarChar': 'varchar',
  'db.JsonB': 'jsonb',
};

/** Table -> `column type` with a question mark where it may be null, read from the text of schema.prisma. */
function modelsOfPrismaSchema(): Map<string, string[]> {
  const models = new Map<string, string[]>();
  const text = readFileSync('prisma/schema.prisma', 'utf8').replace(/\/\/.*$/gm, '');
  for (const [, , body] of text.matchAll(/^model (\w+) \{([\s\S]*?)^\}/gm)) {
    const table = /@@map\("(\w+)"\)/.exec(body!)?.[1];
    if (table === undefined) throw new Error('a model without @@map');
    const columns = [
      ...body!.matchAll(/^[ \t]+(\w+)[ \t]+(Unsupported\("[^"]+"\)|\w+)(\[\])?(\?)?[ \t]*(.*)$/gm),
    ].flatMap(([, field, type, list, optional, rest]) => {
      if (
        field!.startsWith('@@') ||
        (!(type! in TYPES) && type !== 'DateTime' && !type!.startsWith('Unsupported'))
      ) {
        return [];
      }
      if (type!.startsWith('Unsupported("tsvector")')) return [];
      const column = /@map\("(\w+)"\)/.exec(rest!)?.[1] ?? field!;
      const native = /@(db\.\w+)/.exec(rest!)?.[1];
      const base = native === undefined ? (TYPES[type!] ?? 'timestamptz') : TYPES[native];
      return [`${column} ${list === undefined ? '' : '_'}${base}${optional === undefined ? '' : '?'}`];
    });
    models.set(table, columns);
  }
  return models;
}
