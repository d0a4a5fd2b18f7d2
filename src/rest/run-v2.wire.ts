/** Runs, traces and threads in the words of the LangSmith protocol's second version: only what is selected goes out. */
import { rawJson, type RawJson } from '../graphql/raw-json.js';
import type { JsonObject, JsonValue } from '../ingest/run-event.js';
import type { RunField, RunRow } from '../runs/run-columns.js';
import type { TraceSummary } from '../runs/trace.store.js';
import type { ThreadRow, ThreadUsage } from '../threads/thread.store.js';
import { toWireStats } from './feedback.wire.js';
import { appPath, attachmentUrls, parentRunIds, type RunWireContext } from './run.wire.js';
import { orNull, toZonedTime } from './wire-values.js';

interface Selectable {
  readonly fields: readonly RunField[];
  readonly show: (run: RunRow, context: RunWireContext) => JsonValue | RawJson;
}

const MAX_ERROR_PREVIEW = 500;

const column = (field: RunField): Selectable => ({
  fields: [field],
  show: (run) => (run[field] ?? null) as JsonValue,
});
const time = (field: 'startTime' | 'endTime' | 'firstTokenTime'): Selectable => ({
  fields: [field],
  show: (run) => orNull(run[field], toZonedTime),
});
const payload = (
  field: 'inputs' | 'outputs' | 'events' | 'extra' | 'metadata' | 'serialized',
): Selectable => ({
  fields: [field],
  show: (run) => rawJson(run[field] ?? null),
});
const upper = (field: 'runType' | 'status'): Selectable => ({
  fields: [field],
  show: (run) => orNull(run[field], (value) => value.toUpperCase()),
});
const cost = (field: 'promptCost' | 'completionCost' | 'totalCost'): Selectable => ({
  fields: [field],
  show: (run) => orNull(run[field], Number),
});
const details = (
  field: 'promptTokenDetails' | 'completionTokenDetails' | 'promptCostDetails' | 'completionCostDetails',
): Selectable => ({
  fields: [field],
  show: (run) =>
    orNull(run[field], (parts): JsonObject => ({
      raw: Object.fromEntries(Object.entries(parts).map(([name, value]) => [name, Number(value)])),
    })),
});
const unknown: Selectable = { fields: [], show: () => null };

const SELECTABLE: Readonly<Record<string, Selectable>> = {
  ID: column('uuid'),
  NAME: column('name'),
  RUN_TYPE: upper('runType'),
  STATUS: upper('status'),
  START_TIME: time('startTime'),
  END_TIME: time('endTime'),
  LATENCY_SECONDS: column('latencySeconds'),
  FIRST_TOKEN_TIME: time('firstTokenTime'),
  ERROR: column('error'),
  ERROR_PREVIEW: {
    fields: ['error'],
    show: (run) => orNull(run.error, (text) => text.slice(0, MAX_ERROR_PREVIEW)),
  },
  EXTRA: payload('extra'),
  METADATA: payload('metadata'),
  EVENTS: payload('events'),
  INPUTS: payload('inputs'),
  INPUTS_PREVIEW: column('inputsPreview'),
  OUTPUTS: payload('outputs'),
  OUTPUTS_PREVIEW: column('outputsPreview'),
  MANIFEST: payload('serialized'),
  PARENT_RUN_IDS: { fields: ['dottedOrder'], show: (run) => parentRunIds(run.dottedOrder ?? '') },
  PROJECT_ID: column('projectUuid'),
  TRACE_ID: column('traceId'),
  THREAD_ID: column('threadId'),
  DOTTED_ORDER: column('dottedOrder'),
  IS_ROOT: { fields: ['parentRunId'], show: (run) => run.parentRunId === null },
  REFERENCE_EXAMPLE_ID: column('referenceExampleId'),
  REFERENCE_DATASET_ID: unknown,
  TOTAL_TOKENS: column('totalTokens'),
  PROMPT_TOKENS: column('promptTokens'),
  COMPLETION_TOKENS: column('completionTokens'),
  TOTAL_COST: cost('totalCost'),
  PROMPT_COST: cost('promptCost'),
  COMPLETION_COST: cost('completionCost'),
  PROMPT_TOKEN_DETAILS: details('promptTokenDetails'),
  COMPLETION_TOKEN_DETAILS: details('completionTokenDetails'),
  PROMPT_COST_DETAILS: details('promptCostDetails'),
  COMPLETION_COST_DETAILS: details('completionCostDetails'),
  PRICE_MODEL_ID: unknown,
  TAGS: { fields: ['tags'], show: (run) => [...(run.tags ?? [])] },
  APP_PATH: {
    fields: ['projectUuid'],
    show: (run, { scope }) =>
      orNull(run.projectUuid, (project) => appPath(scope.workspaceId, project, run.uuid)),
  },
  ATTACHMENTS: { fields: ['attachments'], show: (run, context) => attachmentLinks(run, context) },
  THREAD_EVALUATION_TIME: unknown,
  IS_IN_DATASET: unknown,
  LAST_QUEUED_AT: unknown,
  SHARE_URL: {
    fields: [],
    show: (run, { shareTokens, base }) =>
      orNull(shareTokens.get(run.uuid), (token) => `${base}/public/${token}/r`),
  },
  FEEDBACK_STATS: { fields: [], show: (run, { feedback }) => toWireStats(feedback.get(run.uuid) ?? []) },
};

