/**
 * The typed form of the filter language and its translation into the same tree the text becomes. One table says
 * which input field is which filter field; the judgement of values is filter-check.ts's, as for the text.
 */
import { Field, InputType } from 'type-graphql';
import { parseId } from '../graphql/global-id.js';
import { AppError } from '../platform/errors.js';
import type { Comparison, ComparisonOp, Filter, RunFilters } from './filter.js';
import { checkComparison, checkSize, FilterProblem } from './filter-check.js';
import {
  ChoiceMatchInput,
  DateTimeMatchInput,
  ErrorMatchInput,
  FeedbackMatchInput,
  IdMatchInput,
  MetadataMatchInput,
  NameMatchInput,
  NumberMatchInput,
  OrderedTextMatchInput,
  PayloadMatchInput,
  StringMatchInput,
  TagsMatchInput,
} from './filter-match.inputs.js';
import { allOf, parseFilter } from './filter-text.js';

const optional = { nullable: true } as const;
const seconds = { nullable: true, description: 'In seconds.' } as const;
const dollars = { nullable: true, description: 'In US dollars.' } as const;

@InputType({
  description:
    'Conditions on a run, all of which hold. The same power as the text form; see filterVocabulary for the fields.',
})
export class RunFilterInput {
  @Field(() => IdMatchInput, optional)
  id?: IdMatchInput;

  @Field(() => IdMatchInput, optional)
  traceId?: IdMatchInput;

  @Field(() => IdMatchInput, optional)
  parentRunId?: IdMatchInput;

  @Field(() => IdMatchInput, optional)
  projectId?: IdMatchInput;

  @Field(() => IdMatchInput, optional)
  referenceExampleId?: IdMatchInput;

  @Field(() => NameMatchInput, optional)
  name?: NameMatchInput;

  @Field(() => ChoiceMatchInput, {
    nullable: true,
    description: 'tool, chain, llm, retriever, embedding, prompt, parser.',
  })
  runType?: ChoiceMatchInput;

  @Field(() => ChoiceMatchInput, { nullable: true, description: 'pending, success, error.' })
  status?: ChoiceMatchInput;

  @Field(() => ErrorMatchInput, optional)
  error?: ErrorMatchInput;

  @Field(() => DateTimeMatchInput, optional)
  startTime?: DateTimeMatchInput;

  @Field(() => DateTimeMatchInput, optional)
  endTime?: DateTimeMatchInput;

  @Field(() => DateTimeMatchInput, optional)
  firstTokenTime?: DateTimeMatchInput;

  @Field(() => NumberMatchInput, seconds)
  latency?: NumberMatchInput;

  @Field(() => NumberMatchInput, seconds)
  firstTokenLatency?: NumberMatchInput;

  @Field(() => NumberMatchInput, optional)
  totalTokens?: NumberMatchInput;

  @Field(() => NumberMatchInput, optional)
  promptTokens?: NumberMatchInput;

  @Field(() => NumberMatchInput, optional)
  completionTokens?: NumberMatchInput;

  @Field(() => NumberMatchInput, dollars)
  totalCost?: NumberMatchInput;

  @Field(() => NumberMatchInput, dollars)
  promptCost?: NumberMatchInput;

  @Field(() => NumberMatchInput, dollars)
  completionCost?: NumberMatchInput;

  @Field(() => Boolean, optional)
  isRoot?: boolean;

  @Field(() => StringMatchInput, optional)
  threadId?: StringMatchInput;

  @Field(() => StringMatchInput, { nullable: true, description: 'The customer the run was made for.' })
  tenantId?: StringMatchInput;

  @Field(() => StringMatchInput, optional)
  model?: StringMatchInput;

  @Field(() => StringMatchInput, optional)
  provider?: StringMatchInput;

  @Field(() => OrderedTextMatchInput, optional)
  dottedOrder?: OrderedTextMatchInput;

  @Field(() => TagsMatchInput, optional)
  tags?: TagsMatchInput;

  @Field(() => MetadataMatchInput, optional)
  metadata?: MetadataMatchInput;

  @Field(() => PayloadMatchInput, optional)
  inputs?: PayloadMatchInput;

  @Field(() => PayloadMatchInput, optional)
  outputs?: PayloadMatchInput;

  @Field(() => FeedbackMatchInput, {
    nullable: true,
    description: 'Some feedback on the run. Join several with and.',
  })
  feedback?: FeedbackMatchInput;

  @Field(() => String, {
    nullable: true,
    description:
      'Every word begins some word of name, error, inputs or outputs, whatever its case and accents. Needs the content scope.',
  })
  search?: string;

  @Field(() => [RunFilterInput], { nullable: true, description: 'All hold.' })
  and?: RunFilterInput[];

  @Field(() => [RunFilterInput], { nullable: true, description: 'Any holds.' })
  or?: RunFilterInput[];

