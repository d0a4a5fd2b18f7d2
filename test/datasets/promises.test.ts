/** What datasets promise whatever happens: versions under concurrent writers, hashes, patches, files that come back. */
import { afterAll, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { csvCell, guardFormula, undoFormulaGuard } from '../../src/datasets/csv-cell.js';
import { hashesOf, payloadOf } from '../../src/datasets/example.js';
import { ExampleKeysStore } from '../../src/datasets/example-keys.store.js';
import { ExportService } from '../../src/datasets/export.service.js';
import { jsonPatch } from '../../src/datasets/json-patch.js';
import type { PatchOperation } from '../../src/datasets/json-patch.js';
import type { JsonValue } from '../../src/ingest/run-event.js';
import { canonicalJsonText } from '../../src/platform/canonical-json.js';
import { createWorld, draft, good, uuid } from './world.js';

const world = await createWorld();
afterAll(() => world.close());
const { datasets, examples, imports, owner } = world;

const exports = new ExportService({
  datasets,
  examples: world.store,
  keys: new ExampleKeysStore({ db: world.pool }),
  runs: { listRuns: () => Promise.resolve([]) },
  feedback: { listByRuns: () => Promise.resolve([]) },
  contentReads: world.contentReads,
});

async function textOf(chunks: AsyncIterable<string>): Promise<string> {
  let text = '';
  for await (const chunk of chunks) text += chunk;
  return text;
}

async function* bytesOf(text: string): AsyncGenerator<Buffer, void, undefined> {
  yield Buffer.from(text);
}

const jsonObject = fc.dictionary(
  fc.string({ unit: 'grapheme', maxLength: 8 }),
  fc.jsonValue({ maxDepth: 3 }),
  { maxKeys: 4 },
);

// ── Versions ───────────────────────────────────────────────────────────────────────────────────────────────

type Action =
  | { readonly kind: 'create'; readonly count: number }
  | { readonly kind: 'update' | 'delete' | 'split'; readonly which: number; readonly value: number };

const action: fc.Arbitrary<Action> = fc.oneof(
  fc.record({ kind: fc.constant('create' as const), count: fc.integer({ min: 1, max: 3 }) }),
  fc.record({
    kind: fc.constantFrom('update' as const, 'delete' as const, 'split' as const),
    which: fc.nat(20),
    value: fc.nat(3),
  }),
);

test('writers at the same time never make the same version, and what a version shows never changes', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.array(action, { minLength: 2, maxLength: 6 }), { minLength: 2, maxLength: 4 }),
      async (writers) => {
        const known = Array.from({ length: 3 }, () => uuid());
        const id = await world.dataset(known.map((example) => draft({ n: 0 }, {}, { id: example })));
        const pinned = new Map<number, string>();
        const versions: number[] = [1];
        let writing = true;
        // A reader that looks at whatever is newest, and later again.
        const reader = (async () => {
          while (writing) {
            const { version } = await datasets.getDataset(owner, id);
            const shown = JSON.stringify(await world.read(id, version));
            expect(pinned.get(version) ?? shown).toBe(shown);
            pinned.set(version, shown);
          }
        })();
        await Promise.all(
          writers.map(async (actions) => {
            for (const one of actions) {
              const target = one.kind === 'create' ? '' : (known[one.which % known.length] ?? '');
              const result = await act(id, one, target);
              for (const write of result) {
                if (write.made) versions.push(write.version?.version ?? -1);
                if (one.kind === 'create') known.push(...write.exampleIds);
              }
            }
          }),
        );
        writing = false;
        await reader;
        const newest = await datasets.getDataset(owner, id);
        expect([...versions].sort((a, b) => a - b)).toEqual(
          Array.from({ length: newest.version }, (_, index) => index + 1),
        );
        expect(newest.exampleCount).toBe((await world.read(id, newest.version)).length);
        for (const [version, shown] of pinned) {
          expect(JSON.stringify(await world.read(id, version))).toBe(shown);
        }
        let count = 0;
        for (const { version, added, removed } of await versionsOf(id)) {
          count += added - removed;
          expect(count).toBe((await world.read(id, version)).length);
        }
      },
    ),
    { numRuns: 8 },
  );
}, 120_000);

async function act(id: string, one: Action, target: string) {
  if (one.kind === 'create') {
    const drafts = Array.from({ length: one.count }, (_, n) => draft({ n }));
    return [good(await examples.createExamples(owner, id, drafts))];
  }
  if (one.kind === 'delete') {
    const result = await examples.deleteExamples(owner, [target]);
    return result.ok ? result.value : [];
  }
  const result =
    one.kind === 'update'
      ? await examples.updateExamples(owner, id, [{ id: target, inputs: payloadOf({ n: one.value }) }])
      : await examples.setSplit(owner, id, { split: 'test', remove: one.value === 0, ids: [target] });
  // It may be deleted meanwhile.
  return result.ok ? [result.value] : [];
}

