/** GraphQL types of access: the caller, keys, workspaces and members. Objects are plain values made by the mappers. */
import { Field, ID, ObjectType, registerEnumType } from 'type-graphql';
import { connectionTypes } from '../graphql/connection.js';
import { toGlobalId } from '../graphql/global-id.js';
import { Node } from '../graphql/node.resolver.js';
import { DateTimeScalar } from '../graphql/scalars.js';
import { UserError } from '../graphql/user-error.js';
import type { OrganizationRole, WorkspaceRole } from './access.js';
import type { ApiKey, KeyKind } from './api-key.js';
import type { Scope } from './principal.js';
import type { Organization, User, Workspace, WorkspaceMember } from './workspace.js';

export const ScopeEnum = {
  INGEST: 'ingest',
  READ: 'read',
  CONTENT: 'content',
  WRITE: 'write',
  ADMIN: 'admin',
} as const satisfies { [Name in Uppercase<Scope>]: Lowercase<Name> };

registerEnumType(ScopeEnum, {
  name: 'Scope',
  description: 'What a key may do. Values may be added.',
  valuesConfig: {
    INGEST: { description: 'Write runs and feedback, read nothing back.' },
    READ: { description: 'Read everything but content.' },
    CONTENT: { description: 'Read inputs, outputs, errors, events and attachments of runs.' },
    WRITE: { description: 'Change projects, runs, feedback and configurations.' },
    ADMIN: { description: 'Manage keys, members and workspaces.' },
  },
});

export const ApiKeyKind = { SERVICE: 'service', PERSONAL: 'personal' } as const satisfies {
  [Name in Uppercase<KeyKind>]: Lowercase<Name>;
};

registerEnumType(ApiKeyKind, {
  name: 'ApiKeyKind',
  valuesConfig: {
    SERVICE: { description: 'Belongs to a workspace or the organisation.' },
    PERSONAL: { description: 'Belongs to a member: their role caps it, and it ends with their membership.' },
  },
});

export const ApiKeyReach = { WORKSPACE: 'workspace', ORGANIZATION: 'organization' } as const;

registerEnumType(ApiKeyReach, {
  name: 'ApiKeyReach',
  valuesConfig: {
    WORKSPACE: { description: 'One workspace.' },
    ORGANIZATION: {
      description:
        'Every workspace of the organisation, or every workspace of its member; requests pick one with X-Tenant-Id.',
    },
  },
});

export const WorkspaceRoleEnum = {
  ADMIN: 'admin',
  EDITOR: 'editor',
  VIEWER: 'viewer',
  ANNOTATOR: 'annotator',
} as const satisfies { [Name in Uppercase<WorkspaceRole>]: Lowercase<Name> };

registerEnumType(WorkspaceRoleEnum, {
  name: 'WorkspaceRole',
  description: 'Caps the scopes of personal tokens in a workspace.',
  valuesConfig: {
    ADMIN: { description: 'All scopes.' },
    EDITOR: { description: 'All scopes but ADMIN.' },
    VIEWER: { description: 'READ and CONTENT.' },
    ANNOTATOR: { description: 'READ and CONTENT.' },
  },
});

export const OrganizationRoleEnum = {
  OWNER: 'owner',
  ADMIN: 'admin',
  MEMBER: 'member',
} as const satisfies { [Name in Uppercase<OrganizationRole>]: Lowercase<Name> };

registerEnumType(OrganizationRoleEnum, {
  name: 'OrganizationRole',
  valuesConfig: {
    OWNER: { description: 'Everything in every workspace; makes and unmakes owners.' },
    ADMIN: { description: 'Everything in every workspace.' },
    MEMBER: { description: 'Only what the roles in workspaces allow.' },
  },
});

@ObjectType('ApiKey', {
  implements: Node,
  simpleResolvers: true,
  description: 'An API key, without its secret.',
})
export class ApiKeyType extends Node {
  @Field(() => String)
  name!: string;

  @Field(() => String, { description: 'Enough of the secret to recognise it, never enough to use it.' })
  hint!: string;

  @Field(() => ApiKeyKind)
  kind!: KeyKind;

  @Field(() => ApiKeyReach)
  reach!: 'workspace' | 'organization';

  @Field(() => ID, { nullable: true, description: 'The workspace of a key with the reach WORKSPACE.' })
  workspaceId!: string | null;

  @Field(() => ID, { nullable: true, description: 'The member a personal token belongs to.' })
  userId!: string | null;

  @Field(() => [ScopeEnum], {
    description: 'As given. The role of its member may allow a personal token less.',
  })
  scopes!: readonly Scope[];

  @Field(() => DateTimeScalar)
  createdAt!: Date;

  @Field(() => DateTimeScalar, { nullable: true, description: 'Null: never.' })
  expiresAt!: Date | null;

  @Field(() => DateTimeScalar, { nullable: true })
  revokedAt!: Date | null;

  @Field(() => DateTimeScalar, { nullable: true, description: 'Exact to a minute. Null: not yet.' })
  lastUsedAt!: Date | null;