  @Field(() => RunFilterInput, { nullable: true, description: 'It does not hold.' })
  not?: RunFilterInput;
}

@InputType({
  description: 'Which runs: by text, by typed conditions, or both. Everything given holds.',
})
export class RunWhereInput {
  @Field(() => String, {
    nullable: true,
    description: 'On the run, e.g. and(eq(run_type, "llm"), gt(latency, "5s")).',
  })
  filter?: string | null;

  @Field(() => String, { nullable: true, description: 'On the root of the run’s trace.' })
  traceFilter?: string | null;

  @Field(() => String, { nullable: true, description: 'On at least one run of the trace, at any depth.' })
  treeFilter?: string | null;

  @Field(() => RunFilterInput, { nullable: true, description: 'On the run.' })
  match?: RunFilterInput | null;

  @Field(() => RunFilterInput, { nullable: true, description: 'On the root of the run’s trace.' })
  traceMatch?: RunFilterInput | null;

  @Field(() => RunFilterInput, { nullable: true, description: 'On at least one run of the trace.' })
  treeMatch?: RunFilterInput | null;
}

type Path = readonly (string | number)[];

/**
 * The filters of a `where` argument; an absent one has none.
 * @param path of the argument, for errors.
 * @throws AppError BAD_USER_INPUT with the place in the text or in the input.
 */
export function toRunFilters(where: RunWhereInput | null | undefined, path: Path = ['where']): RunFilters {
  if (where === null || where === undefined) return {};
  const place = (
    text: 'filter' | 'traceFilter' | 'treeFilter',
    match: 'match' | 'traceMatch' | 'treeMatch',
  ) => {
    const written = where[text];
    const typed = where[match];
    const filter = allOf(
      written === null || written === undefined ? undefined : parseFilter(written, [...path, text]),
      typed === null || typed === undefined ? undefined : toFilter(typed, [...path, match]),
    );
    if (filter !== undefined) limited(filter, path);
    return filter;
  };
  const run = place('filter', 'match');
  const root = place('traceFilter', 'traceMatch');
  const tree = place('treeFilter', 'treeMatch');
  return { ...(run && { run }), ...(root && { root }), ...(tree && { tree }) };
}

/** The tree of a typed filter; undefined for one without any condition, which only the outermost may be. */
export function toFilter(input: RunFilterInput, path: Path): Filter | undefined {
  const nodes = conditions(input, path, 1);
  return nodes.length <= 1 ? nodes[0] : { kind: 'and', nodes };
}

/** A value that is one comparator, and the filter field it is about. */
const FIELDS: Readonly<Record<string, string>> = {
  id: 'id',
  traceId: 'trace_id',
  parentRunId: 'parent_run_id',
  projectId: 'project_id',
  referenceExampleId: 'reference_example_id',
  name: 'name',
  runType: 'run_type',
  status: 'status',
  error: 'error',
  startTime: 'start_time',
  endTime: 'end_time',
  firstTokenTime: 'first_token_time',
  latency: 'latency',
  firstTokenLatency: 'first_token_latency',
  totalTokens: 'total_tokens',
  promptTokens: 'prompt_tokens',
  completionTokens: 'completion_tokens',
  totalCost: 'total_cost',
  promptCost: 'prompt_cost',
  completionCost: 'completion_cost',
  threadId: 'thread_id',
  tenantId: 'tenant_id',
  model: 'model',
  provider: 'provider',
  dottedOrder: 'dotted_order',
  tags: 'tags',
};

/** Parts of a matcher that speak of the same item. What is not listed here is a comparator on the field itself. */
const ITEMS: Readonly<Record<string, Readonly<Record<string, string>>>> = {
  metadata: { key: 'metadata_key', value: 'metadata_value' },
  inputs: { key: 'input_key', value: 'input_value' },
  outputs: { key: 'output_key', value: 'output_value' },
  feedback: {
    key: 'feedback_key',
    score: 'feedback_score',
    value: 'feedback_value',
    comment: 'feedback_comment',
    source: 'feedback_source',
  },
};

const OPERATORS: Readonly<Record<string, ComparisonOp>> = {
  eq: 'eq',
  neq: 'neq',
  gt: 'gt',
  gte: 'gte',
  lt: 'lt',
  lte: 'lte',
  in: 'in',
  like: 'like',
  notLike: 'notlike',
  search: 'search',
  has: 'has',
  hasNot: 'neq',
  hasAny: 'in',
  exists: 'exists',
};

/** Types of nodes whose opaque ids the id fields take. */
const NODES: Readonly<Record<string, string>> = {
  id: 'Run',
  trace_id: 'Run',
  parent_run_id: 'Run',
  project_id: 'Project',
  reference_example_id: 'Example',
};

// Deeper input than any filter may be is refused before it is walked.
const MAX_WALK = 40;

