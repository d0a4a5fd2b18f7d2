/**
 * What makes two answers, and two evaluations, the same: a hash over everything they are made from. The repetition is
 * part of both, so that the repetitions of one experiment stay independent of each other and an unchanged experiment
 * finds all of them again. Pure.
 */
import { createHash } from 'node:crypto';
import type { JsonValue } from '../ingest/run-event.js';
import { canonicalJson } from '../platform/canonical-json.js';
import type { EvaluationSubject, Score, Spread } from '../evaluators/evaluation.js';

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
  readonly exampleHash: string;
  readonly subject: EvaluationSubject;
  readonly configHash: string;
  /** Of the judge's provider, where there is a judge. */
  readonly endpoint: string | undefined;
  readonly seed: string;
  readonly repetition: number;
}): Buffer {
  const { inputs, outputs, error } = from.subject.run;
  // Steps as they are without their ids: those differ from run to run.
  const steps: JsonValue =
    from.subject.steps?.map((step) => [step.name, step.runType, step.inputs, step.outputs, step.error]) ??
    null;
  return digest(
    'evaluation',
    from.exampleHash,
    [inputs, outputs, error, steps],
    from.configHash,
    from.endpoint ?? null,
    from.seed,
    from.repetition,
  );
}

/** Kinds that look at what differs between two runs with the same output. */
const MEASURED: ReadonlySet<string> = new Set(['latency', 'cost', 'webhook']);

/** Whether an evaluation can be the same as an earlier one: not of what is measured, nor where others answer. */
export const isReusable = (kind: string): boolean => !MEASURED.has(kind);
