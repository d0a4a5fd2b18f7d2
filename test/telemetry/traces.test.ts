/** The spans of a gateway and a worker that are processes, as a collector receives them. */
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { v7 } from 'uuid';
import { createTestDatabase } from '../support/database.js';
import type { TestDatabase } from '../support/database.js';
import { eventually } from '../support/eventually.js';
import { API_KEY, installOn, startGateway, startWorker } from '../support/processes.js';
import type { RunningGateway } from '../support/processes.js';
import { startCollector } from './collector.js';
import type { CollectedSpan, Collector } from './collector.js';

const CALLER = { trace: '0af7651916cd43dd8448eb211c80319c', span: 'b7ad6b7169203331' };
const PATIENT = { timeoutMs: 20_000, everyMs: 50 };
const SECRET_TEXT = 'nobody may read this in a span';

let database: TestDatabase;
let collector: Collector;
let gateway: RunningGateway;
let worker: RunningGateway;

beforeAll(async () => {
  collector = await startCollector();
  database = await createTestDatabase();
  await installOn(database.url);
  const env = {
    OTEL_EXPORTER_OTLP_ENDPOINT: collector.url,
    OTEL_EXPORTER_OTLP_HEADERS: 'x-collector-token=open%20sesame,x-other=1',
  };
  gateway = await startGateway({ databaseUrl: database.url, env });
  worker = await startWorker({
    databaseUrl: database.url,
    env: { ...env, OTEL_SERVICE_NAME: 'night-shift' },
  });
}, 60_000);

afterAll(async () => {
  await gateway.stop();
  await worker.stop();
  await collector.close();
  await database.drop();
}, 60_000);

async function send(path: string, body: unknown, headers: Record<string, string> = {}): Promise<unknown> {
  const response = await fetch(gateway.url + path, {
    method: 'POST',
    headers: { 'content-type': 'application/json', 'x-api-key': API_KEY, ...headers },
    body: JSON.stringify(body),
  });
  return response.json();
}

const newRun = (): object => {
  const id = v7();
  const inputs = { text: SECRET_TEXT };
  const start_time = new Date().toISOString();
  return { id, trace_id: id, name: 'run', run_type: 'chain', session_name: 'traced', inputs, start_time };
};

async function spanWhere(name: string, isIt: (span: CollectedSpan) => boolean): Promise<CollectedSpan> {
  return eventually(() => {
    const found = collector.named(name).find(isIt);
    if (found === undefined) throw new Error(`no such span ${name} among ${collector.spans.length}`);
    return found;
  }, PATIENT);
}

const childOf = (parent: CollectedSpan) => (span: CollectedSpan) =>
  span.traceId === parent.traceId && span.parentSpanId === parent.spanId;

describe('a request', () => {
  test('continues its caller’s trace down to the group commit', async () => {
    const headers = { traceparent: `00-${CALLER.trace}-${CALLER.span}-01` };
    await send('/runs/batch', { post: [newRun(), newRun()] }, headers);
    const request = await spanWhere('POST /runs/batch', ({ traceId }) => traceId === CALLER.trace);
    expect(request).toMatchObject({ parentSpanId: CALLER.span, kind: 2, service: 'tracewell-gateway' });
    expect(request.attributes).toMatchObject({
      'http.request.method': 'POST',
      'http.route': '/runs/batch',
      'http.response.status_code': 202,
      'tracewell.request_id': CALLER.trace,
    });
    const intake = await spanWhere('intake.write', childOf(request));
    expect(intake.attributes).toEqual({ 'tracewell.protocol': 'rest', 'tracewell.runs': 2 });
    const flush = await spanWhere('runs.flush', childOf(intake));
    expect(flush.attributes).toEqual({ 'tracewell.runs': 2 });
    expect(flush.links).toEqual([]);
  });

  test('has a trace of its own where it brings none, whatever the LangSmith SDKs send along', async () => {
    const foreign = '11112222333344445555666677778888';
    const headers = {
      'langsmith-trace': `20261121T000000000000Z${v7()}`,
      baggage: `langsmith-metadata=%7B%22trace%22%3A%22${foreign}%22%7D`,
      traceparent: 'nonsense',
    };
    const before = collector.named('POST /runs').length;
    await send('/runs', newRun(), headers);
    const request = await spanWhere(
      'POST /runs',
      (span) => collector.named('POST /runs').indexOf(span) >= before,
    );
    expect(request.parentSpanId).toBeUndefined();
    expect(request.traceId).not.toBe(foreign);
  });

  test('that was not sampled by its caller is not recorded', async () => {
    const trace = 'aaaabbbbccccddddeeeeffff00001111';
    await send('/runs', newRun(), { traceparent: `00-${trace}-${CALLER.span}-00` });
    const after = 'aaaabbbbccccddddeeeeffff00002222';
    await send('/runs', newRun(), { traceparent: `00-${after}-${CALLER.span}-01` });
    await spanWhere('POST /runs', ({ traceId }) => traceId === after);
    expect(collector.spans.filter(({ traceId }) => traceId === trace)).toEqual([]);
  });

  test('that shares its commit with others is linked with them, both ways', async () => {
    const shared = await eventually(async () => {
      await Promise.all(Array.from({ length: 30 }, () => send('/runs', newRun())));
      return spanWhere('runs.flush', ({ links }) => links.length > 0);
    }, PATIENT);
    const [link] = shared.links;
    const other = await spanWhere('intake.write', ({ spanId }) => spanId === link?.spanId);
    expect(other.traceId).not.toBe(shared.traceId);
    expect(other.links).toContainEqual({ traceId: shared.traceId, spanId: shared.spanId });
  }, 60_000);

  test('to a probe or for metrics leaves no span', async () => {
    for (const path of ['/healthz', '/readyz', '/metrics']) await fetch(gateway.url + path);
    await send('/runs', newRun(), { traceparent: `00-${'12'.repeat(16)}-${CALLER.span}-01` });
    await spanWhere('POST /runs', ({ traceId }) => traceId === '12'.repeat(16));
    expect(collector.spans.filter(({ name }) => /healthz|readyz|metrics/.test(name))).toEqual([]);
  });
});

