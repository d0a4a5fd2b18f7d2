/** What the tenancy tests share: a database with a first workspace, a clock that is set by hand, a cuttable doorbell. */
import type pg from 'pg';
import type { Clock } from '../../src/platform/clock.js';
import { createPool } from '../../src/platform/db.js';
import type { Queryable } from '../../src/platform/db.js';
import type { Doorbell } from '../../src/platform/doorbell.js';
import { Idempotency } from '../../src/platform/idempotency.js';
import { systemIds } from '../../src/platform/ids.js';
import type { Result } from '../../src/platform/result.js';
import { createLogger } from '../../src/platform/log.js';
import { createPrisma } from '../../src/platform/prisma.js';
import { Authenticator } from '../../src/tenancy/authenticator.js';
import type { Credentials } from '../../src/tenancy/authenticator.js';
import { keyHint, keyMac, makeKey } from '../../src/tenancy/api-key.js';
import type { KeyKind } from '../../src/tenancy/api-key.js';
import { bootstrapInstallation } from '../../src/tenancy/bootstrap.js';
import { KeyService } from '../../src/tenancy/key.service.js';
import { KeyStore } from '../../src/tenancy/key.store.js';
import { MemberService } from '../../src/tenancy/member.service.js';
import { MemberStore } from '../../src/tenancy/member.store.js';
import { SCOPES } from '../../src/tenancy/principal.js';
import type { Principal, Scope } from '../../src/tenancy/principal.js';
import { WorkspaceService } from '../../src/tenancy/workspace.service.js';
import { WorkspaceStore } from '../../src/tenancy/workspace.store.js';
import { createTestDatabase } from '../support/database.js';
import { eventually } from '../support/eventually.js';
import type { TestDatabase } from '../support/database.js';
import { inScope } from '../support/scoped.js';

export const PEPPER = 'a pepper for tests, long enough to be one';
export const log = createLogger('silent', 'test');

export class TestClock implements Clock {
  nowMs = Date.parse('2026-11-21T10:00:00.000Z');
  now(): Date {
    return new Date(this.nowMs);
  }
  advance(ms: number): void {
    this.nowMs += ms;
  }
}

