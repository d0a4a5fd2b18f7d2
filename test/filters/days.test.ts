import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { randomUUID } from 'node:crypto';
import { parseFilter } from '../../src/filters/filter-text.js';
import type { RunFilters } from '../../src/filters/filter.js';
import { LiveRunStore } from '../../src/live/live-run.store.js';
import { RunDayStore } from '../../src/runs/run-day.store.js';
import { trustedScope } from '../../src/tenancy/principal.js';
import { childEvent, createWorld, DAY_MS, idAt, principalOf, rootEvent } from '../runs/world.js';
import type { World } from '../runs/world.js';

let world: World;
beforeAll(async () => {
  world = await createWorld();
});
afterAll(() => world.close());

const now = Date.now();

test('lists, counts and subscriptions see the same runs of a trace, over however many days it goes', async () => {
  const workspaceId = randomUUID();
  const principal = principalOf(workspaceId);
  const at = (daysAgo: number): number => now - daysAgo * DAY_MS;
  const root = rootEvent(workspaceId, at(20), { name: 'long' });
  const runs = [
    root,
    ...[20, 13, 12, 6, 0].map((days) => childEvent(root, at(days), { name: `${days} days ago` })),
    // No clock should show this; it lives with the strays.
    childEvent(root, at(12), { id: idAt(now - 2_000 * DAY_MS), name: 'stray' }),
    rootEvent(workspaceId, at(3), { name: 'short' }),
    // On days of their own, so that the newest days of a list are not all there are.
    ...[1, 2, 4].map((days) => rootEvent(workspaceId, at(days), { name: 'other' })),
  ];
  await world.write(runs);
  const name = (id: string): string | undefined => runs.find((run) => run.id === id)?.name;
  const [project] = await world.projects.findProjectsByName(principal, ['demo']);
  const live = new LiveRunStore({
    db: world.pool,
    runs: { findByIds: () => Promise.resolve([]) },
    days: new RunDayStore({ db: world.pool }),
    search: { resolve: () => Promise.resolve(undefined) },
  });
  const judged = async (filters: RunFilters): Promise<(string | undefined)[]> => {
    const query = { projectIds: [project?.uuid ?? ''], filters };
    const listed = await world.runs.listRuns(principal, query, {
      direction: 'desc',
      window: { limit: 50, backward: false, boundary: undefined },
      fields: [],
    });
    const delivered = await live.matchingIds(
      trustedScope(workspaceId),
      filters,
      runs.map(({ id, traceId }) => ({ runId: id, traceId: traceId ?? id })),
    );
    const ids = listed.map(({ uuid }) => uuid);
    expect([...delivered].sort()).toEqual([...ids].sort());
    expect(await world.runs.countRuns(principal, query, 100)).toBe(ids.length);
    return ids.map(name).sort();
  };

  expect(await judged({ root: parseFilter('eq(name, "long")') })).toEqual([
    '13 days ago',
    '20 days ago',
    'long',
    'stray',
  ]);
  expect(await judged({ tree: parseFilter('eq(name, "0 days ago")') })).toEqual([
    '0 days ago',
    '6 days ago',
    'stray',
  ]);
  expect(await judged({ tree: parseFilter('eq(name, "stray")') })).toEqual(
    ['0 days ago', '12 days ago', '13 days ago', '20 days ago', '6 days ago', 'long', 'stray'].sort(),
  );
  expect(
    await judged({ root: parseFilter('eq(name, "short")'), run: parseFilter('eq(is_root, true)') }),
  ).toEqual(['short']);
});
