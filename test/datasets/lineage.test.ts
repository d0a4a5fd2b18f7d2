/** Examples made of runs, copies of datasets, links to them, files they carry, and what a deleted dataset leaves. */
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { randomUUID } from 'node:crypto';
import { v7 } from 'uuid';
import { DatasetCleanup } from '../../src/datasets/dataset-cleanup.js';
import type { Principal } from '../../src/tenancy/principal.js';
import { inWorkspace } from '../../src/platform/db-scope.js';
import { startHarness } from '../support/harness.js';
import type { Harness } from '../support/harness.js';
import { draft, good, principal } from './world.js';

let harness: Harness;
let owner: Principal;
beforeAll(async () => {
  harness = await startHarness();
  owner = principal(harness.home.workspaceId);
}, 60_000);
afterAll(() => harness.close());

/** The services as they are called by a request of the workspace. */
const own = <T>(work: () => Promise<T>): Promise<T> => inWorkspace(owner.workspaceId, work);

async function sendRun(fields: object = {}, file?: string): Promise<string> {
  const id = v7();
  const run = {
    id,
    trace_id: id,
    name: 'answer',
    run_type: 'chain',
    session_name: 'lineage',
    start_time: new Date().toISOString(),
    end_time: new Date().toISOString(),
    inputs: { question: 'Why?', noise: [1, 2] },
    outputs: { answer: 'Because.' },
    extra: { metadata: { topic: 'reasons' } },
    ...fields,
  };
  const form = new FormData();
  form.append(`post.${id}`, new Blob([JSON.stringify(run)], { type: 'application/json' }));
  if (file !== undefined) form.append(`attachment.${id}.notes`, new Blob([file], { type: 'text/plain' }));
  const key = harness.keys.full.secret;
  const { status, text } = await harness.http('/runs/multipart', { key, body: form });
  if (status !== 202) throw new Error(text);
  return id;
}

const newDataset = async (name = randomUUID() as string): Promise<string> =>
  good(await own(() => harness.app.datasets.createDataset(owner, { name }))).uuid;

const count = async (table: string, where = 'true'): Promise<number> => {
  const { rows } = await harness.database.pool.query<{ n: string }>(
    `select count(*) as n from ${table} where workspace_id = $1 and ${where}`,
    [owner.workspaceId],
  );
  return Number(rows[0]?.n);
};

test('an example takes the parts of a run that are named, keeps the run and its files, and the run knows it', async () => {
  const run = await sendRun({}, 'what was noted');
  const datasetId = await newDataset();
  const mapping = {
    inputs: [
      { from: '/inputs/question', to: 'q' },
      { from: '/inputs/noise/1', to: 'second' },
    ],
    metadata: [{ from: '/metadata/topic', to: 'topic' }],
  };
  const { lineage, examples } = harness.app;
  const preview = await own(() => lineage.preview(owner, [run], mapping));
  expect(preview.get(run)).toMatchObject({ draft: { inputs: { text: '{"q":"Why?","second":2}' } } });
  const request = { runIds: [run], mapping, withAttachments: true };
  const write = good(await own(() => lineage.createFromRuns(owner, datasetId, request)));
  const [example] = await own(() => examples.findExamples(owner, write.exampleIds));
  expect(example).toMatchObject({
    inputs: '{"q":"Why?","second":2}',
    outputs: '{"answer":"Because."}',
    metadata: { topic: 'reasons' },
    sourceRunId: run,
    attachments: [{ name: 'notes', mimeType: 'text/plain', size: 14 }],
  });
  const again = { ...request, skipExisting: true };
  expect(good(await own(() => lineage.createFromRuns(owner, datasetId, again)))).toMatchObject({
    made: false,
  });

  const { body } = await harness.gql(
    `{ run(id: "${run}") { examples { id datasetId attachments { url } dataset { name } } } }`,
    {},
    { key: harness.keys.full.secret },
  );
  const shown = (body.data?.['run'] as { examples: { attachments: { url: string }[] }[] }).examples;
  expect(shown).toHaveLength(1);
  // What was copied stays when its source goes.
  await harness.database.pool.query('delete from attachments where run_id = $1', [run]);
  const file = await fetch(new URL(shown[0]?.attachments[0]?.url ?? '', harness.url));
  expect([file.status, await file.text()]).toEqual([200, 'what was noted']);

  const missing = { runIds: [run], mapping: { inputs: [{ from: '/inputs/nothing', to: 'x' }] } };
  expect(await own(() => lineage.createFromRuns(owner, datasetId, missing))).toMatchObject({
    ok: false,
    problems: [{ code: 'INVALID', message: `Run ${run} has no /inputs/nothing.`, path: ['runIds', '0'] }],
  });
  expect(await own(() => lineage.createFromRuns(owner, datasetId, { runIds: [v7()] }))).toMatchObject({
    ok: false,
    problems: [{ code: 'NOT_FOUND' }],
  });
});

