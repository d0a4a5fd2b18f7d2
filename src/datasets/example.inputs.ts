/** GraphQL inputs of examples. */
import { ArgsType, Field, ID, InputType, registerEnumType } from 'type-graphql';
import { IdempotentInput } from '../graphql/idempotent-input.js';
import { DateTimeScalar, JsonScalar, UuidScalar } from '../graphql/scalars.js';
import type { JsonValue } from '../ingest/run-event.js';
import { parseWireTime } from '../ingest/wire-time.js';
import { AppError } from '../platform/errors.js';
import type { SortDirection } from '../platform/keyset.js';
import { OrderDirection } from '../projects/project.inputs.js';
import { AsOfInput, toObject } from './dataset.inputs.js';
import { payloadOf } from './example.js';
import type { ExampleChange, ExampleDraft } from './example.js';
import type { ExampleFilter } from './example.store.js';
import type { FieldMapping } from './run-mapping.js';

export const ExampleOrderField = {
  CREATED_AT: 'CREATED_AT',
  MODIFIED_AT: 'MODIFIED_AT',
  ID: 'ID',
} as const;
registerEnumType(ExampleOrderField, { name: 'ExampleOrderField' });

@InputType('ExampleOrder')
export class ExampleOrderInput {
  @Field(() => ExampleOrderField, { defaultValue: 'CREATED_AT' })
  field!: keyof typeof ExampleOrderField;

  @Field(() => OrderDirection, { defaultValue: 'desc' })
  direction!: SortDirection;
}

@ArgsType()
export class ExampleListArgs {
  @Field(() => AsOfInput, { nullable: true, description: 'As it is now where not given.' })
  asOf?: AsOfInput | null;

  @Field(() => [String], { nullable: true, description: 'In any of these.' })
  splits?: string[] | null;

  @Field(() => JsonScalar, { nullable: true, description: 'An object; contained in the metadata.' })
  metadata?: unknown;

  @Field(() => String, {
    nullable: true,
    description: 'Text in inputs or outputs, in any case. Needs the scope "content". Reads all examples.',
  })
  search?: string | null;

  @Field(() => [UuidScalar], { nullable: true, description: 'Made from any of these runs.' })
  sourceRunIds?: string[] | null;

  @Field(() => ExampleOrderInput, { nullable: true, description: 'Newest first where not given.' })
  orderBy?: ExampleOrderInput | null;
}

export function toExampleFilter(args: ExampleListArgs): ExampleFilter {
  return {
    splits: args.splits ?? undefined,
    metadata: args.metadata === null ? undefined : toObject(args.metadata, ['metadata']),
    search: args.search ? [args.search] : undefined,
    sourceRunIds: args.sourceRunIds ?? undefined,
  };
}

@InputType()
export class ExampleInput {
  @Field(() => UuidScalar, { nullable: true, description: 'Made by the server where not given.' })
  id?: string | null;

  @Field(() => String, { nullable: true })
  name?: string | null;

  @Field(() => JsonScalar)
  inputs!: JsonValue;

  @Field(() => JsonScalar, { nullable: true })
  outputs?: JsonValue;

  @Field(() => JsonScalar, { nullable: true, description: 'An object.' })
  metadata?: unknown;

  @Field(() => [String], { nullable: true, description: '"base" where not given.' })
  splits?: string[] | null;

  @Field(() => UuidScalar, { nullable: true, description: 'The run it was made from.' })
  sourceRunId?: string | null;

  @Field(() => DateTimeScalar, { nullable: true, description: 'Now where not given.' })
  createdAt?: string | null;
}

export function toDraft(input: ExampleInput, index: number): ExampleDraft {
  const path = ['input', 'examples', index];
  if (input.inputs === null) {
    throw new AppError('BAD_USER_INPUT', 'An example has inputs.', { path: [...path, 'inputs'] });
  }
  return {
    id: input.id ?? undefined,
    name: input.name ?? undefined,
    inputs: payloadOf(input.inputs),
    outputs: input.outputs === undefined || input.outputs === null ? null : payloadOf(input.outputs),
    metadata: toObject(input.metadata, [...path, 'metadata']),
    splits: input.splits ?? undefined,
    sourceRunId: input.sourceRunId,
    createdUs: parseWireTime(input.createdAt),
  };
}

