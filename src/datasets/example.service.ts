/**
 * Use cases over examples, for every protocol: reading them as of a version, writing them so that each write makes one,
 * and what changed in between. Content is null for callers without the content scope.
 */
import type pg from 'pg';
import type { ContentReads } from '../audit/content-read.js';
import type { Idempotency, IdempotentCall } from '../platform/idempotency.js';
import { isUuid } from '../platform/ids.js';
import type { PageWindow } from '../platform/keyset.js';
import { failed, ok, problem } from '../platform/result.js';
import type { Result } from '../platform/result.js';
import { mayReadContent, requireScope } from '../tenancy/principal.js';
import type { Principal, WorkspaceScope } from '../tenancy/principal.js';
import type { AsOf, ChangeKind, Dataset, Example, ExampleDifference, VersionRange } from './dataset.js';
import type { DatasetService } from './dataset.service.js';
import type { DatasetDiffStore } from './dataset-diff.store.js';
import { splitProblems } from './example.js';
import type { ExampleChange, ExampleDraft } from './example.js';
import type {
  ExampleListRequest,
  ExamplePageRequest,
  ExampleStore,
  Pin,
  ShownExample,
} from './example.store.js';
import type { ExampleWriter } from './example-writer.js';
import type { ExampleWrite, Writer } from './version-writer.js';

export interface ExampleServiceDeps {
  readonly pool: pg.Pool;
  readonly datasets: DatasetService;
  readonly examples: ExampleStore;
  readonly diffs: DatasetDiffStore;
  readonly writer: ExampleWriter;
  readonly idempotency: Idempotency;
  readonly contentReads: ContentReads;
}

/** What of a list request the caller says. `content` (default: true) is whether content is wanted at all. */
export type ExampleQuery = Omit<ExampleListRequest, 'content'> & ContentOption;

export interface ContentOption {
  readonly content?: boolean | undefined;
}

/** What needs the content scope of an example. */
export const EXAMPLE_CONTENT = ['inputs', 'outputs', 'attachments'] as const;

export interface WriteOptions {
  readonly idempotencyKey?: string | null | undefined;
  /** Kept with the version. */
  readonly note?: string | null | undefined;
}

const MAX_SPLITS_SHOWN = 1_000;

/** In whose name a caller writes. */
export const writerOf = (principal: Principal, scope: WorkspaceScope, note?: string | null): Writer => ({
  scope,
  actor: principal.userId ?? principal.keyId,
  note,
});

export class ExampleService {
  private readonly deps: ExampleServiceDeps;

  constructor(deps: ExampleServiceDeps) {
    this.deps = deps;
  }

  // ── Reading ──────────────────────────────────────────────────────────────────────────────────────────────

  /** Which rows `asOf` means; without it the newest, which moves on. @throws AppError NOT_FOUND */
  async pin(principal: Principal, dataset: Dataset, asOf: AsOf | undefined): Promise<Pin> {
    return asOf === undefined ? 'newest' : this.deps.datasets.resolve(principal, dataset, asOf);
  }

  /**
   * Up to `limit + 1` examples in reading order.
   * @throws AppError FORBIDDEN for a search in content without the content scope.
   */
  async listExamples(principal: Principal, query: ExampleQuery): Promise<ShownExample[]> {
    const scope = requireScope(principal, 'read');
    if ((query.filter.search?.length ?? 0) > 0) requireScope(principal, 'content');
    const content = query.content !== false && mayReadContent(principal);
    const rows = await this.deps.examples.list(scope, { ...query, content });
    // The extra row only tells that more follow.
    return this.noted(principal, rows, content, query.window.limit);
  }

  /** How many match; `limit + 1` stands for "more than limit". */
  async countExamples(
    principal: Principal,
    query: Pick<ExampleQuery, 'datasetId' | 'pin' | 'filter'>,
    limit: number,
  ): Promise<number> {
    const scope = requireScope(principal, 'read');
    if ((query.filter.search?.length ?? 0) > 0) requireScope(principal, 'content');
    return this.deps.examples.count(scope, query, limit);
  }

