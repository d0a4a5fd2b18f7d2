/** Batched reads of one operation: evaluators by id, and their versions. */
import DataLoader from 'dataloader';
import type { Principal } from '../tenancy/principal.js';
import type { Evaluator, StoredVersion } from './evaluator.js';
import type { EvaluatorService } from './evaluator.service.js';
import type { VersionRef } from './evaluator.store.js';

const MAX_BATCH = 500;

export class EvaluatorLoaders {
  readonly byId: DataLoader<string, Evaluator | undefined>;
  readonly version: DataLoader<VersionRef & { readonly version: number }, StoredVersion | undefined, string>;

  constructor({ service, principal }: { service: EvaluatorService; principal: Principal }) {
    this.byId = new DataLoader(
      async (ids) => {
        const found = new Map((await service.find(principal, ids)).map((each) => [each.uuid, each]));
        return ids.map((id) => found.get(id));
      },
      { name: 'evaluators.find', maxBatchSize: MAX_BATCH },
    );
    this.version = new DataLoader(
      async (refs) => {
        const found = new Map(
          (await service.findVersionsAt(principal, refs)).map((each) => [keyOf(each), each]),
        );
        return refs.map((ref) => found.get(keyOf(ref)));
      },
      { name: 'evaluators.findVersions', maxBatchSize: MAX_BATCH, cacheKeyFn: keyOf },
    );
  }
}

const keyOf = ({ evaluatorId, version }: { evaluatorId: string; version: number }): string =>
  `${evaluatorId}/${version}`;
