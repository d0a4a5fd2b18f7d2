/**
 * How events of one run become one run, in whatever order and however often they arrive.
 *
 * Each field is merged by itself: the value with the higher rank wins, and among equal ranks the greater value.
 * That is a maximum over a total order, hence commutative, associative and idempotent: any order and any
 * duplication of events gives one state. The rank of an event is
 *
 *   (update before create, then the later end_time)
 *
 * because a patch speaks later than its post, and a patch that closes the run later than one that does not.
 * An empty object as inputs or outputs ranks below everything: the Python SDK opens a run with `outputs: {}`.
 * metadata and extra merge key by key, each key with a rank of its own. Attachments accumulate.
 */
import type { AttachmentRef, JsonObject, JsonValue, Payload, RunEvent } from './run-event.js';

/** The fields that are merged as a whole. */
export const SCALAR_FIELDS = [
  'traceId',
  'parentRunId',
  'dottedOrder',
  'projectId',
  'name',
  'runType',
  'startUs',
  'endUs',
  'error',
  'referenceExampleId',
] as const;
export const PAYLOAD_FIELDS = ['inputs', 'outputs', 'events', 'serialized'] as const;

export type ScalarField = (typeof SCALAR_FIELDS)[number];
export type PayloadField = (typeof PAYLOAD_FIELDS)[number];
type RankedField = ScalarField | PayloadField | 'tags';

/**
 * A payload that is in the database and was not read. It can win or lose by rank; a tie needs its text
 * (`TieError`), which the writer then loads.
 */
export interface StoredPayload {
  readonly stored: true;
}

/** What is known about a run from any number of its events. Absent fields are unknown. */
export interface RunDraft {
  readonly workspaceId: string;
  readonly id: string;
  /** Whether a create event is among them. */
  created: boolean;
  traceId?: string | undefined;
  parentRunId?: string | undefined;
  dottedOrder?: string | undefined;
  projectId?: string | undefined;
  name?: string | undefined;
  runType?: string | undefined;
  startUs?: number | undefined;
  endUs?: number | undefined;
  error?: string | undefined;
  referenceExampleId?: string | undefined;
  inputs?: Payload | StoredPayload | undefined;
  outputs?: Payload | StoredPayload | undefined;
  events?: Payload | StoredPayload | undefined;
  serialized?: Payload | StoredPayload | undefined;
  tags?: readonly string[] | undefined;
  metadata?: JsonObject | undefined;
  extra?: JsonObject | undefined;
  attachments?: readonly AttachmentRef[] | undefined;
  /** Rank of every field and key that is not in `ranks`. */
  rank: number;
  /** Exceptions: field name, or `m:` / `x:` and the key of metadata / extra. */
  ranks?: Record<string, number> | undefined;
}

// Ranks must stay exact as doubles: 2^52 microseconds reach the year 2112.
const UPDATE_BONUS = 2 ** 52;
const MAX_END = UPDATE_BONUS - 1;
const EMPTY_RANK = -1;

export function eventRank(event: Pick<RunEvent, 'kind' | 'endUs'>): number {
  const end = Math.min(Math.max(event.endUs ?? 0, 0), MAX_END);
  return event.kind === 'update' ? UPDATE_BONUS + end : end;
}

const isEmptyObject = (payload: Payload): boolean =>
  payload.text.length <= 4 &&
  typeof payload.value === 'object' &&
  payload.value !== null &&
  Object.keys(payload.value).length === 0;

/** The draft of a single event. `projectId` is the resolved id of the event's project, if it names one. */
export function draftOf(event: RunEvent, projectId: string | undefined): RunDraft {
  const draft: RunDraft = {
    workspaceId: event.workspaceId,
    id: event.id,
    created: event.kind === 'create',
    traceId: event.traceId,
    parentRunId: event.parentRunId,
    dottedOrder: event.dottedOrder,
    projectId,
    name: event.name,
    runType: event.runType,
    startUs: event.startUs,
    endUs: event.endUs,
    error: event.error,
    referenceExampleId: event.referenceExampleId,
    inputs: event.inputs,
    outputs: event.outputs,
    events: event.events,
    serialized: event.serialized,
    tags: event.tags,
    metadata: event.metadata,
    extra: event.extra,
    attachments: event.attachments && [...event.attachments].sort((x, y) => (x.name < y.name ? -1 : 1)),
    rank: eventRank(event),
    ranks: undefined,
  };
  if (event.inputs !== undefined && isEmptyObject(event.inputs)) (draft.ranks ??= {})['inputs'] = EMPTY_RANK;
  if (event.outputs !== undefined && isEmptyObject(event.outputs)) {
    (draft.ranks ??= {})['outputs'] = EMPTY_RANK;
  }
  return draft;
}

/** Two payloads of equal rank, one of them not read from the database yet. */
export class TieError extends Error {
  constructor(readonly field: PayloadField) {
    super(`The stored ${field} must be read to decide a tie.`);
  }
}

const rankOf = (draft: RunDraft, key: string): number => draft.ranks?.[key] ?? draft.rank;

