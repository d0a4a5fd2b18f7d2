/**
 * Gathers the parts of POST /runs/multipart into runs, feedback and attachments. Parts may come in any order and
 * interleaved; a broken one is refused with its run's id and field, its neighbours are kept. Attachments go to the
 * store while the body still arrives.
 */
import { isUtf8 } from 'node:buffer';
import type { AttachmentService, AttachmentUpload } from '../attachments/attachment.service.js';
import type { StoredAttachment } from '../attachments/attachment.store.js';
import { readLargeField, readLargeRun } from '../ingest/large-run.js';
import { INTAKE_LIMITS } from '../ingest/limits.js';
import { payloadFromText } from '../ingest/payload.js';
import type { AttachmentRef, JsonObject, JsonValue, Payload, Refusal } from '../ingest/run-event.js';
import { isPartField } from '../ingest/wire-run.js';
import type { PartField, WireRun } from '../ingest/wire-run.js';
import { AppError } from '../platform/errors.js';
import { isUuid } from '../platform/ids.js';
import { JsonCursor, JsonShapeError, parseInTurns } from '../platform/json-cursor.js';
import { cleanJsonText, cleanText, MAX_JSON_DEPTH, takesLongToParse } from '../platform/json-text.js';
import type { WorkspaceScope } from '../tenancy/principal.js';
import { JSON_LIMITS } from './body.js';
import type { Lease } from './body.js';
import type { PartHandler, PartHeaders } from './multipart.js';

const RUN_PART = /^(post|patch)\.([^.]+)(?:\.(.+))?$/;
const ATTACHMENT_PART = /^attachment\.([^.]+)\.(.+)$/s;
const FEEDBACK_PART = /^feedback\.([^.]+)$/;

/** Of the fields in a part of their own; the main part is `undefined`. */
interface RunParts {
  readonly kind: WireRun['kind'];
  readonly id: string;
  main: JsonObject | undefined;
  readonly fields: Map<PartField, Payload>;
  readonly notes: string[];
  bytes: number;
  /** A part that cannot be read refuses the whole run, by the field it holds. */
  refusal: Refusal | undefined;
}

type Current =
  | { readonly kind: 'json'; readonly name: string; readonly chunks: Buffer[] }
  | { readonly kind: 'attachment'; readonly runId: string; readonly upload: AttachmentUpload }
  | { readonly kind: 'ignored' };

export interface CollectedRuns {
  /** Posts before patches. */
  readonly runs: readonly WireRun[];
  readonly feedback: readonly JsonObject[];
  readonly refusals: readonly Refusal[];
}

export class RunPartsCollector implements PartHandler {
  readonly #scope: WorkspaceScope;
  readonly #attachments: AttachmentService;
  readonly #lease: Lease;
  readonly #runs = new Map<string, RunParts>();
  readonly #feedback: JsonObject[] = [];
  readonly #refusals: Refusal[] = [];
  readonly #stored = new Map<string, AttachmentRef[]>();
  /** All that were stored, those too that others of this body replaced. */
  readonly #finished: StoredAttachment[] = [];
  readonly #started = new Map<string, Set<string>>();
  readonly #open = new Set<AttachmentUpload>();
  #current: Current = { kind: 'ignored' };
  #jsonBytes = 0;
  #work: (() => Promise<void>)[] = [];

  constructor(deps: { scope: WorkspaceScope; attachments: AttachmentService; lease: Lease }) {
    this.#scope = deps.scope;
    this.#attachments = deps.attachments;
    this.#lease = deps.lease;
  }

  onPart(headers: PartHeaders): void {
    const attachment = ATTACHMENT_PART.exec(headers.name);
    this.#current =
      attachment === null
        ? { kind: 'json', name: headers.name, chunks: [] }
        : this.#beginAttachment(attachment, headers.contentType);
  }

  onData(data: Buffer): void {
    const current = this.#current;
    if (current.kind === 'json') {
      this.#jsonBytes += data.length;
      if (this.#jsonBytes > JSON_LIMITS.maxDecodedBytes) {
        throw new AppError(
          'PAYLOAD_TOO_LARGE',
          `Runs without their attachments may have ${JSON_LIMITS.maxDecodedBytes} bytes per request.`,
        );
      }
      this.#lease.add(data.length);
      current.chunks.push(data);
    } else if (current.kind === 'attachment') {
      current.upload.push(data);
      if (current.upload.hasFullChunk) this.#work.push(() => current.upload.flush());
    }
  }

