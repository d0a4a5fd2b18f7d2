/* Datasets over HTTP as LangSmith clients make and read them: versions, tags, splits, files, shares. */
import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { startHarness } from '../support/harness.js';
import type { Harness, HttpAnswer } from '../support/harness.js';

let harness: Harness;
beforeAll(async () => {
  harness = await startHarness();
}, 60_000);
afterAll(() => harness.close());

interface WireDataset {
  id: string;
  name: string;
  modified_at: string;
  example_count: number;
  metadata: Record<string, unknown>;
}
interface WireVersion {
  as_of: string;
  tags: string[];
}

const call = (path: string, options: { method?: string; body?: unknown } = {}): Promise<HttpAnswer> =>
  harness.http(path, { key: harness.keys.first.secret, ...options });
const answerOf = async <T>(path: string, options: { method?: string; body?: unknown } = {}): Promise<T> => {
  const { status, text, body } = await call(path, options);
  expect([status, text]).toEqual([200, text]);
  return body as T;
};
const newDataset = (body: object = {}): Promise<WireDataset> =>
  answerOf('/datasets', { body: { name: `dataset ${randomUUID()}`, ...body } });
const addExample = async (dataset: string, inputs: object): Promise<{ id: string; modified_at: string }> =>
  answerOf('/examples', { body: { dataset_id: dataset, inputs } });
const versionsOf = (dataset: string): Promise<WireVersion[]> => answerOf(`/datasets/${dataset}/versions`);

test('a dataset keeps what it was made with, under a name of its own', async () => {
  const name = `named ${randomUUID()}`;
  const schema = { type: 'object', required: ['q'] };
  const made = await newDataset({
    name,
    description: 'd',
    data_type: 'chat',
    extra: { source: 'sdk', metadata: { team: 'x', runtime: { sdk: 'y' } } },
    inputs_schema_definition: schema,
  });
  expect(made).toMatchObject({
    name,
    description: 'd',
    data_type: 'chat',
    metadata: { team: 'x', runtime: { sdk: 'y' } },
    inputs_schema_definition: schema,
    outputs_schema_definition: null,
    example_count: 0,
    session_count: 0,
    tenant_id: harness.home.workspaceId,
  });
  expect((await call('/datasets', { body: { name } })).status).toBe(409);
  // Reading by name, and by id with the stray limit of one client.
  expect(await answerOf(`/datasets?limit=1&name=${encodeURIComponent(name)}`)).toEqual([made]);
  expect(await answerOf(`/datasets/${made.id}?limit=1`)).toEqual(made);
  const missing = await call(`/datasets/${randomUUID()}`);
  expect([missing.status, missing.text]).toEqual([404, expect.stringContaining('not found')]);
  expect((await call(`/datasets/${made.id}`, { method: 'DELETE' })).status).toBe(200);
  expect((await newDataset({ name })).id).not.toBe(made.id);
});

test('lists select by id, part of the name, kind and metadata, and tell how many there are', async () => {
  const mark = randomUUID();
  const one = await newDataset({ name: `A ${mark}`, extra: { metadata: { mark, n: 1 } } });
  const two = await newDataset({ name: `B ${mark}`, data_type: 'llm', extra: { metadata: { mark, n: 2 } } });
  const names = async (query: Record<string, string>): Promise<string[]> => {
    const found = await answerOf<WireDataset[]>(`/datasets?${new URLSearchParams(query).toString()}`);
    return found.map(({ id }) => (id === one.id ? 'one' : id === two.id ? 'two' : 'other'));
  };
  expect(await names({ name_contains: mark, sort_by: 'name', sort_by_desc: 'False' })).toEqual([
    'one',
    'two',
  ]);
  expect(await names({ name_contains: mark, data_type: 'llm' })).toEqual(['two']);
  expect(await names({ metadata: JSON.stringify({ mark, n: 1 }) })).toEqual(['one']);
  expect(await names({ id: two.id })).toEqual(['two']);
  expect(await names({ name_contains: mark, exclude: two.id })).toEqual(['one']);
  const { headers } = await call(`/datasets?name_contains=${mark}&limit=1`);
  expect(headers.get('x-pagination-total')).toBe('2');
});

test('a patch leaves what it does not say and clears what it says is null', async () => {
  const { id } = await newDataset({ description: 'd', inputs_schema_definition: { type: 'object' } });
  const patch = (body: object): Promise<WireDataset> =>
    answerOf(`/datasets/${id}`, { method: 'PATCH', body });
  expect(await patch({ metadata: { a: 1 } })).toMatchObject({
    description: 'd',
    metadata: { a: 1 },
    inputs_schema_definition: { type: 'object' },
  });
  expect(await patch({ description: null, inputs_schema_definition: null })).toMatchObject({
    description: null,
    metadata: { a: 1 },
    inputs_schema_definition: null,
  });
  await addExample(id, { other: 1 });
  const strict = { inputs_schema_definition: { type: 'object', required: ['q'] } };
  expect((await call(`/datasets/${id}`, { method: 'PATCH', body: strict })).status).toBe(422);
});

