/**
 * One subscriber's stream: an abortable iterator over events in log order, each exactly once.
 *
 * It reads the log up to `target` by itself and takes what lies behind `target` from its buffer, which the hub fills.
 * A buffer that overflows is thrown away, not its events: the stream leaves the hub, pages from the log behind the
 * last event it handed out, at the speed it is asked, and joins again when it is nearly level.
 *
 * | state   | the hub fills the buffer | the next event comes from          |
 * |---------|--------------------------|------------------------------------|
 * | behind  | no                       | the log                            |
 * | joining | yes                      | the log up to target, then buffer  |
 * | level   | yes                      | the buffer                         |
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { isTooSlow, isTransient } from '../platform/db.js';
import { inWorkspace } from '../platform/db-scope.js';
import { findAppError } from '../platform/errors.js';
import { trustedScope } from '../tenancy/principal.js';
import { comparePositions, isTrimmed, laterOf, wholeRow } from './feed-position.js';
import type { FeedPosition } from './feed-position.js';
import type { FeedStore } from './feed.store.js';
import { batchSize, EVENT_BYTES, placeEntries } from './live-event.js';
import type { Interest, LiveEvent, PlacedEntry } from './live-event.js';
import type { RecentEvents } from './recent-events.js';

export interface SubscriptionLimits {
  readonly events: number;
  readonly bytes: number;
}

export interface SubscriptionDeps {
  readonly interest: Interest;
  readonly feed: Pick<FeedStore, 'readWorkspace'>;
  readonly makeEvents: (entries: readonly PlacedEntry[], interest: Interest) => Promise<readonly LiveEvent[]>;
  /** What lies behind it will be pushed to every stream that has joined. */
  readonly reach: () => FeedPosition;
  /** The next events from memory; undefined where they must be read from the log. */
  readonly recent: (after: FeedPosition, limit: number) => ReturnType<RecentEvents['after']>;
  readonly limits: SubscriptionLimits;
  readonly nowMs: () => number;
  /** Called once, when the stream is over for whatever reason. */
  readonly onEnd: () => void;
}

const PAGE_ROWS = 100;
const RETRY_MS = 500;

type Result = IteratorResult<LiveEvent, undefined>;
interface Waiter {
  readonly resolve: (result: Result) => void;
  readonly reject: (error: unknown) => void;
}

const DONE: Result = { done: true, value: undefined };

export class LiveSubscription implements AsyncIterableIterator<LiveEvent, undefined> {
  readonly #deps: SubscriptionDeps;
  readonly #ending = new AbortController();
  readonly #waiters: Waiter[] = [];
  /** The last event handed out, or where the stream began. */
  #delivered: FeedPosition;
  /** Up to here the log was read: into #page and #ready, or past. */
  #readTo: FeedPosition;
  #target: FeedPosition;
  /** Entries that were read from the log and have not become events. */
  #page: PlacedEntry[] = [];
  /** Events from the log, to be handed out before the buffer. */
  #ready: LiveEvent[] = [];
  #buffer: LiveEvent[] = [];
  #bufferBytes = 0;
  #joined: boolean;
  #behindSinceMs: number | undefined;
  /** Whether a stream that resumed has yet to be told that it has everything. */
  #owesReady: boolean;
  #reading = false;
  /** Counts restarts: what was being read before one is not to be used. */
  #epoch = 0;
  #failure: Error | undefined;

  /** @param after where to resume; undefined to begin with what the hub hands out next. */
  constructor(deps: SubscriptionDeps, after: FeedPosition | undefined) {
    this.#deps = deps;
    this.#delivered = after ?? deps.reach();
    this.#readTo = this.#delivered;
    this.#target = this.#delivered;
    this.#joined = after === undefined;
    this.#owesReady = after !== undefined;
    if (after === undefined) {
      this.#ready.push({ kind: 'Ready', position: this.#delivered, bytes: EVENT_BYTES });
    }
  }

  get interest(): Interest {
    return this.#deps.interest;
  }

  /** Whether pushed events are taken. */
  get joined(): boolean {
    return this.#joined && !this.#ended;
  }

