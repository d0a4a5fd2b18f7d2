/**
 * The whole gateway in this process: a database of its own, every service as production composes it, on a free port,
 * with workers where asked for. Closing it proves that nothing was left open: sockets, database connections.
 */
import 'reflect-metadata';
import type { Socket } from 'node:net';
import { Redis } from 'ioredis';
import { createApp } from '../../src/app.js';
import type { App } from '../../src/app.js';
import { loadConfig } from '../../src/config.js';
import type { Config } from '../../src/config.js';
import { createGateway } from '../../src/gateway.js';
import type { HttpServer } from '../../src/http/server.js';
import { prepareInstallation } from '../../src/installation.js';
import { systemIds } from '../../src/platform/ids.js';
import { Lifecycle } from '../../src/platform/lifecycle.js';
import { createLogger } from '../../src/platform/log.js';
import { keyHint, keyMac, makeKey } from '../../src/tenancy/api-key.js';
import type { KeyKind } from '../../src/tenancy/api-key.js';
import { KeyStore } from '../../src/tenancy/key.store.js';
import { SCOPES } from '../../src/tenancy/principal.js';
import type { Scope } from '../../src/tenancy/principal.js';
import { createWorkers } from '../../workers/workers.js';
import { createTestDatabase } from './database.js';
import type { TestDatabase } from './database.js';
import { eventually } from './eventually.js';

export type Engine = 'postgres' | 'redis';

const log = createLogger(process.env['TEST_LOG_LEVEL'] ?? 'silent', 'test');

/** Engines there is a server for. */
export const ENGINES: readonly Engine[] =
  process.env['TEST_REDIS_URL'] === undefined ? ['postgres'] : ['postgres', 'redis'];

/** A Redis database that only this test process uses, emptied. Undefined for the other engine. */
export async function ownRedis(engine: Engine): Promise<string | undefined> {
  if (engine === 'postgres') return undefined;
  const url = new URL(process.env['TEST_REDIS_URL'] ?? '');
  url.pathname = `/${1 + (Number(process.env['JEST_WORKER_ID'] ?? 1) % 15)}`;
  const redis = new Redis(url.href, { maxRetriesPerRequest: 1 });
  await redis.flushdb();
  await redis.quit();
  return url.href;
}

/** A secret as clients send it, and where it stands. */
export interface HarnessKey {
  readonly id: string;
  readonly secret: string;
}

export interface NewKey {
  readonly organizationId?: string;
  /** Null: a key of the whole organisation. */
  readonly workspaceId?: string | null;
  readonly name?: string;
  readonly scopes?: readonly Scope[];
  readonly kind?: KeyKind;
  readonly userId?: string;
  readonly expiresAt?: Date;
}

interface Place {
  readonly organizationId: string;
  readonly workspaceId: string;
}

/** Which key stands for what in matrix tests. */
export interface KeySet {
  /** Everything in the first workspace; also administers its organisation. */
  readonly first: HarnessKey;
  /** All scopes in the first workspace. */
  readonly full: HarnessKey;
  /** One scope each, in the first workspace. */
  readonly only: Readonly<Record<Scope, HarnessKey>>;
  readonly expired: HarnessKey;
  readonly revoked: HarnessKey;
  /** Of our own form, and of nobody. */
  readonly unknown: HarnessKey;
  /** All scopes in another workspace of the organisation. */
  readonly neighbour: HarnessKey;
  /** All scopes in a workspace of another organisation. */
  readonly stranger: HarnessKey;
  /** All scopes in every workspace of the organisation. */
  readonly organization: HarnessKey;
  /** The same of the other organisation. */
  readonly strangeOrganization: HarnessKey;
}

export interface GraphqlAnswer {
  readonly status: number;
  readonly text: string;
  readonly headers: Headers;
  readonly body: {
    readonly data?: Record<string, unknown> | null;
    readonly errors?: readonly { message: string; path?: unknown; extensions: Record<string, unknown> }[];
    readonly extensions?: Record<string, unknown>;
  };
}

export interface HttpAnswer {
  readonly status: number;
  readonly text: string;
  readonly headers: Headers;
  /** Parsed where it is JSON. */
  readonly body: unknown;
}

export interface RequestOptions {
  /** Secret; undefined for no key. */
  readonly key?: string | undefined;
  readonly headers?: Readonly<Record<string, string>>;
  readonly method?: string;
  readonly body?: unknown;
}

