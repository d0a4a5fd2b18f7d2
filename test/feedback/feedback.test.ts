import { afterAll, expect, test } from '@jest/globals';
import type { Feedback, FeedbackDraft, FeedbackPatch } from '../../src/feedback/feedback.js';
import type { Result } from '../../src/platform/result.js';
import { createWorld, plantRun, principal, uuid } from './world.js';

const world = await createWorld();
afterAll(() => world.close());

const workspace = uuid();
const caller = principal(workspace);

function valueOf(result: Result<Feedback> | undefined): Feedback {
  if (result?.ok !== true) throw new Error(`refused: ${JSON.stringify(result)}`);
  return result.value;
}

const page = (limit: number) => ({ limit, backward: false, boundary: undefined });

const count = async (where: string, value: unknown): Promise<number> =>
  Number(
    (await world.database.pool.query(`select count(*) from feedback where ${where} = $1`, [value])).rows[0]
      .count,
  );

const feedEntries = async (feedbackId: string): Promise<unknown[]> =>
  (
    await world.database.pool.query(
      `select project_ids, entries from feed where entries::text like '%' || $1 || '%' order by xid, seq`,
      [feedbackId],
    )
  ).rows;

test('feedback on a stored run is filed under its trace and project and published', async () => {
  const root = await plantRun(world.database.pool, workspace, { threadId: 'thread-1' });
  const child = await plantRun(world.database.pool, workspace, { parent: root });
  const before = world.rings.length;
  const [result] = await world.feedback.create(caller, [
    {
      runId: child.id,
      key: 'accuracy',
      score: 0.5,
      comment: 'half right',
      source: { type: 'model', metadata: { v: 2 } },
    },
  ]);
  const stored = valueOf(result);
  expect(stored).toMatchObject({
    runId: child.id,
    traceId: root.id,
    projectId: root.projectId,
    key: 'accuracy',
    score: 0.5,
    value: null,
    comment: 'half right',
    sourceType: 'model',
    source: { type: 'model', metadata: { v: 2 } },
    runStartTime: '2026-11-21 10:00:00.123456+00',
  });
  expect(await feedEntries(stored.id)).toEqual([
    { project_ids: [root.projectId], entries: [['f', 0, child.id, root.id, stored.id]] },
  ]);
  expect(world.rings.slice(before)).toEqual(['feed']);
});

test.each([
  ['on a run alone', {}],
  // Newer clients name the project, and the project alone.
  ['on a run said to be in some project', { projectId: uuid() }],
])(
  'feedback %s may come before it: readers find it at once, upkeep files and publishes it',
  async (_what, said) => {
    const runId = uuid();
    const projectId = uuid();
    const draft = { runId, key: 'early', score: 1, ...said };
    const stored = valueOf((await world.feedback.create(caller, [draft]))[0]);
    expect(stored).toMatchObject({ traceId: null, projectId: null });
    expect(await feedEntries(stored.id)).toEqual([]);
    expect(await world.feedback.list(caller, { projectIds: [projectId] }, page(10))).toEqual([]);

    const run = await plantRun(world.database.pool, workspace, { id: runId, projectId });
    const ids = async (): Promise<string[]> =>
      (await world.feedback.list(caller, { projectIds: [projectId] }, page(10))).map(({ id }) => id);
    expect(await ids()).toEqual([stored.id]);
    expect(
      (await world.feedback.list(caller, { traceId: run.traceId }, page(10))).map(({ id }) => id),
    ).toEqual([stored.id]);
    expect((await world.feedback.statsByProjects(caller, [projectId], 'run')).get(projectId)?.[0]?.n).toBe(1);
    const place = { traceId: run.traceId, projectId };
    expect(await world.feedback.find(caller, [stored.id])).toMatchObject([place]);
    expect(await world.feedback.listByRuns(caller, [runId], page(1))).toMatchObject([place]);

    expect(await world.feedback.attachWaiting()).toBe(1);
    expect(await world.feedback.attachWaiting()).toBe(0);
    expect(await ids()).toEqual([stored.id]);
    expect(await feedEntries(stored.id)).toEqual([
      { project_ids: [projectId], entries: [['f', 0, runId, runId, stored.id]] },
    ]);
    expect((await world.feedback.statsByProjects(caller, [projectId], 'run')).get(projectId)?.[0]?.n).toBe(1);
  },
);

