/** Comparisons that a judge makes pair by pair: starting, steering and reading them. */
import { Arg, Ctx, FieldResolver, ID, Mutation, Query, Resolver, Root } from 'type-graphql';
import type { ComparativeControlService } from '../experiments/comparative-control.service.js';
import type { JudgedComparison } from '../experiments/comparative.store.js';
import { EXPERIMENT_NODE } from '../experiments/experiment.types.js';
import { RequiresAccess } from '../graphql/access.js';
import { requirePrincipal } from '../graphql/context.js';
import type { GraphqlContext } from '../graphql/context.js';
import { parseId } from '../graphql/global-id.js';
import { toUserErrors } from '../graphql/user-error.js';
import { AppError } from '../platform/errors.js';
import type { Result } from '../platform/result.js';
import type { ComparisonService } from './comparison.service.js';
import {
  ComparisonIdInput,
  PairComparisonPayload,
  PairComparisonType,
  ResumeComparisonInput,
  StartComparisonInput,
  WinRateType,
} from './pair-comparison.types.js';

const NODE = 'PairComparison';
/** As much as reading the verdicts of some thousand pairs and resampling them costs. */
const WIN_RATE_COMPLEXITY = 200;

@Resolver(() => PairComparisonType)
export class PairComparisonResolver {
  readonly #control: ComparativeControlService;
  readonly #comparisons: ComparisonService;

  constructor(deps: {
    readonly control: ComparativeControlService;
    readonly comparisons: ComparisonService;
  }) {
    this.#control = deps.control;
    this.#comparisons = deps.comparisons;
  }

  @RequiresAccess('read')
  @Query(() => PairComparisonType, { nullable: true })
  pairComparison(
    @Arg('id', () => ID) id: string,
    @Ctx() context: GraphqlContext,
  ): Promise<JudgedComparison | undefined> {
    return this.#control.find(requirePrincipal(context), parseId(NODE, id));
  }

  @FieldResolver(() => WinRateType, { complexity: WIN_RATE_COMPLEXITY })
  async winRate(@Root() { uuid }: JudgedComparison, @Ctx() context: GraphqlContext): Promise<WinRateType> {
    const verdicts = await this.#control.verdictsOf(requirePrincipal(context), uuid);
    const { examples, mean, interval } = await this.#comparisons.winRate(uuid, verdicts, context.signal);
    const times = (wanted: string): number =>
      verdicts.filter(({ preference }) => preference === wanted).length;
    const sum = (key: 'questions' | 'firstPlace' | 'secondPlace'): number =>
      verdicts.reduce((total, verdict) => total + verdict[key], 0);
    return {
      examples,
      rate: mean,
      interval,
      wins: times('1'),
      losses: times('0'),
      ties: times('tie'),
      positionBias: {
        pairs: sum('questions'),
        firstPlace: sum('firstPlace'),
        secondPlace: sum('secondPlace'),
      },
    };
  }

  @RequiresAccess('write')
  @Mutation(() => PairComparisonPayload, {
    description: 'Workers show every pair to the judge, twice with the places swapped.',
  })
  async startComparison(
    @Arg('input', () => StartComparisonInput) input: StartComparisonInput,
    @Ctx() context: GraphqlContext,
  ): Promise<PairComparisonPayload> {
    const { idempotencyKey, first, second, evaluator, ...settings } = input;
    const draft = {
      ...settings,
      firstId: parseId(EXPERIMENT_NODE, first, ['input', 'first']),
      secondId: parseId(EXPERIMENT_NODE, second, ['input', 'second']),
      evaluator: toRef(evaluator),
    };
    return toPayload(await this.#control.start(requirePrincipal(context), draft, idempotencyKey));
  }

  @RequiresAccess('write')
  @Mutation(() => PairComparisonPayload, { description: 'What was judged by then stays.' })
  async cancelComparison(
    @Arg('input', () => ComparisonIdInput) { id }: ComparisonIdInput,
    @Ctx() context: GraphqlContext,
  ): Promise<PairComparisonPayload> {
    const uuid = parseId(NODE, id, ['input', 'id']);
    return toPayload(await this.#control.cancel(requirePrincipal(context), uuid));
  }

  @RequiresAccess('write')
  @Mutation(() => PairComparisonPayload, { description: 'After a spend cap paused it.' })
  async resumeComparison(
    @Arg('input', () => ResumeComparisonInput) { id, spendCap }: ResumeComparisonInput,
    @Ctx() context: GraphqlContext,
  ): Promise<PairComparisonPayload> {
    const uuid = parseId(NODE, id, ['input', 'id']);
    return toPayload(await this.#control.resume(requirePrincipal(context), uuid, spendCap));
  }
}

function toRef({ id, name, version }: StartComparisonInput['evaluator']) {
  const at = typeof version === 'number' ? { version } : {};
  if (typeof id === 'string') return { id: parseId('Evaluator', id, ['input', 'evaluator', 'id']), ...at };
  if (typeof name === 'string') return { name, ...at };
  throw new AppError('BAD_USER_INPUT', 'Give "id" or "name".', { path: ['input', 'evaluator'] });
}

const toPayload = (result: Result<JudgedComparison>): PairComparisonPayload =>
  result.ok
    ? { comparison: result.value, errors: [] }
    : { comparison: null, errors: toUserErrors(result.problems) };
