/* Examples over HTTP as LangSmith clients send and read them: multipart bodies and their edges, versions, filters. */
import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { startHarness } from '../support/harness.js';
import type { Harness, HttpAnswer } from '../support/harness.js';

let harness: Harness;
beforeAll(async () => {
  harness = await startHarness();
}, 60_000);
afterAll(() => harness.close());

interface WireExample {
  id: string;
  name: string;
  inputs: Record<string, unknown>;
  outputs: Record<string, unknown> | null;
  metadata: Record<string, unknown>;
  modified_at: string;
  attachment_urls: Record<string, { presigned_url: string; mime_type: string }> | null;
}

const call = (path: string, options: { method?: string; body?: unknown } = {}): Promise<HttpAnswer> =>
  harness.http(path, { key: harness.keys.first.secret, ...options });

async function newDataset(body: object = {}): Promise<string> {
  const answer = await call('/datasets', { body: { name: `dataset ${randomUUID()}`, ...body } });
  expect(answer.status).toBe(200);
  return (answer.body as { id: string }).id;
}

type Parts = Record<string, unknown>;

/** Values become JSON parts; blobs and texts go as they are. */
function form(parts: Parts): FormData {
  const data = new FormData();
  for (const [name, value] of Object.entries(parts)) {
    const blob =
      value instanceof Blob
        ? value
        : new Blob([typeof value === 'string' ? value : JSON.stringify(value)], { type: 'application/json' });
    data.append(name, blob);
  }
  return data;
}
const send = (dataset: string, parts: Parts, method = 'POST'): Promise<HttpAnswer> =>
  call(`/v1/platform/datasets/${dataset}/examples`, { method, body: form(parts) });
const file = (text: string): Blob => new Blob([text], { type: 'text/plain' });
const read = async (id: string, query = ''): Promise<WireExample> =>
  (await call(`/examples/${id}${query}`)).body as WireExample;
const list = async (query: string): Promise<WireExample[]> => {
  const answer = await call(`/examples?${query}`);
  expect([answer.status, answer.text]).toEqual([200, answer.text]);
  return answer.body as WireExample[];
};
const filesOf = (example: WireExample): string[] =>
  Object.keys(example.attachment_urls ?? {}).map((name) => name.slice('attachment.'.length));

async function rowsOf(table: 'attachments' | 'examples'): Promise<number> {
  const { rows } = await harness.database.pool.query<{ n: number }>(`select count(*) as n from ${table}`);
  return rows[0]?.n ?? -1;
}

test('a multipart body makes examples, with their files in order and as they were sent', async () => {
  const dataset = await newDataset();
  const id = randomUUID();
  const answer = await send(dataset, {
    [id]: { split: ['train', 'test'], metadata: { topic: 'x' }, created_at: '2026-01-02T03:04:05.678901Z' },
    [`${id}.inputs`]: '{"n": 12345678901234567890, "q": "\u{1F600}"}',
    [`${id}.outputs`]: { a: 1 },
    [`${id}.attachment.zeta.final.txt`]: file('with dots'),
    [`${id}.attachment.alpha`]: file('second'),
  });
  expect(answer.status).toBe(201);
  expect(answer.body).toMatchObject({ count: 1, example_ids: [id] });
  const { text } = await call(`/examples/${id}`);
  // Digits stay as they came.
  expect(text).toContain('"inputs":{"n": 12345678901234567890, "q": "\u{1F600}"}');
  const example = await read(id);
  expect(example).toMatchObject({
    dataset_id: dataset,
    outputs: { a: 1 },
    metadata: { topic: 'x', dataset_split: ['train', 'test'] },
    created_at: '2026-01-02T03:04:05.678901+00:00',
  });
  expect(filesOf(example)).toEqual(['zeta.final.txt', 'alpha']);
  const link = example.attachment_urls?.['attachment.zeta.final.txt'];
  expect(link?.mime_type).toBe('text/plain');
  const fetched = await fetch(link?.presigned_url ?? '');
  expect([fetched.status, await fetched.text()]).toEqual([200, 'with dots']);
});

test('parts come in any order; what is not said is not there', async () => {
  const dataset = await newDataset();
  const [a, b] = [randomUUID(), randomUUID()];
  const answer = await send(dataset, {
    [`${b}.inputs`]: { q: 'b' },
    [`${a}.inputs`]: { q: 'a' },
    [a]: {},
  });
  expect(answer.status).toBe(201);
  expect(await read(b)).toMatchObject({
    inputs: { q: 'b' },
    outputs: null,
    metadata: { dataset_split: ['base'] },
    attachment_urls: null,
  });
});

