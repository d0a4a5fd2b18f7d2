/** GraphQL types of traces: totals, and the tree without payloads. */
import { Extensions, Field, Float, ID, Int, ObjectType } from 'type-graphql';
import { toGlobalId } from '../graphql/global-id.js';
import { PageInfo } from '../graphql/connection.js';
import { Node } from '../graphql/node.resolver.js';
import { AS_TEXT } from '../graphql/row-text.js';
import { BigIntScalar, DateTimeScalar, DecimalScalar, UuidScalar } from '../graphql/scalars.js';
import { RUN_NODE, RunStatusEnum, RunTypeEnum } from './run.types.js';
import type { PlacedTraceRun } from './run.service.js';
import type { TraceSummary } from './trace.store.js';
import { UsageTotals } from './usage-totals.types.js';

export const TRACE_NODE = 'Trace';

@ObjectType('TraceRun', {
  simpleResolvers: true,
  description: 'A node of the tree. Payloads are read by run(id).',
})
export class TraceRunObject {
  @Field(() => ID, { description: 'The id of the Run.' })
  id!: string;

  @Field(() => UuidScalar)
  uuid!: string;

  @Field(() => UuidScalar, { nullable: true })
  parentRunId!: string | null;

  @Field(() => Boolean, { description: 'Whether the parent is not among the stored runs of the trace.' })
  orphan!: boolean;

  @Field(() => Int, { description: 'Ancestors up to the root, stored or not.' })
  depth!: number;

  @Field(() => String)
  dottedOrder!: string;

  @Field(() => String)
  name!: string;

  @Field(() => RunTypeEnum)
  runType!: string;

  @Field(() => RunStatusEnum)
  status!: string;

  @Field(() => Boolean)
  hasError!: boolean;

  @Field(() => DateTimeScalar)
  startTime!: string;

  @Field(() => DateTimeScalar, { nullable: true })
  endTime!: string | null;

  @Field(() => Float, { nullable: true })
  latencySeconds!: number | null;

  @Field(() => Float, { nullable: true })
  firstTokenLatencySeconds!: number | null;

  @Field(() => String, { nullable: true })
  model!: string | null;

  @Field(() => BigIntScalar, { nullable: true })
  promptTokens!: number | null;

  @Field(() => BigIntScalar, { nullable: true })
  completionTokens!: number | null;

  @Field(() => BigIntScalar, { nullable: true })
  totalTokens!: number | null;

  @Field(() => DecimalScalar, { nullable: true })
  totalCost!: string | null;

  @Field(() => BigIntScalar)
  revision!: number;
}

/** `id` is there where it was selected. */
export type GraphqlTraceRun = PlacedTraceRun & { readonly id?: string };

/** Completes fresh nodes in place. */
export function toTraceRuns(runs: readonly PlacedTraceRun[], withIds: boolean): readonly GraphqlTraceRun[] {
  if (!withIds) return runs;
  for (const run of runs) (run as { id?: string }).id = toGlobalId(RUN_NODE, run.uuid);
  return runs;
}

@ObjectType('TraceRunConnection', { simpleResolvers: true })
export class TraceRunConnection {
  @Extensions(AS_TEXT)
  @Field(() => [TraceRunObject], { description: 'In depth-first order.' })
  nodes!: readonly GraphqlTraceRun[];

  @Field(() => PageInfo)
  pageInfo!: PageInfo;
}

@ObjectType('Trace', {
  implements: Node,
  simpleResolvers: true,
  description: 'All stored runs that name the same root. Tokens and money are summed over its model calls.',
})
export class TraceObject extends UsageTotals implements Node {
  // Fields of the interface, which declares them.
  id!: string;
  uuid!: string;

  @Field(() => Int)
  runCount!: number;

  @Field(() => Int)
  errorCount!: number;

  @Field(() => Int)
  pendingCount!: number;

  @Field(() => DateTimeScalar)
  startTime!: string;

  @Field(() => DateTimeScalar, { nullable: true, description: 'Of the run that ended last.' })
  endTime!: string | null;

  @Field(() => Float, { nullable: true, description: 'From the first start to the last end, in seconds.' })
  latencySeconds!: number | null;

  @Field(() => String, { nullable: true })
  threadId!: string | null;
}

/** `uuid` is the id of the root, whether or not it has arrived. */
export type GraphqlTrace = TraceSummary & {
  readonly uuid: string;
  /** The whole tree, where it was all that was asked for. */
  readonly tree?: readonly PlacedTraceRun[];
};

export const toTrace = (trace: TraceSummary): GraphqlTrace => ({ ...trace, uuid: trace.traceId });

/** A trace of which only the tree was asked for: its totals are not there. */
export const toTreeOnly = (traceId: string, tree: readonly PlacedTraceRun[]): GraphqlTrace =>
  ({ traceId, uuid: traceId, tree }) as GraphqlTrace;