test('runs whose ids name no day are found too', async () => {
  const id = '11111111-2222-4333-8444-555555555555';
  const run = await plantRun(world.database.pool, workspace, { id });
  const stored = valueOf(
    (await world.feedback.create(caller, [{ runId: id.toUpperCase(), key: 'k', score: 1 }]))[0],
  );
  expect(stored).toMatchObject({ runId: id, projectId: run.projectId });
});

test('the same id again is one row, whatever arrives at once', async () => {
  const run = await plantRun(world.database.pool, workspace);
  const id = uuid();
  const results = await Promise.all(
    Array.from({ length: 20 }, () =>
      world.feedback.create(caller, [{ id, runId: run.id, key: 'once', score: 1 }]),
    ),
  );
  expect(results.map(([result]) => valueOf(result).id)).toEqual(Array.from({ length: 20 }, () => id));
  expect(await count('id', id)).toBe(1);
});

test('the same id again merges: what is said wins, what is not said stays', async () => {
  const id = uuid();
  const runId = uuid();
  await world.feedback.create(caller, [
    { id, runId, key: 'merge', score: 0.25, comment: 'first', source: { type: 'model', metadata: { a: 1 } } },
  ]);
  const merged = valueOf(
    (await world.feedback.create(caller, [{ id, key: 'merge', score: 0.75, value: 'later' }]))[0],
  );
  expect(merged).toMatchObject({
    runId,
    score: 0.75,
    value: 'later',
    comment: 'first',
    sourceType: 'model',
    source: { type: 'model', metadata: { a: 1 } },
  });
  const [twice] = await world.feedback.create(caller, [
    { id, key: 'merge', comment: 'a' },
    { id, key: 'merge', comment: 'b' },
  ]);
  expect(valueOf(twice).id).toBe(id);
  expect((await world.feedback.find(caller, [id]))[0]?.comment).toBe('b');
});

test('an id that belongs to other feedback is a conflict and changes nothing', async () => {
  const id = uuid();
  await world.feedback.create(caller, [{ id, runId: uuid(), key: 'mine', score: 1 }]);
  const [before] = await world.feedback.find(caller, [id]);
  const results = await world.feedback.create(caller, [
    { id, key: 'other', score: 0 },
    { runId: uuid(), key: 'neighbour', score: 0 },
  ]);
  expect(results.map((result) => (result.ok ? 'ok' : result.problems[0]?.code))).toEqual(['CONFLICT', 'ok']);
  expect(await world.feedback.find(caller, [id])).toEqual([before]);
  const [moved] = await world.feedback.create(caller, [{ id, runId: uuid(), key: 'mine', score: 0 }]);
  expect(moved?.ok).toBe(false);
});

test('the value of a boolean score goes where the score goes, a value of its own stays', async () => {
  const change = async (
    draft: Pick<FeedbackDraft, 'score' | 'value'>,
    patch: FeedbackPatch,
  ): Promise<unknown[]> => {
    const made = valueOf((await world.feedback.create(caller, [{ runId: uuid(), key: 'k', ...draft }]))[0]);
    const { score, value } = valueOf(await world.feedback.update(caller, made.id, patch));
    return [score, value];
  };
  expect(await change({ score: true }, { score: 0 })).toEqual([0, null]);
  expect(await change({ score: true }, { score: false })).toEqual([0, false]);
  expect(await change({ score: true }, { score: null })).toEqual([null, null]);
  expect(await change({ score: true }, { comment: 'why' })).toEqual([1, true]);
  expect(await change({ score: 1 }, { score: false })).toEqual([0, false]);
  expect(await change({ score: true, value: 'up' }, { score: 0 })).toEqual([0, 'up']);
  expect(await change({ score: 0.3, value: true }, { score: 0.5 })).toEqual([0.5, true]);
});

test('booleans count as 1 and 0 and keep their value', async () => {
  const runId = uuid();
  const results = await world.feedback.create(caller, [
    { runId, key: 'thumbs', score: true },
    { runId, key: 'thumbs', score: false },
    { runId, key: 'thumbs', score: true, value: 'up' },
  ]);
  expect(results.map((result) => [valueOf(result).score, valueOf(result).value])).toEqual([
    [1, true],
    [0, false],
    [1, 'up'],
  ]);
  expect((await world.feedback.statsByRuns(caller, [runId, uuid()])).get(runId)).toEqual([
    {
      key: 'thumbs',
      n: 3,
      avg: 2 / 3,
      stdev: expect.closeTo(Math.sqrt(1 / 3), 12),
      min: 0,
      max: 1,
      comments: 0,
      valueCounts: { true: 1, false: 1, up: 1 },
    },
  ]);
});

