/** What datasets, their versions and their examples are. Pure. Times are UTC text as Postgres gives them. */
import type { JsonObject, JsonValue } from '../ingest/run-event.js';

export const DATA_TYPES = ['kv', 'llm', 'chat'] as const;
export type DataType = (typeof DATA_TYPES)[number];

export interface Dataset {
  readonly uuid: string;
  readonly name: string;
  readonly description: string | null;
  readonly dataType: DataType;
  readonly metadata: JsonObject;
  /** JSON schemas that inputs and outputs of every example satisfy. */
  readonly inputsSchema: JsonValue;
  readonly outputsSchema: JsonValue;
  readonly transformations: JsonValue;
  readonly externallyManaged: boolean;
  readonly baselineExperimentId: string | null;
  /** The newest version; 0 before the first example was written. */
  readonly version: number;
  /** Examples of the newest version. */
  readonly exampleCount: number;
  readonly createdAt: string;
  readonly updatedAt: string;
}

/** What one write transaction made of a dataset. Immutable. */
export interface DatasetVersion {
  readonly datasetId: string;
  readonly version: number;
  /** Whole milliseconds, strictly growing with the version. */
  readonly createdAt: string;
  readonly added: number;
  readonly modified: number;
  readonly removed: number;
  readonly actor: string | null;
  readonly note: string | null;
  readonly tags: readonly string[];
}

/**
 * Which state of a dataset is meant: a version, a tag (`latest` is the newest version), or the newest version made
 * at or before a time. Absent wherever this is optional: the newest.
 */
export type AsOf = { readonly version: number } | { readonly tag: string } | { readonly time: string };

export interface ExampleAttachment {
  readonly name: string;
  /** Of its chunks in the attachment store. */
  readonly id: string;
  readonly mimeType: string;
  readonly size: number;
}

/** One example as it was in one version. */
export interface Example {
  readonly uuid: string;
  readonly datasetId: string;
  readonly name: string;
  /** JSON texts, exactly as they came. */
  readonly inputs: string;
  readonly outputs: string | null;
  readonly metadata: JsonObject;
  /** Never empty; `base` unless told otherwise. */
  readonly splits: readonly string[];
  readonly sourceRunId: string | null;
  readonly attachments: readonly ExampleAttachment[];
  /** Hex SHA-256 of what an evaluation depends on: inputs, outputs, metadata, attachments. */
  readonly contentHash: string;
  /** The version in which this state of it was written. */
  readonly sinceVersion: number;
  readonly createdAt: string;
  readonly modifiedAt: string;
}
