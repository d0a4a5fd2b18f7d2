/** What the asking operation costs, and what the key has left. Over HTTP the response's headers say the same. */
import { Ctx, Field, Int, ObjectType, Query, Resolver } from 'type-graphql';
import { RequiresAccess } from '../graphql/access.js';
import type { GraphqlContext } from '../graphql/context.js';
import { DateTimeScalar } from '../graphql/scalars.js';
import type { Clock } from '../platform/clock.js';
import { secondsToReset } from './rate-limit-headers.js';

@ObjectType({
  simpleResolvers: true,
  description: 'The allowance of GraphQL cost points of the calling key. It comes back evenly over time.',
})
export class RateLimit {
  @Field(() => Int, { description: 'Points this operation was charged; what it did not use is given back.' })
  cost!: number;

  @Field(() => Int, { description: 'Points of a full allowance.' })
  limit!: number;

  @Field(() => Int, { description: 'Points left after this operation was charged.' })
  remaining!: number;

  @Field(() => DateTimeScalar, { description: 'When the allowance is full again if nothing more is asked.' })
  resetAt!: Date;
}

@Resolver()
export class RateLimitResolver {
  readonly #clock: Clock;

  constructor(deps: { clock: Clock }) {
    this.#clock = deps.clock;
  }

  @RequiresAccess('authenticated')
  @Query(() => RateLimit, { nullable: true, description: 'Null where operations are not counted.' })
  rateLimit(@Ctx() { allowance }: GraphqlContext): RateLimit | null {
    if (allowance === undefined) return null;
    const { requested, limit, remaining } = allowance;
    const resetMs = this.#clock.now().getTime() + secondsToReset(allowance) * 1_000;
    return { cost: requested, limit, remaining, resetAt: new Date(resetMs) };
  }
}
