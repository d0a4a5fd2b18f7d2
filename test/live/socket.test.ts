/** Subscriptions end to end, with the client of graphql-ws. */
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from '@jest/globals';
import type { Client } from 'graphql-ws';
import { CloseCode, MessageType } from 'graphql-ws';
import { v7 } from 'uuid';
import { WebSocket } from 'ws';
import { toGlobalId } from '../../src/graphql/global-id.js';
import { FEED_TOPIC } from '../../src/live/feed.js';
import { KEYS_TOPIC } from '../../src/tenancy/authenticator.js';
import { patiently as eventually } from './support/patiently.js';
import { createTenancyWorld } from '../tenancy/world.js';
import type { TenancyWorld } from '../tenancy/world.js';
import { commitEntries, commitRuns, entry, newRun, someUuid } from './support/feed-world.js';
import type { ArrangedRun, World } from './support/feed-world.js';
import { collect, connect, RUN_EVENTS, startGateway } from './support/gateway.js';
import type { Events, LiveGateway } from './support/gateway.js';

let tenancy: TenancyWorld;
let gateway: LiveGateway;
let world: World;
let clients: Client[] = [];
let raws: WebSocket[] = [];

beforeAll(async () => {
  tenancy = await createTenancyWorld();
});

afterAll(() => tenancy.close());

beforeEach(async () => {
  world = { workspaceId: tenancy.workspaceId, projectId: v7() };
  gateway = await startGateway(tenancy, {
    limits: { initTimeoutMs: 200, socketsPerKey: 3, operationsPerSocket: 4 },
  });
});

afterEach(async () => {
  for (const client of clients) await client.dispose();
  for (const raw of raws) raw.terminate();
  clients = [];
  raws = [];
  // Whatever a test did, nothing may be left behind.
  await eventually(async () => {
    expect(await gateway.registry.metrics()).toMatch(/^tracewell_ws_operations 0$/m);
    expect(await gateway.registry.metrics()).toMatch(/^tracewell_ws_connections 0$/m);
    expect(gateway.node.hub.size).toBe(0);
  });
  await gateway.close();
});

function client(key = tenancy.apiKey, options: Parameters<typeof connect>[2] = {}): Client {
  const made = connect(gateway.url, key, options);
  clients.push(made);
  return made;
}

/** Subscribes and waits until the stream stands. */
async function started(
  made: Client,
  variables: Record<string, unknown> = { project: world.projectId },
  options: { resume?: boolean } = {},
): Promise<Events> {
  const events = collect(made, RUN_EVENTS, variables, options);
  await eventually(() => expect(events.cursor()).toBeDefined());
  return events;
}

async function write(
  runs: readonly ArrangedRun[],
  values: Parameters<typeof commitRuns>[3] = {},
): Promise<void> {
  await commitRuns(tenancy.database.pool, world, runs, values);
  gateway.node.doorbell.ring(FEED_TOPIC);
}

const uuids = ({ events }: Events) => events.map(({ run }) => (run as { uuid: string } | undefined)?.uuid);

/** A socket that speaks the protocol by hand. */
async function raw(options: { headers?: Record<string, string>; path?: string } = {}): Promise<{
  socket: WebSocket;
  received: Record<string, unknown>[];
  closed: Promise<{ code: number; reason: string }>;
  send: (message: unknown) => void;
}> {
  const url = gateway.url.replace('/graphql', options.path ?? '/graphql');
  const socket = new WebSocket(url, 'graphql-transport-ws', { headers: options.headers ?? {} });
  raws.push(socket);
  const received: Record<string, unknown>[] = [];
  socket.on('message', (data) =>
    received.push(JSON.parse((data as Buffer).toString()) as Record<string, unknown>),
  );
  const closed = new Promise<{ code: number; reason: string }>((resolve) =>
    socket.once('close', (code, reason) => resolve({ code, reason: String(reason) })),
  );
  await new Promise((resolve, reject) => {
    socket.once('open', resolve);
    socket.once('error', reject);
  });
  socket.on('error', () => undefined);
  return { socket, received, closed, send: (message) => socket.send(JSON.stringify(message)) };
}

async function rawReady(key = tenancy.apiKey): ReturnType<typeof raw> {
  const opened = await raw();
  opened.send({ type: 'connection_init', payload: { apiKey: key } });
  await eventually(() => expect(opened.received).toEqual([{ type: 'connection_ack' }]));
  return opened;
}

