/** Datasets, their versions and shares in the LangSmith protocol's words. */
import { z } from 'zod';
import { DATA_TYPES } from '../datasets/dataset.js';
import type { AsOf, Dataset, DatasetDraft, DatasetPatch, DatasetVersion } from '../datasets/dataset.js';
import type { JsonObject, JsonValue } from '../ingest/run-event.js';
import type { DatasetExperiments } from '../projects/project.store.js';
import { fromWireTime, orNull, toZonedTime, wireTime, wireUuid, wireUuids } from './wire-values.js';

const json = z
  .unknown()
  .optional()
  .transform((value) => value as JsonValue | undefined);
const dataType = z.enum(DATA_TYPES);

/** SDKs put metadata below `extra`. */
const metadataOf = (extra: unknown): JsonObject | undefined => {
  const metadata = (extra as { metadata?: unknown } | null | undefined)?.metadata;
  return metadata !== null && typeof metadata === 'object' && !Array.isArray(metadata)
    ? (metadata as JsonObject)
    : undefined;
};

export const datasetBody = z
  .object({
    id: wireUuid.nullish(),
    name: z.string(),
    description: z.string().nullish(),
    data_type: dataType.nullish(),
    extra: z.unknown().optional(),
    metadata: z.unknown().optional(),
    inputs_schema_definition: json,
    outputs_schema_definition: json,
    transformations: json,
    externally_managed: z.boolean().nullish(),
    created_at: wireTime,
  })
  .transform((body): DatasetDraft => ({
    id: body.id ?? undefined,
    name: body.name,
    description: body.description,
    dataType: body.data_type ?? undefined,
    metadata: metadataOf(body.extra) ?? metadataOf({ metadata: body.metadata }),
    inputsSchema: body.inputs_schema_definition ?? undefined,
    outputsSchema: body.outputs_schema_definition ?? undefined,
    transformations: body.transformations ?? undefined,
    externallyManaged: body.externally_managed ?? undefined,
    createdAt: body.created_at,
  }));

/** Absent leaves, null clears; a name or metadata of null leaves. */
export const datasetPatch = z
  .object({
    name: z.string().nullish(),
    description: z.string().nullable().optional(),
    metadata: z.unknown().optional(),
    inputs_schema_definition: json,
    outputs_schema_definition: json,
    transformations: json,
    baseline_experiment_id: wireUuid.nullable().optional(),
  })
  .transform((body): DatasetPatch => ({
    name: body.name ?? undefined,
    description: body.description,
    metadata: metadataOf({ metadata: body.metadata }),
    inputsSchema: body.inputs_schema_definition,
    outputsSchema: body.outputs_schema_definition,
    transformations: body.transformations,
    baselineExperimentId: body.baseline_experiment_id,
  }));

export const tagBody = z.object({ as_of: z.string(), tag: z.string() });

export const splitsBody = z.object({
  split_name: z.string(),
  examples: wireUuids,
  remove: z.boolean().nullish(),
});

export const cloneBody = z.object({
  target_dataset_id: wireUuid,
  source_dataset_id: wireUuid,
  as_of: z.string().nullish(),
  examples: wireUuids.nullish(),
});

/** A time or a tag. */
export function asOf(value: string): AsOf {
  const time = fromWireTime(value);
  return time === undefined ? { tag: value } : { time };
}

export function toWireDataset(
  dataset: Dataset,
  workspaceId: string,
  experiments: DatasetExperiments | undefined,
): JsonObject {
  return {
    id: dataset.uuid,
    tenant_id: workspaceId,
    name: dataset.name,
    description: dataset.description,
    created_at: toZonedTime(dataset.createdAt),
    modified_at: toZonedTime(dataset.updatedAt),
    data_type: dataset.dataType,
    inputs_schema_definition: dataset.inputsSchema,
    outputs_schema_definition: dataset.outputsSchema,
    transformations: dataset.transformations,
    externally_managed: dataset.externallyManaged,
    example_count: dataset.exampleCount,
    session_count: experiments?.count ?? 0,
    last_session_start_time: orNull(experiments?.lastStartTime, toZonedTime),
    baseline_experiment_id: dataset.baselineExperimentId,
    metadata: dataset.metadata,
  };
}

export const toWireVersion = ({ tags, createdAt }: DatasetVersion, isLatest: boolean): JsonObject => ({
  tags: isLatest ? ['latest', ...tags] : [...tags],
  as_of: toZonedTime(createdAt),
});
