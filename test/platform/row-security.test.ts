/** What holds a statement to the workspace it is run for: the pool, the setting and the policies together. */
import { afterAll, afterEach, beforeAll, describe, expect, test } from '@jest/globals';
import type pg from 'pg';
import { createPool, sqlState, transaction } from '../../src/platform/db.js';
import type { PoolOptions } from '../../src/platform/db.js';
import { everywhere, inWorkspace } from '../../src/platform/db-scope.js';
import { systemIds } from '../../src/platform/ids.js';
import { createLogger } from '../../src/platform/log.js';
import { migrate } from '../../src/platform/migrate.js';
import { createPrisma } from '../../src/platform/prisma.js';
import { DEFAULT_ROLE, prepareRowSecurity } from '../../src/platform/row-security.js';
import { createOwnedDatabase, createTestDatabase, MIGRATIONS } from '../support/database.js';
import type { TestDatabase } from '../support/database.js';

const log = createLogger('silent', 'test');
const A = systemIds.uuid();
const B = systemIds.uuid();
const NAMES = '/* test.names */ select name from projects order by name';

let database: TestDatabase;
let role: string | undefined;
const pools: pg.Pool[] = [];

beforeAll(async () => {
  database = await createTestDatabase();
  role = await prepareRowSecurity({ url: database.url, wanted: undefined, log });
  await addProject(database.pool, A, 'a1');
  await addProject(database.pool, A, 'a2');
  await addProject(database.pool, B, 'b1');
});
afterEach(async () => {
  await Promise.all(pools.splice(0).map((pool) => pool.end()));
});
afterAll(() => database.drop());

async function addProject(pool: pg.Pool, workspaceId: string, name: string): Promise<void> {
  await pool.query(
    `insert into projects (workspace_id, id, name, start_time, created_at, updated_at)
     values ($1, $2, $3, now(), now(), now())`,
    [workspaceId, systemIds.uuid(), name],
  );
}

function poolOf(max: number, options: Partial<PoolOptions> = {}): pg.Pool {
  const pool = createPool({
    url: database.url,
    name: 'row-security',
    max,
    statementTimeoutMs: 5_000,
    role,
    log,
    ...options,
  });
  pools.push(pool);
  return pool;
}

const namesIn = async (pool: pg.Pool | pg.PoolClient): Promise<string[]> =>
  (await pool.query<{ name: string }>(NAMES)).rows.map(({ name }) => name);

const stateOf = async (attempt: Promise<unknown>): Promise<string | undefined> => {
  try {
    await attempt;
    return 'no error';
  } catch (error) {
    return sqlState(error);
  }
};

test('a superuser is given a role that policies hold for', () => {
  expect(role).toBe(DEFAULT_ROLE);
});

test('a statement without its workspace sees the rows of its scope', async () => {
  const pool = poolOf(2);
  expect(await inWorkspace(A, () => namesIn(pool))).toEqual(['a1', 'a2']);
  expect(await inWorkspace(B, () => namesIn(pool))).toEqual(['b1']);
  expect(await everywhere('upkeep', () => namesIn(pool))).toEqual(['a1', 'a2', 'b1']);
  expect(await namesIn(poolOf(1, { rows: 'everywhere' }))).toEqual(['a1', 'a2', 'b1']);
});

test('a statement outside of any scope fails, before the first and after any other', async () => {
  const pool = poolOf(1);
  expect(await stateOf(namesIn(pool))).toBe('22P02');
  await inWorkspace(A, () => namesIn(pool));
  await expect(namesIn(pool)).rejects.toThrow('no-workspace');
  // What is no tenant's is there.
  expect((await pool.query('select count(*) as found from organizations')).rows).toEqual([{ found: 0 }]);
});

