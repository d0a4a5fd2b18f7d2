/**
 * What workers do for harvests. An execution that is repeated, by whomever and after whatever, begins anew and adds
 * nothing twice: candidates are its own, and the examples, the rows that say which runs they came from, its state and
 * the end of its job are one transaction.
 *
 * Locks are always taken in the order harvest, execution, dataset, sources.
 */
import type pg from 'pg';
import type { DatasetService } from '../datasets/dataset.service.js';
import type { Clock } from '../platform/clock.js';
import { transaction } from '../platform/db.js';
import { AppError } from '../platform/errors.js';
import type { JobProgress } from '../platform/jobs/job.store.js';
import type { JobClaim } from '../platform/jobs/runner.js';
import { trustedScope } from '../tenancy/principal.js';
import type { Principal, WorkspaceScope } from '../tenancy/principal.js';
import { placeOf, tidyHarvests } from './candidate.store.js';
import type { CandidateStore } from './candidate.store.js';
import type { HarvestRun } from './harvest.js';
import type { HarvestRunStore, LooseRun } from './harvest-run.store.js';
import { HarvestRefused } from './harvest-source.js';
import type { HarvestSource } from './harvest-source.js';
import type { HarvestWriter } from './harvest-writer.js';
import type { HarvestStore } from './harvest.store.js';
import { evenShares } from './shares.js';

export interface HarvestWorkDeps {
  readonly pool: pg.Pool;
  readonly harvests: HarvestStore;
  readonly runs: HarvestRunStore;
  readonly candidates: CandidateStore;
  readonly datasets: Pick<DatasetService, 'findDataset'>;
  readonly source: HarvestSource;
  readonly writer: HarvestWriter;
  readonly clock: Clock;
}

interface HarvestJob {
  readonly workspaceId: string;
  readonly harvestRunId: string;
}

interface Work {
  readonly claim: Pick<JobClaim, 'transaction' | 'finish'>;
  readonly signal: AbortSignal;
  readonly progress: (progress: JobProgress) => void;
}

const CLEAR_BATCH = 5_000;
const LOOSE_BATCH = 500;
const TIDY_BATCH = 5_000;
const KEEP_CANDIDATES_DAYS = 30;
const DAY_MS = 86_400_000;

/** Reads of content are recorded as this execution's. */
const workerOf = ({ workspaceId, harvestRunId }: HarvestJob): Principal => ({
  keyId: harvestRunId,
  kind: 'service',
  organizationId: '',
  workspaceId,
  userId: undefined,
  scopes: new Set(['read', 'content']),
  expiresAtMs: undefined,
});

export class HarvestWorkService {
  readonly #deps: HarvestWorkDeps;

  constructor(deps: HarvestWorkDeps) {
    this.#deps = deps;
  }

