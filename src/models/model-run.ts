/** The run that is stored for a call: its id, and all that is known of it as one event. Pure. */
import { createHash } from 'node:crypto';
import { stringify } from 'uuid';
import { dottedSegment } from '../ingest/dotted-order.js';
import { INTAKE_LIMITS } from '../ingest/limits.js';
import { payloadFromText } from '../ingest/payload.js';
import type { JsonObject, JsonValue, Payload, RunEvent } from '../ingest/run-event.js';
import { cleanJsonText, cleanText } from '../platform/json-text.js';
import { ORIGIN_KEY } from '../runs/run-origin.js';
import type { ModelCallContext, ModelRequest } from './model-call.js';
import type { CallCost, ProviderKind, TokenCounts } from './model-provider.js';

export interface CallTrace {
  readonly runId: string;
  readonly startedMs: number;
  readonly finishedMs: number;
  readonly provider: { readonly name: string; readonly kind: ProviderKind } | undefined;
  /** Undefined where nothing was answered. */
  readonly answer: { readonly text: string; readonly value: JsonValue } | undefined;
  readonly error: string | undefined;
  readonly usage: TokenCounts | undefined;
  /** The parts where they are known. */
  readonly cost: (Pick<CallCost, 'total'> & Partial<CallCost>) | null;
}

/**
 * The id of one execution's run: version 7, so that it lives in the day it started (docs/decisions/001), and otherwise
 * a function of call and claim, so that writing it again writes the same run.
 */
export function callRunId(workspaceId: string, callId: string, claim: number, startedMs: number): string {
  const bytes = createHash('sha256')
    .update(JSON.stringify([workspaceId, callId, claim]))
    .digest();
  bytes.writeUIntBE(Math.floor(startedMs), 0, 6);
  bytes[6] = ((bytes[6] ?? 0) & 0x0f) | 0x70;
  bytes[8] = ((bytes[8] ?? 0) & 0x3f) | 0x80;
  return stringify(bytes.subarray(0, 16));
}

/** LangSmith's names for what models are called by. */
const LS_PROVIDERS: Readonly<Record<ProviderKind, string>> = {
  openai_compatible: 'openai',
  anthropic: 'anthropic',
};

export function callRun(request: ModelRequest, context: ModelCallContext, call: CallTrace): RunEvent {
  const { workspaceId, callId, trace } = context;
  const startUs = Math.floor(call.startedMs) * 1_000;
  const segment = dottedSegment(startUs, call.runId);
  const { parent } = trace;
  return {
    kind: 'create',
    workspaceId,
    id: call.runId,
    traceId: parent?.traceId ?? call.runId,
    ...(parent && { parentRunId: parent.runId }),
    dottedOrder: parent === undefined ? segment : `${parent.dottedOrder}.${segment}`,
    project: { name: cleanText(trace.projectName).slice(0, INTAKE_LIMITS.projectNameLength) },
    name: cleanText(trace.name).slice(0, INTAKE_LIMITS.nameLength),
    runType: 'llm',
    startUs,
    endUs: Math.max(startUs, Math.floor(call.finishedMs) * 1_000),
    ...(call.error !== undefined && { error: cleanText(call.error) }),
    inputs: payload({ messages: request.messages.map((message) => ({ ...message })) }),
    ...(call.answer && { outputs: payload(outputsOf(call.answer)) }),
    extra: clean({
      invocation_params: {
        model: request.model,
        ...request.parameters,
        ...(request.schema && { response_format: { type: 'json_schema', schema: request.schema } }),
      },
    }),
    metadata: clean({
      ...trace.metadata,
      [ORIGIN_KEY]: trace.origin ?? 'judge',
      'tracewell.call_id': callId,
      ls_model_type: 'chat',
      ls_model_name: request.model,
      ...(call.provider && {
        ls_provider: LS_PROVIDERS[call.provider.kind],
        'tracewell.provider': call.provider.name,
      }),
      ...(call.usage && { usage_metadata: usageMetadata(call.usage, call.cost) }),
    }),
    ...(trace.referenceExampleId !== undefined && { referenceExampleId: trace.referenceExampleId }),
  };
}

const outputsOf = ({ text, value }: { text: string; value: JsonValue }): JsonObject => ({
  role: 'assistant',
  content: text,
  ...(value !== null && { answer: value }),
});

const usageMetadata = (
  { promptTokens, completionTokens }: TokenCounts,
  cost: CallTrace['cost'],
): JsonObject => ({
  input_tokens: promptTokens,
  output_tokens: completionTokens,
  total_tokens: promptTokens + completionTokens,
  ...(cost && { total_cost: cost.total }),
  ...(cost?.prompt !== undefined && { input_cost: cost.prompt }),
  ...(cost?.completion !== undefined && { output_cost: cost.completion }),
});

const payload = (value: JsonObject): Payload => payloadFromText(JSON.stringify(value)).payload;
const clean = (value: JsonObject): JsonObject =>
  JSON.parse(cleanJsonText(JSON.stringify(value))) as JsonObject;
