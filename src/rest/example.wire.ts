/** Examples in the LangSmith protocol's words. */
import { z } from 'zod';
import type { Example } from '../datasets/dataset.js';
import { payloadOf, SPLIT_KEY } from '../datasets/example.js';
import type { ExampleChange, ExampleDraft } from '../datasets/example.js';
import type { ShownExample } from '../datasets/example.store.js';
import type { JsonObject, JsonValue } from '../ingest/run-event.js';
import { parseWireTime } from '../ingest/wire-time.js';
import { toZonedTime, wireUuid } from './wire-values.js';

const object = z.record(z.string(), z.unknown()).transform((value) => value as JsonObject);
export const wireSplits = z
  .union([z.string().transform((split) => [split]), z.array(z.string())])
  .nullish()
  .transform((splits) => splits ?? undefined);
const operations = z.object({
  retain: z.array(z.string()).nullish(),
  rename: z.record(z.string(), z.string()).nullish(),
});

export const toOperations = (value: unknown): ExampleChange['operations'] => {
  const parsed = operations.nullish().parse(value);
  return parsed ? { retain: parsed.retain ?? undefined, rename: parsed.rename ?? undefined } : undefined;
};

/** What the two forms of creating an example, JSON and multipart, say besides inputs, outputs and files. */
export const exampleFacts = z.object({
  id: wireUuid.nullish(),
  name: z.string().nullish(),
  metadata: object.nullish(),
  split: wireSplits,
  source_run_id: wireUuid.nullish(),
  use_source_run_io: z.boolean().nullish(),
  use_source_run_attachments: z.array(z.string()).nullish(),
  created_at: z.union([z.string(), z.number()]).nullish(),
});
export type ExampleFacts = z.output<typeof exampleFacts>;

export const exampleBody = exampleFacts.extend({
  dataset_id: wireUuid.nullish(),
  dataset_name: z.string().nullish(),
  inputs: object.nullish(),
  outputs: object.nullish(),
});
export type ExampleBody = z.output<typeof exampleBody>;

export const exampleBodies = z.array(exampleBody);

/** The older form of `POST /examples/bulk`: one dataset, columns. */
export const examplePatch = exampleFacts.extend({
  dataset_id: wireUuid.nullish(),
  inputs: object.nullish(),
  outputs: object.nullable().optional(),
  attachments_operations: z.unknown().optional(),
});
export const examplePatches = z.array(examplePatch.extend({ id: wireUuid }));

export const hardDeleteBody = z.object({
  example_ids: z.array(wireUuid).max(100_000),
  hard_delete: z.boolean().nullish(),
});

/** What a draft has in common, whichever form it came in. */
export function toFacts(facts: ExampleFacts): Omit<ExampleDraft, 'inputs'> {
  const createdUs = facts.created_at === undefined ? undefined : parseWireTime(facts.created_at);
  return {
    id: facts.id ?? undefined,
    name: facts.name ?? undefined,
    metadata: facts.metadata ?? undefined,
    splits: facts.split,
    sourceRunId: facts.source_run_id ?? undefined,
    createdUs: createdUs === undefined || Number.isNaN(createdUs) ? undefined : createdUs,
  };
}

export const toDraft = (body: ExampleBody): ExampleDraft => ({
  ...toFacts(body),
  inputs: payloadOf(body.inputs ?? {}),
  outputs: body.outputs ? payloadOf(body.outputs) : undefined,
});

export const toChange = (id: string, body: z.output<typeof examplePatch>): ExampleChange => ({
  id,
  name: body.name ?? undefined,
  inputs: body.inputs ? payloadOf(body.inputs) : undefined,
  outputs: body.outputs ? payloadOf(body.outputs) : body.outputs,
  metadata: body.metadata ?? undefined,
  splits: body.split,
  sourceRunId: body.source_run_id ?? undefined,
  operations: toOperations(body.attachments_operations),
});

/** Makes a link to a file that needs no credentials. */
export type PresignExampleFile = (attachmentId: string, name: string) => string;

/**
 * As JSON text: inputs and outputs stay as they came. Files are listed where they are asked for, and are null where
 * there are none.
 */
export function toWireExample(
  example: ShownExample | Example,
  presign: PresignExampleFile | undefined,
): string {
  const { attachments } = example;
  const urls: Record<string, JsonValue> = {};
  if (presign !== undefined) {
    for (const { id, name, mimeType } of attachments) {
      urls[`attachment.${name}`] = {
        presigned_url: presign(id, name),
        s3_url: `attachment/${id}/${encodeURIComponent(name)}`,
        mime_type: mimeType,
      };
    }
  }
  const facts = JSON.stringify({
    id: example.uuid,
    dataset_id: example.datasetId,
    name: example.name,
    metadata: { ...example.metadata, [SPLIT_KEY]: example.splits },
    created_at: toZonedTime(example.createdAt),
    modified_at: toZonedTime(example.modifiedAt),
    source_run_id: example.sourceRunId,
    attachment_urls: Object.keys(urls).length === 0 ? null : urls,
  });
  return `${facts.slice(0, -1)},"inputs":${example.inputs ?? 'null'},"outputs":${example.outputs ?? 'null'}}`;
}
