/** Queries of experiments. */
import { Arg, Args, Ctx, FieldResolver, Info, Query, Resolver, Root } from 'type-graphql';
import type { GraphQLResolveInfo } from 'graphql';
import { ListSize, RequiresAccess } from '../graphql/access.js';
import { PageArgs, pageComplexity, pageFromRows, toCount } from '../graphql/connection.js';
import type { Page } from '../graphql/connection.js';
import { requirePrincipal } from '../graphql/context.js';
import type { GraphqlContext, LoaderFactory } from '../graphql/context.js';
import type { Cursors } from '../graphql/cursor.js';
import { parseId } from '../graphql/global-id.js';
import type { NodeLoad } from '../graphql/node.resolver.js';
import { AppError } from '../platform/errors.js';
import type { Project } from '../projects/project.js';
import type { ProjectLoaders } from '../projects/project.loaders.js';
import { ProjectObject } from '../projects/project.types.js';
import type { RunLoaders } from '../runs/run.loaders.js';
import { selectedRunFields } from '../runs/run-selection.js';
import { RunObject, toRun } from '../runs/run.types.js';
import type { AttachmentLinks, GraphqlRun } from '../runs/run.types.js';
import { mayReadContent } from '../tenancy/principal.js';
import {
  ExperimentArgs,
  ExperimentListArgs,
  ExperimentRowWhereInput,
  toExperimentFilter,
  toRowFilter,
} from './experiment.inputs.js';
import type { ExperimentLoaders } from './experiment.loaders.js';
import type { ExperimentService, PlacedRow } from './experiment.service.js';
import {
  EXPERIMENT_NODE,
  ExperimentConnection,
  ExperimentProgressType,
  ExperimentRowConnection,
  ExperimentRowType,
  ExperimentType,
  KeyScoresType,
  RowEvaluationType,
  RowScoreType,
  UsageType,
} from './experiment.types.js';
import type {
  Experiment,
  ExperimentProgress,
  KeySummary,
  RowEvaluation,
  RowScore,
  UsageSummary,
} from './experiment.js';

/** Figures read every row of an experiment. */
const FIGURES_COMPLEXITY = 20;

const NO_ROWS: Omit<ExperimentProgress, 'experimentId'> = {
  examples: 0,
  rows: { total: 0, pending: 0, running: 0, done: 0, failed: 0, cached: 0 },
  evaluators: [],
};

const NO_USAGE: Omit<UsageSummary, 'experimentId'> = {
  latencyMean: null,
  latencyP50: null,
  latencyP95: null,
  totalTokens: 0,
  totalCost: null,
};

export interface ExperimentResolverDeps {
  readonly experiments: ExperimentService;
  readonly cursors: Cursors;
  readonly loaders: LoaderFactory<ExperimentLoaders>;
  readonly projectLoaders: LoaderFactory<ProjectLoaders>;
}

@Resolver(() => ExperimentType)
export class ExperimentResolver {
  readonly #deps: ExperimentResolverDeps;

  constructor(deps: ExperimentResolverDeps) {
    this.#deps = deps;
  }

  @RequiresAccess('read')
  @Query(() => ExperimentConnection, { complexity: pageComplexity, description: 'Newest first.' })
  async experiments(
    @Args(() => ExperimentListArgs) args: ExperimentListArgs,
    @Args(() => PageArgs) page: PageArgs,
    @Ctx() context: GraphqlContext,
  ): Promise<Page<Experiment>> {
    const { experiments, cursors } = this.#deps;
    const principal = requirePrincipal(context);
    const filter = toExperimentFilter(args);
    const request = cursors.request(page, { order: 'experiments.created', direction: 'desc', filter });
    return pageFromRows({
      cursors,
      request,
      rows: await experiments.list(principal, filter, request),
      position: ({ createdAt, uuid }) => ({ value: createdAt, id: uuid }),
      count: async (limit) => toCount(await experiments.count(principal, filter, limit), limit),
    });
  }

