/** GraphQL inputs of evaluators. */
import { ArgsType, Directive, Field, Float, ID, InputType, Int } from 'type-graphql';
import { decodeGlobalId, parseId } from '../graphql/global-id.js';
import { IdempotentInput } from '../graphql/idempotent-input.js';
import { JsonScalar } from '../graphql/scalars.js';
import type { JsonObject, JsonValue } from '../ingest/run-event.js';
import { AppError } from '../platform/errors.js';
import { MODEL_PROVIDER_NODE } from '../models/model-provider.types.js';
import { RUN_NODE } from '../runs/run.types.js';
import type { EvaluatorKind } from './evaluator-config.js';
import type { Trial, TrialReference, TrialRun } from './evaluator-trial.service.js';
import { EVALUATOR_NODE, EvaluatorKindEnum } from './evaluator.types.js';

const CONFIG = 'The settings of the kind; `evaluatorKinds` has their JSON schemas.';

@ArgsType()
export class EvaluatorListArgs {
  @Field(() => String, { nullable: true, description: 'A part of the name, in any case.' })
  nameContains?: string | null;

  @Field(() => [EvaluatorKindEnum], { nullable: true, description: 'Of the newest version.' })
  kinds?: EvaluatorKind[] | null;

  @Field(() => [String], { nullable: true, description: 'Of the newest version.' })
  feedbackKeys?: string[] | null;

  @Field(() => Boolean, {
    nullable: true,
    defaultValue: false,
    description: 'True: archived ones only. Null: all.',
  })
  archived?: boolean | null;
}

@InputType()
export class CreateEvaluatorInput extends IdempotentInput {
  @Field(() => String, { description: 'Unique in the workspace.' })
  name!: string;

  @Field(() => String, { nullable: true })
  description?: string | null;

  @Field(() => EvaluatorKindEnum)
  kind!: EvaluatorKind;

  @Field(() => String, {
    description:
      'Of its scores. A key without a config gets the one that fits; another must allow its scores.',
  })
  feedbackKey!: string;

  @Field(() => JsonScalar, { description: CONFIG })
  config!: unknown;
}

@InputType({ description: 'What to change: a missing key leaves, null clears.' })
export class EvaluatorPatchInput {
  @Field(() => String, { nullable: true, description: 'Cannot be cleared.' })
  name?: string | null;

  @Field(() => String, { nullable: true })
  description?: string | null;

  @Field(() => EvaluatorKindEnum, { nullable: true, description: 'Comes with a config.' })
  kind?: EvaluatorKind | null;

  @Field(() => String, { nullable: true, description: 'Cannot be cleared.' })
  feedbackKey?: string | null;

  @Field(() => JsonScalar, { nullable: true, description: `Replaces all settings. ${CONFIG}` })
  config?: unknown;
}

@InputType()
export class UpdateEvaluatorInput {
  @Field(() => ID)
  id!: string;

  @Field(() => EvaluatorPatchInput)
  patch!: EvaluatorPatchInput;
}

@InputType()
export class ArchiveEvaluatorInput {
  @Field(() => ID)
  id!: string;

  @Field(() => Boolean, { defaultValue: true, description: 'False brings it back.' })
  archived!: boolean;
}

@InputType({ description: 'An evaluator that is not stored yet.' })
export class EvaluatorDefinitionInput {
  @Field(() => EvaluatorKindEnum)
  kind!: EvaluatorKind;

  @Field(() => String, { defaultValue: 'draft' })
  feedbackKey!: string;

  @Field(() => JsonScalar, { description: CONFIG })
  config!: unknown;
}

@InputType({ description: 'A step of a trace, for evaluators that look at steps.' })
export class TrialStepInput {
  @Field(() => String)
  name!: string;

  @Field(() => String, { defaultValue: 'tool', description: 'tool, llm, retriever, chain, ...' })
  runType!: string;

  @Field(() => JsonScalar, { nullable: true })
  inputs?: unknown;

  @Field(() => JsonScalar, { nullable: true })
  outputs?: unknown;
}

@InputType({ description: 'A run that is not stored.' })
export class TrialGivenRunInput {
  @Field(() => JsonScalar, { nullable: true })
  inputs?: unknown;

  @Field(() => JsonScalar, { nullable: true })
  outputs?: unknown;

  @Field(() => String, { nullable: true })
  error?: string | null;

  @Field(() => JsonScalar, { nullable: true, description: 'An object.' })
  metadata?: unknown;

  @Field(() => Float, { nullable: true, description: 'Seconds.' })
  latency?: number | null;

  @Field(() => [TrialStepInput], { nullable: true })
  steps?: TrialStepInput[] | null;
}

@Directive('@oneOf')
@InputType({ description: 'By exactly one of these.' })
export class TrialRunInput {
  @Field(() => ID, { nullable: true })
  runId?: string | null;

  @Field(() => TrialGivenRunInput, { nullable: true })
  given?: TrialGivenRunInput | null;
}

