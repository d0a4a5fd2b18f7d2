/** GraphQL inputs of runs, and what services take for them. */
import { ArgsType, Field, InputType, Int, registerEnumType } from 'type-graphql';
import { RunWhereInput } from '../filters/filter.inputs.js';
import { DateTimeScalar, JsonScalar, UuidScalar } from '../graphql/scalars.js';
import type { JsonObject, JsonValue } from '../ingest/run-event.js';
import type { SortDirection } from '../platform/keyset.js';
import { OrderDirection, ProjectRef, toProjectSelector } from '../projects/project.inputs.js';
import type { TimeRange } from './run-day.store.js';
import { RunStatsGroupKind, StatsBucket } from './run-stats.types.js';
import type { Bucket, GroupKind } from './run-stats.js';
import { RunTypeEnum } from './run.types.js';

@InputType({ description: 'A span of time, half-open: `from` is in it, `to` is not.' })
export class TimeRangeInput {
  @Field(() => DateTimeScalar, { nullable: true })
  from?: string | null;

  @Field(() => DateTimeScalar, { nullable: true })
  to?: string | null;
}

export function toTimeRange(range: TimeRangeInput | null | undefined): TimeRange | undefined {
  if (range === null || range === undefined) return undefined;
  return { from: range.from ?? undefined, to: range.to ?? undefined };
}

export const RunOrderField = { START_TIME: 'START_TIME' } as const;
registerEnumType(RunOrderField, { name: 'RunOrderField' });

@InputType()
export class RunOrder {
  @Field(() => RunOrderField, { defaultValue: 'START_TIME' })
  field!: keyof typeof RunOrderField;

  @Field(() => OrderDirection, { defaultValue: 'desc' })
  direction!: SortDirection;
}

@ArgsType()
export class RunListArgs {
  @Field(() => ProjectRef, { nullable: true, description: 'All projects of the workspace where not given.' })
  project?: ProjectRef | null;

  @Field(() => RunWhereInput, { nullable: true })
  where?: RunWhereInput | null;

  @Field(() => TimeRangeInput, { nullable: true, description: 'Of the start time.' })
  timeRange?: TimeRangeInput | null;

  @Field(() => Boolean, { defaultValue: false, description: 'Only the roots of traces.' })
  rootsOnly!: boolean;

  @Field(() => String, { nullable: true, description: 'Only runs of this thread.' })
  threadId?: string | null;

  @Field(() => UuidScalar, { nullable: true, description: 'Only runs of this trace.' })
  traceId?: string | null;

  @Field(() => RunOrder, { nullable: true, description: 'Newest first where not given.' })
  orderBy?: RunOrder | null;
}

@InputType({ description: 'What to group by. "key" names the metadata path, for METADATA only.' })
export class RunStatsGroupInput {
  @Field(() => RunStatsGroupKind)
  by!: GroupKind;

  @Field(() => String, { nullable: true })
  key?: string | null;
}

@ArgsType()
export class RunStatsArgs {
  @Field(() => [ProjectRef], {
    nullable: true,
    description: 'At most 100; all of the workspace where not given.',
  })
  projects?: ProjectRef[] | null;

  @Field(() => RunWhereInput, { nullable: true })
  where?: RunWhereInput | null;

  @Field(() => TimeRangeInput, { nullable: true, description: 'Of the start time.' })
  timeRange?: TimeRangeInput | null;

  @Field(() => Boolean, { defaultValue: false, description: 'Only the roots of traces.' })
  rootsOnly!: boolean;

  @Field(() => [RunStatsGroupInput], { defaultValue: [], description: 'At most 3.' })
  groupBy!: RunStatsGroupInput[];

  @Field(() => StatsBucket, {
    nullable: true,
    description: 'Length of the buckets of start time; one row per group without.',
  })
  bucket?: Bucket | null;

  @Field(() => String, {
    defaultValue: 'UTC',
    description: 'Time zone in which days and weeks begin, such as "Europe/Oslo".',
  })
  zone!: string;

  @Field(() => Int, { defaultValue: 20, description: 'Groups at most, those with the most runs; up to 100.' })
  limit!: number;
}

@InputType()
export class DeleteTracesInput {
  @Field(() => ProjectRef)
  project!: ProjectRef;

