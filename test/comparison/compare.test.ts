import { expect, test } from '@jest/globals';
import { compare, DEFAULTS } from '../../src/comparison/compare.js';
import type { CompareOptions, Metric, MetricComparison, ScoreTable } from '../../src/comparison/compare.js';
import { matrix } from '../../src/comparison/comparison-matrix.js';
import type { MatrixCondition } from '../../src/comparison/comparison-matrix.js';
import { estimate } from '../../src/comparison/estimate.js';
import { metricName, parseMetric } from '../../src/comparison/metric.js';
import { metricsOf, slicesOf, toMatrixTable, toScoreTable } from '../../src/comparison/score-tables.js';
import type { LoadedExperiment } from '../../src/comparison/score-tables.js';
import type { ExperimentScore } from '../../src/experiments/experiment-scores.store.js';
import { SeededRandom } from '../../src/statistics/random.js';
import { loadConversations } from '../support/tau-bench.js';

const OPTIONS: CompareOptions = { ...DEFAULTS, seed: 1 };
const SCORE: Metric = { key: 'score', direction: 'higher', threshold: { kind: 'absolute', value: 0.02 } };

interface TableRow {
  readonly example: string;
  readonly score: number;
  readonly evidence?: string;
  readonly reused?: boolean;
}

let tables = 0;
function table(rows: readonly TableRow[]): ScoreTable {
  tables += 1;
  return {
    experimentId: `experiment ${tables}`,
    exampleIds: rows.map(({ example }) => example),
    evidenceIds: rows.map(({ evidence }, index) => evidence ?? `run ${tables}.${index}`),
    reused: rows.map(({ reused = false }) => reused),
    columns: { score: Float64Array.from(rows, ({ score }) => score) },
    errors: {},
    judgeDeviation: {},
  };
}

function compareOne(
  baseline: ScoreTable,
  candidate: ScoreTable,
  { metric = SCORE, options = OPTIONS }: { metric?: Metric; options?: CompareOptions } = {},
): MetricComparison {
  const [result] = compare({ baseline, candidates: [candidate], metrics: [metric], slices: [], options });
  return result!;
}

const examples = (count: number): string[] => Array.from({ length: count }, (_, index) => `example ${index}`);

test('a paired comparison sees what an unpaired one could not', () => {
  // Examples differ by 100, the candidate is better by 1 on each.
  const before = table(examples(30).map((example, index) => ({ example, score: index * 100 })));
  const after = table(
    examples(30).map((example, index) => ({ example, score: index * 100 + 1 + (index % 3) / 10 })),
  );
  expect(compareOne(before, after)).toMatchObject({ verdict: 'IMPROVED', pairs: 30, better: 30, worse: 0 });
  expect(compareOne(after, before)).toMatchObject({ verdict: 'REGRESSED', better: 0, worse: 30 });
});

test('the order of rows changes nothing', () => {
  const random = new SeededRandom(5);
  const rows = examples(40).flatMap((example) =>
    [0, 1, 2].map(() => ({ example, score: Math.round(random.unit() * 100) / 100 })),
  );
  const other = rows.map(({ example }) => ({ example, score: Math.round(random.unit() * 100) / 100 }));
  const baseline = table(rows);
  const candidate = table(other);
  const expected = compareOne(baseline, candidate);
  const reversed = compareOne(baseline, {
    ...table([...other].reverse()),
    experimentId: candidate.experimentId,
  });
  expect(reversed.pValue).toBe(expected.pValue);
  // Sums of the same numbers in another order differ in the last bit.
  expect(reversed.delta).toBeCloseTo(expected.delta!, 12);
  expect(reversed.interval!.upper).toBeCloseTo(expected.interval!.upper, 12);
});

test('repetitions are averaged first: repeating a run makes no evidence', () => {
  const rows = examples(20).map((example, index) => ({ example, score: index % 2 }));
  const better = examples(20).map((example, index) => ({ example, score: index < 4 ? 1 : index % 2 }));
  const once = compareOne(table(rows), table(better));
  const repeat = (list: TableRow[]): TableRow[] =>
    list.flatMap((row) => Array.from({ length: 50 }, () => row));
  const often = compareOne(table(repeat(rows)), table(repeat(better)));
  expect(often.pairs).toBe(20);
  expect(often.pValue).toBe(once.pValue);
  expect(often.delta).toBe(once.delta);
  expect(once.test).toBe('mcnemar');
  expect(often.test).toBe('permutation-exact');
});

