/** Datasets' services on a test database, and callers of its workspaces. */
import type pg from 'pg';
import { DatasetDiffStore } from '../../src/datasets/dataset-diff.store.js';
import { DatasetService } from '../../src/datasets/dataset.service.js';
import { DatasetStore } from '../../src/datasets/dataset.store.js';
import { DatasetVersionStore } from '../../src/datasets/dataset-version.store.js';
import { payloadOf } from '../../src/datasets/example.js';
import type { ExampleDraft } from '../../src/datasets/example.js';
import { ExampleService } from '../../src/datasets/example.service.js';
import { ExampleStore } from '../../src/datasets/example.store.js';
import { ExampleImporter } from '../../src/datasets/example-importer.js';
import { ImportService } from '../../src/datasets/import.service.js';
import { ImportStore } from '../../src/datasets/import.store.js';
import { ExampleWriter } from '../../src/datasets/example-writer.js';
import type { JsonValue } from '../../src/ingest/run-event.js';
import { systemClock } from '../../src/platform/clock.js';
import { createPool } from '../../src/platform/db.js';
import { Idempotency } from '../../src/platform/idempotency.js';
import { systemIds } from '../../src/platform/ids.js';
import { createLogger } from '../../src/platform/log.js';
import type { Result } from '../../src/platform/result.js';
import { trustedScope } from '../../src/tenancy/principal.js';
import type { Principal, Scope } from '../../src/tenancy/principal.js';
import { createTestDatabase } from '../support/database.js';

export const uuid = (): string => systemIds.uuid();

export function principal(
  workspaceId: string,
  scopes: readonly Scope[] = ['read', 'write', 'content'],
): Principal {
  return {
    keyId: uuid(),
    kind: 'service',
    organizationId: uuid(),
    workspaceId,
    userId: undefined,
    scopes: new Set(scopes),
    expiresAtMs: undefined,
  };
}

/** The value of a result that must be good. */
export function good<T>(result: Result<T>): T {
  if (!result.ok) throw new Error(JSON.stringify(result.problems));
  return result.value;
}

export const draft = (
  inputs: JsonValue,
  outputs?: JsonValue,
  more: Partial<ExampleDraft> = {},
): ExampleDraft => ({
  inputs: payloadOf(inputs),
  ...(outputs !== undefined && { outputs: payloadOf(outputs) }),
  ...more,
});

export async function createWorld() {
  const database = await createTestDatabase();
  const log = createLogger('silent', 'test');
  const pool = createPool({ url: database.url, name: 'datasets', max: 6, statementTimeoutMs: 60_000, log });
  const statements = recordStatements(pool);
  const clock = systemClock;
  const ids = systemIds;
  const idempotency = new Idempotency({ pool, pepper: 'a pepper for tests', clock });
  const deleted: string[] = [];
  const noted: [type: string, ids: readonly string[]][] = [];
  const contentReads = {
    note: (_caller: unknown, { type, ids: read }: { type: string; ids: readonly string[] }) => {
      noted.push([type, read]);
    },
  };
  const store = new ExampleStore({ db: pool });
  const writer = new ExampleWriter({ clock, ids });
  const datasets = new DatasetService({
    pool,
    datasets: new DatasetStore({ db: pool }),
    versions: new DatasetVersionStore({ db: pool }),
    examples: store,
    deletions: {
      enqueue: (_tx, _scope, datasetId) => {
        deleted.push(datasetId);
        return Promise.resolve();
      },
    },
    idempotency,
    contentReads,
    clock,
    ids,
  });
  const examples = new ExampleService({
    pool,
    datasets,
    examples: store,
    diffs: new DatasetDiffStore({ db: pool }),
    writer,
    idempotency,
    contentReads,
  });
  const importer = new ExampleImporter({ pool, clock, ids });
  const imports = new ImportService({
    importer,
    imports: new ImportStore({ db: pool }),
    idempotency,
    contentReads,
  });
  const owner = principal(uuid());
  return {
    database,
    pool,
    clock,
    ids,
    statements,
    deleted,
    /** Reads of content, as they are recorded. */
    noted,
    contentReads,
    store,
    writer,
    idempotency,
    datasets,
    examples,
    importer,
    imports,
    owner,
    scope: trustedScope(owner.workspaceId),
    /** A new dataset of the owner, with these examples as version 1. */
    async dataset(drafts: readonly ExampleDraft[] = [], name = `dataset ${uuid()}`): Promise<string> {
      const { uuid: id } = good(await datasets.createDataset(owner, { name }));
      if (drafts.length > 0) good(await examples.createExamples(owner, id, drafts));
      return id;
    },
    /** Examples of a version, by id. */
    async read(datasetId: string, version: number) {
      return store.page(trustedScope(owner.workspaceId), datasetId, version, { limit: 100_000 });
    },
    async close(): Promise<void> {
      await pool.end();
      await database.drop();
    },
  };
}

/** Names of what is sent, within transactions too. */
function recordStatements(pool: pg.Pool): string[] {
  const statements: string[] = [];
  const note = (text: unknown): void => {
    const name = /\/\* (\S+) \*\//.exec(typeof text === 'string' ? text : '')?.[1];
    if (name !== undefined) statements.push(name);
  };
  pool.on('connect', (client) => {
    const send = client.query.bind(client) as (...all: unknown[]) => unknown;
    client.query = ((text: unknown, ...rest: unknown[]) => {
      note(text);
      return send(text, ...rest);
    }) as typeof client.query;
  });
  return statements;
}
