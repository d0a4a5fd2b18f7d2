/**
 * A run's row: how a draft becomes columns, how columns are written in COPY's binary format, and how a stored
 * row becomes a draft again. The order of COLUMNS is the order on the wire.
 */
import { runStatus } from '../runs/run.js';
import type { Usage } from '../runs/run.js';
import type { CopyBuffer } from './copy-binary.js';
import {
  firstTokenUs,
  flattenMetadata,
  isFlat,
  modelOf,
  previewOf,
  providerOf,
  tenantOf,
  threadOf,
  usageOf,
} from './run-facts.js';
import { dottedSegment } from './dotted-order.js';
import { PAYLOAD_FIELDS } from './run-merge.js';
import type { PayloadField, RunDraft, StoredPayload } from './run-merge.js';
import type { AttachmentRef, JsonObject, JsonValue, Payload } from './run-event.js';
import { placeOfOrphan } from './run-place.js';
import type { Place } from './run-place.js';
import { parseWireTime } from './wire-time.js';
import { uuidTimeMs } from '../platform/ids.js';

/** Every column of runs, in the order rows are written. */
export const COLUMNS = [
  'workspace_id',
  'id',
  'day',
  'project_id',
  'trace_id',
  'parent_run_id',
  'dotted_order',
  'name',
  'run_type',
  'status',
  'start_time',
  'end_time',
  'first_token_time',
  'latency',
  'first_token_latency',
  'error',
  'tags',
  'thread_id',
  'tenant_id',
  'model',
  'provider',
  'prompt_tokens',
  'completion_tokens',
  'total_tokens',
  'prompt_token_details',
  'completion_token_details',
  'prompt_cost',
  'completion_cost',
  'total_cost',
  'prompt_cost_details',
  'completion_cost_details',
  'reference_example_id',
  'metadata',
  'attributes',
  'extra',
  'inputs',
  'outputs',
  'events',
  'serialized',
  'inputs_preview',
  'outputs_preview',
  'attachments',
  'revision',
  'merge_rank',
  'merge_state',
  'created_at',
  'updated_at',
] as const;

/** Bits of `keep`: the payload stays as it is in the database, with what was derived from it. */
const KEEP: Record<PayloadField, number> = { inputs: 1, outputs: 2, events: 4, serialized: 8 };

/** Of the columns an update leaves alone when its bit of `keep` is set. */
export const KEPT_COLUMNS: Readonly<Record<string, number>> = {
  inputs: KEEP.inputs,
  inputs_preview: KEEP.inputs,
  outputs: KEEP.outputs,
  outputs_preview: KEEP.outputs,
  events: KEEP.events,
  serialized: KEEP.serialized,
};

/** What the row says about itself besides the draft. Times are microseconds since the epoch. */
export interface RowFacts {
  readonly day: string;
  readonly defaultProjectId: string;
  readonly revision: number;
  readonly createdUs: number;
  readonly updatedUs: number;
  /** Of the stored row, when its events stay and are not read. */
  readonly storedFirstTokenUs?: number | undefined;
  /** Where a run stands that does not say it; without it, as if its parent were not there. */
  readonly place?: Place | undefined;
}

export interface RunRow {
  readonly draft: RunDraft;
  readonly facts: RowFacts;
  readonly projectId: string;
  readonly traceId: string;
  readonly dottedOrder: string;
  readonly startUs: number;
  readonly status: string;
  readonly keep: number;
}

/** A time or nothing: what is no time was said elsewhere to be refused. */
function parseTimeUs(value: unknown): number | undefined {
  const us = parseWireTime(value);
  return us === undefined || Number.isNaN(us) ? undefined : us;
}

/** Fields whose column may not be null and was filled in for want of better knowledge. */
const DEFAULTED = ['projectId', 'traceId', 'dottedOrder', 'name', 'runType', 'startUs', 'tags'] as const;

const isRead = (payload: Payload | StoredPayload | undefined): payload is Payload =>
  payload !== undefined && 'text' in payload;

/** Best knowledge of when a run started that does not depend on when we heard of it; then that. */
export function startOf(draft: RunDraft, receivedUs: number): number {
  if (draft.startUs !== undefined) return draft.startUs;
  const segment = draft.dottedOrder?.slice(-58, -36);
  if (segment !== undefined) {
    const iso = segment.replace(/^(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)(\d{6})Z$/, '$1-$2-$3T$4:$5:$6.$7Z');
    const parsed = parseTimeUs(iso);
    if (parsed !== undefined) return parsed;
  }
  const idMs = uuidTimeMs(draft.id);
  return idMs === undefined ? receivedUs : idMs * 1_000;
}

