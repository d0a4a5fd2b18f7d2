/** Queries and mutations of feedback. */
import { Arg, Args, Ctx, FieldResolver, Mutation, Query, Resolver, Root } from 'type-graphql';
import { ListSize, RequiresAccess } from '../graphql/access.js';
import { PageArgs, pageComplexity, pageFromRows, toCount, type Page } from '../graphql/connection.js';
import { requirePrincipal, type GraphqlContext, type LoaderFactory } from '../graphql/context.js';
import type { Cursors } from '../graphql/cursor.js';
import { parseId } from '../graphql/global-id.js';
import type { NodeLoad } from '../graphql/node.resolver.js';
import { toUserErrors } from '../graphql/user-error.js';
import { toProjectSelector } from '../projects/project.inputs.js';
import type { ProjectLoaders } from '../projects/project.loaders.js';
import {
  CreateFeedbackInput,
  DeleteFeedbackInput,
  FeedbackFilterArgs,
  toDraft,
  toFilter,
  toPatch,
  UpdateFeedbackInput,
} from './feedback.inputs.js';
import type { FeedbackService } from './feedback.service.js';
import type { FeedbackFilter } from './feedback.store.js';
import type { FeedbackStats } from './feedback-stats.store.js';
import {
  CreateFeedbackPayload,
  DeleteFeedbackPayload,
  FEEDBACK_NODE,
  FeedbackConnection,
  FeedbackSourceType,
  FeedbackStatsType,
  FeedbackType,
  toSourceObject,
  UpdateFeedbackPayload,
} from './feedback.types.js';
import type { Feedback } from './feedback.js';

const STATS_COMPLEXITY = 20;
/** Keys a workspace usually has; what the cost of a selection is reckoned with. */
const STATS_SIZE = 20;

export interface FeedbackResolverDeps {
  readonly feedback: FeedbackService;
  readonly cursors: Cursors;
  readonly projectLoaders: LoaderFactory<ProjectLoaders>;
}

@Resolver(() => FeedbackType)
export class FeedbackResolver {
  readonly #feedback: FeedbackService;
  readonly #cursors: Cursors;
  readonly #projectLoaders: LoaderFactory<ProjectLoaders>;

  constructor({ feedback, cursors, projectLoaders }: FeedbackResolverDeps) {
    this.#feedback = feedback;
    this.#cursors = cursors;
    this.#projectLoaders = projectLoaders;
  }

  @RequiresAccess('read')
  @Query(() => FeedbackConnection, {
    complexity: pageComplexity,
    description: 'Feedback of the workspace, newest first.',
  })
  async feedback(
    @Args(() => FeedbackFilterArgs) args: FeedbackFilterArgs,
    @Args(() => PageArgs) page: PageArgs,
    @Ctx() context: GraphqlContext,
  ): Promise<Page<Feedback>> {
    const principal = requirePrincipal(context);
    const filter = await this.#toFilter(args, context);
    const request = this.#cursors.request(page, { order: 'feedback.createdAt', direction: 'desc', filter });
    return pageFromRows({
      cursors: this.#cursors,
      request,
      rows: await this.#feedback.list(principal, filter, request),
      position: ({ createdAt, id }) => ({ value: createdAt, id }),
      count: async (limit) => toCount(await this.#feedback.count(principal, filter, limit + 1), limit),
    });
  }

  @RequiresAccess('read')
  @ListSize(STATS_SIZE)
  @Query(() => [FeedbackStatsType], {
    complexity: STATS_COMPLEXITY,
    description: 'Figures per key over all feedback that matches.',
  })
  async feedbackStats(
    @Args(() => FeedbackFilterArgs) args: FeedbackFilterArgs,
    @Ctx() context: GraphqlContext,
  ): Promise<FeedbackStats[]> {
    return this.#feedback.statsOf(requirePrincipal(context), await this.#toFilter(args, context));
  }

  @FieldResolver(() => FeedbackSourceType)
  source(@Root() feedback: Feedback): FeedbackSourceType {
    return toSourceObject(feedback);
  }

  @RequiresAccess('authenticated')
  @Mutation(() => CreateFeedbackPayload, {
    description:
      'Stores each feedback by itself. What its config does not allow is refused with what is allowed.',
  })
  async createFeedback(
    @Arg('input', () => CreateFeedbackInput) input: CreateFeedbackInput,
    @Ctx() context: GraphqlContext,
  ): Promise<CreateFeedbackPayload> {
    const drafts = input.feedback.map(toDraft);
    const results = await this.#feedback.create(requirePrincipal(context), drafts, input.idempotencyKey);
    const problems = results.flatMap((result, index) =>
      result.ok
        ? []
        : result.problems.map((each) => ({ ...each, path: ['feedback', String(index), ...each.path] })),
    );
    return {
      feedback: results.flatMap((result) => (result.ok ? [result.value] : [])),
      errors: toUserErrors(problems),
    };
  }

  @RequiresAccess('write')
  @Mutation(() => UpdateFeedbackPayload)
  async updateFeedback(
    @Arg('input', () => UpdateFeedbackInput) input: UpdateFeedbackInput,
    @Ctx() context: GraphqlContext,
  ): Promise<UpdateFeedbackPayload> {
    const id = parseId(FEEDBACK_NODE, input.id, ['input', 'id']);
    const result = await this.#feedback.update(requirePrincipal(context), id, toPatch(input));
    return result.ok
      ? { feedback: result.value, errors: [] }
      : { feedback: null, errors: toUserErrors(result.problems) };
  }

  @RequiresAccess('write')
  @Mutation(() => DeleteFeedbackPayload, { description: 'Ids that do not exist are ignored.' })
  async deleteFeedback(
    @Arg('input', () => DeleteFeedbackInput) input: DeleteFeedbackInput,
    @Ctx() context: GraphqlContext,
  ): Promise<DeleteFeedbackPayload> {
    const ids = input.ids.map((id) => parseId(FEEDBACK_NODE, id, ['input', 'ids']));
    const deleted = await this.#feedback.delete(requirePrincipal(context), ids);
    return { deletedIds: deleted.map(({ id }) => id), errors: [] };
  }

  /** For `node(id)`. */
  readonly loadNodes: NodeLoad = async (context, uuids) => {
    const found = await this.#feedback.find(requirePrincipal(context), uuids);
    const byId = new Map(found.map((each) => [each.id, each]));
    return uuids.map((id) => byId.get(id) ?? null);
  };

  async #toFilter(args: FeedbackFilterArgs, context: GraphqlContext): Promise<FeedbackFilter> {
    if (!args.project) return toFilter(args, undefined);
    const selector = toProjectSelector(args.project, ['project']);
    if ('id' in selector) return toFilter(args, [selector.id]);
    const project = await context.loader(this.#projectLoaders).byName.load(selector.name);
    return toFilter(args, project === undefined ? [] : [project.uuid]);
  }
}
