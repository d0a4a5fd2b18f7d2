/** Entry point of a gateway process. */
import 'reflect-metadata';
import { createApp } from './app.js';
import { loadProcessConfigOrExit } from './config.js';
import { createGateway } from './gateway.js';
import { prepareInstallation } from './installation.js';
import { systemIds } from './platform/ids.js';
import { Lifecycle } from './platform/lifecycle.js';
import { createLogger } from './platform/log.js';
import { startTelemetry } from './platform/telemetry-export.js';
import { VERSION } from './version.js';

const { config, databaseUrl } = loadProcessConfigOrExit();
const log = createLogger(config.logLevel, 'gateway');
const lifecycle = new Lifecycle(log);
lifecycle.handleSignals();

try {
  const stopTelemetry = await startTelemetry({
    settings: config.telemetry,
    process: 'gateway',
    version: VERSION,
    instanceId: systemIds.uuid(),
    log,
  });
  lifecycle.onStop('telemetry', stopTelemetry, 6_000);
  const { pepper, vaultKeys, databaseRole } = await prepareInstallation({ config, databaseUrl, log });
  const app = createApp({ config, databaseUrl, databaseRole, pepper, vaultKeys, log, lifecycle });
  const gateway = await createGateway(app, config, lifecycle);
  const address = await gateway.listen(config.gateway);
  log.info({ address }, 'listening');
} catch (error) {
  log.fatal({ err: error }, 'could not start');
  await lifecycle.exit(1);
}
