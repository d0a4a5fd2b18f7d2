/** GraphQL types of datasets, versions, differences and imports, and the payloads of their mutations. */
import { Field, ID, Int, ObjectType, registerEnumType } from 'type-graphql';
import { connectionTypes } from '../graphql/connection.js';
import { Node } from '../graphql/node.resolver.js';
import { BigIntScalar, DateTimeScalar, JsonScalar, UuidScalar } from '../graphql/scalars.js';
import { UserError } from '../graphql/user-error.js';
import { DataTypeEnum } from './dataset.inputs.js';
import type { ChangeKind, Dataset, DatasetVersion, ExampleDifference, VersionRange } from './dataset.js';
import type { ExampleViolation } from './dataset.service.js';
import type { DatasetTag } from './dataset-version.store.js';
import type { RowProblem } from './import-mapping.js';
import type { DatasetImport, ImportMode, RejectedRow } from './import.store.js';

@ObjectType('Dataset', {
  implements: Node,
  simpleResolvers: true,
  description: 'Examples under versions: every write of examples makes one, and none ever changes.',
})
export class DatasetObject extends Node {
  @Field(() => String, { description: 'Unique in the workspace.' })
  name!: string;

  @Field(() => String, { nullable: true })
  description!: string | null;

  @Field(() => DataTypeEnum)
  dataType!: string;

  @Field(() => JsonScalar)
  metadata!: unknown;

  @Field(() => JsonScalar, {
    nullable: true,
    description: 'The JSON schema that inputs of examples satisfy.',
  })
  inputsSchema!: unknown;

  @Field(() => JsonScalar, {
    nullable: true,
    description: 'The JSON schema that outputs of examples satisfy.',
  })
  outputsSchema!: unknown;

  @Field(() => UuidScalar, { nullable: true, description: 'The experiment others are compared with.' })
  baselineExperimentId!: string | null;

  @Field(() => Int, { description: 'The newest version; 0 before the first example was written.' })
  version!: number;

  @Field(() => BigIntScalar, { description: 'Examples of the newest version.' })
  exampleCount!: number;

  @Field(() => DateTimeScalar)
  createdAt!: string;

  @Field(() => DateTimeScalar, { description: 'When it or its examples last changed.' })
  updatedAt!: string;
}

export const { Connection: DatasetConnection, Edge: DatasetEdge } = connectionTypes<Dataset>(
  () => DatasetObject as never,
  'Dataset',
);

@ObjectType('DatasetVersion', {
  simpleResolvers: true,
  description: 'What one write made of a dataset. It never changes, but for its tags.',
})
export class DatasetVersionObject {
  @Field(() => UuidScalar)
  datasetId!: string;

  @Field(() => Int, { description: 'From 1.' })
  version!: number;

  @Field(() => DateTimeScalar, { description: 'Whole milliseconds, growing with the version.' })
  createdAt!: string;

  @Field(() => BigIntScalar, { description: 'Examples.' })
  added!: number;

  @Field(() => BigIntScalar, { description: 'Examples.' })
  modified!: number;

  @Field(() => BigIntScalar, { description: 'Examples.' })
  removed!: number;

  @Field(() => String, { nullable: true, description: 'The user or key that wrote, or the job.' })
  actor!: string | null;

  @Field(() => String, { nullable: true })
  note!: string | null;

  @Field(() => [String], { description: 'Without "latest".' })
  tags!: readonly string[];
}

export const { Connection: DatasetVersionConnection, Edge: DatasetVersionEdge } =
  connectionTypes<DatasetVersion>(() => DatasetVersionObject as never, 'DatasetVersion');

@ObjectType('DatasetTag', {
  simpleResolvers: true,
  description: 'A name that moves from version to version.',
})
export class DatasetTagObject implements DatasetTag {
  @Field(() => String)
  tag!: string;

  @Field(() => Int)
  version!: number;

  @Field(() => DateTimeScalar)
  updatedAt!: string;
}

