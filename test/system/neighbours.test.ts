/** What one workspace's slow queries leave to the others: signs of life, live events, answers. */
import { afterEach, expect, test } from '@jest/globals';
import { v7 } from 'uuid';
import { eventually } from '../support/eventually.js';
import { EVENTS } from '../support/feed-load.js';
import { startHarness } from '../support/harness.js';
import type { GraphqlAnswer, Harness } from '../support/harness.js';
import { LiveClient } from '../support/live-client.js';

const closers: (() => Promise<void> | void)[] = [];
afterEach(async () => {
  for (const close of closers.splice(0).reverse()) await close();
}, 30_000);

async function started(): Promise<Harness> {
  const harness = await startHarness();
  closers.push(() => harness.close());
  return harness;
}

/** Whoever reads datasets waits until `release`, ten seconds at most. No transaction is open for it: live events wait for those. */
async function holdDatasets({ database }: Harness): Promise<() => Promise<void>> {
  const client = await database.pool.connect();
  const gate = 4_711;
  await client.query(`
    create function wait_at_gate() returns void language sql as 'select pg_advisory_xact_lock_shared(${gate})';
    alter table datasets rename to all_datasets;
    create view datasets as select d.* from all_datasets d, wait_at_gate() where true;
    grant select on datasets to public`);
  await client.query('select pg_advisory_lock($1)', [gate]);
  let held = true;
  const release = async (): Promise<void> => {
    if (!held) return;
    held = false;
    await client.query('select pg_advisory_unlock($1)', [gate]);
    client.release();
  };
  closers.push(release);
  return release;
}

/** Queries that wait for the table, by pool. */
async function waitingQueries({ database }: Harness): Promise<number> {
  const { rows } = await database.pool.query<{ count: number }>(
    `select count(*)::int as count from pg_stat_activity
     where datname = current_database() and application_name = 'tracewell-reads' and wait_event_type = 'Lock'`,
  );
  return rows[0]?.count ?? 0;
}

const DATASETS = '{ datasets(first: 1) { nodes { name } } }';
const run = (project: string): Record<string, unknown> => {
  const id = v7();
  return {
    id,
    trace_id: id,
    name: 'run',
    run_type: 'chain',
    session_name: project,
    start_time: new Date().toISOString(),
  };
};

test('slow queries of one workspace leave the gateway ready, live events on time and others answered', async () => {
  const harness = await started();
  const { keys, gql, http, url } = harness;
  const key = keys.neighbour.secret;
  const made = await gql(
    'mutation { createProject(input: { name: "live" }) { project { uuid } } }',
    {},
    { key },
  );
  const { project } = (made.body.data as { createProject: { project: { uuid: string } } }).createProject;
  const subscriber = new LiveClient({
    url: () => url,
    apiKey: key,
    query: EVENTS('uuid'),
    variables: { project: project.uuid },
  });
  closers.push(() => subscriber.stop());
  await eventually(() => expect(subscriber.ready).toBe(1));

  await gql(
    'mutation { createDataset(input: { name: "slow" }) { dataset { uuid } } }',
    {},
    { key: keys.full.secret },
  );
  const release = await holdDatasets(harness);
  const answers: GraphqlAnswer[] = [];
  const ask = async (): Promise<void> =>
    void answers.push(await gql(DATASETS, {}, { key: keys.full.secret }));
  const slow = Promise.all(Array.from({ length: 10 }, ask));
  await eventually(async () => expect(await waitingQueries(harness)).toBe(4));
  // All of this while they wait.
  const ready = await http('/readyz');
  expect([ready.status, ready.body]).toEqual([
    200,
    { ok: true, checks: { database: 'ok', migrations: 'ok', draining: 'ok' } },
  ]);
  const sent = run('live');
  expect((await http('/runs', { key, body: sent })).status).toBe(202);
  await eventually(() => expect(subscriber.events.map(({ runId }) => runId)).toEqual([sent['id']]));
  const answer = await gql('{ runs(first: 1) { nodes { uuid } } }', {}, { key });
  expect(answer.body.data).toEqual({ runs: { nodes: [{ uuid: sent['id'] }] } });
  expect(await waitingQueries(harness)).toBe(4);

  // The workspace's own line is not endless, and says when to come back.
  await eventually(() => expect(answers).toHaveLength(6));
  for (const { status, headers, body } of answers) {
    expect([status, headers.get('retry-after')]).toEqual([503, '10']);
    expect(body.errors?.[0]?.message).toContain('this workspace');
  }
  await release();
  await slow;
  expect(answers.slice(6).map(({ status }) => status)).toEqual([200, 200, 200, 200]);
  // Nothing is left of it.
  expect((await gql(DATASETS, {}, { key: keys.full.secret })).status).toBe(200);
});
