/** The record of content reads over GraphQL. */
import { Args, Ctx, Query, Resolver } from 'type-graphql';
import { RequiresAccess } from '../graphql/access.js';
import { PageArgs, pageComplexity, pageFromRows, toCount } from '../graphql/connection.js';
import type { Page } from '../graphql/connection.js';
import { requirePrincipal } from '../graphql/context.js';
import type { GraphqlContext } from '../graphql/context.js';
import type { Cursors } from '../graphql/cursor.js';
import { parseId, toGlobalId } from '../graphql/global-id.js';
import { toTimeRange } from '../runs/run.inputs.js';
import type { ContentRead } from './content-read.js';
import type { ContentReadService } from './content-read.service.js';
import type { ContentReadFilter } from './content-read.store.js';
import { ContentReadArgs, ContentReadConnection } from './content-read.types.js';
import type { GraphqlContentRead } from './content-read.types.js';

@Resolver()
export class ContentReadResolver {
  readonly #reads: ContentReadService;
  readonly #cursors: Cursors;

  constructor(deps: { reads: ContentReadService; cursors: Cursors }) {
    this.#reads = deps.reads;
    this.#cursors = deps.cursors;
  }

  @RequiresAccess('admin')
  @Query(() => ContentReadConnection, {
    complexity: pageComplexity,
    description: 'Who read content of this workspace, newest first, within seconds of the read. Needs ADMIN.',
  })
  async contentReads(
    @Args(() => ContentReadArgs) args: ContentReadArgs,
    @Args(() => PageArgs) page: PageArgs,
    @Ctx() context: GraphqlContext,
  ): Promise<Page<GraphqlContentRead>> {
    const principal = requirePrincipal(context);
    const filter = toFilter(args);
    const request = this.#cursors.request(page, { order: 'contentReads.readAt', direction: 'desc', filter });
    return pageFromRows({
      cursors: this.#cursors,
      request,
      rows: (await this.#reads.list(principal, filter, request)).map(show),
      position: ({ readAt, id }) => ({ value: readAt, id }),
      count: async (limit) => toCount(await this.#reads.count(principal, filter, limit), limit),
    });
  }
}

function toFilter({ timeRange, apiKeyId, userId, objectId }: ContentReadArgs): ContentReadFilter {
  const range = toTimeRange(timeRange);
  return {
    from: range?.from,
    to: range?.to,
    keyId: apiKeyId ? parseId('ApiKey', apiKeyId, ['apiKeyId']) : undefined,
    userId: userId ? parseId('User', userId, ['userId']) : undefined,
    objectId: objectId ?? undefined,
  };
}

function show({ keyId, userId, ...read }: ContentRead): GraphqlContentRead {
  return {
    ...read,
    apiKeyId: keyId === null ? null : toGlobalId('ApiKey', keyId),
    userId: userId === null ? null : toGlobalId('User', userId),
  };
}
