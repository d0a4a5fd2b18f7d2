/**
 * Every statement that the fields and routes run, asked whether its workspace_id holds (statement-probe.ts). What is
 * called is what the matrix calls.
 */
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import type { GraphQLSchema } from 'graphql';
import { randomUUID } from 'node:crypto';
import { createApi } from '../../src/api.js';
import { inWorkspace } from '../../src/platform/db-scope.js';
import { systemIds } from '../../src/platform/ids.js';
import { trustedScope } from '../../src/tenancy/principal.js';
import { startHarness } from '../support/harness.js';
import type { Harness } from '../support/harness.js';
import { makeDoubles } from './doubles.js';
import { documentFor, MUTATIONS, QUERIES } from './graphql-calls.js';
import type { Names } from './names.js';
import { PREFIXES, REST_CALLS } from './rest-calls.js';
import { StatementProbe } from './statement-probe.js';
import { plantTenant } from './tenant.js';

let harness: Harness;
let schema: GraphQLSchema;
let names: Names;
const probe = new StatementProbe();
let headers: Record<string, string>;
/** A run with a version 4 id. */
let old: string;
/** Texts that the doubles do not have. */
let rootName: string;
let childName: string;

beforeAll(async () => {
  // Statements take longer here, and whoever waits too long for a connection is turned away.
  harness = await startHarness({ env: { READ_CONNECTIONS: '30' } });
  ({ schema } = createApi(harness.app, undefined));
  headers = { 'x-api-key': harness.keys.first.secret };
  names = await plantTenant(harness);
  await plantMore();
  while ((await harness.app.indexer.runOnce()).behind);
  const { database, home, stranger } = harness;
  const { rows } = await database.pool.query<{ name: string }>(
    'select name from runs where workspace_id = $1 and id = any($2) order by parent_run_id nulls first',
    [home.workspaceId, [names.run, names.child]],
  );
  [rootName = '', childName = ''] = rows.map(({ name }) => name);
  const doubles = await makeDoubles(database.url, home.workspaceId, async () => {
    const id = systemIds.uuid();
    await database.pool.query(
      'insert into workspaces (id, organization_id, name, handle) values ($1, $2, $3, $3)',
      [id, stranger.organizationId, `double ${id}`],
    );
    return id;
  });
  await probe.start(database.url, home.workspaceId, doubles);
}, 120_000);
afterAll(async () => {
  await probe.stop();
  await harness.close();
});

/** What else a statement may find: a run whose id does not tell its day, a delivery on its way. */
async function plantMore(): Promise<void> {
  old = randomUUID();
  const start = new Date().toISOString();
  const run = {
    id: old,
    trace_id: old,
    dotted_order: `${start.replace(/[-:.]/g, '').slice(0, -1)}000Z${old}`,
    name: 'old',
    run_type: 'chain',
    session_name: names.projectName,
    start_time: start,
    inputs: {},
  };
  const answers = [
    await harness.http('/runs', { headers, body: run }),
    await harness.http('/feedback', { headers, body: { run_id: old, key: 'old', score: 1 } }),
  ];
  expect(answers.map(({ status }) => status)).toEqual([202, 200]);
  await harness.database.pool.query(
    `insert into job_outbox (job_id, queue, delivery_id, delivery, priority, run_at)
     values ($1, 'bulk', 'd', 1, 0, now())`,
    [names.job],
  );
}

interface Call {
  /** What reads comes first, and what is an oddity of a write last: afterwards less is there to be found. */
  readonly order: 'read' | 'write' | 'odd write';
  readonly make: () => Promise<unknown>;
}

