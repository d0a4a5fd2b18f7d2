/** GraphQL types of examples and the payloads of their mutations. */
import { Field, ID, Int, ObjectType } from 'type-graphql';
import { connectionTypes } from '../graphql/connection.js';
import { Node } from '../graphql/node.resolver.js';
import { rawJson } from '../graphql/raw-json.js';
import type { RawJson } from '../graphql/raw-json.js';
import { DateTimeScalar, JsonScalar, UuidScalar } from '../graphql/scalars.js';
import { UserError } from '../graphql/user-error.js';
import { AttachmentObject } from '../runs/run.types.js';
import type { AttachmentLinks } from '../runs/run.types.js';
import type { DatasetVersion } from './dataset.js';
import { DatasetVersionObject } from './dataset.types.js';
import type { ShownExample } from './example.store.js';

/** The name of the type in global ids. */
export const EXAMPLE_NODE = 'Example';

@ObjectType('Example', {
  implements: Node,
  simpleResolvers: true,
  description:
    'One example of a dataset, as it was in one version. Fields marked as content are null or empty without the scope "content".',
})
export class ExampleObject extends Node {
  @Field(() => UuidScalar)
  datasetId!: string;

  @Field(() => String)
  name!: string;

  @Field(() => Boolean, { description: 'Whether the caller may see content.' })
  contentVisible!: boolean;

  @Field(() => JsonScalar, { nullable: true, description: 'Content. As the client sent it.' })
  inputs!: RawJson | null;

  @Field(() => JsonScalar, {
    nullable: true,
    description: 'Content. The reference output; null where none was given.',
  })
  outputs!: RawJson | null;

  @Field(() => [AttachmentObject], { description: 'Content.' })
  attachments!: readonly AttachmentObject[];

  @Field(() => JsonScalar)
  metadata!: unknown;

  @Field(() => [String], { description: 'Never empty; "base" unless told otherwise.' })
  splits!: readonly string[];

  @Field(() => UuidScalar, { nullable: true, description: 'The run it was made from.' })
  sourceRunId!: string | null;

  @Field(() => String, {
    description: 'SHA-256 of what an evaluation depends on: the same for the same example.',
  })
  contentHash!: string;

  @Field(() => Int, { description: 'The version that made it what it is here.' })
  sinceVersion!: number;

  @Field(() => DateTimeScalar, { description: 'When the example was first made.' })
  createdAt!: string;

  @Field(() => DateTimeScalar, { description: 'When the version was that made it what it is here.' })
  modifiedAt!: string;
}

/** An example as resolvers give it. */
export type GraphqlExample = Omit<ShownExample, 'inputs' | 'outputs' | 'attachments'> &
  Pick<ExampleObject, 'inputs' | 'outputs' | 'attachments' | 'contentVisible'>;

export const { Connection: ExampleConnection, Edge: ExampleEdge } = connectionTypes<GraphqlExample>(
  () => ExampleObject as never,
  'Example',
);

export interface ExamplePresentation {
  readonly workspaceId: string;
  readonly contentVisible: boolean;
  readonly links: AttachmentLinks;
}

export function toGraphqlExample(
  example: ShownExample,
  { workspaceId, contentVisible, links }: ExamplePresentation,
): GraphqlExample {
  return {
    ...example,
    contentVisible,
    inputs: rawJson(example.inputs),
    outputs: rawJson(example.outputs),
    attachments: example.attachments.map(({ id, name, mimeType, size }) => ({
      name,
      mimeType,
      size,
      url: links.presign({ workspaceId, runId: id, name }),
    })),
  };
}

/** What every write of examples answers. */
@ObjectType({ simpleResolvers: true })
abstract class ExampleWritePayload {
  @Field(() => DatasetVersionObject, {
    nullable: true,
    description: 'The version made; where nothing changed, the newest there is.',
  })
  version!: DatasetVersion | null;

  @Field(() => Boolean, { description: 'Whether anything changed, and so a version was made.' })
  changed!: boolean;

  @Field(() => [ID], {
    description: 'Of the examples that were written: for creations in order of the input.',
  })
  exampleIds!: readonly string[];

  @Field(() => [UserError])
  errors!: readonly UserError[];
}

@ObjectType({ simpleResolvers: true })
export class CreateExamplesPayload extends ExampleWritePayload {}

@ObjectType({ simpleResolvers: true })
export class CreateExamplesFromRunsPayload extends ExampleWritePayload {}

@ObjectType({ simpleResolvers: true })
export class UpdateExamplesPayload extends ExampleWritePayload {}

@ObjectType({ simpleResolvers: true })
export class SetSplitPayload extends ExampleWritePayload {}

@ObjectType({ simpleResolvers: true })
export class DeleteExamplesPayload {
  @Field(() => [DatasetVersionObject], { description: 'One of each dataset that had any of them.' })
  versions!: readonly DatasetVersion[];

  @Field(() => [ID])
  deletedIds!: readonly string[];

  @Field(() => [UserError])
  errors!: readonly UserError[];
}
