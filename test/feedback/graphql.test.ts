import { afterAll, expect, test } from '@jest/globals';
import { graphql } from 'graphql';
import { v7 } from 'uuid';
import { FeedbackConfigResolver } from '../../src/feedback/feedback-config.resolver.js';
import { FeedbackResolver } from '../../src/feedback/feedback.resolver.js';
import { RunFeedbackResolver } from '../../src/feedback/run-feedback.resolver.js';
import { createContext, type GraphqlContext } from '../../src/graphql/context.js';
import { requirePrincipal } from '../../src/graphql/context.js';
import { toGlobalId } from '../../src/graphql/global-id.js';
import { NodeResolver, NodeTypes } from '../../src/graphql/node.resolver.js';
import { buildTracewellSchema } from '../../src/graphql/schema.js';
import { ProjectLoaders } from '../../src/projects/project.loaders.js';
import { ProjectsResolver } from '../../src/projects/project.resolver.js';
import { RunLoaders } from '../../src/runs/run.loaders.js';
import { RunResolver } from '../../src/runs/run.resolver.js';
import { RunShareResolver } from '../../src/sharing/run-share.resolver.js';
import type { Principal, Scope } from '../../src/tenancy/principal.js';
import { startGateway } from '../rest/gateway.js';
import { principal } from './world.js';

const gateway = await startGateway();
afterAll(() => gateway.close());

const { feedback, configs, tokens, runs, projects, shares, cursors } = gateway.services;
const projectLoaders = (context: GraphqlContext) =>
  new ProjectLoaders({ service: projects, principal: requirePrincipal(context) });
const runLoaders = (context: GraphqlContext) =>
  new RunLoaders({ service: runs, principal: requirePrincipal(context) });
const feedbackResolver = new FeedbackResolver({ feedback, cursors, projectLoaders });
const instances = [
  feedbackResolver,
  new FeedbackConfigResolver({ configs, tokens, cursors }),
  new RunFeedbackResolver({ feedback, cursors }),
  new RunShareResolver({ shares, publicUrl: 'https://traces.example.org' }),
  new RunResolver({ runs, cursors, links: { presign: () => '' }, runLoaders, projectLoaders }),
  new ProjectsResolver({ projects, cursors, loaders: projectLoaders }),
  new NodeResolver({ nodeTypes: new NodeTypes().register('Feedback', feedbackResolver.loadNodes) }),
];
const schema = buildTracewellSchema(
  instances,
  instances.map(({ constructor }) => constructor as never),
);

const caller = principal(gateway.workspaceId);

async function run(source: string, variableValues: Record<string, unknown> = {}, as: Principal = caller) {
  const contextValue = createContext({
    principal: as,
    signal: new AbortController().signal,
    requestId: 'test',
  });
  const result = await graphql({ schema, source, variableValues, contextValue });
  if (result.errors !== undefined) throw result.errors[0]?.originalError ?? result.errors[0];
  return JSON.parse(JSON.stringify(result.data));
}

async function ingest(count: number, session: string): Promise<string[]> {
  const ids = Array.from({ length: count }, () => v7());
  const post = ids.map((id) => ({
    id,
    trace_id: id,
    dotted_order: `20261121T100000000000Z${id}`,
    name: 'planted',
    run_type: 'chain',
    session_name: session,
    start_time: new Date().toISOString(),
    inputs: {},
  }));
  const answer = await gateway.fetch('/runs/batch', { body: { post, patch: [] } });
  expect(answer.status).toBeLessThan(300);
  return ids;
}

const CREATE = `mutation ($input: CreateFeedbackInput!) {
  createFeedback(input: $input) {
    feedback { id uuid runId projectId key score value comment correction source { type reviewer evaluatorVersion rubricVersion info } createdAt }
    errors { code message path retryable }
  }
}`;