test('fewer pairs than stated conclude nothing', () => {
  const before = table(examples(9).map((example) => ({ example, score: 0 })));
  const after = table(examples(9).map((example) => ({ example, score: 1 })));
  expect(compareOne(before, after)).toMatchObject({
    verdict: 'INSUFFICIENT_DATA',
    pairs: 9,
    adjustedPValue: null,
  });
  expect(compareOne(before, after, { options: { ...OPTIONS, minimumPairs: 9 } }).verdict).toBe('IMPROVED');
});

test('a difference below the practical threshold is neutral, however certain', () => {
  const before = table(examples(50).map((example, index) => ({ example, score: index / 50 })));
  const after = table(examples(50).map((example, index) => ({ example, score: index / 50 + 0.01 })));
  const result = compareOne(before, after);
  expect(result).toMatchObject({ verdict: 'NEUTRAL', isEquivalent: true });
  expect(result.adjustedPValue).toBeLessThan(0.001);
});

test('lower is better where the metric says so, and no direction is no verdict', () => {
  const before = table(examples(20).map((example, index) => ({ example, score: 10 + index })));
  const after = table(examples(20).map((example, index) => ({ example, score: 5 + index })));
  const lower: Metric = { key: 'score', direction: 'lower', threshold: { kind: 'relative', value: 0.05 } };
  expect(compareOne(before, after, { metric: lower })).toMatchObject({
    verdict: 'IMPROVED',
    better: 20,
    threshold: 0.05 * 19.5,
  });
  expect(compareOne(before, after, { metric: { ...lower, direction: 'none' } }).verdict).toBe('NEUTRAL');
});

test('pairs that are one and the same run are no evidence', () => {
  const before = table(
    examples(30).map((example, index) => ({ example, score: 0, evidence: `old ${index}` })),
  );
  const after = table(
    examples(30).map((example, index) => ({
      example,
      score: index < 18 ? 0 : 1,
      // The first eighteen were taken from the cache.
      ...(index < 18 && { evidence: `old ${index}` }),
    })),
  );
  expect(compareOne(before, after)).toMatchObject({ pairs: 12, sharedPairs: 18, delta: 1 });
});

test('examples that are not the same on both sides any more are left out, of that candidate alone', () => {
  const before = table(examples(30).map((example) => ({ example, score: 0 })));
  const after = table(examples(30).map((example, index) => ({ example, score: index < 18 ? 0 : 1 })));
  const same = table(examples(30).map((example) => ({ example, score: 0 })));
  const results = compare({
    baseline: before,
    candidates: [after, same],
    changed: [new Set([...examples(18), 'unheard of']), new Set()],
    metrics: [SCORE],
    slices: [],
    options: OPTIONS,
  });
  expect(results).toMatchObject([
    { pairs: 12, changedExamples: 18, delta: 1, unpaired: { baseline: 0, candidate: 0 } },
    { pairs: 30, changedExamples: 0, delta: 0 },
  ]);
});

test('failed evaluations are counted in the slice they belong to', () => {
  const before = table(examples(20).map((example) => ({ example, score: 0 })));
  const after = {
    ...before,
    experimentId: 'other',
    errors: { score: ['example 1', 'example 1', 'example 9'] },
  };
  const slice = (value: string, from: number, to: number) => ({
    key: 'half',
    value,
    exampleIds: new Set(examples(20).slice(from, to)),
  });
  const slices = [slice('first', 0, 5), slice('second', 5, 20)];
  const results = compare({
    baseline: before,
    candidates: [after],
    metrics: [SCORE],
    slices,
    options: OPTIONS,
  });
  expect(results.map(({ errors, rows }) => [errors.candidate, rows.candidate])).toEqual([
    [3, 20],
    [2, 5],
    [1, 15],
  ]);
  const estimates = estimate({ table: after, metrics: ['score'], slices, alpha: 0.05, seed: 1 });
  expect(estimates.map(({ errors, rows }) => [errors, rows])).toEqual([
    [3, 20],
    [2, 5],
    [1, 15],
  ]);
});

