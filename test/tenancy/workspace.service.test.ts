import { afterAll, expect, test } from '@jest/globals';
import { systemIds } from '../../src/platform/ids.js';
import type { Principal, Scope } from '../../src/tenancy/principal.js';
import type { Result } from '../../src/platform/result.js';
import {
  collide,
  createTenancyWorld,
  credentials,
  principalOf,
  problemsOf,
  refusalOf,
  valueOf,
} from './world.js';

const world = await createTenancyWorld();
afterAll(() => world.close());

const { workspaceService: workspaces, memberService: members } = world;
const owner = principalOf(world, { organizationAdmin: true, reach: 'organization' });
const workspaceAdmin = principalOf(world);
const firstPage = { limit: 100, backward: false, boundary: undefined };
const rowsOf = async (table: string): Promise<unknown[]> =>
  (await world.database.pool.query(`select t::text as row from ${table} t order by 1`)).rows;
const firstOwner = async (): Promise<string> =>
  (await world.database.pool.query<{ id: string }>("select id from users where email = 'owner@localhost'"))
    .rows[0]?.id as string;

test('workspaces are made, renamed and listed with unique handles', async () => {
  const made = valueOf(await workspaces.create(owner, { name: ' Évaluation & Tests ', handle: undefined }));
  expect(made).toMatchObject({
    organizationId: world.organizationId,
    name: 'Évaluation & Tests',
    handle: 'evaluation-tests',
    createdAt: world.clock.now(),
  });
  expect(problemsOf(await workspaces.create(owner, { name: 'evaluation tests', handle: undefined }))).toEqual(
    ['ALREADY_EXISTS handle'],
  );
  expect(problemsOf(await workspaces.update(owner, made.id, { handle: 'default' }))).toEqual([
    'ALREADY_EXISTS patch.handle',
  ]);
  for (const handle of ['', '-a', 'a-', 'A', 'a_b', 'ä', 'x'.repeat(64), 'a b']) {
    expect(problemsOf(await workspaces.create(owner, { name: 'n', handle }))).toEqual(['INVALID handle']);
  }
  const renamed = valueOf(await workspaces.update(owner, made.id, { name: 'Tests', handle: 'x'.repeat(63) }));
  expect(renamed).toEqual({ ...made, name: 'Tests', handle: 'x'.repeat(63) });
  expect(await workspaces.list(owner, firstPage)).toContainEqual(renamed);
});

test('who does not administer the organisation changes their own workspace only', async () => {
  const other = await world.addWorkspace();
  const before = await rowsOf('workspaces');
  await expect(workspaces.create(workspaceAdmin, { name: 'n', handle: undefined })).rejects.toMatchObject({
    code: 'FORBIDDEN',
  });
  await expect(workspaces.remove(workspaceAdmin, world.workspaceId)).rejects.toMatchObject({
    code: 'FORBIDDEN',
  });
  expect(problemsOf(await workspaces.update(workspaceAdmin, other, { name: 'taken over' }))).toEqual([
    'NOT_FOUND id',
  ]);
  const editor = principalOf(world, { scopes: new Set<Scope>(['read', 'write']), organizationAdmin: true });
  await expect(workspaces.update(editor, world.workspaceId, { name: 'n' })).rejects.toMatchObject({
    code: 'FORBIDDEN',
  });
  await expect(workspaces.create(editor, { name: 'n', handle: undefined })).rejects.toMatchObject({
    code: 'FORBIDDEN',
  });
  expect(await rowsOf('workspaces')).toEqual(before);
  valueOf(await workspaces.update(workspaceAdmin, world.workspaceId, { name: 'default' }));
});

test('workspaces of another organisation answer like missing ones', async () => {
  const foreign = await world.addWorkspace(await world.addOrganization());
  const before = await rowsOf('workspaces');
  for (const id of [foreign, systemIds.uuid()]) {
    expect(await workspaces.listByIds(owner, [id])).toEqual([]);
    expect(problemsOf(await workspaces.update(owner, id, { name: 'taken over' }))).toEqual(['NOT_FOUND id']);
    expect(problemsOf(await workspaces.remove(owner, id))).toEqual(['NOT_FOUND id']);
  }
  expect((await workspaces.list(owner, firstPage)).map(({ id }) => id)).not.toContain(foreign);
  expect(await rowsOf('workspaces')).toEqual(before);
});

