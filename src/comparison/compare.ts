/**
 * The comparison of experiments: paired by example, repetitions of an example averaged first, so that the example is
 * the independent unit. Pure and deterministic for a seed; runs on a thread of its own.
 */
import { meanInterval } from '../statistics/bootstrap.js';
import type { Interval } from '../statistics/bootstrap.js';
import { benjaminiHochberg, holm } from '../statistics/correction.js';
import { exactMcNemar, pairedPermutation } from '../statistics/paired-tests.js';
import type { TestResult } from '../statistics/paired-tests.js';
import { minimumDetectableEffect } from '../statistics/power.js';
import { seedFrom, SeededRandom } from '../statistics/random.js';
import { mean, standardDeviation } from '../statistics/summary.js';

/** All rows of one experiment, by column. Crosses to the thread as it is. */
export interface ScoreTable {
  readonly experimentId: string;
  /** Of each row. */
  readonly exampleIds: readonly string[];
  /** The run each row's scores really come from: another experiment's where they were taken from the cache. */
  readonly evidenceIds: readonly string[];
  /** Of each row, whether its output is one that was used again: it says nothing about the target of today. */
  readonly reused: readonly boolean[];
  /** By metric, a number per row; NaN where the row has none. */
  readonly columns: Readonly<Record<string, Float64Array>>;
  /** By metric: the example of each evaluation that failed. They are in no mean. */
  readonly errors: Readonly<Record<string, readonly string[]>>;
  /** By metric: mean standard deviation between repeats of a judge; absent where nothing was repeated. */
  readonly judgeDeviation: Readonly<Record<string, number>>;
}

export interface Metric {
  readonly key: string;
  /** Which way is better; none: a change is shown, but is neither. */
  readonly direction: 'higher' | 'lower' | 'none';
  /** Differences smaller than this are of no practical meaning: in units of the metric, or of the baseline's mean. */
  readonly threshold: { readonly kind: 'absolute' | 'relative'; readonly value: number };
}

/** Examples that share a value of a metadata key. */
export interface Slice {
  readonly key: string;
  readonly value: string;
  readonly exampleIds: ReadonlySet<string>;
}

export type Correction = 'benjamini-hochberg' | 'holm' | 'none';

export interface CompareOptions {
  /** Significance level of adjusted p-values; intervals cover 1 − alpha. */
  readonly alpha: number;
  readonly correction: Correction;
  /** Pairs below which nothing is concluded. */
  readonly minimumPairs: number;
  /** For the minimum detectable effect. */
  readonly power: number;
  readonly seed: number;
}

export const DEFAULTS = {
  /** In units of a score. */
  threshold: 0.02,
  /** Of latency, cost and tokens: a share of the baseline's mean. */
  relativeThreshold: 0.05,
  alpha: 0.05,
  correction: 'benjamini-hochberg',
  minimumPairs: 10,
  power: 0.8,
} as const;

export interface CompareInput {
  readonly baseline: ScoreTable;
  readonly candidates: readonly ScoreTable[];
  /** Of each candidate, examples that differ between the dataset version it answered and the baseline's. */
  readonly changed?: readonly ReadonlySet<string>[];
  readonly metrics: readonly Metric[];
  readonly slices: readonly Slice[];
  readonly options: CompareOptions;
}

export type Verdict = 'IMPROVED' | 'REGRESSED' | 'NEUTRAL' | 'INSUFFICIENT_DATA';

/** One metric of one candidate against the baseline, over all examples or one slice. */
export interface MetricComparison {
  readonly candidateId: string;
  /** Its name. */
  readonly metric: string;
  readonly direction: Metric['direction'];
  readonly slice: { readonly key: string; readonly value: string } | null;
  readonly verdict: Verdict;
  /** Examples that both have a score for and that are evidence of a difference. The n of everything below. */
  readonly pairs: number;
  /** Examples left out because both sides are one and the same run, taken from the cache. */
  readonly sharedPairs: number;
  /** Examples left out because they were not the same in the dataset versions of both sides. */
  readonly changedExamples: number;
  /** Examples only one side has a score for. */
  readonly unpaired: { readonly baseline: number; readonly candidate: number };
  readonly baselineMean: number | null;
  readonly candidateMean: number | null;
  /** Candidate − baseline. */
  readonly delta: number | null;
  /** Of the baseline's mean, in percent; null where that is 0. */
  readonly percent: number | null;
  readonly interval: Interval | null;
  readonly pValue: number | null;
  readonly adjustedPValue: number | null;
  readonly test: TestResult['method'] | null;
  /** Cohen's d of paired samples: delta in standard deviations of the differences. */
  readonly effectSize: number | null;
  readonly minimumDetectableEffect: number | null;
  /** The practical threshold in units of the metric. */
  readonly threshold: number;
  /** Whether the interval lies within ± threshold: shown to be no different, not only not shown to be. */
  readonly isEquivalent: boolean;
  /** Examples that became better, became worse, stayed; without a direction, higher counts as better. */
  readonly better: number;
  readonly worse: number;
  readonly tied: number;
  /** Rows that have a score, and evaluations that failed: errors are in no mean. */
  readonly rows: { readonly baseline: number; readonly candidate: number };
  readonly errors: { readonly baseline: number; readonly candidate: number };
  /** A delta within what a judge disagrees with itself is no win. */
  readonly judgeDeviation: { readonly baseline: number | null; readonly candidate: number | null };
}

