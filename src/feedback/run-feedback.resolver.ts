/** The fields of a run that lead to its feedback. One statement for all runs of a page, whatever their number. */
import { Args, Ctx, FieldResolver, Resolver, Root } from 'type-graphql';
import { ListSize } from '../graphql/access.js';
import { PageArgs, pageComplexity, pageFromRows, toCount, type Page } from '../graphql/connection.js';
import { requirePrincipal, type GraphqlContext, type LoaderFactory } from '../graphql/context.js';
import type { Cursors } from '../graphql/cursor.js';
import { RunObject, type GraphqlRun } from '../runs/run.types.js';
import { FeedbackLoaders } from './feedback.loaders.js';
import type { FeedbackService } from './feedback.service.js';
import type { FeedbackStats } from './feedback-stats.store.js';
import { FeedbackConnection, FeedbackStatsType } from './feedback.types.js';
import type { Feedback } from './feedback.js';

const STATS_COMPLEXITY = 2;
/** Keys a run usually has feedback under. */
const STATS_SIZE = 5;

@Resolver(() => RunObject)
export class RunFeedbackResolver {
  readonly #cursors: Cursors;
  readonly #loaders: LoaderFactory<FeedbackLoaders>;

  constructor({ feedback, cursors }: { feedback: FeedbackService; cursors: Cursors }) {
    this.#cursors = cursors;
    this.#loaders = (context) => new FeedbackLoaders(feedback, requirePrincipal(context));
  }

  @FieldResolver(() => FeedbackConnection, { complexity: pageComplexity, description: 'Newest first.' })
  async feedback(
    @Root() run: GraphqlRun,
    @Args(() => PageArgs) page: PageArgs,
    @Ctx() context: GraphqlContext,
  ): Promise<Page<Feedback>> {
    const loaders = context.loader(this.#loaders);
    const list = { order: 'run.feedback.createdAt', direction: 'desc', filter: run.uuid } as const;
    const request = this.#cursors.request(page, list);
    return pageFromRows({
      cursors: this.#cursors,
      request,
      rows: await loaders.page(request).load(run.uuid),
      position: ({ createdAt, id }) => ({ value: createdAt, id }),
      count: async (limit) => toCount(await loaders.count(limit + 1).load(run.uuid), limit),
    });
  }

  @FieldResolver(() => [FeedbackStatsType], { complexity: STATS_COMPLEXITY, description: 'Figures per key.' })
  @ListSize(STATS_SIZE)
  feedbackStats(@Root() run: GraphqlRun, @Ctx() context: GraphqlContext): Promise<FeedbackStats[]> {
    return context.loader(this.#loaders).stats.load(run.uuid);
  }
}
