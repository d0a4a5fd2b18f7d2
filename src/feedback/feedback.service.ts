/**
 * Use cases of feedback: create (singly or in bulk), change, delete, list, aggregate. Every write is in the
 * change feed when its transaction commits, filed under the run it is about.
 */
import type pg from 'pg';
import type { JsonObject } from '../ingest/run-event.js';
import { holdPlaces } from '../ingest/run-followers.js';
import { FEED_TOPIC } from '../live/feed.js';
import type { ContentReads } from '../audit/content-read.js';
import type { Clock } from '../platform/clock.js';
import { transaction, type Queryable } from '../platform/db.js';
import type { Doorbell } from '../platform/doorbell.js';
import { AppError } from '../platform/errors.js';
import type { Idempotency } from '../platform/idempotency.js';
import type { Ids } from '../platform/ids.js';
import type { PageWindow } from '../platform/keyset.js';
import { failed, ok, problem, type Problem, type Result } from '../platform/result.js';
import { mayReadContent, requireScope, type Principal, type WorkspaceScope } from '../tenancy/principal.js';
import type { FeedbackConfig } from './feedback-config.js';
import { definitionProblems } from './feedback-config.js';
import type { FeedbackConfigStore } from './feedback-config.store.js';
import type { FeedbackStats, FeedbackStatsStore } from './feedback-stats.store.js';
import type {
  FeedbackFilter,
  FeedbackPage,
  FeedbackRow,
  FeedbackStore,
  RunFeedbackFilter,
} from './feedback.store.js';
import { cleanDraft, patched } from './feedback-draft.js';
import { publishFeedback } from './feedback-feed.js';
import { WaitingFeedback } from './waiting-feedback.js';
import {
  completeJudgement,
  judgementOf,
  MAX_BATCH,
  problemsOf,
  refusalOf,
  type Feedback,
  type FeedbackDraft,
  type FeedbackPatch,
  withoutContent,
} from './feedback.js';

export interface FeedbackServiceOptions {
  readonly pool: pg.Pool;
  readonly store: FeedbackStore;
  readonly stats: FeedbackStatsStore;
  readonly configs: FeedbackConfigStore;
  readonly idempotency: Idempotency;
  readonly contentReads: ContentReads;
  readonly doorbell: Doorbell;
  readonly clock: Clock;
  readonly ids: Ids;
}

/** A draft that passed every check but its config's. */
interface Candidate {
  readonly index: number;
  readonly draft: FeedbackDraft;
  readonly row: FeedbackRow;
}

interface Outcome {
  readonly results: (Result<Feedback> | undefined)[];
  readonly published: boolean;
}

export class FeedbackService {
  readonly #pool: pg.Pool;
  readonly #store: FeedbackStore;
  readonly #stats: FeedbackStatsStore;
  readonly #configs: FeedbackConfigStore;
  readonly #idempotency: Idempotency;
  readonly #contentReads: ContentReads;
  readonly #doorbell: Doorbell;
  readonly #clock: Clock;
  readonly #ids: Ids;
  readonly #waiting: WaitingFeedback;

  constructor(options: FeedbackServiceOptions) {
    this.#pool = options.pool;
    this.#store = options.store;
    this.#stats = options.stats;
    this.#configs = options.configs;
    this.#idempotency = options.idempotency;
    this.#contentReads = options.contentReads;
    this.#doorbell = options.doorbell;
    this.#clock = options.clock;
    this.#ids = options.ids;
    this.#waiting = new WaitingFeedback(options);
  }