  onPartEnd(): void {
    const current = this.#current;
    this.#current = { kind: 'ignored' };
    if (current.kind === 'json') this.#takeJson(current.name, current.chunks);
    else if (current.kind === 'attachment') {
      this.#work.push(() => this.#finishAttachment(current.runId, current.upload));
    }
  }

  /** Waits for what the bytes so far started. Called between chunks, which is what slows a fast client down. */
  async settle(): Promise<void> {
    const work = this.#work;
    this.#work = [];
    for (const step of work) await step();
  }

  /** Removes what attachments left behind, of a body that brought no runs. */
  async abort(): Promise<void> {
    for (const upload of this.#open) await upload.abort();
    await this.keepOnly([]);
  }

  /** Removes the attachments of runs that were refused: nothing would ever show them. */
  async keepOnly(acceptedRunIds: readonly string[]): Promise<void> {
    const accepted = new Set(acceptedRunIds);
    const refused = this.#finished.filter(({ runId }) => !accepted.has(runId));
    await this.#attachments.discardWithoutRun(this.#scope, refused);
  }

  collected(): CollectedRuns {
    const refusals = [...this.#refusals];
    const runs: WireRun[] = [];
    for (const kind of ['create', 'update'] as const) {
      for (const parts of this.#runs.values()) {
        if (parts.kind !== kind) continue;
        if (parts.refusal === undefined) {
          runs.push(this.#wireRun(parts));
        } else {
          refusals.push(parts.refusal);
          // No run that consists of files alone, in place of the one that was refused.
          this.#stored.delete(parts.id.toLowerCase());
        }
      }
    }
    // Files of runs this body says nothing else about.
    for (const [id, attachments] of this.#stored) {
      runs.push({ kind: 'update', id, run: {}, attachments, mayBeDeep: false, mayBeLarge: false });
    }
    return { runs, feedback: this.#feedback, refusals };
  }

  #wireRun(parts: RunParts): WireRun {
    const attachments = this.#stored.get(parts.id.toLowerCase());
    this.#stored.delete(parts.id.toLowerCase());
    return {
      kind: parts.kind,
      id: parts.id,
      run: parts.main ?? {},
      parts: parts.fields,
      notes: parts.notes,
      ...(attachments === undefined ? {} : { attachments }),
      // Depth was seen to part by part.
      mayBeDeep: false,
      mayBeLarge: parts.bytes > INTAKE_LIMITS.runFieldBytes,
    };
  }

  #takeJson(name: string, chunks: readonly Buffer[]): void {
    const bytes = chunks.length === 1 && chunks[0] !== undefined ? chunks[0] : Buffer.concat(chunks);
    const text = isUtf8(bytes) ? bytes.toString('utf8') : undefined;
    const field = RUN_PART.exec(name)?.[3];
    if (text === undefined || !takesLongToParse(text)) {
      this.#takePart(name, readPart(text, field), bytes.length);
    } else {
      this.#work.push(async () => this.#takePart(name, await readLargePart(text, name, field), bytes.length));
    }
  }

  /** `value` is undefined for what is no JSON. */
  #takePart(name: string, value: PartValue | undefined, bytes: number): void {
    const run = RUN_PART.exec(name);
    if (run !== null) {
      this.#takeRunPart(run, value, bytes);
      return;
    }
    const feedback = FEEDBACK_PART.exec(name);
    if (feedback === null) {
      this.#refusals.push({
        id: undefined,
        field: name.slice(0, 100),
        message: 'Parts are called post.*, patch.*, attachment.* or feedback.*.',
      });
      return;
    }
    if (value === undefined || !isObject(value.payload.value)) {
      this.#refusals.push({ id: feedback[1], field: 'feedback', message: 'The part is not a JSON object.' });
    } else {
      this.#feedback.push({ id: feedback[1] ?? null, ...value.payload.value });
    }
  }

  #takeRunPart(
    [, verb, id = '', field]: readonly (string | undefined)[],
    value: PartValue | undefined,
    bytes: number,
  ): void {
    const parts = this.#partsOf(verb === 'post' ? 'create' : 'update', id);
    if (field !== undefined && !isPartField(field)) {
      this.#refusals.push({
        id,
        field: field.slice(0, 100),
        message: 'No field of a run comes as a part of this name.',
      });
      return;
    }
    if (value === undefined) {
      parts.refusal ??= { id, field, message: 'The part is not valid JSON in UTF-8.' };
      return;
    }
    parts.bytes += bytes;
    parts.notes.push(...value.notes);
    if (field !== undefined) parts.fields.set(field, value.payload);
    else if (isObject(value.payload.value)) {
      parts.main = { ...parts.main, ...value.payload.value };
      for (const [name, payload] of value.fields ?? []) {
        if (!parts.fields.has(name)) parts.fields.set(name, payload);
      }
    } else parts.refusal ??= { id, field, message: 'The run is not a JSON object, or nests too deep.' };
  }

  #partsOf(kind: WireRun['kind'], id: string): RunParts {
    const key = `${kind}.${id}`;
    let parts = this.#runs.get(key);
    if (parts === undefined) {
      if (this.#runs.size === INTAKE_LIMITS.runsPerRequest) throw tooManyRuns();
      parts = { kind, id, main: undefined, fields: new Map(), notes: [], bytes: 0, refusal: undefined };
      this.#runs.set(key, parts);
    }
    return parts;
  }

  #beginAttachment(match: RegExpExecArray, mimeType: string | undefined): Current {
    const [, id = '', raw = ''] = match;
    const name = cleanText(raw);
    const refuse = (message: string): Current => {
      this.#refusals.push({ id, field: `attachment.${name.slice(0, 100)}`, message });
      return { kind: 'ignored' };
    };
    if (!isUuid(id)) return refuse('The part does not name a run.');
    if (name.length > INTAKE_LIMITS.attachmentNameLength) {
      return refuse(`An attachment's name may have ${INTAKE_LIMITS.attachmentNameLength} characters.`);
    }
    const runId = id.toLowerCase();
    const names = this.#started.get(runId) ?? new Set<string>();
    this.#started.set(runId, names.add(name));
    if (names.size > INTAKE_LIMITS.attachmentsPerRun) {
      return refuse(`A run may have ${INTAKE_LIMITS.attachmentsPerRun} attachments; the run itself is kept.`);
    }
    const upload = this.#attachments.begin(this.#scope, { runId, name, mimeType });
    this.#open.add(upload);
    return { kind: 'attachment', runId, upload };
  }

  async #finishAttachment(runId: string, upload: AttachmentUpload): Promise<void> {
    const result = await upload.finish();
    this.#open.delete(upload);
    if ('message' in result) {
      this.#refusals.push(result);
      return;
    }
    this.#finished.push({ id: upload.id, runId });
    const stored = this.#stored.get(runId) ?? [];
    this.#stored.set(runId, [...stored.filter((ref) => ref.name !== result.name), result]);
  }
}

