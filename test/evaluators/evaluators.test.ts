import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { v7 } from 'uuid';
import { EVALUATOR_KINDS } from '../../src/evaluators/evaluator-config.js';
import { inWorkspace } from '../../src/platform/db-scope.js';
import { trustedScope } from '../../src/tenancy/principal.js';
import { startHarness } from '../support/harness.js';
import type { Harness } from '../support/harness.js';

let harness: Harness;
beforeAll(async () => {
  harness = await startHarness();
});
afterAll(() => harness.close());

interface Failure {
  readonly code: string;
  readonly message: string;
  readonly path: readonly string[];
}
interface Shown {
  readonly id: string;
  readonly uuid: string;
  readonly name: string;
  readonly description: string | null;
  readonly version: number;
  readonly archivedAt: string | null;
  readonly newest: {
    readonly uuid: string;
    readonly kind: string;
    readonly config: unknown;
    readonly configHash: string;
  };
}
interface Payload {
  readonly evaluator: Shown | null;
  readonly webhookSecret: string | null;
  readonly errors: readonly Failure[];
}

const FIELDS =
  'id uuid name description version archivedAt newest { uuid kind feedbackKey config configHash actor }';

async function ask<T>(query: string, variables: object = {}, key = harness.keys.first.secret): Promise<T> {
  const { body, text } = await harness.gql(query, { ...variables }, { key });
  if (body.errors !== undefined || !body.data) throw new Error(text);
  return body.data as T;
}

async function mutate(name: string, input: object): Promise<Payload> {
  const type = `${name[0]?.toUpperCase() ?? ''}${name.slice(1)}Input`;
  const query = `mutation ($input: ${type}!) {
    it: ${name}(input: $input) { evaluator { ${FIELDS} } webhookSecret errors { code message path } }
  }`;
  return (await ask<{ it: Payload }>(query, { input })).it;
}

const create = (input: object): Promise<Payload> => mutate('createEvaluator', input);
const update = (id: string, patch: object): Promise<Payload> => mutate('updateEvaluator', { id, patch });

let names = 0;
const nextName = (): string => `evaluator ${(names += 1)}`;

async function made(input: object = {}): Promise<Shown> {
  const name = nextName();
  const payload = await create({
    name,
    kind: 'REGEX',
    feedbackKey: `key of ${name}`,
    config: { pattern: 'a' },
    ...input,
  });
  if (payload.evaluator === null) throw new Error(JSON.stringify(payload.errors));
  return payload.evaluator;
}

const versionsOf = async (
  id: string,
): Promise<readonly { version: number; config: unknown; createdAt: string }[]> =>
  (
    await ask<{
      evaluator: { versions: { nodes: { version: number; config: unknown; createdAt: string }[] } };
    }>(
      'query ($id: ID!) { evaluator(id: $id) { versions(first: 100) { nodes { version config createdAt } } } }',
      { id },
    )
  ).evaluator.versions.nodes;

test('an evaluator is made, found and listed', async () => {
  const name = nextName();
  const input = {
    name,
    description: 'Is it right?',
    kind: 'EXACT_MATCH',
    feedbackKey: 'exact',
    config: { ignoreCase: true },
  };
  const { evaluator, webhookSecret, errors } = await create(input);
  expect(errors).toEqual([]);
  expect(webhookSecret).toBeNull();
  expect(evaluator).toMatchObject({
    name,
    description: 'Is it right?',
    version: 1,
    archivedAt: null,
    newest: {
      kind: 'EXACT_MATCH',
      feedbackKey: 'exact',
      config: { ignoreCase: true, whitespace: 'trim', compare: 'text', outputPath: '' },
      configHash: expect.stringMatching(/^[0-9a-f]{64}$/),
      actor: harness.keys.first.id,
    },
  });
  for (const args of [`name: "${name}"`, `id: "${evaluator?.id ?? ''}"`, `id: "${evaluator?.uuid ?? ''}"`]) {
    expect(await ask(`{ evaluator(${args}) { ${FIELDS} } }`)).toEqual({ evaluator });
  }
  expect(await ask(`{ node(id: "${evaluator?.id ?? ''}") { ... on Evaluator { ${FIELDS} } } }`)).toEqual({
    node: evaluator,
  });
  const { evaluators } = await ask<{ evaluators: { nodes: Shown[]; totalCount: { value: number } } }>(
    `{ evaluators(first: 10, nameContains: "${name.toUpperCase()}") { nodes { ${FIELDS} } totalCount { value } } }`,
  );
  expect(evaluators).toEqual({ nodes: [evaluator], totalCount: { value: 1 } });
});

