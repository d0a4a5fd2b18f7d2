/**
 * GraphQL types of runs. Rows go out as the database gave them, under the GraphQL names; `toRun` adds the little
 * that is not a column. No leaf has a resolver: a list of runs costs its rows and nothing per field.
 */
import { Field, Float, Int, ObjectType, registerEnumType } from 'type-graphql';
import { connectionTypes } from '../graphql/connection.js';
import { Node } from '../graphql/node.resolver.js';
import { RawJson } from '../graphql/raw-json.js';
import { BigIntScalar, DateTimeScalar, DecimalScalar, JsonScalar, UuidScalar } from '../graphql/scalars.js';
import type { AttachmentRef } from '../ingest/run-event.js';
import type { RunRow } from './run-columns.js';

export const RUN_NODE = 'Run';

export const RunTypeEnum = {
  TOOL: 'tool',
  CHAIN: 'chain',
  LLM: 'llm',
  RETRIEVER: 'retriever',
  EMBEDDING: 'embedding',
  PROMPT: 'prompt',
  PARSER: 'parser',
} as const;

registerEnumType(RunTypeEnum, {
  name: 'RunType',
  description: 'What a run does. Values may be added; tolerate unknown ones.',
});

export const RunStatusEnum = { PENDING: 'pending', SUCCESS: 'success', ERROR: 'error' } as const;

registerEnumType(RunStatusEnum, {
  name: 'RunStatus',
  valuesConfig: {
    PENDING: { description: 'It has neither ended nor failed yet.' },
    SUCCESS: { description: 'It ended without an error.' },
    ERROR: { description: 'It reported an error, whether or not it ended.' },
  },
});

@ObjectType('Attachment', { simpleResolvers: true, description: 'A file sent along with a run.' })
export class AttachmentObject {
  @Field(() => String)
  name!: string;

  @Field(() => String)
  mimeType!: string;

  @Field(() => BigIntScalar, { description: 'Bytes.' })
  size!: number;

  @Field(() => String, { description: 'Where the bytes are, without a key, for a limited time.' })
  url!: string;
}

@ObjectType('Run', {
  implements: Node,
  simpleResolvers: true,
  description:
    'One unit of work of a traced application. Fields marked as content are null without the scope "content".',
})
export class RunObject extends Node {
  @Field(() => UuidScalar, { description: 'The id of the root of its trace.' })
  traceId!: string;

  @Field(() => UuidScalar, {
    nullable: true,
    description: 'Null for a root. The parent may not have arrived.',
  })
  parentRunId!: string | null;

  @Field(() => String, {
    description: 'Times and ids of the ancestors and the run; sorts a trace depth-first.',
  })
  dottedOrder!: string;

  @Field(() => Int, { description: 'Ancestors up to the root; 0 for a root.' })
  depth!: number;

  @Field(() => String)
  name!: string;

  @Field(() => RunTypeEnum)
  runType!: string;

  @Field(() => RunStatusEnum)
  status!: string;

  @Field(() => DateTimeScalar)
  startTime!: string;

  @Field(() => DateTimeScalar, { nullable: true })
  endTime!: string | null;

  @Field(() => Float, { nullable: true, description: 'From start to end, in seconds. Null while pending.' })
  latencySeconds!: number | null;

  @Field(() => DateTimeScalar, { nullable: true, description: 'When the first token was streamed.' })
  firstTokenTime!: string | null;

  @Field(() => Float, { nullable: true, description: 'From start to the first streamed token, in seconds.' })
  firstTokenLatencySeconds!: number | null;

  @Field(() => Boolean, { description: 'Whether the run failed. Visible without the scope "content".' })
  hasError!: boolean;

  @Field(() => Boolean, { description: 'Whether the caller may see content: if not, its fields are null.' })
  contentVisible!: boolean;

  @Field(() => JsonScalar, { nullable: true, description: 'Content. As the client sent it.' })
  inputs!: unknown;

  @Field(() => JsonScalar, {
    nullable: true,
    description: 'Content. As the client sent it; null until known.',
  })
  outputs!: unknown;

  @Field(() => String, { nullable: true, description: 'Content. The beginning of the inputs as text.' })
  inputsPreview!: string | null;

  @Field(() => String, { nullable: true, description: 'Content. The beginning of the outputs as text.' })
  outputsPreview!: string | null;

