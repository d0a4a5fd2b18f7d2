/**
 * Sees to it that row-level security holds for who has logged in. Policies are forced, so they hold for the owner of
 * the tables; superusers and roles with BYPASSRLS pass them by, and for these statements on behalf of a workspace run
 * as a role that does not.
 */
import pg from 'pg';
import { connectionConfig, sqlState } from './db.js';
import type { Logger } from './log.js';

/** Made where it is missing, needed and may be made. */
export const DEFAULT_ROLE = 'tracewell_app';

const DUPLICATE_OBJECT = '42710';
const UNIQUE_VIOLATION = '23505';
const INSUFFICIENT_PRIVILEGE = '42501';
/** Two processes that grant the same at once: one is told so and finds it done. */
const CONCURRENTLY_UPDATED = 'XX000';
const TRIES = 5;

interface Login {
  readonly name: string;
  readonly bypasses: boolean;
  readonly mayMakeRoles: boolean;
}

/**
 * The role statements on behalf of a workspace run as; undefined where that is who has logged in. Run after the
 * migrations, by every process: what a later version adds is granted then.
 * @param wanted the name of a role that exists or may be made; undefined for the default.
 * @throws where `wanted` is named and cannot be used. Without it, that is a warning and row security has no effect.
 */
export async function prepareRowSecurity(options: {
  url: string;
  wanted: string | undefined;
  log: Logger;
}): Promise<string | undefined> {
  const { url, wanted, log } = options;
  const client = new pg.Client(connectionConfig({ url, name: 'row-security', statementTimeoutMs: 60_000 }));
  await client.connect();
  try {
    const login = await findLogin(client);
    if (!login.bypasses && wanted === undefined) return undefined;
    const role = wanted ?? DEFAULT_ROLE;
    try {
      await provideRole(client, role, login);
      return role;
    } catch (error) {
      if (wanted !== undefined || sqlState(error) !== INSUFFICIENT_PRIVILEGE) throw error;
      log.warn(
        { login: login.name, role },
        `row-level security has no effect: "${login.name}" bypasses it and may not make or use the role "${role}". ` +
          'Log in as a role without BYPASSRLS, or make the role and name it in DATABASE_ROLE (docs/operation.md).',
      );
      return undefined;
    }
  } finally {
    await client.end();
  }
}

async function findLogin(client: pg.Client): Promise<Login> {
  const { rows } = await client.query<Login>(
    `/* row_security.login */
    select rolname as name, rolsuper or rolbypassrls as bypasses, rolsuper or rolcreaterole as "mayMakeRoles"
    from pg_roles where rolname = session_user`,
  );
  if (rows[0] === undefined) throw new Error('the database does not know who has logged in');
  return rows[0];
}

async function provideRole(client: pg.Client, role: string, login: Login): Promise<void> {
  const name = pg.escapeIdentifier(role);
  const { rows } = await client.query<{ bypasses: boolean; usable: boolean }>(
    `/* row_security.role */
    select rolsuper or rolbypassrls as bypasses, pg_has_role(session_user, oid, 'member') as usable
    from pg_roles where rolname = $1`,
    [role],
  );
  if (rows[0]?.bypasses === true) throw new Error(`The role "${role}" bypasses row-level security itself.`);
  if (rows[0] === undefined) {
    await attempt(() => client.query(`create role ${name} nologin`), DUPLICATE_OBJECT);
  }
  if (rows[0]?.usable !== true && login.mayMakeRoles) {
    await attempt(
      () => client.query(`grant ${name} to ${pg.escapeIdentifier(login.name)}`),
      UNIQUE_VIOLATION,
    );
  }
  await client.query(`set role ${name}`);
  await client.query('reset role');
  for (const grant of GRANTS) await attempt(() => client.query(grant.replaceAll('%role', name)));
}

/** Rows of everything there is and of what migrations add; no structure. The queue's tables are used in transactions. */
const GRANTS = ['public', 'bullmq'].map(
  (schema) => `/* row_security.grant */
do $$ begin
  if exists (select from pg_namespace where nspname = '${schema}') then
    grant usage on schema ${schema} to %role;
    grant select, insert, update, delete on all tables in schema ${schema} to %role;
    grant usage, select on all sequences in schema ${schema} to %role;
    grant execute on all functions in schema ${schema} to %role;
  end if;
end $$`,
);

/** Again where another process was at the same; done where `done` says that it was faster. */
async function attempt(work: () => Promise<unknown>, done?: string): Promise<void> {
  for (let tries = 1; ; tries += 1) {
    try {
      await work();
      return;
    } catch (error) {
      const state = sqlState(error);
      if (state === done || (state === UNIQUE_VIOLATION && done === DUPLICATE_OBJECT)) return;
      if (state !== CONCURRENTLY_UPDATED || tries === TRIES) throw error;
    }
  }
}
