/**
 * Use cases of feedback: create (singly or in bulk), change, delete, list, aggregate. Every write is in the
 * change feed when its transaction commits, filed under the run it is about.
 */
import type pg from 'pg';
import type { JsonObject, JsonValue } from '../ingest/run-event.js';
import { appendFeed, FEED_TOPIC, type FeedEntry } from '../live/feed.js';
import type { Clock } from '../platform/clock.js';
import { transaction, type Queryable } from '../platform/db.js';
import type { Doorbell } from '../platform/doorbell.js';
import { AppError } from '../platform/errors.js';
import type { Ids } from '../platform/ids.js';
import type { PageWindow } from '../platform/keyset.js';
import { cleanText } from '../platform/json-text.js';
import { failed, ok, problem, type Problem, type Result } from '../platform/result.js';
import { requireScope, trustedScope, type Principal, type WorkspaceScope } from '../tenancy/principal.js';
import type { FeedbackConfig } from './feedback-config.js';
import { definitionProblems } from './feedback-config.js';
import type { FeedbackConfigStore } from './feedback-config.store.js';
import type { FeedbackStats, FeedbackStatsStore } from './feedback-stats.store.js';
import type {
  FeedbackFilter,
  FeedbackPage,
  FeedbackRow,
  FeedbackStore,
  RunPlace,
  WaitingFeedback,
} from './feedback.store.js';
import {
  cleanJson,
  completeJudgement,
  judgementOf,
  MAX_BATCH,
  MAX_JSON_DEPTH,
  problemsOf,
  refusalOf,
  type Feedback,
  type FeedbackDraft,
  type FeedbackPatch,
} from './feedback.js';

export interface FeedbackServiceOptions {
  readonly pool: pg.Pool;
  readonly store: FeedbackStore;
  readonly stats: FeedbackStatsStore;
  readonly configs: FeedbackConfigStore;
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

const DAY_MS = 86_400_000;
/** How far back readers look for feedback that upkeep has not filed yet, and at how many at most. */
const WAITING_SHOWN_MS = DAY_MS;
const MAX_WAITING_SHOWN = 1_000;
const WAITING_TRIED_MS = 7 * DAY_MS;
const WAITING_PAGE = 500;
const WAITING_PAGES = 20;

export class FeedbackService {
  readonly #pool: pg.Pool;
  readonly #store: FeedbackStore;
  readonly #stats: FeedbackStatsStore;
  readonly #configs: FeedbackConfigStore;
  readonly #doorbell: Doorbell;
  readonly #clock: Clock;
  readonly #ids: Ids;

  constructor(options: FeedbackServiceOptions) {
    this.#pool = options.pool;
    this.#store = options.store;
    this.#stats = options.stats;
    this.#configs = options.configs;
    this.#doorbell = options.doorbell;
    this.#clock = options.clock;
    this.#ids = options.ids;
  }

  /**
   * Stores each draft by itself: one that is refused never keeps its neighbours out. Results are in the order of
   * the drafts. A draft with the id of stored feedback is merged into it, so that sending again is harmless.
   */
  async create(principal: Principal, drafts: readonly FeedbackDraft[]): Promise<Result<Feedback>[]> {
    const scope = requireScope(principal, principal.scopes.has('ingest') ? 'ingest' : 'write');
    return this.#create(scope, principal.userId, drafts);
  }

  /** For holders of a feedback token: the token says the workspace, the run and the key. */
  async createTrusted(scope: WorkspaceScope, draft: FeedbackDraft): Promise<Result<Feedback>> {
    const [result] = await this.#create(scope, undefined, [draft]);
    if (result === undefined) throw new Error('a draft came back without a result');
    return result;
  }

  async #create(
    scope: WorkspaceScope,
    userId: string | undefined,
    drafts: readonly FeedbackDraft[],
  ): Promise<Result<Feedback>[]> {
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
    if (candidates.length > 0) {
      const published = await transaction(this.#pool, async (tx) => {
        const accepted = await this.#judge(tx, scope, candidates, now, results);
        const stored = await this.#write(tx, scope, accepted, now, results);
        return this.#publish(tx, scope, stored);
      });
      this.#ring(published);
    }
    return results.map((result) => result ?? failed(problem('CONFLICT', 'The feedback was not stored.')));
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
    const places = await this.#store.findRuns(tx, scope, runIds);
    // The run knows best where it belongs; the client is believed until the run is here.
    const placed = accepted.map((candidate) => {
      const place = candidate.row.run_id === null ? undefined : places.get(candidate.row.run_id);
      if (place === undefined) return candidate;
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
      return { result: ok(stored), published: await this.#publish(tx, scope, [stored]) };
    });
    this.#ring(published);
    return result;
  }

