/** Queries that set experiments against each other. */
import { Arg, Args, Ctx, Query, Resolver } from 'type-graphql';
import type { ExperimentLoaders } from '../experiments/experiment.loaders.js';
import { RequiresAccess } from '../graphql/access.js';
import { PageArgs, pageComplexity, pageFromRows, toCount } from '../graphql/connection.js';
import type { Page } from '../graphql/connection.js';
import { requirePrincipal } from '../graphql/context.js';
import type { GraphqlContext, LoaderFactory } from '../graphql/context.js';
import type { Cursors } from '../graphql/cursor.js';
import {
  ComparedExampleWhere,
  ComparedExperimentsInput,
  ComparisonSettingsInput,
  toCondition,
  toExperimentIds,
  toSettings,
} from './comparison.inputs.js';
import type { MatrixRow } from './comparison-matrix.js';
import type { ComparisonService } from './comparison.service.js';
import { ComparedExampleConnection, ComparisonObject } from './comparison.types.js';

/** As much as reading some thousand rows and resampling them costs. */
const COMPARISON_COMPLEXITY = 500;

export interface ComparisonResolverDeps {
  readonly comparisons: ComparisonService;
  readonly experimentLoaders: LoaderFactory<ExperimentLoaders>;
  readonly cursors: Cursors;
}

@Resolver()
export class ComparisonResolver {
  readonly #deps: ComparisonResolverDeps;

  constructor(deps: ComparisonResolverDeps) {
    this.#deps = deps;
  }

  @RequiresAccess('read')
  @Query(() => ComparisonObject, {
    complexity: COMPARISON_COMPLEXITY,
    description: 'Two to ten experiments on one dataset, each candidate against the baseline.',
  })
  async compareExperiments(
    @Arg('experiments', () => ComparedExperimentsInput) experiments: ComparedExperimentsInput,
    @Arg('settings', () => ComparisonSettingsInput, { nullable: true })
    settings: ComparisonSettingsInput | null | undefined,
    @Ctx() context: GraphqlContext,
  ): Promise<ComparisonObject> {
    const { comparisons, experimentLoaders } = this.#deps;
    const { baselineId, candidateIds } = toExperimentIds(experiments);
    const { options, results, warnings, datasetId } = await comparisons.compare(
      requirePrincipal(context),
      baselineId,
      candidateIds,
      toSettings(settings),
      context.signal,
    );
    const { byId } = context.loader(experimentLoaders);
    return {
      datasetId,
      baseline: byId.load(baselineId),
      candidates: byId.loadMany(candidateIds),
      results,
      seed: options.seed,
      warnings,
    };
  }

  @RequiresAccess('read')
  @Query(() => ComparedExampleConnection, {
    complexity: (options) => COMPARISON_COMPLEXITY + pageComplexity(options),
    description:
      'Experiments side by side, example by example, for instance those that A passes and B fails.',
  })
  async comparedExamples(
    @Arg('experiments', () => ComparedExperimentsInput) experiments: ComparedExperimentsInput,
    @Arg('metrics', () => [String], { nullable: true }) metrics: string[] | null | undefined,
    @Arg('where', () => ComparedExampleWhere, { nullable: true })
    where: ComparedExampleWhere | null | undefined,
    @Args(() => PageArgs) page: PageArgs,
    @Ctx() context: GraphqlContext,
  ): Promise<Page<MatrixRow>> {
    const { comparisons, cursors } = this.#deps;
    const { baselineId, candidateIds } = toExperimentIds(experiments);
    const condition = toCondition(where);
    const request = cursors.request(page, {
      order: 'comparedExamples.example',
      direction: 'asc',
      filter: { baselineId, candidateIds, condition },
    });
    const all = await comparisons.matrix(
      requirePrincipal(context),
      baselineId,
      candidateIds,
      metrics ?? undefined,
      condition,
      context.signal,
    );
    const ordered = request.backward ? [...all].reverse() : all;
    const bound = request.boundary?.id;
    const rows = ordered.filter(
      ({ exampleId }) => bound === undefined || (request.backward ? exampleId < bound : exampleId > bound),
    );
    return pageFromRows({
      cursors,
      request,
      rows: rows.slice(0, request.limit + 1),
      position: ({ exampleId }) => ({ value: exampleId, id: exampleId }),
      count: (limit) => Promise.resolve(toCount(Math.min(all.length, limit + 1), limit)),
    });
  }
}
