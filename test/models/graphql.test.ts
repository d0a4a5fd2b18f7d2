import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { ModelProviderService } from '../../src/models/model-provider.service.js';
import { ModelProviderStore } from '../../src/models/model-provider.store.js';
import { systemClock } from '../../src/platform/clock.js';
import { inWorkspace } from '../../src/platform/db-scope.js';
import { systemIds } from '../../src/platform/ids.js';
import { Vault } from '../../src/platform/vault.js';
import { trustedScope } from '../../src/tenancy/principal.js';
import { addModelProvider } from '../support/model-provider.js';
import { createWorld } from './world.js';
import type { World } from './world.js';

const SECRET = 'sk-very-hush-hush-1234';
const HEADER = 'header-hush-hush';

interface Failure {
  readonly code: string;
  readonly message: string;
  readonly path: readonly string[];
}
interface Payload {
  readonly modelProvider: { readonly uuid: string } | null;
  readonly trial: { readonly answered: boolean } | null;
  readonly errors: readonly Failure[];
}
interface ProviderPage {
  readonly nodes: readonly { readonly id: string; readonly name: string }[];
  readonly pageInfo: { readonly hasNextPage: boolean; readonly endCursor: string };
  readonly totalCount: unknown;
}

let world: World;
beforeAll(async () => {
  world = await createWorld({ server: { secret: SECRET } });
});
afterAll(() => world.close());

const FIELDS = `uuid name kind baseUrl secretHint headerNames maxConcurrency requestsPerMinute timeout
  structuredOutput defaultModel prices { model inputPerMillion outputPerMillion }`;

async function mutate(name: string, input: unknown, select: string, key = world.harness.keys.full.secret) {
  const type = `${name[0]?.toUpperCase() ?? ''}${name.slice(1)}Input`;
  const query = `mutation ($input: ${type}!) { it: ${name}(input: $input) { ${select} errors { code message path } } }`;
  const answer = await world.harness.gql(query, { input }, { key });
  return { answer, it: answer.body.data?.['it'] as Payload };
}
const create = (input: object) => mutate('createModelProvider', input, `modelProvider { ${FIELDS} }`);
const update = (id: string, patch: object) =>
  mutate('updateModelProvider', { id, patch }, `modelProvider { ${FIELDS} }`);
const trial = (id: string, model?: string) =>
  mutate('testModelProvider', { id, model }, 'trial { answered model latency message }');

const settings = (name: string) => ({
  name,
  kind: 'OPENAI_COMPATIBLE',
  baseUrl: world.server.baseUrl,
  secret: SECRET,
  headers: [{ name: 'X-Team', value: HEADER }],
  requestsPerMinute: 600,
  defaultModel: 'fake-1',
  prices: [{ model: 'fake-1', inputPerMillion: '2.50', outputPerMillion: '10' }],
});

test('a provider is made, shown without its secrets, tried out, changed and deleted', async () => {
  const { it } = await create(settings('first'));
  const made = it.modelProvider!;
  expect(made).toEqual({
    uuid: expect.any(String),
    name: 'first',
    kind: 'OPENAI_COMPATIBLE',
    baseUrl: world.server.baseUrl,
    secretHint: '1234',
    headerNames: ['x-team'],
    maxConcurrency: 8,
    requestsPerMinute: 600,
    timeout: 60,
    structuredOutput: 'JSON_SCHEMA',
    defaultModel: 'fake-1',
    prices: [{ model: 'fake-1', inputPerMillion: '2.500000', outputPerMillion: '10.000000' }],
  });
  const tried = await trial(made.uuid);
  expect(tried.it.trial).toEqual({
    answered: true,
    model: 'fake-1',
    latency: expect.any(Number),
    message: null,
  });
  expect(world.server.calls.at(-1)?.headers['x-team']).toBe(HEADER);

  const changed = await update(made.uuid, { requestsPerMinute: null, prices: null, timeout: 5 });
  expect(changed.it.modelProvider).toMatchObject({
    requestsPerMinute: null,
    prices: [],
    timeout: 5,
    secretHint: '1234',
  });
  // What was not named is still there.
  expect((await trial(made.uuid)).it.trial?.answered).toBe(true);

  const { it: deleted } = await mutate('deleteModelProvider', { id: made.uuid }, 'deletedId');
  expect(deleted.errors).toEqual([]);
  expect((await trial(made.uuid)).it.errors[0]?.code).toBe('NOT_FOUND');
});

