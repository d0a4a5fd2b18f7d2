import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { graphql } from 'graphql';
import { v7 } from 'uuid';
import { createContext, requirePrincipal } from '../../src/graphql/context.js';
import type { GraphqlContext } from '../../src/graphql/context.js';
import { Cursors } from '../../src/graphql/cursor.js';
import { NodeResolver, NodeTypes } from '../../src/graphql/node.resolver.js';
import { buildTracewellSchema } from '../../src/graphql/schema.js';
import { JobListStore } from '../../src/jobs/job-list.store.js';
import { JobLoaders } from '../../src/jobs/job.loaders.js';
import { JobResolver } from '../../src/jobs/job.resolver.js';
import { JobService } from '../../src/jobs/job.service.js';
import type { Queryable } from '../../src/platform/db.js';
import { transaction } from '../../src/platform/db.js';
import type { Principal, Scope } from '../../src/tenancy/principal.js';
import { eventually } from '../support/eventually.js';
import { createKit, defineUnitJob, handle, recordResult } from './harness.js';
import type { Kit } from './harness.js';

// The outbox leg: it has every reason to wait.
const contract = defineUnitJob({ backoff: { kind: 'fixed', delayMs: 600_000 } });
const [MINE, OTHERS] = [v7(), v7()] as const;
const statements: string[] = [];
let kit: Kit;
let schema: ReturnType<typeof buildTracewellSchema>;

beforeAll(async () => {
  kit = await createKit('postgres with outbox');
  const db: Queryable = {
    query: (text, values) => {
      statements.push(typeof text === 'string' ? text : text.text);
      return kit.pool.query(text, values);
    },
  };
  const jobs = new JobService({
    jobs: new JobListStore({ db }),
    queue: kit.store,
    db,
    doorbell: kit.doorbell,
  });
  const loaders = (context: GraphqlContext) =>
    new JobLoaders({ service: jobs, principal: requirePrincipal(context) });
  const resolver = new JobResolver({ jobs, cursors: new Cursors({ key: 'a key for cursors' }), loaders });
  const nodeTypes = new NodeTypes().register('Job', resolver.loadNodes);
  schema = buildTracewellSchema([resolver, new NodeResolver({ nodeTypes })], [JobResolver, NodeResolver]);
});
afterAll(() => kit.close());

function principalOf(workspaceId: string, scopes: readonly Scope[] = ['read', 'write']): Principal {
  return {
    keyId: v7(),
    kind: 'service',
    organizationId: v7(),
    workspaceId,
    userId: undefined,
    scopes: new Set(scopes),
    expiresAtMs: undefined,
  };
}

async function ask(principal: Principal, source: string, variableValues: Record<string, unknown> = {}) {
  const contextValue = createContext({ principal, signal: new AbortController().signal, requestId: 'test' });
  const { data, errors } = await graphql({ schema, source, variableValues, contextValue });
  return {
    data: JSON.parse(JSON.stringify(data ?? null)) as never,
    errors: errors?.map(({ message }) => message),
  };
}

const WAITING = `query ($id: ID!) { job(id: $id) { uuid state waiting { kind reason ahead } } }`;
const waitingOf = async (id: string): Promise<unknown> => {
  const { data } = await ask(principalOf(MINE), WAITING, { id });
  return (data as { job: { waiting: unknown } }).job.waiting;
};

test('a job says why it waits: no worker, the outbox, its place in line, its time, its next attempt', async () => {
  const [first, second] = [await kit.enqueue(contract, 'block'), await kit.enqueue(contract, 'mine', MINE)];
  expect(await waitingOf(second)).toEqual({
    kind: 'NO_WORKER',
    reason: 'No worker is connected.',
    ahead: null,
  });

  const worker = v7();
  await kit.store.reportWorker(kit.pool, worker, ['work']);
  expect(await waitingOf(second)).toEqual({
    kind: 'OUTBOX',
    reason: 'It is waiting for the outbox to reach the queue.',
    ahead: null,
  });

  const leased = await kit.store.leaseOutbox(kit.pool, 10);
  await kit.store.removeFromOutbox(
    kit.pool,
    leased.map(({ outboxId }) => outboxId),
  );
  expect(await waitingOf(second)).toEqual({ kind: 'LINE', reason: 'It is queued behind 1 job.', ahead: 1 });

  const runAt = new Date('2030-01-02T03:04:05Z');
  const { id: later } = await transaction(kit.pool, (tx) =>
    kit.queue.enqueue(tx, contract, { unit: 'later' }, { workspaceId: MINE, runAt }),
  );
  expect(await waitingOf(later)).toEqual({
    kind: 'SCHEDULED',
    reason: 'It is scheduled for 2030-01-02T03:04:05Z.',
    ahead: null,
  });

  await kit.store.claim(kit.pool, second, 1);
  expect(await waitingOf(second)).toBeNull();
  await kit.store.retry(kit.pool, second, 1, {
    delayMs: 60_000,
    error: 'e',
    progress: undefined,
    countsAsAttempt: true,
  });
  expect(await waitingOf(second)).toMatchObject({
    kind: 'RETRY',
    reason: expect.stringMatching(/^Attempt 1 of 3 failed; the next is at \S+Z\.$/),
  });
  await kit.pool.query('delete from jobs where id = any($1)', [[first, second, later]]);
  await kit.store.removeWorker(kit.pool, worker);
});

