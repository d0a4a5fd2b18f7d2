/** GraphQL inputs and arguments of feedback, and what services take for them. */
import { ArgsType, Field, Float, ID, InputType } from 'type-graphql';
import { parseId } from '../graphql/global-id.js';
import { IdempotentInput } from '../graphql/idempotent-input.js';
import { DateTimeScalar, JsonScalar, UuidScalar } from '../graphql/scalars.js';
import type { JsonObject, JsonValue } from '../ingest/run-event.js';
import { AppError } from '../platform/errors.js';
import { ProjectRef } from '../projects/project.inputs.js';
import { FeedbackConfigInput, toDefinition } from './feedback-config.types.js';
import { FEEDBACK_NODE, FeedbackLevel } from './feedback.types.js';
import type { FeedbackFilter, FeedbackLevel as Level } from './feedback.store.js';
import { MAX_BATCH, type FeedbackDraft, type FeedbackPatch } from './feedback.js';

@ArgsType()
export class FeedbackFilterArgs {
  @Field(() => [ID], { nullable: true })
  ids?: string[] | null;

  @Field(() => [ID], { nullable: true })
  runIds?: string[] | null;

  @Field(() => UuidScalar, { nullable: true })
  traceId?: string | null;

  @Field(() => ProjectRef, { nullable: true })
  project?: ProjectRef | null;

  @Field(() => String, { nullable: true })
  threadId?: string | null;

  @Field(() => [String], { nullable: true })
  keys?: string[] | null;

  @Field(() => [String], {
    nullable: true,
    description: 'Types of source: "api", "model", "app", "auto_eval" or others.',
  })
  sources?: string[] | null;

  @Field(() => FeedbackLevel, { nullable: true })
  level?: Level | null;

  @Field(() => Boolean, { nullable: true })
  hasComment?: boolean | null;

  @Field(() => DateTimeScalar, { nullable: true, description: 'Created at or after.' })
  from?: string | null;

  @Field(() => DateTimeScalar, { nullable: true, description: 'Created before.' })
  to?: string | null;
}

function few<T>(values: T[], name: string): T[] {
  if (values.length <= MAX_BATCH) return values;
  throw new AppError('BAD_USER_INPUT', `"${name}" may have ${MAX_BATCH} entries.`, { path: [name] });
}

/** @param projectIds what `args.project` names; empty where there is no such project. */
export function toFilter(
  args: FeedbackFilterArgs,
  projectIds: readonly string[] | undefined,
): FeedbackFilter {
  return {
    ...(args.ids && { ids: few(args.ids, 'ids').map((id) => parseId(FEEDBACK_NODE, id, 'ids')) }),
    ...(args.runIds && { runIds: few(args.runIds, 'runIds').map((id) => parseId('Run', id, 'runIds')) }),
    ...(args.traceId && { traceId: args.traceId }),
    ...(projectIds && { projectIds }),
    ...(typeof args.threadId === 'string' && { threadId: args.threadId }),
    ...(args.keys && { keys: few(args.keys, 'keys') }),
    ...(args.sources && { sourceTypes: few(args.sources, 'sources') }),
    ...(args.level && { level: args.level }),
    ...(typeof args.hasComment === 'boolean' && { hasComment: args.hasComment }),
    ...(args.from && { createdFrom: args.from }),
    ...(args.to && { createdTo: args.to }),
  };
}

@InputType()
export class FeedbackSourceInput {
  @Field(() => String, {
    defaultValue: 'api',
    description: '"api", "model", "app", "auto_eval" or a name of your own.',
  })
  type!: string;

  @Field(() => String, { nullable: true, description: 'The person who judged.' })
  reviewer?: string | null;

  @Field(() => String, { nullable: true })
  evaluatorVersion?: string | null;

  @Field(() => String, { nullable: true })
  rubricVersion?: string | null;

  @Field(() => JsonScalar, { nullable: true, description: 'An object with anything else worth keeping.' })
  metadata?: JsonValue;
}

