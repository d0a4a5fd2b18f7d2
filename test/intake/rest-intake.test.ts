/** Run intake over REST into the real write path: the protocol's shapes, and every nasty value beside good neighbours. */
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { gzipSync } from 'node:zlib';
import { v7 } from 'uuid';
import { dottedSegment } from '../../src/ingest/dotted-order.js';
import { NOTES_KEY } from '../../src/ingest/limits.js';
import { createTestDatabase } from '../support/database.js';
import type { TestDatabase } from '../support/database.js';
import { json, startEdge } from '../http/edge.js';
import type { Edge } from '../http/edge.js';
import type { JsonValue } from '../../src/ingest/run-event.js';
import { storedFrame } from '../http/zstd-frames.js';

let database: TestDatabase;
let edge: Edge;
beforeAll(async () => {
  database = await createTestDatabase();
  edge = await startEdge({ database });
});
afterAll(async () => {
  await edge.close();
  await database.drop();
});

interface StoredRun {
  id: string;
  name: string;
  status: string;
  trace_id: string;
  parent_run_id: string | null;
  start: string;
  inputs: string | null;
  outputs: string | null;
  events: string | null;
  error: string | null;
  tags: string[];
  metadata: string;
  extra: string;
  attachments: unknown;
}

async function stored(id: string): Promise<StoredRun | undefined> {
  const { rows } = await database.pool.query<StoredRun>(
    `select id, name, status, trace_id, parent_run_id, start_time::text as start, inputs::text, outputs::text, events::text, error, tags,
            metadata::text, extra::text, attachments
     from runs where workspace_id = $1 and id = $2`,
    [edge.workspaceId, id],
  );
  return rows[0];
}

interface Answer {
  accepted: number;
  refused: { id: string | null; field: string | null; message: string }[];
  detail?: string;
}

async function post(path: string, init: RequestInit): Promise<{ status: number; answer: Answer }> {
  const response = await edge.fetch(path, init);
  return { status: response.status, answer: (await response.json()) as Answer };
}

const root = (id: string, more: Record<string, unknown> = {}): Record<string, unknown> => ({
  id,
  trace_id: id,
  dotted_order: dottedSegment(Date.now() * 1_000, id),
  name: 'root',
  run_type: 'chain',
  session_name: 'intake',
  ...more,
});

const BOUNDARY = '----LangSmithFormBoundary2dbl18dsbah';

function multipart(parts: readonly [name: string, content: string | Buffer, type?: string][]): Buffer {
  const pieces = parts.flatMap(([name, content, type = 'application/json']) => [
    Buffer.from(
      `--${BOUNDARY}\r\nContent-Disposition: form-data; name="${name}"\r\nContent-Type: ${type}; length=${content.length}\r\n\r\n`,
    ),
    Buffer.from(content),
    Buffer.from('\r\n'),
  ]);
  return Buffer.concat([...pieces, Buffer.from(`--${BOUNDARY}--\r\n`)]);
}

const form = (body: Buffer, encoding?: string): RequestInit => ({
  method: 'POST',
  headers: {
    'content-type': `multipart/form-data; boundary=${BOUNDARY}`,
    ...(encoding === undefined ? {} : { 'content-encoding': encoding }),
  },
  body,
});

