/**
 * Feedback that came before its run: found for readers as soon as the run is there, and filed under it by upkeep.
 * The SDKs send feedback at once and runs in batches, so this is everyday business.
 */
import type pg from 'pg';
import { holdPlaces } from '../ingest/run-followers.js';
import { FEED_TOPIC } from '../live/feed.js';
import type { Clock } from '../platform/clock.js';
import { transaction, type Queryable } from '../platform/db.js';
import { everywhere, inWorkspace } from '../platform/db-scope.js';
import type { Doorbell } from '../platform/doorbell.js';
import { trustedScope, type WorkspaceScope } from '../tenancy/principal.js';
import { publishFeedback } from './feedback-feed.js';
import type { Feedback } from './feedback.js';
import type { FeedbackFilter, FeedbackStore, RunPlace, WaitingRow } from './feedback.store.js';

const DAY_MS = 86_400_000;
/** How far back readers look for feedback that upkeep has not filed yet, and at how many at most. */
const WAITING_SHOWN_MS = DAY_MS;
const MAX_WAITING_SHOWN = 1_000;
const WAITING_TRIED_MS = 7 * DAY_MS;
const WAITING_PAGE = 500;
const WAITING_PAGES = 20;

export interface WaitingFeedbackOptions {
  readonly pool: pg.Pool;
  readonly store: FeedbackStore;
  readonly doorbell: Doorbell;
  readonly clock: Clock;
}

export class WaitingFeedback {
  readonly #pool: pg.Pool;
  readonly #store: FeedbackStore;
  readonly #doorbell: Doorbell;
  readonly #clock: Clock;

  constructor(options: WaitingFeedbackOptions) {
    this.#pool = options.pool;
    this.#store = options.store;
    this.#doorbell = options.doorbell;
    this.#clock = options.clock;
  }

  /**
   * Feedback that came before its run, where the run is there by now. Between two rounds of upkeep such feedback
   * is not filed yet, and still belongs into what is read of its project.
   */
  async placed(scope: WorkspaceScope): Promise<(RunPlace & { id: string })[]> {
    const since = new Date(this.#clock.now().getTime() - WAITING_SHOWN_MS).toISOString();
    const waiting = await this.#store.listWaitingOf(this.#pool, scope, since, MAX_WAITING_SHOWN);
    return this.#places(this.#pool, scope, waiting);
  }

  /** Ids of waiting feedback a filter by project or trace asks for. */
  async idsIn(scope: WorkspaceScope, { projectIds, traceId }: FeedbackFilter): Promise<string[]> {
    if (projectIds === undefined && traceId === undefined) return [];
    return (await this.placed(scope))
      .filter((place) => projectIds === undefined || projectIds.includes(place.projectId))
      .filter((place) => traceId === undefined || place.traceId === traceId)
      .map(({ id }) => id);
  }

  /** The same feedback, what waits although its run is there shown where it belongs. No statement where none waits. */
  async completed(scope: WorkspaceScope, feedback: Feedback[]): Promise<Feedback[]> {
    const runIds = feedback.flatMap(({ runId, projectId }) =>
      runId === null || projectId !== null ? [] : [runId],
    );
    if (runIds.length === 0) return feedback;
    const places = await this.#store.findRuns(this.#pool, scope, [...new Set(runIds)]);
    return feedback.map((each) => {
      const place = each.runId === null || each.projectId !== null ? undefined : places.get(each.runId);
      if (place === undefined) return each;
      const { traceId, projectId, startTime } = place;
      return {
        ...each,
        traceId,
        projectId,
        threadId: each.threadId ?? place.threadId,
        runStartTime: startTime,
      };
    });
  }

  async #places(
    db: Queryable,
    scope: WorkspaceScope,
    waiting: readonly WaitingRow[],
  ): Promise<(RunPlace & { id: string })[]> {
    const runIds = [...new Set(waiting.map(({ runId }) => runId))];
    const places = await this.#store.findRuns(db, scope, runIds);
    return waiting.flatMap(({ id, runId }) => {
      const place = places.get(runId);
      return place === undefined ? [] : [{ ...place, id }];
    });
  }

  /**
   * Upkeep: files feedback that came before its run, and tells subscribers about it. Two at once do no harm.
   * Returns how many were filed. Feedback whose run does not come within a week is not looked
   * at again; it is still found by its run.
   */
  async attachAll(): Promise<number> {
    const since = new Date(this.#clock.now().getTime() - WAITING_TRIED_MS).toISOString();
    let attached = 0;
    let before: { createdAt: string; id: string } | undefined;
    for (let page = 0; page < WAITING_PAGES; page += 1) {
      const waiting = await everywhere('upkeep', () =>
        this.#store.listWaiting(this.#pool, since, WAITING_PAGE, before),
      );
      for (const workspaceId of new Set(waiting.map((each) => each.workspaceId))) {
        const own = waiting.filter((each) => each.workspaceId === workspaceId);
        attached += await inWorkspace(workspaceId, () => this.#attach(trustedScope(workspaceId), own));
      }
      const last = waiting.at(-1);
      if (last === undefined || waiting.length < WAITING_PAGE) break;
      before = { createdAt: last.createdAt, id: last.id };
    }
    return attached;
  }

  async #attach(scope: WorkspaceScope, waiting: readonly WaitingRow[]): Promise<number> {
    if ((await this.#places(this.#pool, scope, waiting)).length === 0) return 0;
    const { stored, published } = await transaction(this.#pool, async (tx) => {
      // A run that moves to another trace meanwhile takes the feedback along that it finds.
      await holdPlaces(tx, scope.workspaceId);
      const stored = await this.#store.attach(tx, scope, await this.#places(tx, scope, waiting));
      return { stored, published: await publishFeedback(tx, scope, stored) };
    });
    if (published) this.#doorbell.ring(FEED_TOPIC);
    return stored.length;
  }
}