test('examples only one side knows are counted, not compared', () => {
  const before = table(examples(15).map((example) => ({ example, score: 1 })));
  const after = table(examples(12).map((example) => ({ example, score: 1 })));
  expect(
    compareOne(before, { ...after, columns: { score: after.columns['score']!.fill(Number.NaN, 0, 2) } }),
  ).toMatchObject({
    pairs: 10,
    unpaired: { baseline: 5, candidate: 0 },
    rows: { baseline: 15, candidate: 10 },
  });
});

test('p-values are corrected over all metrics, slices and candidates', () => {
  const random = new SeededRandom(9);
  const noise = (): ScoreTable => {
    const made = table(examples(40).map((example) => ({ example, score: random.unit() })));
    const columns = Object.fromEntries(
      Array.from({ length: 10 }, (_, index) => [
        `m${index}`,
        Float64Array.from({ length: 40 }, () => random.unit()),
      ]),
    );
    return { ...made, columns };
  };
  const metrics = Array.from({ length: 10 }, (_, index): Metric => ({ ...SCORE, key: `m${index}` }));
  let alarmed = 0;
  for (let round = 0; round < 200; round += 1) {
    const results = compare({
      baseline: noise(),
      candidates: [noise()],
      metrics,
      slices: [],
      options: { ...OPTIONS, correction: 'holm', seed: round },
    });
    if (results.some(({ verdict }) => verdict === 'IMPROVED' || verdict === 'REGRESSED')) alarmed += 1;
  }
  // Ten questions at once: uncorrected, four comparisons in ten would raise an alarm.
  expect(alarmed / 200).toBeLessThan(0.09);
});

const conversations = loadConversations();
const withData = conversations === undefined ? test.skip : test;
if (conversations === undefined) {
  process.stdout.write('tau-bench is not beside the project: its null tests are skipped.\n');
}

/** Rewards by task, one per trial. */
const rewards = new Map<number, number[]>();
for (const { task_id: task, trial, reward } of conversations ?? []) {
  const trials = rewards.get(task) ?? [];
  trials[trial] = reward;
  rewards.set(task, trials);
}

withData(
  'trials 0 and 1 of tau-bench against trials 2 and 3: the same agent does not differ from itself',
  () => {
    const of = (...trials: number[]): ScoreTable =>
      table(
        [...rewards].flatMap(([task, all]) =>
          trials.map((trial) => ({ example: `task ${task}`, score: all[trial]! })),
        ),
      );
    const result = compareOne(of(0, 1), of(2, 3));
    expect(result).toMatchObject({ verdict: 'NEUTRAL', pairs: 50 });
    expect(result.interval!.lower).toBeLessThan(0);
    expect(result.interval!.upper).toBeGreaterThan(0);
  },
);

withData(
  'of 2,000 ways to deal the trials of tau-bench to two sides, five in a hundred at most raise an alarm',
  () => {
    const random = new SeededRandom(2026);
    let alarmed = 0;
    for (let round = 0; round < 2_000; round += 1) {
      const sides: [TableRow[], TableRow[]] = [[], []];
      for (const [task, trials] of rewards) {
        const dealt = [...trials];
        for (let place = dealt.length - 1; place > 0; place -= 1) {
          const other = random.below(place + 1);
          [dealt[place], dealt[other]] = [dealt[other]!, dealt[place]!];
        }
        dealt.forEach((score, index) => sides[index % 2]!.push({ example: `task ${task}`, score }));
      }
      const { pValue } = compareOne(table(sides[0]), table(sides[1]), {
        options: { ...OPTIONS, seed: round },
      });
      if (pValue! <= 0.05) alarmed += 1;
    }
    expect(alarmed / 2_000).toBeLessThanOrEqual(0.06);
    // And not because nothing ever would.
    expect(alarmed / 2_000).toBeGreaterThan(0.01);
  },
);

test('of 2,000 simulated pairs without a difference, 5 % ± 1 % raise an alarm', () => {
  const random = new SeededRandom(77);
  let alarmed = 0;
  for (let round = 0; round < 2_000; round += 1) {
    const difficulty = examples(25).map(() => random.unit());
    const side = (): ScoreTable =>
      table(
        examples(25).map((example, index) => ({ example, score: difficulty[index]! + random.unit() / 2 })),
      );
    const options = { ...OPTIONS, seed: round };
    const { verdict } = compareOne(side(), side(), {
      metric: { ...SCORE, threshold: { kind: 'absolute', value: 0 } },
      options,
    });
    if (verdict !== 'NEUTRAL') alarmed += 1;
  }
  expect(alarmed / 2_000).toBeGreaterThan(0.04);
  expect(alarmed / 2_000).toBeLessThan(0.06);
}, 120_000);