/** Everything against the baseline, p-values corrected over all of it: metrics × slices × candidates. */
export function compare({
  baseline,
  candidates,
  changed = [],
  metrics,
  slices,
  options,
}: CompareInput): MetricComparison[] {
  const found = candidates.flatMap((candidate, place) =>
    metrics.flatMap((metric) => {
      const before = clusters(baseline, metric.key);
      const after = clusters(candidate, metric.key);
      return [null, ...slices].map((slice) =>
        compareMetric({
          baseline,
          candidate,
          metric,
          slice,
          before,
          after,
          changed: changed[place] ?? NONE,
          options,
        }),
      );
    }),
  );
  return conclude(found, options);
}

const NONE: ReadonlySet<string> = new Set();

/** Corrects the p-values of a family of questions and gives each its verdict. */
export function conclude(
  family: readonly MetricComparison[],
  options: Pick<CompareOptions, 'alpha' | 'correction' | 'minimumPairs'>,
): MetricComparison[] {
  const tested = family.filter(({ pValue, pairs }) => pValue !== null && pairs >= options.minimumPairs);
  const adjusted = adjust(
    tested.map(({ pValue }) => pValue ?? 1),
    options.correction,
  );
  const adjustedOf = new Map(tested.map((each, index) => [each, adjusted[index] ?? 1]));
  return family.map((each) => {
    const adjustedPValue = adjustedOf.get(each) ?? null;
    return { ...each, adjustedPValue, verdict: verdictOf(each, adjustedPValue, options) };
  });
}

const adjust = (pValues: readonly number[], correction: Correction): readonly number[] => {
  if (correction === 'benjamini-hochberg') return benjaminiHochberg(pValues);
  return correction === 'holm' ? holm(pValues) : pValues;
};

function verdictOf(
  { delta, threshold, direction, pairs }: MetricComparison,
  adjustedPValue: number | null,
  { alpha, minimumPairs }: Pick<CompareOptions, 'alpha' | 'minimumPairs'>,
): Verdict {
  if (pairs < minimumPairs || delta === null || adjustedPValue === null) return 'INSUFFICIENT_DATA';
  if (direction === 'none' || adjustedPValue > alpha || Math.abs(delta) < threshold) return 'NEUTRAL';
  return delta > 0 === (direction === 'higher') ? 'IMPROVED' : 'REGRESSED';
}

/** What one experiment says about one example. */
export interface Cluster {
  sum: number;
  count: number;
  evidence: string[];
  /** Whether any of it was measured for this experiment. */
  isOwn: boolean;
}

export function clusters(table: ScoreTable, key: string): Map<string, Cluster> {
  const found = new Map<string, Cluster>();
  table.columns[key]?.forEach((value, row) => {
    const exampleId = table.exampleIds[row];
    const evidenceId = table.evidenceIds[row];
    const isOwn = table.reused[row] !== true;
    if (Number.isNaN(value) || exampleId === undefined || evidenceId === undefined) return;
    const cluster = found.get(exampleId);
    if (cluster === undefined) {
      found.set(exampleId, { sum: value, count: 1, evidence: [evidenceId], isOwn });
    } else {
      cluster.sum += value;
      cluster.count += 1;
      cluster.evidence.push(evidenceId);
      cluster.isOwn ||= isOwn;
    }
  });
  return found;
}

interface Question {
  readonly baseline: ScoreTable;
  readonly candidate: ScoreTable;
  readonly metric: Metric;
  readonly slice: Slice | null;
  readonly before: ReadonlyMap<string, Cluster>;
  readonly after: ReadonlyMap<string, Cluster>;
  readonly changed: ReadonlySet<string>;
  readonly options: CompareOptions;
}

