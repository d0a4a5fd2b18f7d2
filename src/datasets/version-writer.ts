/**
 * The one way examples change: a transaction takes the dataset's row lock, does its work, and makes one version of it,
 * or none where it changed nothing. Two writers of one dataset therefore never make the same version, and what a
 * version shows is complete when it can be seen.
 */
import type pg from 'pg';
import type { Clock } from '../platform/clock.js';
import { sqlState } from '../platform/db.js';
import { AppError } from '../platform/errors.js';
import { failed, ok, problem } from '../platform/result.js';
import type { Result } from '../platform/result.js';
import { parseWireTime } from '../ingest/wire-time.js';
import type { WorkspaceScope } from '../tenancy/principal.js';
import type { Dataset, DatasetVersion } from './dataset.js';
import { DatasetStore } from './dataset.store.js';
import { DatasetVersionStore } from './dataset-version.store.js';

/** On whose behalf examples are written. */
export interface Writer {
  readonly scope: WorkspaceScope;
  /** A user's or key's id, or the job that writes. */
  readonly actor: string | null;
  readonly note?: string | null | undefined;
}

/** Where the rows of a write go. */
export interface WritePlace {
  readonly tx: pg.PoolClient;
  readonly scope: WorkspaceScope;
  readonly dataset: Dataset;
  readonly datasetId: string;
  readonly version: number;
  readonly createdAt: string;
  /** The same, in microseconds since the epoch. */
  readonly modifiedUs: number;
}

export interface Written<T> {
  readonly added: number;
  readonly modified: number;
  readonly removed: number;
  readonly value: T;
}

export interface ExampleWrite {
  readonly datasetId: string;
  /** The version made, else the newest there is; null where the dataset never had an example. */
  readonly version: DatasetVersion | null;
  /** Whether the write changed anything, and so made the version. */
  readonly made: boolean;
  /** The examples it is about: in order of the input for creations, those that changed otherwise. */
  readonly exampleIds: readonly string[];
}

export const noSuchDataset = (path: readonly string[] = ['datasetId']): Result<never> =>
  failed(problem('NOT_FOUND', 'Dataset not found.', path));

const LOCK_NOT_AVAILABLE = '55P03';

/** @throws AppError CONFLICT where another writer holds the dataset for too long. */
export async function lockDataset(
  tx: pg.PoolClient,
  scope: WorkspaceScope,
  datasetId: string,
): Promise<Dataset | undefined> {
  try {
    return await new DatasetStore({ db: tx }).lock(scope, datasetId);
  } catch (error) {
    if (sqlState(error) !== LOCK_NOT_AVAILABLE) throw error;
    throw new AppError('CONFLICT', 'Another write to this dataset is going on. Try again shortly.', {
      cause: error,
      details: { retryable: true },
      retryAfterSeconds: 1,
    });
  }
}

/** In `tx`, which the caller rolls back where the result is a failure. */
export async function writeVersion(
  tx: pg.PoolClient,
  { scope, actor, note }: Writer,
  datasetId: string,
  clock: Clock,
  work: (place: WritePlace) => Promise<Result<Written<readonly string[]>>>,
): Promise<Result<ExampleWrite>> {
  const dataset = await lockDataset(tx, scope, datasetId);
  if (dataset === undefined) return noSuchDataset();
  const versions = new DatasetVersionStore({ db: tx });
  const next = await versions.next(scope, datasetId, dataset.version, clock.now());
  const modifiedUs = parseWireTime(next.createdAt) ?? Number.NaN;
  const written = await work({ tx, scope, dataset, datasetId, ...next, modifiedUs });
  if (!written.ok) return written;
  const { added, modified, removed, value } = written.value;
  if (added + modified + removed === 0) {
    const version = (await versions.find(scope, datasetId, { version: dataset.version })) ?? null;
    return ok({ datasetId, version, made: false, exampleIds: value });
  }
  const version = await versions.make(scope, datasetId, {
    ...next,
    added,
    modified,
    removed,
    actor,
    note: note ?? null,
  });
  return ok({ datasetId, version, made: true, exampleIds: value });
}
