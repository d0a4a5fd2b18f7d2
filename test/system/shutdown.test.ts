/** How a gateway ends when it is told to: in order with subscribers connected, at once when it is told again. */
import { afterEach, expect, test } from '@jest/globals';
import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { request } from 'node:http';
import path from 'node:path';
import { freePort } from '../../src/platform/port-check.js';
import { createTestDatabase } from '../support/database.js';
import { eventually } from '../support/eventually.js';
import { createProject, EVENTS } from '../support/feed-load.js';
import { LiveClient } from '../support/live-client.js';
import { API_KEY, installOn, untilReady } from '../support/processes.js';

const closers: (() => unknown)[] = [];
afterEach(async () => {
  for (const close of closers.splice(0).reverse()) await close();
}, 40_000);

async function started(): Promise<{ readonly url: string; readonly gateway: ChildProcess }> {
  const database = await createTestDatabase();
  closers.push(() => database.drop());
  await installOn(database.url);
  const port = await freePort();
  const gateway = spawn(process.execPath, [path.resolve('dist/src/main.js')], {
    env: {
      ...process.env,
      NODE_OPTIONS: '',
      NODE_ENV: 'production',
      DATABASE_URL: database.url,
      TRACEWELL_INIT_API_KEY: API_KEY,
      LOG_LEVEL: 'silent',
      PORT: String(port),
    },
    stdio: 'ignore',
  });
  closers.push(() => gateway.kill('SIGKILL'));
  const url = `http://127.0.0.1:${port}`;
  await untilReady(url);
  return { url, gateway };
}

test('subscribers are told to come back, and keep no gateway from ending in order', async () => {
  const { url, gateway } = await started();
  const project = await createProject(url, 'live');
  const clients = Array.from({ length: 5 }, () => {
    const options = { url: () => url, apiKey: API_KEY, query: EVENTS('uuid'), variables: { project } };
    const client = new LiveClient(options);
    closers.push(() => client.stop());
    return client;
  });
  await eventually(() => expect(clients.map(({ ready }) => ready)).toEqual([1, 1, 1, 1, 1]));
  const before = performance.now();
  gateway.kill('SIGTERM');
  const [code] = (await once(gateway, 'exit')) as [number | null];
  expect(code).toBe(0);
  expect(performance.now() - before).toBeLessThan(30_000);
  await eventually(() =>
    expect(clients.map(({ closeCodes }) => closeCodes[0])).toEqual([1012, 1012, 1012, 1012, 1012]),
  );
  for (const { cursor, errors } of clients) expect([typeof cursor, errors]).toEqual(['string', []]);
}, 60_000);

test('a second signal is the same wish at first, and after five seconds ends at once', async () => {
  const { url, gateway } = await started();
  // A request that never ends keeps an orderly stop waiting for fifteen seconds.
  const endless = request(`${url}/runs`, { method: 'POST', headers: { 'x-api-key': API_KEY } });
  closers.push(() => endless.destroy());
  endless.on('error', () => undefined);
  endless.write('{');
  await eventually(async () => {
    const response = await fetch(`${url}/metrics`);
    expect(await response.text()).toMatch(/^tracewell_ingest_inflight_bytes 1$/m);
  });
  const before = performance.now();
  const exited = once(gateway, 'exit') as Promise<[number | null]>;
  gateway.kill('SIGTERM');
  const again = setInterval(() => gateway.kill('SIGTERM'), 250);
  const [code] = await exited;
  clearInterval(again);
  const took = performance.now() - before;
  expect(code).toBe(1);
  expect(took).toBeGreaterThan(5_000);
  expect(took).toBeLessThan(15_000);
}, 60_000);
