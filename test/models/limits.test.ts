import { afterAll, afterEach, beforeAll, expect, test } from '@jest/globals';
import { BREAK_AFTER } from '../../src/models/provider-gate.store.js';
import { eventually } from '../support/eventually.js';
import { createWorld, noSleep } from './world.js';
import type { World } from './world.js';

let world: World;
beforeAll(async () => {
  world = await createWorld();
});
afterAll(() => world.close());
let before = 0;
afterEach(() => {
  before = world.server.calls.length;
});
const newCalls = () => world.server.calls.slice(before);
const down = (times: number) =>
  world.server.next(...Array.from({ length: times }, () => ({ kind: 'status', status: 500 }) as const));
const slots = async () =>
  (await world.harness.database.pool.query<{ n: number }>('select count(*)::int as n from model_slots'))
    .rows[0]?.n;

test('requests per minute hold over all clients: a burst of a tenth, then one by one', async () => {
  const providerId = await world.addProvider({ requestsPerMinute: 600, maxConcurrency: 100 });
  const clients = [world.client(), world.client()];
  const started = performance.now();
  await Promise.all(
    Array.from({ length: 75 }, (_, index) =>
      clients[index % 2]!.call(world.request(providerId), world.context()),
    ),
  );
  expect(newCalls()).toHaveLength(75);
  // Sixty at once, fifteen more at ten a second.
  expect(performance.now() - started).toBeGreaterThan(1_300);
});

test('a slot of a process that died is free when its lease is over', async () => {
  const providerId = await world.addProvider({ maxConcurrency: 1 });
  await world.client().call(world.request(providerId), world.context());
  await world.harness.database.pool.query(
    `insert into model_slots (workspace_id, provider_id, id, held_until)
     values ($1, $2, gen_random_uuid(), now() + interval '700 milliseconds')`,
    [world.harness.home.workspaceId, providerId],
  );
  const started = performance.now();
  expect((await world.client().call(world.request(providerId), world.context())).kind).toBe('answered');
  expect(performance.now() - started).toBeGreaterThan(500);
  expect(await slots()).toBe(0);
});

test('a provider that hangs holds up nobody but itself', async () => {
  const hanging = await world.addProvider({ maxConcurrency: 2, timeoutMs: 60_000 });
  const healthy = await world.addProvider({ maxConcurrency: 2 });
  world.server.next({ kind: 'hang' }, { kind: 'hang' });
  const stop = new AbortController();
  const stuck = Array.from({ length: 10 }, () =>
    world.client().call(world.request(hanging), world.context({ signal: stop.signal })),
  );
  await eventually(() => expect(newCalls()).toHaveLength(2));
  const outcomes = await Promise.all(
    Array.from({ length: 5 }, () => world.client().call(world.request(healthy), world.context())),
  );
  expect(outcomes.map(({ kind }) => kind)).toEqual(Array.from({ length: 5 }, () => 'answered'));
  stop.abort(new Error('called off'));
  for (const attempt of stuck) await expect(attempt).rejects.toThrow('called off');
  expect(newCalls()).toHaveLength(7);
  await eventually(async () => expect(await slots()).toBe(0));
});

test('a call that was called off can be made later', async () => {
  const providerId = await world.addProvider();
  world.server.next({ kind: 'hang' });
  const stop = new AbortController();
  const context = world.context();
  const attempt = world.client().call(world.request(providerId), { ...context, signal: stop.signal });
  await eventually(() => expect(newCalls()).toHaveLength(1));
  stop.abort(new Error('called off'));
  await expect(attempt).rejects.toThrow('called off');
  expect((await world.client().call(world.request(providerId), context)).kind).toBe('answered');
});

test(`after ${BREAK_AFTER} calls without an answer others fail at once, until one that tries is answered`, async () => {
  const providerId = await world.addProvider();
  const { sleep } = noSleep();
  const call = () => world.client({ sleep }).call(world.request(providerId), world.context());
  down(BREAK_AFTER);
  expect(await call()).toMatchObject({ code: 'PROVIDER_UNAVAILABLE', retryable: true });
  expect(await call()).toMatchObject({ code: 'PROVIDER_UNAVAILABLE', retryable: true });
  expect(newCalls()).toHaveLength(BREAK_AFTER);
  const refused = await call();
  expect(refused).toMatchObject({ kind: 'failed', code: 'PROVIDER_UNAVAILABLE', retryable: true });
  expect(refused.kind === 'failed' ? refused.retryAfterMs : 0).toBeGreaterThan(5_000);
  expect(newCalls()).toHaveLength(BREAK_AFTER);

  const timeIsOver = () =>
    world.harness.database.pool.query('update model_gates set broken_until = now() where provider_id = $1', [
      providerId,
    ]);
  await timeIsOver();
  down(1);
  expect(await call()).toMatchObject({ code: 'PROVIDER_UNAVAILABLE' });
  expect(newCalls()).toHaveLength(BREAK_AFTER + 1);
  await timeIsOver();
  expect((await call()).kind).toBe('answered');
  expect((await call()).kind).toBe('answered');
});

test('a provider that keeps saying 429 is left alone by all for as long as it asks', async () => {
  const providerId = await world.addProvider();
  const { sleep } = noSleep();
  world.server.next(
    ...Array.from({ length: 3 }, () => ({ kind: 'status', status: 429, retryAfter: '1' }) as const),
  );
  const started = performance.now();
  expect((await world.client({ sleep }).call(world.request(providerId), world.context())).kind).toBe(
    'answered',
  );
  expect(performance.now() - started).toBeGreaterThan(900);
  expect(newCalls()).toHaveLength(4);
});

