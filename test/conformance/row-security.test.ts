import { afterAll, describe, expect, test } from '@jest/globals';
import { readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { EXEMPTIONS } from '../../src/platform/db-scope.js';
import { COPIED, createTestDatabase, ROW_SECURITY } from '../support/database.js';

const database = await createTestDatabase();
afterAll(() => database.drop());

/**
 * Tables with a workspace_id and without row-level security in production: what is written in bulk or searched by
 * indexes that policies would shut off. The suite runs once more with policies on these too (scripts/test.mjs).
 */
const UNPROTECTED: Readonly<Record<string, string>> = {
  runs: 'copied in bulk, by transactions of several workspaces; GIN and text search',
  run_days: 'written with runs',
  run_locator: 'written with runs',
  run_followers: 'written with runs',
  run_search: 'GIN and text search',
  trace_tombstones: 'read by the transaction that writes runs',
  attachments: 'written with runs',
  attachment_chunks: 'written with runs',
  feedback: 'aggregated together with runs',
  feed: 'written with runs, read by one reader for all',
  examples: 'copied in bulk; GIN',
  example_owners: 'written with examples',
  example_stage: 'copied in bulk',
  import_rejects: 'copied in bulk',
};

/** Beside what the standard policy lets through, each with its reason. */
const OWN_POLICY: Readonly<Record<string, string>> = {
  api_keys: 'keys of the whole organisation belong to no workspace',
};

interface Policy {
  readonly table: string;
  readonly enabled: boolean;
  readonly forced: boolean;
  readonly policies: number;
  readonly condition: string | null;
}

const { rows: tables } = await database.pool.query<Policy>(
  `select c.relname as table, c.relrowsecurity as enabled, c.relforcerowsecurity as forced,
     (select count(*)::int from pg_policy p where p.polrelid = c.oid) as policies,
     (select pg_get_expr(p.polqual, p.polrelid) from pg_policy p
      where p.polrelid = c.oid and p.polpermissive and p.polcmd = '*' and p.polwithcheck is null
        and p.polroles = '{0}') as condition
   from pg_class c
   join pg_attribute a on a.attrelid = c.oid and a.attname = 'workspace_id' and not a.attisdropped
   where c.relnamespace = 'public'::regnamespace and c.relkind in ('r', 'p') and not c.relispartition
   order by 1`,
);

const plain = (sql: string | null): string => (sql ?? '').replace(/\s+/g, ' ');
const STANDARD = plain(
  `((workspace_id = ( SELECT (NULLIF(current_setting('app.workspace_id'::text), '*'::text))::uuid AS "nullif"))
   OR ( SELECT (current_setting('app.workspace_id'::text) = '*'::text)))`,
);

describe('tables', () => {
  test('each with a workspace_id is protected, or says why not', () => {
    const bare = tables.filter(({ table, enabled }) => !enabled && !(table in UNPROTECTED));
    // A new table takes one line in its migration: select protect_tenant_table('name');
    expect(bare.map(({ table }) => table)).toEqual([]);
  });

  test('every exception is a table that exists, and is one', () => {
    const names = tables.map(({ table }) => table);
    expect(Object.keys({ ...UNPROTECTED, ...OWN_POLICY }).filter((name) => !names.includes(name))).toEqual(
      [],
    );
    const without = tables.filter(({ enabled }) => !enabled).map(({ table }) => table);
    expect(without).toEqual(ROW_SECURITY ? [...COPIED].sort() : Object.keys(UNPROTECTED).sort());
  });

  test('protection holds for owners and is one policy, the same everywhere', () => {
    const off = tables
      .filter(({ enabled }) => enabled)
      .filter(
        ({ table, forced, policies, condition }) =>
          !forced || policies !== 1 || (plain(condition) !== STANDARD && !(table in OWN_POLICY)),
      );
    expect(off).toEqual([]);
    expect(tables.filter(({ enabled }) => enabled).length).toBeGreaterThan(6);
  });
});

describe('exemptions', () => {
  const sources = ['src', 'workers'].flatMap((folder) =>
    readdirSync(folder, { recursive: true, encoding: 'utf8' })
      .filter((name) => name.endsWith('.ts') && !name.startsWith('generated'))
      .map((name) => path.posix.join(folder, name)),
  );
  const uses = sources.flatMap((file) =>
    [...readFileSync(file, 'utf8').matchAll(/\beverywhere\(\s*'([^']+)'/g)].map(
      ([, name]) => `${name} in ${file}`,
    ),
  );

  test('each is used where it says, and nowhere else', () => {
    const listed = Object.entries(EXEMPTIONS).flatMap(([name, { files }]) =>
      files.map((file) => `${name} in ${file}`),
    );
    expect([...new Set(uses)].sort()).toEqual(listed.sort());
  });

  test('Prisma is not asked for single rows of tenants by its batching call', () => {
    // It joins calls of one turn of the event loop into one statement, of different requests too: in one scope.
    const found = sources.flatMap((file) =>
      [...readFileSync(file, 'utf8').matchAll(/\.(\w+)\.findUnique(?:OrThrow)?\(/g)].map(
        ([, model]) => model,
      ),
    );
    expect(found.filter((model) => model !== 'organization')).toEqual([]);
  });

  test('pools that see everything are the one of the run writer', () => {
    const pools = sources.filter((file) => /\brows: 'everywhere'/.test(readFileSync(file, 'utf8')));
    expect(pools).toEqual(['src/composition/traces.ts']);
    expect(readFileSync('src/composition/traces.ts', 'utf8').match(/\brows: 'everywhere'/g)).toHaveLength(1);
  });
});
