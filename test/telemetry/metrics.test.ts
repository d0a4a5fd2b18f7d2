/** What Prometheus finds at a gateway and at a worker process, against what docs/operation.md promises. */
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { readFileSync } from 'node:fs';
import { v7 } from 'uuid';
import { createTestDatabase } from '../support/database.js';
import type { TestDatabase } from '../support/database.js';
import { eventually } from '../support/eventually.js';
import { LiveClient } from '../support/live-client.js';
import { API_KEY, installOn, startGateway, startWorker } from '../support/processes.js';
import type { RunningGateway } from '../support/processes.js';
import { createTcpProxy } from '../support/tcp-proxy.js';
import type { TcpProxy } from '../support/tcp-proxy.js';

let database: TestDatabase;
let proxy: TcpProxy;
let gateway: RunningGateway;
let worker: RunningGateway;

beforeAll(async () => {
  database = await createTestDatabase();
  proxy = await createTcpProxy(database.url);
  await installOn(database.url);
  [gateway, worker] = await Promise.all([
    startGateway({ databaseUrl: proxy.url(database.url) }),
    startWorker({ databaseUrl: proxy.url(database.url) }),
  ]);
}, 60_000);

afterAll(async () => {
  await Promise.all([gateway.stop(), worker.stop()]);
  await proxy.close();
  await database.drop();
}, 60_000);

interface Family {
  readonly type: string;
  readonly help: string;
  readonly series: { readonly labels: Readonly<Record<string, string>>; readonly value: number }[];
}

/** The text format of Prometheus, by family: `_bucket`, `_sum` and `_count` belong to their histogram. */
async function scrape({ url }: RunningGateway): Promise<Map<string, Family>> {
  const response = await fetch(`${url}/metrics`);
  expect([response.status, response.headers.get('content-type')?.split(';')[0]]).toEqual([200, 'text/plain']);
  const families = new Map<string, Family>();
  let help = '';
  for (const line of (await response.text()).split('\n')) {
    const [, about] = /^# HELP \S+ (.*)$/.exec(line) ?? [];
    if (about !== undefined) help = about;
    const [, name, type] = /^# TYPE (\S+) (\S+)$/.exec(line) ?? [];
    if (name !== undefined && type !== undefined) families.set(name, { type, help, series: [] });
    const [, sample, labels, value] = /^([a-z_]+)(?:\{(.*)\})? (\S+)$/.exec(line) ?? [];
    if (sample === undefined) continue;
    const family = families.get(sample) ?? families.get(sample.replace(/_(bucket|sum|count)$/, ''));
    const pairs = [...(labels ?? '').matchAll(/([a-z_]+)="((?:[^"\\]|\\.)*)"/g)];
    family?.series.push({
      labels: Object.fromEntries(pairs.map(([, key, text]) => [key!, text!])),
      value: Number(value),
    });
  }
  return families;
}

async function post(path: string, body: unknown, key = API_KEY): Promise<Response> {
  return fetch(gateway.url + path, {
    method: 'POST',
    headers: { 'content-type': 'application/json', 'x-api-key': key },
    body: JSON.stringify(body),
  });
}

const newRun = (): Record<string, unknown> => {
  const id = v7();
  const start_time = new Date().toISOString();
  return { id, trace_id: id, name: 'run', run_type: 'chain', session_name: 'measured', start_time };
};

/** One of everything that is counted. */
async function cause(): Promise<void> {
  await post('/runs/batch', { post: [newRun(), { ...newRun(), start_time: 'never' }] });
  await post('/runs', newRun(), 'nobody-knows-this-key');
  for (const query of [
    '{ viewer { scopes } }',
    '{',
    '{ nothing }',
    'query A { viewer { scopes } } query B { viewer { scopes } }',
    'subscription { runEvents(project: "p") { __typename } }',
    `{ ${Array.from({ length: 40 }, (_, index) => `a${index}: __typename`).join(' ')} }`,
    '{ runs(first: 100) { nodes { children(first: 1000) { name } } } }',
  ]) {
    await post('/graphql', { query });
  }
  await fetch(`${gateway.url}/graphql?query={viewer{scopes}}`, {
    headers: { 'apollo-require-preflight': '1' },
  });
  const query = 'subscription ($after: String) { it: runEvents(project: "p", after: $after) { __typename } }';
  const stranger = new LiveClient({ url: () => gateway.url, apiKey: 'wrong', query, variables: {} });
  await eventually(() => expect(stranger.closeCodes).toContain(4403));
  stranger.stop();
}

const GATEWAY = {
  process_resident_memory_bytes: 'gauge',
  process_start_time_seconds: 'gauge',
  tracewell_ack_seconds: 'histogram',
  tracewell_auth_failures_total: 'counter',
  tracewell_build_info: 'gauge',
  tracewell_content_reads_waiting: 'gauge',
  tracewell_db_pool_used: 'gauge',
  tracewell_db_pool_waiting: 'gauge',
  tracewell_event_loop_lag_seconds: 'gauge',
  tracewell_feed_lag_seconds: 'gauge',
  tracewell_feed_xmin_age_seconds: 'gauge',
  tracewell_graphql_rejected_total: 'counter',
  tracewell_http_request_seconds: 'histogram',
  tracewell_http_requests_total: 'counter',
  tracewell_ingest_bytes_total: 'counter',
  tracewell_ingest_inflight_bytes: 'gauge',
  tracewell_ingest_rejected_total: 'counter',
  tracewell_ingest_runs_total: 'counter',
  tracewell_ingest_shed_total: 'counter',
  tracewell_writer_batch_runs: 'histogram',
  tracewell_writer_flush_seconds: 'histogram',
  tracewell_ws_connections: 'gauge',
  tracewell_ws_dropped_total: 'counter',
  tracewell_ws_operations: 'gauge',
};
const WORKER = {
  tracewell_build_info: 'gauge',
  tracewell_db_pool_used: 'gauge',
  tracewell_job_queue_full: 'gauge',
  tracewell_job_run_seconds: 'histogram',
  tracewell_job_wait_seconds: 'histogram',
  tracewell_jobs_stalled_total: 'counter',
  tracewell_jobs_total: 'counter',
  tracewell_outbox_oldest_seconds: 'gauge',
  tracewell_partitions_ahead: 'gauge',
  tracewell_units_oldest_seconds: 'gauge',
  tracewell_units_pending: 'gauge',
};
/** Every label there is. Whose data it is, is none. */
const LABELS = [
  'job',
  'kind',
  'le',
  'module',
  'node',
  'outcome',
  'pool',
  'protocol',
  'queue',
  'reason',
  'rule',
  'status',
  'version',
];

