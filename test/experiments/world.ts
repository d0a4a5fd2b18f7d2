/** Datasets, examples and SDK-like runs for experiments, on a whole gateway. */
import { v7 } from 'uuid';
import { eventually } from '../support/eventually.js';
import type { GraphqlAnswer, Harness } from '../support/harness.js';

/** Where experiments are tried: a harness, or processes. */
export interface Site {
  readonly database: Harness['database'];
  readonly home: { readonly workspaceId: string };
  readonly keys: { readonly first: { readonly secret: string } };
  gql(
    query: string,
    variables?: Readonly<Record<string, unknown>>,
    options?: { readonly key?: string | undefined },
  ): Promise<GraphqlAnswer>;
}

export interface TestExample {
  readonly id: string;
  readonly inputs: unknown;
  readonly outputs?: unknown;
  readonly splits?: readonly string[];
}

/** A dataset with one version that holds these examples. Returns its id. */
export async function insertDataset(
  { database, home }: Site,
  examples: readonly TestExample[],
  name = 'questions',
): Promise<string> {
  const id = v7();
  const { workspaceId } = home;
  await database.pool.query(
    `insert into datasets (workspace_id, id, name, data_type, version, example_count, created_at, updated_at)
     values ($1, $2, $3, 'kv', 1, $4, now(), now())`,
    [workspaceId, id, name, examples.length],
  );
  await database.pool.query(
    `insert into dataset_versions (workspace_id, dataset_id, version, created_at, added, modified, removed)
     values ($1, $2, 1, now(), $3, 0, 0)`,
    [workspaceId, id, examples.length],
  );
  await database.pool.query(
    `insert into examples (workspace_id, dataset_id, id, since_version, name, inputs, outputs, metadata, splits,
       inputs_hash, content_hash, created_at, modified_at)
     select $1, $2, e.id, 1, e.id::text, e.inputs, e.outputs, '{}', e.splits, sha256(e.inputs::text::bytea),
       sha256((e.inputs::text || coalesce(e.outputs::text, ''))::bytea), now() + e.place * interval '1 millisecond', now()
     from jsonb_to_recordset($3::jsonb) as e (id uuid, inputs json, outputs json, splits text[], place int)`,
    [
      workspaceId,
      id,
      JSON.stringify(
        examples.map((example, place) => ({
          id: example.id,
          inputs: example.inputs,
          outputs: example.outputs ?? null,
          splits: example.splits ?? ['base'],
          place,
        })),
      ),
    ],
  );
  return id;
}

/** The data of a query that must succeed. */
export async function ask<T>(
  harness: Site,
  query: string,
  variables: Readonly<Record<string, unknown>> = {},
  key = harness.keys.first.secret,
): Promise<T> {
  const { body, text } = await harness.gql(query, variables, { key });
  if (body.errors !== undefined || body.data === undefined) throw new Error(text.slice(0, 2_000));
  return body.data as T;
}

interface Payload {
  readonly errors: readonly { readonly code: string; readonly message: string }[];
}

/** The object a mutation made; its errors fail the test. */
async function mutate<T>(
  harness: Site,
  field: string,
  type: string,
  shape: string,
  input: unknown,
): Promise<T> {
  const answer = await ask<Record<string, Payload & Record<string, T>>>(
    harness,
    `mutation ($input: ${type}!) { result: ${field}(input: $input) { ${shape} errors { code message } } }`,
    { input },
  );
  const { errors, ...made } = answer['result'] ?? { errors: [] };
  if (errors.length > 0) throw new Error(JSON.stringify(errors));
  return Object.values(made)[0] as T;
}

/** A provider that is a server of the test's own. Its secret and prices are what the server expects by default. */
export async function addProvider(
  harness: Site,
  baseUrl: string,
  fields: Readonly<Record<string, unknown>> = {},
): Promise<string> {
  const input = {
    name: 'local',
    kind: 'OPENAI_COMPATIBLE',
    baseUrl,
    secret: 'sk-test-secret-of-the-provider',
    prices: [{ model: '*', inputPerMillion: '2.50', outputPerMillion: '10.00' }],
    ...fields,
  };
  const made = await mutate<{ uuid: string }>(
    harness,
    'createModelProvider',
    'CreateModelProviderInput',
    'modelProvider { uuid }',
    input,
  );
  return made.uuid;
}

export async function addEvaluator(
  harness: Site,
  name: string,
  kind: string,
  config: unknown,
  feedbackKey = name,
): Promise<string> {
  const made = await mutate<{ uuid: string }>(
    harness,
    'createEvaluator',
    'CreateEvaluatorInput',
    'evaluator { uuid }',
    {
      name,
      kind,
      feedbackKey,
      config,
    },
  );
  return made.uuid;
}

/** Config of a judge that gives a number from 0 to 1. */
export const judgeConfig = (providerId: string, fields: Readonly<Record<string, unknown>> = {}) => ({
  providerId,
  model: 'judge',
  messages: [{ role: 'user', content: 'How good is {{output}} for {{input}}?' }],
  score: { type: 'number', min: 0, max: 1 },
  ...fields,
});

export const STEERED = 'experiment { uuid state stateReason execution { spend spendCap } }';

export interface Steered {
  readonly uuid: string;
  readonly state: string;
  readonly stateReason: string | null;
  readonly execution: { readonly spend: string; readonly spendCap: string | null };
}

export async function startExperiment(
  harness: Site,
  experiment: Readonly<Record<string, unknown>>,
): Promise<string> {
  const made = await mutate<Steered>(harness, 'startExperiment', 'StartExperimentInput', STEERED, {
    experiment,
  });
  return made.uuid;
}

export const steer = (
  harness: Site,
  verb: 'pauseExperiment' | 'cancelExperiment' | 'retryFailedExperiment' | 'resumeExperiment',
  input: Readonly<Record<string, unknown>>,
): Promise<Steered> =>
  mutate(
    harness,
    verb,
    verb === 'resumeExperiment' ? 'ResumeExperimentInput' : 'ExperimentIdInput',
    STEERED,
    input,
  );

export interface Seen {
  readonly state: string;
  readonly stateReason: string | null;
  readonly execution: { readonly spend: string };
  readonly progress: {
    readonly examples: number;
    readonly rows: Readonly<Record<string, number>>;
    readonly evaluators: readonly {
      readonly feedbackKey: string;
      readonly open: number;
      readonly scored: number;
      readonly failed: number;
      readonly skipped: number;
      readonly cached: number;
      readonly cost: string | null;
    }[];
  };
  readonly scores: readonly {
    readonly key: string;
    readonly n: number;
    readonly mean: number;
    readonly errors: number;
  }[];
}

export async function look(harness: Site, id: string): Promise<Seen> {
  const { experiment } = await ask<{ experiment: Seen }>(
    harness,
    `query ($id: ID!) {
      experiment(id: $id) {
        state stateReason
        execution { spend }
        progress {
          examples
          rows { total pending running done failed cached }
          evaluators { feedbackKey open scored failed skipped cached cost }
        }
        scores { key n mean errors cached }
      }
    }`,
    { id },
  );
  return experiment;
}

/** The experiment once it is in this state. */
export const untilState = (harness: Site, id: string, state: string, timeoutMs = 30_000): Promise<Seen> =>
  eventually(
    async () => {
      const seen = await look(harness, id);
      if (seen.state !== state) throw new Error(`it is ${JSON.stringify(seen)}`);
      return seen;
    },
    { timeoutMs, everyMs: 100 },
  );
