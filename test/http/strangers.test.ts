/** Limits for callers without a key, and for runs that come as mutations. */
import { expect, test } from '@jest/globals';
import { request } from 'node:http';
import { once } from 'node:events';
import { v7 } from 'uuid';
import { eventually } from '../support/eventually.js';
import { closers, started } from '../support/started.js';

const LIMIT = 5;

test('links that are guessed are charged to the network, and what is asked for before a key is free', async () => {
  const { http, gql, keys } = await started({ API_REQUESTS_PER_MINUTE: String(LIMIT) });
  const statuses: number[] = [];
  for (let index = 0; index < LIMIT; index += 1) statuses.push((await http(`/public/${v7()}/run`)).status);
  expect(statuses).toEqual(Array<number>(LIMIT).fill(404));
  for (const path of [`/public/${v7()}/run`, `/feedback/tokens/${v7()}?score=1`, '/attachments/none']) {
    const refused = await http(path);
    expect([path, refused.status, refused.body]).toMatchObject([path, 429, { error: 'RATE_LIMITED' }]);
    expect(Number(refused.headers.get('retry-after'))).toBeGreaterThanOrEqual(1);
    expect(refused.headers.get('x-ratelimit-limit')).toBe(String(LIMIT));
  }
  const anonymous = await gql('{ __typename }');
  expect([anonymous.status, anonymous.body.errors?.[0]?.extensions['code']]).toEqual([429, 'RATE_LIMITED']);
  // Keys have their own, and probes must not fail because of somebody.
  expect((await http('/sessions', { key: keys.full.secret })).status).toBe(200);
  for (const path of ['/readyz', '/healthz', '/metrics', '/info', '/ok']) {
    expect([path, (await http(path)).status]).toEqual([path, 200]);
  }
});

test('a link has an allowance of its own, whoever opens it', async () => {
  const proxies = { API_REQUESTS_PER_MINUTE: String(LIMIT), TRUSTED_PROXIES: '127.0.0.1' };
  const { http } = await started(proxies);
  const link = `/public/${v7()}/run`;
  const from = (index: number) => ({ headers: { 'x-forwarded-for': `203.0.${index}.7` } });
  const statuses: number[] = [];
  for (let index = 0; index <= LIMIT; index += 1) statuses.push((await http(link, from(index))).status);
  expect(statuses).toEqual([...Array<number>(LIMIT).fill(404), 429]);
  expect((await http(`/public/${v7()}/run`, from(0))).status).toBe(404);
});

test('runs that come as mutations count as bytes in flight, queries do not', async () => {
  const { url, gql, http, keys } = await started({ MAX_IN_FLIGHT_BYTES: '300000' });
  const key = keys.full.secret;
  const mutation = `mutation ($input: CreateRunsInput!) { createRuns(input: $input) { acceptedCount } }`;
  const run = (): object => ({
    name: 'run',
    runType: 'CHAIN',
    project: { name: 'limits' },
    startTime: new Date().toISOString(),
    inputs: { text: 'x'.repeat(200_000) },
  });
  const create = () => gql(mutation, { input: { runs: [run()] } }, { key });
  expect((await create()).body).toMatchObject({ data: { createRuns: { acceptedCount: 1 } } });
  // A client that sends most of its body and then takes its time.
  const slow = request(`${url}/runs`, { method: 'POST', headers: { 'x-api-key': key } });
  closers.push(() => slow.destroy());
  slow.on('error', () => undefined);
  slow.write(`{"id":"${v7()}","inputs":{"text":"${'x'.repeat(200_000)}`);
  await eventually(async () => {
    const { status, headers, body } = await create();
    expect([status, headers.get('retry-after')]).toEqual([503, '10']);
    expect(body.errors?.[0]?.extensions['code']).toBe('UNAVAILABLE');
  });
  expect((await http('/metrics')).text).toMatch(/tracewell_ingest_shed_total\{reason="bytes"\} [1-9]/);
  expect((await gql('{ viewer { scopes } }', {}, { key })).status).toBe(200);
  slow.end('"}}');
  await once(slow, 'response');
  await eventually(async () => expect((await create()).status).toBe(200));
  await eventually(async () =>
    expect((await http('/metrics')).text).toMatch(/tracewell_ingest_inflight_bytes 0\n/),
  );
});
