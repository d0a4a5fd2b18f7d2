import { afterAll, expect, test } from '@jest/globals';
import { graphql, printSchema } from 'graphql';
import { createContext } from '../../src/graphql/context.js';
import { Cursors } from '../../src/graphql/cursor.js';
import { toGlobalId } from '../../src/graphql/global-id.js';
import { NodeResolver, NodeTypes } from '../../src/graphql/node.resolver.js';
import { buildTracewellSchema } from '../../src/graphql/schema.js';
import { ApiKeyResolver, apiKeyNodes } from '../../src/tenancy/api-key.resolver.js';
import { MemberResolver } from '../../src/tenancy/member.resolver.js';
import type { Principal } from '../../src/tenancy/principal.js';
import { ViewerResolver } from '../../src/tenancy/viewer.resolver.js';
import { WorkspaceResolver, workspaceNodes } from '../../src/tenancy/workspace.resolver.js';
import { createTenancyWorld, credentials, principalOf } from './world.js';

const world = await createTenancyWorld();
afterAll(() => world.close());

const services = { keys: world.keyService, members: world.memberService, workspaces: world.workspaceService };
const cursors = new Cursors({ key: 'a key for cursors in tests' });
const nodeTypes = new NodeTypes()
  .register('ApiKey', apiKeyNodes(services.keys))
  .register('Workspace', workspaceNodes(services.workspaces));
const schema = buildTracewellSchema(
  [
    new NodeResolver({ nodeTypes }),
    new ViewerResolver(services),
    new ApiKeyResolver({ ...services, cursors }),
    new WorkspaceResolver({ ...services, cursors }),
    new MemberResolver({ ...services, cursors }),
  ],
  [NodeResolver, ViewerResolver, ApiKeyResolver, WorkspaceResolver, MemberResolver],
);
const authenticator = world.authenticator();
const caller = await authenticator.authenticate(credentials(world.apiKey));

/** What JSON.parse gives: the assertions say what is in it. */
type Data = Record<string, ReturnType<typeof JSON.parse>>;

interface Answer {
  readonly data?: Data | null;
  readonly errors?: readonly { readonly message: string; readonly originalError?: unknown }[];
}

async function run(
  source: string,
  input?: object,
  principal: Principal | undefined = caller,
): Promise<Answer> {
  const contextValue = createContext({ principal, signal: new AbortController().signal, requestId: 'test' });
  return await graphql({ schema, source, contextValue, variableValues: { input } });
}

/** The data of an operation that has no errors at the top. */
async function data(source: string, input?: object, principal?: Principal): Promise<Data> {
  const { data: value, errors } = await run(source, input, principal);
  expect(errors).toBeUndefined();
  return JSON.parse(JSON.stringify(value)) as Data;
}

const ERRORS = 'errors { code message path retryable }';

test('the viewer is the key, where it belongs and what it may do', async () => {
  const { viewer } = await data(`{ viewer {
    scopes
    key { id name hint kind reach workspaceId userId scopes expiresAt revokedAt }
    user { email }
    organization { id name }
    workspace { id uuid name handle createdAt }
    workspaces { handle }
  } }`);
  const everything = ['INGEST', 'READ', 'CONTENT', 'WRITE', 'ADMIN'];
  expect(viewer).toEqual({
    scopes: everything,
    key: {
      id: toGlobalId('ApiKey', caller.keyId),
      name: 'Initial key',
      hint: `lsv2_sk_…${world.apiKey.slice(-4)}`,
      kind: 'SERVICE',
      reach: 'WORKSPACE',
      workspaceId: toGlobalId('Workspace', world.workspaceId),
      userId: null,
      scopes: everything,
      expiresAt: null,
      revokedAt: null,
    },
    user: null,
    organization: { id: toGlobalId('Organization', world.organizationId), name: 'default' },
    workspace: {
      id: toGlobalId('Workspace', world.workspaceId),
      uuid: world.workspaceId,
      name: 'default',
      handle: 'default',
      createdAt: '2026-11-21T10:00:00.000Z',
    },
    workspaces: [{ handle: 'default' }],
  });
});