const isStored = (payload: Payload | StoredPayload): payload is StoredPayload => 'stored' in payload;

/** Longer first, then by code unit: any total order will do as long as it is the same everywhere. */
function compareText(a: string, b: string): number {
  if (a.length !== b.length) return a.length - b.length;
  return a < b ? -1 : a > b ? 1 : 0;
}

function compareJson(a: JsonValue, b: JsonValue): number {
  return compareText(stableText(a), stableText(b));
}

/** JSON with sorted keys, so that equal values have equal texts. */
export function stableText(value: JsonValue): string {
  return JSON.stringify(value, (_key, inner: JsonValue) =>
    typeof inner === 'object' && inner !== null && !Array.isArray(inner)
      ? Object.fromEntries(Object.entries(inner).sort(([x], [y]) => (x < y ? -1 : 1)))
      : inner,
  );
}

function compareField(field: RankedField, a: RunDraft, b: RunDraft): number {
  if (field === 'startUs' || field === 'endUs') return (a[field] ?? 0) - (b[field] ?? 0);
  if (field === 'tags') return compareText(JSON.stringify(a.tags), JSON.stringify(b.tags));
  if (field === 'inputs' || field === 'outputs' || field === 'events' || field === 'serialized') {
    const x = a[field];
    const y = b[field];
    if (x === undefined || y === undefined) return 0;
    if (isStored(x) || isStored(y)) throw new TieError(field);
    return compareText(x.text, y.text);
  }
  return compareText(a[field] ?? '', b[field] ?? '');
}

/** Which of the two holds the winning value of a field; undefined when neither has one. */
function winner(field: RankedField, a: RunDraft, b: RunDraft): RunDraft | undefined {
  if (a[field] === undefined) return b[field] === undefined ? undefined : b;
  if (b[field] === undefined) return a;
  const difference = rankOf(a, field) - rankOf(b, field);
  return (difference === 0 ? compareField(field, a, b) : difference) >= 0 ? a : b;
}

/**
 * The join of two drafts of the same run. Neither is changed.
 * @throws TieError when a payload that was not read ties with another.
 */
export function mergeDrafts(a: RunDraft, b: RunDraft): RunDraft {
  const ranks: Record<string, number> = {};
  const merged: RunDraft = {
    workspaceId: a.workspaceId,
    id: a.id,
    created: a.created || b.created,
    rank: Math.max(a.rank, b.rank),
  };
  const take = (field: RankedField): void => {
    const from = winner(field, a, b);
    if (from === undefined) return;
    Object.assign(merged, { [field]: from[field] });
    ranks[field] = rankOf(from, field);
  };
  for (const field of SCALAR_FIELDS) take(field);
  for (const field of PAYLOAD_FIELDS) take(field);
  take('tags');
  merged.metadata = mergeObjects('m:', a, a.metadata, b, b.metadata, ranks);
  merged.extra = mergeObjects('x:', a, a.extra, b, b.extra, ranks);
  merged.attachments = mergeAttachments(a.attachments, b.attachments);
  merged.ranks = exceptions(ranks, merged.rank);
  return merged;
}

function mergeObjects(
  prefix: string,
  a: RunDraft,
  left: JsonObject | undefined,
  b: RunDraft,
  right: JsonObject | undefined,
  ranks: Record<string, number>,
): JsonObject | undefined {
  if (left === undefined && right === undefined) return undefined;
  // Without a prototype: a key called __proto__ is a key like any other.
  const merged = Object.create(null) as JsonObject;
  for (const [key, value] of Object.entries(left ?? {})) {
    merged[key] = value;
    ranks[prefix + key] = rankOf(a, prefix + key);
  }
  for (const [key, value] of Object.entries(right ?? {})) {
    const rank = rankOf(b, prefix + key);
    const present = merged[key];
    const other = ranks[prefix + key];
    const wins =
      present === undefined ||
      other === undefined ||
      (rank === other ? compareJson(value, present) > 0 : rank > other);
    if (!wins) continue;
    merged[key] = value;
    ranks[prefix + key] = rank;
  }
  return merged;
}

/** Same name twice: the larger, then the one whose type sorts last; the bytes are replaced by the intake. */
function mergeAttachments(
  a: readonly AttachmentRef[] | undefined,
  b: readonly AttachmentRef[] | undefined,
): readonly AttachmentRef[] | undefined {
  if (a === undefined) return b;
  if (b === undefined) return a;
  const byName = new Map(a.map((ref) => [ref.name, ref]));
  for (const ref of b) {
    const other = byName.get(ref.name);
    if (
      other === undefined ||
      ref.size > other.size ||
      (ref.size === other.size && ref.mimeType > other.mimeType)
    ) {
      byName.set(ref.name, ref);
    }
  }
  return [...byName.values()].sort((x, y) => (x.name < y.name ? -1 : 1));
}

function exceptions(ranks: Record<string, number>, common: number): Record<string, number> | undefined {
  let found: Record<string, number> | undefined;
  for (const [key, rank] of Object.entries(ranks)) {
    if (rank !== common) (found ??= {})[key] = rank;
  }
  return found;
}
