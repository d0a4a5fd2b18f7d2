/**
 * Runs that Tracewell makes itself: calls of judges and of experiment targets. They are stored like any other, and
 * marked, because a rule that evaluated judges would evaluate its own evaluations without end.
 */
import type { JsonObject } from '../ingest/run-event.js';

/** Key in a run's metadata. Filters reach it as `eq(metadata_key, "tracewell.origin")`. */
export const ORIGIN_KEY = 'tracewell.origin';

/** Where judges, and the evaluators of the SDKs, trace. */
export const JUDGE_PROJECT = 'evaluators';

/** judge: called by an evaluator. target: called to be evaluated, in an experiment. */
export const RUN_ORIGINS = ['judge', 'target'] as const;
export type RunOrigin = (typeof RUN_ORIGINS)[number];

/** Whether no automation rule, harvest or online evaluation may touch the run. */
export const isInternalRun = ({ metadata }: { readonly metadata: JsonObject }): boolean =>
  RUN_ORIGINS.some((origin) => origin === metadata[ORIGIN_KEY]);