test('the body an SDK sends for one nested call is stored field by field', async () => {
  const [outer, inner] = [v7(), v7()];
  const segment = `20261120T233321141001Z${outer}`;
  const { status, answer } = await post(
    '/runs/multipart',
    form(
      multipart([
        [
          `post.${outer}`,
          `{"session_name":"wire-probe","id":"${outer}","name":"outer-chain","start_time":"2026-11-20T23:33:21.141001Z","end_time":1795217601213,"run_type":"chain","child_runs":[],"trace_id":"${outer}","dotted_order":"${segment}","tags":[]}`,
        ],
        [`post.${outer}.inputs`, '{ "who": "bob", "n": 12345678901234567890 }'],
        [`post.${outer}.outputs`, '{"reply":"hi bob"}'],
        [`post.${outer}.extra`, '{"metadata":{"thread_id":"thr-1"},"runtime":{"sdk":"langsmith-js"}}'],
        [`post.${outer}.serialized`, '{}'],
        [
          `post.${inner}`,
          JSON.stringify({
            id: inner,
            name: 'inner',
            run_type: 'tool',
            trace_id: outer,
            dotted_order: `${segment}.20261120T233321142002Z${inner}`,
          }),
        ],
        [`post.${inner}.error`, '"Error: kaput"'],
        [`post.${inner}.events`, '[{"name":"new_token","time":"2026-11-20T23:33:21.213Z"}]'],
      ]),
    ),
  );
  expect({ status, answer }).toEqual({
    status: 202,
    answer: { message: 'Runs accepted.', accepted: 2, refused: [] },
  });
  expect(await stored(outer)).toMatchObject({
    name: 'outer-chain',
    status: 'success',
    start: '2026-11-20 23:33:21.141001+00',
    inputs: '{ "who": "bob", "n": 12345678901234567890 }',
    metadata: '{"thread_id":"thr-1"}',
    extra: '{"runtime":{"sdk":"langsmith-js"}}',
    parent_run_id: null,
  });
  expect(await stored(inner)).toMatchObject({
    status: 'error',
    error: 'Error: kaput',
    parent_run_id: outer,
    trace_id: outer,
    start: '2026-11-20 23:33:21.142002+00',
  });
});

test.each(['', '/api', '/api/v1'])('POST and PATCH work one by one under "%s"', async (prefix) => {
  const id = v7();
  expect(
    (await post(`${prefix}/runs`, json(root(id, { inputs: { z: 1 }, start_time: 1795217602348 })))).status,
  ).toBe(202);
  expect((await stored(id))?.status).toBe('pending');
  const patched = await post(`${prefix}/runs/${id}/`, {
    ...json({ outputs: { ok: true }, end_time: 1795217602354, error: null, tags: [] }),
    method: 'PATCH',
  });
  expect(patched.status).toBe(202);
  expect(await stored(id)).toMatchObject({
    status: 'success',
    inputs: '{"z":1}',
    outputs: '{"ok":true}',
    start: '2026-11-20 23:33:22.348+00',
  });
});

test('a run without id gets one, and a place', async () => {
  const { answer } = await post(
    '/runs',
    json({ name: 'anonymous', run_type: 'tool', session_name: 'intake' }),
  );
  expect(answer.accepted).toBe(1);
  const { rows } = await database.pool.query<{ ok: boolean }>(
    `select trace_id = id and dotted_order like '%Z' || id as ok from runs where workspace_id = $1 and name = 'anonymous'`,
    [edge.workspaceId],
  );
  expect(rows).toEqual([{ ok: true }]);
});

test('posts and patches of one body make one run, in gzip and zstd, patches first', async () => {
  for (const [encoding, encode] of [
    ['gzip', gzipSync],
    ['zstd', storedFrame],
  ] as const) {
    const id = v7();
    const body = multipart([
      [`patch.${id}`, JSON.stringify({ id, trace_id: id, end_time: Date.now(), tags: [] })],
      [`patch.${id}.outputs`, '{"done":true}'],
      [`post.${id}`, JSON.stringify(root(id, { outputs: {} }))],
    ]);
    expect((await post('/runs/multipart', form(encode(body), encoding))).status).toBe(202);
    expect(await stored(id)).toMatchObject({ name: 'root', status: 'success', outputs: '{"done":true}' });
  }
});