test('feedback is created, each item for itself, and found again by its global id', async () => {
  const [runId] = (await ingest(1, 'graphql feedback')) as [string];
  await run(
    `mutation { createFeedbackConfig(input: { key: "quality", config: { type: CONTINUOUS, min: 0, max: 1 } }) { errors { code } } }`,
  );
  const { createFeedback } = await run(CREATE, {
    input: {
      feedback: [
        {
          runId: toGlobalId('Run', runId),
          key: 'quality',
          score: 0.5,
          source: {
            type: 'app',
            reviewer: 'ada',
            evaluatorVersion: '2',
            rubricVersion: 'r1',
            metadata: { page: 1 },
          },
        },
        { runId, key: 'quality', score: 3 },
        { runId, key: 'ok', value: true, comment: 'c', correction: { answer: 42 } },
      ],
    },
  });
  expect(createFeedback.errors).toEqual([
    {
      code: 'INVALID',
      message: '"quality" takes a score from 0 to 1; got 3.',
      path: ['feedback', '1', 'score'],
      retryable: false,
    },
  ]);
  expect(createFeedback.feedback).toMatchObject([
    {
      runId,
      key: 'quality',
      score: 0.5,
      source: { type: 'app', reviewer: 'ada', evaluatorVersion: '2', rubricVersion: 'r1' },
    },
    {
      runId,
      key: 'ok',
      score: 1,
      value: true,
      comment: 'c',
      correction: { answer: 42 },
      source: { type: 'api' },
    },
  ]);
  const [first] = createFeedback.feedback;
  expect(first.id).toBe(toGlobalId('Feedback', first.uuid));
  const { node } = await run(`query ($id: ID!) { node(id: $id) { id uuid ... on Feedback { key } } }`, {
    id: first.id,
  });
  expect(node).toEqual({ id: first.id, uuid: first.uuid, key: 'quality' });
  const stranger = principal(v7());
  expect(await run(`query ($id: ID!) { node(id: $id) { id } }`, { id: first.id }, stranger)).toEqual({
    node: null,
  });

  const { updateFeedback } = await run(
    `mutation ($id: ID!) { updateFeedback(input: { id: $id, score: 1, comment: "better" }) { feedback { score comment value } errors { code } } }`,
    { id: first.id },
  );
  expect(updateFeedback).toEqual({ feedback: { score: 1, comment: 'better', value: null }, errors: [] });
  const { deleteFeedback } = await run(
    `mutation ($ids: [ID!]!) { deleteFeedback(input: { ids: $ids }) { deletedIds errors { code } } }`,
    { ids: [first.id, v7()] },
  );
  expect(deleteFeedback).toEqual({ deletedIds: [first.uuid], errors: [] });
});

test('lists page in both directions, count, and take the project by its name', async () => {
  const [runId] = (await ingest(1, 'graphql pages')) as [string];
  await run(CREATE, {
    input: { feedback: Array.from({ length: 7 }, (_, index) => ({ runId, key: 'page', score: index })) },
  });
  const PAGE = `query ($first: Int, $after: String, $last: Int, $before: String) {
    feedback(project: { name: "graphql pages" }, keys: ["page"], first: $first, after: $after, last: $last, before: $before) {
      nodes { uuid } edges { cursor } pageInfo { hasNextPage hasPreviousPage endCursor startCursor } totalCount { value precision }
    }
  }`;
  const all = (await run(PAGE, { first: 100 })).feedback;
  expect(all.totalCount).toEqual({ value: 7, precision: 'EXACT' });
  const one = (await run(PAGE, { first: 3 })).feedback;
  const two = (await run(PAGE, { first: 3, after: one.pageInfo.endCursor })).feedback;
  expect([...one.nodes, ...two.nodes]).toEqual(all.nodes.slice(0, 6));
  expect([one.pageInfo.hasNextPage, two.pageInfo.hasNextPage]).toEqual([true, true]);
  const back = (await run(PAGE, { last: 2, before: two.pageInfo.startCursor })).feedback;
  expect(back.nodes).toEqual(all.nodes.slice(1, 3));
  const none = await run(`{ feedback(project: { name: "no such project" }, first: 1) { nodes { uuid } } }`);
  expect(none.feedback.nodes).toEqual([]);
  const stats = await run(
    `{ feedbackStats(project: { name: "graphql pages" }) { key count average min max values { value count } } }`,
  );
  expect(stats.feedbackStats).toEqual([{ key: 'page', count: 7, average: 3, min: 0, max: 6, values: [] }]);
});

test('the number of statements does not grow with the runs of a page', async () => {
  const FEEDBACK_OF_RUNS = `query ($project: String!, $first: Int!) {
    runs(project: { name: $project }, first: $first) {
      nodes {
        uuid
        feedback(first: 2) { nodes { key score } totalCount { value } pageInfo { hasNextPage } }
        feedbackStats { key count average values { value count } }
        share { url }
      }
    }
  }`;
  const counted = async (project: string, first: number) => {
    gateway.statements.length = 0;
    const { runs: page } = await run(FEEDBACK_OF_RUNS, { project, first });
    const own = gateway.statements.filter((name) => /^(feedback|run_shares)/.test(name)).sort();
    return { nodes: page.nodes, own };
  };
  for (const [project, count] of [
    ['one run', 1],
    ['many runs', 40],
  ] as const) {
    const ids = await ingest(count, project);
    const drafts = ids.flatMap((runId) =>
      [0, 1, 1].map((score) => ({ runId, key: 'k', score, value: score === 1 ? 'yes' : 'no' })),
    );
    expect((await run(CREATE, { input: { feedback: drafts } })).createFeedback.errors).toEqual([]);
    const { nodes, own } = await counted(project, 50);
    expect(own).toEqual([
      'feedback.count_by_runs',
      'feedback.list_by_runs',
      'feedback_stats.by_runs',
      'run_shares.find_by_runs',
    ]);
    expect(nodes.length).toBe(count);
    for (const node of nodes) {
      expect(node.feedback).toMatchObject({ totalCount: { value: 3 }, pageInfo: { hasNextPage: true } });
      expect(node.feedback.nodes.length).toBe(2);
      expect(node.feedbackStats).toEqual([
        {
          key: 'k',
          count: 3,
          average: 2 / 3,
          values: [
            { value: 'yes', count: 2 },
            { value: 'no', count: 1 },
          ],
        },
      ]);
      expect(node.share).toBeNull();
    }
  }
});

