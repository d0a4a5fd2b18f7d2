import { expect, test } from '@jest/globals';
import fc from 'fast-check';
import { checksumOk, keyHint, keyMac, makeKey } from '../../src/tenancy/api-key.js';

test('generated keys have the published form and their checksum', () => {
  for (let n = 0; n < 500; n += 1) {
    const service = makeKey('service');
    expect(service).toMatch(/^lsv2_sk_[\w-]{43}_[0-9a-f]{6}$/);
    expect(checksumOk(service)).toBe(true);
    expect(makeKey('personal')).toMatch(/^lsv2_pt_[\w-]{43}_[0-9a-f]{6}$/);
  }
  expect(makeKey('service', () => Buffer.alloc(32, 7))).toBe(makeKey('service', () => Buffer.alloc(32, 7)));
});

test('one wrong character is noticed', () => {
  const key = makeKey('service', () => Buffer.alloc(32, 1));
  const alphabet = 'ABCDEFabcdef0123456789'.split('');
  for (let at = 8; at < key.length; at += 1) {
    if (at === 51) continue;
    for (const other of alphabet) {
      if (other === key[at]) continue;
      const wrong = key.slice(0, at) + other + key.slice(at + 1);
      const stillOurs = /^lsv2_sk_[\w-]{43}_[0-9a-f]{6}$/.test(wrong);
      if (stillOurs) expect([wrong, checksumOk(wrong)]).toEqual([wrong, false]);
    }
  }
});

test('any printable string of 32 to 256 characters without spaces may be a key', () => {
  const printable = fc.string({
    unit: fc.integer({ min: 0x21, max: 0x7e }).map((code) => String.fromCharCode(code)),
    minLength: 0,
    maxLength: 300,
  });
  fc.assert(
    fc.property(printable, (text) => {
      expect(checksumOk(text)).toBe(text.length >= 32 && text.length <= 256);
    }),
  );
  expect(checksumOk(`${'a'.repeat(31)} `)).toBe(false);
  expect(checksumOk(`${'a'.repeat(31)}é`)).toBe(false);
});

test('the hint shows the kind and four characters, none of them of the secret', () => {
  const key = makeKey('personal');
  expect(keyHint(key)).toBe(`lsv2_pt_…${key.slice(-4)}`);
  expect(keyHint('an-operator-chose-these-32-chars')).toBe('…hars');
});

test('the digest depends on the pepper and on every character', () => {
  const key = makeKey('service');
  expect(keyMac('a', key)).toEqual(keyMac('a', key));
  expect(keyMac('a', key)).toHaveLength(32);
  expect(keyMac('b', key)).not.toEqual(keyMac('a', key));
  expect(keyMac('a', `${key}x`)).not.toEqual(keyMac('a', key));
});