describe('runEvents', () => {
  test('brings every kind of change with its run and a cursor', async () => {
    const events = await started(client());
    const run = newRun();
    const feedbackId = someUuid();
    await write([run], { inputs: '{"n": 1.50}' });
    await commitEntries(tenancy.database.pool, world, [
      entry('u', run),
      entry('e', run),
      ['f', 0, run.id, run.traceId, feedbackId],
      entry('d', run),
    ]);
    gateway.node.doorbell.ring(FEED_TOPIC);
    await eventually(() => expect(events.events).toHaveLength(5));
    const shown = {
      id: toGlobalId('Run', run.id),
      uuid: run.id,
      name: 'a run',
      inputs: { n: 1.5 },
      revision: '1',
      contentVisible: true,
    };
    const cursor: unknown = expect.stringMatching(/^[\w-]{31}$/);
    expect(events.events).toEqual([
      { __typename: 'RunStarted', cursor, run: shown },
      { __typename: 'RunUpdated', cursor, run: shown },
      { __typename: 'RunEnded', cursor, run: shown },
      { __typename: 'FeedbackChanged', cursor, run: shown, feedbackId },
      { __typename: 'RunDeleted', cursor, runId: run.id, traceId: run.traceId },
    ]);
    expect(new Set(events.events.map((event) => event['cursor'])).size).toBe(5);
    expect(events.errors).toEqual([]);
  });

  test('takes opaque project ids as well as bare ones', async () => {
    const events = await started(client(), { project: toGlobalId('Project', world.projectId) });
    const run = newRun();
    await write([run]);
    await eventually(() => expect(uuids(events)).toEqual([run.id]));
  });

  test('filters by the run, and by the root of its trace', async () => {
    const own = await started(client(), {
      project: world.projectId,
      where: { filter: 'has(tags, "wanted")' },
    });
    const byRoot = await started(client(), {
      project: world.projectId,
      where: { traceFilter: 'eq(name, "the root")' },
    });
    const root = newRun();
    const child = newRun(root.id);
    const other = newRun();
    await write([root], { name: 'the root' });
    await tenancy.database.pool.query(
      `insert into run_days (workspace_id, project_id, day, first_start_on, last_start_on)
       select workspace_id, project_id, day, start_time::date, start_time::date from runs where id = $1
       on conflict do nothing`,
      [root.id],
    );
    await write([child], { tags: ['wanted'] });
    await write([other], { tags: ['unwanted'] });
    const last = newRun();
    await write([last], { tags: ['wanted', 'more'] });
    await eventually(() => expect(uuids(own)).toEqual([child.id, last.id]));
    const grandchild = newRun(root.id);
    await write([grandchild]);
    await eventually(() => expect(uuids(byRoot).slice(-1)).toEqual([grandchild.id]));
    expect(uuids(byRoot)).toEqual([root.id, child.id, grandchild.id].slice(-uuids(byRoot).length));
    expect(uuids(own)).toHaveLength(2);
  });

  test('hides content from a key without the scope, and refuses to filter by it', async () => {
    const { secret } = await tenancy.addKey({ scopes: ['read'] });
    const [masked, open] = [await started(client(secret)), await started(client())];
    await write([newRun()], { inputs: '{"secret":true}' });
    await eventually(() => {
      expect(masked.events).toMatchObject([{ run: { inputs: null, contentVisible: false } }]);
      expect(open.events).toMatchObject([{ run: { inputs: { secret: true }, contentVisible: true } }]);
    });
    const refused = collect(client(secret), RUN_EVENTS, {
      project: world.projectId,
      where: { filter: 'search("secret")' },
    });
    await eventually(() => expect(refused.errors).toHaveLength(1));
    expect(refused.errors).toMatchObject([[{ extensions: { code: 'FORBIDDEN', missingScope: 'content' } }]]);
  });

  test('shows nothing of another workspace, whoever guesses its project', async () => {
    const workspaceId = await tenancy.addWorkspace();
    const { secret } = await tenancy.addKey({ workspaceId });
    const stranger = await started(client(secret));
    const owner = await started(client());
    const run = newRun();
    await write([run]);
    await eventually(() => expect(uuids(owner)).toEqual([run.id]));
    expect(stranger.events).toEqual([]);
    // The stranger's own run proves that its stream had come past the foreign one.
    const own = newRun();
    await commitRuns(tenancy.database.pool, { workspaceId, projectId: world.projectId }, [own]);
    gateway.node.doorbell.ring(FEED_TOPIC);
    await eventually(() => expect(uuids(stranger)).toEqual([own.id]));
    // A cursor is a position and nothing else: with the owner's, the stranger still sees only what is its own.
    const after = owner.events[0]?.['cursor'];
    const resumed = collect(client(secret), RUN_EVENTS, { project: world.projectId, after });
    await eventually(() => expect(uuids(resumed)).toEqual([own.id]));
  });

  test('shares the text of an event between subscribers, wherever they resumed', async () => {
    const first = await started(client());
    await write([newRun()]);
    await eventually(() => expect(first.events).toHaveLength(1));
    const second = await started(client(), { project: world.projectId, after: first.cursor() });
    const before = gateway.node.loads();
    await write([newRun()]);
    await eventually(() => expect([first.events.length, second.events.length]).toEqual([2, 1]));
    expect(second.events[0]).toEqual(first.events[1]);
    expect(gateway.node.loads() - before).toBe(1);
  });
});

