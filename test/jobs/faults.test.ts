import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import path from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, test } from '@jest/globals';
import { Redis } from 'ioredis';
import { eventually } from '../support/eventually.js';
import { createKit, defineUnitJob, engineNames, handle, recordResult, redisUrl } from './harness.js';
import type { Kit } from './harness.js';

const contract = defineUnitJob();
/** What a cluster does when something dies is in cluster.test.ts. */
const unclustered = engineNames.filter((name) => name !== 'redis cluster');
const children = new Set<ChildProcess>();

/** A worker process of its own; `keep` starts another when it dies, as a supervisor does. */
function startProcess(kit: Kit, keep = false): ChildProcess {
  const child = spawn(
    process.execPath,
    ['--import', 'tsx', path.resolve('test/jobs/worker-process.ts'), kit.name, kit.url, kit.prefix],
    { stdio: 'inherit' },
  );
  children.add(child);
  child.once('exit', (_code, signal) => {
    if (children.delete(child) && keep && signal === 'SIGKILL') startProcess(kit, true);
  });
  return child;
}

async function killAll(): Promise<void> {
  const all = [...children];
  children.clear();
  await Promise.all(
    all.map(async (child) => {
      if (child.exitCode !== null || child.signalCode !== null) return;
      child.kill('SIGKILL');
      await once(child, 'exit');
    }),
  );
}

const starts = async (kit: Kit, unit: string): Promise<number> => {
  const { rows } = await kit.pool.query<{ n: number }>(
    'select count(*) as n from test_starts where unit = $1',
    [unit],
  );
  return rows[0]?.n ?? 0;
};

const PATIENT = { timeoutMs: 40_000, everyMs: 50 };

describe.each(unclustered)('workers that die, on %s', (name) => {
  let kit: Kit;
  beforeAll(async () => {
    kit = await createKit(name);
  });
  afterEach(killAll);
  afterAll(async () => {
    await killAll();
    await kit.close();
  });

  test('a job whose worker is killed runs again within ten seconds and has one result', async () => {
    const victim = startProcess(kit);
    const id = await kit.enqueue(contract, 'hang');
    await eventually(async () => expect(await starts(kit, 'hang')).toBe(1), PATIENT);
    const survivor = await kit.work([
      handle(contract, async ({ payload, claim }) => {
        await claim.finish((tx) => recordResult(tx, payload.unit, claim.number));
      }),
    ]);
    victim.kill('SIGKILL');
    const killedAt = performance.now();
    await eventually(async () => expect((await kit.job(id)).state).toBe('succeeded'), PATIENT);
    expect(performance.now() - killedAt).toBeLessThan(10_000);
    expect(await kit.results('hang')).toBe(1);
    expect(await kit.job(id)).toMatchObject({ claim: 2, crashes: 1, attempts: 1 });
    await survivor.close();
  }, 60_000);

  test('a job that kills its process is given up after three deaths, and others are done', async () => {
    startProcess(kit, true);
    const poison = await kit.enqueue(contract, 'die');
    const good = await Promise.all(
      Array.from({ length: 5 }, (_, index) => kit.enqueue(contract, `good ${index}`)),
    );
    await eventually(async () => expect((await kit.job(poison)).state).toBe('failed'), {
      timeoutMs: 100_000,
      everyMs: 100,
    });
    expect(await starts(kit, 'die')).toBe(3);
    expect((await kit.job(poison)).error).toBe('Its process died 3 times while it ran.');
    for (const [index, id] of good.entries()) {
      await eventually(async () => expect((await kit.job(id)).state).toBe('succeeded'), PATIENT);
      expect(await kit.results(`good ${index}`)).toBe(1);
    }
  }, 150_000);
});

