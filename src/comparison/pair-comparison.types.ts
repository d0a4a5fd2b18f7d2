/** GraphQL types and inputs of comparisons that a judge makes pair by pair. */
import { Field, Float, ID, InputType, Int, ObjectType } from 'type-graphql';
import { PositionBiasType } from '../evaluators/evaluator.types.js';
import type { PositionBias } from '../evaluators/evaluation.js';
import { ExperimentEvaluatorInput } from '../experiments/experiment-control.inputs.js';
import { START_LIMITS } from '../experiments/experiment-start.js';
import { ExperimentState } from '../experiments/experiment.types.js';
import { IdempotentInput } from '../graphql/idempotent-input.js';
import { DateTimeScalar, DecimalScalar, UuidScalar } from '../graphql/scalars.js';
import { UserError } from '../graphql/user-error.js';
import type { JudgedComparison } from '../experiments/comparative.store.js';
import { IntervalObject } from './comparison.types.js';
import type { Interval } from '../statistics/bootstrap.js';

@InputType({
  description:
    'The outputs of two experiments on one dataset, pair by pair: the same example and repetition of both.',
})
export class StartComparisonInput extends IdempotentInput {
  @Field(() => ID)
  first!: string;

  @Field(() => ID)
  second!: string;

  @Field(() => ExperimentEvaluatorInput, { description: 'Of kind PAIRWISE.' })
  evaluator!: ExperimentEvaluatorInput;

  @Field(() => String, { nullable: true })
  name?: string | null;

  @Field(() => String, { nullable: true })
  description?: string | null;

  @Field(() => Int, {
    nullable: true,
    description: `Pairs at once, 1 to ${START_LIMITS.concurrency}; 8 where not given.`,
  })
  concurrency?: number | null;

  @Field(() => Int, {
    nullable: true,
    description: `Times a pair is tried before its error is kept, 1 to ${START_LIMITS.maxAttempts}; 3 where not given.`,
  })
  maxAttempts?: number | null;

  @Field(() => DecimalScalar, {
    nullable: true,
    description: 'US dollars. Calls that would start above it are not started, and the comparison is paused.',
  })
  spendCap?: string | null;
}

@InputType()
export class ComparisonIdInput {
  @Field(() => ID)
  id!: string;
}

@InputType()
export class ResumeComparisonInput extends ComparisonIdInput {
  @Field(() => DecimalScalar, {
    nullable: true,
    description: 'A new spend cap in US dollars; null takes it away, absent leaves it.',
  })
  spendCap?: string | null;
}

export interface WinRate {
  readonly examples: number;
  readonly rate: number | null;
  readonly interval: Interval | null;
  readonly wins: number;
  readonly losses: number;
  readonly ties: number;
  readonly positionBias: PositionBias;
}

@ObjectType('PairWinRate', {
  simpleResolvers: true,
  description: 'How often the second output was preferred.',
})
export class WinRateType implements WinRate {
  @Field(() => Int, {
    description: 'The n of rate and interval: repetitions of an example are averaged first.',
  })
  examples!: number;

  @Field(() => Float, { nullable: true, description: '0 to 1; a tie counts half. 0.5: neither is better.' })
  rate!: number | null;

  @Field(() => IntervalObject, { nullable: true, description: 'Covers the true rate with 95 %.' })
  interval!: Interval | null;

  @Field(() => Int, { description: 'Pairs of which the second was preferred.' })
  wins!: number;

  @Field(() => Int)
  losses!: number;

  @Field(() => Int, { description: 'Also pairs whose judge preferred a place: see positionBias.' })
  ties!: number;

  @Field(() => PositionBiasType)
  positionBias!: PositionBias;
}

@ObjectType('PairComparison', {
  simpleResolvers: true,
  description:
    'A comparative experiment that workers judge. Each verdict is feedback on both runs, 1 and 0 or 0.5 twice, under the feedback key of the evaluator.',
})
export class PairComparisonType implements JudgedComparison {
  @Field(() => UuidScalar)
  uuid!: string;

  @Field(() => String, { nullable: true })
  name!: string | null;

  @Field(() => String, { nullable: true })
  description!: string | null;

  @Field(() => UuidScalar)
  datasetId!: string;

  @Field(() => [UuidScalar], { description: 'First and second.' })
  experimentIds!: readonly string[];

  @Field(() => UuidScalar)
  evaluatorVersionId!: string;

  @Field(() => ExperimentState)
  state!: JudgedComparison['state'];

  @Field(() => String, { nullable: true })
  stateReason!: string | null;

  @Field(() => DecimalScalar, { nullable: true })
  spendCap!: string | null;

  @Field(() => DecimalScalar, { description: 'US dollars of all calls of the judge so far.' })
  spend!: string;

  @Field(() => DateTimeScalar)
  createdAt!: string;

  @Field(() => DateTimeScalar, { nullable: true })
  finishedAt!: string | null;

  @Field(() => Int, { description: 'Pairs.' })
  total!: number;

  @Field(() => Int)
  open!: number;

  @Field(() => Int)
  compared!: number;

  @Field(() => Int, { description: 'Errors of the judge: they are in no rate.' })
  failed!: number;

  @Field(() => Int, { description: 'Pairs of which a side has no output.' })
  skipped!: number;
}

@ObjectType({ simpleResolvers: true })
export class PairComparisonPayload {
  @Field(() => PairComparisonType, { nullable: true })
  comparison!: JudgedComparison | null;

  @Field(() => [UserError])
  errors!: readonly UserError[];
}