/** Rings within this process; `cut` loses every ring, as a broken Redis would. */
export class TestDoorbell implements Doorbell {
  readonly #listeners = new Map<string, Set<(payload: string) => void>>();
  readonly rung: string[] = [];
  cut = false;
  ring(topic: string, payload = ''): void {
    this.rung.push(`${topic}:${payload}`);
    if (this.cut) return;
    for (const wake of this.#listeners.get(topic) ?? []) wake(payload);
  }
  listen(topic: string, wake: (payload: string) => void): () => void {
    const listeners = this.#listeners.get(topic) ?? new Set();
    listeners.add(wake);
    this.#listeners.set(topic, listeners);
    return () => listeners.delete(wake);
  }
  close(): Promise<void> {
    return Promise.resolve();
  }
}

/** Counts the statements that pass, by name comment. */
export class CountingDb implements Queryable {
  readonly counts = new Map<string, number>();
  constructor(readonly inner: Queryable) {}
  query<R extends pg.QueryResultRow>(
    text: string | pg.QueryConfig,
    values?: unknown[],
  ): Promise<pg.QueryResult<R>> {
    const name = /\/\* (\S+) \*\//.exec(typeof text === 'string' ? text : text.text)?.[1] ?? 'unnamed';
    this.counts.set(name, this.count(name) + 1);
    return this.inner.query<R>(text, values);
  }
  count(name: string): number {
    return this.counts.get(name) ?? 0;
  }
}

interface NewTestKey {
  readonly organizationId?: string;
  readonly workspaceId?: string | undefined;
  readonly userId?: string;
  readonly kind?: KeyKind;
  readonly scopes?: readonly Scope[];
  readonly expiresAt?: Date;
}

export interface TenancyWorld {
  readonly database: TestDatabase;
  readonly clock: TestClock;
  readonly doorbell: TestDoorbell;
  readonly keys: KeyStore;
  readonly keyService: KeyService;
  readonly memberService: MemberService;
  readonly workspaceService: WorkspaceService;
  readonly organizationId: string;
  readonly workspaceId: string;
  readonly apiKey: string;
  /** A further Authenticator, as another process would have. Closed with the world. */
  authenticator(parts?: { db?: Queryable; doorbell?: Doorbell; clock?: Clock }): Authenticator;
  addKey(key?: NewTestKey): Promise<{ id: string; secret: string }>;
  addWorkspace(organizationId?: string): Promise<string>;
  addOrganization(): Promise<string>;
  addUser(roles: { organizationRole?: string; workspaces?: Record<string, string> }): Promise<string>;
  close(): Promise<void>;
}

export async function createTenancyWorld(): Promise<TenancyWorld> {
  const database = await createTestDatabase();
  const pool = database.pool;
  const clock = new TestClock();
  const doorbell = new TestDoorbell();
  const keys = new KeyStore({ db: pool });
  const first = await bootstrapInstallation({
    pool,
    pepper: PEPPER,
    initApiKey: undefined,
    ids: systemIds,
    clock,
  });
  if (first.apiKey === undefined) throw new Error('a fresh installation made no key');
  const authenticators: Authenticator[] = [];
  const { url, role } = database;
  const appPool = createPool({ url, role, name: 'tenancy', max: 4, statementTimeoutMs: 10_000, log });
  const prisma = createPrisma(appPool);
  const members = new MemberStore({ db: appPool });
  const appKeys = new KeyStore({ db: appPool });
  const idempotency = new Idempotency({ pool: appPool, pepper: PEPPER, clock });
  const common = { pool: appPool, idempotency, doorbell, ids: systemIds, clock };
  return {
    database,
    clock,
    doorbell,
    keys,
    keyService: inScope(new KeyService({ ...common, pepper: PEPPER, keys: appKeys, members })),
    memberService: inScope(new MemberService({ ...common, keys: appKeys, members })),
    workspaceService: inScope(
      new WorkspaceService({ ...common, workspaces: new WorkspaceStore({ prisma }) }),
    ),
    organizationId: first.organizationId,
    workspaceId: first.workspaceId,
    apiKey: first.apiKey,
    authenticator(parts = {}) {
      const authenticator = new Authenticator({
        pepper: PEPPER,
        keys: new KeyStore({ db: parts.db ?? appPool }),
        clock: parts.clock ?? clock,
        doorbell: parts.doorbell ?? doorbell,
        log,
      });
      authenticators.push(authenticator);
      return authenticator;
    },
    async addKey(key = {}) {
      const kind = key.kind ?? 'service';
      const secret = makeKey(kind);
      const id = systemIds.uuid();
      await keys.insert({
        id,
        organizationId: key.organizationId ?? first.organizationId,
        workspaceId: 'workspaceId' in key ? key.workspaceId : first.workspaceId,
        userId: key.userId,
        kind,
        name: 'key',
        hint: keyHint(secret),
        mac: keyMac(PEPPER, secret),
        scopes: key.scopes ?? SCOPES,
        expiresAt: key.expiresAt,
        createdAt: clock.now(),
      });
      return { id, secret };
    },
    async addWorkspace(organizationId = first.organizationId) {
      const id = systemIds.uuid();
      await pool.query('insert into workspaces (id, organization_id, name, handle) values ($1, $2, $3, $4)', [
        id,
        organizationId,
        'another',
        `w-${id}`,
      ]);
      return id;
    },
    async addOrganization() {
      const id = systemIds.uuid();
      await pool.query('insert into organizations (id, name) values ($1, $2)', [id, 'another']);
      return id;
    },
    async addUser(roles) {
      const id = systemIds.uuid();
      await pool.query('insert into users (id, email, name) values ($1, $2, $3)', [
        id,
        `${id}@example.org`,
        'A user',
      ]);
      await pool.query(
        'insert into organization_members (organization_id, user_id, role) values ($1, $2, $3)',
        [first.organizationId, id, roles.organizationRole ?? 'member'],
      );
      for (const [workspaceId, role] of Object.entries(roles.workspaces ?? {})) {
        await pool.query('insert into workspace_members (workspace_id, user_id, role) values ($1, $2, $3)', [
          workspaceId,
          id,
          role,
        ]);
      }
      return id;
    },
    async close() {
      for (const authenticator of authenticators) await authenticator.close();
      await prisma.$disconnect();
      await appPool.end();
      await database.drop();
    },
  };
}

export const credentials = (apiKey: string | undefined, rest: Partial<Credentials> = {}): Credentials => ({
  apiKey,
  authorization: undefined,
  tenantId: undefined,
  remoteAddress: '203.0.113.7',
  ...rest,
});

/** A principal as `Authenticator` would make it. */
export function principalOf(world: TenancyWorld, parts: Partial<Principal> = {}): Principal {
  return {
    keyId: systemIds.uuid(),
    kind: 'service',
    organizationId: world.organizationId,
    workspaceId: world.workspaceId,
    userId: undefined,
    scopes: new Set(SCOPES),
    expiresAtMs: undefined,
    ...parts,
  };
}

/** The value of a use case that succeeded. */
export function valueOf<T>(result: Result<T>): T {
  if (!result.ok) throw new Error(`refused: ${JSON.stringify(result.problems)}`);
  return result.value;
}

/** The problems of a use case that did not: code and path, such as `INVALID name`. */
export function problemsOf(result: Result<unknown>): string[] {
  return result.ok ? [] : result.problems.map(({ code, path }) => `${code} ${path.join('.')}`);
}

/** What a refused request is answered with: code, then the reason or error it names. */
export async function refusalOf(attempt: Promise<Principal>): Promise<string> {
  try {
    await attempt;
    return 'allowed';
  } catch (error) {
    const { code, details } = error as { code: string; details?: { reason?: string; error?: string } };
    return [code, details?.reason ?? details?.error].filter((part) => part !== undefined).join(' ');
  }
}

/**
 * Starts `work` while the organisation's row is locked, lets go once all of it waits for that row, and returns its
 * outcomes: whatever order the work takes, it takes it one by one.
 */
export async function collide<T>(
  world: TenancyWorld,
  organizationId: string,
  work: readonly (() => Promise<T>)[],
): Promise<T[]> {
  const holder = await world.database.pool.connect();
  try {
    await holder.query('begin');
    await holder.query('select 1 from organizations where id = $1 for update', [organizationId]);
    const outcomes = Promise.all(work.map((start) => start()));
    await eventually(async () => {
      // Not through the holder: a transaction sees one snapshot of the activity.
      const { rowCount } = await world.database.pool.query(
        "select 1 from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'",
      );
      if (rowCount !== work.length) throw new Error(`${rowCount ?? 0} of ${work.length} wait for the lock`);
    });
    await holder.query('commit');
    return await outcomes;
  } finally {
    // Closes the connection: after a failure it still holds the lock.
    holder.release(true);
  }
}
