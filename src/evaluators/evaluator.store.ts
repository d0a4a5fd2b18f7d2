/** Evaluators and their versions. Versions are only ever added. */
import type { JsonObject } from '../ingest/run-event.js';
import type { Queryable } from '../platform/db.js';
import { keysetCondition, keysetOrder } from '../platform/keyset.js';
import type { Keyset, PageWindow } from '../platform/keyset.js';
import type { WorkspaceScope } from '../tenancy/principal.js';
import type { Evaluator, StoredVersion } from './evaluator.js';

const EVALUATOR = `e.id as uuid, e.name, e.description, e.version, e.archived_at as "archivedAt",
  e.created_at as "createdAt", e.updated_at as "updatedAt"`;

const VERSION = `v.id as uuid, v.workspace_id as "workspaceId", v.evaluator_id as "evaluatorId",
  e.name as "evaluatorName", v.version, v.kind, v.feedback_key as "feedbackKey", v.config,
  encode(v.config_hash, 'hex') as "configHash", v.actor, v.created_at as "createdAt"`;

const VERSIONS = `evaluator_versions v
  join evaluators e on e.workspace_id = v.workspace_id and e.id = v.evaluator_id`;

type EvaluatorRow = Evaluator & Record<string, unknown>;
type VersionRow = Omit<StoredVersion, 'config'> & { readonly config: string } & Record<string, unknown>;

const toVersion = ({ config, ...row }: VersionRow): StoredVersion => ({
  ...row,
  config: JSON.parse(config) as JsonObject,
});

const BY_CREATION: Keyset = {
  value: 'e.created_at',
  type: 'timestamptz',
  id: 'e.id',
  direction: 'desc',
  nullable: false,
};
const BY_VERSION: Keyset = {
  value: 'v.version',
  type: 'int',
  id: 'v.id',
  direction: 'desc',
  nullable: false,
};

/** Conditions on evaluators, all of which hold. Absent means no condition. */
export interface EvaluatorFilter {
  /** A part of the name, in any case. */
  readonly nameContains?: string | undefined;
  /** Of the newest version. */
  readonly kinds?: readonly string[] | undefined;
  /** Of the newest version. */
  readonly feedbackKeys?: readonly string[] | undefined;
  readonly archived?: boolean | undefined;
}

const MATCHES = `e.workspace_id = $1
  and ($2::text is null or strpos(lower(e.name), lower($2)) > 0)
  and ($3::text[] is null or v.kind = any($3))
  and ($4::text[] is null or v.feedback_key = any($4))
  and ($5::boolean is null or (e.archived_at is not null) = $5)`;

const NEWEST = `evaluators e
  join evaluator_versions v on v.workspace_id = e.workspace_id and v.evaluator_id = e.id and v.version = e.version`;

const matchParams = (scope: WorkspaceScope, filter: EvaluatorFilter): unknown[] => [
  scope.workspaceId,
  filter.nameContains ?? null,
  filter.kinds ?? null,
  filter.feedbackKeys ?? null,
  filter.archived ?? null,
];

export interface VersionRef {
  readonly evaluatorId: string;
  /** Absent: the newest. */
  readonly version?: number | undefined;
}

export class EvaluatorStore {
  /** False where the name is taken. */
  async insert(tx: Queryable, scope: WorkspaceScope, evaluator: Evaluator): Promise<boolean> {
    const { rowCount } = await tx.query(
      `/* evaluators.insert */
      insert into evaluators (workspace_id, id, name, description, version, created_at, updated_at)
      values ($1, $2, $3, $4, $5, $6, $6)
      on conflict (workspace_id, name) do nothing`,
      [
        scope.workspaceId,
        evaluator.uuid,
        evaluator.name,
        evaluator.description,
        evaluator.version,
        evaluator.createdAt,
      ],
    );
    return rowCount === 1;
  }

  async insertVersion(tx: Queryable, scope: WorkspaceScope, version: StoredVersion): Promise<void> {
    await tx.query(
      `/* evaluators.insert_version */
      insert into evaluator_versions
        (workspace_id, id, evaluator_id, version, kind, feedback_key, config, config_hash, actor, created_at)
      values ($1, $2, $3, $4, $5, $6, $7, decode($8, 'hex'), $9, $10)`,
      [
        scope.workspaceId,
        version.uuid,
        version.evaluatorId,
        version.version,
        version.kind,
        version.feedbackKey,
        JSON.stringify(version.config),
        version.configHash,
        version.actor,
        version.createdAt,
      ],
    );
  }

  /** Locks the evaluator: whoever changes it waits until the transaction ends, so versions follow one another. */
  async lock(tx: Queryable, scope: WorkspaceScope, id: string): Promise<Evaluator | undefined> {
    const { rows } = await tx.query<EvaluatorRow>(
      `/* evaluators.lock */
      select ${EVALUATOR} from evaluators e where e.workspace_id = $1 and e.id = $2 limit 1 for update`,
      [scope.workspaceId, id],
    );
    return rows[0];
  }

