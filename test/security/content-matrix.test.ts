/**
 * Inputs, outputs, errors, events, serialised objects, previews and attachments are content: a key without that scope
 * sees none of it on any way the product answers, and cannot ask about it in filters either.
 */
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import type { GraphQLSchema } from 'graphql';
import { createClient } from 'graphql-ws';
import { v7 } from 'uuid';
import { WebSocket } from 'ws';
import { createApi } from '../../src/api.js';
import { checkFilter } from '../../src/filters/filter-text.js';
import { VOCABULARY } from '../../src/filters/vocabulary.js';
import type { FieldSpec } from '../../src/filters/vocabulary.js';
import { eventually } from '../support/eventually.js';
import { startHarness } from '../support/harness.js';
import type { Harness } from '../support/harness.js';
import { documentFor, QUERIES } from './graphql-calls.js';
import type { Names } from './names.js';
import { PREFIXES, REST_CALLS } from './rest-calls.js';
import { plantTenant, sealed } from './tenant.js';

let harness: Harness;
let schema: GraphQLSchema;
let names: Names;
beforeAll(async () => {
  harness = await startHarness();
  ({ schema } = createApi(harness.app, undefined));
  names = await plantTenant(harness);
}, 60_000);
afterAll(() => harness.close());

/** Everything but content. */
const blind = async (): Promise<string> =>
  (await harness.addKey({ scopes: ['ingest', 'read', 'write', 'admin'] })).secret;
const sealsIn = (text: string): string[] => [...new Set(text.match(/sealed-[a-z]+/g) ?? [])];

const ALL_SEALS = ['error', 'events', 'extra', 'inputs', 'outputs', 'serialized'].map(
  (what) => `sealed-${what}`,
);

describe('answers', () => {
  test('the GraphQL fields that show content are null, the rest is there', async () => {
    const key = await blind();
    const query = `query ($id: ID!) { run(id: $id) {
      contentVisible hasError name inputs outputs error events serialized inputsPreview outputsPreview
      attachments { name url } extra metadata tags } }`;
    const { body } = await harness.gql(query, { id: names.run }, { key });
    const run = body.data?.['run'] as Record<string, unknown>;
    const { name, metadata, tags, extra, ...rest } = run;
    expect(rest).toEqual({
      contentVisible: false,
      hasError: true,
      inputs: null,
      outputs: null,
      error: null,
      events: null,
      serialized: null,
      inputsPreview: null,
      outputsPreview: null,
      attachments: null,
    });
    expect([name, tags]).toEqual([expect.stringContaining('canary-'), [expect.stringContaining('canary-')]]);
    expect(extra).toEqual({ metadata });

    const seen = await harness.gql(query, { id: names.run }, { key: harness.keys.full.secret });
    expect(sealsIn(seen.text).sort()).toEqual(ALL_SEALS);
  });

  test('no GraphQL query shows content without the scope', async () => {
    const key = await blind();
    const found: string[] = [];
    for (const [name, call] of Object.entries(QUERIES)) {
      for (const args of call.args(names)) {
        const { text } = await harness.gql(documentFor(schema, 'query', name, args), args, { key });
        if (sealsIn(text).length > 0) found.push(`${name}: ${sealsIn(text).join(', ')}`);
      }
    }
    expect(found).toEqual([]);
  });

  test('no REST read shows content without the scope', async () => {
    const keys = [await blind(), harness.keys.only.read.secret];
    const reads = REST_CALLS.filter(
      ({ route, opens, also }) =>
        opens !== 'public' &&
        opens !== 'link' &&
        also?.includes('content') !== true &&
        /^GET|query|stats|group/.test(route),
    );
    expect(reads.length).toBeGreaterThan(20);
    const found: string[] = [];
    let seen = '';
    for (const key of keys) {
      for (const { route, mount, requests } of reads) {
        for (const { path, body } of requests(names)) {
          const method = route.split(' ')[0] ?? 'GET';
          const at = `${PREFIXES[mount][0] ?? ''}${path}`;
          const { status, text } = await harness.http(at, { method, key, body });
          expect([route, status]).toEqual([route, 200]);
          if (sealsIn(text).length > 0 || /presigned_url|\/attachments\//.test(text)) {
            found.push(`${route}: ${sealsIn(text).join(', ')}`);
          }
          seen += (await harness.http(at, { method, key: harness.keys.full.secret, body })).text;
        }
      }
    }
    expect(found).toEqual([]);
    expect(sealsIn(seen).sort()).toEqual(ALL_SEALS);
    expect(seen).toContain('presigned_url');
  });

  test('a key without the scope cannot open a run to the public', async () => {
    const key = await blind();
    const answer = await harness.http(`/runs/${names.run}/share`, { method: 'PUT', key, body: {} });
    expect(answer.status).toBe(403);
  });
});

