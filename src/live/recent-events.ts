/**
 * The last events of one interest, shared by its streams. After a burst all streams of an interest fall behind at
 * once; from here each reads on at its own speed, without a query of its own and with the texts of the others.
 */
import { comparePositions, laterOf } from './feed-position.js';
import type { FeedPosition } from './feed-position.js';
import type { LiveEvent } from './live-event.js';

export interface RecentCapacity {
  readonly events: number;
  readonly bytes: number;
}

export class RecentEvents {
  /** All events behind #from and up to #upTo are here. */
  #from: FeedPosition;
  #upTo: FeedPosition;
  #events: LiveEvent[] = [];
  #bytes = 0;

  constructor(from: FeedPosition) {
    this.#from = from;
    this.#upTo = from;
  }

  get upTo(): FeedPosition {
    return this.#upTo;
  }

  /** Nothing happened up to here. */
  advance(upTo: FeedPosition): void {
    this.#upTo = laterOf(this.#upTo, upTo);
  }

  /** Takes events in log order, of which some may have been taken before, and forgets the oldest beyond `capacity`. */
  append(events: readonly LiveEvent[], upTo: FeedPosition, capacity: RecentCapacity): void {
    for (const event of events) {
      if (comparePositions(event.position, this.#upTo) <= 0) continue;
      this.#events.push(event);
      this.#bytes += event.bytes;
    }
    this.#upTo = laterOf(this.#upTo, upTo);
    let dropped = 0;
    while (this.#events.length - dropped > capacity.events || this.#bytes > capacity.bytes) {
      const oldest = this.#events[dropped];
      if (oldest === undefined) break;
      this.#bytes -= oldest.bytes;
      this.#from = oldest.position;
      dropped += 1;
    }
    if (dropped > 0) this.#events = this.#events.slice(dropped);
  }

  /** The next `limit` events behind `position` and how far they reach; undefined where some are no longer here. */
  after(
    position: FeedPosition,
    limit: number,
  ): { events: readonly LiveEvent[]; upTo: FeedPosition } | undefined {
    if (comparePositions(position, this.#from) < 0) return undefined;
    let low = 0;
    let high = this.#events.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      const event = this.#events[middle];
      if (event !== undefined && comparePositions(event.position, position) <= 0) low = middle + 1;
      else high = middle;
    }
    const events = this.#events.slice(low, low + limit);
    const last = low + limit < this.#events.length ? events.at(-1) : undefined;
    return { events, upTo: last?.position ?? laterOf(this.#upTo, position) };
  }
}