test('a request is refused as a whole and leaves neither rows nor files', async () => {
  const dataset = await newDataset();
  const [good, bad] = [randomUUID(), randomUUID()];
  const before = [await rowsOf('examples'), await rowsOf('attachments')];
  const cases: [Parts, number, RegExp][] = [
    [{ [`${bad}.inputs`]: '{"q": ' }, 422, /inputs: .*valid JSON/],
    [{ [`${bad}.inputs`]: '[1]' }, 422, /inputs: .*JSON object/],
    [{ [`${bad}.inputs`]: `{"q": ${'['.repeat(600)}${']'.repeat(600)}}` }, 422, /deep/],
    [{ [bad]: { split: 7 } }, 422, /split/],
    [{ [`${bad}.surprise`]: {} }, 422, /no part of an example/],
    [{ 'not-an-id.inputs': {} }, 422, /called after the id/],
    [{ [`${bad}.attachment.${'n'.repeat(201)}`]: file('x') }, 422, /1 to 200 characters/],
  ];
  for (const [parts, status, message] of cases) {
    const answer = await send(dataset, {
      [good]: {},
      [`${good}.inputs`]: { q: 1 },
      [`${good}.attachment.kept`]: file('must not stay'),
      ...parts,
    });
    expect([answer.status, answer.text]).toEqual([status, expect.stringMatching(message)]);
  }
  expect([await rowsOf('examples'), await rowsOf('attachments')]).toEqual(before);
  const unknown = await send(randomUUID(), {
    [`${good}.inputs`]: { q: 1 },
    [`${good}.attachment.kept`]: file('must not stay'),
  });
  expect([unknown.status, unknown.text]).toEqual([404, expect.stringContaining('not found')]);
  expect([await rowsOf('examples'), await rowsOf('attachments')]).toEqual(before);
});

test('a body that breaks off and one that is no form are refused', async () => {
  const dataset = await newDataset();
  const path = `/v1/platform/datasets/${dataset}/examples`;
  const post = (body: string, type: string): Promise<Response> =>
    fetch(harness.url + path, {
      method: 'POST',
      headers: { 'x-api-key': harness.keys.first.secret, 'content-type': type },
      body,
    });
  const part = `--b\r\nContent-Disposition: form-data; name="${randomUUID()}.inputs"\r\n\r\n{}`;
  expect((await post(part, 'multipart/form-data; boundary=b')).status).toBe(400);
  expect((await post('{}', 'application/json')).status).toBe(415);
  expect((await call(`/examples/count?dataset=${dataset}`)).body).toBe(0);
});

test('an id is used once: again, and in another dataset, it is a conflict', async () => {
  const [one, other] = [await newDataset(), await newDataset()];
  const id = randomUUID();
  const parts = { [id]: {}, [`${id}.inputs`]: { q: 1 } };
  expect((await send(one, parts)).status).toBe(201);
  expect((await send(one, parts)).status).toBe(409);
  expect((await send(other, parts)).status).toBe(409);
  expect((await send(other, parts, 'PATCH')).status).toBe(409);
  const nobody = randomUUID();
  expect((await send(one, { [`${nobody}.inputs`]: {} }, 'PATCH')).status).toBe(404);
});

test('schemas of the dataset are held to, in all forms of writing', async () => {
  const dataset = await newDataset({
    inputs_schema_definition: { type: 'object', required: ['q'], properties: { q: { type: 'string' } } },
  });
  const id = randomUUID();
  expect((await send(dataset, { [`${id}.inputs`]: { q: 1 } })).status).toBe(422);
  expect((await call('/examples', { body: { dataset_id: dataset, inputs: {} } })).status).toBe(422);
  expect((await send(dataset, { [`${id}.inputs`]: { q: 'x' } })).status).toBe(201);
  expect((await send(dataset, { [`${id}.inputs`]: { q: 2 } }, 'PATCH')).status).toBe(422);
  expect(await read(id)).toMatchObject({ inputs: { q: 'x' } });
});

