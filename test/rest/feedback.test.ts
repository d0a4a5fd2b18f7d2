/* eslint-disable @typescript-eslint/no-deprecated -- what applications in the field still call */
import { afterAll, expect, test } from '@jest/globals';
import type { Feedback } from 'langsmith/schemas';
import { v7 } from 'uuid';
import { startGateway, uuid } from './gateway.js';

const gateway = await startGateway();
afterAll(() => gateway.close());
const client = gateway.client();

async function collect<T>(items: AsyncIterable<T>): Promise<T[]> {
  const all: T[] = [];
  for await (const item of items) all.push(item);
  return all;
}

const stored = async (where: string, value: unknown): Promise<number> =>
  Number(
    (await gateway.database.pool.query(`select count(*) from feedback where ${where} = $1`, [value])).rows[0]
      .count,
  );

test('the SDK creates, lists, reads, changes and deletes feedback', async () => {
  const runId = v7();
  const sourceRun = uuid();
  const created = await client.createFeedback(runId, 'accuracy', {
    score: 0.123456,
    value: 'good',
    comment: 'c',
    correction: { x: 1 },
    sourceInfo: { s: 1 },
    feedbackSourceType: 'model',
    sourceRunId: sourceRun,
    feedbackConfig: { type: 'continuous', min: 0, max: 1 },
  });
  const read = await client.readFeedback(created.id);
  expect(read).toMatchObject({
    id: created.id,
    run_id: runId,
    trace_id: null,
    key: 'accuracy',
    score: 0.1235,
    value: 'good',
    comment: 'c',
    correction: { x: 1 },
    feedback_source: { type: 'model', metadata: { s: 1, __run: { run_id: sourceRun } } },
  });
  expect(Object.keys(read)).toEqual(
    expect.arrayContaining(['created_at', 'modified_at', 'session_id', 'is_root']),
  );

  const listed = await collect(
    client.listFeedback({ runIds: [runId], feedbackKeys: ['accuracy'], feedbackSourceTypes: ['model'] }),
  );
  expect(listed).toEqual([read]);
  expect(await collect(client.listFeedback({ runIds: [runId], feedbackSourceTypes: ['api'] }))).toEqual([]);

  await client.updateFeedback(created.id, { score: 1, comment: 'better' });
  const changed = await client.readFeedback(created.id);
  expect(changed).toMatchObject({ score: 1, comment: 'better', value: 'good', correction: { x: 1 } });

  await client.deleteFeedback(created.id);
  await expect(client.readFeedback(created.id)).rejects.toThrow(/not found/);
  expect(await stored('id', created.id)).toBe(0);
});

test('a score outside its config is answered 422 with what is allowed, and nothing is written', async () => {
  const runId = v7();
  await client.createFeedbackConfig({
    feedbackKey: 'bounded',
    feedbackConfig: { type: 'continuous', min: 0, max: 1 },
  });
  await expect(client.createFeedback(runId, 'bounded', { score: 2 })).rejects.toThrow(
    /422.*\\?"bounded\\?" takes a score from 0 to 1; got 2/,
  );
  expect(await stored('run_id', runId)).toBe(0);
});

test('the SDK lists more feedback than a page holds, each once', async () => {
  const runId = v7();
  for (let index = 0; index < 3; index += 1) {
    await Promise.all(Array.from({ length: 45 }, () => client.createFeedback(runId, 'many', { score: 1 })));
  }
  const listed: Feedback[] = await collect(client.listFeedback({ runIds: [runId] }));
  expect(listed.length).toBe(135);
  expect(new Set(listed.map(({ id }) => id)).size).toBe(135);
});

test('feedback configs: created once, the same again is the same, another is 400, changed, listed, deleted', async () => {
  const config = {
    type: 'categorical' as const,
    categories: [
      { value: 1, label: 'yes' },
      { value: 0, label: 'no' },
    ],
  };
  const created = await client.createFeedbackConfig({ feedbackKey: 'sdk-cat', feedbackConfig: config });
  expect(created).toMatchObject({
    feedback_key: 'sdk-cat',
    feedback_config: config,
    tenant_id: gateway.workspaceId,
    is_lower_score_better: false,
  });
  expect(await client.createFeedbackConfig({ feedbackKey: 'sdk-cat', feedbackConfig: config })).toEqual(
    created,
  );
  await expect(
    client.createFeedbackConfig({ feedbackKey: 'sdk-cat', feedbackConfig: { type: 'freeform' } }),
  ).rejects.toThrow(/400/);
  expect(await client.updateFeedbackConfig('sdk-cat', { isLowerScoreBetter: true })).toMatchObject({
    feedback_config: config,
    is_lower_score_better: true,
  });
  expect(
    (await collect(client.listFeedbackConfigs({ feedbackKeys: ['sdk-cat'] }))).map(
      ({ feedback_key }) => feedback_key,
    ),
  ).toEqual(['sdk-cat']);
  await client.deleteFeedbackConfig('sdk-cat');
  expect(await collect(client.listFeedbackConfigs({ feedbackKeys: ['sdk-cat'] }))).toEqual([]);
  await expect(client.updateFeedbackConfig('sdk-cat', { isLowerScoreBetter: false })).rejects.toThrow(/404/);
});