export const tooManyRuns = (): AppError =>
  new AppError('PAYLOAD_TOO_LARGE', `A request may have ${INTAKE_LIMITS.runsPerRequest} posts and patches.`);

const isObject = (value: Payload['value']): value is JsonObject =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

interface PartValue {
  readonly payload: Payload;
  /** What was changed, with the name of the field. */
  readonly notes: readonly string[];
  /** Fields that were taken out of a main part. */
  readonly fields?: ReadonlyMap<PartField, Payload>;
}

const noteOn = (field: string | undefined, note: string | undefined): string[] =>
  note === undefined ? [] : [`${field ?? 'run'}: ${note}`];

/** Undefined for what is no JSON. */
function readPart(text: string | undefined, field: string | undefined): PartValue | undefined {
  if (text === undefined) return undefined;
  try {
    const { payload, note } = payloadFromText(text);
    return { payload, notes: noteOn(field, note) };
  } catch (error) {
    if (error instanceof SyntaxError) return undefined;
    throw error;
  }
}

/** The same, a piece per turn. */
async function readLargePart(
  raw: string,
  name: string,
  field: string | undefined,
): Promise<PartValue | undefined> {
  const text = cleanJsonText(raw);
  try {
    if (field !== undefined && isPartField(field)) {
      const { payload, note } = await readLargeField(field, text);
      return { payload, notes: noteOn(field, note) };
    }
    if (!RUN_PART.test(name)) {
      return { payload: { text, value: (await parseInTurns(text, MAX_JSON_DEPTH)) as JsonValue }, notes: [] };
    }
    const cursor = new JsonCursor(text);
    const found = await readLargeRun(text, cursor);
    cursor.end();
    return found === undefined
      ? { payload: { text, value: null }, notes: [] }
      : { payload: { text, value: found.run }, notes: found.notes, fields: found.parts };
  } catch (error) {
    if (error instanceof SyntaxError || error instanceof JsonShapeError) return undefined;
    throw error;
  }
}