test('a change makes a version, the same again makes none', async () => {
  const { id, uuid, newest } = await made();
  const second = await update(id, { config: { pattern: 'b' } });
  expect(second.evaluator).toMatchObject({ uuid, version: 2, newest: { config: { pattern: 'b' } } });
  // The same settings, a default written out.
  expect((await update(id, { config: { pattern: 'b', match: 'search' } })).evaluator).toMatchObject({
    version: 2,
  });
  expect((await update(id, { kind: 'REGEX', config: { pattern: 'b' } })).evaluator).toMatchObject({
    version: 2,
  });
  // Back to the first: a version of its own that scores like the first.
  const third = await update(id, { config: { pattern: 'a' } });
  expect(third.evaluator).toMatchObject({ version: 3, newest: { configHash: newest.configHash } });
  expect((await update(id, { feedbackKey: 'another' })).evaluator).toMatchObject({ version: 4 });
  expect((await update(id, { kind: 'LENGTH', config: { max: 3 } })).evaluator).toMatchObject({
    version: 5,
    newest: { kind: 'LENGTH' },
  });
  expect((await versionsOf(id)).map(({ version }) => version)).toEqual([5, 4, 3, 2, 1]);
  const { evaluator } = await ask<{ evaluator: Record<string, unknown> }>(
    `{ evaluator(id: "${id}") { two: at(version: 2) { kind config evaluator { uuid } } none: at(version: 6) { kind } } }`,
  );
  expect(evaluator).toEqual({
    two: { kind: 'REGEX', config: expect.objectContaining({ pattern: 'b' }), evaluator: { uuid } },
    none: null,
  });
});

test('a new name makes no version', async () => {
  const { id, newest } = await made();
  const name = nextName();
  expect((await update(id, { name, description: 'x' })).evaluator).toMatchObject({
    name,
    description: 'x',
    version: 1,
    newest: { uuid: newest.uuid },
  });
  expect((await update(id, { description: null })).evaluator).toMatchObject({ name, description: null });
  const { name: taken } = await made();
  expect(await update(id, { name: taken })).toMatchObject({
    evaluator: null,
    errors: [{ code: 'ALREADY_EXISTS', path: ['name'] }],
  });
  expect(
    await create({ name: taken, kind: 'REGEX', feedbackKey: 'k', config: { pattern: 'a' } }),
  ).toMatchObject({
    evaluator: null,
    errors: [{ code: 'ALREADY_EXISTS', path: ['name'] }],
  });
});

test('versions do not change, whatever comes after', async () => {
  const { id } = await made();
  const [first] = await versionsOf(id);
  for (let index = 0; index < 5; index += 1) await update(id, { config: { pattern: `x${index}` } });
  await update(id, { name: nextName() });
  await mutate('archiveEvaluator', { id });
  expect((await versionsOf(id)).at(-1)).toEqual(first);
});

test('changes at the same time never make the same version', async () => {
  const { id } = await made();
  const results = await Promise.all(
    Array.from({ length: 24 }, (_, index) =>
      index % 3 === 0
        ? update(id, { config: { pattern: `pattern ${index}` } })
        : index % 3 === 1
          ? update(id, { feedbackKey: `key ${index}` })
          : update(id, { name: nextName(), kind: 'REGEX', config: { pattern: `other ${index}` } }),
    ),
  );
  expect(results.flatMap(({ errors }) => errors)).toEqual([]);
  const versions = await versionsOf(id);
  expect(versions.map(({ version }) => version)).toEqual(
    Array.from({ length: 25 }, (_, index) => 25 - index),
  );
  const { rows } = await harness.database.pool.query<{ count: number }>(
    'select count(*)::int as count from evaluator_versions where evaluator_id = $1',
    [Buffer.from(id, 'base64url').toString().replace('Evaluator:', '')],
  );
  expect(rows[0]?.count).toBe(25);
});

test('the same config from many at once makes one version', async () => {
  const { id } = await made();
  const results = await Promise.all(
    Array.from({ length: 12 }, () => update(id, { kind: 'REGEX', config: { pattern: 'same' } })),
  );
  expect(results.map(({ evaluator }) => evaluator?.version)).toEqual(Array.from({ length: 12 }, () => 2));
});

