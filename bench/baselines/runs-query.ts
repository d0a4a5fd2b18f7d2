/** The list that is compared: 50 runs with 25 fields each, as one SQL statement and as one GraphQL document. */

/** GraphQL field -> column expression. `id` is made from the uuid. */
const FIELDS: Readonly<Record<string, string>> = {
  uuid: 'r.id',
  name: 'r.name',
  runType: 'upper(r.run_type)',
  status: 'upper(r.status)',
  startTime: 'r.start_time',
  endTime: 'r.end_time',
  latencySeconds: 'r.latency',
  error: 'r.error',
  tags: 'r.tags',
  metadata: 'r.metadata',
  inputs: 'r.inputs',
  outputs: 'r.outputs',
  inputsPreview: 'r.inputs_preview',
  outputsPreview: 'r.outputs_preview',
  traceId: 'r.trace_id',
  parentRunId: 'r.parent_run_id',
  dottedOrder: 'r.dotted_order',
  threadId: 'r.thread_id',
  model: 'r.model',
  provider: 'r.provider',
  promptTokens: 'r.prompt_tokens',
  completionTokens: 'r.completion_tokens',
  totalTokens: 'r.total_tokens',
  totalCost: 'r.total_cost',
  createdAt: 'r.created_at',
};

export const DOCUMENT = `query Runs($project: ID!) {
  runs(project: { id: $project }, first: 50) { nodes { ${Object.keys(FIELDS).join(' ')} } }
}`;

/** $1 workspace, $2 project id, $3 days. */
export const STATEMENT = `select ${Object.entries(FIELDS)
  .map(([name, column]) => `${column} as "${name}"`)
  .join(', ')}
from runs r
where r.workspace_id = $1 and r.project_id = $2 and r.day = any($3::date[])
order by r.start_time desc, r.id desc
limit 50`;

/** The names alone, for servers that build a schema of their own. */
export const FIELD_NAMES = Object.keys(FIELDS);

const JSON_FIELDS = new Set(['metadata', 'inputs', 'outputs', 'tags']);
export const isJson = (field: string): boolean => JSON_FIELDS.has(field);
