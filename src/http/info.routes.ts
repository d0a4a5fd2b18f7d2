/**
 * GET /info: what tracing clients ask before their first batch. Constant, without credentials and without the
 * database: a client that gets no answer delays its first traces by a minute.
 */
import type { RouteModule } from './ports.js';

/** The version of the protocol that clients compare with, not that of this program. */
const PROTOCOL_VERSION = '0.16.20';

export function infoRoutes(options: { readonly version: string; readonly v2Queries: boolean }): RouteModule {
  const info = JSON.stringify({
    version: PROTOCOL_VERSION,
    tracewell_version: options.version,
    license_expiration_time: null,
    // The Python SDK reads each of these by name and stops tracing when one is missing.
    batch_ingest_config: {
      use_multipart_endpoint: true,
      size_limit: 100,
      size_limit_bytes: 20_971_520,
      scale_up_qsize_trigger: 1_000,
      scale_up_nthreads_limit: 16,
      scale_down_nempty_trigger: 4,
    },
    instance_flags: {
      dataset_examples_multipart_enabled: true,
      examples_multipart_enabled: true,
      gzip_body_enabled: true,
      zstd_compression_enabled: true,
      ch_query_enabled: true,
      sdb_query_enabled: options.v2Queries,
    },
  });
  return {
    name: 'info',
    mount: 'v1',
    register(app) {
      app.get('/info', { config: { access: 'public', rateClass: 'free' } }, async (_request, reply) =>
        reply.type('application/json; charset=utf-8').send(info),
      );
    },
  };
}
