/** Datasets and examples through GraphQL: what is shown, how pages go on, how many statements that takes. */
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { startHarness } from '../support/harness.js';
import type { Harness } from '../support/harness.js';

let harness: Harness;
beforeAll(async () => {
  harness = await startHarness();
}, 60_000);
afterAll(() => harness.close());

async function ask<T>(query: string, variables: object = {}, key = harness.keys.full.secret): Promise<T> {
  const { body, text } = await harness.gql(query, { ...variables }, { key });
  if (body.errors !== undefined) throw new Error(text);
  return body.data as T;
}

const DATASET = `mutation ($input: CreateDatasetInput!) {
  createDataset(input: $input) { dataset { id uuid version exampleCount } errors { code path message } } }`;
const CREATE = `mutation ($input: CreateExamplesInput!) {
  createExamples(input: $input) { changed exampleIds version { version added note } errors { code path message } } }`;

interface Written {
  readonly changed: boolean;
  readonly exampleIds: string[];
  readonly version: { readonly version: number } | null;
  readonly errors: { readonly code: string; readonly path: string[]; readonly message: string }[];
}

async function newDataset(input: object = {}): Promise<string> {
  const name = `dataset ${Math.floor(performance.now() * 1_000)}`;
  const { createDataset } = await ask<{ createDataset: { dataset: { id: string } } }>(DATASET, {
    input: { name, ...input },
  });
  return createDataset.dataset.id;
}

const create = async (datasetId: string, examples: object[], more: object = {}): Promise<Written> =>
  (await ask<{ createExamples: Written }>(CREATE, { input: { datasetId, examples, ...more } }))
    .createExamples;

test('examples are created once for an idempotency key, listed in pages and read as of a version', async () => {
  const id = await newDataset();
  const examples = Array.from({ length: 5 }, (_, n) => ({ inputs: { n }, outputs: { twice: 2 * n } }));
  const more = { idempotencyKey: 'the same', note: 'first' };
  const first = await create(id, examples, more);
  expect(first).toMatchObject({
    changed: true,
    version: { version: 1, added: '5', note: 'first' },
    errors: [],
  });
  expect(await create(id, examples, more)).toEqual(first);

  const PAGE = `query ($id: ID!, $after: String, $asOf: AsOf) { dataset(id: $id) { exampleCount examples(first: 2, after: $after, asOf: $asOf) {
    nodes { id inputs } totalCount { value precision } pageInfo { hasNextPage endCursor } } } }`;
  interface Page {
    readonly dataset: {
      readonly examples: {
        readonly nodes: { readonly id: string; readonly inputs: { readonly n: number } }[];
        readonly totalCount: { readonly value: number };
        readonly pageInfo: { readonly hasNextPage: boolean; readonly endCursor: string };
      };
    };
  }
  const all = async (asOf: object | null): Promise<number[]> => {
    const seen: number[] = [];
    for (let after: string | null = null; ;) {
      const { dataset }: Page = await ask(PAGE, { id, after, asOf });
      seen.push(...dataset.examples.nodes.map(({ inputs }) => inputs.n));
      expect(dataset.examples.totalCount.value).toBe(asOf === null ? 4 : 5);
      if (!dataset.examples.pageInfo.hasNextPage) return seen;
      after = dataset.examples.pageInfo.endCursor;
    }
  };
  const [third = ''] = first.exampleIds.slice(2);
  const gone = await ask(`mutation { deleteExamples(input: { ids: ["${third}"] }) {
    versions { version removed } deletedIds errors { code } } }`);
  expect(gone).toEqual({
    deleteExamples: { versions: [{ version: 2, removed: '1' }], deletedIds: [third], errors: [] },
  });
  expect((await all(null)).sort()).toEqual([0, 1, 3, 4]);
  expect((await all({ version: 1 })).sort()).toEqual([0, 1, 2, 3, 4]);

  const pinned = await ask<Page>(PAGE, { id, asOf: { version: 1 } });
  const { endCursor } = pinned.dataset.examples.pageInfo;
  const { body } = await harness.gql(PAGE, { id, after: endCursor }, { key: harness.keys.full.secret });
  expect(body.errors?.[0]?.extensions['code']).toBe('BAD_USER_INPUT');
});

