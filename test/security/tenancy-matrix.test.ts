/**
 * Every field of the GraphQL schema and every REST route, with every kind of wrong caller. What is tried comes from
 * the schema and the route table: a field or route without a call of its own in graphql-calls.ts or rest-calls.ts
 * fails here.
 */
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import type { GraphQLSchema } from 'graphql';
import { createClient } from 'graphql-ws';
import { WebSocket } from 'ws';
import { createApi } from '../../src/api.js';
import { accessOf } from '../../src/graphql/access.js';
import { SCOPES } from '../../src/tenancy/principal.js';
import type { Scope } from '../../src/tenancy/principal.js';
import { startHarness } from '../support/harness.js';
import type { GraphqlAnswer, Harness, HttpAnswer } from '../support/harness.js';
import { comparable, fingerprint, idsOf, knownFrom, leaksIn } from './evidence.js';
import {
  documentFor,
  idCoordinates,
  MUTATIONS,
  NESTED,
  QUERIES,
  SUBSCRIPTIONS,
  usedCoordinates,
} from './graphql-calls.js';
import type { GraphqlCall, Operation } from './graphql-calls.js';
import { nobodysNames } from './names.js';
import type { Names } from './names.js';
import { PREFIXES, REST_CALLS, routesIn } from './rest-calls.js';
import type { RestCall } from './rest-calls.js';
import { plantNeighbour, plantTenant } from './tenant.js';

let harness: Harness;
let schema: GraphQLSchema;
let names: Names;
let ids: ReadonlySet<string>;
let before: Record<string, string>;
/** The same throughout, so that callers say as much about nothing as about the tenant. */
const nobody = nobodysNames();

beforeAll(async () => {
  harness = await startHarness();
  ({ schema } = createApi(harness.app, undefined));
  names = await plantTenant(harness);
  await plantNeighbour(harness, harness.keys.neighbour.secret);
  await plantNeighbour(harness, harness.keys.stranger.secret);
  const { pool } = harness.database;
  ids = await idsOf(pool, harness.home.workspaceId, [harness.home.organizationId]);
  before = await fingerprint(pool, harness.home);
}, 60_000);
afterAll(() => harness.close());

const CALLS: readonly (readonly [Operation, Readonly<Record<string, GraphqlCall>>])[] = [
  ['query', QUERIES],
  ['mutation', MUTATIONS],
];
const graphqlCalls = CALLS.flatMap(([operation, calls]) =>
  Object.entries(calls).map(([name, call]) => ({ operation, name, call })),
);
const subscriptions = Object.entries(SUBSCRIPTIONS).map(([name, call]) => ({ name, call }));
const restCalls = REST_CALLS.flatMap((call) =>
  PREFIXES[call.mount].map((prefix) => ({ call, prefix, title: call.route.replace(' ', ` ${prefix}`) })),
);
const guarded = restCalls.filter(({ call }) => call.opens !== 'public' && call.opens !== 'link');

/** Who is turned away before it is known what they want. */
const BAD_KEYS: readonly (readonly [string, (keys: Harness['keys']) => Record<string, string>, number])[] = [
  ['no key', () => ({}), 401],
  ['an empty key', () => ({ 'x-api-key': '' }), 401],
  ['a malformed key', () => ({ 'x-api-key': 'not a key' }), 401],
  ['a key cut short', ({ full }) => ({ 'x-api-key': full.secret.slice(0, -1) }), 401],
  ['another scheme', ({ full }) => ({ authorization: `Basic ${full.secret}` }), 401],
  ['an unknown key', ({ unknown }) => ({ 'x-api-key': unknown.secret }), 401],
  ['a revoked key', ({ revoked }) => ({ 'x-api-key': revoked.secret }), 401],
  ['an expired key', ({ expired }) => ({ 'x-api-key': expired.secret }), 401],
  [
    'an organisation key without a workspace',
    ({ organization }) => ({ 'x-api-key': organization.secret }),
    403,
  ],
];