test('two calls at once that leave out what is there make one example of each run', async () => {
  const runIds = [await sendRun({}, 'one file'), await sendRun(), await sendRun()];
  const { lineage } = harness.app;
  for (let round = 0; round < 5; round += 1) {
    const datasetId = await newDataset();
    const files = await count('attachments');
    const request = { runIds, withAttachments: true, skipExisting: true };
    const writes = await Promise.all(
      [1, 2, 3].map(async () => good(await own(() => lineage.createFromRuns(owner, datasetId, request)))),
    );
    expect(writes.map(({ made }) => made).sort()).toEqual([false, false, true]);
    expect(await count('examples', `dataset_id = '${datasetId}'`)).toBe(3);
    expect(await count('attachments')).toBe(files + 1);
  }
});

test('a clone has its own ids and files, and outlives what it was cloned from', async () => {
  const run = await sendRun({}, 'bytes');
  const source = await newDataset();
  const { lineage, examples, datasets } = harness.app;
  good(await own(() => lineage.createFromRuns(owner, source, { runIds: [run], withAttachments: true })));
  good(
    await own(() => examples.createExamples(owner, source, [draft({ later: true }, {}, { splits: ['s'] })])),
  );
  const name = `clone ${randomUUID()}`;
  const request = { sourceId: source, asOf: { version: 1 }, target: { name } };
  const { dataset, outcome } = good(await own(() => lineage.cloneDataset(owner, request)));
  expect(dataset).toMatchObject({ name, version: 1, exampleCount: 1 });
  expect(outcome.made?.note).toBe(`cloned from ${source} version 1`);
  expect(await own(() => lineage.cloneDataset(owner, request))).toMatchObject({
    ok: false,
    problems: [{ code: 'ALREADY_EXISTS' }],
  });
  const more = { sourceId: source, splits: ['s'], target: { datasetId: dataset.uuid } };
  expect(good(await own(() => lineage.cloneDataset(owner, more))).dataset).toMatchObject({
    version: 2,
    exampleCount: 2,
  });

  good(await own(() => datasets.deleteDataset(owner, source)));
  const cleanup = new DatasetCleanup({ pool: harness.app.writes, clock: harness.app.clock });
  const told: number[] = [];
  const target = { workspaceId: owner.workspaceId, datasetId: source };
  const signal = new AbortController().signal;
  expect(await own(() => cleanup.removeRows(target, signal, (done) => told.push(done)))).toBe(2);
  expect(told).toEqual([2]);
  for (const table of ['examples', 'example_owners', 'dataset_versions', 'dataset_tags', 'dataset_imports']) {
    expect([table, await count(table, `dataset_id = '${source}'`)]).toEqual([table, 0]);
  }
  const [copy] = await own(() => examples.pageExamples(owner, dataset.uuid, 1, { limit: 10 }));
  const { chunks } = await own(() =>
    harness.app.exports.exportDataset(owner, dataset.uuid, { format: 'jsonl', asOf: { version: 1 } }),
  );
  let text = '';
  for await (const chunk of chunks) text += chunk;
  expect(JSON.parse(text)).toMatchObject({
    id: copy?.uuid,
    attachments: [{ name: 'notes', mime_type: 'text/plain', size: 5 }],
  });
  const [attachment] = copy?.attachments ?? [];
  const path = harness.app.attachments.presign(
    { workspaceId: owner.workspaceId } as never,
    attachment?.id ?? '',
    attachment?.name ?? '',
  );
  const file = await fetch(`${harness.url}${path}`);
  expect([file.status, await file.text()]).toEqual([200, 'bytes']);
  // The name and the id of a dataset whose rows are gone can be used again.
  good(await own(() => datasets.createDataset(owner, { id: source, name: randomUUID() })));

  const files = await count('attachments', `run_id = '${attachment?.id ?? ''}'`);
  good(await own(() => examples.deleteExamples(owner, [copy?.uuid ?? ''], { hard: true })));
  expect([files, await count('attachments', `run_id = '${attachment?.id ?? ''}'`)]).toEqual([1, 0]);
});

