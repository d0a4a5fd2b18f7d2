import { expect, test } from '@jest/globals';
import { ConfigError, loadConfig } from '../../src/config.js';

test('hosts and keys are lists with commas; nothing is an empty list', () => {
  const config = loadConfig({
    OUTBOUND_ALLOWED_PRIVATE_HOSTS: 'ollama:11434, [::1]:8000,10.0.0.7:80',
    TRACEWELL_SECRETS_KEY: `${'n'.repeat(32)}, ${'o'.repeat(32)}`,
  });
  expect(config.outbound.allowedHosts).toEqual(['ollama:11434', '[::1]:8000', '10.0.0.7:80']);
  expect(config.secretsKeys.map((key) => key.reveal())).toEqual(['n'.repeat(32), 'o'.repeat(32)]);
  expect(JSON.stringify(config)).not.toContain('nnnn');
  const { outbound, secretsKeys } = loadConfig({ OUTBOUND_ALLOWED_PRIVATE_HOSTS: '' });
  expect([outbound.allowedHosts, secretsKeys]).toEqual([[], []]);
});

test.each([
  'ollama',
  'ollama:',
  'http://ollama:11434',
  'ollama:11434/v1',
  'user@ollama:11434',
  'a b:80',
  'a:99999',
])('the host %j is refused', (OUTBOUND_ALLOWED_PRIVATE_HOSTS) => {
  expect(() => loadConfig({ OUTBOUND_ALLOWED_PRIVATE_HOSTS })).toThrow(ConfigError);
});

test('a short key is refused, also as the second, and not repeated in the message', () => {
  expect(() => loadConfig({ TRACEWELL_SECRETS_KEY: `${'n'.repeat(32)},short-hush` })).toThrow(
    /^The configuration has 1 problem\(s\):\n {2}TRACEWELL_SECRETS_KEY: every key has 32 characters or more$/,
  );
});
