/** Projects in the LangSmith protocol's words, where they are called sessions. */
import { z } from 'zod';
import type { FeedbackStats } from '../feedback/feedback-stats.store.js';
import type { JsonObject } from '../ingest/run-event.js';
import { NO_STATS, type Project, type ProjectDraft, type ProjectStats } from '../projects/project.js';
import { toWireStats } from './feedback.wire.js';
import { orNull, toZonedTime, wireTime, wireUuid } from './wire-values.js';

/** The SDKs send `{}` for "nothing to say". */
const extraObject = z
  .record(z.string(), z.unknown())
  .nullish()
  .transform((extra) => (extra && Object.keys(extra).length > 0 ? (extra as JsonObject) : undefined));

export const sessionBody = z
  .object({
    id: wireUuid.nullish(),
    name: z.string().nullish(),
    description: z.string().nullish(),
    extra: extraObject,
    reference_dataset_id: wireUuid.nullish(),
    start_time: wireTime,
  })
  .transform((body): ProjectDraft => ({
    id: body.id ?? undefined,
    name: body.name ?? 'default',
    description: body.description ?? undefined,
    extra: body.extra,
    referenceDatasetId: body.reference_dataset_id ?? undefined,
    startTime: body.start_time,
  }));

/** Null means "leave". */
export const sessionPatch = z.object({
  name: z.string().nullish(),
  description: z.string().nullish(),
  extra: extraObject,
  end_time: wireTime,
});

export interface SessionFigures {
  readonly stats: ProjectStats | undefined;
  readonly feedback: readonly FeedbackStats[];
  /** Of the project as a whole, not of its runs. */
  readonly sessionFeedback: readonly FeedbackStats[];
}

/** Without figures the statistics go out as null: not asked for, which is not the same as zero. */
export function toWireSession(
  project: Project,
  workspaceId: string,
  figures: SessionFigures | undefined,
): JsonObject {
  const stats = figures === undefined ? undefined : (figures.stats ?? NO_STATS);
  return {
    id: project.uuid,
    tenant_id: workspaceId,
    name: project.name,
    description: project.description,
    extra: project.extra,
    reference_dataset_id: project.referenceDatasetId,
    default_dataset_id: null,
    trace_tier: null,
    start_time: toZonedTime(project.startTime),
    end_time: orNull(project.endTime, toZonedTime),
    run_count: stats?.runCount ?? null,
    latency_p50: stats?.latencyP50 ?? null,
    latency_p99: stats?.latencyP99 ?? null,
    first_token_p50: stats?.firstTokenP50 ?? null,
    first_token_p99: stats?.firstTokenP99 ?? null,
    total_tokens: orNull(stats?.totalTokens, Number),
    prompt_tokens: orNull(stats?.promptTokens, Number),
    completion_tokens: orNull(stats?.completionTokens, Number),
    total_cost: stats?.totalCost ?? null,
    prompt_cost: stats?.promptCost ?? null,
    completion_cost: stats?.completionCost ?? null,
    last_run_start_time: orNull(stats?.lastRunStartTime, toZonedTime),
    last_run_start_time_live: null,
    error_rate: stats?.errorRate ?? null,
    streaming_rate: stats?.streamingRate ?? null,
    feedback_stats: figures === undefined ? null : toWireStats(figures.feedback),
    session_feedback_stats: figures === undefined ? null : toWireStats(figures.sessionFeedback),
    run_facets: figures === undefined ? null : [],
    test_run_number: null,
  };
}
