import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { transaction } from '../../src/platform/db.js';
import { PermanentFailure } from '../../src/platform/jobs/job.js';
import { eventually } from '../support/eventually.js';
import { createKit, defineUnitJob, engineNames, handle, recordResult } from './harness.js';
import type { Kit } from './harness.js';

const contract = defineUnitJob({ dedupeId: ({ unit }) => unit });
const flaky = defineUnitJob({ name: 'test.flaky' });
const doomed = defineUnitJob({ name: 'test.doomed' });
const slow = defineUnitJob({ name: 'test.slow', queue: 'slow', timeoutMs: 300, attempts: 1 });
const held = defineUnitJob({ name: 'test.held' });

describe.each(engineNames)('jobs on %s', (name) => {
  let kit: Kit;
  const attempts = new Map<string, number>();
  const releases = new Map<string, () => void>();
  const refusals = new Map<string, string>();

  beforeAll(async () => {
    kit = await createKit(name);
    await kit.work([
      handle(contract, async ({ payload, claim }) => {
        await claim.finish((tx) => recordResult(tx, payload.unit, claim.number));
      }),
      handle(flaky, async ({ payload, claim }) => {
        const attempt = (attempts.get(payload.unit) ?? 0) + 1;
        attempts.set(payload.unit, attempt);
        if (attempt < 3) throw new Error(`attempt ${attempt} went wrong`);
        await claim.transaction((tx) => recordResult(tx, payload.unit, claim.number));
      }),
      handle(doomed, async ({ payload }) => {
        attempts.set(payload.unit, (attempts.get(payload.unit) ?? 0) + 1);
        throw payload.unit.startsWith('refused') ? new PermanentFailure('it is gone') : new Error('no luck');
      }),
      // A handler that does not listen to its signal.
      handle(slow, () => new Promise(() => undefined)),
      handle(held, async ({ payload, progress, signal, claim }) => {
        progress({ done: 1, total: 4, note: 'holding' });
        await new Promise<void>((resolve, reject) => {
          releases.set(payload.unit, resolve);
          signal.addEventListener('abort', () => reject(new Error('a library noticed')));
        });
        await claim
          .transaction((tx) => recordResult(tx, payload.unit, claim.number))
          .catch((error: unknown) => refusals.set(payload.unit, (error as Error).name));
      }),
    ]);
  });
  afterAll(() => kit.close());

  test('a committed job runs, a rolled back one never existed', async () => {
    await expect(
      transaction(kit.pool, async (tx) => {
        await kit.queue.enqueue(tx, contract, { unit: 'rolled back' }, { workspaceId: null });
        throw new Error('no');
      }),
    ).rejects.toThrow('no');
    const id = await kit.enqueue(contract, 'committed');
    await eventually(async () => expect((await kit.job(id)).state).toBe('succeeded'));
    expect(await kit.results('committed')).toBe(1);
    expect(await kit.results('rolled back')).toBe(0);
    const { rows } = await kit.pool.query("select 1 from jobs where payload->>'unit' = 'rolled back'");
    expect(rows).toEqual([]);
  });

  test('an active job absorbs another of the same dedupe id, a finished one does not', async () => {
    const [first, second] = await transaction(kit.pool, async (tx) => [
      await kit.queue.enqueue(tx, contract, { unit: 'same' }, { workspaceId: null }),
      await kit.queue.enqueue(tx, contract, { unit: 'same' }, { workspaceId: null }),
    ]);
    expect(first.created).toBe(true);
    expect(second).toEqual({ id: first.id, created: false });
    kit.queue.wake();
    await eventually(async () => expect((await kit.job(first.id)).state).toBe('succeeded'));
    expect(await kit.results('same')).toBe(1);
    const again = await kit.enqueue(contract, 'same');
    expect(again).not.toBe(first.id);
    await eventually(async () => expect(await kit.results('same')).toBe(2));
  });

  test('the same dedupe id of two workspaces is two jobs', async () => {
    const ids = await Promise.all(
      ['00000000-0000-7000-8000-000000000001', '00000000-0000-7000-8000-000000000002'].map((workspace) =>
        kit.enqueue(contract, 'per workspace', workspace),
      ),
    );
    expect(new Set(ids).size).toBe(2);
    await eventually(async () => expect(await kit.results('per workspace')).toBe(2));
  });

  test('a payload that is more than the contract allows is refused before anything is written', async () => {
    await expect(
      kit.queue.enqueue(kit.pool, contract, { unit: 'x'.repeat(10_000) }, { workspaceId: null }),
    ).rejects.toThrow('more than ids');
    await expect(
      kit.queue.enqueue(kit.pool, contract, { unit: 3 } as never, { workspaceId: null }),
    ).rejects.toThrow();
    const { rows } = await kit.pool.query(
      "select 1 from jobs where length(payload::text) > 1000 or payload->>'unit' = '3'",
    );
    expect(rows).toEqual([]);
  });

  test('a failing job is tried again after its backoff, until it succeeds', async () => {
    const id = await kit.enqueue(flaky, 'third time lucky');
    await eventually(async () => expect((await kit.job(id)).state).toBe('succeeded'));
    expect(await kit.job(id)).toMatchObject({ attempts: 3, crashes: 0, error: null });
    expect(attempts.get('third time lucky')).toBe(3);
    expect(await kit.results('third time lucky')).toBe(1);
  });

  test('a job fails for good on its last attempt, or at once when it cannot succeed', async () => {
    const unlucky = await kit.enqueue(doomed, 'unlucky');
    const refused = await kit.enqueue(doomed, 'refused');
    await eventually(async () => expect((await kit.job(unlucky)).state).toBe('failed'));
    await eventually(async () => expect((await kit.job(refused)).state).toBe('failed'));
    expect(await kit.job(unlucky)).toMatchObject({
      attempts: 3,
      error: 'An unexpected error; the log has it under the id of this job.',
    });
    expect(await kit.job(refused)).toMatchObject({ attempts: 1, error: 'it is gone' });
    expect([attempts.get('unlucky'), attempts.get('refused')]).toEqual([3, 1]);
  });

  test('the deadline ends an execution whose handler does not listen', async () => {
    const id = await kit.enqueue(slow, 'deaf');
    await eventually(async () => expect((await kit.job(id)).state).toBe('failed'));
    expect((await kit.job(id)).error).toBe('It took longer than 300 ms.');
  });

  test('a job in the future waits for its time', async () => {
    const { id } = await transaction(kit.pool, (tx) =>
      kit.queue.enqueue(
        tx,
        contract,
        { unit: 'later' },
        { workspaceId: null, runAt: new Date(Date.now() + 1_500) },
      ),
    );
    expect(await kit.job(id)).toMatchObject({ state: 'waiting', waitingReason: 'scheduled' });
    await eventually(async () => expect((await kit.job(id)).state).toBe('succeeded'), { timeoutMs: 20_000 });
    const job = await kit.job(id);
    // A delivery up to a second early counts as due.
    expect(Date.parse(job.startedAt ?? '')).toBeGreaterThan(Date.parse(job.runAt) - 1_001);
  });

  test('progress shows while a job runs', async () => {
    const id = await kit.enqueue(held, 'shown');
    await eventually(async () =>
      expect(await kit.job(id)).toMatchObject({
        state: 'running',
        progress: { done: 1, total: 4, note: 'holding' },
      }),
    );
    releases.get('shown')?.();
    await eventually(async () => expect((await kit.job(id)).state).toBe('succeeded'));
  });

  test('an older execution can change nothing once another owns the job', async () => {
    const id = await kit.enqueue(held, 'overtaken');
    await eventually(() => expect(releases.has('overtaken')).toBe(true));
    const old = releases.get('overtaken');
    const { delivery } = await kit.job(id);
    // What the engine does when it saw the lock expire: it hands the same delivery to somebody else.
    const newer = await kit.store.claim(kit.pool, id, delivery);
    expect(newer).toMatchObject({ claim: 2, crashes: 1, attempts: 1 });
    old?.();
    await eventually(() => expect(refusals.get('overtaken')).toBe('StaleExecution'));
    expect(await kit.results('overtaken')).toBe(0);
    expect(await kit.job(id)).toMatchObject({ state: 'running', claim: 2 });
    await kit.store.bury(kit.pool, { id, claim: 2 }, 'the test is over', 0);
  });

  test('jobs of a workspace that asks for much do not hold up another', async () => {
    const [loud, quiet] = [
      '00000000-0000-7000-8000-00000000000a',
      '00000000-0000-7000-8000-00000000000b',
    ] as const;
    const priorities = await transaction(kit.pool, async (tx) => {
      const found: number[] = [];
      for (const workspaceId of [loud, loud, loud, quiet]) {
        const { id } = await kit.queue.enqueue(
          tx,
          contract,
          { unit: `turn ${found.length}` },
          { workspaceId },
        );
        const { rows } = await tx.query<{ priority: number }>('select priority from jobs where id = $1', [
          id,
        ]);
        found.push(rows[0]?.priority ?? -1);
      }
      return found;
    });
    expect(priorities).toEqual([0, 1, 2, 0]);
  });
});
