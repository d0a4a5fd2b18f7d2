/**
 * Starting and steering comparative experiments that workers judge: the outputs of two experiments, pair by pair. They
 * are carried out as experiments are, by the same units, claims and lanes, under the comparative experiment's id.
 */
import type pg from 'pg';
import type { EvaluatorRef, EvaluatorService } from '../evaluators/evaluator.service.js';
import type { ModelProviderService } from '../models/model-provider.service.js';
import type { Clock } from '../platform/clock.js';
import { transaction } from '../platform/db.js';
import type { Idempotency } from '../platform/idempotency.js';
import type { Ids } from '../platform/ids.js';
import type { JobQueue } from '../platform/jobs/queue.js';
import { failed, ok, problem } from '../platform/result.js';
import type { Problem, Result } from '../platform/result.js';
import { requireScope } from '../tenancy/principal.js';
import type { Principal } from '../tenancy/principal.js';
import { ComparativeStore } from './comparative.store.js';
import type { JudgedComparison, PairVerdict } from './comparative.store.js';
import { ExecutionStore } from './execution.store.js';
import { findPlace } from './experiment-rows.sql.js';
import { START_LIMITS } from './experiment-start.js';
import { enqueueLanes, planExperimentJob } from './experiment.jobs.js';
import type { Experiment } from './experiment.js';
import type { ExperimentService } from './experiment.service.js';
import { targetHash } from './target.js';
import type { Target } from './target.js';
import { unpricedProblem } from './unpriced.js';

export interface PairComparisonDraft {
  readonly firstId: string;
  readonly secondId: string;
  readonly evaluator: EvaluatorRef;
  readonly name?: string | null | undefined;
  readonly description?: string | null | undefined;
  readonly concurrency?: number | null | undefined;
  readonly maxAttempts?: number | null | undefined;
  /** US dollars, decimal text. */
  readonly spendCap?: string | null | undefined;
}

export interface ComparativeControlDeps {
  readonly pool: pg.Pool;
  readonly queue: JobQueue;
  readonly experiments: Pick<ExperimentService, 'find'>;
  readonly evaluators: Pick<EvaluatorService, 'resolve' | 'findVersionsOf'>;
  readonly providers: Pick<ModelProviderService, 'find'>;
  readonly idempotency: Idempotency;
  readonly clock: Clock;
  readonly ids: Ids;
}

const DEFAULTS = { concurrency: 8, maxAttempts: 3 } as const;
const MAX_NAME_LENGTH = 500;
const MAX_DESCRIPTION_LENGTH = 20_000;

export class ComparativeControlService {
  readonly #deps: ComparativeControlDeps;
  readonly #executions = new ExecutionStore();

  constructor(deps: ComparativeControlDeps) {
    this.#deps = deps;
  }