test('a token lets a browser leave feedback without a key, each use for itself', async () => {
  const runId = v7();
  const token = await client.createPresignedFeedbackToken(runId, 'thumbs', { expiration: { hours: 2 } });
  expect(token.url).toMatch(new RegExp(`^${gateway.url}/feedback/tokens/[0-9a-f-]{36}$`));
  const path = new URL(token.url).pathname;
  expect(
    (await gateway.fetchWith(undefined, path, { body: { score: 1, comment: 'nice', metadata: { page: 3 } } }))
      .status,
  ).toBe(200);
  expect((await gateway.fetchWith(undefined, `${path}?score=0`)).status).toBe(200);
  const listed = await collect(client.listFeedback({ runIds: [runId] }));
  expect(listed.map(({ score, key }) => [key, score]).sort()).toEqual([
    ['thumbs', 0],
    ['thumbs', 1],
  ]);
  expect(
    listed.map((each) => (each as unknown as { feedback_source: { type: string } }).feedback_source.type),
  ).toEqual(['app', 'app']);
  expect((await collect(client.listPresignedFeedbackTokens(runId))).map(({ id }) => id)).toEqual([token.id]);
  const unknown = await gateway.fetchWith(undefined, `/feedback/tokens/${uuid()}`, { body: { score: 1 } });
  expect([unknown.status, unknown.body.detail]).toEqual([404, 'Feedback token not found or expired.']);
  await gateway.database.pool.query(`update feedback_tokens set expires_at = now() where run_id = $1`, [
    runId,
  ]);
  expect((await gateway.fetchWith(undefined, path, { body: { score: 1 } })).status).toBe(404);
  expect(await stored('run_id', runId)).toBe(2);
});

test('feedback that comes inside a batch of runs is stored with it', async () => {
  const runId = v7();
  const start = new Date().toISOString();
  const run = {
    id: runId,
    trace_id: runId,
    dotted_order: `${start.replace(/[-:.]/g, '').replace('Z', '000Z')}${runId}`,
    name: 'r',
    run_type: 'chain',
    start_time: start,
    session_name: 'batched',
  };
  const id = v7();
  const form = new FormData();
  const part = (value: unknown): Blob => new Blob([JSON.stringify(value)], { type: 'application/json' });
  form.append(`post.${runId}`, part(run));
  form.append(`feedback.${id}`, part({ id, run_id: runId, trace_id: runId, key: 'inside', score: true }));
  form.append(`feedback.${uuid()}`, part({ run_id: runId, trace_id: runId, key: 'refused', score: 'high' }));
  const answer = await fetch(`${gateway.url}/runs/multipart`, {
    method: 'POST',
    headers: { 'x-api-key': gateway.apiKey },
    body: form,
  });
  expect(answer.status).toBeLessThan(300);
  const read = await client.readFeedback(id);
  expect(read).toMatchObject({ id, run_id: runId, trace_id: runId, score: 1, value: true, is_root: true });
  expect((read as unknown as { session_id: string }).session_id).toMatch(/^[0-9a-f-]{36}$/);
  expect(await stored('run_id', runId)).toBe(1);
});

test('another workspace neither sees nor changes it, and a key that may only read cannot write', async () => {
  const created = await client.createFeedback(v7(), 'mine', { score: 1 });
  const stranger = gateway.client(await gateway.addStranger());
  await expect(stranger.readFeedback(created.id)).rejects.toThrow(/404/);
  await expect(stranger.updateFeedback(created.id, { score: 0 })).rejects.toThrow(/404/);
  await expect(stranger.deleteFeedback(created.id)).rejects.toThrow(/404/);
  const reader = await gateway.addKey(['read']);
  const refused = await gateway.fetchWith(reader, '/feedback', {
    body: { key: 'k', run_id: v7(), score: 1 },
  });
  expect(refused.status).toBe(403);
  expect((await client.readFeedback(created.id)).score).toBe(1);
});

test('bodies and parameters that make no sense are answered 422 and name the field', async () => {
  const answers = await Promise.all([
    gateway.fetch('/feedback', { body: { run_id: v7(), score: 1 } }),
    gateway.fetch('/feedback', { body: { key: 'k', run_id: 'nope' } }),
    gateway.fetch('/feedback?limit=5000'),
    gateway.fetch('/feedback?run=nope'),
    gateway.fetch('/feedback?has_score=perhaps'),
    gateway.fetch('/feedback/tokens', { body: { run_id: v7() } }),
  ]);
  expect(answers.map(({ status, body }) => [status, String(body.detail).split(/[: ]/)[0]])).toEqual([
    [422, 'key'],
    [422, 'run_id'],
    [422, 'limit'],
    [422, 'run'],
    [422, 'has_score'],
    [422, 'feedback_key'],
  ]);
});