test('a batch of posts and patches is stored, twice without a difference', async () => {
  const [a, b] = [v7(), v7()];
  const body = json({
    post: [root(a, { name: 'a' })],
    patch: [root(b, { name: 'b', end_time: Date.now() })],
  });
  for (let time = 0; time < 2; time += 1) {
    expect((await post('/runs/batch', body)).answer).toEqual({
      message: 'Runs accepted.',
      accepted: 2,
      refused: [],
    });
  }
  expect([(await stored(a))?.name, (await stored(b))?.name]).toEqual(['a', 'b']);
});

test('an empty batch is accepted', async () => {
  expect((await post('/runs/batch', json({ post: [], patch: [] }))).status).toBe(202);
  expect((await post('/runs/multipart', form(multipart([])))).status).toBe(202);
});

const REFUSED: [string, string, Record<string, unknown>][] = [
  ['an unknown run type', 'run_type', { run_type: 'banana' }],
  ['a time that is none', 'start_time', { start_time: 'soon' }],
  ['a year of six digits', 'end_time', { end_time: '+100000-01-01T00:00:00Z' }],
  ['a foreign trace', 'trace_id', { trace_id: v7() }],
  ['a foreign dotted order', 'dotted_order', { dotted_order: dottedSegment(0, v7()), trace_id: null }],
  ['a project by half an id', 'session_id', { session_id: '1234' }],
  ['tags that are no list', 'tags', { tags: 'a,b' }],
  ['extra that is no object', 'extra', { extra: [1] }],
];

test.each(REFUSED)('of 100 runs, the one with %s is refused by name', async (_what, field, bad) => {
  const ids = Array.from({ length: 100 }, () => v7());
  const runs = ids.map((id, index) => root(id, index === 41 ? bad : {}));
  const { status, answer } = await post('/runs/batch', json({ post: runs }));
  expect([status, answer.accepted]).toEqual([202, 99]);
  expect(answer.refused).toEqual([{ id: ids[41], field, message: expect.any(String) }]);
  const { rows } = await database.pool.query<{ count: string }>(
    'select count(*) from runs where workspace_id = $1 and id = any($2)',
    [edge.workspaceId, ids],
  );
  expect(rows[0]?.count).toBe('99');
});

const NASTY: [string, string, (run: StoredRun) => unknown, unknown][] = [
  ['NUL', '"a\\u0000b"', (run) => run.inputs, '{"v":"a\\u2400b"}'],
  ['a lone surrogate', '"\\ud800"', (run) => run.inputs, '{"v":"\\ufffd"}'],
  ['emoji in escapes', '"\\ud83d\\ude00"', (run) => run.inputs, '{"v":"\\ud83d\\ude00"}'],
  [
    'numbers beyond doubles',
    '[1e400,12345678901234567890]',
    (run) => run.inputs,
    '{"v":[1e400,12345678901234567890]}',
  ],
  [
    'NaN and Infinity',
    '[NaN,-Infinity,"NaN"]',
    (run) => [run.inputs, run.extra],
    ['{"v":[null,null,"NaN"]}', `{"${NOTES_KEY}":["inputs: NaN and Infinity are no JSON, stored as null"]}`],
  ],
  ['__proto__', '{"__proto__":{"x":1}}', (run) => run.inputs, '{"v":{"__proto__":{"x":1}}}'],
  [
    '600 levels',
    '['.repeat(600) + ']'.repeat(600),
    (run) => JSON.parse(run.inputs ?? ''),
    `{"v":${'['.repeat(600)}${']'.repeat(600)}}`,
  ],
  [
    '100,000 levels',
    '['.repeat(100_000) + ']'.repeat(100_000),
    (run) => JSON.parse(run.extra),
    { [NOTES_KEY]: ['inputs: nested deeper than 512 levels, stored as text'] },
  ],
];

