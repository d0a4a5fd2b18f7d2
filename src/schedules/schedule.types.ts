/** GraphQL types of schedules and the payloads of their mutations. */
import { Field, ID, ObjectType, registerEnumType, Root } from 'type-graphql';
import { connectionTypes } from '../graphql/connection.js';
import { Node } from '../graphql/node.resolver.js';
import { DateTimeScalar, JsonScalar, UuidScalar } from '../graphql/scalars.js';
import { UserError } from '../graphql/user-error.js';
import type { JsonObject } from '../ingest/run-event.js';
import { shownConfig } from './schedule.js';
import type { Schedule, ScheduleKind as Kind } from './schedule.js';

/** The name of the type in global ids. */
export const SCHEDULE_NODE = 'Schedule';

export const ScheduleKind = { EXPERIMENT: 'experiment', HARVEST: 'harvest' } as const satisfies Record<
  string,
  Kind
>;
registerEnumType(ScheduleKind, {
  name: 'ScheduleKind',
  valuesConfig: {
    EXPERIMENT: { description: 'Starts an experiment.' },
    HARVEST: { description: 'Harvests examples from runs into a dataset.' },
  },
});

export const ScheduleOutcome = { STARTED: 'started', FAILED: 'failed' } as const;
registerEnumType(ScheduleOutcome, { name: 'ScheduleOutcome' });

@ObjectType('Schedule', {
  implements: Node,
  simpleResolvers: true,
  description: 'Something that happens again and again. A time that was missed is made up for once.',
})
export class ScheduleType extends Node {
  @Field(() => String, { description: 'Unique in the workspace.' })
  name!: string;

  @Field(() => ScheduleKind)
  kind!: Kind;

  @Field(() => JsonScalar, { description: 'What is done. Secrets are blotted out.' })
  config(@Root() schedule: Schedule): JsonObject {
    return shownConfig(schedule.config);
  }

  @Field(() => String, { description: 'Minute, hour, day of month, month, day of week.' })
  cron!: string;

  @Field(() => String, { description: 'An IANA name, such as Europe/Berlin.' })
  timezone!: string;

  @Field(() => Boolean)
  enabled!: boolean;

  @Field(() => DateTimeScalar, { nullable: true, description: 'Null while it is disabled.' })
  nextRunAt!: string | null;

  @Field(() => DateTimeScalar, { nullable: true, description: 'The time that was due last.' })
  lastRunAt!: string | null;

  @Field(() => ScheduleOutcome, {
    nullable: true,
    description: 'Null while the last time is being worked on.',
  })
  lastOutcome!: Schedule['lastOutcome'];

  @Field(() => String, { nullable: true, description: 'Why it failed.' })
  lastMessage!: string | null;

  @Field(() => UuidScalar, { nullable: true, description: 'What was made, such as an experiment.' })
  lastResultId!: string | null;

  @Field(() => DateTimeScalar)
  createdAt!: string;

  @Field(() => DateTimeScalar)
  updatedAt!: string;
}

export const { Connection: ScheduleConnection } = connectionTypes<Schedule>(
  () => ScheduleType as never,
  'Schedule',
);

@ObjectType({ simpleResolvers: true })
export class SchedulePayload {
  @Field(() => ScheduleType, { nullable: true })
  schedule!: Schedule | null;

  @Field(() => [UserError])
  errors!: readonly UserError[];
}

@ObjectType({ simpleResolvers: true })
export class DeleteSchedulePayload {
  @Field(() => ID, { nullable: true })
  deletedId!: string | null;

  @Field(() => [UserError])
  errors!: readonly UserError[];
}