  /**
   * Stores each draft by itself: one that is refused never keeps its neighbours out. Results are in the order of
   * the drafts. A draft with the id of stored feedback is merged into it, so that sending again is harmless.
   */
  async create(
    principal: Principal,
    drafts: readonly FeedbackDraft[],
    idempotencyKey?: string | null,
  ): Promise<Result<Feedback>[]> {
    const scope = requireScope(principal, principal.scopes.has('ingest') ? 'ingest' : 'write');
    const call = { mutation: 'createFeedback', key: idempotencyKey, input: drafts };
    return this.#create(scope, principal.userId, drafts, (work) =>
      this.#idempotency.once(principal, call, work),
    );
  }

  /** For holders of a feedback token: the token says the workspace, the run and the key. */
  async createTrusted(scope: WorkspaceScope, draft: FeedbackDraft): Promise<Result<Feedback>> {
    const [result] = await this.#create(scope, undefined, [draft], (work) => transaction(this.#pool, work));
    if (result === undefined) throw new Error('a draft came back without a result');
    return result;
  }

  /**
   * In a transaction of the caller's, for what is made together with its feedback. The caller rings FEED_TOPIC after the
   * commit where something was published.
   */
  async createWithin(
    tx: Queryable,
    scope: WorkspaceScope,
    drafts: readonly FeedbackDraft[],
  ): Promise<{ readonly results: Result<Feedback>[]; readonly published: boolean }> {
    return this.#createAll(scope, undefined, drafts, (work) => work(tx));
  }

  async #create(
    scope: WorkspaceScope,
    userId: string | undefined,
    drafts: readonly FeedbackDraft[],
    commit: (work: (tx: Queryable) => Promise<Outcome>) => Promise<Outcome>,
  ): Promise<Result<Feedback>[]> {
    const { results, published } = await this.#createAll(scope, userId, drafts, commit);
    this.#ring(published);
    return results;
  }

  async #createAll(
    scope: WorkspaceScope,
    userId: string | undefined,
    drafts: readonly FeedbackDraft[],
    commit: (work: (tx: Queryable) => Promise<Outcome>) => Promise<Outcome>,
  ): Promise<{ readonly results: Result<Feedback>[]; readonly published: boolean }> {
    if (drafts.length > MAX_BATCH) {
      throw new AppError('PAYLOAD_TOO_LARGE', `At most ${MAX_BATCH} feedbacks fit one request.`);
    }
    const now = this.#clock.now().toISOString();
    const results: (Result<Feedback> | undefined)[] = drafts.map(() => undefined);
    const candidates: Candidate[] = [];
    drafts.forEach((draft, index) => {
      const prepared = this.#prepare(draft, userId, now);
      if (prepared.ok) candidates.push({ index, ...prepared.value });
      else results[index] = prepared;
    });
    const outcome =
      candidates.length === 0
        ? { results, published: false }
        : await commit(async (tx) => {
            const accepted = await this.#judge(tx, scope, candidates, now, results);
            const stored = await this.#write(tx, scope, accepted, now, results);
            return { results, published: await publishFeedback(tx, scope, stored) };
          });
    return {
      results: outcome.results.map(
        (result) => result ?? failed(problem('CONFLICT', 'The feedback was not stored.')),
      ),
      published: outcome.published,
    };
  }

  /** Cleans and checks what needs no database. */
  #prepare(
    draft: FeedbackDraft,
    userId: string | undefined,
    now: string,
  ): Result<{ draft: FeedbackDraft; row: FeedbackRow }> {
    const clean = cleanDraft(draft);
    if (!clean.ok) return clean;
    const problems = problemsOf(clean.value);
    if (problems.length > 0) return failed(...problems);
    const { value: said } = clean;
    const type = said.source?.['type'];
    // Who wrote is known here and not taken from the client.
    const writer: JsonObject = userId === undefined ? {} : { ls_user_id: userId };
    const row: FeedbackRow = {
      id: said.id?.toLowerCase() ?? this.#ids.uuid(),
      run_id: said.runId?.toLowerCase() ?? null,
      trace_id: said.traceId?.toLowerCase() ?? null,
      project_id: said.projectId?.toLowerCase() ?? null,
      key: said.key,
      ...judgementOf(said.score, said.value),
      comment: said.comment ?? null,
      correction: said.correction ?? null,
      source: {
        ...said.source,
        ...writer,
        type: typeof type === 'string' && type !== '' ? type.slice(0, 64) : 'api',
      },
      feedback_group_id: said.feedbackGroupId ?? null,
      comparative_experiment_id: said.comparativeExperimentId ?? null,
      extra: said.extra ?? null,
      thread_id: said.threadId ?? null,
      run_start_time: said.runStartTime ?? null,
      created_at: said.createdAt ?? now,
    };
    return ok({ draft: said, row });
  }

  /**
   * Keeps what its key's config allows. A config that comes with a draft is stored if its key has none, and only
   * with a draft that it allows.
   */
  async #judge(
    tx: Queryable,
    scope: WorkspaceScope,
    candidates: readonly Candidate[],
    now: string,
    results: (Result<Feedback> | undefined)[],
  ): Promise<Candidate[]> {
    const keys = [...new Set(candidates.map(({ row }) => row.key))];
    const configs = await this.#configs.find(tx, scope, keys);
    const accepted: Candidate[] = [];
    for (const candidate of candidates) {
      const { key } = candidate.row;
      const definition = candidate.draft.config ?? undefined;
      let config = configs.get(key);
      if (config === undefined && definition !== undefined) {
        const problems = definitionProblems(definition);
        if (problems.length > 0) {
          results[candidate.index] = failed(
            ...problems.map((each) => ({ ...each, path: ['config', ...each.path] })),
          );
          continue;
        }
        const proposed: FeedbackConfig = {
          ...definition,
          key,
          isLowerScoreBetter: false,
          createdAt: now,
          updatedAt: now,
        };
        if (refusalFor(candidate, proposed) === undefined) {
          // Someone else may have been first; then theirs counts.
          config =
            (await this.#configs.insert(tx, scope, key, definition, false, now)) ??
            (await this.#configs.find(tx, scope, [key])).get(key);
          if (config !== undefined) configs.set(key, config);
        } else {
          config = proposed;
        }
      }
      const refusal = refusalFor(candidate, config);
      if (refusal === undefined) {
        accepted.push({
          ...candidate,
          row: { ...candidate.row, ...completeJudgement(candidate.row, config) },
        });
      } else results[candidate.index] = failed(refusal);
    }
    return accepted;
  }

  async #write(
    tx: Queryable,
    scope: WorkspaceScope,
    accepted: readonly Candidate[],
    now: string,
    results: (Result<Feedback> | undefined)[],
  ): Promise<Feedback[]> {
    const runIds = [...new Set(accepted.flatMap(({ row }) => row.run_id ?? []))];
    // A run that moves to another trace meanwhile takes the feedback along that it finds.
    if (runIds.length > 0) await holdPlaces(tx, scope.workspaceId);
    const places = await this.#store.findRuns(tx, scope, runIds);
    // Only the run knows where it belongs. What a client says of it beforehand, often just the project, would keep
    // the feedback from being filed when the run comes.
    const placed = accepted.map((candidate) => {
      if (candidate.row.run_id === null) return candidate;
      const place = places.get(candidate.row.run_id);
      if (place === undefined) return { ...candidate, row: { ...candidate.row, project_id: null } };
      const row: FeedbackRow = {
        ...candidate.row,
        trace_id: place.traceId,
        project_id: place.projectId,
        thread_id: candidate.row.thread_id ?? place.threadId,
        run_start_time: place.startTime,
      };
      return { ...candidate, row };
    });
    const stored = new Map<string, Feedback>();
    // One statement may touch a row once only: drafts with the same id take turns.
    for (let turn = placed; turn.length > 0;) {
      const first = new Map<string, Candidate>();
      const later: Candidate[] = [];
      for (const candidate of turn) {
        if (first.has(candidate.row.id)) later.push(candidate);
        else first.set(candidate.row.id, candidate);
      }
      const rows = await this.#store.upsert(
        tx,
        scope,
        [...first.values()].map(({ row }) => row),
        now,
      );
      const written = new Map(rows.map((feedback) => [feedback.id, feedback]));
      for (const { index, row } of first.values()) {
        const feedback = written.get(row.id);
        results[index] =
          feedback === undefined
            ? failed(
                problem(
                  'CONFLICT',
                  `The id ${row.id} belongs to feedback with another key or on another run.`,
                  ['id'],
                ),
              )
            : ok(feedback);
        if (feedback !== undefined) stored.set(feedback.id, feedback);
      }
      turn = later;
    }
    return [...stored.values()];
  }

  /** @returns NOT_FOUND, or INVALID where the config refuses the result. */
  async update(principal: Principal, id: string, patch: FeedbackPatch): Promise<Result<Feedback>> {
    const scope = requireScope(principal, 'write');
    const clean = cleanDraft({ key: 'unchanged', ...patch });
    if (!clean.ok) return clean;
    const problems = problemsOf(clean.value);
    if (problems.length > 0) return failed(...problems);
    const now = this.#clock.now().toISOString();
    const { result, published } = await transaction(this.#pool, async (tx) => {
      const current = await this.#store.lock(tx, scope, id);
      if (current === undefined) return { result: notFound(), published: false };
      const config = (await this.#configs.find(tx, scope, [current.key])).get(current.key);
      const next = patched(current, patch, clean.value);
      const judgement = completeJudgement(next, config);
      const refusal = refusalOf(current.key, judgement, config);
      if (refusal !== undefined) return { result: failed(refusal), published: false };
      const stored = await this.#store.replace(tx, scope, id, { ...next, ...judgement }, now);
      if (stored === undefined) return { result: notFound(), published: false };
      return { result: ok(stored), published: await publishFeedback(tx, scope, [stored]) };
    });
    this.#ring(published);
    return result.ok && !mayReadContent(principal) ? ok(withoutContent(result.value)) : result;
  }

  /** Ids that do not exist are ignored. Returns what was deleted. */
  async delete(principal: Principal, ids: readonly string[]): Promise<Feedback[]> {
    const scope = requireScope(principal, 'write');
    if (ids.length > MAX_BATCH) {
      throw new AppError('PAYLOAD_TOO_LARGE', `At most ${MAX_BATCH} feedbacks fit one request.`);
    }
    const { deleted, published } = await transaction(this.#pool, async (tx) => {
      const deleted = await this.#store.delete(tx, scope, ids);
      return { deleted, published: await publishFeedback(tx, scope, deleted) };
    });
    this.#ring(published);
    return mayReadContent(principal) ? deleted : deleted.map(withoutContent);
  }

  /** Up to `limit + 1`, newest first, in reading order. */
  async list(principal: Principal, filter: FeedbackFilter, page: FeedbackPage): Promise<Feedback[]> {
    const scope = requireScope(principal, 'read');
    const waitingIds = await this.#waiting.idsIn(scope, filter);
    const rows = await this.#store.list(this.#pool, scope, filter, page, waitingIds);
    return this.#shown(principal, await this.#waiting.completed(scope, rows), page.limit);
  }

  /** How many match, counted up to `limit`. */
  async count(principal: Principal, filter: FeedbackFilter, limit: number): Promise<number> {
    const scope = requireScope(principal, 'read');
    return this.#store.count(this.#pool, scope, filter, limit, await this.#waiting.idsIn(scope, filter));
  }

  /** Those of `ids` that exist, in no particular order. */
  async find(principal: Principal, ids: readonly string[]): Promise<Feedback[]> {
    const scope = requireScope(principal, 'read');
    const rows = await this.#store.find(this.#pool, scope, ids);
    return this.#shown(principal, await this.#waiting.completed(scope, rows));
  }

  /** Up to `limit + 1` feedbacks of each run, newest first, in one statement for all runs. */
  async listByRuns(
    principal: Principal,
    runIds: readonly string[],
    page: PageWindow,
    filter?: RunFeedbackFilter,
  ): Promise<Feedback[]> {
    const scope = requireScope(principal, 'read');
    const rows = await this.#store.listByRuns(this.#pool, scope, runIds, page, filter);
    return this.#shown(principal, await this.#waiting.completed(scope, rows));
  }

  /** Comments and corrections are content. */
  #shown(principal: Principal, rows: Feedback[], shown = rows.length): Feedback[] {
    if (!mayReadContent(principal)) return rows.map(withoutContent);
    const ids = rows
      .slice(0, shown)
      .filter(({ comment, correction }) => comment !== null || correction !== null)
      .map(({ id }) => id);
    if (ids.length > 0) {
      this.#contentReads.note(principal, { type: 'feedback', ids, fields: ['comment', 'correction'] });
    }
    return rows;
  }

  /** How many feedbacks each run has, counted up to `limit`; runs without are absent. */
  async countByRuns(
    principal: Principal,
    runIds: readonly string[],
    limit: number,
  ): Promise<Map<string, number>> {
    return this.#store.countByRuns(this.#pool, requireScope(principal, 'read'), runIds, limit);
  }

  /** Per run and key; runs without feedback are absent. */
  async statsByRuns(principal: Principal, runIds: readonly string[]): Promise<Map<string, FeedbackStats[]>> {
    return this.#stats.byRuns(this.#pool, requireScope(principal, 'read'), runIds);
  }

  /** Per project and key, of feedback on the projects' runs or on the projects themselves. */
  async statsByProjects(
    principal: Principal,
    projectIds: readonly string[],
    level: 'run' | 'session',
  ): Promise<Map<string, FeedbackStats[]>> {
    const scope = requireScope(principal, 'read');
    const waiting = level === 'run' ? await this.#waiting.placed(scope) : [];
    const own = waiting.filter(({ projectId }) => projectIds.includes(projectId));
    return this.#stats.byProjects(this.#pool, scope, projectIds, level, own);
  }

  /** Per comparative experiment and key, of feedback on runs of the experiments `projectIds`. */
  async statsByComparatives(
    principal: Principal,
    comparativeIds: readonly string[],
    projectIds: readonly string[],
  ): Promise<Map<string, FeedbackStats[]>> {
    const scope = requireScope(principal, 'read');
    return this.#stats.byComparatives(this.#pool, scope, comparativeIds, projectIds);
  }

  /** Per key, of everything the filter matches. */
  async statsOf(principal: Principal, filter: FeedbackFilter): Promise<FeedbackStats[]> {
    const scope = requireScope(principal, 'read');
    return this.#stats.ofFilter(this.#pool, scope, filter, await this.#waiting.idsIn(scope, filter));
  }

  /**
   * Upkeep: files feedback that came before its run, and tells subscribers about it. Two at once do no harm.
   * Returns how many were filed.
   */
  async attachWaiting(): Promise<number> {
    return this.#waiting.attachAll();
  }

  #ring(published: boolean): void {
    if (published) this.#doorbell.ring(FEED_TOPIC);
  }
}

const notFound = (): Result<never> => failed(problem('NOT_FOUND', 'Feedback not found.', ['id']));

function refusalFor({ row }: Candidate, config: FeedbackConfig | undefined): Problem | undefined {
  return refusalOf(row.key, completeJudgement(row, config), config);
}
