/** What workers do for experiments: plan, work lane by lane, look after what is open, tidy up. */
import type pg from 'pg';
import { transaction } from '../platform/db.js';
import type { Queryable } from '../platform/db.js';
import type { Doorbell } from '../platform/doorbell.js';
import { PermanentFailure } from '../platform/jobs/job.js';
import type { JobQueue } from '../platform/jobs/queue.js';
import type { JobClaim } from '../platform/jobs/runner.js';
import type { Clock } from '../platform/clock.js';
import { appendFeed, FEED_TOPIC } from '../live/feed.js';
import { trustedScope } from '../tenancy/principal.js';
import type { WorkspaceScope } from '../tenancy/principal.js';
import { findPlace } from './experiment-rows.sql.js';
import type { ExperimentRunner } from './experiment-runner.js';
import { START_LIMITS } from './experiment-start.js';
import { enqueueLanes, executeExperimentJob, planExperimentJob, slotsOf } from './experiment.jobs.js';
import { ExecutionStore } from './execution.store.js';
import type { ExecutionRecord } from './execution.store.js';
import { PlanStore } from './plan.store.js';
import { tidyExperiments, trimEvaluationCache } from './tidy.store.js';

export interface ExperimentWorkDeps {
  readonly pool: pg.Pool;
  readonly queue: JobQueue;
  readonly runner: ExperimentRunner;
  readonly doorbell: Doorbell;
  readonly clock: Clock;
  /** How long a lane works before others have their turn. Default 20 s. */
  readonly sliceMs?: number;
}

interface LaneJob {
  readonly workspaceId: string;
  readonly experimentId: string;
  readonly lane: number;
  readonly turn: number;
}

const SLICE_MS = 20_000;
const OPEN_BATCH = 1_000;
const TRIM_BATCH = 1_000;
const CACHE_DAYS = 90;
const DAY_MS = 86_400_000;

export class ExperimentWorkService {
  readonly #deps: ExperimentWorkDeps;
  readonly #executions = new ExecutionStore();
  readonly #plans = new PlanStore();

  constructor(deps: ExperimentWorkDeps) {
    this.#deps = deps;
  }

  /** Lays out the units in batches and hands over to the lanes. Safe to repeat from any point. */
  async plan(
    { workspaceId, experimentId }: Pick<LaneJob, 'workspaceId' | 'experimentId'>,
    claim: JobClaim,
    signal: AbortSignal,
  ): Promise<void> {
    const scope = trustedScope(workspaceId);
    const execution = await this.#executions.find(this.#deps.pool, scope, experimentId);
    if (execution?.state !== 'planning') return;
    const refusal = await this.#lay(scope, execution, claim, signal);
    await claim.finish(async (tx) => {
      const to = refusal === undefined ? 'running' : 'failed';
      const change = { from: ['planning'], to, ...(refusal !== undefined && { reason: refusal }) } as const;
      if (!(await this.#executions.move(tx, scope, experimentId, change))) return;
      if (refusal === undefined) await enqueueLanes(tx, this.#deps.queue, { ...execution, workspaceId });
      await appendFeed(tx, workspaceId, [experimentId], [['x', 0, experimentId, experimentId]]);
    });
    this.#announce();
  }

  /** Returns why it cannot be carried out. */
  async #lay(
    scope: WorkspaceScope,
    execution: ExecutionRecord,
    claim: JobClaim,
    signal: AbortSignal,
  ): Promise<string | undefined> {
    const { target } = execution;
    if (target.kind === 'runs') return this.#planRuns(scope, execution, claim);
    if (target.kind === 'pairs') return this.#planPairs(scope, execution, target.experimentIds, claim);
    return this.#planExamples(scope, execution, claim, signal);
  }

  async #planPairs(
    scope: WorkspaceScope,
    { experimentId, evaluatorVersionIds }: ExecutionRecord,
    [firstId, secondId]: readonly [string, string],
    claim: JobClaim,
  ): Promise<string | undefined> {
    return claim.transaction(async (tx) => {
      const first = await findPlace(tx, scope, firstId);
      const second = await findPlace(tx, scope, secondId);
      if (first === undefined || second === undefined) return 'One of the experiments is gone.';
      const pairs = await this.#plans.planPairs(tx, experimentId, first, second);
      await this.#plans.planResults(tx, scope, experimentId, evaluatorVersionIds);
      return pairs === 0 ? 'The experiments have no example and repetition in common.' : undefined;
    });
  }

  async #planExamples(
    scope: WorkspaceScope,
    execution: ExecutionRecord,
    claim: JobClaim,
    signal: AbortSignal,
  ): Promise<string | undefined> {
    const { repetitions, evaluatorVersionIds } = execution;
    const most = Math.min(
      START_LIMITS.rows / repetitions,
      START_LIMITS.evaluations / (repetitions * Math.max(evaluatorVersionIds.length, 1)),
    );
    let after: string | undefined;
    let laidOut = 0;
    for (;;) {
      signal.throwIfAborted();
      const examples = await claim.transaction(async (tx) => {
        const ids = await this.#plans.planExamples(tx, scope, { ...execution, after, laidOut });
        await this.#plans.planResults(tx, scope, execution.experimentId, evaluatorVersionIds, ids);
        return ids;
      });
      if (examples.length === 0) break;
      laidOut += examples.length;
      after = examples.at(-1);
      if (laidOut > most) {
        return `An experiment has at most ${START_LIMITS.rows} rows and ${START_LIMITS.evaluations} evaluations.`;
      }
    }
    return laidOut === 0 ? 'The dataset has no examples in this version and these splits.' : undefined;
  }

