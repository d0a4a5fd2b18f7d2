/** Queries and mutations of projects. */
import { Arg, Args, Ctx, FieldResolver, ID, Mutation, Query, Resolver, Root } from 'type-graphql';
import { RequiresAccess } from '../graphql/access.js';
import { PageArgs, pageComplexity, pageFromRows, toCount } from '../graphql/connection.js';
import type { Page } from '../graphql/connection.js';
import { requirePrincipal } from '../graphql/context.js';
import type { GraphqlContext, LoaderFactory } from '../graphql/context.js';
import type { Cursors } from '../graphql/cursor.js';
import { parseId, toGlobalId } from '../graphql/global-id.js';
import type { NodeLoad } from '../graphql/node.resolver.js';
import { DateTimeScalar } from '../graphql/scalars.js';
import { toUserErrors } from '../graphql/user-error.js';
import type { JsonObject } from '../ingest/run-event.js';
import { AppError } from '../platform/errors.js';
import {
  CreateProjectInput,
  DeleteProjectInput,
  PROJECT_NODE,
  ProjectListArgs,
  UpdateProjectInput,
} from './project.inputs.js';
import type { ProjectPatchInput } from './project.inputs.js';
import type { ProjectLoaders } from './project.loaders.js';
import type { ProjectService } from './project.service.js';
import { NO_STATS } from './project.js';
import type { Project, ProjectFilter, ProjectPatch, ProjectStats } from './project.js';
import {
  CreateProjectPayload,
  DeleteProjectPayload,
  ProjectConnection,
  ProjectObject,
  ProjectStatsObject,
  UpdateProjectPayload,
} from './project.types.js';

const STATS_COMPLEXITY = 20;

export interface ProjectResolverDeps {
  readonly projects: ProjectService;
  readonly cursors: Cursors;
  readonly loaders: LoaderFactory<ProjectLoaders>;
}

@Resolver(() => ProjectObject)
export class ProjectsResolver {
  readonly #deps: ProjectResolverDeps;

  constructor(deps: ProjectResolverDeps) {
    this.#deps = deps;
  }

  @RequiresAccess('read')
  @Query(() => ProjectConnection, {
    complexity: pageComplexity,
    description: 'Projects of the workspace. There is always one named "default".',
  })
  async projects(
    @Args(() => ProjectListArgs) args: ProjectListArgs,
    @Args(() => PageArgs) page: PageArgs,
    @Ctx() context: GraphqlContext,
  ): Promise<Page<Project>> {
    const { projects, cursors } = this.#deps;
    const principal = requirePrincipal(context);
    const filter = toProjectFilter(args);
    const order = args.orderBy?.field ?? 'CREATED_AT';
    const direction = args.orderBy?.direction ?? 'desc';
    const request = cursors.request(page, { order: `projects.${order}`, direction, filter });
    return pageFromRows({
      cursors,
      request,
      rows: await projects.listProjects(principal, { filter, order, direction, window: request }),
      position: ({ uuid, name, createdAt }) => ({ value: order === 'NAME' ? name : createdAt, id: uuid }),
      count: async (limit) => toCount(await projects.countProjects(principal, filter, limit), limit),
    });
  }

