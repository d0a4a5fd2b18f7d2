// Runs the test suite: builds, starts one embedded Postgres and (where a redis-server is to be found) one Redis
// for the whole run, hands their addresses to jest, and takes both down again. Arguments go to jest. The last line
// printed is the count, `N passed, N failed`, for machines that read no summary.
import { spawn, spawnSync } from 'node:child_process';
import { chmod, mkdtemp, readFile, rm } from 'node:fs/promises';
import { createServer } from 'node:net';
import os from 'node:os';
import path from 'node:path';
import { build } from './build.mjs';

await build();
const { startEmbeddedPostgres } = await import('../dist/src/platform/embedded-postgres.js');
const { createLogger } = await import('../dist/src/platform/log.js');

// `--serve` only starts the servers, for a developer who runs jest by hand against them.
const serve = process.argv.includes('--serve');
const scratch = await mkdtemp(path.join(os.tmpdir(), 'tracewell-test-'));
// As root the server runs as another user, who must be able to pass.
await chmod(scratch, 0o711);
const log = createLogger(process.env.TEST_LOG_LEVEL ?? 'warn', 'test');
const stops = [];
const results = path.join(scratch, 'results.json');

/** A file that could not be run counts as one failure: none of its tests was counted. */
async function tally() {
  const found = await readFile(results, 'utf8').then(JSON.parse, () => undefined);
  if (found === undefined) return '0 passed, 1 failed';
  const skipped = found.numPendingTests + found.numTodoTests;
  const failed = found.numFailedTests + found.numRuntimeErrorTestSuites;
  return `${found.numPassedTests} passed, ${failed} failed${skipped > 0 ? `, ${skipped} skipped` : ''}`;
}

async function freePort() {
  return new Promise((resolve) => {
    const probe = createServer();
    probe.listen(0, '127.0.0.1', () => {
      const { port } = probe.address();
      probe.close(() => resolve(port));
    });
  });
}

async function startRedis() {
  if (process.env.REDIS_URL) return process.env.REDIS_URL;
  if (spawnSync('redis-server', ['--version']).status !== 0) return undefined;
  const port = await freePort();
  const flags = ['--port', port, '--bind', '127.0.0.1', '--dir', scratch, '--databases', 64];
  const safe = [
    '--appendonly',
    'yes',
    '--appendfsync',
    'everysec',
    '--maxmemory-policy',
    'noeviction',
    '--save',
    '',
  ];
  const child = spawn('redis-server', [...flags, ...safe].map(String), { stdio: 'ignore' });
  stops.push(
    () =>
      new Promise((resolve) =>
        child.exitCode === null ? (child.once('close', resolve), child.kill()) : resolve(),
      ),
  );
  return `redis://127.0.0.1:${port}`;
}

let status = 1;
let summary;
try {
  const postgres = await startEmbeddedPostgres({
    dataDir: path.join(scratch, 'data'),
    log,
    // Tests make and drop many databases; durability is tested where a test starts a server of its own.
    settings: ['fsync=off', 'full_page_writes=off', 'max_connections=300', 'shared_buffers=512MB'],
  });
  stops.unshift(() => postgres.stop());
  const redis = await startRedis();
  console.log(
    redis
      ? 'Redis leg: runs, on the redis-server found here.'
      : 'Redis leg: SKIPPED, no REDIS_URL and no redis-server on PATH.',
  );
  const addresses = { TEST_DATABASE_URL: postgres.url, ...(redis ? { TEST_REDIS_URL: redis } : {}) };
  if (serve) for (const [name, value] of Object.entries(addresses)) console.log(`export ${name}=${value}`);
  const command = serve
    ? ['-e', 'setInterval(() => {}, 60_000)']
    : [
        '--experimental-vm-modules',
        '--no-warnings',
        'node_modules/jest/bin/jest.js',
        '--json',
        `--outputFile=${results}`,
        ...process.argv.slice(2),
      ];
  const jest = spawn(process.execPath, command, {
    stdio: 'inherit',
    env: { ...process.env, NODE_ENV: 'test', ...addresses },
  });
  for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => jest.kill(signal));
  status = await new Promise((resolve) => jest.once('close', (code) => resolve(code ?? 1)));
  if (!serve) summary = await tally();
} finally {
  for (const stop of stops) await stop();
  await rm(scratch, { recursive: true, force: true });
}
if (summary !== undefined) console.log(`\n${summary}`);
process.exitCode = status;
