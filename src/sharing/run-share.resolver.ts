/** Mutations of sharing, and the share of a run. */
import DataLoader from 'dataloader';
import { Arg, Ctx, FieldResolver, Mutation, Resolver, Root } from 'type-graphql';
import { RequiresAccess } from '../graphql/access.js';
import { requirePrincipal, type GraphqlContext, type LoaderFactory } from '../graphql/context.js';
import { parseId } from '../graphql/global-id.js';
import { toUserErrors } from '../graphql/user-error.js';
import { RUN_NODE, RunObject, type GraphqlRun } from '../runs/run.types.js';
import type { RunShareService } from './run-share.service.js';
import type { RunShare } from './run-share.store.js';
import {
  RunShareObject,
  ShareRunInput,
  ShareRunPayload,
  UnshareRunInput,
  UnshareRunPayload,
} from './run-share.types.js';

const MAX_BATCH = 500;

export interface RunShareResolverDeps {
  readonly shares: RunShareService;
  /** What links start with; undefined where it is not configured. */
  readonly publicUrl: string | undefined;
}

@Resolver(() => RunObject)
export class RunShareResolver {
  readonly #shares: RunShareService;
  readonly #publicUrl: string;
  readonly #loader: LoaderFactory<DataLoader<string, RunShare | undefined>>;

  constructor({ shares, publicUrl }: RunShareResolverDeps) {
    this.#shares = shares;
    this.#publicUrl = publicUrl ?? '';
    this.#loader = (context) =>
      new DataLoader(
        async (runIds) => {
          const found = await shares.findByRuns(requirePrincipal(context), runIds);
          return runIds.map((id) => found.get(id));
        },
        { name: 'runShares.find', maxBatchSize: MAX_BATCH },
      );
  }

  @FieldResolver(() => RunShareObject, { nullable: true, description: 'Null where the run is not shared.' })
  async share(@Root() run: GraphqlRun, @Ctx() context: GraphqlContext): Promise<RunShareObject | null> {
    const share = await context.loader(this.#loader).load(run.uuid);
    return share === undefined ? null : this.#show(share);
  }

  @RequiresAccess('write')
  @Mutation(() => ShareRunPayload, {
    description: 'Needs the scope "content" too. A run has one link: sharing again renews its expiry.',
  })
  async shareRun(
    @Arg('input', () => ShareRunInput) input: ShareRunInput,
    @Ctx() context: GraphqlContext,
  ): Promise<ShareRunPayload> {
    const runId = parseId(RUN_NODE, input.runId, ['input', 'runId']);
    const expiresAt = input.expiresAt ? new Date(input.expiresAt) : undefined;
    const result = await this.#shares.share(requirePrincipal(context), runId, { expiresAt });
    return result.ok
      ? { share: this.#show(result.value), errors: [] }
      : { share: null, errors: toUserErrors(result.problems) };
  }

  @RequiresAccess('write')
  @Mutation(() => UnshareRunPayload)
  async unshareRun(
    @Arg('input', () => UnshareRunInput) input: UnshareRunInput,
    @Ctx() context: GraphqlContext,
  ): Promise<UnshareRunPayload> {
    const runId = parseId(RUN_NODE, input.runId, ['input', 'runId']);
    return { removed: await this.#shares.unshare(requirePrincipal(context), runId), errors: [] };
  }

  #show({ token, createdAt, expiresAt }: RunShare): RunShareObject {
    return { token, createdAt, expiresAt, url: `${this.#publicUrl}/public/${token}/r` };
  }
}
