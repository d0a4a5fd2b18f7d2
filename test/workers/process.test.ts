import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import path from 'node:path';
import { afterEach, describe, expect, test } from '@jest/globals';
import { Redis } from 'ioredis';
import { freePort } from '../../src/platform/port-check.js';
import { createTestDatabase } from '../support/database.js';
import type { TestDatabase } from '../support/database.js';
import { eventually } from '../support/eventually.js';
import { hasRedisServer } from '../support/redis-cluster.js';
import { implementations } from '../../workers/registry.js';

const redisUrl = process.env['TEST_REDIS_URL'];
const PATIENT = { timeoutMs: 40_000, everyMs: 100 };

let child: ChildProcess | undefined;
let database: TestDatabase | undefined;

afterEach(async () => {
  if (child !== undefined && child.exitCode === null && child.signalCode === null) {
    child.kill('SIGKILL');
    await once(child, 'exit');
  }
  await database?.drop();
});

/** A database of the server that nothing else uses: schedules of an earlier run would not be due. */
async function emptyRedis(): Promise<string> {
  const url = `${redisUrl}/61`;
  const redis = new Redis(url);
  await redis.flushdb();
  redis.disconnect();
  return url;
}

function start(env: Record<string, string>): ChildProcess {
  const inherited = Object.fromEntries(Object.entries(process.env).filter(([name]) => name !== 'REDIS_URL'));
  child = spawn(process.execPath, ['--import', 'tsx', path.resolve('workers/main.ts')], {
    env: { ...inherited, LOG_LEVEL: 'fatal', ...env },
    stdio: ['ignore', 'inherit', 'pipe'],
  });
  return child;
}

/** Whatever has a schedule is due at the first start. */
const regular = implementations
  .flatMap(({ contract }) => (contract.schedule === undefined ? [] : [contract.name]))
  .sort();

describe.each(redisUrl === undefined ? ['postgres'] : ['postgres', 'redis'])(
  'a worker process on %s',
  (engine) => {
    test('does the upkeep at its start, says how it is, and ends in order', async () => {
      database = await createTestDatabase();
      const { pool, url } = database;
      const port = String(await freePort());
      const process = start({
        DATABASE_URL: url,
        WORKER_PORT: port,
        ...(engine === 'redis' && { REDIS_URL: await emptyRedis() }),
      });
      const get = (where: string) => fetch(`http://127.0.0.1:${port}${where}`);
      await eventually(async () => expect((await get('/readyz')).status).toBe(200), PATIENT);
      expect((await get('/healthz')).status).toBe(200);
      expect((await get('/nothing')).status).toBe(404);

      await eventually(async () => {
        const { rows } = await pool.query("select name from jobs where state = 'succeeded' order by name");
        expect(rows.map(({ name }) => name as string)).toEqual(regular);
      }, PATIENT);
      const { rows } = await pool.query('select count(*)::int as days from run_partitions');
      expect(rows).toEqual([{ days: 9 }]);
      const metrics = await (await get('/metrics')).text();
      expect(metrics).toContain('tracewell_jobs_total{job="partitions.ensure",outcome="succeeded"} 1');
      expect(metrics).toContain('tracewell_outbox_oldest_seconds 0');

      const ended = once(process, 'exit');
      process.kill('SIGTERM');
      expect(await ended).toEqual([0, null]);
      const left = await pool.query(
        "select application_name from pg_stat_activity where datname = current_database() and application_name <> 'tracewell-test'",
      );
      expect(left.rows).toEqual([]);
      expect((await pool.query('select 1 from job_workers')).rows).toEqual([]);
    }, 90_000);
  },
);

const withRedisServer = hasRedisServer ? test : test.skip;
if (!hasRedisServer) console.log('A worker at a volatile Redis: SKIPPED, no redis-server on PATH.');

withRedisServer(
  'a worker process ends with 78 at a Redis that may lose jobs',
  async () => {
    database = await createTestDatabase();
    const port = String(await freePort());
    const server = spawn('redis-server', ['--port', port, '--bind', '127.0.0.1', '--save', ''], {
      stdio: 'ignore',
    });
    try {
      const redis = new Redis({ port: Number(port), host: '127.0.0.1' });
      redis.on('error', () => undefined);
      await eventually(async () => expect(await redis.ping()).toBe('PONG'), PATIENT);
      redis.disconnect();
      const process = start({
        DATABASE_URL: database.url,
        WORKER_PORT: String(await freePort()),
        REDIS_URL: `redis://127.0.0.1:${port}`,
      });
      expect(await once(process, 'exit')).toEqual([78, null]);
    } finally {
      server.kill();
    }
  },
  60_000,
);