  @RequiresAccess('read')
  @Query(() => ProjectObject, { nullable: true, description: 'By exactly one of id and name.' })
  async project(
    @Arg('id', () => ID, { nullable: true }) id: string | null | undefined,
    @Arg('name', () => String, { nullable: true }) name: string | null | undefined,
    @Ctx() context: GraphqlContext,
  ): Promise<Project | undefined> {
    if ((id ?? undefined) === undefined && typeof name === 'string') {
      return context.loader(this.#deps.loaders).byName.load(name);
    }
    if (typeof id === 'string' && (name ?? undefined) === undefined) {
      return context.loader(this.#deps.loaders).byId.load(parseId(PROJECT_NODE, id));
    }
    throw new AppError('BAD_USER_INPUT', 'Give exactly one of "id" and "name".', { path: ['id'] });
  }

  @FieldResolver(() => ProjectStatsObject, { complexity: STATS_COMPLEXITY })
  async stats(
    @Root() project: Project,
    @Arg('since', () => DateTimeScalar, {
      nullable: true,
      description: 'Count only runs that start then or later. All runs ever are read where not given.',
    })
    since: string | null | undefined,
    @Ctx() context: GraphqlContext,
  ): Promise<Omit<ProjectStats, 'projectId'>> {
    return (await context.loader(this.#deps.loaders).stats(project.uuid, since ?? undefined)) ?? NO_STATS;
  }

  @RequiresAccess('write')
  @Mutation(() => CreateProjectPayload)
  async createProject(
    @Arg('input', () => CreateProjectInput) input: CreateProjectInput,
    @Ctx() context: GraphqlContext,
  ): Promise<CreateProjectPayload> {
    const draft = {
      name: input.name,
      description: input.description,
      extra: toExtra(input.extra, ['input', 'extra']),
      referenceDatasetId: input.referenceDatasetId,
      startTime: input.startTime ?? undefined,
    };
    const { idempotencyKey } = input;
    const principal = requirePrincipal(context);
    const result = await this.#deps.projects.createProject(principal, draft, { idempotencyKey });
    return result.ok
      ? { project: result.value, errors: [] }
      : { project: null, errors: toUserErrors(result.problems) };
  }

  @RequiresAccess('write')
  @Mutation(() => UpdateProjectPayload)
  async updateProject(
    @Arg('input', () => UpdateProjectInput) input: UpdateProjectInput,
    @Ctx() context: GraphqlContext,
  ): Promise<UpdateProjectPayload> {
    const id = parseId(PROJECT_NODE, input.id, ['input', 'id']);
    const patch = toPatch(input.patch);
    const result = await this.#deps.projects.updateProject(requirePrincipal(context), id, patch);
    return result.ok
      ? { project: result.value, errors: [] }
      : { project: null, errors: toUserErrors(result.problems) };
  }

  @RequiresAccess('write')
  @Mutation(() => DeleteProjectPayload, {
    description: 'The project is gone at once; its runs are removed in the background.',
  })
  async deleteProject(
    @Arg('input', () => DeleteProjectInput) input: DeleteProjectInput,
    @Ctx() context: GraphqlContext,
  ): Promise<DeleteProjectPayload> {
    const id = parseId(PROJECT_NODE, input.id, ['input', 'id']);
    const result = await this.#deps.projects.deleteProject(requirePrincipal(context), id);
    return result.ok
      ? { deletedId: toGlobalId(PROJECT_NODE, result.value), errors: [] }
      : { deletedId: null, errors: toUserErrors(result.problems) };
  }

  /** For `node(id)`. */
  readonly loadNodes: NodeLoad = async (context, uuids) => {
    const loader = context.loader(this.#deps.loaders).byId;
    return (await Promise.all(uuids.map((id) => loader.load(id)))).map((project) => project ?? null);
  };
}

function toProjectFilter(args: ProjectListArgs): ProjectFilter {
  return {
    nameContains: args.nameContains ?? undefined,
    referenceDatasetIds: args.referenceDatasetIds ?? undefined,
    referenceFree: args.referenceFree ?? undefined,
  };
}

function toExtra(extra: unknown, path: readonly string[]): JsonObject | undefined {
  if (extra === undefined || extra === null) return undefined;
  if (typeof extra !== 'object' || Array.isArray(extra)) {
    throw new AppError('BAD_USER_INPUT', '"extra" must be an object.', { path });
  }
  return extra as JsonObject;
}

function toPatch(patch: ProjectPatchInput): ProjectPatch {
  if (patch.name === null) {
    throw new AppError('BAD_USER_INPUT', 'A project needs a name.', { path: ['input', 'patch', 'name'] });
  }
  return {
    name: patch.name,
    description: patch.description,
    extra: patch.extra === null ? {} : toExtra(patch.extra, ['input', 'patch', 'extra']),
    endTime: patch.endTime,
  };
}
