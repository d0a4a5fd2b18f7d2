/** GraphQL types of statistics over runs. */
import { Field, Float, Int, ObjectType, registerEnumType } from 'type-graphql';
import { ListSize } from '../graphql/access.js';
import { DateTimeScalar, DecimalScalar } from '../graphql/scalars.js';
import type { FeedbackAverage, RunStatsRow } from './run-stats.js';
import { UsageTotals } from './usage-totals.types.js';

export const RunStatsGroupKind = {
  NAME: 'NAME',
  RUN_TYPE: 'RUN_TYPE',
  STATUS: 'STATUS',
  PROJECT: 'PROJECT',
  MODEL: 'MODEL',
  PROVIDER: 'PROVIDER',
  TENANT: 'TENANT',
  TAG: 'TAG',
  VERSION: 'VERSION',
  METADATA: 'METADATA',
} as const;

registerEnumType(RunStatsGroupKind, {
  name: 'RunStatsGroupKind',
  valuesConfig: {
    PROJECT: { description: "By the project's UUID." },
    TENANT: { description: 'By the customer the trace belongs to.' },
    TAG: { description: 'A run counts once for each of its tags, and under null without any.' },
    VERSION: { description: 'By the metadata key "revision_id".' },
    METADATA: { description: 'By the metadata path in "key"; nested keys are joined with dots.' },
  },
});

export const StatsBucket = { MINUTE: 'MINUTE', HOUR: 'HOUR', DAY: 'DAY', WEEK: 'WEEK' } as const;

registerEnumType(StatsBucket, {
  name: 'StatsBucket',
  valuesConfig: { WEEK: { description: 'From Monday.' } },
});

@ObjectType('FeedbackAverage', { simpleResolvers: true })
export class FeedbackAverageObject implements FeedbackAverage {
  @Field(() => String)
  key!: string;

  @Field(() => Int, { description: 'Feedback with this key, scored or not.' })
  count!: number;

  @Field(() => Float, { nullable: true, description: 'Mean of the scores.' })
  average!: number | null;
}

@ObjectType('RunStatsRow', {
  simpleResolvers: true,
  description:
    'Figures of one group in one bucket. Durations are seconds; percentiles interpolate between the two nearest runs (money takes the nearest run) and leave out runs without a value. Tokens and money are those of model calls among the runs.',
})
export class RunStatsRowObject extends UsageTotals implements RunStatsRow {
  @Field(() => [String], {
    nullable: 'items',
    description: 'One value per entry of groupBy, in its order; null where runs have none.',
  })
  @ListSize(3)
  groups!: readonly (string | null)[];

  @Field(() => DateTimeScalar, {
    nullable: true,
    description: 'Where the bucket begins. Null without buckets.',
  })
  bucketStart!: string | null;

  @Field(() => Int)
  runCount!: number;

  @Field(() => Int)
  errorCount!: number;

  @Field(() => Int)
  pendingCount!: number;

  @Field(() => Float, { nullable: true, description: 'Failed runs among all runs, 0 to 1.' })
  errorRate!: number | null;

  @Field(() => Float, {
    nullable: true,
    description: 'Model calls that streamed among those that ended, 0 to 1.',
  })
  streamingRate!: number | null;

  @Field(() => DateTimeScalar, { nullable: true })
  firstRunStartTime!: string | null;

  @Field(() => DateTimeScalar, { nullable: true })
  lastRunStartTime!: string | null;

  @Field(() => Float, { nullable: true })
  latencyP50!: number | null;

  @Field(() => Float, { nullable: true })
  latencyP95!: number | null;

  @Field(() => Float, { nullable: true })
  latencyP99!: number | null;

  @Field(() => Float, { nullable: true })
  firstTokenP50!: number | null;

  @Field(() => Float, { nullable: true })
  firstTokenP95!: number | null;

  @Field(() => Float, { nullable: true })
  firstTokenP99!: number | null;

  @Field(() => Float, { nullable: true })
  tokensP50!: number | null;

  @Field(() => Float, { nullable: true })
  tokensP99!: number | null;

  @Field(() => DecimalScalar, { nullable: true })
  costP50!: string | null;

  @Field(() => DecimalScalar, { nullable: true })
  costP99!: string | null;

  @Field(() => [FeedbackAverageObject], { description: 'By key.' })
  @ListSize(10)
  feedback!: readonly FeedbackAverageObject[];
}

@ObjectType('RunStats', { simpleResolvers: true })
export class RunStatsObject {
  @Field(() => [RunStatsRowObject], {
    description:
      'By bucket, then by group, the groups with the most runs first. Buckets without runs are left out.',
  })
  @ListSize(100)
  rows!: readonly RunStatsRowObject[];

  @Field(() => Boolean, { description: 'Whether groups with fewer runs were left out.' })
  truncated!: boolean;
}