/** Keys that are good, with a workspace that is not theirs. */
const wrongWorkspaces = (h: Harness): (readonly [string, Record<string, string>])[] => {
  const pick = (key: string, tenant: string): Record<string, string> => ({
    'x-api-key': key,
    'x-tenant-id': tenant,
  });
  const { full, neighbour, stranger, organization, strangeOrganization } = h.keys;
  return [
    ['the neighbour picks this workspace', pick(neighbour.secret, h.home.workspaceId)],
    ['the stranger picks this workspace', pick(stranger.secret, h.home.workspaceId)],
    ['the strange organisation picks this workspace', pick(strangeOrganization.secret, h.home.workspaceId)],
    ['a key of this workspace picks the neighbour', pick(full.secret, h.neighbour.workspaceId)],
    ['a key of this organisation picks the stranger', pick(organization.secret, h.stranger.workspaceId)],
    ['a workspace that does not exist', pick(organization.secret, names.job)],
    ['no workspace at all', pick(organization.secret, 'nonsense')],
  ];
};

/** Who may come in, but not here. */
const outsiders = (h: Harness): (readonly [string, Record<string, string>])[] => [
  ['the neighbour', { 'x-api-key': h.keys.neighbour.secret }],
  ['the stranger', { 'x-api-key': h.keys.stranger.secret }],
];

const codeOf = (answer: GraphqlAnswer): unknown => answer.body.errors?.[0]?.extensions['code'];

async function unchanged(): Promise<void> {
  expect(await fingerprint(harness.database.pool, harness.home)).toEqual(before);
}

const callField = (
  operation: Operation,
  name: string,
  args: Readonly<Record<string, unknown>>,
  headers: Record<string, string>,
): Promise<GraphqlAnswer> => harness.gql(documentFor(schema, operation, name, args), args, { headers });

const callRoute = (
  { call, prefix }: { call: RestCall; prefix: string },
  request: { path: string; body?: unknown },
  headers: Record<string, string>,
): Promise<HttpAnswer> =>
  harness.http(prefix + request.path, {
    method: call.route.split(' ')[0] ?? 'GET',
    headers,
    body: request.body,
  });

const SHOWN = 20;
const SHOWN_LENGTH = 1_500;

/** What each caller has put into requests so far, and may find again in what it stored. */
const mentioned = new Map<string, Set<string>>();

const questionOf = ({ path, body }: { path: string; body?: unknown }): string =>
  `${decodeURIComponent(path)} ${JSON.stringify(body)}`;

/** Collects what goes wrong, so that one run shows everything, within reason. */
class Findings {
  readonly list: string[] = [];
  add(what: string, found: unknown): void {
    if (this.list.length >= SHOWN) return;
    const text = typeof found === 'string' ? found : JSON.stringify(found);
    this.list.push(`${what}: ${text}`.slice(0, SHOWN_LENGTH));
  }
  /** Something of the tenant in an answer to somebody who never mentioned it. */
  look(what: string, who: string, question: string, answer: string): void {
    const known = mentioned.get(who) ?? new Set<string>();
    mentioned.set(who, known);
    for (const one of knownFrom(question)) known.add(one);
    const leaks = leaksIn(known, answer, ids);
    if (leaks.length > 0) this.add(`${what} leaks`, leaks);
  }
}

/** Where two texts part, with a little around it. */
function difference(seen: string, expected: string): string {
  let at = 0;
  while (at < seen.length && seen[at] === expected[at]) at += 1;
  const from = Math.max(0, at - 80);
  return `…${seen.slice(from, at + 200)} instead of …${expected.slice(from, at + 200)}`;
}

