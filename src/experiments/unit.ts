/**
 * The units of work of an experiment and what can come of one execution. A unit is owned by a claim: its number grows
 * with each execution, so whatever an older one still brings is refused, and it is lost when it is not renewed.
 *
 *   rows     pending ─▶ running ─▶ done | failed             results   pending ─▶ running ─▶ scored | failed
 *               ▲          │                                               ▲          │
 *               └──────────┘ tried again, given back, claim lost           └──────────┘     skipped: its row failed
 *
 * A result waits (available_at infinity) until its row is done. Ids of everything outside are derived from the unit
 * and its round, so an execution that died and its successor call, write and pay for the same.
 */
import { createHash } from 'node:crypto';
import { v5 } from 'uuid';
import type { PositionBias, Preference, Spread } from '../evaluators/evaluation.js';
import type { JsonObject, JsonValue } from '../ingest/run-event.js';
import type { UnitError } from './experiment.js';

export interface RowKey {
  readonly exampleId: string;
  readonly repetition: number;
}

export interface ResultKey extends RowKey {
  readonly evaluatorVersionId: string;
}

interface Claimed {
  readonly claim: number;
  /** Executions that failed. */
  readonly attempts: number;
  readonly round: number;
  /** Claims that were lost. */
  readonly losses: number;
}

export interface ClaimedRow extends RowKey, Claimed {
  readonly runId: string;
}

export interface ClaimedResult extends ResultKey, Claimed {
  readonly runId: string;
  /** Of a pair: the run `runId` is compared with. */
  readonly otherRunId: string | null;
}

/** What is kept of a pair's comparison beside its scores. */
export interface PairSpread extends Spread {
  readonly preference: Preference;
  readonly positionBias: PositionBias;
}

/** What came of an execution. `cost` is all that was paid for the unit in this round; null where nothing is known. */
export type RowOutcome =
  | {
      readonly kind: 'done';
      readonly cachedFrom: string | null;
      readonly cost: string | null;
      /** What to remember. */
      readonly cache: CacheEntry | undefined;
    }
  | UnsuccessfulOutcome;

export type ResultOutcome =
  | {
      readonly kind: 'scored';
      readonly feedback: readonly ScoreFeedback[];
      readonly cached: boolean;
      readonly spread: Spread | PairSpread | null;
      readonly cost: string | null;
      readonly cache: CacheEntry | undefined;
    }
  | UnsuccessfulOutcome;

type UnsuccessfulOutcome =
  | { readonly kind: 'failed'; readonly error: UnitError; readonly cost: string | null }
  | {
      readonly kind: 'again';
      readonly error: UnitError;
      readonly delayMs: number;
      readonly cost: string | null;
    }
  /** As if the execution had never been, but for what was paid. */
  | { readonly kind: 'back'; readonly delayMs: number; readonly cost: string | null };

export interface CacheEntry {
  readonly key: Buffer;
  readonly kind: 'target' | 'evaluation';
  readonly runId: string;
  /** JSON text. */
  readonly value: string;
}

/** A score on its way to become feedback. */
export interface ScoreFeedback {
  readonly id: string;
  readonly key: string;
  readonly score: number | boolean | null;
  readonly value: JsonValue | undefined;
  readonly comment: string | undefined;
  readonly source: JsonObject;
  /** Of a pair's comparison: whose score it is, and what joins it with the other's. */
  readonly pair?: { readonly runId: string; readonly comparisonId: string; readonly groupId: string };
}

const NAMESPACE = '3d0c5f0e-4f6b-4c53-9b1d-4f1d6a2f7a11';

/** Names a unit's round for ever. */
export const rowCallId = (experimentId: string, { exampleId, repetition, round }: ClaimedRow): string =>
  v5(`${experimentId}/${exampleId}/${repetition}/${round}`, NAMESPACE);

export const evaluationId = (experimentId: string, result: ClaimedResult): string =>
  v5(
    `${experimentId}/${result.exampleId}/${result.repetition}/${result.evaluatorVersionId}/${result.round}`,
    NAMESPACE,
  );

export const feedbackId = (evaluation: string, key: string): string => v5(`${evaluation}/${key}`, NAMESPACE);

const FIRST_DELAY_MS = 500;
const LONGEST_DELAY_MS = 60_000;

/** Doubled with each attempt, less up to half of it by chance; never less than what a provider asked for. */
export function backoffMs(attempts: number, unit: string, askedMs = 0): number {
  const full = Math.min(FIRST_DELAY_MS * 2 ** Math.min(attempts, 20), LONGEST_DELAY_MS);
  const chance = createHash('sha1').update(`${unit}/${attempts}`).digest().readUInt32BE(0) / 2 ** 32;
  return Math.max(Math.round(full * (1 - chance / 2)), Math.min(askedMs, 10 * LONGEST_DELAY_MS));
}

/** A number for evaluators to draw chance from: the same for equal repetitions of equal experiments. */
export function seedOf(seed: string, { exampleId, repetition }: RowKey): number {
  return createHash('sha256').update(`${seed}/${exampleId}/${repetition}`).digest().readUInt32BE(0) >>> 1;
}