@ObjectType('DatasetShare', {
  simpleResolvers: true,
  description: 'A link that lets anyone who has it read the dataset, content included.',
})
export class DatasetShareObject {
  @Field(() => UuidScalar, { description: 'Unguessable. Whoever has it has access.' })
  token!: string;

  @Field(() => String)
  url!: string;

  @Field(() => DateTimeScalar)
  createdAt!: string;
}

// ── Differences ────────────────────────────────────────────────────────────────────────────────────────────

export const ExampleChangeKind = {
  ADDED: 'added',
  REMOVED: 'removed',
  MODIFIED: 'modified',
} as const satisfies Record<string, ChangeKind>;
registerEnumType(ExampleChangeKind, { name: 'ExampleChangeKind' });

/** A change, and between which versions. */
export interface PlacedDifference extends ExampleDifference {
  readonly range: VersionRange;
}

@ObjectType('ExampleDifference', {
  simpleResolvers: true,
  description: 'An example that is not the same in two versions.',
})
export class ExampleDifferenceObject {
  @Field(() => UuidScalar)
  exampleId!: string;

  @Field(() => ExampleChangeKind)
  kind!: ChangeKind;
}

export const { Connection: ExampleDifferenceConnection, Edge: ExampleDifferenceEdge } =
  connectionTypes<PlacedDifference>(() => ExampleDifferenceObject as never, 'ExampleDifference');

@ObjectType('DatasetDiff', {
  simpleResolvers: true,
  description: 'What became of the examples from one version to another.',
})
export class DatasetDiffObject {
  @Field(() => Int)
  fromVersion!: number;

  @Field(() => Int)
  toVersion!: number;

  @Field(() => Int)
  added!: number;

  @Field(() => Int)
  removed!: number;

  @Field(() => Int, { description: 'In both, but not the same.' })
  modified!: number;

  range!: VersionRange;
}

// ── Schemas and imports ────────────────────────────────────────────────────────────────────────────────────

@ObjectType('ExampleViolation', { simpleResolvers: true })
export class ExampleViolationObject implements ExampleViolation {
  @Field(() => UuidScalar)
  exampleId!: string;

  @Field(() => String, { description: '"inputs" or "outputs".' })
  field!: 'inputs' | 'outputs';

  @Field(() => String, { description: 'JSON pointer (RFC 6901) to the value; empty for the whole.' })
  pointer!: string;

  @Field(() => String)
  message!: string;
}

@ObjectType('DatasetViolations', {
  simpleResolvers: true,
  description: 'Which examples do not satisfy schemas. Content: values are named.',
})
export class DatasetViolationsObject {
  @Field(() => Int, { description: 'The version that was checked.' })
  version!: number;

  @Field(() => Int, { description: 'Examples that were checked.' })
  checked!: number;

  @Field(() => Boolean, { description: 'Whether that were all. If not, there may be more violations.' })
  complete!: boolean;

  @Field(() => [ExampleViolationObject], { description: 'The first hundred.' })
  violations!: readonly ExampleViolation[];
}

export const ImportModeEnum = {
  ALL_OR_NOTHING: 'all_or_nothing',
  QUARANTINE: 'quarantine',
} as const satisfies Record<string, ImportMode>;
registerEnumType(ImportModeEnum, {
  name: 'ImportMode',
  valuesConfig: {
    ALL_OR_NOTHING: { description: 'One row that does not fit is enough for nothing to be written.' },
    QUARANTINE: { description: 'Rows that do not fit are put aside; the others are written.' },
  },
});

@ObjectType('ImportProblem', { simpleResolvers: true })
export class ImportProblemObject implements RowProblem {
  @Field(() => String)
  code!: string;

  @Field(() => String)
  message!: string;

  @Field(() => [String], { description: 'Into the row.' })
  path!: readonly string[];
}

@ObjectType('ImportReject', { simpleResolvers: true, description: 'A row an import put aside. Content.' })
export class ImportRejectObject implements RejectedRow {
  @Field(() => BigIntScalar, { description: 'In the file, from 1; the header of a CSV file is the first.' })
  row!: number;

