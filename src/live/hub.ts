/**
 * The hub: hands what the feed reader reads to every stream that is interested. Streams with the same interest share
 * their events; a stream that cannot keep up reads the log by itself and harms nobody.
 */
import type { Clock } from '../platform/clock.js';
import { inWorkspace } from '../platform/db-scope.js';
import { AppError } from '../platform/errors.js';
import type { Logger } from '../platform/log.js';
import { comparePositions, foreignCursor, laterOf } from './feed-position.js';
import type { FeedPosition } from './feed-position.js';
import type { FeedSink } from './feed-reader.js';
import type { FeedStore } from './feed.store.js';
import type { FeedRow } from './feed.js';
import { batchSize, EVENT_BYTES, interestKey, makeEvents, placeEntries } from './live-event.js';
import type { Interest, LiveEvent, LiveRunSource } from './live-event.js';
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
  recent: RecentEvents;
  readonly members: Set<LiveSubscription>;
}

const WATCH_MS = 5_000;
const QUARTER_MEBIBYTE = 256 * 1024;
/** What all interests together remember, besides what streams have in their buffers. */
const RECENT: RecentCapacity = { events: 32_768, bytes: 32 * 1024 * 1024 };

export class Hub implements FeedSink {
  readonly #deps: HubDeps;
  readonly #limits: SubscriptionLimits;
  /** By workspace, then by interest. */
  readonly #groups = new Map<string, Map<string, Group>>();
  readonly #onBehind = new Map<LiveSubscription, (error: AppError) => void>();
  readonly #watch: NodeJS.Timeout;
  #claimed: FeedPosition | undefined;
  #settled: FeedPosition | undefined;
  #lastCheckpointMs: number;
  #closed = false;

  constructor(deps: HubDeps) {
    this.#deps = deps;
    this.#limits = deps.limits ?? { events: 256, bytes: QUARTER_MEBIBYTE };
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
          group.recent.advance(this.#position('settled'));
          return group.recent.upTo;
        },
        recent: (from, limit) => group.recent.after(from, limit),
        makeEvents: async (entries, wanted) =>
          (await makeEvents(this.#deps.runs, wanted.workspaceId, entries, [wanted])).get(wanted) ?? [],
        onEnd: () => {
          group.members.delete(stream);
          this.#onBehind.delete(stream);
          if (group.members.size === 0) this.#dropGroup(interest.workspaceId, key, group);
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
      if (!this.#groups.has(row.workspaceId)) continue;
      const own = byWorkspace.get(row.workspaceId);
      if (own === undefined) byWorkspace.set(row.workspaceId, [row]);
      else own.push(row);
    }
    await Promise.all(
      [...byWorkspace].map(([workspaceId, own]) =>
        inWorkspace(workspaceId, () => this.#deliverWorkspace(workspaceId, own)),
      ),
    );
    this.#settled = laterOf(this.#position('settled'), upTo);
  }

  restart(to: FeedPosition): void {
    const first = this.#claimed === undefined;
    this.#claimed = to;
    this.#settled = to;
    if (first) return;
    for (const groups of this.#groups.values()) {
      for (const group of groups.values()) group.recent = new RecentEvents(to);
    }
    for (const stream of this.#onBehind.keys()) stream.restart(to);
  }

  /** Tells every stream that has everything how far it has come; the others know from their last event. */
  checkpoint(): void {
    this.#lastCheckpointMs = this.#deps.clock.now().getTime();
    const ready: LiveEvent = { kind: 'Ready', position: this.#position('settled'), bytes: EVENT_BYTES };
    for (const stream of this.#onBehind.keys()) stream.checkpoint(ready);
  }

  /** Ends all streams without an error. */
  close(): void {
    this.#closed = true;
    clearInterval(this.#watch);
    for (const stream of [...this.#onBehind.keys()]) void stream.return();
  }

  /** If a batch fails the rest is retried with everything before it; streams ignore what they have. Interests that nobody
   * follows closely right now are served too: their streams will read it from memory. */
  async #deliverWorkspace(workspaceId: string, rows: readonly FeedRow[]): Promise<void> {
    const entries = placeEntries(rows);
    for (let start = 0; start < entries.length;) {
      const groups = [...(this.#groups.get(workspaceId)?.values() ?? [])];
      if (groups.length === 0) return;
      const interests = groups.map(({ interest }) => interest);
      const size = batchSize(...interests);
      const batch = entries.slice(start, start + size);
      const upTo = batch.at(-1)?.position;
      const events = await makeEvents(this.#deps.runs, workspaceId, batch, interests);
      const capacity = this.#recentCapacity();
      for (const { interest, members, recent } of groups) {
        const own = events.get(interest) ?? [];
        // Together with the pushes: a stream that joins is pushed what lies behind `upTo`.
        if (upTo !== undefined) recent.append(own, upTo, capacity);
        for (const stream of members) stream.push(own);
      }
      start += size;
    }
  }

  #recentCapacity(): RecentCapacity {
    let interests = 0;
    for (const groups of this.#groups.values()) interests += groups.size;
    return { events: RECENT.events / Math.max(interests, 8), bytes: RECENT.bytes / Math.max(interests, 8) };
  }

  #watchStreams(): void {
    const nowMs = this.#deps.clock.now().getTime();
    const patienceMs = this.#deps.patienceMs ?? 60_000;
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
    const groups = this.#groups.get(interest.workspaceId) ?? new Map<string, Group>();
    this.#groups.set(interest.workspaceId, groups);
    // What is being handed out may pass the new interest by; its streams read that from the log.
    const group = groups.get(key) ?? {
      interest,
      members: new Set(),
      recent: new RecentEvents(this.#position('claimed')),
    };
    groups.set(key, group);
    return group;
  }

  #dropGroup(workspaceId: string, key: string, group: Group): void {
    const groups = this.#groups.get(workspaceId);
    if (groups?.get(key) !== group) return;
    groups.delete(key);
    if (groups.size === 0) this.#groups.delete(workspaceId);
  }

  #position(which: 'claimed' | 'settled'): FeedPosition {
    const position = which === 'claimed' ? this.#claimed : this.#settled;
    if (position === undefined || this.#closed) {
      throw new AppError('UNAVAILABLE', 'Live events are not available right now.');
    }
    return position;
  }
}
