/** Versions: what each write makes of a dataset, and reading it as of any of them. */
import { afterAll, expect, test } from '@jest/globals';
import { payloadOf } from '../../src/datasets/example.js';
import { createWorld, draft, good, principal, uuid } from './world.js';

const world = await createWorld();
afterAll(() => world.close());
const { datasets, examples, owner } = world;

const inputsOf = (rows: readonly { inputs: string | null }[]): string[] =>
  rows.map(({ inputs }) => inputs ?? 'hidden').sort();

const problemsOf = (result: {
  ok: boolean;
  problems?: readonly { code: string; path: readonly string[] }[];
}) => result.problems?.map(({ code, path }) => [code, path.join('.')]);

test('each write makes one version, and each version stays as it was', async () => {
  const id = await world.dataset();
  const [a, b] = [uuid(), uuid()];
  const first = good(
    await examples.createExamples(owner, id, [
      draft({ q: 1 }, { a: 1 }, { id: a }),
      draft({ q: 2 }, undefined, { id: b, metadata: { tier: 'gold', dataset_split: ['test', 'test'] } }),
    ]),
  );
  const second = good(
    await examples.updateExamples(owner, id, [{ id: b, inputs: payloadOf({ q: 22 }) }], { note: 'fixed' }),
  );
  const [third] = good(await examples.deleteExamples(owner, [a]));
  expect([first, second, third].map((write) => [write?.version?.version, write?.made])).toEqual([
    [1, true],
    [2, true],
    [3, true],
  ]);
  expect(second.version).toMatchObject({
    added: 0,
    modified: 1,
    removed: 0,
    note: 'fixed',
    actor: owner.keyId,
  });
  expect(inputsOf(await world.read(id, 1))).toEqual(['{"q":1}', '{"q":2}']);
  expect(inputsOf(await world.read(id, 2))).toEqual(['{"q":1}', '{"q":22}']);
  expect(inputsOf(await world.read(id, 3))).toEqual(['{"q":22}']);
  expect(await world.read(id, 0)).toEqual([]);
  expect(await datasets.getDataset(owner, id)).toMatchObject({ version: 3, exampleCount: 1 });
  const [kept] = await world.read(id, 3);
  expect(kept).toMatchObject({
    uuid: b,
    name: `#${b.slice(-4)}`,
    outputs: null,
    metadata: { tier: 'gold' },
    splits: ['test'],
    sinceVersion: 2,
    modifiedAt: second.version?.createdAt,
  });
});

test('a write that changes nothing makes no version', async () => {
  const id = uuid();
  const datasetId = await world.dataset([draft({ b: 1, a: [1, 2] }, { ok: true }, { id, splits: ['x'] })]);
  const write = good(
    await examples.updateExamples(owner, datasetId, [
      { id, inputs: { text: '{ "a": [1,2], "b": 1 }', value: {} }, metadata: {}, splits: ['x'] },
    ]),
  );
  expect(write).toMatchObject({ made: false, version: { version: 1 }, exampleIds: [] });
  expect(good(await examples.createExamples(owner, datasetId, []))).toMatchObject({ made: false });
  good(await examples.deleteExamples(owner, [id]));
  expect(good(await examples.deleteExamples(owner, [id]))[0]).toMatchObject({
    made: false,
    version: { version: 2 },
  });
  const put = { split: 'x', remove: false, ids: [] };
  expect(good(await examples.setSplit(owner, datasetId, put))).toMatchObject({ made: false });
});

