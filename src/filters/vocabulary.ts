/**
 * The one table of what can be filtered by: names, types, operators, where SQL and predicate find the value, and
 * what a field needs. Parsing, typed input, compilation, documentation and `filterVocabulary` all read it.
 */
import { RUN_STATUSES, RUN_TYPES } from '../runs/run.js';
import type { ComparisonOp } from './filter.js';
import type { FilterableRun } from './filterable-run.js';

export type FieldType =
  | 'uuid'
  | 'string'
  | 'enum'
  | 'datetime'
  | 'duration'
  | 'integer'
  | 'number'
  | 'decimal'
  | 'boolean'
  | 'error'
  | 'tags'
  | 'metadata'
  | 'json'
  | 'key'
  | 'value';

/** Lists of things a run has several of; conditions on them within one `and` speak of the same item. */
export type ItemSource = 'metadata' | 'inputs' | 'outputs' | 'feedback';

export interface FieldSpec {
  readonly name: string;
  readonly type: FieldType;
  readonly operators: readonly ComparisonOp[];
  readonly aliases: readonly string[];
  readonly description: string;
  /** Whether `eq(field, null)` can hold. */
  readonly nullable: boolean;
  /** Of an enum. */
  readonly values?: readonly string[];
  /** Column of runs, or of feedback for feedback fields; a constant of this file, never input. */
  readonly column?: string;
  /** The run's own value, for fields that have one per run. */
  readonly get?: (run: FilterableRun) => string | number | undefined;
  readonly items?: ItemSource;
  /** Looks into inputs, outputs or error text: such filters need the content scope. */
  readonly content: boolean;
  /** Served by the search index. */
  readonly search: boolean;
  /** The index over roots does not have other runs; those have one of their own. */
  readonly rootsIndexedApart?: boolean;
  /**
   * What finds the runs of an equality (of values: beside their key) where few meet it; undefined where runs of the project
   * and time range are read and tested. Held against the plans of Postgres by test/filters/plans.test.ts.
   */
  readonly index: string | undefined;
}

type Extra = Partial<Omit<FieldSpec, 'name' | 'type' | 'operators' | 'description'>>;

function field(
  name: string,
  type: FieldType,
  operators: readonly ComparisonOp[],
  description: string,
  extra: Extra = {},
): FieldSpec {
  return {
    name,
    type,
    operators,
    description,
    aliases: [],
    nullable: false,
    content: false,
    search: false,
    index: undefined,
    ...extra,
  };
}

const EQUALITY: readonly ComparisonOp[] = ['eq', 'neq', 'in'];
const ORDER: readonly ComparisonOp[] = ['eq', 'neq', 'gt', 'gte', 'lt', 'lte'];
const PATTERN: readonly ComparisonOp[] = ['like', 'notlike'];
const TEXT: readonly ComparisonOp[] = [...EQUALITY, ...PATTERN, 'search'];
const ITEM: readonly ComparisonOp[] = [...EQUALITY, ...PATTERN];

const nullable = { nullable: true };

