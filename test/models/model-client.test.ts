import { afterAll, afterEach, beforeAll, describe, expect, test } from '@jest/globals';
import { systemIds } from '../../src/platform/ids.js';
import { isInternalRun } from '../../src/runs/run-origin.js';
import { SCORE_SCHEMA } from './score-schema.js';
import { createWorld, noSleep } from './world.js';
import type { World } from './world.js';

let world: World;
beforeAll(async () => {
  world = await createWorld({ server: { seed: 3 } });
});
afterAll(() => world.close());
let callsBefore = 0;
afterEach(() => {
  callsBefore = world.server.calls.length;
});
const newCalls = () => world.server.calls.slice(callsBefore);

interface StoredRun {
  readonly run_type: string;
  readonly name: string;
  readonly error: string | null;
  readonly inputs: unknown;
  readonly outputs: unknown;
  readonly metadata: Record<string, unknown>;
  readonly prompt_tokens: string;
  readonly completion_tokens: string;
  readonly total_cost: string;
  readonly project: string;
}

async function storedRuns(): Promise<(StoredRun & { id: string })[]> {
  const { rows } = await world.harness.database.pool.query<StoredRun & { id: string }>(
    `select r.*, p.name as project from runs r join projects p on p.id = r.project_id order by r.start_time, r.id`,
  );
  return rows;
}
const storedRun = async (id: string) => (await storedRuns()).find((run) => run.id === id);

test('filters tell runs of judges from those of applications', async () => {
  const providerId = await world.addProvider();
  const projectName = 'with judges';
  const trace = { projectName, name: 'judge', metadata: { evaluator: 'e' } };
  const { runId } = await world.client().call(world.request(providerId), world.context({ trace }));
  const list = async (filter: string): Promise<unknown> => {
    const query = `query ($filter: String!) {
      runs(first: 5, project: { name: "${projectName}" }, where: { filter: $filter }) { nodes { uuid } } }`;
    const { body } = await world.harness.gql(query, { filter }, { key: world.harness.keys.full.secret });
    return (body.data?.['runs'] as { nodes: { uuid: string }[] }).nodes.map(({ uuid }) => uuid);
  };
  const internal = 'and(eq(metadata_key, "tracewell.origin"), in(metadata_value, ["judge", "target"]))';
  expect(await list(internal)).toEqual([runId]);
  expect(await list(`not(${internal})`)).toEqual([]);
  expect(await list('and(eq(metadata_key, "evaluator"), eq(metadata_value, "e"))')).toEqual([runId]);
});

