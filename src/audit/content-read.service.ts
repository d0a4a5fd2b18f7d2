/** Who read content, for those who administer the workspace. */
import type { PageWindow } from '../platform/keyset.js';
import { requireScope } from '../tenancy/principal.js';
import type { Principal } from '../tenancy/principal.js';
import type { ContentRead } from './content-read.js';
import type { ContentReadFilter, ContentReadStore } from './content-read.store.js';

export class ContentReadService {
  readonly #store: ContentReadStore;

  constructor({ store }: { store: ContentReadStore }) {
    this.#store = store;
  }

  /** Up to `limit + 1`, newest first, in reading order. */
  async list(principal: Principal, filter: ContentReadFilter, window: PageWindow): Promise<ContentRead[]> {
    return this.#store.list(requireScope(principal, 'admin'), filter, window);
  }

  /** How many match; `limit + 1` stands for "more than limit". */
  async count(principal: Principal, filter: ContentReadFilter, limit: number): Promise<number> {
    return this.#store.count(requireScope(principal, 'admin'), filter, limit);
  }
}