describe('every call is known here', () => {
  test('each field of the schema has a call', () => {
    const fields = (root: ReturnType<GraphQLSchema['getQueryType']>): string[] =>
      Object.keys(root?.getFields() ?? {}).sort();
    expect(Object.keys(QUERIES).sort()).toEqual(fields(schema.getQueryType()));
    expect(Object.keys(MUTATIONS).sort()).toEqual(fields(schema.getMutationType()));
    expect(Object.keys(SUBSCRIPTIONS).sort()).toEqual(fields(schema.getSubscriptionType()));
  });

  test('each argument and input field that takes an id is given one', () => {
    const used = new Set(
      [
        ...graphqlCalls,
        ...subscriptions.map((one) => ({ ...one, operation: 'subscription' as const })),
      ].flatMap(({ operation, name, call }) =>
        call.args(names).flatMap((args) => usedCoordinates(schema, operation, name, args)),
      ),
    );
    expect(
      idCoordinates(schema).filter((coordinate) => !used.has(coordinate) && !(coordinate in NESTED)),
    ).toEqual([]);
  });

  test('each route has a call', () => {
    const actual = routesIn(harness.server.app.printRoutes({ commonPrefix: false }));
    const graphql = ['GET', 'POST', 'PUT', 'PATCH', 'DELETE'].map((method) => `${method} /graphql`);
    expect(actual.length).toBeGreaterThan(100);
    expect(restCalls.map(({ title }) => title).sort()).toEqual(
      actual.filter((route) => !graphql.includes(route)).sort(),
    );
  });

  test('the schema declares the access that is expected', () => {
    for (const [root, calls] of [
      [schema.getQueryType(), QUERIES],
      [schema.getMutationType(), MUTATIONS],
      [schema.getSubscriptionType(), SUBSCRIPTIONS],
    ] as const) {
      for (const [name, { opens }] of Object.entries(calls)) {
        const field = root?.getFields()[name];
        const declared = field && accessOf(field);
        // Several scopes that each open a field are the service's to tell apart.
        const expected = opens === 'any' || opens.length > 1 ? 'authenticated' : opens[0];
        expect(`${name}: ${String(declared)}`).toBe(`${name}: ${String(expected)}`);
      }
    }
  });
});

describe('callers without a good key', () => {
  test.each(BAD_KEYS)('GraphQL refuses %s everywhere', async (what, headersOf, status) => {
    const findings = new Findings();
    const headers = headersOf(harness.keys);
    for (const { operation, name, call } of graphqlCalls) {
      const [args = {}] = call.args(names);
      const answer = await callField(operation, name, args, headers);
      const code = status === 401 ? 'UNAUTHENTICATED' : 'FORBIDDEN';
      if (answer.status !== status || codeOf(answer) !== code || (answer.body.data ?? null) !== null) {
        findings.add(`${name} with ${what}`, answer.text);
      }
      findings.look(name, what, JSON.stringify(args), answer.text);
    }
    expect(findings.list).toEqual([]);
    await unchanged();
  });

  test.each(BAD_KEYS)('REST refuses %s everywhere', async (what, headersOf, status) => {
    const findings = new Findings();
    const headers = headersOf(harness.keys);
    for (const route of guarded) {
      const [request] = route.call.requests(names);
      if (request === undefined) continue;
      const answer = await callRoute(route, request, headers);
      const { error } = (answer.body ?? {}) as { error?: string };
      // The protocol's clients know this word for a key of several workspaces.
      const expected = status === 401 ? 'UNAUTHENTICATED' : 'org_scoped_key_requires_workspace';
      if (answer.status !== status || error !== expected) {
        findings.add(`${route.title} with ${what}`, `${answer.status} ${answer.text}`);
      }
      findings.look(route.title, what, questionOf(request), answer.text);
      if (!route.call.route.startsWith('GET')) continue;
      const head = await harness.http(route.prefix + request.path, { method: 'HEAD', headers });
      if (head.status !== status) findings.add(`HEAD ${route.title} with ${what}`, String(head.status));
    }
    expect(findings.list).toEqual([]);
    await unchanged();
  });

  test('nobody gets in by naming a workspace that is not theirs', async () => {
    const findings = new Findings();
    for (const [who, headers] of wrongWorkspaces(harness)) {
      for (const { operation, name, call } of graphqlCalls) {
        const [args = {}] = call.args(names);
        const answer = await callField(operation, name, args, headers);
        if (answer.status !== 403 || codeOf(answer) !== 'FORBIDDEN') {
          findings.add(`${name}, ${who}`, answer.text);
        }
      }
      for (const route of guarded) {
        const [request] = route.call.requests(names);
        if (request === undefined) continue;
        const answer = await callRoute(route, request, headers);
        if (answer.status !== 403) findings.add(`${route.title}, ${who}`, `${answer.status} ${answer.text}`);
      }
    }
    expect(findings.list).toEqual([]);
    await unchanged();
  }, 120_000);

  test('X-Tenant-Id is taken in any case, once, from keys that reach the workspace', async () => {
    const { keys, home, neighbour } = harness;
    const workspaceOf = async (key: string, tenant: string): Promise<unknown> => {
      const headers = { 'x-api-key': key, 'x-tenant-id': tenant };
      const answer = await harness.gql('{ viewer { workspace { uuid } } }', {}, { headers });
      return (
        (answer.body.data as { viewer: { workspace: { uuid: string } } } | null)?.viewer.workspace.uuid ??
        codeOf(answer)
      );
    };
    expect(await workspaceOf(keys.full.secret, home.workspaceId)).toBe(home.workspaceId);
    expect(await workspaceOf(keys.full.secret, home.workspaceId.toUpperCase())).toBe(home.workspaceId);
    expect(await workspaceOf(keys.full.secret, ` ${home.workspaceId} `)).toBe(home.workspaceId);
    expect(await workspaceOf(keys.full.secret, '')).toBe(home.workspaceId);
    expect(await workspaceOf(keys.organization.secret, home.workspaceId)).toBe(home.workspaceId);
    expect(await workspaceOf(keys.organization.secret, neighbour.workspaceId)).toBe(neighbour.workspaceId);
    const twice = `${home.workspaceId},${neighbour.workspaceId}`;
    expect(await workspaceOf(keys.organization.secret, twice)).toBe('BAD_USER_INPUT');
  });
});

