/** `runStats`. */
import { Args, Ctx, Info, Query, Resolver } from 'type-graphql';
import type { GraphQLResolveInfo } from 'graphql';
import { toRunFilters } from '../filters/filter.inputs.js';
import { RequiresAccess } from '../graphql/access.js';
import { requirePrincipal } from '../graphql/context.js';
import type { GraphqlContext, LoaderFactory } from '../graphql/context.js';
import { AppError } from '../platform/errors.js';
import { toProjectSelector } from '../projects/project.inputs.js';
import type { ProjectLoaders } from '../projects/project.loaders.js';
import { RunStatsArgs, toTimeRange } from './run.inputs.js';
import { selectsField } from './run-selection.js';
import type { RunStatsResult } from './run-stats.js';
import { RunStatsObject } from './run-stats.types.js';
import type { RunService } from './run.service.js';

const STATS_COMPLEXITY = 20;
const MAX_PROJECTS = 100;

export interface RunStatsResolverDeps {
  readonly runs: RunService;
  readonly projectLoaders: LoaderFactory<ProjectLoaders>;
}

@Resolver()
export class RunStatsResolver {
  readonly #deps: RunStatsResolverDeps;

  constructor(deps: RunStatsResolverDeps) {
    this.#deps = deps;
  }

  @RequiresAccess('read')
  @Query(() => RunStatsObject, {
    complexity: STATS_COMPLEXITY,
    description: 'Exact figures over all runs that match. Groups and buckets together are at most 10000.',
  })
  async runStats(
    @Args(() => RunStatsArgs) args: RunStatsArgs,
    @Info() info: GraphQLResolveInfo,
    @Ctx() context: GraphqlContext,
  ): Promise<RunStatsResult> {
    const query = {
      projectIds: args.projects ? await this.#projectIds(args.projects, context) : undefined,
      isRoot: args.rootsOnly ? true : undefined,
      timeRange: toTimeRange(args.timeRange),
      filters: args.where ? toRunFilters(args.where) : undefined,
    };
    return this.#deps.runs.stats(requirePrincipal(context), query, {
      groupBy: args.groupBy.map(({ by, key }) => ({ kind: by, key: key ?? undefined })),
      bucket: args.bucket ?? undefined,
      zone: args.zone,
      maxGroups: args.limit,
      feedback: selectsField(info, 'rows.feedback'),
    });
  }

  async #projectIds(refs: NonNullable<RunStatsArgs['projects']>, context: GraphqlContext): Promise<string[]> {
    if (refs.length > MAX_PROJECTS) {
      throw new AppError('BAD_USER_INPUT', `At most ${MAX_PROJECTS} projects go together.`, {
        path: ['projects'],
      });
    }
    const loaders = context.loader(this.#deps.projectLoaders);
    const found = await Promise.all(
      refs.map((ref, index) => {
        const selector = toProjectSelector(ref, ['projects', index]);
        return 'id' in selector ? loaders.byId.load(selector.id) : loaders.byName.load(selector.name);
      }),
    );
    return found.flatMap((project) => project?.uuid ?? []);
  }
}