test('the same call sent again makes one evaluator', async () => {
  const input = {
    name: nextName(),
    kind: 'REGEX',
    feedbackKey: 'k',
    config: { pattern: 'a' },
    idempotencyKey: v7(),
  };
  const first = await create(input);
  expect(first.errors).toEqual([]);
  expect(await create(input)).toEqual(first);
});

test('an archived evaluator is not offered, takes no versions and comes back', async () => {
  const { id, uuid, name } = await made();
  const listed = async (archived: string): Promise<string[]> =>
    (
      await ask<{ evaluators: { nodes: Shown[] } }>(
        `{ evaluators(first: 10, nameContains: "${name}"${archived}) { nodes { name } } }`,
      )
    ).evaluators.nodes
      .map((node) => node.name)
      .filter((each) => each === name);
  expect(await listed('')).toEqual([name]);
  expect((await mutate('archiveEvaluator', { id })).evaluator?.archivedAt).toEqual(expect.any(String));
  expect([await listed(''), await listed(', archived: true'), await listed(', archived: null')]).toEqual([
    [],
    [name],
    [name],
  ]);
  expect(await update(id, { config: { pattern: 'b' } })).toMatchObject({
    evaluator: null,
    errors: [{ code: 'NOT_ALLOWED', path: ['id'] }],
  });
  // What uses one of its versions goes on.
  const { app, home } = harness;
  await inWorkspace(home.workspaceId, async () => {
    const [version] = await app.evaluators.findVersions(trustedScope(home.workspaceId), [
      (await versionUuids(uuid))[0] ?? '',
    ]);
    expect(version).toMatchObject({ evaluatorId: uuid, evaluatorName: name, version: 1, kind: 'regex' });
  });
  expect((await mutate('archiveEvaluator', { id, archived: false })).evaluator).toMatchObject({
    archivedAt: null,
  });
  expect((await update(id, { config: { pattern: 'b' } })).evaluator).toMatchObject({ version: 2 });
});

async function versionUuids(evaluatorId: string): Promise<string[]> {
  const { rows } = await harness.database.pool.query<{ id: string }>(
    'select id from evaluator_versions where evaluator_id = $1 order by version',
    [evaluatorId],
  );
  return rows.map(({ id }) => id);
}

test.each<readonly [string, object, string, readonly string[]]>([
  ['a config that is wrong', { config: { pattern: '(' } }, 'INVALID', ['config', 'pattern']],
  ['a setting there is not', { config: { pattern: 'a', flags: 'i' } }, 'INVALID', ['config', 'flags']],
  ['an empty name', { name: ' ' }, 'INVALID', ['name']],
  ['too long a name', { name: 'x'.repeat(201) }, 'INVALID', ['name']],
  ['an empty key', { feedbackKey: '' }, 'INVALID', ['feedbackKey']],
  [
    'a provider there is not',
    {
      kind: 'LLM_JUDGE',
      config: {
        providerId: '018f0000-0000-7000-8000-000000000001',
        model: 'm',
        messages: [{ role: 'user', content: '{{output}}' }],
        score: { type: 'boolean' },
      },
    },
    'NOT_FOUND',
    ['config', 'providerId'],
  ],
  [
    'an address that must not be called',
    { kind: 'WEBHOOK', config: { url: 'http://127.0.0.1:5432/' } },
    'INVALID',
    ['config', 'url'],
  ],
])('%s is refused and nothing is stored', async (_name, change, code, path) => {
  const name = nextName();
  const input = { name, kind: 'REGEX', feedbackKey: `key of ${name}`, config: { pattern: 'a' }, ...change };
  expect(await create(input)).toMatchObject({ evaluator: null, errors: [{ code, path }] });
  const { rows } = await harness.database.pool.query('select from evaluators where name = $1', [name]);
  expect(rows).toHaveLength(0);
  const { id } = await made();
  const { name: same, ...definition } = input;
  const patch = 'name' in change ? { name: same } : definition;
  expect(await update(id, patch)).toMatchObject({ evaluator: null, errors: [{ code, path }] });
  expect(await versionsOf(id)).toHaveLength(1);
});