  /** Undefined for what is none, or is judged by others than workers. */
  async find(principal: Principal, id: string): Promise<JudgedComparison | undefined> {
    const scope = requireScope(principal, 'read');
    return (await new ComparativeStore({ db: this.#deps.pool }).findJudged(scope, [id]))[0];
  }

  async verdictsOf(principal: Principal, id: string): Promise<PairVerdict[]> {
    return new ComparativeStore({ db: this.#deps.pool }).verdicts(requireScope(principal, 'read'), id);
  }

  /** The pairs are laid out and judged by workers. */
  async start(
    principal: Principal,
    draft: PairComparisonDraft,
    idempotencyKey?: string | null,
  ): Promise<Result<JudgedComparison>> {
    const scope = requireScope(principal, 'write');
    const problems = draftProblems(draft);
    if (problems.length > 0) return failed(...problems);
    const { pool, evaluators, providers, idempotency, ids, clock, queue } = this.#deps;
    const { firstId, secondId, spendCap = null } = draft;
    const sides = await this.#sidesOf(principal, firstId, secondId);
    if (!sides.ok) return sides;
    const versions = await evaluators.resolve(principal, [draft.evaluator]);
    if (!versions.ok) return failed(...versions.problems.map((each) => ({ ...each, path: ['evaluator'] })));
    const [version] = versions.value;
    if (version?.kind !== 'pairwise') {
      return failed(
        problem('NOT_ALLOWED', 'Only evaluators of kind PAIRWISE compare two outputs.', ['evaluator']),
      );
    }
    const target: Target = { kind: 'pairs', experimentIds: [firstId, secondId] };
    if (spendCap !== null) {
      const unpriced = await unpricedProblem(providers, principal, target, [version]);
      if (unpriced !== undefined) return failed(unpriced);
    }
    // Examples are shown to the judge as the first experiment saw them.
    const place = await findPlace(pool, scope, firstId);
    if (place === undefined) return failed(missing('first'));
    const call = { mutation: 'startComparison', key: idempotencyKey, input: draft };
    const result = await idempotency.once(principal, call, async (tx): Promise<Result<JudgedComparison>> => {
      const store = new ComparativeStore({ db: tx });
      const uuid = ids.uuid();
      const now = clock.now();
      const { datasetId, datasetVersion } = place;
      const { name = null, description = null } = draft;
      const experimentIds = [firstId, secondId];
      await store.insert(
        scope,
        { uuid, name, description, datasetId, experimentIds, extra: {} },
        now.toISOString(),
      );
      const actor = principal.userId ?? principal.keyId;
      await this.#executions.insert(
        tx,
        scope,
        {
          experimentId: uuid,
          datasetId,
          datasetVersion,
          splits: [],
          target,
          targetHash: targetHash(target),
          evaluatorVersionIds: [version.uuid],
          repetitions: START_LIMITS.repetitions,
          concurrency: draft.concurrency ?? DEFAULTS.concurrency,
          maxAttempts: draft.maxAttempts ?? DEFAULTS.maxAttempts,
          deadlineMs: START_LIMITS.maxDeadlineMs,
          seed: '0',
          useCache: false,
          spendCap,
          actor,
        },
        now,
      );
      const { workspaceId } = scope;
      await queue.enqueue(tx, planExperimentJob, { workspaceId, experimentId: uuid }, { workspaceId, actor });
      const [made] = await store.findJudged(scope, [uuid]);
      return made === undefined ? failed(missing('id')) : ok(made);
    });
    if (result.ok) queue.wake();
    return result;
  }

  /** What was judged by then stays. */
  async cancel(principal: Principal, id: string): Promise<Result<JudgedComparison>> {
    return this.#steer(principal, id, async (tx, scope) => {
      const change = {
        from: ['planning', 'running', 'paused'],
        to: 'cancelled',
        reason: 'Cancelled by a caller.',
      } as const;
      return (await this.#executions.move(tx, scope, id, change)) ? undefined : hasEnded();
    });
  }

  /** After its spend cap paused it. @param spendCap null takes the cap away, absent leaves it. */
  async resume(
    principal: Principal,
    id: string,
    spendCap?: string | null,
  ): Promise<Result<JudgedComparison>> {
    if (typeof spendCap === 'string' && !(Number(spendCap) > 0)) {
      return failed(problem('INVALID', 'A spend cap is above zero.', ['spendCap']));
    }
    const { pool, queue, evaluators, providers } = this.#deps;
    const record = await this.#executions.find(pool, requireScope(principal, 'write'), id);
    if (record?.target.kind !== 'pairs') return failed(missing('id'));
    const versions = await evaluators.findVersionsOf(principal, record.evaluatorVersionIds);
    const unpriced = await unpricedProblem(providers, principal, record.target, versions);
    return this.#steer(principal, id, async (tx, scope) => {
      if (spendCap !== undefined) await this.#executions.setSpendCap(tx, scope, id, spendCap);
      const { isCapped, reached, hasUnknownCost } = await this.#executions.budget(tx, scope, id);
      if (isCapped && (reached || hasUnknownCost)) {
        const message = 'Its spend cap is reached, or cannot be kept: raise it, or take it away.';
        return problem('NOT_ALLOWED', message, ['spendCap']);
      }
      if (isCapped && unpriced !== undefined) return unpriced;
      if (!(await this.#executions.move(tx, scope, id, { from: ['paused'], to: 'running' }))) {
        return problem('CONFLICT', 'The comparison is not paused.', ['id']);
      }
      await enqueueLanes(tx, queue, { ...record, workspaceId: scope.workspaceId });
      return undefined;
    });
  }

  async #steer(
    principal: Principal,
    id: string,
    change: (tx: pg.PoolClient, scope: ReturnType<typeof requireScope>) => Promise<Problem | undefined>,
  ): Promise<Result<JudgedComparison>> {
    const scope = requireScope(principal, 'write');
    try {
      const changed = await transaction(this.#deps.pool, async (tx) => {
        const store = new ComparativeStore({ db: tx });
        const [known] = await store.findJudged(scope, [id]);
        if (known === undefined) throw new Refused(missing('id'));
        await this.#executions.lock(tx, scope, id);
        const refusal = await change(tx, scope);
        if (refusal !== undefined) throw new Refused(refusal);
        return (await store.findJudged(scope, [id]))[0] ?? known;
      });
      this.#deps.queue.wake();
      return ok(changed);
    } catch (error) {
      if (error instanceof Refused) return failed(error.problem);
      throw error;
    }
  }

