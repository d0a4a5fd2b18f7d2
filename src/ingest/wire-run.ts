/**
 * Translates one run object of the LangSmith protocol into a RunEvent, or says why it cannot be one. Values are
 * read as leniently as the SDKs write them: null, absent, `tags: []` and `extra: {}` say nothing, numbers may be
 * times. Runs a thousand times per second: no schema library, no closures per field.
 */
import { isUuid } from '../platform/ids.js';
import { isRunType } from '../runs/run.js';
import type { RunType } from '../runs/run.js';
import { dottedStart, parseDottedOrder } from './dotted-order.js';
import type { DottedOrder } from './dotted-order.js';
import { INTAKE_LIMITS, NOTES_KEY } from './limits.js';
import { cutPayload, payloadFromValue, shallowEnough } from './payload.js';
import type { AttachmentRef, JsonObject, JsonValue, Payload, Refusal, RunEvent } from './run-event.js';
import type { RunTexts } from './run-texts.js';
import { parseWireTime } from './wire-time.js';

/** The fields that may arrive as parts of their own. */
export const PART_FIELDS = ['inputs', 'outputs', 'events', 'extra', 'error', 'serialized'] as const;
export type PartField = (typeof PART_FIELDS)[number];

export const isPartField = (field: string): field is PartField =>
  (PART_FIELDS as readonly string[]).includes(field);

/** All fields of a run object that are read. */
export const WIRE_FIELDS: ReadonlySet<string> = new Set([
  ...PART_FIELDS,
  'id',
  'trace_id',
  'parent_run_id',
  'dotted_order',
  'start_time',
  'end_time',
  'session_id',
  'session_name',
  'name',
  'run_type',
  'reference_example_id',
  'tags',
  'revision_id',
]);

/** One item of a request: a run object, and what came beside it. Texts in it are clean. */
export interface WireRun {
  readonly kind: 'create' | 'update';
  /** From the path or the part's name. */
  readonly id?: string | undefined;
  readonly run: JsonObject;
  readonly parts?: ReadonlyMap<PartField, Payload>;
  /** What the payloads in `run` came as, where that is known. */
  readonly texts?: RunTexts | undefined;
  readonly attachments?: readonly AttachmentRef[];
  readonly notes?: readonly string[];
  readonly mayBeDeep: boolean;
  /** Whether the item may be larger than a run may be; false spares measuring it. */
  readonly mayBeLarge: boolean;
}

export interface TranslateContext {
  readonly workspaceId: string;
  /** Microseconds since the epoch. */
  readonly nowUs: number;
  newId(): string;
}

type Draft = { -readonly [K in keyof RunEvent]: RunEvent[K] };

class FieldProblem extends Error {
  constructor(
    readonly field: string | undefined,
    message: string,
  ) {
    super(message);
  }
}

export function isRefusal(result: RunEvent | Refusal): result is Refusal {
  return 'message' in result;
}

/** The id an item can be named by in an answer: anything short the client sent as one. */
function shownId(wire: Pick<WireRun, 'id' | 'run'>): string | undefined {
  const id = wire.id ?? wire.run['id'];
  return typeof id === 'string' && id.length <= 64 ? id : undefined;
}

export function translateRun(wire: WireRun, context: TranslateContext): RunEvent | Refusal {
  try {
    return translate(wire, context);
  } catch (error) {
    if (!(error instanceof FieldProblem)) throw error;
    return { id: shownId(wire), field: error.field, message: error.message };
  }
}

