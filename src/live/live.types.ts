/** GraphQL types of live events, and how a hub's event becomes one. */
import { createUnionType, Field, InterfaceType, ObjectType } from 'type-graphql';
import { UuidScalar } from '../graphql/scalars.js';
import { assertNever } from '../platform/errors.js';
import type { RunRow } from '../runs/run-columns.js';
import { RunObject, toRun } from '../runs/run.types.js';
import type { GraphqlRun, RunPresentation } from '../runs/run.types.js';
import { encodeCursor } from './feed-position.js';
import type { LiveEvent } from './live-event.js';

type Presented = { readonly kind: LiveEvent['kind']; readonly cursor: string } & Readonly<
  Record<string, unknown>
>;

const typeOf = ({ kind }: Presented): string => kind;

@InterfaceType({
  resolveType: typeOf,
  description: 'Something on a live stream. `cursor` resumes behind it, with nothing lost and nothing twice.',
})
export abstract class FeedEvent {
  @Field(() => String, { description: 'Opaque. Give it as `after` to go on from here.' })
  cursor!: string;
}

@InterfaceType({
  implements: FeedEvent,
  resolveType: typeOf,
  description: 'A run changed. `run` is its state now, which may be newer than the change.',
})
abstract class RunChange extends FeedEvent {
  @Field(() => RunObject)
  run!: GraphqlRun;
}

@ObjectType({ implements: RunChange, simpleResolvers: true, description: 'A run was first heard of.' })
class RunStarted extends RunChange {}

@ObjectType({ implements: RunChange, simpleResolvers: true, description: 'A run ended or failed.' })
class RunEnded extends RunChange {}

@ObjectType({ implements: RunChange, simpleResolvers: true, description: 'A run changed otherwise.' })
class RunUpdated extends RunChange {}

@ObjectType({
  implements: RunChange,
  simpleResolvers: true,
  description: 'Feedback on a run came, changed or went.',
})
class FeedbackChanged extends RunChange {
  @Field(() => UuidScalar, { nullable: true })
  feedbackId!: string | undefined;
}

@ObjectType({
  implements: FeedEvent,
  simpleResolvers: true,
  description: 'A run was deleted. Sent whatever the filter, as a run that is gone matches nothing.',
})
class RunDeleted extends FeedEvent {
  @Field(() => UuidScalar)
  runId!: string;

  @Field(() => UuidScalar)
  traceId!: string;
}

@ObjectType({
  implements: FeedEvent,
  simpleResolvers: true,
  description: 'Events between the two cursors may be missing, as the log no longer has them: query again.',
})
export class Gap extends FeedEvent {
  @Field(() => String)
  from!: string;

  @Field(() => String)
  to!: string;
}

@ObjectType({
  implements: FeedEvent,
  simpleResolvers: true,
  description:
    'Everything up to the cursor was delivered. First on a stream that begins now; once a stream that resumed has caught up; then now and then on a quiet one, and before the server restarts.',
})
export class Ready extends FeedEvent {}

export const RunFeedEvent = createUnionType({
  name: 'RunFeedEvent',
  description: 'Types may be added; tolerate unknown ones.',
  types: () => [RunStarted, RunEnded, RunUpdated, FeedbackChanged, RunDeleted, Gap, Ready] as const,
  resolveType: (event) => typeOf(event as unknown as Presented),
});

// Several events of a batch, and several documents, share a row; completing it twice would spoil it.
const completed = new WeakSet<RunRow>();

export function toFeedEvent(event: LiveEvent, presentation: RunPresentation): Presented {
  const { kind } = event;
  const cursor = encodeCursor(event.position);
  switch (event.kind) {
    case 'Gap':
      return { kind, cursor, from: encodeCursor(event.from), to: cursor };
    case 'Ready':
      return { kind, cursor };
    case 'ExperimentProgressed':
      return { kind, cursor, ...event.news };
    case 'RunDeleted':
      return { kind, cursor, runId: event.runId, traceId: event.traceId };
    case 'RunStarted':
    case 'RunEnded':
    case 'RunUpdated':
    case 'FeedbackChanged': {
      if (!completed.has(event.run)) {
        completed.add(event.run);
        toRun(event.run, presentation);
      }
      return { kind, cursor, run: event.run, feedbackId: event.feedbackId };
    }
    default:
      return assertNever(event);
  }
}
