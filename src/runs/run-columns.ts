/**
 * Which columns of a run can be asked for, under the names they go out with. Readers select only these and only
 * what was asked for, so that a list never touches a payload nobody wants.
 */
import type { AttachmentRef } from '../ingest/run-event.js';
import type { RunStatus, RunType } from './run.js';

/** Times are UTC text with microseconds, JSON payloads their stored text, money decimal text, durations seconds. */
export interface RunValues {
  readonly uuid: string;
  readonly projectUuid: string;
  readonly traceId: string;
  readonly parentRunId: string | null;
  readonly dottedOrder: string;
  /** Ancestors between this run and the root of its trace; 0 for a root. */
  readonly depth: number;
  readonly name: string;
  readonly runType: RunType;
  readonly status: RunStatus;
  readonly startTime: string;
  readonly endTime: string | null;
  readonly latencySeconds: number | null;
  readonly firstTokenTime: string | null;
  readonly firstTokenLatencySeconds: number | null;
  readonly hasError: boolean;
  readonly error: string | null;
  readonly inputs: string | null;
  readonly outputs: string | null;
  readonly inputsPreview: string | null;
  readonly outputsPreview: string | null;
  readonly events: string | null;
  readonly serialized: string | null;
  /** The wire protocol's whole extra, metadata inside; metadata alone without the content scope. */
  readonly extra: string;
  readonly metadata: string;
  readonly tags: readonly string[];
  readonly threadId: string | null;
  readonly tenantId: string | null;
  readonly model: string | null;
  readonly provider: string | null;
  readonly promptTokens: number | null;
  readonly completionTokens: number | null;
  readonly totalTokens: number | null;
  readonly promptTokenDetails: Readonly<Record<string, number>> | null;
  readonly completionTokenDetails: Readonly<Record<string, number>> | null;
  readonly promptCost: string | null;
  readonly completionCost: string | null;
  readonly totalCost: string | null;
  readonly promptCostDetails: Readonly<Record<string, string>> | null;
  readonly completionCostDetails: Readonly<Record<string, string>> | null;
  readonly referenceExampleId: string | null;
  readonly attachments: readonly AttachmentRef[] | null;
  readonly revision: number;
  readonly createdAt: string;
  readonly updatedAt: string;
}

export type RunField = keyof RunValues;

/** A run with the columns that were asked for, and always with what pages and caches need. */
export type RunRow = Pick<RunValues, 'uuid' | 'startTime'> & Partial<RunValues>;

interface RunColumn {
  readonly sql: string;
  /** Shown only with the content scope ... */
  readonly content?: true;
  /** ... or replaced by this without it. */
  readonly withoutContent?: string;
}

// jsonb would reorder keys and lose the client's numbers, so the two stored objects are joined as text. Both
// were written by JSON.stringify: an empty object is exactly "{}".
const WHOLE_EXTRA = `case
    when r.metadata::text = '{}' then r.extra::text
    when r.extra::text = '{}' then '{"metadata":' || r.metadata::text || '}'
    else '{"metadata":' || r.metadata::text || ',' || substr(r.extra::text, 2)
  end`;

const RUN_COLUMNS: Readonly<Record<RunField, RunColumn>> = {
  uuid: { sql: 'r.id' },
  projectUuid: { sql: 'r.project_id' },
  traceId: { sql: 'r.trace_id' },
  parentRunId: { sql: 'r.parent_run_id' },
  dottedOrder: { sql: 'r.dotted_order' },
  depth: { sql: `length(r.dotted_order) - length(replace(r.dotted_order, '.', ''))` },
  name: { sql: 'r.name' },
  runType: { sql: 'r.run_type' },
  status: { sql: 'r.status' },
  startTime: { sql: 'r.start_time' },
  endTime: { sql: 'r.end_time' },
  latencySeconds: { sql: 'r.latency' },
  firstTokenTime: { sql: 'r.first_token_time' },
  firstTokenLatencySeconds: { sql: 'r.first_token_latency' },
  hasError: { sql: '(r.error is not null)' },
  error: { sql: 'r.error', content: true },
  inputs: { sql: 'r.inputs', content: true },
  outputs: { sql: 'r.outputs', content: true },
  inputsPreview: { sql: 'r.inputs_preview', content: true },
  outputsPreview: { sql: 'r.outputs_preview', content: true },
  events: { sql: 'r.events', content: true },
  serialized: { sql: 'r.serialized', content: true },
  extra: {
    sql: WHOLE_EXTRA,
    content: true,
    withoutContent: `'{"metadata":' || r.metadata::text || '}'`,
  },
  metadata: { sql: 'r.metadata' },
  tags: { sql: 'r.tags' },
  threadId: { sql: 'r.thread_id' },
  tenantId: { sql: 'r.tenant_id' },
  model: { sql: 'r.model' },
  provider: { sql: 'r.provider' },
  promptTokens: { sql: 'r.prompt_tokens' },
  completionTokens: { sql: 'r.completion_tokens' },
  totalTokens: { sql: 'r.total_tokens' },
  promptTokenDetails: { sql: 'r.prompt_token_details' },
  completionTokenDetails: { sql: 'r.completion_token_details' },
  promptCost: { sql: 'trim_scale(r.prompt_cost)' },
  completionCost: { sql: 'trim_scale(r.completion_cost)' },
  totalCost: { sql: 'trim_scale(r.total_cost)' },
  promptCostDetails: { sql: 'r.prompt_cost_details' },
  completionCostDetails: { sql: 'r.completion_cost_details' },
  referenceExampleId: { sql: 'r.reference_example_id' },
  attachments: { sql: 'r.attachments', content: true },
  revision: { sql: 'r.revision' },
  createdAt: { sql: 'r.created_at' },
  updatedAt: { sql: 'r.updated_at' },
};

const ALWAYS: readonly RunField[] = ['uuid', 'startTime'];

export function isRunField(name: string): name is RunField {
  return Object.hasOwn(RUN_COLUMNS, name);
}

// Selections live as long as their documents.
const contentOf = new WeakMap<readonly RunField[], readonly RunField[]>();

/** The fields among these that are content. */
export function contentFields(fields: readonly RunField[]): readonly RunField[] {
  const known = contentOf.get(fields);
  if (known !== undefined) return known;
  const found = fields.filter((field) => RUN_COLUMNS[field].content === true);
  contentOf.set(fields, found);
  return found;
}

/** Which columns to read, and whether the caller may see content. */
export interface RunSelection {
  readonly fields: readonly RunField[];
  readonly content: boolean;
}

/**
 * The select list over `runs r`. A content column that may not be shown is not read at all: it is absent from the
 * row.
 */
export function selectList({ fields, content }: RunSelection): string {
  const columns: string[] = [];
  for (const field of new Set([...ALWAYS, ...fields])) {
    const column = RUN_COLUMNS[field];
    const sql = column.content === true && !content ? column.withoutContent : column.sql;
    if (sql !== undefined) columns.push(`${sql} as "${field}"`);
  }
  return columns.join(', ');
}
