/** GraphQL inputs of access. In a patch an omitted field leaves, and null clears where that is possible. */
import { Field, ID, InputType, Int } from 'type-graphql';
import { IdempotentInput } from '../graphql/idempotent-input.js';
import { DateTimeScalar } from '../graphql/scalars.js';
import type { OrganizationRole, WorkspaceRole } from './access.js';
import type { KeyKind } from './api-key.js';
import type { Scope } from './principal.js';
import {
  ApiKeyKind,
  ApiKeyReach,
  OrganizationRoleEnum,
  ScopeEnum,
  WorkspaceRoleEnum,
} from './tenancy.types.js';

/** Whether a client gave a value: null means the same as nothing where there is nothing to clear. */
export const isGiven = <T>(value: T | null | undefined): value is T => value !== null && value !== undefined;

@InputType()
export class CreateApiKeyInput extends IdempotentInput {
  @Field(() => String, { description: '1 to 100 characters.' })
  name!: string;

  @Field(() => ApiKeyKind, { defaultValue: ApiKeyKind.SERVICE })
  kind!: KeyKind;

  @Field(() => ApiKeyReach, { defaultValue: ApiKeyReach.WORKSPACE })
  reach!: 'workspace' | 'organization';

  @Field(() => ID, { nullable: true, description: 'The member a PERSONAL token is for.' })
  userId?: string | null;

  @Field(() => [ScopeEnum], { description: 'None that the calling key lacks.' })
  scopes!: Scope[];

  @Field(() => DateTimeScalar, { nullable: true, description: 'Default: never.' })
  expiresAt?: string | null;
}

@InputType()
export class ApiKeyPatch {
  @Field(() => String, { nullable: true })
  name?: string | null;

  @Field(() => [ScopeEnum], { nullable: true })
  scopes?: Scope[] | null;

  @Field(() => DateTimeScalar, { nullable: true, description: 'Null: never.' })
  expiresAt?: string | null;
}

@InputType()
export class UpdateApiKeyInput {
  @Field(() => ID)
  id!: string;

  @Field(() => ApiKeyPatch)
  patch!: ApiKeyPatch;
}

@InputType()
export class RotateApiKeyInput {
  @Field(() => ID)
  id!: string;

  @Field(() => Int, {
    nullable: true,
    description: 'How long the old secret goes on working: 0 to 86400 seconds, default 3600.',
  })
  graceSeconds?: number | null;
}

@InputType()
export class RevokeApiKeyInput {
  @Field(() => ID)
  id!: string;
}

@InputType()
export class CreateWorkspaceInput extends IdempotentInput {
  @Field(() => String, { description: '1 to 100 characters.' })
  name!: string;

  @Field(() => String, {
    nullable: true,
    description: '1 to 63 lower-case letters, digits and dashes. Default: made from the name.',
  })
  handle?: string | null;
}

@InputType()
export class WorkspacePatch {
  @Field(() => String, { nullable: true })
  name?: string | null;

  @Field(() => String, { nullable: true })
  handle?: string | null;
}

@InputType()
export class UpdateWorkspaceInput {
  @Field(() => ID)
  id!: string;

  @Field(() => WorkspacePatch)
  patch!: WorkspacePatch;
}

@InputType()
export class DeleteWorkspaceInput {
  @Field(() => ID)
  id!: string;
}

@InputType()
export class AddWorkspaceMemberInput {
  @Field(() => String)
  email!: string;

  @Field(() => String, { nullable: true, description: 'Used where nobody has this address yet.' })
  name?: string | null;

  @Field(() => WorkspaceRoleEnum)
  role!: WorkspaceRole;
}

@InputType()
export class UpdateWorkspaceMemberInput {
  @Field(() => ID)
  userId!: string;

  @Field(() => WorkspaceRoleEnum)
  role!: WorkspaceRole;
}

@InputType()
export class RemoveWorkspaceMemberInput {
  @Field(() => ID)
  userId!: string;
}

@InputType()
export class UpdateOrganizationMemberInput {
  @Field(() => ID)
  userId!: string;

  @Field(() => OrganizationRoleEnum)
  role!: OrganizationRole;
}

@InputType()
export class RemoveOrganizationMemberInput {
  @Field(() => ID)
  userId!: string;
}