  /** Safe to repeat from any point, and next to itself. */
  async execute(job: HarvestJob, work: Work): Promise<void> {
    const scope = trustedScope(job.workspaceId);
    const [run] = await this.#deps.runs.findByIds(this.#deps.pool, scope, [job.harvestRunId]);
    if (run?.state !== 'running') return;
    try {
      if (!(await this.#collect(job, scope, run, work))) return;
      await this.#choose(scope, run, work);
      await work.claim.finish((tx) => this.#finish(tx, scope, run.uuid, run.harvestId));
    } catch (error) {
      const reason = refusalOf(error);
      if (reason === undefined) throw error;
      await work.claim.finish((tx) => this.#fail(tx, scope, run.uuid, reason));
    }
  }

  /** False where it was called off meanwhile. */
  async #collect(
    job: HarvestJob,
    scope: WorkspaceScope,
    run: HarvestRun,
    { claim, signal, progress }: Work,
  ): Promise<boolean> {
    const { datasets, runs, candidates, source } = this.#deps;
    const principal = workerOf(job);
    const dataset = await datasets.findDataset(principal, run.datasetId);
    if (dataset === undefined) throw new HarvestRefused('The dataset is gone.');
    for (let cleared = CLEAR_BATCH; cleared === CLEAR_BATCH;) {
      cleared = await claim.transaction((tx) => candidates.clear(tx, scope, run.uuid, CLEAR_BATCH));
    }
    if (!(await claim.transaction((tx) => runs.begin(tx, scope, run.uuid, dataset.version)))) return false;
    const { harvestId, revision, datasetId, definition, windowFrom, windowTo } = run;
    const window = { from: windowFrom, to: windowTo };
    const question = { harvest: { harvestId, revision }, datasetId, definition, window };
    let done = 0;
    for await (const page of source.pages(principal, question, signal)) {
      const goesOn = await claim.transaction(async (tx) => {
        if (!(await runs.advance(tx, scope, run.uuid, page))) return false;
        await candidates.insert(tx, scope, run.uuid, page.candidates);
        return true;
      });
      if (!goesOn) return false;
      done += page.matched;
      progress({ done });
    }
    return true;
  }

  async #choose(scope: WorkspaceScope, { uuid, definition }: HarvestRun, { claim }: Work): Promise<void> {
    const { candidates } = this.#deps;
    await claim.transaction(async (tx) => {
      const strata = await candidates.strata(tx, scope, uuid);
      await candidates.keep(tx, scope, uuid, evenShares(strata, definition.cap), definition);
    });
  }

  async #finish(tx: pg.PoolClient, scope: WorkspaceScope, id: string, harvestId: string): Promise<void> {
    const { harvests, runs, candidates, clock } = this.#deps;
    await harvests.lock(tx, scope, harvestId);
    const run = await runs.lock(tx, scope, id);
    if (run?.state !== 'running') return;
    const proposed = run.definition.approval && (await this.#propose(tx, scope, run));
    if (proposed) {
      await runs.move(tx, scope, id, { from: ['running'], to: 'proposed' }, clock.now());
    } else {
      const result = await this.#deps.writer.apply(tx, scope, run, `harvest:${run.harvestId}`);
      if (!result.ok) return this.#fail(tx, scope, id, 'The dataset is gone.');
      const { made, version } = result.value;
      const end = { from: ['running'], to: 'applied', ...(made && { version: version?.version }) } as const;
      await runs.move(tx, scope, id, end, clock.now());
    }
    await candidates.passOver(tx, scope, placeOf(run), clock.now());
    const { datasetId, revision, windowTo } = run;
    await harvests.harvestedTo(tx, scope, { id: harvestId, datasetId, revision, to: windowTo });
  }

  /** Reserves the runs, so that no other execution proposes them too. False where nothing is left to decide. */
  async #propose(tx: pg.PoolClient, scope: WorkspaceScope, run: HarvestRun): Promise<boolean> {
    const { candidates, clock } = this.#deps;
    const { uuid } = run;
    const ids = await candidates.pendingIds(tx, scope, uuid);
    const own = await candidates.take(tx, scope, placeOf(run), ids, 'proposed', clock.now());
    const others = ids.filter((id) => !own.has(id));
    await candidates.decide(
      tx,
      scope,
      uuid,
      others.map((sourceRunId) => ({ sourceRunId, verdict: 'known' })),
    );
    return own.size > 0;
  }

  async #fail(tx: pg.PoolClient, scope: WorkspaceScope, id: string, reason: string): Promise<void> {
    const { runs, candidates, clock } = this.#deps;
    await runs.move(tx, scope, id, { from: ['running'], to: 'failed', reason }, clock.now());
    await candidates.forgetContent(tx, scope, [id]);
  }

  /** Ends executions nobody works on any more. For a worker, outside of any workspace. Returns how many. */
  async sweep(signal: AbortSignal): Promise<number> {
    const { pool, runs } = this.#deps;
    const loose = await runs.listLoose(pool, LOOSE_BATCH);
    for (const each of loose) {
      signal.throwIfAborted();
      await transaction(pool, (tx) => this.#end(tx, each));
    }
    return loose.length;
  }

  async #end(tx: pg.PoolClient, { workspaceId, id, jobState }: LooseRun): Promise<void> {
    const { runs, candidates, clock } = this.#deps;
    const scope = trustedScope(workspaceId);
    if (jobState !== 'cancelled') {
      return this.#fail(tx, scope, id, 'Its job failed, however often it was tried.');
    }
    await runs.move(tx, scope, id, { from: ['running'], to: 'cancelled' }, clock.now());
    await candidates.forgetContent(tx, scope, [id]);
  }

  /** Returns how many rows were removed. For a worker, outside of any workspace. */
  async tidy(signal: AbortSignal): Promise<number> {
    const { pool, clock } = this.#deps;
    const until = new Date(clock.now().getTime() - KEEP_CANDIDATES_DAYS * DAY_MS);
    let removed = 0;
    for (let count = TIDY_BATCH; count >= TIDY_BATCH && !signal.aborted; removed += count) {
      count = await tidyHarvests(pool, until, TIDY_BATCH);
    }
    return removed;
  }
}

/** Why the same definition would be refused again; undefined for what may go better next time. */
function refusalOf(error: unknown): string | undefined {
  if (error instanceof HarvestRefused) return error.message;
  const isRefused =
    error instanceof AppError && (error.code === 'BAD_USER_INPUT' || error.code === 'FORBIDDEN');
  return isRefused ? error.message : undefined;
}