describe('keys without the scope', () => {
  const lacking = (opens: GraphqlCall['opens'] | RestCall['opens']): Scope[] =>
    typeof opens === 'string' ? [] : SCOPES.filter((scope) => !opens.includes(scope));

  test('GraphQL refuses every scope that does not open the field', async () => {
    const findings = new Findings();
    for (const { operation, name, call } of graphqlCalls) {
      const [args = {}] = call.args(names);
      for (const scope of lacking(call.opens)) {
        const answer = await callField(operation, name, args, {
          'x-api-key': harness.keys.only[scope].secret,
        });
        if (codeOf(answer) !== 'FORBIDDEN' || (answer.body.data?.['it'] ?? null) !== null) {
          findings.add(`${name} with ${scope} alone`, answer.text);
        }
        findings.look(`${name} with ${scope}`, scope, JSON.stringify(args), answer.text);
      }
      // The field opens, what else it needs is missing.
      for (const scope of call.also === undefined && call.organization === undefined ? [] : call.opens) {
        const answer = await callField(operation, name, args, {
          'x-api-key': harness.keys.only[scope as Scope].secret,
        });
        if (codeOf(answer) !== 'FORBIDDEN') findings.add(`${name} with ${scope} only`, answer.text);
      }
    }
    expect(findings.list).toEqual([]);
    await unchanged();
  }, 120_000);

  test('REST refuses every scope that does not open the route', async () => {
    const findings = new Findings();
    for (const route of guarded) {
      const { opens, also } = route.call;
      const [request] = route.call.requests(names);
      if (request === undefined) continue;
      for (const scope of [...lacking(opens), ...(also === undefined ? [] : (opens as readonly Scope[]))]) {
        const answer = await callRoute(route, request, { 'x-api-key': harness.keys.only[scope].secret });
        if (answer.status !== 403) {
          findings.add(`${route.title} with ${scope} alone`, `${answer.status} ${answer.text}`);
        }
        findings.look(`${route.title} with ${scope}`, scope, questionOf(request), answer.text);
      }
    }
    expect(findings.list).toEqual([]);
    await unchanged();
  }, 120_000);

  test('queries and reads need no more than the scope they name', async () => {
    const findings = new Findings();
    const minimal = (opens: GraphqlCall['opens'] | RestCall['opens']): Scope =>
      typeof opens === 'string' ? 'ingest' : (opens[0] ?? 'ingest');
    for (const [name, call] of Object.entries(QUERIES).filter(([, { also }]) => also === undefined)) {
      // The viewer shows whatever else the key may see: its selection needs more than the field.
      for (const args of call.args(names)) {
        const key = harness.keys.only[minimal(call.opens)].secret;
        const answer = await callField('query', name, args, { 'x-api-key': key });
        if (answer.body.errors !== undefined) findings.add(name, answer.text);
      }
    }
    const reads = guarded.filter(({ call }) => call.route.startsWith('GET') && call.also === undefined);
    for (const route of reads) {
      for (const request of route.call.requests(names)) {
        const key = harness.keys.only[minimal(route.call.opens)].secret;
        const answer = await callRoute(route, request, { 'x-api-key': key });
        if (answer.status !== 200) findings.add(route.title, `${answer.status} ${answer.text}`);
      }
    }
    expect(findings.list).toEqual([]);
    await unchanged();
  });
});

