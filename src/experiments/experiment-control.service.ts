/** Starting experiments that workers carry out, and steering them. Every change of state is in the feed. */
import type pg from 'pg';
import { v5 } from 'uuid';
import type { DatasetService } from '../datasets/dataset.service.js';
import type { StoredVersion } from '../evaluators/evaluator.js';
import type { EvaluatorService } from '../evaluators/evaluator.service.js';
import type { JsonObject } from '../ingest/run-event.js';
import { appendFeed, FEED_TOPIC } from '../live/feed.js';
import type { ModelProviderService } from '../models/model-provider.service.js';
import type { Clock } from '../platform/clock.js';
import { transaction } from '../platform/db.js';
import type { Queryable } from '../platform/db.js';
import type { Doorbell } from '../platform/doorbell.js';
import { AppError } from '../platform/errors.js';
import type { Idempotency } from '../platform/idempotency.js';
import type { Ids } from '../platform/ids.js';
import type { JobQueue } from '../platform/jobs/queue.js';
import type { OutboundClient } from '../platform/outbound.js';
import { failed, ok, problem, type Problem, type Result } from '../platform/result.js';
import type { Vault } from '../platform/vault.js';
import { projectProblems } from '../projects/project.js';
import { ProjectStore } from '../projects/project.store.js';
import type { Schedule, ScheduleOutcome } from '../schedules/schedule.js';
import { requireScope } from '../tenancy/principal.js';
import type { Principal, WorkspaceScope } from '../tenancy/principal.js';
import { findPlace } from './experiment-rows.sql.js';
import { readStart, START_LIMITS } from './experiment-start.js';
import type { ExperimentStart } from './experiment-start.js';
import { enqueueLanes, planExperimentJob } from './experiment.jobs.js';
import { ExperimentStore } from './experiment.store.js';
import type { Experiment, ExperimentState } from './experiment.js';
import { ExecutionStore } from './execution.store.js';
import type { NewExecution } from './execution.store.js';
import { targetBinding } from './target-caller.js';
import { isObject, targetHash } from './target.js';
import { unpricedProblem } from './unpriced.js';

export interface ExperimentControlDeps {
  readonly pool: pg.Pool;
  readonly queue: JobQueue;
  readonly datasets: Pick<DatasetService, 'findDataset' | 'resolve'>;
  readonly evaluators: Pick<EvaluatorService, 'resolve' | 'findVersionsOf'>;
  readonly providers: Pick<ModelProviderService, 'find'>;
  readonly outbound: Pick<OutboundClient, 'urlProblem'>;
  readonly vault: Pick<Vault, 'seal'>;
  readonly idempotency: Idempotency;
  readonly doorbell: Doorbell;
  readonly clock: Clock;
  readonly ids: Ids;
}

/** What a start needs from elsewhere, looked up before anything is written. */
interface Prepared {
  readonly execution: NewExecution;
  /** Absent where the project is there. */
  readonly project:
    | {
        readonly name: string;
        readonly description: string | null;
        readonly metadata: ExperimentStart['metadata'];
      }
    | undefined;
}

const UNKNOWN_COST =
  'The cost of a call it made is not known, so no cap can be kept: take the cap away to go on.';

const SCHEDULED = '0a4f3b1e-6f0c-4f1c-8a56-0a3f7f5f7a21';

export class ExperimentControlService {
  readonly #deps: ExperimentControlDeps;
  readonly #executions = new ExecutionStore();

  constructor(deps: ExperimentControlDeps) {
    this.#deps = deps;
  }

  /** Checks a draft and seals its secrets: what comes back can be kept. */
  async #check(principal: Principal, draft: unknown): Promise<Result<ExperimentStart>> {
    requireScope(principal, 'write');
    const read = readStart(this.#sealed(principal, draft));
    if (!read.ok) return failed(...read.problems);
    const problems = await this.#problemsOf(principal, read.value);
    return problems.length > 0 ? failed(...problems) : ok(read.value);
  }