const scalarFields: readonly FieldSpec[] = [
  field('id', 'uuid', EQUALITY, 'The run.', { column: 'id', get: (run) => run.id, index: 'runs_pkey' }),
  field('trace_id', 'uuid', EQUALITY, 'The trace the run belongs to: the id of its root.', {
    column: 'trace_id',
    get: (run) => run.traceId,
    index: 'runs_by_trace',
  }),
  field('parent_run_id', 'uuid', EQUALITY, 'The run that called this one; null for a root.', {
    ...nullable,
    column: 'parent_run_id',
    get: (run) => run.parentRunId,
  }),
  field('project_id', 'uuid', EQUALITY, 'The project.', {
    aliases: ['session_id', 'session'],
    column: 'project_id',
    get: (run) => run.projectId,
    index: 'runs_by_time',
  }),
  field('reference_example_id', 'uuid', EQUALITY, 'The dataset example the run was made for.', {
    ...nullable,
    column: 'reference_example_id',
    get: (run) => run.referenceExampleId,
  }),
  field('name', 'string', TEXT, 'The name of the run.', { column: 'name', get: (run) => run.name }),
  field('run_type', 'enum', EQUALITY, 'What the run does. Any case.', {
    values: RUN_TYPES,
    column: 'run_type',
    get: (run) => run.runType,
  }),
  field('status', 'enum', EQUALITY, 'How the run stands: an error wins over an end. Any case.', {
    values: RUN_STATUSES,
    column: 'status',
    get: (run) => run.status,
  }),
  field(
    'error',
    'error',
    ['eq', 'neq', 'like', 'notlike', 'search'],
    'The error text. eq and neq take null, true or false and ask whether the run failed; looking into the text needs the content scope.',
    { ...nullable, column: 'error', get: (run) => run.error },
  ),
  field('start_time', 'datetime', ORDER, 'When the run started, e.g. "2026-03-01T08:00:00Z".', {
    column: 'start_time',
    get: (run) => run.startUs,
    index: 'runs_by_time',
  }),
  field('end_time', 'datetime', ORDER, 'When the run ended; null while it is pending.', {
    ...nullable,
    column: 'end_time',
    get: (run) => run.endUs,
  }),
  field('first_token_time', 'datetime', ORDER, 'When the first token was streamed.', {
    ...nullable,
    column: 'first_token_time',
    get: (run) => run.firstTokenUs,
  }),
  field(
    'latency',
    'duration',
    ORDER,
    'From start to end: "5s", "1500ms", "2m", "1h", "1d" or seconds. Null while pending.',
    {
      ...nullable,
      column: 'latency',
      get: (run) => run.latency,
    },
  ),
  field(
    'first_token_latency',
    'duration',
    ORDER,
    'From start to the first streamed token, written like latency.',
    {
      ...nullable,
      column: 'first_token_latency',
      get: (run) => run.firstTokenLatency,
    },
  ),
  ...(
    [
      ['total_tokens', 'Tokens of prompt and completion.', (run) => run.totalTokens],
      ['prompt_tokens', 'Tokens of the prompt.', (run) => run.promptTokens],
      ['completion_tokens', 'Tokens of the completion.', (run) => run.completionTokens],
    ] as const satisfies [string, string, (run: FilterableRun) => number | undefined][]
  ).map(([name, description, get]) =>
    field(name, 'integer', ORDER, description, { ...nullable, column: name, get }),
  ),
  ...(
    [
      ['total_cost', 'Cost of prompt and completion in US dollars.', (run) => run.totalCost],
      ['prompt_cost', 'Cost of the prompt in US dollars.', (run) => run.promptCost],
      ['completion_cost', 'Cost of the completion in US dollars.', (run) => run.completionCost],
    ] as const satisfies [string, string, (run: FilterableRun) => string | undefined][]
  ).map(([name, description, get]) =>
    field(name, 'decimal', ORDER, description, { ...nullable, column: name, get }),
  ),
  field('is_root', 'boolean', ['eq', 'neq'], 'Whether the run is the root of its trace.', {
    index: 'runs_roots',
  }),
  field(
    'execution_order',
    'integer',
    ['eq', 'neq'],
    'Only 1, the root, can be asked for: the same as is_root.',
    {
      index: 'runs_roots',
    },
  ),
  field('thread_id', 'string', ITEM, 'The conversation the run belongs to.', {
    ...nullable,
    column: 'thread_id',
    get: (run) => run.threadId,
    rootsIndexedApart: true,
    index: 'runs_by_thread_below',
  }),
  field('tenant_id', 'string', ITEM, 'The customer the run was made for, from metadata.tenant_id.', {
    ...nullable,
    column: 'tenant_id',
    get: (run) => run.tenantId,
  }),
  field('model', 'string', ITEM, 'The model that was called.', {
    ...nullable,
    column: 'model',
    get: (run) => run.model,
  }),
  field('provider', 'string', ITEM, 'Who serves the model.', {
    ...nullable,
    column: 'provider',
    get: (run) => run.provider,
  }),
  field(
    'dotted_order',
    'string',
    [...ORDER, 'in', 'like', 'notlike'],
    'The place in the trace, ordered byte by byte.',
    {
      column: 'dotted_order',
      get: (run) => run.dottedOrder,
    },
  ),
];

const listFields: readonly FieldSpec[] = [
  field(
    'tags',
    'tags',
    ['has', 'eq', 'neq', 'in'],
    'The tags. has and eq: this one is among them; in: any of these is.',
    {
      aliases: ['tag'],
      column: 'tags',
      index: 'runs_by_attribute',
    },
  ),
  field(
    'metadata',
    'metadata',
    ['has', 'exists'],
    `has(metadata, '{"k":"v"}'): all pairs are there; exists(metadata, "k"): the key is.`,
    {
      column: 'attributes',
      index: 'runs_by_attribute',
    },
  ),
  field(
    'metadata_key',
    'key',
    ITEM,
    'The key of one metadata pair; nested keys are joined with dots, arrays are transparent.',
    {
      items: 'metadata',
    },
  ),
  field('metadata_value', 'value', ITEM, 'The value of one metadata pair, compared as text.', {
    items: 'metadata',
    index: 'runs_by_attribute',
  }),
  ...(['input', 'output'] as const).flatMap((side) => {
    const extra = { items: `${side}s`, content: true, search: true } as const;
    return [
      field(
        `${side}_key`,
        'key',
        ITEM,
        `The key of one pair of the ${side}s, written like metadata_key. The first 200 keys of a run.`,
        extra,
      ),
      field(
        `${side}_value`,
        'value',
        ITEM,
        `The value of one pair of the ${side}s, compared as text. Its first 512 characters.`,
        { ...extra, index: `run_search_by_${side}` },
      ),
    ];
  }),
  ...(['inputs', 'outputs'] as const).map((side) =>
    field(side, 'json', [...PATTERN, 'search'], `The ${side} as JSON text, as they were sent.`, {
      ...nullable,
      content: true,
      column: side,
    }),
  ),
];

