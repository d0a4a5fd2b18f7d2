import { afterAll, expect, test } from '@jest/globals';
import { systemIds } from '../../src/platform/ids.js';
import type { KeyDraft } from '../../src/tenancy/key.service.js';
import { SCOPES } from '../../src/tenancy/principal.js';
import type { Principal, Scope } from '../../src/tenancy/principal.js';
import { eventually } from '../support/eventually.js';
import { createTenancyWorld, credentials, principalOf, problemsOf, refusalOf, valueOf } from './world.js';

const world = await createTenancyWorld();
afterAll(() => world.close());

const keys = world.keyService;
const owner = principalOf(world, { organizationAdmin: true, reach: 'organization' });
const workspaceAdmin = principalOf(world);
const draft = (parts: Partial<KeyDraft> = {}): KeyDraft => ({
  name: 'a key',
  kind: 'service',
  reach: 'workspace',
  userId: undefined,
  scopes: ['ingest'],
  expiresAt: undefined,
  ...parts,
});
const wholeTable = async (): Promise<unknown[]> =>
  (await world.database.pool.query('select * from api_keys order by id')).rows;
const firstPage = { limit: 100, backward: false, boundary: undefined };

test('a key is shown once: neither lists nor any row of the database hold it', async () => {
  const { key, secret } = valueOf(
    await keys.create(owner, draft({ name: ' padded ', scopes: ['write', 'read', 'read'] })),
  );
  expect(key).toMatchObject({
    name: 'padded',
    hint: `lsv2_sk_…${secret.slice(-4)}`,
    scopes: ['read', 'write'],
  });
  const principal = await world.authenticator().authenticate(credentials(secret));
  expect([...principal.scopes]).toEqual(['read', 'write']);
  const [newest] = await keys.list(owner, firstPage);
  expect({ ...newest, lastUsedAt: undefined }).toEqual(key);
  expect(JSON.stringify(await keys.list(owner, firstPage))).not.toContain(secret);

  const { rows: tables } = await world.database.pool.query<{ name: string }>(
    "select table_name as name from information_schema.tables where table_schema = 'public'",
  );
  const random = secret.slice(8, 51);
  for (const { name } of tables) {
    const { rows } = await world.database.pool.query<{ text: string }>(
      `select t::text as text from "${name}" t`,
    );
    const hex = Buffer.from(secret).toString('hex');
    expect(rows.filter(({ text }) => text.includes(random) || text.includes(hex))).toEqual([]);
  }
});

test('every use case needs the admin scope', async () => {
  const { id } = await world.addKey();
  const before = await wholeTable();
  for (const scope of SCOPES.filter((one) => one !== 'admin')) {
    const caller = principalOf(world, { scopes: new Set<Scope>(['ingest', 'read', 'content', 'write']) });
    const attempts = [
      keys.list(caller, firstPage),
      keys.count(caller, 10),
      keys.listByIds(caller, [id]),
      keys.create(caller, draft({ scopes: [scope] })),
      keys.update(caller, id, { name: 'stolen' }),
      keys.rotate(caller, id, 0),
      keys.revoke(caller, id),
    ];
    for (const attempt of attempts) await expect(attempt).rejects.toMatchObject({ code: 'FORBIDDEN' });
  }
  expect(await wholeTable()).toEqual(before);
});

test('bad input is refused with the field it is in, and nothing is written', async () => {
  const member = await world.addUser({ workspaces: { [world.workspaceId]: 'editor' } });
  const before = await wholeTable();
  const attempts: [Partial<KeyDraft>, string[]][] = [
    [{ name: '   ' }, ['INVALID name']],
    [{ name: 'x'.repeat(101) }, ['INVALID name']],
    [{ name: 'a\u0000b' }, ['INVALID name']],
    [{ scopes: [] }, ['INVALID scopes']],
    [{ expiresAt: world.clock.now() }, ['INVALID expiresAt']],
    [{ userId: member }, ['INVALID userId']],
    [{ kind: 'personal' }, ['INVALID userId']],
    [{ kind: 'personal', userId: systemIds.uuid() }, ['NOT_FOUND userId']],
    [{ name: '', scopes: [] }, ['INVALID name', 'INVALID scopes']],
  ];
  for (const [parts, problems] of attempts) {
    expect(problemsOf(await keys.create(owner, draft(parts)))).toEqual(problems);
  }
  expect(problemsOf(await keys.rotate(owner, systemIds.uuid(), -1))).toEqual(['INVALID graceSeconds']);
  expect(problemsOf(await keys.rotate(owner, systemIds.uuid(), 86_401))).toEqual(['INVALID graceSeconds']);
  expect(await wholeTable()).toEqual(before);
});