test('a key is made, used, changed, rotated and revoked', async () => {
  const created = await data(
    `mutation ($input: CreateApiKeyInput!) { createApiKey(input: $input) { secret apiKey { id name expiresAt scopes } ${ERRORS} } }`,
    { name: 'ci', scopes: ['INGEST', 'READ'], expiresAt: '2030-01-01T02:00:00+02:00' },
  );
  const { secret, apiKey, errors } = created['createApiKey'];
  expect(errors).toEqual([]);
  expect(apiKey).toEqual({
    id: expect.any(String),
    name: 'ci',
    expiresAt: '2030-01-01T00:00:00.000Z',
    scopes: ['INGEST', 'READ'],
  });
  const principal = await authenticator.authenticate(credentials(secret));
  expect([...principal.scopes]).toEqual(['ingest', 'read']);
  const { viewer } = await data('{ viewer { scopes workspace { handle } } }', undefined, principal);
  expect(viewer).toEqual({ scopes: ['INGEST', 'READ'], workspace: { handle: 'default' } });

  const updated = await data(
    `mutation ($input: UpdateApiKeyInput!) { updateApiKey(input: $input) { apiKey { name expiresAt scopes } ${ERRORS} } }`,
    { id: apiKey.id, patch: { scopes: ['READ'], expiresAt: null, name: null } },
  );
  expect(updated['updateApiKey']).toEqual({
    apiKey: { name: 'ci', expiresAt: null, scopes: ['READ'] },
    errors: [],
  });

  const rotated = await data(
    `mutation ($input: RotateApiKeyInput!) { rotateApiKey(input: $input) { secret apiKey { previousSecretExpiresAt } ${ERRORS} } }`,
    { id: apiKey.id },
  );
  expect(rotated['rotateApiKey'].apiKey.previousSecretExpiresAt).toBe('2026-11-21T11:00:00.000Z');
  expect(rotated['rotateApiKey'].secret).not.toBe(secret);

  const revoked = await data(
    `mutation ($input: RevokeApiKeyInput!) { revokeApiKey(input: $input) { apiKey { revokedAt } ${ERRORS} } }`,
    { id: apiKey.id },
  );
  expect(revoked['revokeApiKey']).toEqual({ apiKey: { revokedAt: '2026-11-21T10:00:00.000Z' }, errors: [] });
  const refused = await data(
    `mutation ($input: UpdateApiKeyInput!) { updateApiKey(input: $input) { apiKey { name } ${ERRORS} } }`,
    { id: apiKey.id, patch: { name: 'again' } },
  );
  expect(refused['updateApiKey']).toEqual({
    apiKey: null,
    errors: [{ code: 'CONFLICT', message: 'This key was revoked.', path: ['id'], retryable: false }],
  });
});

test('keys are paged with cursors and counted', async () => {
  for (let n = 0; n < 3; n += 1) await world.addKey();
  const page =
    '{ nodes { id } edges { cursor node { id } } pageInfo { hasNextPage endCursor } totalCount { value precision } }';
  const { apiKeys: all } = await data(`{ apiKeys(first: 100) ${page} }`);
  const total = all.nodes.length as number;
  expect(all.totalCount).toEqual({ value: total, precision: 'EXACT' });
  const seen: string[] = [];
  let after: string | null = null;
  do {
    const cursor: string = after === null ? '' : `, after: "${after}"`;
    const { apiKeys: one } = await data(`{ apiKeys(first: 2${cursor}) ${page} }`);
    seen.push(...(one.nodes as { id: string }[]).map(({ id }) => id));
    after = one.pageInfo.hasNextPage === true ? (one.pageInfo.endCursor as string) : null;
  } while (after !== null);
  expect(seen).toEqual((all.nodes as { id: string }[]).map(({ id }) => id));
});