test('an update keeps what it does not say; metadata and splits replace each their own', async () => {
  const dataset = await newDataset();
  const id = randomUUID();
  await send(dataset, {
    [id]: { split: 'train', metadata: { a: 1, b: 2 } },
    [`${id}.inputs`]: { q: 1 },
    [`${id}.outputs`]: { a: 1 },
  });
  await send(dataset, { [id]: { metadata: { c: 3 } } }, 'PATCH');
  expect(await read(id)).toMatchObject({
    inputs: { q: 1 },
    outputs: { a: 1 },
    metadata: { c: 3, dataset_split: ['train'] },
  });
  await send(dataset, { [id]: { split: ['x', 'y'] }, [`${id}.outputs`]: { a: 2 } }, 'PATCH');
  const { metadata, outputs } = await read(id);
  expect([metadata, outputs]).toEqual([{ c: 3, dataset_split: ['x', 'y'] }, { a: 2 }]);
});

test('files: without operations the set is replaced, with them what is neither retained nor renamed goes', async () => {
  const dataset = await newDataset();
  const id = randomUUID();
  const update = (parts: Parts): Promise<HttpAnswer> => send(dataset, { [id]: {}, ...parts }, 'PATCH');
  const operations = (value: object): Parts => ({ [`${id}.attachments_operations`]: value });
  const content = async (name: string): Promise<string> => {
    const { attachment_urls: urls } = await read(id);
    return (await fetch(urls?.[`attachment.${name}`]?.presigned_url ?? '')).text();
  };
  await send(dataset, {
    [`${id}.inputs`]: {},
    [`${id}.attachment.a`]: file('1'),
    [`${id}.attachment.b`]: file('2'),
    [`${id}.attachment.c`]: file('3'),
  });
  const first = (await read(id)).modified_at;
  expect((await update(operations({ retain: ['a'], rename: { b: 'b.new' } }))).status).toBe(200);
  expect(filesOf(await read(id))).toEqual(['a', 'b.new']);
  expect(await content('b.new')).toBe('2');
  await update({ ...operations({ retain: ['a', 'b.new'] }), [`${id}.attachment.a`]: file('newer') });
  expect([filesOf(await read(id)).sort(), await content('a')]).toEqual([['a', 'b.new'], 'newer']);
  expect((await update(operations({ retain: ['a'], rename: { a: 'x' } }))).status).toBe(422);
  expect((await update(operations({ retain: ['x'], rename: { a: 'x' } }))).status).toBe(422);
  expect((await update(operations({ retain: 'a' }))).status).toBe(422);
  await update({ [`${id}.attachment.only`]: file('4') });
  expect(filesOf(await read(id))).toEqual(['only']);
  // Versions keep their files.
  expect(filesOf(await read(id, `?as_of=${encodeURIComponent(first)}`))).toEqual(['a', 'b', 'c']);
});

test('examples are read as of the time an example was modified, at milliseconds too, and of a tag', async () => {
  const dataset = await newDataset();
  const id = randomUUID();
  await send(dataset, { [`${id}.inputs`]: { q: 1 } });
  const { modified_at: first } = await read(id);
  await call(`/datasets/${dataset}/tags`, { method: 'PUT', body: { as_of: first, tag: 'v1' } });
  await send(dataset, { [`${id}.inputs`]: { q: 2 } }, 'PATCH');
  await send(dataset, { [`${randomUUID()}.inputs`]: { q: 3 } });
  const at = async (asOf: string): Promise<unknown[]> =>
    (await list(`dataset=${dataset}&as_of=${encodeURIComponent(asOf)}`)).map(({ inputs }) => inputs['q']);
  expect(await at(first)).toEqual([1]);
  expect(await at(new Date(first).toISOString())).toEqual([1]);
  expect(await at('v1')).toEqual([1]);
  expect((await at('latest')).sort()).toEqual([2, 3]);
  expect((await call(`/examples?dataset=${dataset}&as_of=nothing`)).status).toBe(404);
  await call(`/examples/${id}`, { method: 'DELETE' });
  expect((await call(`/examples/${id}`)).status).toBe(404);
  expect(await at('v1')).toEqual([1]);
  const hard = { example_ids: [id], hard_delete: true };
  expect((await call('/v1/platform/datasets/examples/delete', { body: hard })).status).toBe(200);
  expect(await at('v1')).toEqual([]);
});

