import { connect } from 'node:net';
import type { Socket } from 'node:net';
import { once } from 'node:events';
import { afterEach, expect, test } from '@jest/globals';
import { loadConfig } from '../../src/config.js';
import { addressGroup } from '../../src/http/connection-limit.js';
import { eventually } from '../support/eventually.js';
import { startHarness } from '../support/harness.js';

const closers: (() => unknown)[] = [];
afterEach(async () => {
  for (const close of closers.splice(0).reverse()) await close();
}, 30_000);

async function open(url: string): Promise<Socket> {
  const { hostname, port } = new URL(url);
  const socket = connect(Number(port), hostname);
  closers.push(() => socket.destroy());
  socket.on('error', () => undefined);
  await once(socket, 'connect');
  return socket;
}

/** All that the server says until it closes the connection. */
async function answerOf(socket: Socket): Promise<string> {
  let text = '';
  socket.on('data', (chunk: Buffer) => (text += chunk.toString()));
  await once(socket, 'close');
  return text;
}

test('an address holds so many connections and no more, silent ones included, until it lets one go', async () => {
  const limit = 12;
  const harness = await startHarness({ env: { MAX_CONNECTIONS_PER_ADDRESS: String(limit) } });
  closers.push(() => harness.close());
  const silent: Socket[] = [];
  for (let index = 0; index < limit - 1; index += 1) silent.push(await open(harness.url));
  const request = 'GET /ok HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n';

  // One below the limit, at it, and above.
  const last = await open(harness.url);
  last.write(request);
  expect(await answerOf(last)).toContain('200 OK');
  silent.push(await open(harness.url));
  const startedAt = performance.now();
  const refused = await open(harness.url);
  // A whole request does not get past it either.
  refused.write(request);
  const answer = await answerOf(refused);
  expect(answer).toMatch(/^HTTP\/1\.1 503 Service Unavailable\r\nRetry-After: 10\r\nConnection: close\r\n/);
  expect(answer).not.toContain('200 OK');
  expect(performance.now() - startedAt).toBeLessThan(2_000);

  silent.pop()?.destroy();
  await eventually(async () => {
    const { status, text } = await harness.http('/metrics');
    expect(status).toBe(200);
    expect(text).toMatch(/tracewell_ingest_shed_total\{reason="connections"\} [1-9]/);
  });
  // Those that were there all along still work.
  const [first] = silent;
  first?.write(request);
  expect(await answerOf(first!)).toContain('200 OK');
}, 30_000);

test('a thousand are allowed by default, and settings allow more', () => {
  expect(loadConfig({}).gateway.connectionsPerAddress).toBe(1_000);
  expect(loadConfig({ MAX_CONNECTIONS_PER_ADDRESS: '20000' }).gateway.connectionsPerAddress).toBe(20_000);
  expect(() => loadConfig({ MAX_CONNECTIONS_PER_ADDRESS: '0' })).toThrow('MAX_CONNECTIONS_PER_ADDRESS');
});

test('addresses are counted by who owns them', () => {
  expect(addressGroup('192.0.2.7')).toBe('192.0.2.7');
  expect(addressGroup('::ffff:192.0.2.7')).toBe('192.0.2.7');
  expect(addressGroup('2001:db8:1:2:3:4:5:6')).toBe('2001:db8:1:2');
  expect(addressGroup('2001:db8:1:2::6')).toBe('2001:db8:1:2');
  expect(addressGroup('2001:db8::6')).toBe('2001:db8:0:0');
  expect(addressGroup('2001::4:5:6:7:8')).toBe('2001:0:0:4');
  expect(addressGroup('::1')).toBe('0:0:0:0');
});
