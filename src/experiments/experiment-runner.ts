/**
 * One lane of an experiment: claims units, works on a bounded number of them at once, writes down what came of them.
 * Any number of lanes in any number of processes share an experiment; a unit belongs to the lane that claimed it for as
 * long as the claim is renewed. A lane works for a while and then hands over, so that experiments take turns.
 */
import type { FeedbackService } from '../feedback/feedback.service.js';
import type {
  EvaluationContext,
  EvaluationOutcome,
  EvaluationSubject,
  EvaluatorRuntime,
  EvaluatorVersion,
  FailedEvaluation,
  PairOutcome,
} from '../evaluators/evaluation.js';
import { dottedSegment } from '../ingest/dotted-order.js';
import type { RunSink } from '../ingest/intake.js';
import { payloadFromText } from '../ingest/payload.js';
import type { JsonObject, RunEvent } from '../ingest/run-event.js';
import type { Example } from '../datasets/dataset.js';
import type { PlannedCall } from '../models/model-call.js';
import type { ModelProviderService } from '../models/model-provider.service.js';
import type { Clock } from '../platform/clock.js';
import { isTransient, transaction } from '../platform/db.js';
import type { Doorbell } from '../platform/doorbell.js';
import { uuidTimeMs } from '../platform/ids.js';
import { startLoop } from '../platform/jobs/loop.js';
import type { Logger } from '../platform/log.js';
import { appendFeed, FEED_TOPIC } from '../live/feed.js';
import { JUDGE_PROJECT, ORIGIN_KEY } from '../runs/run-origin.js';
import type { WorkspaceScope } from '../tenancy/principal.js';
import type pg from 'pg';
import { evaluationKey, outputKey } from './evaluation-cache.js';
import type { CachedEvaluation, CachedOutput } from './evaluation-cache.js';
import { ExecutionStore } from './execution.store.js';
import type { Budget, ExecutionRecord } from './execution.store.js';
import { SubjectStore } from './subject.store.js';
import type { TargetAnswer, TargetCaller } from './target-caller.js';
import { isReusableTarget } from './target.js';
import { UnitCommits } from './unit-commits.js';
import { LEASE_SECONDS, UnitStore } from './unit.store.js';
import type { Claimable } from './unit.store.js';
import { backoffMs, evaluationId, feedbackId, rowCallId, seedOf } from './unit.js';
import type { ClaimedResult, ClaimedRow, ResultOutcome, RowOutcome, ScoreFeedback } from './unit.js';

export interface ExperimentRunnerDeps {
  readonly pool: pg.Pool;
  readonly evaluators: EvaluatorRuntime;
  readonly versions: EvaluatorVersions;
  readonly providers: Pick<ModelProviderService, 'endpoints'>;
  readonly targets: TargetCaller;
  readonly feedback: Pick<FeedbackService, 'createWithin'>;
  readonly runs: RunSink;
  readonly doorbell: Doorbell;
  readonly clock: Clock;
  readonly log: Logger;
}

export interface EvaluatorVersions {
  /** In no particular order; missing ones are left out. */
  findVersions(scope: WorkspaceScope, ids: readonly string[]): Promise<EvaluatorVersion[]>;
}

export interface LaneOptions {
  readonly scope: WorkspaceScope;
  readonly experimentId: string;
  /** Units that are worked on at once. */
  readonly slots: number;
  /** After this long nothing further is claimed. */
  readonly sliceMs: number;
  readonly signal: AbortSignal;
}

/** idle: there is nothing for this lane any more. more: go on, not before `afterMs`. */
export type LaneEnd = { readonly kind: 'idle' } | { readonly kind: 'more'; readonly afterMs: number };

/** The project judges' runs are written to: where the SDKs have theirs. */
/** Claims that may be lost before a unit is given up: it is likely what kills workers. */
const MAX_LOSSES = 5;
const RENEW_MS = (LEASE_SECONDS * 1_000) / 3;
/** How long a free slot waits for others. */
const LINGER_MS = 20;
const LOOK_FOR_LOST_MS = 1_000;
/** Between two looks at whether something can be claimed. */
const LOOK_MS = 500;

class Called extends Error {}

