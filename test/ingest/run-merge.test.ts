import { expect, test } from '@jest/globals';
import fc from 'fast-check';
import type { JsonObject, Payload, RunEvent } from '../../src/ingest/run-event.js';
import { draftOf, mergeDrafts, stableText } from '../../src/ingest/run-merge.js';
import type { RunDraft } from '../../src/ingest/run-merge.js';

const payload = (value: JsonObject): Payload => ({ text: JSON.stringify(value), value });

const maybe = <T>(arbitrary: fc.Arbitrary<T>): fc.Arbitrary<T | undefined> =>
  fc.option(arbitrary, { nil: undefined });
const words = fc.constantFrom('a', 'b', 'cc', '__proto__', 'ü', '');
const objects = fc.dictionary(words, fc.oneof(fc.integer({ min: 0, max: 3 }), words, fc.constant(null)), {
  maxKeys: 3,
}) as fc.Arbitrary<JsonObject>;

/** Few values, so that equal ranks with different values happen all the time. */
const events: fc.Arbitrary<RunEvent> = fc
  .record({
    kind: fc.constantFrom('create' as const, 'update' as const),
    name: maybe(words),
    runType: maybe(fc.constantFrom('llm' as const, 'chain' as const)),
    startUs: maybe(fc.integer({ min: 1, max: 3 })),
    endUs: maybe(fc.integer({ min: 1, max: 3 })),
    error: maybe(words),
    inputs: maybe(objects.map(payload)),
    outputs: maybe(objects.map(payload)),
    metadata: maybe(objects),
    extra: maybe(objects),
    tags: maybe(fc.array(words, { minLength: 1, maxLength: 2 })),
    attachments: maybe(
      fc.uniqueArray(fc.record({ name: words, mimeType: words, size: fc.integer({ min: 0, max: 2 }) }), {
        selector: (ref) => ref.name,
        maxLength: 2,
      }),
    ),
  })
  .map((event) => ({ workspaceId: 'w', id: 'r', ...event }) as RunEvent);

/** The state as a reader sees it: key order does not count. */
const state = (draft: RunDraft): string => stableText(JSON.parse(JSON.stringify(draft)) as JsonObject);

const fold = (drafts: readonly RunDraft[]): RunDraft =>
  drafts.reduce((merged, draft) => mergeDrafts(merged, draft));

test('any order, any duplication and any grouping of events gives one state', () => {
  fc.assert(
    fc.property(
      fc.array(events, { minLength: 1, maxLength: 6 }).chain((all) =>
        fc.record({
          all: fc.constant(all),
          schedule: fc
            .tuple(
              fc.shuffledSubarray(all, { minLength: all.length, maxLength: all.length }),
              fc.array(fc.constantFrom(...all), { maxLength: 4 }),
            )
            .map(([once, again]) => [...once, ...again])
            .chain((delivered) =>
              fc.shuffledSubarray(delivered, { minLength: delivered.length, maxLength: delivered.length }),
            ),
          cut: fc.nat({ max: 10 }),
        }),
      ),
      ({ all, schedule, cut }) => {
        const expected = fold(all.map((event) => draftOf(event, undefined)));
        const delivered = schedule.map((event) => draftOf(event, undefined));
        const at = 1 + (cut % delivered.length);
        const [left, right] = [delivered.slice(0, at), delivered.slice(at)];
        const grouped = right.length === 0 ? fold(left) : mergeDrafts(fold(right), fold(left));
        expect(state(fold(delivered))).toBe(state(expected));
        expect(state(grouped)).toBe(state(expected));
      },
    ),
    { numRuns: 10_000 },
  );
});

const base = { workspaceId: 'w', id: 'r' };

test('a patch wins over its post whichever comes first, and leaves what it does not name', () => {
  const post = draftOf(
    { ...base, kind: 'create', name: 'n', inputs: payload({ q: 1 }), outputs: payload({}), tags: ['t'] },
    'p',
  );
  const patch = draftOf({ ...base, kind: 'update', outputs: payload({ a: 2 }), endUs: 5 }, undefined);
  for (const merged of [mergeDrafts(post, patch), mergeDrafts(patch, post)]) {
    expect(merged).toMatchObject({ created: true, name: 'n', tags: ['t'], endUs: 5, projectId: 'p' });
    expect(merged.inputs).toEqual(payload({ q: 1 }));
    expect(merged.outputs).toEqual(payload({ a: 2 }));
  }
});

test('an empty object as outputs never erases, even in a patch that closes the run', () => {
  const post = draftOf({ ...base, kind: 'create', outputs: payload({ a: 1 }) }, undefined);
  const patch = draftOf({ ...base, kind: 'update', outputs: payload({}), endUs: 5 }, undefined);
  expect(mergeDrafts(post, patch).outputs).toEqual(payload({ a: 1 }));
});

test('metadata merges key by key', () => {
  const post = draftOf({ ...base, kind: 'create', metadata: { a: 'running', b: 1 } }, undefined);
  const patch = draftOf({ ...base, kind: 'update', metadata: { a: 'done', c: 2 } }, undefined);
  expect({ ...mergeDrafts(patch, post).metadata }).toEqual({ a: 'done', b: 1, c: 2 });
});

test('among patches the one that closed the run later wins', () => {
  const early = draftOf({ ...base, kind: 'update', endUs: 10, error: 'zz' }, undefined);
  const late = draftOf({ ...base, kind: 'update', endUs: 20, error: 'a' }, undefined);
  expect(mergeDrafts(late, early)).toMatchObject({ endUs: 20, error: 'a' });
});
