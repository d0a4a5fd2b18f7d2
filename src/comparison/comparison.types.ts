/** GraphQL types of comparisons. */
import { Field, Float, Int, ObjectType, registerEnumType } from 'type-graphql';
import { ExperimentType } from '../experiments/experiment.types.js';
import { connectionTypes } from '../graphql/connection.js';
import { UuidScalar } from '../graphql/scalars.js';
import type { Interval } from '../statistics/bootstrap.js';
import type { TestResult } from '../statistics/paired-tests.js';
import type { Correction, Metric, MetricComparison, Verdict } from './compare.js';
import type { MatrixCell, MatrixRow, MatrixScore } from './comparison-matrix.js';
import type { Comparison } from './comparison.service.js';

export const ComparisonVerdict = {
  IMPROVED: 'IMPROVED',
  REGRESSED: 'REGRESSED',
  NEUTRAL: 'NEUTRAL',
  INSUFFICIENT_DATA: 'INSUFFICIENT_DATA',
} as const satisfies { [Each in Verdict]: Each };
registerEnumType(ComparisonVerdict, {
  name: 'ComparisonVerdict',
  valuesConfig: {
    IMPROVED: { description: 'Better, beyond chance (adjusted p) and beyond the practical threshold.' },
    REGRESSED: { description: 'Worse, beyond chance (adjusted p) and beyond the practical threshold.' },
    NEUTRAL: {
      description: 'Not shown to differ. That it does not differ is shown only where isEquivalent is true.',
    },
    INSUFFICIENT_DATA: { description: 'Fewer pairs than minimumPairs: nothing is concluded.' },
  },
});

export const MetricDirection = {
  HIGHER: 'higher',
  LOWER: 'lower',
  NONE: 'none',
} as const satisfies Record<string, Metric['direction']>;
registerEnumType(MetricDirection, { name: 'MetricDirection', description: 'Which way is better.' });

export const PairedTest = {
  MCNEMAR: 'mcnemar',
  PERMUTATION_EXACT: 'permutation-exact',
  PERMUTATION: 'permutation',
} as const satisfies Record<string, TestResult['method']>;
registerEnumType(PairedTest, {
  name: 'PairedTest',
  valuesConfig: {
    MCNEMAR: { description: "McNemar's test, exact: pass/fail scores of one repetition." },
    PERMUTATION_EXACT: { description: 'All sign changes of the differences.' },
    PERMUTATION: { description: '9,999 random sign changes of the differences.' },
  },
});

export const IntervalMethod = {
  BCA: 'bca',
  PERCENTILE: 'percentile',
  NONE: 'none',
} as const satisfies Record<string, Interval['method']>;
registerEnumType(IntervalMethod, {
  name: 'IntervalMethod',
  valuesConfig: {
    BCA: { description: 'Bootstrap, bias-corrected and accelerated (Efron, 1987).' },
    PERCENTILE: { description: 'Bootstrap, percentiles: where BCa is not defined.' },
    NONE: { description: 'Nothing varies.' },
  },
});

export const MultipleTesting = {
  BENJAMINI_HOCHBERG: 'benjamini-hochberg',
  HOLM: 'holm',
  NONE: 'none',
} as const satisfies Record<string, Correction>;
registerEnumType(MultipleTesting, {
  name: 'MultipleTesting',
  description: 'How p-values are corrected over all metrics, slices and candidates of one comparison.',
  valuesConfig: {
    BENJAMINI_HOCHBERG: { description: 'Controls the share of false alarms among the alarms.' },
    HOLM: { description: 'Controls the chance of even one false alarm.' },
  },
});

@ObjectType('ConfidenceInterval', { simpleResolvers: true })
export class IntervalObject implements Interval {
  @Field(() => Float)
  lower!: number;

  @Field(() => Float)
  upper!: number;

  @Field(() => IntervalMethod)
  method!: Interval['method'];

  @Field(() => Int, { description: 'Bootstrap samples drawn.' })
  resamples!: number;
}

@ObjectType('MetadataSlice', { simpleResolvers: true })
export class SliceObject {
  @Field(() => String, { description: 'Metadata key of examples.' })
  key!: string;

  @Field(() => String)
  value!: string;
}

@ObjectType('BothSides', { simpleResolvers: true })
class BothSidesInt {
  @Field(() => Int)
  baseline!: number;

  @Field(() => Int)
  candidate!: number;
}

@ObjectType('BothSidesFloat', { simpleResolvers: true })
class BothSidesFloat {
  @Field(() => Float, { nullable: true })
  baseline!: number | null;

  @Field(() => Float, { nullable: true })
  candidate!: number | null;
}

@ObjectType('MetricComparison', {
  simpleResolvers: true,
  description:
    'One metric of one candidate against the baseline, paired by example. Repetitions of an example are averaged first: ' +
    'the example is the independent unit of every figure here.',
})
export class MetricComparisonObject implements Omit<MetricComparison, 'candidateId'> {
  @Field(() => UuidScalar, { description: 'Bare id of the candidate experiment.' })
  candidateId!: string;

  @Field(() => String, { description: 'A feedback key, run.<measure>, or <key>=<label>.' })
  metric!: string;

