import { expect, test } from '@jest/globals';
import fc from 'fast-check';
import { flattenMetadata, isFlat } from '../../src/ingest/run-facts.js';
import type { JsonObject } from '../../src/ingest/run-event.js';

const long = (length: number): fc.Arbitrary<string> => fc.constant('x'.repeat(length));

test('what is flat already has the text of its flattened form', () => {
  const key = fc.oneof(
    fc.string({ unit: 'binary', maxLength: 6 }),
    fc.constantFrom('', '__proto__', '7', 'a.b', 'constructor'),
    long(256),
    long(257),
  );
  const text = fc.oneof(fc.string({ unit: 'grapheme', maxLength: 8 }), long(8_192), long(8_193));
  const value = fc.oneof(
    { weight: 20, arbitrary: text },
    { weight: 1, arbitrary: fc.jsonValue({ maxDepth: 2 }) },
  );
  const metadata = fc
    .array(fc.tuple(key, value), { maxLength: 5 })
    // As JSON.parse makes it: __proto__ is a key like any other.
    .map((entries) => JSON.parse(JSON.stringify(Object.fromEntries(entries))) as JsonObject);
  let flat = 0;
  fc.assert(
    fc.property(metadata, (object) => {
      if (!isFlat(object)) return;
      flat += 1;
      expect(JSON.stringify(flattenMetadata(object))).toBe(JSON.stringify(object));
    }),
    { numRuns: 3_000 },
  );
  expect(flat).toBeGreaterThan(500);
});

test('more keys than are indexed are not flat', () => {
  const of = (keys: number): JsonObject =>
    Object.fromEntries(Array.from({ length: keys }, (_, index) => [`k${index}`, 'v']));
  expect(isFlat(of(1_000))).toBe(true);
  expect(isFlat(of(1_001))).toBe(false);
});
