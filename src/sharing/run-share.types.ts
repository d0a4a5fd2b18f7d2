/** GraphQL types and inputs of sharing. */
import { Field, ID, InputType, ObjectType } from 'type-graphql';
import { DateTimeScalar, UuidScalar } from '../graphql/scalars.js';
import { UserError } from '../graphql/user-error.js';

@ObjectType('RunShare', {
  simpleResolvers: true,
  description: 'A link with which anyone can read the whole trace of a run, content included.',
})
export class RunShareObject {
  @Field(() => UuidScalar, { description: 'The secret in the link.' })
  token!: string;

  @Field(() => String, {
    description: 'A page that shows the trace. A path where the public address is not configured.',
  })
  url!: string;

  @Field(() => DateTimeScalar)
  createdAt!: string;

  @Field(() => DateTimeScalar, { nullable: true, description: 'Null: never.' })
  expiresAt!: string | null;
}

@InputType()
export class ShareRunInput {
  @Field(() => ID)
  runId!: string;

  @Field(() => DateTimeScalar, { nullable: true, description: 'Never where left out.' })
  expiresAt?: string | null;
}

@ObjectType({ simpleResolvers: true })
export class ShareRunPayload {
  @Field(() => RunShareObject, { nullable: true })
  share!: RunShareObject | null;

  @Field(() => [UserError])
  errors!: readonly UserError[];
}

@InputType()
export class UnshareRunInput {
  @Field(() => ID)
  runId!: string;
}

@ObjectType({ simpleResolvers: true })
export class UnshareRunPayload {
  @Field(() => Boolean, { description: 'Whether there was a link. It does not work any more.' })
  removed!: boolean;

  @Field(() => [UserError])
  errors!: readonly UserError[];
}