test('a missing evaluator is not found', async () => {
  const id = v7();
  expect(await update(id, { name: 'x' })).toMatchObject({ errors: [{ code: 'NOT_FOUND', path: ['id'] }] });
  expect(await update(id, { config: {} })).toMatchObject({ errors: [{ code: 'NOT_FOUND' }] });
  expect(await mutate('archiveEvaluator', { id })).toMatchObject({ errors: [{ code: 'NOT_FOUND' }] });
  expect(await ask(`{ evaluator(id: "${id}") { name } }`)).toEqual({ evaluator: null });
});

test('the scale of a new key follows from the kind', async () => {
  const configOf = async (key: string): Promise<unknown> =>
    (
      await ask<{ feedbackConfigs: { nodes: unknown[] } }>(
        'query ($keys: [String!]) { feedbackConfigs(first: 1, keys: $keys) { nodes { type min max categories { value label } isLowerScoreBetter } } }',
        { keys: [key] },
      )
    ).feedbackConfigs.nodes[0];
  const scale = (min: number | null, max: number | null, isLowerScoreBetter = false) => ({
    type: 'CONTINUOUS',
    min,
    max,
    categories: [],
    isLowerScoreBetter,
  });
  await made({ feedbackKey: 'scale 1' });
  expect(await configOf('scale 1')).toEqual(scale(0, 1));
  await made({ feedbackKey: 'scale 2', kind: 'LATENCY', config: {} });
  expect(await configOf('scale 2')).toEqual(scale(0, null, true));
  await made({ feedbackKey: 'scale 3', kind: 'LATENCY', config: { maxSeconds: 2 } });
  expect(await configOf('scale 3')).toEqual(scale(0, 1));
  await made({ feedbackKey: 'scale 4', kind: 'EDIT_DISTANCE', config: { measure: 'distance' } });
  expect(await configOf('scale 4')).toEqual(scale(0, 1, true));
  await made({ feedbackKey: 'scale 5', kind: 'CODE', config: { code: 'const evaluate = () => 1' } });
  expect(await configOf('scale 5')).toBeUndefined();
  // A key that has a config keeps it, and has to allow the scores.
  await made({ feedbackKey: 'scale 2', kind: 'COST', config: {} });
  const refused = await create({ name: nextName(), kind: 'LATENCY', feedbackKey: 'scale 4', config: {} });
  expect(refused).toMatchObject({ evaluator: null, errors: [{ code: 'INVALID', path: ['feedbackKey'] }] });
  expect(refused.errors[0]?.message).toBe(
    'The feedback key "scale 4" takes a score from 0 to 1; this evaluator gives a score of at least 0.',
  );
});

test('a key that is read the other way round is refused, whoever knows which way is better', async () => {
  const message = (key: string, is: string, gives: string): string =>
    `Under the feedback key "${key}" ${is} scores are better; of this evaluator's the ${gives} ones are. ` +
    'Comparisons and gates would read them the wrong way round: use another key.';
  const { id } = (await made({ feedbackKey: 'less', kind: 'LATENCY', config: {} })) as { id: string };
  const similarity = await create({
    name: nextName(),
    kind: 'EDIT_DISTANCE',
    feedbackKey: 'less',
    config: { measure: 'similarity' },
  });
  const inverted = { code: 'INVALID', message: message('less', 'lower', 'higher'), path: ['feedbackKey'] };
  expect(similarity).toMatchObject({ evaluator: null, errors: [inverted] });
  // The same evaluator may turn round, too: seconds become "within the limit".
  expect(await update(id, { config: { maxSeconds: 2 } })).toMatchObject({
    evaluator: null,
    errors: [inverted],
  });
  await made({ feedbackKey: 'less', kind: 'EDIT_DISTANCE', config: { measure: 'distance' } });
  await made({ feedbackKey: 'less', kind: 'CODE', config: { code: 'const evaluate = () => 1' } });
  await made({ feedbackKey: 'more' });
  const distance = await create({
    name: nextName(),
    kind: 'EDIT_DISTANCE',
    feedbackKey: 'more',
    config: { measure: 'distance' },
  });
  expect(distance.errors).toEqual([
    { code: 'INVALID', message: message('more', 'higher', 'lower'), path: ['feedbackKey'] },
  ]);
});