test('lists select by id, split, metadata, text and filter, and page by offset', async () => {
  const dataset = await newDataset();
  const ids = Array.from({ length: 5 }, () => randomUUID());
  const parts: Parts = {};
  for (const [index, id] of ids.entries()) {
    parts[id] = { split: index < 2 ? 'train' : 'test', metadata: { n: index, kind: { deep: index % 2 } } };
    parts[`${id}.inputs`] = { q: `question number${index}` };
  }
  await send(dataset, parts);
  const found = async (query: Record<string, string>): Promise<number[]> =>
    (await list(new URLSearchParams({ dataset, ...query }).toString()))
      .map(({ metadata }) => metadata['n'] as number)
      .sort();
  expect(await found({ splits: 'train' })).toEqual([0, 1]);
  expect(await found({ metadata: '{"kind": {"deep": 1}}' })).toEqual([1, 3]);
  expect(await found({ full_text_contains: 'number3' })).toEqual([3]);
  expect(await found({ id: ids[4] ?? '' })).toEqual([4]);
  expect(await found({ filter: 'and(has(metadata, \'{"n": 2}\'), exists(metadata, "kind"))' })).toEqual([2]);
  expect(await found({ filter: 'not(has(metadata, \'{"n": 2}\'))' })).toEqual([0, 1, 3, 4]);
  expect(await found({ filter: `in(id, ["${ids[0] ?? ''}", "${ids[3] ?? ''}"])` })).toEqual([0, 3]);
  const pages = await Promise.all(
    [0, 2, 4].map((offset) => list(`dataset=${dataset}&limit=2&offset=${offset}`)),
  );
  expect(pages.map((page) => page.length)).toEqual([2, 2, 1]);
  expect(new Set(pages.flat().map(({ id }) => id))).toEqual(new Set(ids));
  expect((await call(`/examples/count?dataset=${dataset}&splits=test`)).body).toBe(3);
  const refused = await call(`/examples?dataset=${dataset}&filter=${encodeURIComponent('gt(n, 1)')}`);
  expect([refused.status, refused.text]).toEqual([400, expect.stringContaining('not understood')]);
});

test('the older JSON forms create, change and delete one and many', async () => {
  const dataset = await newDataset();
  const created = await call('/examples', { body: { dataset_id: dataset, inputs: { q: 1 }, split: 'x' } });
  const { id } = created.body as WireExample;
  const bulk = [1, 2].map((n) => ({ dataset_id: dataset, inputs: { n } }));
  const many = (await call('/examples/bulk', { body: bulk })).body as WireExample[];
  expect(many.map(({ inputs }) => inputs['n'])).toEqual([1, 2]);
  await call(`/examples/${id}`, { method: 'PATCH', body: { outputs: { a: 1 } } });
  expect(await read(id)).toMatchObject({ inputs: { q: 1 }, outputs: { a: 1 } });
  const patches = many.map((each) => ({ id: each.id, inputs: { n: 9 } }));
  expect((await call('/examples/bulk', { method: 'PATCH', body: patches })).status).toBe(200);
  expect(await read(many[1]?.id ?? '')).toMatchObject({ inputs: { n: 9 } });
  const query = many.map((each) => `example_ids=${each.id}`).join('&');
  expect((await call(`/examples?${query}`, { method: 'DELETE' })).status).toBe(200);
  expect((await call(`/examples/count?dataset=${dataset}`)).body).toBe(1);
});

test('a CSV file in a form adds examples whose values are all strings', async () => {
  const dataset = await newDataset();
  const data = new FormData();
  data.append('file', new Blob(['q,a,note\n1,true,x\n"two, three",,y\n'], { type: 'text/csv' }), 'rows.csv');
  for (const [name, value] of [
    ['input_keys', 'q'],
    ['output_keys', 'a'],
    ['metadata_keys', 'note'],
  ] as const) {
    data.append(name, value);
  }
  const answer = await call(`/examples/upload/${dataset}`, { body: data });
  expect(answer.status).toBe(200);
  const rows = (answer.body as WireExample[]).map(({ inputs, outputs, metadata }) => [
    inputs,
    outputs,
    metadata['note'],
  ]);
  expect(rows).toHaveLength(2);
  expect(rows).toContainEqual([{ q: '1' }, { a: 'true' }, 'x']);
  expect(rows).toContainEqual([{ q: 'two, three' }, null, 'y']);
});

test('large parts are taken as they are', async () => {
  const dataset = await newDataset();
  const id = randomUUID();
  const items = Array.from({ length: 150_000 }, (_, index) => ({ index }));
  expect((await send(dataset, { [`${id}.inputs`]: { items } })).status).toBe(201);
  expect((await read(id)).inputs).toEqual({ items });
  const broken = `${JSON.stringify({ items }).slice(0, -1)},}`;
  expect((await send(dataset, { [`${randomUUID()}.inputs`]: broken })).status).toBe(422);
});