test('a write outside its config is refused with what is allowed, and nothing of it is written', async () => {
  const runId = uuid();
  const feedRows = async (): Promise<unknown> =>
    (await world.database.pool.query('select count(*) from feed')).rows;
  await world.configs.create(caller, 'scale', { type: 'continuous', min: 0, max: 1, categories: [] });
  await world.configs.create(caller, 'tone', {
    type: 'categorical',
    min: null,
    max: null,
    categories: [
      { value: 1, label: 'good' },
      { value: 0, label: 'bad' },
    ],
  });
  const before = await feedRows();
  const results = await world.feedback.create(caller, [
    { runId, key: 'scale', score: 1.5 },
    { runId, key: 'tone', value: 'meh' },
    { runId, key: 'tone', score: 2 },
    { runId, key: 'scale', score: 1 },
    { runId, key: 'tone', value: 'good' },
    { runId, key: 'fresh', score: 9, config: { type: 'continuous', min: 0, max: 5, categories: [] } },
    { runId, key: 'broken', score: 9, config: { type: 'continuous', min: 3, max: 2, categories: [] } },
  ]);
  expect(
    results.map((result) =>
      result.ok ? [result.value.score, result.value.value] : result.problems[0]?.message,
    ),
  ).toEqual([
    '"scale" takes a score from 0 to 1; got 1.5.',
    '"tone" takes one of: good (1), bad (0); got "meh".',
    '"tone" takes one of: good (1), bad (0); got 2.',
    [1, null],
    [1, 'good'],
    '"fresh" takes a score from 0 to 5; got 9.',
    'min (3) must not be above max (2).',
  ]);
  expect(await count('run_id', runId)).toBe(2);
  expect(await world.configs.list(caller, { keys: ['fresh', 'broken'] }, page(10))).toEqual([]);
  expect(await feedRows()).toEqual(before);

  const stored = valueOf(results[3]);
  const refused = await world.feedback.update(caller, stored.id, { score: 7 });
  expect(refused.ok).toBe(false);
  expect((await world.feedback.find(caller, [stored.id]))[0]?.score).toBe(1);
});

test('the first use with a config makes it, later ones do not change it', async () => {
  const config = { type: 'continuous', min: 0, max: 10, categories: [] } as const;
  const [first] = await world.feedback.create(caller, [{ key: 'inline', runId: uuid(), score: 10, config }]);
  expect(first?.ok).toBe(true);
  const [second] = await world.feedback.create(caller, [
    { key: 'inline', runId: uuid(), score: 11, config: { ...config, max: 20 } },
  ]);
  expect(second?.ok).toBe(false);
  expect(await world.configs.list(caller, { nameContains: 'INLINE' }, page(10))).toMatchObject([
    { key: 'inline', max: 10 },
  ]);
});

test('text that Postgres cannot keep is replaced, JSON that is too deep or too long is refused', async () => {
  let deep: unknown = 1;
  for (let level = 0; level < 100; level += 1) deep = [deep];
  const results = await world.feedback.create(caller, [
    { key: 'nul\0key', runId: uuid(), comment: 'a\0b\ud800c', value: { 'k\0': ['\udc00'] } },
    { key: 'deep', runId: uuid(), value: deep as never },
    { key: 'x'.repeat(257), runId: uuid() },
    { key: 'long', runId: uuid(), comment: 'x'.repeat(65_537) },
    { key: 'bad', runId: 'not-a-uuid' },
    { key: 'inf', runId: uuid(), score: Number.POSITIVE_INFINITY },
  ]);
  expect(valueOf(results[0])).toMatchObject({
    key: 'nul\u2400key',
    comment: 'a\u2400b\ufffdc',
    value: { 'k\u2400': ['\ufffd'] },
  });
  expect(results.slice(1).map((result) => (result.ok ? 'ok' : result.problems[0]?.message))).toEqual([
    'value is nested deeper than 64 levels.',
    'key must have 1 to 256 characters.',
    'comment may have at most 65536 characters.',
    'runId must be a UUID.',
    'score must be a finite number.',
  ]);
});

