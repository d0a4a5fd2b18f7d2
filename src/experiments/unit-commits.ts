/**
 * The group commit of finished units: while one transaction is under way, what finishes meanwhile gathers for the
 * next. A unit's outcome, its feedback, what is remembered of it, the spend and the feed are one transaction, and a
 * unit that another execution owns by now is left out of all of it.
 */
import type pg from 'pg';
import type { FeedbackDraft } from '../feedback/feedback.js';
import type { FeedbackService } from '../feedback/feedback.service.js';
import { appendFeed, FEED_TOPIC } from '../live/feed.js';
import { inWorkspace } from '../platform/db-scope.js';
import { isTransient, transaction } from '../platform/db.js';
import type { Doorbell } from '../platform/doorbell.js';
import type { Logger } from '../platform/log.js';
import type { WorkspaceScope } from '../tenancy/principal.js';
import type { ExecutionStore } from './execution.store.js';
import type { ClaimedResult, ClaimedRow, ResultOutcome, RowOutcome } from './unit.js';
import type { FinishedResult, UnitStore } from './unit.store.js';

export interface UnitCommitsDeps {
  readonly pool: pg.Pool;
  readonly units: UnitStore;
  readonly executions: ExecutionStore;
  readonly feedback: Pick<FeedbackService, 'createWithin'>;
  readonly doorbell: Doorbell;
  readonly log: Logger;
}

type Finished =
  | { readonly kind: 'row'; readonly unit: ClaimedRow; readonly outcome: RowOutcome }
  | { readonly kind: 'result'; readonly unit: ClaimedResult; readonly outcome: ResultOutcome };

interface Waiting {
  readonly finished: Finished;
  resolve(): void;
  reject(error: unknown): void;
}

const MAX_BATCH = 64;
const RETRIES = 5;
const RETRY_MS = 200;

export class UnitCommits {
  readonly #deps: UnitCommitsDeps;
  readonly #scope: WorkspaceScope;
  readonly #experimentId: string;
  readonly #waiting: Waiting[] = [];
  #busy = false;

  constructor(deps: UnitCommitsDeps, scope: WorkspaceScope, experimentId: string) {
    this.#deps = deps;
    this.#scope = scope;
    this.#experimentId = experimentId;
  }