@InputType()
export class TrialGivenReferenceInput {
  @Field(() => JsonScalar, { nullable: true })
  inputs?: unknown;

  @Field(() => JsonScalar, { nullable: true, description: 'The reference output.' })
  reference?: unknown;

  @Field(() => JsonScalar, { nullable: true, description: 'An object.' })
  metadata?: unknown;
}

@Directive('@oneOf')
@InputType({ description: 'By exactly one of these.' })
export class TrialReferenceInput {
  @Field(() => ID, { nullable: true })
  exampleId?: string | null;

  @Field(() => TrialGivenReferenceInput, { nullable: true })
  given?: TrialGivenReferenceInput | null;
}

@InputType()
export class TryEvaluatorInput {
  @Field(() => ID, { nullable: true, description: 'Either this or `definition`.' })
  evaluatorId?: string | null;

  @Field(() => Int, { nullable: true, description: 'Of the evaluator. Default the newest.' })
  version?: number | null;

  @Field(() => EvaluatorDefinitionInput, { nullable: true })
  definition?: EvaluatorDefinitionInput | null;

  @Field(() => TrialRunInput, { description: 'What is judged.' })
  run!: TrialRunInput;

  @Field(() => TrialRunInput, {
    nullable: true,
    description: 'What it is compared with, for kinds that compare.',
  })
  otherRun?: TrialRunInput | null;

  @Field(() => TrialReferenceInput, {
    nullable: true,
    description: 'Default: the example the run belongs to, if it belongs to one.',
  })
  reference?: TrialReferenceInput | null;
}

/** A provider may be named by its opaque id here as everywhere; configs keep the UUID. Checks nothing. */
export function toConfig(config: unknown): unknown {
  if (typeof config !== 'object' || config === null || !('providerId' in config)) return config;
  const ref = typeof config.providerId === 'string' ? decodeGlobalId(config.providerId) : undefined;
  return ref?.type === MODEL_PROVIDER_NODE ? { ...config, providerId: ref.uuid } : config;
}

/** @throws AppError BAD_USER_INPUT for what no trial can mean. */
export function toTrial(input: TryEvaluatorInput): Trial {
  return {
    evaluator: toEvaluatorChoice(input),
    run: toTrialRun(input.run, 'run'),
    otherRun: input.otherRun ? toTrialRun(input.otherRun, 'otherRun') : undefined,
    reference: input.reference ? toTrialReference(input.reference) : undefined,
  };
}

function toEvaluatorChoice({ evaluatorId, version, definition }: TryEvaluatorInput): Trial['evaluator'] {
  if (typeof evaluatorId === 'string' && !definition) {
    const id = parseId(EVALUATOR_NODE, evaluatorId, ['input', 'evaluatorId']);
    return { ref: { id, version: version ?? undefined } };
  }
  if (definition && typeof evaluatorId !== 'string') {
    const { kind, feedbackKey, config } = definition;
    return { definition: { kind, feedbackKey, config: toConfig(config) } };
  }
  throw refused('Give exactly one of "evaluatorId" and "definition".', 'evaluatorId');
}

function toTrialRun({ runId, given }: TrialRunInput, field: string): TrialRun {
  if (typeof runId === 'string') return { runId: parseId(RUN_NODE, runId, ['input', field, 'runId']) };
  if (!given) throw refused('Give exactly one of "runId" and "given".', field);
  const { inputs, outputs, error, metadata, latency, steps } = given;
  return {
    given: {
      inputs: toJson(inputs),
      outputs: toJson(outputs),
      error: error ?? null,
      metadata: toObject(metadata, [field, 'given', 'metadata']),
      latency: latency ?? null,
      ...(steps && {
        steps: steps.map((step) => ({
          name: step.name,
          runType: step.runType,
          inputs: toJson(step.inputs),
          outputs: toJson(step.outputs),
        })),
      }),
    },
  };
}

function toTrialReference({ exampleId, given }: TrialReferenceInput): TrialReference {
  if (typeof exampleId === 'string') {
    return { exampleId: parseId('Example', exampleId, ['input', 'reference', 'exampleId']) };
  }
  if (!given) throw refused('Give exactly one of "exampleId" and "given".', 'reference');
  return {
    given: {
      inputs: toJson(given.inputs),
      reference: toJson(given.reference),
      metadata: toObject(given.metadata, ['reference', 'given', 'metadata']),
    },
  };
}

/** The scalar has checked it. */
const toJson = (value: unknown): JsonValue => (value ?? null) as JsonValue;

function toObject(value: unknown, path: readonly string[]): JsonObject {
  if (value === undefined || value === null) return {};
  if (typeof value !== 'object' || Array.isArray(value)) {
    throw refused(`"${path.join('.')}" must be an object.`, ...path);
  }
  return value as JsonObject;
}

const refused = (message: string, ...path: string[]): AppError =>
  new AppError('BAD_USER_INPUT', message, { path: ['input', ...path] });
