/** Use cases of sharing datasets: a link lets anyone who has it read one dataset, until it is taken back. */
import { randomUUID } from 'node:crypto';
import type { Clock } from '../platform/clock.js';
import { everywhere, inWorkspace } from '../platform/db-scope.js';
import { AppError } from '../platform/errors.js';
import { isUuid } from '../platform/ids.js';
import { ok } from '../platform/result.js';
import type { Result } from '../platform/result.js';
import { requireScope } from '../tenancy/principal.js';
import type { Principal, Scope } from '../tenancy/principal.js';
import type { DatasetShare, DatasetShareStore } from './dataset-share.store.js';
import { noSuchDataset } from './version-writer.js';

/** A share that was opened by its token, and the caller its holder is: one who may read the workspace's data. */
export interface OpenedDatasetShare {
  readonly share: DatasetShare;
  /** Reaches the whole workspace: whoever uses it keeps to `share.datasetId`. */
  readonly principal: Principal;
}

const READ_ALL: ReadonlySet<Scope> = new Set(['read', 'content']);

export class DatasetShareService {
  readonly #store: DatasetShareStore;
  readonly #clock: Clock;

  constructor({ store, clock }: { store: DatasetShareStore; clock: Clock }) {
    this.#store = store;
    this.#clock = clock;
  }

  /** A dataset has one share: sharing again gives the same link. */
  async share(principal: Principal, datasetId: string): Promise<Result<DatasetShare>> {
    const scope = requireScope(principal, 'write');
    // A share shows content: whoever may not see it cannot show it to the world either.
    requireScope(principal, 'content');
    const share = await this.#store.ensure(scope, datasetId, randomUUID(), this.#clock.now());
    return share === undefined ? noSuchDataset() : ok(share);
  }

  /** By dataset. */
  async findByDatasets(
    principal: Principal,
    datasetIds: readonly string[],
  ): Promise<Map<string, DatasetShare>> {
    const scope = requireScope(principal, 'read');
    if (datasetIds.length === 0) return new Map();
    const shares = await this.#store.findByDatasets(scope, [...new Set(datasetIds)]);
    return new Map(shares.map((share) => [share.datasetId, share]));
  }

  /** The link stops working at once. Whether there was one. */
  async unshare(principal: Principal, datasetId: string): Promise<boolean> {
    return this.#store.delete(requireScope(principal, 'write'), datasetId);
  }

  /**
   * Does `work` for a caller without a key, who holds the link.
   * @throws AppError NOT_FOUND for unknown and malformed tokens alike.
   */
  async open<T>(token: string, work: (opened: OpenedDatasetShare) => Promise<T>): Promise<T> {
    const opened = await this.#open(token);
    return inWorkspace(opened.share.workspaceId, () => work(opened));
  }

  async #open(token: string): Promise<OpenedDatasetShare> {
    const share = isUuid(token)
      ? await everywhere('link lookup', () => this.#store.open(token.toLowerCase()))
      : undefined;
    if (share === undefined) throw new AppError('NOT_FOUND', 'Shared dataset not found.');
    const principal: Principal = {
      keyId: share.token,
      kind: 'service',
      organizationId: '',
      workspaceId: share.workspaceId,
      userId: undefined,
      scopes: READ_ALL,
      expiresAtMs: undefined,
    };
    return { share, principal };
  }
}
