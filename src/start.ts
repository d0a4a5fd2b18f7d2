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
import { loadConfigOrExit } from './config.js';
import type { Config } from './config.js';
import { KeptProcess } from './platform/child-process.js';
import { startEmbeddedPostgres } from './platform/embedded-postgres.js';
import { Lifecycle } from './platform/lifecycle.js';
import { createLogger } from './platform/log.js';
import type { Logger } from './platform/log.js';

const CONFIGURATION_ERROR = 78;
const READY_TIMEOUT_MS = 60_000;

async function findDatabase(config: Config, lifecycle: Lifecycle, log: Logger): Promise<string> {
  if (config.database.url !== undefined) return config.database.url.reveal();
  const postgres = await startEmbeddedPostgres({ dataDir: config.dataDir, log });
  lifecycle.onStop('postgres', () => postgres.stop(), 20_000);
  void postgres.died.then((message) => {
    log.fatal(message);
    void lifecycle.exit(1);
  });
  return postgres.url;
}

/** The key made at the first start, kept for the owner of this machine to read again. */
async function rememberKey(dataDir: string, made: string | undefined): Promise<string | undefined> {
  const file = path.join(dataDir, 'api-key');
  if (made !== undefined) {
    await mkdir(dataDir, { recursive: true });
    await writeFile(file, `${made}\n`, { mode: 0o600 });
    await chmod(file, 0o600);
  }
  return existsSync(file) ? (await readFile(file, 'utf8')).trim() : undefined;
}

async function waitUntilReady(url: string): Promise<void> {
  const deadline = Date.now() + READY_TIMEOUT_MS;
  for (;;) {
    try {
      if ((await fetch(`${url}/readyz`)).ok) return;
    } catch {
      // Not listening yet.
    }
    if (Date.now() > deadline) throw new Error(`The gateway was not ready at ${url} in time.`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

function firstTrace(url: string, key: string): string {
  return `
Tracewell is ready.

  GraphQL   ${url}/graphql
  API key   ${key}

Send a first trace (npm install langsmith):

  export LANGSMITH_TRACING=true LANGSMITH_ENDPOINT=${url} LANGSMITH_API_KEY=${key}
  node --input-type=module -e 'import { traceable } from "langsmith/traceable";
    await traceable((name) => "Hello " + name, { name: "hello" })("world")'

`;
}

const config = loadConfigOrExit();
const log = createLogger(config.logLevel, 'supervisor');
// Gateway, workers and Postgres each take their time, one after the other.
const lifecycle = new Lifecycle(log, 90_000);
lifecycle.handleSignals();

try {
  const databaseUrl = await findDatabase(config, lifecycle, log);
  const { apiKey } = await prepareInstallation({ config, databaseUrl, log });
  const key = config.initApiKey?.reveal() ?? (await rememberKey(config.dataDir, apiKey));

  const keep = (name: string, file: string): void => {
    const child = new KeptProcess({
      name,
      file: fileURLToPath(new URL(`${file}${path.extname(fileURLToPath(import.meta.url))}`, import.meta.url)),
      env: { ...process.env, DATABASE_URL: databaseUrl },
      log,
      fatalCodes: [CONFIGURATION_ERROR],
      onFatal: (code) => void lifecycle.exit(code),
    });
    lifecycle.onStop(name, () => child.stop(), 32_000);
  };
  keep('workers', '../workers/main');
  keep('gateway', './main');

  const url = config.gateway.publicUrl ?? `http://${config.gateway.host}:${config.gateway.port}`;
  const everywhere = config.gateway.host === '0.0.0.0' || config.gateway.host === '::';
  await waitUntilReady(`http://${everywhere ? '127.0.0.1' : config.gateway.host}:${config.gateway.port}`);
  process.stdout.write(firstTrace(url, key ?? '(made at the first start; make another with createApiKey)'));
} catch (error) {
  log.fatal({ err: error }, 'could not start');
  await lifecycle.exit(1);
}