test('nobody gives out, widens or reads anew more than they have', async () => {
  const withoutContent = principalOf(world, { scopes: new Set<Scope>(['ingest', 'read', 'write', 'admin']) });
  const wide = await world.addKey({ workspaceId: undefined });
  const full = await world.addKey({ scopes: SCOPES });
  const { rows } = await world.database.pool.query<{ id: string }>(
    "select id from api_keys where name = 'Initial key'",
  );
  const initial = rows[0]?.id as string;
  const before = await wholeTable();
  expect(problemsOf(await keys.create(withoutContent, draft({ scopes: ['content'] })))).toEqual([
    'NOT_ALLOWED scopes',
  ]);
  expect(problemsOf(await keys.update(withoutContent, full.id, { scopes: SCOPES }))).toEqual([
    'NOT_ALLOWED patch.scopes',
  ]);
  expect(problemsOf(await keys.rotate(withoutContent, full.id, 0))).toEqual(['NOT_ALLOWED id']);
  // A workspace's admin reaches neither keys of the organisation nor the one that administers it.
  expect(problemsOf(await keys.create(workspaceAdmin, draft({ reach: 'organization' })))).toEqual([
    'NOT_ALLOWED reach',
  ]);
  expect(problemsOf(await keys.rotate(workspaceAdmin, wide.id, 0))).toEqual(['NOT_FOUND id']);
  expect(problemsOf(await keys.rotate(workspaceAdmin, initial, 0))).toEqual(['NOT_ALLOWED id']);
  expect(problemsOf(await keys.revoke(workspaceAdmin, initial))).toEqual(['NOT_ALLOWED id']);
  expect(await wholeTable()).toEqual(before);
  expect(valueOf(await keys.create(owner, draft({ reach: 'organization' }))).key.workspaceId).toBeUndefined();
});

test('keys of other workspaces and organisations answer like missing ones', async () => {
  const foreignOrganization = await world.addOrganization();
  const foreignWorkspace = await world.addWorkspace(foreignOrganization);
  const foreign = await world.addKey({ organizationId: foreignOrganization, workspaceId: foreignWorkspace });
  const foreignWide = await world.addKey({ organizationId: foreignOrganization, workspaceId: undefined });
  const sibling = await world.addKey({ workspaceId: await world.addWorkspace() });
  const before = await wholeTable();
  for (const id of [foreign.id, foreignWide.id, sibling.id, systemIds.uuid()]) {
    for (const caller of [owner, workspaceAdmin]) {
      expect(await keys.listByIds(caller, [id])).toEqual([]);
      expect(problemsOf(await keys.update(caller, id, { name: 'stolen' }))).toEqual(['NOT_FOUND id']);
      expect(problemsOf(await keys.rotate(caller, id, 0))).toEqual(['NOT_FOUND id']);
      expect(problemsOf(await keys.revoke(caller, id))).toEqual(['NOT_FOUND id']);
    }
  }
  const listed = (await keys.list(owner, firstPage)).map((key) => key.id);
  expect(listed).not.toContain(foreign.id);
  expect(listed).not.toContain(foreignWide.id);
  expect(listed).not.toContain(sibling.id);
  expect(await wholeTable()).toEqual(before);
});

test('what comes along with a draft or a patch is not stored', async () => {
  const { id } = await world.addKey();
  const read = async (): Promise<Record<string, unknown>> =>
    (await world.database.pool.query(`select * from api_keys where id = $1`, [id])).rows[0] as Record<
      string,
      unknown
    >;
  const before = await read();
  const extra = {
    name: 'renamed',
    id: systemIds.uuid(),
    organizationId: systemIds.uuid(),
    workspaceId: undefined,
    userId: systemIds.uuid(),
    kind: 'personal',
    revokedAt: new Date(),
    mac: Buffer.from('x'),
  };
  valueOf(await keys.update(owner, id, extra as { name: string }));
  expect(await read()).toEqual({ ...before, name: 'renamed' });

  const smuggled = {
    ...draft(),
    id,
    organizationId: systemIds.uuid(),
    workspaceId: systemIds.uuid(),
    hint: 'mine',
  };
  const { key } = valueOf(await keys.create(owner, smuggled));
  expect(key).toMatchObject({ organizationId: world.organizationId, workspaceId: world.workspaceId });
  expect(key.id).not.toBe(id);
  expect(key.hint).not.toBe('mine');
});

test('after a rotation both secrets work until the grace ends, and never a third', async () => {
  const authenticator = world.authenticator();
  const answer = (secret: string): Promise<string> =>
    refusalOf(authenticator.authenticate(credentials(secret)));
  const first = await world.addKey();
  const second = valueOf(await keys.rotate(owner, first.id, 60));
  expect(second.key).toMatchObject({ id: first.id, previousExpiresAt: new Date(world.clock.nowMs + 60_000) });
  expect([await answer(first.secret), await answer(second.secret)]).toEqual(['allowed', 'allowed']);
  const old = await authenticator.authenticate(credentials(first.secret));
  expect(old.expiresAtMs).toBe(world.clock.nowMs + 60_000);
  world.clock.advance(59_999);
  expect(await answer(first.secret)).toBe('allowed');
  world.clock.advance(1);
  expect([await answer(first.secret), await answer(second.secret)]).toEqual([
    'UNAUTHENTICATED rotated',
    'allowed',
  ]);

  const third = valueOf(await keys.rotate(owner, first.id, 86_400));
  const fourth = valueOf(await keys.rotate(owner, first.id, 0));
  expect(await Promise.all([first, second, third, fourth].map(({ secret }) => answer(secret)))).toEqual([
    'UNAUTHENTICATED unknown',
    'UNAUTHENTICATED unknown',
    'UNAUTHENTICATED rotated',
    'allowed',
  ]);
});

