import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { randomUUID } from 'node:crypto';
import type { RunEvent } from '../../src/ingest/run-event.js';
import { seeded } from '../support/seeded.js';
import { createWorld, payload, principalOf, rootEvent } from './world.js';
import type { World } from './world.js';

let world: World;
const workspaceId = randomUUID();
const principal = principalOf(workspaceId);
const from = Date.UTC(2026, 9, 20, 12);
const HOUR = 3_600_000;

interface Fact {
  readonly event: RunEvent;
  readonly hour: number;
  readonly name: string;
  readonly latency: number | undefined;
  readonly tokens: number;
  readonly costMicros: number;
  readonly tier: string | undefined;
  readonly tags: readonly string[];
  readonly score: number | undefined;
}

const random = seeded(7);
const facts: Fact[] = Array.from({ length: 400 }, () => {
  const hour = Math.floor(random() * 48);
  const name = ['search', 'answer', 'rank'][Math.floor(random() * 3)] ?? '';
  const latency = random() < 0.1 ? undefined : Math.ceil(random() * 5_000) / 1_000;
  const tokens = Math.ceil(random() * 1_000);
  const costMicros = Math.ceil(random() * 900);
  const tier = random() < 0.3 ? undefined : random() < 0.5 ? 'gold' : 'free';
  const tags = ['a', 'b'].filter(() => random() < 0.5);
  const startMs = from + hour * HOUR + Math.floor(random() * HOUR);
  const failed = random() < 0.2;
  const event = rootEvent(workspaceId, startMs, {
    name,
    runType: 'llm',
    outputs: payload({
      usage_metadata: {
        input_tokens: tokens,
        output_tokens: 0,
        total_tokens: tokens,
        total_cost: costMicros / 1_000_000,
      },
    }),
    ...(tags.length > 0 && { tags }),
    ...(tier !== undefined && { metadata: { user: { tier } } }),
    ...(failed && { error: 'no' }),
  });
  const pending = Object.fromEntries(
    Object.entries(event).filter(([field]) => field !== 'endUs'),
  ) as unknown as RunEvent;
  return {
    event: latency === undefined ? pending : { ...event, endUs: (event.startUs ?? 0) + latency * 1_000_000 },
    hour,
    name,
    latency,
    tokens,
    costMicros,
    tier,
    tags,
    score: random() < 0.5 ? Math.floor(random() * 5) : undefined,
  };
});

beforeAll(async () => {
  world = await createWorld();
  await world.write(facts.map(({ event }) => event));
  for (const { event, score } of facts) {
    if (score === undefined) continue;
    await world.database.pool.query(
      `insert into feedback (workspace_id, id, run_id, key, score, source_type, source, created_at, updated_at)
       values ($1, $2, $3, 'stars', $4, 'api', '{}', now(), now())`,
      [workspaceId, randomUUID(), event.id, score],
    );
  }
});
afterAll(() => world.close());

/** Linear interpolation between the closest ranks, as percentile_cont is defined. */
function percentile(values: readonly number[], fraction: number): number | null {
  const sorted = [...values].sort((a, b) => a - b);
  const position = fraction * (sorted.length - 1);
  const low = sorted[Math.floor(position)];
  const high = sorted[Math.ceil(position)];
  if (low === undefined || high === undefined) return null;
  return low + (high - low) * (position - Math.floor(position));
}

function summary(of: readonly Fact[]) {
  const latencies = of.flatMap(({ latency }) => latency ?? []);
  const failed = of.filter(({ event }) => event.error !== undefined).length;
  const micros = of.reduce((sum, { costMicros }) => sum + costMicros, 0);
  const scores = of.flatMap(({ score }) => score ?? []);
  const close = (value: number | null): unknown => (value === null ? null : expect.closeTo(value, 9));
  return {
    runCount: of.length,
    errorCount: failed,
    errorRate: close(failed / of.length),
    latencyP50: close(percentile(latencies, 0.5)),
    latencyP95: close(percentile(latencies, 0.95)),
    latencyP99: close(percentile(latencies, 0.99)),
    totalTokens: String(of.reduce((sum, { tokens }) => sum + tokens, 0)),
    totalCost: String(Number((micros / 1_000_000).toFixed(6))),
    feedback:
      scores.length === 0
        ? []
        : [
            {
              key: 'stars',
              count: scores.length,
              average: close(scores.reduce((a, b) => a + b, 0) / scores.length),
            },
          ],
  };
}

const FIGURES = `runCount errorCount errorRate latencyP50 latencyP95 latencyP99 totalTokens totalCost feedback { key count average }`;

interface Answer {
  runStats: {
    truncated: boolean;
    rows: { groups: (string | null)[]; bucketStart: string | null; runCount: number }[];
  };
}

