/** From a run to an example: which parts of what the run was given and gave become inputs and outputs. Pure. */
import type { JsonObject, JsonValue } from '../ingest/run-event.js';
import { payloadOf } from './example.js';
import type { ExampleDraft } from './example.js';

/** One member of an example's inputs or outputs. */
export interface FieldMapping {
  /** JSON pointer (RFC 6901) into `{inputs, outputs, metadata}` of the run, such as `/inputs/messages/0`. */
  readonly from: string;
  /** The key it gets. */
  readonly to: string;
}

export interface RunMapping {
  /** Default: the run's inputs as they are. */
  readonly inputs?: readonly FieldMapping[] | undefined;
  /** Default: the run's outputs as they are. An empty list: no outputs. */
  readonly outputs?: readonly FieldMapping[] | undefined;
  /** Default: none. */
  readonly metadata?: readonly FieldMapping[] | undefined;
}

/** What of a run an example can be made of. Texts of JSON. */
export interface SourceRun {
  readonly uuid: string;
  readonly inputs?: string | null;
  readonly outputs?: string | null;
  readonly metadata?: string;
}

/** A part that a mapping names and the run has not. */
export interface MissingPart {
  readonly field: 'inputs' | 'outputs' | 'metadata';
  readonly from: string;
}

export type MappedRun = { readonly draft: ExampleDraft } | { readonly missing: readonly MissingPart[] };

const parsed = (text: string | null | undefined): JsonValue =>
  text === null || text === undefined ? null : (JSON.parse(text) as JsonValue);

const unescaped = (part: string): string => part.replaceAll('~1', '/').replaceAll('~0', '~');

/** The value a JSON pointer names; undefined where there is none. */
export function atPointer(value: JsonValue, pointer: string): JsonValue | undefined {
  if (pointer === '') return value;
  if (!pointer.startsWith('/')) return undefined;
  let current: JsonValue | undefined = value;
  for (const part of pointer.slice(1).split('/').map(unescaped)) {
    if (typeof current !== 'object' || current === null) return undefined;
    if (Array.isArray(current)) current = /^(?:0|[1-9]\d*)$/.test(part) ? current[Number(part)] : undefined;
    else current = Object.hasOwn(current, part) ? current[part] : undefined;
  }
  return current;
}

/** Outputs and metadata the run has not are left out; inputs it has not make no example. */
export function mapRun(run: SourceRun, mapping: RunMapping): MappedRun {
  const source: JsonValue = {
    inputs: parsed(run.inputs),
    outputs: parsed(run.outputs),
    metadata: parsed(run.metadata),
  };
  const missing: MissingPart[] = [];
  const build = (field: MissingPart['field'], parts: readonly FieldMapping[]): JsonObject => {
    const entries = parts.flatMap(({ from, to }): [string, JsonValue][] => {
      const value = atPointer(source, from);
      if (value === undefined) missing.push({ field, from });
      return value === undefined ? [] : [[to, value]];
    });
    return Object.fromEntries(entries);
  };
  const inputs = mapping.inputs === undefined ? undefined : build('inputs', mapping.inputs);
  if (mapping.inputs === undefined && (run.inputs ?? null) === null) {
    missing.push({ field: 'inputs', from: '/inputs' });
  }
  if (missing.length > 0) return { missing };
  const outputs = mapping.outputs === undefined ? undefined : build('outputs', mapping.outputs);
  return {
    draft: {
      inputs:
        inputs === undefined ? { text: run.inputs ?? '', value: parsed(run.inputs) } : payloadOf(inputs),
      outputs: outputsOf(run, outputs),
      metadata: build('metadata', mapping.metadata ?? []),
      sourceRunId: run.uuid,
    },
  };
}

function outputsOf(run: SourceRun, mapped: JsonObject | undefined): ExampleDraft['outputs'] {
  if (mapped !== undefined) return Object.keys(mapped).length === 0 ? null : payloadOf(mapped);
  const text = run.outputs ?? null;
  return text === null ? null : { text, value: parsed(text) };
}
