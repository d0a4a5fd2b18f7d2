/**
 * Health and metrics of a worker process, on a port of its own: /healthz needs nothing but this process, /readyz
 * needs the database, /metrics is Prometheus text.
 */
import { createServer } from 'node:http';
import type { ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { Logger } from '../src/platform/log.js';
import type { Metrics } from '../src/platform/metrics.js';

export interface HealthServerOptions {
  readonly host: string;
  /** 0 picks a free one. */
  readonly port: number;
  readonly metrics: Pick<Metrics, 'registry' | 'eventLoopLagSeconds'>;
  /** Whether jobs can be worked on now. */
  readonly isReady: () => boolean;
  readonly log: Logger;
}

export interface HealthServer {
  readonly port: number;
  close(): Promise<void>;
}

const MAX_LAG_SECONDS = 1;

/** Rejects when the port is taken. */
export async function startHealthServer(options: HealthServerOptions): Promise<HealthServer> {
  const { metrics, log } = options;
  const answer = async (path: string, response: ServerResponse): Promise<void> => {
    if (path === '/healthz') {
      const lag = metrics.eventLoopLagSeconds();
      return send(response, lag < MAX_LAG_SECONDS ? 200 : 503, {
        ok: lag < MAX_LAG_SECONDS,
        event_loop_lag_seconds: lag,
      });
    }
    if (path === '/readyz') {
      const ok = options.isReady();
      return send(response, ok ? 200 : 503, { ok });
    }
    if (path === '/metrics') {
      const text = await metrics.registry.metrics();
      response.writeHead(200, { 'content-type': metrics.registry.contentType }).end(text);
      return;
    }
    send(response, 404, { error: 'There is /healthz, /readyz and /metrics.' });
  };
  const server = createServer((request, response) => {
    if (request.method !== 'GET' && request.method !== 'HEAD') {
      return send(response, 405, { error: 'GET only.' });
    }
    answer((request.url ?? '').split('?', 1)[0] ?? '', response).catch((error: unknown) => {
      log.error({ err: error }, 'health request failed');
      if (!response.headersSent) send(response, 500, { ok: false });
    });
  });
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(options.port, options.host, resolve);
  });
  return {
    port: (server.address() as AddressInfo).port,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}

function send(response: ServerResponse, status: number, body: object): void {
  response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body));
}