test('every write is a version; tags name them and differences are between any two', async () => {
  const { id } = await newDataset();
  expect((await call(`/datasets/${id}/version?tag=latest`)).status).toBe(404);
  const first = await addExample(id, { q: 1 });
  const second = await addExample(id, { q: 2 });
  const initial = second.modified_at;
  await call(`/examples/${first.id}`, { method: 'PATCH', body: { inputs: { q: 10 } } });
  await call(`/examples/${second.id}`, { method: 'PATCH', body: { inputs: { q: 20 } } });
  await call(`/examples/${second.id}`, { method: 'DELETE' });
  const third = await addExample(id, { q: 3 });
  const versions = await versionsOf(id);
  expect(versions).toHaveLength(6);
  expect(versions.map(({ tags }) => tags)).toEqual([['latest'], [], [], [], [], []]);
  const times = versions.map(({ as_of: at }) => at);
  expect(times).toEqual([...times].sort().reverse());

  const query = (from: string, to: string): string =>
    `/datasets/${id}/versions/diff?${new URLSearchParams({ from_version: from, to_version: to }).toString()}`;
  const forward = {
    examples_added: [third.id],
    examples_modified: [first.id],
    // Modified and then removed is only removed.
    examples_removed: [second.id],
  };
  expect(await answerOf(query(initial, 'latest'))).toEqual(forward);
  expect(await answerOf(query('latest', initial))).toEqual({
    ...forward,
    examples_added: [second.id],
    examples_removed: [third.id],
  });

  const tag = (asOf: string): Promise<HttpAnswer> =>
    call(`/datasets/${id}/tags`, { method: 'PUT', body: { as_of: asOf, tag: 'prod' } });
  expect((await tag(initial)).body).toEqual({ as_of: versions[4]?.as_of, tags: ['prod'] });
  expect((await tag('latest')).body).toEqual({ as_of: versions[0]?.as_of, tags: ['latest', 'prod'] });
  expect((await tag('2001-01-01T00:00:00Z')).status).toBe(404);
  expect(await answerOf(`/datasets/${id}/version?tag=prod`)).toMatchObject({ tags: ['latest', 'prod'] });
  const at = encodeURIComponent(initial);
  expect(await answerOf(`/datasets/${id}/version?as_of=${at}`)).toEqual({
    as_of: versions[4]?.as_of,
    tags: [],
  });
});

test('splits are put on examples and taken off them, in versions', async () => {
  const { id } = await newDataset();
  const [a, b] = [await addExample(id, { q: 1 }), await addExample(id, { q: 2 })];
  const put = (body: object): Promise<HttpAnswer> => call(`/datasets/${id}/splits`, { method: 'PUT', body });
  expect((await put({ split_name: 'test', examples: [a.id, b.id] })).body).toEqual([a.id, b.id]);
  expect((await answerOf<string[]>(`/datasets/${id}/splits`)).sort()).toEqual(['base', 'test']);
  await put({ split_name: 'test', examples: [a.id], remove: true });
  const inTest = await answerOf<{ id: string }[]>(`/examples?dataset=${id}&splits=test`);
  expect(inTest.map((each) => each.id)).toEqual([b.id]);
  const before = encodeURIComponent(b.modified_at);
  expect(await answerOf(`/datasets/${id}/splits?as_of=${before}`)).toEqual(['base']);
  expect((await put({ split_name: 'test', examples: [randomUUID()] })).status).toBe(404);
});

