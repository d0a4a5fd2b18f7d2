/** Who a client is where proxies stand in between, and which web pages may call. */
import { connect } from 'node:net';
import type { Socket } from 'node:net';
import { once } from 'node:events';
import { describe, expect, test } from '@jest/globals';
import { WebSocket } from 'ws';
import { loadConfig } from '../../src/config.js';
import { clientAddress, trustOf } from '../../src/platform/network.js';
import { eventually } from '../support/eventually.js';
import { closers, started } from '../support/started.js';

/** The code a socket is closed with; 0 where its key is accepted. */
async function socketOf(url: string, key: string, headers: Record<string, string>): Promise<number> {
  const socket = new WebSocket(url, 'graphql-transport-ws', { headers });
  closers.push(() => socket.terminate());
  const closed = once(socket, 'close') as Promise<[number]>;
  closed.catch(() => undefined);
  await once(socket, 'open');
  socket.send(JSON.stringify({ type: 'connection_init', payload: { 'x-api-key': key } }));
  return Promise.race([closed.then(([code]) => code), once(socket, 'message').then(() => 0)]);
}

const wrongKey = (index: number): string =>
  `wrong-key-${String(index).padStart(6, '0')}-0123456789-0123456789`;

describe('trusted proxies', () => {
  test('wrong keys of one client behind a proxy are not counted against another', async () => {
    const { http, socketUrl, keys } = await started({ TRUSTED_PROXIES: '10.0.0.0/8, 127.0.0.1' });
    const from = (ip: string) => ({ 'x-forwarded-for': `${ip}, 10.1.2.3` });
    const [guesser, other] = [from('198.51.100.7'), from('203.0.113.9')];
    let guesses = 0;
    const guess = async (): Promise<number> => {
      guesses += 1;
      return (await http('/sessions', { key: wrongKey(guesses), headers: guesser })).status;
    };
    const exhaust = async (): Promise<void> => {
      while ((await guess()) === 401) expect(guesses).toBeLessThan(5_000);
    };
    await exhaust();
    expect((await http('/sessions', { key: wrongKey(5_001), headers: other })).status).toBe(401);
    expect((await http('/sessions', { key: keys.full.secret, headers: other })).status).toBe(200);
    // Guesses come back with time: on a slow machine one is there again before the socket is open.
    await eventually(
      async () => {
        await exhaust();
        expect(await socketOf(socketUrl, wrongKey(5_002), guesser)).toBe(1013);
      },
      { timeoutMs: 30_000 },
    );
    expect(await socketOf(socketUrl, wrongKey(5_003), other)).toBe(4403);
    expect(await socketOf(socketUrl, keys.neighbour.secret, other)).toBe(0);
  });

  test('their connections are not one address, and links are made for the host they were asked for', async () => {
    const { url, http, keys } = await started({
      TRUSTED_PROXIES: '127.0.0.1',
      MAX_CONNECTIONS_PER_ADDRESS: '2',
    });
    const { hostname, port } = new URL(url);
    const sockets: Socket[] = [];
    for (let index = 0; index < 5; index += 1) {
      const socket = connect(Number(port), hostname);
      closers.push(() => socket.destroy());
      await once(socket, 'connect');
      sockets.push(socket);
    }
    expect((await http('/sessions', { key: keys.full.secret })).status).toBe(200);
    expect(sockets.map(({ destroyed }) => destroyed)).toEqual([false, false, false, false, false]);
  });

  test('nobody is believed who was not named, nor what stands before the first who was not', () => {
    const request = (remoteAddress: string, forwarded?: string) =>
      ({ socket: { remoteAddress }, headers: { 'x-forwarded-for': forwarded } }) as unknown as Parameters<
        typeof clientAddress
      >[0];
    const trust = trustOf(['10.0.0.0/8', '2001:db8::1']);
    const addressOf = (...args: Parameters<typeof request>) => clientAddress(request(...args), trust);
    expect(addressOf('192.0.2.1', '203.0.113.9')).toBe('192.0.2.1');
    expect(addressOf('::ffff:10.0.0.1', '198.51.100.66, 203.0.113.9')).toBe('203.0.113.9');
    expect(addressOf('2001:db8::1', '203.0.113.9, 10.9.9.9')).toBe('203.0.113.9');
    expect(addressOf('10.0.0.1', '10.0.0.2')).toBe('10.0.0.2');
    expect(addressOf('10.0.0.1')).toBe('10.0.0.1');
    expect(addressOf('10.0.0.1', 'nonsense')).toBe('nonsense');
    expect(clientAddress(request('10.0.0.1', '203.0.113.9'), trustOf([]))).toBe('10.0.0.1');
  });

  test('are addresses and ranges', () => {
    const load = (value: string) => () => loadConfig({ TRUSTED_PROXIES: value });
    expect(load('10.0.0.1, ::1/64')().gateway.trustedProxies).toEqual(['10.0.0.1', '::1/64']);
    expect(load('balancer')).toThrow('TRUSTED_PROXIES: must be a list of addresses or CIDRs');
    expect(load('10.0.0.1/33')).toThrow('TRUSTED_PROXIES');
  });
});

