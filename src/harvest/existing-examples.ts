/** What of a dataset's examples harvests are compared with: hashes, sources and texts of those that are there now. */
import type { Queryable } from '../platform/db.js';
import type { WorkspaceScope } from '../tenancy/principal.js';

export interface ExampleInputs {
  readonly id: string;
  readonly inputs: string;
}

/** Current examples with one of these inputs, by hash in hex: the first of each. Relies on examples_by_inputs. */
export async function findByInputs(
  db: Queryable,
  scope: WorkspaceScope,
  datasetId: string,
  hashes: readonly Buffer[],
): Promise<Map<string, string>> {
  const { rows } = await db.query<{ hash: string; id: string }>(
    `/* harvests.find_by_inputs */
    select distinct on (inputs_hash) encode(inputs_hash, 'hex') as hash, id
    from examples
    where workspace_id = $1 and dataset_id = $2 and inputs_hash = any($3::bytea[]) and until_version is null
    order by inputs_hash, id
    limit $4`,
    [scope.workspaceId, datasetId, hashes, hashes.length],
  );
  return new Map(rows.map(({ hash, id }) => [hash, id]));
}

/** The next current examples by id whose state is newer than a version. */
export async function inputsSince(
  db: Queryable,
  scope: WorkspaceScope,
  datasetId: string,
  version: number,
  { after, limit }: { readonly after: string | undefined; readonly limit: number },
): Promise<ExampleInputs[]> {
  const { rows } = await db.query<ExampleInputs & Record<string, unknown>>(
    `/* harvests.inputs_since */
    select id, inputs
    from examples
    where workspace_id = $1 and dataset_id = $2 and until_version is null and since_version > $3
      and ($4::uuid is null or id > $4)
    order by id
    limit $5`,
    [scope.workspaceId, datasetId, version, after ?? null, limit],
  );
  return rows;
}