test('a caller sees the workspaces the key reaches', async () => {
  const [a, b] = [await world.addWorkspace(), await world.addWorkspace()];
  const userId = await world.addUser({ workspaces: { [a]: 'viewer', [b]: 'editor' } });
  const ownerId = await firstOwner();
  const idsFor = async (caller: Principal): Promise<string[]> =>
    (await workspaces.list(caller, firstPage)).map(({ id }) => id);
  expect(await idsFor(workspaceAdmin)).toEqual([world.workspaceId]);
  const token = { kind: 'personal', reach: 'organization', scopes: new Set<Scope>(['read']) } as const;
  expect(await idsFor(principalOf(world, { ...token, userId, workspaceId: a }))).toEqual([a, b].sort());
  const all = await idsFor(owner);
  expect(all).toEqual(expect.arrayContaining([world.workspaceId, a, b]));
  expect(await idsFor(principalOf(world, { ...token, userId: ownerId }))).toEqual(all);
  expect(
    await idsFor(principalOf(world, { reach: 'organization', scopes: new Set<Scope>(['read']) })),
  ).toEqual(all);
  expect(await workspaces.count(owner, 100)).toBe(all.length);
  expect(await workspaces.count(owner, 1)).toBe(2);

  const page = await workspaces.list(owner, {
    limit: 1,
    backward: false,
    boundary: { value: all[0] as string, id: all[0] as string },
  });
  expect(page.map(({ id }) => id)).toEqual(all.slice(1, 3));
  const back = await workspaces.list(owner, {
    limit: 1,
    backward: true,
    boundary: { value: all[2] as string, id: all[2] as string },
  });
  expect(back.map(({ id }) => id)).toEqual([all[1], all[0]]);
});

test('a deleted workspace ends its keys at once; the last workspace stays, whoever asks together', async () => {
  const authenticator = world.authenticator();
  const organizationId = await world.addOrganization();
  const ids = [await world.addWorkspace(organizationId), await world.addWorkspace(organizationId)];
  const caller = principalOf(world, {
    organizationId,
    workspaceId: ids[0] as string,
    organizationAdmin: true,
  });
  const { secret } = await world.addKey({ organizationId, workspaceId: ids[0] });
  const wide = await world.addKey({ organizationId, workspaceId: undefined });
  await authenticator.authenticate(credentials(secret));
  await authenticator.authenticate(credentials(wide.secret, { tenantId: ids[0] }));
  const outcomes = await collide(
    world,
    organizationId,
    ids.map((id) => () => workspaces.remove(caller, id)),
  );
  expect(outcomes.map((outcome) => problemsOf(outcome).join()).sort()).toEqual(['', 'CONFLICT id']);
  const { rows } = await world.database.pool.query<{ id: string }>(
    'select id from workspaces where organization_id = $1 and deleted_at is null',
    [organizationId],
  );
  expect(rows).toHaveLength(1);
  const gone = ids.find((id) => id !== rows[0]?.id) as string;
  const there = authenticator.authenticate(credentials(wide.secret, { tenantId: gone }));
  expect(await refusalOf(there)).toBe('FORBIDDEN workspace');
  const own = await world.addKey({ organizationId, workspaceId: gone });
  expect(await refusalOf(authenticator.authenticate(credentials(own.secret)))).toBe('FORBIDDEN workspace');
});

test('the tenant is described in the words of the LangSmith protocol', async () => {
  const reader = principalOf(world, { scopes: new Set<Scope>(['ingest']) });
  const own = {
    id: world.workspaceId,
    organization_id: world.organizationId,
    display_name: 'default',
    tenant_handle: 'default',
    created_at: '2026-11-21T10:00:00.000Z',
  };
  expect(await workspaces.describeTenant(reader)).toEqual(own);
  expect(await workspaces.describeTenants(reader)).toEqual([own]);
});

test('members are added by address, once, and get a role', async () => {
  const added = valueOf(
    await members.add(workspaceAdmin, { email: ' Ada@Example.org ', name: undefined, role: 'editor' }),
  );
  expect(added).toMatchObject({
    user: { email: 'ada@example.org', name: 'ada' },
    role: 'editor',
    organizationRole: 'member',
  });
  expect(
    problemsOf(await members.add(workspaceAdmin, { email: 'ada@example.org', name: 'Eve', role: 'admin' })),
  ).toEqual(['ALREADY_EXISTS email']);
  expect(
    problemsOf(await members.add(workspaceAdmin, { email: 'nobody', name: 'n', role: 'admin' })),
  ).toEqual(['INVALID email']);
  const promoted = valueOf(await members.update(workspaceAdmin, added.user.id, 'admin'));
  expect(promoted).toEqual({ ...added, role: 'admin' });
  expect(await members.list(workspaceAdmin, firstPage)).toContainEqual(promoted);
  expect(await members.count(workspaceAdmin, 100)).toBe(2);
});

test('membership needs the admin scope, and stays within the workspace', async () => {
  const elsewhere = await world.addWorkspace();
  const userId = await world.addUser({ workspaces: { [elsewhere]: 'viewer' } });
  const editor = principalOf(world, { scopes: new Set<Scope>(['read', 'write', 'content', 'ingest']) });
  const before = [
    await rowsOf('workspace_members'),
    await rowsOf('organization_members'),
    await rowsOf('users'),
  ];
  const draft = { email: 'new@example.org', name: undefined, role: 'admin' } as const;
  for (const attempt of [
    members.list(editor, firstPage),
    members.count(editor, 1),
    members.add(editor, draft),
    members.update(editor, userId, 'admin'),
    members.remove(editor, userId),
    members.setOrganizationRole(workspaceAdmin, userId, 'owner'),
    members.removeFromOrganization(workspaceAdmin, userId),
  ]) {
    await expect(attempt).rejects.toMatchObject({ code: 'FORBIDDEN' });
  }
  for (const id of [userId, systemIds.uuid()]) {
    expect(problemsOf(await members.update(workspaceAdmin, id, 'admin'))).toEqual(['NOT_FOUND userId']);
    expect(problemsOf(await members.remove(workspaceAdmin, id))).toEqual(['NOT_FOUND userId']);
  }
  expect([
    await rowsOf('workspace_members'),
    await rowsOf('organization_members'),
    await rowsOf('users'),
  ]).toEqual(before);
});