function attachmentLinks(run: RunRow, context: RunWireContext): JsonObject | null {
  const links = attachmentUrls(run, context);
  if (links === null) return null;
  return Object.fromEntries(
    Object.entries(links).map(([name, link]) => [name.slice('attachment.'.length), link.presigned_url]),
  );
}

export interface SelectionV2 {
  readonly names: readonly string[];
  readonly fields: readonly RunField[];
  readonly feedbackStats: boolean;
  readonly shareToken: boolean;
}

/** Nothing selected is the id alone. Names nobody knows select nothing. */
export function selectionV2(selects: readonly string[] | null | undefined): SelectionV2 {
  const known = (selects ?? []).filter((name) => Object.hasOwn(SELECTABLE, name));
  const names = [...new Set(['ID', ...known])];
  return {
    names,
    fields: [...new Set(names.flatMap((name) => SELECTABLE[name]?.fields ?? []))],
    feedbackStats: names.includes('FEEDBACK_STATS'),
    shareToken: names.includes('SHARE_URL'),
  };
}

export type WireRunV2 = Readonly<Record<string, JsonValue | RawJson>>;

export const toWireRunV2 = (run: RunRow, { names }: SelectionV2, context: RunWireContext): WireRunV2 =>
  Object.fromEntries(names.map((name) => [name.toLowerCase(), SELECTABLE[name]?.show(run, context) ?? null]));

export const toWireAggregates = (trace: TraceSummary | undefined, root: RunRow): JsonObject => ({
  first_token_time: orNull(root.firstTokenTime, toZonedTime),
  total_tokens: orNull(trace?.totalTokens, Number),
  total_cost: orNull(trace?.totalCost, Number),
});

export const toWireThreadV2 = (thread: ThreadRow, usage: ThreadUsage | undefined): JsonObject => ({
  thread_id: thread.threadId,
  count: thread.traceCount,
  start_time: toZonedTime(thread.firstStartTime),
  min_start_time: toZonedTime(thread.firstStartTime),
  max_start_time: toZonedTime(thread.lastStartTime),
  latency_p50: thread.latencyP50,
  latency_p99: thread.latencyP99,
  num_errored_turns: thread.errorCount,
  first_inputs: thread.firstInputsPreview ?? null,
  last_outputs: thread.lastOutputsPreview ?? null,
  total_tokens: orNull(usage?.totalTokens, Number),
  total_cost: orNull(usage?.totalCost, Number),
});
