/** Statements on the configs of feedback keys. */
import type { Queryable } from '../platform/db.js';
import { keysetCondition, keysetOrder, type Keyset, type PageWindow } from '../platform/keyset.js';
import type { WorkspaceScope } from '../tenancy/principal.js';
import type { FeedbackConfig, FeedbackConfigDefinition } from './feedback-config.js';

const COLUMNS = `key, type, min, max, coalesce(categories, '[]') as categories,
  is_lower_score_better as "isLowerScoreBetter", created_at as "createdAt", updated_at as "updatedAt"`;

type ConfigRow = FeedbackConfig & Record<string, unknown>;

export interface ConfigFilter {
  readonly keys?: readonly string[];
  readonly nameContains?: string;
}

/** A window, or an offset from the start of the list. */
export type ConfigPage = PageWindow & { readonly offset?: number };

/** Keys are unique in a workspace, so that one column is the whole order. */
const BY_KEY: Keyset = {
  value: 'key',
  type: 'text',
  id: 'key',
  idType: 'text',
  direction: 'asc',
  nullable: false,
};

const MATCHES = `workspace_id = $1
  and ($2::text[] is null or key = any ($2::text[]))
  and ($3::text is null or position(lower($3) in lower(key)) > 0)`;

export class FeedbackConfigStore {
  /** By key; keys without a config are absent. */
  async find(
    db: Queryable,
    scope: WorkspaceScope,
    keys: readonly string[],
  ): Promise<Map<string, FeedbackConfig>> {
    if (keys.length === 0) return new Map();
    const { rows } = await db.query<ConfigRow>(
      `/* feedback_configs.find */ select ${COLUMNS} from feedback_configs
       where workspace_id = $1 and key = any ($2::text[]) limit ${keys.length}`,
      [scope.workspaceId, keys],
    );
    return new Map(rows.map((row) => [row.key, row]));
  }

  /** Up to `limit + 1` in order of key, in reading order. */
  async list(
    db: Queryable,
    scope: WorkspaceScope,
    filter: ConfigFilter,
    page: ConfigPage,
  ): Promise<FeedbackConfig[]> {
    const params: unknown[] = [scope.workspaceId, filter.keys ?? null, filter.nameContains ?? null];
    const behind = keysetCondition(BY_KEY, page, params);
    const { rows } = await db.query<ConfigRow>(
      `/* feedback_configs.list */ select ${COLUMNS} from feedback_configs
       where ${MATCHES} and ${behind}
       order by ${keysetOrder(BY_KEY, page)}
       limit $${params.push(page.limit + 1)} offset $${params.push(page.offset ?? 0)}`,
      params,
    );
    return rows;
  }

  /** How many match, counted up to `limit`. */
  async count(db: Queryable, scope: WorkspaceScope, filter: ConfigFilter, limit: number): Promise<number> {
    const { rows } = await db.query<{ count: number }>(
      `/* feedback_configs.count */ select count(*)::int as count
       from (select 1 from feedback_configs where ${MATCHES} limit $4) as found`,
      [scope.workspaceId, filter.keys ?? null, filter.nameContains ?? null, limit],
    );
    return rows[0]?.count ?? 0;
  }

  /** Undefined where the key already has a config; that one is left as it is. */
  async insert(
    tx: Queryable,
    scope: WorkspaceScope,
    key: string,
    definition: FeedbackConfigDefinition,
    isLowerScoreBetter: boolean,
    now: string,
  ): Promise<FeedbackConfig | undefined> {
    const { rows } = await tx.query<ConfigRow>(
      `/* feedback_configs.insert */
       insert into feedback_configs (workspace_id, key, type, min, max, categories, is_lower_score_better, created_at, updated_at)
       values ($1, $2, $3, $4, $5, $6, $7, $8, $8)
       on conflict (workspace_id, key) do nothing
       returning ${COLUMNS}`,
      [scope.workspaceId, key, ...definitionColumns(definition), isLowerScoreBetter, now],
    );
    return rows[0];
  }

  /** The config, locked until the transaction ends. */
  async lock(tx: Queryable, scope: WorkspaceScope, key: string): Promise<FeedbackConfig | undefined> {
    const { rows } = await tx.query<ConfigRow>(
      `/* feedback_configs.lock */ select ${COLUMNS} from feedback_configs
       where workspace_id = $1 and key = $2 for update`,
      [scope.workspaceId, key],
    );
    return rows[0];
  }

  async replace(
    tx: Queryable,
    scope: WorkspaceScope,
    key: string,
    definition: FeedbackConfigDefinition,
    isLowerScoreBetter: boolean,
    now: string,
  ): Promise<FeedbackConfig | undefined> {
    const { rows } = await tx.query<ConfigRow>(
      `/* feedback_configs.replace */ update feedback_configs
       set type = $3, min = $4, max = $5, categories = $6, is_lower_score_better = $7, updated_at = $8
       where workspace_id = $1 and key = $2
       returning ${COLUMNS}`,
      [scope.workspaceId, key, ...definitionColumns(definition), isLowerScoreBetter, now],
    );
    return rows[0];
  }

  /** Whether there was one. */
  async delete(db: Queryable, scope: WorkspaceScope, key: string): Promise<boolean> {
    const { rowCount } = await db.query(
      `/* feedback_configs.delete */ delete from feedback_configs where workspace_id = $1 and key = $2`,
      [scope.workspaceId, key],
    );
    return rowCount === 1;
  }
}

/** What a type does not use is not kept. */
function definitionColumns({ type, min, max, categories }: FeedbackConfigDefinition): unknown[] {
  const scale = type === 'continuous' ? [min, max] : [null, null];
  return [type, ...scale, type === 'categorical' ? JSON.stringify(categories) : null];
}
