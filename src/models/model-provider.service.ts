/** Use cases of model providers. Their secrets go in here and come out only towards a call. */
import type pg from 'pg';
import type { Clock } from '../platform/clock.js';
import { sqlState, transaction } from '../platform/db.js';
import type { Queryable } from '../platform/db.js';
import type { Idempotency } from '../platform/idempotency.js';
import type { Ids } from '../platform/ids.js';
import type { PageWindow } from '../platform/keyset.js';
import type { OutboundClient } from '../platform/outbound.js';
import { failed, ok, problem } from '../platform/result.js';
import type { Problem, Result } from '../platform/result.js';
import type { Vault } from '../platform/vault.js';
import { requireScope } from '../tenancy/principal.js';
import type { Principal, WorkspaceScope } from '../tenancy/principal.js';
import { endpointOf, settingsProblems } from './model-provider.js';
import type { ModelProvider, ProviderCredentials, ProviderSettings } from './model-provider.js';
import type { ModelProviderStore, SealedProvider } from './model-provider.store.js';

/** A provider with its credentials opened, for one call. */
export interface CallableProvider extends ModelProvider {
  readonly workspaceId: string;
  readonly credentials: ProviderCredentials;
}

export interface ModelProviderServiceDeps {
  readonly pool: pg.Pool;
  readonly store: ModelProviderStore;
  readonly vault: Vault;
  readonly outbound: OutboundClient;
  readonly idempotency: Idempotency;
  readonly ids: Ids;
  readonly clock: Clock;
}

/** Absent leaves. */
export type ProviderPatch = {
  readonly [Field in keyof ProviderSettings]?: ProviderSettings[Field] | undefined;
};

export class ModelProviderService {
  readonly #deps: ModelProviderServiceDeps;

  constructor(deps: ModelProviderServiceDeps) {
    this.#deps = deps;
  }

  /** Up to `limit + 1`, newest first, in reading order. */
  async list(principal: Principal, window: PageWindow): Promise<ModelProvider[]> {
    return this.#deps.store.list(this.#deps.pool, requireScope(principal, 'read'), window);
  }

  /** How many there are, counted up to `limit`. */
  async count(principal: Principal, limit: number): Promise<number> {
    return this.#deps.store.count(this.#deps.pool, requireScope(principal, 'read'), limit);
  }

  /** In no particular order; missing and foreign ones are left out. */
  async find(principal: Principal, ids: readonly string[]): Promise<ModelProvider[]> {
    return this.#deps.store.find(this.#deps.pool, requireScope(principal, 'read'), ids);
  }

  /** The same for workers: where the calls of these providers go, by id. */
  async endpoints(scope: WorkspaceScope, ids: readonly string[]): Promise<Map<string, string>> {
    if (ids.length === 0) return new Map();
    const found = await this.#deps.store.find(this.#deps.pool, scope, [...new Set(ids)]);
    return new Map(found.map((provider) => [provider.uuid, endpointOf(provider)]));
  }

