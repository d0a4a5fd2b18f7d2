/**
 * The process's metrics: one registry, every metric in one place. Base units, no workspace or key labels, label
 * values from closed lists only.
 */
import { monitorEventLoopDelay } from 'node:perf_hooks';
import { Counter, Gauge, Histogram, Registry } from 'prom-client';
import type pg from 'pg';

const SECONDS = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10];

const MODEL_SECONDS = [0.01, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300];

export type Metrics = ReturnType<typeof createMetrics>;

/** `close` stops what is measured in the background. */
export function createMetrics(version = 'unknown') {
  const registry = new Registry();
  const registers = [registry];
  const delay = monitorEventLoopDelay({ resolution: 20 });
  delay.enable();
  const eventLoopLagSeconds = (): number =>
    Number.isNaN(delay.mean) ? 0 : Math.max(0, delay.mean / 1e9 - 0.02);
  new Gauge({
    name: 'tracewell_event_loop_lag_seconds',
    help: 'Mean delay of the event loop since the last scrape.',
    registers,
    collect() {
      this.set(eventLoopLagSeconds());
      delay.reset();
    },
  });
  describeProcess(registry, version);
  return {
    registry,
    watchPool: makePoolGauges(registry),
    eventLoopLagSeconds,
    close: (): void => {
      delay.disable();
      registry.clear();
    },
    ingestRuns: new Counter({
      name: 'tracewell_ingest_runs_total',
      help: 'Items of intake requests by protocol and outcome (accepted, refused).',
      labelNames: ['protocol', 'outcome'] as const,
      registers,
    }),
    ingestRejected: new Counter({
      name: 'tracewell_ingest_rejected_total',
      help: 'Refused items by the field that was at fault.',
      labelNames: ['reason'] as const,
      registers,
    }),
    ingestBytes: new Counter({
      name: 'tracewell_ingest_bytes_total',
      help: 'Bytes of request bodies after decompression.',
      registers,
    }),
    ingestInFlightBytes: new Gauge({
      name: 'tracewell_ingest_inflight_bytes',
      help: 'Bytes of request bodies held at this moment.',
      registers,
    }),
    ingestShed: new Counter({
      name: 'tracewell_ingest_shed_total',
      help: 'Requests turned away under load, by reason (rate, bytes, database, connections).',
      labelNames: ['reason'] as const,
      registers,
    }),
    ackSeconds: new Histogram({
      name: 'tracewell_ack_seconds',
      help: 'From a translated request to its commit.',
      buckets: SECONDS,
      registers,
    }),
    writerFlushSeconds: new Histogram({
      name: 'tracewell_writer_flush_seconds',
      help: 'Duration of one group commit of runs.',
      buckets: SECONDS,
      registers,
    }),
    writerBatchRuns: new Histogram({
      name: 'tracewell_writer_batch_runs',
      help: 'Runs per group commit.',
      buckets: [1, 5, 10, 50, 100, 250, 500, 1_000],
      registers,
    }),
    httpRequests: new Counter({
      name: 'tracewell_http_requests_total',
      help: 'Requests by route module and status class.',
      labelNames: ['module', 'status'] as const,
      registers,
    }),
    httpSeconds: new Histogram({
      name: 'tracewell_http_request_seconds',
      help: 'From the first byte of a request to the last of its answer.',
      labelNames: ['module'] as const,
      buckets: SECONDS,
      registers,
    }),
    modelRequests: new Counter({
      name: 'tracewell_model_requests_total',
      help: 'Requests to model providers by outcome (answered, throttled, unavailable, refused).',
      labelNames: ['outcome'] as const,
      registers,
    }),
    modelRequestSeconds: new Histogram({
      name: 'tracewell_model_request_seconds',
      help: 'Duration of one request to a model provider.',
      buckets: MODEL_SECONDS,
      registers,
    }),
    modelWaitSeconds: new Histogram({
      name: 'tracewell_model_wait_seconds',
      help: 'How long a request to a model provider stood in line for its limits.',
      buckets: MODEL_SECONDS,
      registers,
    }),
    authFailures: new Counter({
      name: 'tracewell_auth_failures_total',
      help: 'Requests refused before they reached a handler (unauthenticated, forbidden).',
      labelNames: ['reason'] as const,
      registers,
    }),
    graphqlRejected: new Counter({
      name: 'tracewell_graphql_rejected_total',
      help: 'GraphQL operations that were refused before they ran, by rule.',
      labelNames: ['rule'] as const,
      registers,
    }),
  };
}

/** What runs here, since when and how large it is. The last two have the names every Prometheus client gives them. */
function describeProcess(registry: Registry, version: string): void {
  const registers = [registry];
  new Gauge({
    name: 'tracewell_build_info',
    help: 'Always 1; the labels say what runs.',
    labelNames: ['version', 'node'] as const,
    registers,
  }).set({ version, node: process.versions.node }, 1);
  new Gauge({
    name: 'process_start_time_seconds',
    help: 'When the process began, in seconds since 1970.',
    registers,
  }).set(Math.round(performance.timeOrigin / 1_000));
  new Gauge({
    name: 'process_resident_memory_bytes',
    help: 'Memory of the process that is in RAM.',
    registers,
    collect() {
      this.set(process.memoryUsage.rss());
    },
  });
}

/** Returns what adds a pool of database connections to the gauges. */
function makePoolGauges(registry: Registry): (name: string, pool: pg.Pool) => void {
  const pools = new Map<string, pg.Pool>();
  const gauge = (name: string, help: string, read: (pool: pg.Pool) => number): void => {
    new Gauge({
      name,
      help,
      labelNames: ['pool'] as const,
      registers: [registry],
      collect() {
        for (const [label, pool] of pools) this.set({ pool: label }, read(pool));
      },
    });
  };
  gauge(
    'tracewell_db_pool_used',
    'Database connections that are at work.',
    ({ totalCount, idleCount }) => totalCount - idleCount,
  );
  gauge(
    'tracewell_db_pool_waiting',
    'Work that waits for a database connection.',
    ({ waitingCount }) => waitingCount,
  );
  return (name, pool) => pools.set(name, pool);
}