test.each(NASTY)(
  'a payload with %s is stored and its neighbours too',
  async (_what, text, read, expected) => {
    const [good, nasty] = [v7(), v7()];
    const { status, answer } = await post(
      '/runs/multipart',
      form(
        multipart([
          [`post.${nasty}`, JSON.stringify(root(nasty))],
          [`post.${nasty}.inputs`, `{"v":${text}}`],
          [`post.${good}`, JSON.stringify(root(good))],
        ]),
      ),
    );
    expect([status, answer.accepted, answer.refused]).toEqual([202, 2, []]);
    const run = await stored(nasty);
    expect(run === undefined ? undefined : read(run)).toEqual(expected);
    expect(await stored(good)).toBeDefined();
    // What is stored can be looked into.
    await database.pool.query(
      `select inputs ->> 'v', inputs::jsonb from runs where workspace_id = $1 and id = $2 and octet_length(inputs::text) < 100000`,
      [edge.workspaceId, nasty],
    );
  },
);

test.each(NASTY)('the same with %s inside a JSON batch', async (what, text) => {
  const [good, nasty] = [v7(), v7()];
  const run = JSON.stringify(
    root(nasty, { inputs: 'HERE', extra: { metadata: { nasty: 'HERE' } } }),
  ).replaceAll('"HERE"', `{"v":${text}}`);
  const { status, answer } = await post('/runs/batch', {
    ...json({}),
    body: `{"post":[${JSON.stringify(root(good))},${run}]}`,
  });
  expect([status, answer.accepted, answer.refused]).toEqual([202, 2, []]);
  expect(await stored(nasty)).toBeDefined();
  // Only the run that had them is told of numbers that are none.
  expect((await stored(good))?.extra).toBe('{}');
  if (what.startsWith('NaN')) expect((await stored(nasty))?.extra).toContain(NOTES_KEY);
});

test('NUL and surrogates in names, tags, errors and keys are replaced', async () => {
  const id = v7();
  const body = JSON.stringify({
    post: [root(id, { name: 'a\0b', tags: ['t\0'], error: '\ud800', extra: { metadata: { 'k\0': '\0' } } })],
  });
  expect((await post('/runs/batch', { ...json({}), body })).status).toBe(202);
  expect(await stored(id)).toMatchObject({
    name: 'a\u2400b',
    tags: ['t\u2400'],
    error: '\ufffd',
    metadata: '{"k\u2400":"\u2400"}',
  });
});

test('a broken part refuses its run by field, its neighbours are kept', async () => {
  const [good, broken, binary] = [v7(), v7(), v7()];
  const { status, answer } = await post(
    '/runs/multipart',
    form(
      multipart([
        [`post.${broken}`, JSON.stringify(root(broken))],
        [`post.${broken}.outputs`, '{"a":'],
        [`post.${binary}`, JSON.stringify(root(binary))],
        [`post.${binary}.inputs`, Buffer.from([0x22, 0xff, 0x22])],
        [`post.${good}`, JSON.stringify(root(good))],
        ['nonsense', '{}'],
      ]),
    ),
  );
  expect([status, answer.accepted]).toEqual([202, 1]);
  expect(answer.refused.map(({ id, field }) => [id, field])).toEqual([
    [null, 'nonsense'],
    [broken, 'outputs'],
    [binary, 'inputs'],
  ]);
  expect([await stored(broken), (await stored(good))?.name]).toEqual([undefined, 'root']);
});

test('a request of which nothing can be stored is 422 and names the first item', async () => {
  const id = v7();
  const { status, answer } = await post('/runs', json(root(id, { run_type: 'banana' })));
  expect(status).toBe(422);
  expect(answer.detail).toBe(
    `${id} (run_type): run_type must be one of tool, chain, llm, retriever, embedding, prompt, parser.`,
  );
  expect(await stored(id)).toBeUndefined();
});

test.each([
  ['/runs', '[]'],
  ['/runs', 'null'],
  ['/runs', '{"name":'],
  ['/runs/batch', '{"post":{}}'],
  ['/runs/batch', '7'],
])('POST %s with the body %s is 400', async (path, body) => {
  expect((await post(path, { ...json({}), body })).status).toBe(400);
});