const ask = async (args: string): Promise<Answer['runStats']> =>
  (
    await world.query<Answer>(
      principal,
      `{ runStats(projects: [{ name: "demo" }], ${args}) { truncated rows { groups bucketStart ${FIGURES} } } }`,
    )
  ).runStats;

test('figures over all runs equal a count made outside', async () => {
  const { rows, truncated } = await ask('zone: "UTC"');
  expect(truncated).toBe(false);
  expect(rows).toEqual([{ groups: [], bucketStart: null, ...summary(facts) }]);
});

test('groups by name and by metadata have their own figures', async () => {
  const { rows } = await ask('groupBy: [{ by: NAME }, { by: METADATA, key: "user.tier" }]');
  const keys = new Set(facts.map(({ name, tier }) => JSON.stringify([name, tier ?? null])));
  expect(rows).toHaveLength(keys.size);
  for (const row of rows) {
    const [name, tier] = row.groups;
    const group = facts.filter((fact) => fact.name === name && (fact.tier ?? null) === tier);
    expect(row).toEqual({ groups: row.groups, bucketStart: null, ...summary(group) });
  }
});

test('a run counts for each of its tags', async () => {
  const { rows } = await ask('groupBy: [{ by: TAG }]');
  const count = (matches: (tags: readonly string[]) => boolean): number =>
    facts.filter(({ tags }) => matches(tags)).length;
  expect(Object.fromEntries(rows.map(({ groups, runCount }) => [groups[0], runCount]))).toEqual({
    a: count((tags) => tags.includes('a')),
    b: count((tags) => tags.includes('b')),
    null: count((tags) => tags.length === 0),
  });
});

test('buckets begin where the zone says', async () => {
  const hourly = await ask('bucket: HOUR');
  expect(hourly.rows).toEqual(
    [...new Set(facts.map(({ hour }) => hour))]
      .sort((a, b) => a - b)
      .map((hour) => ({
        groups: [],
        bucketStart: new Date(from + hour * HOUR).toISOString(),
        ...summary(facts.filter((fact) => fact.hour === hour)),
      })),
  );
  // Clocks in Oslo go back on 25 October 2026, after this range: days begin at 22:00 UTC.
  const daily = await ask('bucket: DAY, zone: "Europe/Oslo"');
  const dayOf = (fact: Fact): number =>
    Math.floor(((fact.event.startUs ?? 0) / 1_000 + 2 * HOUR) / (24 * HOUR));
  expect(daily.rows).toEqual(
    [...new Set(facts.map(dayOf))]
      .sort((a, b) => a - b)
      .map((day) => ({
        groups: [],
        bucketStart: new Date(day * 24 * HOUR - 2 * HOUR).toISOString(),
        ...summary(facts.filter((fact) => dayOf(fact) === day)),
      })),
  );
});

test('the groups with the most runs are kept, and leaving some out is said', async () => {
  const counts = new Map<string, number>();
  for (const { name } of facts) counts.set(name, (counts.get(name) ?? 0) + 1);
  const largest = [...counts].sort(([a, n], [b, m]) => m - n || (a < b ? -1 : 1)).slice(0, 2);
  const { rows, truncated } = await ask('groupBy: [{ by: NAME }], limit: 2');
  expect(truncated).toBe(true);
  expect(rows.map(({ groups, runCount }) => [groups[0], runCount])).toEqual(largest);
});

test('ranges and filters apply, half-open', async () => {
  const cut = facts.map(({ event }) => (event.startUs ?? 0) / 1_000).sort((a, b) => a - b)[200] ?? 0;
  const early = facts.filter(({ event }) => (event.startUs ?? 0) / 1_000 < cut);
  const { rows } = await ask(
    `timeRange: { to: "${new Date(cut).toISOString()}" }, where: { filter: "eq(status, \\"error\\")" }`,
  );
  expect(rows[0]?.runCount).toBe(early.filter(({ event }) => event.error !== undefined).length);
});

test.each([
  ['bucket: MINUTE, timeRange: { from: "2026-01-01T00:00:00Z", to: "2026-03-01T00:00:00Z" }', /buckets/],
  ['zone: "+02:00"', /time zone/],
  ['zone: "Mars/Base"', /time zone/],
  ['groupBy: [{ by: METADATA }]', /key/],
  ['groupBy: [{ by: NAME, key: "x" }]', /key/],
  ['groupBy: [{ by: NAME }, { by: NAME }]', /twice/],
  ['limit: 0', /between 1 and 100/],
])('a question that makes no sense is refused: %s', async (args, message) => {
  const result = await world.execute(principal, `{ runStats(${args}) { truncated } }`);
  expect(result.errors?.[0]?.message).toMatch(message);
});
