import { afterAll, expect, test } from '@jest/globals';
import { keyMac, makeKey } from '../../src/tenancy/api-key.js';
import { WORKSPACE_ROLES } from '../../src/tenancy/access.js';
import { SCOPES } from '../../src/tenancy/principal.js';
import { eventually } from '../support/eventually.js';
import { CountingDb, PEPPER, TestDoorbell, createTenancyWorld, credentials, refusalOf } from './world.js';

const world = await createTenancyWorld();
afterAll(() => world.close());

test('a key signs in through either header and names what is wrong with it otherwise', async () => {
  const authenticator = world.authenticator();
  const principal = await authenticator.authenticate(credentials(world.apiKey));
  expect(principal).toMatchObject({
    kind: 'service',
    organizationId: world.organizationId,
    workspaceId: world.workspaceId,
    userId: undefined,
    expiresAtMs: undefined,
    organizationAdmin: true,
  });
  expect([...principal.scopes]).toEqual(SCOPES);
  const bearer = await authenticator.authenticate(
    credentials(undefined, { authorization: `Bearer ${world.apiKey}` }),
  );
  expect(bearer).toEqual(principal);

  const expired = await world.addKey({ expiresAt: new Date(world.clock.nowMs) });
  const revoked = await world.addKey();
  await world.keys.revoke(revoked.id, world.clock.now());
  const wrong: [string | undefined, string | undefined, string][] = [
    [undefined, undefined, 'UNAUTHENTICATED missing'],
    ['', '', 'UNAUTHENTICATED missing'],
    [undefined, 'Basic dXNlcjpwYXNz', 'UNAUTHENTICATED malformed'],
    ['short', undefined, 'UNAUTHENTICATED malformed'],
    [
      `${world.apiKey.slice(0, -1)}${world.apiKey.endsWith('0') ? '1' : '0'}`,
      undefined,
      'UNAUTHENTICATED malformed',
    ],
    ['with spaces in between, but long enough', undefined, 'UNAUTHENTICATED malformed'],
    [makeKey('service'), undefined, 'UNAUTHENTICATED unknown'],
    ['a-key-of-another-form-that-is-long-enough', undefined, 'UNAUTHENTICATED unknown'],
    [expired.secret, undefined, 'UNAUTHENTICATED expired'],
    [revoked.secret, undefined, 'UNAUTHENTICATED revoked'],
  ];
  for (const [apiKey, authorization, answer] of wrong) {
    expect([
      apiKey,
      await refusalOf(authenticator.authenticate(credentials(apiKey, { authorization }))),
    ]).toEqual([apiKey, answer]);
  }
});

test('a key that expires while it is remembered stops working at that moment', async () => {
  const authenticator = world.authenticator();
  const { secret } = await world.addKey({ expiresAt: new Date(world.clock.nowMs + 1_000) });
  await authenticator.authenticate(credentials(secret));
  world.clock.advance(999);
  await authenticator.authenticate(credentials(secret));
  world.clock.advance(1);
  expect(await refusalOf(authenticator.authenticate(credentials(secret)))).toBe('UNAUTHENTICATED expired');
});

test('X-Tenant-Id only selects among the workspaces a key may use', async () => {
  const authenticator = world.authenticator();
  const second = await world.addWorkspace();
  const foreign = await world.addWorkspace(await world.addOrganization());
  const deleted = await world.addWorkspace();
  await world.database.pool.query('update workspaces set deleted_at = now() where id = $1', [deleted]);
  const wide = (await world.addKey({ workspaceId: undefined })).secret;
  const bound = world.apiKey;
  const count = async (): Promise<unknown> =>
    (await world.database.pool.query('select count(*) from workspaces')).rows[0];
  const before = await count();

  const needsOne = 'FORBIDDEN org_scoped_key_requires_workspace';
  const variants: [string, string | string[] | undefined, string][] = [
    [wide, undefined, needsOne],
    [wide, '', needsOne],
    [wide, second, 'allowed'],
    [wide, second.toUpperCase(), 'allowed'],
    [wide, ` ${second} `, 'allowed'],
    [wide, '00000000-0000-4000-8000-000000000000', 'FORBIDDEN workspace'],
    [wide, 'default', 'FORBIDDEN workspace'],
    [wide, foreign, 'FORBIDDEN workspace'],
    [wide, deleted, 'FORBIDDEN workspace'],
    [wide, [second, second], 'BAD_USER_INPUT'],
    [wide, `${second}, ${second}`, 'BAD_USER_INPUT'],
    [bound, undefined, 'allowed'],
    [bound, world.workspaceId, 'allowed'],
    [bound, second, 'FORBIDDEN workspace'],
    [bound, foreign, 'FORBIDDEN workspace'],
    [bound, "x' or 1=1 --", 'FORBIDDEN workspace'],
  ];
  for (const [apiKey, tenantId, answer] of variants) {
    const attempt = authenticator.authenticate(credentials(apiKey, { tenantId }));
    expect([tenantId, await refusalOf(attempt)]).toEqual([tenantId, answer]);
  }
  const picked = await authenticator.authenticate(credentials(wide, { tenantId: second }));
  expect(picked.workspaceId).toBe(second);
  expect(await count()).toEqual(before);
});

