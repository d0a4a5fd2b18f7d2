/** Queries and mutations of feedback configs and feedback tokens. */
import { Arg, Args, ArgsType, Ctx, Field, Mutation, Query, Resolver } from 'type-graphql';
import { RequiresAccess } from '../graphql/access.js';
import { PageArgs, pageComplexity, pageFromRows, toCount, type Page } from '../graphql/connection.js';
import { requirePrincipal, type GraphqlContext } from '../graphql/context.js';
import type { Cursors } from '../graphql/cursor.js';
import { parseId } from '../graphql/global-id.js';
import { toUserErrors } from '../graphql/user-error.js';
import type { Result } from '../platform/result.js';
import type { FeedbackConfig } from './feedback-config.js';
import type { FeedbackConfigService } from './feedback-config.service.js';
import {
  CreateFeedbackConfigInput,
  CreateFeedbackTokenInput,
  CreateFeedbackTokenPayload,
  DeleteFeedbackConfigInput,
  DeleteFeedbackConfigPayload,
  FeedbackConfigConnection,
  FeedbackConfigObject,
  FeedbackConfigPayload,
  toDefinition,
  UpdateFeedbackConfigInput,
} from './feedback-config.types.js';
import type { FeedbackTokenService } from './feedback-token.service.js';

@ArgsType()
export class FeedbackConfigArgs {
  @Field(() => [String], { nullable: true })
  keys?: string[] | null;

  @Field(() => String, { nullable: true, description: 'Part of the key, whatever the case.' })
  nameContains?: string | null;
}

@Resolver(() => FeedbackConfigObject)
export class FeedbackConfigResolver {
  readonly #configs: FeedbackConfigService;
  readonly #tokens: FeedbackTokenService;
  readonly #cursors: Cursors;

  constructor(options: { configs: FeedbackConfigService; tokens: FeedbackTokenService; cursors: Cursors }) {
    this.#configs = options.configs;
    this.#tokens = options.tokens;
    this.#cursors = options.cursors;
  }

  @RequiresAccess('read')
  @Query(() => FeedbackConfigConnection, { complexity: pageComplexity, description: 'In order of key.' })
  async feedbackConfigs(
    @Args(() => FeedbackConfigArgs) args: FeedbackConfigArgs,
    @Args(() => PageArgs) page: PageArgs,
    @Ctx() context: GraphqlContext,
  ): Promise<Page<FeedbackConfig>> {
    const principal = requirePrincipal(context);
    const filter = {
      ...(args.keys && { keys: args.keys }),
      ...(typeof args.nameContains === 'string' && { nameContains: args.nameContains }),
    };
    const request = this.#cursors.request(page, { order: 'feedbackConfigs.key', direction: 'asc', filter });
    return pageFromRows({
      cursors: this.#cursors,
      request,
      rows: await this.#configs.list(principal, filter, request),
      position: ({ key }) => ({ value: key, id: key }),
      count: async (limit) => toCount(await this.#configs.count(principal, filter, limit + 1), limit),
    });
  }

  @RequiresAccess('write')
  @Mutation(() => FeedbackConfigPayload, { description: 'The same config again is no error.' })
  async createFeedbackConfig(
    @Arg('input', () => CreateFeedbackConfigInput) input: CreateFeedbackConfigInput,
    @Ctx() context: GraphqlContext,
  ): Promise<FeedbackConfigPayload> {
    const { key, config, isLowerScoreBetter, idempotencyKey } = input;
    const principal = requirePrincipal(context);
    const definition = toDefinition(config);
    return toPayload(
      await this.#configs.create(principal, key, definition, isLowerScoreBetter, idempotencyKey),
    );
  }

  @RequiresAccess('write')
  @Mutation(() => FeedbackConfigPayload, { description: 'Stored feedback is not judged again.' })
  async updateFeedbackConfig(
    @Arg('input', () => UpdateFeedbackConfigInput) input: UpdateFeedbackConfigInput,
    @Ctx() context: GraphqlContext,
  ): Promise<FeedbackConfigPayload> {
    const patch = {
      ...(input.config && { definition: toDefinition(input.config) }),
      ...(typeof input.isLowerScoreBetter === 'boolean' && { isLowerScoreBetter: input.isLowerScoreBetter }),
    };
    return toPayload(await this.#configs.update(requirePrincipal(context), input.key, patch));
  }

  @RequiresAccess('write')
  @Mutation(() => DeleteFeedbackConfigPayload, { description: 'Feedback with the key stays.' })
  async deleteFeedbackConfig(
    @Arg('input', () => DeleteFeedbackConfigInput) { key }: DeleteFeedbackConfigInput,
    @Ctx() context: GraphqlContext,
  ): Promise<DeleteFeedbackConfigPayload> {
    const result = await this.#configs.delete(requirePrincipal(context), key);
    return result.ok
      ? { deletedKey: key, errors: [] }
      : { deletedKey: null, errors: toUserErrors(result.problems) };
  }

  @RequiresAccess('authenticated')
  @Mutation(() => CreateFeedbackTokenPayload, {
    description:
      'A secret with which a browser can leave feedback on one run without a key, until it expires.',
  })
  async createFeedbackToken(
    @Arg('input', () => CreateFeedbackTokenInput) input: CreateFeedbackTokenInput,
    @Ctx() context: GraphqlContext,
  ): Promise<CreateFeedbackTokenPayload> {
    const draft = {
      runId: parseId('Run', input.runId, ['input', 'runId']),
      key: input.key,
      config: input.config ? toDefinition(input.config) : undefined,
      expiresAt: input.expiresAt ? new Date(input.expiresAt) : undefined,
    };
    const result = await this.#tokens.create(requirePrincipal(context), [draft], input.idempotencyKey);
    if (!result.ok) return { feedbackToken: null, errors: toUserErrors(result.problems) };
    const [token] = result.value;
    return { feedbackToken: token === undefined ? null : { ...token, token: token.id }, errors: [] };
  }
}

const toPayload = (result: Result<FeedbackConfig>): FeedbackConfigPayload =>
  result.ok
    ? { feedbackConfig: result.value, errors: [] }
    : { feedbackConfig: null, errors: toUserErrors(result.problems) };
