/** A run in the LangSmith protocol's words. Payloads pass through as the text they are stored as. */
import { rawJson, type RawJson } from '../graphql/raw-json.js';
import type { FeedbackStats } from '../feedback/feedback-stats.store.js';
import type { JsonObject, JsonValue } from '../ingest/run-event.js';
import type { RunField, RunRow } from '../runs/run-columns.js';
import type { WorkspaceScope } from '../tenancy/principal.js';
import { toWireStats } from './feedback.wire.js';
import { orNull, toNaiveTime } from './wire-values.js';

/** A run as it goes out; payloads are spliced in as text (stringifyWithRawJson). */
export type WireRun = Readonly<Record<string, JsonValue | RawJson>>;

/** Makes the links attachments are fetched from without credentials. */
export interface AttachmentLinks {
  /** A path on this server, good for a limited time. */
  presign(scope: WorkspaceScope, runId: string, name: string): string;
}

export interface RunWireContext {
  readonly scope: WorkspaceScope;
  /** What links start with. */
  readonly base: string;
  readonly links: AttachmentLinks;
  readonly feedback: ReadonlyMap<string, FeedbackStats[]>;
  readonly shareTokens: ReadonlyMap<string, string>;
}

/** What every run has, whatever was selected: the Python SDK validates these. */
const REQUIRED: readonly RunField[] = [
  'uuid',
  'name',
  'runType',
  'status',
  'traceId',
  'dottedOrder',
  'projectUuid',
  'parentRunId',
  'startTime',
  'endTime',
  'tags',
  'threadId',
];

/**
 * Selectable names of the protocol that cost a column of their own. Some bring more than they say: the SDKs' lists do
 * not ask for attachments and details of usage, and their readers expect them all the same.
 */
const SELECTABLE: Readonly<Record<string, readonly RunField[]>> = {
  inputs: ['inputs', 'attachments'],
  outputs: ['outputs'],
  inputs_preview: ['inputsPreview'],
  outputs_preview: ['outputsPreview'],
  events: ['events'],
  error: ['error'],
  extra: ['extra'],
  serialized: ['serialized'],
  manifest: ['serialized'],
  s3_urls: ['attachments'],
  first_token_time: ['firstTokenTime'],
  total_tokens: ['totalTokens'],
  prompt_tokens: ['promptTokens', 'promptTokenDetails'],
  completion_tokens: ['completionTokens', 'completionTokenDetails'],
  prompt_token_details: ['promptTokenDetails'],
  completion_token_details: ['completionTokenDetails'],
  total_cost: ['totalCost'],
  prompt_cost: ['promptCost', 'promptCostDetails'],
  completion_cost: ['completionCost', 'completionCostDetails'],
  prompt_cost_details: ['promptCostDetails'],
  completion_cost_details: ['completionCostDetails'],
  reference_example_id: ['referenceExampleId'],
  latency: ['latencySeconds'],
  inserted_at: ['createdAt'],
  messages: ['inputs', 'outputs'],
};

/** What a caller gets who selects nothing: all but what is large and rarely wanted. */
const DEFAULT_SELECTION = Object.keys(SELECTABLE).filter(
  (name) => name !== 'messages' && name !== 'manifest',
);

export interface RunSelect {
  readonly fields: readonly RunField[];
  readonly feedbackStats: boolean;
  readonly shareToken: boolean;
}

/** Unknown names select nothing: there are more of them than any server here has. */
export function selectionOf(select: readonly string[] | undefined): RunSelect {
  const names = select ?? [...DEFAULT_SELECTION, 'feedback_stats'];
  const fields = names.flatMap((name) => (Object.hasOwn(SELECTABLE, name) ? (SELECTABLE[name] ?? []) : []));
  return {
    fields: [...new Set([...REQUIRED, ...fields])],
    feedbackStats: names.includes('feedback_stats'),
    shareToken: names.includes('share_token'),
  };
}

/** Ids from the root to the parent: the dotted order names each ancestor by its 36 last characters. */
export function parentRunIds(dottedOrder: string): string[] {
  return dottedOrder
    .split('.')
    .slice(0, -1)
    .map((segment) => segment.slice(-36));
}

export function appPath(workspaceId: string, projectId: string, runId: string): string {
  return `/o/${workspaceId}/projects/p/${projectId}/r/${runId}`;
}

/** Content the caller may not see is not in the row, and goes out as null. */
export function toWireRun(run: RunRow, context: RunWireContext): WireRun {
  const projectId = required(run, 'projectUuid');
  const dottedOrder = required(run, 'dottedOrder');
  const parentRunId = run.parentRunId ?? null;
  return {
    id: run.uuid,
    name: required(run, 'name'),
    run_type: required(run, 'runType'),
    status: required(run, 'status'),
    trace_id: required(run, 'traceId'),
    dotted_order: dottedOrder,
    session_id: projectId,
    parent_run_id: parentRunId,
    parent_run_ids: parentRunIds(dottedOrder),
    child_run_ids: null,
    execution_order: parentRunId === null ? 1 : null,
    app_path: appPath(context.scope.workspaceId, projectId, run.uuid),
    start_time: toNaiveTime(run.startTime),
    end_time: orNull(run.endTime, toNaiveTime),
    first_token_time: orNull(run.firstTokenTime, toNaiveTime),
    latency: run.latencySeconds ?? null,
    error: run.error ?? null,
    inputs: payload(run.inputs),
    outputs: payload(run.outputs),
    inputs_preview: run.inputsPreview ?? null,
    outputs_preview: run.outputsPreview ?? null,
    events: payload(run.events),
    extra: payload(run.extra),
    serialized: payload(run.serialized),
    manifest_id: null,
    tags: run.tags === undefined ? [] : [...run.tags],
    thread_id: run.threadId ?? null,
    total_tokens: run.totalTokens ?? 0,
    prompt_tokens: run.promptTokens ?? 0,
    completion_tokens: run.completionTokens ?? 0,
    prompt_token_details: details(run.promptTokenDetails),
    completion_token_details: details(run.completionTokenDetails),
    total_cost: run.totalCost ?? null,
    prompt_cost: run.promptCost ?? null,
    completion_cost: run.completionCost ?? null,
    prompt_cost_details: details(run.promptCostDetails),
    completion_cost_details: details(run.completionCostDetails),
    reference_example_id: run.referenceExampleId ?? null,
    reference_dataset_id: null,
    feedback_stats: toWireStats(context.feedback.get(run.uuid) ?? []),
    share_token: context.shareTokens.get(run.uuid) ?? null,
    s3_urls: attachmentUrls(run, context),
    in_dataset: null,
    inserted_at: orNull(run.createdAt, toNaiveTime),
  };
}

function required<F extends RunField>(run: RunRow, field: F): NonNullable<RunRow[F]> {
  return run[field] ?? unread(field);
}

function unread(field: RunField): never {
  throw new Error(`A run was read without ${field}.`);
}

const payload = (text: string | null | undefined): RawJson | null => rawJson(text ?? null);

const details = (value: Readonly<Record<string, number | string>> | null | undefined): JsonObject | null =>
  value === null || value === undefined ? null : { ...value };

/** By `attachment.<name>`; null without attachments. */
export function attachmentUrls(
  run: RunRow,
  { scope, base, links }: RunWireContext,
): Record<string, { presigned_url: string; mime_type: string }> | null {
  if (run.attachments === undefined || run.attachments === null) return null;
  return Object.fromEntries(
    run.attachments.map(({ name, mimeType }) => [
      `attachment.${name}`,
      { presigned_url: `${base}${links.presign(scope, run.uuid, name)}`, mime_type: mimeType },
    ]),
  );
}
