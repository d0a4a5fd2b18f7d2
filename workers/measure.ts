/** What a worker process measures by asking the database, at each scrape. Without a database the last numbers stand. */
import { Gauge } from 'prom-client';
import type { UnitBacklog } from '../src/experiments/unit-backlog.store.js';
import type { Metrics } from '../src/platform/metrics.js';

export interface MeasureOptions {
  readonly metrics: Pick<Metrics, 'registry'>;
  readonly partitionsAhead: () => Promise<number>;
  readonly unitBacklog: () => Promise<readonly UnitBacklog[]>;
}

export function measure({ metrics, partitionsAhead, unitBacklog }: MeasureOptions): void {
  const registers = [metrics.registry];
  new Gauge({
    name: 'tracewell_partitions_ahead',
    help: 'Days behind today that runs have a partition for.',
    registers,
    async collect() {
      const ahead = await partitionsAhead().catch(() => undefined);
      if (ahead !== undefined) this.set(ahead);
    },
  });

  let reading: Promise<readonly UnitBacklog[]> | undefined;
  // One statement for both gauges of a scrape.
  const read = (): Promise<readonly UnitBacklog[]> =>
    (reading ??= unitBacklog()
      .catch(() => [])
      .finally(() => (reading = undefined)));
  const gauge = (name: string, help: string, valueOf: (backlog: UnitBacklog) => number): void => {
    new Gauge({
      name,
      help,
      labelNames: ['kind'] as const,
      registers,
      async collect() {
        for (const backlog of await read()) this.set({ kind: backlog.kind }, valueOf(backlog));
      },
    });
  };
  gauge(
    'tracewell_units_pending',
    'Units of running experiments that could be started now (target, evaluation).',
    ({ pending }) => pending,
  );
  gauge(
    'tracewell_units_oldest_seconds',
    'How long the oldest of these units could have been started.',
    ({ oldestSeconds }) => oldestSeconds,
  );
}