test('over metrics and slices together, one family in twenty raises a false alarm at most', () => {
  const random = new SeededRandom(99);
  const metrics: Metric[] = ['a', 'b', 'c'].map((key) => ({
    ...SCORE,
    key,
    threshold: { kind: 'absolute', value: 0 },
  }));
  const names = examples(60);
  const slices = [0, 1, 2].map((part) => ({
    key: 'part',
    value: String(part),
    exampleIds: new Set(names.filter((_, index) => index % 3 === part)),
  }));
  const rounds = 400;
  const alarmed = { 'benjamini-hochberg': 0, none: 0 };
  for (let round = 0; round < rounds; round += 1) {
    // Examples differ in how hard they are; the two sides do not.
    const hard = names.map(() => random.unit());
    const side = (): ScoreTable => ({
      ...table(names.map((example) => ({ example, score: 0 }))),
      columns: Object.fromEntries(
        metrics.map(({ key }) => [key, Float64Array.from(hard, (each) => Number(random.unit() > each))]),
      ),
    });
    const [baseline, candidate] = [side(), side()];
    for (const correction of ['benjamini-hochberg', 'none'] as const) {
      const options = { ...OPTIONS, correction, seed: round };
      const results = compare({ baseline, candidates: [candidate], metrics, slices, options });
      expect(results).toHaveLength(12);
      if (results.some(({ verdict }) => verdict === 'IMPROVED' || verdict === 'REGRESSED')) {
        alarmed[correction] += 1;
      }
    }
  }
  // Where nothing differs every alarm is false, so the false discovery rate is the share of families with one.
  expect(alarmed['benjamini-hochberg'] / rounds).toBeLessThanOrEqual(0.06);
  expect(alarmed['benjamini-hochberg']).toBeGreaterThan(0);
  expect(alarmed.none / rounds).toBeGreaterThan(0.15);
}, 120_000);

const scored = (exampleId: string, more: Partial<ExperimentScore> = {}): ExperimentScore => ({
  exampleId,
  repetition: 0,
  runId: `${exampleId}/run`,
  scores: {},
  failedKeys: [],
  cachedKeys: [],
  cachedFrom: null,
  error: false,
  latency: 1,
  cost: null,
  totalTokens: null,
  ...more,
});

const loaded = (experimentId: string, rows: ExperimentScore[]): LoadedExperiment => ({
  experimentId,
  rows,
  labels: rows.flatMap(({ runId }, index) => [
    { runId, key: 'topic', label: index % 2 === 0 ? 'billing' : 'other' },
  ]),
  judgeDeviation: {},
});

test('names of metrics say what is measured', () => {
  for (const name of ['helpfulness', 'run.latency', 'topic=billing', 'topic==', 'run.other']) {
    expect(metricName(parseMetric(name)!)).toBe(name);
  }
  expect(parseMetric('run.latency')).toEqual({ source: 'run', key: 'latency' });
  expect(parseMetric('run.other')).toEqual({ source: 'feedback', key: 'run.other' });
  expect(parseMetric('')).toBeUndefined();
});

test('tables hold scores, measures of the run, labels and errors', () => {
  const experiment = loaded('a', [
    scored('1', { scores: { good: 1 }, latency: 2, cachedFrom: 'old' }),
    scored('2', { failedKeys: ['good'], error: true }),
  ]);
  expect(metricsOf([experiment])).toEqual([
    { source: 'feedback', key: 'good' },
    { source: 'run', key: 'latency' },
    { source: 'run', key: 'error_rate' },
  ]);
  const made = toScoreTable(experiment, [
    ...metricsOf([experiment]),
    { source: 'label', key: 'topic', label: 'billing' },
  ]);
  expect(made.columns).toEqual({
    good: Float64Array.of(1, Number.NaN),
    'run.latency': Float64Array.of(2, 1),
    'run.error_rate': Float64Array.of(0, 1),
    'topic=billing': Float64Array.of(1, 0),
  });
  expect(made.errors).toEqual({ good: ['2'], 'topic=billing': [] });
  expect(made.evidenceIds).toEqual(['old', '2/run']);
  expect(made.reused).toEqual([true, false]);
});

