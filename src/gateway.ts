/** A gateway: every protocol on one HTTP server, over the services of app.ts. */
import { createApi } from './api.js';
import type { Api } from './api.js';
import type { App } from './app.js';
import { createLiveReading } from './composition/traces.js';
import type { Config } from './config.js';
import { createContext } from './graphql/context.js';
import { stringifyWithRawJson } from './graphql/raw-json.js';
import { createGraphqlHandler } from './graphql/server.js';
import { loadTrustedDocuments, NO_TRUSTED_DOCUMENTS } from './graphql/trusted-documents.js';
import { attachmentRoutes } from './http/attachments.routes.js';
import { databaseCheck, migrationsCheck, readiness } from './http/health.routes.js';
import { infoRoutes } from './http/info.routes.js';
import { intakeRoutes } from './http/intake.routes.js';
import type { RouteModule } from './http/ports.js';
import { newestMigration } from './installation.js';
import { createHttpServer } from './http/server.js';
import type { HttpServer } from './http/server.js';
import { FeedReader } from './live/feed-reader.js';
import { Hub } from './live/hub.js';
import { LiveService } from './live/live.service.js';
import { SocketServer } from './graphql/socket-server.js';
import type { Lifecycle } from './platform/lifecycle.js';
import { trustOf } from './platform/network.js';
import { datasetFileRoutes } from './rest/dataset-files.routes.js';
import { datasetRoutes } from './rest/datasets.routes.js';
import { exampleRoutes, exampleUploadRoutes, ExampleWriterOut } from './rest/examples.routes.js';
import { experimentV2Routes } from './rest/experiments-v2.routes.js';
import { experimentRoutes } from './rest/experiments.routes.js';
import { createFeedbackIntake } from './rest/feedback-intake.js';
import { feedbackRoutes } from './rest/feedback.routes.js';
import { publicDatasetRoutes } from './rest/public-datasets.routes.js';
import { publicRoutes } from './rest/public.routes.js';
import { RunReader } from './rest/run-reader.js';
import { runV2Routes } from './rest/runs-v2.routes.js';
import { runRoutes } from './rest/runs.routes.js';
import { sessionRoutes } from './rest/sessions.routes.js';
import { workspaceRoutes } from './rest/workspace.routes.js';
import { VERSION } from './version.js';

function intakeModules(app: App): RouteModule[] {
  const { intake, attachments, ids } = app;
  return [
    infoRoutes({ version: VERSION, v2Queries: false }),
    intakeRoutes({ intake, feedback: createFeedbackIntake({ feedback: app.feedback }), attachments, ids }),
    attachmentRoutes({ attachments }),
  ];
}

function readModules(app: App, publicUrl: string | undefined): RouteModule[] {
  const { runs, threads, shares, feedback, projects, workspaces, clock, cursors, attachments } = app;
  const reader = new RunReader({ runs, feedback, shares, links: attachments, cursors });
  return [
    runRoutes({ runs, threads, shares, reader, publicUrl }),
    sessionRoutes({ projects, feedback }),
    feedbackRoutes({ feedback, configs: app.feedbackConfigs, tokens: app.feedbackTokens, clock, publicUrl }),
    publicRoutes({ runs, feedback, shares, reader, publicUrl }),
    workspaceRoutes({ workspaces }),
    ...datasetModules(app, reader, publicUrl),
    runV2Routes({ runs, threads, projects, shares, reader, cursors, clock, publicUrl }),
  ];
}

function datasetModules(app: App, reader: RunReader, publicUrl: string | undefined): RouteModule[] {
  const { datasets, examples, lineage, attachments, exports, imports, projects, ids, datasetShares } = app;
  const out = new ExampleWriterOut({ attachments, publicUrl });
  const { experiments, comparatives, feedback } = app;
  const experimentOptions = { experiments, comparatives, feedback, reader, out, publicUrl };
  const exampleOptions = { datasets, examples, imports, lineage, attachments, ids, publicUrl };
  return [
    datasetRoutes({ datasets, examples, exports, imports, lineage, shares: datasetShares, projects }),
    datasetFileRoutes({ imports, exports }),
    exampleRoutes(exampleOptions),
    exampleUploadRoutes(exampleOptions),
    experimentRoutes({ ...experimentOptions, datasets, examples }),
    experimentV2Routes({ datasets, examples, reader, out, cursors: app.cursors, publicUrl }),
    publicDatasetRoutes({ ...experimentOptions, datasets, examples, shares: datasetShares, projects }),
  ];
}

async function mountGraphql(server: HttpServer, app: App, api: Api, lifecycle: Lifecycle): Promise<void> {
  const handler = await createGraphqlHandler({
    ...api,
    log: app.log,
    contextFor: (request, signal) =>
      createContext({ principal: request.principal, signal, requestId: request.id }),
  });
  await server.app.register(handler.plugin);
  lifecycle.onStop('graphql', () => handler.stop());
}

function startLive(
  server: HttpServer,
  { app, api, config }: { app: App; api: Api; config: Config },
  lifecycle: Lifecycle,
): void {
  const { clock, log, doorbell } = app;
  const { registry } = app.metrics;
  const { tail, replay, liveRuns } = createLiveReading(app, app.indexer);
  const hub = new Hub({ feed: replay, runs: liveRuns, clock, log });
  const reader = new FeedReader({ store: tail, sink: hub, doorbell, registry, clock, log });
  const live = new LiveService({ hub, contentReads: app.contentReads });
  const sockets = new SocketServer({
    ...api,
    authenticator: app.authenticator,
    live,
    registry,
    clock,
    log,
    stringify: stringifyWithRawJson,
    allowedOrigins: config.gateway.allowedOrigins,
    trust: trustOf(config.gateway.trustedProxies),
  });
  sockets.attach(server.app.server);
  reader.start();
  lifecycle.onStop('feed reader', () => reader.stop());
  lifecycle.onStop('sockets', () => sockets.close());
}

/** Built and wired, not listening yet. Registers how everything stops. */
export async function createGateway(app: App, config: Config, lifecycle: Lifecycle): Promise<HttpServer> {
  const { publicUrl, trustedProxies, allowedOrigins } = config.gateway;
  const { file, requiredFor } = config.trustedDocuments;
  const trusted = file === undefined ? NO_TRUSTED_DOCUMENTS : loadTrustedDocuments(file, requiredFor);
  const api = createApi(app, publicUrl, trusted);
  const server = await createHttpServer({
    log: app.log,
    ids: app.ids,
    metrics: app.metrics,
    authenticator: app.authenticator,
    rateLimiter: app.rateLimiter,
    limits: {
      maxInFlightBytes: config.ingest.maxInFlightBytes,
      connectionsPerAddress: config.gateway.connectionsPerAddress,
    },
    trustedProxies,
    allowedOrigins,
    ready: readiness({
      database: databaseCheck(app.probe),
      migrations: migrationsCheck(app.probe, newestMigration()),
    }),
    routes: [...intakeModules(app), ...readModules(app, publicUrl)],
  });
  await mountGraphql(server, app, api, lifecycle);
  lifecycle.onStop('http', () => server.drain(), 15_000);
  startLive(server, { app, api, config }, lifecycle);
  return server;
}
