import { expect, test } from '@jest/globals';
import fc from 'fast-check';
import { v7 } from 'uuid';
import { readBatch } from '../../src/http/run-body.js';
import { CopyBuffer } from '../../src/ingest/copy-binary.js';
import { readLargeRun } from '../../src/ingest/large-run.js';
import type { JsonObject } from '../../src/ingest/run-event.js';
import { draftOf } from '../../src/ingest/run-merge.js';
import { buildRow, encodeRow } from '../../src/ingest/run-row.js';
import { isRefusal, translateRun } from '../../src/ingest/wire-run.js';
import type { WireRun } from '../../src/ingest/wire-run.js';
import { JsonCursor } from '../../src/platform/json-cursor.js';
import { systemIds } from '../../src/platform/ids.js';

const ID = v7();
const context = { workspaceId: v7(), nowUs: 1_795_000_000_000_000, newId: () => ID };

/** What the database is given for an item: every column, or the refusal. */
function storedAs(wire: WireRun): unknown {
  const event = translateRun(wire, context);
  if (isRefusal(event)) return event;
  const buffer = new CopyBuffer();
  const row = buildRow(draftOf(event, ID), {
    day: '2026-11-21',
    defaultProjectId: ID,
    revision: 1,
    createdUs: context.nowUs,
    updatedUs: context.nowUs,
  });
  encodeRow(buffer, row, 'runs');
  return buffer.finish().toString('latin1');
}

async function readLarge(text: string): Promise<WireRun> {
  const cursor = new JsonCursor(text);
  const found = await readLargeRun(text, cursor);
  cursor.end();
  if (found === undefined) throw new Error('no object');
  return { kind: 'create', ...found, mayBeDeep: false, mayBeLarge: false };
}

const pad = fc.constantFrom('', 'x', 'y'.repeat(5_000), 'z'.repeat(70_000));
const anything = fc.oneof(
  fc.jsonValue({ maxDepth: 2 }),
  pad,
  fc.record({ pad, a: fc.jsonValue({ maxDepth: 1 }) }),
  pad.map((text) => ({ only: text })),
  fc.array(pad, { maxLength: 2 }),
);
const tokens = fc.record(
  {
    input_tokens: fc.nat(9),
    output_tokens: fc.oneof(fc.nat(9), fc.constant('x')),
    input_token_details: fc.dictionary(fc.constantFrom('a', 'b'), fc.nat(9)),
    total_cost: fc.constantFrom(0.5, '1.25', null),
  },
  { requiredKeys: [] },
);
const payloads = fc.oneof(
  anything,
  fc.record(
    {
      pad,
      usage_metadata: tokens,
      usage: tokens,
      llm_output: fc.record({ token_usage: tokens, pad }),
      messages: fc.array(fc.oneof(anything, fc.record({ pad, content: pad })), { maxLength: 3 }),
      content: fc.oneof(pad, anything),
    },
    { requiredKeys: [] },
  ),
);
const metadata = fc.dictionary(
  fc.constantFrom('thread_id', 'ls_provider', 'usage_metadata', 'k'),
  fc.oneof(anything, tokens),
);
const runs = fc.record(
  {
    id: fc.constantFrom<unknown>(ID, 'no id', 7, null),
    name: anything,
    run_type: fc.constantFrom<unknown>('llm', 'chain', 'LLM', 'nothing', null),
    start_time: fc.constantFrom<unknown>('2026-11-21T10:00:00Z', 1_795_000_000_000, 'never'),
    tags: fc.oneof(fc.array(fc.constantFrom('a', 'b'), { maxLength: 120 }), anything),
    error: anything,
    inputs: payloads,
    outputs: payloads,
    events: fc.oneof(
      anything,
      fc.array(
        fc.record({
          name: fc.constantFrom('start', 'new_token'),
          time: fc.constantFrom('2026-11-21T10:00:01Z'),
          pad,
        }),
      ),
    ),
    serialized: anything,
    extra: fc.oneof(anything, fc.record({ pad, metadata: fc.oneof(metadata, anything) })),
    revision_id: pad,
    unheard_of: anything,
  },
  { requiredKeys: [] },
);

test('a run that is read in turns is stored byte for byte like one that is parsed at once', async () => {
  await fc.assert(
    fc.asyncProperty(runs, async (value) => {
      const text = JSON.stringify(value);
      const run = JSON.parse(text) as JsonObject;
      const atOnce: WireRun = { kind: 'create', run, mayBeDeep: false, mayBeLarge: false };
      expect(storedAs(await readLarge(text))).toEqual(storedAs(atOnce));
    }),
    { numRuns: 1_000 },
  );
}, 60_000);

test('in turns, a field that nests too deep becomes text and NaN becomes null, each with its note', async () => {
  const deep = '['.repeat(600) + ']'.repeat(600);
  const { run, parts, notes } = await readLarge(
    `{"id":"${ID}","inputs":${deep},"outputs":{"a":NaN},"name":null}`,
  );
  expect(run).toEqual({ id: ID, name: null });
  expect(parts?.get('inputs')).toEqual({ text: JSON.stringify(deep), value: deep });
  expect(parts?.get('outputs')?.text).toBe('{"a":null}');
  expect(notes).toEqual([
    'inputs: nested deeper than 512 levels, stored as text',
    'run: NaN and Infinity are no JSON, stored as null',
  ]);
});

test('members of extra beyond a megabyte become text', async () => {
  const large = `[${'{},'.repeat(400_000)}{}]`;
  const { run, notes } = await readLarge(
    `{"extra":{"a":${large},"metadata":{"b":${large},"c":1},"d":{"e":2}}}`,
  );
  expect(run).toEqual({ extra: { a: large, metadata: { b: large, c: 1 }, d: { e: 2 } } });
  expect(notes).toEqual(['extra: members of more than 1048576 characters are stored as text']);
});

test('a batch of twenty megabytes of {} leaves others hundreds of turns, and its text as it was', async () => {
  const inputs = `{"a":[${'{},'.repeat(6_600_000)}{}]}`;
  const bytes = Buffer.from(`{"post":[{"id":"${ID}","inputs":${inputs}},7],"patch":[{"id":"${ID}"}]}`);
  let turns = 0;
  let over = false;
  const count = (): void => {
    turns += 1;
    if (!over) setImmediate(count);
  };
  setImmediate(count);
  const { runs: items, refusals } = await readBatch(bytes, systemIds);
  over = true;
  expect(turns).toBeGreaterThan(500);
  expect(items.map(({ kind, run }) => [kind, run['id']])).toEqual([
    ['create', ID],
    ['update', ID],
  ]);
  expect(items[0]?.parts?.get('inputs')?.text === inputs).toBe(true);
  expect(JSON.stringify(items[0]?.parts?.get('inputs')?.value)).toBe('{"a":null}');
  expect(refusals).toEqual([{ id: undefined, field: 'post.1', message: 'The item is not a run object.' }]);
});
