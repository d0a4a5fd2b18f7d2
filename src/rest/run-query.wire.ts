/** What clients ask of runs in the LangSmith protocol, as a RunQuery. */
import { z } from 'zod';
import { allOf, parseFilter } from '../filters/filter-text.js';
import type { Filter, RunFilters } from '../filters/filter.js';
import type { RunQuery } from '../runs/run-query.js';
import { RUN_TYPES } from '../runs/run.js';
import { wireTime, wireUuid, wireUuids } from './wire-values.js';

const text = z.string().nullish();

/** The body of /runs/query and /runs/stats. Everything is optional and may be null. */
export const runQueryBody = z.object({
  id: wireUuids.nullish(),
  trace: wireUuid.nullish(),
  parent_run: wireUuid.nullish(),
  run_type: z.enum(RUN_TYPES).nullish(),
  session: wireUuids.nullish(),
  reference_example: wireUuids.nullish(),
  execution_order: z.number().nullish(),
  start_time: wireTime,
  end_time: wireTime,
  error: z.boolean().nullish(),
  query: text,
  search_filter: text,
  filter: text,
  trace_filter: text,
  tree_filter: text,
  is_root: z.boolean().nullish(),
  cursor: text,
  limit: z.number().int().min(1).nullish(),
  select: z.array(z.string()).max(200).nullish(),
  order: z.enum(['asc', 'desc']).nullish(),
  group_by: z
    .object({
      attribute: z.enum(['name', 'run_type', 'tag', 'metadata']),
      path: text,
      max_groups: z.number().int().min(1).max(100).nullish(),
    })
    .nullish(),
});

export type RunQueryBody = z.output<typeof runQueryBody>;

const parsed = (filter: string | null | undefined): Filter | undefined =>
  filter === null || filter === undefined || filter.trim() === '' ? undefined : parseFilter(filter);

const searched = (words: string | null | undefined): Filter | undefined =>
  words === null || words === undefined || words.trim() === ''
    ? undefined
    : { kind: 'comparison', op: 'search', field: undefined, value: words };

/** @throws AppError BAD_USER_INPUT for a filter that does not parse. */
export function filtersOf(
  body: Partial<Pick<RunQueryBody, 'filter' | 'trace_filter' | 'tree_filter' | 'query' | 'search_filter'>>,
): RunFilters | undefined {
  const run = allOf(parsed(body.filter), parsed(body.search_filter), searched(body.query));
  const root = parsed(body.trace_filter);
  const tree = parsed(body.tree_filter);
  if (run === undefined && root === undefined && tree === undefined) return undefined;
  return { ...(run && { run }), ...(root && { root }), ...(tree && { tree }) };
}

/** Ids that are named make every other condition meaningless, as the protocol has it. */
export function toRunQuery(body: RunQueryBody): RunQuery {
  if (body.id) return { ids: body.id };
  const roots = body.is_root ?? (body.execution_order === 1 ? true : undefined);
  return {
    projectIds: body.session ?? undefined,
    traceIds: body.trace ? [body.trace] : undefined,
    parentRunId: body.parent_run ?? undefined,
    referenceExampleIds: body.reference_example ?? undefined,
    runType: body.run_type ?? undefined,
    isRoot: roots,
    hasError: body.error ?? undefined,
    timeRange: { from: body.start_time, to: body.end_time },
    filters: filtersOf(body),
  };
}

const NOT_OF_THE_LIST: ReadonlySet<string> = new Set(['cursor', 'limit', 'select', 'order']);

/** Everything of a body that decides which runs are listed: a cursor is good for the same list only. */
export const listIdentity = (body: RunQueryBody): unknown =>
  Object.fromEntries(Object.entries(body).filter(([name]) => !NOT_OF_THE_LIST.has(name)));
