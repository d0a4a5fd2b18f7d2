/** Datasets, examples and SDK-like runs for experiments, on a whole gateway. */
import { v7 } from 'uuid';
import type { Harness } from '../support/harness.js';

export interface TestExample {
  readonly id: string;
  readonly inputs: unknown;
  readonly outputs?: unknown;
  readonly splits?: readonly string[];
}

/** A dataset with one version that holds these examples. Returns its id. */
export async function insertDataset(
  { database, home }: Harness,
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
  harness: Harness,
  query: string,
  variables: Readonly<Record<string, unknown>> = {},
  key = harness.keys.first.secret,
): Promise<T> {
  const { body, text } = await harness.gql(query, variables, { key });
  if (body.errors !== undefined || body.data === undefined) throw new Error(text.slice(0, 2_000));
  return body.data as T;
}
