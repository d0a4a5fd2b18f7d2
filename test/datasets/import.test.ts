/** Importing files: what becomes an example, what is refused and where, and that a version is all of it or nothing. */
import { afterAll, expect, test } from '@jest/globals';
import type { FileImport } from '../../src/datasets/import.service.js';
import { createWorld, draft, good, principal, uuid } from './world.js';

const world = await createWorld();
afterAll(() => world.close());
const { datasets, imports, owner } = world;

/** A file in pieces of a few bytes, cut anywhere. */
async function* pieces(file: string | Buffer, size = 7): AsyncGenerator<Buffer, void, undefined> {
  const bytes = Buffer.from(file as string);
  for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size);
}

const take = (id: string, file: string | Buffer, options: Partial<FileImport> = {}) =>
  imports.importFile(owner, id, pieces(file), { format: 'csv', mode: 'all_or_nothing', ...options });

const problemsOf = (result: { ok: boolean; problems?: readonly { code: string; message: string }[] }) =>
  result.problems?.map(({ message }) => message);

const staged = async (): Promise<number> => {
  const { rows } = await world.database.pool.query<{ n: string }>('select count(*) as n from example_stage');
  return Number(rows[0]?.n);
};

test('a CSV file becomes one version, in the order of its rows', async () => {
  const id = await world.dataset();
  const [own] = [uuid()];
  const file =
    '\ufeffquestion,"the answer",topic,part,key\r\n' +
    `"Why, ""oh"" why?",42,meta,"train, test",${own}\r\n` +
    '\r\n' +
    '"two\nlines",,,,\r\n' +
    'naïve → ok,-1,,base,';
  const mapping = {
    inputKeys: ['question'],
    outputKeys: ['the answer'],
    metadataKeys: ['topic'],
    splitKey: 'part',
    idKey: 'key',
  };
  const outcome = good(await take(id, file, { mapping, note: 'from a sheet' }));
  expect(outcome).toMatchObject({
    imported: 3,
    rejected: 0,
    version: 1,
    made: { added: 3, note: 'from a sheet' },
  });
  const rows = await world.read(id, 1);
  const shown = rows.map(({ inputs, outputs, metadata, splits }) => [inputs, outputs, metadata, splits]);
  expect(shown).toHaveLength(3);
  expect(shown).toContainEqual([
    '{"question":"Why, \\"oh\\" why?"}',
    '{"the answer":"42"}',
    { topic: 'meta' },
    ['train', 'test'],
  ]);
  expect(shown).toContainEqual(['{"question":"two\\nlines"}', null, {}, ['base']]);
  expect(shown).toContainEqual(['{"question":"naïve → ok"}', '{"the answer":"-1"}', {}, ['base']]);
  expect(rows.map(({ uuid: example }) => example)).toContain(own);
  expect(await datasets.getDataset(owner, id)).toMatchObject({ version: 1, exampleCount: 3 });
  expect(await staged()).toBe(0);
});

test('cells become JSON values where that is asked for', async () => {
  const id = await world.dataset();
  const file = 'inputs.n,inputs.s,outputs.o\n1.5,"""x""","{""a"":[null]}"\ntrue,{no,\n';
  good(await take(id, file, { csv: { jsonCells: true } }));
  expect((await world.read(id, 1)).map(({ inputs, outputs }) => [inputs, outputs])).toEqual([
    ['{"n":1.5,"s":"\\"x\\""}', '{"o":{"a":[null]}}'],
    ['{"n":true,"s":"{no"}', null],
  ]);
});

test('each bad row of a CSV file is named, and nothing is written', async () => {
  const id = await world.dataset([draft({ before: true })]);
  const bad = Buffer.concat([
    Buffer.from('inputs.a,inputs.b\nok,1\n"x"y,2\nthree\n\nfine,4\n'),
    Buffer.from([0xff, 0x2c, 0x36, 0x0a]),
    Buffer.from('ok,7\n"never closed,8\n'),
  ]);
  expect(problemsOf(await take(id, bad))).toEqual([
    'Row 3 has a quote in the middle of a cell',
    'Row 4 has 1 cells where the header has 2',
    'Row 7 is not valid UTF-8',
    'Row 9 has a quote that is not closed',
  ]);
  expect(await datasets.getDataset(owner, id)).toMatchObject({ version: 1, exampleCount: 1 });
  expect(await staged()).toBe(0);
});

