/** Providers and their prices as rows. Credentials stay sealed here. */
import type { Queryable } from '../platform/db.js';
import { keysetCondition, keysetOrder } from '../platform/keyset.js';
import type { Keyset, PageWindow } from '../platform/keyset.js';
import type { WorkspaceScope } from '../tenancy/principal.js';
import { hintOf } from './model-provider.js';
import type { ModelPrice, ModelProvider, ProviderSettings } from './model-provider.js';

const COLUMNS = `p.id as uuid, p.name, p.kind, p.base_url as "baseUrl", p.secret_hint as "secretHint",
  p.header_names as "headerNames", p.max_concurrency as "maxConcurrency",
  p.requests_per_minute as "requestsPerMinute", p.timeout_ms as "timeoutMs",
  p.structured_output as "structuredOutput", p.default_model as "defaultModel",
  p.created_at as "createdAt", p.updated_at as "updatedAt",
  coalesce((
    select jsonb_agg(jsonb_build_object('model', m.model, 'input', m.input::text, 'output', m.output::text) order by m.model)
    from model_prices m where m.workspace_id = p.workspace_id and m.provider_id = p.id
  ), '[]') as prices`;

type ProviderRow = ModelProvider & Record<string, unknown>;

/** A provider with what is needed to call it. */
export interface SealedProvider extends ModelProvider {
  readonly credentials: string;
}

const BY_CREATION: Keyset = {
  value: 'p.created_at',
  type: 'timestamptz',
  id: 'p.id',
  direction: 'desc',
  nullable: false,
};

export type StoredSettings = Omit<ProviderSettings, 'prices'>;

export class ModelProviderStore {
  /** Up to `limit + 1`, newest first, in reading order. Relies on model_providers_by_creation. */
  async list(db: Queryable, scope: WorkspaceScope, window: PageWindow): Promise<ModelProvider[]> {
    const params: unknown[] = [scope.workspaceId];
    const behind = keysetCondition(BY_CREATION, window, params);
    const { rows } = await db.query<ProviderRow>(
      `/* model_providers.list */
      select ${COLUMNS} from model_providers p
      where p.workspace_id = $1 and ${behind}
      order by ${keysetOrder(BY_CREATION, window)}
      limit $${params.push(window.limit + 1)}`,
      params,
    );
    return rows;
  }

  /** How many there are, counted up to `limit`. */
  async count(db: Queryable, scope: WorkspaceScope, limit: number): Promise<number> {
    const { rows } = await db.query<{ count: number }>(
      `/* model_providers.count */
      select count(*)::int as count from (select from model_providers where workspace_id = $1 limit $2) as found`,
      [scope.workspaceId, limit],
    );
    return rows[0]?.count ?? 0;
  }

  async find(db: Queryable, scope: WorkspaceScope, ids: readonly string[]): Promise<ModelProvider[]> {
    const { rows } = await db.query<ProviderRow>(
      `/* model_providers.find */
      select ${COLUMNS} from model_providers p where p.workspace_id = $1 and p.id = any($2::uuid[]) limit $3`,
      [scope.workspaceId, ids, ids.length],
    );
    return rows;
  }

  async findSealed(db: Queryable, scope: WorkspaceScope, id: string): Promise<SealedProvider | undefined> {
    const { rows } = await db.query<SealedProvider & Record<string, unknown>>(
      `/* model_providers.find_sealed */
      select ${COLUMNS}, p.credentials from model_providers p where p.workspace_id = $1 and p.id = $2 limit 1`,
      [scope.workspaceId, id],
    );
    return rows[0];
  }

  /** Locked until the transaction ends. */
  async lock(tx: Queryable, scope: WorkspaceScope, id: string): Promise<SealedProvider | undefined> {
    await tx.query(
      '/* model_providers.lock */ select from model_providers where workspace_id = $1 and id = $2 for update',
      [scope.workspaceId, id],
    );
    return this.findSealed(tx, scope, id);
  }

  /** @throws 23505 where the name is taken. */
  async insert(
    tx: Queryable,
    scope: WorkspaceScope,
    id: string,
    settings: StoredSettings,
    credentials: string,
    now: Date,
  ): Promise<void> {
    await tx.query(
      `/* model_providers.insert */
      insert into model_providers (workspace_id, id, name, kind, base_url, credentials, secret_hint, header_names,
        max_concurrency, requests_per_minute, timeout_ms, structured_output, default_model, created_at, updated_at)
      values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $14)`,
      [...this.#values(scope, id, settings, credentials), now.toISOString()],
    );
  }

  /** @throws 23505 where the name is taken. */
  async update(
    tx: Queryable,
    scope: WorkspaceScope,
    id: string,
    settings: StoredSettings,
    credentials: string,
    now: Date,
  ): Promise<void> {
    await tx.query(
      `/* model_providers.update */
      update model_providers set name = $3, kind = $4, base_url = $5, credentials = $6, secret_hint = $7,
        header_names = $8, max_concurrency = $9, requests_per_minute = $10, timeout_ms = $11,
        structured_output = $12, default_model = $13, updated_at = $14
      where workspace_id = $1 and id = $2`,
      [...this.#values(scope, id, settings, credentials), now.toISOString()],
    );
  }

  /** The same credentials under a newer key; nothing where they were changed meanwhile. */
  async reseal(db: Queryable, scope: WorkspaceScope, id: string, from: string, to: string): Promise<void> {
    await db.query(
      `/* model_providers.reseal */
      update model_providers set credentials = $4 where workspace_id = $1 and id = $2 and credentials = $3`,
      [scope.workspaceId, id, from, to],
    );
  }

  async replacePrices(
    tx: Queryable,
    scope: WorkspaceScope,
    id: string,
    prices: readonly ModelPrice[],
  ): Promise<void> {
    await tx.query(
      '/* model_prices.clear */ delete from model_prices where workspace_id = $1 and provider_id = $2',
      [scope.workspaceId, id],
    );
    await tx.query(
      `/* model_prices.insert */
      insert into model_prices (workspace_id, provider_id, model, input, output)
      select $1, $2, * from unnest($3::text[], $4::numeric[], $5::numeric[])`,
      [
        scope.workspaceId,
        id,
        prices.map(({ model }) => model),
        prices.map(({ input }) => input),
        prices.map(({ output }) => output),
      ],
    );
  }

  /** With its prices and its gate. Records of its calls stay: they are what was spent. */
  async delete(tx: Queryable, scope: WorkspaceScope, id: string): Promise<boolean> {
    for (const table of ['model_prices', 'model_gates', 'model_slots']) {
      await tx.query(
        `/* model_providers.delete_${table} */ delete from ${table} where workspace_id = $1 and provider_id = $2`,
        [scope.workspaceId, id],
      );
    }
    const { rowCount } = await tx.query(
      '/* model_providers.delete */ delete from model_providers where workspace_id = $1 and id = $2',
      [scope.workspaceId, id],
    );
    return rowCount === 1;
  }

  #values(scope: WorkspaceScope, id: string, settings: StoredSettings, credentials: string): unknown[] {
    return [
      scope.workspaceId,
      id,
      settings.name,
      settings.kind,
      settings.baseUrl,
      credentials,
      hintOf(settings.secret),
      Object.keys(settings.headers),
      settings.maxConcurrency,
      settings.requestsPerMinute,
      settings.timeoutMs,
      settings.structuredOutput,
      settings.defaultModel,
    ];
  }
}
