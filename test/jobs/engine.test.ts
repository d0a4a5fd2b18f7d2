import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { createServer } from 'node:net';
import type { AddressInfo } from 'node:net';
import os from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { Redis } from 'ioredis';
import { createRequire } from 'node:module';
import { transaction } from '../../src/platform/db.js';
import { addInTransaction, prepareQueueSchema } from '../../src/platform/jobs/bullmq-postgres.js';
import { createJobEngine } from '../../src/platform/jobs/engine.js';
import { OutboxDispatcher } from '../../src/platform/jobs/dispatcher.js';
import { deliveryId } from '../../src/platform/jobs/job.js';
import type { Delivery } from '../../src/platform/jobs/job.js';
import { eventually } from '../support/eventually.js';
import { createKit, defineUnitJob, engineNames, handle, log, recordResult, redisUrl } from './harness.js';
import type { EngineName, Kit } from './harness.js';

const contract = defineUnitJob();
let sequence = 0;
const delivery = (options: Partial<Delivery> = {}): Delivery => ({
  jobId: `00000000-0000-7000-8000-${String((sequence += 1)).padStart(12, '0')}`,
  delivery: 1,
  queue: 'work',
  priority: 0,
  delayMs: 0,
  ...options,
});

describe('what is relied on in BullMQ for Postgres without being documented', () => {
  let kit: Kit;
  beforeAll(async () => {
    kit = await createKit('postgres');
  });
  afterAll(() => kit.close());

  test('the version is the one this was tried with', () => {
    const { version } = createRequire(import.meta.url)('bullmq/package.json') as { version: string };
    expect(version).toBe('6.7.0');
  });

  test('its tables are made once, however many processes ask', async () => {
    await Promise.all([
      prepareQueueSchema(kit.url),
      prepareQueueSchema(kit.url),
      prepareQueueSchema(kit.url),
    ]);
    const { rows } = await kit.pool.query("select to_regclass('bullmq.job')::text as job");
    expect(rows).toEqual([{ job: 'bullmq.job' }]);
  });

  test('add_job in our transaction is undone with it, and the same id is added once', async () => {
    const engine = await kit.newEngine();
    const [kept, dropped] = [delivery(), delivery()];
    await transaction(kit.pool, (tx) => addInTransaction(tx, [kept]));
    await transaction(kit.pool, (tx) => addInTransaction(tx, [kept]));
    await expect(
      transaction(kit.pool, async (tx) => {
        await addInTransaction(tx, [dropped]);
        throw new Error('no');
      }),
    ).rejects.toThrow('no');
    const ids = [deliveryId(kept), deliveryId(dropped)];
    expect(await engine.live('work', ids)).toEqual(new Set([deliveryId(kept)]));
    const { rows } = await kit.pool.query('select count(*) as n from bullmq.job where id = any($1)', [ids]);
    expect(rows).toEqual([{ n: 1 }]);
    const seen: string[] = [];
    await engine.work({
      queue: 'work',
      concurrency: 1,
      deliver: ({ jobId }) => {
        seen.push(jobId);
        return Promise.resolve();
      },
    });
    await eventually(() => expect(seen).toEqual([kept.jobId]));
    await eventually(async () => expect(await engine.live('work', ids)).toEqual(new Set()));
    await engine.close();
  });
});

/** Every server of the engine; none where it is on Postgres. */
async function askRedis<T>(name: EngineName, kit: Kit, question: (redis: Redis) => Promise<T>): Promise<T[]> {
  if (kit.cluster !== undefined) return kit.cluster.ask(question);
  if (name !== 'redis') return [];
  const redis = new Redis(redisUrl ?? '');
  const answer = await question(redis);
  redis.disconnect();
  return [answer];
}