const versionsOf = async (id: string) =>
  (
    await datasets.listVersions(owner, id, { window: { limit: 1_000, backward: false, boundary: undefined } })
  ).reverse();

// ── Hashes and patches ─────────────────────────────────────────────────────────────────────────────────────

function shuffled(value: JsonValue): JsonValue {
  if (typeof value !== 'object' || value === null) return value;
  if (Array.isArray(value)) return value.map(shuffled);
  const entries = Object.entries(value).map(([key, inner]): [string, JsonValue] => [key, shuffled(inner)]);
  return Object.fromEntries(entries.reverse());
}

const hashOf = (inputs: string) =>
  hashesOf({ inputs, outputs: null, metadata: {}, attachments: [] }).contentHash.toString('hex');

test('hashes are the same for the same JSON, whatever its white space and the order of its keys', () => {
  fc.assert(
    fc.property(jsonObject, (value) => {
      const other = JSON.stringify(shuffled(value as JsonValue), null, 3);
      expect(hashOf(other)).toBe(hashOf(JSON.stringify(value)));
    }),
  );
  expect(hashOf('{"a":1}')).not.toBe(hashOf('{"a":"1"}'));
  expect(hashOf('{"n":9007199254740993}')).not.toBe(hashOf('{"n":9007199254740992}'));
  expect(hashOf('{"n":1e400}')).not.toBe(hashOf('{"n":1e401}'));
  expect(canonicalJsonText('{"b":"12345678901234567890","a":[1.50]}')).toBe(
    '{"a":[1.5],"b":"12345678901234567890"}',
  );
});

/** RFC 6902, written down apart from what is tested. */
function apply(document: JsonValue, operations: readonly PatchOperation[]): JsonValue {
  let root: { [key: string]: JsonValue } = { '': structuredClone(document) };
  for (const operation of operations) {
    const path = operation.path.split('/').map((part) => part.replaceAll('~1', '/').replaceAll('~0', '~'));
    const last = path.pop() ?? '';
    let parent: JsonValue = root;
    for (const part of operation.path === '' ? [] : path) {
      parent = (parent as Record<string, JsonValue>)[part] as JsonValue;
    }
    if (Array.isArray(parent)) {
      if (operation.op === 'remove') parent.splice(Number(last), 1);
      else parent.splice(Number(last), operation.op === 'add' ? 0 : 1, operation.value);
    } else if (operation.op === 'remove') Reflect.deleteProperty(parent as object, last);
    else {
      Object.defineProperty(parent as object, last, {
        value: operation.value,
        enumerable: true,
        configurable: true,
        writable: true,
      });
    }
    root = { ...root };
  }
  return root[''] as JsonValue;
}

test('a patch turns the one value into the other', () => {
  const value = fc.jsonValue({ maxDepth: 4 }) as fc.Arbitrary<JsonValue>;
  fc.assert(
    fc.property(value, value, (from, to) => {
      expect(apply(from, jsonPatch(from, to))).toEqual(to);
    }),
    { numRuns: 500 },
  );
  expect(jsonPatch({ a: [1, 2, 3], 'b/c': 1 }, { a: [1, 3], 'b/c': 2 })).toEqual([
    { op: 'remove', path: '/a/1' },
    { op: 'replace', path: '/b~1c', value: 2 },
  ]);
});

// ── Files ──────────────────────────────────────────────────────────────────────────────────────────────────

const exported = async (id: string, format: 'csv' | 'jsonl'): Promise<string> =>
  textOf((await exports.exportDataset(owner, id, { format })).chunks);

const facts = async (id: string) =>
  (await world.read(id, (await datasets.getDataset(owner, id)).version)).map((row) => ({
    name: row.name,
    inputs: row.inputs,
    outputs: row.outputs,
    metadata: row.metadata,
    splits: row.splits,
    sourceRunId: row.sourceRunId,
    createdAt: row.createdAt,
    contentHash: row.contentHash,
  }));