export class ExperimentRunner {
  readonly #deps: ExperimentRunnerDeps;
  /** Units that lanes give back because they were called off. */
  readonly #releases = new Set<Promise<void>>();

  constructor(deps: ExperimentRunnerDeps) {
    this.#deps = deps;
  }

  /** Rejects with the signal's reason when it is called off; what was claimed is given back first. */
  async runLane(options: LaneOptions): Promise<LaneEnd> {
    const { pool } = this.#deps;
    const execution = await new ExecutionStore().find(pool, options.scope, options.experimentId);
    if (execution?.state !== 'running') return { kind: 'idle' };
    const versions = await this.#deps.versions.findVersions(options.scope, execution.evaluatorVersionIds);
    const { target } = execution;
    const endpoints = await this.#deps.providers.endpoints(options.scope, [
      ...(target.kind === 'model' ? [target.providerId.toLowerCase()] : []),
      ...versions.flatMap((version) => judgeProviderOf(version) ?? []),
    ]);
    return new Lane(this.#deps, options, { execution, versions, endpoints }, this.#releases).run();
  }

  /** Lanes that were called off are left behind by their jobs; this waits until they have given back what they held. */
  async settle(): Promise<void> {
    await Promise.all(this.#releases);
  }
}

interface LaneWork {
  readonly execution: ExecutionRecord;
  readonly versions: readonly EvaluatorVersion[];
  readonly endpoints: ReadonlyMap<string, string>;
}

interface Active {
  readonly kind: 'row' | 'result';
  readonly unit: ClaimedRow | ClaimedResult;
  readonly abort: AbortController;
}

class Lane {
  readonly #deps: ExperimentRunnerDeps;
  readonly #options: LaneOptions;
  readonly #execution: ExecutionRecord;
  readonly #versions: ReadonlyMap<string, EvaluatorVersion>;
  /** By provider; what was answered elsewhere before is not used again. */
  readonly #endpoints: ReadonlyMap<string, string>;
  readonly #units = new UnitStore();
  readonly #executions = new ExecutionStore();
  readonly #subjects: SubjectStore;
  readonly #commits: UnitCommits;
  readonly #active = new Set<Active>();
  readonly #releases: Set<Promise<void>>;
  #wake: () => void = () => undefined;
  /** When the first of the slots that are free now became so. */
  #freeSince = 0;
  #lookForLostAt = 0;
  #budgetAt = Number.NEGATIVE_INFINITY;
  #budget: Promise<Budget> = Promise.resolve({ isCapped: false, reached: false, hasUnknownCost: false });
  /** A fault that ends the lane, such as a database that went away. */
  #fault: unknown;

  constructor(
    deps: ExperimentRunnerDeps,
    options: LaneOptions,
    { execution, versions, endpoints }: LaneWork,
    releases: Set<Promise<void>>,
  ) {
    this.#releases = releases;
    this.#deps = deps;
    this.#options = options;
    this.#execution = execution;
    this.#versions = new Map(versions.map((version) => [version.uuid, version]));
    this.#endpoints = endpoints;
    this.#subjects = new SubjectStore({ db: deps.pool });
    this.#commits = new UnitCommits(
      { ...deps, units: this.#units, executions: this.#executions },
      options.scope,
      options.experimentId,
    );
  }