test('a personal token has no more scopes than its role, and a role no more than the token', async () => {
  const authenticator = world.authenticator();
  const scopesOf = async (secret: string): Promise<string[]> => [
    ...(await authenticator.authenticate(credentials(secret))).scopes,
  ];
  const seen: Record<string, string[]> = {};
  for (const role of WORKSPACE_ROLES) {
    const userId = await world.addUser({ workspaces: { [world.workspaceId]: role } });
    seen[role] = await scopesOf((await world.addKey({ kind: 'personal', userId })).secret);
  }
  expect(seen).toEqual({
    admin: ['ingest', 'read', 'content', 'write', 'admin'],
    editor: ['ingest', 'read', 'content', 'write'],
    viewer: ['read', 'content'],
    annotator: ['read', 'content'],
  });
  const ownerId = await world.addUser({ organizationRole: 'owner' });
  expect(await scopesOf((await world.addKey({ kind: 'personal', userId: ownerId })).secret)).toEqual(SCOPES);
  const narrow = await world.addKey({ kind: 'personal', userId: ownerId, scopes: ['read'] });
  expect(await scopesOf(narrow.secret)).toEqual(['read']);
});

test('only keys that reach the organisation administer it', async () => {
  const authenticator = world.authenticator();
  const ownerId = await world.addUser({ organizationRole: 'owner' });
  const memberId = await world.addUser({ workspaces: { [world.workspaceId]: 'admin' } });
  const administers = async (key: Parameters<typeof world.addKey>[0]): Promise<boolean | undefined> => {
    const { secret } = await world.addKey(key);
    const principal = await authenticator.authenticate(credentials(secret, { tenantId: world.workspaceId }));
    return principal.organizationAdmin;
  };
  expect({
    bound: await administers({}),
    wide: await administers({ workspaceId: undefined }),
    wideWithoutAdmin: await administers({ workspaceId: undefined, scopes: ['read', 'write'] }),
    ownersToken: await administers({ kind: 'personal', userId: ownerId, workspaceId: undefined }),
    ownersBoundToken: await administers({ kind: 'personal', userId: ownerId }),
    membersToken: await administers({ kind: 'personal', userId: memberId, workspaceId: undefined }),
  }).toEqual({
    bound: false,
    wide: true,
    wideWithoutAdmin: false,
    ownersToken: true,
    ownersBoundToken: false,
    membersToken: false,
  });
});

test('a personal token reaches exactly the workspaces of its member and dies with the membership', async () => {
  const authenticator = world.authenticator();
  const second = await world.addWorkspace();
  const third = await world.addWorkspace();
  const userId = await world.addUser({ workspaces: { [world.workspaceId]: 'editor', [second]: 'viewer' } });
  const { secret } = await world.addKey({ kind: 'personal', userId, workspaceId: undefined });
  const at = (tenantId: string): Promise<string> =>
    refusalOf(authenticator.authenticate(credentials(secret, { tenantId })));
  expect(await at(world.workspaceId)).toBe('allowed');
  expect(await at(second)).toBe('allowed');
  expect(await at(third)).toBe('FORBIDDEN workspace');

  await world.database.pool.query('delete from workspace_members where user_id = $1 and workspace_id = $2', [
    userId,
    second,
  ]);
  world.clock.advance(5_000);
  expect(await at(second)).toBe('FORBIDDEN workspace');
  expect(await at(world.workspaceId)).toBe('allowed');
  await world.database.pool.query('delete from organization_members where user_id = $1', [userId]);
  world.clock.advance(5_000);
  expect(await at(world.workspaceId)).toBe('UNAUTHENTICATED membership');
});

test('answers are remembered for five seconds and forgotten when the doorbell rings', async () => {
  const db = new CountingDb(world.database.pool);
  const authenticator = world.authenticator({ db });
  const { id, secret } = await world.addKey();
  const reads = (): number => db.count('keys.find_by_mac');
  for (let n = 0; n < 100; n += 1) await authenticator.authenticate(credentials(secret));
  expect(reads()).toBe(1);
  world.clock.advance(4_999);
  await authenticator.authenticate(credentials(secret));
  expect(reads()).toBe(1);
  world.clock.advance(1);
  await Promise.all(Array.from({ length: 20 }, () => authenticator.authenticate(credentials(secret))));
  expect(reads()).toBe(2);

  await world.keys.revoke(id, world.clock.now());
  world.doorbell.ring('keys', id);
  expect(await refusalOf(authenticator.authenticate(credentials(secret)))).toBe('UNAUTHENTICATED revoked');
  expect(reads()).toBe(3);
});