test('a wrong key is found by trying, and is not shown', async () => {
  const wrong = 'sk-wrong-wrong-wrong-5678';
  const { it } = await create({ ...settings('wrong'), secret: wrong });
  const { it: tried, answer } = await trial(it.modelProvider!.uuid, 'other');
  expect(tried.trial).toEqual({
    answered: false,
    model: 'other',
    latency: null,
    message: 'The provider says 401: Incorrect API key provided.',
  });
  expect(answer.text).not.toContain(wrong);
});

test('a secret is not carried to another host', async () => {
  const { it } = await create(settings('moved'));
  const { uuid } = it.modelProvider!;
  const moved = await update(uuid, { baseUrl: 'https://attacker.example/v1' });
  expect(moved.it).toEqual({
    modelProvider: null,
    errors: [
      {
        code: 'INVALID',
        message: expect.stringContaining('Another host needs the secret anew'),
        path: ['secret'],
      },
      {
        code: 'INVALID',
        message: expect.stringContaining('Another host needs the headers anew'),
        path: ['headers'],
      },
    ],
  });
  const anew = await update(uuid, { baseUrl: 'https://other.example/v1', secret: null, headers: [] });
  expect(anew.it.modelProvider).toMatchObject({
    baseUrl: 'https://other.example/v1',
    secretHint: null,
    headerNames: [],
  });
});

test.each([
  [{ baseUrl: 'http://127.0.0.1/v1' }, 'baseUrl', 'not a public one'],
  [{ baseUrl: 'http://[::1]:8080/v1' }, 'baseUrl', 'ports other than 80 and 443'],
  [{ baseUrl: 'https://user:word@example.com' }, 'baseUrl', 'user name'],
  [{ baseUrl: 'nonsense' }, 'baseUrl', 'not a URL'],
  [{ name: ' ' }, 'name', '1 to 100'],
  [{ maxConcurrency: 0 }, 'maxConcurrency', 'from 1 to 1000'],
  [{ timeout: 0.5 }, 'timeout', '1 to 600 seconds'],
  [{ requestsPerMinute: 0 }, 'requestsPerMinute', 'from 1 to'],
  [{ secret: 'a\nb' }, 'secret', 'printable'],
  [{ headers: [{ name: 'Host', value: 'x' }] }, 'headers', 'cannot be set'],
  [{ headers: [{ name: 'x y', value: 'x' }] }, 'headers', 'no name'],
  [{ headers: [{ name: 'x', value: 'a\r\nb' }] }, 'headers', 'printable'],
  [{ prices: [{ model: 'm', inputPerMillion: '-1', outputPerMillion: '0' }] }, 'prices', 'six decimals'],
  [
    { prices: [1, 2].map(() => ({ model: 'm', inputPerMillion: '1', outputPerMillion: '0' })) },
    'prices',
    'two prices',
  ],
])('%j is refused', async (change, field, message) => {
  const { it } = await create({ ...settings(`refused ${field}`), ...change });
  expect(it.modelProvider).toBeNull();
  expect(it.errors[0]).toMatchObject({ code: 'INVALID', message: expect.stringContaining(message) });
  expect(it.errors[0]?.path[0]).toBe(field);
});

test('a name is taken once in a workspace', async () => {
  await create(settings('taken'));
  expect((await create(settings('taken'))).it.errors[0]?.code).toBe('ALREADY_EXISTS');
});

