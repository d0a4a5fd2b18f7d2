/**
 * Bootstrap intervals (Efron and Tibshirani, An Introduction to the Bootstrap, 1993, chapters 13 and 14). The values
 * are those of independent units: who has repeated measurements of a unit averages them first, which makes this a
 * cluster bootstrap.
 */
import normalCdf from '@stdlib/stats-base-dists-normal-cdf';
import normalQuantile from '@stdlib/stats-base-dists-normal-quantile';
import type { SeededRandom } from './random.js';
import { mean, quantileOfSorted } from './summary.js';

export interface Interval {
  readonly lower: number;
  readonly upper: number;
  /** bca: bias-corrected and accelerated. percentile: where that is not defined. none: nothing varies. */
  readonly method: 'bca' | 'percentile' | 'none';
  readonly resamples: number;
}

export interface BootstrapOptions {
  /** Coverage, for example 0.95. */
  readonly level: number;
  readonly random: SeededRandom;
  readonly resamples?: number;
}

/** Draws that one interval may cost: 10,000 resamples of 1,000 units, 2,000 (as many as the book asks for) of 5,000. */
const WORK = 10_000_000;

export const resamplesFor = (units: number): number =>
  Math.min(10_000, Math.max(1_000, Math.floor(WORK / Math.max(units, 1))));

/** Interval of the mean. */
export function meanInterval(values: Float64Array, options: BootstrapOptions): Interval {
  const count = values.length;
  const resamples = options.resamples ?? resamplesFor(count);
  const { random, level } = options;
  const estimates = new Float64Array(resamples);
  for (let round = 0; round < resamples; round += 1) {
    let sum = 0;
    for (let draw = 0; draw < count; draw += 1) sum += values[random.below(count)] ?? 0;
    estimates[round] = sum / count;
  }
  // What leaving one value out does to a mean is linear in the value.
  return bcaInterval({ estimate: mean(values), estimates, influence: values.map((value) => -value), level });
}

/** Interval of any statistic, by resampling whole samples and leaving one out. */
export function statisticInterval(
  values: Float64Array,
  statistic: (sample: Float64Array) => number,
  options: BootstrapOptions,
): Interval {
  const count = values.length;
  const resamples = options.resamples ?? resamplesFor(count);
  const sample = new Float64Array(count);
  const estimates = new Float64Array(resamples);
  for (let round = 0; round < resamples; round += 1) {
    for (let draw = 0; draw < count; draw += 1) sample[draw] = values[options.random.below(count)] ?? 0;
    estimates[round] = statistic(sample);
  }
  const influence = values.map((_, left) => statistic(values.filter((__, index) => index !== left)));
  return bcaInterval({ estimate: statistic(values), estimates, influence, level: options.level });
}

interface BcaParts {
  readonly estimate: number;
  readonly estimates: Float64Array;
  /** The statistic with each unit left out, up to a constant and a positive factor. */
  readonly influence: Float64Array;
  readonly level: number;
}

/** Equations 14.10, 14.14 and 14.15 of the book. */
function bcaInterval({ estimate, estimates, influence, level }: BcaParts): Interval {
  const resamples = estimates.length;
  const sorted = estimates.sort();
  const first = sorted[0];
  const last = sorted[resamples - 1];
  if (first === last) return { lower: estimate, upper: estimate, method: 'none', resamples };
  const tail = (1 - level) / 2;
  const between = (low: number, high: number, method: Interval['method']): Interval => ({
    lower: quantileOfSorted(sorted, low),
    upper: quantileOfSorted(sorted, high),
    method,
    resamples,
  });
  const bias = biasCorrection(sorted, estimate);
  const acceleration = accelerationOf(influence);
  if (!Number.isFinite(bias) || !Number.isFinite(acceleration)) return between(tail, 1 - tail, 'percentile');
  const corrected = (probability: number): number => {
    const shifted = bias + normalQuantile(probability, 0, 1);
    return normalCdf(bias + shifted / (1 - acceleration * shifted), 0, 1);
  };
  return between(corrected(tail), corrected(1 - tail), 'bca');
}

/** Half of the resamples that tie with the estimate count as below it: means of few distinct values tie often. */
function biasCorrection(sorted: Float64Array, estimate: number): number {
  const tolerance = 1e-12 * Math.max(1, Math.abs(estimate));
  let below = 0;
  for (const value of sorted) {
    if (value < estimate - tolerance) below += 1;
    else if (value <= estimate + tolerance) below += 0.5;
    else break;
  }
  return normalQuantile(below / sorted.length, 0, 1);
}

function accelerationOf(influence: Float64Array): number {
  const center = mean(influence);
  let squares = 0;
  let cubes = 0;
  for (const value of influence) {
    const away = center - value;
    squares += away ** 2;
    cubes += away ** 3;
  }
  return cubes / (6 * squares ** 1.5);
}
