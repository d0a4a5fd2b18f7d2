/**
 * A process that calls models, for tests that need two of them or kill one. Its one argument is a Job as JSON; it says
 * "ready", waits for a line on standard input, and prints its outcomes as JSON.
 */
import { once } from 'node:events';
import 'reflect-metadata';
import { createApp } from '../../src/app.js';
import { loadConfig } from '../../src/config.js';
import { prepareInstallation } from '../../src/installation.js';
import type { ModelCallContext, ModelRequest } from '../../src/models/model-call.js';
import { ModelCallStore } from '../../src/models/model-call.store.js';
import { RecordingModelClient } from '../../src/models/model-client.js';
import { ProviderClient } from '../../src/models/provider-client.js';
import { ProviderGate } from '../../src/models/provider-gate.js';
import { ProviderGateStore } from '../../src/models/provider-gate.store.js';
import { Lifecycle } from '../../src/platform/lifecycle.js';
import { createLogger } from '../../src/platform/log.js';
import { systemSleep } from '../../src/platform/sleep.js';

export interface Job {
  readonly env: Readonly<Record<string, string>>;
  readonly calls: readonly {
    readonly request: ModelRequest;
    readonly context: Omit<ModelCallContext, 'signal'>;
  }[];
  /** kill -9 of itself just before, or just after, an answer is recorded. */
  readonly dies?: 'before' | 'after';
  readonly leaseMs?: number;
}

class DyingStore extends ModelCallStore {
  override async finish(...args: Parameters<ModelCallStore['finish']>): Promise<boolean> {
    if (job.dies === 'before') process.kill(process.pid, 'SIGKILL');
    const counted = await super.finish(...args);
    if (job.dies === 'after') process.kill(process.pid, 'SIGKILL');
    return counted;
  }
}

const job = JSON.parse(process.argv[2] ?? '{}') as Job;
const config = loadConfig({ LOG_LEVEL: 'silent', ...job.env });
const log = createLogger('silent', 'caller');
const lifecycle = new Lifecycle(log);
const databaseUrl = config.database.url?.reveal() ?? '';
const installation = await prepareInstallation({ config, databaseUrl, log });
const app = createApp({ ...installation, config, databaseUrl, log, lifecycle });
const { writes: pool, clock, ids, runSink: runs } = app;
const gates = new ProviderGateStore();
const lease = job.leaseMs === undefined ? {} : { leaseMs: job.leaseMs };
const client = new RecordingModelClient({
  pool,
  calls: new DyingStore(),
  providers: app.modelProviders,
  gate: new ProviderGate({ pool, store: gates, ids, sleep: systemSleep, log, ...lease }),
  gates,
  client: new ProviderClient({ outbound: app.outbound, clock }),
  runs,
  clock,
  sleep: systemSleep,
  log,
  metrics: app.metrics,
  ...lease,
});
process.stdout.write('ready\n');
await once(process.stdin, 'data');
const { signal } = new AbortController();
const outcomes = await Promise.all(
  job.calls.map(({ request, context }) => client.call(request, { ...context, signal })),
);
await lifecycle.stop();
process.stdout.write(`${JSON.stringify(outcomes)}\n`);
process.exit(0);