test('secrets are nowhere in the database', async () => {
  await create(settings('dumped'));
  const { pool } = world.harness.database;
  const { rows: tables } = await pool.query<{ name: string }>(
    `select format('%I.%I', schemaname, tablename) as name from pg_tables where schemaname in ('public', 'bullmq')`,
  );
  expect(tables.length).toBeGreaterThan(20);
  for (const { name } of tables) {
    const { rows } = await pool.query<{ text: string }>(`select t::text as text from ${name} t`);
    const dump = rows.map(({ text }) => text).join('\n');
    for (const secret of [SECRET, HEADER]) {
      expect([name, dump.includes(secret)]).toEqual([name, false]);
      expect([name, dump.includes(Buffer.from(secret).toString('hex'))]).toEqual([name, false]);
    }
  }
});

test('providers are listed newest first, with cursors, and are nodes', async () => {
  const query = `query ($after: String) { modelProviders(first: 2, after: $after) {
    nodes { id name } pageInfo { hasNextPage endCursor } totalCount { value precision } } }`;
  const names: string[] = [];
  let after: string | null = null;
  let id = '';
  for (;;) {
    const { body } = await world.harness.gql(query, { after }, { key: world.harness.keys.only.read.secret });
    const page = body.data?.['modelProviders'] as ProviderPage;
    names.push(...page.nodes.map(({ name }) => name));
    id = page.nodes[0]!.id;
    if (!page.pageInfo.hasNextPage) {
      expect(page.totalCount).toEqual({ value: names.length, precision: 'EXACT' });
      break;
    }
    after = page.pageInfo.endCursor;
  }
  expect(names).toEqual(['dumped', 'taken', 'moved', 'wrong']);
  const { body } = await world.harness.gql(
    'query ($id: ID!) { node(id: $id) { ... on ModelProvider { name } } }',
    { id },
    { key: world.harness.keys.full.secret },
  );
  expect(body.data?.['node']).toEqual({ name: names.at(-2) });
});

test('what was sealed with an older key opens, and is sealed anew when it is used', async () => {
  const { app, database, home } = world.harness;
  const withKeys = (...keys: string[]) =>
    new ModelProviderService({
      pool: app.writes,
      store: new ModelProviderStore(),
      vault: new Vault({ keys }),
      outbound: app.outbound,
      idempotency: app.idempotency,
      ids: systemIds,
      clock: systemClock,
    });
  const [older, newer] = ['o'.repeat(32), 'n'.repeat(32)];
  const scope = trustedScope(home.workspaceId);
  const load = (service: ModelProviderService, id: string) =>
    inWorkspace(home.workspaceId, async () => (await service.forCall(scope, id))?.credentials.secret);
  const stored = async (id: string) =>
    (
      await database.pool.query<{ credentials: string }>(
        'select credentials from model_providers where id = $1',
        [id],
      )
    ).rows[0]?.credentials;

  const id = await addModelProvider({ modelProviders: withKeys(older) }, home, world.server, {
    name: 'rotated',
  });
  const before = await stored(id);
  expect(await load(withKeys(newer, older), id)).toBe('sk-fake-0123456789');
  expect(await stored(id)).not.toBe(before);
  expect(await load(withKeys(newer), id)).toBe('sk-fake-0123456789');
  await expect(load(withKeys(older), id)).rejects.toThrow('is not in TRACEWELL_SECRETS_KEY');

  // Moved into another row, it does not open.
  const other = await addModelProvider({ modelProviders: withKeys(newer) }, home, world.server, {
    name: 'other',
  });
  await database.pool.query('update model_providers set credentials = $2 where id = $1', [
    other,
    await stored(id),
  ]);
  await expect(load(withKeys(newer), other)).rejects.toThrow('changed or belongs elsewhere');
  // A call that needs it fails and says why; nothing is thrown.
  const outcome = await world
    .client({ providers: withKeys(newer) })
    .call(world.request(other), world.context());
  expect(outcome).toMatchObject({ kind: 'failed', code: 'PROVIDER_REFUSED', retryable: false });
});