describe('cursors', () => {
  test('a cursor of one workspace shows another workspace nothing but its own', async () => {
    const findings = new Findings();
    const lists = Object.entries(QUERIES).filter(([name]) =>
      schema
        .getQueryType()
        ?.getFields()
        [name]?.args.some((arg) => arg.name === 'after'),
    );
    expect(lists.length).toBeGreaterThan(7);
    for (const [name, call] of lists) {
      const [args = {}] = call.args(names);
      const one = { ...args, first: 1 };
      const mine = await callField('query', name, one, { 'x-api-key': harness.keys.first.secret });
      const page = mine.body.data?.['it'] as { pageInfo: { endCursor: string | null } };
      expect(page.pageInfo.endCursor).not.toBeNull();
      for (const [who, headers] of outsiders(harness)) {
        const theirs = { ...args, first: 5, after: page.pageInfo.endCursor };
        const answer = await callField('query', name, theirs, headers);
        findings.look(`${name} by ${who}`, who, JSON.stringify(theirs), answer.text);
      }
    }
    expect(findings.list).toEqual([]);
  });
});

describe('sockets', () => {
  const open = (
    params: Record<string, string>,
    document: string,
    variables: Readonly<Record<string, unknown>>,
    forMs = 0,
  ): Promise<{ closed: number | undefined; errors: unknown[]; text: string }> =>
    new Promise((resolve) => {
      let text = '';
      let closed: number | undefined;
      const errors: unknown[] = [];
      const client = createClient({
        url: harness.socketUrl,
        webSocketImpl: WebSocket,
        connectionParams: params,
        retryAttempts: 0,
        on: { closed: (event) => (closed = (event as { code: number }).code) },
      });
      const finish = (): void => {
        void client.dispose();
        resolve({ closed, errors, text });
      };
      client.subscribe(
        { query: document, variables: { ...variables } },
        {
          next: (result) => {
            text += JSON.stringify(result);
            if (forMs === 0) finish();
          },
          error: (error) => {
            errors.push(error);
            finish();
          },
          complete: finish,
        },
      );
      if (forMs > 0) setTimeout(finish, forMs);
    });

  test.each(BAD_KEYS)('%s does not get beyond the door', async (_what, headersOf) => {
    for (const { name, call } of subscriptions) {
      const [args = {}] = call.args(names);
      const { closed, text } = await open(
        headersOf(harness.keys),
        documentFor(schema, 'subscription', name, args),
        args,
      );
      expect([closed, text]).toEqual([4403, '']);
    }
  });

  test('scopes that do not open a subscription are refused', async () => {
    for (const { name, call } of subscriptions) {
      const [args = {}] = call.args(names);
      for (const scope of SCOPES.filter((one) => one !== 'read')) {
        const key = harness.keys.only[scope].secret;
        const document = documentFor(schema, 'subscription', name, args);
        const { errors, text } = await open({ 'x-api-key': key }, document, args);
        expect(JSON.stringify(errors)).toContain('FORBIDDEN');
        expect(text).toBe('');
      }
    }
  });

  test('queries and mutations do not run over a socket', async () => {
    const { errors } = await open(
      { 'x-api-key': harness.keys.first.secret },
      'mutation { createProject(input: { name: "over a socket" }) { errors { code } } }',
      {},
    );
    expect(JSON.stringify(errors)).toContain('BAD_USER_INPUT');
    await unchanged();
  });

  test('what happens in a workspace is not heard in others', async () => {
    // A cursor from before the tenant's first event: whoever could, would hear everything again.
    const start = await open(
      { 'x-api-key': harness.keys.full.secret },
      'subscription ($project: ID!) { it: runEvents(project: $project) { ... on FeedEvent { cursor } } }',
      { project: names.project },
    );
    const { cursor } = (JSON.parse(start.text) as { data: { it: { cursor: string } } }).data.it;
    const origin = Buffer.from(cursor, 'base64url');
    origin.fill(0, 3);
    const after = origin.toString('base64url');
    const listening = outsiders(harness).flatMap(([, headers]) =>
      subscriptions.flatMap(({ name, call }) =>
        [names, nobody].flatMap((of) =>
          call.args(of).flatMap((args) =>
            [args, { ...args, after }].map((all) => ({
              question: JSON.stringify(all),
              heard: open(headers, documentFor(schema, 'subscription', name, all), all, 1_500),
            })),
          ),
        ),
      ),
    );
    const mine = open(
      { 'x-api-key': harness.keys.full.secret },
      documentFor(schema, 'subscription', 'runEvents', { project: names.project, after }),
      { project: names.project, after },
      1_500,
    );
    expect((await mine).text).toContain(names.run);
    for (const { question, heard } of listening) {
      const { errors, text } = await heard;
      expect([errors, leaksIn(new Set(knownFrom(question)), text, ids)]).toEqual([[], []]);
      // Nothing but the word that everything was delivered, and its position.
      expect(text.replace(/"__typename":"(Ready|Gap)"/g, '')).not.toContain('__typename');
    }
  });
});

