/** Following an experiment. The stream is opened by `subscribe`; the method only presents its events. */
/* eslint-disable @typescript-eslint/no-unused-vars -- arguments are declared on methods and used by `subscribe` */
import { Arg, createUnionType, Ctx, Field, ID, ObjectType, Resolver, Root, Subscription } from 'type-graphql';
import { RequiresAccess } from '../graphql/access.js';
import { requirePrincipal } from '../graphql/context.js';
import type { GraphqlContext } from '../graphql/context.js';
import { parseId } from '../graphql/global-id.js';
import { DecimalScalar, UuidScalar } from '../graphql/scalars.js';
import type { LiveEvent } from '../live/live-event.js';
import type { LiveContext } from '../live/live.resolver.js';
import { FeedEvent, Gap, Ready, toFeedEvent } from '../live/live.types.js';
import type { AttachmentLinks } from '../runs/run.types.js';
import { EXPERIMENT_NODE, ExperimentProgressType, ExperimentState } from './experiment.types.js';
import type { ExperimentProgress, ExperimentState as State } from './experiment.js';

@ObjectType({
  implements: FeedEvent,
  simpleResolvers: true,
  description: 'What the experiment is now. Changes that came together are one event.',
})
class ExperimentProgressed extends FeedEvent {
  @Field(() => UuidScalar)
  experimentId!: string;

  @Field(() => ExperimentState, { nullable: true })
  state!: State | null;

  @Field(() => String, { nullable: true })
  stateReason!: string | null;

  @Field(() => DecimalScalar, { nullable: true, description: 'US dollars.' })
  spend!: string | null;

  @Field(() => ExperimentProgressType)
  progress!: Omit<ExperimentProgress, 'experimentId'>;
}

const ExperimentFeedEvent = createUnionType({
  name: 'ExperimentFeedEvent',
  description: 'Types may be added; tolerate unknown ones.',
  types: () => [ExperimentProgressed, Gap, Ready] as const,
  resolveType: (event) => (event as unknown as { readonly kind: string }).kind,
});

interface Opening {
  readonly args: { readonly experimentId: string; readonly after?: string | null };
  readonly context: LiveContext;
}

@Resolver()
export class ExperimentLiveResolver {
  private readonly links: AttachmentLinks;

  constructor({ links }: { links: AttachmentLinks }) {
    this.links = links;
  }

  @RequiresAccess('read')
  @Subscription(() => ExperimentFeedEvent, {
    description:
      'How far an experiment has come, whoever carries it out. Nothing is lost between two cursors.',
    subscribe: (opening) => openExperimentEvents(opening),
  })
  experimentEvents(
    @Root() event: LiveEvent,
    @Ctx() context: GraphqlContext,
    @Arg('experimentId', () => ID) _experimentId: string,
    @Arg('after', () => String, {
      nullable: true,
      description: 'The cursor of the last event that was handled. Begins now without.',
    })
    _after?: string | null,
  ): unknown {
    const { workspaceId } = requirePrincipal(context);
    return toFeedEvent(event, { workspaceId, contentVisible: false, links: this.links });
  }
}

function openExperimentEvents({ args, context }: Opening): Promise<AsyncIterable<LiveEvent>> {
  return context.live.experimentEvents(requirePrincipal(context), {
    experimentId: parseId(EXPERIMENT_NODE, args.experimentId, 'experimentId'),
    after: args.after ?? undefined,
    onBehind: context.evict,
  });
}