export function buildRow(draft: RunDraft, facts: RowFacts): RunRow {
  const startUs = startOf(draft, facts.createdUs);
  const { traceId, dottedOrder } = placeOf(draft, startUs, facts.place);
  let keep = 0;
  for (const field of PAYLOAD_FIELDS) {
    if (draft[field] !== undefined && !isRead(draft[field])) keep |= KEEP[field];
  }
  return {
    draft,
    facts,
    projectId: draft.projectId ?? facts.defaultProjectId,
    traceId,
    dottedOrder,
    startUs,
    status: runStatus({ error: draft.error, endUs: draft.endUs }),
    keep,
  };
}

function placeOf(draft: RunDraft, startUs: number, known: Place | undefined): Place {
  const { id, parentRunId, traceId, dottedOrder } = draft;
  if (traceId !== undefined && dottedOrder !== undefined) return { traceId, dottedOrder };
  if (known !== undefined) {
    return { traceId: traceId ?? known.traceId, dottedOrder: dottedOrder ?? known.dottedOrder };
  }
  return placeOfOrphan({
    id,
    parentRunId,
    segment: dottedSegment(startUs, id),
    said: { traceId, dottedOrder },
  });
}

/** Whether usage can only be known with the outputs at hand. */
export const needsOutputs = (draft: RunDraft): boolean =>
  (draft.runType === 'llm' || draft.runType === 'embedding') &&
  draft.outputs !== undefined &&
  !isRead(draft.outputs);

interface MergeState {
  /** Ranks that differ from merge_rank. */
  readonly r?: Record<string, number>;
  /** Columns that hold a default, not something a client said. */
  readonly a?: readonly string[];
  /** 0: no create event has come yet. */
  readonly c?: 0;
}

function mergeStateOf(draft: RunDraft): string | undefined {
  const absent = DEFAULTED.filter((field) => draft[field] === undefined);
  // A run without tags is ordinary; its empty list needs no remark.
  const noteworthy = absent.filter((field) => field !== 'tags');
  if (draft.ranks === undefined && noteworthy.length === 0 && draft.created) return undefined;
  const state: MergeState = {
    ...(draft.ranks === undefined ? {} : { r: draft.ranks }),
    ...(noteworthy.length === 0 ? {} : { a: noteworthy }),
    ...(draft.created ? {} : { c: 0 as const }),
  };
  return JSON.stringify(state);
}

const mergeStateFrom = (text: string | null): MergeState =>
  text === null ? {} : (JSON.parse(text) as MergeState);

/** Fields of a stored row, by their names in a draft, that hold a default and not something a client said. */
export const unsaidFields = (mergeState: string | null): ReadonlySet<string> =>
  new Set(mergeStateFrom(mergeState).a);

const EMPTY: JsonObject = {};
const jsonText = (value: object | undefined): string | undefined =>
  value === undefined ? undefined : JSON.stringify(value);
const seconds = (fromUs: number, toUs: number): number => Math.max(0, toUs - fromUs) / 1_000_000;

/** Writes one row: COLUMNS, then `keep` where the target is the stage. */
export function encodeRow(out: CopyBuffer, row: RunRow, target: 'runs' | 'stage'): void {
  const { draft, facts } = row;
  const metadata = draft.metadata ?? EMPTY;
  const extra = draft.extra ?? EMPTY;
  const usage: Usage | undefined =
    draft.runType === 'llm' || draft.runType === 'embedding'
      ? usageOf(isRead(draft.outputs) ? draft.outputs.value : undefined, metadata)
      : undefined;
  const firstToken = isRead(draft.events)
    ? firstTokenUs(draft.events.value, parseTimeUs)
    : facts.storedFirstTokenUs;

  out.row(COLUMNS.length + (target === 'stage' ? 1 : 0));
  out.uuid(draft.workspaceId);
  out.uuid(draft.id);
  out.date(facts.day);
  out.uuid(row.projectId);
  out.uuid(row.traceId);
  out.uuid(draft.parentRunId);
  out.text(row.dottedOrder);
  out.text(draft.name ?? '');
  out.text(draft.runType ?? 'chain');
  out.text(row.status);
  out.timestamp(row.startUs);
  out.timestamp(draft.endUs);
  out.timestamp(firstToken);
  out.float8(draft.endUs === undefined ? undefined : seconds(row.startUs, draft.endUs));
  out.float8(firstToken === undefined ? undefined : seconds(row.startUs, firstToken));
  out.text(draft.error);
  out.textArray(draft.tags ?? []);
  out.text(threadOf(metadata));
  out.text(tenantOf(metadata));
  out.text(modelOf(metadata, extra));
  out.text(providerOf(metadata));
  out.int8(usage?.promptTokens);
  out.int8(usage?.completionTokens);
  out.int8(usage?.totalTokens);
  out.jsonb(jsonText(usage?.promptTokenDetails));
  out.jsonb(jsonText(usage?.completionTokenDetails));
  out.numeric(usage?.promptCost);
  out.numeric(usage?.completionCost);
  out.numeric(usage?.totalCost);
  out.jsonb(jsonText(usage?.promptCostDetails));
  out.jsonb(jsonText(usage?.completionCostDetails));
  out.uuid(draft.referenceExampleId);
  const metadataText = JSON.stringify(metadata);
  out.text(metadataText);
  out.jsonb(isFlat(metadata) ? metadataText : JSON.stringify(flattenMetadata(metadata)));
  out.text(JSON.stringify(extra));
  for (const field of PAYLOAD_FIELDS) {
    const payload = draft[field];
    out.text(isRead(payload) ? payload.text : undefined);
  }
  out.text(isRead(draft.inputs) ? previewOf(draft.inputs.value, draft.inputs.text) : undefined);
  out.text(isRead(draft.outputs) ? previewOf(draft.outputs.value, draft.outputs.text) : undefined);
  out.jsonb(jsonText(draft.attachments));
  out.int8(facts.revision);
  out.int8(draft.rank);
  out.text(mergeStateOf(draft));
  out.timestamp(facts.createdUs);
  out.timestamp(facts.updatedUs);
  if (target === 'stage') out.int4(row.keep);
}