  async #planRuns(
    scope: WorkspaceScope,
    { experimentId, evaluatorVersionIds }: ExecutionRecord,
    claim: JobClaim,
  ): Promise<string | undefined> {
    return claim.transaction(async (tx) => {
      const place = await findPlace(tx, scope, experimentId);
      if (place === undefined) return 'The experiment is gone.';
      await this.#plans.planRuns(tx, place);
      await this.#plans.planResults(tx, scope, experimentId, evaluatorVersionIds);
      return undefined;
    });
  }

  /** Works for one slice and hands over. */
  async execute(job: LaneJob, claim: JobClaim, signal: AbortSignal): Promise<void> {
    const scope = trustedScope(job.workspaceId);
    const execution = await this.#executions.find(this.#deps.pool, scope, job.experimentId);
    if (execution === undefined) throw new PermanentFailure('The experiment is gone.');
    const slots = slotsOf(execution.concurrency, job.lane);
    if (execution.state !== 'running' || slots === 0) return;
    const end = await this.#deps.runner.runLane({
      scope,
      experimentId: job.experimentId,
      slots,
      sliceMs: this.#deps.sliceMs ?? SLICE_MS,
      signal,
    });
    if (end.kind === 'idle') return;
    // Its successor exists when this one is done, or this one is not done.
    await claim.finish(async (tx) => {
      const { workspaceId } = job;
      const runAt = new Date(this.#deps.clock.now().getTime() + end.afterMs);
      await this.#deps.queue.enqueue(
        tx,
        executeExperimentJob,
        { ...job, turn: 1 - job.turn },
        { workspaceId, actor: 'experiment', ...(end.afterMs > 0 && { runAt }) },
      );
    });
    this.#deps.queue.wake();
  }

  /**
   * Gives experiments that are open the jobs they should have: after a job failed for good because its process kept
   * dying, after a lane ended while another claim was still to run out. For a worker, outside of any workspace. Returns
   * how many jobs were made.
   */
  async sweep(signal: AbortSignal): Promise<number> {
    const { pool, queue } = this.#deps;
    let made = 0;
    for (const open of await this.#executions.listOpen(pool, OPEN_BATCH)) {
      if (signal.aborted) break;
      made += await transaction(pool, (tx) => this.#revive(tx, open));
    }
    if (made > 0) queue.wake();
    return made;
  }

  async #revive(
    tx: Queryable,
    open: Awaited<ReturnType<ExecutionStore['listOpen']>>[number],
  ): Promise<number> {
    const { workspaceId, experimentId, state } = open;
    if (state === 'running') return enqueueLanes(tx, this.#deps.queue, open);
    const payload = { workspaceId, experimentId };
    const { created } = await this.#deps.queue.enqueue(tx, planExperimentJob, payload, {
      workspaceId,
      actor: 'experiment',
    });
    return created ? 1 : 0;
  }

  /** Returns how many rows were removed. For a worker, outside of any workspace. */
  async tidy(signal: AbortSignal): Promise<number> {
    const { pool, clock } = this.#deps;
    const before = new Date(clock.now().getTime() - CACHE_DAYS * DAY_MS);
    let removed = 0;
    for (const remove of [
      () => tidyExperiments(pool, TRIM_BATCH),
      () => trimEvaluationCache(pool, before, TRIM_BATCH),
    ]) {
      for (let count = TRIM_BATCH; count >= TRIM_BATCH && !signal.aborted; removed += count) {
        count = await remove();
      }
    }
    return removed;
  }

  #announce(): void {
    this.#deps.queue.wake();
    this.#deps.doorbell.ring(FEED_TOPIC);
  }
}
