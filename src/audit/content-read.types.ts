/** GraphQL types of the record of content reads. */
import { ArgsType, Field, ID, ObjectType, registerEnumType } from 'type-graphql';
import { connectionTypes } from '../graphql/connection.js';
import { BigIntScalar, DateTimeScalar, UuidScalar } from '../graphql/scalars.js';
import { TimeRangeInput } from '../runs/run.inputs.js';
import type { ContentRead, ContentReader, ContentReadVia } from './content-read.js';

const ContentReaderEnum = {
  SERVICE: 'service',
  PERSONAL: 'personal',
  LINK: 'link',
  SYSTEM: 'system',
} as const satisfies Record<string, ContentReader>;

registerEnumType(ContentReaderEnum, {
  name: 'ContentReader',
  description: 'What kind of caller read content. Values may be added.',
  valuesConfig: {
    SERVICE: { description: 'A service key.' },
    PERSONAL: { description: 'A personal token of a member.' },
    LINK: { description: 'Whoever held a share link or the link of an attachment.' },
    SYSTEM: { description: 'The installation itself, such as an evaluation.' },
  },
});

const ContentReadViaEnum = {
  GRAPHQL: 'graphql',
  REST: 'rest',
  LIVE: 'live',
  LINK: 'link',
  SYSTEM: 'system',
} as const satisfies Record<string, ContentReadVia>;

registerEnumType(ContentReadViaEnum, {
  name: 'ContentReadVia',
  description: 'How content went out. Values may be added.',
  valuesConfig: { LIVE: { description: 'A subscription; it has a record for every two seconds.' } },
});

@ObjectType('ContentRead', {
  simpleResolvers: true,
  description: 'One operation that read content: inputs, outputs, errors, events or attachments.',
})
export class ContentReadObject {
  @Field(() => UuidScalar)
  id!: string;

  @Field(() => DateTimeScalar, { description: 'When it first read content.' })
  readAt!: string;

  @Field(() => ContentReaderEnum)
  caller!: ContentReader;

  @Field(() => ID, { nullable: true, description: 'The API key. Null for LINK and SYSTEM.' })
  apiKeyId!: string | null;

  @Field(() => ID, { nullable: true, description: 'The member behind the key.' })
  userId!: string | null;

  @Field(() => String, { description: "The response's x-request-id." })
  requestId!: string;

  @Field(() => ContentReadViaEnum)
  via!: ContentReadVia;

  @Field(() => String, { description: 'Name of the GraphQL operation, or method and path.' })
  operation!: string;

  @Field(() => String, { description: 'What was read, such as run, thread, example or attachment.' })
  objectType!: string;

  @Field(() => [String], { description: 'Ids of what was read, at most the first 500.' })
  objectIds!: readonly string[];

  @Field(() => BigIntScalar, { description: 'How many objects were read in all.' })
  objectCount!: number;

  @Field(() => [String], { description: 'The content fields that were read.' })
  fields!: readonly string[];
}

/** A row with its ids as clients know them. */
export type GraphqlContentRead = Omit<ContentRead, 'keyId'> & { readonly apiKeyId: string | null };

export const { Connection: ContentReadConnection, Edge: ContentReadEdge } =
  connectionTypes<GraphqlContentRead>(() => ContentReadObject, 'ContentRead');

@ArgsType()
export class ContentReadArgs {
  @Field(() => TimeRangeInput, { nullable: true })
  timeRange?: TimeRangeInput | null;

  @Field(() => ID, { nullable: true, description: 'Reads with this API key.' })
  apiKeyId?: string | null;

  @Field(() => ID, { nullable: true, description: 'Reads of this member.' })
  userId?: string | null;

  @Field(() => String, {
    nullable: true,
    description: 'Reads of the object with this bare id, such as a run. Give a time range, too.',
  })
  objectId?: string | null;
}