test('what JSON lines are made of comes back from them', async () => {
  const example = fc.record({
    inputs: jsonObject,
    outputs: fc.option(jsonObject, { nil: undefined }),
    metadata: fc.dictionary(fc.stringMatching(/^[a-z]{1,8}$/), fc.jsonValue({ maxDepth: 2 }), { maxKeys: 3 }),
    splits: fc.uniqueArray(fc.stringMatching(/^[a-z]{1,6}$/), { minLength: 1, maxLength: 3 }),
  });
  await fc.assert(
    fc.asyncProperty(fc.array(example, { minLength: 1, maxLength: 8 }), async (said) => {
      const id = await world.dataset(
        said.map(({ inputs, outputs, metadata, splits }) =>
          draft(inputs as JsonValue, outputs as JsonValue | undefined, {
            metadata: metadata as { [key: string]: JsonValue },
            splits,
            sourceRunId: uuid(),
          }),
        ),
      );
      const before = await facts(id);
      const file = await exported(id, 'jsonl');
      // Ids are unique in the workspace.
      good(
        await examples.deleteExamples(
          owner,
          (await world.read(id, 1)).map((row) => row.uuid),
          { hard: true },
        ),
      );
      const copy = await world.dataset();
      good(await imports.importFile(owner, copy, bytesOf(file), { format: 'jsonl', mode: 'all_or_nothing' }));
      expect(await facts(copy)).toEqual(before);
    }),
    { numRuns: 15 },
  );
}, 60_000);

const cell = fc.oneof(
  fc.string({ unit: 'grapheme', maxLength: 12 }),
  fc.stringMatching(/^'?[=+@＝-][a-z",\r\n']{0,5}$/),
);

test('texts come back from CSV, and no cell of it is a formula', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(fc.tuple(cell, cell), { minLength: 1, maxLength: 6 }), async (rows) => {
      const texts = rows.map(([question, answer]) => [
        question.replaceAll('\0', ''),
        answer.replaceAll('\0', ''),
      ]);
      const id = await world.dataset(
        texts.map(([question = '', answer = '']) =>
          draft({ 'a "key", odd': question }, { answer: `${answer}.` }),
        ),
      );
      const before = (await facts(id)).map(({ inputs, outputs }) => [inputs, outputs]).sort();
      const file = await exported(id, 'csv');
      expect(file).not.toMatch(/(^|[,\n])"?[=+@＝＋－＠\t][^,]/m);
      good(
        await examples.deleteExamples(
          owner,
          (await world.read(id, 1)).map((row) => row.uuid),
          { hard: true },
        ),
      );
      const copy = await world.dataset();
      good(
        await imports.importFile(owner, copy, bytesOf(file), {
          format: 'csv',
          mode: 'all_or_nothing',
          csv: { guardedCells: true },
        }),
      );
      expect((await facts(copy)).map(({ inputs, outputs }) => [inputs, outputs]).sort()).toEqual(before);
    }),
    { numRuns: 15 },
  );
}, 60_000);

test('cells a spreadsheet would run are guarded, numbers are not', () => {
  const dangerous = [
    '=1+1',
    '+cmd',
    '-cmd',
    '@SUM(A1)',
    '\t=1',
    '\r=1',
    '\0=1',
    '＝1',
    '＋1',
    '－a',
    '＠a',
    "'=1",
  ];
  for (const text of dangerous) {
    expect(guardFormula(text)).toBe(`'${text}`);
    expect(undoFormulaGuard(guardFormula(text))).toBe(text);
  }
  for (const text of ['-5', '+1.5e-3', '7', '', 'a=b', "it's", '"quoted"']) {
    expect(guardFormula(text)).toBe(text);
    expect(undoFormulaGuard(text)).toBe(text);
  }
  expect(csvCell('a "b"; c')).toBe('"a ""b""; c"');
});

test('an export is of one version, whoever writes while it is read', async () => {
  const drafts = Array.from({ length: 1_200 }, (_, n) => draft({ n }));
  const id = await world.dataset(drafts);
  const file = await exports.exportDataset(owner, id, { format: 'jsonl' });
  const chunks = file.chunks[Symbol.asyncIterator]();
  let text = (await chunks.next()).value as string;
  const ids = (await world.read(id, 1)).map((row) => row.uuid);
  good(
    await examples.updateExamples(
      owner,
      id,
      ids.map((example) => ({ id: example, inputs: payloadOf({ n: -1 }) })),
    ),
  );
  good(await examples.deleteExamples(owner, ids.slice(0, 600)));
  for (let next = await chunks.next(); next.done !== true; next = await chunks.next()) text += next.value;
  const numbers = text
    .trim()
    .split('\n')
    .map((line) => (JSON.parse(line) as { inputs: { n: number } }).inputs.n);
  expect(numbers.sort((a, b) => a - b)).toEqual(drafts.map((_, n) => n));
  expect(world.noted.filter(([type]) => type === 'example').length).toBeGreaterThanOrEqual(3);
});