describe('web pages', () => {
  const CONSOLE = 'https://console.example';
  const ENV = { PUBLIC_URL: 'https://tracewell.example/base', ALLOWED_ORIGINS: CONSOLE };
  const OWN = 'https://tracewell.example';

  test('of an origin that is allowed may call, and read how it went', async () => {
    const { url, http, keys } = await started(ENV);
    for (const origin of [CONSOLE, OWN]) {
      for (const path of ['/graphql', '/api/v1/runs/query', '/runs/multipart']) {
        const headers = {
          origin,
          'access-control-request-method': 'POST',
          'access-control-request-headers': 'content-type,x-api-key',
        };
        const preflight = await fetch(url + path, { method: 'OPTIONS', headers });
        expect([preflight.status, preflight.headers.get('access-control-allow-origin')]).toEqual([
          204,
          origin,
        ]);
        const allowed = (preflight.headers.get('access-control-allow-headers') ?? '').split(', ');
        expect(allowed).toEqual(
          expect.arrayContaining([
            'apollo-require-preflight',
            'authorization',
            'content-type',
            'x-api-key',
            'x-tenant-id',
          ]),
        );
        expect(preflight.headers.get('access-control-allow-methods')).toContain('PATCH');
        expect(preflight.headers.get('access-control-allow-credentials')).toBeNull();
      }
      const key = keys.full.secret;
      for (const answer of [
        await http('/sessions', { key, headers: { origin } }),
        await http('/sessions', { key: wrongKey(1), headers: { origin } }),
        await http('/graphql', { key, headers: { origin }, body: { query: '{ viewer { scopes } }' } }),
        await http('/graphql', {
          key: wrongKey(2),
          headers: { origin },
          body: { query: '{ viewer { scopes } }' },
        }),
      ]) {
        expect(answer.headers.get('access-control-allow-origin')).toBe(origin);
        expect((answer.headers.get('access-control-expose-headers') ?? '').split(', ')).toEqual(
          expect.arrayContaining(['ratelimit', 'ratelimit-policy', 'retry-after', 'x-request-id']),
        );
        expect(answer.headers.get('vary')).toContain('Origin');
      }
    }
  });

  test('of other origins may not, over HTTP and socket alike', async () => {
    const { url, http, socketUrl, keys } = await started(ENV);
    const key = keys.full.secret;
    const origin = 'https://evil.example';
    const preflight = await fetch(`${url}/graphql`, {
      method: 'OPTIONS',
      headers: { origin, 'access-control-request-method': 'POST' },
    });
    expect(preflight.headers.get('access-control-allow-origin')).toBeNull();
    const answer = await http('/sessions', { key, headers: { origin } });
    expect(answer.headers.get('access-control-allow-origin')).toBeNull();
    await expect(socketOf(socketUrl, key, { origin })).rejects.toThrow('403');
    // A proxy may have changed the host on the way: the origin is told by what is configured.
    for (const allowed of [CONSOLE, OWN]) expect(await socketOf(socketUrl, key, { origin: allowed })).toBe(0);
  });

  test('of other origins get no answer to a preflight where none is allowed', async () => {
    const { url } = await started({});
    const headers = { origin: CONSOLE, 'access-control-request-method': 'POST' };
    const preflight = await fetch(`${url}/graphql`, { method: 'OPTIONS', headers });
    expect([preflight.status, preflight.headers.get('access-control-allow-origin')]).toEqual([404, null]);
  });

  test('are named by their origin', () => {
    const load = (value: string) => () => loadConfig({ ALLOWED_ORIGINS: value });
    expect(load(`${CONSOLE}, http://localhost:5173`)().gateway.allowedOrigins).toEqual([
      CONSOLE,
      'http://localhost:5173',
    ]);
    for (const wrong of ['*', 'console.example', `${CONSOLE}/`, `${CONSOLE}/page`, 'null']) {
      expect(load(wrong)).toThrow('ALLOWED_ORIGINS: must be a list of origins');
    }
  });
});
