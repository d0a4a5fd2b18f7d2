/** GraphQL types of feedback, its statistics and the payloads of its mutations. */
import { Field, Float, Int, ObjectType, registerEnumType, Root } from 'type-graphql';
import { connectionTypes } from '../graphql/connection.js';
import { Node } from '../graphql/node.resolver.js';
import { DateTimeScalar, JsonScalar, UuidScalar } from '../graphql/scalars.js';
import { UserError } from '../graphql/user-error.js';
import type { JsonValue } from '../ingest/run-event.js';
import type { FeedbackStats } from './feedback-stats.store.js';
import type { FeedbackLevel as Level } from './feedback.store.js';
import type { Feedback } from './feedback.js';

export const FEEDBACK_NODE = 'Feedback';

export const FeedbackLevel = { RUN: 'run', THREAD: 'thread', PROJECT: 'session' } as const satisfies Record<
  string,
  Level
>;

registerEnumType(FeedbackLevel, {
  name: 'FeedbackLevel',
  valuesConfig: {
    RUN: { description: 'About one run.' },
    THREAD: { description: 'About a whole conversation.' },
    PROJECT: { description: 'About a whole project or experiment.' },
  },
});

@ObjectType('FeedbackSource', { simpleResolvers: true, description: 'Who or what gave feedback.' })
export class FeedbackSourceType {
  @Field(() => String, {
    description:
      '"api", "model" (an evaluator), "app" (an end user) or "auto_eval"; others as clients name them.',
  })
  type!: string;

  @Field(() => String, { nullable: true, description: 'The person who judged.' })
  reviewer!: string | null;

  @Field(() => String, { nullable: true })
  evaluatorVersion!: string | null;

  @Field(() => String, { nullable: true })
  rubricVersion!: string | null;

  @Field(() => JsonScalar, { description: 'Everything known about the source, as it was given.' })
  info!: JsonValue;
}

/** The source as clients sent it, with what has a field of its own picked out. */
export function toSourceObject({ sourceType, source }: Feedback): FeedbackSourceType {
  const text = (name: string): string | null => {
    const value = source[name];
    return typeof value === 'string' ? value : null;
  };
  return {
    type: sourceType,
    reviewer: text('reviewer') ?? text('user_name'),
    evaluatorVersion: text('evaluator_version'),
    rubricVersion: text('rubric_version'),
    info: source,
  };
}

@ObjectType('Feedback', {
  implements: Node,
  simpleResolvers: true,
  description: 'One judgement of a run, a thread or a project.',
})
export class FeedbackType extends Node {
  @Field(() => UuidScalar, { nullable: true, description: 'Null for feedback on a thread or a project.' })
  runId!: string | null;

  @Field(() => UuidScalar, { nullable: true, description: 'Null while the run is unknown.' })
  traceId!: string | null;

  @Field(() => UuidScalar, { nullable: true, description: 'Null while the run is unknown.' })
  projectId!: string | null;

  @Field(() => String, { nullable: true })
  threadId!: string | null;

  @Field(() => String)
  key!: string;

  @Field(() => Float, { nullable: true, description: '1 or 0 for a boolean, which is then in `value`.' })
  score!: number | null;

  @Field(() => JsonScalar, { nullable: true, description: 'A category, a boolean, or any other value.' })
  value!: JsonValue;

  @Field(() => String, { nullable: true, description: 'Content: null without the content scope.' })
  comment!: string | null;

  @Field(() => JsonScalar, {
    nullable: true,
    description: 'What the output should have been. Content: null without the content scope.',
  })
  correction!: JsonValue;

  @Field(() => DateTimeScalar)
  createdAt!: string;

  @Field(() => DateTimeScalar)
  updatedAt!: string;
}

export const { Connection: FeedbackConnection } = connectionTypes<Feedback>(
  () => FeedbackType as never,
  'Feedback',
);

@ObjectType('FeedbackValueCount', { simpleResolvers: true })
export class FeedbackValueCountType {
  @Field(() => String, { description: 'A category, or "true" or "false".' })
  value!: string;

  @Field(() => Int)
  count!: number;
}

@ObjectType('FeedbackStats', { simpleResolvers: true, description: 'All feedback of one key.' })
export class FeedbackStatsType {
  @Field(() => String)
  key!: string;

  @Field(() => Int, { description: 'Feedbacks, with or without a score.' })
  count(@Root() stats: FeedbackStats): number {
    return stats.n;
  }

  @Field(() => Float, { nullable: true, description: 'Mean of the scores.' })
  average(@Root() stats: FeedbackStats): number | null {
    return stats.avg;
  }

  @Field(() => Float, {
    nullable: true,
    description: 'Sample standard deviation of the scores; null below two.',
  })
  standardDeviation(@Root() stats: FeedbackStats): number | null {
    return stats.stdev;
  }

  @Field(() => Float, { nullable: true })
  min!: number | null;

  @Field(() => Float, { nullable: true })
  max!: number | null;

  @Field(() => Int)
  comments!: number;

  @Field(() => [FeedbackValueCountType], { description: 'The commonest categories, commonest first.' })
  values(@Root() stats: FeedbackStats): FeedbackValueCountType[] {
    return Object.entries(stats.valueCounts)
      .map(([value, count]) => ({ value, count }))
      .sort((left, right) => right.count - left.count);
  }
}

@ObjectType({ simpleResolvers: true })
export class CreateFeedbackPayload {
  @Field(() => [FeedbackType], {
    description: 'What was stored, in the order of the input. What was refused is in `errors`.',
  })
  feedback!: readonly Feedback[];

  @Field(() => [UserError])
  errors!: readonly UserError[];
}

@ObjectType({ simpleResolvers: true })
export class UpdateFeedbackPayload {
  @Field(() => FeedbackType, { nullable: true })
  feedback!: Feedback | null;

  @Field(() => [UserError])
  errors!: readonly UserError[];
}

@ObjectType({ simpleResolvers: true })
export class DeleteFeedbackPayload {
  @Field(() => [UuidScalar], { description: 'Those that existed.' })
  deletedIds!: readonly string[];

  @Field(() => [UserError])
  errors!: readonly UserError[];
}
