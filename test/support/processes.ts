/**
 * The product as processes, from the build: gateways and workers on a database of the test's own. They are kept
 * alive like the supervisor keeps them, so that a test may kill them.
 */
import { existsSync } from 'node:fs';
import path from 'node:path';
import { prepareInstallation } from '../../src/installation.js';
import { KeptProcess } from '../../src/platform/child-process.js';
import { createLogger } from '../../src/platform/log.js';
import { freePort } from '../../src/platform/port-check.js';
import { Secret } from '../../src/platform/secret.js';
import { eventually } from './eventually.js';

export const API_KEY = 'test-key-0123456789-0123456789-0123456789';
const log = createLogger('silent', 'test');

export interface RunningGateway {
  readonly url: string;
  /** kill -9; it comes back by itself. */
  kill(): void;
  pid(): number | undefined;
  stop(): Promise<void>;
}

export interface ProcessOptions {
  readonly databaseUrl: string;
  readonly redisUrl?: string | undefined;
  readonly env?: Record<string, string>;
}

function environment({ databaseUrl, redisUrl, env }: ProcessOptions, port: number): NodeJS.ProcessEnv {
  return {
    ...process.env,
    NODE_ENV: 'production',
    NODE_OPTIONS: '',
    DATABASE_URL: databaseUrl,
    ...(redisUrl === undefined ? {} : { REDIS_URL: redisUrl }),
    TRACEWELL_INIT_API_KEY: API_KEY,
    LOG_LEVEL: process.env['TEST_LOG_LEVEL'] ?? 'silent',
    INGEST_REQUESTS_PER_MINUTE: '1000000',
    API_REQUESTS_PER_MINUTE: '1000000',
    GRAPHQL_COST_PER_MINUTE: '100000000',
    PORT: String(port),
    WORKER_PORT: String(port),
    ...env,
  };
}

function built(file: string): string {
  const found = path.resolve('dist', file);
  if (!existsSync(found)) {
    throw new Error(`${found} is missing: run the tests with \`npm test\`, which builds first.`);
  }
  return found;
}

async function keep(name: string, file: string, options: ProcessOptions): Promise<RunningGateway> {
  const port = await freePort();
  const url = `http://127.0.0.1:${port}`;
  const child = new KeptProcess({
    name,
    file: built(file),
    execArgv: [],
    env: environment(options, port),
    log,
    // Tests that kill again and again are about the deaths, not about the pauses behind them.
    longestDelayMs: 100,
    fatalCodes: [78],
    onFatal: (code) => {
      throw new Error(`${name} ended with ${code}`);
    },
  });
  await untilReady(url);
  return {
    url,
    pid: () => child.pid,
    kill: () => {
      if (child.pid !== undefined) process.kill(child.pid, 'SIGKILL');
    },
    stop: () => child.stop(),
  };
}

export async function untilReady(url: string): Promise<void> {
  await eventually(
    async () => {
      const response = await fetch(`${url}/readyz`);
      if (!response.ok) throw new Error(`not ready: ${response.status}`);
    },
    { timeoutMs: 30_000 },
  );
}

/** Migrates and makes the first workspace with API_KEY. */
export async function installOn(databaseUrl: string): Promise<{ workspaceId: string }> {
  return prepareInstallation({
    config: { initApiKey: new Secret(API_KEY), keyPepper: undefined },
    databaseUrl,
    log,
  });
}

export const startGateway = (options: ProcessOptions): Promise<RunningGateway> =>
  keep('gateway', 'src/main.js', options);
export const startWorker = (options: ProcessOptions): Promise<RunningGateway> =>
  keep('workers', 'workers/main.js', options);