test('traceEvents follows one trace', async () => {
  const root = newRun();
  const events = collect(
    client(),
    `subscription ($trace: ID!) {
       traceEvents(traceId: $trace) { __typename ... on FeedEvent { cursor } ... on RunChange { run { uuid } } }
     }`,
    { trace: root.id },
  );
  await eventually(() => expect(events.cursor()).toBeDefined());
  const child = newRun(root.id);
  await write([newRun(), root]);
  await write([child]);
  await eventually(() => expect(uuids(events)).toEqual([root.id, child.id]));
});

describe('refusals', () => {
  test.each([
    ['garbage for a cursor', { after: 'nonsense' }, 'BAD_USER_INPUT'],
    ['the id of something else', { project: toGlobalId('Run', someUuid()) }, 'BAD_USER_INPUT'],
    ['no project', { project: null }, 'BAD_USER_INPUT'],
    ['a filter with a mistake', { where: { filter: 'eq(name' } }, 'BAD_USER_INPUT'],
  ])('%s gives an error for that operation, and the socket lives on', async (_what, variables, code) => {
    const made = client();
    const refused = collect(made, RUN_EVENTS, { project: world.projectId, ...variables });
    await eventually(() => expect(refused.errors).toHaveLength(1));
    expect(refused.errors).toMatchObject([[{ extensions: { code } }]]);
    await started(made);
  });

  test('queries, invalid documents and fields beyond the scopes stop at the gate', async () => {
    const made = client();
    const errorOf = async (query: string, by = made): Promise<unknown> => {
      const refused = collect(by, query);
      await eventually(() => expect(refused.errors).toHaveLength(1));
      return (refused.errors[0] as { extensions: { code: string } }[])[0]?.extensions.code;
    };
    expect(await errorOf('{ __typename }')).toBe('BAD_USER_INPUT');
    expect(await errorOf('subscription { nothing }')).toBe('GRAPHQL_VALIDATION_FAILED');
    expect(await errorOf('subscription {')).toBe('GRAPHQL_PARSE_FAILED');
    const { secret } = await tenancy.addKey({ scopes: ['ingest'] });
    const query = `subscription { runEvents(project: "${world.projectId}") { __typename } }`;
    expect(await errorOf(query, client(secret))).toBe('FORBIDDEN');
  });
});

