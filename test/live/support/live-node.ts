/** One gateway's live part: store, hub and reader on a pool of their own, as the composition root joins them. */
import type pg from 'pg';
import { Registry } from 'prom-client';
import { systemClock } from '../../../src/platform/clock.js';
import type { Clock } from '../../../src/platform/clock.js';
import { createPool } from '../../../src/platform/db.js';
import { PostgresDoorbell } from '../../../src/platform/doorbell-postgres.js';
import { RedisDoorbell } from '../../../src/platform/doorbell-redis.js';
import type { Doorbell } from '../../../src/platform/doorbell.js';
import { createLogger } from '../../../src/platform/log.js';
import { FeedReader } from '../../../src/live/feed-reader.js';
import { FeedStore } from '../../../src/live/feed.store.js';
import { Hub } from '../../../src/live/hub.js';
import type { HubDeps } from '../../../src/live/hub.js';
import type { Interest, LiveEvent, LiveRunSource } from '../../../src/live/live-event.js';
import type { LiveSubscription } from '../../../src/live/live-subscription.js';
import { selectList } from '../../../src/runs/run-columns.js';
import type { RunRow } from '../../../src/runs/run-columns.js';
import { patiently as eventually } from './patiently.js';
import type { World } from './feed-world.js';

export const log = createLogger('silent', 'test');

export const doorbells = {
  Postgres: (url: string): Doorbell => new PostgresDoorbell({ url, log, keepaliveMs: 500 }),
  Redis: (url: string): Doorbell =>
    new RedisDoorbell({
      url: process.env['TEST_REDIS_URL'] ?? '',
      log,
      channel: `test-${new URL(url).pathname}`,
      keepaliveMs: 500,
    }),
};

/** A doorbell whose wires are cut. */
export const noDoorbell: Doorbell = {
  ring: () => undefined,
  listen: () => () => undefined,
  close: () => Promise.resolve(),
};

export interface LiveNode {
  readonly pool: pg.Pool;
  readonly store: FeedStore;
  readonly hub: Hub;
  readonly reader: FeedReader;
  readonly doorbell: Doorbell;
  readonly registry: Registry;
  /** How often runs were loaded. */
  readonly loads: () => number;
  close(): Promise<void>;
}

export async function startNode(
  url: string,
  doorbell: Doorbell,
  options: Partial<Pick<HubDeps, 'limits' | 'patienceMs' | 'batchMs'>> & {
    runs?: (pool: pg.Pool) => LiveRunSource;
    clock?: Clock;
  } = {},
): Promise<LiveNode> {
  const pool = createPool({ url, name: 'live', max: 4, statementTimeoutMs: 10_000, log });
  const store = new FeedStore({ pool });
  const registry = new Registry();
  const { runs = plainRuns, clock = systemClock, ...limits } = options;
  let loads = 0;
  const source = runs(pool);
  const counted: LiveRunSource = {
    findFilterable: (...args) => source.findFilterable(...args),
    matchingIds: (...args) => source.matchingIds(...args),
    findByIds: (...args) => {
      loads += 1;
      return source.findByIds(...args);
    },
  };
  const hub = new Hub({ feed: store, runs: counted, clock, log, ...limits });
  const reader = new FeedReader({ store, sink: hub, doorbell, registry, clock: systemClock, log });
  reader.start();
  const probe = {
    workspaceId: '00000000-0000-4000-8000-000000000000',
    topic: { kind: 'trace', traceId: 'none' },
    filter: undefined,
    fields: [],
    content: false,
  } as const;
  await eventually(async () => {
    const stream = await hub.subscribe(probe, { after: undefined, onBehind: () => undefined });
    await stream.return();
  });
  return {
    pool,
    store,
    hub,
    reader,
    doorbell,
    registry,
    loads: () => loads,
    close: async () => {
      hub.close();
      await reader.stop();
      await doorbell.close();
      await pool.end();
    },
  };
}

/** Runs by id without filters. */
export const plainRuns = (pool: pg.Pool): LiveRunSource => ({
  findByIds: async (scope, ids, selection) => {
    const { rows } = await pool.query<RunRow>(
      `select ${selectList(selection)} from runs r where workspace_id = $1 and id = any($2)`,
      [scope.workspaceId, ids],
    );
    return rows;
  },
  findFilterable: () => Promise.reject(new Error('no filters here')),
  matchingIds: () => Promise.reject(new Error('no filters here')),
});

export const projectInterest = (world: World, more: Partial<Interest> = {}): Interest => ({
  workspaceId: world.workspaceId,
  topic: { kind: 'project', projectId: world.projectId },
  filter: undefined,
  fields: ['name', 'traceId', 'revision'],
  content: false,
  ...more,
});

export const follow = (
  node: LiveNode,
  interest: Interest,
  after?: LiveEvent['position'],
): Promise<LiveSubscription> => node.hub.subscribe(interest, { after, onBehind: () => undefined });

/** Takes `count` events that are about runs, and fails after the deadline. Ready events are left out. */
export async function take(
  stream: LiveSubscription,
  count: number,
  timeoutMs = 30_000,
): Promise<LiveEvent[]> {
  const events: LiveEvent[] = [];
  const deadline = AbortSignal.timeout(timeoutMs);
  const late = new Promise<never>((_resolve, reject) => {
    deadline.addEventListener('abort', () =>
      reject(new Error(`only ${events.length} of ${count} events came in time`)),
    );
  });
  late.catch(() => undefined);
  while (events.length < count) {
    const { value, done } = await Promise.race([stream.next(), late]);
    if (done === true) throw new Error(`the stream ended after ${events.length} of ${count} events`);
    if (value.kind !== 'Ready') events.push(value);
  }
  return events;
}

export const runIdOf = (event: LiveEvent): string | undefined =>
  'run' in event ? event.run.uuid : event.kind === 'RunDeleted' ? event.runId : undefined;
