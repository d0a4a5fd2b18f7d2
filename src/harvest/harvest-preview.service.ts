/** What a harvest would do, on the first runs it would look at. Writes nothing. */
import type { DatasetService } from '../datasets/dataset.service.js';
import type { Clock } from '../platform/clock.js';
import { AppError } from '../platform/errors.js';
import { requireScope } from '../tenancy/principal.js';
import type { Principal } from '../tenancy/principal.js';
import type { NewCandidate } from './candidate.store.js';
import { windowOf } from './harvest.js';
import type { HarvestCandidate, HarvestDefinition, TimeWindow } from './harvest.js';
import type { HarvestService } from './harvest.service.js';
import { HarvestRefused } from './harvest-source.js';
import type { HarvestQuestion, HarvestSource } from './harvest-source.js';

export const MAX_PREVIEW = 50;
/** Runs a preview looks at, for as long as it has not found enough. */
const MAX_LOOKED_AT = 1_000;

export interface HarvestPreviewDeps {
  readonly harvests: HarvestService;
  readonly datasets: Pick<DatasetService, 'findDataset'>;
  readonly source: HarvestSource;
  readonly clock: Clock;
}

/** Exactly one: what is stored, or a draft. */
export type PreviewOf =
  { readonly harvestId: string } | { readonly datasetId: string; readonly definition: unknown };

export interface HarvestPreview {
  /** Those that would be pending, before the cap; oldest first. */
  readonly candidates: readonly HarvestCandidate[];
  readonly window: TimeWindow;
  /** Runs that were looked at, by what became of them. */
  readonly lookedAt: number;
  readonly internal: number;
  readonly known: number;
  readonly exactDuplicates: number;
  readonly nearDuplicates: number;
  readonly failed: number;
  /** Whether all runs of the window were looked at. */
  readonly complete: boolean;
}

interface Plan {
  readonly harvest: HarvestQuestion['harvest'];
  readonly datasetId: string;
  readonly definition: HarvestDefinition;
  readonly harvestedTo: string | null;
}

export class HarvestPreviewService {
  private readonly deps: HarvestPreviewDeps;

  constructor(deps: HarvestPreviewDeps) {
    this.deps = deps;
  }

  /** @throws AppError NOT_FOUND, BAD_USER_INPUT */
  async preview(
    principal: Principal,
    of: PreviewOf,
    first: number,
    signal: AbortSignal,
  ): Promise<HarvestPreview> {
    requireScope(principal, 'content');
    if (first < 1 || first > MAX_PREVIEW) {
      throw new AppError('BAD_USER_INPUT', `"first" must be between 1 and ${MAX_PREVIEW}.`, {
        path: ['first'],
      });
    }
    const plan = await this.planOf(principal, of);
    const window = windowOf(plan.definition, plan.harvestedTo, this.deps.clock.now());
    const judged: NewCandidate[] = [];
    let internal = 0;
    let pending = 0;
    let complete = true;
    try {
      for await (const page of this.deps.source.pages(principal, { ...plan, window }, signal)) {
        internal += page.internal;
        judged.push(...page.candidates);
        pending += page.candidates.filter(({ verdict }) => verdict === 'pending').length;
        if (pending < first && judged.length < MAX_LOOKED_AT) continue;
        complete = false;
        break;
      }
    } catch (error) {
      if (error instanceof HarvestRefused) {
        throw new AppError('BAD_USER_INPUT', error.message, { cause: error });
      }
      throw error;
    }
    const count = (verdict: NewCandidate['verdict']): number =>
      judged.filter((candidate) => candidate.verdict === verdict).length;
    return {
      candidates: judged
        .filter(({ verdict }) => verdict === 'pending')
        .slice(0, first)
        .map((candidate) => ({ ...candidate, exampleId: null })),
      window,
      lookedAt: judged.length + internal,
      internal,
      known: count('known'),
      exactDuplicates: count('exact_duplicate'),
      nearDuplicates: count('near_duplicate'),
      failed: count('failed'),
      complete,
    };
  }

  private async planOf(principal: Principal, of: PreviewOf): Promise<Plan> {
    const { harvests } = this.deps;
    if ('harvestId' in of) {
      const [harvest] = await harvests.find(principal, [of.harvestId]);
      if (harvest === undefined) throw new AppError('NOT_FOUND', 'Harvest not found.');
      const { uuid, revision, datasetId, definition, harvestedTo } = harvest;
      return { harvest: { harvestId: uuid, revision }, datasetId, definition, harvestedTo };
    }
    const definition = await harvests.check(principal, {}, of.datasetId, of.definition);
    if (definition.ok) {
      return {
        harvest: undefined,
        datasetId: of.datasetId,
        definition: definition.value,
        harvestedTo: null,
      };
    }
    const [first] = definition.problems;
    throw new AppError(
      first?.code === 'NOT_FOUND' ? 'NOT_FOUND' : 'BAD_USER_INPUT',
      first?.message ?? 'This is no harvest.',
      { path: first?.path ?? [] },
    );
  }
}