function translate(wire: WireRun, context: TranslateContext): RunEvent {
  const { run, kind } = wire;
  const notes: string[] = wire.notes === undefined ? [] : [...wire.notes];
  const dotted = readDottedOrder(run['dotted_order']);
  const event: Draft = { kind, workspaceId: context.workspaceId, id: readId(wire, dotted, context) };
  readTimes(event, run, dotted);
  readPlace(event, run, dotted, context, notes);
  readProject(event, run);
  const name = readText(run['name'], 'name');
  if (name !== undefined) event.name = limitName(name, notes);
  const runType = readRunType(run['run_type']);
  if (runType !== undefined) event.runType = runType;
  const example = readUuid(run['reference_example_id'], 'reference_example_id');
  if (example !== undefined) event.referenceExampleId = example;
  const tags = readTags(run['tags'], notes);
  if (tags !== undefined) event.tags = tags;
  readPayloads(event, wire, notes);
  const error = wire.parts?.get('error')?.value ?? run['error'];
  if (error !== undefined && error !== null && error !== '') {
    event.error = typeof error === 'string' ? error : payloadFromValue(error, wire.mayBeDeep).payload.text;
  }
  readExtra(event, wire, notes);
  if (wire.attachments !== undefined && wire.attachments.length > 0) event.attachments = wire.attachments;
  if (wire.mayBeLarge) limitSize(event, notes);
  if (notes.length > 0) event.extra = withNotes(event.extra, notes);
  return event;
}

function readUuid(value: JsonValue | undefined, field: string): string | undefined {
  if (value === undefined || value === null || value === '') return undefined;
  if (!isUuid(value)) throw new FieldProblem(field, `${field} is not a UUID.`);
  return value.toLowerCase();
}

function readText(value: JsonValue | undefined, field: string): string | undefined {
  if (value === undefined || value === null) return undefined;
  if (typeof value === 'string') return value;
  if (typeof value === 'number' || typeof value === 'boolean') return String(value);
  throw new FieldProblem(field, `${field} is not a string.`);
}

function readDottedOrder(value: JsonValue | undefined): DottedOrder | undefined {
  if (value === undefined || value === null || value === '') return undefined;
  const dotted = typeof value === 'string' ? parseDottedOrder(value) : undefined;
  if (dotted === undefined) {
    throw new FieldProblem(
      'dotted_order',
      'dotted_order is not a chain of `YYYYMMDDTHHMMSSffffffZ` times followed by run ids.',
    );
  }
  return dotted;
}

function readId(wire: WireRun, dotted: DottedOrder | undefined, context: TranslateContext): string {
  const given = readUuid(wire.run['id'], 'id');
  const outer = readUuid(wire.id, 'id');
  if (given !== undefined && outer !== undefined && given !== outer) {
    throw new FieldProblem('id', 'The id in the run differs from the one it was sent under.');
  }
  const id = given ?? outer;
  if (id === undefined) {
    if (dotted !== undefined) return dotted.id;
    if (wire.kind === 'create') return context.newId();
    throw new FieldProblem('id', 'An update needs the id of its run.');
  }
  if (dotted !== undefined && dotted.id !== id) {
    throw new FieldProblem(
      'dotted_order',
      'The last segment of dotted_order must end with the id of the run.',
    );
  }
  return id;
}

function readTime(value: JsonValue | undefined, field: string): number | undefined {
  const us = parseWireTime(value);
  if (us !== undefined && Number.isNaN(us)) {
    throw new FieldProblem(
      field,
      `${field} is neither an ISO 8601 time nor epoch milliseconds within the years 1 to 9999.`,
    );
  }
  return us;
}

/** An update without a start says nothing about it; a create without one started when its dotted_order says. */
function readTimes(event: Draft, run: JsonObject, dotted: DottedOrder | undefined): void {
  const start =
    readTime(run['start_time'], 'start_time') ??
    (event.kind === 'create' ? startOfDotted(dotted) : undefined);
  if (start !== undefined) event.startUs = start;
  const end = readTime(run['end_time'], 'end_time');
  if (end !== undefined) event.endUs = end;
}

function startOfDotted(dotted: DottedOrder | undefined): number | undefined {
  if (dotted === undefined) return undefined;
  const us = parseWireTime(dottedStart(dotted));
  // 2026-13-45 fits the grammar; the run is then placed by its id.
  return us === undefined || Number.isNaN(us) ? undefined : us;
}