test('removing a member ends their tokens at once and for good', async () => {
  const authenticator = world.authenticator();
  const second = await world.addWorkspace();
  const userId = await world.addUser({ workspaces: { [world.workspaceId]: 'editor', [second]: 'viewer' } });
  const bound = await world.addKey({ kind: 'personal', userId });
  const wide = await world.addKey({ kind: 'personal', userId, workspaceId: undefined });
  const answer = (secret: string, tenantId: string): Promise<string> =>
    refusalOf(authenticator.authenticate(credentials(secret, { tenantId })));
  expect(await answer(bound.secret, world.workspaceId)).toBe('allowed');
  expect(await answer(wide.secret, world.workspaceId)).toBe('allowed');

  valueOf(await members.remove(workspaceAdmin, userId));
  expect(await answer(bound.secret, world.workspaceId)).toBe('UNAUTHENTICATED revoked');
  expect(await answer(wide.secret, world.workspaceId)).toBe('FORBIDDEN workspace');
  expect(await answer(wide.secret, second)).toBe('allowed');

  const { rows } = await world.database.pool.query<{ email: string }>(
    'select email from users where id = $1',
    [userId],
  );
  valueOf(
    await members.add(workspaceAdmin, { email: rows[0]?.email as string, name: undefined, role: 'admin' }),
  );
  expect(await answer(bound.secret, world.workspaceId)).toBe('UNAUTHENTICATED revoked');

  valueOf(await members.remove(workspaceAdmin, userId));
  valueOf(await members.remove({ ...workspaceAdmin, workspaceId: second }, userId));
  expect(await answer(wide.secret, second)).toBe('UNAUTHENTICATED revoked');
  const { rows: left } = await world.database.pool.query(
    'select 1 from organization_members where user_id = $1',
    [userId],
  );
  expect(left).toEqual([]);
});

test('a role that is taken down takes scopes from tokens at once', async () => {
  const authenticator = world.authenticator();
  const userId = await world.addUser({ workspaces: { [world.workspaceId]: 'editor' } });
  const { secret } = await world.addKey({ kind: 'personal', userId });
  const scopes = async (): Promise<Scope[]> => [
    ...(await authenticator.authenticate(credentials(secret))).scopes,
  ];
  expect(await scopes()).toContain('write');
  valueOf(await members.update(workspaceAdmin, userId, 'viewer'));
  expect(await scopes()).toEqual(['read', 'content']);
});

test('the last owner stays, also when two owners are taken down together', async () => {
  const ownerId = await firstOwner();
  const before = [await rowsOf('organization_members'), await rowsOf('workspace_members')];
  expect(problemsOf(await members.setOrganizationRole(owner, ownerId, 'member'))).toEqual([
    'CONFLICT userId',
  ]);
  expect(problemsOf(await members.removeFromOrganization(owner, ownerId))).toEqual(['CONFLICT userId']);
  expect(problemsOf(await members.remove(owner, ownerId))).toEqual(['CONFLICT userId']);
  expect([await rowsOf('organization_members'), await rowsOf('workspace_members')]).toEqual(before);

  const secondOwner = await world.addUser({});
  expect(valueOf(await members.setOrganizationRole(owner, secondOwner, 'owner')).id).toBe(secondOwner);
  const outcomes = await collide<Result<unknown>>(world, world.organizationId, [
    () => members.setOrganizationRole(owner, ownerId, 'admin'),
    () => members.removeFromOrganization(owner, secondOwner),
  ]);
  expect(outcomes.filter(({ ok }) => ok)).toHaveLength(1);
  const { rows } = await world.database.pool.query("select 1 from organization_members where role = 'owner'");
  expect(rows).toHaveLength(1);
});

test('only owners make and unmake owners', async () => {
  const adminId = await world.addUser({ organizationRole: 'admin' });
  const admin = principalOf(world, {
    kind: 'personal',
    userId: adminId,
    organizationAdmin: true,
    reach: 'organization',
  });
  const { rows } = await world.database.pool.query<{ user_id: string }>(
    "select user_id from organization_members where role = 'owner'",
  );
  const before = await rowsOf('organization_members');
  expect(problemsOf(await members.setOrganizationRole(admin, adminId, 'owner'))).toEqual([
    'NOT_ALLOWED userId',
  ]);
  const ownerId = rows[0]?.user_id as string;
  expect(problemsOf(await members.setOrganizationRole(admin, ownerId, 'member'))).toEqual([
    'NOT_ALLOWED userId',
  ]);
  expect(problemsOf(await members.removeFromOrganization(admin, ownerId))).toEqual(['NOT_ALLOWED userId']);
  expect(await rowsOf('organization_members')).toEqual(before);
});