function compareMetric(question: Question): MetricComparison {
  const { baseline, candidate, metric, slice, options } = question;
  const { exampleIds, first, second, sharedPairs, changedExamples, unpaired, repeated } = pair(question);
  const pairs = exampleIds.length;
  const differences = second.map((value, index) => value - (first[index] ?? 0));
  const baselineMean = pairs === 0 ? null : mean(first);
  const candidateMean = pairs === 0 ? null : mean(second);
  const delta = pairs === 0 ? null : mean(differences);
  const threshold =
    metric.threshold.kind === 'absolute'
      ? metric.threshold.value
      : metric.threshold.value * Math.abs(baselineMean ?? 0);
  // A seed for each question, so that an answer does not depend on which others were asked along with it.
  const random = new SeededRandom(
    seedFrom(
      `${options.seed}/${candidate.experimentId}/${metric.key}/${slice?.key ?? ''}/${slice?.value ?? ''}`,
    ),
  );
  const interval = pairs < 2 ? null : meanInterval(differences, { level: 1 - options.alpha, random });
  const tested = pairs === 0 ? null : testOf(differences, first, second, repeated, random);
  const deviation = standardDeviation(differences);
  const moved = countMoved(differences, metric.direction);
  return {
    candidateId: candidate.experimentId,
    metric: metric.key,
    direction: metric.direction,
    slice: slice === null ? null : { key: slice.key, value: slice.value },
    verdict: 'INSUFFICIENT_DATA',
    pairs,
    sharedPairs,
    changedExamples,
    unpaired,
    baselineMean,
    candidateMean,
    delta,
    percent: delta === null || !baselineMean ? null : (delta / Math.abs(baselineMean)) * 100,
    interval,
    pValue: tested?.pValue ?? null,
    adjustedPValue: null,
    test: tested?.method ?? null,
    effectSize: delta === null || !(deviation > 0) ? null : delta / deviation,
    minimumDetectableEffect: minimumDetectableEffect(deviation, pairs, options),
    threshold,
    isEquivalent: interval !== null && interval.lower > -threshold && interval.upper < threshold,
    ...moved,
    rows: { baseline: countRows(question.before, slice), candidate: countRows(question.after, slice) },
    errors: {
      baseline: countErrors(baseline, metric.key, slice),
      candidate: countErrors(candidate, metric.key, slice),
    },
    judgeDeviation: {
      baseline: baseline.judgeDeviation[metric.key] ?? null,
      candidate: candidate.judgeDeviation[metric.key] ?? null,
    },
  };
}

/** The examples both have a score for, in the order of their ids so that the answer does not depend on the rows'. */
function pair({ before, after, changed, slice }: Question) {
  const within = (exampleId: string): boolean => slice === null || slice.exampleIds.has(exampleId);
  const both: { exampleId: string; first: number; second: number }[] = [];
  let sharedPairs = 0;
  let changedExamples = 0;
  let repeated = false;
  let onlyBaseline = 0;
  for (const [exampleId, old] of before) {
    if (!within(exampleId)) continue;
    const fresh = after.get(exampleId);
    if (fresh === undefined) {
      onlyBaseline += 1;
    } else if (changed.has(exampleId)) {
      changedExamples += 1;
    } else if (isShared(old, fresh)) {
      sharedPairs += 1;
    } else {
      repeated ||= old.count > 1 || fresh.count > 1;
      both.push({ exampleId, first: old.sum / old.count, second: fresh.sum / fresh.count });
    }
  }
  let onlyCandidate = 0;
  for (const exampleId of after.keys()) if (within(exampleId) && !before.has(exampleId)) onlyCandidate += 1;
  both.sort((a, b) => (a.exampleId < b.exampleId ? -1 : 1));
  return {
    exampleIds: both.map(({ exampleId }) => exampleId),
    first: Float64Array.from(both, ({ first }) => first),
    second: Float64Array.from(both, ({ second }) => second),
    sharedPairs,
    changedExamples,
    unpaired: { baseline: onlyBaseline, candidate: onlyCandidate },
    repeated,
  };
}

function countRows(found: ReadonlyMap<string, Cluster>, slice: Slice | null): number {
  let count = 0;
  for (const [exampleId, cluster] of found) {
    if (slice === null || slice.exampleIds.has(exampleId)) count += cluster.count;
  }
  return count;
}

/** Of the evaluations of a metric, over all examples or one slice. */
export const countErrors = ({ errors }: ScoreTable, metric: string, slice: Slice | null): number =>
  (errors[metric] ?? []).filter((exampleId) => slice === null || slice.exampleIds.has(exampleId)).length;

/** Whether every score of one side is a score of the other: nothing was measured anew. */
const isShared = (old: Cluster, fresh: Cluster): boolean =>
  fresh.evidence.every((evidenceId) => old.evidence.includes(evidenceId));

function testOf(
  differences: Float64Array,
  first: Float64Array,
  second: Float64Array,
  repeated: boolean,
  random: SeededRandom,
): TestResult {
  const isPassFail = (values: Float64Array): boolean => values.every((value) => value === 0 || value === 1);
  if (repeated || !isPassFail(first) || !isPassFail(second)) return pairedPermutation(differences, random);
  const { better, worse } = countMoved(differences, 'higher');
  return { pValue: exactMcNemar(better, worse), method: 'mcnemar' };
}

function countMoved(
  differences: Float64Array,
  direction: Metric['direction'],
): { better: number; worse: number; tied: number } {
  let up = 0;
  let down = 0;
  for (const difference of differences) {
    if (difference > 0) up += 1;
    else if (difference < 0) down += 1;
  }
  const tied = differences.length - up - down;
  return direction === 'lower' ? { better: down, worse: up, tied } : { better: up, worse: down, tied };
}
