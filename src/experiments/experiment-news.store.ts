/** What followers of experiments are told: state, spend and progress as they are now. */
import type { ExperimentNews } from '../live/live-event.js';
import type { Queryable } from '../platform/db.js';
import type { WorkspaceScope } from '../tenancy/principal.js';
import { ExperimentSummaryStore } from './experiment-summary.store.js';
import { ExperimentStore } from './experiment.store.js';

export class ExperimentNewsStore {
  private readonly experiments: ExperimentStore;
  private readonly summaries: ExperimentSummaryStore;

  constructor({ db }: { db: Queryable }) {
    this.experiments = new ExperimentStore({ db });
    this.summaries = new ExperimentSummaryStore({ db });
  }

  /** Of those that are there, in no particular order. */
  async findNews(scope: WorkspaceScope, ids: readonly string[]): Promise<ExperimentNews[]> {
    const experiments = await this.experiments.findByIds(scope, ids);
    if (experiments.length === 0) return [];
    const progress = await this.summaries.progress(scope, ids, await this.summaries.days(scope, ids));
    const byId = new Map(progress.map((each) => [each.experimentId, each]));
    return experiments.map(({ uuid, state, stateReason, execution }) => ({
      experimentId: uuid,
      state,
      stateReason,
      spend: execution?.spend ?? null,
      progress: byId.get(uuid) ?? {
        experimentId: uuid,
        examples: 0,
        rows: { total: 0, pending: 0, running: 0, done: 0, failed: 0, cached: 0 },
        evaluators: [],
      },
    }));
  }
}