const invalid = (message: string, path: Path): AppError => new AppError('BAD_USER_INPUT', message, { path });

/** What is really given: absent fields are left out, null is refused because it could mean two things. */
function given(input: object, path: Path): [name: string, value: unknown][] {
  const entries = Object.entries(input).filter(([, value]) => value !== undefined);
  for (const [name, value] of entries) {
    if (value === null) {
      throw invalid('null is no condition. Leave the field out, or ask with isNull.', [...path, name]);
    }
  }
  return entries;
}

function conditions(input: RunFilterInput, path: Path, depth: number): Filter[] {
  if (depth > MAX_WALK) throw invalid('This filter nests too deep.', path);
  return given(input, path).flatMap(([name, value]): Filter[] => {
    const here = [...path, name];
    switch (name) {
      case 'and':
      case 'or':
        return [
          {
            kind: name,
            nodes: (value as RunFilterInput[]).map((one, index) => nested(one, [...here, index], depth)),
          },
        ].map((node) => nonEmpty(node, here));
      case 'not':
        return [{ kind: 'not', node: nested(value as RunFilterInput, here, depth) }];
      case 'isRoot':
        return [checked('eq', 'is_root', value, here)];
      case 'search':
        return [checked('search', undefined, value, here)];
      default: {
        const field = FIELDS[name];
        return field === undefined
          ? matcher(name, value as object, here)
          : comparator(field, value as object, here, depth);
      }
    }
  });
}

function nonEmpty(node: Extract<Filter, { kind: 'and' | 'or' }>, path: Path): Filter {
  if (node.nodes.length === 0) throw invalid(`${node.kind} needs at least one filter.`, path);
  return node;
}

function nested(input: RunFilterInput | null, path: Path, depth: number): Filter {
  if (input === null) throw invalid('null is no filter.', path);
  const nodes = conditions(input, path, depth + 1);
  const [only, second] = nodes;
  if (only === undefined) throw invalid('A filter needs at least one condition here.', path);
  return second === undefined ? only : { kind: 'and', nodes };
}

/** Metadata, payloads and feedback: one `and` for what speaks of the same item, and the rest. */
function matcher(name: string, input: object, path: Path): Filter[] {
  const parts = ITEMS[name];
  if (parts === undefined) throw invalid(`There is no filter field ${name}.`, path);
  const sameItem: Filter[] = [];
  const others: Filter[] = [];
  for (const [part, value] of given(input, path)) {
    const field = parts[part];
    if (field !== undefined) sameItem.push(...comparator(field, value as object, [...path, part], 1));
    else others.push(checked(operator(part, [...path, part]), name, value, [...path, part]));
  }
  if (sameItem.length + others.length === 0) throw invalid(`${name} needs at least one condition.`, path);
  return [...(sameItem.length > 0 ? [{ kind: 'and' as const, nodes: sameItem }] : []), ...others];
}

function comparator(field: string, input: object, path: Path, depth: number): Comparison[] {
  if (depth > MAX_WALK) throw invalid('This filter nests too deep.', path);
  const comparisons = given(input, path).flatMap(([name, value]): Comparison[] => {
    const here = [...path, name];
    if (name === 'isNull') return [checked(value === true ? 'eq' : 'neq', field, null, here)];
    if (name === 'and') {
      return (value as (object | null)[]).flatMap((more, index) => {
        if (more === null) throw invalid('null is no condition.', [...here, index]);
        return comparator(field, more, [...here, index], depth + 1);
      });
    }
    return [checked(operator(name, here), field, ids(field, value, here), here)];
  });
  if (comparisons.length === 0) throw invalid('At least one condition is needed here.', path);
  return comparisons;
}

function operator(name: string, path: Path): ComparisonOp {
  const op = OPERATORS[name];
  if (op === undefined) throw invalid(`There is no condition ${name}.`, path);
  return op;
}

function ids(field: string, value: unknown, path: Path): unknown {
  const node = NODES[field];
  if (node === undefined) return value;
  if (Array.isArray(value)) {
    return value.map((one: unknown, index) =>
      typeof one === 'string' ? parseId(node, one, [...path, index]) : one,
    );
  }
  return typeof value === 'string' ? parseId(node, value, path) : value;
}

function checked(op: ComparisonOp, field: string | undefined, value: unknown, path: Path): Comparison {
  try {
    return checkComparison(op, field, value);
  } catch (error) {
    if (!(error instanceof FilterProblem)) throw error;
    const where = error.item === undefined ? path : [...path, error.item];
    throw new AppError('BAD_USER_INPUT', error.message, {
      path: where,
      details: error.details,
      cause: error,
    });
  }
}

function limited(filter: Filter, path: Path): void {
  try {
    checkSize(filter);
  } catch (error) {
    if (!(error instanceof FilterProblem)) throw error;
    throw new AppError('BAD_USER_INPUT', error.message, { path, cause: error });
  }
}
