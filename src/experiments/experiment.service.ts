/** Reading experiments, for every protocol. Starting and steering them is in experiment-control.service.ts. */
import type { ContentReads } from '../audit/content-read.js';
import type { Queryable } from '../platform/db.js';
import type { PageWindow } from '../platform/keyset.js';
import { mayReadContent, requireScope } from '../tenancy/principal.js';
import type { Principal } from '../tenancy/principal.js';
import { ExperimentRowsStore } from './experiment-rows.store.js';
import { findPlace } from './experiment-rows.sql.js';
import { ExperimentSummaryStore } from './experiment-summary.store.js';
import { ExperimentStore } from './experiment.store.js';
import type {
  Experiment,
  ExperimentFilter,
  ExperimentProgress,
  ExperimentRow,
  KeySummary,
  RowEvaluation,
  RowFilter,
  RowScore,
  UnitError,
  UsageSummary,
} from './experiment.js';

/** A row that knows where it belongs. */
export interface PlacedRow extends ExperimentRow {
  readonly experimentId: string;
}

/** What messages of errors are to callers who may not see content. */
const HIDDEN = 'The message may hold content; this key lacks the scope "content".';

export class ExperimentService {
  private readonly db: Queryable;
  private readonly experiments: ExperimentStore;
  private readonly summaries: ExperimentSummaryStore;
  private readonly rowsStore: ExperimentRowsStore;

  private readonly contentReads: ContentReads;

  constructor({ db, contentReads }: { db: Queryable; contentReads: ContentReads }) {
    this.db = db;
    this.contentReads = contentReads;
    this.experiments = new ExperimentStore({ db });
    this.summaries = new ExperimentSummaryStore({ db });
    this.rowsStore = new ExperimentRowsStore({ db });
  }

  /** Up to `limit + 1`, newest first, in reading order. */
  async list(principal: Principal, filter: ExperimentFilter, window: PageWindow): Promise<Experiment[]> {
    return this.experiments.list(requireScope(principal, 'read'), filter, window);
  }

  /** Looks at no more than `limit + 1`. */
  async count(principal: Principal, filter: ExperimentFilter, limit: number): Promise<number> {
    return this.experiments.count(requireScope(principal, 'read'), filter, limit);
  }

  /** In no particular order; what is no experiment of the workspace is left out. */
  async find(principal: Principal, ids: readonly string[]): Promise<Experiment[]> {
    const scope = requireScope(principal, 'read');
    return ids.length === 0 ? [] : this.experiments.findByIds(scope, [...new Set(ids)]);
  }

  async findByName(principal: Principal, name: string): Promise<Experiment | undefined> {
    return this.experiments.findByName(requireScope(principal, 'read'), name);
  }

  /**
   * The experiment whose runs most of an experiment's outputs are: its own id, or that of the one they were taken from
   * where fewer than half were made for it.
   */
  async evidenceOf(principal: Principal, id: string): Promise<string> {
    const scope = requireScope(principal, 'read');
    const { total, reused } = await this.summaries.reuse(scope, id);
    const taken = reused.reduce((sum, { rows }) => sum + rows, 0);
    if (taken * 2 <= total) return id;
    return reused.reduce((most, each) => (each.rows > most.rows ? each : most)).experimentId;
  }

  /** Experiments without rows are left out. */
  async progressOf(principal: Principal, ids: readonly string[]): Promise<ExperimentProgress[]> {
    const scope = requireScope(principal, 'read');
    return this.summaries.progress(scope, ids, await this.summaries.days(scope, ids));
  }

  async keysOf(principal: Principal, ids: readonly string[]): Promise<Map<string, KeySummary[]>> {
    const scope = requireScope(principal, 'read');
    return this.summaries.keys(scope, ids, await this.summaries.days(scope, ids));
  }

  /** Experiments without runs are left out. */
  async usageOf(principal: Principal, ids: readonly string[]): Promise<UsageSummary[]> {
    const scope = requireScope(principal, 'read');
    return this.summaries.usage(scope, ids, await this.summaries.days(scope, ids));
  }

  /** Up to `limit + 1` rows by example and repetition, in reading order. */
  async listRows(
    principal: Principal,
    experimentId: string,
    filter: RowFilter,
    window: PageWindow,
  ): Promise<PlacedRow[]> {
    const place = await findPlace(this.db, requireScope(principal, 'read'), experimentId);
    if (place === undefined) return [];
    const rows = await this.rowsStore.list(place, filter, window);
    this.noteErrors(principal, experimentId, rows);
    return rows.map((row) => ({ ...row, error: shown(principal, row.error), experimentId }));
  }

  /** Looks at no more than `limit + 1`. */
  async countRows(
    principal: Principal,
    experimentId: string,
    filter: RowFilter,
    limit: number,
  ): Promise<number> {
    const place = await findPlace(this.db, requireScope(principal, 'read'), experimentId);
    return place === undefined ? 0 : this.rowsStore.count(place, filter, limit);
  }

  async scoresOf(principal: Principal, runIds: readonly string[]): Promise<RowScore[]> {
    const scores = await this.rowsStore.scores(requireScope(principal, 'read'), runIds);
    // A judge's reasoning quotes what it judged.
    if (!mayReadContent(principal)) return scores.map((score) => ({ ...score, comment: null }));
    const ids = scores.flatMap(({ feedbackId, comment }) => (comment === null ? [] : [feedbackId]));
    if (ids.length > 0) this.contentReads.note(principal, { type: 'feedback', ids, fields: ['comment'] });
    return scores;
  }

  async evaluationsOf(
    principal: Principal,
    experimentId: string,
    rows: readonly { readonly exampleId: string; readonly repetition: number }[],
  ): Promise<RowEvaluation[]> {
    const scope = requireScope(principal, 'read');
    const found = await this.rowsStore.evaluations(scope, experimentId, rows);
    this.noteErrors(principal, experimentId, found);
    return found.map((row) => ({ ...row, error: shown(principal, row.error) }));
  }

  /** Messages of targets and judges may hold content. */
  private noteErrors(
    principal: Principal,
    experimentId: string,
    rows: readonly { readonly error: UnitError | null }[],
  ): void {
    if (!mayReadContent(principal) || rows.every(({ error }) => error === null)) return;
    this.contentReads.note(principal, { type: 'experiment', ids: [experimentId], fields: ['error'] });
  }
}

function shown(principal: Principal, error: UnitError | null): UnitError | null {
  if (error === null || mayReadContent(principal)) return error;
  return { code: error.code, message: HIDDEN };
}