test('two rotations at once leave exactly two live secrets', async () => {
  const authenticator = world.authenticator();
  const { id, secret } = await world.addKey();
  const made = await Promise.all([1, 2].map(async () => valueOf(await keys.rotate(owner, id, 60)).secret));
  const answers = await Promise.all(
    [secret, ...made].map((one) => refusalOf(authenticator.authenticate(credentials(one)))),
  );
  expect(answers).toEqual(['UNAUTHENTICATED unknown', 'allowed', 'allowed']);
});

test('a change that waits for a revocation finds the key revoked', async () => {
  const { id } = await world.addKey();
  const holder = await world.database.pool.connect();
  await holder.query('begin');
  await holder.query('update api_keys set revoked_at = $2 where id = $1', [id, world.clock.now()]);
  const rotation = keys.rotate(owner, id, 60);
  await eventually(async () => {
    const { rowCount } = await world.database.pool.query(
      "select 1 from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'",
    );
    expect(rowCount).toBe(1);
  });
  await holder.query('commit');
  holder.release();
  expect(problemsOf(await rotation)).toEqual(['CONFLICT id']);
});

test('revoking ends both secrets, is repeatable, and a revoked key cannot be changed', async () => {
  const authenticator = world.authenticator();
  const { id, secret } = await world.addKey();
  const { secret: newer } = valueOf(await keys.rotate(owner, id, 600));
  await authenticator.authenticate(credentials(secret));
  const revoked = valueOf(await keys.revoke(owner, id));
  expect(revoked.revokedAt).toEqual(world.clock.now());
  for (const one of [secret, newer]) {
    expect(await refusalOf(authenticator.authenticate(credentials(one)))).toBe('UNAUTHENTICATED revoked');
  }
  world.clock.advance(1_000);
  expect(valueOf(await keys.revoke(owner, id)).revokedAt).toEqual(revoked.revokedAt);
  expect(problemsOf(await keys.update(owner, id, { name: 'again' }))).toEqual(['CONFLICT id']);
  expect(problemsOf(await keys.rotate(owner, id, 0))).toEqual(['CONFLICT id']);
});

test('an expiry can be set, moved and removed; an expired key gets no new secret before', async () => {
  const authenticator = world.authenticator();
  const { id, secret } = await world.addKey();
  const answer = (): Promise<string> => refusalOf(authenticator.authenticate(credentials(secret)));
  valueOf(await keys.update(owner, id, { expiresAt: new Date(world.clock.nowMs + 1_000) }));
  expect(await answer()).toBe('allowed');
  world.clock.advance(1_000);
  expect(await answer()).toBe('UNAUTHENTICATED expired');
  expect(problemsOf(await keys.rotate(owner, id, 0))).toEqual(['CONFLICT id']);
  valueOf(await keys.update(owner, id, { expiresAt: null }));
  expect(await answer()).toBe('allowed');
});

test('a new key works at once even where it was unknown a moment ago', async () => {
  const authenticator = world.authenticator();
  const { id, secret } = await world.addKey();
  await world.database.pool.query('update api_keys set mac = $2 where id = $1', [id, Buffer.alloc(32, 9)]);
  expect(await refusalOf(authenticator.authenticate(credentials(secret)))).toBe('UNAUTHENTICATED unknown');
  const fresh = valueOf(await keys.create(owner, draft()));
  expect(await refusalOf(authenticator.authenticate(credentials(fresh.secret)))).toBe('allowed');
});

test('pages of keys neither repeat nor skip, in both directions', async () => {
  const caller: Principal = { ...owner, workspaceId: await world.addWorkspace(), organizationAdmin: false };
  const made: string[] = [];
  for (let n = 0; n < 7; n += 1) {
    made.unshift(valueOf(await keys.create(caller, draft({ name: `key ${n}` }))).key.id);
  }
  const walk = async (backward: boolean): Promise<string[]> => {
    const seen: string[] = [];
    let boundary: { value: string; id: string } | undefined;
    for (;;) {
      const rows = await keys.list(caller, { limit: 2, backward, boundary });
      seen.push(...rows.slice(0, 2).map((key) => key.id));
      const last = rows[1];
      if (rows.length < 3 || last === undefined) return seen;
      boundary = { value: last.id, id: last.id };
    }
  };
  expect(await walk(false)).toEqual(made);
  expect(await walk(true)).toEqual([...made].reverse());
  expect(await keys.count(caller, 100)).toBe(7);
  expect(await keys.count(caller, 3)).toBe(4);
});
