/**
 * A run as predicates see it, and how to get one from a row: the columns to select and the conversion. Times are
 * microseconds since the epoch, money is decimal text, durations are seconds.
 */
import { parseDateTime } from './literals.js';

export interface FeedbackFacts {
  readonly key: string;
  readonly score: number | null;
  /** Parsed JSON. */
  readonly value: unknown;
  readonly comment: string | null;
  readonly sourceType: string;
}

/** The stored JSON texts. Undefined where the run has none. */
export interface RunContent {
  readonly inputs: string | undefined;
  readonly outputs: string | undefined;
}

export interface FilterableRun {
  readonly id: string;
  readonly traceId: string;
  readonly parentRunId: string | undefined;
  readonly projectId: string;
  readonly referenceExampleId: string | undefined;
  readonly name: string;
  readonly runType: string;
  readonly status: string;
  readonly error: string | undefined;
  readonly startUs: number;
  readonly endUs: number | undefined;
  readonly firstTokenUs: number | undefined;
  readonly latency: number | undefined;
  readonly firstTokenLatency: number | undefined;
  readonly totalTokens: number | undefined;
  readonly promptTokens: number | undefined;
  readonly completionTokens: number | undefined;
  readonly totalCost: string | undefined;
  readonly promptCost: string | undefined;
  readonly completionCost: string | undefined;
  readonly tags: readonly string[];
  readonly threadId: string | undefined;
  readonly tenantId: string | undefined;
  readonly model: string | undefined;
  readonly provider: string | undefined;
  readonly dottedOrder: string;
  /** Metadata as path -> text or texts. */
  readonly attributes: Readonly<Record<string, string | readonly string[]>>;
  /** Only needed, and only then loaded, when `filterNeeds` says feedback. */
  readonly feedback: readonly FeedbackFacts[];
  /** Only needed, and only then loaded, when `filterNeeds` says content. */
  readonly content: RunContent | undefined;
}

const COLUMNS = [
  'id',
  'trace_id',
  'parent_run_id',
  'project_id',
  'reference_example_id',
  'name',
  'run_type',
  'status',
  'error',
  'start_time',
  'end_time',
  'first_token_time',
  'latency',
  'first_token_latency',
  'total_tokens',
  'prompt_tokens',
  'completion_tokens',
  'total_cost',
  'prompt_cost',
  'completion_cost',
  'tags',
  'thread_id',
  'tenant_id',
  'model',
  'provider',
  'dotted_order',
  'attributes',
] as const;

/** The select list that `filterableRun` reads, over an alias of runs. */
export function filterableColumns(alias: string, content: boolean): string {
  return [...COLUMNS, ...(content ? ['inputs', 'outputs'] : [])].map((name) => `${alias}.${name}`).join(', ');
}

/** A row of those columns as this program's pools return it: timestamps and json as text, int8 as numbers. */
export interface FilterableRow {
  id: string;
  trace_id: string;
  parent_run_id: string | null;
  project_id: string;
  reference_example_id: string | null;
  name: string;
  run_type: string;
  status: string;
  error: string | null;
  start_time: string;
  end_time: string | null;
  first_token_time: string | null;
  latency: number | null;
  first_token_latency: number | null;
  total_tokens: number | null;
  prompt_tokens: number | null;
  completion_tokens: number | null;
  total_cost: string | null;
  prompt_cost: string | null;
  completion_cost: string | null;
  tags: string[];
  thread_id: string | null;
  tenant_id: string | null;
  model: string | null;
  provider: string | null;
  dotted_order: string;
  attributes: Record<string, string | string[]>;
  inputs?: string | null;
  outputs?: string | null;
}

export function filterableRun(row: FilterableRow, feedback: readonly FeedbackFacts[] = []): FilterableRun {
  return {
    id: row.id,
    traceId: row.trace_id,
    parentRunId: row.parent_run_id ?? undefined,
    projectId: row.project_id,
    referenceExampleId: row.reference_example_id ?? undefined,
    name: row.name,
    runType: row.run_type,
    status: row.status,
    error: row.error ?? undefined,
    startUs: micros(row.start_time),
    endUs: row.end_time === null ? undefined : micros(row.end_time),
    firstTokenUs: row.first_token_time === null ? undefined : micros(row.first_token_time),
    latency: row.latency ?? undefined,
    firstTokenLatency: row.first_token_latency ?? undefined,
    totalTokens: row.total_tokens ?? undefined,
    promptTokens: row.prompt_tokens ?? undefined,
    completionTokens: row.completion_tokens ?? undefined,
    totalCost: row.total_cost ?? undefined,
    promptCost: row.prompt_cost ?? undefined,
    completionCost: row.completion_cost ?? undefined,
    tags: row.tags,
    threadId: row.thread_id ?? undefined,
    tenantId: row.tenant_id ?? undefined,
    model: row.model ?? undefined,
    provider: row.provider ?? undefined,
    dottedOrder: row.dotted_order,
    attributes: row.attributes,
    feedback,
    content:
      row.inputs === undefined && row.outputs === undefined
        ? undefined
        : { inputs: row.inputs ?? undefined, outputs: row.outputs ?? undefined },
  };
}

function micros(text: string): number {
  const value = parseDateTime(text);
  if (value === undefined) throw new Error('a stored time is not a time');
  return value;
}