test('the secret of a webhook is told to whoever makes it, and stays the same', async () => {
  const name = nextName();
  const config = { url: 'https://scores.example.com/' };
  const { evaluator, webhookSecret } = await create({ name, kind: 'WEBHOOK', feedbackKey: 'hook', config });
  expect(webhookSecret).toMatch(/^whsec_[A-Za-z0-9+/]{43}=$/);
  const again = await update(evaluator?.id ?? '', { config: { ...config, timeoutMs: 500 } });
  expect(again).toMatchObject({ webhookSecret, evaluator: { version: 2 } });
  const { text } = await harness.gql(
    `{ evaluator(name: "${name}") { ${FIELDS} } }`,
    {},
    { key: harness.keys.first.secret },
  );
  expect(text).not.toContain('whsec');
});

test('lists are paged and filtered', async () => {
  const prefix = `paged ${v7()}`;
  const all: string[] = [];
  for (let index = 0; index < 5; index += 1) {
    const name = `${prefix} ${index}`;
    all.unshift(name);
    const kind =
      index % 2 === 0 ? { kind: 'REGEX', config: { pattern: 'a' } } : { kind: 'LENGTH', config: { max: 1 } };
    await create({ name, feedbackKey: `${prefix} key ${index % 2}`, ...kind });
  }
  interface Listed {
    readonly nodes: { name: string }[];
    readonly pageInfo: { hasNextPage: boolean; endCursor: string };
  }
  const list = async (args: string): Promise<Listed> =>
    (
      await ask<{ evaluators: Listed }>(
        `{ evaluators(nameContains: "${prefix}" ${args}) { nodes { name } pageInfo { hasNextPage endCursor } } }`,
      )
    ).evaluators;
  const seen: string[] = [];
  for (let after = ''; ;) {
    const { nodes, pageInfo } = await list(`first: 2 ${after}`);
    seen.push(...nodes.map(({ name }) => name));
    if (!pageInfo.hasNextPage) break;
    after = `after: "${pageInfo.endCursor}"`;
  }
  expect(seen).toEqual(all);
  expect((await list('last: 2')).nodes.map(({ name }) => name)).toEqual(all.slice(-2));
  expect((await list('first: 9 kinds: [LENGTH]')).nodes).toHaveLength(2);
  expect((await list(`first: 9 feedbackKeys: ["${prefix} key 0"]`)).nodes).toHaveLength(3);

  const { id } = await made();
  for (let index = 0; index < 4; index += 1) await update(id, { config: { pattern: `p${index}` } });
  const { evaluator } = await ask<{
    evaluator: {
      versions: { nodes: { version: number }[]; pageInfo: Listed['pageInfo']; totalCount: unknown };
    };
  }>(
    `{ evaluator(id: "${id}") { versions(first: 3) { nodes { version } pageInfo { hasNextPage endCursor } totalCount { value } } } }`,
  );
  expect(evaluator.versions).toMatchObject({
    nodes: [{ version: 5 }, { version: 4 }, { version: 3 }],
    totalCount: { value: 5 },
  });
  const rest = await ask(
    `{ evaluator(id: "${id}") { versions(first: 3, after: "${evaluator.versions.pageInfo.endCursor}") { nodes { version } } } }`,
  );
  expect(rest).toEqual({ evaluator: { versions: { nodes: [{ version: 2 }, { version: 1 }] } } });
});

test('every kind tells its settings', async () => {
  const { evaluatorKinds } = await ask<{
    evaluatorKinds: { kind: string; configSchema: Record<string, unknown> }[];
  }>('{ evaluatorKinds { kind configSchema } }');
  expect(evaluatorKinds.map(({ kind }) => kind.toLowerCase())).toEqual(EVALUATOR_KINDS);
  for (const { configSchema } of evaluatorKinds) expect(configSchema).toMatchObject({ type: 'object' });
});

// ── Trying ─────────────────────────────────────────────────────────────────────────────────────────────────

const TRIAL = `mutation ($input: TryEvaluatorInput!) { it: tryEvaluator(input: $input) {
  trial { scores { key score value comment } error { code message retryable } spread { repeats } judgeRunIds cost log }
  errors { code message path } } }`;

interface Trial {
  readonly trial: Record<string, unknown> | null;
  readonly errors: readonly Failure[];
}
const attempt = async (input: object): Promise<Trial> => (await ask<{ it: Trial }>(TRIAL, { input })).it;