  async #sidesOf(principal: Principal, firstId: string, secondId: string): Promise<Result<Experiment[]>> {
    const found = await this.#deps.experiments.find(principal, [firstId, secondId]);
    const first = found.find(({ uuid }) => uuid === firstId);
    const second = found.find(({ uuid }) => uuid === secondId);
    if (first === undefined || second === undefined) return failed(missing(first ? 'second' : 'first'));
    if (firstId === secondId) {
      return failed(problem('INVALID', 'An experiment cannot be compared with itself.', ['second']));
    }
    if (first.datasetId !== second.datasetId) {
      return failed(problem('INVALID', 'The experiments are about different datasets.', ['second']));
    }
    const open = [first, second].find(({ state }) => state !== null && OPEN.has(state));
    return open === undefined
      ? ok([first, second])
      : failed(problem('CONFLICT', `The experiment "${open.name}" has not finished.`, [], true));
  }
}

const OPEN: ReadonlySet<string> = new Set(['planning', 'running', 'paused']);

/** Rolls the transaction back. */
class Refused extends Error {
  constructor(readonly problem: Problem) {
    super(problem.message);
  }
}

const missing = (field: string): Problem =>
  problem('NOT_FOUND', `There is no such ${field === 'id' ? 'comparison' : 'experiment'}.`, [field]);
const hasEnded = (): Problem => problem('CONFLICT', 'The comparison has ended.', ['id']);

function draftProblems({
  name,
  description,
  concurrency,
  maxAttempts,
  spendCap,
}: PairComparisonDraft): Problem[] {
  const problems: Problem[] = [];
  if ((name?.length ?? 0) > MAX_NAME_LENGTH || (description?.length ?? 0) > MAX_DESCRIPTION_LENGTH) {
    problems.push(problem('INVALID', 'name or description is too long.', ['name']));
  }
  for (const [field, value, most] of [
    ['concurrency', concurrency, START_LIMITS.concurrency],
    ['maxAttempts', maxAttempts, START_LIMITS.maxAttempts],
  ] as const) {
    if (typeof value === 'number' && (value < 1 || value > most)) {
      problems.push(problem('INVALID', `${field} is 1 to ${most}.`, [field]));
    }
  }
  if (typeof spendCap === 'string' && !(Number(spendCap) > 0)) {
    problems.push(problem('INVALID', 'A spend cap is above zero.', ['spendCap']));
  }
  return problems;
}