test('nothing of a scope stays on the connection', async () => {
  const pool = poolOf(1);
  const left = async (): Promise<unknown> =>
    (await pool.query("select current_setting('app.workspace_id') as workspace, current_user as role")).rows;
  await inWorkspace(A, () => namesIn(pool));
  expect(await left()).toEqual([{ workspace: 'no-workspace', role: DEFAULT_ROLE }]);
  await everywhere('upkeep', () => namesIn(pool));
  expect(await left()).toEqual([{ workspace: 'no-workspace', role: DEFAULT_ROLE }]);
  await inWorkspace(A, () =>
    transaction(pool, async (tx) => {
      await namesIn(tx);
      throw new Error('given up');
    }),
  ).catch(() => undefined);
  expect(await left()).toEqual([{ workspace: 'no-workspace', role: DEFAULT_ROLE }]);
  await inWorkspace(A, () => pool.query('select 1 / $1::int', [0])).catch(() => undefined);
  expect(await left()).toEqual([{ workspace: 'no-workspace', role: DEFAULT_ROLE }]);
});

test('whoever waits for a connection keeps their own scope', async () => {
  const pool = poolOf(1);
  const asked = Array.from({ length: 40 }, (_, index) => (index % 2 === 0 ? A : B));
  const found = await Promise.all(
    asked.map((workspaceId) => inWorkspace(workspaceId, async () => (await namesIn(pool)).join())),
  );
  expect(found).toEqual(asked.map((workspaceId) => (workspaceId === A ? 'a1,a2' : 'b1')));
  const transactions = await Promise.all(
    asked.map((workspaceId) =>
      inWorkspace(workspaceId, () => transaction(pool, async (tx) => (await namesIn(tx)).join())),
    ),
  );
  expect(transactions).toEqual(found);
});

test('a transaction may change its scope from statement to statement', async () => {
  const pool = poolOf(1);
  const found = await inWorkspace(A, () =>
    transaction(pool, async (tx) => [
      await namesIn(tx),
      await everywhere('upkeep', () => namesIn(tx)),
      await inWorkspace(B, () => namesIn(tx)),
      await namesIn(tx),
    ]),
  );
  expect(found).toEqual([['a1', 'a2'], ['a1', 'a2', 'b1'], ['b1'], ['a1', 'a2']]);
});

test('rows of others cannot be written, and changing them changes nothing', async () => {
  const pool = poolOf(1);
  const write = (sql: string, values: unknown[]): Promise<pg.QueryResult> =>
    inWorkspace(A, () => pool.query(sql, values));
  const insert = `insert into projects (workspace_id, id, name, start_time, created_at, updated_at)
    values ($1, $2, 'new', now(), now(), now())`;
  expect(await stateOf(write(insert, [B, systemIds.uuid()]))).toBe('42501');
  expect((await write("update projects set description = 'x' where name = $1", ['b1'])).rowCount).toBe(0);
  expect((await write('delete from projects where name = $1', ['b1'])).rowCount).toBe(0);
  expect(await stateOf(write('update projects set workspace_id = $1', [B]))).toBe('42501');
  expect(await everywhere('upkeep', () => namesIn(pool))).toEqual(['a1', 'a2', 'b1']);
});

test('frequent statements stay the right ones when they are prepared', async () => {
  const pool = poolOf(1);
  for (let round = 0; round < 10; round += 1) {
    for (const workspaceId of [A, B]) {
      const { rows } = await inWorkspace(workspaceId, () =>
        pool.query<{ found: number }>(
          '/* test.count */ select count(*) as found from projects where name <> $1',
          ['nobody'],
        ),
      );
      expect(rows).toEqual([{ found: workspaceId === A ? 2 : 1 }]);
    }
  }
});

test('a broken statement leaves the connection in step', async () => {
  const pool = poolOf(1);
  const client = await pool.connect();
  const broken = ['select * from nothing_of_the_kind', 'select $1::int / 0', 'selekt'];
  for (const sql of broken) {
    await expect(inWorkspace(A, () => client.query(sql, sql.includes('$1') ? [1] : []))).rejects.toThrow();
    expect(await inWorkspace(A, () => namesIn(client))).toEqual(['a1', 'a2']);
  }
  client.release();
});

