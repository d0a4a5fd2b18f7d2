/**
 * Connections that look open and carry nothing any more, as a balancer or a NAT leaves them behind. Nobody is told, so
 * only looking by oneself helps: the engine's tick where notifications stay away, time limits where answers do.
 */
import { afterEach, describe, expect, test } from '@jest/globals';
import { connectKit, createKit, defineUnitJob, handle, recordResult } from '../jobs/harness.js';
import type { EngineName, Kit } from '../jobs/harness.js';
import { transaction } from '../../src/platform/db.js';
import { eventually } from '../support/eventually.js';
import { createTcpProxy } from '../support/tcp-proxy.js';
import type { TcpProxy } from '../support/tcp-proxy.js';

const contract = defineUnitJob();
const record = handle(contract, async ({ payload, claim }) => {
  await claim.finish((tx) => recordResult(tx, payload.unit, claim.number));
});

const closers: (() => Promise<void>)[] = [];
afterEach(async () => {
  for (const close of closers.splice(0).reverse()) await close();
}, 60_000);

/** Workers behind a proxy, and who asks for work past it. */
async function apart(name: EngineName): Promise<{ asking: Kit; working: Kit; proxy: TcpProxy }> {
  const asking = await createKit(name);
  closers.push(() => asking.close());
  const proxy = await createTcpProxy(asking.url);
  closers.push(() => proxy.close());
  const { database } = asking;
  const working = await connectKit(
    name,
    { ...database, url: proxy.url(database.url), drop: () => Promise.resolve() },
    asking.prefix,
  );
  closers.push(() => working.close());
  return { asking, working, proxy };
}

async function secondsUntilDone(asking: Kit, unit: string, timeoutMs: number): Promise<number> {
  const askedAt = performance.now();
  const id = await asking.enqueue(contract, unit);
  await eventually(async () => expect((await asking.job(id)).state).toBe('succeeded'), { timeoutMs });
  return (performance.now() - askedAt) / 1_000;
}

describe.each(['postgres', 'postgres with outbox'] as const)('on %s', (name) => {
  test('jobs run within the tick while no notification arrives, also behind a far one', async () => {
    const { asking, working, proxy } = await apart(name);
    await working.work([record]);
    expect(await secondsUntilDone(asking, 'before', 10_000)).toBeLessThan(5);
    // Without a tick the engine would sleep until this one is due.
    await transaction(asking.pool, (tx) =>
      asking.queue.enqueue(
        tx,
        contract,
        { unit: 'tomorrow' },
        { workspaceId: null, runAt: new Date(Date.now() + 86_400_000) },
      ),
    );
    asking.queue.wake();
    expect(await secondsUntilDone(asking, 'level', 15_000)).toBeLessThan(12);
    // One connection per worker, of the queue and of the schedules, and that of the doorbell.
    expect(proxy.swallowListeners()).toBeGreaterThanOrEqual(3);
    for (const unit of ['first', 'second']) {
      expect(await secondsUntilDone(asking, unit, 20_000)).toBeLessThan(12);
      expect(await asking.results(unit)).toBe(1);
    }
  }, 90_000);
});

test('workers whose every connection is half open work again once their statements time out', async () => {
  const { asking, working, proxy } = await apart('postgres');
  await working.work([record]);
  expect(await secondsUntilDone(asking, 'before', 10_000)).toBeLessThan(5);
  proxy.swallow(true);
  // 15 s of a statement on the server, and 5 s for the answer to be missed.
  expect(await secondsUntilDone(asking, 'after', 60_000)).toBeLessThan(40);
  expect(await asking.results('after')).toBe(1);
}, 120_000);