  /** Fails with unique_violation when the new name is taken. */
  async update(tx: Queryable, scope: WorkspaceScope, evaluator: Evaluator): Promise<void> {
    await tx.query(
      `/* evaluators.update */
      update evaluators set name = $3, description = $4, version = $5, archived_at = $6, updated_at = $7
      where workspace_id = $1 and id = $2`,
      [
        scope.workspaceId,
        evaluator.uuid,
        evaluator.name,
        evaluator.description,
        evaluator.version,
        evaluator.archivedAt,
        evaluator.updatedAt,
      ],
    );
  }

  /** In no particular order. */
  async findByIds(db: Queryable, scope: WorkspaceScope, ids: readonly string[]): Promise<Evaluator[]> {
    const { rows } = await db.query<EvaluatorRow>(
      `/* evaluators.find */
      select ${EVALUATOR} from evaluators e where e.workspace_id = $1 and e.id = any($2::uuid[]) limit $3`,
      [scope.workspaceId, ids, ids.length],
    );
    return rows;
  }

  /** In no particular order; names are unique in a workspace. */
  async findByNames(db: Queryable, scope: WorkspaceScope, names: readonly string[]): Promise<Evaluator[]> {
    const { rows } = await db.query<EvaluatorRow>(
      `/* evaluators.find_by_name */
      select ${EVALUATOR} from evaluators e where e.workspace_id = $1 and e.name = any($2::text[]) limit $3`,
      [scope.workspaceId, names, names.length],
    );
    return rows;
  }

  /** Up to `limit + 1`, newest first, in reading order. Relies on evaluators_by_creation. */
  async list(
    db: Queryable,
    scope: WorkspaceScope,
    filter: EvaluatorFilter,
    window: PageWindow,
  ): Promise<Evaluator[]> {
    const params = matchParams(scope, filter);
    const { rows } = await db.query<EvaluatorRow>(
      `/* evaluators.list */
      select ${EVALUATOR}
      from ${NEWEST}
      where ${MATCHES} and ${keysetCondition(BY_CREATION, window, params)}
      order by ${keysetOrder(BY_CREATION, window)}
      limit $${params.push(window.limit + 1)}`,
      params,
    );
    return rows;
  }

  /** How many match, counted up to `limit`. */
  async count(db: Queryable, scope: WorkspaceScope, filter: EvaluatorFilter, limit: number): Promise<number> {
    const { rows } = await db.query<{ found: number }>(
      `/* evaluators.count */
      select count(*) as found from (select from ${NEWEST} where ${MATCHES} limit $6) matching`,
      [...matchParams(scope, filter), limit],
    );
    return rows[0]?.found ?? 0;
  }

  /** Versions by their own ids, in no particular order. */
  async findVersions(db: Queryable, scope: WorkspaceScope, ids: readonly string[]): Promise<StoredVersion[]> {
    const { rows } = await db.query<VersionRow>(
      `/* evaluators.find_versions */
      select ${VERSION} from ${VERSIONS} where v.workspace_id = $1 and v.id = any($2::uuid[]) limit $3`,
      [scope.workspaceId, ids, ids.length],
    );
    return rows.map(toVersion);
  }

  /** In no particular order. */
  async findVersionsAt(
    db: Queryable,
    scope: WorkspaceScope,
    refs: readonly VersionRef[],
  ): Promise<StoredVersion[]> {
    const { rows } = await db.query<VersionRow>(
      `/* evaluators.find_versions_at */
      select ${VERSION}
      from unnest($2::uuid[], $3::int[]) as wanted (evaluator_id, version)
      join evaluators e on e.workspace_id = $1 and e.id = wanted.evaluator_id
      join evaluator_versions v on v.workspace_id = $1 and v.evaluator_id = e.id
        and v.version = coalesce(wanted.version, e.version)
      where v.workspace_id = $1
      limit $4`,
      [
        scope.workspaceId,
        refs.map(({ evaluatorId }) => evaluatorId),
        refs.map(({ version }) => version ?? null),
        refs.length,
      ],
    );
    return rows.map(toVersion);
  }

  /** Up to `limit + 1` versions of one evaluator, newest first, in reading order. */
  async listVersions(
    db: Queryable,
    scope: WorkspaceScope,
    evaluatorId: string,
    window: PageWindow,
  ): Promise<StoredVersion[]> {
    const params: unknown[] = [scope.workspaceId, evaluatorId];
    const { rows } = await db.query<VersionRow>(
      `/* evaluators.list_versions */
      select ${VERSION}
      from ${VERSIONS}
      where v.workspace_id = $1 and v.evaluator_id = $2 and ${keysetCondition(BY_VERSION, window, params)}
      order by ${keysetOrder(BY_VERSION, window)}
      limit $${params.push(window.limit + 1)}`,
      params,
    );
    return rows.map(toVersion);
  }
}
