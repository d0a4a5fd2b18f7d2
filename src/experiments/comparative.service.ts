/** Use cases of comparative experiments. Their verdicts are feedback that names them. */
import type { JsonObject } from '../ingest/run-event.js';
import type { Clock } from '../platform/clock.js';
import type { Ids } from '../platform/ids.js';
import type { PageWindow } from '../platform/keyset.js';
import { failed, ok, problem } from '../platform/result.js';
import type { Result } from '../platform/result.js';
import { requireScope } from '../tenancy/principal.js';
import type { Principal } from '../tenancy/principal.js';
import type { ComparativeExperiment, ComparativeStore } from './comparative.store.js';
import type { ExperimentService } from './experiment.service.js';

export interface ComparativeDraft {
  readonly id?: string | undefined;
  readonly name?: string | null | undefined;
  readonly description?: string | null | undefined;
  readonly experimentIds: readonly string[];
  readonly extra?: JsonObject | undefined;
  /** RFC 3339; now where absent. */
  readonly createdAt?: string | undefined;
}

const MAX_EXPERIMENTS = 10;
const MAX_NAME_LENGTH = 500;
const MAX_EXTRA_LENGTH = 65_536;

export interface ComparativeServiceDeps {
  readonly store: ComparativeStore;
  readonly experiments: ExperimentService;
  readonly clock: Clock;
  readonly ids: Ids;
}

export class ComparativeService {
  private readonly deps: ComparativeServiceDeps;

  constructor(deps: ComparativeServiceDeps) {
    this.deps = deps;
  }

  /** The experiments are on one dataset, or this is refused. */
  async create(principal: Principal, draft: ComparativeDraft): Promise<Result<ComparativeExperiment>> {
    const scope = requireScope(principal, 'write');
    const wanted = [...new Set(draft.experimentIds)];
    if (wanted.length < 2 || wanted.length > MAX_EXPERIMENTS) {
      return failed(problem('INVALID', `Name 2 to ${MAX_EXPERIMENTS} experiments.`, ['experiment_ids']));
    }
    if (
      (draft.name?.length ?? 0) > MAX_NAME_LENGTH ||
      JSON.stringify(draft.extra ?? {}).length > MAX_EXTRA_LENGTH
    ) {
      return failed(problem('INVALID', 'name or extra is too long.', ['name']));
    }
    const found = await this.deps.experiments.find(principal, wanted);
    const missing = wanted.find((id) => !found.some(({ uuid }) => uuid === id));
    if (missing !== undefined) {
      return failed(problem('NOT_FOUND', `There is no experiment ${missing}.`, ['experiment_ids']));
    }
    const [datasetId, ...others] = new Set(found.map((experiment) => experiment.datasetId));
    if (datasetId === undefined || others.length > 0) {
      return failed(problem('INVALID', 'The experiments are about different datasets.', ['experiment_ids']));
    }
    const made = await this.deps.store.insert(
      scope,
      {
        uuid: draft.id ?? this.deps.ids.uuid(),
        name: draft.name ?? null,
        description: draft.description ?? null,
        datasetId,
        experimentIds: wanted,
        extra: draft.extra ?? {},
      },
      draft.createdAt ?? this.deps.clock.now().toISOString(),
    );
    return made === undefined
      ? failed(problem('ALREADY_EXISTS', 'There is a comparative experiment with this id.', ['id']))
      : ok(made);
  }

  /** Up to `limit + 1` of a dataset, newest first. */
  async list(
    principal: Principal,
    datasetId: string,
    page: { readonly window: PageWindow; readonly offset?: number },
  ): Promise<ComparativeExperiment[]> {
    return this.deps.store.list(requireScope(principal, 'read'), datasetId, page);
  }

  /** Its feedback stays. Whether there was one. */
  async delete(principal: Principal, id: string): Promise<boolean> {
    return this.deps.store.delete(requireScope(principal, 'write'), id);
  }
}
