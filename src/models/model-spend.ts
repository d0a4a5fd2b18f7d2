/** What was spent on calls, for whoever has to stay below a cap. */
import type pg from 'pg';
import { inWorkspace } from '../platform/db-scope.js';
import { trustedScope } from '../tenancy/principal.js';
import type { ModelCallStore } from './model-call.store.js';

export class ModelSpend {
  readonly #pool: pg.Pool;
  readonly #calls: ModelCallStore;

  constructor({ pool, calls }: { pool: pg.Pool; calls: ModelCallStore }) {
    this.#pool = pool;
    this.#calls = calls;
  }

  /**
   * US dollars of all recorded calls of an owner (see ModelCallContext), decimal text. Each call counts once, however
   * often it was asked for; calls whose price is not known count nothing.
   */
  async spentBy(workspaceId: string, ownerId: string): Promise<string> {
    return inWorkspace(workspaceId, () =>
      this.#calls.spentBy(this.#pool, trustedScope(workspaceId), ownerId),
    );
  }
}
