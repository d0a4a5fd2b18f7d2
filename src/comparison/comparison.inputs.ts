/** GraphQL inputs of comparisons. */
import { Field, Float, ID, InputType, Int, registerEnumType } from 'type-graphql';
import { EXPERIMENT_NODE } from '../experiments/experiment.types.js';
import { parseId } from '../graphql/global-id.js';
import { DEFAULTS } from './compare.js';
import type { Correction } from './compare.js';
import type { ComparisonSettings } from './comparison.service.js';
import type { MatrixCondition } from './comparison-matrix.js';
import { MultipleTesting } from './comparison.types.js';

@InputType({ description: 'What is compared, and when a difference counts.' })
export class ComparisonSettingsInput {
  @Field(() => [String], {
    nullable: true,
    description:
      'Feedback keys; run.latency, run.cost, run.total_tokens, run.error_rate; key=label or key=* for labels. ' +
      'All keys and measures that occur where not given.',
  })
  metrics?: string[] | null;

  @Field(() => [String], {
    nullable: true,
    description: 'Metadata keys of examples; dataset_split slices by split.',
  })
  sliceBy?: string[] | null;

  @Field(() => Float, {
    nullable: true,
    description: `Smallest difference of practical meaning, in units of a score. Default ${DEFAULTS.threshold}.`,
  })
  threshold?: number | null;

  @Field(() => Float, {
    nullable: true,
    description: `The same for latency, cost and tokens, as a share of the baseline's mean. Default ${DEFAULTS.relativeThreshold}.`,
  })
  relativeThreshold?: number | null;

  @Field(() => Float, { nullable: true, description: `Significance level. Default ${DEFAULTS.alpha}.` })
  alpha?: number | null;

  @Field(() => MultipleTesting, {
    nullable: true,
    description: 'Default BENJAMINI_HOCHBERG; gates use HOLM.',
  })
  correction?: Correction | null;

  @Field(() => Int, {
    nullable: true,
    description: `Pairs below which nothing is concluded. Default ${DEFAULTS.minimumPairs}.`,
  })
  minimumPairs?: number | null;

  @Field(() => Float, {
    nullable: true,
    description: `Power of the minimum detectable effect. Default ${DEFAULTS.power}.`,
  })
  power?: number | null;

  @Field(() => Int, { nullable: true, description: 'Of all resampling. Default: made from the experiments.' })
  seed?: number | null;
}

@InputType()
export class ComparedExperimentsInput {
  @Field(() => ID)
  baseline!: string;

  @Field(() => [ID], { description: 'One to nine, on the same dataset as the baseline.' })
  candidates!: string[];
}

export const ExampleChange = { BETTER: 'BETTER', WORSE: 'WORSE' } as const;
registerEnumType(ExampleChange, { name: 'ExampleChange' });

@InputType()
export class ExampleChangeInput {
  @Field(() => ID, { description: 'A candidate; compared with the baseline.' })
  experiment!: string;

  @Field(() => ExampleChange)
  to!: keyof typeof ExampleChange;
}

@InputType({ description: 'All parts hold. An experiment without a score neither passes nor fails.' })
export class ComparedExampleWhere {
  @Field(() => String, { description: 'The metric the other parts are about.' })
  metric!: string;

  @Field(() => Float, {
    defaultValue: 0.5,
    description: 'A mean of at least this passes; of at most this, where lower is better.',
  })
  passAt!: number;

  @Field(() => [ID], { nullable: true })
  passedBy?: string[] | null;

  @Field(() => [ID], { nullable: true })
  failedBy?: string[] | null;

  @Field(() => ExampleChangeInput, { nullable: true })
  changed?: ExampleChangeInput | null;
}

/** Absent and null both mean "not given". */
export function toSettings(input: ComparisonSettingsInput | null | undefined): ComparisonSettings {
  const given = Object.entries(input ?? {}).filter(([, value]) => value !== null && value !== undefined);
  return Object.fromEntries(given);
}

export function toExperimentIds(input: ComparedExperimentsInput): {
  baselineId: string;
  candidateIds: string[];
} {
  return {
    baselineId: parseId(EXPERIMENT_NODE, input.baseline, ['experiments', 'baseline']),
    candidateIds: input.candidates.map((id, index) =>
      parseId(EXPERIMENT_NODE, id, ['experiments', 'candidates', index]),
    ),
  };
}

export function toCondition(where: ComparedExampleWhere | null | undefined): MatrixCondition {
  if (where === null || where === undefined) return { passAt: 0, passedBy: [], failedBy: [] };
  const ids = (field: string, values: readonly string[] | null | undefined): string[] =>
    (values ?? []).map((id, index) => parseId(EXPERIMENT_NODE, id, ['where', field, index]));
  const { metric, passAt, passedBy, failedBy, changed } = where;
  return {
    metric,
    passAt,
    passedBy: ids('passedBy', passedBy),
    failedBy: ids('failedBy', failedBy),
    ...(changed && {
      changed: {
        experimentId: parseId(EXPERIMENT_NODE, changed.experiment, ['where', 'changed', 'experiment']),
        to: changed.to,
      },
    }),
  };
}