describe('the socket', () => {
  test.each([
    ['X-Api-Key in connectionParams', (key: string) => ({ connectionParams: { 'X-Api-Key': key } })],
    ['apiKey in connectionParams', (key: string) => ({ connectionParams: { apiKey: key } })],
    ['a bearer token', (key: string) => ({ connectionParams: { Authorization: `Bearer ${key}` } })],
    [
      'the header of the upgrade',
      (key: string) => ({
        connectionParams: {},
        webSocketImpl: class extends WebSocket {
          constructor(url: string, protocols: string) {
            super(url, protocols, { headers: { 'x-api-key': key } });
          }
        },
      }),
    ],
  ])('takes the key from %s', async (_where, options) => {
    await started(client('unused', options(tenancy.apiKey)));
  });

  test('is closed with 4403 and a reason for a key that is not good', async () => {
    const { send, closed } = await raw();
    send({ type: 'connection_init', payload: { apiKey: 'nonsense' } });
    expect(await closed).toEqual({ code: CloseCode.Forbidden, reason: expect.stringContaining('malformed') });
  });

  test('is closed without connection_init, after a second one, and after garbage', async () => {
    const silent = await raw();
    expect((await silent.closed).code).toBe(CloseCode.ConnectionInitialisationTimeout);
    const twice = await rawReady();
    twice.send({ type: 'connection_init', payload: { apiKey: tenancy.apiKey } });
    expect((await twice.closed).code).toBe(CloseCode.TooManyInitialisationRequests);
    const garbage = await raw();
    garbage.socket.send('{');
    expect((await garbage.closed).code).toBe(CloseCode.BadRequest);
    const early = await raw();
    early.send({ type: 'subscribe', id: '1', payload: { query: '{ __typename }' } });
    expect((await early.closed).code).toBe(CloseCode.Unauthorized);
  });

  test('takes messages up to 64 KiB', async () => {
    const { socket, received, closed } = await rawReady();
    const ping = (bytes: number) => {
      const empty = JSON.stringify({ type: MessageType.Ping, payload: { pad: '' } });
      return empty.replace('""', `"${'x'.repeat(bytes - empty.length)}"`);
    };
    socket.send(ping(64 * 1024));
    await eventually(() => expect(received).toHaveLength(2));
    socket.send(ping(64 * 1024 + 1));
    expect((await closed).code).toBe(1009);
  });

  test('takes 200 messages in ten seconds and no more', async () => {
    const { send, received, closed } = await rawReady();
    for (let count = 2; count <= 200; count += 1) send({ type: 'ping' });
    await eventually(() => expect(received).toHaveLength(200));
    tenancy.clock.advance(10_000);
    for (let count = 1; count <= 200; count += 1) send({ type: 'ping' });
    await eventually(() => expect(received).toHaveLength(400));
    send({ type: 'ping' });
    expect((await closed).code).toBe(4429);
  });

  test('runs as many operations as allowed, and one more when one ends', async () => {
    const made = client();
    const running = [];
    for (let count = 0; count < 4; count += 1) running.push(await started(made));
    const refused = collect(made, RUN_EVENTS, { project: world.projectId });
    await eventually(() =>
      expect(refused.errors).toMatchObject([[{ extensions: { code: 'RATE_LIMITED' } }]]),
    );
    running[0]?.stop();
    await eventually(() => expect(gateway.node.hub.size).toBe(3));
    await started(made);
  });

  test('is one of at most as many per key as allowed', async () => {
    const { secret } = await tenancy.addKey();
    const open = [await rawReady(secret), await rawReady(secret), await rawReady(secret)];
    const { send, closed } = await raw();
    send({ type: 'connection_init', payload: { apiKey: secret } });
    expect(await closed).toEqual({ code: 4429, reason: 'At most 3 sockets per key' });
    await rawReady();
    open[0]?.socket.close();
    await open[0]?.closed;
    await eventually(async () => {
      const again = await raw();
      again.send({ type: 'connection_init', payload: { apiKey: secret } });
      await eventually(() => expect(again.received).toEqual([{ type: 'connection_ack' }]), {
        timeoutMs: 500,
      });
    });
  });

  test('cannot be opened from a foreign page or on another path', async () => {
    await expect(raw({ headers: { origin: 'https://evil.example' } })).rejects.toThrow('403');
    await expect(raw({ headers: { origin: 'null' } })).rejects.toThrow('403');
    await expect(raw({ path: '/other' })).rejects.toThrow('404');
    await raw({ headers: { origin: `http://127.0.0.1:${gateway.port}` } });
  });

  test('refuses an operation id that would be echoed at length', async () => {
    const { send, closed } = await rawReady();
    send({
      id: 'x'.repeat(129),
      type: 'subscribe',
      payload: { query: RUN_EVENTS, variables: { project: world.projectId } },
    });
    expect((await closed).code).toBe(4400);
  });

  test('hears nothing more of an operation it completed', async () => {
    const made = client();
    const [stopped, other] = [await started(made), await started(made)];
    stopped.stop();
    await eventually(() => expect(gateway.node.hub.size).toBe(1));
    const run = newRun();
    await write([run]);
    await eventually(() => expect(uuids(other)).toEqual([run.id]));
    expect(stopped.events).toEqual([]);
    expect(stopped.completed()).toBe(true);
  });
});