  /** The settings of a schedule, as it keeps them. */
  async prepareSchedule(principal: Principal, draft: unknown): Promise<Result<JsonObject>> {
    const start = await this.#check(principal, draft);
    if (!start.ok) return start;
    if (start.value.target.kind === 'runs') {
      const message = 'Runs that are there do not come again: score them once.';
      return failed(problem('NOT_ALLOWED', message, ['experiment', 'target']));
    }
    const evaluators = await this.#versionsOf(principal, start.value);
    if (!evaluators.ok) return evaluators;
    return ok(JSON.parse(JSON.stringify(start.value)) as JsonObject);
  }

  /** It is planned and carried out by workers. */
  async start(
    principal: Principal,
    draft: unknown,
    idempotencyKey?: string | null,
  ): Promise<Result<Experiment>> {
    const scope = requireScope(principal, 'write');
    const start = await this.#check(principal, draft);
    if (!start.ok) return start;
    const { value } = start;
    const id = value.target.kind === 'runs' ? (value.experimentId ?? '') : this.#deps.ids.uuid();
    const prepared = await this.#prepare(principal, value, id);
    if (!prepared.ok) return prepared;
    const call = { mutation: 'startExperiment', key: idempotencyKey, input: draft };
    const result = await this.#deps.idempotency.once(principal, call, (tx) =>
      this.#create(tx, scope, prepared.value),
    );
    if (result.ok) this.#announce();
    return result;
  }

  /** What a schedule does at one of its times. The same time starts the same experiment, once. */
  async startScheduled(
    scope: WorkspaceScope,
    { uuid, name, config }: Schedule,
    dueAt: string,
  ): Promise<ScheduleOutcome> {
    const principal = ownerOf(scope, uuid);
    const read = readStart(config);
    if (!read.ok) return { kind: 'failed', message: messageOf(read.problems) };
    const id = v5(`${uuid}/${dueAt}`, SCHEDULED);
    const [existing] = await new ExperimentStore({ db: this.#deps.pool }).findByIds(scope, [id]);
    if (existing !== undefined) return { kind: 'started', resultId: id };
    const named = { ...read.value, name: `${read.value.name ?? name} ${dueAt.slice(0, 16)}` };
    const problems = await this.#problemsOf(principal, named);
    if (problems.length > 0) return { kind: 'failed', message: messageOf(problems) };
    const prepared = await this.#prepare(principal, named, id);
    if (!prepared.ok) return { kind: 'failed', message: messageOf(prepared.problems) };
    const result = await transaction(this.#deps.pool, (tx) => this.#create(tx, scope, prepared.value));
    if (!result.ok) return { kind: 'failed', message: messageOf(result.problems) };
    this.#announce();
    return { kind: 'started', resultId: id };
  }

  /** What is under way goes on to its end; nothing further begins. */
  async pause(principal: Principal, id: string): Promise<Result<Experiment>> {
    return this.#change(principal, id, (tx, scope) =>
      this.#executions.move(tx, scope, id, {
        from: ['running'],
        to: 'paused',
        reason: 'Paused by a caller.',
      }),
    );
  }

  /** @param spendCap US dollars, decimal text; null takes the cap away, absent leaves it. */
  async resume(principal: Principal, id: string, spendCap?: string | null): Promise<Result<Experiment>> {
    if (typeof spendCap === 'string' && !(Number(spendCap) > 0)) {
      return failed(problem('INVALID', 'A spend cap is above zero.', ['spendCap']));
    }
    const unpriced = await this.#unpricedIn(principal, id);
    return this.#change(principal, id, async (tx, scope) => {
      if (spendCap !== undefined) await this.#executions.setSpendCap(tx, scope, id, spendCap);
      const budget = await this.#executions.budget(tx, scope, id);
      if (budget.isCapped) {
        if (budget.reached) {
          return problem('NOT_ALLOWED', 'Its spend cap is reached: raise it to go on.', ['spendCap']);
        }
        if (budget.hasUnknownCost) return problem('NOT_ALLOWED', UNKNOWN_COST, ['spendCap']);
        if (unpriced !== undefined) return unpriced;
      }
      if (!(await this.#executions.move(tx, scope, id, { from: ['paused'], to: 'running' }))) return false;
      await this.#enqueue(tx, scope, id);
      return true;
    });
  }

  /** Of an execution that is there; undefined where all its models have a price. */
  async #unpricedIn(principal: Principal, id: string): Promise<Problem | undefined> {
    const record = await this.#executions.find(this.#deps.pool, requireScope(principal, 'write'), id);
    if (record === undefined) return undefined;
    const versions = await this.#deps.evaluators.findVersionsOf(principal, record.evaluatorVersionIds);
    return unpricedProblem(this.#deps.providers, principal, record.target, versions);
  }

  /** What is under way is called off. What was done by then stays. */
  async cancel(principal: Principal, id: string): Promise<Result<Experiment>> {
    return this.#change(principal, id, (tx, scope) =>
      this.#executions.move(tx, scope, id, {
        from: ['planning', 'running', 'paused'],
        to: 'cancelled',
        reason: 'Cancelled by a caller.',
      }),
    );
  }

  /** Rows and evaluations that failed for good are tried again, with runs of their own. */
  async retryFailed(principal: Principal, id: string): Promise<Result<Experiment>> {
    return this.#change(principal, id, async (tx, scope, state) => {
      if (state !== 'completed' && state !== 'paused' && state !== 'running') return false;
      const units = await this.#executions.retryFailed(tx, scope, id);
      if (units === 0) return problem('CONFLICT', 'Nothing of it has failed.', ['id']);
      if (state !== 'completed') return true;
      await this.#executions.move(tx, scope, id, { from: ['completed'], to: 'running' });
      await this.#enqueue(tx, scope, id);
      return true;
    });
  }

  async #change(
    principal: Principal,
    id: string,
    change: (tx: pg.PoolClient, scope: WorkspaceScope, state: ExperimentState) => Promise<boolean | Problem>,
  ): Promise<Result<Experiment>> {
    const scope = requireScope(principal, 'write');
    const { pool } = this.#deps;
    const experiments = (db: Queryable) => new ExperimentStore({ db }).findByIds(scope, [id]);
    try {
      const changed = await transaction(pool, async (tx) => {
        const state = await this.#executions.lock(tx, scope, id);
        if (state === undefined) {
          const [known] = await experiments(tx);
          throw new Refused(
            known === undefined
              ? problem('NOT_FOUND', 'There is no such experiment.', ['id'])
              : problem('NOT_ALLOWED', 'Only its client can steer this experiment.', ['id']),
          );
        }
        const done = await change(tx, scope, state);
        if (done === false) {
          throw new Refused(problem('CONFLICT', `The experiment is ${state}.`, ['id']));
        }
        if (done !== true) throw new Refused(done);
        await appendFeed(tx, scope.workspaceId, [id], [['x', 0, id, id]]);
        const [experiment] = await experiments(tx);
        if (experiment === undefined) throw new AppError('NOT_FOUND', 'The experiment is gone.');
        return experiment;
      });
      this.#announce();
      return ok(changed);
    } catch (error) {
      if (error instanceof Refused) return failed(error.problem);
      throw error;
    }
  }

  async #enqueue(tx: Queryable, { workspaceId }: WorkspaceScope, experimentId: string): Promise<void> {
    const record = await this.#executions.find(tx, { workspaceId } as WorkspaceScope, experimentId);
    if (record === undefined) return;
    await enqueueLanes(tx, this.#deps.queue, { workspaceId, experimentId, concurrency: record.concurrency });
  }

  #announce(): void {
    this.#deps.queue.wake();
    this.#deps.doorbell.ring(FEED_TOPIC);
  }

  /** Values of secret headers, sealed for the workspace. Anything that is no such header is left to the check. */
  #sealed({ workspaceId }: Principal, draft: unknown): unknown {
    if (!isObject(draft) || !isObject(draft['target']) || !Array.isArray(draft['target']['headers'])) {
      return draft;
    }
    const headers = draft['target']['headers'].map((header) => {
      if (!isObject(header) || header['secret'] !== true || typeof header['value'] !== 'string') {
        return header;
      }
      const sealed = this.#deps.vault.seal(header['value'], targetBinding(workspaceId));
      return { name: header['name'] ?? null, sealed };
    });
    return { ...draft, target: { ...draft['target'], headers } };
  }

  /** What only others can tell. */
  async #problemsOf(
    principal: Principal,
    { target, name, description }: ExperimentStart,
  ): Promise<Problem[]> {
    const problems = projectProblems({ name: name ?? 'x', description: description ?? null });
    if (target.kind === 'model') {
      const [provider] = await this.#deps.providers.find(principal, [target.providerId.toLowerCase()]);
      if (provider === undefined) {
        const path = ['target', 'model', 'providerId'];
        problems.push(problem('NOT_FOUND', 'There is no such model provider.', path));
      }
    }
    if (target.kind === 'http') {
      const refusal = this.#deps.outbound.urlProblem(target.url);
      if (refusal !== undefined) problems.push(problem('INVALID', refusal, ['target', 'http', 'url']));
    }
    return problems;
  }

  async #versionsOf(principal: Principal, { evaluators }: ExperimentStart): Promise<Result<StoredVersion[]>> {
    const versions = await this.#deps.evaluators.resolve(principal, evaluators);
    if (!versions.ok) return failed(...versions.problems.map(within('evaluators')));
    const problems = versions.value.flatMap(({ kind, evaluatorName }, index) =>
      kind === 'pairwise'
        ? [problem('NOT_ALLOWED', comparesOnly(evaluatorName), ['evaluators', String(index)])]
        : [],
    );
    return problems.length > 0 ? failed(...problems) : versions;
  }

  async #prepare(principal: Principal, start: ExperimentStart, id: string): Promise<Result<Prepared>> {
    const versions = await this.#versionsOf(principal, start);
    if (!versions.ok) return versions;
    if (start.spendCap !== null) {
      const unpriced = await unpricedProblem(this.#deps.providers, principal, start.target, versions.value);
      if (unpriced !== undefined) return failed(unpriced);
    }
    const evaluatorVersionIds = [...new Set(versions.value.map(({ uuid }) => uuid))];
    const place =
      start.target.kind === 'runs'
        ? await this.#placeOfRuns(principal, id)
        : await this.#placeOfDataset(principal, start);
    if (!place.ok) return place;
    const { datasetId, version, name } = place.value;
    const { target, splits, repetitions, concurrency, maxAttempts, deadlineMs, seed, useCache, spendCap } =
      start;
    return ok({
      execution: {
        experimentId: id,
        datasetId,
        datasetVersion: version,
        splits,
        target,
        targetHash: targetHash(target),
        evaluatorVersionIds,
        repetitions: place.value.repetitions ?? repetitions,
        concurrency,
        maxAttempts,
        deadlineMs,
        seed,
        useCache,
        spendCap,
        actor: principal.userId ?? principal.keyId,
      },
      project:
        start.target.kind === 'runs'
          ? undefined
          : {
              name: start.name?.trim() ?? `${name} ${id.slice(-8)}`,
              description: start.description ?? null,
              metadata: {
                ...start.metadata,
                dataset_version: version,
                num_repetitions: repetitions,
                ...(splits.length > 0 && { dataset_splits: splits }),
              },
            },
    });
  }

  async #placeOfDataset(principal: Principal, start: ExperimentStart): Promise<Result<Place>> {
    const { datasets } = this.#deps;
    const dataset = await datasets.findDataset(principal, (start.datasetId ?? '').toLowerCase());
    if (dataset === undefined) {
      return failed(problem('NOT_FOUND', 'There is no such dataset.', ['datasetId']));
    }
    let { version } = dataset;
    if (start.asOf !== undefined) {
      try {
        version = await datasets.resolve(principal, dataset, start.asOf);
      } catch (error) {
        if (!(error instanceof AppError)) throw error;
        return failed(problem('NOT_FOUND', error.message, ['asOf']));
      }
    }
    // Of the newest version; an older one is checked when it is laid out.
    const rows = dataset.exampleCount * start.repetitions;
    if (start.asOf === undefined && start.splits.length === 0 && rows > START_LIMITS.rows) {
      return failed(problem('LIMIT_EXCEEDED', `An experiment has at most ${START_LIMITS.rows} rows.`));
    }
    return ok({ datasetId: dataset.uuid, version, name: dataset.name });
  }

  async #placeOfRuns(principal: Principal, id: string): Promise<Result<Place>> {
    const scope = requireScope(principal, 'write');
    const place = await findPlace(this.#deps.pool, scope, id);
    if (place === undefined) {
      return failed(problem('NOT_FOUND', 'There is no such experiment.', ['target', 'runs', 'experimentId']));
    }
    // Runs that come later are numbered behind all that can be there now.
    return ok({ datasetId: place.datasetId, version: place.datasetVersion, name: '', repetitions: 1_000 });
  }

  async #create(
    tx: Queryable,
    scope: WorkspaceScope,
    { execution, project }: Prepared,
  ): Promise<Result<Experiment>> {
    const { queue, clock } = this.#deps;
    const { experimentId } = execution;
    const now = clock.now();
    if (project !== undefined) {
      const { name, description, metadata } = project;
      const made = await new ProjectStore({ db: tx }).insert(
        scope,
        {
          id: experimentId,
          name,
          description,
          extra: { metadata },
          referenceDatasetId: execution.datasetId,
        },
        now,
      );
      if (made === undefined) {
        return failed(problem('ALREADY_EXISTS', `There is a project named "${name}".`, ['name']));
      }
      await this.#executions.insert(tx, scope, execution, now);
    } else if (
      // Neither holds where another call has begun it since.
      (await this.#executions.lock(tx, scope, experimentId)) === undefined
        ? !(await this.#executions.insert(tx, scope, execution, now))
        : !(await this.#executions.extend(tx, scope, execution))
    ) {
      return failed(
        problem('CONFLICT', 'The experiment is at work: wait until it is completed.', ['target']),
      );
    }
    const { workspaceId } = scope;
    const payload = { workspaceId, experimentId };
    await queue.enqueue(tx, planExperimentJob, payload, { workspaceId, actor: execution.actor });
    await appendFeed(tx, workspaceId, [experimentId], [['x', 0, experimentId, experimentId]]);
    const [experiment] = await new ExperimentStore({ db: tx }).findByIds(scope, [experimentId]);
    return experiment === undefined
      ? failed(problem('NOT_FOUND', 'There is no such experiment.', ['target']))
      : ok(experiment);
  }
}

interface Place {
  readonly datasetId: string;
  readonly version: number;
  readonly name: string;
  readonly repetitions?: number;
}

/** Rolls the transaction back. */
class Refused extends Error {
  constructor(readonly problem: Problem) {
    super(problem.message);
  }
}

/** What a schedule does is done with the rights of whoever was allowed to make it. */
const ownerOf = ({ workspaceId }: WorkspaceScope, scheduleId: string): Principal => ({
  keyId: scheduleId,
  kind: 'service',
  organizationId: '',
  workspaceId,
  userId: undefined,
  scopes: new Set(['read', 'write']),
  expiresAtMs: undefined,
});

const comparesOnly = (name: string): string =>
  `"${name}" compares the outputs of two experiments and scores none by itself.`;

const messageOf = (problems: readonly Problem[]): string => problems.map(({ message }) => message).join(' ');

const within =
  (root: string) =>
  (each: Problem): Problem => ({ ...each, path: [root, ...each.path] });
