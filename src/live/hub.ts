/**
 * The hub: hands what the feed reader reads to every stream that is interested. Streams with the same interest share
 * their events; a stream that cannot keep up reads the log by itself and harms nobody. Interests that are served together
 * are a lane: one whose events take long to make is waited for only shortly, and one whose events cannot be made leaves
 * its streams to the log.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Clock } from '../platform/clock.js';
import { isTooSlow, isTransient } from '../platform/db.js';
import { inWorkspace } from '../platform/db-scope.js';
import { AppError } from '../platform/errors.js';
import type { Logger } from '../platform/log.js';
import { comparePositions, foreignCursor, laterOf } from './feed-position.js';
import type { FeedPosition } from './feed-position.js';
import type { FeedSink } from './feed-reader.js';
import type { FeedStore } from './feed.store.js';
import type { FeedRow } from './feed.js';
import { batchSize, EVENT_BYTES, interestKey, makeEvents, placeEntries } from './live-event.js';
import type { Interest, LiveEvent, LiveRunSource, PlacedEntry } from './live-event.js';
import { LiveSubscription } from './live-subscription.js';
import { RecentEvents } from './recent-events.js';
import type { RecentCapacity } from './recent-events.js';
import type { SubscriptionLimits } from './live-subscription.js';

export interface HubDeps {
  readonly feed: Pick<FeedStore, 'readWorkspace' | 'readEnd'>;
  readonly runs: LiveRunSource;
  readonly clock: Clock;
  readonly log: Logger;
  /** What a stream's buffer holds at most. Default 256 events and 256 KiB. */
  readonly limits?: SubscriptionLimits;
  /** How long a stream may stay behind after its buffer overflowed. Default 60 s. */
  readonly patienceMs?: number;
  /** How long the tail waits for slow lanes before it reads on. Default 250 ms. */
  readonly laneWaitMs?: number;
  /** How long the events of one batch may take to make. Default 5 s. */
  readonly batchMs?: number;
  /** After this long, streams that have everything are told their position, so that they never resume from far back. Default 60 s. */
  readonly checkpointMs?: number;
}

export interface SubscribeOptions {
  /** Where to resume; undefined to begin now. */
  readonly after: FeedPosition | undefined;
  /** Called when the subscriber stayed behind too long; the stream has failed by then. */
  readonly onBehind: (error: AppError) => void;
}

interface Group {
  readonly interest: Interest;
  readonly lane: Lane;
  recent: RecentEvents;
  readonly members: Set<LiveSubscription>;
}

/** Interests of one workspace whose events are made together, and what has still to be made for them. */
interface Lane {
  readonly key: string;
  readonly workspaceId: string;
  /** By interest. */
  readonly groups: Map<string, Group>;
  waiting: PlacedEntry[];
  running: Promise<void> | undefined;
}

const WATCH_MS = 5_000;
/** What a stream's buffer holds at most, and how long a stream may stay behind after it overflowed. */
export const STREAM_LIMITS = { events: 256, bytes: 256 * 1024, patienceMs: 60_000 } as const;
const LANE_WAIT_MS = 250;
const BATCH_MS = 5_000;
const RETRY_MS = 100;
/** Entries a slow lane may have waiting before its streams are left to the log. */
const MAX_WAITING = 100_000;
/** What all interests together remember, besides what streams have in their buffers. */
const RECENT: RecentCapacity = { events: 32_768, bytes: 32 * 1024 * 1024 };

export class Hub implements FeedSink {
  readonly #deps: HubDeps;
  readonly #limits: SubscriptionLimits;
  /** By workspace, then by key. */
  readonly #lanes = new Map<string, Map<string, Lane>>();
  readonly #onBehind = new Map<LiveSubscription, (error: AppError) => void>();
  readonly #watch: NodeJS.Timeout;
  #claimed: FeedPosition | undefined;
  #settled: FeedPosition | undefined;
  #lastCheckpointMs: number;
  #closed = false;

  constructor(deps: HubDeps) {
    this.#deps = deps;
    this.#limits = deps.limits ?? STREAM_LIMITS;
    this.#lastCheckpointMs = deps.clock.now().getTime();
    this.#watch = setInterval(() => this.#watchStreams(), Math.min(WATCH_MS, deps.patienceMs ?? WATCH_MS));
    this.#watch.unref();
  }

  /** Streams that are open. */
  get size(): number {
    return this.#onBehind.size;
  }