export interface Harness {
  readonly url: string;
  /** For graphql-ws clients. */
  readonly socketUrl: string;
  readonly app: App;
  readonly server: HttpServer;
  readonly config: Config;
  readonly database: TestDatabase;
  /** The first workspace. */
  readonly home: Place;
  /** Another workspace of the same organisation. */
  readonly neighbour: Place;
  /** A workspace of another organisation. */
  readonly stranger: Place;
  readonly keys: KeySet;
  addKey(key?: NewKey): Promise<HarnessKey>;
  gql(
    query: string,
    variables?: Readonly<Record<string, unknown>>,
    options?: Pick<RequestOptions, 'key' | 'headers'>,
  ): Promise<GraphqlAnswer>;
  http(path: string, options?: RequestOptions): Promise<HttpAnswer>;
  /** Stops everything in order. @throws Error where a socket or a database connection is left. */
  close(): Promise<void>;
}

export interface HarnessOptions {
  readonly engine?: Engine;
  readonly workers?: boolean;
  /** Default: one of its own. Dropped when the harness is closed. */
  readonly database?: TestDatabase;
  /** As in the environment. Default: limits nobody reaches. */
  readonly env?: Readonly<Record<string, string>>;
}

const GENEROUS = {
  INGEST_REQUESTS_PER_MINUTE: '1000000',
  API_REQUESTS_PER_MINUTE: '1000000',
  GRAPHQL_COST_PER_MINUTE: '100000000',
};

export async function startHarness({
  engine = 'postgres',
  workers = false,
  env = {},
  ...given
}: HarnessOptions = {}): Promise<Harness> {
  const database = given.database ?? (await createTestDatabase());
  const redisUrl = await ownRedis(engine);
  const config = loadConfig({
    DATABASE_URL: database.url,
    ...(redisUrl !== undefined && { REDIS_URL: redisUrl, ALLOW_VOLATILE_REDIS: 'true' }),
    LOG_LEVEL: 'silent',
    ...GENEROUS,
    ...env,
  });
  const lifecycle = new Lifecycle(log);
  const installation = await prepareInstallation({ config, databaseUrl: database.url, log });
  const { pepper, vaultKeys, organizationId, workspaceId, databaseRole } = installation;
  const app = createApp({
    config,
    databaseUrl: database.url,
    databaseRole,
    pepper,
    vaultKeys,
    log,
    lifecycle,
  });
  const server = await createGateway(app, config, lifecycle);
  const sockets = new Set<Socket>();
  server.app.server.on('connection', (socket: Socket) => {
    sockets.add(socket);
    socket.once('close', () => sockets.delete(socket));
  });
  const url = await server.listen({ host: '127.0.0.1', port: 0 });
  if (workers) await createWorkers(app, config, lifecycle);

  const home: Place = { organizationId, workspaceId };
  const neighbour: Place = { organizationId, workspaceId: await addWorkspace(database, organizationId) };
  const otherOrganization = await addOrganization(database);
  const stranger: Place = {
    organizationId: otherOrganization,
    workspaceId: await addWorkspace(database, otherOrganization),
  };
  const addKey = (key: NewKey = {}): Promise<HarnessKey> => insertKey(database, pepper, home, key);
  const http = requester(url);
  return {
    url,
    socketUrl: `${url.replace('http', 'ws')}/graphql`,
    app,
    server,
    config,
    database,
    home,
    neighbour,
    stranger,
    keys: await makeKeys({
      addKey,
      database,
      neighbour,
      stranger,
      first: { id: await firstKeyId(database), secret: installation.apiKey ?? '' },
    }),
    addKey,
    http,
    gql: async (query, variables = {}, options = {}) => {
      const answer = await http('/graphql', { ...options, body: { query, variables } });
      return { ...answer, body: answer.body ?? {} };
    },
    close: async () => {
      await lifecycle.stop();
      await provenClosed(database, sockets).finally(() => database.drop());
    },
  };
}

// ── Tenants and keys ───────────────────────────────────────────────────────────────────────────────────────

async function firstKeyId({ pool }: TestDatabase): Promise<string> {
  const { rows } = await pool.query<{ id: string }>('select id from api_keys');
  return rows[0]?.id ?? '';
}

