/** Every way content leaves the product, and the record it leaves: who, what, when, by which operation. */
import { afterAll, beforeAll, beforeEach, expect, test } from '@jest/globals';
import { createClient } from 'graphql-ws';
import { v7 } from 'uuid';
import { WebSocket } from 'ws';
import { toGlobalId } from '../../src/graphql/global-id.js';
import type { Names } from '../security/names.js';
import { plantTenant } from '../security/tenant.js';
import { startHarness } from '../support/harness.js';
import type { Harness, HarnessKey } from '../support/harness.js';

let harness: Harness;
let names: Names;
let reader: HarnessKey;
beforeAll(async () => {
  harness = await startHarness();
  names = await plantTenant(harness);
  reader = await harness.addKey({ name: 'reader', scopes: ['read', 'content', 'ingest'] });
}, 60_000);
afterAll(() => harness.close());

interface Read {
  readonly via: string;
  readonly caller: string;
  readonly apiKeyId: string | null;
  readonly operation: string;
  readonly objectType: string;
  readonly objectIds: readonly string[];
  readonly objectCount: string;
  readonly fields: readonly string[];
  readonly requestId: string;
}

/** The whole record, oldest first, as an admin sees it. */
async function record(args = '', key: HarnessKey = harness.keys.full): Promise<Read[]> {
  await harness.app.contentReads.flush();
  const { body, text } = await harness.gql(
    `{ contentReads(first: 100 ${args}) { nodes {
      via caller apiKeyId operation objectType objectIds objectCount fields requestId readAt userId
    } } }`,
    {},
    { key: key.secret },
  );
  const nodes = (body.data?.['contentReads'] as { nodes: Read[] } | undefined)?.nodes;
  if (nodes === undefined) throw new Error(text);
  return [...nodes].reverse();
}

const summary = (reads: readonly Read[]): string[] =>
  reads.map(
    ({ via, operation, objectType, objectCount }) => `${via} ${operation}: ${objectCount} ${objectType}`,
  );

beforeEach(async () => {
  await harness.app.contentReads.flush();
  await harness.database.pool.query('truncate content_reads');
});

const ask = (query: string, variables: Record<string, unknown> = {}, key = reader) =>
  harness.gql(query, variables, { key: key.secret });

test('a page of runs is one row, with the caller, the operation, the runs and the fields', async () => {
  const answer = await ask('query Page { runs(first: 3) { nodes { uuid inputs outputsPreview name } } }');
  const { nodes } = answer.body.data?.['runs'] as { nodes: { uuid: string }[] };
  expect(nodes).toHaveLength(3);
  const reads = await record();
  expect(reads).toEqual([
    {
      via: 'GRAPHQL',
      caller: 'SERVICE',
      apiKeyId: toGlobalId('ApiKey', reader.id),
      userId: null,
      operation: 'query Page',
      objectType: 'run',
      objectIds: nodes.map(({ uuid }) => uuid),
      objectCount: '3',
      fields: ['inputs', 'outputsPreview'],
      requestId: answer.headers.get('x-request-id'),
      readAt: expect.any(String),
    },
  ]);
});

test('steps of one operation add up: a run, its children, several aliases', async () => {
  await ask(
    `query ($run: ID!) {
      a: run(id: $run) { inputs children { uuid error } }
      b: run(id: $run) { outputs }
      trace(id: $run) { root { events } }
    }`,
    { run: names.run },
  );
  const reads = await record();
  expect(summary(reads)).toEqual(['GRAPHQL query run: 2 run']);
  expect(reads[0]?.objectIds).toEqual(expect.arrayContaining([names.run, names.child]));
  expect(reads[0]?.fields).toEqual(['error', 'events', 'inputs', 'outputs']);
});

test('who reads no content, or may not, leaves no record', async () => {
  const metrics = '{ runs(first: 5) { nodes { uuid name latencySeconds metadata hasError } } }';
  await ask(metrics);
  const blind = await harness.addKey({ scopes: ['read'] });
  await ask('{ runs(first: 5) { nodes { inputs outputs error } } }', {}, blind);
  await ask('query ($project: ID!) { threads(project: { id: $project }, first: 5) { nodes { threadId } } }', {
    project: names.project,
  });
  await harness.http(`/runs/${names.run}`, { key: blind.secret });
  const id = toGlobalId('Run', names.run);
  await ask('query ($id: ID!) { node(id: $id) { id uuid ... on Run { name project { name } } } }', { id });
  expect(await record()).toEqual([]);
  await ask('query ($id: ID!) { nodes(ids: [$id]) { ... on Run { error } } }', { id });
  expect(await record()).toMatchObject([{ objectCount: '1', fields: ['error'] }]);
});

test('REST reads of runs and threads are recorded by method and route', async () => {
  const { secret: key } = reader;
  await harness.http('/runs/query', {
    key,
    body: { session: [names.project], limit: 2, select: ['inputs'] },
  });
  await harness.http(`/runs/${names.run}`, { key });
  await harness.http('/runs/group', { key, body: { session_id: names.project, group_by: 'conversation' } });
  const reads = await record();
  expect(summary(reads)).toEqual([
    expect.stringMatching(/^REST POST .*\/runs\/query: 2 run$/),
    expect.stringMatching(/^REST GET .*\/runs\/:\w+: 1 run$/),
    expect.stringMatching(/^REST POST .*\/runs\/group: 1 thread$/),
  ]);
  expect(reads[2]?.objectIds).toEqual([names.thread]);
});