  /**
   * Opens a stream.
   * @throws AppError UNAVAILABLE before the feed was first reached and after close, BAD_USER_INPUT for a cursor that
   * is ahead of the log.
   */
  async subscribe(interest: Interest, { after, onBehind }: SubscribeOptions): Promise<LiveSubscription> {
    if (after !== undefined && comparePositions(after, this.#position('claimed')) > 0) {
      // Another process may have read further than this one; nobody can have read what was not begun.
      if (after.xid >= (await this.#deps.feed.readEnd())) throw foreignCursor();
    }
    this.#position('claimed');
    const key = interestKey(interest);
    const group = this.#group(interest, key);
    const stream: LiveSubscription = new LiveSubscription(
      {
        interest: group.interest,
        feed: this.#deps.feed,
        limits: this.#limits,
        nowMs: () => this.#deps.clock.now().getTime(),
        reach: () => {
          // Batches that held nothing of the workspace passed it by.
          if (group.lane.running === undefined) group.recent.advance(this.#position('settled'));
          return group.recent.upTo;
        },
        recent: (from, limit) => group.recent.after(from, limit),
        makeEvents: async (entries, wanted) =>
          (await makeEvents(this.#deps.runs, wanted.workspaceId, entries, [wanted])).get(wanted) ?? [],
        onEnd: () => {
          group.members.delete(stream);
          this.#onBehind.delete(stream);
          if (group.members.size === 0) this.#dropGroup(key, group);
        },
      },
      after,
    );
    group.members.add(stream);
    this.#onBehind.set(stream, onBehind);
    return stream;
  }

  async deliver(rows: readonly FeedRow[], upTo: FeedPosition): Promise<void> {
    // Before anything is awaited: a stream that joins from now on reads these rows itself.
    this.#claimed = laterOf(this.#position('claimed'), upTo);
    const byWorkspace = new Map<string, FeedRow[]>();
    for (const row of rows) {
      if (!this.#lanes.has(row.workspaceId)) continue;
      const own = byWorkspace.get(row.workspaceId);
      if (own === undefined) byWorkspace.set(row.workspaceId, [row]);
      else own.push(row);
    }
    const running: Promise<void>[] = [];
    for (const [workspaceId, own] of byWorkspace) {
      const entries = placeEntries(own);
      for (const lane of this.#lanes.get(workspaceId)?.values() ?? []) {
        running.push(this.#enqueue(lane, entries));
      }
    }
    if (running.length > 0) await this.#waitFor(Promise.all(running));
    this.#settled = laterOf(this.#position('settled'), upTo);
  }

  restart(to: FeedPosition): void {
    const first = this.#claimed === undefined;
    this.#claimed = to;
    this.#settled = to;
    if (first) return;
    for (const lane of this.#allLanes()) {
      lane.waiting = [];
      for (const group of lane.groups.values()) group.recent = new RecentEvents(to);
    }
    for (const stream of this.#onBehind.keys()) stream.restart(to);
  }

  /** Tells every stream that has everything how far it has come; the others know from their last event. */
  checkpoint(): void {
    this.#lastCheckpointMs = this.#deps.clock.now().getTime();
    const ready: LiveEvent = { kind: 'Ready', position: this.#position('settled'), bytes: EVENT_BYTES };
    for (const lane of this.#allLanes()) {
      if (lane.running !== undefined) continue;
      for (const { members } of lane.groups.values()) for (const stream of members) stream.checkpoint(ready);
    }
  }

  /** Ends all streams without an error. */
  close(): void {
    this.#closed = true;
    clearInterval(this.#watch);
    for (const stream of [...this.#onBehind.keys()]) void stream.return();
  }

  /** Resolves when the lane has nothing more to do. Never rejects. */
  #enqueue(lane: Lane, entries: readonly PlacedEntry[]): Promise<void> {
    if (lane.waiting.length + entries.length > MAX_WAITING && lane.waiting.length > 0) {
      this.#leaveToLog(lane, new Error('too much is waiting'));
    } else for (const entry of entries) lane.waiting.push(entry);
    if (lane.waiting.length > 0) lane.running ??= inWorkspace(lane.workspaceId, () => this.#runLane(lane));
    return lane.running ?? Promise.resolve();
  }

  async #runLane(lane: Lane): Promise<void> {
    const { batchMs = BATCH_MS } = this.#deps;
    let failingSince: number | undefined;
    while (lane.waiting.length > 0 && lane.groups.size > 0 && !this.#closed) {
      try {
        await this.#deliverBatch(lane, batchMs);
        failingSince = undefined;
      } catch (error) {
        failingSince ??= performance.now();
        // A connection that was lost is there again at once; all streams reading for themselves would cost far more.
        const passes = isTransient(error) && !isTooSlow(error) && performance.now() - failingSince < batchMs;
        if (passes) await sleep(RETRY_MS);
        else this.#leaveToLog(lane, error);
      }
    }
    lane.waiting = [];
    lane.running = undefined;
  }

  /** Interests that nobody follows closely right now are served too: their streams will read it from memory. */
  async #deliverBatch(lane: Lane, batchMs: number): Promise<void> {
    const groups = [...lane.groups.values()];
    const interests = groups.map(({ interest }) => interest);
    const { waiting } = lane;
    const batch = waiting.slice(0, batchSize(...interests));
    const upTo = batch.at(-1)?.position;
    const making = makeEvents(this.#deps.runs, lane.workspaceId, batch, interests);
    const events = await inTime(making, batchMs);
    // The log began anew, or the lane was given up: its streams read this themselves.
    if (lane.waiting !== waiting || upTo === undefined) return;
    waiting.splice(0, batch.length);
    const capacity = this.#recentCapacity();
    for (const { interest, members, recent } of groups) {
      const own = events.get(interest) ?? [];
      // Together with the pushes: a stream that joins is pushed what lies behind `upTo`.
      recent.append(own, upTo, capacity);
      for (const stream of members) stream.push(own);
    }
  }

  /** What was not handed out is in the log, up to what is being read now. */
  #leaveToLog(lane: Lane, error: unknown): void {
    const { workspaceId } = lane;
    this.#deps.log.warn(
      { err: error, workspaceId },
      'live events could not be made, subscribers read the log',
    );
    lane.waiting = [];
    for (const group of lane.groups.values()) {
      const from = group.recent.upTo;
      group.recent = new RecentEvents(laterOf(this.#claimed ?? from, from));
      for (const stream of group.members) stream.leave(from);
    }
  }

  async #waitFor(work: Promise<unknown>): Promise<void> {
    const enough = new AbortController();
    const { laneWaitMs = LANE_WAIT_MS } = this.#deps;
    const patience = sleep(laneWaitMs, undefined, { signal: enough.signal }).catch(() => undefined);
    await Promise.race([work, patience]);
    enough.abort();
  }

  *#allLanes(): Iterable<Lane> {
    for (const lanes of this.#lanes.values()) yield* lanes.values();
  }

  #recentCapacity(): RecentCapacity {
    let interests = 0;
    for (const { groups } of this.#allLanes()) interests += groups.size;
    return { events: RECENT.events / Math.max(interests, 8), bytes: RECENT.bytes / Math.max(interests, 8) };
  }

  #watchStreams(): void {
    const nowMs = this.#deps.clock.now().getTime();
    const patienceMs = this.#deps.patienceMs ?? STREAM_LIMITS.patienceMs;
    for (const [stream, onBehind] of [...this.#onBehind]) {
      if (stream.behindSinceMs === undefined || nowMs - stream.behindSinceMs < patienceMs) continue;
      const error = new AppError('UNAVAILABLE', 'The subscriber fell behind; resume with the last cursor.');
      this.#deps.log.info(
        { workspaceId: stream.interest.workspaceId },
        'a subscriber fell behind and was closed',
      );
      stream.fail(error);
      onBehind(error);
    }
    if (
      this.#settled !== undefined &&
      nowMs - this.#lastCheckpointMs >= (this.#deps.checkpointMs ?? 60_000)
    ) {
      this.checkpoint();
    }
  }

  #group(interest: Interest, key: string): Group {
    const lane = this.#lane(interest);
    // What is being handed out may pass the new interest by; its streams read that from the log.
    const group = lane.groups.get(key) ?? {
      interest,
      lane,
      members: new Set(),
      recent: new RecentEvents(this.#position('claimed')),
    };
    lane.groups.set(key, group);
    return group;
  }

  /** A filter that the database is asked about may be costly: those who have it are served apart from all others. */
  #lane({ workspaceId, filter }: Interest): Lane {
    const lanes = this.#lanes.get(workspaceId) ?? new Map<string, Lane>();
    this.#lanes.set(workspaceId, lanes);
    const key = filter === undefined || filter.test !== undefined ? '' : JSON.stringify(filter.filters);
    const lane = lanes.get(key) ?? { key, workspaceId, groups: new Map(), waiting: [], running: undefined };
    lanes.set(key, lane);
    return lane;
  }

  #dropGroup(key: string, { lane, interest }: Group): void {
    lane.groups.delete(key);
    const lanes = this.#lanes.get(interest.workspaceId);
    if (lane.groups.size > 0 || lanes?.get(lane.key) !== lane) return;
    lanes.delete(lane.key);
    if (lanes.size === 0) this.#lanes.delete(interest.workspaceId);
  }

  #position(which: 'claimed' | 'settled'): FeedPosition {
    const position = which === 'claimed' ? this.#claimed : this.#settled;
    if (position === undefined || this.#closed) {
      throw new AppError('UNAVAILABLE', 'Live events are not available right now.');
    }
    return position;
  }
}

async function inTime<T>(work: Promise<T>, ms: number): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_resolve, reject) => {
    timer = setTimeout(() => reject(new Error(`took longer than ${ms} ms`)), ms);
  });
  try {
    return await Promise.race([work, late]);
  } finally {
    clearTimeout(timer);
  }
}
