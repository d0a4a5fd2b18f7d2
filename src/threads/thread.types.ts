/** GraphQL types of threads. */
import { Field, Float, Int, ObjectType } from 'type-graphql';
import { connectionTypes } from '../graphql/connection.js';
import { DateTimeScalar } from '../graphql/scalars.js';
import { UsageTotals } from '../runs/usage-totals.types.js';
import type { ThreadRow, ThreadUsage } from './thread.store.js';

@ObjectType('ThreadUsage', {
  simpleResolvers: true,
  description: 'Tokens and money over all model calls in all traces of a thread.',
})
export class ThreadUsageObject extends UsageTotals implements Omit<ThreadUsage, 'threadId'> {}

/** A thread with its project, which makes its id unique. */
export type GraphqlThread = ThreadRow & { readonly projectId: string };

@ObjectType('Thread', {
  simpleResolvers: true,
  description:
    'The traces of a project that share a thread id. Figures are over the root runs that match the query.',
})
export class ThreadObject {
  @Field(() => String, { description: 'Unique in its project.' })
  threadId!: string;

  @Field(() => Int)
  traceCount!: number;

  @Field(() => Int, { description: 'Traces whose root failed.' })
  errorCount!: number;

  @Field(() => Boolean, { description: 'Whether the root of the newest trace failed.' })
  lastHasError!: boolean;

  @Field(() => DateTimeScalar)
  firstStartTime!: string;

  @Field(() => DateTimeScalar)
  lastStartTime!: string;

  @Field(() => Float, { nullable: true, description: 'Seconds.' })
  latencyP50!: number | null;

  @Field(() => Float, { nullable: true, description: 'Seconds.' })
  latencyP99!: number | null;

  @Field(() => String, { nullable: true, description: 'Content. How the first trace begins.' })
  firstInputsPreview!: string | null;

  @Field(() => String, { nullable: true, description: 'Content. How the newest trace ends.' })
  lastOutputsPreview!: string | null;
}

export const { Connection: ThreadConnection, Edge: ThreadEdge } = connectionTypes<GraphqlThread>(
  () => ThreadObject as never,
  'Thread',
);