  /** The next examples of a version by id, content included, for who reads all of them. */
  async pageExamples(
    principal: Principal,
    datasetId: string,
    version: number,
    request: ExamplePageRequest,
  ): Promise<Example[]> {
    const scope = requireScope(principal, 'read');
    requireScope(principal, 'content');
    const rows = await this.deps.examples.page(scope, datasetId, version, request);
    return this.noted(principal, rows, true);
  }

  /** The newest state of examples, in no particular order; deleted, missing and foreign ones are left out. */
  async findExamples(
    principal: Principal,
    ids: readonly string[],
    { content: wanted }: ContentOption = {},
  ): Promise<ShownExample[]> {
    const scope = requireScope(principal, 'read');
    if (ids.length === 0) return [];
    const content = wanted !== false && mayReadContent(principal);
    return this.noted(
      principal,
      await this.deps.examples.findByIds(scope, [...new Set(ids)], content),
      content,
    );
  }

  /** One example as it was, also where it is deleted since. Undefined where it was not there. */
  async findExample(
    principal: Principal,
    id: string,
    asOf?: AsOf,
    option: ContentOption = {},
  ): Promise<ShownExample | undefined> {
    if (asOf === undefined) return (await this.findExamples(principal, [id], option))[0];
    const scope = requireScope(principal, 'read');
    const datasetId = (await this.deps.examples.datasetsOf(scope, [id])).get(id);
    if (datasetId === undefined) return undefined;
    const dataset = await this.deps.datasets.findDataset(principal, datasetId);
    if (dataset === undefined) return undefined;
    const pin = await this.deps.datasets.resolve(principal, dataset, asOf);
    return (await this.findExamplesIn(principal, { datasetId, pin }, [id], option))[0];
  }

  /** Examples of one dataset as they were, in no particular order. */
  async findExamplesIn(
    principal: Principal,
    place: { readonly datasetId: string; readonly pin: Pin },
    ids: readonly string[],
    { content: wanted }: ContentOption = {},
  ): Promise<ShownExample[]> {
    const scope = requireScope(principal, 'read');
    if (ids.length === 0) return [];
    const content = wanted !== false && mayReadContent(principal);
    return this.noted(
      principal,
      await this.deps.examples.findIn(scope, place, [...new Set(ids)], content),
      content,
    );
  }

  /** The datasets of examples, by example. */
  async datasetsOf(principal: Principal, ids: readonly string[]): Promise<Map<string, string>> {
    const scope = requireScope(principal, 'read');
    return ids.length === 0 ? new Map() : this.deps.examples.datasetsOf(scope, [...new Set(ids)]);
  }

  /** Current examples made from these runs: the first `limit` of each. */
  async findBySource(
    principal: Principal,
    runIds: readonly string[],
    limit: number,
    { content: wanted }: ContentOption = {},
  ): Promise<ShownExample[]> {
    const scope = requireScope(principal, 'read');
    if (runIds.length === 0) return [];
    const content = wanted !== false && mayReadContent(principal);
    const rows = await this.deps.examples.findBySource(scope, [...new Set(runIds)], limit, content);
    return this.noted(principal, rows, content);
  }

  async listSplits(principal: Principal, datasetId: string, pin: Pin): Promise<string[]> {
    return this.deps.examples.splits(requireScope(principal, 'read'), datasetId, pin, MAX_SPLITS_SHOWN);
  }

  // ── Differences ──────────────────────────────────────────────────────────────────────────────────────────

  async countDifferences(principal: Principal, range: VersionRange): Promise<Record<ChangeKind, number>> {
    return this.deps.diffs.counts(requireScope(principal, 'read'), range);
  }

  /** Up to `limit + 1` examples that are not the same in both versions, by id. */
  async listDifferences(
    principal: Principal,
    range: VersionRange,
    kinds: readonly ChangeKind[],
    window: PageWindow,
  ): Promise<ExampleDifference[]> {
    return this.deps.diffs.list(requireScope(principal, 'read'), range, kinds, window);
  }

  // ── Writing ──────────────────────────────────────────────────────────────────────────────────────────────

  /** All or none, in one version. */
  async createExamples(
    principal: Principal,
    datasetId: string,
    drafts: readonly ExampleDraft[],
    { idempotencyKey, note }: WriteOptions = {},
  ): Promise<Result<ExampleWrite>> {
    const scope = requireScope(principal, 'write');
    const input = { datasetId, note, drafts: idempotencyKey ? drafts : [] };
    const call = { mutation: 'createExamples', key: idempotencyKey, input };
    return this.once(principal, call, (tx) =>
      this.deps.writer.create(tx, writerOf(principal, scope, note), datasetId, drafts),
    );
  }