test('a version is found by number, tag and time, inclusive at the millisecond', async () => {
  const id = await world.dataset([draft({ v: 1 })]);
  for (const v of [2, 3]) good(await examples.createExamples(owner, id, [draft({ v })]));
  const versions = await datasets.listVersions(owner, id, {
    window: { limit: 10, backward: false, boundary: undefined },
  });
  expect(versions.map(({ version }) => version)).toEqual([3, 2, 1]);
  const times = versions.map(({ createdAt }) => createdAt);
  expect(new Set(times).size).toBe(3);
  for (const time of times) expect(time).toMatch(/^[^.]+(\.\d{1,3})?\+00$/);
  const find = async (asOf: Parameters<typeof datasets.findVersion>[2]) =>
    (await datasets.findVersion(owner, id, asOf))?.version;
  expect(await find({ version: 2 })).toBe(2);
  expect(await find({ time: times[1] ?? '' })).toBe(2);
  expect(
    await find({ time: new Date(Date.parse(times[2]?.replace('+00', 'Z') ?? '') - 1).toISOString() }),
  ).toBe(undefined);
  expect(await find({ tag: 'latest' })).toBe(3);
  expect(await find({ tag: 'prod' })).toBe(undefined);

  expect(good(await datasets.tagVersion(owner, id, 'prod', { version: 1 }))).toMatchObject({
    version: 1,
    tags: ['prod'],
  });
  good(await datasets.tagVersion(owner, id, 'prod', { time: times[1] ?? '' }));
  expect(await find({ tag: 'prod' })).toBe(2);
  expect((await datasets.listTags(owner, id)).map(({ tag, version }) => [tag, version])).toEqual([
    ['prod', 2],
  ]);
  expect(problemsOf(await datasets.tagVersion(owner, id, 'latest', { version: 1 }))).toEqual([
    ['NOT_ALLOWED', 'tag'],
  ]);
  expect(problemsOf(await datasets.tagVersion(owner, id, 'x', { version: 9 }))).toEqual([
    ['NOT_FOUND', 'asOf'],
  ]);
  expect(await datasets.untag(owner, id, 'prod')).toBe(true);
  expect(await datasets.untag(owner, id, 'prod')).toBe(false);
  const dataset = await datasets.getDataset(owner, id);
  expect(await datasets.resolve(owner, dataset, { time: '2000-01-01T00:00:00Z' })).toBe(0);
  await expect(datasets.resolve(owner, dataset, { tag: 'nobody' })).rejects.toMatchObject({
    code: 'NOT_FOUND',
  });
});

test('a difference names what was added, removed and modified, once each', async () => {
  const [same, changed, back, gone, gone2] = [uuid(), uuid(), uuid(), uuid(), uuid()];
  const ids = [same, changed, back, gone, gone2];
  const id = await world.dataset(ids.map((example) => draft({ example }, {}, { id: example })));
  good(
    await examples.updateExamples(owner, id, [
      { id: changed, outputs: payloadOf({ right: true }) },
      { id: back, outputs: payloadOf({ right: true }) },
      { id: gone, outputs: payloadOf({ right: true }) },
    ]),
  );
  good(await examples.updateExamples(owner, id, [{ id: back, outputs: payloadOf({}) }]));
  good(await examples.deleteExamples(owner, [gone, gone2]));
  const {
    exampleIds: [fresh = ''],
  } = good(await examples.createExamples(owner, id, [draft({ fresh: true })]));
  const between = async (from: number, to: number) => {
    const range = { datasetId: id, from, to };
    const rows = await examples.listDifferences(owner, range, ['added', 'modified', 'removed'], {
      limit: 10,
      backward: false,
      boundary: undefined,
    });
    const of = (kind: string) => rows.filter((row) => row.kind === kind).map(({ exampleId }) => exampleId);
    return {
      ...(await examples.countDifferences(owner, range)),
      ids: [of('added'), of('removed'), of('modified')],
    };
  };
  expect(await between(1, 5)).toEqual({
    added: 1,
    removed: 2,
    modified: 1,
    ids: [[fresh], [gone, gone2].sort(), [changed]],
  });
  expect(await between(5, 1)).toEqual({
    added: 2,
    removed: 1,
    modified: 1,
    ids: [[gone, gone2].sort(), [fresh], [changed]],
  });
  expect(await between(2, 3)).toMatchObject({ added: 0, removed: 0, modified: 1 });
  expect(await between(0, 1)).toMatchObject({ added: 5, removed: 0, modified: 0 });
  expect(await between(4, 4)).toMatchObject({ added: 0, removed: 0, modified: 0 });
});

