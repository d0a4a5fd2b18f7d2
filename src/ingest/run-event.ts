/**
 * The one intake model. Every protocol adapter translates into RunEvents and everything after it is
 * protocol-blind. A RunEvent is clean: sizes, depth, NUL and surrogates were dealt with when it was made.
 */
import type { RunType } from '../runs/run.js';

export type JsonValue = null | boolean | number | string | JsonValue[] | { [key: string]: JsonValue };
export type JsonObject = { [key: string]: JsonValue };

/** A JSON value with the text it came as. The text is what is stored; the value is what facts are read from. */
export interface Payload {
  readonly text: string;
  readonly value: JsonValue;
}

export interface AttachmentRef {
  readonly name: string;
  readonly mimeType: string;
  readonly size: number;
}

/**
 * What one message of a client says about one run. Absent means "says nothing"; nothing in an event can erase.
 * Times are microseconds since the epoch.
 */
export interface RunEvent {
  readonly kind: 'create' | 'update';
  readonly workspaceId: string;
  /** Lower-case UUID of any version. */
  readonly id: string;
  readonly traceId?: string;
  readonly parentRunId?: string;
  readonly dottedOrder?: string;
  /** By id or by name; a name that does not exist yet is created. */
  readonly project?: { readonly id: string } | { readonly name: string };
  readonly name?: string;
  readonly runType?: RunType;
  readonly startUs?: number;
  readonly endUs?: number;
  readonly error?: string;
  readonly inputs?: Payload;
  readonly outputs?: Payload;
  readonly events?: Payload;
  readonly serialized?: Payload;
  /** Without `metadata`. */
  readonly extra?: JsonObject;
  readonly metadata?: JsonObject;
  /** Never empty: an empty list says nothing. */
  readonly tags?: readonly string[];
  readonly referenceExampleId?: string;
  /** The bytes are already committed under (workspace, run, name). */
  readonly attachments?: readonly AttachmentRef[];
}

/** Why one item was not stored. Never the fate of its neighbours. */
export interface Refusal {
  /** The run's id as the client sent it, if it sent one that can be shown. */
  readonly id: string | undefined;
  /** Field the problem is in, dotted; undefined for the item as a whole. */
  readonly field: string | undefined;
  readonly message: string;
}