test('a job is linked to the GraphQL operation that asked for it, across processes', async () => {
  const create = 'mutation { createProject(input: { name: "to go" }) { project { id } } }';
  const made = (await send('/graphql', { query: create })) as {
    data: { createProject: { project: { id: string } } };
  };
  const { id } = made.data.createProject.project;
  const query = 'mutation Remove($id: ID!) { deleteProject(input: { id: $id }) { errors { message } } }';
  await send('/graphql', { query, variables: { id } });
  const operation = await spanWhere(
    'graphql mutation',
    ({ attributes }) => attributes['graphql.operation.name'] === 'Remove',
  );
  expect(Object.keys(operation.attributes).sort()).toEqual([
    'graphql.operation.name',
    'graphql.operation.type',
    'tracewell.graphql.cost',
    'tracewell.graphql.document_hash',
  ]);
  const request = await spanWhere('POST /graphql', ({ spanId }) => spanId === operation.parentSpanId);
  expect(request.traceId).toBe(operation.traceId);
  const job = await spanWhere('job projects.delete_runs', () => true);
  expect(job).toMatchObject({ kind: 5, service: 'night-shift', parentSpanId: undefined });
  expect(job.traceId).not.toBe(operation.traceId);
  expect(job.links).toEqual([{ traceId: operation.traceId, spanId: operation.spanId }]);
  expect(job.attributes).toMatchObject({ 'tracewell.job.outcome': 'succeeded', 'tracewell.job.attempt': 1 });
});

test('the last spans are sent before a gateway ends, and nothing of what was sent is in any', async () => {
  const trace = 'cdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcd';
  await send('/runs', newRun(), { traceparent: `00-${trace}-${CALLER.span}-01` });
  await gateway.stop();
  const last = collector.spans.filter(({ traceId }) => traceId === trace).map(({ name }) => name);
  expect(last.sort()).toEqual(['POST /runs', 'intake.write', 'runs.flush']);
  expect(JSON.stringify(collector.spans)).not.toContain(SECRET_TEXT);
  expect(JSON.stringify(collector.spans)).not.toContain(API_KEY);
  expect(collector.headers[0]).toMatchObject({
    path: '/v1/traces',
    'x-collector-token': 'open sesame',
    'x-other': '1',
  });
});

test('a collector that takes spans and never answers holds nobody up', async () => {
  const asked: unknown[] = [];
  const silent = createServer((request) => asked.push(request.url));
  await new Promise<void>((resolve) => silent.listen(0, '127.0.0.1', resolve));
  const other = await startGateway({
    databaseUrl: database.url,
    env: { OTEL_EXPORTER_OTLP_ENDPOINT: `http://127.0.0.1:${(silent.address() as AddressInfo).port}` },
  });
  const startedAt = performance.now();
  const response = await fetch(`${other.url}/sessions`, { headers: { 'x-api-key': API_KEY } });
  expect(response.status).toBe(200);
  expect(performance.now() - startedAt).toBeLessThan(1_500);
  await eventually(() => expect(asked).toContain('/v1/traces'), PATIENT);
  const stoppedAt = performance.now();
  await other.stop();
  expect(performance.now() - stoppedAt).toBeLessThan(15_000);
  silent.closeAllConnections();
  await new Promise((resolve) => silent.close(resolve));
}, 60_000);
