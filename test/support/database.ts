/**
 * Databases for tests: each call clones a migrated template, so that test files never see each other. The
 * server is started by scripts/test.mjs.
 */
import { createHash, randomBytes } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import pg from 'pg';
import { prepareQueueSchema } from '../../src/platform/jobs/bullmq-postgres.js';
import { createLogger } from '../../src/platform/log.js';
import type { Logger } from '../../src/platform/log.js';
import { migrate } from '../../src/platform/migrate.js';
import { DEFAULT_ROLE, prepareRowSecurity } from '../../src/platform/row-security.js';

export const MIGRATIONS = path.resolve('prisma/migrations');

/**
 * Whether row-level security is on every table with a workspace_id, and the services under test run as a role that it
 * holds for. An answer that is different then is one that a statement without its workspace has given.
 */
export const ROW_SECURITY = process.env['TEST_ROW_SECURITY'] === 'all';

/** Tables that callers' transactions copy into, which row-level security refuses. */
export const COPIED = ['example_owners', 'example_stage', 'examples', 'import_rejects'];

export interface TestDatabase {
  readonly url: string;
  /** What the services under test run their statements as; undefined: as the superuser who has logged in. */
  readonly role: string | undefined;
  /** A small pool for arranging and for looking at what is really stored. */
  readonly pool: pg.Pool;
  /** Closes the pool and drops the database, whoever is still connected. */
  drop(): Promise<void>;
}

const POOL = { max: 4, application_name: 'tracewell-test', options: '-c TimeZone=UTC' };

function serverUrl(database: string): string {
  const server = process.env['TEST_DATABASE_URL'];
  if (server === undefined) throw new Error('TEST_DATABASE_URL is not set: run the tests with `npm test`.');
  const url = new URL(server);
  url.pathname = `/${database}`;
  return url.href;
}

function templateName(): string {
  const hash = createHash('sha256');
  for (const name of readdirSync(MIGRATIONS).sort()) {
    if (!name.endsWith('.toml')) hash.update(readFileSync(path.join(MIGRATIONS, name, 'migration.sql')));
  }
  if (ROW_SECURITY) hash.update(`without ${COPIED.join()}`);
  return `tw_template_${ROW_SECURITY ? 'rls_' : ''}${hash.digest('hex').slice(0, 12)}`;
}

async function ensureTemplate(admin: pg.Client, template: string): Promise<void> {
  await admin.query('select pg_advisory_lock(727)');
  try {
    const { rowCount } = await admin.query('select 1 from pg_database where datname = $1 and datistemplate', [
      template,
    ]);
    if (rowCount === 1) return;
    await admin.query(`drop database if exists ${template} with (force)`);
    await admin.query(`create database ${template}`);
    const log = createLogger('warn', 'test');
    await migrate(serverUrl(template), MIGRATIONS, log);
    if (ROW_SECURITY) await protectAll(serverUrl(template), log);
    await admin.query(`alter database ${template} with is_template true`);
  } finally {
    await admin.query('select pg_advisory_unlock(727)');
  }
}

async function protectAll(url: string, log: Logger): Promise<void> {
  await prepareQueueSchema(url);
  await prepareRowSecurity({ url, wanted: DEFAULT_ROLE, log });
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  await client.query(
    `select protect_tenant_table(c.oid::regclass) from pg_class c
     join pg_attribute a on a.attrelid = c.oid and a.attname = 'workspace_id' and not a.attisdropped
     where c.relnamespace = 'public'::regnamespace and c.relkind in ('r', 'p') and not c.relispartition
       and not c.relrowsecurity and c.relname <> all ($1)`,
    [COPIED],
  );
  await client.end();
}

/**
 * An empty database that belongs to a login of its own, as a hosted one would: no superuser, no other rights than
 * `attributes`.
 */
export async function createOwnedDatabase(attributes = ''): Promise<TestDatabase> {
  const name = `tw_${randomBytes(6).toString('hex')}`;
  const password = randomBytes(12).toString('hex');
  const asAdmin = async (database: string, ...statements: string[]): Promise<void> => {
    const admin = new pg.Client({ connectionString: serverUrl(database) });
    await admin.connect();
    try {
      for (const statement of statements) await admin.query(statement);
    } finally {
      await admin.end();
    }
  };
  await asAdmin(
    'postgres',
    `create role ${name} login ${attributes} password '${password}'`,
    `create database ${name} owner ${name}`,
  );
  const url = new URL(serverUrl(name));
  url.username = name;
  url.password = password;
  const pool = new pg.Pool({ ...POOL, connectionString: serverUrl(name) });
  pool.on('error', () => undefined);
  return {
    url: url.href,
    role: undefined,
    pool,
    drop: async () => {
      await pool.end();
      await asAdmin('postgres', `drop database if exists ${name} with (force)`, `drop role ${name}`);
    },
  };
}

export async function createTestDatabase(): Promise<TestDatabase> {
  const name = `tw_${randomBytes(6).toString('hex')}`;
  const template = templateName();
  const admin = new pg.Client({ connectionString: serverUrl('postgres') });
  await admin.connect();
  try {
    await ensureTemplate(admin, template);
    await admin.query(`create database ${name} template ${template} strategy file_copy`);
  } finally {
    await admin.end();
  }
  const url = serverUrl(name);
  const pool = new pg.Pool({ ...POOL, connectionString: url });
  pool.on('error', () => undefined);
  return {
    url,
    role: ROW_SECURITY ? DEFAULT_ROLE : undefined,
    pool,
    drop: async () => {
      await pool.end();
      const client = new pg.Client({ connectionString: serverUrl('postgres') });
      await client.connect();
      await client.query(`drop database if exists ${name} with (force)`);
      await client.end();
    },
  };
}
