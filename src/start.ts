/**
 * `npm start`: everything on one machine. Starts the embedded Postgres unless DATABASE_URL names another,
 * migrates, makes the first workspace and key, runs a gateway and a worker process and keeps them running, and
 * says how to send a first trace. With DATABASE_URL and REDIS_URL it is the same on servers.
 */
import { existsSync } from 'node:fs';
import { chmod, mkdir, readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { prepareInstallation } from './installation.js';
import { CONFIGURATION_ERROR, loadConfigOrExit } from './config.js';
import { KeptProcess } from './platform/child-process.js';
import { startEmbeddedPostgres } from './platform/embedded-postgres.js';
import { Lifecycle } from './platform/lifecycle.js';
import { createLogger } from './platform/log.js';
import { portProblem } from './platform/port-check.js';
import { claimFolder } from './platform/sole-owner.js';

const READY_TIMEOUT_MS = 60_000;
/** How long the gateway and workers of a supervisor that was killed may take to notice and leave their ports. */
const ORPHANS_LEAVE_MS = 15_000;

/** Why this machine cannot start it, for a person: shown without a stack. */
class StartRefused extends Error {}

// On a terminal the ready text is what people look for; a service's log tells the steps, too.
const config = loadConfigOrExit({ LOG_LEVEL: process.stdout.isTTY ? 'warn' : 'info' });
const log = createLogger(config.logLevel, 'supervisor');
// Gateway, workers and Postgres each take their time, one after the other.
const lifecycle = new Lifecycle(log, 90_000);
const dataDir = path.resolve(config.dataDir);
// A function, because between two awaits the answer changes.
const stopping = (): boolean => lifecycle.stopping;

/** Makes this process the one that works in the data directory. Whether the last one was killed. */
async function claimDataDir(): Promise<boolean> {
  const claim = await mkdir(dataDir, { recursive: true })
    .then(() => claimFolder(dataDir))
    .catch((error: unknown) => {
      const reason = error instanceof Error ? error.message : String(error);
      throw new StartRefused(
        `The data directory ${dataDir} cannot be used: ${reason}\n` +
          'Set TRACEWELL_DATA_DIR to a folder that this user can write.',
      );
    });
  if (claim === undefined) {
    throw new StartRefused(
      `Tracewell already runs on the data directory ${dataDir}.\n` +
        'Stop it first, or set TRACEWELL_DATA_DIR, PORT and WORKER_PORT for a second one.',
    );
  }
  lifecycle.onStop('claim', () => claim.release());
  return claim.inherited;
}

async function requirePorts(patienceMs: number): Promise<void> {
  const { host, port } = config.gateway;
  const wanted = { PORT: port, WORKER_PORT: config.workers.port };
  if (wanted.PORT === wanted.WORKER_PORT) {
    throw new StartRefused(`PORT and WORKER_PORT are both ${port}; they need a port each.`);
  }
  const deadline = Date.now() + patienceMs;
  for (const [name, number] of Object.entries(wanted)) {
    let problem = await portProblem({ host, port: number });
    while (problem === 'EADDRINUSE' && Date.now() < deadline && !stopping()) {
      await new Promise((resolve) => setTimeout(resolve, 100));
      problem = await portProblem({ host, port: number });
    }
    if (problem === 'EADDRINUSE') {
      throw new StartRefused(
        `Port ${number} on ${host} is taken by another program. Set ${name} to another.`,
      );
    }
    if (problem !== undefined) {
      throw new StartRefused(`Cannot listen on ${host}, port ${number}: ${problem}. See HOST and ${name}.`);
    }
  }
}

async function findDatabase(): Promise<string> {
  if (config.database.url !== undefined) return config.database.url.reveal();
  const starting = startEmbeddedPostgres({ dataDir, log });
  // Registered before it is there, so that a signal during the first start leaves no server behind.
  lifecycle.onStop('postgres', async () => (await starting.catch(() => undefined))?.stop(), 20_000);
  const postgres = await starting;
  void postgres.died.then((message) => {
    log.fatal(message);
    void lifecycle.exit(1);
  });
  return postgres.url;
}

/** The key made at the first start, kept for the owner of this machine to read again. */
async function rememberKey(made: string | undefined): Promise<string | undefined> {
  const file = path.join(dataDir, 'api-key');
  if (made !== undefined) {
    await writeFile(file, `${made}\n`, { mode: 0o600 });
    await chmod(file, 0o600);
  }
  return existsSync(file) ? (await readFile(file, 'utf8')).trim() : undefined;
}

function keep(name: string, file: string, databaseUrl: string): void {
  const self = fileURLToPath(import.meta.url);
  const child = new KeptProcess({
    name,
    // From sources under a loader, from the build otherwise: as this process itself runs.
    file: path.resolve(path.dirname(self), `${file}${path.extname(self)}`),
    env: { ...process.env, LOG_LEVEL: config.logLevel, DATABASE_URL: databaseUrl },
    log,
    fatalCodes: [CONFIGURATION_ERROR],
    onFatal: (code) => void lifecycle.exit(code),
  });
  lifecycle.onStop(name, () => child.stop(), 32_000);
}

/** Address of the gateway as this machine reaches it. */
function localUrl(): string {
  const { host, port } = config.gateway;
  if (host === '0.0.0.0') return `http://127.0.0.1:${port}`;
  if (host === '::') return `http://[::1]:${port}`;
  return host.includes(':') ? `http://[${host}]:${port}` : `http://${host}:${port}`;
}

async function waitUntilReady(): Promise<void> {
  const deadline = Date.now() + READY_TIMEOUT_MS;
  while (!stopping()) {
    try {
      if ((await fetch(`${localUrl()}/readyz`)).ok) return;
    } catch {
      // Not listening yet.
    }
    if (Date.now() > deadline) throw new Error(`The gateway was not ready at ${localUrl()} in time.`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

/** A remembered key may be revoked by now, or another database's. */
async function works(key: string): Promise<boolean> {
  const response = await fetch(`${localUrl()}/sessions?limit=1`, { headers: { 'x-api-key': key } });
  return response.status !== 401 && response.status !== 403;
}

function readyText(url: string, key: string | undefined): string {
  const shown = key ?? 'not known here; a start with TRACEWELL_INIT_API_KEY=<32 characters or more> adds one';
  return `
Tracewell is ready.

  GraphQL   ${url}/graphql
  API key   ${shown}

Send a first trace (npm install langsmith):

  export LANGSMITH_TRACING=true LANGSMITH_ENDPOINT=${url} LANGSMITH_API_KEY=${key ?? '<key>'}
  node --input-type=module -e 'import { traceable } from "langsmith/traceable";
    await traceable((name) => "Hello " + name, { name: "hello" })("world")'

`;
}

async function start(): Promise<void> {
  const crashed = await claimDataDir();
  await requirePorts(crashed ? ORPHANS_LEAVE_MS : 0);
  const databaseUrl = await findDatabase();
  if (stopping()) return;
  const { apiKey } = await prepareInstallation({ config, databaseUrl, log });
  const key = config.initApiKey?.reveal() ?? (await rememberKey(apiKey));
  if (stopping()) return;
  keep('workers', '../workers/main', databaseUrl);
  keep('gateway', './main', databaseUrl);
  await waitUntilReady();
  if (stopping()) return;
  const usable = key !== undefined && (await works(key)) ? key : undefined;
  process.stdout.write(readyText(config.gateway.publicUrl ?? localUrl(), usable));
}

lifecycle.handleSignals();
try {
  await start();
} catch (error) {
  // What fails because it is being stopped is no news.
  if (!stopping()) {
    if (error instanceof StartRefused) process.stderr.write(`${error.message}\n`);
    else log.fatal({ err: error }, 'could not start');
    await lifecycle.exit(1);
  }
}