test('a difference shows both sides and a patch', async () => {
  const id = await newDataset();
  const { exampleIds } = await create(id, [{ inputs: { list: [1, 2, 3] } }, { inputs: { stays: true } }]);
  const changed = await ask(
    `mutation ($input: UpdateExamplesInput!) { updateExamples(input: $input) { changed errors { code } } }`,
    { input: { datasetId: id, examples: [{ id: exampleIds[0], inputs: { list: [1, 3] }, outputs: 7 }] } },
  );
  expect(changed).toEqual({ updateExamples: { changed: true, errors: [] } });
  const DIFF = `{ datasetDiff(datasetId: "${id}", from: { version: 1 }) { fromVersion toVersion added removed modified
    changes(first: 5) { totalCount { value } nodes { kind before { inputs } after { inputs outputs } patch } } } }`;
  const change = {
    kind: 'MODIFIED',
    before: { inputs: { list: [1, 2, 3] } },
    after: { inputs: { list: [1, 3] }, outputs: 7 },
    patch: [
      { op: 'remove', path: '/inputs/list/1' },
      { op: 'replace', path: '/outputs', value: 7 },
    ],
  };
  const diff = { fromVersion: 1, toVersion: 2, added: 0, removed: 0, modified: 1 };
  expect(await ask(DIFF)).toEqual({
    datasetDiff: { ...diff, changes: { totalCount: { value: 1 }, nodes: [change] } },
  });
  const blind = await ask(DIFF, {}, harness.keys.only.read.secret);
  expect(blind).toMatchObject({
    datasetDiff: {
      changes: { nodes: [{ before: { inputs: null }, after: { inputs: null, outputs: null }, patch: null }] },
    },
  });
});

test('schemas refuse examples and are refused by examples, each with where', async () => {
  const inputsSchema = { type: 'object', required: ['q'], properties: { q: { type: 'string' } } };
  const id = await newDataset({ inputsSchema });
  const refused = await create(id, [{ inputs: { q: 'ok' } }, { inputs: { q: 1 } }, { inputs: {} }]);
  expect(refused).toMatchObject({ changed: false, version: null, exampleIds: [] });
  expect(refused.errors).toEqual([
    { code: 'INVALID', path: ['examples', '1', 'inputs', 'q'], message: 'inputs/q must be string' },
    { code: 'INVALID', path: ['examples', '2', 'inputs'], message: "inputs must have required property 'q'" },
  ]);
  const { exampleIds } = await create(id, [{ inputs: { q: 'long enough' } }, { inputs: { q: 'x' } }]);
  const UPDATE = `mutation ($input: UpdateDatasetInput!) { updateDataset(input: $input) {
    dataset { inputsSchema } errors { code path message } } }`;
  const stricter = { properties: { q: { minLength: 5 } } };
  const answer = await ask<{ updateDataset: { errors: { message: string }[] } }>(UPDATE, {
    input: { id, patch: { inputsSchema: stricter } },
  });
  expect(answer.updateDataset.errors.map(({ message }) => message)).toEqual([
    'inputs/q must NOT have fewer than 5 characters',
  ]);
  expect(await ask(UPDATE, { input: { id, patch: { inputsSchema: stricter }, force: true } })).toEqual({
    updateDataset: { dataset: { inputsSchema: stricter }, errors: [] },
  });
  const found = await ask<{ datasetViolations: { violations: { exampleId: string }[] } }>(
    `{ datasetViolations(datasetId: "${id}") { version checked complete violations { exampleId field pointer message } } }`,
  );
  expect(found.datasetViolations).toMatchObject({ version: 1, checked: 2, complete: true });
  expect(found.datasetViolations.violations).toHaveLength(1);
  expect(Buffer.from(exampleIds[1] ?? '', 'base64url').toString()).toBe(
    `Example:${found.datasetViolations.violations[0]?.exampleId ?? ''}`,
  );
  for (const bad of [{ $ref: 'https://example.org/schema.json' }, { pattern: '(a)\\1' }, 7]) {
    const { body } = await harness.gql(
      UPDATE,
      { input: { id, patch: { inputsSchema: bad } } },
      { key: harness.keys.full.secret },
    );
    expect(body.data?.['updateDataset']).toMatchObject({ dataset: null, errors: [{ code: 'INVALID' }] });
  }
});