test('a thousand items are taken, one more is 413', async () => {
  const runs = (count: number): RequestInit =>
    json({ post: Array.from({ length: count }, () => root(v7())) });
  expect((await post('/runs/batch', runs(1_000))).answer.accepted).toBe(1_000);
  expect((await post('/runs/batch', runs(1_001))).status).toBe(413);
});

test.each(['inputs', 'outputs', 'events', 'serialized', 'extra', 'error'] as const)(
  '20 MB of %s are stored whole',
  async (field) => {
    const id = v7();
    const text = 'x'.repeat(20 * 1024 * 1024);
    const content = field === 'events' ? [{ name: 'n', text }] : field === 'error' ? text : { text };
    const { status, answer } = await post(
      '/runs/multipart',
      form(
        multipart([
          [`post.${id}`, JSON.stringify(root(id))],
          [`post.${id}.${field}`, JSON.stringify(content)],
        ]),
      ),
    );
    expect([status, answer.refused]).toEqual([202, []]);
    const { rows } = await database.pool.query<{ size: number }>(
      `select length(${field}::text)::int as size from runs where workspace_id = $1 and id = $2`,
      [edge.workspaceId, id],
    );
    expect(rows[0]?.size).toBe(field === 'error' ? text.length : JSON.stringify(content).length);
  },
);

test('feedback that comes along is handed on with its id', async () => {
  const [run, feedback] = [v7(), v7()];
  const { status } = await post(
    '/runs/multipart',
    form(
      multipart([
        [`post.${run}`, JSON.stringify(root(run))],
        [`feedback.${feedback}`, JSON.stringify({ run_id: run, trace_id: run, key: 'quality', score: 1 })],
      ]),
    ),
  );
  expect(status).toBe(202);
  expect(edge.feedback).toEqual([{ id: feedback, run_id: run, trace_id: run, key: 'quality', score: 1 }]);
});

test('values that never were text are cleaned and refused alike', async () => {
  const [good, deep, bad] = [v7(), v7(), v7()];
  let levels: JsonValue = 'bottom';
  for (let level = 0; level < 60_000; level += 1) levels = [levels];
  const outcome = await edge.intake.ingestWire(
    edge.principal,
    {
      post: [
        { id: good, name: 'a\0b', run_type: 'chain', inputs: { v: '\ud800' } },
        { id: deep, name: 'deep', run_type: 'chain', inputs: { levels } },
      ],
      patch: [{ id: bad, end_time: 'never' }],
    },
    'graphql',
  );
  expect(outcome).toEqual({
    accepted: [good, deep],
    refused: [{ id: bad, field: 'end_time', message: expect.any(String) }],
  });
  expect(await stored(good)).toMatchObject({ name: 'a\u2400b', inputs: '{"v":"\ufffd"}' });
  expect(JSON.parse((await stored(deep))?.inputs ?? '')).toMatch(/^\{"levels":\[{60000}"bottom"/);
});

test('a key without the scope may not write', async () => {
  const response = await edge.fetch('/runs', { ...json(root(v7())), key: 'reader' });
  expect([response.status, await response.json()]).toEqual([
    403,
    expect.objectContaining({ error: 'FORBIDDEN', missingScope: 'ingest' }),
  ]);
});

test('a database that cannot be reached is 503, and nothing is acknowledged', async () => {
  const broken = await startEdge({
    database,
    sink: { write: () => Promise.reject(Object.assign(new Error('lost'), { code: 'ECONNRESET' })) },
  });
  const response = await broken.fetch('/runs', json(root(v7())));
  expect([response.status, response.headers.get('retry-after')]).toEqual([503, '10']);
  expect((await broken.metrics.ingestShed.get()).values).toEqual([
    { labels: { reason: 'database' }, value: 1 },
  ]);
  await broken.close();
});