describe('keys that end', () => {
  async function closeOf(
    key: string,
    end: () => Promise<void> | void,
  ): Promise<{ code: number; reason: string }> {
    const socket = await rawReady(key);
    socket.send({
      id: '1',
      type: 'subscribe',
      payload: { query: RUN_EVENTS, variables: { project: world.projectId } },
    });
    await eventually(() => expect(socket.received).toHaveLength(2));
    await end();
    return socket.closed;
  }

  test('by revocation close their sockets', async () => {
    const { id, secret } = await tenancy.addKey();
    const close = await closeOf(secret, async () => {
      await tenancy.database.pool.query('update api_keys set revoked_at = now() where id = $1', [id]);
      tenancy.doorbell.ring(KEYS_TOPIC, id);
    });
    expect(close).toEqual({ code: 4403, reason: 'The key was revoked or changed' });
  });

  test('by expiry close their sockets', async () => {
    const { secret } = await tenancy.addKey({ expiresAt: new Date(tenancy.clock.nowMs + 3_600_000) });
    const close = await closeOf(secret, () => tenancy.clock.advance(3_600_000));
    expect(close).toEqual({ code: 4403, reason: 'The key expired' });
  });
});

describe('reconnecting', () => {
  test('a client whose socket is cut again and again misses nothing and sees nothing twice', async () => {
    const sockets: WebSocket[] = [];
    const made = client(tenancy.apiKey, {
      retryAttempts: Infinity,
      retryWait: () => Promise.resolve(),
      shouldRetry: () => true,
      on: { opened: (socket) => sockets.push(socket as WebSocket) },
    });
    const events = await started(made, { project: world.projectId }, { resume: true });
    const runs = Array.from({ length: 150 }, () => newRun());
    let cuts = 0;
    for (const [index, run] of runs.entries()) {
      await write([run]);
      if (index % 5 === 2) {
        sockets.at(-1)?.terminate();
        cuts += 1;
      }
    }
    await eventually(() => expect(events.events).toHaveLength(runs.length));
    expect(cuts).toBe(30);
    expect(uuids(events)).toEqual(runs.map(({ id }) => id));
    expect(events.errors).toEqual([]);
  });

  test('over a restart of the server goes on with the last cursor it was sent', async () => {
    const closes: { code: number }[] = [];
    const made = client(tenancy.apiKey, {
      retryAttempts: Infinity,
      retryWait: () => new Promise((resolve) => setTimeout(resolve, 50)),
      shouldRetry: () => true,
      on: { closed: (event) => closes.push(event as { code: number }) },
    });
    const events = await started(made, { project: world.projectId }, { resume: true });
    const [before, during, after] = [newRun(), newRun(), newRun()];
    await write([before]);
    await eventually(() => expect(events.events).toHaveLength(1));
    const { port } = gateway;
    await gateway.close();
    expect(closes[0]?.code).toBe(1012);
    expect(events.completed()).toBe(false);
    await commitRuns(tenancy.database.pool, world, [during]);
    gateway = await startGateway(tenancy, { port });
    await eventually(() => expect(gateway.node.hub.size).toBe(1));
    await write([after]);
    await eventually(() => expect(uuids(events)).toEqual([before.id, during.id, after.id]));
  });

  test('a socket that is not read is closed as one to retry, and its neighbour is not disturbed', async () => {
    await gateway.close();
    gateway = await startGateway(tenancy, {
      hub: { limits: { events: 5, bytes: 1_000_000 }, patienceMs: 300 },
    });
    const neighbour = await started(client());
    const stalled = await rawReady();
    stalled.send({
      id: '1',
      type: 'subscribe',
      payload: { query: RUN_EVENTS, variables: { project: world.projectId } },
    });
    await eventually(() => expect(stalled.received).toHaveLength(2));
    stalled.socket.pause();
    // Large enough to fill what the kernel buffers for the socket.
    const inputs = JSON.stringify({ text: 'x'.repeat(500_000) });
    const runs = Array.from({ length: 40 }, () => newRun());
    for (const run of runs) await write([run], { inputs });
    await eventually(() => expect(uuids(neighbour)).toEqual(runs.map(({ id }) => id)));
    await eventually(() => expect(gateway.node.hub.size).toBe(1));
    stalled.socket.resume();
    expect([1013, 1006]).toContain((await stalled.closed).code);
  });
});