function calls(): Call[] {
  const orderOf = (writes: boolean, index: number): Call['order'] =>
    writes ? (index === 0 ? 'write' : 'odd write') : 'read';
  const fields = (['query', 'mutation'] as const).flatMap((operation) =>
    Object.entries(operation === 'query' ? QUERIES : MUTATIONS).flatMap(([name, call]) =>
      call.args(names).map((args, index) => ({
        order: orderOf(operation === 'mutation', index),
        make: () => harness.gql(documentFor(schema, operation, name, args), args, { headers }),
      })),
    ),
  );
  const routes = REST_CALLS.flatMap((call) =>
    call.requests(names).map(({ path, body }, index) => {
      const [method = 'GET'] = call.route.split(' ');
      const [prefix = ''] = PREFIXES[call.mount];
      const reads = method === 'GET' || /query|stats|group/.test(path);
      return {
        order: orderOf(!reads, index),
        make: () => harness.http(prefix + path, { method, headers, body }),
      };
    }),
  );
  const wheres = [{ traceMatch: { name: { eq: rootName } } }, { treeMatch: { name: { eq: childName } } }];
  const project = { id: names.project };
  const related = wheres
    .flatMap((where): [string, object][] => [
      ['runs', { where }],
      ['runs', { where, project }],
      ['threads', { where, project }],
    ])
    .map(([name, rest]) => ({
      order: 'read' as const,
      make: () => {
        const args = { first: 5, ...rest };
        return harness.gql(documentFor(schema, 'query', name, args), args, { headers });
      },
    }));
  const filters = { trace_filter: `eq(name, "${rootName}")`, tree_filter: `eq(name, "${childName}")` };
  const counted = Object.entries(filters).map(([kind, filter]) => ({
    order: 'read' as const,
    make: () => harness.http('/runs/stats', { headers, body: { session: [names.project], [kind]: filter } }),
  }));
  const located = {
    order: 'write' as const,
    make: () => harness.http('/feedback', { headers, body: { run_id: old, key: 'old', score: 1 } }),
  };
  const all = [...related, ...counted, ...fields, located, ...routes];
  return (['read', 'write', 'odd write'] as const).flatMap((order) =>
    all.filter((call) => call.order === order),
  );
}

test('the fields and routes run', async () => {
  for (const { make } of calls()) await make();
  // Shared again, and then deleted run by run, as the job does.
  await harness.http(`/runs/${names.run}/share`, { method: 'PUT', headers, body: {} });
  const { runs } = harness.app;
  const scope = trustedScope(harness.home.workspaceId);
  await inWorkspace(scope.workspaceId, async () => {
    while (!(await runs.deleteProjectRuns(scope, names.project, { batch: 1 })).done);
  });
  expect(probe.names.length).toBeGreaterThan(100);
}, 300_000);

test('no statement shows or changes another workspace than it is asked for', () => {
  expect(probe.leaks).toEqual([]);
});

/** Statements on tenant tables that name no workspace, and why they need not. */
const WITHOUT: Readonly<Record<string, string>> = {
  'keys.update': 'its transaction has locked the key within the reach of the caller (keys.lock)',
  'keys.rotate': 'as keys.update',
  'keys.revoke': 'as keys.update',
  'traces.await_writers': 'locks the table',
};

test('every statement on a tenant table says whose rows it means', () => {
  expect([...probe.unscoped].filter((name) => !(name in WITHOUT))).toEqual([]);
});

/** Conditions that another one of the same statement stands for. */
const REDUNDANT: Readonly<Record<string, string>> = {
  'attachments.add workspace_id 1':
    'files of examples are stored under an id made for them, which nobody else has',
  'attachments.add workspace_id 2': 'as attachments.add 1',
  'attachments.add workspace_id 3': 'as attachments.add 1',
  'example_attachments.copy a.workspace_id 2':
    'picks the bytes of files the first part found in the workspace',
  'example_attachments.copy c.workspace_id 1': 'joins chunks to files of the workspace by their ids',
  'example_attachments.delete workspace_id 2':
    'removes chunks of files the first part removed from the workspace',
  'evaluators.find_versions_at v.workspace_id 1': 'said twice',
  'evaluators.find_versions_at v.workspace_id 2': 'said twice',
  'runs.days_of_traces workspace_id 2': 'picks days that the outer condition finds in the workspace',
  'traces.tree workspace_id 3':
    'says in which days to look for runs of the workspace, of which there may be none',
  'runs.delete_of_project workspace_id 2': 'picks what the outer one lets through; it is there for the index',
  'experiments.rows u.workspace_id 1': 'joins units to runs of the workspace by the ids of both',
  'experiments.count_rows u.workspace_id 1': 'as experiments.rows',
  'experiments.keys s.workspace_id 1': 'names experiments that were found in the workspace',
  'experiments.usage workspace_id 1': 'leaves out runs of the workspace by their ids',
  'experiments.retry_failed s.workspace_id 1': 'joins results to rows of the workspace by their ids',
  'experiments.retry_failed s.workspace_id 2': 'its transaction has locked the experiment of the workspace',
};

/**
 * Statements with parts that only find rows which workers make, and there are none here. What shows or changes
 * another's rows is noticed in them as everywhere.
 */
const UNREACHED =
  /^(dataset|datasets|dataset_\w+|examples|evaluators|experiments|gates|harvests|harvest_\w+|model_\w+|schedules)\b/;

test('no condition on workspace_id could be forgotten without being noticed', () => {
  expect(probe.broken).toEqual([]);
  const silent = probe.conditions('silent').filter((key) => !(key in REDUNDANT) && !UNREACHED.test(key));
  expect(silent).toEqual([]);
  expect(probe.conditions('noticed').length).toBeGreaterThan(100);
});
