/** Queries of runs and the fields of a run that lead elsewhere. */
import { Arg, Args, Ctx, FieldResolver, ID, Info, Int, Query, Resolver, Root } from 'type-graphql';
import type { GraphQLResolveInfo } from 'graphql';
import { toRunFilters } from '../filters/filter.inputs.js';
import { ListSize, RequiresAccess } from '../graphql/access.js';
import { PageArgs, pageComplexity, pageFromRows, toCount } from '../graphql/connection.js';
import type { Page } from '../graphql/connection.js';
import { requirePrincipal } from '../graphql/context.js';
import type { GraphqlContext, LoaderFactory } from '../graphql/context.js';
import type { Cursors } from '../graphql/cursor.js';
import { parseId } from '../graphql/global-id.js';
import type { NodeLoad } from '../graphql/node.resolver.js';
import { toProjectSelector } from '../projects/project.inputs.js';
import type { ProjectLoaders } from '../projects/project.loaders.js';
import type { Project } from '../projects/project.js';
import { ProjectObject } from '../projects/project.types.js';
import { mayReadContent } from '../tenancy/principal.js';
import type { RunRow } from './run-columns.js';
import type { RunQuery } from './run-query.js';
import { CONNECTION_ROWS, selectedRunFields } from './run-selection.js';
import { RunListArgs, toTimeRange } from './run.inputs.js';
import type { RunLoaders } from './run.loaders.js';
import type { RunService } from './run.service.js';
import { RUN_NODE, RunConnection, RunObject, toRun } from './run.types.js';
import type { AttachmentLinks, GraphqlRun } from './run.types.js';

const PROJECT_COMPLEXITY = 1;

export interface RunResolverDeps {
  readonly runs: RunService;
  readonly cursors: Cursors;
  readonly links: AttachmentLinks;
  readonly runLoaders: LoaderFactory<RunLoaders>;
  readonly projectLoaders: LoaderFactory<ProjectLoaders>;
}

@Resolver(() => RunObject)
export class RunResolver {
  readonly #deps: RunResolverDeps;

  constructor(deps: RunResolverDeps) {
    this.#deps = deps;
  }

  @RequiresAccess('read')
  @Query(() => RunConnection, {
    complexity: pageComplexity,
    description:
      'Runs by start time, newest first. Runs that arrive while a client pages are never skipped or repeated.',
  })
  async runs(
    @Args(() => RunListArgs) args: RunListArgs,
    @Args(() => PageArgs) page: PageArgs,
    @Info() info: GraphQLResolveInfo,
    @Ctx() context: GraphqlContext,
  ): Promise<Page<GraphqlRun>> {
    const { runs, cursors } = this.#deps;
    const principal = requirePrincipal(context);
    const direction = args.orderBy?.direction ?? 'desc';
    const query = await this.#toQuery(args, context);
    const request = cursors.request(page, { order: 'runs.startTime', direction, filter: query });
    const fields = selectedRunFields(info, CONNECTION_ROWS);
    const rows = await runs.listRuns(principal, query, { direction, window: request, fields });
    return pageFromRows({
      cursors,
      request,
      rows: this.#show(rows, context),
      position: ({ startTime, uuid }) => ({ value: startTime, id: uuid }),
      count: async (limit) => toCount(await runs.countRuns(principal, query, limit), limit),
    });
  }

  @RequiresAccess('read')
  @Query(() => RunObject, { nullable: true })
  async run(
    @Arg('id', () => ID) id: string,
    @Info() info: GraphQLResolveInfo,
    @Ctx() context: GraphqlContext,
  ): Promise<GraphqlRun | undefined> {
    const row = await context
      .loader(this.#deps.runLoaders)
      .find(parseId(RUN_NODE, id), selectedRunFields(info));
    return row && this.#show([row], context)[0];
  }

  @FieldResolver(() => ProjectObject, {
    nullable: true,
    complexity: PROJECT_COMPLEXITY,
    description: 'Null for a moment after the project was deleted.',
  })
  project(@Root() run: GraphqlRun, @Ctx() context: GraphqlContext): Promise<Project | undefined> {
    return context.loader(this.#deps.projectLoaders).byId.load(given(run.projectUuid));
  }

  @FieldResolver(() => [RunObject], {
    description: 'Runs that name this one as their parent, in order. Up to 1000.',
  })
  @ListSize({ argument: 'first' })
  async children(
    @Root() run: GraphqlRun,
    @Arg('first', () => Int, { defaultValue: 50 }) first: number,
    @Info() info: GraphQLResolveInfo,
    @Ctx() context: GraphqlContext,
  ): Promise<GraphqlRun[]> {
    const parent = { id: run.uuid, traceId: given(run.traceId) };
    const rows = await context
      .loader(this.#deps.runLoaders)
      .listChildren(parent, first, selectedRunFields(info));
    return this.#show(rows, context);
  }

  @FieldResolver(() => Int, { complexity: 2 })
  childCount(@Root() run: GraphqlRun, @Ctx() context: GraphqlContext): Promise<number> {
    return context.loader(this.#deps.runLoaders).countChildren({ id: run.uuid, traceId: given(run.traceId) });
  }

  /** For `node(id)`. */
  readonly loadNodes: NodeLoad = async (context, uuids, info) => {
    const loaders = context.loader(this.#deps.runLoaders);
    const fields = selectedRunFields(info);
    const rows = await Promise.all(uuids.map((id) => loaders.find(id, fields)));
    return rows.map((row) => (row === undefined ? null : (this.#show([row], context)[0] ?? null)));
  };

  async #toQuery(args: RunListArgs, context: GraphqlContext): Promise<RunQuery> {
    return {
      projectIds: args.project ? await this.#projectIds(args.project, context) : undefined,
      traceIds: args.traceId ? [args.traceId] : undefined,
      isRoot: args.rootsOnly ? true : undefined,
      threadId: args.threadId ?? undefined,
      timeRange: toTimeRange(args.timeRange),
      filters: args.where ? toRunFilters(args.where) : undefined,
    };
  }

  /** Empty for a project that does not exist: a list of its runs is empty, too. */
  async #projectIds(ref: NonNullable<RunListArgs['project']>, context: GraphqlContext): Promise<string[]> {
    const selector = toProjectSelector(ref, ['project']);
    // An id needs no look-up: one that is not of this workspace has no runs in it.
    if ('id' in selector) return [selector.id];
    const project = await context.loader(this.#deps.projectLoaders).byName.load(selector.name);
    return project === undefined ? [] : [project.uuid];
  }

  #show(rows: readonly RunRow[], context: GraphqlContext): GraphqlRun[] {
    const principal = requirePrincipal(context);
    const { workspaceId } = principal;
    const contentVisible = mayReadContent(principal);
    return rows.map((row) => toRun(row, { workspaceId, contentVisible, links: this.#deps.links }));
  }
}

/** A column that run-selection.ts selects for the field that needs it. */
function given<T>(value: T | undefined): T {
  if (value === undefined) throw new Error('a needed column was not selected');
  return value;
}
