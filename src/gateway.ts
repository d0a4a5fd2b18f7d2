/** The gateway: the routes of every protocol on one HTTP server, over the services of app.ts. */
import type { App } from './app.js';
import type { Config } from './config.js';
import { attachmentRoutes } from './http/attachments.routes.js';
import { databaseCheck, readiness } from './http/health.routes.js';
import { infoRoutes } from './http/info.routes.js';
import { intakeRoutes } from './http/intake.routes.js';
import { createHttpServer } from './http/server.js';
import type { HttpServer } from './http/server.js';
import type { Lifecycle } from './platform/lifecycle.js';
import { createFeedbackIntake } from './rest/feedback-intake.js';
import { VERSION } from './version.js';

export async function createGateway(app: App, config: Config, lifecycle: Lifecycle): Promise<HttpServer> {
  const server = await createHttpServer({
    log: app.log,
    ids: app.ids,
    metrics: app.metrics,
    authenticator: app.authenticator,
    rateLimiter: app.rateLimiter,
    limits: { maxInFlightBytes: config.ingest.maxInFlightBytes },
    ready: readiness({ database: databaseCheck(app.reads) }),
    routes: [
      infoRoutes({ version: VERSION, v2Queries: false }),
      intakeRoutes({
        intake: app.intake,
        feedback: createFeedbackIntake({ feedback: app.feedback }),
        attachments: app.attachments,
        ids: app.ids,
      }),
      attachmentRoutes({ attachments: app.attachments }),
    ],
  });
  lifecycle.onStop('http', () => server.drain(), 15_000);
  return server;
}
