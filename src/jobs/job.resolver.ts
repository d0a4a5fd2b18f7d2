/** Queries and mutations of jobs. */
import {
  Arg,
  Args,
  ArgsType,
  Ctx,
  Field,
  FieldResolver,
  ID,
  Mutation,
  Query,
  Resolver,
  Root,
} from 'type-graphql';
import { RequiresAccess } from '../graphql/access.js';
import { PageArgs, pageComplexity, pageFromRows, toCount } from '../graphql/connection.js';
import type { Page } from '../graphql/connection.js';
import { requirePrincipal } from '../graphql/context.js';
import type { GraphqlContext, LoaderFactory } from '../graphql/context.js';
import type { Cursors } from '../graphql/cursor.js';
import { parseId } from '../graphql/global-id.js';
import type { NodeLoad } from '../graphql/node.resolver.js';
import { toUserErrors } from '../graphql/user-error.js';
import type { JobState } from '../platform/jobs/job.js';
import type { JobLoaders } from './job.loaders.js';
import type { Job, JobFilter, Waiting } from './job.js';
import type { JobService } from './job.service.js';
import {
  CancelJobPayload,
  JOB_NODE,
  JobConnection,
  JobObject,
  JobStateEnum,
  JobWaitingObject,
} from './job.types.js';

@ArgsType()
export class JobListArgs {
  @Field(() => [JobStateEnum], { nullable: true })
  states?: JobState[] | null;

  @Field(() => String, { nullable: true, description: 'Exactly this name.' })
  name?: string | null;
}

export interface JobResolverDeps {
  readonly jobs: JobService;
  readonly cursors: Cursors;
  readonly loaders: LoaderFactory<JobLoaders>;
}

@Resolver(() => JobObject)
export class JobResolver {
  readonly #deps: JobResolverDeps;

  constructor(deps: JobResolverDeps) {
    this.#deps = deps;
  }

  @RequiresAccess('read')
  @Query(() => JobConnection, {
    complexity: pageComplexity,
    description: 'Jobs of the workspace, newest first.',
  })
  async jobs(
    @Args(() => JobListArgs) args: JobListArgs,
    @Args(() => PageArgs) page: PageArgs,
    @Ctx() context: GraphqlContext,
  ): Promise<Page<Job>> {
    const { jobs, cursors } = this.#deps;
    const principal = requirePrincipal(context);
    const filter: JobFilter = {
      ...(args.states && { states: args.states }),
      ...(args.name && { name: args.name }),
    };
    const request = cursors.request(page, { order: 'jobs.createdAt', direction: 'desc', filter });
    return pageFromRows({
      cursors,
      request,
      rows: await jobs.list(principal, filter, request),
      position: ({ uuid, createdAt }) => ({ value: createdAt, id: uuid }),
      count: async (limit) => toCount(await jobs.count(principal, filter, limit), limit),
    });
  }

  @RequiresAccess('read')
  @Query(() => JobObject, { nullable: true })
  async job(@Arg('id', () => ID) id: string, @Ctx() context: GraphqlContext): Promise<Job | undefined> {
    return context.loader(this.#deps.loaders).byId.load(parseId(JOB_NODE, id));
  }

  @FieldResolver(() => JobWaitingObject, {
    nullable: true,
    description: 'Why it does not run now; null for a job that runs or has ended.',
  })
  async waiting(@Root() job: Job, @Ctx() context: GraphqlContext): Promise<Waiting | null> {
    return context.loader(this.#deps.loaders).waiting.load(job);
  }

  @RequiresAccess('write')
  @Mutation(() => CancelJobPayload, { description: 'What the job has done by then stays.' })
  async cancelJob(
    @Arg('id', () => ID) id: string,
    @Ctx() context: GraphqlContext,
  ): Promise<CancelJobPayload> {
    const result = await this.#deps.jobs.cancel(requirePrincipal(context), parseId(JOB_NODE, id));
    return result.ok
      ? { job: result.value, errors: [] }
      : { job: null, errors: toUserErrors(result.problems) };
  }

  /** For `node(id)`. */
  readonly loadNodes: NodeLoad = async (context, uuids) => {
    const loader = context.loader(this.#deps.loaders).byId;
    return (await Promise.all(uuids.map((id) => loader.load(id)))).map((job) => job ?? null);
  };
}
