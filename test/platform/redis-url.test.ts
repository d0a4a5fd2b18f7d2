import { describe, expect, test } from '@jest/globals';
import { ConfigError, loadConfig } from '../../src/config.js';
import { parseClusterUrl } from '../../src/platform/redis-url.js';

test('a cluster is named by its nodes, with one login and TLS for all of them', () => {
  expect(parseClusterUrl('rediss+cluster://app:p%40ss%2C@a.example:7000,10.0.0.2,[::1]:7002/')).toEqual({
    nodes: [
      { host: 'a.example', port: 7000 },
      { host: '10.0.0.2', port: 6379 },
      { host: '::1', port: 7002 },
    ],
    username: 'app',
    password: 'p@ss,',
    tls: true,
  });
  expect(parseClusterUrl('redis+cluster://:pw@one')).toEqual({
    nodes: [{ host: 'one', port: 6379 }],
    username: undefined,
    password: 'pw',
    tls: false,
  });
});

test.each(['redis://a:6379', 'rediss://:pw@a:6379/3'])('%s is one server', (url) => {
  expect(parseClusterUrl(url)).toBeUndefined();
  expect(loadConfig({ REDIS_URL: url }).redis.kind).toBe('redis');
});

describe('REDIS_URL is refused, without a word of what it says', () => {
  test.each([
    ['redis+cluster://', 'must name its nodes as host:port,host:port; number 1 is none'],
    ['redis+cluster://:hush@a:7000,', 'must name its nodes as host:port,host:port; number 2 is none'],
    ['redis+cluster://:hush@a:7000,b:70000', 'must name its nodes as host:port,host:port; number 2 is none'],
    ['redis+cluster://a,redis://:hush@b', 'must have user and password percent-encoded'],
    ['redis+cluster://:hush@a:7000/1', 'must end with the nodes; a cluster has no numbered databases'],
    ['redis+cluster://:hush@a:7000?tls=true', 'must end with the nodes; a cluster has no numbered databases'],
    ['redis+cluster://hush@a:7000', 'must name the user with a password, as in user:password@'],
    ['redis+cluster://:hush%@a:7000', 'must have user and password percent-encoded'],
    ...['http://hush', 'redis://a:1,hush:2', 'redis://a,hush', 'redis-cluster://hush'].map((url) => [
      url,
      'must be a URL starting with redis:// or rediss://; of a cluster, with redis+cluster:// or rediss+cluster://',
    ]),
  ])('%s', (url, problem) => {
    expect(() => loadConfig({ REDIS_URL: url })).toThrow(new ConfigError([`REDIS_URL: ${problem}`]));
  });
});
