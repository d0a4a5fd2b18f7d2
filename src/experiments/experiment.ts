/**
 * What an experiment is: a project with a reference dataset. Its rows are the root runs that name an example, its
 * scores the feedback on them, whoever made them. Pure. Times are UTC text as Postgres gives them.
 */
import type { JsonObject, JsonValue } from '../ingest/run-event.js';

/** client: an SDK's evaluate() or a test suite. worker: targets were called by workers of this installation. */
export type ExperimentKind = 'client' | 'worker';

/**
 *  planning ─▶ running ─▶ completed ─retry of what failed─▶ running
 *                │ ▲
 *                ▼ │
 *              paused          planning, running and paused ─▶ cancelled; planning ─▶ failed
 */
export const EXPERIMENT_STATES = [
  'planning',
  'running',
  'paused',
  'cancelled',
  'completed',
  'failed',
] as const;
export type ExperimentState = (typeof EXPERIMENT_STATES)[number];

export interface Experiment {
  readonly uuid: string;
  readonly name: string;
  readonly description: string | null;
  /** What the client keeps with the project under `metadata`. */
  readonly metadata: JsonObject;
  readonly datasetId: string;
  readonly kind: ExperimentKind;
  /** Null for one a client carries out and has not said to have ended. */
  readonly state: ExperimentState | null;
  readonly stateReason: string | null;
  readonly startTime: string;
  readonly endTime: string | null;
  readonly createdAt: string;
  readonly updatedAt: string;
  /** What workers carry out; null where they have no part in it. */
  readonly execution: Execution | null;
}

/** How workers carry an experiment out. */
export interface Execution {
  readonly datasetVersion: number;
  readonly splits: readonly string[];
  /** With secrets blotted out. */
  readonly target: JsonObject;
  readonly evaluatorVersionIds: readonly string[];
  readonly repetitions: number;
  readonly concurrency: number;
  readonly maxAttempts: number;
  readonly deadlineMs: number;
  readonly seed: string;
  readonly useCache: boolean;
  /** US dollars, decimal text. */
  readonly spendCap: string | null;
  readonly spend: string;
  readonly revision: number;
  readonly startedAt: string | null;
  readonly finishedAt: string | null;
}

/** Counts of rows and of the scores workers make for them. */
export interface ExperimentProgress {
  readonly experimentId: string;
  readonly rows: {
    readonly total: number;
    readonly pending: number;
    readonly running: number;
    readonly done: number;
    /** The target failed. */
    readonly failed: number;
    /** Outputs that were used again; they are among those that are done. */
    readonly cached: number;
  };
  /** Distinct examples among the rows. */
  readonly examples: number;
  readonly evaluators: readonly EvaluatorProgress[];
}

/** What became of one evaluator version's evaluations. */
export interface EvaluatorProgress {
  readonly evaluatorVersionId: string;
  readonly evaluatorId: string;
  readonly evaluatorName: string;
  readonly version: number;
  readonly feedbackKey: string;
  readonly open: number;
  readonly scored: number;
  /** Errors of the evaluator, never scores. */
  readonly failed: number;
  /** Nothing to evaluate: the target had failed. */
  readonly skipped: number;
  /** Scores of earlier, equal evaluations; they are among those that are scored. */
  readonly cached: number;
  /** US dollars, decimal text; null where no price was known. */
  readonly cost: string | null;
}

/** Scores of one key over the rows. Figures are null where there is nothing to count. */
export interface KeySummary {
  readonly key: string;
  /** Rows with a score. */
  readonly n: number;
  readonly mean: number | null;
  readonly standardDeviation: number | null;
  readonly min: number | null;
  readonly max: number | null;
  /** Rows whose evaluator failed. */
  readonly errors: number;
  /** Rows whose score is that of an earlier, equal evaluation: no new evidence. */
  readonly cached: number;
}

/** Over rows whose target was really called. Durations are seconds. */
export interface UsageSummary {
  readonly experimentId: string;
  readonly latencyMean: number | null;
  readonly latencyP50: number | null;
  readonly latencyP95: number | null;
  readonly totalTokens: number;
  /** US dollars, decimal text; null where no run has a cost. */
  readonly totalCost: string | null;
}

export type RowState = 'pending' | 'running' | 'done' | 'failed';

/** One example answered, or to be answered, once. */
export interface ExperimentRow {
  readonly exampleId: string;
  /** From 0. */
  readonly repetition: number;
  readonly state: RowState;
  /** Null until the target was called. */
  readonly runId: string | null;
  readonly cachedFrom: string | null;
  readonly attempts: number;
  readonly error: UnitError | null;
}

export interface UnitError {
  readonly code: string;
  readonly message: string;
}

/** A score of a row. */
export interface RowScore {
  readonly runId: string;
  readonly feedbackId: string;
  readonly key: string;
  readonly score: number | null;
  readonly value: JsonValue;
  readonly comment: string | null;
  readonly evaluatorVersionId: string | null;
  readonly cached: boolean;
}

/** What became of one evaluation a worker makes of a row. */
export interface RowEvaluation {
  readonly exampleId: string;
  readonly repetition: number;
  readonly evaluatorVersionId: string;
  readonly evaluatorName: string;
  readonly version: number;
  readonly feedbackKey: string;
  readonly state: 'pending' | 'running' | 'scored' | 'failed' | 'skipped';
  readonly attempts: number;
  readonly error: UnitError | null;
  readonly cached: boolean;
  /** How far k repeats of a judge lie apart: src/evaluators/evaluation.ts. */
  readonly spread: JsonObject | null;
  readonly cost: string | null;
}

export interface ScoreCondition {
  readonly key: string;
  readonly gt?: number | undefined;
  readonly gte?: number | undefined;
  readonly lt?: number | undefined;
  readonly lte?: number | undefined;
  /** True: rows without such a score. */
  readonly missing?: boolean | undefined;
}

/** Conditions on rows, all of which hold. */
export interface RowFilter {
  readonly exampleIds?: readonly string[] | undefined;
  /** Whether the target failed. */
  readonly failed?: boolean | undefined;
  /** Whether an evaluator failed. */
  readonly evaluatorFailed?: boolean | undefined;
  readonly cached?: boolean | undefined;
  readonly scores?: readonly ScoreCondition[] | undefined;
}

export interface ExperimentFilter {
  readonly datasetIds?: readonly string[] | undefined;
  readonly nameContains?: string | undefined;
  readonly kind?: ExperimentKind | undefined;
}
