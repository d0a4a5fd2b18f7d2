/**
 * What an evaluator is given and what it answers: the contract between whoever wants something scored (an
 * experiment, an automation rule, a person trying an evaluator out) and the kinds of evaluators. Pure.
 */
import type { JsonObject, JsonValue } from '../ingest/run-event.js';
import type { MaySpend } from '../models/model-call.js';

/** What is to be judged. `outputs` is what the application made, `reference` what it should have made. */
export interface EvaluationSubject {
  readonly run: {
    readonly id: string;
    readonly traceId: string;
    readonly name: string;
    readonly runType: string;
    readonly inputs: JsonValue;
    readonly outputs: JsonValue;
    readonly error: string | null;
    /** Seconds. */
    readonly latency: number | null;
    readonly firstTokenLatency: number | null;
    readonly totalTokens: number | null;
    /** US dollars, decimal text. */
    readonly totalCost: string | null;
    readonly tags: readonly string[];
    readonly metadata: JsonObject;
  };
  /** Absent outside experiments. */
  readonly example?: {
    readonly id: string;
    readonly inputs: JsonValue;
    readonly reference: JsonValue;
    readonly metadata: JsonObject;
    readonly splits: readonly string[];
  };
  /** Every run of the trace, parents first, for evaluators that look at steps. Only where `needsSteps` says so. */
  readonly steps?: readonly EvaluationStep[];
}

/** Two outputs of the same task, for kinds that compare. */
export interface PairSubject {
  readonly runs: readonly [EvaluationSubject['run'], EvaluationSubject['run']];
  readonly example?: NonNullable<EvaluationSubject['example']>;
}

export interface EvaluationStep {
  readonly id: string;
  readonly parentRunId: string | null;
  readonly name: string;
  readonly runType: string;
  readonly inputs: JsonValue;
  readonly outputs: JsonValue;
  readonly error: string | null;
  readonly latency: number | null;
}

/** One score. Exactly what becomes one feedback. */
export interface Score {
  readonly key: string;
  /** A boolean counts as 1 or 0. */
  readonly score: number | boolean | null;
  /** A category or another value beside the number. */
  readonly value?: JsonValue;
  /** Why, in words. */
  readonly comment?: string;
}

/** How far k repeats of a judge lie apart. */
export interface Spread {
  readonly repeats: number;
  /** One per repeat that could be read; a number, or a label. */
  readonly values: readonly (number | string)[];
  /** Repeats without an answer that could be read; they are errors, never scores. */
  readonly unreadable: number;
  /** Sample standard deviation of numbers; null for labels or fewer than two. */
  readonly standardDeviation: number | null;
  /** Share of the readable repeats that agree with the answer that was kept, 0 to 1. */
  readonly agreement: number;
}

export const EVALUATION_ERRORS = [
  /** The evaluator cannot work on this: no reference output, a path that leads nowhere, a schema that is none. */
  'NOT_APPLICABLE',
  /** The judge answered, but not what was asked for. */
  'UNREADABLE_ANSWER',
  'TIMEOUT',
  'MEMORY_LIMIT',
  /** User code threw, or answered with something that is no score. */
  'EVALUATOR_FAILED',
  'PROVIDER_UNAVAILABLE',
  'PROVIDER_REFUSED',
  'RATE_LIMITED',
  'SPEND_CAP',
] as const;
export type EvaluationErrorCode = (typeof EVALUATION_ERRORS)[number];

export interface EvaluationError {
  readonly code: EvaluationErrorCode;
  /** For people; names what was wrong with what. */
  readonly message: string;
  /** Whether trying again may help. */
  readonly retryable: boolean;
  /** What a provider asked us to wait. */
  readonly retryAfterMs?: number;
}

/** A failure is an error and never a score. */
export type EvaluationOutcome =
  | {
      readonly kind: 'scored';
      readonly scores: readonly Score[];
      readonly spread?: Spread;
      /** Runs of the judge, in the order of the repeats. */
      readonly judgeRunIds: readonly string[];
      /** US dollars of this evaluation's calls, decimal text; null where no price is known. */
      readonly cost: string | null;
      /** What user code printed, cut at 4,000 characters. */
      readonly log?: string;
    }
  | FailedEvaluation;

export interface FailedEvaluation {
  readonly kind: 'failed';
  readonly error: EvaluationError;
  readonly judgeRunIds: readonly string[];
  readonly cost: string | null;
  readonly log?: string;
}

/** Which of two runs is better: 0 for the first, 1 for the second. */
export type Preference = 0 | 1 | 'tie';

/** How much the place an output was shown in decided, over all questions asked. */
export interface PositionBias {
  /** Pairs of questions (one per order) of which both answers could be read. */
  readonly pairs: number;
  /** Of these, how many preferred the output shown first in both orders, or the one shown second in both. */
  readonly firstPlace: number;
  readonly secondPlace: number;
}

export type PairOutcome =
  | {
      readonly kind: 'compared';
      readonly preference: Preference;
      /** One per run, under the same key: 1 preferred, 0 not, 0.5 tie. */
      readonly scores: readonly [Score, Score];
      readonly spread: Spread;
      readonly positionBias: PositionBias;
      readonly judgeRunIds: readonly string[];
      readonly cost: string | null;
    }
  | FailedEvaluation;

/** One immutable version of an evaluator. */
export interface EvaluatorVersion {
  readonly uuid: string;
  readonly workspaceId: string;
  readonly evaluatorId: string;
  readonly evaluatorName: string;
  readonly version: number;
  readonly kind: string;
  readonly feedbackKey: string;
  readonly config: JsonObject;
  /** Hex SHA-256 of kind, feedback key and config. */
  readonly configHash: string;
}

export interface EvaluationContext {
  /**
   * Names this evaluation for ever: a try again after a crash has the same. Ids of judge runs and of recorded model
   * calls are derived from it, so a call is never stored or paid for twice.
   */
  readonly evaluationId: string;
  /** The project judge runs are written to. */
  readonly projectName: string;
  readonly seed: number;
  readonly signal: AbortSignal;
  /** What the cost of its model calls counts for, such as an experiment's id (see ModelCallContext). */
  readonly ownerId?: string;
  /** Asked before every paid call. */
  readonly maySpend?: MaySpend;
}

/**
 * Runs one evaluator version. Never throws for what a subject, a judge or user code does wrong. Rejects with the
 * signal's reason when it is aborted.
 */
export interface EvaluatorRuntime {
  /** NOT_APPLICABLE for kinds that compare two runs. */
  evaluate(
    evaluator: EvaluatorVersion,
    subject: EvaluationSubject,
    context: EvaluationContext,
  ): Promise<EvaluationOutcome>;

  /** NOT_APPLICABLE for kinds that look at one run. */
  compare(evaluator: EvaluatorVersion, pair: PairSubject, context: EvaluationContext): Promise<PairOutcome>;

  /**
   * All that an evaluation of this subject would be made from, beside version and seed: equal material gives an equal
   * evaluation. Undefined where that cannot be said, of kinds that are given what was measured, and where others answer.
   */
  materialOf(evaluator: EvaluatorVersion, subject: EvaluationSubject): JsonValue | undefined;

  /** Whether the subject should come with `steps`: reading a whole trace is not free. */
  needsSteps(evaluator: EvaluatorVersion): boolean;
}
