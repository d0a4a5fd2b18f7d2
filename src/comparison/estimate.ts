/** What one experiment says about its own metrics, for thresholds that need no baseline. Pure; runs on a thread. */
import { meanInterval } from '../statistics/bootstrap.js';
import type { Interval } from '../statistics/bootstrap.js';
import { seedFrom, SeededRandom } from '../statistics/random.js';
import { mean } from '../statistics/summary.js';
import { clusters, countErrors } from './compare.js';
import type { ScoreTable, Slice } from './compare.js';

export interface EstimateInput {
  readonly table: ScoreTable;
  readonly metrics: readonly string[];
  readonly slices: readonly Slice[];
  readonly alpha: number;
  readonly seed: number;
}

/** The mean over examples, repetitions of an example averaged first. */
export interface MetricEstimate {
  readonly metric: string;
  readonly slice: { readonly key: string; readonly value: string } | null;
  /** Examples that have a score. */
  readonly examples: number;
  /** Of these, examples that were answered for this experiment and not taken from an earlier one. */
  readonly ownExamples: number;
  readonly mean: number | null;
  /** Covers the true mean with 1 − alpha. */
  readonly interval: Interval | null;
  /** Evaluations that failed. */
  readonly errors: number;
  /** Rows that have a score. */
  readonly rows: number;
}

export function estimate({ table, metrics, slices, alpha, seed }: EstimateInput): MetricEstimate[] {
  return metrics.flatMap((key) => {
    const found = [...clusters(table, key)].sort(([a], [b]) => (a < b ? -1 : 1));
    return [null, ...slices].map((slice): MetricEstimate => {
      const within = found.filter(([exampleId]) => slice === null || slice.exampleIds.has(exampleId));
      const values = Float64Array.from(within, ([, { sum, count }]) => sum / count);
      const random = new SeededRandom(
        seedFrom(`${seed}/${table.experimentId}/${key}/${slice?.key ?? ''}/${slice?.value ?? ''}`),
      );
      return {
        metric: key,
        slice: slice === null ? null : { key: slice.key, value: slice.value },
        examples: values.length,
        ownExamples: within.filter(([, { isOwn }]) => isOwn).length,
        mean: values.length === 0 ? null : mean(values),
        interval: values.length < 2 ? null : meanInterval(values, { level: 1 - alpha, random }),
        errors: countErrors(table, key, slice),
        rows: within.reduce((count, [, cluster]) => count + cluster.count, 0),
      };
    });
  });
}
