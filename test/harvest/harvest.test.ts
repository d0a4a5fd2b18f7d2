import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { v7 } from 'uuid';
import { ask } from '../experiments/world.js';
import { ENGINES, startHarness } from '../support/harness.js';
import type { Harness } from '../support/harness.js';
import {
  harvestOnce,
  makeDataset,
  makeHarvest,
  plantRuns,
  projectId,
  readCandidates,
  readDataset,
  RUN,
  send,
  startHarvest,
  untilEnded,
} from './world.js';
import type { SeenRun } from './world.js';

const SECRETS = ['jane@example.org', 'sk-live-0123456789abcdefghij', '4111 1111 1111 1111'];

describe.each(ENGINES)('harvests on %s', (engine) => {
  let harness: Harness;
  beforeAll(async () => {
    harness = await startHarness({ engine, workers: true });
  }, 60_000);
  afterAll(() => harness.close());

  const decide = async (field: string, input: unknown) =>
    send<{ harvestRun: SeenRun | null }>(
      harness,
      field,
      field === 'approveHarvestRun' ? 'ApproveHarvestRunInput' : 'HarvestRunIdInput',
      `harvestRun { ${RUN} }`,
      input,
    );

  test('runs that were rated low become examples, once, with where they came from', async () => {
    const ids = await plantRuns(harness, 'rated', [
      { inputs: { question: 'first' }, score: 0.2, metadata: { tier: 'a' }, child: 'retrieve' },
      { inputs: { question: 'second' }, score: 0.9, child: 'retrieve' },
      { inputs: { question: 'third' }, score: 0.1 },
      { inputs: { question: 'fourth' }, score: 0, child: 'retrieve' },
      {
        inputs: { question: 'judge' },
        score: 0,
        child: 'retrieve',
        metadata: { 'tracewell.origin': 'judge' },
      },
    ]);
    const dataset = await makeDataset(harness, 'low rated');
    const harvest = await makeHarvest(harness, 'weekly', dataset, {
      projectIds: [await projectId(harness, 'rated')],
      where: {
        filter: 'and(eq(feedback_key, "user_score"), lt(feedback_score, 0.5))',
        treeMatch: { name: { eq: 'retrieve' } },
      },
      mapping: {
        inputs: [{ from: '/inputs/question', to: 'q' }],
        metadata: [{ from: '/metadata', to: 'run' }],
      },
      splits: ['harvested'],
      metadata: { reviewed: false },
    });
    const run = await harvestOnce(harness, harvest);
    expect(run).toMatchObject({ state: 'APPLIED', matched: 3, internal: 1, added: 2, version: 1 });
    const { examples, version } = await readDataset(harness, dataset);
    expect(version).toBe(1);
    expect(examples).toEqual([
      {
        inputs: { q: 'first' },
        outputs: { answer: 'to 0' },
        metadata: {
          reviewed: false,
          'tracewell.harvest': harvest,
          run: expect.objectContaining({ tier: 'a' }),
        },
        splits: ['harvested'],
        sourceRunId: ids[0],
      },
      expect.objectContaining({ inputs: { q: 'fourth' }, sourceRunId: ids[3] }),
    ]);

    const again = await harvestOnce(harness, harvest);
    expect(again).toMatchObject({ state: 'APPLIED', matched: 3, known: 2, added: 0, version: null });
    expect((await readDataset(harness, dataset)).version).toBe(1);
  });

  test('what evaluation has traced is left out, unless its project is named', async () => {
    const key = harness.keys.neighbour.secret;
    const question = (text: string) => ({ inputs: { question: text } });
    const [production] = await plantRuns(harness, 'production', [question('of a user')], key);
    const dataset = await makeDataset(harness, 'tested', key);
    const session = { name: 'sdk experiment', reference_dataset_id: dataset };
    expect((await harness.http('/sessions', { key, body: session })).status).toBe(200);
    const example = v7();
    const [, child] = await plantRuns(
      harness,
      'sdk experiment',
      [
        { ...question('of the dataset'), referenceExampleId: example },
        { ...question('besides'), child: 'step' },
      ],
      key,
    );
    await plantRuns(harness, 'evaluators', [question('is it good?')], key);
    await plantRuns(harness, 'loose', [{ ...question('by hand'), referenceExampleId: example }], key);

    const harvest = await makeHarvest(harness, 'everything', dataset, { rootsOnly: false }, key);
    expect(await harvestOnce(harness, harvest, key)).toMatchObject({ matched: 6, internal: 5, added: 1 });
    const sources = (await readDataset(harness, dataset, key)).examples.map(({ sourceRunId }) => sourceRunId);
    expect(sources).toEqual([production]);

    const projectIds = [
      await projectId(harness, 'sdk experiment', key),
      await projectId(harness, 'evaluators', key),
    ];
    const named = await makeHarvest(harness, 'named', dataset, { projectIds }, key);
    expect(await harvestOnce(harness, named, key)).toMatchObject({ matched: 3, internal: 0, added: 3 });
    expect((await readDataset(harness, dataset, key)).examples).toContainEqual(
      expect.objectContaining({ sourceRunId: child }),
    );
  });

  test('what a curator has deleted does not come back', async () => {
    await plantRuns(harness, 'deleted', [{ inputs: { question: 'once' } }]);
    const dataset = await makeDataset(harness, 'curated');
    const project = await projectId(harness, 'deleted');
    const harvest = await makeHarvest(harness, 'once', dataset, { projectIds: [project] });
    await harvestOnce(harness, harvest);
    const { dataset: seen } = await ask<{ dataset: { examples: { nodes: { uuid: string }[] } } }>(
      harness,
      'query ($id: ID!) { dataset(id: $id) { examples(first: 1) { nodes { uuid } } } }',
      { id: dataset },
    );
    await send(harness, 'deleteExamples', 'DeleteExamplesInput', 'deletedIds', {
      ids: [seen.examples.nodes[0]?.uuid],
    });
    expect(await harvestOnce(harness, harvest)).toMatchObject({ known: 1, added: 0 });
    expect((await readDataset(harness, dataset)).examples).toEqual([]);
  });

  test('secrets reach neither candidates nor the dataset, and what cannot be redacted is left out', async () => {
    await plantRuns(harness, 'secret', [
      {
        inputs: { messages: [{ role: 'user', content: `I am ${SECRETS[0] ?? ''}` }], user: 'Jane' },
        outputs: { text: `${SECRETS[0] ?? ''} has ${SECRETS[1] ?? ''}, CASE-77` },
        metadata: { card: SECRETS[2] },
      },
      { inputs: { text: 'x'.repeat(1_100_000) } },
    ]);
    const dataset = await makeDataset(harness, 'redacted');
    const harvest = await makeHarvest(harness, 'redacting', dataset, {
      projectIds: [await projectId(harness, 'secret')],
      redaction: { custom: [{ name: 'CASE', pattern: 'CASE-[0-9]+' }], drop: ['/inputs/user'] },
      mapping: { metadata: [{ from: '/metadata/card', to: 'card' }] },
      approval: true,
    });
    const run = await harvestOnce(harness, harvest);
    expect(run).toMatchObject({ state: 'PROPOSED', matched: 2, redacted: 1, pending: 1, failed: 1 });
    const { harvestRun } = await ask<{ harvestRun: unknown }>(
      harness,
      `query ($id: ID!) { harvestRun(id: $id) { candidates(first: 5) { nodes {
        verdict reason redactions inputs outputs metadata } } } }`,
      { id: run.uuid },
    );
    expect(harvestRun).toEqual({
      candidates: {
        nodes: [
          {
            verdict: 'PENDING',
            reason: null,
            redactions: { EMAIL: 2, SECRET: 1, CREDIT_CARD: 1, CASE: 1 },
            inputs: { messages: [{ role: 'user', content: 'I am [EMAIL_1]' }] },
            outputs: { text: '[EMAIL_1] has [SECRET_1], [CASE_1]' },
            metadata: { card: '[CREDIT_CARD_1]' },
          },
          expect.objectContaining({
            verdict: 'FAILED',
            reason: 'It is too large to be redacted.',
            inputs: null,
          }),
        ],
      },
    });
    expect((await decide('approveHarvestRun', { id: run.uuid })).harvestRun).toMatchObject({ added: 1 });

    const { rows } = await harness.database.pool.query<{ text: string }>(
      `select row_to_json(c)::text as text from harvest_candidates c
       union all select row_to_json(e)::text from examples e
       union all select row_to_json(s)::text from harvest_sources s
       union all select row_to_json(r)::text from harvest_runs r`,
    );
    const all = rows.map(({ text }) => text).join('\n');
    expect(rows.length).toBeGreaterThan(4);
    for (const secret of [...SECRETS, 'CASE-77', '"Jane"']) expect(all).not.toContain(secret);
  });

  test('exact and near duplicates are dropped, of the dataset and of each other', async () => {
    const sentence = 'Please explain why the invoice of last month shows a higher amount than we agreed upon';
    const ids = await plantRuns(harness, 'twins', [
      { inputs: { question: 'known already' } },
      { inputs: { question: sentence } },
      { inputs: { question: sentence.replace('Please', 'please,') } },
      { inputs: { question: 'A different question altogether' } },
      { inputs: { question: 'A different question altogether' } },
      { inputs: { question: 'Something that the dataset nearly has, but for the very end of it.' } },
    ]);
    const dataset = await makeDataset(harness, 'distinct');
    await send(harness, 'createExamples', 'CreateExamplesInput', 'exampleIds', {
      datasetId: dataset,
      examples: [
        { inputs: { question: 'known already' } },
        { inputs: { question: 'Something that the dataset nearly has, but for the very end of it!' } },
      ],
    });
    const harvest = await makeHarvest(harness, 'distinct', dataset, {
      projectIds: [await projectId(harness, 'twins')],
      duplicates: { nearThreshold: 0.8 },
    });
    const run = await harvestOnce(harness, harvest);
    expect(run).toMatchObject({ matched: 6, exactDuplicates: 2, nearDuplicates: 2, added: 2, version: 2 });
    const candidates = await readCandidates(harness, run.uuid);
    expect(candidates.map(({ verdict }) => verdict)).toEqual([
      'EXACT_DUPLICATE',
      'ADDED',
      'NEAR_DUPLICATE',
      'ADDED',
      'EXACT_DUPLICATE',
      'NEAR_DUPLICATE',
    ]);
    expect(candidates[2]?.duplicateOf).toBe(ids[1]);
    expect(candidates[4]?.duplicateOf).toBe(ids[3]);
    // Content is forgotten once nobody has to decide.
    expect(candidates.every(({ inputs }) => inputs === null)).toBe(true);
  });

  test('a cap is shared out evenly over the values of a key, newest first', async () => {
    const tiers = ['a', 'a', 'a', 'a', 'a', 'b', 'b', 'b', 'c'];
    const ids = await plantRuns(
      harness,
      'strata',
      tiers.map((tier, index) => ({ inputs: { n: `number ${index}` }, metadata: { tier } })),
    );
    const dataset = await makeDataset(harness, 'even');
    const harvest = await makeHarvest(harness, 'even', dataset, {
      projectIds: [await projectId(harness, 'strata')],
      cap: 5,
      stratifyBy: 'tier',
    });
    expect(await harvestOnce(harness, harvest)).toMatchObject({ matched: 9, overCap: 4, added: 5 });
    const sources = (await readDataset(harness, dataset)).examples.map(({ sourceRunId }) => sourceRunId);
    expect(sources).toEqual([ids[3], ids[4], ids[6], ids[7], ids[8]]);

    const random = await makeDataset(harness, 'random');
    const definition = {
      projectIds: [await projectId(harness, 'strata')],
      cap: 4,
      pick: 'RANDOM',
      seed: '7',
    };
    const chosen: string[][] = [];
    for (const name of ['one', 'other']) {
      const draw = await makeHarvest(harness, name, random, { ...definition, approval: true });
      const run = await harvestOnce(harness, draw);
      const pending = (await readCandidates(harness, run.uuid)).filter(
        ({ verdict }) => verdict === 'PENDING',
      );
      chosen.push(pending.map(({ sourceRunId }) => sourceRunId));
    }
    expect(chosen[0]).toHaveLength(4);
    expect(chosen[1]).toEqual(chosen[0]);
  });

  test('what the cap or a duplicate left out stays out until the definition changes', async () => {
    const ids = await plantRuns(
      harness,
      'passed over',
      ['first', 'first', 'second', 'third', 'third'].map((question) => ({ inputs: { question } })),
    );
    const dataset = await makeDataset(harness, 'capped');
    const definition = { projectIds: [await projectId(harness, 'passed over')], cap: 1 };
    const id = await makeHarvest(harness, 'capped', dataset, definition);
    // The original of the first pair is over the cap; of the last pair it is added.
    const left = { matched: 5, exactDuplicates: 2, overCap: 2, added: 1 };
    expect(await harvestOnce(harness, id)).toMatchObject(left);
    const nothing = { matched: 5, known: 5, exactDuplicates: 0, overCap: 0, added: 0, version: null };
    expect(await harvestOnce(harness, id)).toMatchObject(nothing);
    // Nor does a duplicate bring back what a curator has deleted.
    const { dataset: seen } = await ask<{ dataset: { examples: { nodes: { uuid: string }[] } } }>(
      harness,
      'query ($id: ID!) { dataset(id: $id) { examples(first: 1) { nodes { uuid } } } }',
      { id: dataset },
    );
    await send(harness, 'deleteExamples', 'DeleteExamplesInput', 'deletedIds', {
      ids: [seen.examples.nodes[0]?.uuid],
    });
    expect(await harvestOnce(harness, id)).toMatchObject(nothing);

    const change = (patch: object) =>
      send<{ harvest: { revision: number } }>(
        harness,
        'updateHarvest',
        'UpdateHarvestInput',
        'harvest { revision }',
        { id, ...patch },
      );
    expect((await change({ name: 'capped still' })).harvest).toEqual({ revision: 1 });
    expect(await harvestOnce(harness, id)).toMatchObject(nothing);
    expect((await change({ definition: { ...definition, pick: 'OLDEST' } })).harvest).toEqual({
      revision: 2,
    });
    const wider = { known: 1, exactDuplicates: 1, overCap: 2, added: 1 };
    expect(await harvestOnce(harness, id)).toMatchObject(wider);
    expect(await harvestOnce(harness, id)).toMatchObject(nothing);
    const sources = (await readDataset(harness, dataset)).examples.map(({ sourceRunId }) => sourceRunId);
    expect(sources).toEqual([ids[0]]);
  });

  test('what waits for approval is added when somebody says so, in part or not at all', async () => {
    const ids = await plantRuns(
      harness,
      'proposed',
      [1, 2, 3].map((n) => ({ inputs: { question: `number ${n}` } })),
    );
    const dataset = await makeDataset(harness, 'approved');
    const harvest = await makeHarvest(harness, 'approved', dataset, {
      projectIds: [await projectId(harness, 'proposed')],
      approval: true,
    });
    const run = await harvestOnce(harness, harvest);
    expect(run).toMatchObject({ state: 'PROPOSED', pending: 3, added: 0, version: null });
    expect((await readDataset(harness, dataset)).version).toBe(0);
    // What is proposed is not proposed twice.
    expect(await harvestOnce(harness, harvest)).toMatchObject({ state: 'APPLIED', known: 3, pending: 0 });

    const blind = await harness.addKey({ scopes: ['read', 'write'] });
    const masked = await readCandidates(harness, run.uuid, blind.secret);
    expect(masked.map(({ inputs }) => inputs)).toEqual([null, null, null]);

    const unknown = await decide('approveHarvestRun', { id: run.uuid, candidates: [ids[0], harvest] });
    expect(unknown.errors).toMatchObject([{ code: 'NOT_FOUND', path: ['candidates', '1'] }]);
    const approved = await decide('approveHarvestRun', { id: run.uuid, candidates: [ids[0], ids[2]] });
    expect(approved).toMatchObject({
      harvestRun: { state: 'APPLIED', added: 2, rejected: 1, pending: 0, version: 1 },
      errors: [],
    });
    const { examples } = await readDataset(harness, dataset);
    expect(examples.map(({ sourceRunId }) => sourceRunId)).toEqual([ids[0], ids[2]]);
    const repeated = await decide('approveHarvestRun', { id: run.uuid });
    expect(repeated.errors).toMatchObject([{ code: 'CONFLICT' }]);
    // The one that was rejected does not come again.
    expect(await harvestOnce(harness, harvest)).toMatchObject({ known: 3, pending: 0 });
  });

  test('what was rejected stays away, what was taken back may come again', async () => {
    await plantRuns(
      harness,
      'unwanted',
      ['please not', 'nor this'].map((question) => ({ inputs: { question } })),
    );
    const dataset = await makeDataset(harness, 'empty');
    const harvest = await makeHarvest(harness, 'unwanted', dataset, {
      projectIds: [await projectId(harness, 'unwanted')],
      cap: 1,
      approval: true,
    });
    const first = await harvestOnce(harness, harvest);
    const cancelled = await decide('cancelHarvestRun', { id: first.uuid });
    expect(cancelled.harvestRun).toMatchObject({ state: 'CANCELLED' });
    const second = await harvestOnce(harness, harvest);
    expect(second).toMatchObject({ state: 'PROPOSED', pending: 1, overCap: 1 });
    const rejected = await decide('rejectHarvestRun', { id: second.uuid });
    expect(rejected.harvestRun).toMatchObject({ state: 'REJECTED', rejected: 1, pending: 0 });
    expect(await harvestOnce(harness, harvest)).toMatchObject({ state: 'APPLIED', known: 2 });
    expect((await readDataset(harness, dataset)).version).toBe(0);
  });

  test('examples that do not fit the dataset are left out with a reason', async () => {
    await plantRuns(harness, 'schema', [{ inputs: { question: 'fits' } }, { inputs: { question: 5 } }]);
    const dataset = await makeDataset(harness, 'with a schema');
    await send(harness, 'updateDataset', 'UpdateDatasetInput', 'dataset { uuid }', {
      id: dataset,
      patch: { inputsSchema: { type: 'object', properties: { question: { type: 'string' } } } },
    });
    const harvest = await makeHarvest(harness, 'fitting', dataset, {
      projectIds: [await projectId(harness, 'schema')],
    });
    const run = await harvestOnce(harness, harvest);
    expect(run).toMatchObject({ added: 1, failed: 1, version: 1 });
    const [, refused] = await readCandidates(harness, run.uuid);
    expect(refused?.reason).toMatch(/^It does not fit the dataset: inputs\/question /);
  });

  test('a preview says what would happen and writes nothing', async () => {
    const ids = await plantRuns(harness, 'preview', [
      { inputs: { question: 'of jane@example.org' } },
      { inputs: { question: 'of john@example.org' } },
      { inputs: { question: 'another' } },
    ]);
    const dataset = await makeDataset(harness, 'previewed');
    const draft = {
      datasetId: dataset,
      definition: { projectIds: [await projectId(harness, 'preview')], window: { lastDays: 1 } },
    };
    const query = `query ($of: PreviewHarvestInput!) { previewHarvest(of: $of, first: 5) {
      lookedAt exactDuplicates complete candidates { sourceRunId verdict inputs redactions } } }`;
    expect(await ask(harness, query, { of: { draft } })).toEqual({
      previewHarvest: {
        lookedAt: 3,
        exactDuplicates: 1,
        complete: true,
        candidates: [
          {
            sourceRunId: ids[0],
            verdict: 'PENDING',
            inputs: { question: 'of [EMAIL_1]' },
            redactions: { EMAIL: 1 },
          },
          { sourceRunId: ids[2], verdict: 'PENDING', inputs: { question: 'another' }, redactions: null },
        ],
      },
    });
    expect((await readDataset(harness, dataset)).version).toBe(0);
    const blind = await harness.addKey({ scopes: ['read', 'write'] });
    const { body } = await harness.gql(query, { of: { draft } }, { key: blind.secret });
    expect(body.errors?.[0]?.extensions['code']).toBe('FORBIDDEN');
  });

  test('several executions at once add nothing twice', async () => {
    await plantRuns(
      harness,
      'raced',
      Array.from({ length: 12 }, (_, n) => ({ inputs: { question: `raced ${n}` } })),
    );
    const dataset = await makeDataset(harness, 'raced');
    // Nothing but the record of what was harvested keeps them apart.
    const harvest = await makeHarvest(harness, 'raced', dataset, {
      projectIds: [await projectId(harness, 'raced')],
      duplicates: { exact: false },
    });
    const started = await Promise.all([1, 2, 3, 4].map(() => startHarvest(harness, harvest)));
    const ended = await Promise.all(started.map((id) => untilEnded(harness, id)));
    expect(ended.every(({ state }) => state === 'APPLIED')).toBe(true);
    expect(ended.reduce((sum, { added }) => sum + added, 0)).toBe(12);
    const { examples, version } = await readDataset(harness, dataset);
    expect(examples).toHaveLength(12);
    expect(version).toBe(1);
  });

  test('a harvest is made, found, changed and deleted', async () => {
    const dataset = await makeDataset(harness, 'defined');
    const id = await makeHarvest(harness, 'defined', dataset, { cap: 3 });
    const twice = await send<{ harvest: unknown }>(
      harness,
      'createHarvest',
      'CreateHarvestInput',
      'harvest { uuid }',
      { name: 'defined', datasetId: dataset, definition: {} },
    );
    expect(twice.errors).toMatchObject([{ code: 'ALREADY_EXISTS' }]);
    const changed = await send<{ harvest: { revision: number; definition: { cap: number } } }>(
      harness,
      'updateHarvest',
      'UpdateHarvestInput',
      'harvest { revision definition }',
      { id, definition: { cap: 4 } },
    );
    expect(changed.harvest).toMatchObject({ revision: 2, definition: { cap: 4, pick: 'newest' } });
    const wrong = await send<{ harvest: null }>(
      harness,
      'updateHarvest',
      'UpdateHarvestInput',
      'harvest { uuid }',
      { id, definition: { cap: 0, projectIds: [id] } },
    );
    expect(wrong.errors).toMatchObject([{ code: 'INVALID', path: ['definition', 'cap'] }]);
    const run = await harvestOnce(harness, id);
    const { node, harvest } = await ask<{
      node: unknown;
      harvest: { runs: { nodes: unknown[] } };
    }>(
      harness,
      `query ($run: ID!) {
        node(id: $run) { ... on HarvestRun { revision } }
        harvest(name: "defined") { runs(first: 5) { nodes { uuid } totalCount { value } } }
      }`,
      { run: Buffer.from(`HarvestRun:${run.uuid}`).toString('base64url') },
    );
    expect(node).toEqual({ revision: 2 });
    expect(harvest).toEqual({ runs: { nodes: [{ uuid: run.uuid }], totalCount: { value: 1 } } });
    await send(harness, 'deleteHarvest', 'DeleteHarvestInput', 'deletedId', { id });
    expect(await ask(harness, 'query ($id: ID!) { harvest(id: $id) { uuid } }', { id })).toEqual({
      harvest: null,
    });
  });

  test('a workspace neither sees nor touches the harvests of another', async () => {
    await plantRuns(harness, 'ours', [{ inputs: { question: 'ours' } }]);
    const dataset = await makeDataset(harness, 'ours');
    const id = await makeHarvest(harness, 'ours', dataset, { approval: true });
    const run = await harvestOnce(harness, id);
    const key = harness.keys.stranger.secret;
    const seen = await ask(
      harness,
      `query ($id: ID!, $run: ID!) { harvest(id: $id) { uuid } harvestRun(id: $run) { uuid }
        harvests(first: 5) { nodes { uuid } } harvestRuns(first: 5, harvestId: $id) { nodes { uuid } } }`,
      { id, run: run.uuid },
      key,
    );
    expect(seen).toEqual({
      harvest: null,
      harvestRun: null,
      harvests: { nodes: [] },
      harvestRuns: { nodes: [] },
    });
    for (const [field, type, shape, input] of [
      ['runHarvest', 'RunHarvestInput', 'harvestRun { uuid }', { id }],
      ['approveHarvestRun', 'ApproveHarvestRunInput', 'harvestRun { uuid }', { id: run.uuid }],
      ['rejectHarvestRun', 'HarvestRunIdInput', 'harvestRun { uuid }', { id: run.uuid }],
      ['cancelHarvestRun', 'HarvestRunIdInput', 'harvestRun { uuid }', { id: run.uuid }],
      ['deleteHarvest', 'DeleteHarvestInput', 'deletedId', { id }],
      [
        'createHarvest',
        'CreateHarvestInput',
        'harvest { uuid }',
        { name: 'x', datasetId: dataset, definition: {} },
      ],
    ] as const) {
      const answer = await send(harness, field, type, shape, input, key);
      expect([field, answer.errors[0]?.code]).toEqual([field, 'NOT_FOUND']);
    }
    expect(await untilEnded(harness, run.uuid)).toMatchObject({ state: 'PROPOSED' });
  });
});
