import { expect, test } from '@jest/globals';
import type { MetricComparison } from '../../src/comparison/compare.js';
import type { MetricEstimate } from '../../src/comparison/estimate.js';
import { judgeRule } from '../../src/gates/gate-judgement.js';
import { failuresInRow, gateRule, gateSettings, together } from '../../src/gates/gate.js';
import type { GateRule, GateVerdict } from '../../src/gates/gate.js';

const settings = gateSettings.parse({});
const rule = (value: object): GateRule => gateRule.parse(value);

const comparison = (more: Partial<MetricComparison> = {}): MetricComparison => ({
  candidateId: 'candidate',
  metric: 'score',
  direction: 'higher',
  slice: null,
  verdict: 'NEUTRAL',
  pairs: 50,
  sharedPairs: 0,
  changedExamples: 0,
  unpaired: { baseline: 0, candidate: 0 },
  baselineMean: 0.5,
  candidateMean: 0.5,
  delta: 0,
  percent: 0,
  interval: { lower: -0.01, upper: 0.01, method: 'bca', resamples: 10_000 },
  pValue: 0.9,
  adjustedPValue: 0.9,
  test: 'permutation',
  effectSize: 0,
  minimumDetectableEffect: 0.1,
  threshold: 0.02,
  isEquivalent: true,
  better: 10,
  worse: 10,
  tied: 30,
  rows: { baseline: 50, candidate: 50 },
  errors: { baseline: 0, candidate: 0 },
  judgeDeviation: { baseline: null, candidate: null },
  ...more,
});

const estimated = (more: Partial<MetricEstimate> = {}): MetricEstimate => ({
  metric: 'score',
  slice: null,
  examples: 50,
  ownExamples: more.examples ?? 50,
  mean: 0.8,
  interval: { lower: 0.75, upper: 0.85, method: 'bca', resamples: 10_000 },
  errors: 0,
  rows: 50,
  ...more,
});

const verdictOf = (
  value: object,
  comparisons: MetricComparison[],
  estimates: MetricEstimate[] = [],
): GateVerdict => judgeRule(rule(value), { comparisons, estimates }, settings).verdict;

test('one failure fails, one doubt leaves doubt, and nothing asked is no answer', () => {
  expect(together(['PASS', 'INCONCLUSIVE', 'FAIL'])).toBe('FAIL');
  expect(together(['PASS', 'INCONCLUSIVE'])).toBe('INCONCLUSIVE');
  expect(together(['PASS', 'PASS'])).toBe('PASS');
  expect(together([])).toBe('INCONCLUSIVE');
});

test('a threshold on the mean is met or not; on the interval it may be neither', () => {
  const ask = (more: object): GateVerdict =>
    verdictOf({ kind: 'threshold', metric: 'score', ...more }, [], [estimated()]);
  expect(ask({ atLeast: 0.8 })).toBe('PASS');
  expect(ask({ atLeast: 0.81 })).toBe('FAIL');
  expect(ask({ atMost: 0.8 })).toBe('PASS');
  expect(ask({ atLeast: 0.7, atMost: 0.79 })).toBe('FAIL');
  expect(ask({ atLeast: 0.75, certainty: 'interval' })).toBe('PASS');
  expect(ask({ atLeast: 0.8, certainty: 'interval' })).toBe('INCONCLUSIVE');
  expect(ask({ atLeast: 0.86, certainty: 'interval' })).toBe('FAIL');
  expect(ask({ atMost: 0.74, certainty: 'interval' })).toBe('FAIL');
});

test('a threshold without enough to go by is inconclusive', () => {
  const ask = (estimates: MetricEstimate[]): GateVerdict =>
    verdictOf({ kind: 'threshold', metric: 'score', atLeast: 0.1 }, [], estimates);
  expect(ask([])).toBe('INCONCLUSIVE');
  expect(ask([estimated({ examples: 9 })])).toBe('INCONCLUSIVE');
  // 3 of 50 judges failed: what they would have said is not known.
  expect(ask([estimated({ errors: 3, rows: 47 })])).toBe('INCONCLUSIVE');
  expect(ask([estimated({ errors: 2, rows: 48 })])).toBe('PASS');
});