test('an update leaves what it does not name, clears with null, and a missing id is a problem', async () => {
  const run = await plantRun(world.database.pool, workspace);
  const { id } = valueOf(
    (
      await world.feedback.create(caller, [
        { runId: run.id, key: 'edit', score: 1, comment: 'c', correction: { x: 1 } },
      ])
    )[0],
  );
  const changed = await world.feedback.update(caller, id, { score: 0.5, comment: null });
  expect(valueOf(changed)).toMatchObject({ score: 0.5, comment: null, correction: { x: 1 } });
  const missing = await world.feedback.update(caller, uuid(), { score: 1 });
  expect(missing).toMatchObject({ ok: false, problems: [{ code: 'NOT_FOUND' }] });
  expect((await world.feedback.delete(caller, [id, uuid()])).map((each) => each.id)).toEqual([id]);
  expect(await count('id', id)).toBe(0);
  expect((await feedEntries(id)).length).toBe(3);
});

test('workspaces do not see or touch each other', async () => {
  const stranger = principal(uuid());
  const run = await plantRun(world.database.pool, workspace);
  const { id } = valueOf(
    (await world.feedback.create(caller, [{ runId: run.id, key: 'private', score: 1 }]))[0],
  );
  expect(await world.feedback.find(stranger, [id])).toEqual([]);
  expect(await world.feedback.list(stranger, { runIds: [run.id] }, page(10))).toEqual([]);
  expect(await world.feedback.statsByRuns(stranger, [run.id])).toEqual(new Map());
  expect((await world.feedback.update(stranger, id, { score: 0 })).ok).toBe(false);
  expect(await world.feedback.delete(stranger, [id])).toEqual([]);
  const foreign = valueOf(
    (await world.feedback.create(stranger, [{ id, runId: run.id, key: 'private', score: 0 }]))[0],
  );
  expect(foreign).toMatchObject({ id, projectId: null, score: 0 });
  expect((await world.feedback.find(caller, [id]))[0]?.score).toBe(1);
});

test('scopes: ingest and write create, write changes, read reads', async () => {
  const only = (scope: 'ingest' | 'write' | 'read') => principal(workspace, [scope]);
  const draft = { runId: uuid(), key: 'scoped', score: 1 };
  await expect(world.feedback.create(only('read'), [draft])).rejects.toMatchObject({ code: 'FORBIDDEN' });
  expect(await count('run_id', draft.runId)).toBe(0);
  const { id } = valueOf((await world.feedback.create(only('ingest'), [draft]))[0]);
  await expect(world.feedback.update(only('ingest'), id, { score: 0 })).rejects.toMatchObject({
    code: 'FORBIDDEN',
  });
  await expect(world.feedback.delete(only('read'), [id])).rejects.toMatchObject({ code: 'FORBIDDEN' });
  await expect(world.feedback.list(only('write'), {}, page(1))).rejects.toMatchObject({
    code: 'FORBIDDEN',
  });
  expect((await world.feedback.update(only('write'), id, { score: 0 })).ok).toBe(true);
  expect((await world.feedback.find(only('read'), [id]))[0]?.score).toBe(0);
});

test('pages are complete and without repeats, by offset and by key', async () => {
  const projectId = uuid();
  await world.feedback.create(
    caller,
    Array.from({ length: 25 }, (_, index) => ({
      projectId,
      key: index % 2 === 0 ? 'even' : 'odd',
      score: index,
    })),
  );
  const filter = { projectIds: [projectId], level: 'session' } as const;
  const all = await world.feedback.list(caller, filter, page(100));
  expect(all.length).toBe(25);
  const seen: string[] = [];
  for (let last: Feedback | undefined; ;) {
    const boundary = last && { value: last.createdAt, id: last.id };
    const rows = await world.feedback.list(caller, filter, { ...page(10), boundary });
    const shown = rows.slice(0, 10);
    seen.push(...shown.map(({ id }) => id));
    last = shown.at(-1);
    if (rows.length <= 10) break;
  }
  expect(seen).toEqual(all.map(({ id }) => id));
  const middle = all[12] as Feedback;
  const boundary = { value: middle.createdAt, id: middle.id };
  const behind = await world.feedback.list(caller, filter, { limit: 3, backward: true, boundary });
  expect(behind.map(({ id }) => id)).toEqual(seen.slice(8, 12).reverse());
  expect(
    (await world.feedback.list(caller, filter, { ...page(10), offset: 20 })).map(({ id }) => id),
  ).toEqual(seen.slice(20));
  expect(await world.feedback.count(caller, { ...filter, keys: ['odd'] }, 100)).toBe(12);
  expect(await world.feedback.count(caller, filter, 7)).toBe(7);
  expect(
    (await world.feedback.statsByProjects(caller, [projectId], 'session'))
      .get(projectId)
      ?.map(({ key, n, avg }) => [key, n, avg]),
  ).toEqual([
    ['even', 13, 12],
    ['odd', 12, 12],
  ]);
});
