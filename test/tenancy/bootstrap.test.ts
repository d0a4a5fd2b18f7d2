import { afterAll, expect, test } from '@jest/globals';
import { systemClock } from '../../src/platform/clock.js';
import { systemIds } from '../../src/platform/ids.js';
import { bootstrapInstallation } from '../../src/tenancy/bootstrap.js';
import type { Bootstrapped } from '../../src/tenancy/bootstrap.js';
import { loadPepper } from '../../src/tenancy/pepper.js';
import { createTestDatabase } from '../support/database.js';
import { PEPPER, createTenancyWorld, credentials, refusalOf } from './world.js';

const world = await createTenancyWorld();
const fresh = await createTestDatabase();
afterAll(async () => {
  await world.close();
  await fresh.drop();
});

const start = (initApiKey?: string): Promise<Bootstrapped> =>
  bootstrapInstallation({
    pool: world.database.pool,
    pepper: PEPPER,
    initApiKey,
    ids: systemIds,
    clock: systemClock,
  });

const countKeys = async (): Promise<number> =>
  Number((await world.database.pool.query<{ n: string }>('select count(*) as n from api_keys')).rows[0]?.n);

test('processes that start at once make one of each, and one of them is told the key', async () => {
  const starts = await Promise.all(
    Array.from({ length: 6 }, async () => {
      const pepper = await loadPepper(fresh.pool, undefined);
      const made = await bootstrapInstallation({
        pool: fresh.pool,
        pepper,
        initApiKey: undefined,
        ids: systemIds,
        clock: systemClock,
      });
      return { pepper, ...made };
    }),
  );
  expect(new Set(starts.map((one) => one.pepper)).size).toBe(1);
  expect(new Set(starts.map((one) => one.workspaceId)).size).toBe(1);
  expect(starts.filter((one) => one.apiKey !== undefined)).toHaveLength(1);
  const { rows } = await fresh.pool.query(
    `select (select count(*) from organizations) as organizations, (select count(*) from workspaces) as workspaces,
       (select count(*) from users) as users, (select count(*) from api_keys) as keys`,
  );
  expect(rows).toEqual([{ organizations: '1', workspaces: '1', users: '1', keys: '1' }]);
});

test('a configured pepper wins over the stored one', async () => {
  expect(await loadPepper(fresh.pool, 'configured')).toBe('configured');
  expect(await loadPepper(fresh.pool, undefined)).toMatch(/^[\w-]{43}$/);
});

test('a later start finds everything there and tells no key', async () => {
  const before = await countKeys();
  expect(await start()).toEqual({ organizationId: world.organizationId, workspaceId: world.workspaceId });
  expect(await countKeys()).toBe(before);
});

test('any string of 32 characters works as the first key; another value later is a further key', async () => {
  const authenticator = world.authenticator();
  // The second is in the form of a key of the hosted service: our prefix, but not our length.
  const values = ['an-operator-chose-these-32-chars', 'lsv2_pt_0123456789abcdef0123456789abcdef_0123456789'];
  const before = await countKeys();
  for (const value of values) {
    expect(await start(value)).toEqual({
      organizationId: world.organizationId,
      workspaceId: world.workspaceId,
    });
    await start(value);
  }
  expect(await countKeys()).toBe(before + 2);
  for (const value of values) {
    expect(await authenticator.authenticate(credentials(value))).toMatchObject({
      workspaceId: world.workspaceId,
      organizationAdmin: true,
    });
  }
});

test('an initial key that was revoked stays revoked', async () => {
  const value = 'an-initial-key-that-leaked-somewhere';
  await start(value);
  const { rows } = await world.database.pool.query<{ id: string }>(
    'select id from api_keys order by id desc limit 1',
  );
  await world.keys.revoke(rows[0]?.id as string, systemClock.now());
  await start(value);
  const authenticator = world.authenticator();
  expect(await refusalOf(authenticator.authenticate(credentials(value)))).toBe('UNAUTHENTICATED revoked');
});

test('an initial key that could never sign in is refused at the start', async () => {
  const before = await countKeys();
  for (const value of [
    'too short',
    'a value with spaces that is long enough',
    `lsv2_sk_${'a'.repeat(43)}_000000`,
  ]) {
    await expect(start(value)).rejects.toThrow('TRACEWELL_INIT_API_KEY must be');
  }
  expect(await countKeys()).toBe(before);
});