@InputType()
export class FeedbackInput {
  @Field(() => UuidScalar, {
    nullable: true,
    description:
      'Made by the client, so that sending again is harmless: the same id is merged into what is stored.',
  })
  id?: string | null;

  @Field(() => ID, { nullable: true, description: 'The run may come later.' })
  runId?: string | null;

  @Field(() => ID, { nullable: true, description: 'Needed where no run is named.' })
  projectId?: string | null;

  @Field(() => String, { nullable: true })
  threadId?: string | null;

  @Field(() => String)
  key!: string;

  @Field(() => Float, { nullable: true })
  score?: number | null;

  @Field(() => JsonScalar, {
    nullable: true,
    description: 'A category or any JSON value. A boolean also counts as score 1 or 0.',
  })
  value?: JsonValue;

  @Field(() => String, { nullable: true })
  comment?: string | null;

  @Field(() => JsonScalar, { nullable: true })
  correction?: JsonValue;

  @Field(() => FeedbackSourceInput, { nullable: true })
  source?: FeedbackSourceInput | null;

  @Field(() => FeedbackConfigInput, {
    nullable: true,
    description: "Becomes the key's config if it has none yet.",
  })
  config?: FeedbackConfigInput | null;
}

/** A boolean value is a score too, unless the client gave another. */
const scoreOf = (
  score: number | null | undefined,
  value: JsonValue | undefined,
): number | boolean | null | undefined =>
  (score === undefined || score === null) && typeof value === 'boolean' ? value : score;

function toSource(input: FeedbackSourceInput): JsonObject {
  return {
    type: input.type,
    ...(typeof input.reviewer === 'string' && { reviewer: input.reviewer }),
    ...(typeof input.evaluatorVersion === 'string' && { evaluator_version: input.evaluatorVersion }),
    ...(typeof input.rubricVersion === 'string' && { rubric_version: input.rubricVersion }),
    ...(input.metadata !== undefined && input.metadata !== null && { metadata: input.metadata }),
  };
}

export function toDraft(input: FeedbackInput, index: number): FeedbackDraft {
  const path = (name: string): string[] => ['input', 'feedback', String(index), name];
  return {
    id: input.id ?? null,
    runId: input.runId ? parseId('Run', input.runId, path('runId')) : null,
    projectId: input.projectId ? parseId('Project', input.projectId, path('projectId')) : null,
    threadId: input.threadId ?? null,
    key: input.key,
    score: scoreOf(input.score, input.value) ?? null,
    value: input.value ?? null,
    comment: input.comment ?? null,
    correction: input.correction ?? null,
    source: input.source ? toSource(input.source) : null,
    config: input.config ? toDefinition(input.config) : null,
  };
}

@InputType()
export class CreateFeedbackInput extends IdempotentInput {
  @Field(() => [FeedbackInput], { description: `Up to ${MAX_BATCH}; each is stored or refused by itself.` })
  feedback!: FeedbackInput[];
}

@InputType({ description: 'What is left out stays, null clears.' })
export class UpdateFeedbackInput {
  @Field(() => ID)
  id!: string;

  @Field(() => Float, { nullable: true })
  score?: number | null;

  @Field(() => JsonScalar, { nullable: true })
  value?: JsonValue;

  @Field(() => String, { nullable: true })
  comment?: string | null;

  @Field(() => JsonScalar, { nullable: true })
  correction?: JsonValue;
}

export function toPatch(input: UpdateFeedbackInput): FeedbackPatch {
  const score = scoreOf(input.score, input.value);
  return {
    ...(score !== undefined && { score }),
    ...(input.value !== undefined && { value: input.value }),
    ...(input.comment !== undefined && { comment: input.comment }),
    ...(input.correction !== undefined && { correction: input.correction }),
  };
}

@InputType()
export class DeleteFeedbackInput {
  @Field(() => [ID])
  ids!: string[];
}
