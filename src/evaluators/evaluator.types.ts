/** GraphQL types of evaluators and of what comes of trying one. */
import { Field, Float, ID, Int, ObjectType, registerEnumType } from 'type-graphql';
import { connectionTypes } from '../graphql/connection.js';
import { Node } from '../graphql/node.resolver.js';
import { DateTimeScalar, DecimalScalar, JsonScalar } from '../graphql/scalars.js';
import { UserError } from '../graphql/user-error.js';
import type { JsonObject, JsonValue } from '../ingest/run-event.js';
import type { EvaluationError, PositionBias, Spread } from './evaluation.js';
import type { EvaluatorKind } from './evaluator-config.js';
import type { Evaluator, StoredVersion } from './evaluator.js';

export const EVALUATOR_NODE = 'Evaluator';
export const EVALUATOR_VERSION_NODE = 'EvaluatorVersion';

export const EvaluatorKindEnum = {
  EXACT_MATCH: 'exact_match',
  CONTAINS: 'contains',
  FORBIDDEN_PHRASES: 'forbidden_phrases',
  REQUIRED_KEYWORDS: 'required_keywords',
  REGEX: 'regex',
  LENGTH: 'length',
  JSON_SCHEMA: 'json_schema',
  EDIT_DISTANCE: 'edit_distance',
  NUMERIC_TOLERANCE: 'numeric_tolerance',
  LATENCY: 'latency',
  COST: 'cost',
  TOOL_TRAJECTORY: 'tool_trajectory',
  LLM_JUDGE: 'llm_judge',
  CODE: 'code',
  WEBHOOK: 'webhook',
  PAIRWISE: 'pairwise',
} as const satisfies { readonly [Kind in EvaluatorKind as Uppercase<Kind>]: Kind };
registerEnumType(EvaluatorKindEnum, {
  name: 'EvaluatorKind',
  description: 'Values may be added; tolerate unknown ones.',
  valuesConfig: {
    EXACT_MATCH: { description: 'The output is the reference.' },
    CONTAINS: { description: 'The output has any or all of some phrases.' },
    FORBIDDEN_PHRASES: { description: 'The output has none of some phrases.' },
    REQUIRED_KEYWORDS: { description: 'The share of keywords the output has.' },
    REGEX: { description: 'The output matches a pattern, or does not.' },
    LENGTH: { description: 'The output is as long as it may be.' },
    JSON_SCHEMA: { description: 'The output is JSON as a schema wants it.' },
    EDIT_DISTANCE: { description: 'How alike output and reference are, letter by letter.' },
    NUMERIC_TOLERANCE: { description: 'The number in the output is close to the one in the reference.' },
    LATENCY: { description: 'Seconds the run took, or whether they were few enough.' },
    COST: { description: 'What the run cost, or whether it was little enough.' },
    TOOL_TRAJECTORY: { description: 'The tools that were called are those that should have been.' },
    LLM_JUDGE: { description: 'A language model judges.' },
    CODE: { description: 'JavaScript in a sandbox.' },
    WEBHOOK: { description: 'An HTTP endpoint answers with a score.' },
    PAIRWISE: { description: 'A language model says which of two outputs is better.' },
  },
});

@ObjectType('EvaluatorVersion', {
  implements: Node,
  simpleResolvers: true,
  description: 'What an evaluator was at one time. Never changes.',
})
export class EvaluatorVersionType extends Node {
  @Field(() => Int, { description: 'From 1.' })
  version!: number;

  @Field(() => EvaluatorKindEnum)
  kind!: EvaluatorKind;

  @Field(() => String, { description: 'Of its scores, unless code or a webhook names others.' })
  feedbackKey!: string;

  @Field(() => JsonScalar, { description: 'The settings of its kind, defaults included.' })
  config!: JsonObject;

  @Field(() => String, { description: 'Equal for versions that score alike.' })
  configHash!: string;

  @Field(() => String, { nullable: true, description: 'Who made it: the id of a user or of a key.' })
  actor!: string | null;

  @Field(() => DateTimeScalar)
  createdAt!: string;
}

export const { Connection: EvaluatorVersionConnection } = connectionTypes<StoredVersion>(
  () => EvaluatorVersionType as never,
  'EvaluatorVersion',
);

@ObjectType('Evaluator', {
  implements: Node,
  simpleResolvers: true,
  description: 'Turns an output into scores. A change makes a new version; scores name theirs.',
})
export class EvaluatorType extends Node {
  @Field(() => String, { description: 'Unique in the workspace.' })
  name!: string;

  @Field(() => String, { nullable: true })
  description!: string | null;