  /** Ids that do not exist are ignored. Returns what was deleted. */
  async delete(principal: Principal, ids: readonly string[]): Promise<Feedback[]> {
    const scope = requireScope(principal, 'write');
    if (ids.length > MAX_BATCH) {
      throw new AppError('PAYLOAD_TOO_LARGE', `At most ${MAX_BATCH} feedbacks fit one request.`);
    }
    const { deleted, published } = await transaction(this.#pool, async (tx) => {
      const deleted = await this.#store.delete(tx, scope, ids);
      return { deleted, published: await this.#publish(tx, scope, deleted) };
    });
    this.#ring(published);
    return deleted;
  }

  /** Up to `limit + 1`, newest first, in reading order. */
  async list(principal: Principal, filter: FeedbackFilter, page: FeedbackPage): Promise<Feedback[]> {
    const scope = requireScope(principal, 'read');
    return this.#store.list(this.#pool, scope, filter, page, await this.#waitingIn(scope, filter));
  }

  /** How many match, counted up to `limit`. */
  async count(principal: Principal, filter: FeedbackFilter, limit: number): Promise<number> {
    const scope = requireScope(principal, 'read');
    return this.#store.count(this.#pool, scope, filter, limit, await this.#waitingIn(scope, filter));
  }

  /** Those of `ids` that exist, in no particular order. */
  async find(principal: Principal, ids: readonly string[]): Promise<Feedback[]> {
    return this.#store.find(this.#pool, requireScope(principal, 'read'), ids);
  }

  /** Up to `limit + 1` feedbacks of each run, newest first, in one statement for all runs. */
  async listByRuns(principal: Principal, runIds: readonly string[], page: PageWindow): Promise<Feedback[]> {
    return this.#store.listByRuns(this.#pool, requireScope(principal, 'read'), runIds, page);
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
    const waiting = level === 'run' ? await this.#waiting(scope) : [];
    const own = waiting.filter(({ projectId }) => projectIds.includes(projectId));
    return this.#stats.byProjects(this.#pool, scope, projectIds, level, own);
  }

  /** Per key, of everything the filter matches. */
  async statsOf(principal: Principal, filter: FeedbackFilter): Promise<FeedbackStats[]> {
    const scope = requireScope(principal, 'read');
    return this.#stats.ofFilter(this.#pool, scope, filter, await this.#waitingIn(scope, filter));
  }

  /**
   * Feedback that came before its run, where the run is there by now. Between two rounds of upkeep such feedback
   * is not filed yet, and still belongs into what is read of its project.
   */
  async #waiting(scope: WorkspaceScope): Promise<(RunPlace & { id: string })[]> {
    const since = new Date(this.#clock.now().getTime() - WAITING_SHOWN_MS).toISOString();
    const waiting = await this.#store.listWaitingOf(this.#pool, scope, since, MAX_WAITING_SHOWN);
    return this.#placed(scope, waiting);
  }

  /** Ids of waiting feedback a filter by project or trace asks for. */
  async #waitingIn(scope: WorkspaceScope, { projectIds, traceId }: FeedbackFilter): Promise<string[]> {
    if (projectIds === undefined && traceId === undefined) return [];
    return (await this.#waiting(scope))
      .filter((place) => projectIds === undefined || projectIds.includes(place.projectId))
      .filter((place) => traceId === undefined || place.traceId === traceId)
      .map(({ id }) => id);
  }