test('workspaces are made, changed and deleted', async () => {
  const created = await data(
    `mutation ($input: CreateWorkspaceInput!) { createWorkspace(input: $input) { workspace { id uuid handle } ${ERRORS} } }`,
    { name: 'Second team' },
  );
  const { workspace } = created['createWorkspace'];
  expect(workspace.handle).toBe('second-team');
  const taken = await data(
    `mutation ($input: UpdateWorkspaceInput!) { updateWorkspace(input: $input) { workspace { id } ${ERRORS} } }`,
    { id: workspace.id, patch: { handle: 'default' } },
  );
  expect(taken['updateWorkspace']).toEqual({
    workspace: null,
    errors: [
      {
        code: 'ALREADY_EXISTS',
        message: 'This handle is taken; choose another one.',
        path: ['patch', 'handle'],
        retryable: false,
      },
    ],
  });
  const { workspaces } = await data('{ workspaces(last: 1) { nodes { handle } totalCount { value } } }');
  expect(workspaces).toEqual({ nodes: [{ handle: 'second-team' }], totalCount: { value: 2 } });
  const { nodes } = await data(
    `{ nodes(ids: ["${workspace.id}", "${toGlobalId('ApiKey', caller.keyId)}", "${toGlobalId('Workspace', caller.keyId)}"]) {
      __typename id uuid ... on Workspace { handle } ... on ApiKey { name }
    } }`,
  );
  expect(nodes).toEqual([
    { __typename: 'Workspace', id: workspace.id, uuid: workspace.uuid, handle: 'second-team' },
    { __typename: 'ApiKey', id: toGlobalId('ApiKey', caller.keyId), uuid: caller.keyId, name: 'Initial key' },
    null,
  ]);
  const remove = `mutation ($input: DeleteWorkspaceInput!) { deleteWorkspace(input: $input) { deletedWorkspaceId ${ERRORS} } }`;
  expect((await data(remove, { id: workspace.id }))['deleteWorkspace']).toEqual({
    deletedWorkspaceId: workspace.id,
    errors: [],
  });
  const last = await data(remove, { id: world.workspaceId });
  expect(last['deleteWorkspace'].errors).toMatchObject([{ code: 'CONFLICT', path: ['id'] }]);
});

test('members are added, given roles, listed and removed', async () => {
  const added = await data(
    `mutation ($input: AddWorkspaceMemberInput!) { addWorkspaceMember(input: $input) { member { user { id email name } role organizationRole } ${ERRORS} } }`,
    { email: 'grace@example.org', role: 'EDITOR', name: 'Grace' },
  );
  const { member } = added['addWorkspaceMember'];
  expect(member).toEqual({
    user: { id: expect.any(String), email: 'grace@example.org', name: 'Grace' },
    role: 'EDITOR',
    organizationRole: 'MEMBER',
  });
  const userId = member.user.id as string;
  const updated = await data(
    `mutation ($input: UpdateWorkspaceMemberInput!) { updateWorkspaceMember(input: $input) { member { role } ${ERRORS} } }`,
    { userId, role: 'VIEWER' },
  );
  expect(updated['updateWorkspaceMember']).toEqual({ member: { role: 'VIEWER' }, errors: [] });
  const { workspaceMembers } = await data(
    '{ workspaceMembers(first: 1) { nodes { role user { email } } pageInfo { hasNextPage } } }',
  );
  expect(workspaceMembers).toEqual({
    nodes: [{ role: 'ADMIN', user: { email: 'owner@localhost' } }],
    pageInfo: { hasNextPage: true },
  });
  const token = await data(
    `mutation ($input: CreateApiKeyInput!) { createApiKey(input: $input) { secret apiKey { userId } } }`,
    { name: 'her token', kind: 'PERSONAL', userId, scopes: ['READ', 'WRITE'] },
  );
  const principal = await authenticator.authenticate(credentials(token['createApiKey'].secret));
  const { viewer } = await data(
    '{ viewer { user { id } scopes key { kind userId } } }',
    undefined,
    principal,
  );
  expect(viewer).toEqual({ user: { id: userId }, scopes: ['READ'], key: { kind: 'PERSONAL', userId } });

  const role = await data(
    `mutation ($input: UpdateOrganizationMemberInput!) { updateOrganizationMember(input: $input) { user { id } ${ERRORS} } }`,
    { userId, role: 'MEMBER' },
  );
  expect(role['updateOrganizationMember']).toEqual({ user: { id: userId }, errors: [] });
  const removed = await data(
    `mutation ($input: RemoveWorkspaceMemberInput!) { removeWorkspaceMember(input: $input) { removedUserId ${ERRORS} } }`,
    { userId },
  );
  expect(removed['removeWorkspaceMember']).toEqual({ removedUserId: userId, errors: [] });
  const again = await data(
    `mutation ($input: RemoveOrganizationMemberInput!) { removeOrganizationMember(input: $input) { user { id } ${ERRORS} } }`,
    { userId },
  );
  expect(again['removeOrganizationMember'].errors).toMatchObject([{ code: 'NOT_FOUND', path: ['userId'] }]);
});

