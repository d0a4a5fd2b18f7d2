/** Statistics over runs and threads in the LangSmith protocol's words. */
import type { JsonObject } from '../ingest/run-event.js';
import type { RunStatsRow, StatsGroup, StatsShape } from '../runs/run-stats.js';
import type { ThreadRow } from '../threads/thread.store.js';
import type { RunQueryBody } from './run-query.wire.js';
import { orNull, toNaiveTime } from './wire-values.js';

const DEFAULT_GROUPS = 5;

export function toStatsShape(groupBy: RunQueryBody['group_by']): StatsShape {
  return {
    groupBy: groupBy ? [groupOf(groupBy)] : [],
    zone: 'UTC',
    maxGroups: groupBy ? (groupBy.max_groups ?? DEFAULT_GROUPS) : 1,
    feedback: true,
  };
}

function groupOf({ attribute, path }: NonNullable<RunQueryBody['group_by']>): StatsGroup {
  switch (attribute) {
    case 'name':
      return { kind: 'NAME' };
    case 'run_type':
      return { kind: 'RUN_TYPE' };
    case 'tag':
      return { kind: 'TAG' };
    case 'metadata':
      return { kind: 'METADATA', key: path ?? undefined };
  }
}

export const toWireRunStats = (stats: RunStatsRow): JsonObject => ({
  run_count: stats.runCount,
  error_rate: stats.errorRate,
  streaming_rate: stats.streamingRate,
  latency_p50: stats.latencyP50,
  latency_p99: stats.latencyP99,
  first_token_p50: stats.firstTokenP50,
  first_token_p99: stats.firstTokenP99,
  total_tokens: Number(stats.totalTokens),
  prompt_tokens: Number(stats.promptTokens),
  completion_tokens: Number(stats.completionTokens),
  median_tokens: stats.tokensP50,
  tokens_p99: stats.tokensP99,
  total_cost: stats.totalCost,
  prompt_cost: stats.promptCost,
  completion_cost: stats.completionCost,
  cost_p50: stats.costP50,
  cost_p99: stats.costP99,
  last_run_start_time: orNull(stats.lastRunStartTime, toNaiveTime),
  feedback_stats: Object.fromEntries(
    stats.feedback.map(({ key, count, average }) => [key, { n: count, avg: average }]),
  ),
  run_facets: [],
});

/** No runs are a row of zeros, not an empty answer. */
export const NO_RUNS: JsonObject = {
  run_count: 0,
  error_rate: null,
  streaming_rate: null,
  latency_p50: null,
  latency_p99: null,
  first_token_p50: null,
  first_token_p99: null,
  total_tokens: 0,
  prompt_tokens: 0,
  completion_tokens: 0,
  median_tokens: null,
  tokens_p99: null,
  total_cost: null,
  prompt_cost: null,
  completion_cost: null,
  cost_p50: null,
  cost_p99: null,
  last_run_start_time: null,
  feedback_stats: {},
  run_facets: [],
};

export const toWireThread = (thread: ThreadRow): JsonObject => ({
  group_key: thread.threadId,
  thread_id: thread.threadId,
  count: thread.traceCount,
  min_start_time: toNaiveTime(thread.firstStartTime),
  max_start_time: toNaiveTime(thread.lastStartTime),
  latency_p50: thread.latencyP50,
  latency_p99: thread.latencyP99,
  error_count: thread.errorCount,
  first_inputs: thread.firstInputsPreview ?? null,
  last_outputs: thread.lastOutputsPreview ?? null,
  filter: `eq(thread_id, ${JSON.stringify(thread.threadId)})`,
});