  /** Resolves after the commit, also where the unit was in other hands. Rejects when the database cannot be reached. */
  add(finished: Finished): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#waiting.push({ finished, resolve, reject });
      // Units are also given back on behalf of a process that is told to go, outside of any workspace.
      if (!this.#busy) void inWorkspace(this.#scope.workspaceId, () => this.#run());
    });
  }

  async #run(): Promise<void> {
    this.#busy = true;
    // What ends in the same turn of the event loop belongs together.
    await new Promise((resolve) => setImmediate(resolve));
    while (this.#waiting.length > 0) {
      const batch = this.#waiting.splice(0, MAX_BATCH);
      try {
        await this.#commit(batch.map(({ finished }) => finished));
        for (const { resolve } of batch) resolve();
      } catch (error) {
        await this.#commitSingly(batch, error);
      }
    }
    this.#busy = false;
  }

  /** One unit that cannot be stored must not keep its neighbours from it. */
  async #commitSingly(batch: readonly Waiting[], error: unknown): Promise<void> {
    if (isTransient(error)) {
      for (const { reject } of batch) reject(error);
      return;
    }
    for (const { finished, resolve, reject } of batch) {
      try {
        await this.#commit([finished]);
        resolve();
      } catch (reason) {
        if (isTransient(reason)) {
          reject(reason);
          continue;
        }
        this.#deps.log.error(
          { err: reason, experimentId: this.#experimentId },
          'the outcome of a unit could not be stored',
        );
        await this.#commit([unstorable(finished)]).then(resolve, reject);
      }
    }
  }

  async #commit(all: readonly Finished[]): Promise<void> {
    let finished = all;
    for (let attempt = 1; ; attempt += 1) {
      try {
        await transaction(this.#deps.pool, (tx) => this.#write(tx, finished));
        this.#deps.doorbell.ring(FEED_TOPIC);
        return;
      } catch (error) {
        if (error instanceof ScoresRefused) {
          finished = finished.map((each) => error.instead.get(each.unit) ?? each);
        } else if (error instanceof Cancelled) {
          finished = finished.map(givenBack);
        } else {
          if (!isTransient(error) || attempt >= RETRIES) throw error;
          await new Promise((resolve) => setTimeout(resolve, RETRY_MS * attempt));
        }
      }
    }
  }

  async #write(tx: pg.PoolClient, finished: readonly Finished[]): Promise<void> {
    const { units, executions } = this.#deps;
    const scope = this.#scope;
    const experimentId = this.#experimentId;
    const allRows = finished.filter((each) => each.kind === 'row');
    const allResults = finished.filter((each) => each.kind === 'result');
    const ownRows = await units.fenceRows(
      tx,
      scope,
      experimentId,
      allRows.map(({ unit }) => unit),
    );
    const ownResults = await units.fenceResults(
      tx,
      scope,
      experimentId,
      allResults.map(({ unit }) => unit),
    );
    const rows = allRows.filter((_, index) => ownRows.has(index));
    const results = allResults.filter((_, index) => ownResults.has(index));
    if (rows.length + results.length === 0) return;
    await this.#storeFeedback(tx, results);
    const growths = [
      await units.finishRows(tx, scope, experimentId, rows),
      await units.finishResults(tx, scope, experimentId, results),
    ];
    const done = [...rows, ...results].map(({ outcome }) => outcome);
    await units.saveCached(
      tx,
      scope,
      done.flatMap((outcome) => ('cache' in outcome ? (outcome.cache ?? []) : [])),
    );
    // Last, as it is the one row that all workers of the experiment share.
    const state = await executions.spend(tx, scope, experimentId, growths);
    if (state === 'cancelled' && done.some(({ kind }) => kind !== 'back')) throw new Cancelled();
    await appendFeed(tx, scope.workspaceId, [experimentId], [['x', 0, experimentId, experimentId]]);
  }

  /** @throws ScoresRefused where the config of a key refuses a score: its evaluation is an error then. */
  async #storeFeedback(tx: pg.PoolClient, results: readonly FinishedResult[]): Promise<void> {
    const drafts: FeedbackDraft[] = [];
    const owners: FinishedResult[] = [];
    for (const result of results) {
      if (result.outcome.kind !== 'scored') continue;
      for (const { id, key, score, value, comment, source, pair } of result.outcome.feedback) {
        owners.push(result);
        drafts.push({
          id,
          runId: pair?.runId ?? result.unit.runId,
          ...(pair && { comparativeExperimentId: pair.comparisonId, feedbackGroupId: pair.groupId }),
          key,
          score,
          ...(value !== undefined && { value }),
          comment: comment ?? null,
          source,
        });
      }
    }
    if (drafts.length === 0) return;
    const { results: stored } = await this.#deps.feedback.createWithin(tx, this.#scope, drafts);
    const instead = new Map<object, Finished>();
    stored.forEach((result, index) => {
      const owner = owners[index];
      if (result.ok || owner?.outcome.kind !== 'scored') return;
      const message = result.problems[0]?.message ?? 'The score was refused.';
      const error = { code: 'SCORE_REFUSED', message };
      const outcome = { kind: 'failed', error, cost: owner.outcome.cost } as const;
      instead.set(owner.unit, { kind: 'result', unit: owner.unit, outcome });
    });
    if (instead.size > 0) throw new ScoresRefused(instead);
  }
}

/** The transaction is given up and made again with these outcomes. */
class ScoresRefused extends Error {
  constructor(readonly instead: ReadonlyMap<object, Finished>) {
    super('Scores were refused.');
  }
}

/** Nothing counts any more but what was paid. */
class Cancelled extends Error {}

const paid = ({ outcome }: Finished): string | null => ('cost' in outcome ? outcome.cost : null);

function givenBack(finished: Finished): Finished {
  const outcome = { kind: 'back', delayMs: 0, cost: paid(finished) } as const;
  return finished.kind === 'row'
    ? { kind: 'row', unit: finished.unit, outcome }
    : { kind: 'result', unit: finished.unit, outcome };
}

function unstorable(finished: Finished): Finished {
  const error = {
    code: 'NOT_STORABLE',
    message: 'What came of it cannot be stored; the log has the reason.',
  };
  const outcome = { kind: 'failed', error, cost: paid(finished) } as const;
  return finished.kind === 'row'
    ? { kind: 'row', unit: finished.unit, outcome }
    : { kind: 'result', unit: finished.unit, outcome };
}
