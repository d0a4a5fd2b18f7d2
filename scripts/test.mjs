// Runs the test suite: builds, starts one embedded Postgres and (where a redis-server is to be found) one Redis
// for the whole run, hands their addresses to jest, and takes both down again. Arguments go to jest. Where they select no
// tests, the suites that read and write as tenants do run once more with row-level security on every table: an answer that is
// different then was given by a statement without its workspace. The last line printed is the count,
// `N passed, N failed`, for machines that read no summary.
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
const given = process.argv.slice(2);

/** What runs a second time, with row-level security on every table. */
const ORACLE = [
  'test/conformance/row-security',
  'test/datasets',
  'test/experiments/(reading|worker)',
  'test/feedback',
  'test/graphql/idempotency',
  'test/harvest/harvest',
  'test/projects',
  'test/rest',
  'test/runs',
  'test/security/.*-matrix',
  'test/system/harness',
  'test/tenancy',
  'test/threads',
  'test/e2e/client',
];
const LEGS = [{ name: 'suite', args: given, env: {} }];
// CI has a quarter of an hour for the suite and little more: there the matrices of callers go a second time, not all.
const IN_CI = ORACLE.filter((suites) => /row-security|matrix/.test(suites));
if (given.length === 0) LEGS.push({ name: 'row-security', args: ORACLE, env: { TEST_ROW_SECURITY: 'all' } });
else if (given.every((argument) => argument === '--ci')) {
  LEGS.push({ name: 'row-security', args: [...given, ...IN_CI], env: { TEST_ROW_SECURITY: 'all' } });
}

/** A file that could not be run counts as one failure: none of its tests was counted. */
async function tally() {
  let [passed, failed, skipped] = [0, 0, 0];
  for (const { name } of LEGS) {
    const found = await readFile(resultsOf(name), 'utf8').then(JSON.parse, () => undefined);
    passed += found?.numPassedTests ?? 0;
    failed += found === undefined ? 1 : found.numFailedTests + found.numRuntimeErrorTestSuites;
    skipped += found === undefined ? 0 : found.numPendingTests + found.numTodoTests;
  }
  return `${passed} passed, ${failed} failed${skipped > 0 ? `, ${skipped} skipped` : ''}`;
}

const resultsOf = (leg) => path.join(scratch, `${leg}.json`);

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
  let child;
  let interrupted = false;
  for (const signal of ['SIGINT', 'SIGTERM']) {
    process.on(signal, () => {
      interrupted = true;
      child?.kill(signal);
    });
  }
  const run = (args, env) =>
    new Promise((resolve) => {
      const all = { ...process.env, NODE_ENV: 'test', ...addresses, ...env };
      child = spawn(process.execPath, args, { stdio: 'inherit', env: all });
      child.once('close', (code) => resolve(code ?? 1));
    });
  if (serve) status = await run(['-e', 'setInterval(() => {}, 60_000)'], {});
  else {
    const jest = ['--experimental-vm-modules', '--no-warnings', 'node_modules/jest/bin/jest.js', '--json'];
    status = 0;
    for (const { name, args, env } of LEGS) {
      if (interrupted) break;
      if (LEGS.length > 1) console.log(`\n── ${name} ──`);
      status = (await run([...jest, `--outputFile=${resultsOf(name)}`, ...args], env)) || status;
    }
  }
  if (!serve) summary = await tally();
} finally {
  for (const stop of stops) await stop();
  await rm(scratch, { recursive: true, force: true });
}
if (summary !== undefined) console.log(`\n${summary}`);
process.exitCode = status;
