/** What the input of every mutation that creates something extends: the client's key for repeating the call. */
import { Field, InputType } from 'type-graphql';
import { IDEMPOTENCY_HOURS } from '../platform/idempotency.js';

@InputType()
export abstract class IdempotentInput {
  @Field(() => String, {
    nullable: true,
    description:
      'Makes sending again harmless: for ' +
      `${IDEMPOTENCY_HOURS} hours the same key with the same input gets the first answer again. 1 to 255 ` +
      'characters, such as a UUID; valid for this mutation and the calling API key. Refusals: CONFLICT while ' +
      'the first call is going on, IDEMPOTENCY_MISMATCH with another input.',
  })
  idempotencyKey?: string | null;
}
