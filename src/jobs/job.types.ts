/** GraphQL types of jobs. */
import { Field, Float, Int, ObjectType, registerEnumType } from 'type-graphql';
import { connectionTypes } from '../graphql/connection.js';
import { Node } from '../graphql/node.resolver.js';
import { DateTimeScalar } from '../graphql/scalars.js';
import { UserError } from '../graphql/user-error.js';
import type { JobState } from '../platform/jobs/job.js';
import type { Job, WaitingKind } from './job.js';

/** The name of the type in global ids. */
export const JOB_NODE = 'Job';

export const JobStateEnum = {
  QUEUED: 'queued',
  RUNNING: 'running',
  WAITING: 'waiting',
  SUCCEEDED: 'succeeded',
  FAILED: 'failed',
  CANCELLED: 'cancelled',
} as const satisfies Record<string, JobState>;

registerEnumType(JobStateEnum, {
  name: 'JobState',
  valuesConfig: {
    QUEUED: { description: 'Due; `waiting` says what it waits for.' },
    RUNNING: { description: 'A worker is on it.' },
    WAITING: { description: 'For a later time: its schedule, or the next attempt.' },
    SUCCEEDED: { description: 'Done.' },
    FAILED: { description: 'Given up; `error` says why.' },
    CANCELLED: { description: 'Ended by a caller. What it had done by then stays.' },
  },
});

export const WaitingKindEnum = {
  SCHEDULED: 'SCHEDULED',
  RETRY: 'RETRY',
  OUTBOX: 'OUTBOX',
  NO_WORKER: 'NO_WORKER',
  LINE: 'LINE',
} as const satisfies { [Kind in WaitingKind]: Kind };

registerEnumType(WaitingKindEnum, {
  name: 'JobWaitingKind',
  valuesConfig: {
    SCHEDULED: { description: 'Its time has not come.' },
    RETRY: { description: 'An attempt failed; the next comes at `until`.' },
    OUTBOX: { description: 'It has not reached the job queue yet.' },
    NO_WORKER: { description: 'No worker process serves its queue.' },
    LINE: { description: 'Others come first: `ahead` of them.' },
  },
});

@ObjectType('JobProgress', { simpleResolvers: true, description: 'As the job last reported it.' })
export class JobProgressObject {
  @Field(() => Float, { nullable: true, description: 'Units done.' })
  done?: number;

  @Field(() => Float, { nullable: true, description: 'Units in all, where that is known.' })
  total?: number;

  @Field(() => String, { nullable: true })
  note?: string;
}

@ObjectType('JobWaiting', { simpleResolvers: true, description: 'Why a job does not run now.' })
export class JobWaitingObject {
  @Field(() => WaitingKindEnum)
  kind!: WaitingKind;

  @Field(() => String, { description: 'One English sentence.' })
  reason!: string;

  @Field(() => Int, { nullable: true, description: 'Jobs that come first; counting stops at 1000.' })
  ahead!: number | null;

  @Field(() => DateTimeScalar, { nullable: true })
  until!: string | null;
}

@ObjectType('Job', {
  implements: Node,
  simpleResolvers: true,
  description: 'Work done in the background for the workspace.',
})
export class JobObject extends Node {
  @Field(() => String, { description: 'What it does, e.g. "projects.delete_runs".' })
  name!: string;

  @Field(() => JobStateEnum)
  state!: JobState;

  @Field(() => JobProgressObject, { nullable: true })
  progress!: JobProgressObject | null;

  @Field(() => Int, { description: 'Attempts so far, the running one included.' })
  attempts!: number;

  @Field(() => Int)
  maxAttempts!: number;

  @Field(() => String, { nullable: true, description: 'Why the last attempt failed.' })
  error!: string | null;

  @Field(() => DateTimeScalar, { description: 'Not before.' })
  runAt!: string;

  @Field(() => DateTimeScalar)
  createdAt!: string;

  @Field(() => DateTimeScalar, { nullable: true })
  startedAt!: string | null;

  @Field(() => DateTimeScalar, { nullable: true })
  finishedAt!: string | null;
}

export const { Connection: JobConnection } = connectionTypes<Job>(() => JobObject as never, 'Job');

@ObjectType({ simpleResolvers: true })
export class CancelJobPayload {
  @Field(() => JobObject, { nullable: true })
  job!: Job | null;

  @Field(() => [UserError])
  errors!: readonly UserError[];
}
