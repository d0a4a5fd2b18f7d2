import { expect, test } from '@jest/globals';
import fc from 'fast-check';
import { comparePositions } from '../../src/live/feed-position.js';
import type { FeedPosition } from '../../src/live/feed-position.js';
import type { LiveEvent } from '../../src/live/live-event.js';
import { RecentEvents } from '../../src/live/recent-events.js';

const at = (place: number): FeedPosition => ({ xid: BigInt(place), seq: 1n, index: 0 });
const event = (place: number): LiveEvent => ({
  kind: 'RunDeleted',
  position: at(place),
  runId: '',
  traceId: '',
  bytes: 10,
});

const script = fc.record({
  places: fc
    .uniqueArray(fc.integer({ min: 1, max: 200 }), { maxLength: 60 })
    .map((all) => all.sort((a, b) => a - b)),
  batch: fc.integer({ min: 1, max: 7 }),
  capacity: fc.record({ events: fc.integer({ min: 1, max: 30 }), bytes: fc.integer({ min: 10, max: 500 }) }),
  from: fc.integer({ min: 0, max: 200 }),
  page: fc.integer({ min: 1, max: 9 }),
});

test('reading on gives every later event once and in order, or says that some are gone', () => {
  fc.assert(
    fc.property(script, ({ places, batch, capacity, from, page }) => {
      const recent = new RecentEvents(at(0));
      for (let start = 0; start < places.length; start += batch) {
        const part = places.slice(start, start + batch);
        // Handed out twice, as after a failure.
        for (const turn of [part, part]) {
          recent.append(turn.map(event), at(part.at(-1) ?? 0), capacity);
        }
      }
      const seen: bigint[] = [];
      let position = at(from);
      for (;;) {
        const next = recent.after(position, page);
        if (next === undefined) {
          expect(seen).toEqual([]);
          const kept = Math.min(capacity.events, Math.floor(capacity.bytes / 10));
          expect(places.filter((place) => place > from).length).toBeGreaterThan(kept - 1);
          return;
        }
        seen.push(...next.events.map((one) => one.position.xid));
        if (comparePositions(next.upTo, position) <= 0) break;
        position = next.upTo;
      }
      expect(seen).toEqual(places.filter((place) => place > from).map(BigInt));
    }),
  );
});
