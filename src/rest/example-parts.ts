/**
 * Gathers the parts of a multipart body into examples: `{id}`, `{id}.inputs`, `{id}.outputs`,
 * `{id}.attachment.{name}`, `{id}.attachments_operations`. All or nothing: the first part that is wrong refuses the
 * request, and files that were stored by then are removed. Files go to the store while the body still arrives.
 */
import { isUtf8 } from 'node:buffer';
import type { AttachmentService, AttachmentUpload } from '../attachments/attachment.service.js';
import type { ExampleAttachment } from '../datasets/dataset.js';
import type { Lease } from '../http/body.js';
import type { PartHandler, PartHeaders } from '../http/multipart.js';
import type { JsonValue, Payload } from '../ingest/run-event.js';
import { AppError } from '../platform/errors.js';
import { isUuid } from '../platform/ids.js';
import type { Ids } from '../platform/ids.js';
import { JsonShapeError, parseInTurns } from '../platform/json-cursor.js';
import {
  cleanJsonText,
  cleanText,
  isDeeperThan,
  MAX_JSON_DEPTH,
  takesLongToParse,
} from '../platform/json-text.js';
import type { WorkspaceScope } from '../tenancy/principal.js';

/** Only the first two dots part: names of files may have dots of their own. */
const PART = /^([^.]+)(?:\.([^.]+)(?:\.(.+))?)?$/s;
const MAX_EXAMPLES = 10_000;
/** Files apart. One client sends all examples of a call at once, large ones too. */
const MAX_JSON_BYTES = 256 * 1024 * 1024;
const MAX_ATTACHMENT_NAME_LENGTH = 200;

/** What came for one example. */
export interface ExampleParts {
  readonly id: string;
  facts: JsonValue | undefined;
  inputs: Payload | undefined;
  outputs: Payload | undefined;
  operations: JsonValue | undefined;
  readonly attachments: ExampleAttachment[];
}

type Current =
  | {
      readonly kind: 'json';
      readonly parts: ExampleParts;
      readonly field: string | undefined;
      readonly chunks: Buffer[];
    }
  | {
      readonly kind: 'attachment';
      readonly parts: ExampleParts;
      readonly id: string;
      readonly upload: AttachmentUpload;
    };

const refused = (message: string, field: string): AppError =>
  new AppError('UNPROCESSABLE', `${field}: ${message}`, { details: { loc: [field] } });

export class ExamplePartsCollector implements PartHandler {
  readonly #scope: WorkspaceScope;
  readonly #attachments: AttachmentService;
  readonly #ids: Ids;
  readonly #lease: Lease;
  readonly #examples = new Map<string, ExampleParts>();
  readonly #open = new Set<AttachmentUpload>();
  #current: Current | undefined;
  #jsonBytes = 0;
  #work: (() => Promise<void>)[] = [];

  constructor(deps: { scope: WorkspaceScope; attachments: AttachmentService; ids: Ids; lease: Lease }) {
    this.#scope = deps.scope;
    this.#attachments = deps.attachments;
    this.#ids = deps.ids;
    this.#lease = deps.lease;
  }

