/** Mutations that start and steer experiments workers carry out. */
import { Arg, Ctx, Field, Mutation, ObjectType, Resolver } from 'type-graphql';
import { RequiresAccess } from '../graphql/access.js';
import { requirePrincipal } from '../graphql/context.js';
import type { GraphqlContext } from '../graphql/context.js';
import { toUserErrors, UserError } from '../graphql/user-error.js';
import type { Result } from '../platform/result.js';
import type { ScheduleService } from '../schedules/schedule.service.js';
import { SchedulePayload } from '../schedules/schedule.types.js';
import {
  CreateExperimentScheduleInput,
  experimentIdOf,
  ExperimentIdInput,
  ResumeExperimentInput,
  StartExperimentInput,
  toStartDraft,
} from './experiment-control.inputs.js';
import type { ExperimentControlService } from './experiment-control.service.js';
import { ExperimentType } from './experiment.types.js';
import type { Experiment } from './experiment.js';

@ObjectType({ simpleResolvers: true })
class ExperimentPayload {
  @Field(() => ExperimentType, { nullable: true })
  experiment!: Experiment | null;

  @Field(() => [UserError])
  errors!: readonly UserError[];
}

@Resolver()
export class ExperimentControlResolver {
  readonly #control: ExperimentControlService;
  readonly #schedules: ScheduleService;

  constructor({ control, schedules }: { control: ExperimentControlService; schedules: ScheduleService }) {
    this.#control = control;
    this.#schedules = schedules;
  }

  @RequiresAccess('write')
  @Mutation(() => ExperimentPayload, {
    description:
      'Workers lay out its rows and begin at once. Follow it with the subscription experimentEvents.',
  })
  async startExperiment(
    @Arg('input', () => StartExperimentInput) input: StartExperimentInput,
    @Ctx() context: GraphqlContext,
  ): Promise<ExperimentPayload> {
    const draft = toStartDraft(input.experiment);
    return toPayload(await this.#control.start(requirePrincipal(context), draft, input.idempotencyKey));
  }

  @RequiresAccess('write')
  @Mutation(() => ExperimentPayload, { description: 'What is under way ends; nothing further begins.' })
  async pauseExperiment(
    @Arg('input', () => ExperimentIdInput) input: ExperimentIdInput,
    @Ctx() context: GraphqlContext,
  ): Promise<ExperimentPayload> {
    return toPayload(await this.#control.pause(requirePrincipal(context), experimentIdOf(input)));
  }

  @RequiresAccess('write')
  @Mutation(() => ExperimentPayload)
  async resumeExperiment(
    @Arg('input', () => ResumeExperimentInput) input: ResumeExperimentInput,
    @Ctx() context: GraphqlContext,
  ): Promise<ExperimentPayload> {
    const principal = requirePrincipal(context);
    return toPayload(await this.#control.resume(principal, experimentIdOf(input), input.spendCap));
  }

  @RequiresAccess('write')
  @Mutation(() => ExperimentPayload, {
    description: 'What is under way is called off; what was done by then stays.',
  })
  async cancelExperiment(
    @Arg('input', () => ExperimentIdInput) input: ExperimentIdInput,
    @Ctx() context: GraphqlContext,
  ): Promise<ExperimentPayload> {
    return toPayload(await this.#control.cancel(requirePrincipal(context), experimentIdOf(input)));
  }

  @RequiresAccess('write')
  @Mutation(() => ExperimentPayload, {
    description: 'Rows and evaluations that failed for good are tried again, with runs of their own.',
  })
  async retryFailedExperiment(
    @Arg('input', () => ExperimentIdInput) input: ExperimentIdInput,
    @Ctx() context: GraphqlContext,
  ): Promise<ExperimentPayload> {
    return toPayload(await this.#control.retryFailed(requirePrincipal(context), experimentIdOf(input)));
  }

  @RequiresAccess('write')
  @Mutation(() => SchedulePayload, { description: 'Starts an experiment again and again.' })
  async createExperimentSchedule(
    @Arg('input', () => CreateExperimentScheduleInput) input: CreateExperimentScheduleInput,
    @Ctx() context: GraphqlContext,
  ): Promise<SchedulePayload> {
    const principal = requirePrincipal(context);
    const { idempotencyKey } = input;
    const { name, cron, timezone, enabled } = input.schedule;
    const schedule = { name, cron, timezone, enabled };
    const draft = toStartDraft(input.experiment);
    const prepared = await this.#control.prepareSchedule(principal, draft);
    const made = prepared.ok
      ? await this.#schedules.create(
          principal,
          { ...schedule, kind: 'experiment', config: prepared.value },
          idempotencyKey,
          { schedule, draft },
        )
      : prepared;
    return made.ok
      ? { schedule: made.value, errors: [] }
      : { schedule: null, errors: toUserErrors(made.problems) };
  }
}

function toPayload(result: Result<Experiment>): ExperimentPayload {
  return result.ok
    ? { experiment: result.value, errors: [] }
    : { experiment: null, errors: toUserErrors(result.problems) };
}