describe('live events', () => {
  test('events of one project bring content to those who may see it, and to nobody else', async () => {
    const document = documentFor(schema, 'subscription', 'runEvents', { project: names.project });
    const listen = (key: string): { readonly text: () => string; readonly close: () => void } => {
      let text = '';
      const client = createClient({
        url: harness.socketUrl,
        webSocketImpl: WebSocket,
        connectionParams: { 'x-api-key': key },
        retryAttempts: 0,
      });
      client.subscribe(
        { query: document, variables: { project: names.project } },
        {
          next: (result) => (text += JSON.stringify(result)),
          error: () => undefined,
          complete: () => undefined,
        },
      );
      return { text: () => text, close: () => void client.dispose() };
    };
    const [open, masked] = [listen(harness.keys.full.secret), listen(await blind())];
    await eventually(() => {
      for (const { text } of [open, masked]) expect(text()).toContain('Ready');
    });
    const id = v7();
    const run = {
      id,
      trace_id: id,
      name: 'live',
      run_type: 'llm',
      session_name: names.projectName,
      start_time: new Date().toISOString(),
      end_time: new Date().toISOString(),
      inputs: { q: sealed('inputs') },
      outputs: { a: sealed('outputs') },
      error: sealed('error'),
      events: [{ name: sealed('events') }],
      serialized: { s: sealed('serialized') },
      extra: { runtime: { r: sealed('extra') } },
    };
    await harness.http('/runs', { key: harness.keys.full.secret, body: run });
    await eventually(() => {
      for (const { text } of [open, masked]) expect(text()).toContain(id);
    });
    expect(sealsIn(open.text()).sort()).toEqual(ALL_SEALS);
    expect(sealsIn(masked.text())).toEqual([]);
    for (const { close } of [open, masked]) close();
  });
});

describe('feedback', () => {
  test('comments and corrections of feedback are content', async () => {
    const draft = {
      runId: names.run,
      key: 'quoted',
      score: 1,
      comment: 'sealed-comment',
      correction: 'sealed-correction',
    };
    const { body } = await harness.gql(
      'mutation ($input: CreateFeedbackInput!) { createFeedback(input: $input) { feedback { id } errors { message } } }',
      { input: { feedback: [draft] } },
      { key: harness.keys.first.secret },
    );
    expect(body.errors).toBeUndefined();
    const query = '{ feedback(first: 100, keys: ["quoted"]) { nodes { key score comment correction } } }';
    const read = async (key: string) => {
      const graphql = await harness.gql(query, {}, { key });
      const rest = await harness.http('/feedback?key=quoted', { key });
      return `${graphql.text} ${JSON.stringify(rest.body)}`;
    };
    expect(sealsIn(await read(harness.keys.first.secret)).sort()).toEqual([
      'sealed-comment',
      'sealed-correction',
    ]);
    const hidden = await read(await blind());
    expect(sealsIn(hidden)).toEqual([]);
    expect(hidden).toContain('quoted');
  });
});