const typesOf = (families: Map<string, Family>): Record<string, string> =>
  Object.fromEntries([...families].map(([name, { type }]) => [name, type]));
const valuesOf = (families: Map<string, Family>, name: string, label: string): string[] =>
  (families.get(name)?.series ?? [])
    .filter(({ value }) => value > 0)
    .map(({ labels }) => labels[label]!)
    .sort();

test('a gateway and a worker have every metric, documented, and labels of closed lists', async () => {
  await cause();
  const atGateway = await scrape(gateway);
  const atWorker = await eventually(async () => {
    const families = await scrape(worker);
    expect(valuesOf(families, 'tracewell_jobs_total', 'job')).toContain('partitions.ensure');
    return families;
  });
  expect(typesOf(atGateway)).toMatchObject(GATEWAY);
  expect(typesOf(atWorker)).toMatchObject(WORKER);

  const all = new Map([...atGateway, ...atWorker]);
  for (const [name, { help, type }] of all) {
    expect(help).toMatch(/^[A-Z1].*\.$/);
    expect(type === 'counter').toBe(name.endsWith('_total'));
  }
  const series = [...atGateway.values(), ...atWorker.values()].flatMap((family) => family.series);
  expect(
    [...new Set(series.flatMap(({ labels }) => Object.keys(labels)))].filter((one) => !LABELS.includes(one)),
  ).toEqual([]);
  expect(series.filter(({ labels }) => /[0-9a-f]{8}-|lsv2|test-key/.test(JSON.stringify(labels)))).toEqual(
    [],
  );
  expect(series.length).toBeLessThan(2_000);
  expect(series.every(({ value }) => Number.isFinite(value))).toBe(true);

  // The document names what there is, and nothing else.
  const named = new Set(
    [...readFileSync('docs/operation.md', 'utf8').matchAll(/`((?:tracewell|process)_[a-z_]+)/g)].map(
      ([, name]) => name!,
    ),
  );
  named.delete('tracewell_app');
  expect([...named].sort()).toEqual([...all.keys()].sort());
});

test('they say what happened', async () => {
  const families = await scrape(gateway);
  expect(valuesOf(families, 'tracewell_graphql_rejected_total', 'rule')).toEqual(
    ['access', 'nodes', 'operation', 'shape', 'syntax', 'transport', 'validation'].sort(),
  );
  expect(valuesOf(families, 'tracewell_ws_dropped_total', 'reason')).toEqual(['credentials']);
  expect(valuesOf(families, 'tracewell_ingest_runs_total', 'outcome')).toEqual(['accepted', 'refused']);
  expect(valuesOf(families, 'tracewell_ingest_rejected_total', 'reason')).toEqual(['start_time']);
  const pools = (families.get('tracewell_db_pool_used')?.series ?? []).map(({ labels }) => labels['pool']);
  expect(pools.sort()).toEqual(['feed', 'ingest', 'live', 'probe', 'reads', 'writes']);
  const ofWorker = await scrape(worker);
  const jobsPool = ofWorker
    .get('tracewell_db_pool_used')
    ?.series.find(({ labels }) => labels['pool'] === 'jobs');
  expect(jobsPool?.value).toBeGreaterThan(0);
  expect(ofWorker.get('tracewell_partitions_ahead')?.series[0]?.value).toBeGreaterThanOrEqual(3);
  expect(families.get('tracewell_build_info')?.series[0]).toMatchObject({
    value: 1,
    labels: { node: process.versions.node },
  });
});

test('the horizon’s age grows while a transaction holds others back, and goes with it', async () => {
  const age = async (): Promise<number> =>
    (await scrape(gateway)).get('tracewell_feed_xmin_age_seconds')?.series[0]?.value ?? -1;
  await eventually(async () => expect(await age()).toBeLessThan(1));
  const client = await database.pool.connect();
  try {
    await client.query('begin');
    await client.query('select pg_current_xact_id()');
    await post('/runs', newRun());
    await eventually(async () => expect(await age()).toBeGreaterThan(2), { timeoutMs: 15_000 });
    const lag = (await scrape(gateway)).get('tracewell_feed_lag_seconds')?.series[0]?.value;
    expect(lag).toBeGreaterThan(1);
  } finally {
    await client.query('rollback');
    client.release();
  }
  await eventually(async () => expect(await age()).toBeLessThan(2), { timeoutMs: 15_000 });
}, 40_000);

test('a database that is away leaves the metrics there', async () => {
  proxy.refuse(true);
  try {
    for (const process of [gateway, worker]) expect((await scrape(process)).size).toBeGreaterThan(8);
  } finally {
    proxy.refuse(false);
  }
}, 40_000);