describe('keys of other tenants', () => {
  test("GraphQL answers the tenant's ids like ids of nothing", async () => {
    const findings = new Findings();
    for (const { operation, name, call } of graphqlCalls) {
      for (const [who, headers] of outsiders(harness)) {
        const ours = call.args(names);
        const nothing = call.args(nobody);
        for (const [index, args] of ours.entries()) {
          const answer = await callField(operation, name, args, headers);
          const other = await callField(operation, name, nothing[index] ?? {}, headers);
          findings.look(`${name} by ${who}`, who, JSON.stringify(args), answer.text);
          const [seen, expected] = [answer, other].map(({ text }) => comparable(text, names, nobody)) as [
            string,
            string,
          ];
          if (answer.status !== other.status || seen !== expected) {
            findings.add(`${name} by ${who} with ${JSON.stringify(args)}`, difference(seen, expected));
          }
        }
      }
    }
    expect(findings.list).toEqual([]);
    await unchanged();
  }, 120_000);

  test("REST answers the tenant's ids like ids of nothing", async () => {
    const findings = new Findings();
    for (const route of guarded) {
      for (const [who, headers] of outsiders(harness)) {
        const ours = route.call.requests(names);
        const nothing = route.call.requests(nobody);
        for (const [index, request] of ours.entries()) {
          const answer = await callRoute(route, request, headers);
          const other = await callRoute(route, nothing[index] ?? { path: '/' }, headers);
          const question = questionOf(request);
          findings.look(`${route.title} by ${who}`, who, question, answer.text);
          const [seen, expected] = [answer, other].map(({ text }) => comparable(text, names, nobody)) as [
            string,
            string,
          ];
          if (answer.status !== other.status || seen !== expected) {
            findings.add(
              `${route.title} by ${who} with ${question}`,
              `${answer.status} for ${other.status} ${difference(seen, expected)}`,
            );
          }
        }
      }
    }
    expect(findings.list).toEqual([]);
    await unchanged();
  }, 120_000);

  test('links that were guessed lead nowhere, whoever follows them', async () => {
    const findings = new Findings();
    const halves: Names = {
      ...names,
      shareToken: nobody.shareToken,
      datasetShareToken: nobody.datasetShareToken,
      feedbackToken: nobody.feedbackToken,
      attachmentToken: `${names.attachmentToken.slice(0, -4)}AAAA`,
    };
    for (const route of restCalls.filter(({ call }) => call.opens === 'link')) {
      for (const guess of [nobody, halves]) {
        for (const headers of [{}, { 'x-api-key': harness.keys.stranger.secret }]) {
          for (const request of route.call.requests(guess)) {
            const answer = await callRoute(route, request, headers);
            // A link that is no good is a credential that is no good; tokens of shares name nothing.
            const refused = route.call.route.includes('/attachments/') ? 401 : 404;
            if (answer.status !== refused) findings.add(route.title, `${answer.status} ${answer.text}`);
            findings.look(route.title, 'a guesser', questionOf(request), answer.text);
          }
        }
      }
    }
    expect(findings.list).toEqual([]);
    await unchanged();
  });

  test('a share link shows its trace and no other', async () => {
    const [other = ''] = names.doomedTraces;
    for (const prefix of ['', '/v2']) {
      const single = await harness.http(`${prefix}/public/${names.shareToken}/run/${other}`);
      expect(single.status).toBe(404);
      for (const body of [
        {},
        { id: [other] },
        { trace: other, session: [names.project] },
        { filter: `eq(id, "${other}")` },
        { is_root: true },
      ]) {
        const { status, text } = await harness.http(`${prefix}/public/${names.shareToken}/runs/query`, {
          body,
        });
        expect([status, text.includes(other)]).toEqual([200, false]);
      }
    }
  });
});