  @Field(() => String, { nullable: true, description: 'Content. What went wrong.' })
  error!: string | null;

  @Field(() => JsonScalar, {
    nullable: true,
    description: 'Content. Events within the run, such as streamed tokens.',
  })
  events!: unknown;

  @Field(() => JsonScalar, {
    nullable: true,
    description: 'Content. How the client serialised the traced object.',
  })
  serialized!: unknown;

  @Field(() => JsonScalar, {
    description:
      'Everything else the client sent, metadata included. Metadata alone without the scope "content".',
  })
  extra!: unknown;

  @Field(() => JsonScalar)
  metadata!: unknown;

  @Field(() => [String])
  tags!: readonly string[];

  @Field(() => String, {
    nullable: true,
    description: 'From metadata: session_id, thread_id or conversation_id.',
  })
  threadId!: string | null;

  @Field(() => String, { nullable: true, description: 'The customer the trace belongs to.' })
  tenantId!: string | null;

  @Field(() => String, { nullable: true })
  model!: string | null;

  @Field(() => String, { nullable: true })
  provider!: string | null;

  @Field(() => BigIntScalar, { nullable: true })
  promptTokens!: number | null;

  @Field(() => BigIntScalar, { nullable: true })
  completionTokens!: number | null;

  @Field(() => BigIntScalar, { nullable: true })
  totalTokens!: number | null;

  @Field(() => JsonScalar, { nullable: true, description: 'Parts of promptTokens by kind.' })
  promptTokenDetails!: unknown;

  @Field(() => JsonScalar, { nullable: true, description: 'Parts of completionTokens by kind.' })
  completionTokenDetails!: unknown;

  @Field(() => DecimalScalar, { nullable: true, description: 'US dollars.' })
  promptCost!: string | null;

  @Field(() => DecimalScalar, { nullable: true, description: 'US dollars.' })
  completionCost!: string | null;

  @Field(() => DecimalScalar, { nullable: true, description: 'US dollars.' })
  totalCost!: string | null;

  @Field(() => JsonScalar, { nullable: true, description: 'Parts of promptCost by kind.' })
  promptCostDetails!: unknown;

  @Field(() => JsonScalar, { nullable: true, description: 'Parts of completionCost by kind.' })
  completionCostDetails!: unknown;

  @Field(() => UuidScalar, { nullable: true, description: 'The dataset example the run was made for.' })
  referenceExampleId!: string | null;

  @Field(() => [AttachmentObject], { nullable: true, description: 'Content. Null where there are none.' })
  attachments!: readonly AttachmentObject[] | null;

  @Field(() => BigIntScalar, { description: 'Grows with each change of the run.' })
  revision!: number;

  @Field(() => DateTimeScalar, { description: 'When the run was first heard of.' })
  createdAt!: string;

  @Field(() => DateTimeScalar)
  updatedAt!: string;
}

/** A run as resolvers return it: the row, completed. Unselected columns are absent. */
export type GraphqlRun = RunRow & { readonly contentVisible: boolean };

export const { Connection: RunConnection, Edge: RunEdge } = connectionTypes<GraphqlRun>(
  () => RunObject as never,
  'Run',
);

/** Makes a URL under which an attachment's bytes can be fetched for a while without a key. */
export interface AttachmentLinks {
  presign(attachment: { workspaceId: string; runId: string; name: string }): string;
}

export interface RunPresentation {
  readonly workspaceId: string;
  readonly contentVisible: boolean;
  readonly links: AttachmentLinks;
}

const JSON_FIELDS = ['inputs', 'outputs', 'events', 'serialized', 'extra', 'metadata'] as const;

/** Completes a fresh row in place: a copy of a wide row would cost more than all else done to it. */
export function toRun(row: RunRow, { workspaceId, contentVisible, links }: RunPresentation): GraphqlRun {
  const run = row as unknown as Record<string, unknown>;
  run['contentVisible'] = contentVisible;
  for (const field of JSON_FIELDS) {
    const text = run[field];
    if (typeof text === 'string') run[field] = new RawJson(text);
  }
  if (Array.isArray(row.attachments)) {
    run['attachments'] = (row.attachments as readonly AttachmentRef[]).map((attachment) => ({
      ...attachment,
      url: links.presign({ workspaceId, runId: row.uuid, name: attachment.name }),
    }));
  }
  return run as unknown as GraphqlRun;
}