  /** Since when the subscriber has not kept up, after its buffer overflowed; undefined for one that does. */
  get behindSinceMs(): number | undefined {
    return this.#behindSinceMs;
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  next(): Promise<Result> {
    return new Promise((resolve, reject) => {
      this.#waiters.push({ resolve, reject });
      this.#serve();
    });
  }

  /** Settles at once, whatever is being read. */
  return(): Promise<Result> {
    this.#end(undefined);
    return Promise.resolve(DONE);
  }

  throw(error?: unknown): Promise<Result> {
    this.#end(undefined);
    return Promise.reject(error instanceof Error ? error : new Error(String(error)));
  }

  /** Ends the stream with an error. */
  fail(error: Error): void {
    this.#end(error);
  }

  /** The hub's part: events in log order. Those the stream has or reads itself are ignored. */
  push(events: readonly LiveEvent[]): void {
    if (!this.joined) return;
    let known = laterOf(this.#target, this.#buffer.at(-1)?.position ?? this.#delivered);
    for (const event of events) {
      if (comparePositions(event.position, known) <= 0) continue;
      known = event.position;
      this.#buffer.push(event);
      this.#bufferBytes += event.bytes;
    }
    this.#serve();
    const { limits, nowMs } = this.#deps;
    const overflows = this.#buffer.length > limits.events || this.#bufferBytes > limits.bytes;
    // A single event is kept however large: the log would bring the same one.
    if (!overflows || this.#buffer.length === 1) return;
    this.#clearBuffer();
    this.#joined = false;
    this.#readTo = laterOf(this.#readTo, this.#delivered);
    this.#behindSinceMs ??= nowMs();
  }

  /**
   * The hub's part: what lies behind `from` was not pushed and is in the log. What was pushed before is still handed
   * out, and nothing is read twice for it.
   */
  leave(from: FeedPosition): void {
    if (!this.joined) return;
    if (this.#isLevel()) {
      this.#ready.push(...this.#buffer);
      this.#readTo = laterOf(laterOf(this.#readTo, this.#buffer.at(-1)?.position ?? this.#delivered), from);
    } else this.#readTo = laterOf(this.#readTo, this.#delivered);
    this.#clearBuffer();
    this.#joined = false;
    this.#behindSinceMs ??= this.#deps.nowMs();
    this.#serve();
  }

  /** The log starts anew at `to`: what was not handed out may be lost, and the subscriber is told so. */
  restart(to: FeedPosition): void {
    if (this.#ended) return;
    this.#epoch += 1;
    this.#clearBuffer();
    this.#page = [];
    this.#ready = [{ kind: 'Gap', from: this.#delivered, position: to, bytes: EVENT_BYTES }];
    this.#delivered = to;
    this.#readTo = to;
    this.#target = to;
    this.#joined = true;
    this.#serve();
  }

  /** Hands out `ready`, which says how far the hub has come, to a subscriber that has everything up to there. */
  checkpoint(ready: LiveEvent): void {
    if (this.#ended || !this.#isLevel() || this.#ready.length > 0 || this.#buffer.length > 0) return;
    if (comparePositions(ready.position, laterOf(this.#readTo, this.#delivered)) <= 0) return;
    this.#ready.push(ready);
    this.#serve();
  }

  get #ended(): boolean {
    return this.#ending.signal.aborted;
  }

  #serve(): void {
    if (this.#ended) {
      for (const { resolve, reject } of this.#waiters.splice(0)) {
        if (this.#failure === undefined) resolve(DONE);
        else reject(this.#failure);
        this.#failure = undefined;
      }
      return;
    }
    while (this.#waiters.length > 0) {
      const event = this.#takeEvent();
      if (event === undefined) break;
      this.#waiters.shift()?.resolve({ done: false, value: event });
    }
    if (this.#waiters.length > 0 && !this.#isLevel()) void this.#read();
  }

  #takeEvent(): LiveEvent | undefined {
    const ready = this.#ready.shift();
    if (ready !== undefined) {
      this.#delivered = ready.position;
      return ready;
    }
    if (!this.#isLevel()) return undefined;
    this.#behindSinceMs = undefined;
    if (this.#owesReady) {
      this.#owesReady = false;
      this.#delivered = laterOf(this.#readTo, this.#delivered);
      return { kind: 'Ready', position: this.#delivered, bytes: EVENT_BYTES };
    }
    const event = this.#buffer.shift();
    if (event === undefined) return undefined;
    this.#bufferBytes -= event.bytes;
    this.#delivered = event.position;
    return event;
  }

  #isLevel(): boolean {
    return this.#joined && this.#page.length === 0 && comparePositions(this.#readTo, this.#target) >= 0;
  }

  /** Reads the log until there is something to hand out or nothing left to read. One at a time. */
  async #read(): Promise<void> {
    if (this.#reading) return;
    this.#reading = true;
    while (!this.#ended && this.#ready.length === 0 && !this.#isLevel()) {
      try {
        await this.#readOn();
      } catch (error) {
        // A database that is away is waited for, like the tail does, and so is what may be there soon, for as long as
        // the hub has patience; what was read is kept.
        const overloaded = isTooSlow(error) || findAppError(error)?.retryAfterSeconds !== undefined;
        if (overloaded) this.#behindSinceMs ??= this.#deps.nowMs();
        if (overloaded || isTransient(error)) {
          await sleep(RETRY_MS, undefined, { signal: this.#ending.signal }).catch(() => undefined);
        } else this.#end(error instanceof Error ? error : new Error(String(error)));
      }
    }
    this.#reading = false;
    this.#serve();
  }

  #readOn(): Promise<void> | void {
    if (this.#page.length > 0) return this.#makeReady();
    const until = this.#joined ? this.#target : this.#deps.reach();
    if (comparePositions(this.#readTo, until) >= 0) return this.#join();
    return this.#takeRecent() ? undefined : this.#readPage(until);
  }

  /** What others of the same interest were handed lately, if that is where this stream is. */
  #takeRecent(): boolean {
    // With a buffer that fills, only what lies before it is missing; the log knows where that ends.
    if (this.#joined) return false;
    const recent = this.#deps.recent(this.#readTo, batchSize(this.#deps.interest));
    if (recent === undefined) return false;
    this.#ready.push(...recent.events);
    this.#readTo = laterOf(this.#readTo, recent.upTo);
    return true;
  }

  async #readPage(until: FeedPosition): Promise<void> {
    const { interest, feed } = this.#deps;
    const epoch = this.#epoch;
    const from = this.#readTo;
    const scope = trustedScope(interest.workspaceId);
    const { rows, floor } = await inWorkspace(interest.workspaceId, () =>
      feed.readWorkspace(scope, interest.topic, from, until, PAGE_ROWS),
    );
    if (this.#ended || this.#epoch !== epoch) return;
    if (isTrimmed(from, floor)) {
      this.#ready.push({ kind: 'Gap', from, position: floor, bytes: EVENT_BYTES });
      this.#readTo = floor;
      return;
    }
    const last = rows.length < PAGE_ROWS ? undefined : rows.at(-1);
    this.#page = placeEntries(rows).filter(({ position }) => comparePositions(position, from) > 0);
    this.#readTo = last === undefined ? until : wholeRow(last);
    // From here on the hub collects what comes while the rest is read.
    if (last === undefined && !this.#joined) this.#join();
  }

  async #makeReady(): Promise<void> {
    const epoch = this.#epoch;
    const size = batchSize(this.#deps.interest);
    const { interest } = this.#deps;
    const events = await inWorkspace(interest.workspaceId, () =>
      this.#deps.makeEvents(this.#page.slice(0, size), interest),
    );
    if (this.#ended || this.#epoch !== epoch) return;
    this.#page = this.#page.slice(size);
    this.#ready.push(...events);
  }

  #join(): void {
    this.#joined = true;
    this.#target = this.#deps.reach();
  }

  #clearBuffer(): void {
    this.#buffer = [];
    this.#bufferBytes = 0;
  }

  #end(failure: Error | undefined): void {
    if (this.#ended) return;
    this.#failure = failure;
    this.#clearBuffer();
    this.#ready = [];
    this.#page = [];
    this.#ending.abort();
    this.#serve();
    this.#deps.onEnd();
  }
}
