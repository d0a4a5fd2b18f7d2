/** Run writers on a test database, closed with it. */
import { systemClock } from '../../src/platform/clock.js';
import { createPool } from '../../src/platform/db.js';
import { systemIds } from '../../src/platform/ids.js';
import { createLogger } from '../../src/platform/log.js';
import { PartitionCatalog } from '../../src/ingest/partition-catalog.js';
import { ProjectResolver } from '../../src/ingest/project-resolver.js';
import { RunWriter } from '../../src/ingest/run-writer.js';
import { RunZones } from '../../src/ingest/run-zones.js';
import type { TestDatabase } from '../support/database.js';

const log = createLogger('silent', 'test');

export class Writers {
  readonly #database: TestDatabase;
  readonly #closers: (() => Promise<void>)[] = [];

  constructor(database: TestDatabase) {
    this.#database = database;
  }

  create(lanes = 2): { writer: RunWriter; rings: () => number } {
    let rings = 0;
    const { url, pool: shared } = this.#database;
    const pool = createPool({
      url,
      name: 'ingest',
      max: lanes,
      statementTimeoutMs: 10_000,
      rows: 'everywhere',
      log,
    });
    const projects = new ProjectResolver({ pool: shared, ids: systemIds, clock: systemClock });
    const zones = new RunZones({ pool: shared, partitions: new PartitionCatalog({ pool: shared }) });
    const doorbell = {
      ring: () => (rings += 1),
      listen: () => () => undefined,
      close: () => Promise.resolve(),
    };
    const writer = new RunWriter({ pool, lanes, projects, zones, doorbell, clock: systemClock, log });
    this.#closers.push(async () => {
      await writer.close();
      await pool.end();
    });
    return { writer, rings: () => rings };
  }

  async close(): Promise<void> {
    for (const close of this.#closers) await close();
  }
}