  @Field(() => Int, { description: 'The newest version.' })
  version!: number;

  @Field(() => DateTimeScalar, { nullable: true, description: 'Since when it is not offered any more.' })
  archivedAt!: string | null;

  @Field(() => DateTimeScalar)
  createdAt!: string;

  @Field(() => DateTimeScalar)
  updatedAt!: string;
}

export const { Connection: EvaluatorConnection } = connectionTypes<Evaluator>(
  () => EvaluatorType as never,
  'Evaluator',
);

@ObjectType('EvaluatorKindInfo', { simpleResolvers: true })
export class EvaluatorKindInfo {
  @Field(() => EvaluatorKindEnum)
  kind!: EvaluatorKind;

  @Field(() => JsonScalar, { description: 'JSON schema of `config`.' })
  configSchema!: JsonObject;
}

@ObjectType({ simpleResolvers: true })
export class EvaluatorPayload {
  @Field(() => EvaluatorType, { nullable: true })
  evaluator!: Evaluator | null;

  @Field(() => String, {
    nullable: true,
    description:
      "For kind WEBHOOK: the secret its requests are signed with, as Standard Webhooks has it. The same for all the evaluator's versions.",
  })
  webhookSecret!: string | null;

  @Field(() => [UserError])
  errors!: readonly UserError[];
}

@ObjectType('TrialScore', { simpleResolvers: true })
class TrialScoreType {
  @Field(() => String)
  key!: string;

  @Field(() => Float, { nullable: true, description: '1 or 0 for a boolean; `value` is then the boolean.' })
  score!: number | null;

  @Field(() => JsonScalar, { nullable: true })
  value!: JsonValue;

  @Field(() => String, { nullable: true })
  comment!: string | null;
}

@ObjectType('JudgeSpread', {
  simpleResolvers: true,
  description: 'How far the repeats of a judge lie apart.',
})
class JudgeSpreadType implements Spread {
  @Field(() => Int)
  repeats!: number;

  @Field(() => JsonScalar, { description: 'One per repeat that could be read: numbers or labels.' })
  values!: readonly (number | string)[];

  @Field(() => Int, { description: 'Repeats without a readable answer: errors, never scores.' })
  unreadable!: number;

  @Field(() => Float, { nullable: true, description: 'Sample standard deviation of numbers.' })
  standardDeviation!: number | null;

  @Field(() => Float, { description: 'Share of the readable repeats that say what was kept, 0 to 1.' })
  agreement!: number;
}

@ObjectType('PositionBias', {
  simpleResolvers: true,
  description: 'How often a judge preferred a place, whatever stood there.',
})
export class PositionBiasType implements PositionBias {
  @Field(() => Int, { description: 'Questions that were answered in both orders.' })
  pairs!: number;

  @Field(() => Int)
  firstPlace!: number;

  @Field(() => Int)
  secondPlace!: number;
}

@ObjectType('TrialError', { simpleResolvers: true, description: 'Why there is no score.' })
class TrialErrorType implements Pick<EvaluationError, 'message' | 'retryable'> {
  @Field(() => String, {
    description: 'NOT_APPLICABLE, UNREADABLE_ANSWER, TIMEOUT, ...; codes may be added.',
  })
  code!: string;

  @Field(() => String)
  message!: string;

  @Field(() => Boolean)
  retryable!: boolean;
}

@ObjectType('EvaluatorTrial', {
  simpleResolvers: true,
  description:
    'What came of trying an evaluator: scores, or an error. Nothing of it is stored but the runs of judges.',
})
export class EvaluatorTrialType {
  @Field(() => [TrialScoreType], {
    description: 'Of a comparison, one per run in the order they were given.',
  })
  scores!: readonly TrialScoreType[];

  @Field(() => TrialErrorType, { nullable: true })
  error!: TrialErrorType | null;

  @Field(() => JudgeSpreadType, { nullable: true })
  spread!: Spread | null;

  @Field(() => PositionBiasType, { nullable: true })
  positionBias!: PositionBias | null;

  @Field(() => [ID], { description: 'Runs of the judge.' })
  judgeRunIds!: readonly string[];

  @Field(() => DecimalScalar, { nullable: true, description: 'US dollars. Null where no price is known.' })
  cost!: string | null;

  @Field(() => String, { nullable: true, description: 'What code printed.' })
  log!: string | null;
}

@ObjectType({ simpleResolvers: true })
export class TryEvaluatorPayload {
  @Field(() => EvaluatorTrialType, { nullable: true })
  trial!: EvaluatorTrialType | null;

  @Field(() => [UserError])
  errors!: readonly UserError[];
}
