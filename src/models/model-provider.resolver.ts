/** Model providers over GraphQL. */
import { Arg, Args, Ctx, ID, Mutation, Query, Resolver } from 'type-graphql';
import { RequiresAccess } from '../graphql/access.js';
import { PageArgs, pageComplexity, pageFromRows, toCount } from '../graphql/connection.js';
import type { Page } from '../graphql/connection.js';
import { requirePrincipal } from '../graphql/context.js';
import type { GraphqlContext } from '../graphql/context.js';
import type { Cursors } from '../graphql/cursor.js';
import { parseId, toGlobalId } from '../graphql/global-id.js';
import type { NodeLoad } from '../graphql/node.resolver.js';
import { toUserErrors } from '../graphql/user-error.js';
import type { Result } from '../platform/result.js';
import type { ModelProvider } from './model-provider.js';
import {
  CreateModelProviderInput,
  DeleteModelProviderInput,
  TestModelProviderInput,
  toProviderPatch,
  toProviderSettings,
  UpdateModelProviderInput,
} from './model-provider.inputs.js';
import type { ModelProviderService } from './model-provider.service.js';
import {
  DeleteModelProviderPayload,
  MODEL_PROVIDER_NODE,
  ModelProviderConnection,
  ModelProviderObject,
  ModelProviderPayload,
  TestModelProviderPayload,
  toModelProviderRow,
} from './model-provider.types.js';
import type { ModelProviderRow } from './model-provider.types.js';
import type { ProviderTrial } from './provider-trial.js';

/** It waits for somebody else's server. */
const TEST_COMPLEXITY = 100;

const toPayload = (result: Result<ModelProvider>): ModelProviderPayload =>
  result.ok
    ? { modelProvider: toModelProviderRow(result.value), errors: [] }
    : { modelProvider: null, errors: toUserErrors(result.problems) };

export interface ModelProviderResolverDeps {
  readonly providers: ModelProviderService;
  readonly trial: ProviderTrial;
  readonly cursors: Cursors;
}

@Resolver(() => ModelProviderObject)
export class ModelProviderResolver {
  readonly #deps: ModelProviderResolverDeps;

  constructor(deps: ModelProviderResolverDeps) {
    this.#deps = deps;
  }

  @RequiresAccess('read')
  @Query(() => ModelProviderConnection, { complexity: pageComplexity, description: 'Newest first.' })
  async modelProviders(
    @Args(() => PageArgs) page: PageArgs,
    @Ctx() context: GraphqlContext,
  ): Promise<Page<ModelProviderRow>> {
    const { providers, cursors } = this.#deps;
    const principal = requirePrincipal(context);
    const request = cursors.request(page, { order: 'modelProviders.createdAt', direction: 'desc' });
    return pageFromRows({
      cursors,
      request,
      rows: (await providers.list(principal, request)).map(toModelProviderRow),
      position: ({ createdAt, uuid }) => ({ value: createdAt, id: uuid }),
      count: async (limit) => toCount(await providers.count(principal, limit + 1), limit),
    });
  }

  @RequiresAccess('read')
  @Query(() => ModelProviderObject, { nullable: true })
  async modelProvider(
    @Arg('id', () => ID) id: string,
    @Ctx() context: GraphqlContext,
  ): Promise<ModelProviderRow | null> {
    const uuid = parseId(MODEL_PROVIDER_NODE, id);
    const [provider] = await this.#deps.providers.find(requirePrincipal(context), [uuid]);
    return provider === undefined ? null : toModelProviderRow(provider);
  }

  @RequiresAccess('admin')
  @Mutation(() => ModelProviderPayload, { description: 'Needs ADMIN.' })
  async createModelProvider(
    @Arg('input', () => CreateModelProviderInput) input: CreateModelProviderInput,
    @Ctx() context: GraphqlContext,
  ): Promise<ModelProviderPayload> {
    const settings = toProviderSettings(input);
    return toPayload(
      await this.#deps.providers.create(requirePrincipal(context), settings, input.idempotencyKey),
    );
  }

  @RequiresAccess('admin')
  @Mutation(() => ModelProviderPayload, {
    description: 'Requests that are sent from now on use the new settings. Needs ADMIN.',
  })
  async updateModelProvider(
    @Arg('input', () => UpdateModelProviderInput) { id, patch }: UpdateModelProviderInput,
    @Ctx() context: GraphqlContext,
  ): Promise<ModelProviderPayload> {
    const uuid = parseId(MODEL_PROVIDER_NODE, id, ['input', 'id']);
    const change = toProviderPatch(patch);
    return toPayload(await this.#deps.providers.update(requirePrincipal(context), uuid, change));
  }

  @RequiresAccess('admin')
  @Mutation(() => DeleteModelProviderPayload, {
    description: 'Evaluators and experiments that name it fail from then on. Needs ADMIN.',
  })
  async deleteModelProvider(
    @Arg('input', () => DeleteModelProviderInput) { id }: DeleteModelProviderInput,
    @Ctx() context: GraphqlContext,
  ): Promise<DeleteModelProviderPayload> {
    const uuid = parseId(MODEL_PROVIDER_NODE, id, ['input', 'id']);
    const result = await this.#deps.providers.delete(requirePrincipal(context), uuid);
    return result.ok
      ? { deletedId: toGlobalId(MODEL_PROVIDER_NODE, result.value), errors: [] }
      : { deletedId: null, errors: toUserErrors(result.problems) };
  }

  @RequiresAccess('admin')
  @Mutation(() => TestModelProviderPayload, {
    complexity: TEST_COMPLEXITY,
    description: 'Sends one small request, within the limits and on the bill of the provider. Needs ADMIN.',
  })
  async testModelProvider(
    @Arg('input', () => TestModelProviderInput) { id, model }: TestModelProviderInput,
    @Ctx() context: GraphqlContext,
  ): Promise<TestModelProviderPayload> {
    const uuid = parseId(MODEL_PROVIDER_NODE, id, ['input', 'id']);
    const principal = requirePrincipal(context);
    const result = await this.#deps.trial.run(principal, uuid, model ?? undefined, context.signal);
    return result.ok
      ? { trial: result.value, errors: [] }
      : { trial: null, errors: toUserErrors(result.problems) };
  }

  /** For `node(id)`. */
  readonly loadNodes: NodeLoad = async (context, uuids) => {
    const found = await this.#deps.providers.find(requirePrincipal(context), uuids);
    const rows = new Map(found.map((provider) => [provider.uuid, toModelProviderRow(provider)]));
    return uuids.map((uuid) => rows.get(uuid) ?? null);
  };
}