const FEEDBACK_INDEX = 'feedback_by_key';
const feedbackFields: readonly FieldSpec[] = [
  field('feedback_key', 'key', ITEM, 'The key of one feedback on the run.', {
    items: 'feedback',
    column: 'key',
    index: FEEDBACK_INDEX,
  }),
  field(
    'feedback_score',
    'number',
    [...ORDER, 'in'],
    'The score of one feedback; true and false are 1 and 0.',
    {
      ...nullable,
      items: 'feedback',
      column: 'score',
      index: FEEDBACK_INDEX,
    },
  ),
  field(
    'feedback_value',
    'value',
    [...ORDER, 'in'],
    'The value of one feedback. Texts and numbers; ordered as numbers.',
    {
      ...nullable,
      items: 'feedback',
      column: 'value',
      index: FEEDBACK_INDEX,
    },
  ),
  field('feedback_comment', 'string', ITEM, 'The comment of one feedback.', {
    ...nullable,
    content: true,
    items: 'feedback',
    column: 'comment',
    index: FEEDBACK_INDEX,
  }),
  field('feedback_source', 'string', ITEM, 'Where one feedback came from: api, app, model, ...', {
    items: 'feedback',
    column: 'source_type',
    index: FEEDBACK_INDEX,
  }),
];

/** Every field, in the order documentation shows them. */
export const VOCABULARY: readonly FieldSpec[] = [...scalarFields, ...listFields, ...feedbackFields];

const byName = new Map(
  VOCABULARY.flatMap((spec) => [spec.name, ...spec.aliases].map((name) => [name, spec] as const)),
);

/** A field by its name or an alias, in any case. */
export function findField(name: string): FieldSpec | undefined {
  return byName.get(name.toLowerCase());
}

/** A field that is known to exist: filters are checked before anything is made of them. */
export function getField(name: string): FieldSpec {
  const spec = byName.get(name);
  if (spec === undefined) throw new Error(`no filter field ${name}`);
  return spec;
}

export interface OperatorSpec {
  readonly name: string;
  readonly usage: string;
  readonly description: string;
}

/** Every operator, for documentation and completion. */
export const OPERATORS: readonly OperatorSpec[] = [
  {
    name: 'and',
    usage: 'and(a, b, ...)',
    description: 'All hold. Conditions on pairs and feedback inside speak of the same one.',
  },
  { name: 'or', usage: 'or(a, b, ...)', description: 'Any holds.' },
  { name: 'not', usage: 'not(a)', description: 'It does not hold.' },
  { name: 'eq', usage: 'eq(field, value)', description: 'Equal. null asks whether there is no value.' },
  { name: 'neq', usage: 'neq(field, value)', description: 'Not equal; holds where there is no value.' },
  { name: 'gt', usage: 'gt(field, value)', description: 'Greater, later, longer.' },
  { name: 'gte', usage: 'gte(field, value)', description: 'Greater or equal.' },
  { name: 'lt', usage: 'lt(field, value)', description: 'Less, earlier, shorter.' },
  { name: 'lte', usage: 'lte(field, value)', description: 'Less or equal.' },
  { name: 'in', usage: 'in(field, [value, ...])', description: 'Equal to one of at most 1000 values.' },
  { name: 'has', usage: 'has(tags, "x")', description: 'The list contains it.' },
  { name: 'exists', usage: 'exists(metadata, "key")', description: 'The key is there.' },
  {
    name: 'like',
    usage: 'like(field, "pattern")',
    description:
      'Case matters; % is any text, _ one character, \\ takes the next literally; without % it is looked for anywhere.',
  },
  {
    name: 'notlike',
    usage: 'notlike(field, "pattern")',
    description: 'Not like; holds where there is no value.',
  },
  {
    name: 'search',
    usage: 'search("words") or search(field, "words")',
    description:
      'Alone: every word begins some word of name, error, inputs or outputs, whatever its case and accents. With a field: every word occurs in it, ASCII letters in any case.',
  },
];