  @Field(() => DateTimeScalar, {
    nullable: true,
    description: 'Until when the secret from before the last rotation works, or worked.',
  })
  previousSecretExpiresAt!: Date | null;
}

export const toApiKeyType = (key: ApiKey): ApiKeyType => ({
  id: toGlobalId('ApiKey', key.id),
  uuid: key.id,
  name: key.name,
  hint: key.hint,
  kind: key.kind,
  reach: key.workspaceId === undefined ? 'organization' : 'workspace',
  workspaceId: key.workspaceId === undefined ? null : toGlobalId('Workspace', key.workspaceId),
  userId: key.kind === 'personal' && key.userId !== undefined ? toGlobalId('User', key.userId) : null,
  scopes: key.scopes,
  createdAt: key.createdAt,
  expiresAt: key.expiresAt ?? null,
  revokedAt: key.revokedAt ?? null,
  lastUsedAt: key.lastUsedAt ?? null,
  previousSecretExpiresAt: key.previousExpiresAt ?? null,
});

@ObjectType('Organization', { simpleResolvers: true })
export class OrganizationType {
  @Field(() => ID)
  id!: string;

  @Field(() => String)
  name!: string;

  @Field(() => DateTimeScalar)
  createdAt!: Date;
}

export const toOrganizationType = ({ id, name, createdAt }: Organization): OrganizationType => ({
  id: toGlobalId('Organization', id),
  name,
  createdAt,
});

@ObjectType('Workspace', {
  implements: Node,
  simpleResolvers: true,
  description: 'What runs, projects and all other data belong to. X-Tenant-Id picks one by its uuid.',
})
export class WorkspaceType extends Node {
  @Field(() => String)
  name!: string;

  @Field(() => String, {
    description: 'Unique over the installation; the owner in prompt identifiers and links.',
  })
  handle!: string;

  @Field(() => DateTimeScalar)
  createdAt!: Date;
}

export const toWorkspaceType = ({ id, name, handle, createdAt }: Workspace): WorkspaceType => ({
  id: toGlobalId('Workspace', id),
  uuid: id,
  name,
  handle,
  createdAt,
});

@ObjectType('User', { simpleResolvers: true })
export class UserType {
  @Field(() => ID)
  id!: string;

  @Field(() => String)
  email!: string;

  @Field(() => String)
  name!: string;
}

export const toUserType = ({ id, email, name }: User): UserType => ({
  id: toGlobalId('User', id),
  email,
  name,
});

@ObjectType('WorkspaceMember', { simpleResolvers: true })
export class WorkspaceMemberType {
  @Field(() => UserType)
  user!: UserType;

  @Field(() => WorkspaceRoleEnum)
  role!: WorkspaceRole;

  @Field(() => OrganizationRoleEnum, {
    description: 'Owners and admins do everything, whatever their role here.',
  })
  organizationRole!: OrganizationRole;

  @Field(() => DateTimeScalar)
  createdAt!: Date;
}

export const toWorkspaceMemberType = (member: WorkspaceMember): WorkspaceMemberType => ({
  ...member,
  user: toUserType(member.user),
});

export const { Connection: ApiKeyConnection } = connectionTypes(() => ApiKeyType, 'ApiKey');
export const { Connection: WorkspaceConnection } = connectionTypes(() => WorkspaceType, 'Workspace');
export const { Connection: WorkspaceMemberConnection } = connectionTypes(
  () => WorkspaceMemberType,
  'WorkspaceMember',
);

@ObjectType({ simpleResolvers: true })
export class ApiKeyPayload {
  @Field(() => ApiKeyType, { nullable: true })
  apiKey!: ApiKeyType | null;

  @Field(() => [UserError])
  errors!: UserError[];
}

@ObjectType({ simpleResolvers: true })
export class IssuedApiKeyPayload extends ApiKeyPayload {
  @Field(() => String, {
    nullable: true,
    description: 'The key itself. It cannot be read again: store it now.',
  })
  secret!: string | null;
}

@ObjectType({ simpleResolvers: true })
export class WorkspacePayload {
  @Field(() => WorkspaceType, { nullable: true })
  workspace!: WorkspaceType | null;

  @Field(() => [UserError])
  errors!: UserError[];
}

@ObjectType({ simpleResolvers: true })
export class DeleteWorkspacePayload {
  @Field(() => ID, { nullable: true })
  deletedWorkspaceId!: string | null;

  @Field(() => [UserError])
  errors!: UserError[];
}

@ObjectType({ simpleResolvers: true })
export class WorkspaceMemberPayload {
  @Field(() => WorkspaceMemberType, { nullable: true })
  member!: WorkspaceMemberType | null;

  @Field(() => [UserError])
  errors!: UserError[];
}

@ObjectType({ simpleResolvers: true })
export class RemoveWorkspaceMemberPayload {
  @Field(() => ID, { nullable: true })
  removedUserId!: string | null;

  @Field(() => [UserError])
  errors!: UserError[];
}

@ObjectType({ simpleResolvers: true })
export class OrganizationMemberPayload {
  @Field(() => UserType, { nullable: true })
  user!: UserType | null;

  @Field(() => [UserError])
  errors!: UserError[];
}