test('configs: created, paged, changed, deleted; another definition is a problem, not an error', async () => {
  const create = (key: string, max: number) =>
    run(
      `mutation ($key: String!, $max: Float!) { createFeedbackConfig(input: { key: $key, config: { type: CONTINUOUS, min: 0, max: $max } }) { feedbackConfig { key type min max categories { value } isLowerScoreBetter } errors { code path } } }`,
      { key, max },
    );
  for (const key of ['cfg-a', 'cfg-b', 'cfg-c']) await create(key, 1);
  expect((await create('cfg-a', 2)).createFeedbackConfig).toEqual({
    feedbackConfig: null,
    errors: [{ code: 'ALREADY_EXISTS', path: ['key'] }],
  });
  const LIST = `query ($first: Int, $after: String) { feedbackConfigs(nameContains: "CFG-", first: $first, after: $after) { nodes { key } pageInfo { endCursor hasNextPage } totalCount { value } } }`;
  const first = (await run(LIST, { first: 2 })).feedbackConfigs;
  expect(first).toMatchObject({
    nodes: [{ key: 'cfg-a' }, { key: 'cfg-b' }],
    totalCount: { value: 3 },
    pageInfo: { hasNextPage: true },
  });
  const second = (await run(LIST, { first: 2, after: first.pageInfo.endCursor })).feedbackConfigs;
  expect(second).toMatchObject({ nodes: [{ key: 'cfg-c' }], pageInfo: { hasNextPage: false } });
  const { updateFeedbackConfig } = await run(
    `mutation { updateFeedbackConfig(input: { key: "cfg-a", isLowerScoreBetter: true }) { feedbackConfig { max isLowerScoreBetter } errors { code } } }`,
  );
  expect(updateFeedbackConfig).toEqual({ feedbackConfig: { max: 1, isLowerScoreBetter: true }, errors: [] });
  const del = `mutation { deleteFeedbackConfig(input: { key: "cfg-a" }) { deletedKey errors { code } } }`;
  expect((await run(del)).deleteFeedbackConfig).toEqual({ deletedKey: 'cfg-a', errors: [] });
  expect((await run(del)).deleteFeedbackConfig).toEqual({
    deletedKey: null,
    errors: [{ code: 'NOT_FOUND' }],
  });
});

test('a run is shared, renewed and unshared; content is needed for it', async () => {
  const [runId] = (await ingest(1, 'graphql shares')) as [string];
  const SHARE = `mutation ($input: ShareRunInput!) { shareRun(input: $input) { share { token url expiresAt } errors { code } } }`;
  const { share } = (await run(SHARE, { input: { runId } })).shareRun;
  expect(share.url).toBe(`https://traces.example.org/public/${share.token}/r`);
  const renewed = (await run(SHARE, { input: { runId, expiresAt: '2099-01-01T00:00:00Z' } })).shareRun.share;
  expect(renewed).toEqual({ ...share, expiresAt: '2099-01-01T00:00:00.000Z' });
  expect((await run(SHARE, { input: { runId: v7() } })).shareRun).toEqual({
    share: null,
    errors: [{ code: 'NOT_FOUND' }],
  });
  expect((await run(SHARE, { input: { runId, expiresAt: '2001-01-01T00:00:00Z' } })).shareRun.errors).toEqual(
    [{ code: 'INVALID' }],
  );
  const scopes: Scope[] = ['read', 'write'];
  await expect(
    run(SHARE, { input: { runId } }, principal(gateway.workspaceId, scopes)),
  ).rejects.toMatchObject({ code: 'FORBIDDEN' });
  const UNSHARE = `mutation ($runId: ID!) { unshareRun(input: { runId: $runId }) { removed } }`;
  expect((await run(UNSHARE, { runId })).unshareRun).toEqual({ removed: true });
  expect((await run(UNSHARE, { runId })).unshareRun).toEqual({ removed: false });
});

test('a feedback token is made and used without a key', async () => {
  const [runId] = (await ingest(1, 'graphql tokens')) as [string];
  const { createFeedbackToken } = await run(
    `mutation ($runId: ID!) { createFeedbackToken(input: { runId: $runId, key: "stars" }) { feedbackToken { token runId key expiresAt } errors { code } } }`,
    { runId },
  );
  const { token } = createFeedbackToken.feedbackToken;
  expect(
    (await gateway.fetchWith(undefined, `/feedback/tokens/${token}`, { body: { score: 4 } })).status,
  ).toBe(200);
  const { feedback: page } = await run(
    `query ($runIds: [ID!]) { feedback(runIds: $runIds, first: 5) { nodes { key score source { type } } } }`,
    { runIds: [runId] },
  );
  expect(page.nodes).toEqual([{ key: 'stars', score: 4, source: { type: 'app' } }]);
});
