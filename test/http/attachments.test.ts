/** Attachments: taken in with runs, read back by link, bounded in number and size. */
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { createHash, randomBytes } from 'node:crypto';
import fc from 'fast-check';
import { v7 } from 'uuid';
import { linkKey, makeToken, readToken } from '../../src/attachments/attachment-link.js';
import { CHUNK_BYTES } from '../../src/attachments/attachment.js';
import { trustedScope } from '../../src/tenancy/principal.js';
import { createTestDatabase } from '../support/database.js';
import type { TestDatabase } from '../support/database.js';
import { startEdge } from './edge.js';
import type { Edge } from './edge.js';

let database: TestDatabase;
let edge: Edge;
let nowMs = Date.now();
beforeAll(async () => {
  database = await createTestDatabase();
  edge = await startEdge({ database, clock: { now: () => new Date(nowMs) } });
});
afterAll(async () => {
  await edge.close();
  await database.drop();
});

interface Answer {
  accepted: number;
  refused: { id: string; field: string }[];
}

/** A run of its own with these attachments, in one request. */
async function send(
  runId: string,
  files: Record<string, Buffer>,
  type = 'image/png',
): Promise<{ status: number; answer: Answer }> {
  const form = new FormData();
  form.set(
    `post.${runId}`,
    new Blob([JSON.stringify({ id: runId, trace_id: runId, name: 'files', run_type: 'tool' })]),
  );
  for (const [name, data] of Object.entries(files)) {
    form.append(`attachment.${runId}.${name}`, new Blob([data], { type }));
  }
  const response = await edge.fetch('/runs/multipart', { method: 'POST', body: form });
  return { status: response.status, answer: (await response.json()) as Answer };
}

async function listed(runId: string): Promise<unknown> {
  const { rows } = await database.pool.query<{ attachments: unknown }>(
    'select attachments from runs where workspace_id = $1 and id = $2',
    [edge.workspaceId, runId],
  );
  return rows[0]?.attachments;
}

async function chunkCount(): Promise<number> {
  const { rows } = await database.pool.query<{ count: number }>(
    'select count(*)::int as count from attachment_chunks',
  );
  return rows[0]?.count ?? -1;
}

const link = (runId: string, name: string): string =>
  edge.attachments.presign(trustedScope(edge.workspaceId), runId, name);
const sha = (data: Uint8Array): string => createHash('sha256').update(data).digest('hex');
const MB = 1024 * 1024;

test.each([0, 1, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1, 3 * CHUNK_BYTES, 10 * MB + 7])(
  '%d bytes come back as they were',
  async (size) => {
    const run = v7();
    const data = randomBytes(size);
    expect(await send(run, { 'pic.png': data })).toMatchObject({
      status: 202,
      answer: { accepted: 1, refused: [] },
    });
    expect(await listed(run)).toEqual([{ name: 'pic.png', mimeType: 'image/png', size }]);
    const response = await edge.fetch(link(run, 'pic.png'), { key: undefined });
    expect(sha(new Uint8Array(await response.arrayBuffer()))).toBe(sha(data));
    expect(Object.fromEntries(response.headers)).toMatchObject({
      'content-type': 'image/png',
      'content-length': String(size),
      'content-disposition': `attachment; filename="pic.png"; filename*=UTF-8''pic.png`,
      'x-content-type-options': 'nosniff',
      'content-security-policy': "sandbox; default-src 'none'",
    });
  },
);

test('a script stays a download, and a name with any characters is told', async () => {
  const run = v7();
  await send(run, { 'ü "x".html': Buffer.from('<script>alert(1)</script>') }, 'text/html; charset=utf-8');
  const response = await edge.fetch(link(run, 'ü "x".html'), { key: undefined });
  expect([response.headers.get('content-type'), response.headers.get('content-disposition')]).toEqual([
    'text/html',
    `attachment; filename="_ _x_.html"; filename*=UTF-8''%C3%BC%20%22x%22.html`,
  ]);
});

test('the same name again replaces, and nothing of the old one stays', async () => {
  const run = v7();
  const before = await chunkCount();
  await send(run, { log: randomBytes(3 * CHUNK_BYTES) }, 'text/plain');
  await send(run, { log: Buffer.from('second') }, 'text/plain');
  const response = await edge.fetch(link(run, 'log'), { key: undefined });
  expect(await response.text()).toBe('second');
  expect((await chunkCount()) - before).toBe(1);
});

test('twenty attachments are kept, the next is refused, in one request and over two', async () => {
  const run = v7();
  const files = (count: number, prefix: string): Record<string, Buffer> =>
    Object.fromEntries(Array.from({ length: count }, (_, index) => [`${prefix}${index}`, Buffer.from('x')]));
  const first = await send(run, files(21, 'a'));
  expect([first.status, first.answer.accepted, first.answer.refused]).toEqual([
    202,
    1,
    [{ id: run, field: 'attachment.a20', message: expect.stringContaining('the run itself is kept') }],
  ]);
  const second = await send(run, { ...files(1, 'b'), a0: Buffer.from('again') });
  expect(second.answer.refused).toEqual([expect.objectContaining({ id: run, field: 'attachment.b0' })]);
  const { rows } = await database.pool.query<{ count: number }>(
    'select count(*)::int as count from attachments where run_id = $1',
    [run],
  );
  expect(rows[0]?.count).toBe(20);
});

