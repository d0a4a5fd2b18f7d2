import DataLoader from 'dataloader';
import type { Principal } from '../tenancy/principal.js';
import type { Gate } from './gate.js';
import type { GateService } from './gate.service.js';
import type { Flakiness } from './gate.store.js';

const NEVER_ASKED: Flakiness = { candidates: 0, flaky: 0 };

export class GateLoaders {
  readonly byId: DataLoader<string, Gate | undefined>;
  readonly flakiness: DataLoader<string, Flakiness>;

  constructor({ service, principal }: { service: GateService; principal: Principal }) {
    this.byId = new DataLoader(
      async (ids) => {
        const found = new Map((await service.find(principal, ids)).map((gate) => [gate.uuid, gate]));
        return ids.map((id) => found.get(id));
      },
      { name: 'gates.find', maxBatchSize: 500 },
    );
    this.flakiness = new DataLoader(
      async (ids) => {
        const found = await service.flakiness(principal, ids);
        return ids.map((id) => found.get(id) ?? NEVER_ASKED);
      },
      { name: 'gates.flakiness', maxBatchSize: 500 },
    );
  }
}
