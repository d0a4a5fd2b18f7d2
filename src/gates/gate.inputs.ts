/** GraphQL inputs of gates. */
import { Directive, Field, Float, ID, InputType, Int } from 'type-graphql';
import { EXPERIMENT_NODE } from '../experiments/experiment.types.js';
import { parseId } from '../graphql/global-id.js';
import { IdempotentInput } from '../graphql/idempotent-input.js';
import { JsonScalar } from '../graphql/scalars.js';
import { AppError } from '../platform/errors.js';
import type { NamedOrId } from './gate.service.js';
import { GATE_NODE, RULE_SHAPES } from './gate.types.js';

@InputType({ description: 'Missing ones have their defaults.' })
export class GateSettingsInput {
  @Field(() => Float, { nullable: true, description: 'Default 0.05.' })
  alpha?: number | null;

  @Field(() => Float, { nullable: true, description: 'In units of a score. Default 0.02.' })
  threshold?: number | null;

  @Field(() => Float, { nullable: true, description: 'For latency, cost and tokens. Default 0.05.' })
  relativeThreshold?: number | null;

  @Field(() => Int, { nullable: true, description: 'Default 10.' })
  minimumPairs?: number | null;

  @Field(() => Float, { nullable: true, description: 'Default 0.9.' })
  minimumCoverage?: number | null;

  @Field(() => Float, { nullable: true, description: 'Default 0.05.' })
  maximumErrorShare?: number | null;
}

@InputType()
export class CreateGateInput extends IdempotentInput {
  @Field(() => String)
  name!: string;

  @Field(() => String, { nullable: true })
  description?: string | null;

  @Field(() => [JsonScalar], { description: RULE_SHAPES })
  rules!: unknown[];

  @Field(() => GateSettingsInput, { nullable: true })
  settings?: GateSettingsInput | null;

  @Field(() => Int, {
    defaultValue: 1,
    description: 'Failing evaluations of one candidate in a row before it is blocked.',
  })
  failuresToBlock!: number;
}

@InputType({ description: 'Missing keys leave.' })
export class UpdateGateInput {
  @Field(() => ID)
  id!: string;

  @Field(() => String, { nullable: true })
  name?: string | null;

  @Field(() => String, { nullable: true, description: 'Null clears.' })
  description?: string | null;

  @Field(() => [JsonScalar], { nullable: true, description: RULE_SHAPES })
  rules?: unknown[] | null;

  @Field(() => GateSettingsInput, { nullable: true, description: 'Replaces all settings.' })
  settings?: GateSettingsInput | null;

  @Field(() => Int, { nullable: true })
  failuresToBlock?: number | null;
}

@InputType()
export class DeleteGateInput {
  @Field(() => ID)
  id!: string;
}

@Directive('@oneOf')
@InputType({ description: 'By exactly one of these.' })
export class GateRef {
  @Field(() => ID, { nullable: true })
  id?: string | null;

  @Field(() => String, { nullable: true })
  name?: string | null;
}

@Directive('@oneOf')
@InputType({ description: 'By exactly one of these.' })
export class ExperimentRef {
  @Field(() => ID, { nullable: true })
  id?: string | null;

  @Field(() => String, { nullable: true })
  name?: string | null;
}

@InputType()
export class EvaluateGateInput extends IdempotentInput {
  @Field(() => GateRef, {
    nullable: true,
    description: 'Where absent: `rules`, or else "nothing may regress".',
  })
  gate?: GateRef | null;

  @Field(() => [JsonScalar], { nullable: true, description: RULE_SHAPES })
  rules?: unknown[] | null;

  @Field(() => GateSettingsInput, { nullable: true, description: 'Of `rules`.' })
  settings?: GateSettingsInput | null;

  @Field(() => ExperimentRef)
  candidate!: ExperimentRef;

  @Field(() => ExperimentRef, { nullable: true, description: 'Default: the baseline of the dataset.' })
  baseline?: ExperimentRef | null;

  @Field(() => String, {
    nullable: true,
    description:
      'What is to be released: experiments with the same text are tries of the same candidate. Default: revision_id ' +
      "in the experiment's metadata, or else the experiment's id.",
  })
  candidateRef?: string | null;
}

/** @throws AppError BAD_USER_INPUT unless exactly one key is given. */
function toRef(type: string, ref: GateRef | ExperimentRef, field: string): NamedOrId {
  const id = ref.id ?? undefined;
  const name = ref.name ?? undefined;
  if (id !== undefined && name === undefined) return { id: parseId(type, id, ['input', field, 'id']) };
  if (name !== undefined && id === undefined) return { name };
  throw new AppError('BAD_USER_INPUT', 'Give exactly one of "id" and "name".', { path: ['input', field] });
}

export const toGateRef = (ref: GateRef): NamedOrId => toRef(GATE_NODE, ref, 'gate');

export const toExperimentRef = (ref: ExperimentRef, field: string): NamedOrId =>
  toRef(EXPERIMENT_NODE, ref, field);

/** Without what was not given, so that defaults hold. */
export const toSettings = (input: GateSettingsInput | null | undefined): object | undefined =>
  input === null || input === undefined
    ? undefined
    : Object.fromEntries(Object.entries(input).filter(([, value]) => value !== null && value !== undefined));
