/** Documents named by their hash, over HTTP and socket, and callers who may run no others. */
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { createHash } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { createClient } from 'graphql-ws';
import { WebSocket } from 'ws';
import { ConfigError, loadConfig } from '../../src/config.js';
import { loadTrustedDocuments, TrustedDocuments } from '../../src/graphql/trusted-documents.js';
import { startHarness } from '../support/harness.js';
import type { Harness } from '../support/harness.js';

const hash = (text: string): string => createHash('sha256').update(text).digest('hex');
const idOf = (text: string): string => `sha256:${hash(text)}`;

const VIEWER = 'query Viewer { viewer { workspace { uuid } } }';
const NAMED = 'query Named($name: String!) { project(name: $name) { name } }';
const CREATE = 'mutation ($name: String!) { createProject(input: { name: $name }) { project { name } } }';
const LIVE = 'subscription ($project: ID!) { runEvents(project: $project) { __typename } }';
const UNLISTED = '{ viewer { scopes } }';

const folder = mkdtempSync(path.join(tmpdir(), 'documents-'));
const file = path.join(folder, 'manifest.json');
const write = (manifest: unknown): void => writeFileSync(file, JSON.stringify(manifest));
afterAll(() => rmSync(folder, { recursive: true }));

describe('the manifest', () => {
  test('takes hashes with and without their prefix', () => {
    write({ [hash(VIEWER)]: VIEWER, [idOf(NAMED)]: NAMED });
    const loaded = loadTrustedDocuments(file, 'nobody');
    expect([loaded.size, loaded.has(VIEWER), loaded.has(NAMED), loaded.has(UNLISTED)]).toEqual([
      2,
      true,
      true,
      false,
    ]);
  });

  test.each([
    ['a text that was changed', { [hash(VIEWER)]: `${VIEWER} ` }],
    ['a hash in upper case', { [hash(VIEWER).toUpperCase()]: VIEWER }],
    ['a text that is none', { [hash(VIEWER)]: 7 }],
    ['a list', [VIEWER]],
  ])('with %s is refused', (_what, manifest) => {
    write(manifest);
    expect(() => loadTrustedDocuments(file, 'nobody')).toThrow(file);
  });

  test('who requires trusted documents has to bring them', () => {
    expect(() => loadConfig({ TRUSTED_DOCUMENTS_ONLY: 'personal' })).toThrow(ConfigError);
    expect(() => loadConfig({ TRUSTED_DOCUMENTS_ONLY: 'sometimes' })).toThrow(ConfigError);
  });
});

