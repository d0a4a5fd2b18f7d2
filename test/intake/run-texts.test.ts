import { expect, test } from '@jest/globals';
import fc from 'fast-check';
import type { JsonObject } from '../../src/ingest/run-event.js';
import { scanRuns } from '../../src/ingest/run-texts.js';

const FIELDS = ['inputs', 'outputs', 'events', 'serialized'] as const;
const keys = fc.constantFrom(
  'inputs',
  'outputs',
  'events',
  'serialized',
  'id',
  'extra',
  'post',
  '"',
  '\\',
  ',{[',
);
const values = fc.oneof(
  fc.jsonValue({ maxDepth: 3 }),
  fc.dictionary(keys, fc.oneof(keys, fc.dictionary(keys, keys, { maxKeys: 2 })), { maxKeys: 3 }),
);
/** As members rather than an object, so that a key may come twice. */
const objects = (members: fc.Arbitrary<[string, string]>): fc.Arbitrary<string> =>
  fc
    .array(members, { maxLength: 5 })
    .map((all) => `{${all.map(([key, value]) => `${JSON.stringify(key)} : ${value}`).join(' ,\n')}}`);
const runs = objects(
  fc.tuple(
    keys,
    values.map((value) => JSON.stringify(value)),
  ),
);
const batches = objects(
  fc.tuple(
    fc.constantFrom('post', 'patch', 'other', 'inputs'),
    fc.oneof(
      fc
        .array(
          fc.oneof(
            runs,
            runs,
            values.map((value) => JSON.stringify(value)),
          ),
          { maxLength: 4 },
        )
        .map((items) => `[${items.join(', ')}]`),
      values.map((value) => JSON.stringify(value)),
    ),
  ),
);

const isContainer = (value: unknown): boolean => typeof value === 'object' && value !== null;

function compare(item: unknown, texts: object | undefined, mayBeMissing: boolean): void {
  if (!isContainer(item) || Array.isArray(item)) return;
  for (const field of FIELDS) {
    const value = (item as JsonObject)[field];
    const text = (texts as Record<string, string | undefined> | undefined)?.[field];
    if (text !== undefined) expect(JSON.parse(text)).toEqual(value);
    else if (!mayBeMissing) expect(isContainer(value)).toBe(false);
  }
}

test('the text that is found of a payload is the one its value was made from', () => {
  fc.assert(
    fc.property(batches, (text) => {
      const body = JSON.parse(text) as JsonObject;
      const { texts } = scanRuns(text, 'batch');
      const lists = ['post', 'patch'] as const;
      // Where a key is written oddly, nothing is known.
      const odd = text.includes('\\');
      for (const list of lists) {
        const items = body[list];
        if (!Array.isArray(items)) continue;
        items.forEach((item, index) => compare(item, texts[list][index], odd));
      }
    }),
    { numRuns: 2_000 },
  );
});

test('the same for a message of one run', () => {
  fc.assert(
    fc.property(runs, (text) => {
      const run = JSON.parse(text) as JsonObject;
      compare(run, scanRuns(text, 'run').texts.run[0], text.includes('\\'));
    }),
    { numRuns: 2_000 },
  );
});

test('a name in disguise, or one that comes twice, is not taken for another', () => {
  expect(scanRuns('{"inputs":{"a":1},"\\u0069nputs":{"b":2}}', 'run').texts.run).toEqual([]);
  expect(scanRuns('{"inputs":{"a":1},"inputs":"b"}', 'run').texts.run).toEqual([{ inputs: undefined }]);
  expect(
    scanRuns('{"post":[{"inputs":{ "a":1}}],"post":[1,{"inputs":[2 ]}]}', 'batch').texts.post[1],
  ).toEqual({
    inputs: '[2 ]',
  });
});

test('a message of a great many objects is said to take long, text is not', () => {
  expect(scanRuns(`{"inputs":[${'{},'.repeat(20_000)}{}]}`, 'run').takesLong).toBe(true);
  expect(scanRuns(JSON.stringify({ inputs: { a: '{['.repeat(100_000) } }), 'run').takesLong).toBe(false);
});
