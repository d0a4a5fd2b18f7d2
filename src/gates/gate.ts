/** What gates are: rules over an experiment, alone or against a baseline, and what asking them says. Pure. */
import { z } from 'zod';
import { DEFAULTS } from '../comparison/compare.js';

export const VERDICTS = ['PASS', 'FAIL', 'INCONCLUSIVE'] as const;
export type GateVerdict = (typeof VERDICTS)[number];

// Strict: a setting that is misspelt and passed over would be a rule that asks less than its author meant.
const metric = z.string().min(1).max(300);
const slice = z.strictObject({ key: z.string().min(1).max(200), value: z.string().max(500) }).optional();

const thresholdRule = z.strictObject({
  kind: z.literal('threshold'),
  metric,
  atLeast: z.number().optional(),
  atMost: z.number().optional(),
  /** mean: the mean decides. interval: all of its interval must be on the right side to pass, on the wrong to fail. */
  certainty: z.enum(['mean', 'interval']).default('mean'),
  slice,
});

const noRegressionRule = z.strictObject({
  kind: z.literal('no_regression'),
  /** All that occur where absent. */
  metrics: z.array(metric).min(1).max(50).optional(),
  /** Also within each value of these metadata keys; values with too few pairs are left out. */
  sliceBy: z.array(z.string().min(1).max(200)).max(3).default([]),
  /** regression: fails where shown to be worse. non_inferiority: passes only where shown not to be worse. */
  burden: z.enum(['regression', 'non_inferiority']).default('regression'),
});

const improvementRule = z.strictObject({ kind: z.literal('improvement'), metric });

const labelSpikeRule = z.strictObject({
  kind: z.literal('label_spike'),
  /** A feedback key with categories. */
  key: z.string().min(1).max(256),
  /** All that occur where absent. */
  labels: z.array(z.string().min(1).max(500)).min(1).max(50).optional(),
  /** How much the share of a label may grow, 0 to 1. */
  maximumIncrease: z.number().min(0).max(1),
});

export const gateRule = z.discriminatedUnion('kind', [
  thresholdRule,
  noRegressionRule,
  improvementRule,
  labelSpikeRule,
]);
export type GateRule = z.infer<typeof gateRule>;
export type ThresholdRule = z.infer<typeof thresholdRule>;
export type NoRegressionRule = z.infer<typeof noRegressionRule>;
export type ImprovementRule = z.infer<typeof improvementRule>;
export type LabelSpikeRule = z.infer<typeof labelSpikeRule>;

export const MAX_RULES = 20;

export const gateSettings = z.object({
  alpha: z.number().min(0.0001).max(0.5).default(DEFAULTS.alpha),
  threshold: z.number().min(0).default(DEFAULTS.threshold),
  relativeThreshold: z.number().min(0).max(100).default(DEFAULTS.relativeThreshold),
  minimumPairs: z.number().int().min(2).max(1_000_000).default(DEFAULTS.minimumPairs),
  /** Share of the baseline's examples the candidate must have a score for: one that fails on the hard ones looks good. */
  minimumCoverage: z.number().min(0).max(1).default(0.9),
  /** Share of evaluations that may fail before a metric can no longer be believed. */
  maximumErrorShare: z.number().min(0).max(1).default(0.05),
});
export type GateSettings = z.infer<typeof gateSettings>;

/** When nothing else is asked: nothing measured may be worse. */
export const DEFAULT_RULES: readonly GateRule[] = [
  { kind: 'no_regression', sliceBy: [], burden: 'regression' },
];

export interface Gate {
  readonly uuid: string;
  readonly name: string;
  readonly description: string | null;
  readonly rules: readonly GateRule[];
  readonly settings: GateSettings;
  /** Failing evaluations of one candidate in a row before it is blocked. */
  readonly failuresToBlock: number;
  readonly revision: number;
  readonly createdAt: string;
  readonly updatedAt: string;
}

/** What one rule says of one metric, or of one label, or of all metrics at once. */
export interface Finding {
  readonly metric: string;
  readonly slice: { readonly key: string; readonly value: string } | null;
  readonly verdict: GateVerdict;
  /** One sentence with the figures. */
  readonly reason: string;
  readonly baselineMean: number | null;
  readonly candidateMean: number | null;
  readonly delta: number | null;
  readonly lower: number | null;
  readonly upper: number | null;
  readonly pValue: number | null;
  readonly adjustedPValue: number | null;
  /** Pairs, or examples where there is no baseline. */
  readonly n: number;
}

export interface RuleOutcome {
  readonly rule: GateRule;
  readonly verdict: GateVerdict;
  readonly findings: readonly Finding[];
}

export interface GateReport {
  readonly outcomes: readonly RuleOutcome[];
  readonly settings: GateSettings;
  readonly seed: number | null;
  readonly warnings: readonly string[];
}

/** One time a gate was asked. Immutable. */
export interface GateEvaluation {
  readonly uuid: string;
  /** Null for rules that were given along with the question. */
  readonly gateId: string | null;
  readonly gateRevision: number | null;
  /** What is to be released, for example a commit. */
  readonly candidateRef: string;
  readonly candidateExperimentId: string;
  readonly baselineExperimentId: string | null;
  /** Whose runs most of the candidate's outputs are: its own, or those of the experiment they were taken from. */
  readonly evidenceExperimentId: string;
  readonly verdict: GateVerdict;
  readonly failures: number;
  /** Whether a release must stop: FAIL, often enough in a row. */
  readonly blocks: boolean;
  readonly report: GateReport;
  readonly actor: string | null;
  readonly createdAt: string;
}

/** A failure outweighs doubt, and doubt outweighs success. No rules, no answer. */
export function together(verdicts: readonly GateVerdict[]): GateVerdict {
  if (verdicts.includes('FAIL')) return 'FAIL';
  return verdicts.length === 0 || verdicts.includes('INCONCLUSIVE') ? 'INCONCLUSIVE' : 'PASS';
}

/**
 * Failing evaluations of a candidate in a row, newest first: the runs of an experiment count once, by the latest answer
 * that rests on them, since asking again about the same runs, or about copies of them, is no second failure. PASS ends
 * the row; INCONCLUSIVE neither counts nor ends it.
 */
export function failuresInRow(
  newestFirst: readonly { readonly evidenceId: string; readonly verdict: GateVerdict }[],
): number {
  const seen = new Set<string>();
  let failures = 0;
  for (const { evidenceId, verdict } of newestFirst) {
    if (seen.has(evidenceId)) continue;
    seen.add(evidenceId);
    if (verdict === 'PASS') break;
    if (verdict === 'FAIL') failures += 1;
  }
  return failures;
}