test('slices are the values of a metadata key, nested, listed or plain', () => {
  const rows = [
    scored('1', {
      exampleMetadata: { tier: 'gold', user: { country: 'DE' }, dataset_split: ['base', 'hard'] },
    }),
    scored('2', { exampleMetadata: { tier: 'gold', 'user.country': 'FR', dataset_split: ['base'] } }),
    scored('3', { exampleMetadata: { tier: { nested: true } } }),
  ];
  const found = slicesOf(rows, ['tier', 'user.country', 'dataset_split', '__proto__']).slices;
  expect(found.map(({ key, value, exampleIds }) => [key, value, [...exampleIds]])).toEqual([
    ['tier', 'gold', ['1', '2']],
    ['user.country', 'DE', ['1']],
    ['user.country', 'FR', ['2']],
    ['dataset_split', 'base', ['1', '2']],
    ['dataset_split', 'hard', ['1']],
  ]);
});

test('the matrix finds the examples that one passes and the other fails', () => {
  const a = loaded('a', [
    scored('1', { scores: { ok: 1 } }),
    scored('2', { scores: { ok: 1 } }),
    scored('3', { scores: { ok: 0 } }),
  ]);
  const b = loaded('b', [
    scored('1', { scores: { ok: 1 } }),
    scored('2', { scores: { ok: 0 } }),
    scored('4', { failedKeys: ['ok'], error: true }),
  ]);
  const refs = metricsOf([a, b]);
  const metrics: Metric[] = [{ ...SCORE, key: 'ok' }];
  const tables = [a, b].map((each) => toMatrixTable(each, refs));
  const ids = (condition: Partial<MatrixCondition>, changed: string[] = []): string[] =>
    matrix({
      tables,
      metrics,
      condition: { metric: 'ok', passAt: 0.5, passedBy: [], failedBy: [], ...condition },
      changed: new Map([['b', new Set(changed)]]),
    }).map(({ exampleId }) => exampleId);
  expect(ids({})).toEqual(['1', '2', '3', '4']);
  expect(ids({ passedBy: ['a'], failedBy: ['b'] })).toEqual(['2']);
  expect(ids({ failedBy: ['b'] })).toEqual(['2']);
  expect(ids({ changed: { experimentId: 'b', to: 'WORSE' } })).toEqual(['2']);
  expect(ids({ changed: { experimentId: 'b', to: 'BETTER' } })).toEqual([]);
  // An example that is another by now is not one that became worse.
  expect(ids({ changed: { experimentId: 'b', to: 'WORSE' } }, ['2'])).toEqual([]);
  const condition = { passAt: 0, passedBy: [], failedBy: [] };
  const [, , , last] = matrix({ tables, metrics, condition });
  expect(last!.cells).toEqual([
    { experimentId: 'a', runIds: [], scores: [], failedRuns: 0, failedKeys: [] },
    {
      experimentId: 'b',
      runIds: ['4/run'],
      scores: [
        { metric: 'run.latency', mean: 1, count: 1 },
        { metric: 'run.error_rate', mean: 1, count: 1 },
      ],
      failedRuns: 1,
      failedKeys: ['ok'],
    },
  ]);
});

test('an estimate averages repetitions before examples', () => {
  const rows = [
    { example: 'a', score: 1 },
    { example: 'a', score: 1 },
    { example: 'a', score: 1 },
    { example: 'b', score: 0 },
  ];
  const [result] = estimate({ table: table(rows), metrics: ['score'], slices: [], alpha: 0.05, seed: 1 });
  expect(result).toMatchObject({ mean: 0.5, examples: 2, ownExamples: 2, rows: 4, errors: 0 });
});

test('an estimate tells the examples that were answered anew from those taken from before', () => {
  const rows = [
    { example: 'a', score: 1, reused: true },
    { example: 'a', score: 1, reused: false },
    { example: 'b', score: 0, reused: true },
    { example: 'c', score: 0, reused: true },
  ];
  const [result] = estimate({ table: table(rows), metrics: ['score'], slices: [], alpha: 0.05, seed: 1 });
  expect(result).toMatchObject({ examples: 3, ownExamples: 1 });
});