test('50 MB are kept, one byte more is refused and leaves nothing behind', async () => {
  const run = v7();
  const before = await chunkCount();
  const { status, answer } = await send(run, {
    whole: Buffer.alloc(50 * MB, 1),
    over: Buffer.alloc(50 * MB + 1, 2),
  });
  expect([status, answer.accepted, answer.refused.map(({ field }) => field)]).toEqual([
    202,
    1,
    ['attachment.over'],
  ]);
  expect((await chunkCount()) - before).toBe(200);
  expect(await listed(run)).toEqual([{ name: 'whole', mimeType: 'image/png', size: 50 * MB }]);
});

test('a body that breaks off leaves nothing behind', async () => {
  const run = v7();
  const before = await chunkCount();
  const head = `--b\r\nContent-Disposition: form-data; name="attachment.${run}.half"\r\n\r\n`;
  const response = await edge.fetch('/runs/multipart', {
    method: 'POST',
    headers: { 'content-type': 'multipart/form-data; boundary=b' },
    body: Buffer.concat([Buffer.from(head), Buffer.alloc(MB)]),
  });
  expect([response.status, await chunkCount()]).toEqual([400, before]);
});

test('an attachment for a run this request says nothing else about is an update of it', async () => {
  const run = v7();
  await send(run, {});
  const form = new FormData();
  form.append(`attachment.${run}.later`, new Blob(['late'], { type: 'text/plain' }));
  expect((await edge.fetch('/runs/multipart', { method: 'POST', body: form })).status).toBe(202);
  expect(await listed(run)).toEqual([{ name: 'later', mimeType: 'text/plain', size: 4 }]);
});

test('links that are forged, altered or expired are 401, what is not there is 404', async () => {
  const run = v7();
  await send(run, { note: Buffer.from('hello') });
  const good = link(run, 'note');
  const altered = good.slice(0, -1) + (good.endsWith('A') ? 'B' : 'A');
  const status = async (path: string): Promise<number> => (await edge.fetch(path, { key: undefined })).status;
  const foreign = edge.attachments.presign(trustedScope(v7()), run, 'note');
  expect([
    await status(good),
    await status(altered),
    await status('/attachments/x'),
    await status(link(run, 'nothing')),
    await status(foreign),
  ]).toEqual([200, 401, 401, 404, 404]);
  nowMs += 3_601_000;
  expect(await status(good)).toBe(401);
});

test('a token says what went into it and survives no changed bit', () => {
  const key = linkKey('pepper');
  fc.assert(
    fc.property(
      fc.uuid(),
      fc.uuid(),
      fc.string({ unit: 'grapheme', maxLength: 200 }),
      fc.integer({ min: 1, max: 2 ** 40 }),
      fc.nat(),
      (workspaceId, runId, name, expiresAt, at) => {
        const target = { workspaceId, runId, name, expiresAt };
        const token = makeToken(key, target);
        expect(readToken(key, token, expiresAt)).toEqual(target);
        expect(readToken(key, token, expiresAt + 1)).toBeUndefined();
        const bytes = Buffer.from(token, 'base64url');
        bytes.writeUInt8(bytes.readUInt8(at % bytes.length) ^ 1, at % bytes.length);
        expect(readToken(key, bytes.toString('base64url'), 0)).toBeUndefined();
      },
    ),
  );
});

test('a refused run leaves no attachment behind, its neighbour and what was there before keep theirs', async () => {
  const [refused, broken, stored] = [v7(), v7(), v7()];
  await send(stored, { log: Buffer.from('before') }, 'text/plain');
  const before = await chunkCount();
  const form = new FormData();
  const post = (id: string, fields: object): Blob =>
    new Blob([JSON.stringify({ id, trace_id: id, name: 'files', run_type: 'tool', ...fields })]);
  form.set(`post.${refused}`, post(refused, { dotted_order: 'nonsense' }));
  form.set(`post.${broken}`, new Blob(['{']));
  form.set(`patch.${stored}`, post(stored, { dotted_order: 'nonsense' }));
  for (const id of [refused, broken, stored]) {
    form.append(`attachment.${id}.log`, new Blob([randomBytes(2 * CHUNK_BYTES)], { type: 'text/plain' }));
  }
  const response = await edge.fetch('/runs/multipart', { method: 'POST', body: form });
  expect(response.status).toBe(422);
  const { rows } = await database.pool.query(
    'select run_id as id from attachments where run_id = any($1::uuid[])',
    [[refused, broken, stored]],
  );
  expect(rows).toEqual([{ id: stored }]);
  // Two chunks of the stored run's in place of the one it had.
  expect((await chunkCount()) - before).toBe(1);
});

test('a body that cannot be read to its end leaves no attachment behind', async () => {
  const run = v7();
  const before = await chunkCount();
  const part = (name: string, text: string): string =>
    `--b\r\nContent-Disposition: form-data; name="${name}"\r\n\r\n${text}\r\n`;
  const response = await edge.fetch('/runs/multipart', {
    method: 'POST',
    headers: { 'content-type': 'multipart/form-data; boundary=b' },
    body: `${part(`attachment.${run}.a`, 'whole')}${part(`attachment.${run}.b`, 'cut off')}`,
  });
  expect(response.status).toBe(400);
  const { rows } = await database.pool.query('select from attachments where run_id = $1', [run]);
  expect([rows.length, (await chunkCount()) - before]).toEqual([0, 0]);
});
