/** Metrics of a worker process. Job names and queues are closed lists, so they may be labels. */
import { Counter, Gauge, Histogram } from 'prom-client';
import type { Registry } from 'prom-client';
import type { RunnerObserver } from './runner.js';

const WAIT_SECONDS = [0.01, 0.05, 0.1, 0.5, 1, 5, 10, 30, 60, 300, 3_600];
const RUN_SECONDS = [0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 10, 60, 300, 1_800];

export interface JobMetrics {
  readonly observer: RunnerObserver;
  readonly stalled: (queue: string) => void;
}

export interface JobMetricsOptions {
  readonly registry: Registry;
  readonly outboxAgeSeconds: () => Promise<number>;
  /** Whether the engine is too full to be given more. */
  readonly isPressed: () => boolean;
  readonly now: () => number;
}

export function createJobMetrics({
  registry,
  outboxAgeSeconds,
  isPressed,
  now,
}: JobMetricsOptions): JobMetrics {
  const registers = [registry];
  const ended = new Counter({
    name: 'tracewell_jobs_total',
    help: 'Executions by job and outcome (succeeded, retried, failed, stale, interrupted).',
    labelNames: ['job', 'outcome'] as const,
    registers,
  });
  const waited = new Histogram({
    name: 'tracewell_job_wait_seconds',
    help: 'From the moment a job may run to its execution.',
    labelNames: ['queue'] as const,
    buckets: WAIT_SECONDS,
    registers,
  });
  const ran = new Histogram({
    name: 'tracewell_job_run_seconds',
    help: 'Duration of one execution.',
    labelNames: ['job'] as const,
    buckets: RUN_SECONDS,
    registers,
  });
  const stalled = new Counter({
    name: 'tracewell_jobs_stalled_total',
    help: 'Executions whose process died or froze.',
    labelNames: ['queue'] as const,
    registers,
  });
  new Gauge({
    name: 'tracewell_outbox_oldest_seconds',
    help: 'Age of the oldest delivery that has not reached the job queue.',
    registers,
    async collect() {
      // Without a database the age of the last scrape stands: the other metrics must be there then.
      const age = await outboxAgeSeconds().catch(() => undefined);
      if (age !== undefined) this.set(age);
    },
  });
  new Gauge({
    name: 'tracewell_job_queue_full',
    help: '1 while the job queue has too little memory left to be given more.',
    registers,
    collect() {
      this.set(isPressed() ? 1 : 0);
    },
  });
  return {
    observer: {
      started: (job) => {
        if (job.claim === 1) {
          waited.observe({ queue: job.queue }, Math.max(0, (now() - Date.parse(job.runAt)) / 1_000));
        }
      },
      ended: (job, outcome, seconds) => {
        ended.inc({ job: job.name, outcome });
        ran.observe({ job: job.name }, seconds);
      },
    },
    stalled: (queue) => stalled.inc({ queue }),
  };
}
