/** `createRuns` and `updateRuns`: the same intake as every other protocol, with an answer per item. */
import { Arg, Ctx, Field, Int, Mutation, ObjectType, Resolver } from 'type-graphql';
import { RequiresAccess } from '../graphql/access.js';
import { requirePrincipal } from '../graphql/context.js';
import type { GraphqlContext } from '../graphql/context.js';
import { UuidScalar } from '../graphql/scalars.js';
import { toUserErrors, UserError } from '../graphql/user-error.js';
import { INTAKE_LIMITS } from '../ingest/limits.js';
import type { JsonObject, Refusal } from '../ingest/run-event.js';
import { AppError } from '../platform/errors.js';
import type { Ids } from '../platform/ids.js';
import { problem } from '../platform/result.js';
import type { Principal } from '../tenancy/principal.js';
import { CreateRunsInput, toWireRun, UpdateRunsInput } from './run.inputs.js';

/** Takes run objects of the wire protocol; resolves after the commit. */
export interface RunIntake {
  ingestWire(
    principal: Principal,
    runs: { readonly post: readonly JsonObject[]; readonly patch: readonly JsonObject[] },
    protocol: 'graphql',
  ): Promise<{ readonly refused: readonly Refusal[] }>;
}

@ObjectType({ simpleResolvers: true, description: 'What became of one item of the input, in its order.' })
export class RunWriteResult {
  @Field(() => UuidScalar)
  id!: string;

  @Field(() => Boolean, { description: 'Committed. Repeating is harmless.' })
  accepted!: boolean;

  @Field(() => [UserError], { description: 'Why it was refused. Its neighbours are not affected.' })
  errors!: readonly UserError[];
}

@ObjectType({ simpleResolvers: true })
export class WriteRunsPayload {
  @Field(() => [RunWriteResult])
  results!: readonly RunWriteResult[];

  @Field(() => Int)
  acceptedCount!: number;

  @Field(() => [UserError], { description: 'The errors of all results.' })
  errors!: readonly UserError[];
}

@Resolver()
export class RunIntakeResolver {
  readonly #intake: RunIntake;
  readonly #ids: Ids;

  constructor({ intake, ids }: { intake: RunIntake; ids: Ids }) {
    this.#intake = intake;
    this.#ids = ids;
  }

  @RequiresAccess('ingest')
  @Mutation(() => WriteRunsPayload, {
    description: 'Answered after the commit. Parents may come after their children.',
  })
  async createRuns(
    @Arg('input', () => CreateRunsInput) { runs }: CreateRunsInput,
    @Ctx() context: GraphqlContext,
  ): Promise<WriteRunsPayload> {
    assertSize(runs);
    context.holdBody?.();
    const ids = runs.map(({ id }) => id ?? this.#ids.uuid());
    const post = runs.map((run, index) => toWireRun(run, ids[index] ?? '', ['input', 'runs', index]));
    const { refused } = await this.#intake.ingestWire(
      requirePrincipal(context),
      { post, patch: [] },
      'graphql',
    );
    return toPayload(ids, refused);
  }

  @RequiresAccess('ingest')
  @Mutation(() => WriteRunsPayload, {
    description: 'Answered after the commit. May come before its createRuns.',
  })
  async updateRuns(
    @Arg('input', () => UpdateRunsInput) { runs }: UpdateRunsInput,
    @Ctx() context: GraphqlContext,
  ): Promise<WriteRunsPayload> {
    assertSize(runs);
    context.holdBody?.();
    const patch = runs.map((run, index) => toWireRun(run, run.id, ['input', 'runs', index]));
    const { refused } = await this.#intake.ingestWire(
      requirePrincipal(context),
      { post: [], patch },
      'graphql',
    );
    return toPayload(
      runs.map(({ id }) => id),
      refused,
    );
  }
}

function assertSize(runs: readonly unknown[]): void {
  const most = INTAKE_LIMITS.runsPerMutation;
  if (runs.length <= most) return;
  throw new AppError('BAD_USER_INPUT', `At most ${most} runs go in one call.`, {
    path: ['input', 'runs'],
  });
}

function toPayload(ids: readonly string[], refused: readonly Refusal[]): WriteRunsPayload {
  const results = ids.map((id, index) => {
    const problems = refused
      .filter((refusal) => refusal.id === id)
      .map(({ field, message }) =>
        problem('INVALID', message, [
          'runs',
          String(index),
          ...(field === undefined ? [] : field.split('.')),
        ]),
      );
    return { id, accepted: problems.length === 0, errors: toUserErrors(problems) };
  });
  return {
    results,
    acceptedCount: results.filter(({ accepted }) => accepted).length,
    errors: results.flatMap(({ errors }) => errors),
  };
}
