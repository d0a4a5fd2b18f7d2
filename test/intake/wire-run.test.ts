/** What one run object of the wire becomes, field by field. */
import { expect, test } from '@jest/globals';
import { randomUUID } from 'node:crypto';
import { INTAKE_LIMITS, NOTES_KEY } from '../../src/ingest/limits.js';
import { dottedSegment } from '../../src/ingest/dotted-order.js';
import type { JsonObject, Refusal, RunEvent } from '../../src/ingest/run-event.js';
import { isRefusal, translateRun } from '../../src/ingest/wire-run.js';
import type { WireRun } from '../../src/ingest/wire-run.js';

const context = {
  workspaceId: randomUUID(),
  nowUs: 1_795_217_601_213_000,
  newId: () => '00000000-0000-7000-8000-00000000000a',
};

function translate(run: JsonObject, wire: Partial<WireRun> = {}): RunEvent | Refusal {
  return translateRun({ kind: 'create', run, mayBeDeep: true, mayBeLarge: true, ...wire }, context);
}

function event(run: JsonObject, wire: Partial<WireRun> = {}): RunEvent {
  const result = translate(run, wire);
  if (isRefusal(result)) throw new Error(`refused: ${result.field ?? ''} ${result.message}`);
  return result;
}

function refusedField(run: JsonObject, wire: Partial<WireRun> = {}): string | undefined {
  const result = translate(run, wire);
  if (!isRefusal(result)) throw new Error('not refused');
  return result.field;
}

const A = '11111111-1111-4111-8111-111111111111';
const B = '22222222-2222-4222-8222-222222222222';

test('a run without anything is given an id and a start', () => {
  expect(event({ name: 'solo', run_type: 'tool' })).toEqual({
    kind: 'create',
    workspaceId: context.workspaceId,
    id: context.newId(),
    name: 'solo',
    runType: 'tool',
    startUs: context.nowUs,
  });
});

test('a child takes trace, parent and start from its dotted order', () => {
  const dotted = `${dottedSegment(1_000_001, A)}.${dottedSegment(2_000_002, B)}`;
  expect(event({ dotted_order: dotted })).toEqual({
    kind: 'create',
    workspaceId: context.workspaceId,
    id: B,
    traceId: A,
    parentRunId: A,
    dottedOrder: dotted,
    startUs: 2_000_002,
  });
});

test('a child that knows only its parent is given no place', () => {
  const { traceId, dottedOrder, parentRunId } = event({ id: B, parent_run_id: A });
  expect({ traceId, dottedOrder, parentRunId }).toEqual({
    traceId: undefined,
    dottedOrder: undefined,
    parentRunId: A,
  });
});

test('an update says nothing it does not say', () => {
  const nulls: JsonObject = {
    id: A,
    trace_id: null,
    dotted_order: null,
    parent_run_id: null,
    session_name: null,
    name: null,
    run_type: null,
    start_time: null,
    end_time: null,
    error: null,
    inputs: null,
    outputs: null,
    events: [],
    serialized: {},
    extra: {},
    tags: [],
    reference_example_id: null,
    child_runs: [],
    status: 'pending',
    unheard_of: 1,
  };
  expect(event(nulls, { kind: 'update' })).toEqual({
    kind: 'update',
    workspaceId: context.workspaceId,
    id: A,
  });
});

test('an update does not take its start from its dotted order', () => {
  expect(event({ dotted_order: dottedSegment(5, A) }, { kind: 'update' }).startUs).toBeUndefined();
});

test('empty outputs are kept as a value, metadata is taken out of extra', () => {
  const found = event({
    outputs: {},
    extra: { metadata: { a: 1 }, runtime: { sdk: 'x' } },
    revision_id: 'r1',
  });
  expect(found.outputs).toEqual({ text: '{}', value: {} });
  expect(found.metadata).toEqual({ a: 1, revision_id: 'r1' });
  expect(found.extra).toEqual({ runtime: { sdk: 'x' } });
});

test('parts win over the same field in the run, with their exact text', () => {
  const text = '{ "n": 12345678901234567890 }';
  const parts = new Map([['inputs' as const, { text, value: JSON.parse(text) as JsonObject }]]);
  expect(event({ inputs: { other: true } }, { parts }).inputs?.text).toBe(text);
});

