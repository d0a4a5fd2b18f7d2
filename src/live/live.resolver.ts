/** Live subscriptions. The stream is opened by `subscribe`; the methods only present its events. */
/* eslint-disable @typescript-eslint/no-unused-vars -- arguments are declared on methods and used by `subscribe` */
import { Arg, Ctx, ID, Resolver, Root, Subscription } from 'type-graphql';
import type { GraphQLResolveInfo } from 'graphql';
import { RunWhereInput, toRunFilters } from '../filters/filter.inputs.js';
import { RequiresAccess } from '../graphql/access.js';
import { requirePrincipal } from '../graphql/context.js';
import type { GraphqlContext } from '../graphql/context.js';
import { parseId } from '../graphql/global-id.js';
import type { AppError } from '../platform/errors.js';
import { PROJECT_NODE } from '../projects/project.inputs.js';
import { selectedRunFields } from '../runs/run-selection.js';
import { RUN_NODE } from '../runs/run.types.js';
import type { AttachmentLinks } from '../runs/run.types.js';
import { mayReadContent } from '../tenancy/principal.js';
import type { LiveEvent } from './live-event.js';
import type { LiveService } from './live.service.js';
import { RunFeedEvent, toFeedEvent } from './live.types.js';

/** What a transport of subscriptions adds to the context. */
export interface LiveContext extends GraphqlContext {
  readonly live: LiveService;
  /** Ends the connection of a subscriber that stayed behind, in a way its client answers by resuming. */
  readonly evict: (error: AppError) => void;
}

interface Opening<Args> {
  readonly args: Args;
  readonly context: LiveContext;
  readonly info: GraphQLResolveInfo;
}

interface RunEventsArgs {
  readonly project: string;
  readonly where?: RunWhereInput | null;
  readonly after?: string | null;
}

interface TraceEventsArgs {
  readonly traceId: string;
  readonly after?: string | null;
}

const AFTER = {
  nullable: true,
  description: 'The cursor of the last event that was handled. Begins now without.',
};

@Resolver()
export class LiveResolver {
  private readonly links: AttachmentLinks;

  constructor({ links }: { links: AttachmentLinks }) {
    this.links = links;
  }

  @RequiresAccess('read')
  @Subscription(() => RunFeedEvent, {
    description: 'Changes of the runs of a project, in the order they were committed, each once.',
    subscribe: (opening) => openRunEvents(opening),
  })
  runEvents(
    @Root() event: LiveEvent,
    @Ctx() context: GraphqlContext,
    @Arg('project', () => ID) _project: string,
    @Arg('where', () => RunWhereInput, { nullable: true, description: 'Judged by what the run is now.' })
    _where?: RunWhereInput | null,
    @Arg('after', () => String, AFTER) _after?: string | null,
  ): unknown {
    return this.present(event, context);
  }

  @RequiresAccess('read')
  @Subscription(() => RunFeedEvent, {
    description: 'Changes of the runs of one trace as it grows, in the order they were committed, each once.',
    subscribe: (opening) => openTraceEvents(opening),
  })
  traceEvents(
    @Root() event: LiveEvent,
    @Ctx() context: GraphqlContext,
    @Arg('traceId', () => ID) _traceId: string,
    @Arg('after', () => String, AFTER) _after?: string | null,
  ): unknown {
    return this.present(event, context);
  }

  private present(event: LiveEvent, context: GraphqlContext): unknown {
    const principal = requirePrincipal(context);
    return toFeedEvent(event, {
      workspaceId: principal.workspaceId,
      contentVisible: mayReadContent(principal),
      links: this.links,
    });
  }
}

function openRunEvents({ args, context, info }: Opening<RunEventsArgs>): Promise<AsyncIterable<LiveEvent>> {
  return context.live.runEvents(requirePrincipal(context), {
    projectId: parseId(PROJECT_NODE, args.project, 'project'),
    filters: toRunFilters(args.where),
    after: args.after ?? undefined,
    fields: selectedRunFields(info, ['run']),
    onBehind: context.evict,
  });
}

function openTraceEvents({
  args,
  context,
  info,
}: Opening<TraceEventsArgs>): Promise<AsyncIterable<LiveEvent>> {
  return context.live.traceEvents(requirePrincipal(context), {
    traceId: parseId(RUN_NODE, args.traceId, 'traceId'),
    after: args.after ?? undefined,
    fields: selectedRunFields(info, ['run']),
    onBehind: context.evict,
  });
}
