import { afterAll, expect, test } from '@jest/globals';
import { createTestDatabase } from '../support/database.js';

const database = await createTestDatabase();
afterAll(() => database.drop());

test('a test database is migrated and starts empty', async () => {
  const { rows } = await database.pool.query(
    'select (select count(*) from runs) as runs, (select count(*) from feed_floor) as floors',
  );
  expect(rows).toEqual([{ runs: '0', floors: '1' }]);
});
