/** `threads` and `thread`. The traces of a thread are `runs(project, threadId, rootsOnly: true)`. */
import DataLoader from 'dataloader';
import {
  Arg,
  Args,
  ArgsType,
  Ctx,
  Field,
  FieldResolver,
  Info,
  Int,
  Query,
  Resolver,
  Root,
} from 'type-graphql';
import type { GraphQLResolveInfo } from 'graphql';
import { RunWhereInput, toRunFilters } from '../filters/filter.inputs.js';
import { RequiresAccess } from '../graphql/access.js';
import { pageComplexity, pageFromRows, toCount } from '../graphql/connection.js';
import type { Page } from '../graphql/connection.js';
import { requirePrincipal } from '../graphql/context.js';
import type { GraphqlContext, LoaderFactory } from '../graphql/context.js';
import type { Cursors } from '../graphql/cursor.js';
import { ProjectRef, toProjectSelector } from '../projects/project.inputs.js';
import type { ProjectLoaders } from '../projects/project.loaders.js';
import type { Project } from '../projects/project.js';
import { ProjectObject } from '../projects/project.types.js';
import { CONNECTION_ROWS, selectsField } from '../runs/run-selection.js';
import { TimeRangeInput, toTimeRange } from '../runs/run.inputs.js';
import type { ThreadService } from './thread.service.js';
import type { ThreadUsage } from './thread.store.js';
import { ThreadConnection, ThreadObject, ThreadUsageObject } from './thread.types.js';
import type { GraphqlThread } from './thread.types.js';

/** Sums over all runs of the thread's traces. */
const USAGE_COMPLEXITY = 5;

@ArgsType()
class ThreadListArgs {
  @Field(() => ProjectRef)
  project!: ProjectRef;

  @Field(() => RunWhereInput, { nullable: true, description: 'On the root runs.' })
  where?: RunWhereInput | null;

  @Field(() => TimeRangeInput, { nullable: true, description: 'Of the start of the root runs.' })
  timeRange?: TimeRangeInput | null;

  @Field(() => Int, { description: 'Up to 100.' })
  first!: number;

  @Field(() => String, { nullable: true })
  after?: string | null;
}

export interface ThreadResolverDeps {
  readonly threads: ThreadService;
  readonly cursors: Cursors;
  readonly projectLoaders: LoaderFactory<ProjectLoaders>;
}

@Resolver(() => ThreadObject)
export class ThreadResolver {
  readonly #deps: ThreadResolverDeps;
  readonly #usage: LoaderFactory<(projectId: string) => UsageLoader>;

  constructor(deps: ThreadResolverDeps) {
    this.#deps = deps;
    this.#usage = (context) => usageLoaders(deps.threads, context);
  }

  @RequiresAccess('read')
  @Query(() => ThreadConnection, {
    complexity: pageComplexity,
    description:
      'The thread with the newest trace first; a thread that gets one moves to the front, past the cursor.',
  })
  async threads(
    @Args(() => ThreadListArgs) args: ThreadListArgs,
    @Info() info: GraphQLResolveInfo,
    @Ctx() context: GraphqlContext,
  ): Promise<Page<GraphqlThread>> {
    const { threads, cursors } = this.#deps;
    const previews = CONNECTION_ROWS.some((path) => selectsPreviews(info, `${path}.`));
    const principal = requirePrincipal(context);
    const project = await this.#project(args.project, context);
    const query = {
      projectId: project?.uuid ?? '',
      timeRange: toTimeRange(args.timeRange),
      filters: args.where ? toRunFilters(args.where) : undefined,
    };
    const list = { order: 'threads.lastStartTime', direction: 'desc', filter: query } as const;
    const request = cursors.request({ first: args.first, after: args.after ?? null }, list);
    const { boundary } = request;
    const after = boundary && { lastStartTime: String(boundary.value), threadId: boundary.id };
    const window = { limit: request.limit, after };
    const rows = project ? await threads.listThreads(principal, query, window, { previews }) : [];
    return pageFromRows({
      cursors,
      request,
      rows: rows.map((row) => ({ ...row, projectId: query.projectId })),
      position: ({ lastStartTime, threadId }) => ({ value: lastStartTime, id: threadId }),
      count: async (limit) =>
        toCount(project ? await threads.countThreads(principal, query, limit) : 0, limit),
    });
  }

  @RequiresAccess('read')
  @Query(() => ThreadObject, { nullable: true })
  async thread(
    @Arg('project', () => ProjectRef) ref: ProjectRef,
    @Arg('id', () => String) id: string,
    @Info() info: GraphQLResolveInfo,
    @Ctx() context: GraphqlContext,
  ): Promise<GraphqlThread | undefined> {
    const project = await this.#project(ref, context);
    if (project === undefined) return undefined;
    const principal = requirePrincipal(context);
    const previews = selectsPreviews(info, '');
    const row = await this.#deps.threads.findThread(principal, project.uuid, id, { previews });
    return row && { ...row, projectId: project.uuid };
  }

  @FieldResolver(() => ProjectObject, { nullable: true })
  project(@Root() thread: GraphqlThread, @Ctx() context: GraphqlContext): Promise<Project | undefined> {
    return context.loader(this.#deps.projectLoaders).byId.load(thread.projectId);
  }

  @FieldResolver(() => ThreadUsageObject, { complexity: USAGE_COMPLEXITY })
  async usage(
    @Root() thread: GraphqlThread,
    @Ctx() context: GraphqlContext,
  ): Promise<Omit<ThreadUsage, 'threadId'>> {
    return (await context.loader(this.#usage)(thread.projectId).load(thread)) ?? NO_USAGE;
  }

  #project(ref: ProjectRef, context: GraphqlContext): Promise<Project | undefined> {
    const selector = toProjectSelector(ref, ['project']);
    const loaders = context.loader(this.#deps.projectLoaders);
    return 'id' in selector ? loaders.byId.load(selector.id) : loaders.byName.load(selector.name);
  }
}

const NO_USAGE: Omit<ThreadUsage, 'threadId'> = {
  promptTokens: '0',
  completionTokens: '0',
  totalTokens: '0',
  promptCost: null,
  completionCost: null,
  totalCost: null,
};

type UsageLoader = DataLoader<GraphqlThread, ThreadUsage | undefined, string>;

/** One loader per project that threads of this operation belong to. */
function usageLoaders(threads: ThreadService, context: GraphqlContext): (projectId: string) => UsageLoader {
  const principal = requirePrincipal(context);
  const loaders = new Map<string, UsageLoader>();
  return (projectId) => {
    let loader = loaders.get(projectId);
    if (loader === undefined) {
      loader = new DataLoader(
        async (wanted: readonly GraphqlThread[]) => {
          const found = await threads.usageOf(principal, projectId, wanted);
          const byThread = new Map(found.map((usage) => [usage.threadId, usage]));
          return wanted.map(({ threadId }) => byThread.get(threadId));
        },
        { name: 'threads.usage', maxBatchSize: 100, cacheKeyFn: ({ threadId }) => threadId },
      );
      loaders.set(projectId, loader);
    }
    return loader;
  };
}

/** Previews are content: they are read, and recorded as read, only where they are asked for. */
const selectsPreviews = (info: GraphQLResolveInfo, prefix: string): boolean =>
  selectsField(info, `${prefix}firstInputsPreview`) || selectsField(info, `${prefix}lastOutputsPreview`);
