/** Keys over GraphQL. */
import { Arg, Args, Ctx, Mutation, Query, Resolver } from 'type-graphql';
import { RequiresAccess } from '../graphql/access.js';
import { PageArgs, pageComplexity, pageFromRows, toCount } from '../graphql/connection.js';
import type { Page } from '../graphql/connection.js';
import { requirePrincipal } from '../graphql/context.js';
import type { GraphqlContext } from '../graphql/context.js';
import type { Cursors } from '../graphql/cursor.js';
import { parseId } from '../graphql/global-id.js';
import type { NodeLoad } from '../graphql/node.resolver.js';
import { toUserErrors } from '../graphql/user-error.js';
import type { Result } from '../platform/result.js';
import type { ApiKey } from './api-key.js';
import { DEFAULT_GRACE_SECONDS } from './key.service.js';
import type { IssuedKey, KeyService } from './key.service.js';
import {
  CreateApiKeyInput,
  isGiven,
  RevokeApiKeyInput,
  RotateApiKeyInput,
  UpdateApiKeyInput,
} from './tenancy.inputs.js';
import { ApiKeyConnection, ApiKeyPayload, IssuedApiKeyPayload, toApiKeyType } from './tenancy.types.js';
import type { ApiKeyType } from './tenancy.types.js';

const toPayload = (result: Result<ApiKey>): ApiKeyPayload =>
  result.ok
    ? { apiKey: toApiKeyType(result.value), errors: [] }
    : { apiKey: null, errors: toUserErrors(result.problems) };

const toIssuedPayload = (result: Result<IssuedKey>): IssuedApiKeyPayload =>
  result.ok
    ? { apiKey: toApiKeyType(result.value.key), secret: result.value.secret, errors: [] }
    : { apiKey: null, secret: null, errors: toUserErrors(result.problems) };

/** Loads keys for `node` and `nodes`. */
export const apiKeyNodes =
  (keys: KeyService): NodeLoad =>
  async (context, uuids) => {
    const found = new Map(
      (await keys.listByIds(requirePrincipal(context), uuids)).map((key) => [key.id, key]),
    );
    return uuids.map((uuid) => {
      const key = found.get(uuid);
      return key === undefined ? null : toApiKeyType(key);
    });
  };

@Resolver()
export class ApiKeyResolver {
  readonly #keys: KeyService;
  readonly #cursors: Cursors;

  constructor(deps: { keys: KeyService; cursors: Cursors }) {
    this.#keys = deps.keys;
    this.#cursors = deps.cursors;
  }

  @RequiresAccess('admin')
  @Query(() => ApiKeyConnection, {
    complexity: pageComplexity,
    description:
      'Keys of this workspace, newest first, revoked ones included; for who administers the organisation also its own. Needs ADMIN.',
  })
  async apiKeys(
    @Args(() => PageArgs) page: PageArgs,
    @Ctx() context: GraphqlContext,
  ): Promise<Page<ApiKeyType>> {
    const principal = requirePrincipal(context);
    const request = this.#cursors.request(page, { order: 'apiKeys.id', direction: 'desc' });
    return pageFromRows({
      cursors: this.#cursors,
      request,
      rows: (await this.#keys.list(principal, request)).map(toApiKeyType),
      position: ({ uuid }) => ({ value: uuid, id: uuid }),
      count: async (limit) => toCount(await this.#keys.count(principal, limit), limit),
    });
  }

  @RequiresAccess('admin')
  @Mutation(() => IssuedApiKeyPayload, {
    description:
      'Makes a key. Its secret is in the answer and nowhere else; who sends the same idempotencyKey again gets ' +
      'the same answer. Needs ADMIN.',
  })
  async createApiKey(
    @Arg('input', () => CreateApiKeyInput) input: CreateApiKeyInput,
    @Ctx() context: GraphqlContext,
  ): Promise<IssuedApiKeyPayload> {
    const draft = {
      name: input.name,
      kind: input.kind,
      reach: input.reach,
      userId: optional(input.userId, (id) => parseId('User', id, ['input', 'userId'])),
      scopes: input.scopes,
      expiresAt: optional(input.expiresAt, (text) => new Date(text)),
    };
    return toIssuedPayload(await this.#keys.create(requirePrincipal(context), draft, input.idempotencyKey));
  }

  @RequiresAccess('admin')
  @Mutation(() => ApiKeyPayload, {
    description: 'Changes the name, the scopes or the expiry of a key. Needs ADMIN.',
  })
  async updateApiKey(
    @Arg('input', () => UpdateApiKeyInput) { id, patch }: UpdateApiKeyInput,
    @Ctx() context: GraphqlContext,
  ): Promise<ApiKeyPayload> {
    const { name, scopes, expiresAt } = patch;
    const result = await this.#keys.update(
      requirePrincipal(context),
      parseId('ApiKey', id, ['input', 'id']),
      {
        ...(isGiven(name) ? { name } : {}),
        ...(isGiven(scopes) ? { scopes } : {}),
        ...(expiresAt === undefined ? {} : { expiresAt: expiresAt === null ? null : new Date(expiresAt) }),
      },
    );
    return toPayload(result);
  }

  @RequiresAccess('admin')
  @Mutation(() => IssuedApiKeyPayload, {
    description:
      'Gives a key a new secret; the old one works a little longer. Needs ADMIN and every scope of the key.',
  })
  async rotateApiKey(
    @Arg('input', () => RotateApiKeyInput) { id, graceSeconds }: RotateApiKeyInput,
    @Ctx() context: GraphqlContext,
  ): Promise<IssuedApiKeyPayload> {
    const uuid = parseId('ApiKey', id, ['input', 'id']);
    return toIssuedPayload(
      await this.#keys.rotate(requirePrincipal(context), uuid, graceSeconds ?? DEFAULT_GRACE_SECONDS),
    );
  }

  @RequiresAccess('admin')
  @Mutation(() => ApiKeyPayload, {
    description: 'Ends a key within five seconds, open sockets included. Needs ADMIN.',
  })
  async revokeApiKey(
    @Arg('input', () => RevokeApiKeyInput) { id }: RevokeApiKeyInput,
    @Ctx() context: GraphqlContext,
  ): Promise<ApiKeyPayload> {
    return toPayload(
      await this.#keys.revoke(requirePrincipal(context), parseId('ApiKey', id, ['input', 'id'])),
    );
  }
}

/** Null and absent mean the same where nothing can be cleared. */
function optional<T>(value: string | null | undefined, map: (value: string) => T): T | undefined {
  return isGiven(value) ? map(value) : undefined;
}
