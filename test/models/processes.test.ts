import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import path from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, test } from '@jest/globals';
import type { ModelOutcome } from '../../src/models/model-call.js';
import { ModelCallStore } from '../../src/models/model-call.store.js';
import { systemIds } from '../../src/platform/ids.js';
import { eventually } from '../support/eventually.js';
import { ENGINES } from '../support/harness.js';
import type { Job } from './caller-process.js';
import { SCORE_SCHEMA } from './score-schema.js';
import { createWorld } from './world.js';
import type { World } from './world.js';

const children = new Set<ChildProcess>();
afterEach(async () => {
  for (const child of children) child.kill('SIGKILL');
  await Promise.all([...children].map((child) => once(child, 'exit')));
});

/** Processes that begin together. Undefined where one died. */
async function run(jobs: readonly Omit<Job, 'env'>[], world: World): Promise<(ModelOutcome[] | undefined)[]> {
  const env = {
    DATABASE_URL: world.harness.database.url,
    OUTBOUND_ALLOWED_PRIVATE_HOSTS: world.server.host,
    ...(world.harness.app.redisUrl !== undefined && {
      REDIS_URL: world.harness.app.redisUrl,
      ALLOW_VOLATILE_REDIS: 'true',
    }),
  };
  const started = jobs.map((job) => {
    const child = spawn(
      process.execPath,
      ['--import', 'tsx', path.resolve('test/models/caller-process.ts'), JSON.stringify({ ...job, env })],
      { stdio: ['pipe', 'pipe', 'inherit'] },
    );
    children.add(child);
    let text = '';
    child.stdout.on('data', (chunk: Buffer) => (text += chunk.toString()));
    const ended = once(child, 'close').then(() => {
      children.delete(child);
      const outcomes = text.split('\n')[1];
      return outcomes === undefined || outcomes === '' ? undefined : (JSON.parse(outcomes) as ModelOutcome[]);
    });
    return { child, ended, isReady: () => text.startsWith('ready') };
  });
  await eventually(() => expect(started.every(({ isReady }) => isReady())).toBe(true), { timeoutMs: 40_000 });
  for (const { child } of started) child.stdin.write('go\n');
  return Promise.all(started.map(({ ended }) => ended));
}

const withoutSignal = ({ callId, workspaceId, trace, ownerId }: ReturnType<World['context']>) => ({
  callId,
  workspaceId,
  trace,
  ...(ownerId !== undefined && { ownerId }),
});

async function storedRuns(world: World, callId: string): Promise<number> {
  const { rows } = await world.harness.database.pool.query<{ n: number }>(
    `select count(*)::int as n from runs where metadata ->> 'tracewell.call_id' = $1`,
    [callId],
  );
  return rows[0]?.n ?? -1;
}

test.each(ENGINES)(
  'two processes never have more calls under way than a provider allows, on %s',
  async (engine) => {
    const world = await createWorld({ server: { delayMs: [10, 60] }, harness: { engine } });
    try {
      const providerId = await world.addProvider({ maxConcurrency: 3 });
      const job = () => ({
        calls: Array.from({ length: 20 }, () => ({
          request: world.request(providerId),
          context: withoutSignal(world.context()),
        })),
      });
      const outcomes = (await run([job(), job()], world)).flat();
      expect(outcomes.map((outcome) => outcome?.kind)).toEqual(Array.from({ length: 40 }, () => 'answered'));
      expect(world.server.calls).toHaveLength(40);
      expect(world.server.peak).toBe(3);
    } finally {
      await world.close();
    }
  },
  90_000,
);

describe('processes', () => {
  let world: World;
  beforeAll(async () => {
    world = await createWorld({ server: { delayMs: [10, 60] } });
  });
  afterAll(() => world.close());
  let before = 0;
  afterEach(() => {
    before = world.server.calls.length;
  });
  const newCalls = () => world.server.calls.slice(before);

  test('that want the same answer at once have one of them ask', async () => {
    const providerId = await world.addProvider();
    const calls = [{ request: world.request(providerId), context: withoutSignal(world.context()) }];
    const [one, other] = await run([{ calls }, { calls }], world);
    expect(one?.[0]?.kind).toBe('answered');
    expect(other).toEqual(one);
    expect(newCalls()).toHaveLength(1);
  }, 90_000);

  test('killed between an answer and its record, it is asked for again and counted once', async () => {
    const providerId = await world.addProvider();
    const ownerId = systemIds.uuid();
    const context = world.context({ ownerId });
    const request = world.request(providerId, { schema: SCORE_SCHEMA });
    const calls = [{ request, context: withoutSignal(context) }];
    expect(await run([{ calls, dies: 'before', leaseMs: 1_000 }], world)).toEqual([undefined]);
    expect(newCalls()).toHaveLength(1);

    const outcome = await world.client().call(request, context);
    expect(outcome.kind).toBe('answered');
    expect(newCalls()).toHaveLength(2);
    // The provider could tell that it is the same call.
    expect(new Set(newCalls().map(({ key }) => key)).size).toBe(1);
    expect(await world.harness.app.modelSpend.spentBy(context.workspaceId, ownerId)).toBe(
      outcome.usage?.cost,
    );
    expect(await storedRuns(world, context.callId)).toBe(1);
  }, 90_000);

  test('killed between the record and its run, nothing is asked again and the run is written', async () => {
    const providerId = await world.addProvider();
    const ownerId = systemIds.uuid();
    const context = world.context({ ownerId });
    const request = world.request(providerId, { schema: SCORE_SCHEMA });
    const calls = [{ request, context: withoutSignal(context) }];
    expect(await run([{ calls, dies: 'after' }], world)).toEqual([undefined]);
    expect(await storedRuns(world, context.callId)).toBe(0);

    const outcome = await world.client().call(request, context);
    expect(outcome.kind).toBe('answered');
    expect(newCalls()).toHaveLength(1);
    expect(await world.harness.app.modelSpend.spentBy(context.workspaceId, ownerId)).toBe(
      outcome.usage?.cost,
    );
    expect(await storedRuns(world, context.callId)).toBe(1);
    expect(await world.client().call(request, context)).toEqual(outcome);
    expect(await storedRuns(world, context.callId)).toBe(1);
  }, 90_000);
});

test('an execution that lost its lease and answers late is refused, and gives what was recorded', async () => {
  const world = await createWorld();
  try {
    const providerId = await world.addProvider();
    const ownerId = systemIds.uuid();
    const context = world.context({ ownerId });
    const request = world.request(providerId);
    world.server.next({ kind: 'answer', text: 'late', delayMs: 1_500 }, { kind: 'answer', text: 'in time' });
    class Frozen extends ModelCallStore {
      override renew(): Promise<boolean> {
        return Promise.resolve(true);
      }
    }
    const late = world.client({ calls: new Frozen(), leaseMs: 300 }).call(request, context);
    await eventually(() => expect(world.server.calls.length + world.server.open).toBeGreaterThan(0));
    const inTime = await world.client().call(request, context);
    expect(inTime).toMatchObject({ kind: 'answered', text: 'in time' });
    expect(await late).toEqual(inTime);
    expect(await world.harness.app.modelSpend.spentBy(context.workspaceId, ownerId)).toBe(inTime.usage?.cost);
  } finally {
    await world.close();
  }
}, 60_000);
