/**
 * Databases for tests: each call clones a migrated template, so that test files never see each other. The
 * server is started by scripts/test.mjs.
 */
import { createHash, randomBytes } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import pg from 'pg';
import { createLogger } from '../../src/platform/log.js';
import { migrate } from '../../src/platform/migrate.js';

export const MIGRATIONS = path.resolve('prisma/migrations');

export interface TestDatabase {
  readonly url: string;
  /** A small pool for arranging and for looking at what is really stored. */
  readonly pool: pg.Pool;
  /** Closes the pool and drops the database, whoever is still connected. */
  drop(): Promise<void>;
}

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
  return `tw_template_${hash.digest('hex').slice(0, 12)}`;
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
    await migrate(serverUrl(template), MIGRATIONS, createLogger('warn', 'test'));
    await admin.query(`alter database ${template} with is_template true`);
  } finally {
    await admin.query('select pg_advisory_unlock(727)');
  }
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
  const pool = new pg.Pool({
    connectionString: url,
    max: 4,
    application_name: 'tracewell-test',
    options: '-c TimeZone=UTC',
  });
  pool.on('error', () => undefined);
  return {
    url,
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
