/** Members of the caller's workspace and organisation over GraphQL. */
import { Arg, Args, Ctx, Mutation, Query, Resolver } from 'type-graphql';
import { RequiresAccess } from '../graphql/access.js';
import { PageArgs, pageComplexity, pageFromRows, toCount } from '../graphql/connection.js';
import type { Page } from '../graphql/connection.js';
import { requirePrincipal } from '../graphql/context.js';
import type { GraphqlContext } from '../graphql/context.js';
import type { Cursors } from '../graphql/cursor.js';
import { parseId, toGlobalId } from '../graphql/global-id.js';
import { toUserErrors } from '../graphql/user-error.js';
import type { Result } from '../platform/result.js';
import type { MemberService } from './member.service.js';
import {
  AddWorkspaceMemberInput,
  RemoveOrganizationMemberInput,
  RemoveWorkspaceMemberInput,
  UpdateOrganizationMemberInput,
  UpdateWorkspaceMemberInput,
} from './tenancy.inputs.js';
import {
  OrganizationMemberPayload,
  RemoveWorkspaceMemberPayload,
  WorkspaceMemberConnection,
  WorkspaceMemberPayload,
  toUserType,
  toWorkspaceMemberType,
} from './tenancy.types.js';
import type { WorkspaceMemberType } from './tenancy.types.js';
import type { User, WorkspaceMember } from './workspace.js';

const toPayload = (result: Result<WorkspaceMember>): WorkspaceMemberPayload =>
  result.ok
    ? { member: toWorkspaceMemberType(result.value), errors: [] }
    : { member: null, errors: toUserErrors(result.problems) };

const toUserPayload = (result: Result<User>): OrganizationMemberPayload =>
  result.ok
    ? { user: toUserType(result.value), errors: [] }
    : { user: null, errors: toUserErrors(result.problems) };

const userIdOf = ({ userId }: { userId: string }): string => parseId('User', userId, ['input', 'userId']);

@Resolver()
export class MemberResolver {
  readonly #members: MemberService;
  readonly #cursors: Cursors;

  constructor(deps: { members: MemberService; cursors: Cursors }) {
    this.#members = deps.members;
    this.#cursors = deps.cursors;
  }

  @RequiresAccess('admin')
  @Query(() => WorkspaceMemberConnection, {
    complexity: pageComplexity,
    description: 'Members of this workspace in the order they came. Needs ADMIN.',
  })
  async workspaceMembers(
    @Args(() => PageArgs) page: PageArgs,
    @Ctx() context: GraphqlContext,
  ): Promise<Page<WorkspaceMemberType>> {
    const principal = requirePrincipal(context);
    const request = this.#cursors.request(page, { order: 'members.userId', direction: 'asc' });
    return pageFromRows({
      cursors: this.#cursors,
      request,
      rows: (await this.#members.list(principal, request)).map(toWorkspaceMemberType),
      position: ({ user }) => {
        const uuid = parseId('User', user.id);
        return { value: uuid, id: uuid };
      },
      count: async (limit) => toCount(await this.#members.count(principal, limit), limit),
    });
  }

  @RequiresAccess('admin')
  @Mutation(() => WorkspaceMemberPayload, { description: 'Adds a member to this workspace. Needs ADMIN.' })
  async addWorkspaceMember(
    @Arg('input', () => AddWorkspaceMemberInput) { email, name, role }: AddWorkspaceMemberInput,
    @Ctx() context: GraphqlContext,
  ): Promise<WorkspaceMemberPayload> {
    return toPayload(
      await this.#members.add(requirePrincipal(context), { email, name: name ?? undefined, role }),
    );
  }

  @RequiresAccess('admin')
  @Mutation(() => WorkspaceMemberPayload, {
    description: 'Changes the role of a member of this workspace. Needs ADMIN.',
  })
  async updateWorkspaceMember(
    @Arg('input', () => UpdateWorkspaceMemberInput) input: UpdateWorkspaceMemberInput,
    @Ctx() context: GraphqlContext,
  ): Promise<WorkspaceMemberPayload> {
    return toPayload(await this.#members.update(requirePrincipal(context), userIdOf(input), input.role));
  }

  @RequiresAccess('admin')
  @Mutation(() => RemoveWorkspaceMemberPayload, {
    description: 'Takes a member out of this workspace and ends their tokens for it. Needs ADMIN.',
  })
  async removeWorkspaceMember(
    @Arg('input', () => RemoveWorkspaceMemberInput) input: RemoveWorkspaceMemberInput,
    @Ctx() context: GraphqlContext,
  ): Promise<RemoveWorkspaceMemberPayload> {
    const userId = userIdOf(input);
    const result = await this.#members.remove(requirePrincipal(context), userId);
    return result.ok
      ? { removedUserId: toGlobalId('User', userId), errors: [] }
      : { removedUserId: null, errors: toUserErrors(result.problems) };
  }

  @RequiresAccess('admin')
  @Mutation(() => OrganizationMemberPayload, {
    description: 'Changes a role in the organisation; its last owner stays. Needs a key that administers it.',
  })
  async updateOrganizationMember(
    @Arg('input', () => UpdateOrganizationMemberInput) input: UpdateOrganizationMemberInput,
    @Ctx() context: GraphqlContext,
  ): Promise<OrganizationMemberPayload> {
    return toUserPayload(
      await this.#members.setOrganizationRole(requirePrincipal(context), userIdOf(input), input.role),
    );
  }

  @RequiresAccess('admin')
  @Mutation(() => OrganizationMemberPayload, {
    description:
      'Takes a user out of the organisation and all its workspaces and ends their tokens. Needs a key that administers it.',
  })
  async removeOrganizationMember(
    @Arg('input', () => RemoveOrganizationMemberInput) input: RemoveOrganizationMemberInput,
    @Ctx() context: GraphqlContext,
  ): Promise<OrganizationMemberPayload> {
    return toUserPayload(
      await this.#members.removeFromOrganization(requirePrincipal(context), userIdOf(input)),
    );
  }
}
