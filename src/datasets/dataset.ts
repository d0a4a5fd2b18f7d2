/** What datasets, their versions and their examples are. Pure. Times are UTC text as Postgres gives them. */
import type { JsonObject, JsonValue } from '../ingest/run-event.js';
import { problem } from '../platform/result.js';
import type { Problem } from '../platform/result.js';

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
  /** Its own run id in the attachment store, where its bytes are under (id, name). */
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

export interface DatasetDraft {
  readonly id?: string | undefined;
  readonly name: string;
  readonly description?: string | null | undefined;
  readonly dataType?: DataType | undefined;
  readonly metadata?: JsonObject | undefined;
  readonly inputsSchema?: JsonValue | undefined;
  readonly outputsSchema?: JsonValue | undefined;
  readonly transformations?: JsonValue | undefined;
  readonly externallyManaged?: boolean | undefined;
  /** RFC 3339; now where absent. */
  readonly createdAt?: string | undefined;
}

/** A change: absent leaves, null clears. */
export interface DatasetPatch {
  readonly name?: string | undefined;
  readonly description?: string | null | undefined;
  /** Replaces the whole object. */
  readonly metadata?: JsonObject | undefined;
  readonly inputsSchema?: JsonValue | undefined;
  readonly outputsSchema?: JsonValue | undefined;
  readonly transformations?: JsonValue | undefined;
  readonly baselineExperimentId?: string | null | undefined;
}

/** Conditions on datasets, all of which hold. Absent means no condition. */
export interface DatasetFilter {
  readonly ids?: readonly string[] | undefined;
  readonly excludeIds?: readonly string[] | undefined;
  readonly name?: string | undefined;
  /** Ignoring case. */
  readonly nameContains?: string | undefined;
  readonly dataTypes?: readonly DataType[] | undefined;
  /** Contained in the metadata. */
  readonly metadata?: JsonObject | undefined;
}

/** What becomes of an example from one version to another. */
export const CHANGE_KINDS = ['added', 'removed', 'modified'] as const;
export type ChangeKind = (typeof CHANGE_KINDS)[number];

export interface ExampleDifference {
  readonly exampleId: string;
  readonly kind: ChangeKind;
}

export interface VersionRange {
  readonly datasetId: string;
  readonly from: number;
  readonly to: number;
}

/** Why an example was or would be refused. */
export interface SchemaViolation {
  readonly field: 'inputs' | 'outputs';
  /** JSON pointer (RFC 6901) to the value; empty for the whole. */
  readonly pointer: string;
  readonly message: string;
}

export const LATEST = 'latest';
export const DEFAULT_SPLIT = 'base';
export const MAX_NAME_LENGTH = 500;
export const MAX_DESCRIPTION_LENGTH = 20_000;
/** Of metadata as JSON text. */
export const MAX_METADATA_LENGTH = 262_144;
export const MAX_TAG_LENGTH = 128;

// JSON.stringify escapes NUL and lone surrogates; jsonb refuses these escapes.
const UNSTORABLE = /\\u0000|\\u[dD][89a-fA-F]/;

/** Why a text cannot be stored; empty where it can. */
export function textProblems(
  field: string,
  text: string | null | undefined,
  max: number,
  path: readonly string[] = [field],
): Problem[] {
  if (typeof text !== 'string') return [];
  if (text.length > max) return [problem('INVALID', `${field} may have at most ${max} characters.`, path)];
  return text.includes('\u0000') || !text.isWellFormed()
    ? [problem('INVALID', `${field} has characters that cannot be stored.`, path)]
    : [];
}

/** Why metadata cannot be stored; empty where it can. */
export function metadataProblems(
  metadata: JsonObject | undefined,
  path: readonly string[] = ['metadata'],
): Problem[] {
  if (metadata === undefined) return [];
  const text = JSON.stringify(metadata);
  if (text.length > MAX_METADATA_LENGTH) {
    return [problem('INVALID', `metadata may have at most ${MAX_METADATA_LENGTH} characters as JSON.`, path)];
  }
  return UNSTORABLE.test(text)
    ? [problem('INVALID', 'metadata has characters that cannot be stored.', path)]
    : [];
}

/** Why a draft or patch cannot be stored, its schemas apart; empty where it can. */
export function datasetProblems(change: Pick<DatasetPatch, 'name' | 'description' | 'metadata'>): Problem[] {
  const blank = change.name?.trim() === '';
  return [
    ...(blank ? [problem('INVALID', 'name must not be empty.', ['name'])] : []),
    ...textProblems('name', change.name, MAX_NAME_LENGTH),
    ...textProblems('description', change.description, MAX_DESCRIPTION_LENGTH),
    ...metadataProblems(change.metadata),
  ];
}

/** Why a name cannot be given to a version; empty where it can. */
export function tagProblems(tag: string): Problem[] {
  if (tag.trim() === '') return [problem('INVALID', 'tag must not be empty.', ['tag'])];
  if (tag === LATEST) {
    return [problem('NOT_ALLOWED', '"latest" is always the newest version and cannot be moved.', ['tag'])];
  }
  return textProblems('tag', tag, MAX_TAG_LENGTH);
}
