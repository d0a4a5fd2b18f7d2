/**
 * What must be true of the database before a process serves: migrated, with a pepper and a first key. Run by
 * every entry point; whoever comes second finds it done.
 */
import path from 'node:path';
import { existsSync, readdirSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import pg from 'pg';
import type { Config } from './config.js';
import { systemClock } from './platform/clock.js';
import { connectionConfig } from './platform/db.js';
import { systemIds } from './platform/ids.js';
import { prepareQueueSchema } from './platform/jobs/bullmq-postgres.js';
import type { Logger } from './platform/log.js';
import { migrate } from './platform/migrate.js';
import { prepareRowSecurity } from './platform/row-security.js';
import { loadVaultKeys } from './platform/vault.js';
import { bootstrapInstallation } from './tenancy/bootstrap.js';
import type { Bootstrapped } from './tenancy/bootstrap.js';
import { loadPepper } from './tenancy/pepper.js';

export interface Installation extends Bootstrapped {
  readonly pepper: string;
  /** Open what the vault has sealed; the first one seals. */
  readonly vaultKeys: readonly string[];
  /** What statements on behalf of a workspace run as; undefined: as who has logged in. */
  readonly databaseRole: string | undefined;
}

/** prisma/migrations, beside the sources and beside the build. */
function migrationsDirectory(): string {
  let folder = path.dirname(fileURLToPath(import.meta.url));
  while (!existsSync(path.join(folder, 'prisma', 'migrations'))) {
    const parent = path.dirname(folder);
    if (parent === folder) throw new Error('prisma/migrations was not found');
    folder = parent;
  }
  return path.join(folder, 'prisma', 'migrations');
}

/** Name of the last migration this version brings: ready means at least this one was applied. */
export function newestMigration(): string {
  const names = readdirSync(migrationsDirectory()).filter((name) => /^\d{14}_/.test(name));
  const newest = names.sort().at(-1);
  if (newest === undefined) throw new Error('there are no migrations');
  return newest;
}

/** Brings the database into the state this version needs. */
export async function prepareInstallation(options: {
  config: Pick<Config, 'keyPepper' | 'initApiKey'> &
    Partial<Pick<Config, 'redis' | 'database' | 'secretsKeys'>>;
  databaseUrl: string;
  log: Logger;
}): Promise<Installation> {
  const { config, databaseUrl, log } = options;
  await migrate(databaseUrl, migrationsDirectory(), log);
  // Without a Redis, jobs are enqueued straight into these tables, by gateways too.
  if (config.redis?.kind !== 'redis') await prepareQueueSchema(databaseUrl);
  const databaseRole = await prepareRowSecurity({ url: databaseUrl, wanted: config.database?.role, log });
  const pool = new pg.Pool({
    ...connectionConfig({ url: databaseUrl, name: 'installation', statementTimeoutMs: 60_000 }),
    max: 1,
  });
  try {
    const pepper = await loadPepper(pool, config.keyPepper?.reveal());
    const configured = (config.secretsKeys ?? []).map((key) => key.reveal());
    const vaultKeys = await loadVaultKeys(pool, configured);
    const made = await bootstrapInstallation({
      pool,
      pepper,
      initApiKey: config.initApiKey?.reveal(),
      ids: systemIds,
      clock: systemClock,
    });
    return { ...made, pepper, vaultKeys, databaseRole };
  } finally {
    await pool.end();
  }
}