test('a rename keeps the file readable under both names, and operations say what stays', async () => {
  const run = await sendRun({}, 'kept');
  const datasetId = await newDataset();
  const { lineage, examples } = harness.app;
  const made = good(
    await own(() => lineage.createFromRuns(owner, datasetId, { runIds: [run], withAttachments: true })),
  );
  const [id = ''] = made.exampleIds;
  const change = async (operations: object) =>
    own(() => examples.updateExamples(owner, datasetId, [{ id, operations }]));
  expect(await change({ rename: { notes: 'b' }, retain: ['notes'] })).toMatchObject({ ok: false });
  expect(await change({ rename: { notes: 'b' }, retain: ['b'] })).toMatchObject({ ok: false });
  good(await change({ rename: { notes: 'renamed' } }));
  for (const [version, name] of [
    [1, 'notes'],
    [2, 'renamed'],
  ] as const) {
    const [row] = await own(() => examples.pageExamples(owner, datasetId, version, { limit: 1 }));
    expect(row?.attachments.map((one) => one.name)).toEqual([name]);
    const path = harness.app.attachments.presign(
      { workspaceId: owner.workspaceId } as never,
      row?.attachments[0]?.id ?? '',
      name,
    );
    expect(await (await fetch(`${harness.url}${path}`)).text()).toBe('kept');
  }
  good(await change({ retain: [] }));
  const [bare] = await own(() => examples.pageExamples(owner, datasetId, 3, { limit: 1 }));
  expect(bare?.attachments).toEqual([]);
});

test('preference pairs are what was asked, what a correction says and what was answered', async () => {
  const datasetId = await newDataset();
  const { examples, exports } = harness.app;
  const { exampleIds } = good(
    await own(() => examples.createExamples(owner, datasetId, [draft({ question: 'Why?' })])),
  );
  const run = await sendRun({ reference_example_id: exampleIds[0] });
  await sendRun({ reference_example_id: exampleIds[0] });
  const body = { run_id: run, key: 'right', score: 0, correction: { answer: 'Therefore.' } };
  const say = async (said: object): Promise<void> => {
    const { status } = await harness.http('/feedback', { key: harness.keys.full.secret, body: said });
    expect(status).toBe(200);
  };
  await say(body);
  // Newer scores do not crowd it out.
  for (let n = 0; n < 25; n += 1) await say({ run_id: run, key: `score ${n}`, score: 1 });
  const pair = (text: string) => ({
    prompt: [{ role: 'user', content: 'Why?' }],
    chosen: [{ role: 'assistant', content: text }],
    rejected: [{ role: 'assistant', content: 'Because.' }],
  });
  const read = async (): Promise<unknown[]> => {
    const file = await own(() => exports.exportDataset(owner, datasetId, { format: 'preferences' }));
    const lines: string[] = [];
    for await (const chunk of file.chunks) lines.push(...chunk.trim().split('\n'));
    return lines.map((line) => JSON.parse(line) as unknown);
  };
  expect(await read()).toEqual([pair('Therefore.')]);
  for (let n = 0; n < 45; n += 1) {
    await say({ run_id: run, key: 'right', score: 0, correction: { answer: `Reason ${n}.` } });
  }
  const all = [...Array.from({ length: 45 }, (_, n) => pair(`Reason ${44 - n}.`)), pair('Therefore.')];
  expect(await read()).toEqual(all);
});

test('a link shows one dataset until it is taken back', async () => {
  const datasetId = await newDataset();
  const { datasetShares: shares } = harness.app;
  const share = good(await own(() => shares.share(owner, datasetId)));
  expect(good(await own(() => shares.share(owner, datasetId))).token).toBe(share.token);
  const opened = await shares.open(share.token, async ({ share: { datasetId: id }, principal: holder }) =>
    harness.app.datasets.getDataset(holder, id),
  );
  expect(opened.uuid).toBe(datasetId);
  expect(await own(() => shares.unshare(owner, datasetId))).toBe(true);
  await expect(shares.open(share.token, async () => true)).rejects.toMatchObject({ code: 'NOT_FOUND' });
  await expect(shares.open('nonsense', async () => true)).rejects.toMatchObject({ code: 'NOT_FOUND' });
});

test('what imports left behind goes by its age', async () => {
  const { pool } = harness.database;
  const old = '01000000-0000-7000-8000-000000000000';
  const datasetId = await newDataset();
  await pool.query(
    `insert into example_stage (workspace_id, stage_id, position, id, name, inputs, metadata, splits, inputs_hash, content_hash, created_at)
     select $1, s::uuid, 1, gen_random_uuid(), 'x', '{}', '{}', '{base}', '', '', now() from unnest($2::text[]) s`,
    [owner.workspaceId, [old, v7()]],
  );
  await pool.query(
    `insert into import_rejects (workspace_id, import_id, row, dataset_id, content, problems, created_at)
     select $1, gen_random_uuid(), 1, $2, '', '[]', now() - days * interval '1 day' from unnest(array[29, 31]) days`,
    [owner.workspaceId, datasetId],
  );
  const cleanup = new DatasetCleanup({ pool: harness.app.writes, clock: harness.app.clock });
  expect(await cleanup.sweep(new AbortController().signal)).toBe(2);
  expect([await count('example_stage'), await count('import_rejects')]).toEqual([1, 1]);
  await pool.query('delete from example_stage');
});