/** Trace, parent and place in the tree, as far as the client says them: the writer knows the rest. */
function readPlace(
  event: Draft,
  run: JsonObject,
  dotted: DottedOrder | undefined,
  context: TranslateContext,
  notes: string[],
): void {
  const trace = readUuid(run['trace_id'], 'trace_id');
  const parent = readUuid(run['parent_run_id'], 'parent_run_id');
  if (dotted !== undefined) {
    if (trace !== undefined && trace !== dotted.traceId) {
      throw new FieldProblem('trace_id', 'trace_id must be the run id of the first segment of dotted_order.');
    }
    if (parent !== undefined && parent !== dotted.parentId) {
      notes.push('parent_run_id: contradicts dotted_order, which was followed');
    }
    event.dottedOrder = dotted.text;
    event.traceId = dotted.traceId;
    if (dotted.parentId !== undefined) event.parentRunId = dotted.parentId;
    if (event.kind === 'create') event.startUs ??= context.nowUs;
    return;
  }
  if (parent !== undefined) event.parentRunId = parent;
  if (trace !== undefined) event.traceId = trace;
  if (event.kind === 'create') event.startUs ??= context.nowUs;
}

function readProject(event: Draft, run: JsonObject): void {
  const id = readUuid(run['session_id'], 'session_id');
  if (id !== undefined) {
    event.project = { id };
    return;
  }
  const name = readText(run['session_name'], 'session_name');
  if (name === undefined || name === '') return;
  if (name.length > INTAKE_LIMITS.projectNameLength) {
    throw new FieldProblem(
      'session_name',
      `session_name is longer than ${INTAKE_LIMITS.projectNameLength} characters.`,
    );
  }
  event.project = { name };
}

function limitName(name: string, notes: string[]): string {
  if (name.length <= INTAKE_LIMITS.nameLength) return name;
  notes.push(`name: cut at ${INTAKE_LIMITS.nameLength} characters`);
  return name.slice(0, INTAKE_LIMITS.nameLength).toWellFormed();
}

function readRunType(value: JsonValue | undefined): RunType | undefined {
  if (value === undefined || value === null) return undefined;
  if (isRunType(value)) return value;
  const lower = typeof value === 'string' ? value.toLowerCase() : undefined;
  if (isRunType(lower)) return lower;
  throw new FieldProblem(
    'run_type',
    'run_type must be one of tool, chain, llm, retriever, embedding, prompt, parser.',
  );
}

function readTags(value: JsonValue | undefined, notes: string[]): readonly string[] | undefined {
  if (value === undefined || value === null) return undefined;
  if (!Array.isArray(value)) throw new FieldProblem('tags', 'tags is not a list of strings.');
  const tags: string[] = [];
  let cut = 0;
  for (const item of value) {
    const tag = readText(item, 'tags');
    if (tag === undefined) continue;
    if (tags.length === INTAKE_LIMITS.tags) {
      notes.push(`tags: only the first ${INTAKE_LIMITS.tags} of ${value.length} are kept`);
      break;
    }
    if (tag.length > INTAKE_LIMITS.tagLength) cut += 1;
    tags.push(
      tag.length > INTAKE_LIMITS.tagLength ? tag.slice(0, INTAKE_LIMITS.tagLength).toWellFormed() : tag,
    );
  }
  if (cut > 0) notes.push(`tags: ${cut} cut at ${INTAKE_LIMITS.tagLength} characters`);
  return tags.length === 0 ? undefined : tags;
}

const isEmpty = (value: JsonValue): boolean =>
  typeof value === 'object' && value !== null && Object.keys(value).length === 0;

function readPayload(
  wire: WireRun,
  field: 'inputs' | 'outputs' | 'events' | 'serialized',
  notes: string[],
): Payload | undefined {
  const part = wire.parts?.get(field);
  if (part !== undefined) return part.value === null ? undefined : part;
  const value = wire.run[field];
  if (value === undefined || value === null) return undefined;
  const { payload, note } = payloadFromValue(value, wire.mayBeDeep, wire.texts?.[field]);
  if (note !== undefined) notes.push(`${field}: ${note}`);
  return payload;
}

