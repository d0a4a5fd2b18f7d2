/** Feedback, its configs, tokens and statistics in the LangSmith protocol's words. */
import { z } from 'zod';
import type { FeedbackConfig, FeedbackConfigDefinition } from '../feedback/feedback-config.js';
import type { FeedbackStats } from '../feedback/feedback-stats.store.js';
import type { FeedbackToken } from '../feedback/feedback-token.store.js';
import type { Feedback, FeedbackDraft, FeedbackPatch } from '../feedback/feedback.js';
import type { JsonObject, JsonValue } from '../ingest/run-event.js';
import { orNull, toZonedTime, wireTime, wireUuid } from './wire-values.js';

// Parsed JSON: whatever it is, it is a JSON value.
const anyJson = z.unknown().transform((value) => (value ?? null) as JsonValue);
const jsonObject = z.record(z.string(), z.unknown()).transform((value) => value as JsonObject);

const configDefinition = z
  .object({
    type: z.enum(['continuous', 'categorical', 'freeform']),
    min: z.number().nullish(),
    max: z.number().nullish(),
    categories: z.array(z.object({ value: z.number(), label: z.string().nullish() })).nullish(),
  })
  .transform(({ type, min, max, categories }): FeedbackConfigDefinition => ({
    type,
    min: min ?? null,
    max: max ?? null,
    categories: (categories ?? []).map(({ value, label }) => ({ value, label: label ?? null })),
  }));

const judgement = {
  score: z.union([z.number(), z.boolean()]).nullish(),
  value: anyJson.optional(),
  comment: z.string().nullish(),
  correction: anyJson.optional(),
};

/** The JavaScript SDK writes `feedbackConfig`, the Python SDK `feedback_config`. */
export const feedbackBody = z
  .object({
    ...judgement,
    id: wireUuid.nullish(),
    run_id: wireUuid.nullish(),
    trace_id: wireUuid.nullish(),
    session_id: wireUuid.nullish(),
    key: z.string(),
    feedback_source: jsonObject.nullish(),
    feedback_group_id: wireUuid.nullish(),
    comparative_experiment_id: wireUuid.nullish(),
    extra: jsonObject.nullish(),
    error: z.boolean().nullish(),
    feedback_thread_id: z.string().nullish(),
    start_time: wireTime,
    created_at: wireTime,
    feedback_config: configDefinition.nullish(),
    feedbackConfig: configDefinition.nullish(),
  })
  .transform((body): FeedbackDraft => {
    // An evaluator that failed says so beside its score.
    const extra = typeof body.error === 'boolean' ? { ...body.extra, error: body.error } : body.extra;
    return {
      id: body.id ?? null,
      runId: body.run_id ?? null,
      traceId: body.trace_id ?? null,
      projectId: body.session_id ?? null,
      key: body.key,
      score: body.score ?? null,
      value: body.value ?? null,
      comment: body.comment ?? null,
      correction: body.correction ?? null,
      source: body.feedback_source ?? null,
      feedbackGroupId: body.feedback_group_id ?? null,
      comparativeExperimentId: body.comparative_experiment_id ?? null,
      extra: extra ?? null,
      threadId: body.feedback_thread_id ?? null,
      runStartTime: body.start_time ?? null,
      createdAt: body.created_at ?? null,
      config: body.feedback_config ?? body.feedbackConfig ?? null,
    };
  });

/** Null means "leave", as in every change of this protocol. */
export const feedbackPatch = z
  .object(judgement)
  .transform(({ score, value, comment, correction }): FeedbackPatch => ({
    ...(score !== null && score !== undefined && { score }),
    ...(value !== null && value !== undefined && { value }),
    ...(comment !== null && comment !== undefined && { comment }),
    ...(correction !== null && correction !== undefined && { correction }),
  }));

export const tokenFeedbackBody = z.object({ ...judgement, metadata: jsonObject.nullish() });

export const tokenBody = z.object({
  id: wireUuid.nullish(),
  run_id: wireUuid,
  feedback_key: z.string(),
  feedback_config: configDefinition.nullish(),
  expires_at: wireTime,
  expires_in: z
    .object({ days: z.number().nullish(), hours: z.number().nullish(), minutes: z.number().nullish() })
    .nullish(),
});

export const configBody = z.object({
  feedback_key: z.string(),
  feedback_config: configDefinition,
  is_lower_score_better: z.boolean().nullish(),
});

export const configPatch = z.object({
  feedback_key: z.string(),
  feedback_config: configDefinition.nullish(),
  is_lower_score_better: z.boolean().nullish(),
});

export const toWireFeedback = (feedback: Feedback): JsonObject => ({
  id: feedback.id,
  key: feedback.key,
  run_id: feedback.runId,
  trace_id: feedback.traceId,
  session_id: feedback.projectId,
  start_time: orNull(feedback.runStartTime, toZonedTime),
  is_root: feedback.runId !== null && feedback.runId === feedback.traceId,
  score: feedback.score,
  value: feedback.value,
  comment: feedback.comment,
  correction: feedback.correction,
  feedback_source: { metadata: null, user_id: null, ls_user_id: null, user_name: null, ...feedback.source },
  feedback_group_id: feedback.feedbackGroupId,
  comparative_experiment_id: feedback.comparativeExperimentId,
  extra: feedback.extra,
  feedback_thread_id: feedback.threadId,
  created_at: toZonedTime(feedback.createdAt),
  modified_at: toZonedTime(feedback.updatedAt),
});

export const toWireConfig = (config: FeedbackConfig, workspaceId: string): JsonObject => ({
  feedback_key: config.key,
  feedback_config: {
    type: config.type,
    min: config.min,
    max: config.max,
    categories:
      config.type === 'categorical' ? config.categories.map(({ value, label }) => ({ value, label })) : null,
  },
  tenant_id: workspaceId,
  modified_at: toZonedTime(config.updatedAt),
  is_lower_score_better: config.isLowerScoreBetter,
});

export const toWireToken = (token: FeedbackToken, base: string): JsonObject => ({
  id: token.id,
  url: `${base}/feedback/tokens/${token.id}`,
  feedback_key: token.key,
  expires_at: token.expiresAt.toISOString(),
});

/** `{key: {n, avg, …}}`; empty without feedback. */
export const toWireStats = (stats: readonly FeedbackStats[]): JsonObject =>
  Object.fromEntries(
    stats.map(({ key, n, avg, stdev, min, max, valueCounts }) => [
      key,
      { n, avg, stdev, min, max, values: { ...valueCounts } },
    ]),
  );
