/** GraphQL inputs of datasets, their versions and their sharing. */
import { ArgsType, Directive, Field, ID, InputType, Int, registerEnumType } from 'type-graphql';
import { IdempotentInput } from '../graphql/idempotent-input.js';
import { DateTimeScalar, JsonScalar, UuidScalar } from '../graphql/scalars.js';
import type { JsonObject, JsonValue } from '../ingest/run-event.js';
import { AppError } from '../platform/errors.js';
import type { SortDirection } from '../platform/keyset.js';
import { OrderDirection } from '../projects/project.inputs.js';
import type { AsOf, DataType } from './dataset.js';
import type { DatasetOrder } from './dataset.store.js';

/** The name of the type in global ids. */
export const DATASET_NODE = 'Dataset';

export const DataTypeEnum = { KV: 'kv', LLM: 'llm', CHAT: 'chat' } as const satisfies Record<
  string,
  DataType
>;
registerEnumType(DataTypeEnum, {
  name: 'DatasetType',
  valuesConfig: {
    KV: { description: 'Any JSON.' },
    LLM: { description: 'Texts into and out of a model.' },
    CHAT: { description: 'Messages into and out of a model.' },
  },
});

@Directive('@oneOf')
@InputType('AsOf', { description: 'A state of a dataset, by exactly one of these.' })
export class AsOfInput {
  @Field(() => Int, { nullable: true, description: '0 is the empty state before the first version.' })
  version?: number | null;

  @Field(() => String, { nullable: true, description: '"latest" is always the newest version.' })
  tag?: string | null;

  @Field(() => DateTimeScalar, { nullable: true, description: 'The newest version made then or before.' })
  time?: string | null;
}

/** @throws AppError BAD_USER_INPUT unless exactly one key is given. */
export function toAsOf(
  input: AsOfInput | null | undefined,
  path: readonly (string | number)[] = ['asOf'],
): AsOf | undefined {
  if (input === null || input === undefined) return undefined;
  const { version, tag, time } = input;
  const said: AsOf[] = [
    ...(typeof version === 'number' ? [{ version }] : []),
    ...(typeof tag === 'string' ? [{ tag }] : []),
    ...(typeof time === 'string' ? [{ time }] : []),
  ];
  const [asOf] = said;
  if (asOf === undefined || said.length > 1) {
    throw new AppError('BAD_USER_INPUT', 'Give exactly one of "version", "tag" and "time".', { path });
  }
  return asOf;
}

/** @throws AppError BAD_USER_INPUT for JSON that is no object. Null counts as an empty one. */
export function toObject(value: unknown, path: readonly (string | number)[]): JsonObject | undefined {
  if (value === undefined) return undefined;
  if (value === null) return {};
  if (typeof value !== 'object' || Array.isArray(value)) {
    throw new AppError('BAD_USER_INPUT', `"${path.join('.')}" must be an object.`, { path });
  }
  return value as JsonObject;
}

export const DatasetOrderField = {
  CREATED_AT: 'CREATED_AT',
  UPDATED_AT: 'UPDATED_AT',
  NAME: 'NAME',
} as const satisfies { [Order in DatasetOrder]: Order };
registerEnumType(DatasetOrderField, { name: 'DatasetOrderField' });

@InputType('DatasetOrder')
export class DatasetOrderInput {
  @Field(() => DatasetOrderField, { defaultValue: 'CREATED_AT' })
  field!: DatasetOrder;

  @Field(() => OrderDirection, { defaultValue: 'desc' })
  direction!: SortDirection;
}

@ArgsType()
export class DatasetListArgs {
  @Field(() => String, { nullable: true, description: 'A part of the name, in any case.' })
  nameContains?: string | null;

  @Field(() => [DataTypeEnum], { nullable: true })
  dataTypes?: DataType[] | null;

  @Field(() => JsonScalar, { nullable: true, description: 'An object; contained in the metadata.' })
  metadata?: unknown;

  @Field(() => DatasetOrderInput, { nullable: true, description: 'Newest first where not given.' })
  orderBy?: DatasetOrderInput | null;
}

@InputType()
export class CreateDatasetInput extends IdempotentInput {
  @Field(() => String, { description: 'Unique in the workspace.' })
  name!: string;

  @Field(() => String, { nullable: true })
  description?: string | null;

  @Field(() => DataTypeEnum, { defaultValue: 'kv' })
  dataType!: DataType;

  @Field(() => JsonScalar, { nullable: true, description: 'An object.' })
  metadata?: unknown;

  @Field(() => JsonScalar, { nullable: true, description: 'A JSON schema that inputs of examples satisfy.' })
  inputsSchema?: JsonValue;

  @Field(() => JsonScalar, { nullable: true, description: 'A JSON schema that outputs of examples satisfy.' })
  outputsSchema?: JsonValue;
}

@InputType({ description: 'What to change: a missing key leaves, null clears.' })
export class DatasetPatchInput {
  @Field(() => String, { nullable: true, description: 'Cannot be cleared.' })
  name?: string | null;

  @Field(() => String, { nullable: true })
  description?: string | null;

  @Field(() => JsonScalar, { nullable: true, description: 'Replaces the whole object.' })
  metadata?: unknown;

  @Field(() => JsonScalar, { nullable: true })
  inputsSchema?: JsonValue;

  @Field(() => JsonScalar, { nullable: true })
  outputsSchema?: JsonValue;

  @Field(() => UuidScalar, { nullable: true, description: 'The experiment others are compared with.' })
  baselineExperimentId?: string | null;
}

@InputType()
export class UpdateDatasetInput {
  @Field(() => ID)
  id!: string;

  @Field(() => DatasetPatchInput)
  patch!: DatasetPatchInput;

  @Field(() => Boolean, {
    defaultValue: false,
    description:
      'Sets schemas although examples do not satisfy them. Without it, the violations are the errors.',
  })
  force!: boolean;
}

@InputType()
export class DeleteDatasetInput {
  @Field(() => ID)
  id!: string;
}

@InputType()
export class TagDatasetVersionInput {
  @Field(() => ID)
  datasetId!: string;

  @Field(() => String, { description: 'Moves to the version where another has it. Not "latest".' })
  tag!: string;

  @Field(() => AsOfInput, { nullable: true, description: 'The newest version where not given.' })
  asOf?: AsOfInput | null;
}

@InputType()
export class UntagDatasetVersionInput {
  @Field(() => ID)
  datasetId!: string;

  @Field(() => String)
  tag!: string;
}

@Directive('@oneOf')
@InputType({ description: 'Where the examples go: exactly one of these.' })
export class CloneTargetInput {
  @Field(() => ID, { nullable: true, description: 'Adds them to this dataset.' })
  datasetId?: string | null;

  @Field(() => String, {
    nullable: true,
    description: 'Makes a dataset of this name, with the same schemas.',
  })
  name?: string | null;
}

@InputType()
export class CloneDatasetInput {
  @Field(() => ID)
  datasetId!: string;

  @Field(() => AsOfInput, { nullable: true, description: 'The newest version where not given.' })
  asOf?: AsOfInput | null;

  @Field(() => [String], { nullable: true, description: 'Only examples in any of these splits.' })
  splits?: string[] | null;

  @Field(() => CloneTargetInput)
  target!: CloneTargetInput;
}

@InputType()
export class ShareDatasetInput {
  @Field(() => ID)
  datasetId!: string;
}

@InputType()
export class UnshareDatasetInput {
  @Field(() => ID)
  datasetId!: string;
}