test('an evaluator is tried on what is given, and on what is stored', async () => {
  const { id } = await made({ kind: 'EXACT_MATCH', config: {} });
  const given = {
    evaluatorId: id,
    run: { given: { outputs: 'Paris' } },
    reference: { given: { reference: 'Paris' } },
  };
  expect(await attempt(given)).toEqual({
    trial: {
      scores: [{ key: expect.any(String), score: 1, value: true, comment: null }],
      error: null,
      spread: null,
      judgeRunIds: [],
      cost: null,
      log: null,
    },
    errors: [],
  });

  const run = v7();
  const child = v7();
  const start = new Date().toISOString();
  const stamp = `${start.replace(/[-:.]/g, '').slice(0, -1)}000Z`;
  const { status } = await harness.http('/runs/batch', {
    key: harness.keys.first.secret,
    body: {
      post: [
        {
          id: run,
          trace_id: run,
          dotted_order: `${stamp}${run}`,
          name: 'agent',
          run_type: 'chain',
          start_time: start,
          end_time: start,
          inputs: { q: 1 },
          outputs: { answer: 'Paris' },
        },
        {
          id: child,
          trace_id: run,
          parent_run_id: run,
          dotted_order: `${stamp}${run}.${stamp}${child}`,
          name: 'search',
          run_type: 'tool',
          start_time: start,
          end_time: start,
          inputs: { query: 'x' },
          outputs: { found: 1 },
        },
      ],
    },
  });
  expect(status).toBe(202);
  const stored = { evaluatorId: id, run: { runId: run }, reference: { given: { reference: 'Paris' } } };
  expect((await attempt(stored)).trial).toMatchObject({ scores: [{ score: 1 }], error: null });
  const trajectory = {
    definition: {
      kind: 'TOOL_TRAJECTORY',
      config: { expected: [{ name: 'search', arguments: { query: 'x' } }] },
    },
    run: { runId: run },
  };
  expect((await attempt(trajectory)).trial).toMatchObject({ scores: [{ key: 'draft', score: 1 }] });
  const { rows } = await harness.database.pool.query('select from feedback');
  expect(rows).toHaveLength(0);
});

test('a draft is tried without being stored', async () => {
  const definition = {
    kind: 'CODE',
    config: {
      code: 'function evaluate({run}) { console.log("seen"); return {score: 0.5, comment: run.outputs} }',
    },
  };
  expect(await attempt({ definition, run: { given: { outputs: 'x' } } })).toMatchObject({
    trial: { scores: [{ key: 'draft', score: 0.5, comment: 'x' }], log: 'seen\n' },
    errors: [],
  });
  expect(await attempt({ definition: { kind: 'REGEX', config: {} }, run: { given: {} } })).toMatchObject({
    trial: null,
    errors: [{ code: 'INVALID', path: ['definition', 'config', 'pattern'] }],
  });
  const failing = { kind: 'CODE', config: { code: 'function evaluate() { throw new Error("no") }' } };
  expect(await attempt({ definition: failing, run: { given: {} } })).toMatchObject({
    trial: { scores: [], error: { code: 'EVALUATOR_FAILED', retryable: false } },
  });
});

test('an older version can be tried', async () => {
  const { id } = await made();
  await update(id, { config: { pattern: 'b' } });
  const run = { given: { outputs: 'a' } };
  expect((await attempt({ evaluatorId: id, run })).trial).toMatchObject({ scores: [{ score: 0 }] });
  expect((await attempt({ evaluatorId: id, version: 1, run })).trial).toMatchObject({
    scores: [{ score: 1 }],
  });
  expect(await attempt({ evaluatorId: id, version: 3, run })).toMatchObject({
    trial: null,
    errors: [{ code: 'NOT_FOUND', path: ['evaluator'] }],
  });
});

test('what is not there cannot be tried on', async () => {
  const { id } = await made();
  expect(await attempt({ evaluatorId: v7(), run: { given: {} } })).toMatchObject({
    errors: [{ code: 'NOT_FOUND' }],
  });
  expect(await attempt({ evaluatorId: id, run: { runId: v7() } })).toMatchObject({
    errors: [{ code: 'NOT_FOUND', path: ['run', 'runId'] }],
  });
  expect(
    await attempt({ evaluatorId: id, run: { given: {} }, reference: { exampleId: v7() } }),
  ).toMatchObject({ errors: [{ code: 'NOT_FOUND', path: ['reference', 'exampleId'] }] });
});
