import { inspect } from 'node:util';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { loadVaultKeys, Vault, VaultError } from '../../src/platform/vault.js';
import { createTestDatabase } from '../support/database.js';
import type { TestDatabase } from '../support/database.js';

let database: TestDatabase;
beforeAll(async () => {
  database = await createTestDatabase();
});
afterAll(() => database.drop());

const KEY = 'k'.repeat(40);
const OTHER = 'o'.repeat(40);
const HERE = ['model_providers', 'workspace', 'provider'];

test('what is sealed opens in its place and shows itself to nobody', () => {
  const vault = new Vault({ keys: [KEY] });
  const sealed = vault.seal('sk-hush', HERE);
  expect(sealed).not.toContain('hush');
  expect(vault.seal('sk-hush', HERE)).not.toBe(sealed);
  const opened = vault.open(sealed, HERE);
  expect(opened.reveal()).toBe('sk-hush');
  expect(`${inspect(opened)} ${JSON.stringify({ opened })} ${String(opened)}`).not.toContain('hush');
});

test('a secret moved to another row, changed or cut does not open', () => {
  const vault = new Vault({ keys: [KEY] });
  const sealed = vault.seal('sk-hush', HERE);
  const [version, id, text = ''] = sealed.split('.');
  const changed = `${text.slice(0, 20)}${text[20] === 'A' ? 'B' : 'A'}${text.slice(21)}`;
  for (const [attempt, binding] of [
    [sealed, ['model_providers', 'workspace', 'another']],
    [sealed, ['model_providers', 'another', 'provider']],
    [[version, id, changed].join('.'), HERE],
    [[version, id, text.slice(0, 10)].join('.'), HERE],
    ['nonsense', HERE],
  ] as const) {
    expect(() => vault.open(attempt, binding)).toThrow(VaultError);
  }
});

test('a new key seals, the old one still opens, and a missing one is named', () => {
  const sealed = new Vault({ keys: [OTHER] }).seal('sk-hush', HERE);
  const rotated = new Vault({ keys: [KEY, OTHER] });
  expect(rotated.isOutdated(sealed)).toBe(true);
  const again = rotated.seal(rotated.open(sealed, HERE).reveal(), HERE);
  expect(rotated.isOutdated(again)).toBe(false);
  expect(new Vault({ keys: [KEY] }).open(again, HERE).reveal()).toBe('sk-hush');
  expect(() => new Vault({ keys: [KEY] }).open(sealed, HERE)).toThrow(
    /^The key "[0-9a-f]{12}" .* TRACEWELL_SECRETS_KEY/,
  );
});

test('an installation makes one key for itself, and keeps it behind the one it is given later', async () => {
  const both = await Promise.all([loadVaultKeys(database.pool, []), loadVaultKeys(database.pool, [])]);
  expect(both[0]).toEqual(both[1]);
  expect(both[0]).toHaveLength(1);
  expect(await loadVaultKeys(database.pool, [KEY])).toEqual([KEY, both[0][0]]);
});