test('a quarantine keeps what does not fit, and takes the rest', async () => {
  const inputsSchema = { type: 'object', properties: { a: { pattern: '^[a-z]+$' } }, required: ['a'] };
  const { uuid: id } = good(await datasets.createDataset(owner, { name: uuid(), inputsSchema }));
  const known = uuid();
  good(await world.examples.createExamples(owner, id, [draft({ a: 'there' }, {}, { id: known })]));
  const fresh = uuid();
  const lines = [
    '{"inputs":{"a":"fine"}}',
    '{"inputs":{"a":"NO"}}',
    '{"inputs":{"a":"cut"',
    '[1]',
    '',
    `{"inputs":{"a":"twice"},"id":"${fresh}"}`,
    `{"inputs":{"a":"twice"},"id":"${fresh}"}`,
    `{"inputs":{"a":"known"},"id":"${known}"}`,
    '{"inputs":{"a":"nul\\u0000"},"splits":[1]}',
    '{"outputs":{}}',
    '{"inputs":{"a":"last"},"outputs":{"o":1},"metadata":{"m":1},"split":"s","created_at":"2026-01-02T03:04:05.678901Z"}',
  ];
  const outcome = good(await take(id, lines.join('\n'), { format: 'jsonl', mode: 'quarantine' }));
  expect(outcome).toMatchObject({ imported: 3, rejected: 7, version: 2 });
  const rejects = await imports.listRejects(owner, outcome.uuid, { limit: 100 });
  expect(
    rejects.map(({ row, problems }) => [row, problems[0]?.message, problems[0]?.path.join('.')]),
  ).toEqual([
    [2, 'inputs/a must match pattern "^[a-z]+$"', 'inputs.a'],
    [3, 'is not valid JSON', ''],
    [4, 'is not a JSON object', ''],
    [7, `has the id ${fresh} of an earlier row`, 'id'],
    [8, `has the id ${known} of an example`, 'id'],
    [9, 'has splits that are not names', 'splits'],
    [10, 'has no "inputs"', 'inputs'],
  ]);
  expect(rejects[0]?.content).toBe(lines[1]);
  expect(await imports.listRejects(owner, outcome.uuid, { limit: 2, after: 3 })).toEqual(rejects.slice(2, 4));
  expect(await imports.listImports(owner, id)).toMatchObject([
    { uuid: outcome.uuid, imported: 3, rejected: 7 },
  ]);
  await expect(
    imports.listRejects(principal(owner.workspaceId, ['read']), outcome.uuid, { limit: 1 }),
  ).rejects.toMatchObject({ code: 'FORBIDDEN' });
  const rows = await world.read(id, 2);
  expect(rows).toHaveLength(4);
  expect(rows.find(({ inputs }) => inputs.includes('last'))).toMatchObject({
    outputs: '{"o":1}',
    metadata: { m: 1 },
    splits: ['s'],
    createdAt: '2026-01-02 03:04:05.678901+00',
  });
  expect(await staged()).toBe(0);
});