test('a wait that is too long is left to the caller', async () => {
  const providerId = await world.addProvider();
  world.server.next({ kind: 'status', status: 429, retryAfter: '3600' });
  expect(await world.client().call(world.request(providerId), world.context())).toMatchObject({
    code: 'RATE_LIMITED',
    retryable: true,
    retryAfterMs: 3_600_000,
  });
  expect(newCalls()).toHaveLength(1);
});

test('the spend cap is asked for before each request, and a call it stopped can be made later', async () => {
  const providerId = await world.addProvider();
  const answers = [true, false];
  down(1);
  const { sleep } = noSleep();
  const context = world.context({ maySpend: () => Promise.resolve(answers.shift() ?? true) });
  const stopped = await world.client({ sleep }).call(world.request(providerId), context);
  expect(stopped).toMatchObject({ kind: 'failed', code: 'SPEND_CAP', retryable: false, usage: null });
  expect(newCalls()).toHaveLength(1);
  expect((await world.client().call(world.request(providerId), context)).kind).toBe('answered');
});

test('a run that was promised is written once: when the call is over', async () => {
  const providerId = await world.addProvider();
  const runId = '01a1fc84-acea-7000-8000-0123456789ab';
  const context = world.context({
    trace: { projectName: 'targets', name: 'target', metadata: {}, origin: 'target', runId },
  });
  const stored = async () =>
    (
      await world.harness.database.pool.query<{ error: string | null; origin: string }>(
        `select error, metadata ->> 'tracewell.origin' as origin from runs where id = $1`,
        [runId],
      )
    ).rows;
  down(4);
  const { sleep } = noSleep();
  const failed = await world.client({ sleep }).call(world.request(providerId), context);
  expect([failed.kind, failed.runId, await stored()]).toEqual(['failed', runId, []]);
  const answered = await world.client().call(world.request(providerId), context);
  expect([answered.kind, answered.runId]).toEqual(['answered', runId]);
  expect(await stored()).toEqual([{ error: null, origin: 'target' }]);
});

test('a server without response formats is asked through a tool', async () => {
  const providerId = await world.addProvider({ structuredOutput: 'tool_call' });
  const schema = { type: 'object', properties: { good: { type: 'boolean' } }, required: ['good'] };
  const outcome = await world.client().call(world.request(providerId, { schema }), world.context());
  expect(outcome.kind === 'answered' ? typeof (outcome.value as { good: boolean }).good : outcome).toBe(
    'boolean',
  );
  expect(newCalls()[0]?.tool).toBe('answer');
  world.server.next({ kind: 'prose' });
  expect(await world.client().call(world.request(providerId, { schema }), world.context())).toMatchObject({
    code: 'UNREADABLE_ANSWER',
  });
});

test('parameters cannot change what is asked', async () => {
  const providerId = await world.addProvider();
  const parameters = {
    model: 'dearer',
    messages: [],
    stream: true,
    n: 9,
    tools: [],
    seed: 5,
    custom_flag: true,
  };
  expect((await world.client().call(world.request(providerId, { parameters }), world.context())).kind).toBe(
    'answered',
  );
  expect(newCalls()[0]?.body).toMatchObject({ model: 'fake-1', seed: 5, custom_flag: true });
  expect(Object.keys(newCalls()[0]?.body ?? {}).sort()).toEqual(['custom_flag', 'messages', 'model', 'seed']);
});

test('text that cannot be stored as it is does no harm', async () => {
  const providerId = await world.addProvider();
  world.server.next({ kind: 'answer', text: 'a\u0000b\ud800c' });
  const context = world.context({
    trace: { projectName: 'p\u0000', name: 'n\u0000', metadata: { key: 'v\u0000' } },
  });
  const outcome = await world
    .client()
    .call(world.request(providerId, { messages: [{ role: 'user', content: 'q\u0000\ud800' }] }), context);
  expect(outcome).toMatchObject({ kind: 'answered', text: 'a\u2400b\ufffdc' });
});

test('requests are counted by what came of them', async () => {
  const { registry } = world.harness.app.metrics;
  const count = async (outcome: string) =>
    Number(
      new RegExp(`tracewell_model_requests_total{outcome="${outcome}"} (\\d+)`).exec(
        await registry.metrics(),
      )?.[1] ?? 0,
    );
  const counts = async () => [await count('answered'), await count('unavailable'), await count('throttled')];
  const [answered = 0, unavailable = 0, throttled = 0] = await counts();
  const providerId = await world.addProvider();
  world.server.next({ kind: 'status', status: 500 }, { kind: 'status', status: 429 });
  await world.client({ sleep: noSleep().sleep }).call(world.request(providerId), world.context());
  expect(await counts()).toEqual([answered + 1, unavailable + 1, throttled + 1]);
});

test('a provider of another workspace is none', async () => {
  const providerId = await world.addProvider();
  const outcome = await world
    .client()
    .call(world.request(providerId), world.context({ workspaceId: world.harness.neighbour.workspaceId }));
  expect(outcome).toMatchObject({ code: 'PROVIDER_REFUSED', message: 'There is no such model provider.' });
  expect(newCalls()).toHaveLength(0);
});