describe.each(engineNames.filter((name) => name !== 'postgres with outbox'))('the engine on %s', (name) => {
  let kit: Kit;
  beforeAll(async () => {
    kit = await createKit(name);
  });
  afterAll(() => kit.close());

  test('a delivery is given once per id, after its delay, and the first in line goes first', async () => {
    const engine = await kit.newEngine();
    const first = delivery({ priority: 1 });
    const second = delivery({ priority: 7 });
    const delayed = delivery({ delayMs: 700 });
    await engine.add([second, first, delayed]);
    await engine.add([first]);
    const seen: { jobId: string; at: number }[] = [];
    const began = performance.now();
    await engine.work({
      queue: 'work',
      concurrency: 1,
      deliver: ({ jobId }) => {
        seen.push({ jobId, at: performance.now() - began });
        return Promise.resolve();
      },
    });
    await eventually(() =>
      expect(seen.map(({ jobId }) => jobId)).toEqual([first, second, delayed].map((d) => d.jobId)),
    );
    await engine.close();
  });

  test('a delivery that throws comes again, and schedules come round', async () => {
    const engine = await kit.newEngine();
    const job = delivery();
    await engine.add([job]);
    let tries = 0;
    const due: string[] = [];
    await engine.work({
      queue: 'work',
      concurrency: 1,
      deliver: () => {
        tries += 1;
        return tries === 1 ? Promise.reject(new Error('the database is away')) : Promise.resolve();
      },
    });
    await engine.workSchedules((id) => {
      due.push(id);
      return Promise.resolve();
    });
    await engine.reconcile([
      { id: 'test.regular', everyMs: 500 },
      { id: 'test.gone', everyMs: 600_000 },
    ]);
    await eventually(() => expect(tries).toBe(2));
    await eventually(() => expect(due.filter((id) => id === 'test.regular').length).toBeGreaterThan(2));
    // A contract that lost its schedule.
    await engine.reconcile([]);
    const before = due.length;
    await engine.reconcile([{ id: 'test.other', everyMs: 500 }]);
    await eventually(() => expect(due).toContain('test.other'));
    expect(due.slice(before + 2)).not.toContain('test.regular');
    await engine.close();
  });

  test('a schedule is due when it is new, and putting it right again does not make it due again', async () => {
    const engine = await kit.newEngine();
    const due: string[] = [];
    await engine.workSchedules((id) => {
      due.push(id);
      return Promise.resolve();
    });
    const schedules = [{ id: 'test.hourly', everyMs: 3_600_000 }];
    await engine.reconcile(schedules);
    await eventually(() => expect(due).toEqual(['test.hourly']));
    for (let round = 0; round < 3; round += 1) await engine.reconcile(schedules);
    // Something that comes after whatever these rounds may have caused.
    await engine.reconcile([...schedules, { id: 'test.marker', everyMs: 500 }]);
    await eventually(() => expect(due.filter((id) => id === 'test.marker').length).toBeGreaterThan(1));
    expect(due.filter((id) => id === 'test.hourly')).toEqual(['test.hourly']);
    await engine.reconcile([]);
    await engine.close();
  });

  test('closing waits for running jobs, leaves no connection behind, and may be asked twice', async () => {
    const clients = async (): Promise<number> => {
      const { rows } = await kit.pool.query<{ n: number }>(
        `select count(*) as n from pg_stat_activity
         where datname = current_database() and application_name not in ('tracewell-test', 'tracewell-test-jobs')`,
      );
      const lists = await askRedis(name, kit, async (redis) => String(await redis.client('LIST')));
      return lists.join().split('tracewell-jobs').length + (rows[0]?.n ?? 0);
    };
    const before = await clients();
    let running = 0;
    let ended = 0;
    const slow = handle(contract, async ({ payload, claim }) => {
      running += 1;
      await new Promise((resolve) => setTimeout(resolve, 400));
      await claim.finish((tx) => recordResult(tx, payload.unit, claim.number));
      ended += 1;
    });
    const group = await kit.work([slow]);
    const id = await kit.enqueue(contract, 'in flight');
    await eventually(() => expect(running).toBe(1));
    await Promise.all([group.close(), group.close()]);
    expect(ended).toBe(1);
    expect((await kit.job(id)).state).toBe('succeeded');
    await eventually(async () => expect(await clients()).toBeLessThanOrEqual(before));
  });

  test('a job that will not end in time is given back, and the attempt with it', async () => {
    const stubborn = handle(contract, () => new Promise(() => undefined));
    const group = await kit.work([stubborn]);
    const id = await kit.enqueue(contract, 'given back');
    await eventually(async () => expect((await kit.job(id)).state).toBe('running'));
    await group.close(100);
    expect(await kit.job(id)).toMatchObject({ state: 'queued', attempts: 0, crashes: 0 });
    await kit.work([
      handle(contract, ({ payload, claim }) =>
        claim.finish((tx) => recordResult(tx, payload.unit, claim.number)),
      ),
    ]);
    await eventually(async () => expect((await kit.job(id)).state).toBe('succeeded'));
    expect(await kit.results('given back')).toBe(1);
  });
});

describe('the Redis of the jobs', () => {
  const run = redisUrl === undefined ? test.skip : test;

  async function withRedis(flags: string[], work: (url: string) => Promise<void>): Promise<void> {
    const directory = await mkdtemp(path.join(os.tmpdir(), 'tracewell-redis-'));
    const probe = createServer().listen(0, '127.0.0.1');
    await once(probe, 'listening');
    const { port } = probe.address() as AddressInfo;
    await new Promise((resolve) => probe.close(resolve));
    const server = spawn(
      'redis-server',
      ['--port', String(port), '--bind', '127.0.0.1', '--dir', directory, '--save', '', ...flags],
      {
        stdio: 'ignore',
      },
    );
    try {
      await work(`redis://127.0.0.1:${port}`);
    } finally {
      server.kill('SIGKILL');
      await once(server, 'exit');
      await rm(directory, { recursive: true, force: true });
    }
  }
  const start = (url: string, allowVolatile = false) =>
    createJobEngine({ connection: { kind: 'redis', url, allowVolatile }, queues: ['work'], log });

  run('one that evicts or does not persist is refused, unless that is allowed', async () => {
    await withRedis(['--appendonly', 'no', '--maxmemory-policy', 'allkeys-lru'], async (url) => {
      await expect(start(url)).rejects.toThrow(
        'This Redis may lose jobs: maxmemory-policy is allkeys-lru; set it to noeviction, and it does not persist; set appendonly to yes.',
      );
      const engine = await start(url, true);
      await engine.close();
    });
  });

  run('nothing is published while its memory is nearly full, and all of it afterwards', async () => {
    await withRedis(
      ['--appendonly', 'yes', '--maxmemory-policy', 'noeviction', '--maxmemory', '20mb'],
      async (url) => {
        const kit = await createKit('redis');
        const engine = await start(url);
        const redis = new Redis(url);
        try {
          await redis.setrange('ballast', 15 * 1024 * 1024, 'x');
          await kit.enqueue(contract, 'waits');
          const dispatcher = new OutboxDispatcher({ ...kit, engine, log });
          expect(await dispatcher.dispatchOnce()).toBe(0);
          expect(dispatcher.isPressed).toBe(true);
          const { rows } = await kit.pool.query('select delivery from job_outbox');
          expect(rows).toEqual([{ delivery: 1 }]);
          await redis.del('ballast');
          await eventually(async () => expect(await dispatcher.dispatchOnce()).toBe(1));
          expect(dispatcher.isPressed).toBe(false);
        } finally {
          redis.disconnect();
          await engine.close();
          await kit.close();
        }
      },
    );
  });
});