test('a mapping that does not fit the file is refused before anything is read', async () => {
  const id = await world.dataset();
  const messages = async (file: string, options: Partial<FileImport> = {}) =>
    problemsOf(await take(id, file, options));
  expect(await messages('a,b\n1,2\n', { mapping: { inputKeys: ['a', 'x'] } })).toEqual([
    'The file has no column "x".',
  ]);
  expect(await messages('a,b\n1,2\n')).toEqual([
    'No column is an input: name some in "input_keys", or call them "inputs.…".',
  ]);
  expect(await messages('inputs.a,inputs.a\n1,2\n')).toEqual(['The column "inputs.a" comes twice.']);
  expect(await messages('')).toEqual(['The file is empty: a CSV file starts with a row of column names.']);
  expect(await messages('"a\n1,2\n')).toEqual(['Row 1, the header, has a quote that is not closed']);
  expect(await messages('a', { csv: { delimiter: '"' } })).toEqual([
    'The delimiter is one ASCII character, not a quote.',
  ]);
  expect(
    problemsOf(
      await imports.importFile(owner, uuid(), pieces('{}'), { format: 'jsonl', mode: 'quarantine' }),
    ),
  ).toEqual(['Dataset not found.']);
  expect(await datasets.getDataset(owner, id)).toMatchObject({ version: 0 });
});

test('an import of nothing makes no version', async () => {
  const id = await world.dataset();
  const outcome = good(await take(id, '\n\n', { format: 'jsonl' }));
  expect(outcome).toMatchObject({ imported: 0, version: null, made: null });
});

test('a file that breaks off leaves nothing behind', async () => {
  const id = await world.dataset();
  async function* broken(): AsyncGenerator<Buffer, void, undefined> {
    for (let n = 0; n < 2_500; n += 1) yield Buffer.from(`{"inputs":{"n":${n}}}\n`);
    throw new Error('the client went away');
  }
  await expect(
    imports.importFile(owner, id, broken(), { format: 'jsonl', mode: 'all_or_nothing' }),
  ).rejects.toThrow('the client went away');
  await expect(
    imports.importFile(owner, id, broken(), {
      format: 'csv',
      mode: 'quarantine',
      mapping: { inputKeys: ['{"inputs":{"n":0}}'] },
    }),
  ).rejects.toThrow('the client went away');
  expect(await staged()).toBe(0);
  expect(await datasets.getDataset(owner, id)).toMatchObject({ version: 0 });
  const { rowCount } = await world.database.pool.query('select from import_rejects where dataset_id = $1', [
    id,
  ]);
  expect(rowCount).toBe(0);
});

/** JSONL of so many rows, made as it is read. */
async function* manyLines(count: number, last = ''): AsyncGenerator<Buffer, void, undefined> {
  const filler = 'x'.repeat(900);
  for (let n = 0; n < count; n += 100) {
    const lines = Array.from(
      { length: 100 },
      (_, index) => `{"inputs":{"n":${n + index},"text":"${filler}"}}\n`,
    );
    yield Buffer.from(lines.join(''));
  }
  yield Buffer.from(last);
}

test('fifty thousand rows go through in batches, and a bad last one undoes all', async () => {
  const id = await world.dataset();
  const options = { format: 'jsonl', mode: 'all_or_nothing' } as const;
  const refused = await imports.importFile(owner, id, manyLines(50_000, '{"inputs":'), options);
  expect(problemsOf(refused)).toEqual(['Row 50001 is not valid JSON']);
  expect(await datasets.getDataset(owner, id)).toMatchObject({ version: 0, exampleCount: 0 });
  expect(await staged()).toBe(0);

  globalThis.gc?.();
  const before = process.memoryUsage();
  let peak = 0;
  const watched = (async function* () {
    for await (const chunk of manyLines(50_000)) {
      peak = Math.max(peak, process.memoryUsage().external + process.memoryUsage().heapUsed);
      yield chunk;
    }
  })();
  world.statements.length = 0;
  const outcome = good(await imports.importFile(owner, id, watched, options));
  expect(outcome).toMatchObject({ imported: 50_000, version: 1 });
  // 50 MB went through.
  expect(peak - before.external - before.heapUsed).toBeLessThan(200 * 1024 * 1024);
  expect(world.statements).toEqual([
    'datasets.find_by_ids',
    'datasets.lock',
    'dataset_versions.next',
    'examples.claim_staged',
    'examples.insert_staged',
    'dataset_versions.make',
    'dataset_imports.insert',
    'examples.clear_stage',
  ]);
  expect(await datasets.getDataset(owner, id)).toMatchObject({ version: 1, exampleCount: 50_000 });
}, 120_000);
