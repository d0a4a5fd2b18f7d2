/** The keyset helper against Postgres: both directions, nulls, ties, microseconds. */
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { createPool } from '../../src/platform/db.js';
import { keysetCondition, keysetOrder } from '../../src/platform/keyset.js';
import type { Keyset, PageWindow, Position } from '../../src/platform/keyset.js';
import { createLogger } from '../../src/platform/log.js';
import { createTestDatabase } from '../support/database.js';
import type { TestDatabase } from '../support/database.js';

let database: TestDatabase;
let pool: ReturnType<typeof createPool>;
beforeAll(async () => {
  database = await createTestDatabase();
  pool = createPool({
    url: database.url,
    name: 'keyset',
    max: 1,
    statementTimeoutMs: 10_000,
    log: createLogger('silent', 'test'),
  });
  await pool.query('create temporary table item (id uuid not null, moment timestamptz(6))');
});
afterAll(async () => {
  await pool.end();
  await database.drop();
});

async function page(keyset: Keyset, window: PageWindow): Promise<Position[]> {
  const params: unknown[] = [];
  const condition = keysetCondition(keyset, window, params);
  const { rows } = await pool.query<{ id: string; value: string | null }>(
    `select i.id, i.moment as value from item i where ${condition}
     order by ${keysetOrder(keyset, window)} limit $${params.push(window.limit)}`,
    params,
  );
  return rows;
}

async function walk(keyset: Keyset, backward: boolean, limit: number): Promise<string[]> {
  const seen: string[] = [];
  let boundary: Position | undefined;
  for (;;) {
    const rows = await page(keyset, { limit, backward, boundary });
    seen.push(...rows.map(({ id }) => id));
    boundary = rows.at(-1);
    if (rows.length < limit) return backward ? seen.reverse() : seen;
  }
}

test('walking either way visits every row once, in the order of the list', async () => {
  // Few distinct times one microsecond apart, so that ties and lost digits would show.
  const row = fc.record({ id: fc.uuid(), micro: fc.option(fc.integer({ min: 0, max: 3 })) });
  const rowsOf = fc.uniqueArray(row, { selector: ({ id }) => id, minLength: 1, maxLength: 12 });
  await fc.assert(
    fc.asyncProperty(
      rowsOf,
      fc.constantFrom('asc' as const, 'desc' as const),
      fc.boolean(),
      fc.integer({ min: 1, max: 5 }),
      async (drawn, direction, nullable, limit) => {
        const rows = nullable ? drawn : drawn.filter(({ micro }) => micro !== null);
        await pool.query('truncate item');
        await pool.query('insert into item select * from unnest($1::uuid[], $2::timestamptz[])', [
          rows.map(({ id }) => id),
          rows.map(({ micro }) => (micro === null ? null : `2026-11-21 10:00:00.12345${micro}+00`)),
        ]);
        const keyset: Keyset = { value: 'i.moment', type: 'timestamptz', id: 'i.id', direction, nullable };
        const { rows: ordered } = await pool.query<{ id: string }>(
          `select id from item order by moment ${direction} nulls last, id ${direction}`,
        );
        const expected = ordered.map(({ id }) => id);
        expect(await walk(keyset, false, limit)).toEqual(expected);
        expect(await walk(keyset, true, limit)).toEqual(expected);
      },
    ),
    { numRuns: 60 },
  );
});