  @RequiresAccess('read')
  @Query(() => ExperimentType, { nullable: true, description: 'By exactly one of id and name.' })
  async experiment(
    @Args(() => ExperimentArgs) { id, name }: ExperimentArgs,
    @Ctx() context: GraphqlContext,
  ): Promise<Experiment | undefined> {
    if (typeof name === 'string' && typeof id !== 'string') {
      return this.#deps.experiments.findByName(requirePrincipal(context), name);
    }
    if (typeof id === 'string' && typeof name !== 'string') {
      return context.loader(this.#deps.loaders).byId.load(parseId(EXPERIMENT_NODE, id));
    }
    throw new AppError('BAD_USER_INPUT', 'Give exactly one of "id" and "name".', { path: ['id'] });
  }

  @FieldResolver(() => ProjectObject, { nullable: true, complexity: 2 })
  project(@Root() experiment: Experiment, @Ctx() context: GraphqlContext): Promise<Project | undefined> {
    return context.loader(this.#deps.projectLoaders).byId.load(experiment.uuid);
  }

  @FieldResolver(() => ExperimentProgressType, { complexity: FIGURES_COMPLEXITY })
  async progress(
    @Root() experiment: Experiment,
    @Ctx() context: GraphqlContext,
  ): Promise<Omit<ExperimentProgress, 'experimentId'>> {
    return (await context.loader(this.#deps.loaders).progress.load(experiment.uuid)) ?? NO_ROWS;
  }

  @FieldResolver(() => [KeyScoresType], {
    complexity: FIGURES_COMPLEXITY,
    description: 'Per feedback key, in order of the keys. The first 200.',
  })
  @ListSize(10)
  scores(@Root() experiment: Experiment, @Ctx() context: GraphqlContext): Promise<readonly KeySummary[]> {
    return context.loader(this.#deps.loaders).keys.load(experiment.uuid);
  }

  @FieldResolver(() => UsageType, { complexity: FIGURES_COMPLEXITY })
  async usage(
    @Root() experiment: Experiment,
    @Ctx() context: GraphqlContext,
  ): Promise<Omit<UsageSummary, 'experimentId'>> {
    return (await context.loader(this.#deps.loaders).usage.load(experiment.uuid)) ?? NO_USAGE;
  }

  @FieldResolver(() => ExperimentRowConnection, {
    complexity: pageComplexity,
    description: 'Example by example, repetition by repetition.',
  })
  async rows(
    @Root() experiment: Experiment,
    @Args(() => PageArgs) page: PageArgs,
    @Arg('where', () => ExperimentRowWhereInput, { nullable: true })
    where: ExperimentRowWhereInput | null | undefined,
    @Ctx() context: GraphqlContext,
  ): Promise<Page<PlacedRow>> {
    const { experiments, cursors } = this.#deps;
    const principal = requirePrincipal(context);
    const { uuid } = experiment;
    const filter = toRowFilter(where);
    const request = cursors.request(page, {
      order: 'experiments.rows',
      direction: 'asc',
      filter: { experiment: uuid, ...filter },
    });
    return pageFromRows({
      cursors,
      request,
      rows: await experiments.listRows(principal, uuid, filter, request),
      position: ({ exampleId, repetition }) => ({ value: exampleId, id: String(repetition) }),
      count: async (limit) => toCount(await experiments.countRows(principal, uuid, filter, limit), limit),
    });
  }

  /** For `node(id)`. */
  readonly loadNodes: NodeLoad = async (context, uuids) => {
    const loader = context.loader(this.#deps.loaders).byId;
    return (await Promise.all(uuids.map((id) => loader.load(id)))).map((experiment) => experiment ?? null);
  };
}

export interface ExperimentRowResolverDeps {
  readonly loaders: LoaderFactory<ExperimentLoaders>;
  readonly runLoaders: LoaderFactory<RunLoaders>;
  readonly links: AttachmentLinks;
}

@Resolver(() => ExperimentRowType)
export class ExperimentRowResolver {
  readonly #deps: ExperimentRowResolverDeps;

  constructor(deps: ExperimentRowResolverDeps) {
    this.#deps = deps;
  }

  @FieldResolver(() => RunObject, {
    nullable: true,
    complexity: 2,
    description: 'The root run of the row: inputs, outputs, error, times.',
  })
  async run(
    @Root() row: PlacedRow,
    @Info() info: GraphQLResolveInfo,
    @Ctx() context: GraphqlContext,
  ): Promise<GraphqlRun | undefined> {
    if (row.runId === null) return undefined;
    const run = await context.loader(this.#deps.runLoaders).find(row.runId, selectedRunFields(info));
    const principal = requirePrincipal(context);
    return (
      run &&
      toRun(run, {
        workspaceId: principal.workspaceId,
        contentVisible: mayReadContent(principal),
        links: this.#deps.links,
      })
    );
  }

  @FieldResolver(() => [RowScoreType], { complexity: 2, description: 'By key, oldest first. The first 200.' })
  @ListSize(5)
  scores(@Root() row: PlacedRow, @Ctx() context: GraphqlContext): Promise<readonly RowScore[]> | RowScore[] {
    return row.runId === null ? [] : context.loader(this.#deps.loaders).scores.load(row.runId);
  }

  @FieldResolver(() => [RowEvaluationType], {
    complexity: 2,
    description: 'What workers make of the row; empty where they do nothing.',
  })
  @ListSize(5)
  evaluations(@Root() row: PlacedRow, @Ctx() context: GraphqlContext): Promise<readonly RowEvaluation[]> {
    return context.loader(this.#deps.loaders).evaluations.load(row);
  }
}