  async create(
    principal: Principal,
    settings: ProviderSettings,
    idempotencyKey?: string | null,
  ): Promise<Result<ModelProvider>> {
    const scope = requireScope(principal, 'admin');
    const problems = this.#problems(settings);
    if (problems.length > 0) return failed(...problems);
    const { store, ids, clock, idempotency } = this.#deps;
    const call = { mutation: 'createModelProvider', key: idempotencyKey, input: settings };
    return nameTaken(settings.name, () =>
      idempotency.once(principal, call, async (tx) => {
        const id = ids.uuid();
        await store.insert(tx, scope, id, settings, this.#seal(scope, id, settings), clock.now());
        await store.replacePrices(tx, scope, id, settings.prices);
        return this.#stored(tx, scope, id);
      }),
    );
  }

  async update(principal: Principal, id: string, patch: ProviderPatch): Promise<Result<ModelProvider>> {
    const scope = requireScope(principal, 'admin');
    const problems = this.#problems(patch as Partial<ProviderSettings>);
    if (problems.length > 0) return failed(...problems);
    const { pool, store, clock } = this.#deps;
    return nameTaken(patch.name ?? '', () =>
      transaction(pool, async (tx): Promise<Result<ModelProvider>> => {
        const current = await store.lock(tx, scope, id);
        if (current === undefined) return failed(notFound());
        const given = Object.fromEntries(Object.entries(patch).filter(([, value]) => value !== undefined));
        const credentials = needsOldCredentials(patch)
          ? this.#open(scope, current)
          : { secret: null, headers: {} };
        const settings: ProviderSettings = { ...current, ...credentials, ...given };
        const kept = keptForAnotherHost(current, patch);
        if (kept.length > 0) return failed(...kept);
        await store.update(tx, scope, id, settings, this.#seal(scope, id, settings), clock.now());
        if (patch.prices !== undefined) await store.replacePrices(tx, scope, id, patch.prices);
        return this.#stored(tx, scope, id);
      }),
    );
  }

  /** Calls that are under way end as they will; later ones are refused. */
  async delete(principal: Principal, id: string): Promise<Result<string>> {
    const scope = requireScope(principal, 'admin');
    const { pool, store } = this.#deps;
    return (await transaction(pool, (tx) => store.delete(tx, scope, id))) ? ok(id) : failed(notFound());
  }

  /**
   * For a call on behalf of the workspace. Credentials sealed with an older key are sealed again with the newest.
   * Undefined where there is no such provider.
   * @throws VaultError where the key they were sealed with is gone.
   */
  async forCall(scope: WorkspaceScope, id: string): Promise<CallableProvider | undefined> {
    const { pool, store, vault } = this.#deps;
    const sealed = await store.findSealed(pool, scope, id);
    if (sealed === undefined) return undefined;
    const credentials = this.#open(scope, sealed);
    if (vault.isOutdated(sealed.credentials)) {
      await store.reseal(pool, scope, id, sealed.credentials, this.#seal(scope, id, credentials));
    }
    return { ...sealed, workspaceId: scope.workspaceId, credentials };
  }

  #problems(settings: Partial<ProviderSettings>): Problem[] {
    const problems = settingsProblems(settings);
    if (settings.baseUrl !== undefined) {
      const refusal = this.#deps.outbound.urlProblem(settings.baseUrl);
      if (refusal !== undefined) problems.push(problem('INVALID', refusal, ['baseUrl']));
    }
    return problems;
  }

  #seal(scope: WorkspaceScope, id: string, { secret, headers }: ProviderCredentials): string {
    return this.#deps.vault.seal(JSON.stringify({ secret, headers }), bindingOf(scope, id));
  }

  #open(scope: WorkspaceScope, { uuid, credentials }: SealedProvider): ProviderCredentials {
    return JSON.parse(
      this.#deps.vault.open(credentials, bindingOf(scope, uuid)).reveal(),
    ) as ProviderCredentials;
  }

  async #stored(tx: Queryable, scope: WorkspaceScope, id: string): Promise<Result<ModelProvider>> {
    const [provider] = await this.#deps.store.find(tx, scope, [id]);
    return provider === undefined ? failed(notFound()) : ok(provider);
  }
}

const bindingOf = (scope: WorkspaceScope, id: string): string[] => ['model_providers', scope.workspaceId, id];
const notFound = (): Problem => problem('NOT_FOUND', 'There is no such model provider.', ['id']);

/** Whoever may change the address must not learn the secret by having it sent there. */
function keptForAnotherHost(current: ModelProvider, patch: ProviderPatch): Problem[] {
  if (patch.baseUrl === undefined || new URL(patch.baseUrl).origin === new URL(current.baseUrl).origin) {
    return [];
  }
  const hadHeaders = current.headerNames.length > 0;
  return [
    ...(patch.secret === undefined ? ['secret'] : []),
    ...(patch.headers === undefined && hadHeaders ? ['headers'] : []),
  ].map((field) =>
    problem('INVALID', `Another host needs the ${field} anew: what is stored was meant for the old one.`, [
      field,
    ]),
  );
}

/** Whoever sets both anew can do so although the key of the old ones is lost. */
const needsOldCredentials = ({ secret, headers }: ProviderPatch): boolean =>
  secret === undefined || headers === undefined;

async function nameTaken<T>(name: string, work: () => Promise<Result<T>>): Promise<Result<T>> {
  try {
    return await work();
  } catch (error) {
    if (sqlState(error) !== '23505') throw error;
    return failed(problem('ALREADY_EXISTS', `There is a model provider named "${name}".`, ['name']));
  }
}