test('a CSV file in a form makes a dataset, or nothing', async () => {
  const upload = (csv: string, fields: [string, string][]): Promise<HttpAnswer> => {
    const data = new FormData();
    data.append('file', new Blob([csv], { type: 'text/csv' }), 'people.csv');
    for (const [name, value] of fields) data.append(name, value);
    return call('/datasets/upload', { body: data });
  };
  const name = `uploaded ${randomUUID()}`;
  const columns: [string, string][] = [
    ['input_keys', 'first'],
    ['input_keys', 'age'],
    ['output_keys', 'last'],
  ];
  const csv = 'first,last,age\nAda,Lovelace,36\n"Grace, B.",Hopper,85\n';
  const made = await upload(csv, [['name', name], ['description', 'd'], ['data_type', 'kv'], ...columns]);
  expect([made.status, made.body]).toEqual([
    200,
    expect.objectContaining({ name, description: 'd', data_type: 'kv', example_count: 2 }),
  ]);
  const examples = await answerOf<{ inputs: unknown; outputs: unknown }[]>(
    `/examples?dataset=${(made.body as WireDataset).id}`,
  );
  expect(examples.map(({ inputs, outputs }) => [inputs, outputs])).toEqual(
    expect.arrayContaining([
      [{ first: 'Ada', age: '36' }, { last: 'Lovelace' }],
      [{ first: 'Grace, B.', age: '85' }, { last: 'Hopper' }],
    ]),
  );
  expect(((await upload(csv, columns)).body as WireDataset).name).toBe('people.csv');
  expect((await upload(csv, [['name', name], ...columns])).status).toBe(409);

  const broken = `broken ${randomUUID()}`;
  for (const [file, fields] of [
    ['first,last,age\nAda\n', columns],
    ['first,last\nAda,x\n', columns],
    ['', columns],
    [csv, []],
  ] as const) {
    expect((await upload(file, [['name', broken], ...fields])).status).toBe(422);
  }
  expect(await answerOf(`/datasets?name=${encodeURIComponent(broken)}`)).toEqual([]);
  const without = new FormData();
  without.append('name', broken);
  expect((await call('/datasets/upload', { body: without })).status).toBe(422);
});

test('datasets are downloaded as files', async () => {
  const { id } = await newDataset();
  const asked = { role: 'user', content: 'hi' };
  const said = { role: 'assistant', content: 'hello' };
  await answerOf('/examples', {
    body: { dataset_id: id, inputs: { messages: [asked] }, outputs: { messages: [said] } },
  });
  const openai = await call(`/datasets/${id}/openai_ft`);
  expect([openai.status, JSON.parse(openai.text)]).toEqual([200, { messages: [asked, said] }]);
  const jsonl = await call(`/datasets/${id}/jsonl`);
  expect(JSON.parse(jsonl.text)).toMatchObject({ inputs: { messages: [asked] } });
  const csv = await call(`/datasets/${id}/csv`);
  expect(csv.headers.get('content-type')).toContain('text/csv');
  expect(csv.text.split('\n')[0]).toContain('inputs.messages');
});

test('whoever has the link reads the dataset and nothing else, until it is taken back', async () => {
  const [shared, other] = [await newDataset(), await newDataset()];
  const example = await addExample(shared.id, { q: 1 });
  const foreign = await addExample(other.id, { q: 'secret' });
  const name = `experiment ${randomUUID()}`;
  const session = await answerOf<{ id: string }>('/sessions', {
    body: { name, reference_dataset_id: shared.id },
  });
  const run = { id: randomUUID(), name: 'target', run_type: 'chain', start_time: new Date().toISOString() };
  for (const [id, project] of [
    [run.id, name],
    [randomUUID(), 'elsewhere'],
  ] as const) {
    const body = { ...run, id, trace_id: id, session_name: project, reference_example_id: example.id };
    expect((await call('/runs', { body })).status).toBe(202);
  }
  expect((await call(`/datasets/${shared.id}/share`)).status).toBe(404);
  const put = { method: 'PUT', body: { dataset_id: shared.id } };
  const { share_token: token } = await answerOf<{ share_token: string }>(`/datasets/${shared.id}/share`, put);
  expect(await answerOf(`/datasets/${shared.id}/share`, put)).toEqual({
    dataset_id: shared.id,
    share_token: token,
  });
  const open = async (path: string, body?: unknown): Promise<unknown> =>
    (await harness.http(`/public/${token}${path}`, { body, headers: { 'x-api-key': 'placeholder' } })).body;
  expect(await open('/datasets')).toMatchObject({ id: shared.id, example_count: 1 });
  expect(await open('/examples')).toMatchObject([{ id: example.id, inputs: { q: 1 } }]);
  expect(await open(`/examples?id=${foreign.id}`)).toEqual([]);
  expect(await open(`/examples?dataset=${other.id}`)).toMatchObject([{ id: example.id }]);
  expect(await open('/examples/count')).toBe(1);
  expect(await open('/datasets/sessions')).toMatchObject([{ id: session.id, name }]);
  expect(await open('/datasets/comparative')).toEqual([]);
  expect(await open('/datasets/runs/query', {})).toMatchObject({ runs: [{ id: run.id }] });
  expect(await open('/datasets/runs/query', { session: [randomUUID()] })).toMatchObject({ runs: [] });
  await call(`/datasets/${shared.id}/share`, { method: 'DELETE' });
  expect((await harness.http(`/public/${token}/datasets`)).status).toBe(404);
});
