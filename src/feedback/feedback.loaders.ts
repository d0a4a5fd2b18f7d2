/** Batches reads of feedback for many runs: one statement each for statistics, pages and counts. */
import DataLoader from 'dataloader';
import type { PageWindow } from '../platform/keyset.js';
import type { Principal } from '../tenancy/principal.js';
import type { FeedbackStats } from './feedback-stats.store.js';
import type { FeedbackService } from './feedback.service.js';
import type { Feedback } from './feedback.js';

const MAX_RUNS = 500;

/** One per operation. */
export class FeedbackLoaders {
  readonly #service: FeedbackService;
  readonly #principal: Principal;
  readonly #pages = new Map<string, DataLoader<string, Feedback[]>>();
  readonly #counts = new Map<number, DataLoader<string, number>>();
  /** Statistics per key, by run id. */
  readonly stats: DataLoader<string, FeedbackStats[]>;

  constructor(service: FeedbackService, principal: Principal) {
    this.#service = service;
    this.#principal = principal;
    this.stats = new DataLoader(
      async (runIds) => {
        const found = await service.statsByRuns(principal, runIds);
        return runIds.map((id) => found.get(id) ?? []);
      },
      { name: 'feedback.stats', maxBatchSize: MAX_RUNS },
    );
  }

  /** Up to `limit + 1` rows per run id; runs that ask for the same window share a statement. */
  page(window: PageWindow): DataLoader<string, Feedback[]> {
    const { limit, backward, boundary } = window;
    return getOrMake(this.#pages, JSON.stringify([limit, backward, boundary]), () => {
      const load = async (runIds: readonly string[]): Promise<Feedback[][]> => {
        const rows = new Map<string | null, Feedback[]>(runIds.map((id) => [id, []]));
        for (const row of await this.#service.listByRuns(this.#principal, runIds, window)) {
          rows.get(row.runId)?.push(row);
        }
        return runIds.map((id) => rows.get(id) ?? []);
      };
      return new DataLoader(load, { name: 'feedback.page', maxBatchSize: MAX_RUNS });
    });
  }

  /** Counts per run id, up to `limit`. */
  count(limit: number): DataLoader<string, number> {
    return getOrMake(this.#counts, limit, () => {
      const load = async (runIds: readonly string[]): Promise<number[]> => {
        const counts = await this.#service.countByRuns(this.#principal, runIds, limit);
        return runIds.map((id) => counts.get(id) ?? 0);
      };
      return new DataLoader(load, { name: 'feedback.count', maxBatchSize: MAX_RUNS });
    });
  }
}

function getOrMake<K, V>(map: Map<K, V>, key: K, make: () => V): V {
  const existing = map.get(key);
  if (existing !== undefined) return existing;
  const made = make();
  map.set(key, made);
  return made;
}