test('a list of datasets with examples takes as many statements for ten as for two', async () => {
  for (let n = 0; n < 10; n += 1) {
    await create(await newDataset(), [{ inputs: { n } }, { inputs: { n: -n } }]);
  }
  const pool = harness.app.reads;
  const names: string[] = [];
  const query = pool.query.bind(pool) as (...all: unknown[]) => unknown;
  pool.query = ((text: unknown, ...rest: unknown[]) => {
    names.push(/\/\* (\S+) \*\//.exec(String(text))?.[1] ?? 'unnamed');
    return query(text, ...rest);
  }) as typeof pool.query;
  const list = async (first: number): Promise<string[]> => {
    names.length = 0;
    await ask(`{ datasets(first: ${first}) { nodes { name share { token } } } }`);
    return [...names];
  };
  expect(await list(2)).toEqual(await list(10));
  names.length = 0;
  await ask(
    `{ datasets(first: 1) { nodes { examples(first: 2) { nodes { metadata dataset { name } } } } } }`,
  );
  expect(names).toEqual(['datasets.list', 'examples.list', 'datasets.find_by_ids']);
});

test('a file goes in and out over HTTP, compressed or not', async () => {
  const id = await newDataset();
  const uuid = Buffer.from(id, 'base64url').toString().slice('Dataset:'.length);
  const key = harness.keys.full.secret;
  const { gzipSync } = await import('node:zlib');
  const csv = 'question,answer\r\nWhy?,=1+1\r\n';
  const sent = await fetch(`${harness.url}/datasets/${uuid}/import?input_keys=question&output_keys=answer`, {
    method: 'POST',
    headers: { 'x-api-key': key, 'content-type': 'text/csv', 'content-encoding': 'gzip' },
    body: gzipSync(csv),
  });
  expect([sent.status, await sent.json()]).toEqual([
    200,
    expect.objectContaining({ imported: 1, rejected: 0, version: 1, mode: 'all_or_nothing', format: 'csv' }),
  ]);
  const refused = await fetch(`${harness.url}/datasets/${uuid}/import?format=jsonl`, {
    method: 'POST',
    headers: { 'x-api-key': key },
    body: '{"inputs":{}}\nnonsense\nmore\n',
  });
  expect([refused.status, await refused.json()]).toEqual([
    422,
    expect.objectContaining({ detail: 'Row 2 is not valid JSON; Row 3 is not valid JSON' }),
  ]);
  const exported = await fetch(`${harness.url}/datasets/${uuid}/export?format=csv`, {
    headers: { 'x-api-key': key },
  });
  expect(exported.headers.get('content-disposition')).toContain('-v1.csv');
  const [header, row] = (await exported.text()).split('\r\n');
  expect(header).toBe('id,inputs.question,outputs.answer,split,source_run_id,created_at');
  expect(row?.split(',').slice(1, 4)).toEqual(['Why?', "'=1+1", 'base']);
  const lines = await fetch(`${harness.url}/datasets/${uuid}/export?format=openai`, {
    headers: { 'x-api-key': key },
  });
  expect((await lines.text()).trim()).toBe(
    '{"messages":[{"role":"user","content":"Why?"},{"role":"assistant","content":"=1+1"}]}',
  );
});

test('a file given as text goes in whole or with a quarantine, once, and says where it comes out again', async () => {
  interface Imported {
    readonly importExamples: {
      readonly import: { readonly uuid: string; readonly imported: string; readonly rejected: string } | null;
      readonly version: { readonly version: number; readonly note: string | null } | null;
      readonly errors: { readonly code: string; readonly path: string[]; readonly message: string }[];
    };
  }
  const send = async (input: object) =>
    (
      await ask<Imported>(
        `mutation ($input: ImportExamplesInput!) { importExamples(input: $input) {
          import { uuid imported rejected } version { version note } errors { code path message } } }`,
        { input },
      )
    ).importExamples;
  const datasetId = await newDataset();
  const csv = {
    datasetId,
    format: 'CSV',
    content: 'question;answer;kind\nWhy?;42;test\n',
    mapping: { inputKeys: ['question'], outputKeys: ['answer'], splitKey: 'kind' },
    csv: { delimiter: ';', jsonCells: true },
    note: 'by hand',
    idempotencyKey: 'one file',
  };
  const first = await send(csv);
  expect(first).toEqual({
    import: { uuid: expect.any(String), imported: '1', rejected: '0' },
    version: { version: 1, note: 'by hand' },
    errors: [],
  });
  expect(await send(csv)).toEqual(first);

  const id = '0d6b4f2a-6f8e-4d8b-9b8e-3f6d0a1c2e33';
  const lines = [{ id, inputs: { n: 1 } }, 'nonsense', { id, inputs: { n: 2 } }, { outputs: {} }];
  const content = lines.map((line) => (typeof line === 'string' ? line : JSON.stringify(line))).join('\n');
  const jsonl = { datasetId, format: 'JSONL', content };
  expect(await send(jsonl)).toMatchObject({
    import: null,
    version: null,
    errors: [
      { code: 'INVALID', message: 'Row 2 is not valid JSON' },
      { code: 'INVALID', message: 'Row 4 has no "inputs"' },
    ],
  });
  const put = { ...jsonl, mode: 'QUARANTINE', idempotencyKey: 'another' };
  const second = await send(put);
  expect(second).toMatchObject({ import: { imported: '1', rejected: '3' }, version: { version: 2 } });
  expect(await send(put)).toEqual(second);

  const REJECTS = `query ($id: UUID!, $after: Int!) { datasetImport(id: $id) {
    rejects(first: 2, after: $after) { row content problems { message } } } }`;
  const rejects = async (after: number) =>
    (await ask<{ datasetImport: { rejects: unknown[] } }>(REJECTS, { id: second.import?.uuid, after }))
      .datasetImport.rejects;
  expect(await rejects(0)).toEqual([
    { row: '2', content: 'nonsense', problems: [{ message: 'is not valid JSON' }] },
    {
      row: '3',
      content: JSON.stringify({ id }),
      problems: [{ message: `has the id ${id} of an earlier row` }],
    },
  ]);
  expect(await rejects(3)).toMatchObject([{ row: '4' }]);
  const IMPORTS = `query ($id: ID!, $after: UUID) { dataset(id: $id) { version exampleCount
    imports(first: 1, after: $after) { uuid } exportUrl(asOf: { version: 1 }, splits: ["test", "other"]) } }`;
  const look = (after: string | null) => ask(IMPORTS, { id: datasetId, after });
  const uuid = Buffer.from(datasetId, 'base64url').toString().slice('Dataset:'.length);
  const exportUrl = `/datasets/${uuid}/export?format=jsonl&version=1&splits=test&splits=other`;
  const dataset = { version: 2, exampleCount: '2', exportUrl };
  expect(await look(null)).toEqual({ dataset: { ...dataset, imports: [{ uuid: second.import?.uuid }] } });
  const behind = { dataset: { ...dataset, imports: [{ uuid: first.import?.uuid }] } };
  expect(await look(second.import?.uuid ?? '')).toEqual(behind);
  expect(await look(first.import?.uuid ?? '')).toEqual({ dataset: { ...dataset, imports: [] } });
  const file = await fetch(`${harness.url}${exportUrl}`, {
    headers: { 'x-api-key': harness.keys.full.secret },
  });
  expect(JSON.parse(await file.text())).toMatchObject({
    inputs: { question: 'Why?' },
    outputs: { answer: 42 },
    splits: ['test'],
  });

  const large = { datasetId, format: 'CSV', content: 'x'.repeat(512 * 1_024 + 1) };
  expect(await send(large)).toMatchObject({ import: null, errors: [{ code: 'LIMIT_EXCEEDED' }] });
  const { rows } = await harness.database.pool.query(
    `select 'stage' as left from example_stage union all
     select 'reject' from import_rejects where import_id <> $1`,
    [second.import?.uuid],
  );
  expect(rows).toEqual([]);
});
