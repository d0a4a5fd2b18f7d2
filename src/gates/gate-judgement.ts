/** How a gate's rules are judged from figures. Pure: the figures come from comparisons and estimates. */
import type { MetricComparison } from '../comparison/compare.js';
import type { MetricEstimate } from '../comparison/estimate.js';
import { together } from './gate.js';
import type {
  Finding,
  GateRule,
  GateSettings,
  GateVerdict,
  ImprovementRule,
  LabelSpikeRule,
  NoRegressionRule,
  RuleOutcome,
  ThresholdRule,
} from './gate.js';

export interface Figures {
  /** Of the candidate against the baseline; p-values corrected over all rules. Empty without a baseline. */
  readonly comparisons: readonly MetricComparison[];
  /** Of the candidate alone. */
  readonly estimates: readonly MetricEstimate[];
}

/** Whether a rule asks about a comparison: those that any rule asks about are the family p-values are corrected over. */
export function asksAbout(rule: GateRule, { metric, slice, direction }: MetricComparison): boolean {
  switch (rule.kind) {
    case 'threshold':
      return false;
    case 'no_regression':
      return (
        direction !== 'none' &&
        (rule.metrics?.includes(metric) ?? true) &&
        (slice === null || rule.sliceBy.includes(slice.key))
      );
    case 'improvement':
      return metric === rule.metric && slice === null;
    case 'label_spike':
      return (
        slice === null &&
        (rule.labels?.some((label) => metric === `${rule.key}=${label}`) ?? metric.startsWith(`${rule.key}=`))
      );
  }
}

export function judgeRule(rule: GateRule, figures: Figures, settings: GateSettings): RuleOutcome {
  const findings = findingsOf(rule, figures, settings);
  return { rule, verdict: together(findings.map(({ verdict }) => verdict)), findings };
}

function findingsOf(rule: GateRule, { comparisons, estimates }: Figures, settings: GateSettings): Finding[] {
  if (rule.kind === 'threshold') return [judgeThreshold(rule, estimates, settings)];
  if (rule.kind === 'no_regression') return judgeNoRegression(rule, comparisons, settings);
  if (rule.kind === 'improvement') return [judgeImprovement(rule, comparisons, settings)];
  return judgeLabelSpike(rule, comparisons, settings);
}

const number = (value: number): string => String(Number(value.toPrecision(4)));
const percent = (share: number): string => `${number(share * 100)} %`;

function judgeThreshold(
  rule: ThresholdRule,
  estimates: readonly MetricEstimate[],
  settings: GateSettings,
): Finding {
  const { metric, atLeast, atMost, certainty, slice = null } = rule;
  const found = estimates.find(
    (each) => each.metric === metric && each.slice?.key === slice?.key && each.slice?.value === slice?.value,
  );
  const figures = {
    metric,
    slice,
    baselineMean: null,
    candidateMean: found?.mean ?? null,
    delta: null,
    lower: found?.interval?.lower ?? null,
    upper: found?.interval?.upper ?? null,
    pValue: null,
    adjustedPValue: null,
    n: found?.examples ?? 0,
  };
  const say = (verdict: GateVerdict, reason: string): Finding => ({ ...figures, verdict, reason });
  if (found === undefined || found.mean === null) return say('INCONCLUSIVE', 'There is no score.');
  if (found.examples < settings.minimumPairs) {
    return say('INCONCLUSIVE', `${found.examples} examples are fewer than ${settings.minimumPairs}.`);
  }
  if (found.ownExamples < settings.minimumPairs) {
    const { ownExamples, examples } = found;
    return say('INCONCLUSIVE', `${ownExamples} of ${examples} examples were answered anew. ${MEASURE_ANEW}`);
  }
  const doubt = errorDoubt(found.errors, found.rows, settings);
  if (doubt !== undefined) return say('INCONCLUSIVE', doubt);
  const { mean, interval } = found;
  const low = certainty === 'mean' ? mean : (interval?.lower ?? mean);
  const high = certainty === 'mean' ? mean : (interval?.upper ?? mean);
  const wanted = [
    ...(atLeast === undefined ? [] : [`at least ${number(atLeast)}`]),
    ...(atMost === undefined ? [] : [`at most ${number(atMost)}`]),
  ].join(' and ');
  const shown = certainty === 'mean' ? number(mean) : `${number(mean)} (${number(low)} to ${number(high)})`;
  const reason = `${shown}, wanted ${wanted}.`;
  if ((atLeast !== undefined && high < atLeast) || (atMost !== undefined && low > atMost)) {
    return say('FAIL', reason);
  }
  if ((atLeast === undefined || low >= atLeast) && (atMost === undefined || high <= atMost)) {
    return say('PASS', reason);
  }
  return say('INCONCLUSIVE', reason);
}

