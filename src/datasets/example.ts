/**
 * What a client may say about an example, and the row that makes: text made storable, splits apart from metadata,
 * hashes. Pure. Which row is whose and valid when is example-write.store.ts.
 */
import { hash } from 'node:crypto';
import type { JsonObject, JsonValue, Payload } from '../ingest/run-event.js';
import { canonicalJson, canonicalJsonText } from '../platform/canonical-json.js';
import { cleanJsonText, MAX_JSON_DEPTH, nestsDeeper } from '../platform/json-text.js';
import { problem } from '../platform/result.js';
import type { Problem } from '../platform/result.js';
import { DEFAULT_SPLIT, metadataProblems, textProblems } from './dataset.js';
import type { ExampleAttachment } from './dataset.js';

/** The wire protocol's name of the splits, within metadata. */
export const SPLIT_KEY = 'dataset_split';
/** Of inputs and outputs of one example together. */
export const MAX_EXAMPLE_BYTES = 25 * 1024 * 1024;
export const MAX_SPLITS = 100;
export const MAX_SPLIT_LENGTH = 128;
export const MAX_EXAMPLE_NAME_LENGTH = 255;
export const MAX_EXAMPLE_ATTACHMENTS = 20;

export interface ExampleDraft {
  /** Made here where absent. */
  readonly id?: string | undefined;
  /** Made of the id where absent. */
  readonly name?: string | undefined;
  readonly inputs: Payload;
  readonly outputs?: Payload | null | undefined;
  /** Its `dataset_split` counts as splits where these are absent. */
  readonly metadata?: JsonObject | undefined;
  /** `base` where absent or empty. */
  readonly splits?: readonly string[] | undefined;
  readonly sourceRunId?: string | null | undefined;
  /** In order of upload; the bytes are in the attachment store. */
  readonly attachments?: readonly ExampleAttachment[] | undefined;
  /** Microseconds since the epoch; now where absent. */
  readonly createdUs?: number | undefined;
}

/** What becomes of the attachments an example has: those in neither vanish. */
export interface AttachmentOperations {
  readonly retain?: readonly string[] | undefined;
  /** New name by old name. */
  readonly rename?: Readonly<Record<string, string>> | undefined;
}

/** A change of one example: absent leaves. */
export interface ExampleChange {
  readonly id: string;
  readonly name?: string | undefined;
  readonly inputs?: Payload | undefined;
  /** Null clears. */
  readonly outputs?: Payload | null | undefined;
  /** Replaces all metadata; splits stay, unless it says them as `dataset_split`. */
  readonly metadata?: JsonObject | undefined;
  readonly splits?: readonly string[] | undefined;
  readonly sourceRunId?: string | null | undefined;
  /** New uploads. Without operations they replace the whole set; with, a new one wins over an old of its name. */
  readonly attachments?: readonly ExampleAttachment[] | undefined;
  readonly operations?: AttachmentOperations | undefined;
}

/** A row as it is written, but for the version it belongs to. */
export interface ExampleRow {
  readonly id: string;
  readonly name: string;
  readonly inputs: string;
  readonly outputs: string | null;
  readonly metadata: JsonObject;
  readonly splits: readonly string[];
  readonly sourceRunId: string | null;
  readonly attachments: readonly ExampleAttachment[];
  readonly inputsHash: Buffer;
  readonly contentHash: Buffer;
  readonly createdUs: number;
}

/** A JSON value as an example keeps it. */
export function payloadOf(value: JsonValue): Payload {
  const said = JSON.stringify(value);
  const text = cleanJsonText(said);
  return { text, value: text === said ? value : (JSON.parse(text) as JsonValue) };
}

/** Splits as they are kept: without repetitions, never none. */
const keptSplits = (splits: readonly string[] | undefined): readonly string[] => {
  const distinct = [...new Set(splits ?? [])];
  return distinct.length === 0 ? [DEFAULT_SPLIT] : distinct;
};

function saidSplits(value: JsonValue | undefined): readonly string[] | undefined {
  if (typeof value === 'string') return [value];
  if (!Array.isArray(value)) return undefined;
  return value.filter((item): item is string => typeof item === 'string');
}

/** Metadata without the splits in it, and the splits it says. */
export function separateSplits(metadata: JsonObject): {
  metadata: JsonObject;
  splits: readonly string[] | undefined;
} {
  if (!Object.hasOwn(metadata, SPLIT_KEY)) return { metadata, splits: undefined };
  const rest = Object.entries(metadata).filter(([key]) => key !== SPLIT_KEY);
  return { metadata: Object.fromEntries(rest), splits: saidSplits(metadata[SPLIT_KEY]) };
}

const sha256 = (text: string): Buffer => hash('sha256', text, 'buffer');

type Hashed = Pick<ExampleRow, 'inputs' | 'outputs' | 'metadata' | 'attachments'>;

/**
 * Of inputs alone, and of what an evaluation depends on. Neither order of keys nor white space matters.
 * @param known values of the texts that are parsed already.
 */
export function hashesOf(
  row: Hashed,
  known: { readonly inputs?: JsonValue; readonly outputs?: JsonValue | undefined } = {},
): Pick<ExampleRow, 'inputsHash' | 'contentHash'> {
  const inputs = canonicalJsonText(row.inputs, known.inputs);
  const outputs = row.outputs === null ? 'null' : canonicalJsonText(row.outputs, known.outputs);
  const attachments = row.attachments.map(({ name, id, mimeType, size }) => [name, id, mimeType, size]);
  const rest = `${canonicalJson(row.metadata)},${canonicalJson(attachments)}`;
  return { inputsHash: sha256(inputs), contentHash: sha256(`[${inputs},${outputs},${rest}]`) };
}