/** What the writer reads of a stored row before it merges into it. Payloads only say whether they are there. */
export const STORED_COLUMNS = `
  r.workspace_id, r.id, r.day::text as day, r.project_id, r.trace_id, r.parent_run_id, r.dotted_order, r.name, r.run_type,
  r.status, (extract(epoch from r.start_time) * 1000000)::bigint as start_us,
  (extract(epoch from r.end_time) * 1000000)::bigint as end_us,
  (extract(epoch from r.first_token_time) * 1000000)::bigint as first_token_us,
  r.error, r.tags, r.reference_example_id, r.metadata, r.extra, r.attachments, r.revision, r.merge_rank, r.merge_state,
  (extract(epoch from r.created_at) * 1000000)::bigint as created_us,
  r.inputs is not null as inputs, r.outputs is not null as outputs, r.events is not null as events,
  r.serialized is not null as serialized`;

export interface StoredRow {
  workspace_id: string;
  id: string;
  day: string;
  project_id: string;
  trace_id: string;
  parent_run_id: string | null;
  dotted_order: string;
  name: string;
  run_type: string;
  status: string;
  start_us: number;
  end_us: number | null;
  first_token_us: number | null;
  error: string | null;
  tags: string[];
  reference_example_id: string | null;
  metadata: string;
  extra: string;
  attachments: AttachmentRef[] | null;
  revision: number;
  merge_rank: number;
  merge_state: string | null;
  created_us: number;
  inputs: boolean;
  outputs: boolean;
  events: boolean;
  serialized: boolean;
}

const orUndefined = <T>(value: T | null): T | undefined => value ?? undefined;

function objectFrom(text: string): JsonObject | undefined {
  const value = JSON.parse(text) as JsonObject;
  return Object.keys(value).length === 0 ? undefined : value;
}

/** The draft a stored row stands for; `payloads` are those that were read for it. */
export function draftFromStored(
  row: StoredRow,
  payloads: Partial<Record<PayloadField, string>> = {},
): RunDraft {
  const state = mergeStateFrom(row.merge_state);
  const absent = new Set(state.a);
  const unless = <T>(field: string, value: T): T | undefined => (absent.has(field) ? undefined : value);
  const payload = (field: PayloadField): Payload | StoredPayload | undefined => {
    const text = payloads[field];
    if (text !== undefined) return { text, value: JSON.parse(text) as JsonValue };
    return row[field] ? { stored: true } : undefined;
  };
  return {
    workspaceId: row.workspace_id,
    id: row.id,
    created: state.c !== 0,
    traceId: unless('traceId', row.trace_id),
    parentRunId: orUndefined(row.parent_run_id),
    dottedOrder: unless('dottedOrder', row.dotted_order),
    projectId: unless('projectId', row.project_id),
    name: unless('name', row.name),
    runType: unless('runType', row.run_type),
    startUs: unless('startUs', row.start_us),
    endUs: orUndefined(row.end_us),
    error: orUndefined(row.error),
    referenceExampleId: orUndefined(row.reference_example_id),
    inputs: payload('inputs'),
    outputs: payload('outputs'),
    events: payload('events'),
    serialized: payload('serialized'),
    tags: row.tags.length === 0 ? undefined : row.tags,
    metadata: objectFrom(row.metadata),
    extra: objectFrom(row.extra),
    attachments: orUndefined(row.attachments),
    rank: row.merge_rank,
    ranks: state.r,
  };
}
