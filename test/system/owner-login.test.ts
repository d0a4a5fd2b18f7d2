/**
 * The whole gateway, with workers, on a database whose owner logs in without any other right, as on hosted Postgres:
 * what installations find that bring a database of their own.
 */
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { v7 } from 'uuid';
import { plantTenant } from '../security/tenant.js';
import type { Names } from '../security/names.js';
import { createOwnedDatabase } from '../support/database.js';
import { eventually } from '../support/eventually.js';
import { startHarness } from '../support/harness.js';
import type { Harness } from '../support/harness.js';

let harness: Harness;
let names: Names;

beforeAll(async () => {
  harness = await startHarness({ database: await createOwnedDatabase(), workers: true });
  names = await plantTenant(harness);
}, 60_000);
afterAll(() => harness.close());

const data = async (key: string, query: string): Promise<unknown> => {
  const { body } = await harness.gql(query, {}, { key });
  expect(body.errors).toBeUndefined();
  return body.data;
};

test('the owner has no right that would pass row-level security by', async () => {
  const { rows } = await harness.app.writes.query(
    `select rolsuper, rolbypassrls, rolcreaterole from pg_roles where rolname = current_user`,
  );
  expect(rows).toEqual([{ rolsuper: false, rolbypassrls: false, rolcreaterole: false }]);
  await expect(harness.app.writes.query('select * from projects')).rejects.toThrow('no-workspace');
});

test('what was sent is read, by its workspace only', async () => {
  const { full, neighbour } = harness.keys;
  const run = `{ run(id: "${names.run}") { uuid project { uuid } feedback(first: 5) { nodes { key } } } }`;
  expect(await data(full.secret, run)).toMatchObject({
    run: { uuid: names.run, project: { uuid: names.project } },
  });
  expect(await data(neighbour.secret, run)).toEqual({ run: null });
  const projects = '{ projects(first: 50) { nodes { name } } }';
  expect(JSON.stringify(await data(full.secret, projects))).toContain(names.projectName);
  expect(await data(neighbour.secret, projects)).toEqual({ projects: { nodes: [{ name: 'default' }] } });
});

test('jobs of a workspace and of the installation run, and partitions are made', async () => {
  const { full } = harness.keys;
  const [doomed] = names.doomedProjects;
  const id = v7();
  const body = { id, trace_id: id, name: 'r', run_type: 'chain', session_id: doomed, inputs: {} };
  const start = new Date().toISOString();
  const sent = await harness.http('/runs', { key: full.secret, body: { ...body, start_time: start } });
  expect(sent.status).toBe(202);
  const deleted = await harness.gql(
    'mutation ($id: ID!) { deleteProject(input: { id: $id }) { errors { code } } }',
    { id: doomed },
    { key: full.secret },
  );
  expect(deleted.body.data).toEqual({ deleteProject: { errors: [] } });
  const { pool } = harness.database;
  await eventually(
    async () => {
      const { rows } = await pool.query('select 1 from runs where project_id = $1', [doomed]);
      expect(rows).toEqual([]);
    },
    { timeoutMs: 20_000 },
  );
  const { rows } = await pool.query<{ days: number }>('select count(*)::int as days from run_partitions');
  expect(rows[0]?.days).toBeGreaterThan(8);
  await eventually(
    async () => {
      const done = await pool.query("select distinct name from jobs where state = 'succeeded' order by name");
      expect(done.rows.map(({ name }: { name: string }) => name)).toEqual(
        expect.arrayContaining(['feed.trim', 'jobs.trim', 'partitions.ensure', 'projects.delete_runs']),
      );
      const failed = await pool.query("select name, error from jobs where state = 'failed' or attempts > 1");
      expect(failed.rows).toEqual([]);
    },
    { timeoutMs: 20_000 },
  );
}, 60_000);