test('statements of Prisma are held to the scope they are called in', async () => {
  const pool = poolOf(2);
  const prisma = createPrisma(pool);
  const names = async (): Promise<string[]> =>
    (await prisma.project.findMany({ orderBy: { name: 'asc' }, select: { name: true } })).map(
      (row) => row.name,
    );
  const [a, b] = await Promise.all([inWorkspace(A, names), inWorkspace(B, names)]);
  expect([a, b]).toEqual([['a1', 'a2'], ['b1']]);
  const counted = await inWorkspace(A, () =>
    prisma.$transaction(async (tx) => {
      await tx.project.updateMany({ data: { description: 'mine' } });
      return tx.project.count();
    }),
  );
  expect(counted).toBe(2);
  const { rows } = await database.pool.query(
    "select name from projects where description = 'mine' order by name",
  );
  expect(rows).toEqual([{ name: 'a1' }, { name: 'a2' }]);
  await prisma.$disconnect();
});

describe('who logs in', () => {
  const owned = async (attributes: string, work: (own: TestDatabase) => Promise<void>): Promise<void> => {
    const own = await createOwnedDatabase(attributes);
    try {
      await migrate(own.url, MIGRATIONS, log);
      await addProject(own.pool, A, 'a1');
      await work(own);
    } finally {
      await own.drop();
    }
  };

  test('needs no other role where policies hold for it', async () => {
    await owned('', async ({ url }) => {
      expect(await prepareRowSecurity({ url, wanted: undefined, log })).toBeUndefined();
      const pool = poolOf(1, { url, role: undefined });
      await expect(namesIn(pool)).rejects.toThrow('no-workspace');
      expect(await inWorkspace(A, () => namesIn(pool))).toEqual(['a1']);
      expect(await inWorkspace(B, () => namesIn(pool))).toEqual([]);
    });
  });

  test('is told where it bypasses them and may not use a role', async () => {
    await owned('bypassrls', async ({ url }) => {
      const warned: string[] = [];
      const listening = { ...log, warn: (_fields: unknown, message: string) => warned.push(message) };
      expect(
        await prepareRowSecurity({ url, wanted: undefined, log: listening as unknown as typeof log }),
      ).toBeUndefined();
      expect(warned.join()).toContain('row-level security has no effect');
      await expect(prepareRowSecurity({ url, wanted: DEFAULT_ROLE, log })).rejects.toThrow(
        'permission denied',
      );
    });
  });

  test('may use a role that was made for it', async () => {
    await owned('bypassrls', async (own) => {
      const made = `tw_made_${systemIds.uuid().slice(-12)}`;
      await own.pool.query(`create role ${made} nologin`);
      await own.pool.query(`grant ${made} to ${new URL(own.url).username}`);
      try {
        expect(await prepareRowSecurity({ url: own.url, wanted: made, log })).toBe(made);
        const pool = poolOf(1, { url: own.url, role: made });
        await expect(namesIn(pool)).rejects.toThrow('no-workspace');
        expect(await inWorkspace(A, () => namesIn(pool))).toEqual(['a1']);
        expect(await inWorkspace(B, () => namesIn(pool))).toEqual([]);
        await pools.pop()?.end();
      } finally {
        await own.pool.query(`drop owned by ${made}`);
        await own.pool.query(`drop role ${made}`);
      }
    });
  });

  test('makes the role where it bypasses them and may make roles', async () => {
    await owned('bypassrls createrole', async (own) => {
      // The shared server has the default role already, and it is nobody's to give away.
      const made = `tw_made_${systemIds.uuid().slice(-12)}`;
      try {
        expect(await prepareRowSecurity({ url: own.url, wanted: made, log })).toBe(made);
        expect(await prepareRowSecurity({ url: own.url, wanted: made, log })).toBe(made);
      } finally {
        await own.pool.query(`drop owned by ${made}`);
        await own.pool.query(`drop role ${made}`);
      }
    });
  });

  test('cannot name a role that bypasses them itself', async () => {
    const { username } = new URL(database.url);
    await expect(prepareRowSecurity({ url: database.url, wanted: username, log })).rejects.toThrow(
      'bypasses row-level security itself',
    );
  });
});
