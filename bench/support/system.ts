/**
 * What is measured, started as a user would run it: an embedded Postgres with the product's own settings and
 * gateway processes from the build. Everything goes away with `stop`.
 */
import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { chmod, mkdtemp, rm } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { prepareInstallation } from '../../src/installation.js';
import { startEmbeddedPostgres } from '../../src/platform/embedded-postgres.js';
import { createLogger } from '../../src/platform/log.js';
import { freePort } from '../../src/platform/port-check.js';
import { Secret } from '../../src/platform/secret.js';

export const API_KEY = 'bench-key-0123456789-0123456789-0123456789';
const log = createLogger('warn', 'bench');

export interface BenchProcess {
  readonly url: string;
  readonly child: ChildProcess;
}

export interface BenchSystem {
  readonly databaseUrl: string;
  readonly workspaceId: string;
  /** A gateway from the build. */
  gateway(env?: Record<string, string>): Promise<BenchProcess>;
  /** A script of bench/baselines that listens on PORT and answers GET /readyz. */
  baseline(script: string, env?: Record<string, string>): Promise<BenchProcess>;
  /** Processor seconds used so far by a process, and by all of Postgres. */
  cpuSeconds(process: BenchProcess): { own: number; postgres: number };
  stop(): Promise<void>;
}

/** Clock ticks of /proc per second, on every Linux there is. */
const TICKS = 100;

/** Parent and processor seconds of a process, with those of its children that have ended. */
function processTimes(pid: number): { parent: number; seconds: number } | undefined {
  try {
    const text = readFileSync(`/proc/${pid}/stat`, 'utf8');
    // The second field is a name in brackets that may hold anything.
    const fields = text
      .slice(text.lastIndexOf(')') + 2)
      .split(' ')
      .map(Number);
    const [, parent = 0] = fields;
    return { parent, seconds: fields.slice(11, 15).reduce((sum, ticks) => sum + ticks, 0) / TICKS };
  } catch {
    return undefined;
  }
}

async function untilReady(url: string): Promise<void> {
  const deadline = Date.now() + 30_000;
  for (;;) {
    const ready = await fetch(`${url}/readyz`).then(
      (response) => response.ok,
      () => false,
    );
    if (ready) return;
    if (Date.now() > deadline) throw new Error(`${url} was not ready in time`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

export async function startSystem(): Promise<BenchSystem> {
  const dataDir = await mkdtemp(path.join(os.tmpdir(), 'tracewell-bench-'));
  await chmod(dataDir, 0o711);
  const postgres = await startEmbeddedPostgres({ dataDir, log });
  const { workspaceId } = await prepareInstallation({
    config: { initApiKey: new Secret(API_KEY), keyPepper: undefined },
    databaseUrl: postgres.url,
    log,
  });
  const children: ChildProcess[] = [];
  const start = async (args: string[], env: Record<string, string>): Promise<BenchProcess> => {
    const port = await freePort();
    const child = spawn(process.execPath, args, {
      stdio: ['ignore', 'inherit', 'inherit'],
      env: {
        ...process.env,
        NODE_ENV: 'production',
        DATABASE_URL: postgres.url,
        PORT: String(port),
        LOG_LEVEL: 'warn',
        TRACEWELL_INIT_API_KEY: API_KEY,
        INGEST_REQUESTS_PER_MINUTE: '1000000',
        API_REQUESTS_PER_MINUTE: '1000000',
        GRAPHQL_COST_PER_MINUTE: '100000000',
        ...env,
      },
    });
    children.push(child);
    const url = `http://127.0.0.1:${port}`;
    await untilReady(url);
    return { url, child };
  };
  return {
    databaseUrl: postgres.url,
    workspaceId,
    gateway: (env = {}) => start(['dist/src/main.js'], env),
    baseline: (script, env = {}) => start(['--import', 'tsx', `bench/baselines/${script}`], env),
    cpuSeconds: ({ child }) => {
      const pidFile = readFileSync(path.join(postgres.dataDir, 'postmaster.pid'), 'utf8');
      const server = Number(pidFile.slice(0, pidFile.indexOf('\n')));
      let seconds = processTimes(server)?.seconds ?? 0;
      for (const name of readdirSync('/proc')) {
        const times = /^\d+$/.test(name) ? processTimes(Number(name)) : undefined;
        if (times !== undefined && times.parent === server) seconds += times.seconds;
      }
      return { own: processTimes(child.pid ?? 0)?.seconds ?? 0, postgres: seconds };
    },
    stop: async () => {
      for (const child of children) {
        if (child.exitCode !== null) continue;
        await new Promise<void>((resolve) => {
          child.once('close', () => resolve());
          child.kill('SIGTERM');
        });
      }
      await postgres.stop();
      await rm(dataDir, { recursive: true, force: true });
    },
  };
}