  /** All or none, in one version; none is made where nothing changes. */
  async updateExamples(
    principal: Principal,
    datasetId: string,
    changes: readonly ExampleChange[],
    { note }: Pick<WriteOptions, 'note'> = {},
  ): Promise<Result<ExampleWrite>> {
    const writer = writerOf(principal, requireScope(principal, 'write'), note);
    return this.transact(principal, (tx) => this.deps.writer.update(tx, writer, datasetId, changes));
  }

  /**
   * All or none, of however many datasets: each of them gets one version. `hard` removes them from older versions too.
   * Examples that are deleted already are left out; unknown ones are refused.
   */
  async deleteExamples(
    principal: Principal,
    ids: readonly string[],
    { hard = false, note }: { hard?: boolean } & Pick<WriteOptions, 'note'> = {},
  ): Promise<Result<readonly ExampleWrite[]>> {
    const scope = requireScope(principal, 'write');
    const writer = writerOf(principal, scope, note);
    const { examples, writer: write } = this.deps;
    const distinct = [...new Set(ids)];
    const owners = await examples.datasetsOf(scope, distinct);
    const groups = grouped(distinct, (id) => owners.get(id));
    const unknown = groups.get(undefined);
    if (unknown !== undefined) {
      const [first = ''] = unknown;
      const path = ['ids', String(ids.indexOf(first))];
      return failed(problem('NOT_FOUND', `Example ${first} not found.`, path));
    }
    return this.transact(principal, async (tx): Promise<Result<readonly ExampleWrite[]>> => {
      const done: ExampleWrite[] = [];
      // Always in the same order: two such calls do not wait for each other in a circle.
      for (const datasetId of [...groups.keys()].filter(isUuid).sort()) {
        const own = groups.get(datasetId) ?? [];
        const result = hard
          ? await write.deleteForEver(tx, writer, datasetId, own)
          : await write.delete(tx, writer, datasetId, own);
        if (!result.ok) return result;
        done.push(result.value);
      }
      return ok(done);
    });
  }

  /** Puts examples into a split or takes them out of it, in one version. */
  async setSplit(
    principal: Principal,
    datasetId: string,
    change: { readonly split: string; readonly remove: boolean; readonly ids: readonly string[] },
    { note }: Pick<WriteOptions, 'note'> = {},
  ): Promise<Result<ExampleWrite>> {
    const writer = writerOf(principal, requireScope(principal, 'write'), note);
    const problems = splitProblems([change.split], []);
    if (problems.length > 0) return failed(...problems);
    const ids = [...new Set(change.ids)];
    return this.transact(principal, (tx) =>
      this.deps.writer.setSplit(tx, writer, datasetId, { ...change, ids }),
    );
  }

  /** Records that content of the first `shown` rows was read, where it was. */
  private noted<T extends { readonly uuid: string }>(
    principal: Principal,
    rows: T[],
    content: boolean,
    shown = rows.length,
  ): T[] {
    if (content && rows.length > 0) {
      const ids = rows.slice(0, shown).map(({ uuid }) => uuid);
      this.deps.contentReads.note(principal, { type: 'example', ids, fields: EXAMPLE_CONTENT });
    }
    return rows;
  }

  private once<T>(
    principal: Principal,
    call: IdempotentCall,
    work: (tx: pg.PoolClient) => Promise<Result<T>>,
  ): Promise<Result<T>> {
    return this.deps.idempotency.once(principal, call, work);
  }

  /** A failed result rolls back. */
  private transact<T>(
    principal: Principal,
    work: (tx: pg.PoolClient) => Promise<Result<T>>,
  ): Promise<Result<T>> {
    return this.once(principal, { mutation: '', key: undefined, input: undefined }, work);
  }
}

function grouped<K, V>(items: readonly V[], key: (item: V) => K): Map<K, V[]> {
  const groups = new Map<K, V[]>();
  for (const item of items) {
    const group = groups.get(key(item));
    if (group === undefined) groups.set(key(item), [item]);
    else group.push(item);
  }
  return groups;
}