/** Every client sends `events: []` and `serialized: {}` with messages that mean neither. */
function readPayloads(event: Draft, wire: WireRun, notes: string[]): void {
  const inputs = readPayload(wire, 'inputs', notes);
  if (inputs !== undefined) event.inputs = inputs;
  const outputs = readPayload(wire, 'outputs', notes);
  if (outputs !== undefined) event.outputs = outputs;
  const events = readPayload(wire, 'events', notes);
  if (events !== undefined && !isEmpty(events.value)) event.events = events;
  const serialized = readPayload(wire, 'serialized', notes);
  if (serialized !== undefined && !isEmpty(serialized.value)) event.serialized = serialized;
}

const isObject = (value: JsonValue | undefined): value is JsonObject =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

function readExtra(event: Draft, wire: WireRun, notes: string[]): void {
  const extra = wire.parts?.get('extra')?.value ?? wire.run['extra'];
  const revision = wire.run['revision_id'];
  if (extra !== undefined && extra !== null && !isObject(extra)) {
    // Too deep a part was turned into text before it came here.
    if (typeof extra === 'string' && wire.parts?.has('extra') === true) event.extra = { text: extra };
    else throw new FieldProblem('extra', 'extra is not an object.');
  }
  if (isObject(extra)) {
    const { metadata, ...rest } = extra;
    if (Object.keys(rest).length > 0) event.extra = bounded(rest, 'extra', wire, notes);
    if (isObject(metadata)) {
      if (Object.keys(metadata).length > 0) event.metadata = bounded(metadata, 'metadata', wire, notes);
    } else if (metadata !== undefined && metadata !== null) {
      throw new FieldProblem('extra.metadata', 'extra.metadata is not an object.');
    }
  }
  if (typeof revision === 'string' && revision !== '' && event.metadata?.['revision_id'] === undefined) {
    event.metadata = { ...event.metadata, revision_id: revision };
  }
}

function bounded(object: JsonObject, field: string, wire: WireRun, notes: string[]): JsonObject {
  if (!wire.mayBeDeep) return object;
  const shallow = shallowEnough(object);
  if (shallow.note !== undefined) notes.push(`${field}: ${shallow.note}`);
  return shallow.object;
}

const withNotes = (extra: JsonObject | undefined, notes: readonly string[]): JsonObject => ({
  ...extra,
  [NOTES_KEY]: [...notes],
});

const CUTTABLE = ['inputs', 'outputs', 'events', 'serialized', 'extra', 'metadata', 'error'] as const;

/** Cuts the largest fields, one after the other, until the item fits. */
function limitSize(event: Draft, notes: string[]): void {
  const texts = new Map<(typeof CUTTABLE)[number], { text: string; bytes: number }>();
  let total = 0;
  for (const field of CUTTABLE) {
    const value = event[field];
    if (value === undefined) continue;
    const text =
      field === 'error'
        ? (event.error ?? '')
        : field === 'extra' || field === 'metadata'
          ? JSON.stringify(value)
          : (value as Payload).text;
    const bytes = Buffer.byteLength(text);
    texts.set(field, { text, bytes });
    total += bytes;
  }
  const bySize = [...texts].sort(([, a], [, b]) => b.bytes - a.bytes);
  for (const [field, { text, bytes }] of bySize) {
    if (total <= INTAKE_LIMITS.runFieldBytes) return;
    const cut = cutPayload(text, Math.max(0, bytes - (total - INTAKE_LIMITS.runFieldBytes)));
    if (field === 'error') event.error = cut.value;
    else if (field === 'extra' || field === 'metadata') event[field] = { text: cut.value };
    else event[field] = cut;
    total -= bytes - Buffer.byteLength(cut.text);
    notes.push(
      `${field}: ${bytes} bytes, cut because a run's fields may have ${INTAKE_LIMITS.runFieldBytes} bytes together`,
    );
  }
}