/** `#1a2b`, as short names of examples look. */
export const defaultName = (id: string): string => `#${id.slice(-4)}`;

/** @param id the draft's own or a new one. */
export function newRow(draft: ExampleDraft, id: string, nowUs: number): ExampleRow {
  const said = separateSplits(draft.metadata ?? {});
  const row = {
    id,
    name: draft.name ?? defaultName(id),
    inputs: draft.inputs.text,
    outputs: draft.outputs?.text ?? null,
    metadata: said.metadata,
    splits: keptSplits(draft.splits ?? said.splits),
    sourceRunId: draft.sourceRunId ?? null,
    attachments: draft.attachments ?? [],
    createdUs: draft.createdUs ?? nowUs,
  };
  const known = { inputs: draft.inputs.value, outputs: draft.outputs?.value };
  return { ...row, ...hashesOf(row, known) };
}

/** The row after the change; the same object where it changes nothing. */
export function changedRow(row: ExampleRow, change: ExampleChange): ExampleRow {
  const said = change.metadata === undefined ? undefined : separateSplits(change.metadata);
  const splits = change.splits ?? said?.splits;
  const next = {
    ...row,
    name: change.name ?? row.name,
    inputs: change.inputs?.text ?? row.inputs,
    outputs: change.outputs === undefined ? row.outputs : (change.outputs?.text ?? null),
    metadata: said?.metadata ?? row.metadata,
    splits: splits === undefined ? row.splits : keptSplits(splits),
    sourceRunId: change.sourceRunId === undefined ? row.sourceRunId : change.sourceRunId,
    attachments: changedAttachments(row.attachments, change),
  };
  const hashed = { ...next, ...hashesOf(next) };
  return isSame(row, hashed) ? row : hashed;
}

const isSame = (a: ExampleRow, b: ExampleRow): boolean =>
  a.contentHash.equals(b.contentHash) &&
  a.name === b.name &&
  a.sourceRunId === b.sourceRunId &&
  a.splits.length === b.splits.length &&
  a.splits.every((split, index) => split === b.splits[index]);

/** Old ones that stay, in their order, then new ones in theirs. */
function changedAttachments(
  old: readonly ExampleAttachment[],
  { attachments = [], operations }: ExampleChange,
): readonly ExampleAttachment[] {
  if (operations === undefined) return attachments.length === 0 ? old : attachments;
  const retain = new Set(operations.retain ?? []);
  const rename = new Map(Object.entries(operations.rename ?? {}));
  const added = new Set(attachments.map(({ name }) => name));
  const kept = old.flatMap((attachment) => {
    const name = rename.get(attachment.name) ?? (retain.has(attachment.name) ? attachment.name : undefined);
    return name === undefined || added.has(name) ? [] : [{ ...attachment, name }];
  });
  return [...kept, ...attachments];
}

/** Why operations make no sense; empty where they do. */
export function operationProblems(
  operations: AttachmentOperations | undefined,
  path: readonly string[],
): Problem[] {
  const retain = new Set(operations?.retain ?? []);
  const targets = new Set<string>();
  return Object.entries(operations?.rename ?? {}).flatMap(([from, to]) => {
    const invalid = (message: string): Problem[] => [problem('INVALID', message, [...path, 'rename', from])];
    if (retain.has(from)) return invalid(`The attachment "${from}" is both renamed and retained.`);
    if (retain.has(to)) return invalid(`"${from}" is renamed to "${to}", which is retained.`);
    if (targets.has(to)) return invalid(`Two attachments are renamed to "${to}".`);
    targets.add(to);
    return [];
  });
}

/** Why a draft or change cannot be stored, the dataset's schemas apart; empty where it can. */
export function exampleProblems(said: ExampleDraft | ExampleChange, path: readonly string[]): Problem[] {
  const { name, inputs, outputs, splits, attachments } = said;
  const bytes = Buffer.byteLength(inputs?.text ?? '') + Buffer.byteLength(outputs?.text ?? '');
  const problems = [
    ...textProblems('name', name, MAX_EXAMPLE_NAME_LENGTH, [...path, 'name']),
    ...metadataProblems(said.metadata, [...path, 'metadata']),
    ...splitProblems(splits ?? separateSplits(said.metadata ?? {}).splits ?? [], path),
    ...('operations' in said ? operationProblems(said.operations, [...path, 'operations']) : []),
  ];
  if (bytes > MAX_EXAMPLE_BYTES) {
    problems.push(
      problem('LIMIT_EXCEEDED', `Inputs and outputs may have ${MAX_EXAMPLE_BYTES} bytes together.`, path),
    );
  }
  for (const field of ['inputs', 'outputs'] as const) {
    const value = said[field]?.value;
    if (value !== undefined && nestsDeeper(value, MAX_JSON_DEPTH)) {
      const message = `${field} nest deeper than ${MAX_JSON_DEPTH} levels.`;
      problems.push(problem('INVALID', message, [...path, field]));
    }
  }
  if ((attachments?.length ?? 0) > MAX_EXAMPLE_ATTACHMENTS) {
    const message = `An example may have ${MAX_EXAMPLE_ATTACHMENTS} attachments.`;
    problems.push(problem('LIMIT_EXCEEDED', message, [...path, 'attachments']));
  }
  return problems;
}

/** Why names cannot be splits; empty where they can. */
export function splitProblems(splits: readonly string[], path: readonly string[]): Problem[] {
  const where = [...path, 'splits'];
  if (splits.length > MAX_SPLITS) {
    return [problem('LIMIT_EXCEEDED', `An example may be in ${MAX_SPLITS} splits.`, where)];
  }
  return splits.flatMap((split) =>
    split.trim() === ''
      ? [problem('INVALID', 'A split needs a name.', where)]
      : textProblems('split', split, MAX_SPLIT_LENGTH, where),
  );
}