describe('the owner', () => {
  test('nobody changed anything so far', unchanged);

  test('every field answers', async () => {
    const headers = { 'x-api-key': harness.keys.first.secret };
    const findings = new Findings();
    for (const { operation, name, call } of graphqlCalls) {
      const [args = {}] = call.args(names);
      const answer = await callField(operation, name, args, headers);
      const it = answer.body.data?.['it'] as { errors?: unknown[] } | null | undefined;
      const refused = operation === 'mutation' && it?.errors?.length !== 0;
      if (answer.body.errors !== undefined || it === null || it === undefined || refused) {
        findings.add(name, answer.text);
      }
    }
    expect(findings.list).toEqual([]);
  });

  test('every node is found by its id', async () => {
    const headers = { 'x-api-key': harness.keys.first.secret };
    const possible = schema.getPossibleTypes(schema.getType('Node') as never).map(({ name }) => name);
    const uuids: Record<string, string> = {
      ApiKey: names.apiKey,
      Evaluator: names.evaluator,
      EvaluatorVersion: names.evaluatorVersion,
      Feedback: names.feedback,
      Job: names.job,
      ModelProvider: names.modelProvider,
      Project: names.project,
      Run: names.run,
      Trace: names.run,
      Workspace: names.workspace,
      Dataset: names.dataset,
      Example: names.doomedExamples[1] ?? '',
      Experiment: names.project,
      Schedule: names.schedule,
      Gate: names.gate,
      GateEvaluation: names.gateEvaluation,
      Harvest: names.harvest,
      HarvestRun: names.harvestRun,
    };
    expect(Object.keys(uuids).sort()).toEqual([...possible].sort());
    for (const [type, uuid] of Object.entries(uuids)) {
      const id = Buffer.from(`${type}:${uuid}`).toString('base64url');
      const answer = await harness.gql(
        'query ($id: ID!) { node(id: $id) { __typename uuid } }',
        { id },
        { headers },
      );
      expect([type, answer.body.data]).toEqual([type, { node: { __typename: type, uuid } }]);
    }
  });

  test('every route answers', async () => {
    const headers = { 'x-api-key': harness.keys.first.secret };
    const findings = new Findings();
    const once = restCalls.filter(({ call, prefix }) => prefix === PREFIXES[call.mount][0]);
    // Sharing again what the GraphQL calls have taken back.
    const shared = await harness.http(`/runs/${names.run}/share`, { method: 'PUT', headers, body: {} });
    const { share_token: shareToken } = shared.body as { share_token: string };
    const open = await harness.http(`/datasets/${names.dataset}/share`, { method: 'PUT', headers, body: {} });
    const { share_token: datasetShareToken } = open.body as { share_token: string };
    for (const route of once) {
      const [request] = route.call.requests({ ...names, shareToken, datasetShareToken });
      if (request === undefined) continue;
      const answer = await callRoute(route, request, headers);
      if (answer.status >= 300) findings.add(route.title, `${answer.status} ${answer.text}`);
    }
    expect(findings.list).toEqual([]);
  });
});
