/** Expected failures of a mutation, as its payload reports them in `errors`. Success is an empty list. */
import { Field, InterfaceType, ObjectType, registerEnumType } from 'type-graphql';
import type { Problem, ProblemCode } from '../platform/result.js';

/** The GraphQL face of ProblemCode; the compiler keeps both equal. */
export const UserErrorCode = {
  INVALID: 'INVALID',
  NOT_FOUND: 'NOT_FOUND',
  ALREADY_EXISTS: 'ALREADY_EXISTS',
  CONFLICT: 'CONFLICT',
  LIMIT_EXCEEDED: 'LIMIT_EXCEEDED',
  NOT_ALLOWED: 'NOT_ALLOWED',
} as const satisfies { [Code in ProblemCode]: Code };

registerEnumType(UserErrorCode, {
  name: 'UserErrorCode',
  description:
    'Why a mutation did not do what was asked. Values may be added; treat unknown ones as INVALID.',
  valuesConfig: {
    INVALID: { description: 'A value of the input is not acceptable.' },
    NOT_FOUND: { description: 'Something the input names does not exist, or not for the caller.' },
    ALREADY_EXISTS: { description: 'A name or id is taken.' },
    CONFLICT: { description: 'The state changed in between, or does not allow this now.' },
    LIMIT_EXCEEDED: { description: 'A limit of this installation or workspace would be exceeded.' },
    NOT_ALLOWED: { description: 'The caller may not do this to this object.' },
  },
});

@InterfaceType({
  description: 'An expected failure of a mutation. Specific types carry data a client can act on.',
  resolveType: (error: UserError) => error.typeName ?? 'BasicUserError',
})
export abstract class UserError {
  @Field(() => UserErrorCode)
  code!: ProblemCode;

  @Field(() => String, { description: 'One English sentence, safe to show.' })
  message!: string;

  @Field(() => [String], { description: 'Path into the input; list indexes as decimal strings.' })
  path!: readonly string[];

  @Field(() => Boolean, { description: 'Whether the same request may succeed later without a change.' })
  retryable!: boolean;

  /** Set on rows of an implementing type other than BasicUserError: its GraphQL name. */
  typeName?: string;
}

@ObjectType({
  implements: UserError,
  simpleResolvers: true,
  description: 'A failure that is fully described by its code, message and path.',
})
/** @public found through its decorator, by name */
export class BasicUserError extends UserError {}

/** What a payload's `errors` gets. Plain rows: the interface finds their type. */
export function toUserErrors(problems: readonly Problem[]): UserError[] {
  return problems.map(({ code, message, path, retryable }) => ({ code, message, path, retryable }));
}