test('a hard deletion leaves nothing in any version and frees the id', async () => {
  const [a, b] = [uuid(), uuid()];
  const id = await world.dataset([draft({ a }, {}, { id: a }), draft({ b }, {}, { id: b })]);
  good(await examples.updateExamples(owner, id, [{ id: a, outputs: payloadOf({ n: 2 }) }]));
  const [write] = good(await examples.deleteExamples(owner, [a], { hard: true }));
  expect(write).toMatchObject({ made: true, version: { version: 3, removed: 1 } });
  for (const version of [1, 2, 3]) {
    expect((await world.read(id, version)).map((row) => row.uuid)).toEqual([b]);
  }
  expect(await datasets.getDataset(owner, id)).toMatchObject({ exampleCount: 1 });
  const other = await world.dataset([draft({ a }, {}, { id: a })]);
  expect(await world.read(other, 1)).toHaveLength(1);
});

test('a soft deleted example is read as of before, and its id can be used again in its dataset', async () => {
  const a = uuid();
  const id = await world.dataset([draft({ n: 1 }, {}, { id: a })]);
  good(await examples.deleteExamples(owner, [a]));
  expect(await examples.findExample(owner, a)).toBe(undefined);
  expect(await examples.findExample(owner, a, { version: 1 })).toMatchObject({ inputs: '{"n":1}' });
  good(await examples.createExamples(owner, id, [draft({ n: 2 }, {}, { id: a })]));
  expect(await examples.findExample(owner, a)).toMatchObject({ inputs: '{"n":2}', sinceVersion: 3 });
  expect(await world.read(id, 2)).toEqual([]);
});

test('ids that are taken are refused, and nothing is written', async () => {
  const [a, b] = [uuid(), uuid()];
  const id = await world.dataset([draft({ n: 1 }, {}, { id: a })]);
  const other = await world.dataset([draft({ n: 1 }, {}, { id: b })]);
  const drafts = [draft({}), draft({}, {}, { id: a }), draft({}, {}, { id: b })];
  expect(problemsOf(await examples.createExamples(owner, id, drafts))?.sort()).toEqual([
    ['ALREADY_EXISTS', 'examples.1.id'],
    ['CONFLICT', 'examples.2.id'],
  ]);
  const twice = uuid();
  expect(
    problemsOf(
      await examples.createExamples(owner, id, [draft({}, {}, { id: twice }), draft({}, {}, { id: twice })]),
    ),
  ).toEqual([['INVALID', 'examples.1.id']]);
  expect(problemsOf(await examples.updateExamples(owner, id, [{ id: b }, { id: uuid() }]))).toEqual([
    ['CONFLICT', 'examples.0.id'],
    ['NOT_FOUND', 'examples.1.id'],
  ]);
  expect(problemsOf(await examples.deleteExamples(owner, [a, uuid()]))).toEqual([['NOT_FOUND', 'ids.1']]);
  expect(await datasets.getDataset(owner, id)).toMatchObject({ version: 1, exampleCount: 1 });
  expect(await datasets.getDataset(owner, other)).toMatchObject({ version: 1, exampleCount: 1 });
});

test('splits are part of versions', async () => {
  const [a, b] = [uuid(), uuid()];
  const id = await world.dataset([
    draft({ a }, {}, { id: a }),
    draft({ b }, {}, { id: b, splits: ['train'] }),
  ]);
  const put = good(await examples.setSplit(owner, id, { split: 'train', remove: false, ids: [a, b] }));
  expect(put).toMatchObject({ made: true, exampleIds: [a], version: { modified: 1 } });
  good(await examples.setSplit(owner, id, { split: 'train', remove: true, ids: [a, b] }));
  const splitsAt = async (version: number) =>
    Object.fromEntries((await world.read(id, version)).map((row) => [row.uuid, row.splits]));
  expect(await splitsAt(1)).toEqual({ [a]: ['base'], [b]: ['train'] });
  expect(await splitsAt(2)).toEqual({ [a]: ['base', 'train'], [b]: ['train'] });
  expect(await splitsAt(3)).toEqual({ [a]: ['base'], [b]: ['base'] });
  expect(await examples.listSplits(owner, id, 2)).toEqual(['base', 'train']);
  expect(await examples.listSplits(owner, id, 'newest')).toEqual(['base']);
  expect(
    (await world.store.page(world.scope, id, 2, { splits: ['train', 'other'], limit: 10 })).map(
      (row) => row.uuid,
    ),
  ).toEqual([a, b].sort());
});