  onPart({ name, contentType }: PartHeaders): void {
    const [, id = '', field, rest] = PART.exec(name) ?? [];
    if (!isUuid(id)) throw refused('a part is called after the id of its example', name.slice(0, 100));
    const parts = this.#partsOf(id.toLowerCase());
    if (field !== 'attachment') {
      this.#current = { kind: 'json', parts, field, chunks: [] };
      return;
    }
    const attachmentName = cleanText(rest ?? '');
    if (attachmentName === '' || attachmentName.length > MAX_ATTACHMENT_NAME_LENGTH) {
      throw refused(
        `a file needs a name of 1 to ${MAX_ATTACHMENT_NAME_LENGTH} characters`,
        name.slice(0, 100),
      );
    }
    // A file belongs to each version that shows it and not to the example, so it has an id of its own.
    const attachmentId = this.#ids.uuid();
    const upload = this.#attachments.begin(this.#scope, {
      runId: attachmentId,
      name: attachmentName,
      mimeType: contentType,
    });
    this.#open.add(upload);
    this.#current = { kind: 'attachment', parts, id: attachmentId, upload };
  }

  onData(data: Buffer): void {
    const current = this.#current;
    if (current?.kind === 'json') {
      this.#jsonBytes += data.length;
      if (this.#jsonBytes > MAX_JSON_BYTES) {
        throw new AppError(
          'PAYLOAD_TOO_LARGE',
          `Examples without their files may have ${MAX_JSON_BYTES} bytes per request.`,
        );
      }
      this.#lease.add(data.length);
      current.chunks.push(data);
    } else if (current?.kind === 'attachment') {
      const { upload } = current;
      upload.push(data);
      if (upload.hasFullChunk) this.#work.push(() => upload.flush());
    }
  }

  onPartEnd(): void {
    const current = this.#current;
    this.#current = undefined;
    if (current?.kind === 'json') {
      const { parts, field, chunks } = current;
      this.#work.push(() => this.#takeJson(parts, field, chunks));
    } else if (current?.kind === 'attachment') {
      this.#work.push(() => this.#finish(current.parts, current.id, current.upload));
    }
  }

  /** Waits for what the bytes so far started. Called between chunks, which is what slows a fast client down. */
  async settle(): Promise<void> {
    const work = this.#work;
    this.#work = [];
    for (const step of work) await step();
  }

  /** Removes what files left behind that were not finished. */
  async abort(): Promise<void> {
    for (const upload of this.#open) await upload.abort();
  }

  /** In the order of their first parts. */
  collected(): readonly ExampleParts[] {
    return [...this.#examples.values()];
  }

  /** Of every file that was stored, for who has to remove them again. */
  storedIds(): string[] {
    return this.collected().flatMap(({ attachments }) => attachments.map(({ id }) => id));
  }

  #partsOf(id: string): ExampleParts {
    let parts = this.#examples.get(id);
    if (parts === undefined) {
      if (this.#examples.size === MAX_EXAMPLES) {
        throw new AppError('PAYLOAD_TOO_LARGE', `A request may have ${MAX_EXAMPLES} examples.`);
      }
      parts = {
        id,
        facts: undefined,
        inputs: undefined,
        outputs: undefined,
        operations: undefined,
        attachments: [],
      };
      this.#examples.set(id, parts);
    }
    return parts;
  }

  async #takeJson(parts: ExampleParts, field: string | undefined, chunks: Buffer[]): Promise<void> {
    const name = field === undefined ? parts.id : `${parts.id}.${field}`;
    const payload = await parse(Buffer.concat(chunks.splice(0)), name);
    switch (field) {
      case undefined:
        parts.facts = payload.value;
        break;
      case 'inputs':
        parts.inputs = objectOf(payload, name);
        break;
      case 'outputs':
        parts.outputs = objectOf(payload, name);
        break;
      case 'attachments_operations':
        parts.operations = payload.value;
        break;
      default:
        throw refused('no part of an example has this name', name.slice(0, 100));
    }
  }

  async #finish(parts: ExampleParts, id: string, upload: AttachmentUpload): Promise<void> {
    const result = await upload.finish();
    this.#open.delete(upload);
    if ('message' in result) throw refused(result.message, `${parts.id}.${result.field ?? 'attachment'}`);
    parts.attachments.push({ id, ...result });
  }
}

/** With the text it came as; a piece per turn where it is large. */
async function parse(bytes: Buffer, name: string): Promise<Payload> {
  if (isUtf8(bytes)) {
    const text = cleanJsonText(bytes.toString('utf8'));
    try {
      if (takesLongToParse(text)) {
        return { text, value: (await parseInTurns(text, MAX_JSON_DEPTH)) as JsonValue };
      }
      if (isDeeperThan(text, MAX_JSON_DEPTH)) throw new JsonShapeError('deep');
      return { text, value: JSON.parse(text) as JsonValue };
    } catch (error) {
      if (error instanceof JsonShapeError) throw refused(error.message, name);
      if (!(error instanceof SyntaxError)) throw error;
    }
  }
  throw refused('the part is not valid JSON in UTF-8', name);
}

function objectOf(payload: Payload, name: string): Payload {
  const { value } = payload;
  if (value === null || typeof value !== 'object' || Array.isArray(value)) {
    throw refused('the part is not a JSON object', name);
  }
  return payload;
}
