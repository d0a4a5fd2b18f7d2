/** GraphQL types and inputs of feedback configs and feedback tokens. */
import { Field, Float, ID, InputType, ObjectType, registerEnumType } from 'type-graphql';
import { connectionTypes } from '../graphql/connection.js';
import { IdempotentInput } from '../graphql/idempotent-input.js';
import { DateTimeScalar, UuidScalar } from '../graphql/scalars.js';
import { UserError } from '../graphql/user-error.js';
import type {
  FeedbackCategory,
  FeedbackConfig,
  FeedbackConfigDefinition,
  FeedbackConfigType,
} from './feedback-config.js';

const FeedbackConfigKind = {
  CONTINUOUS: 'continuous',
  CATEGORICAL: 'categorical',
  FREEFORM: 'freeform',
} as const satisfies Record<string, FeedbackConfigType>;

registerEnumType(FeedbackConfigKind, {
  name: 'FeedbackConfigKind',
  valuesConfig: {
    CONTINUOUS: { description: 'A score between `min` and `max`, both included.' },
    CATEGORICAL: { description: 'One of `categories`.' },
    FREEFORM: { description: 'Anything.' },
  },
});

@ObjectType('FeedbackCategory', { simpleResolvers: true })
class FeedbackCategoryType {
  @Field(() => Float, { description: 'The score this category counts as.' })
  value!: number;

  @Field(() => String, { nullable: true })
  label!: string | null;
}

@ObjectType('FeedbackConfig', {
  simpleResolvers: true,
  description: 'What a feedback key means. Writes outside it are refused.',
})
export class FeedbackConfigObject {
  @Field(() => String)
  key!: string;

  @Field(() => FeedbackConfigKind)
  type!: FeedbackConfigType;

  @Field(() => Float, { nullable: true, description: 'Null is unbounded.' })
  min!: number | null;

  @Field(() => Float, { nullable: true, description: 'Null is unbounded.' })
  max!: number | null;

  @Field(() => [FeedbackCategoryType])
  categories!: readonly FeedbackCategory[];

  @Field(() => Boolean)
  isLowerScoreBetter!: boolean;

  @Field(() => DateTimeScalar)
  createdAt!: string;

  @Field(() => DateTimeScalar)
  updatedAt!: string;
}

export const { Connection: FeedbackConfigConnection } = connectionTypes(
  () => FeedbackConfigObject,
  'FeedbackConfig',
);

@InputType()
export class FeedbackCategoryInput {
  @Field(() => Float)
  value!: number;

  @Field(() => String, { nullable: true })
  label?: string | null;
}

@InputType()
export class FeedbackConfigInput {
  @Field(() => FeedbackConfigKind)
  type!: FeedbackConfigType;

  @Field(() => Float, { nullable: true })
  min?: number | null;

  @Field(() => Float, { nullable: true })
  max?: number | null;

  @Field(() => [FeedbackCategoryInput], { nullable: true })
  categories?: FeedbackCategoryInput[] | null;
}

/** What services take. */
export const toDefinition = (input: FeedbackConfigInput): FeedbackConfigDefinition => ({
  type: input.type,
  min: input.min ?? null,
  max: input.max ?? null,
  categories: (input.categories ?? []).map(({ value, label }) => ({ value, label: label ?? null })),
});

@InputType()
export class CreateFeedbackConfigInput extends IdempotentInput {
  @Field(() => String)
  key!: string;

  @Field(() => FeedbackConfigInput)
  config!: FeedbackConfigInput;

  @Field(() => Boolean, { defaultValue: false })
  isLowerScoreBetter!: boolean;
}

@InputType({ description: 'What is left out stays.' })
export class UpdateFeedbackConfigInput {
  @Field(() => String)
  key!: string;

  @Field(() => FeedbackConfigInput, { nullable: true })
  config?: FeedbackConfigInput | null;

  @Field(() => Boolean, { nullable: true })
  isLowerScoreBetter?: boolean | null;
}

@InputType()
export class DeleteFeedbackConfigInput {
  @Field(() => String)
  key!: string;
}

@ObjectType({ simpleResolvers: true })
export class FeedbackConfigPayload {
  @Field(() => FeedbackConfigObject, { nullable: true })
  feedbackConfig!: FeedbackConfig | null;

  @Field(() => [UserError])
  errors!: readonly UserError[];
}

@ObjectType({ simpleResolvers: true })
export class DeleteFeedbackConfigPayload {
  @Field(() => String, { nullable: true })
  deletedKey!: string | null;

  @Field(() => [UserError])
  errors!: readonly UserError[];
}

@InputType()
export class CreateFeedbackTokenInput extends IdempotentInput {
  @Field(() => ID)
  runId!: string;

  @Field(() => String)
  key!: string;

  @Field(() => FeedbackConfigInput, {
    nullable: true,
    description: "Becomes the key's config if it has none yet.",
  })
  config?: FeedbackConfigInput | null;

  @Field(() => DateTimeScalar, {
    nullable: true,
    description: 'Three hours from now where left out; at most a year.',
  })
  expiresAt?: string | null;
}

@ObjectType('FeedbackToken', {
  simpleResolvers: true,
  description: 'Lets anyone who has it leave feedback on one run.',
})
export class FeedbackTokenType {
  @Field(() => UuidScalar, { description: 'The secret: POST to /feedback/tokens/{token} without a key.' })
  token!: string;

  @Field(() => UuidScalar)
  runId!: string;

  @Field(() => String)
  key!: string;

  @Field(() => DateTimeScalar)
  expiresAt!: Date;
}

@ObjectType({ simpleResolvers: true })
export class CreateFeedbackTokenPayload {
  @Field(() => FeedbackTokenType, { nullable: true })
  feedbackToken!: FeedbackTokenType | null;

  @Field(() => [UserError])
  errors!: readonly UserError[];
}