function judgeNoRegression(
  rule: NoRegressionRule,
  comparisons: readonly MetricComparison[],
  settings: GateSettings,
): Finding[] {
  const asked = comparisons.filter((each) => asksAbout(rule, each));
  const missing = (rule.metrics ?? []).filter((metric) => !asked.some((each) => each.metric === metric));
  return [
    ...missing.map((metric) => nothing(metric, 'There is no score on either side.')),
    ...asked
      // A slice too small to judge says nothing, and there is always one.
      .filter(({ slice, verdict }) => slice === null || verdict !== 'INSUFFICIENT_DATA')
      .map((each) => judgeOne(each, rule, settings)),
  ];
}

function judgeOne(
  comparison: MetricComparison,
  { burden }: NoRegressionRule,
  settings: GateSettings,
): Finding {
  const say = speaker(comparison);
  const { verdict, delta, interval, threshold, direction, adjustedPValue } = comparison;
  const figures = `changed by ${number(delta ?? 0)} (adjusted p ${number(adjustedPValue ?? 1)})`;
  if (verdict === 'REGRESSED') return say('FAIL', `It regressed: ${figures}.`);
  const doubt = doubtOf(comparison, settings);
  if (doubt !== undefined) return say('INCONCLUSIVE', doubt);
  if (verdict === 'INSUFFICIENT_DATA') return say('INCONCLUSIVE', tooFew(comparison, settings));
  if (burden === 'regression') return say('PASS', `It did not regress: ${figures}.`);
  const worst = direction === 'lower' ? -(interval?.upper ?? Infinity) : (interval?.lower ?? -Infinity);
  return worst > -threshold
    ? say('PASS', `It is no worse by ${number(threshold)} or more: ${figures}.`)
    : say('INCONCLUSIVE', `It may be worse by ${number(-worst)}: ${figures}.`);
}

function judgeImprovement(
  rule: ImprovementRule,
  comparisons: readonly MetricComparison[],
  settings: GateSettings,
): Finding {
  const found = comparisons.find((each) => asksAbout(rule, each));
  if (found === undefined) return nothing(rule.metric, 'There is no score on either side.');
  const say = speaker(found);
  const { verdict, delta, interval, threshold, direction, adjustedPValue } = found;
  const figures = `changed by ${number(delta ?? 0)} (adjusted p ${number(adjustedPValue ?? 1)})`;
  if (verdict === 'REGRESSED') return say('FAIL', `It regressed: ${figures}.`);
  const doubt = doubtOf(found, settings);
  if (doubt !== undefined) return say('INCONCLUSIVE', doubt);
  if (verdict === 'IMPROVED') return say('PASS', `It improved: ${figures}.`);
  if (verdict === 'INSUFFICIENT_DATA') return say('INCONCLUSIVE', tooFew(found, settings));
  const best = direction === 'lower' ? -(interval?.lower ?? -Infinity) : (interval?.upper ?? Infinity);
  return best < threshold
    ? say('FAIL', `It did not improve by ${number(threshold)}: ${figures}.`)
    : say('INCONCLUSIVE', `It is not shown to have improved: ${figures}.`);
}