describe('filters', () => {
  /** Filters with each operator of each field that looks into content, as text. */
  const filtersOn = ({ name, operators }: FieldSpec): string[] =>
    operators
      .flatMap((operator) => [`${operator}(${name}, "x")`, `${operator}(${name}, ["x"])`])
      .filter((text) => checkFilter(text).valid);
  const contentFilters = [
    'search("x")',
    'and(eq(name, "a"), search("x"))',
    'not(search("x"))',
    ...VOCABULARY.filter(({ content }) => content).flatMap(filtersOn),
    'search(error, "x")',
    'like(error, "%x%")',
  ].filter((text) => checkFilter(text).valid);
  const matches = [
    { search: 'x' },
    { inputs: { key: { eq: 'a' } } },
    { inputs: { value: { eq: 'a' } } },
    { outputs: { like: '%a%' } },
    { error: { like: '%a%' } },
    { error: { search: 'a' } },
    { not: { and: [{ or: [{ inputs: { search: 'a' } }] }] } },
  ];

  test('there is something to try', () => {
    expect(contentFilters.length).toBeGreaterThan(8);
  });

  test('GraphQL refuses them wherever a filter goes', async () => {
    const key = await blind();
    const found: string[] = [];
    const project = { id: names.project };
    const wheres = [
      ...contentFilters.flatMap((filter) => [{ filter }, { traceFilter: filter }, { treeFilter: filter }]),
      ...matches.flatMap((match) => [{ match }, { traceMatch: match }, { treeMatch: match }]),
    ];
    for (const where of wheres) {
      for (const [name, args] of [
        ['runs', { first: 1, where }],
        ['runStats', { where }],
        ['threads', { first: 1, project, where }],
      ] as const) {
        const answer = await harness.gql(documentFor(schema, 'query', name, args), args, { key });
        const { code, missingScope } = answer.body.errors?.[0]?.extensions ?? {};
        if (code !== 'FORBIDDEN' || missingScope !== 'content') {
          found.push(`${name} ${JSON.stringify(where)}: ${answer.text.slice(0, 200)}`);
        }
      }
    }
    expect(found).toEqual([]);
  });

  test('the socket refuses them', async () => {
    const key = await blind();
    const client = createClient({
      url: harness.socketUrl,
      webSocketImpl: WebSocket,
      connectionParams: { 'x-api-key': key },
      retryAttempts: 0,
    });
    for (const where of [{ filter: 'search("x")' }, { match: { inputs: { value: { eq: 'a' } } } }]) {
      const variables = { project: names.project, where };
      const query = documentFor(schema, 'subscription', 'runEvents', variables);
      const outcome = await new Promise((resolve) =>
        client.subscribe(
          { query, variables },
          { next: resolve, error: resolve, complete: () => resolve('complete') },
        ),
      );
      expect(JSON.stringify(outcome)).toContain('"missingScope":"content"');
    }
    await client.dispose();
  });

  test('REST refuses them wherever a filter goes', async () => {
    const key = await blind();
    const found: string[] = [];
    const session = [names.project];
    const one = { project_id: names.project };
    for (const filter of contentFilters) {
      const group = { session_id: names.project, group_by: 'conversation' };
      for (const [path, body] of [
        ['/runs/query', { session, filter }],
        ['/runs/query', { session, trace_filter: filter }],
        ['/runs/query', { session, tree_filter: filter }],
        ['/runs/query', { session, search_filter: filter }],
        ['/runs/query', { session, query: 'x' }],
        ['/runs/stats', { session, filter }],
        ['/runs/group', { ...group, filter }],
        ['/v2/runs/query', { project_ids: session, filter }],
        ['/v2/traces/query', { ...one, trace_filter: filter }],
        ['/v2/threads/query', { ...one, filter }],
        ['/v2/threads/query', { ...one, thread_filter: filter }],
      ] as const) {
        const { status, text } = await harness.http(path, { key, body });
        if (status !== 403) found.push(`${path} ${JSON.stringify(body)}: ${status} ${text.slice(0, 200)}`);
      }
      const at = `/v2/traces/${names.run}/runs?filter=${encodeURIComponent(filter)}`;
      const { status } = await harness.http(at, { key });
      if (status !== 403) found.push(`${at}: ${status}`);
    }
    expect(found).toEqual([]);
  });
});