async function addOrganization({ pool }: TestDatabase): Promise<string> {
  const id = systemIds.uuid();
  await pool.query('insert into organizations (id, name) values ($1, $2)', [id, `organisation ${id}`]);
  return id;
}

async function addWorkspace({ pool }: TestDatabase, organizationId: string): Promise<string> {
  const id = systemIds.uuid();
  await pool.query('insert into workspaces (id, organization_id, name, handle) values ($1, $2, $3, $4)', [
    id,
    organizationId,
    `workspace ${id}`,
    `w-${id}`,
  ]);
  return id;
}

async function insertKey(
  { pool }: TestDatabase,
  pepper: string,
  home: Place,
  key: NewKey,
): Promise<HarnessKey> {
  const kind = key.kind ?? 'service';
  const secret = makeKey(kind);
  const id = systemIds.uuid();
  await new KeyStore({ db: pool }).insert({
    id,
    organizationId: key.organizationId ?? home.organizationId,
    workspaceId: key.workspaceId === undefined ? home.workspaceId : (key.workspaceId ?? undefined),
    userId: key.userId,
    kind,
    name: key.name ?? 'key',
    hint: keyHint(secret),
    mac: keyMac(pepper, secret),
    scopes: key.scopes ?? SCOPES,
    expiresAt: key.expiresAt,
    createdAt: new Date(),
  });
  return { id, secret };
}

async function makeKeys({
  addKey,
  database,
  neighbour,
  stranger,
  first,
}: {
  addKey: (key?: NewKey) => Promise<HarnessKey>;
  database: TestDatabase;
  neighbour: Place;
  stranger: Place;
  first: HarnessKey;
}): Promise<KeySet> {
  const revoked = await addKey({ name: 'revoked' });
  await database.pool.query('update api_keys set revoked_at = now() where id = $1', [revoked.id]);
  const only = {} as Record<Scope, HarnessKey>;
  for (const scope of SCOPES) only[scope] = await addKey({ name: `only ${scope}`, scopes: [scope] });
  const { organizationId } = stranger;
  return {
    first,
    full: await addKey({ name: 'full' }),
    only,
    revoked,
    expired: await addKey({ name: 'expired', expiresAt: new Date(Date.now() - 1_000) }),
    unknown: { id: systemIds.uuid(), secret: makeKey('service') },
    neighbour: await addKey(neighbour),
    stranger: await addKey(stranger),
    organization: await addKey({ name: 'organization', workspaceId: null }),
    strangeOrganization: await addKey({ organizationId, workspaceId: null }),
  };
}

// ── Requests ───────────────────────────────────────────────────────────────────────────────────────────────

function requester(url: string): Harness['http'] {
  return async (path, { key, headers = {}, method, body } = {}) => {
    const isText = typeof body === 'string' || body instanceof Uint8Array || body instanceof FormData;
    const response = await fetch(url + path, {
      method: method ?? (body === undefined ? 'GET' : 'POST'),
      redirect: 'manual',
      headers: {
        ...(key !== undefined && { 'x-api-key': key }),
        ...(body !== undefined && !isText && { 'content-type': 'application/json' }),
        ...headers,
      },
      ...(body !== undefined && { body: isText ? body : JSON.stringify(body) }),
    });
    const text = await response.text();
    // Not JSON lines.
    const isJson = /[/+]json\b/.test(response.headers.get('content-type') ?? '');
    return {
      status: response.status,
      headers: response.headers,
      text,
      body: isJson && text !== '' ? (JSON.parse(text) as unknown) : undefined,
    };
  };
}

// ── Leaks ──────────────────────────────────────────────────────────────────────────────────────────────────

async function provenClosed({ pool }: TestDatabase, sockets: ReadonlySet<Socket>): Promise<void> {
  await eventually(
    async () => {
      if (sockets.size > 0) throw new Error(`${sockets.size} connection(s) of clients are still open`);
      const { rows } = await pool.query<{ application_name: string }>(
        `select application_name from pg_stat_activity
         where datname = current_database() and application_name <> 'tracewell-test' and backend_type = 'client backend'`,
      );
      if (rows.length > 0) {
        const names = rows.map(({ application_name }) => application_name || 'unnamed');
        throw new Error(`connections to the database are still open: ${names.join(', ')}`);
      }
    },
    { timeoutMs: 5_000 },
  );
}