function judgeLabelSpike(
  rule: LabelSpikeRule,
  comparisons: readonly MetricComparison[],
  settings: GateSettings,
): Finding[] {
  const { key, maximumIncrease } = rule;
  const asked = comparisons.filter((each) => asksAbout(rule, each));
  if (asked.length === 0) return [nothing(key, 'No run has such a label.')];
  return asked.map((each) => {
    const say = speaker(each);
    const { delta, adjustedPValue, pairs } = each;
    // Also a share that did not grow is known only where there is something to know it from.
    if (pairs < settings.minimumPairs) return say('INCONCLUSIVE', tooFew(each, settings));
    const doubt = doubtOf(each, settings);
    if (doubt !== undefined) return say('INCONCLUSIVE', doubt);
    const grown = delta ?? 0;
    const reason = `Its share changed by ${percent(grown)}, ${percent(maximumIncrease)} are allowed.`;
    if (grown <= maximumIncrease) return say('PASS', reason);
    return say((adjustedPValue ?? 1) <= settings.alpha ? 'FAIL' : 'INCONCLUSIVE', reason);
  });
}

const MEASURE_ANEW = 'Start it with useCache: false to measure what it does today.';

/** What was taken from the cache says nothing about the candidate, however good it looks. */
function tooFew(
  { pairs, sharedPairs, changedExamples }: MetricComparison,
  { minimumPairs }: GateSettings,
): string {
  const few = `${pairs} pairs are fewer than ${minimumPairs}.`;
  if (changedExamples > 0 && sharedPairs === 0) {
    return `${few} ${changedExamples} examples have changed since the baseline.`;
  }
  if (sharedPairs > 0) {
    return `${few} ${sharedPairs} outputs are ones the baseline already had. ${MEASURE_ANEW}`;
  }
  return pairs === 0 ? 'No example has a score on both sides.' : few;
}

/** Why the figures cannot be believed, whatever they say. */
function doubtOf(comparison: MetricComparison, settings: GateSettings): string | undefined {
  const { errors, rows, pairs, sharedPairs, changedExamples, unpaired } = comparison;
  // An example that is another by now cannot be compared, but the candidate did answer it.
  const known = pairs + sharedPairs + changedExamples;
  const coverage = known / Math.max(known + unpaired.baseline, 1);
  return (
    errorDoubt(errors.candidate, rows.candidate, settings) ??
    errorDoubt(errors.baseline, rows.baseline, settings) ??
    (coverage < settings.minimumCoverage
      ? `The candidate has a score for ${percent(coverage)} of the baseline's examples.`
      : undefined)
  );
}

function errorDoubt(errors: number, rows: number, { maximumErrorShare }: GateSettings): string | undefined {
  const share = errors / Math.max(errors + rows, 1);
  return share > maximumErrorShare ? `${errors} of ${errors + rows} evaluations failed.` : undefined;
}

const speaker =
  (comparison: MetricComparison) =>
  (verdict: GateVerdict, reason: string): Finding => ({
    metric: comparison.metric,
    slice: comparison.slice,
    verdict,
    reason,
    baselineMean: comparison.baselineMean,
    candidateMean: comparison.candidateMean,
    delta: comparison.delta,
    lower: comparison.interval?.lower ?? null,
    upper: comparison.interval?.upper ?? null,
    pValue: comparison.pValue,
    adjustedPValue: comparison.adjustedPValue,
    n: comparison.pairs,
  });

const nothing = (metric: string, reason: string): Finding => ({
  metric,
  slice: null,
  verdict: 'INCONCLUSIVE',
  reason,
  baselineMean: null,
  candidateMean: null,
  delta: null,
  lower: null,
  upper: null,
  pValue: null,
  adjustedPValue: null,
  n: 0,
});