@InputType()
export class CreateExamplesInput extends IdempotentInput {
  @Field(() => ID)
  datasetId!: string;

  @Field(() => [ExampleInput])
  examples!: ExampleInput[];

  @Field(() => String, { nullable: true, description: 'Kept with the version.' })
  note?: string | null;
}

@InputType({ description: 'What to change of one example: a missing key leaves.' })
export class ExamplePatchInput {
  @Field(() => ID)
  id!: string;

  @Field(() => String, { nullable: true })
  name?: string | null;

  @Field(() => JsonScalar, { nullable: true })
  inputs?: JsonValue;

  @Field(() => JsonScalar, { nullable: true, description: 'Null clears.' })
  outputs?: JsonValue;

  @Field(() => JsonScalar, { nullable: true, description: 'Replaces all metadata; splits stay.' })
  metadata?: unknown;

  @Field(() => [String], { nullable: true, description: 'Replaces all splits.' })
  splits?: string[] | null;

  @Field(() => UuidScalar, { nullable: true, description: 'Null clears.' })
  sourceRunId?: string | null;
}

/** @param id parsed. */
export function toChange(patch: ExamplePatchInput, id: string, index: number): ExampleChange {
  const { inputs, outputs } = patch;
  return {
    id,
    name: patch.name ?? undefined,
    inputs: inputs === undefined || inputs === null ? undefined : payloadOf(inputs),
    outputs: outputs === undefined || outputs === null ? outputs : payloadOf(outputs),
    metadata: toObject(patch.metadata, ['input', 'examples', index, 'metadata']),
    splits: patch.splits ?? undefined,
    sourceRunId: patch.sourceRunId,
  };
}

@InputType()
export class UpdateExamplesInput {
  @Field(() => ID)
  datasetId!: string;

  @Field(() => [ExamplePatchInput])
  examples!: ExamplePatchInput[];

  @Field(() => String, { nullable: true, description: 'Kept with the version.' })
  note?: string | null;
}

@InputType()
export class DeleteExamplesInput {
  @Field(() => [ID])
  ids!: string[];

  @Field(() => Boolean, {
    defaultValue: false,
    description: 'Removes them from older versions too, for ever. Without it, older versions keep them.',
  })
  hard!: boolean;

  @Field(() => String, { nullable: true, description: 'Kept with the version.' })
  note?: string | null;
}

@InputType()
export class SetSplitInput {
  @Field(() => ID)
  datasetId!: string;

  @Field(() => String)
  split!: string;

  @Field(() => [ID])
  exampleIds!: string[];

  @Field(() => Boolean, { defaultValue: false, description: 'Takes them out of the split.' })
  remove!: boolean;
}

@InputType({ description: 'A part of a run, and the key it gets in the example.' })
export class FieldMappingInput implements FieldMapping {
  @Field(() => String, {
    description:
      'JSON pointer (RFC 6901) into {inputs, outputs, metadata} of the run, such as "/inputs/question".',
  })
  from!: string;

  @Field(() => String)
  to!: string;
}

@InputType()
export class RunMappingInput {
  @Field(() => [FieldMappingInput], {
    nullable: true,
    description: "The run's inputs as they are where not given.",
  })
  inputs?: FieldMappingInput[] | null;

  @Field(() => [FieldMappingInput], {
    nullable: true,
    description: "The run's outputs as they are where not given; none where empty.",
  })
  outputs?: FieldMappingInput[] | null;

  @Field(() => [FieldMappingInput], { nullable: true, description: 'None where not given.' })
  metadata?: FieldMappingInput[] | null;
}

@InputType()
export class CreateExamplesFromRunsInput extends IdempotentInput {
  @Field(() => ID)
  datasetId!: string;

  @Field(() => [ID], { description: 'At most 1000. Any runs, not only roots.' })
  runIds!: string[];

  @Field(() => RunMappingInput, { nullable: true })
  mapping?: RunMappingInput | null;

  @Field(() => [String], { nullable: true })
  splits?: string[] | null;

  @Field(() => Boolean, { defaultValue: false, description: 'Copies the files of the runs too.' })
  withAttachments!: boolean;

  @Field(() => Boolean, {
    defaultValue: false,
    description: 'Leaves out runs of which the dataset has an example already.',
  })
  skipExisting!: boolean;

  @Field(() => String, { nullable: true, description: 'Kept with the version.' })
  note?: string | null;
}