test('jobs are listed newest first, filtered, in pages, with statements that do not grow with them', async () => {
  for (let index = 0; index < 5; index += 1) await kit.enqueue(contract, `page ${index}`, MINE);
  await kit.enqueue(contract, 'not mine', OTHERS);
  const list = `query ($after: String) { jobs(first: 3, after: $after, states: [QUEUED], name: "test.work") {
    nodes { id uuid createdAt waiting { kind } } pageInfo { hasNextPage endCursor } totalCount { value } } }`;
  interface Answer {
    jobs: {
      nodes: { uuid: string; createdAt: string }[];
      pageInfo: { endCursor: string; hasNextPage: boolean };
      totalCount: { value: number };
    };
  }
  statements.length = 0;
  const first = (await ask(principalOf(MINE), list)).data as Answer;
  expect(statements).toHaveLength(3);
  const second = (await ask(principalOf(MINE), list, { after: first.jobs.pageInfo.endCursor }))
    .data as Answer;
  const all = [...first.jobs.nodes, ...second.jobs.nodes];
  expect(new Set(all.map(({ uuid }) => uuid)).size).toBe(5);
  expect(all.map(({ createdAt }) => createdAt)).toEqual(
    all
      .map(({ createdAt }) => createdAt)
      .sort()
      .reverse(),
  );
  expect([first.jobs.pageInfo.hasNextPage, second.jobs.pageInfo.hasNextPage]).toEqual([true, false]);
  expect(first.jobs.totalCount.value).toBe(5);
});

test('a job of another workspace, or of the installation, is not there', async () => {
  const foreign = await kit.enqueue(contract, 'foreign', OTHERS);
  const ofAll = await kit.enqueue(contract, 'of all');
  for (const id of [foreign, ofAll]) {
    expect(await ask(principalOf(MINE), WAITING, { id })).toEqual({ data: { job: null }, errors: undefined });
    const { data } = await ask(
      principalOf(MINE),
      'mutation ($id: ID!) { cancelJob(id: $id) { job { state } errors { code path } } }',
      { id },
    );
    expect(data).toEqual({ cancelJob: { job: null, errors: [{ code: 'NOT_FOUND', path: ['id'] }] } });
    expect((await kit.job(id)).state).toBe('queued');
  }
  await kit.pool.query('delete from jobs');
  await kit.pool.query('delete from job_outbox');
});

test('cancelling needs the scope, ends a running job at once and is refused for one that has ended', async () => {
  const cancel =
    'mutation ($id: ID!) { cancelJob(id: $id) { job { state waiting { kind } } errors { code message } } }';
  let reason: unknown;
  let started = false;
  const group = await kit.work([
    handle(contract, async ({ payload, signal, claim }) => {
      started = true;
      await new Promise<void>((resolve) => {
        signal.addEventListener('abort', () => {
          reason = signal.reason;
          resolve();
        });
      });
      await claim.transaction((tx) => recordResult(tx, payload.unit, claim.number));
    }),
  ]);
  const id = await kit.enqueue(contract, 'cancelled', MINE);
  await eventually(() => expect(started).toBe(true));
  const refused = await ask(principalOf(MINE, ['read']), cancel, { id });
  expect(refused.errors).toEqual(['This key lacks the scope "write".']);
  expect((await kit.job(id)).state).toBe('running');

  const { data } = await ask(principalOf(MINE), cancel, { id });
  expect(data).toEqual({ cancelJob: { job: { state: 'CANCELLED', waiting: null }, errors: [] } });
  await eventually(() => expect(reason).toMatchObject({ name: 'StaleExecution' }), { timeoutMs: 2_500 });
  const again = await ask(principalOf(MINE), cancel, { id });
  expect(again.data).toEqual({
    cancelJob: {
      job: null,
      errors: [{ code: 'CONFLICT', message: 'The job has already ended: it was cancelled.' }],
    },
  });
  await group.close(1_000);
  expect(await kit.results('cancelled')).toBe(0);
  expect((await kit.job(id)).state).toBe('cancelled');
});
