import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { spawn, spawnSync } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { chmod, mkdtemp, rm, writeFile } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { eventually } from '../support/eventually.js';
import { freePort } from '../../src/platform/port-check.js';

const started: Started[] = [];
let folder: string;
let port: number;
let workerPort: number;

beforeAll(async () => {
  folder = await mkdtemp(path.join(os.tmpdir(), 'tracewell-start-'));
  // As root, Postgres runs as another user, who must be able to pass.
  await chmod(folder, 0o711);
  port = await freePort();
  workerPort = await freePort();
});

afterAll(async () => {
  for (const one of started) one.child.kill('SIGTERM');
  await Promise.all(started.map((one) => one.ended));
  await rm(folder, { recursive: true, force: true });
}, 60_000);

interface Started {
  readonly child: ChildProcess;
  readonly output: () => string;
  readonly ended: Promise<number | null>;
}

/** What `npm start` runs after the build. */
function start(env: Readonly<Record<string, string>> = {}): Started {
  const child = spawn(process.execPath, ['dist/src/start.js'], {
    stdio: ['ignore', 'pipe', 'pipe'],
    env: {
      PATH: process.env['PATH'],
      PORT: String(port),
      WORKER_PORT: String(workerPort),
      TRACEWELL_DATA_DIR: path.join(folder, 'data'),
      LOG_LEVEL: 'error',
      ...env,
    },
  });
  let text = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream.on('data', (chunk: Buffer) => (text += chunk.toString()));
  }
  const ended = new Promise<number | null>((resolve) => child.once('close', (code) => resolve(code)));
  const one = { child, output: () => text, ended };
  started.push(one);
  return one;
}

async function ready(one: Started): Promise<string> {
  return eventually(
    () => {
      if (!one.output().includes('Tracewell is ready.')) throw new Error(`not ready:\n${one.output()}`);
      return /API key {3}(\S+)/.exec(one.output())![1]!;
    },
    { timeoutMs: 60_000 },
  );
}

const runs = async (key: string): Promise<unknown> => {
  const response = await fetch(`http://127.0.0.1:${port}/graphql`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', 'x-api-key': key },
    body: JSON.stringify({ query: '{ runs(first: 10) { nodes { name status inputs outputs } } }' }),
  });
  const { data } = (await response.json()) as { data: { runs: { nodes: unknown } } };
  return data.runs.nodes;
};

/** Processes that name the test's folder or were started from it. */
function leftBehind(): string[] {
  const { stdout } = spawnSync('ps', ['-eo', 'pid,args'], { encoding: 'utf8' });
  return stdout.split('\n').filter((line) => line.includes(path.join(folder, 'data')));
}

const refusesConnections = async (onPort: number): Promise<void> => {
  await expect(fetch(`http://127.0.0.1:${onPort}/healthz`)).rejects.toThrow();
};

const HELLO = {
  name: 'hello',
  status: 'SUCCESS',
  inputs: { input: 'world' },
  outputs: { outputs: 'Hello world' },
};

// The steps of one life, in order: each goes on where the last one ended.
let first: Started;
let key: string;

test('a first start on an empty folder prints a trace to paste, and that trace arrives', async () => {
  first = start();
  key = await ready(first);
  const snippet = /^ {2}export [\s\S]*?\n\n/m.exec(first.output())![0];
  const pasted = spawnSync('sh', ['-e', '-c', snippet], { encoding: 'utf8', timeout: 60_000 });
  expect(pasted.stderr).toBe('');
  expect(pasted.status).toBe(0);
  expect(
    await eventually(async () => {
      const found = await runs(key);
      expect(found).toEqual([HELLO]);
      return found;
    }),
  ).toEqual([HELLO]);
}, 120_000);

test('a second start on the same folder refuses and says what to do', async () => {
  const second = start({ PORT: String(await freePort()), WORKER_PORT: String(await freePort()) });
  expect(await second.ended).toBe(1);
  expect(second.output()).toBe(
    `Tracewell already runs on the data directory ${path.join(folder, 'data')}.\n` +
      'Stop it first, or set TRACEWELL_DATA_DIR, PORT and WORKER_PORT for a second one.\n',
  );
}, 30_000);

test('a port that is taken is named at once', async () => {
  const other = start({ TRACEWELL_DATA_DIR: path.join(folder, 'other') });
  expect(await other.ended).toBe(1);
  expect(other.output()).toBe(
    `Port ${port} on 127.0.0.1 is taken by another program. Set PORT to another.\n`,
  );
}, 30_000);

test('every wrong setting is reported, and the exit code is 78', async () => {
  const wrong = start({ PORT: '99999', REDIS_URL: 'http://x', LOG_LEVEL: 'loud' });
  expect(await wrong.ended).toBe(78);
  expect(wrong.output()).toMatch(
    /^The configuration has 3 problem\(s\):\n {2}PORT: .+\n {2}REDIS_URL: .+\n {2}LOG_LEVEL: .+\n$/,
  );
}, 30_000);

test('a data directory that cannot be is refused in words', async () => {
  const file = path.join(folder, 'a-file');
  await writeFile(file, '');
  const refused = start({
    TRACEWELL_DATA_DIR: file,
    PORT: String(await freePort()),
    WORKER_PORT: String(await freePort()),
  });
  expect(await refused.ended).toBe(1);
  expect(refused.output()).toContain(`The data directory ${file} cannot be used: `);
  expect(refused.output()).not.toContain('    at ');
}, 30_000);

test('after the supervisor was killed the next start is back within ten seconds with data and key', async () => {
  first.child.kill('SIGKILL');
  await first.ended;
  const before = performance.now();
  first = start();
  expect(await ready(first)).toBe(key);
  // The promise is 10 s on a machine of its own; here other tests run beside.
  expect(performance.now() - before).toBeLessThan(20_000);
  expect(await runs(key)).toEqual([HELLO]);
}, 90_000);

test('SIGTERM leaves no process and no listener behind', async () => {
  first.child.kill('SIGTERM');
  expect(await first.ended).toBe(0);
  expect(leftBehind()).toEqual([]);
  await refusesConnections(port);
  await refusesConnections(workerPort);
}, 60_000);

test('a start after an orderly stop has the data and the key, and a signal during it leaves nothing behind', async () => {
  first = start();
  expect(await ready(first)).toBe(key);
  expect(await runs(key)).toEqual([HELLO]);
  first.child.kill('SIGINT');
  expect(await first.ended).toBe(0);

  const interrupted = start();
  await eventually(() => expect(leftBehind().length).toBeGreaterThan(0), { timeoutMs: 30_000 });
  interrupted.child.kill('SIGINT');
  expect(await interrupted.ended).toBe(0);
  expect(leftBehind()).toEqual([]);
  await refusesConnections(port);
}, 120_000);
