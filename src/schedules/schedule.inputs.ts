/** GraphQL inputs of schedules. What a kind does is an input of its own domain. */
import { ArgsType, Field, ID, InputType } from 'type-graphql';
import type { ScheduleKind as Kind } from './schedule.js';
import { ScheduleKind } from './schedule.types.js';

@ArgsType()
export class ScheduleListArgs {
  @Field(() => ScheduleKind, { nullable: true })
  kind?: Kind | null;
}

@InputType({ description: 'When something happens again and again.' })
export class ScheduleTimesInput {
  @Field(() => String, { description: 'Unique in the workspace.' })
  name!: string;

  @Field(() => String, { description: 'Minute, hour, day of month, month, day of week: `0 6 * * 1-5`.' })
  cron!: string;

  @Field(() => String, { defaultValue: 'UTC', description: 'An IANA name, such as Europe/Berlin.' })
  timezone!: string;

  @Field(() => Boolean, { defaultValue: true })
  enabled!: boolean;
}

@InputType({ description: 'A missing key leaves. New times count from now.' })
export class UpdateScheduleInput {
  @Field(() => ID)
  id!: string;

  @Field(() => String, { nullable: true })
  name?: string | null;

  @Field(() => String, { nullable: true })
  cron?: string | null;

  @Field(() => String, { nullable: true })
  timezone?: string | null;

  @Field(() => Boolean, { nullable: true })
  enabled?: boolean | null;
}

@InputType()
export class DeleteScheduleInput {
  @Field(() => ID)
  id!: string;
}