test('workers whose database connections were all cut work again within ten seconds', async () => {
  const kit = await createKit('postgres');
  try {
    await kit.work([
      handle(contract, async ({ payload, claim }) => {
        await claim.finish((tx) => recordResult(tx, payload.unit, claim.number));
      }),
    ]);
    const before = await kit.enqueue(contract, 'before');
    await eventually(async () => expect((await kit.job(before)).state).toBe('succeeded'));
    const { rowCount } = await kit.database.pool.query(
      `select pg_terminate_backend(pid) from pg_stat_activity
       where datname = current_database() and pid <> pg_backend_pid()`,
    );
    expect(rowCount).toBeGreaterThan(3);
    const cutAt = performance.now();
    const after = await eventually(() => kit.enqueue(contract, 'after'));
    await eventually(async () => expect((await kit.job(after)).state).toBe('succeeded'), PATIENT);
    expect(performance.now() - cutAt).toBeLessThan(10_000);
    expect(await kit.results('after')).toBe(1);
  } finally {
    await kit.close();
  }
}, 60_000);

describe('a Redis that forgets', () => {
  const run = redisUrl === undefined ? test.skip : test;

  run(
    'jobs and schedules come back after all its keys are gone',
    async () => {
      const kit = await createKit('redis');
      const scheduled = defineUnitJob({
        name: 'test.regular',
        dedupeId: () => 'one',
        schedule: { everyMs: 1_000, payload: { unit: 'regular' } },
      });
      const redis = new Redis(redisUrl ?? '');
      try {
        const producer = await kit.newEngine();
        const ids = await Promise.all(
          Array.from({ length: 20 }, (_, index) => kit.enqueue(contract, `lost ${index}`)),
        );
        // Deliver all, with nobody there to work on them.
        for (const delivery of await kit.store.leaseOutbox(kit.pool, 100)) {
          await producer.add([delivery]);
          await kit.store.removeFromOutbox(kit.pool, [delivery.outboxId]);
        }
        const keys = await redis.keys(`${kit.prefix}:*`);
        expect(keys.length).toBeGreaterThan(20);
        await redis.unlink(keys);
        await producer.close();

        const record = handle(contract, async ({ payload, claim }) => {
          await claim.finish((tx) => recordResult(tx, payload.unit, claim.number));
        });
        const regular = handle(scheduled, async ({ payload, claim }) => {
          await claim.finish((tx) => recordResult(tx, payload.unit, claim.number));
        });
        const group = await kit.work([record, regular]);
        for (const [index, id] of ids.entries()) {
          await eventually(async () => expect((await kit.job(id)).state).toBe('succeeded'), PATIENT);
          expect(await kit.results(`lost ${index}`)).toBe(1);
        }

        await redis.unlink(await redis.keys(`${kit.prefix}:*`));
        const before = await kit.results('regular');
        await group.sweeper.reconcile();
        await eventually(
          async () => expect(await kit.results('regular')).toBeGreaterThan(before + 1),
          PATIENT,
        );
      } finally {
        redis.disconnect();
        await kit.close();
      }
    },
    60_000,
  );
});

describe.each(unclustered.filter((name) => name !== 'postgres'))('the outbox on %s', (name) => {
  test('a dispatcher that dies between add and delete delivers once', async () => {
    const kit = await createKit(name);
    try {
      const engine = await kit.newEngine();
      const units = Array.from({ length: 50 }, (_, index) => `unit ${index}`);
      const ids = await Promise.all(units.map((unit) => kit.enqueue(contract, unit)));
      // Dies after it added: the rows stay, leased.
      const leased = await kit.store.leaseOutbox(kit.pool, 100);
      expect(leased).toHaveLength(50);
      await engine.add(leased);
      await engine.close();
      expect(await kit.store.leaseOutbox(kit.pool, 100)).toEqual([]);
      await kit.pool.query("update job_outbox set leased_until = now() - interval '1 second'");

      let executions = 0;
      await kit.work([
        handle(contract, async ({ payload, claim }) => {
          executions += 1;
          await claim.finish((tx) => recordResult(tx, payload.unit, claim.number));
        }),
      ]);
      for (const id of ids) {
        await eventually(async () => expect((await kit.job(id)).state).toBe('succeeded'), PATIENT);
      }
      await eventually(async () => {
        const { rows } = await kit.pool.query('select 1 from job_outbox');
        expect(rows).toEqual([]);
      });
      expect(executions).toBe(50);
    } finally {
      await kit.close();
    }
  }, 60_000);
});