test('what regressed fails; what is doubtful is not passed', () => {
  const ask = (more: Partial<MetricComparison>, burden = 'regression'): GateVerdict =>
    verdictOf({ kind: 'no_regression', burden }, [comparison(more)]);
  expect(ask({})).toBe('PASS');
  expect(ask({ verdict: 'IMPROVED' })).toBe('PASS');
  expect(ask({ verdict: 'REGRESSED' })).toBe('FAIL');
  expect(ask({ verdict: 'INSUFFICIENT_DATA', pairs: 4 })).toBe('INCONCLUSIVE');
  expect(ask({ unpaired: { baseline: 6, candidate: 0 }, pairs: 44 })).toBe('INCONCLUSIVE');
  expect(ask({ unpaired: { baseline: 4, candidate: 90 }, pairs: 46 })).toBe('PASS');
  expect(ask({ errors: { baseline: 0, candidate: 5 }, rows: { baseline: 50, candidate: 45 } })).toBe(
    'INCONCLUSIVE',
  );
});

const nothingMeasured = {
  verdict: 'INSUFFICIENT_DATA',
  pairs: 0,
  delta: null,
  interval: null,
  pValue: null,
  adjustedPValue: null,
} as const;

test('outputs that the baseline already had say nothing about the candidate', () => {
  const topic = { metric: 'topic=refund', direction: 'none' } as const;
  const copied = [
    comparison({ ...nothingMeasured, sharedPairs: 50 }),
    comparison({ ...nothingMeasured, ...topic, sharedPairs: 50 }),
  ];
  for (const each of [
    { kind: 'no_regression' },
    { kind: 'no_regression', burden: 'non_inferiority' },
    { kind: 'improvement', metric: 'score' },
    { kind: 'label_spike', key: 'topic', maximumIncrease: 0.1 },
  ]) {
    const outcome = judgeRule(rule(each), { comparisons: copied, estimates: [] }, settings);
    expect(outcome.verdict).toBe('INCONCLUSIVE');
    expect(outcome.findings[0]?.reason).toContain('50 outputs are ones the baseline already had.');
  }
  const threshold = { kind: 'threshold', metric: 'score', atLeast: 0.5 };
  expect(verdictOf(threshold, [], [estimated({ ownExamples: 9 })])).toBe('INCONCLUSIVE');
  expect(verdictOf(threshold, [], [estimated({ ownExamples: 10 })])).toBe('PASS');
});

test('examples that changed are neither compared nor missed', () => {
  const ask = (more: Partial<MetricComparison>) =>
    judgeRule(rule({ kind: 'no_regression' }), { comparisons: [comparison(more)], estimates: [] }, settings);
  expect(ask({ pairs: 30, changedExamples: 20 }).verdict).toBe('PASS');
  const few = ask({ ...nothingMeasured, pairs: 4, changedExamples: 46 });
  expect(few.verdict).toBe('INCONCLUSIVE');
  expect(few.findings[0]?.reason).toBe(
    '4 pairs are fewer than 10. 46 examples have changed since the baseline.',
  );
});

test('where no example is on both sides nothing passes, whatever coverage is asked for', () => {
  const lenient = gateSettings.parse({ minimumCoverage: 0 });
  const apart = comparison({ ...nothingMeasured, unpaired: { baseline: 50, candidate: 50 } });
  const { verdict, findings } = judgeRule(
    rule({ kind: 'no_regression' }),
    { comparisons: [apart], estimates: [] },
    lenient,
  );
  expect(verdict).toBe('INCONCLUSIVE');
  expect(findings[0]?.reason).toBe('No example has a score on both sides.');
});

test('who must show not to be worse does not pass by being uncertain', () => {
  const interval = (lower: number, upper: number) => ({ lower, upper, method: 'bca', resamples: 1 }) as const;
  const ask = (more: Partial<MetricComparison>): GateVerdict =>
    verdictOf({ kind: 'no_regression', burden: 'non_inferiority' }, [comparison(more)]);
  expect(ask({ interval: interval(-0.019, 0.4) })).toBe('PASS');
  expect(ask({ interval: interval(-0.021, 0.4) })).toBe('INCONCLUSIVE');
  expect(ask({ direction: 'lower', interval: interval(-0.4, 0.019) })).toBe('PASS');
  expect(ask({ direction: 'lower', interval: interval(-0.4, 0.021) })).toBe('INCONCLUSIVE');
});