test('threads are recorded where their previews are asked for', async () => {
  await ask(
    'query ($project: ID!) { threads(project: { id: $project }, first: 5) { nodes { lastOutputsPreview } } }',
    { project: names.project },
  );
  await ask(
    'query ($project: ID!, $id: String!) { thread(project: { id: $project }, id: $id) { firstInputsPreview } }',
    {
      project: names.project,
      id: names.thread,
    },
  );
  expect(summary(await record())).toEqual([
    'GRAPHQL query threads: 1 thread',
    'GRAPHQL query thread: 1 thread',
  ]);
});

test('holders of links are recorded without the link', async () => {
  await harness.http(`/public/${names.shareToken}/run`);
  const download = await harness.http(`/attachments/${names.attachmentToken}`);
  expect(download.status).toBe(200);
  const reads = await record();
  expect(reads.map(({ via, caller, apiKeyId, objectType }) => [via, caller, apiKeyId, objectType])).toEqual([
    ['LINK', 'LINK', null, 'run'],
    ['LINK', 'LINK', null, 'attachment'],
  ]);
  const { rows } = await harness.database.pool.query<{ text: string }>(
    "select string_agg(r::text, ' ') as text from content_reads r",
  );
  expect(rows[0]?.text).not.toContain(names.shareToken);
});

test('what a subscription delivers is recorded under its caller', async () => {
  const client = createClient({
    url: harness.socketUrl,
    webSocketImpl: WebSocket,
    connectionParams: { 'x-api-key': reader.secret },
    retryAttempts: 0,
  });
  const query = `subscription Watch($project: ID!) {
    runEvents(project: $project) { __typename ... on RunStarted { run { uuid inputs } } ... on RunEnded { run { uuid inputs } } }
  }`;
  const id = v7();
  // The feed may still hold news of the runs that were planted: whatever was delivered is what was read.
  const delivered = new Set<string>();
  await new Promise<void>((resolve, reject) => {
    client.subscribe<{ runEvents: { __typename: string; run?: { uuid: string } } }>(
      { query, variables: { project: names.project } },
      {
        next: ({ data }) => {
          const kind = data?.runEvents.__typename;
          if (kind === 'Ready') {
            const run = { id, trace_id: id, name: 'live', run_type: 'chain', session_id: names.project };
            const body = { ...run, start_time: new Date().toISOString(), inputs: { a: 1 } };
            void harness.http('/runs', { key: reader.secret, body });
          }
          const uuid = data?.runEvents.run?.uuid;
          if (uuid !== undefined) delivered.add(uuid);
          if (uuid === id) resolve();
        },
        error: reject,
        complete: () => reject(new Error('over')),
      },
    );
  });
  await client.dispose();
  const reads = await record();
  // One row for each time the record was written.
  const rows = reads.map(({ via, operation, objectType, apiKeyId }) => [
    via,
    operation,
    objectType,
    apiKeyId,
  ]);
  const own = ['LIVE', 'subscription Watch', 'run', toGlobalId('ApiKey', reader.id)];
  expect(rows).toEqual(reads.map(() => own));
  expect(new Set(reads.flatMap(({ objectIds }) => objectIds))).toEqual(delivered);
  expect(delivered.has(id)).toBe(true);
});

test('the record is paged, filtered by key, object and time, and seen by admins of the workspace alone', async () => {
  const other = await harness.addKey({ name: 'other', scopes: ['read', 'content'] });
  for (let index = 0; index < 3; index += 1) {
    await ask('query A($id: ID!) { run(id: $id) { inputs } }', { id: names.run });
  }
  await ask('query B($id: ID!) { run(id: $id) { inputs } }', { id: names.child }, other);
  expect(await record()).toHaveLength(4);
  expect(summary(await record(`apiKeyId: "${other.id}"`))).toEqual(['GRAPHQL query B: 1 run']);
  expect(await record(`objectId: "${names.run}"`)).toHaveLength(3);
  expect(await record('timeRange: { to: "2020-01-01T00:00:00Z" }')).toEqual([]);
  expect(await record(`userId: "${names.user}"`)).toEqual([]);
  for (const key of [harness.keys.neighbour, harness.keys.stranger]) {
    expect(await record('', key)).toEqual([]);
  }
  const page = `query ($after: String) { contentReads(first: 3, after: $after) {
    nodes { operation } pageInfo { hasNextPage endCursor } totalCount { value } } }`;
  const first = await ask(page, {}, harness.keys.full);
  const shown = first.body.data?.['contentReads'] as {
    nodes: { operation: string }[];
    pageInfo: { hasNextPage: boolean; endCursor: string };
    totalCount: { value: number };
  };
  expect([shown.nodes[0]?.operation, shown.pageInfo.hasNextPage, shown.totalCount.value]).toEqual([
    'query B',
    true,
    4,
  ]);
  const second = await ask(page, { after: shown.pageInfo.endCursor }, harness.keys.full);
  expect(second.body.data?.['contentReads']).toMatchObject({
    nodes: [{ operation: 'query A' }],
    pageInfo: { hasNextPage: false },
  });
  const refused = await ask('{ contentReads(first: 1) { nodes { id } } }');
  expect(refused.body.errors?.[0]?.extensions.code).toBe('FORBIDDEN');
});