  @Field(() => MetricDirection)
  direction!: Metric['direction'];

  @Field(() => SliceObject, { nullable: true, description: 'Null over all examples.' })
  slice!: MetricComparison['slice'];

  @Field(() => ComparisonVerdict)
  verdict!: Verdict;

  @Field(() => Int, { description: 'Examples both sides have a score for: n.' })
  pairs!: number;

  @Field(() => Int, {
    description:
      'Examples left out because both sides are one and the same run, taken from the cache: no new evidence.',
  })
  sharedPairs!: number;

  @Field(() => Int, {
    description:
      'Examples left out because they are not the same in the dataset versions that both sides answered.',
  })
  changedExamples!: number;

  @Field(() => BothSidesInt, { description: 'Examples only one side has a score for.' })
  unpaired!: MetricComparison['unpaired'];

  @Field(() => Float, { nullable: true })
  baselineMean!: number | null;

  @Field(() => Float, { nullable: true })
  candidateMean!: number | null;

  @Field(() => Float, { nullable: true, description: 'Candidate − baseline.' })
  delta!: number | null;

  @Field(() => Float, { nullable: true, description: "Delta in percent of the baseline's mean." })
  percent!: number | null;

  @Field(() => IntervalObject, { nullable: true, description: 'Of delta, with coverage 1 − alpha.' })
  interval!: Interval | null;

  @Field(() => Float, { nullable: true, description: 'Two-sided, of this question alone.' })
  pValue!: number | null;

  @Field(() => Float, {
    nullable: true,
    description: 'Corrected over the whole comparison; what verdicts use.',
  })
  adjustedPValue!: number | null;

  @Field(() => PairedTest, { nullable: true })
  test!: TestResult['method'] | null;

  @Field(() => Float, { nullable: true, description: 'Delta in standard deviations of the differences.' })
  effectSize!: number | null;

  @Field(() => Float, {
    nullable: true,
    description: 'The smallest true difference this many pairs would find with the asked power.',
  })
  minimumDetectableEffect!: number | null;

  @Field(() => Float, { description: 'The practical threshold in units of the metric.' })
  threshold!: number;

  @Field(() => Boolean, { description: 'Whether the interval lies within ± threshold.' })
  isEquivalent!: boolean;

  @Field(() => Int, { description: 'Examples that became better.' })
  better!: number;

  @Field(() => Int, { description: 'Examples that became worse.' })
  worse!: number;

  @Field(() => Int)
  tied!: number;

  @Field(() => BothSidesInt, { description: 'Rows that have a score.' })
  rows!: MetricComparison['rows'];

  @Field(() => BothSidesInt, { description: 'Evaluations that failed: in no mean.' })
  errors!: MetricComparison['errors'];

  @Field(() => BothSidesFloat, {
    description:
      'Mean standard deviation between repeats of the judge. A delta within it may be the judge and not the candidate.',
  })
  judgeDeviation!: MetricComparison['judgeDeviation'];
}

@ObjectType('ExperimentComparison', { simpleResolvers: true })
export class ComparisonObject {
  @Field(() => UuidScalar)
  datasetId!: string;

  @Field(() => ExperimentType, { nullable: true })
  baseline!: unknown;

  @Field(() => [ExperimentType])
  candidates!: unknown;

  @Field(() => [MetricComparisonObject])
  results!: Comparison['results'];

  @Field(() => Int, { description: 'The same seed gives the same figures again.' })
  seed!: number;

  @Field(() => [String], { description: 'What to know before believing the numbers.' })
  warnings!: readonly string[];
}

@ObjectType('ComparedScore', { simpleResolvers: true })
class MatrixScoreObject implements MatrixScore {
  @Field(() => String)
  metric!: string;

  @Field(() => Float, { description: 'Over the repetitions that have a score.' })
  mean!: number;

  @Field(() => Int)
  count!: number;
}

@ObjectType('ComparedCell', {
  simpleResolvers: true,
  description: 'What one experiment made of one example.',
})
class MatrixCellObject implements MatrixCell {
  @Field(() => UuidScalar)
  experimentId!: string;

  @Field(() => [UuidScalar], { description: 'One run per repetition; none where it never saw the example.' })
  runIds!: readonly string[];

  @Field(() => [MatrixScoreObject])
  scores!: readonly MatrixScore[];

  @Field(() => Int, { description: 'Repetitions whose target failed.' })
  failedRuns!: number;

  @Field(() => [String], { description: 'Feedback keys whose evaluation failed.' })
  failedKeys!: readonly string[];
}

@ObjectType('ComparedExample', {
  simpleResolvers: true,
  description: 'Experiments side by side on one example.',
})
export class ComparedExampleObject implements MatrixRow {
  @Field(() => UuidScalar)
  exampleId!: string;

  @Field(() => [MatrixCellObject], { description: 'The baseline first, then the candidates as asked.' })
  cells!: readonly MatrixCell[];
}

export const { Connection: ComparedExampleConnection, Edge: ComparedExampleEdge } =
  connectionTypes<MatrixRow>(() => ComparedExampleObject as never, 'ComparedExample');
