/** GraphQL inputs of projects, and how other domains' fields name a project. */
import { ArgsType, Directive, Field, ID, InputType, registerEnumType } from 'type-graphql';
import { parseId } from '../graphql/global-id.js';
import { IdempotentInput } from '../graphql/idempotent-input.js';
import { DateTimeScalar, JsonScalar, UuidScalar } from '../graphql/scalars.js';
import { AppError } from '../platform/errors.js';
import type { SortDirection } from '../platform/keyset.js';
import type { ProjectOrder } from './project.store.js';

/** The name of the type in global ids. */
export const PROJECT_NODE = 'Project';

@Directive('@oneOf')
@InputType({ description: 'A project, by exactly one of these.' })
export class ProjectRef {
  @Field(() => ID, { nullable: true })
  id?: string | null;

  @Field(() => String, { nullable: true })
  name?: string | null;
}

export type ProjectSelector = { readonly id: string } | { readonly name: string };

/** @throws AppError BAD_USER_INPUT unless exactly one key is given. */
export function toProjectSelector(ref: ProjectRef, path: readonly (string | number)[]): ProjectSelector {
  const id = ref.id ?? undefined;
  const name = ref.name ?? undefined;
  if (id !== undefined && name === undefined) return { id: parseId(PROJECT_NODE, id, [...path, 'id']) };
  if (name !== undefined && id === undefined) return { name };
  throw new AppError('BAD_USER_INPUT', 'Give exactly one of "id" and "name".', { path });
}

export const OrderDirection = { ASC: 'asc', DESC: 'desc' } as const satisfies Record<string, SortDirection>;
registerEnumType(OrderDirection, { name: 'OrderDirection' });

export const ProjectOrderField = { CREATED_AT: 'CREATED_AT', NAME: 'NAME' } as const satisfies {
  [Order in ProjectOrder]: Order;
};
registerEnumType(ProjectOrderField, { name: 'ProjectOrderField' });

@InputType('ProjectOrder')
export class ProjectOrderInput {
  @Field(() => ProjectOrderField, { defaultValue: 'CREATED_AT' })
  field!: ProjectOrder;

  @Field(() => OrderDirection, { defaultValue: 'desc' })
  direction!: SortDirection;
}

@ArgsType()
export class ProjectListArgs {
  @Field(() => String, { nullable: true, description: 'A part of the name, in any case.' })
  nameContains?: string | null;

  @Field(() => [UuidScalar], { nullable: true, description: 'Experiments on these datasets.' })
  referenceDatasetIds?: string[] | null;

  @Field(() => Boolean, { nullable: true, description: 'True: no experiments. False: experiments only.' })
  referenceFree?: boolean | null;

  @Field(() => ProjectOrderInput, { nullable: true, description: 'Newest first where not given.' })
  orderBy?: ProjectOrderInput | null;
}

@InputType()
export class CreateProjectInput extends IdempotentInput {
  @Field(() => String)
  name!: string;

  @Field(() => String, { nullable: true })
  description?: string | null;

  @Field(() => JsonScalar, { nullable: true, description: 'An object; what SDKs keep with the project.' })
  extra?: unknown;

  @Field(() => UuidScalar, { nullable: true })
  referenceDatasetId?: string | null;

  @Field(() => DateTimeScalar, { nullable: true, description: 'Now where not given.' })
  startTime?: string | null;
}

@InputType({ description: 'What to change: a missing key leaves, null clears.' })
export class ProjectPatchInput {
  @Field(() => String, { nullable: true, description: 'Cannot be cleared.' })
  name?: string | null;

  @Field(() => String, { nullable: true })
  description?: string | null;

  @Field(() => JsonScalar, { nullable: true, description: 'Replaces the whole object.' })
  extra?: unknown;

  @Field(() => DateTimeScalar, { nullable: true })
  endTime?: string | null;
}

@InputType()
export class UpdateProjectInput {
  @Field(() => ID)
  id!: string;

  @Field(() => ProjectPatchInput)
  patch!: ProjectPatchInput;
}

@InputType()
export class DeleteProjectInput {
  @Field(() => ID)
  id!: string;
}