describe.each(['openai_compatible', 'anthropic'] as const)('%s', (kind) => {
  test('a question is answered, priced, recorded and stored as a run', async () => {
    const providerId = await world.addProvider({ kind, headers: { 'x-team': 'evals' } });
    const context = world.context();
    const outcome = await world
      .client()
      .call(
        world.request(providerId, { schema: SCORE_SCHEMA, parameters: { temperature: 0.2, max_tokens: 77 } }),
        context,
      );
    if (outcome.kind !== 'answered') throw new Error(outcome.message);
    const [call, ...others] = newCalls();
    expect(others).toEqual([]);
    expect(call).toMatchObject({
      secret: 'sk-fake-0123456789',
      model: 'fake-1',
      messages: [
        { role: 'system', content: 'You are a judge.' },
        { role: 'user', content: 'How good is it?' },
      ],
      body: { temperature: 0.2, max_tokens: 77 },
    });
    expect(call?.headers['x-team']).toBe('evals');
    expect(call?.schema?.['properties']).toBeDefined();
    expect(outcome.value).toEqual(JSON.parse(outcome.text));
    expect(outcome.usage).toMatchObject(call?.usage ?? {});
    const cost = Number(call?.cost) / 1e12;
    expect(Number(outcome.usage.cost)).toBe(cost);

    const run = await storedRun(outcome.runId);
    expect(run).toMatchObject({ run_type: 'llm', name: 'correctness', project: 'evaluators', error: null });
    expect(isInternalRun({ metadata: run?.metadata as never })).toBe(true);
    expect(Number(run?.total_cost)).toBe(cost);
    expect([Number(run?.prompt_tokens), Number(run?.completion_tokens)]).toEqual([
      call?.usage?.promptTokens,
      call?.usage?.completionTokens,
    ]);
    expect(JSON.stringify(run)).not.toContain('sk-fake');
  });

  test('asked again, it is answered from the record', async () => {
    const providerId = await world.addProvider({ kind });
    const context = world.context();
    const request = world.request(providerId, { schema: SCORE_SCHEMA });
    const first = await world.client().call(request, context);
    const runs = (await storedRuns()).length;
    expect(await world.client().call(request, context)).toEqual(first);
    expect(newCalls()).toHaveLength(1);
    expect(await storedRuns()).toHaveLength(runs);
  });

  test.each(['prose', 'wrong_schema'] as const)(
    '%s is an error that was paid for, and final',
    async (behaviour) => {
      const providerId = await world.addProvider({ kind });
      world.server.next({ kind: behaviour });
      const context = world.context({ ownerId: systemIds.uuid() });
      const request = world.request(providerId, { schema: SCORE_SCHEMA });
      const outcome = await world.client().call(request, context);
      expect(outcome).toMatchObject({ kind: 'failed', code: 'UNREADABLE_ANSWER', retryable: false });
      expect(await world.client().call(request, context)).toEqual(outcome);
      expect(newCalls()).toHaveLength(1);
      expect(outcome.usage?.cost).toBe(
        await world.harness.app.modelSpend.spentBy(context.workspaceId, context.ownerId ?? ''),
      );
      expect((await storedRun(outcome.runId))?.error).toContain('The answer');
    },
  );

  test('an answer that is cut says so', async () => {
    const providerId = await world.addProvider({ kind });
    world.server.next({ kind: 'cut' });
    const outcome = await world
      .client()
      .call(world.request(providerId, { schema: SCORE_SCHEMA }), world.context());
    expect(outcome).toMatchObject({
      code: 'UNREADABLE_ANSWER',
      message: expect.stringContaining('limit of tokens'),
    });
  });

  test('a model that declines has refused', async () => {
    const providerId = await world.addProvider({ kind });
    world.server.next({ kind: 'refusal' });
    const outcome = await world
      .client()
      .call(world.request(providerId, { schema: SCORE_SCHEMA }), world.context());
    expect(outcome).toMatchObject({ kind: 'failed', code: 'PROVIDER_REFUSED', retryable: false });
    expect(outcome.usage?.cost).not.toBeNull();
  });

  test('what passes is tried again, with the waits it asks for, under one key', async () => {
    const providerId = await world.addProvider({ kind });
    world.server.next(
      { kind: 'status', status: 429, retryAfter: '7' },
      { kind: 'status', status: 500 },
      { kind: 'reset' },
    );
    const { sleep, waits } = noSleep();
    const outcome = await world
      .client({ sleep, random: () => 0.5 })
      .call(world.request(providerId), world.context());
    expect(outcome.kind).toBe('answered');
    expect(waits).toEqual([7_000, 500, 1_000]);
    expect(new Set(newCalls().map(({ key }) => key)).size).toBe(1);
    expect(newCalls()).toHaveLength(4);
  });

  test.each([
    [{ kind: 'status', status: 429, retryAfter: '3' }, 'RATE_LIMITED', 3_000],
    [{ kind: 'status', status: 503, retryAfter: '4' }, 'PROVIDER_UNAVAILABLE', 4_000],
    [{ kind: 'broken_json' }, 'PROVIDER_UNAVAILABLE', undefined],
    [{ kind: 'truncated' }, 'PROVIDER_UNAVAILABLE', undefined],
  ] as const)('%j four times is a failure that may pass', async (behaviour, code, retryAfterMs) => {
    const providerId = await world.addProvider({ kind });
    world.server.next(...Array.from({ length: 4 }, () => behaviour));
    const { sleep } = noSleep();
    const context = world.context();
    const outcome = await world.client({ sleep }).call(world.request(providerId), context);
    expect(outcome).toMatchObject({ kind: 'failed', code, retryable: true, usage: null });
    expect(outcome.kind === 'failed' ? outcome.retryAfterMs : undefined).toBe(retryAfterMs);
    expect(newCalls()).toHaveLength(4);
    expect((await storedRun(outcome.runId))?.error).toContain(code);
    // Another execution of the same call is another run.
    if (code === 'RATE_LIMITED') return;
    const again = await world.client().call(world.request(providerId), context);
    expect(again.kind).toBe('answered');
    expect(again.runId).not.toBe(outcome.runId);
  });

  test('a hang ends with the deadline', async () => {
    const providerId = await world.addProvider({ kind, timeoutMs: 1_000 });
    world.server.next({ kind: 'hang' }, { kind: 'drip', everyMs: 50 });
    const { sleep } = noSleep();
    const outcome = await world.client({ sleep }).call(world.request(providerId), world.context());
    expect(outcome.kind).toBe('answered');
    expect(newCalls().map(({ behaviour }) => behaviour)).toEqual(['hang', 'drip', 'answer']);
  });

  test.each([400, 401, 404])('%d is not tried again, and shows no secret', async (status) => {
    const providerId = await world.addProvider({ kind });
    world.server.next({ kind: 'status', status, message: 'Incorrect key sk-fake-0123456789 provided' });
    const outcome = await world.client().call(world.request(providerId), world.context());
    expect(outcome).toMatchObject({
      kind: 'failed',
      code: 'PROVIDER_REFUSED',
      message: `The provider says ${status}: Incorrect key *** provided`,
      retryable: false,
      usage: null,
    });
    expect(newCalls()).toHaveLength(1);
  });
});