test.each<[string, JsonObject]>([
  ['id', { id: 'not-a-uuid' }],
  ['id', { id: 7 }],
  ['dotted_order', { dotted_order: 'garbage' }],
  ['dotted_order', { id: B, dotted_order: dottedSegment(0, A) }],
  ['trace_id', { trace_id: B, dotted_order: dottedSegment(0, A) }],
  ['trace_id', { trace_id: 'x' }],
  ['parent_run_id', { parent_run_id: 'x' }],
  ['run_type', { run_type: 'banana' }],
  ['run_type', { run_type: 3 }],
  ['start_time', { start_time: 'yesterday' }],
  ['end_time', { end_time: 1e18 }],
  ['session_id', { session_id: 'x' }],
  ['session_name', { session_name: 'p'.repeat(INTAKE_LIMITS.projectNameLength + 1) }],
  ['tags', { tags: 'a' }],
  ['tags', { tags: [{}] }],
  ['extra', { extra: 'text' }],
  ['extra.metadata', { extra: { metadata: [] } }],
  ['name', { name: {} }],
  ['reference_example_id', { reference_example_id: 'x' }],
])('a bad %s is named', (field, run) => {
  expect(refusedField(run)).toBe(field);
});

test('an update without an id is refused, as is one whose path says otherwise', () => {
  expect(refusedField({}, { kind: 'update' })).toBe('id');
  expect(refusedField({ id: A }, { kind: 'update', id: B })).toBe('id');
});

test('run types in upper case, numeric names and object errors are understood', () => {
  expect(event({ run_type: 'LLM', name: 5, error: { message: 'x' } })).toMatchObject({
    runType: 'llm',
    name: '5',
    error: '{"message":"x"}',
  });
});

test('tags are cut to a hundred of 128 characters', () => {
  const at = (count: number, length: number): RunEvent =>
    event({ tags: Array.from({ length: count }, () => 't'.repeat(length)) });
  for (const [count, length] of [
    [99, 127],
    [100, 128],
  ] as const) {
    expect(at(count, length).tags).toEqual(Array.from({ length: count }, () => 't'.repeat(length)));
    expect(at(count, length).extra).toBeUndefined();
  }
  expect(at(101, 128).tags).toHaveLength(100);
  expect(at(101, 128).extra).toEqual({ [NOTES_KEY]: ['tags: only the first 100 of 101 are kept'] });
  expect(at(1, 129)).toMatchObject({
    tags: ['t'.repeat(128)],
    extra: { [NOTES_KEY]: ['tags: 1 cut at 128 characters'] },
  });
});

test('512 levels are stored as they are, 513 as text', () => {
  const nested = (levels: number): JsonObject => {
    let value: JsonObject = {};
    for (let level = 1; level < levels; level += 1) value = { a: value };
    return value;
  };
  expect(event({ inputs: nested(512) }).inputs?.value).toEqual(nested(512));
  const deep = event({ inputs: nested(513) });
  expect(deep.inputs?.value).toBe(JSON.stringify(nested(513)));
  expect(deep.extra).toEqual({ [NOTES_KEY]: ['inputs: nested deeper than 512 levels, stored as text'] });
  const metadata = event({ extra: { metadata: { ok: 1, deep: nested(600) } } }).metadata;
  expect(metadata).toEqual({ ok: 1, deep: JSON.stringify(nested(600)) });
});

test('fields of 25 MB together are kept whole, the largest is cut above', () => {
  const limit = INTAKE_LIMITS.runFieldBytes;
  // {"a":"…"} has eight bytes beside its text, and the other field two.
  const whole = event({ inputs: { a: 'x'.repeat(limit - 10) }, outputs: {} });
  expect(whole.inputs?.text.length).toBe(limit - 2);
  expect(whole.extra).toBeUndefined();
  const cut = event({ inputs: { a: 'x'.repeat(limit - 9) }, outputs: { kept: true } });
  expect(cut.inputs?.text.startsWith('"{\\"a\\":\\"xxx')).toBe(true);
  expect(cut.outputs?.value).toEqual({ kept: true });
  expect((cut.inputs?.text.length ?? 0) + (cut.outputs?.text.length ?? 0)).toBeLessThanOrEqual(limit);
  expect(cut.extra?.[NOTES_KEY]).toEqual([expect.stringMatching(/^inputs: 26214399 bytes, cut/)]);
});

test('__proto__ in metadata pollutes nothing', () => {
  const run = JSON.parse(
    '{"extra":{"__proto__":{"x":1},"metadata":{"__proto__":{"y":2},"a":1}}}',
  ) as JsonObject;
  const found = event(run);
  expect(JSON.stringify(found.metadata)).toBe('{"__proto__":{"y":2},"a":1}');
  expect(JSON.stringify(found.extra)).toBe('{"__proto__":{"x":1}}');
  expect(({} as { x?: number; y?: number }).x).toBeUndefined();
  expect((found.metadata as { y?: number }).y).toBeUndefined();
});