  @Field(() => [UuidScalar], { description: 'At most 100.' })
  traceIds!: string[];
}

/** What both mutations say about a run. Null says nothing: nothing in an event can erase. */
@InputType()
abstract class RunFacts {
  @Field(() => UuidScalar, { nullable: true, description: 'The id of the root; derived where not given.' })
  traceId?: string | null;

  @Field(() => UuidScalar, { nullable: true })
  parentRunId?: string | null;

  @Field(() => String, { nullable: true })
  dottedOrder?: string | null;

  @Field(() => ProjectRef, {
    nullable: true,
    description: 'Made on first use by name; "default" where not given.',
  })
  project?: ProjectRef | null;

  @Field(() => DateTimeScalar, { nullable: true })
  endTime?: string | null;

  @Field(() => JsonScalar, { nullable: true })
  inputs?: unknown;

  @Field(() => JsonScalar, { nullable: true })
  outputs?: unknown;

  @Field(() => String, { nullable: true })
  error?: string | null;

  @Field(() => JsonScalar, { nullable: true })
  events?: unknown;

  @Field(() => JsonScalar, { nullable: true, description: 'Joins extra.metadata key by key.' })
  metadata?: unknown;

  @Field(() => JsonScalar, { nullable: true })
  extra?: unknown;

  @Field(() => [String], { nullable: true })
  tags?: string[] | null;

  @Field(() => UuidScalar, { nullable: true })
  referenceExampleId?: string | null;
}

@InputType()
export class CreateRunItem extends RunFacts {
  @Field(() => UuidScalar, {
    nullable: true,
    description: 'Made where not given. Repeating an id is harmless.',
  })
  id?: string | null;

  @Field(() => String)
  name!: string;

  @Field(() => RunTypeEnum)
  runType!: string;

  @Field(() => DateTimeScalar)
  startTime!: string;

  @Field(() => JsonScalar, { nullable: true })
  serialized?: unknown;
}

@InputType()
export class UpdateRunItem extends RunFacts {
  @Field(() => UuidScalar)
  id!: string;

  @Field(() => String, { nullable: true })
  name?: string | null;
}

@InputType()
export class CreateRunsInput {
  @Field(() => [CreateRunItem], { description: 'At most 100.' })
  runs!: CreateRunItem[];
}

@InputType()
export class UpdateRunsInput {
  @Field(() => [UpdateRunItem], { description: 'At most 100.' })
  runs!: UpdateRunItem[];
}

/** A run object of the wire protocol. Absent and null both say nothing there. */
export function toWireRun(
  item: CreateRunItem | UpdateRunItem,
  id: string,
  path: readonly (string | number)[],
): JsonObject {
  const project = item.project ? toProjectSelector(item.project, [...path, 'project']) : undefined;
  const wire: Record<string, unknown> = {
    id,
    trace_id: item.traceId,
    parent_run_id: item.parentRunId,
    dotted_order: item.dottedOrder,
    session_id: project !== undefined && 'id' in project ? project.id : undefined,
    session_name: project !== undefined && 'name' in project ? project.name : undefined,
    name: item.name,
    run_type: 'runType' in item ? item.runType : undefined,
    start_time: 'startTime' in item ? item.startTime : undefined,
    end_time: item.endTime,
    inputs: item.inputs,
    outputs: item.outputs,
    error: item.error,
    events: item.events,
    serialized: 'serialized' in item ? item.serialized : undefined,
    extra: withMetadata(item.extra ?? undefined, item.metadata ?? undefined),
    tags: item.tags,
    reference_example_id: item.referenceExampleId,
  };
  return Object.fromEntries(
    Object.entries(wire).filter(
      (entry): entry is [string, JsonValue] => entry[1] !== undefined && entry[1] !== null,
    ),
  );
}

const isObject = (value: unknown): value is JsonObject =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

/** What is no object stays as it is: the intake refuses it, and only the run it came with. */
function withMetadata(extra: unknown, metadata: unknown): unknown {
  if (metadata === undefined || (extra !== undefined && !isObject(extra))) return extra;
  const known = extra?.['metadata'];
  const joined = isObject(known) && isObject(metadata) ? { ...known, ...metadata } : metadata;
  return { ...extra, metadata: joined };
}
