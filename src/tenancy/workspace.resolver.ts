/** Workspaces over GraphQL. */
import { Arg, Args, Ctx, Mutation, Query, Resolver } from 'type-graphql';
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
import {
  CreateWorkspaceInput,
  DeleteWorkspaceInput,
  UpdateWorkspaceInput,
  isGiven,
} from './tenancy.inputs.js';
import {
  DeleteWorkspacePayload,
  WorkspaceConnection,
  WorkspacePayload,
  toWorkspaceType,
} from './tenancy.types.js';
import type { WorkspaceType } from './tenancy.types.js';
import type { WorkspaceService } from './workspace.service.js';
import type { Workspace } from './workspace.js';

const toPayload = (result: Result<Workspace>): WorkspacePayload =>
  result.ok
    ? { workspace: toWorkspaceType(result.value), errors: [] }
    : { workspace: null, errors: toUserErrors(result.problems) };

/** Loads workspaces for `node` and `nodes`. */
export const workspaceNodes =
  (workspaces: WorkspaceService): NodeLoad =>
  async (context, uuids) => {
    const rows = await workspaces.listByIds(requirePrincipal(context), uuids);
    const found = new Map(rows.map((workspace) => [workspace.id, workspace]));
    return uuids.map((uuid) => {
      const workspace = found.get(uuid);
      return workspace === undefined ? null : toWorkspaceType(workspace);
    });
  };

@Resolver()
export class WorkspaceResolver {
  readonly #workspaces: WorkspaceService;
  readonly #cursors: Cursors;

  constructor(deps: { workspaces: WorkspaceService; cursors: Cursors }) {
    this.#workspaces = deps.workspaces;
    this.#cursors = deps.cursors;
  }

  @RequiresAccess('authenticated')
  @Query(() => WorkspaceConnection, {
    complexity: pageComplexity,
    description: 'The workspaces the key reaches or administers, oldest first.',
  })
  async workspaces(
    @Args(() => PageArgs) page: PageArgs,
    @Ctx() context: GraphqlContext,
  ): Promise<Page<WorkspaceType>> {
    const principal = requirePrincipal(context);
    const request = this.#cursors.request(page, { order: 'workspaces.id', direction: 'asc' });
    return pageFromRows({
      cursors: this.#cursors,
      request,
      rows: (await this.#workspaces.list(principal, request)).map(toWorkspaceType),
      position: ({ uuid }) => ({ value: uuid, id: uuid }),
      count: async (limit) => toCount(await this.#workspaces.count(principal, limit), limit),
    });
  }

  @RequiresAccess('admin')
  @Mutation(() => WorkspacePayload, { description: 'Needs a key that administers the organisation.' })
  async createWorkspace(
    @Arg('input', () => CreateWorkspaceInput) input: CreateWorkspaceInput,
    @Ctx() context: GraphqlContext,
  ): Promise<WorkspacePayload> {
    const draft = { name: input.name, handle: input.handle ?? undefined };
    return toPayload(await this.#workspaces.create(requirePrincipal(context), draft, input.idempotencyKey));
  }

  @RequiresAccess('admin')
  @Mutation(() => WorkspacePayload, {
    description:
      'Changes the name or the handle. Needs ADMIN; for another workspace, of the whole organisation.',
  })
  async updateWorkspace(
    @Arg('input', () => UpdateWorkspaceInput) { id, patch }: UpdateWorkspaceInput,
    @Ctx() context: GraphqlContext,
  ): Promise<WorkspacePayload> {
    const uuid = parseId('Workspace', id, ['input', 'id']);
    const result = await this.#workspaces.update(requirePrincipal(context), uuid, {
      ...(isGiven(patch.name) ? { name: patch.name } : {}),
      ...(isGiven(patch.handle) ? { handle: patch.handle } : {}),
    });
    return toPayload(result);
  }

  @RequiresAccess('admin')
  @Mutation(() => DeleteWorkspacePayload, {
    description:
      'Ends a workspace and its keys. The last one stays. Needs a key that administers the organisation.',
  })
  async deleteWorkspace(
    @Arg('input', () => DeleteWorkspaceInput) { id }: DeleteWorkspaceInput,
    @Ctx() context: GraphqlContext,
  ): Promise<DeleteWorkspacePayload> {
    const uuid = parseId('Workspace', id, ['input', 'id']);
    const result = await this.#workspaces.remove(requirePrincipal(context), uuid);
    return result.ok
      ? { deletedWorkspaceId: toGlobalId('Workspace', uuid), errors: [] }
      : { deletedWorkspaceId: null, errors: toUserErrors(result.problems) };
  }
}
