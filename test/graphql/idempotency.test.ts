/** Every mutation that creates, called again with its idempotency key. What is called comes from the schema. */
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { buildSchema } from 'graphql';
import type { GraphQLSchema } from 'graphql';
import { createApi } from '../../src/api.js';
import { schemaProblems } from '../../src/graphql/schema.js';
import { fingerprint } from '../security/evidence.js';
import { documentFor, MUTATIONS } from '../security/graphql-calls.js';
import type { Names } from '../security/names.js';
import { plantTenant } from '../security/tenant.js';
import { startHarness } from '../support/harness.js';
import type { Harness, HarnessKey } from '../support/harness.js';

let harness: Harness;
let schema: GraphQLSchema;
let names: Names;
beforeAll(async () => {
  harness = await startHarness();
  ({ schema } = createApi(harness.app, undefined));
  names = await plantTenant(harness);
}, 60_000);
afterAll(() => harness.close());

const creates = Object.keys(MUTATIONS).filter((name) => name.startsWith('create') && name !== 'createRuns');

type Input = Readonly<Record<string, unknown>>;

function inputOf(name: string): Input {
  return MUTATIONS[name]?.args(names)[0]?.['input'] as Input;
}

async function call(name: string, input: Input, key: HarnessKey = harness.keys.first) {
  const document = documentFor(schema, 'mutation', name, { input });
  return harness.gql(document, { input }, { key: key.secret });
}

/** The same kind of call with something else in it. */
function otherThan(input: Input): Input {
  if ('name' in input) return { ...input, name: 'another name' };
  if ('key' in input) return { ...input, key: 'another key' };
  if ('schedule' in input) return { ...input, schedule: { name: 'another schedule', cron: '7 7 * * *' } };
  if ('datasetId' in input) return { ...input, note: 'another note' };
  return { feedback: [{ runId: names.run, key: names.feedbackKey, score: 0 }] };
}

describe.each(creates)('%s', (name) => {
  test('sent again answers the same and writes nothing', async () => {
    const input = { ...inputOf(name), idempotencyKey: `again ${name}` };
    const first = await call(name, input);
    expect(first.body.errors).toBeUndefined();
    expect(first.body.data?.['it']).toMatchObject({ errors: [] });
    const before = await fingerprint(harness.database.pool, harness.home);
    const second = await call(name, input);
    expect(second.body.data).toEqual(first.body.data);
    expect(await fingerprint(harness.database.pool, harness.home)).toEqual(before);
  });

  test('sent eight times at once takes effect once', async () => {
    const input = { ...inputOf(name), idempotencyKey: `at once ${name}` };
    const answers = await Promise.all(Array.from({ length: 8 }, () => call(name, input)));
    const given = answers.filter(({ body }) => body.errors === undefined);
    const refused = answers.filter(({ body }) => body.errors !== undefined);
    expect(new Set(given.map(({ body }) => JSON.stringify(body.data))).size).toBe(1);
    for (const { status, headers, body } of refused) {
      expect([status, headers.get('retry-after')]).toEqual([409, '1']);
      expect(body.errors?.[0]?.extensions).toMatchObject({ code: 'CONFLICT', retryable: true });
    }
  });

  test('with another input is refused', async () => {
    const one = inputOf(name);
    await call(name, { ...one, idempotencyKey: `other ${name}` });
    const changed = otherThan(one);
    const before = await fingerprint(harness.database.pool, harness.home);
    const { body } = await call(name, { ...changed, idempotencyKey: `other ${name}` });
    expect(body.errors?.[0]?.extensions.code).toBe('IDEMPOTENCY_MISMATCH');
    expect(await fingerprint(harness.database.pool, harness.home)).toEqual(before);
  });
});

test('another API key and another workspace start anew with the same idempotency key', async () => {
  const input = { name: 'shared word', scopes: ['READ'], idempotencyKey: 'shared word' };
  const callers = [harness.keys.first, harness.keys.full, harness.keys.neighbour, harness.keys.stranger];
  const secrets = new Set<unknown>();
  for (const key of callers) {
    const { body } = await call('createApiKey', input, key);
    secrets.add((body.data?.['it'] as { secret: string }).secret);
  }
  expect(secrets.size).toBe(4);
});

test('a create mutation that cannot be repeated is found in the schema', () => {
  const poor = buildSchema(`
    type Query { a: String }
    type Mutation { createA(input: CreateA!): String createB: String removeA(input: CreateA!): String }
    input CreateA { name: String }
  `);
  const problem = 'cannot be repeated: its input has no idempotencyKey (IdempotentInput).';
  expect(schemaProblems(poor).filter((each) => each.includes('idempotencyKey'))).toEqual([
    `Mutation.createA ${problem}`,
    `Mutation.createB ${problem}`,
  ]);
});
