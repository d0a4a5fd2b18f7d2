import { afterAll, beforeAll, expect, test } from '@jest/globals';
import fc from 'fast-check';
import type pg from 'pg';
import { createPool } from '../../src/platform/db.js';
import { createLogger } from '../../src/platform/log.js';
import { createTestDatabase } from '../support/database.js';
import type { TestDatabase } from '../support/database.js';

let database: TestDatabase;
let pool: pg.Pool;

beforeAll(async () => {
  database = await createTestDatabase();
  const log = createLogger('silent', 'test');
  pool = createPool({ url: database.url, name: 'arrays', max: 1, statementTimeoutMs: 5_000, log });
});
afterAll(async () => {
  await pool.end();
  await database.drop();
});

test('lists of texts come back as they were, whatever is in them', async () => {
  const item = fc.oneof(
    fc.constantFrom(
      null,
      '',
      'NULL',
      'null',
      'aNULLb',
      ',',
      '"',
      '\\',
      '{',
      '}',
      '{}',
      ' ',
      'plain',
      'a b',
      'ü',
    ),
    fc.stringMatching(/^[ -~äß]{0,6}$/),
  );
  await fc.assert(
    fc.asyncProperty(fc.array(item, { maxLength: 5 }), async (list) => {
      const { rows } = await pool.query<{ list: unknown }>('select $1::text[] as list', [list]);
      expect(rows).toEqual([{ list }]);
    }),
    { numRuns: 500 },
  );
});
