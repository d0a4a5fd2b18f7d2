/** Many calls against a provider with every fault there is: in the end each has one outcome and is paid for once. */
import { expect, test } from '@jest/globals';
import type { ModelOutcome } from '../../src/models/model-call.js';
import { systemIds } from '../../src/platform/ids.js';
import { SCORE_SCHEMA } from './score-schema.js';
import { createWorld } from './world.js';

const CALLS = 150;

test('each of many calls through all faults is answered or refused once, and spend equals the bill', async () => {
  const faults = {
    rateLimited: 0.1,
    retryAfterSeconds: 0,
    serverError: 0.08,
    reset: 0.04,
    hang: 0.01,
    brokenJson: 0.04,
    truncated: 0.04,
    prose: 0.05,
    wrongSchema: 0.05,
  };
  const world = await createWorld({ server: { seed: 11, faults, delayMs: [1, 15] } });
  try {
    const providerId = await world.addProvider({ maxConcurrency: 12, timeoutMs: 2_000 });
    const ownerId = systemIds.uuid();
    const clients = [world.client(), world.client()];
    const asked = Array.from({ length: CALLS }, (_, index) => ({
      client: clients[index % clients.length]!,
      request: world.request(providerId, {
        schema: SCORE_SCHEMA,
        messages: [{ role: 'user', content: `How good is number ${index}?` }],
      }),
      context: world.context({ ownerId }),
    }));
    // As a job does: what may pass is tried again later.
    const outcomes = await Promise.all(
      asked.map(async ({ client, request, context }): Promise<ModelOutcome> => {
        for (;;) {
          const outcome = await client.call(request, context);
          if (outcome.kind === 'answered' || !outcome.retryable) return outcome;
          await new Promise((resolve) => setTimeout(resolve, outcome.retryAfterMs ?? 100));
        }
      }),
    );
    const kinds = outcomes.map((outcome) => (outcome.kind === 'answered' ? 'answered' : outcome.code));
    expect(new Set(kinds)).toEqual(new Set(['answered', 'UNREADABLE_ANSWER']));
    expect(kinds.filter((kind) => kind === 'UNREADABLE_ANSWER').length).toBeGreaterThan(3);

    const { calls, peak } = world.server;
    expect(calls.length).toBeGreaterThan(CALLS);
    expect(peak).toBeLessThanOrEqual(12);
    // Nobody died: what was paid for was paid for once.
    const paid = calls.filter(({ usage }) => usage !== null);
    expect(paid).toHaveLength(CALLS);
    expect(new Set(paid.map(({ key }) => key)).size).toBe(CALLS);
    const spent = await world.harness.app.modelSpend.spentBy(world.harness.home.workspaceId, ownerId);
    expect(Number(spent).toFixed(12)).toBe(world.server.spent());
    const total = outcomes.reduce((sum, { usage }) => sum + Number(usage?.cost), 0);
    expect(total.toFixed(9)).toBe(Number(spent).toFixed(9));

    const { rows } = await world.harness.database.pool.query<{
      judged: number;
      unread: number;
      cost: string;
    }>(
      `select count(*)::int as judged, count(*) filter (where error like '%answer%' or error like '%schema%')::int as unread,
         trim_scale(sum(total_cost))::text as cost
       from runs where total_cost is not null`,
    );
    expect(rows[0]).toEqual({
      judged: CALLS,
      unread: kinds.filter((kind) => kind === 'UNREADABLE_ANSWER').length,
      cost: spent,
    });
    const { rows: left } = await world.harness.database.pool.query(
      `select state, count(*)::int as n from model_calls where state not in ('answered', 'failed') group by 1
       union all select 'slot', count(*)::int from model_slots having count(*) > 0`,
    );
    expect(left).toEqual([]);
  } finally {
    await world.close();
  }
}, 120_000);
