/** Tokens and money over several runs: the same fields wherever they are summed. */
import { Field, ObjectType } from 'type-graphql';
import { BigIntScalar, DecimalScalar } from '../graphql/scalars.js';

const COST = { nullable: true, description: 'US dollars. Null where no run has a cost.' } as const;

@ObjectType({ simpleResolvers: true })
export abstract class UsageTotals {
  @Field(() => BigIntScalar)
  promptTokens!: string;

  @Field(() => BigIntScalar)
  completionTokens!: string;

  @Field(() => BigIntScalar)
  totalTokens!: string;

  @Field(() => DecimalScalar, COST)
  promptCost!: string | null;

  @Field(() => DecimalScalar, COST)
  completionCost!: string | null;

  @Field(() => DecimalScalar, COST)
  totalCost!: string | null;
}