test('a revoked key is refused within five seconds by two processes under load although no doorbell arrives', async () => {
  const deaf = new TestDoorbell();
  deaf.cut = true;
  const live = { now: () => new Date() };
  const authenticators = [1, 2].map(() => world.authenticator({ doorbell: deaf, clock: live }));
  const { id, secret } = await world.addKey();
  let revokedAtMs = Infinity;
  let lastSuccessMs = 0;
  let successes = 0;
  const hammer = async (n: number): Promise<void> => {
    const authenticator = authenticators[n % 2];
    for (;;) {
      const startedMs = performance.now();
      const answer = await refusalOf(
        (authenticator as (typeof authenticators)[0]).authenticate(credentials(secret)),
      );
      if (answer !== 'allowed') {
        expect(answer).toBe('UNAUTHENTICATED revoked');
        return;
      }
      lastSuccessMs = Math.max(lastSuccessMs, startedMs);
      successes += 1;
      // Yields to timers and sockets, as requests from the network would.
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
  };
  const load = Promise.all(Array.from({ length: 4 }, (_, n) => hammer(n)));
  await eventually(() => expect(successes).toBeGreaterThan(20));
  await world.keys.revoke(id, new Date());
  revokedAtMs = performance.now();
  await load;
  expect(lastSuccessMs - revokedAtMs).toBeLessThanOrEqual(5_000);
});

test('sockets hear of a revocation through the doorbell, and without it from the look every few seconds', async () => {
  for (const cut of [false, true]) {
    const doorbell = new TestDoorbell();
    doorbell.cut = cut;
    const authenticator = world.authenticator({ doorbell });
    const heard: string[] = [];
    const stop = authenticator.onRevoked((keyId) => heard.push(keyId));
    const { id, secret } = await world.addKey();
    const other = await world.addKey();
    await authenticator.authenticate(credentials(secret));
    await authenticator.authenticate(credentials(other.secret));
    await world.keys.revoke(id, world.clock.now());
    doorbell.ring('keys', id);
    await eventually(() => expect(heard).toEqual([id]), { timeoutMs: cut ? 5_000 : 1_000 });
    stop();
  }
});

test('sockets hear when a key loses a scope, when its secret is replaced and when its workspace is deleted', async () => {
  const authenticator = world.authenticator();
  const heard: string[] = [];
  authenticator.onRevoked((keyId) => heard.push(keyId));
  const workspaceId = await world.addWorkspace();
  const keys = await Promise.all([1, 2, 3, 4].map(() => world.addKey({ workspaceId })));
  const [narrowed, rotated, renamed, orphan] = keys as [
    (typeof keys)[0],
    (typeof keys)[0],
    (typeof keys)[0],
    (typeof keys)[0],
  ];
  for (const { secret } of [narrowed, rotated, renamed]) {
    await authenticator.authenticate(credentials(secret));
  }
  await world.keys.update(narrowed.id, { name: 'key', scopes: ['read'], expiresAt: undefined });
  await world.keys.update(renamed.id, { name: 'new name', scopes: SCOPES, expiresAt: undefined });
  await world.keys.rotate(rotated.id, {
    mac: keyMac(PEPPER, makeKey('service')),
    hint: '…',
    previousExpiresAt: new Date(world.clock.nowMs + 1_000),
  });
  for (const { id } of keys) world.doorbell.ring('keys', id);
  await eventually(() => expect([...heard].sort()).toEqual([narrowed.id, rotated.id].sort()));

  heard.length = 0;
  await authenticator.authenticate(credentials(orphan.secret));
  await world.database.pool.query('update workspaces set deleted_at = now() where id = $1', [workspaceId]);
  world.doorbell.ring('keys', orphan.id);
  await eventually(() => expect(heard).toContain(orphan.id));
});

test('ten thousand wrong keys cost no reads for bad checksums, few for the rest, and do not harm good keys', async () => {
  const db = new CountingDb(world.database.pool);
  const authenticator = world.authenticator({ db });
  await authenticator.authenticate(credentials(world.apiKey));
  expect(db.count('keys.find_by_mac')).toBe(1);
  const counts: Record<string, number> = {};
  for (let n = 0; n < 10_000; n += 1) {
    const bad = makeKey('service').slice(0, -6) + 'zzzzzz';
    const mistyped = makeKey('service').slice(0, -6) + (n % 0xffffff).toString(16).padStart(6, '0');
    const answer = await refusalOf(
      authenticator.authenticate(credentials(n % 2 === 0 ? mistyped : bad.slice(0, 30))),
    );
    counts[answer] = (counts[answer] ?? 0) + 1;
  }
  expect(counts).toEqual({ 'UNAUTHENTICATED malformed': 10_000 });
  expect(db.count('keys.find_by_mac')).toBe(1);

  const guesses: Record<string, number> = {};
  for (let n = 0; n < 1_000; n += 1) {
    const answer = await refusalOf(authenticator.authenticate(credentials(makeKey('service'))));
    guesses[answer] = (guesses[answer] ?? 0) + 1;
  }
  expect(guesses).toEqual({ 'UNAUTHENTICATED unknown': 300, RATE_LIMITED: 700 });
  expect(db.count('keys.find_by_mac')).toBe(301);

  // The key this process knows goes on working from the same address, and other networks are not affected.
  world.clock.advance(1);
  const known = await authenticator.authenticate(credentials(world.apiKey));
  expect(known.workspaceId).toBe(world.workspaceId);
  const { secret } = await world.addKey();
  const elsewhere = authenticator.authenticate(credentials(secret, { remoteAddress: '203.0.114.7' }));
  expect(await refusalOf(elsewhere)).toBe('allowed');
  const sameNetwork = authenticator.authenticate(
    credentials(makeKey('service'), { remoteAddress: '::ffff:203.0.113.9' }),
  );
  expect(await refusalOf(sameNetwork)).toBe('RATE_LIMITED');
});

test('guesses that come all at once are limited like those that come one by one', async () => {
  const db = new CountingDb(world.database.pool);
  const authenticator = world.authenticator({ db });
  const guesses = Array.from({ length: 400 }, () =>
    refusalOf(authenticator.authenticate(credentials(makeKey('service')))),
  );
  const answers = await Promise.all(guesses);
  expect(answers.filter((answer) => answer === 'RATE_LIMITED')).toHaveLength(100);
  expect(db.count('keys.find_by_mac')).toBe(300);
});

test('good keys are not charged as guesses', async () => {
  const authenticator = world.authenticator();
  for (let n = 0; n < 320; n += 1) {
    const { secret } = await world.addKey();
    expect(await refusalOf(authenticator.authenticate(credentials(secret)))).toBe('allowed');
  }
});

test('an unknown key is looked up once in thirty seconds', async () => {
  const db = new CountingDb(world.database.pool);
  const authenticator = world.authenticator({ db });
  const unknown = makeKey('personal');
  const attempt = (): Promise<string> => refusalOf(authenticator.authenticate(credentials(unknown)));
  for (let n = 0; n < 50; n += 1) expect(await attempt()).toBe('UNAUTHENTICATED unknown');
  world.clock.advance(29_999);
  await attempt();
  expect(db.count('keys.find_by_mac')).toBe(1);
  world.clock.advance(1);
  await attempt();
  expect(db.count('keys.find_by_mac')).toBe(2);
});

test('the last use of a key is noted once a minute, by one process', async () => {
  const db = new CountingDb(world.database.pool);
  const authenticators = [world.authenticator({ db }), world.authenticator({ db })];
  const { id, secret } = await world.addKey();
  const use = async (): Promise<void> => {
    for (const authenticator of authenticators) await authenticator.authenticate(credentials(secret));
  };
  const lastUsed = async (): Promise<number | undefined> =>
    (
      await world.keys.find(
        { organizationId: world.organizationId, workspaceId: world.workspaceId, wholeOrganization: false },
        id,
      )
    )?.lastUsedAt?.getTime();
  const firstMs = world.clock.nowMs;
  await use();
  await eventually(async () => expect(await lastUsed()).toBe(firstMs));
  world.clock.advance(59_999);
  await use();
  expect(await lastUsed()).toBe(firstMs);
  world.clock.advance(1);
  await use();
  await eventually(async () => expect(await lastUsed()).toBe(firstMs + 60_000));
  expect(db.count('keys.touch')).toBeLessThanOrEqual(4);
});

test('while the database cannot answer, keys are refused for later and nothing is remembered', async () => {
  let broken = true;
  const authenticator = world.authenticator({
    db: {
      query: (text, values) =>
        broken
          ? Promise.reject(new Error('Connection terminated'))
          : world.database.pool.query(text as string, values),
    },
  });
  expect(await refusalOf(authenticator.authenticate(credentials(world.apiKey)))).toBe('UNAVAILABLE');
  broken = false;
  expect(await refusalOf(authenticator.authenticate(credentials(world.apiKey)))).toBe('allowed');
});
