/**
 * Postgres connections. Each class of work has its own pool, so that one cannot starve another; every pool has
 * a statement timeout on the server and a slightly longer query timeout here, because a half-open connection
 * would otherwise be waited for without end.
 */
import pg from 'pg';
import type { ShareOptions } from './connection-shares.js';
import { EVERYWHERE, NOWHERE } from './db-scope.js';
import type { Logger } from './log.js';
import { preparingClient, StatementNames } from './prepared.js';
import { watchQueries } from './query-watch.js';
import { ScopedPool } from './scoped-client.js';

export type Row = Record<string, unknown>;

/** What a store needs of a connection, a pool or a transaction. */
export interface Queryable {
  query<R extends pg.QueryResultRow = Row>(
    text: string | pg.QueryConfig,
    values?: unknown[],
  ): Promise<pg.QueryResult<R>>;
}

export interface PoolOptions {
  readonly url: string;
  /** Shown in pg_stat_activity; fault tests pick their victims by it. */
  readonly name: string;
  readonly max: number;
  readonly statementTimeoutMs: number;
  readonly log: Logger;
  /** Whose rows its statements see: those of the scope they are called in (default), or all, for a pool of one use. */
  readonly rows?: 'scope' | 'everywhere';
  /** What statements run as that are held to a workspace. Default: who has logged in. See row-security.ts. */
  readonly role?: string | undefined;
  /** What of it one workspace may hold at once. Default: all. Whoever holds one must not ask for another. */
  readonly shares?: ShareOptions | undefined;
}

// Timestamps stay text ("2026-11-21 10:00:00.123456+00"): a Date would drop the microseconds. Counts that fit
// a double become numbers; numeric stays text. json stays text so that payloads are never parsed on the way.
const INT8 = 20;
const JSON_OID = 114;
const DATE = 1082;
const TIMESTAMPTZ = 1184;

const types = new pg.TypeOverrides();
types.setTypeParser(INT8, Number);
types.setTypeParser(JSON_OID, (text: string) => text);
types.setTypeParser(DATE, (text: string) => text);
types.setTypeParser(TIMESTAMPTZ, (text: string) => text);

const TEXT_ARRAY: number = 1009;
type ReadTextArray = (text: string) => (string | null)[];
const readTextArray = new pg.TypeOverrides().getTypeParser(TEXT_ARRAY, 'text') as unknown as ReadTextArray;
// Most lists are empty or hold plain words; the driver reads each character of each.
types.setTypeParser(TEXT_ARRAY, (text: string) => {
  if (text === '{}') return [];
  const isPlain = text.startsWith('{') && !/["\\]|.\{|NULL/.test(text);
  return isPlain ? text.slice(1, -1).split(',') : readTextArray(text);
});

/** The session settings every connection starts with. Times are printed in UTC, whatever the server's zone. */
export function connectionConfig(
  options: Pick<PoolOptions, 'url' | 'name' | 'statementTimeoutMs' | 'rows' | 'role'>,
): pg.ClientConfig & { readonly query_timeout: number } {
  const { rows = 'everywhere', role } = options;
  const settings = ['TimeZone=UTC', 'DateStyle=ISO'];
  settings.push(`app.workspace_id=${rows === 'everywhere' ? EVERYWHERE : NOWHERE}`);
  if (rows === 'scope' && role !== undefined) settings.push(`role=${role}`);
  return {
    connectionString: options.url,
    application_name: `tracewell-${options.name}`,
    types,
    keepAlive: true,
    connectionTimeoutMillis: 2_000,
    statement_timeout: options.statementTimeoutMs,
    query_timeout: options.statementTimeoutMs + 5_000,
    lock_timeout: Math.min(options.statementTimeoutMs, 10_000),
    idle_in_transaction_session_timeout: 10_000,
    options: settings.map((setting) => `-c ${setting}`).join(' '),
  };
}

export function createPool(options: PoolOptions): pg.Pool {
  const { rows = 'scope', role, max, shares } = options;
  const { query_timeout: timeoutMs, ...connection } = connectionConfig({ ...options, rows });
  const config = { ...connection, max, idleTimeoutMillis: 30_000 };
  const pool =
    rows === 'scope'
      ? new ScopedPool(config, role, shares)
      : new pg.Pool({ ...config, Client: preparingClient(new StatementNames()) });
  // An idle client whose server went away reports here; the pool replaces it, nothing else is to be done.
  pool.on('error', (error) => options.log.warn({ err: error, pool: options.name }, 'idle connection lost'));
  keepProcessOnLostConnection(pool);
  watchQueries(pool, timeoutMs);
  return pool;
}

/**
 * A connection that is lost while it is checked out reports so twice: to the statement that runs, and as an event.
 * The pool listens for that event on idle connections only, and an event nobody listens to ends the process.
 */
export function keepProcessOnLostConnection(pool: pg.Pool): void {
  pool.on('connect', (client) => client.on('error', () => undefined));
}

/** Server conditions after which the whole transaction may be run again: serialization, deadlock, shutdown, lost connection. */
const RETRYABLE = new Set([
  '40001',
  '40P01',
  '57P01',
  '57P02',
  '57P03',
  '08000',
  '08003',
  '08006',
  '08001',
  '53300',
]);

export function sqlState(error: unknown): string | undefined {
  return error instanceof Error && 'code' in error && typeof error.code === 'string' ? error.code : undefined;
}

const QUERY_CANCELED = '57014';
/** Conditions that pass by themselves, beside those: a lock of somebody else's, a full disk, a database that is slow now. */
const PASSING = new Set(['55P03', '53100', QUERY_CANCELED]);

/** Whether a statement ran out of its time. A write may be lucky next time; a query most likely runs out of it again. */
export const isTooSlow = (error: unknown): boolean => sqlState(error) === QUERY_CANCELED;

/** Whether the database could not be reached or asked us to come back, so that the same work may succeed later. */
export function isTransient(error: unknown): boolean {
  const state = sqlState(error);
  // 28P01: a server that is just going down or coming up also refuses right passwords, for an instant.
  if (state === '28P01') return true;
  if (state !== undefined && (RETRYABLE.has(state) || PASSING.has(state))) return true;
  if (state !== undefined && /^(ECONN|EPIPE|ETIMEDOUT|EHOSTUNREACH|ENETUNREACH)/.test(state)) return true;
  return (
    error instanceof Error &&
    /Connection terminated|timeout exceeded when trying to connect|Query read timeout|connection is closed|not queryable/i.test(
      error.message,
    )
  );
}

/**
 * Whether a text with a NUL character, or what is no UTF-8, was given to the database, which stores none. Says so of
 * errors of Prisma as well, which has the server's condition further in.
 */
export function isUnstorableText(error: unknown): boolean {
  const state = sqlState(error);
  if (state === '22021' || state === '22P05') return true;
  return (
    error instanceof Error &&
    /invalid byte sequence for encoding|unsupported Unicode escape sequence/.test(error.message)
  );
}

/**
 * Runs `work` in one transaction and commits. On an error it rolls back and rethrows; a connection that broke is
 * thrown away instead of returning to the pool.
 */
export async function transaction<T>(pool: pg.Pool, work: (tx: pg.PoolClient) => Promise<T>): Promise<T> {
  const client = await pool.connect();
  let broken: Error | undefined;
  try {
    await client.query('begin');
    const value = await work(client);
    await client.query('commit');
    return value;
  } catch (error) {
    try {
      await client.query('rollback');
    } catch (rollbackError) {
      broken = rollbackError instanceof Error ? rollbackError : new Error(String(rollbackError));
    }
    throw error;
  } finally {
    client.release(broken);
  }
}
