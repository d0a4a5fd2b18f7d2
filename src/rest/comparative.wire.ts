/** Comparative experiments in the LangSmith protocol's words. */
import type { ComparativeExperiment } from '../experiments/comparative.store.js';
import type { Experiment } from '../experiments/experiment.js';
import type { ExperimentService } from '../experiments/experiment.service.js';
import type { FeedbackStats } from '../feedback/feedback-stats.store.js';
import type { FeedbackService } from '../feedback/feedback.service.js';
import type { JsonObject } from '../ingest/run-event.js';
import type { Principal } from '../tenancy/principal.js';
import { toWireStats } from './feedback.wire.js';
import { toZonedTime } from './wire-values.js';

interface ComparativeSources {
  readonly experiments: ExperimentService;
  readonly feedback: FeedbackService;
}

/** With the experiments' names and what was judged, in two statements for all of them. */
export async function describeComparatives(
  { experiments, feedback }: ComparativeSources,
  principal: Principal,
  found: readonly ComparativeExperiment[],
): Promise<JsonObject[]> {
  const ids = [...new Set(found.flatMap(({ experimentIds }) => experimentIds))];
  const [named, stats] = await Promise.all([
    experiments.find(principal, ids),
    feedback.statsByComparatives(
      principal,
      found.map(({ uuid }) => uuid),
      ids,
    ),
  ]);
  const byId = new Map(named.map((each) => [each.uuid, each]));
  return found.map((one) => toWireComparative(one, principal.workspaceId, byId, stats.get(one.uuid) ?? []));
}

const toWireComparative = (
  comparative: ComparativeExperiment,
  workspaceId: string,
  named: ReadonlyMap<string, Experiment>,
  stats: readonly FeedbackStats[],
): JsonObject => ({
  id: comparative.uuid,
  tenant_id: workspaceId,
  name: comparative.name,
  description: comparative.description,
  reference_dataset_id: comparative.datasetId,
  extra: comparative.extra,
  created_at: toZonedTime(comparative.createdAt),
  modified_at: toZonedTime(comparative.updatedAt),
  experiments_info: comparative.experimentIds.flatMap((id) => {
    const experiment = named.get(id);
    return experiment === undefined ? [] : [{ id, name: experiment.name }];
  }),
  feedback_stats: toWireStats(stats),
});