test('a rule about named metrics misses what is not there, and leaves the rest alone', () => {
  const comparisons = [comparison(), comparison({ metric: 'other', verdict: 'REGRESSED' })];
  expect(verdictOf({ kind: 'no_regression', metrics: ['score'] }, comparisons)).toBe('PASS');
  expect(verdictOf({ kind: 'no_regression', metrics: ['score', 'absent'] }, comparisons)).toBe(
    'INCONCLUSIVE',
  );
  expect(verdictOf({ kind: 'no_regression' }, comparisons)).toBe('FAIL');
});

test('slices are judged where asked for, but not those too small to judge', () => {
  const sliced = (more: Partial<MetricComparison>) =>
    comparison({ slice: { key: 'tier', value: 'gold' }, ...more });
  expect(verdictOf({ kind: 'no_regression' }, [comparison(), sliced({ verdict: 'REGRESSED' })])).toBe('PASS');
  const withSlices = { kind: 'no_regression', sliceBy: ['tier'] };
  expect(verdictOf(withSlices, [comparison(), sliced({ verdict: 'REGRESSED' })])).toBe('FAIL');
  expect(verdictOf(withSlices, [comparison(), sliced({ verdict: 'INSUFFICIENT_DATA' })])).toBe('PASS');
});

test('an improvement must be shown; that there is none may be shown too', () => {
  const interval = (lower: number, upper: number) => ({ lower, upper, method: 'bca', resamples: 1 }) as const;
  const ask = (more: Partial<MetricComparison>): GateVerdict =>
    verdictOf({ kind: 'improvement', metric: 'score' }, [comparison(more)]);
  expect(ask({ verdict: 'IMPROVED' })).toBe('PASS');
  expect(ask({ interval: interval(-0.01, 0.01) })).toBe('FAIL');
  expect(ask({ interval: interval(-0.01, 0.1) })).toBe('INCONCLUSIVE');
  expect(ask({ verdict: 'REGRESSED' })).toBe('FAIL');
});

test('a label that spikes fails where chance does not explain it', () => {
  const label = (more: Partial<MetricComparison>) =>
    comparison({ metric: 'topic=refund', direction: 'none', ...more });
  const ask = (more: Partial<MetricComparison>): GateVerdict =>
    verdictOf({ kind: 'label_spike', key: 'topic', maximumIncrease: 0.1 }, [comparison(), label(more)]);
  expect(ask({ delta: 0.1 })).toBe('PASS');
  expect(ask({ delta: 0.2, adjustedPValue: 0.01 })).toBe('FAIL');
  expect(ask({ delta: 0.2, adjustedPValue: 0.2 })).toBe('INCONCLUSIVE');
  expect(ask({ delta: 0.2, adjustedPValue: null, pairs: 5 })).toBe('INCONCLUSIVE');
  expect(ask({ delta: 0, pairs: 9 })).toBe('INCONCLUSIVE');
  expect(
    verdictOf({ kind: 'label_spike', key: 'topic', labels: ['x'], maximumIncrease: 0.1 }, [label({})]),
  ).toBe('INCONCLUSIVE');
});

test('failures in a row count experiments, not questions', () => {
  const tries = (text: string) =>
    text.split(' ').map((each) => ({
      evidenceId: each.slice(1),
      verdict: ({ P: 'PASS', F: 'FAIL', I: 'INCONCLUSIVE' } as const)[each[0] as 'P'],
    }));
  expect(failuresInRow(tries('F3 F2 P1'))).toBe(2);
  expect(failuresInRow(tries('F3 F3 F3 P1'))).toBe(1);
  expect(failuresInRow(tries('F3 I2 F1'))).toBe(2);
  expect(failuresInRow(tries('P3 F2 F1'))).toBe(0);
  // The same experiment was judged otherwise before its rules changed: its latest answer counts.
  expect(failuresInRow(tries('F3 P2 F2'))).toBe(1);
});
