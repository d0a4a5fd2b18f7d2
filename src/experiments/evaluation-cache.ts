/**
 * What makes two answers, and two evaluations, the same: a hash over everything they are made from. The repetition is
 * part of both, so that the repetitions of one experiment stay independent of each other and an unchanged experiment
 * finds all of them again. Pure.
 */
import { createHash } from 'node:crypto';
import type { JsonValue } from '../ingest/run-event.js';
import { canonicalJson } from '../platform/canonical-json.js';
import type { Score, Spread } from '../evaluators/evaluation.js';

/** The output of a target that was called. */
export interface CachedOutput {
  readonly kind: 'target';
  /** JSON text. */
  readonly outputs: string;
}

/** The scores an evaluator gave. */
export interface CachedEvaluation {
  readonly kind: 'evaluation';
  readonly scores: readonly Score[];
  readonly spread: Spread | null;
}

const digest = (...parts: readonly unknown[]): Buffer =>
  createHash('sha256').update(canonicalJson(parts)).digest();

export function outputKey(from: {
  readonly exampleHash: string;
  readonly targetHash: Buffer;
  /** Of the provider, where a model is asked: models of one name at two addresses are two. */
  readonly endpoint: string | undefined;
  readonly seed: string;
  readonly repetition: number;
}): Buffer {
  const { exampleHash, targetHash, endpoint = null, seed, repetition } = from;
  return digest('target', exampleHash, targetHash.toString('hex'), endpoint, seed, repetition);
}

export function evaluationKey(from: {
  /** Keeps examples that look alike independent of each other. */
  readonly exampleHash: string;
  /** EvaluatorRuntime.materialOf. */
  readonly material: JsonValue;
  readonly configHash: string;
  /** Of the judge's provider, where there is a judge. */
  readonly endpoint: string | undefined;
  readonly seed: string;
  readonly repetition: number;
}): Buffer {
  const { exampleHash, material, configHash, endpoint = null, seed, repetition } = from;
  return digest('evaluation', exampleHash, material, configHash, endpoint, seed, repetition);
}