test('every field needs a caller, and all but the viewer and the workspaces the admin scope', async () => {
  const reader = principalOf(world, {
    keyId: caller.keyId,
    scopes: new Set(['ingest', 'read', 'content', 'write']),
  });
  const before = (await world.database.pool.query('select * from api_keys order by id')).rows;
  const id = caller.keyId;
  const operations: [string, boolean][] = [
    ['{ viewer { scopes } }', true],
    ['{ workspaces(first: 1) { nodes { id } } }', true],
    ['{ apiKeys(first: 1) { nodes { id } } }', false],
    ['{ workspaceMembers(first: 1) { nodes { role } } }', false],
    ['mutation { createApiKey(input: { name: "n", scopes: [READ] }) { secret } }', false],
    [`mutation { updateApiKey(input: { id: "${id}", patch: { name: "n" } }) { apiKey { id } } }`, false],
    [`mutation { rotateApiKey(input: { id: "${id}" }) { secret } }`, false],
    [`mutation { revokeApiKey(input: { id: "${id}" }) { apiKey { id } } }`, false],
    ['mutation { createWorkspace(input: { name: "n" }) { workspace { id } } }', false],
    [`mutation { updateWorkspace(input: { id: "${id}", patch: {} }) { workspace { id } } }`, false],
    [`mutation { deleteWorkspace(input: { id: "${id}" }) { deletedWorkspaceId } }`, false],
    ['mutation { addWorkspaceMember(input: { email: "a@b.c", role: ADMIN }) { member { role } } }', false],
    [
      `mutation { updateWorkspaceMember(input: { userId: "${id}", role: ADMIN }) { member { role } } }`,
      false,
    ],
    [`mutation { removeWorkspaceMember(input: { userId: "${id}" }) { removedUserId } }`, false],
    [`mutation { updateOrganizationMember(input: { userId: "${id}", role: OWNER }) { user { id } } }`, false],
    [`mutation { removeOrganizationMember(input: { userId: "${id}" }) { user { id } } }`, false],
  ];
  const codeOf = async (source: string, principal: Principal | undefined): Promise<unknown> => {
    const contextValue = createContext({
      principal,
      signal: new AbortController().signal,
      requestId: 'test',
    });
    const { errors } = await graphql({ schema, source, contextValue });
    return (errors?.[0]?.originalError as { code?: string } | undefined)?.code ?? errors?.[0]?.message;
  };
  for (const [source, open] of operations) {
    expect([source, await codeOf(source, undefined)]).toEqual([source, 'UNAUTHENTICATED']);
    expect([source, await codeOf(source, reader)]).toEqual([source, open ? undefined : 'FORBIDDEN']);
  }
  expect((await world.database.pool.query('select * from api_keys order by id')).rows).toEqual(before);
  const fields = [schema.getQueryType(), schema.getMutationType()].flatMap((type) =>
    Object.keys(type?.getFields() ?? {}),
  );
  expect(operations).toHaveLength(fields.filter((name) => name !== 'node' && name !== 'nodes').length);
});

test('unknown fields of inputs are refused by the schema, and no type shows a secret', async () => {
  const { errors } = await run(
    'mutation ($input: CreateApiKeyInput!) { createApiKey(input: $input) { secret } }',
    { name: 'n', scopes: ['READ'], organizationId: 'x' },
  );
  expect(errors?.[0]?.message).toContain('"organizationId" is not defined');
  const printed = printSchema(schema);
  expect(printed.match(/\bsecret\b.*: String/g)).toEqual(['secret: String']);
  expect(printed).not.toMatch(/\b(mac|pepper)\b/);
});