  async run(): Promise<LaneEnd> {
    const { signal } = this.#options;
    const onAbort = (): void => {
      // At once: what is being called may take longer to end than the process has left.
      for (const active of this.#active) {
        active.abort.abort(signal.reason);
        const release = this.#release(active).finally(() => this.#releases.delete(release));
        this.#releases.add(release);
      }
      this.#wake();
    };
    signal.addEventListener('abort', onAbort, { once: true });
    const renewal = startLoop({
      name: 'experiment leases',
      everyMs: RENEW_MS,
      work: () => this.#renew().then(() => false),
      log: this.#deps.log,
    });
    try {
      return await this.#work();
    } finally {
      // Whatever ended it: nothing is left running unwatched, and every claim is given back or was finished.
      for (const { abort } of this.#active) {
        if (!abort.signal.aborted) abort.abort(new Called('The lane ends.'));
      }
      while (this.#active.size > 0) await this.#untilWoken(LOOK_MS);
      signal.removeEventListener('abort', onAbort);
      await renewal.stop();
    }
  }

  async #work(): Promise<LaneEnd> {
    const { signal, slots, sliceMs } = this.#options;
    const endAt = performance.now() + sliceMs;
    for (;;) {
      signal.throwIfAborted();
      if (this.#fault !== undefined) throw this.#fault;
      const over = performance.now() >= endAt;
      const free = slots - this.#active.size;
      if (!over && free > 0) {
        // What ends within a moment is made up for with one claim.
        const lingerMs = free < slots / 2 ? this.#freeSince + LINGER_MS - performance.now() : 0;
        if (lingerMs > 0) {
          await this.#untilWoken(lingerMs);
          continue;
        }
        const claimed = await this.#claim(free);
        // Units may have ended while these were claimed.
        this.#freeSince = this.#active.size < slots ? performance.now() : Number.POSITIVE_INFINITY;
        if (claimed > 0) continue;
      }
      if (this.#active.size > 0) {
        await this.#untilWoken(LOOK_MS);
        continue;
      }
      if (over) return { kind: 'more', afterMs: 0 };
      const { pool } = this.#deps;
      const { scope, experimentId } = this.#options;
      const next = await this.#units.findNext(pool, scope, experimentId);
      if (!next.open) {
        await this.#complete();
        return { kind: 'idle' };
      }
      const execution = await this.#executions.find(pool, scope, experimentId);
      if (execution?.state !== 'running') return { kind: 'idle' };
      // What others hold, or what waits for its time: near enough to wait for, or worth coming back for.
      if (performance.now() + next.dueInMs > endAt) return { kind: 'more', afterMs: next.dueInMs };
      await this.#untilWoken(Math.min(Math.max(next.dueInMs, 20), LOOK_MS));
    }
  }

  /** What waits before what was lost: that may be what kills workers. */
  async #claim(free: number): Promise<number> {
    const claimed = await this.#claimSome('waiting', free);
    const now = performance.now();
    if (claimed === free || now < this.#lookForLostAt) return claimed;
    this.#lookForLostAt = now + LOOK_FOR_LOST_MS;
    return claimed + (await this.#claimSome('lost', free - claimed));
  }

  /** Evaluations before further targets: a row that is finished is worth more than two that are begun. */
  async #claimSome(which: Claimable, limit: number): Promise<number> {
    const { pool } = this.#deps;
    const { scope, experimentId } = this.#options;
    const results = await this.#units.claimResults(pool, scope, experimentId, which, limit);
    if (results.length > 0) this.#startResults(results);
    const left = limit - results.length;
    const rows = left === 0 ? [] : await this.#units.claimRows(pool, scope, experimentId, which, left);
    if (rows.length > 0) this.#startRows(rows);
    return results.length + rows.length;
  }

  #startRows(rows: readonly ClaimedRow[]): void {
    const loaded = this.#loadRows(rows);
    loaded.catch(() => undefined);
    rows.forEach((unit, index) => {
      this.#start('row', unit, async (signal) => {
        const prepared = (await loaded)[index];
        const outcome = await this.#rowOutcome(unit, prepared, signal);
        await this.#commits.add({ kind: 'row', unit, outcome });
      });
    });
  }

  #startResults(results: readonly ClaimedResult[]): void {
    const loaded = this.#loadResults(results);
    loaded.catch(() => undefined);
    results.forEach((unit, index) => {
      this.#start('result', unit, async (signal) => {
        const prepared = (await loaded)[index];
        const outcome = await this.#resultOutcome(unit, prepared, signal);
        await this.#commits.add({ kind: 'result', unit, outcome });
      });
    });
  }

  /** Runs the work of one unit; what it rejects with gives the unit back, and a fault of ours ends the lane. */
  #start(kind: Active['kind'], unit: Active['unit'], work: (signal: AbortSignal) => Promise<void>): void {
    const active: Active = { kind, unit, abort: new AbortController() };
    if (this.#options.signal.aborted) active.abort.abort(this.#options.signal.reason);
    this.#active.add(active);
    void work(active.abort.signal)
      .catch((error: unknown) => this.#giveBack(active, error))
      .finally(() => {
        this.#active.delete(active);
        this.#freeSince = Math.min(this.#freeSince, performance.now());
        this.#wake();
      });
  }

  async #giveBack({ kind, unit, abort }: Active, error: unknown): Promise<void> {
    // In other hands, or given back already.
    if (abort.signal.reason instanceof ClaimLost || this.#options.signal.aborted) return;
    const calledOff = abort.signal.aborted;
    if (!calledOff) {
      this.#deps.log.warn({ err: error, experimentId: this.#options.experimentId }, 'a unit was given back');
      if (isTransient(error)) this.#fault ??= error;
    }
    const outcome =
      calledOff || isTransient(error)
        ? ({ kind: 'back', delayMs: 0, cost: null } as const)
        : this.#unsuccessful(unit, 'INTERNAL', 'An unexpected error; the log has it.', true, undefined, null);
    await this.#add(kind, unit, outcome).catch((reason: unknown) => {
      // The claim runs out by itself.
      this.#fault ??= reason;
    });
  }

  /** As if it had never been claimed. Its claim no longer holds then, whatever its work still brings. */
  async #release({ kind, unit }: Active): Promise<void> {
    await this.#add(kind, unit, { kind: 'back', delayMs: 0, cost: null }).catch((error: unknown) => {
      this.#deps.log.warn({ err: error }, 'a unit was not given back; its claim runs out');
    });
  }

  #add(
    kind: Active['kind'],
    unit: Active['unit'],
    outcome: Extract<RowOutcome, { kind: 'failed' | 'again' | 'back' }>,
  ): Promise<void> {
    return kind === 'row'
      ? this.#commits.add({ kind, unit, outcome })
      : this.#commits.add({ kind, unit: unit as ClaimedResult, outcome });
  }

  // ── Rows ─────────────────────────────────────────────────────────────────────────────────────────────────

  async #loadRows(rows: readonly ClaimedRow[]): Promise<PreparedRow[]> {
    const { scope } = this.#options;
    const examples = await this.#subjects.findExamples(
      scope,
      this.#execution,
      rows.map(({ exampleId }) => exampleId),
    );
    const { useCache, target, targetHash, seed } = this.#execution;
    const endpoint =
      target.kind === 'model' ? this.#endpoints.get(target.providerId.toLowerCase()) : undefined;
    const reusable = useCache && isReusableTarget(target);
    const prepared = rows.map(({ exampleId, repetition }) => {
      const example = examples.get(exampleId);
      return {
        example,
        key:
          example && reusable
            ? outputKey({ exampleHash: example.contentHash, targetHash, endpoint, seed, repetition })
            : undefined,
      };
    });
    const keys = prepared.flatMap(({ key }) => key ?? []);
    const cached = await this.#units.findCached(this.#deps.pool, scope, keys);
    return prepared.map(({ example, key }) => ({
      example,
      key,
      cached: key && cached.get(key.toString('hex')),
    }));
  }

  async #rowOutcome(
    unit: ClaimedRow,
    prepared: PreparedRow | undefined,
    signal: AbortSignal,
  ): Promise<RowOutcome> {
    const { example, key, cached } = prepared ?? {};
    if (unit.losses >= MAX_LOSSES) return this.#givenUp(unit);
    if (example === undefined) {
      return this.#unsuccessful(
        unit,
        'EXAMPLE_GONE',
        'The example was deleted for good.',
        false,
        undefined,
        null,
      );
    }
    if (cached !== undefined) {
      const { outputs } = JSON.parse(cached.value) as CachedOutput;
      const nowUs = this.#deps.clock.now().getTime() * 1_000;
      await this.#writeRun(unit, example, {
        startUs: nowUs,
        endUs: nowUs,
        outputs,
        metadata: { cached_from: cached.runId },
      });
      return { kind: 'done', cachedFrom: cached.runId, cost: null, cache: undefined };
    }
    const answer = await this.#callTarget(unit, example, signal);
    if (answer.kind === 'failed') return this.#targetFailed(unit, example, answer);
    const times = await this.#timesOf(answer);
    const outputs = JSON.stringify(answer.outputs);
    const refusal = await this.#writeRun(unit, example, { ...times, outputs, metadata: {} });
    if (refusal !== undefined) {
      return this.#unsuccessful(unit, 'NOT_STORABLE', refusal, false, undefined, answer.cost);
    }
    return {
      kind: 'done',
      cachedFrom: null,
      cost: answer.cost,
      cache: key && {
        key,
        kind: 'target',
        runId: unit.runId,
        value: JSON.stringify({ kind: 'target', outputs } satisfies CachedOutput),
      },
    };
  }

  #callTarget(unit: ClaimedRow, example: Example, signal: AbortSignal): Promise<TargetAnswer> {
    const { target, projectName, deadlineMs, experimentId } = this.#execution;
    if (target.kind !== 'model' && target.kind !== 'http') {
      throw new Error('Rows of runs that are there have no target.');
    }
    return this.#deps.targets.call(target, {
      workspaceId: this.#options.scope.workspaceId,
      experimentId,
      projectName,
      callId: rowCallId(experimentId, unit),
      example,
      run: { runId: unit.runId, traceId: unit.runId, dottedOrder: placeOf(unit.runId) },
      deadlineMs,
      signal,
      maySpend: (planned) => this.#maySpend(planned),
    });
  }

  async #targetFailed(
    unit: ClaimedRow,
    example: Example,
    answer: Extract<TargetAnswer, { kind: 'failed' }>,
  ): Promise<RowOutcome> {
    const { error, retryable, retryAfterMs, cost } = answer;
    if (error.code === 'SPEND_CAP') return { kind: 'back', delayMs: 0, cost };
    const outcome = this.#unsuccessful(unit, error.code, error.message, retryable, retryAfterMs, cost);
    // An error can never be taken out of a run again, so it is written when it is final.
    if (outcome.kind === 'failed') {
      const nowUs = this.#deps.clock.now().getTime() * 1_000;
      const text = `${error.code}: ${error.message}`;
      const times = { startUs: answer.startUs ?? nowUs, endUs: answer.endUs ?? nowUs };
      await this.#writeRun(unit, example, { ...times, error: text, metadata: {} });
    }
    return outcome;
  }

  /** An answer that was known before brings no times: those of the model's own run are taken. */
  async #timesOf({ startUs, endUs, modelRunId }: TargetAnswer): Promise<{ startUs: number; endUs: number }> {
    if (startUs !== null && endUs !== null) return { startUs, endUs };
    const nowUs = this.#deps.clock.now().getTime() * 1_000;
    const known =
      modelRunId === null ? undefined : await this.#subjects.findTimes(this.#options.scope, modelRunId);
    return known ?? { startUs: nowUs, endUs: nowUs };
  }

  /** The row's run, whole, once. Returns why it was refused. */
  async #writeRun(
    { runId, repetition, exampleId }: ClaimedRow,
    example: Example,
    run: {
      readonly startUs: number;
      readonly endUs: number;
      readonly outputs?: string;
      readonly error?: string;
      readonly metadata: JsonObject;
    },
  ): Promise<string | undefined> {
    const { experimentId, datasetVersion, target } = this.#execution;
    const event: RunEvent = {
      kind: 'create',
      workspaceId: this.#options.scope.workspaceId,
      id: runId,
      traceId: runId,
      dottedOrder: placeOf(runId),
      project: { id: experimentId },
      name: target.kind === 'model' ? target.model.slice(0, 200) : 'target',
      runType: 'chain',
      startUs: run.startUs,
      endUs: Math.max(run.startUs, run.endUs),
      inputs: payloadFromText(example.inputs).payload,
      ...(run.outputs !== undefined && { outputs: payloadFromText(run.outputs).payload }),
      ...(run.error !== undefined && { error: run.error.replaceAll('\u0000', '').toWellFormed() }),
      referenceExampleId: exampleId,
      metadata: {
        [ORIGIN_KEY]: 'target',
        repetition,
        dataset_version: datasetVersion,
        ...run.metadata,
      },
    };
    const [refusal] = await this.#deps.runs.write([event]);
    return refusal?.message;
  }

  // ── Evaluations ──────────────────────────────────────────────────────────────────────────────────────────

  async #loadPairs(results: readonly ClaimedResult[]): Promise<PreparedResult[]> {
    const requests = results.flatMap(({ runId, otherRunId, exampleId }) =>
      [runId, otherRunId ?? runId].map((id) => ({ runId: id, exampleId, steps: false })),
    );
    const subjects = await this.#subjects.find(this.#options.scope, this.#execution, requests);
    return results.map(({ evaluatorVersionId }, index) => ({
      version: this.#versions.get(evaluatorVersionId),
      subject: subjects[2 * index]?.subject,
      other: subjects[2 * index + 1]?.subject,
      key: undefined,
      cached: undefined,
    }));
  }

  async #loadResults(results: readonly ClaimedResult[]): Promise<PreparedResult[]> {
    const { scope } = this.#options;
    if (this.#execution.target.kind === 'pairs') return this.#loadPairs(results);
    const versions = results.map(({ evaluatorVersionId }) => this.#versions.get(evaluatorVersionId));
    const subjects = await this.#subjects.find(
      scope,
      this.#execution,
      results.map(({ runId, exampleId }, index) => {
        const version = versions[index];
        return { runId, exampleId, steps: version !== undefined && this.#needsSteps(version) };
      }),
    );
    const { useCache, seed } = this.#execution;
    const prepared = results.map(({ repetition }, index) => {
      const version = versions[index];
      const found = subjects[index];
      const material =
        useCache && version !== undefined && found !== undefined
          ? this.#deps.evaluators.materialOf(version, found.subject)
          : undefined;
      const key =
        material === undefined || version === undefined || found === undefined
          ? undefined
          : evaluationKey({
              exampleHash: found.exampleHash,
              material,
              configHash: version.configHash,
              endpoint: this.#judgeAt(version),
              seed,
              repetition,
            });
      return { version, subject: found?.subject, other: undefined, key };
    });
    const keys = prepared.flatMap(({ key }) => key ?? []);
    const cached = await this.#units.findCached(this.#deps.pool, scope, keys);
    return prepared.map((each) => ({ ...each, cached: each.key && cached.get(each.key.toString('hex')) }));
  }

  #judgeAt(version: EvaluatorVersion): string | undefined {
    const providerId = judgeProviderOf(version);
    return providerId === undefined ? undefined : this.#endpoints.get(providerId);
  }

  /** A version whose config nobody can read says so when it is asked to evaluate. */
  #needsSteps(version: EvaluatorVersion): boolean {
    try {
      return this.#deps.evaluators.needsSteps(version);
    } catch {
      return false;
    }
  }

  async #resultOutcome(
    unit: ClaimedResult,
    prepared: PreparedResult | undefined,
    signal: AbortSignal,
  ): Promise<ResultOutcome> {
    const { version, subject, other, key, cached } = prepared ?? {};
    if (unit.losses >= MAX_LOSSES) return this.#givenUp(unit);
    if (version === undefined || subject === undefined) {
      const what = version === undefined ? 'evaluator version' : 'run, or its example,';
      return this.#unsuccessful(unit, 'NOT_APPLICABLE', `The ${what} is gone.`, false, undefined, null);
    }
    const id = evaluationId(this.#execution.experimentId, unit);
    if (cached !== undefined) {
      const { scores, spread } = JSON.parse(cached.value) as CachedEvaluation;
      const source = { cached: true, cached_from: cached.runId };
      const feedback = scores.map((score) => this.#feedbackOf(id, version, score, [], source));
      return { kind: 'scored', feedback, cached: true, spread, cost: null, cache: undefined };
    }
    const context: EvaluationContext = {
      evaluationId: id,
      projectName: JUDGE_PROJECT,
      ownerId: this.#execution.experimentId,
      seed: seedOf(this.#execution.seed, unit),
      signal,
      maySpend: (planned) => this.#maySpend(planned),
    };
    if (this.#execution.target.kind !== 'pairs') {
      const outcome = await this.#deps.evaluators.evaluate(version, subject, context);
      return this.#evaluated(unit, version, outcome, id, key);
    }
    if (other === undefined) {
      return this.#unsuccessful(unit, 'NOT_APPLICABLE', 'The other run is gone.', false, undefined, null);
    }
    const { example } = subject;
    const pair = { runs: [subject.run, other.run] as const, ...(example && { example }) };
    return this.#compared(unit, version, await this.#deps.evaluators.compare(version, pair, context), id);
  }

  /** A score for each of both runs, joined as one comparison. */
  #compared(unit: ClaimedResult, version: EvaluatorVersion, outcome: PairOutcome, id: string): ResultOutcome {
    if (outcome.kind === 'failed') return this.#failed(unit, outcome);
    const { scores, judgeRunIds, spread, preference, positionBias, cost } = outcome;
    const runIds = [unit.runId, unit.otherRunId ?? unit.runId];
    const comparisonId = this.#execution.experimentId;
    const feedback = scores.map((score, side) => ({
      ...this.#feedbackOf(id, version, score, judgeRunIds, {}),
      id: feedbackId(id, `${score.key}/${side}`),
      pair: { runId: runIds[side] ?? unit.runId, comparisonId, groupId: id },
    }));
    const kept = { ...spread, preference, positionBias };
    return { kind: 'scored', feedback, cached: false, spread: kept, cost, cache: undefined };
  }

  #failed(unit: ClaimedResult, { error, cost }: FailedEvaluation): ResultOutcome {
    const { code, message, retryable, retryAfterMs } = error;
    return code === 'SPEND_CAP'
      ? { kind: 'back', delayMs: 0, cost }
      : this.#unsuccessful(unit, code, message, retryable, retryAfterMs, cost);
  }

  #evaluated(
    unit: ClaimedResult,
    version: EvaluatorVersion,
    outcome: EvaluationOutcome,
    id: string,
    key: Buffer | undefined,
  ): ResultOutcome {
    const { cost } = outcome;
    if (outcome.kind === 'failed') return this.#failed(unit, outcome);
    const { scores, judgeRunIds, spread = null } = outcome;
    return {
      kind: 'scored',
      feedback: scores.map((score) => this.#feedbackOf(id, version, score, judgeRunIds, {})),
      cached: false,
      spread,
      cost,
      cache: key && {
        key,
        kind: 'evaluation',
        runId: unit.runId,
        value: JSON.stringify({ kind: 'evaluation', scores, spread } satisfies CachedEvaluation),
      },
    };
  }

  #feedbackOf(
    id: string,
    version: EvaluatorVersion,
    { key, score, value, comment }: CachedEvaluation['scores'][number],
    judgeRunIds: readonly string[],
    source: JsonObject,
  ): ScoreFeedback {
    const [judge] = judgeRunIds;
    return {
      id: feedbackId(id, key),
      key,
      score,
      value,
      comment,
      source: {
        type: 'model',
        evaluator_id: version.evaluatorId,
        evaluator_name: version.evaluatorName,
        evaluator_version: String(version.version),
        evaluator_version_id: version.uuid,
        metadata: {
          experiment_id: this.#execution.experimentId,
          evaluation_id: id,
          ...(judge !== undefined && { __run: { run_id: judge }, judge_run_ids: [...judgeRunIds] }),
        },
        ...source,
      },
    };
  }

  // ── Shared ───────────────────────────────────────────────────────────────────────────────────────────────

  /** Only what may pass is tried again, and only so often; then the error stays. */
  #unsuccessful(
    unit: ClaimedRow | ClaimedResult,
    code: string,
    message: string,
    retryable: boolean,
    retryAfterMs: number | undefined,
    cost: string | null,
  ): Extract<RowOutcome, { kind: 'failed' | 'again' }> {
    const error = { code, message: message.slice(0, 2_000).replaceAll('\u0000', '').toWellFormed() };
    if (!retryable || unit.attempts + 1 >= this.#execution.maxAttempts) {
      return { kind: 'failed', error, cost };
    }
    const name = `${unit.exampleId}/${unit.repetition}/${'evaluatorVersionId' in unit ? unit.evaluatorVersionId : ''}`;
    return { kind: 'again', error, delayMs: backoffMs(unit.attempts, name, retryAfterMs), cost };
  }

  #givenUp({ losses }: ClaimedRow | ClaimedResult): Extract<RowOutcome, { kind: 'failed' }> {
    const message = `Its worker died or froze ${losses} times while it was worked on.`;
    return { kind: 'failed', error: { code: 'WORKER_DIED', message }, cost: null };
  }

  /** Asked before every paid call; what it answered a quarter of a second ago is good enough. */
  async #maySpend({ hasPrice }: PlannedCall): Promise<boolean> {
    const now = performance.now();
    const { scope, experimentId } = this.#options;
    if (now - this.#budgetAt > 250) {
      this.#budgetAt = now;
      this.#budget = this.#executions.budget(this.#deps.pool, scope, experimentId);
    }
    const { isCapped, reached, hasUnknownCost } = await this.#budget;
    if (!isCapped) return true;
    if (!reached && hasPrice && !hasUnknownCost) return true;
    if (!hasPrice) {
      await this.#pause('There is no price for one of its models: its spend cap cannot be kept.');
    }
    return false;
  }

  async #pause(reason: string): Promise<void> {
    const { pool, doorbell } = this.#deps;
    const { scope, experimentId } = this.#options;
    await transaction(pool, async (tx) => {
      await this.#executions.move(tx, scope, experimentId, { from: ['running'], to: 'paused', reason });
      await appendFeed(tx, scope.workspaceId, [experimentId], [['x', 0, experimentId, experimentId]]);
    });
    doorbell.ring(FEED_TOPIC);
  }

  async #renew(): Promise<void> {
    const active = [...this.#active];
    if (active.length === 0) return;
    const rows = active.filter(({ kind }) => kind === 'row');
    const results = active.filter(({ kind }) => kind === 'result');
    const kept = await this.#units.renew(
      this.#deps.pool,
      this.#options.scope,
      this.#options.experimentId,
      rows.map(({ unit }) => unit),
      results.map(({ unit }) => unit as ClaimedResult),
    );
    const lost = [
      ...rows.filter((_, index) => !kept.rows.has(index)),
      ...results.filter((_, index) => !kept.results.has(index)),
    ];
    // One whose outcome was just committed is no longer running and not lost.
    for (const each of lost) if (this.#active.has(each)) each.abort.abort(new ClaimLost());
    if (kept.state === undefined || kept.state === 'cancelled') {
      for (const { abort } of active) abort.abort(new Called('The experiment was cancelled.'));
    }
  }

  async #complete(): Promise<void> {
    const { pool, doorbell } = this.#deps;
    const { scope, experimentId } = this.#options;
    const completed = await transaction(pool, async (tx) => {
      if (!(await this.#executions.complete(tx, scope, experimentId))) return false;
      await appendFeed(tx, scope.workspaceId, [experimentId], [['x', 0, experimentId, experimentId]]);
      return true;
    });
    if (completed) doorbell.ring(FEED_TOPIC);
  }

  async #untilWoken(ms: number): Promise<void> {
    let timer: NodeJS.Timeout | undefined;
    await new Promise<void>((resolve) => {
      timer = setTimeout(resolve, ms);
      this.#wake = resolve;
    });
    clearTimeout(timer);
    this.#wake = () => undefined;
  }
}

/** Another execution has the unit: nothing this one does counts. */
class ClaimLost extends Error {}

interface Cached {
  readonly runId: string;
  readonly value: string;
}

interface PreparedRow {
  readonly example: Example | undefined;
  readonly key: Buffer | undefined;
  readonly cached: Cached | undefined;
}

interface PreparedResult {
  readonly version: EvaluatorVersion | undefined;
  readonly subject: EvaluationSubject | undefined;
  /** Of a pair: the other side. */
  readonly other: EvaluationSubject | undefined;
  readonly key: Buffer | undefined;
  readonly cached: Cached | undefined;
}

/** The provider a judge is asked at. */
function judgeProviderOf({ config }: EvaluatorVersion): string | undefined {
  const { providerId } = config;
  return typeof providerId === 'string' ? providerId.toLowerCase() : undefined;
}

/** The time in the run's id, not that of the attempt: children of every attempt hang below the same place. */
const placeOf = (runId: string): string => dottedSegment((uuidTimeMs(runId) ?? 0) * 1_000, runId);