describe('a gateway that holds personal tokens to its documents', () => {
  let harness: Harness;
  let service: string;
  let personal: string;
  beforeAll(async () => {
    write({ [idOf(VIEWER)]: VIEWER, [idOf(NAMED)]: NAMED, [idOf(CREATE)]: CREATE, [idOf(LIVE)]: LIVE });
    const env = { TRUSTED_DOCUMENTS_FILE: file, TRUSTED_DOCUMENTS_ONLY: 'personal' };
    harness = await startHarness({ env });
    const { pool } = harness.database;
    const userId = '019ab000-0000-7000-8000-000000000001';
    await pool.query("insert into users (id, email, name) values ($1, 'u@example.org', 'U')", [userId]);
    await pool.query(
      "insert into organization_members (organization_id, user_id, role) values ($1, $2, 'owner')",
      [harness.home.organizationId, userId],
    );
    service = harness.keys.full.secret;
    personal = (await harness.addKey({ kind: 'personal', userId })).secret;
  }, 60_000);
  afterAll(() => harness.close());

  const post = (body: object, key = service) => harness.http('/graphql', { key, body });
  const codeOf = (body: unknown): unknown =>
    (body as { errors?: { extensions: { code: string } }[] }).errors?.[0]?.extensions.code;

  test('a document is run by its id, with variables, by GET and by POST', async () => {
    const variables = { name: 'default' };
    const byPost = await post({ documentId: idOf(NAMED), operationName: 'Named', variables });
    expect(byPost.body).toMatchObject({ data: { project: { name: 'default' } } });
    const search = new URLSearchParams({ documentId: idOf(NAMED), variables: JSON.stringify(variables) });
    const headers = { 'apollo-require-preflight': '1' };
    const byGet = await harness.http(`/graphql?${search.toString()}`, { key: service, headers });
    expect(byGet.body).toMatchObject({ data: { project: { name: 'default' } } });
  });

  test('a mutation is not run by GET, and no document without the header that keeps other pages out', async () => {
    const search = new URLSearchParams({ documentId: idOf(CREATE), variables: '{"name":"by get"}' });
    const headers = { 'apollo-require-preflight': '1' };
    expect((await harness.http(`/graphql?${search.toString()}`, { key: service, headers })).status).toBe(405);
    expect((await harness.http(`/graphql?${search.toString()}`, { key: service })).status).toBe(400);
    const { rowCount } = await harness.database.pool.query("select from projects where name = 'by get'");
    expect(rowCount).toBe(0);
  });

  test.each([
    ['a hash that is not listed', { documentId: idOf(UNLISTED) }, 'PERSISTED_QUERY_NOT_FOUND'],
    ['a hash without its prefix', { documentId: hash(VIEWER) }, 'PERSISTED_QUERY_NOT_FOUND'],
    ['another kind of id', { documentId: 'x-own:1' }, 'PERSISTED_QUERY_NOT_FOUND'],
    ['an id and a text', { documentId: idOf(VIEWER), query: VIEWER }, 'BAD_USER_INPUT'],
    ['an id that is no text', { documentId: 7 }, 'BAD_USER_INPUT'],
  ])('%s is refused', async (_what, body, code) => {
    const answer = await post(body);
    expect([answer.status, codeOf(answer.body)]).toEqual([400, code]);
    expect((answer.body as { errors: unknown[] }).errors).toHaveLength(1);
    const type = 'application/graphql-response+json';
    const asked = await harness.http('/graphql', { key: service, body, headers: { accept: type } });
    expect([asked.status, asked.headers.get('content-type')]).toEqual([400, `${type}; charset=utf-8`]);
  });

  test('a personal token runs trusted documents, by id and as text, and no others', async () => {
    const where = { viewer: { workspace: { uuid: harness.home.workspaceId } } };
    expect((await post({ documentId: idOf(VIEWER) }, personal)).body).toMatchObject({ data: where });
    expect((await post({ query: VIEWER }, personal)).body).toMatchObject({ data: where });
    const refused = await post({ query: UNLISTED }, personal);
    expect([refused.status, codeOf(refused.body)]).toEqual([403, 'FORBIDDEN']);
    expect((await post({ query: UNLISTED })).body).toMatchObject({ data: { viewer: {} } });
  });

  test('sockets take ids as well, and hold personal tokens to them', async () => {
    const { rows } = await harness.database.pool.query<{ id: string }>('select id from projects limit 1');
    const variables = { project: rows[0]?.id };
    const first = async (key: string, payload: object): Promise<unknown> => {
      const client = createClient({
        url: harness.socketUrl,
        webSocketImpl: WebSocket,
        connectionParams: { 'x-api-key': key },
        retryAttempts: 0,
      });
      try {
        return await new Promise((resolve, reject) => {
          client.subscribe(
            { query: '', ...payload },
            {
              next: resolve,
              error: reject,
              complete: () => reject(new Error('over')),
            },
          );
        });
      } finally {
        await client.dispose();
      }
    };
    for (const key of [service, personal]) {
      expect(await first(key, { documentId: idOf(LIVE), variables })).toHaveProperty('data.runEvents');
    }
    await expect(first(service, { documentId: idOf(UNLISTED) })).rejects.toMatchObject([
      { extensions: { code: 'PERSISTED_QUERY_NOT_FOUND' } },
    ]);
    const unlisted = { query: LIVE.replace('__typename', 'a: __typename'), variables };
    expect(await first(service, unlisted)).toHaveProperty('data.runEvents');
    await expect(first(personal, unlisted)).rejects.toMatchObject([{ extensions: { code: 'FORBIDDEN' } }]);
  });

  test('a socket message without any query is answered, not cut off', async () => {
    const { rows } = await harness.database.pool.query<{ id: string }>('select id from projects limit 1');
    const socket = new WebSocket(harness.socketUrl, 'graphql-transport-ws');
    const messages: Record<string, unknown>[] = [];
    await new Promise<void>((resolve, reject) => {
      socket.on('open', () => {
        socket.send(JSON.stringify({ type: 'connection_init', payload: { 'x-api-key': service } }));
      });
      socket.on('message', (data: Buffer) => {
        const message = JSON.parse(data.toString()) as Record<string, unknown>;
        messages.push(message);
        if (message['type'] === 'connection_ack') {
          const payload = { documentId: idOf(LIVE), variables: { project: rows[0]?.id } };
          socket.send(JSON.stringify({ id: 'one', type: 'subscribe', payload }));
        } else resolve();
      });
      socket.on('close', (code) => reject(new Error(`closed with ${code}`)));
      socket.on('error', reject);
    });
    socket.removeAllListeners('close');
    socket.terminate();
    expect(messages.map(({ type }) => type)).toEqual(['connection_ack', 'next']);
  });
});

test('policies say who is held to the documents', () => {
  const person = { kind: 'personal' } as never;
  const machine = { kind: 'service' } as never;
  const held = (policy: 'nobody' | 'personal' | 'everybody') =>
    [undefined, machine, person].map((who) => new TrustedDocuments(new Map(), policy).isRequiredFor(who));
  expect(held('nobody')).toEqual([false, false, false]);
  expect(held('personal')).toEqual([false, false, true]);
  expect(held('everybody')).toEqual([true, true, true]);
});