  @Field(() => String, { description: 'As it came, at most 8192 characters of it.' })
  content!: string;

  @Field(() => [ImportProblemObject])
  problems!: readonly RowProblem[];
}

@ObjectType('DatasetImport', { simpleResolvers: true, description: 'What became of one imported file.' })
export class DatasetImportObject implements Omit<DatasetImport, 'datasetId'> {
  @Field(() => UuidScalar)
  uuid!: string;

  @Field(() => String, { description: 'csv, jsonl; "examples" for copies.' })
  format!: DatasetImport['format'];

  @Field(() => ImportModeEnum)
  mode!: ImportMode;

  @Field(() => Int, { nullable: true, description: 'The version it made; null where it made none.' })
  version!: number | null;

  @Field(() => BigIntScalar)
  imported!: number;

  @Field(() => BigIntScalar, { description: 'Rows that were put aside. They are kept for 30 days.' })
  rejected!: number;

  @Field(() => String, { nullable: true })
  actor!: string | null;

  @Field(() => DateTimeScalar)
  createdAt!: string;
}

// ── Payloads ───────────────────────────────────────────────────────────────────────────────────────────────

@ObjectType({ simpleResolvers: true })
export class CreateDatasetPayload {
  @Field(() => DatasetObject, { nullable: true })
  dataset!: Dataset | null;

  @Field(() => [UserError])
  errors!: readonly UserError[];
}

@ObjectType({ simpleResolvers: true })
export class UpdateDatasetPayload {
  @Field(() => DatasetObject, { nullable: true })
  dataset!: Dataset | null;

  @Field(() => [UserError])
  errors!: readonly UserError[];
}

@ObjectType({ simpleResolvers: true })
export class DeleteDatasetPayload {
  @Field(() => ID, { nullable: true })
  deletedId!: string | null;

  @Field(() => [UserError])
  errors!: readonly UserError[];
}

@ObjectType({ simpleResolvers: true })
export class TagDatasetVersionPayload {
  @Field(() => DatasetVersionObject, { nullable: true })
  version!: DatasetVersion | null;

  @Field(() => [UserError])
  errors!: readonly UserError[];
}

@ObjectType({ simpleResolvers: true })
export class UntagDatasetVersionPayload {
  @Field(() => Boolean, { description: 'Whether there was such a tag.' })
  removed!: boolean;

  @Field(() => [UserError])
  errors!: readonly UserError[];
}

@ObjectType({ simpleResolvers: true })
export class CloneDatasetPayload {
  @Field(() => DatasetObject, { nullable: true, description: 'The target.' })
  dataset!: Dataset | null;

  @Field(() => DatasetVersionObject, { nullable: true, description: 'Null where there was nothing to copy.' })
  version!: DatasetVersion | null;

  @Field(() => [UserError])
  errors!: readonly UserError[];
}

@ObjectType({ simpleResolvers: true })
export class ImportExamplesPayload {
  @Field(() => DatasetImportObject, {
    nullable: true,
    description: 'Null where nothing was taken in; errors name up to a hundred rows then.',
  })
  import!: DatasetImport | null;

  @Field(() => DatasetVersionObject, { nullable: true, description: 'Null where no row was taken in.' })
  version!: DatasetVersion | null;

  @Field(() => [UserError])
  errors!: readonly UserError[];
}

@ObjectType({ simpleResolvers: true })
export class ShareDatasetPayload {
  @Field(() => DatasetShareObject, { nullable: true })
  share!: DatasetShareObject | null;

  @Field(() => [UserError])
  errors!: readonly UserError[];
}

@ObjectType({ simpleResolvers: true })
export class UnshareDatasetPayload {
  @Field(() => Boolean, { description: 'Whether it was shared.' })
  removed!: boolean;

  @Field(() => [UserError])
  errors!: readonly UserError[];
}
