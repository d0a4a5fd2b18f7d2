/** Who is asking: the key and what it reaches. Answers any valid key, whatever its scopes. */
import { Ctx, Field, FieldResolver, ObjectType, Query, Resolver, Root } from 'type-graphql';
import { ListSize, RequiresAccess } from '../graphql/access.js';
import { requirePrincipal } from '../graphql/context.js';
import type { GraphqlContext } from '../graphql/context.js';
import type { KeyService } from './key.service.js';
import type { MemberService } from './member.service.js';
import { SCOPES } from './principal.js';
import type { Principal, Scope } from './principal.js';
import {
  ApiKeyType,
  OrganizationType,
  ScopeEnum,
  UserType,
  WorkspaceType,
  toApiKeyType,
  toOrganizationType,
  toUserType,
  toWorkspaceType,
} from './tenancy.types.js';
import type { WorkspaceService } from './workspace.service.js';

// Enough for a picker; the root field `workspaces` pages through all of them.
const SHOWN_WORKSPACES = 100;

@ObjectType({ description: 'The caller.' })
export class Viewer {
  /** Not a field: what the fields are resolved from. */
  principal!: Principal;

  @ListSize(SCOPES.length)
  @Field(() => [ScopeEnum], { description: 'What the caller may do in this workspace.' })
  scopes!: Scope[];
}

export interface ViewerResolverDeps {
  readonly keys: KeyService;
  readonly members: MemberService;
  readonly workspaces: WorkspaceService;
}

@Resolver(() => Viewer)
export class ViewerResolver {
  readonly #deps: ViewerResolverDeps;

  constructor(deps: ViewerResolverDeps) {
    this.#deps = deps;
  }

  @RequiresAccess('authenticated')
  @Query(() => Viewer, { description: 'Who is asking.' })
  viewer(@Ctx() context: GraphqlContext): Viewer {
    const principal = requirePrincipal(context);
    return { principal, scopes: SCOPES.filter((scope) => principal.scopes.has(scope)) };
  }

  @FieldResolver(() => ApiKeyType, { description: 'The key of this request.' })
  async key(@Root() { principal }: Viewer): Promise<ApiKeyType> {
    return toApiKeyType(await this.#deps.keys.current(principal));
  }

  @FieldResolver(() => UserType, { nullable: true, description: 'The member behind a personal token.' })
  async user(@Root() { principal }: Viewer): Promise<UserType | null> {
    const user = await this.#deps.members.currentUser(principal);
    return user === undefined ? null : toUserType(user);
  }

  @FieldResolver(() => OrganizationType)
  async organization(@Root() { principal }: Viewer): Promise<OrganizationType> {
    return toOrganizationType(await this.#deps.workspaces.organization(principal));
  }

  @FieldResolver(() => WorkspaceType, { description: 'The workspace of this request.' })
  async workspace(@Root() { principal }: Viewer): Promise<WorkspaceType> {
    return toWorkspaceType(await this.#deps.workspaces.current(principal));
  }

  @ListSize(SHOWN_WORKSPACES)
  @FieldResolver(() => [WorkspaceType], {
    description: 'The workspaces the key reaches or administers, at most 100, oldest first.',
  })
  async workspaces(@Root() { principal }: Viewer): Promise<WorkspaceType[]> {
    const window = { limit: SHOWN_WORKSPACES, backward: false, boundary: undefined };
    const found = await this.#deps.workspaces.list(principal, window);
    return found.slice(0, SHOWN_WORKSPACES).map(toWorkspaceType);
  }
}