test('metadata replaces all but splits, and splits leave metadata', async () => {
  const a = uuid();
  const id = await world.dataset([draft({}, {}, { id: a, metadata: { x: 1, y: 2 }, splits: ['s'] })]);
  const change = async (said: object) => {
    good(await examples.updateExamples(owner, id, [{ id: a, ...said }]));
    const [row] = await examples.findExamples(owner, [a]);
    return [row?.metadata, row?.splits];
  };
  expect(await change({ metadata: { z: 3 } })).toEqual([{ z: 3 }, ['s']]);
  expect(await change({ splits: ['t', 'u'] })).toEqual([{ z: 3 }, ['t', 'u']]);
  expect(await change({ metadata: { w: 1, dataset_split: 'v' } })).toEqual([{ w: 1 }, ['v']]);
  expect(await change({ outputs: null })).toEqual([{ w: 1 }, ['v']]);
  expect((await examples.findExamples(owner, [a]))[0]?.outputs).toBe(null);
});

test('a deleted dataset frees its name and its example ids at once', async () => {
  const a = uuid();
  const name = `to be deleted ${uuid()}`;
  const id = await world.dataset([draft({}, {}, { id: a })], name);
  expect(problemsOf(await datasets.createDataset(owner, { name }))).toEqual([['ALREADY_EXISTS', 'name']]);
  expect(good(await datasets.deleteDataset(owner, id))).toBe(id);
  expect(world.deleted).toContain(id);
  expect(problemsOf(await datasets.deleteDataset(owner, id))).toEqual([['NOT_FOUND', 'id']]);
  expect(await examples.findExamples(owner, [a])).toEqual([]);
  expect(await examples.findExample(owner, a, { version: 1 })).toBe(undefined);
  const again = await world.dataset([draft({ new: true }, {}, { id: a })], name);
  expect(await examples.findExamples(owner, [a])).toMatchObject([
    { datasetId: again, inputs: '{"new":true}' },
  ]);
  expect(problemsOf(await datasets.createDataset(owner, { id, name: `${name} 2` }))).toEqual([
    ['ALREADY_EXISTS', 'id'],
  ]);
});

test('content is hidden from callers without the scope, and other workspaces see nothing', async () => {
  const a = uuid();
  const id = await world.dataset([draft({ secret: 1 }, { secret: 2 }, { id: a, metadata: { m: 1 } })]);
  const blind = principal(owner.workspaceId, ['read']);
  const [row] = await examples.findExamples(blind, [a]);
  expect(row).toMatchObject({ inputs: null, outputs: null, attachments: [], metadata: { m: 1 } });
  const query = {
    datasetId: id,
    pin: 'newest',
    filter: { search: ['secret'] },
    order: 'CREATED_AT',
    direction: 'desc',
    window: { limit: 5, backward: false, boundary: undefined },
  } as const;
  await expect(examples.listExamples(blind, query)).rejects.toMatchObject({ code: 'FORBIDDEN' });
  await expect(examples.countExamples(blind, query, 5)).rejects.toMatchObject({ code: 'FORBIDDEN' });
  await expect(examples.pageExamples(blind, id, 1, { limit: 1 })).rejects.toMatchObject({
    code: 'FORBIDDEN',
  });
  expect(await examples.listExamples(owner, query)).toHaveLength(1);
  const stranger = principal(uuid());
  expect(await examples.findExamples(stranger, [a])).toEqual([]);
  expect(await datasets.findDatasets(stranger, [id])).toEqual([]);
  expect(problemsOf(await examples.createExamples(stranger, id, [draft({})]))).toEqual([
    ['NOT_FOUND', 'datasetId'],
  ]);
  expect(problemsOf(await examples.deleteExamples(stranger, [a]))).toEqual([['NOT_FOUND', 'ids.0']]);
  expect(await datasets.getDataset(owner, id)).toMatchObject({ version: 1 });
});