  async #placed(
    scope: WorkspaceScope,
    waiting: readonly WaitingFeedback[],
  ): Promise<(RunPlace & { id: string })[]> {
    const runIds = [...new Set(waiting.map(({ runId }) => runId))];
    const places = await this.#store.findRuns(this.#pool, scope, runIds);
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
  async attachWaiting(): Promise<number> {
    const since = new Date(this.#clock.now().getTime() - WAITING_TRIED_MS).toISOString();
    let attached = 0;
    let before: { createdAt: string; id: string } | undefined;
    for (let page = 0; page < WAITING_PAGES; page += 1) {
      const waiting = await this.#store.listWaiting(this.#pool, since, WAITING_PAGE, before);
      for (const workspaceId of new Set(waiting.map((each) => each.workspaceId))) {
        const own = waiting.filter((each) => each.workspaceId === workspaceId);
        attached += await this.#attach(trustedScope(workspaceId), own);
      }
      const last = waiting.at(-1);
      if (last === undefined || waiting.length < WAITING_PAGE) break;
      before = { createdAt: last.createdAt, id: last.id };
    }
    return attached;
  }

  async #attach(scope: WorkspaceScope, waiting: readonly WaitingFeedback[]): Promise<number> {
    const found = await this.#placed(scope, waiting);
    if (found.length === 0) return 0;
    const { stored, published } = await transaction(this.#pool, async (tx) => {
      const stored = await this.#store.attach(tx, scope, found);
      return { stored, published: await this.#publish(tx, scope, stored) };
    });
    this.#ring(published);
    return stored.length;
  }

  /** Whether anything was published: feedback that belongs to no known run concerns no subscriber yet. */
  async #publish(tx: Queryable, scope: WorkspaceScope, changed: readonly Feedback[]): Promise<boolean> {
    const projects: string[] = [];
    const entries: FeedEntry[] = [];
    for (const { id, runId, traceId, projectId } of changed) {
      if (runId === null || traceId === null || projectId === null) continue;
      let project = projects.indexOf(projectId);
      if (project === -1) project = projects.push(projectId) - 1;
      entries.push(['f', project, runId, traceId, id]);
    }
    if (entries.length > 0) await appendFeed(tx, scope.workspaceId, projects, entries);
    return entries.length > 0;
  }

  #ring(published: boolean): void {
    if (published) this.#doorbell.ring(FEED_TOPIC);
  }
}

const notFound = (): Result<never> => failed(problem('NOT_FOUND', 'Feedback not found.', ['id']));

function refusalFor({ row }: Candidate, config: FeedbackConfig | undefined): Problem | undefined {
  return refusalOf(row.key, completeJudgement(row, config), config);
}

const JSON_FIELDS = ['value', 'correction', 'source', 'extra'] as const;

/** The draft with every text and JSON value storable. */
function cleanDraft(draft: FeedbackDraft): Result<FeedbackDraft> {
  const json: Partial<Record<(typeof JSON_FIELDS)[number], JsonValue>> = {};
  for (const field of JSON_FIELDS) {
    const value = draft[field];
    if (value === undefined || value === null) continue;
    const clean = cleanJson(value);
    if (clean === undefined) {
      return failed(problem('INVALID', `${field} is nested deeper than ${MAX_JSON_DEPTH} levels.`, [field]));
    }
    json[field] = clean;
  }
  return ok({
    ...draft,
    ...(json as Pick<FeedbackDraft, (typeof JSON_FIELDS)[number]>),
    key: cleanText(draft.key),
    comment: typeof draft.comment === 'string' ? cleanText(draft.comment) : null,
    threadId: typeof draft.threadId === 'string' ? cleanText(draft.threadId) : null,
  });
}

/** `patch` says what is changed, `clean` what to. */
function patched(
  current: Feedback,
  patch: FeedbackPatch,
  clean: FeedbackDraft,
): Pick<Feedback, 'score' | 'value' | 'comment' | 'correction'> {
  const given = judgementOf(clean.score, clean.value);
  // A boolean score is its own value, unless the client had named another.
  const boolean = current.value === null || typeof current.value === 'boolean';
  const valueGiven = patch.value !== undefined || (typeof patch.score === 'boolean' && boolean);
  return {
    score: patch.score === undefined ? current.score : given.score,
    value: valueGiven ? given.value : current.value,
    comment: patch.comment === undefined ? current.comment : (clean.comment ?? null),
    correction: patch.correction === undefined ? current.correction : (clean.correction ?? null),
  };
}
