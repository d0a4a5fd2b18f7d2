/**
 * Makes searches right although the index lags: finds the runs it has not seen in their latest form and judges those
 * here, by the same functions the index is made with.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import type pg from 'pg';
import type { RunFilters } from '../filters/filter.js';
import { eachLeaf, isSearchLeaf, plansOf, type SearchLeaf } from '../filters/filter.plan.js';
import { compileSearchLeaf } from '../filters/filter.predicate.js';
import { COMPLETE_INDEX, type SearchResolution } from '../filters/search-resolution.js';
import type { Clock } from '../platform/clock.js';
import { AppError } from '../platform/errors.js';
import type { Logger } from '../platform/log.js';
import type { WorkspaceScope } from '../tenancy/principal.js';
import type { SearchIndexer } from './search-indexer.js';
import type { SearchStore } from './search.store.js';

export interface SearchServiceDeps {
  readonly pool: pg.Pool;
  readonly store: SearchStore;
  readonly indexer: Pick<SearchIndexer, 'runOnce'>;
  readonly clock: Clock;
  readonly log: Logger;
  /** Changed runs of a workspace that a search looks through itself; with more it has them indexed first. Default 2,000. */
  readonly maxTail?: number;
  /** The longest wait for the index in milliseconds. Default 10,000. */
  readonly maxWaitMs?: number;
}

/** Between two looks while another process does the indexing. */
const POLL_MS = 50;

export class SearchService {
  private readonly maxTail: number;
  private readonly maxWaitMs: number;

  constructor(private readonly deps: SearchServiceDeps) {
    this.maxTail = deps.maxTail ?? 2_000;
    this.maxWaitMs = deps.maxWaitMs ?? 10_000;
  }

  /**
   * What the compiler needs for the filters' searches. Undefined, and without any statement, when they have none.
   * Covers every run that was committed before the call.
   * @throws AppError UNAVAILABLE when the index is too far behind and does not catch up in time.
   */
  async resolve(
    scope: WorkspaceScope,
    filters: RunFilters | undefined,
  ): Promise<SearchResolution | undefined> {
    const leaves = searchLeaves(filters);
    if (leaves.size === 0) return undefined;
    const changed = await this.boundedTail(scope);
    if (changed.length === 0) return COMPLETE_INDEX;
    // Nearly always this leaves nothing to do here, and the statement that follows free to start where it likes: a
    // list of further ids beside the index costs it that for common words.
    await this.index();

    const questions = [...leaves.values()].map((leaf) => ({
      key: leaf.key,
      matches: compileSearchLeaf(leaf),
    }));
    const matching = new Map<string, string[]>(questions.map(({ key }) => [key, []]));
    const outdated: string[] = [];
    let after: string | undefined;
    for (;;) {
      const page = await this.deps.store.stale(this.deps.pool, scope, changed, after);
      if (page.length === 0) return { outdated, matching };
      for (const run of page) {
        if (run.outdated) outdated.push(run.id);
        for (const { key, matches } of questions) if (matches(run)) matching.get(key)?.push(run.id);
      }
      after = page.at(-1)?.id;
    }
  }

  /** One step of the indexer. Its trouble is not the searcher's: what it leaves is judged one by one. */
  private async index(): Promise<number> {
    try {
      return (await this.deps.indexer.runOnce()).indexed;
    } catch (error) {
      this.deps.log.warn({ err: error }, 'the search index could not be brought up to date');
      return 0;
    }
  }

  private async boundedTail(scope: WorkspaceScope): Promise<string[]> {
    const { pool, store, clock } = this.deps;
    const deadline = clock.now().getTime() + this.maxWaitMs;
    for (;;) {
      const changed = await store.tail(pool, scope, this.maxTail + 1);
      if (changed.length <= this.maxTail) return changed;
      if (clock.now().getTime() >= deadline) {
        throw new AppError('UNAVAILABLE', 'The search index is catching up. Try again.');
      }
      if ((await this.index()) === 0) await sleep(POLL_MS);
    }
  }
}

/** The distinct questions to the search index, by key. */
function searchLeaves(filters: RunFilters | undefined): Map<string, SearchLeaf> {
  const leaves = new Map<string, SearchLeaf>();
  if (filters === undefined) return leaves;
  for (const plan of plansOf(filters)) {
    eachLeaf(plan, (leaf) => {
      if (isSearchLeaf(leaf)) leaves.set(leaf.key, leaf);
    });
  }
  return leaves;
}
