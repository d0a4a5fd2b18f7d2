/**
 * A worker process for tests that kill one. Its jobs note that they started; a unit "hang" stays there on its first
 * execution, "die" ends the process each time, anything else records its result.
 */
import { randomUUID } from 'node:crypto';
import { Registry } from 'prom-client';
import { systemClock } from '../../src/platform/clock.js';
import { createPool } from '../../src/platform/db.js';
import { createDoorbell } from '../../src/platform/doorbell-factory.js';
import { systemIds } from '../../src/platform/ids.js';
import { createJobEngine } from '../../src/platform/jobs/engine.js';
import { JobStore } from '../../src/platform/jobs/job.store.js';
import { JobQueue } from '../../src/platform/jobs/queue.js';
import { startWorkers } from '../../workers/worker-group.js';
import { defineUnitJob, engineConnection, handle, log, recordResult, redisUrl } from './harness.js';
import type { EngineName } from './harness.js';

const [name, url, prefix] = process.argv.slice(2) as [EngineName, string, string];

export const crashingJob = defineUnitJob();
const pool = createPool({
  url,
  name: `victim-${randomUUID().slice(0, 8)}`,
  max: 4,
  statementTimeoutMs: 10_000,
  log,
});
const doorbell = createDoorbell({ databaseUrl: url, redisUrl: name === 'redis' ? redisUrl : undefined, log });
const store = new JobStore();
await startWorkers({
  pool,
  engine: await createJobEngine({ connection: engineConnection(name, url), queues: ['work'], log, prefix }),
  store,
  queue: new JobQueue({
    store,
    ids: systemIds,
    doorbell,
    delivery: name === 'postgres' ? 'transactional' : 'outbox',
  }),
  doorbell,
  services: null,
  implementations: [
    handle(crashingJob, async ({ payload, claim }) => {
      await pool.query('insert into test_starts (unit, claim) values ($1, $2)', [payload.unit, claim.number]);
      if (payload.unit.startsWith('die')) process.kill(process.pid, 'SIGKILL');
      if (payload.unit.startsWith('hang')) await new Promise(() => undefined);
      await claim.finish((tx) => recordResult(tx, payload.unit, claim.number));
    }),
  ],
  concurrency: { work: 4 },
  registry: new Registry(),
  clock: systemClock,
  ids: systemIds,
  log,
});
