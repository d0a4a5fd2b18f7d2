/** Entry point of a worker process. */
import 'reflect-metadata';
import { createApp } from '../src/app.js';
import { CONFIGURATION_ERROR, loadProcessConfigOrExit } from '../src/config.js';
import { prepareInstallation } from '../src/installation.js';
import { systemIds } from '../src/platform/ids.js';
import { UnsafeRedis } from '../src/platform/jobs/redis-guard.js';
import { Lifecycle } from '../src/platform/lifecycle.js';
import { createLogger } from '../src/platform/log.js';
import { startTelemetry } from '../src/platform/telemetry-export.js';
import { VERSION } from '../src/version.js';
import { createWorkers, serveHealth } from './workers.js';

const { config, databaseUrl } = loadProcessConfigOrExit();
const log = createLogger(config.logLevel, 'workers');
const lifecycle = new Lifecycle(log);
lifecycle.handleSignals();

try {
  const stopTelemetry = await startTelemetry({
    settings: config.telemetry,
    process: 'workers',
    version: VERSION,
    instanceId: systemIds.uuid(),
    log,
  });
  lifecycle.onStop('telemetry', stopTelemetry, 6_000);
  const { pepper, vaultKeys, databaseRole } = await prepareInstallation({ config, databaseUrl, log });
  const app = createApp({ config, databaseUrl, databaseRole, pepper, vaultKeys, log, lifecycle });
  const group = await createWorkers(app, config, lifecycle);
  const { port } = await serveHealth(
    app,
    group,
    { host: config.gateway.host, port: config.workers.port },
    lifecycle,
  );
  log.info({ port }, 'working');
} catch (error) {
  log.fatal({ err: error }, 'could not start');
  // Tried again, it would be refused again.
  await lifecycle.exit(error instanceof UnsafeRedis ? CONFIGURATION_ERROR : 1);
}
