/**
 * Use cases of API keys. Nobody can make, widen or read anew a key that may do more than the caller: otherwise the
 * admin scope alone would be every scope, and a workspace's admin could reach other workspaces.
 */
import type pg from 'pg';
import type { Clock } from '../platform/clock.js';
import { transaction } from '../platform/db.js';
import type { Doorbell } from '../platform/doorbell.js';
import { AppError } from '../platform/errors.js';
import type { Idempotency } from '../platform/idempotency.js';
import type { Ids } from '../platform/ids.js';
import type { PageWindow } from '../platform/keyset.js';
import { failed, ok, problem } from '../platform/result.js';
import type { Problem, Result } from '../platform/result.js';
import { keyHint, keyMac, makeKey } from './api-key.js';
import type { ApiKey, KeyKind } from './api-key.js';
import { KEYS_TOPIC } from './authenticator.js';
import type { KeyReach, KeyStore } from './key.store.js';
import type { MemberStore } from './member.store.js';
import { SCOPES, requireScope } from './principal.js';
import type { Principal, Scope } from './principal.js';
import { nameProblems } from './workspace.js';

/** The longest time an old secret may live on after a rotation. */
const MAX_GRACE_SECONDS = 24 * 60 * 60;
export const DEFAULT_GRACE_SECONDS = 60 * 60;

export interface KeyDraft {
  readonly name: string;
  readonly kind: KeyKind;
  /** One workspace, the caller's; or every workspace of the organisation (of the member, for a personal token). */
  readonly reach: 'workspace' | 'organization';
  /** Whose token it is; only and always with `personal`. */
  readonly userId: string | undefined;
  readonly scopes: readonly Scope[];
  readonly expiresAt: Date | undefined;
}

/** Absent leaves; null removes the expiry. */
export interface KeyPatch {
  readonly name?: string;
  readonly scopes?: readonly Scope[];
  readonly expiresAt?: Date | null;
}

/** A key with its secret, which is shown this once. */
export interface IssuedKey {
  readonly key: ApiKey;
  readonly secret: string;
}

export interface KeyServiceDeps {
  readonly pool: pg.Pool;
  readonly pepper: string;
  readonly keys: KeyStore;
  readonly members: MemberStore;
  readonly idempotency: Idempotency;
  readonly doorbell: Doorbell;
  readonly ids: Ids;
  readonly clock: Clock;
}

export class KeyService {
  readonly #deps: KeyServiceDeps;

  constructor(deps: KeyServiceDeps) {
    this.#deps = deps;
  }

  /** The key the caller signed in with. Needs no scope. */
  async current(principal: Principal): Promise<ApiKey> {
    const reach = { ...reachOf(principal), wholeOrganization: true };
    const key = await this.#deps.keys.find(reach, principal.keyId);
    if (key === undefined) throw new AppError('UNAUTHENTICATED', 'This API key no longer exists.');
    return key;
  }

  /** Up to `limit + 1` keys of the workspace and, for who administers it, of the whole organisation. */
  async list(principal: Principal, window: PageWindow): Promise<ApiKey[]> {
    requireScope(principal, 'admin');
    return this.#deps.keys.list(reachOf(principal), window);
  }

  /** How many `list` has, looking at no more than `limit + 1`. */
  async count(principal: Principal, limit: number): Promise<number> {
    requireScope(principal, 'admin');
    return this.#deps.keys.count(reachOf(principal), limit);
  }

  /** Those of `ids` that `list` would have, in any order. */
  async listByIds(principal: Principal, ids: readonly string[]): Promise<ApiKey[]> {
    requireScope(principal, 'admin');
    return this.#deps.keys.listByIds(reachOf(principal), ids);
  }

  /** A repetition with the same idempotency key answers the same secret: it may have been lost on its way. */
  async create(
    principal: Principal,
    draft: KeyDraft,
    idempotencyKey?: string | null,
  ): Promise<Result<IssuedKey>> {
    const { workspaceId } = requireScope(principal, 'admin');
    const name = draft.name.trim();
    const problems = [
      ...nameProblems(name, ['name']),
      ...scopeProblems(principal, draft.scopes, ['scopes']),
      ...this.#expiryProblems(draft.expiresAt, ['expiresAt']),
      ...(await this.#holderProblems(principal, draft)),
    ];
    if (problems.length > 0) return failed(...problems);
    const call = { mutation: 'createApiKey', key: idempotencyKey, input: draft };
    const result = await this.#deps.idempotency.once(principal, call, async (tx) => {
      const issued = this.#issue(principal, workspaceId, { ...draft, name });
      await this.#deps.keys
        .within(tx)
        .insert({ ...issued.key, mac: keyMac(this.#deps.pepper, issued.secret) });
      return ok(issued);
    });
    if (result.ok) this.#deps.doorbell.ring(KEYS_TOPIC, result.value.key.id);
    return result;
  }

  #issue(principal: Principal, workspaceId: string, draft: KeyDraft): IssuedKey {
    const secret = makeKey(draft.kind);
    const key: ApiKey = {
      id: this.#deps.ids.uuid(),
      organizationId: principal.organizationId,
      workspaceId: draft.reach === 'workspace' ? workspaceId : undefined,
      userId: draft.userId,
      kind: draft.kind,
      name: draft.name,
      hint: keyHint(secret),
      scopes: ordered(draft.scopes),
      expiresAt: draft.expiresAt,
      revokedAt: undefined,
      lastUsedAt: undefined,
      previousExpiresAt: undefined,
      createdAt: this.#deps.clock.now(),
    };
    return { key, secret };
  }

  async update(principal: Principal, id: string, patch: KeyPatch): Promise<Result<ApiKey>> {
    requireScope(principal, 'admin');
    const name = patch.name?.trim();
    const problems = [
      ...(name === undefined ? [] : nameProblems(name, ['patch', 'name'])),
      ...(patch.scopes === undefined ? [] : scopeProblems(principal, patch.scopes, ['patch', 'scopes'])),
      ...this.#expiryProblems(patch.expiresAt ?? undefined, ['patch', 'expiresAt']),
    ];
    if (problems.length > 0) return failed(...problems);
    return this.#change(principal, id, async (keys, key) => {
      const next: ApiKey = {
        ...key,
        name: name ?? key.name,
        scopes: patch.scopes === undefined ? key.scopes : ordered(patch.scopes),
        expiresAt: patch.expiresAt === undefined ? key.expiresAt : (patch.expiresAt ?? undefined),
      };
      await keys.update(id, next);
      return ok(next);
    });
  }

  /**
   * A new secret for the key; the old one works `graceSeconds` longer, 0 to 24 hours. Of two rotations at once the
   * second replaces the first one's secret, which then is the old one.
   */
  async rotate(principal: Principal, id: string, graceSeconds: number): Promise<Result<IssuedKey>> {
    requireScope(principal, 'admin');
    if (!Number.isInteger(graceSeconds) || graceSeconds < 0 || graceSeconds > MAX_GRACE_SECONDS) {
      return failed(problem('INVALID', `The grace is 0 to ${MAX_GRACE_SECONDS} seconds.`, ['graceSeconds']));
    }
    return this.#change(principal, id, async (keys, key) => {
      const now = this.#deps.clock.now();
      if (key.expiresAt !== undefined && key.expiresAt <= now) {
        return failed(problem('CONFLICT', 'This key has expired: give it a new expiry first.', ['id']));
      }
      const excess = key.scopes.filter((scope) => !principal.scopes.has(scope));
      if (excess.length > 0) {
        return failed(problem('NOT_ALLOWED', `You lack scopes of this key: ${excess.join(', ')}.`, ['id']));
      }
      const secret = makeKey(key.kind);
      const next = {
        hint: keyHint(secret),
        previousExpiresAt: new Date(now.getTime() + graceSeconds * 1_000),
      };
      await keys.rotate(id, { ...next, mac: keyMac(this.#deps.pepper, secret) });
      return ok({ key: { ...key, ...next }, secret });
    });
  }

  /** Ends a key within five seconds everywhere. A key that was revoked before stays as it was. */
  async revoke(principal: Principal, id: string): Promise<Result<ApiKey>> {
    requireScope(principal, 'admin');
    const found = await this.#deps.keys.find(reachOf(principal), id);
    if (found?.revokedAt !== undefined) return ok(found);
    return this.#change(principal, id, async (keys, key) => {
      const revokedAt = this.#deps.clock.now();
      await keys.revoke(id, revokedAt);
      return ok({ ...key, revokedAt });
    });
  }

  /** One change of one live key, alone on it; other processes are told after the commit. */
  async #change<T>(
    principal: Principal,
    id: string,
    change: (keys: KeyStore, key: ApiKey) => Promise<Result<T>>,
  ): Promise<Result<T>> {
    const result = await transaction(this.#deps.pool, async (tx): Promise<Result<T>> => {
      const keys = this.#deps.keys.within(tx);
      const key = await keys.lock(reachOf(principal), id);
      if (key === undefined) return failed(problem('NOT_FOUND', 'There is no such key.', ['id']));
      if (speaksForOrganization(key) && principal.organizationAdmin !== true) {
        return failed(
          problem('NOT_ALLOWED', 'This key administers the organisation, yours does not.', ['id']),
        );
      }
      if (key.revokedAt !== undefined) {
        return failed(problem('CONFLICT', 'This key was revoked.', ['id']));
      }
      return change(keys, key);
    });
    if (result.ok) this.#deps.doorbell.ring(KEYS_TOPIC, id);
    return result;
  }

  #expiryProblems(expiresAt: Date | undefined, path: readonly string[]): Problem[] {
    if (expiresAt === undefined || expiresAt > this.#deps.clock.now()) return [];
    return [problem('INVALID', 'The expiry must lie in the future.', path)];
  }

  async #holderProblems(principal: Principal, draft: KeyDraft): Promise<Problem[]> {
    if (draft.reach === 'organization' && principal.organizationAdmin !== true) {
      return [
        problem('NOT_ALLOWED', 'Only who administers the organisation makes keys for all of it.', ['reach']),
      ];
    }
    if (draft.kind === 'service') {
      return draft.userId === undefined
        ? []
        : [problem('INVALID', 'A service key belongs to no user.', ['userId'])];
    }
    if (draft.userId === undefined) {
      return [problem('INVALID', 'A personal token belongs to a user: name one.', ['userId'])];
    }
    const roles = await this.#deps.members.findRoles(principal, draft.userId);
    const within =
      roles.workspace !== undefined || roles.organization === 'owner' || roles.organization === 'admin';
    const known = draft.reach === 'workspace' ? within : roles.organization !== undefined;
    return known ? [] : [problem('NOT_FOUND', 'There is no such member.', ['userId'])];
  }
}

const reachOf = (principal: Principal): KeyReach => ({
  organizationId: principal.organizationId,
  workspaceId: principal.workspaceId,
  wholeOrganization: principal.organizationAdmin === true,
});

/** Keys whose holder administers more than a workspace: see `decideAccess`. */
const speaksForOrganization = (key: ApiKey): boolean =>
  key.workspaceId === undefined || (key.kind === 'service' && key.userId !== undefined);

const ordered = (scopes: readonly Scope[]): Scope[] => SCOPES.filter((scope) => scopes.includes(scope));

function scopeProblems(principal: Principal, scopes: readonly Scope[], path: readonly string[]): Problem[] {
  if (scopes.length === 0) return [problem('INVALID', 'A key needs at least one scope.', path)];
  const excess = ordered(scopes).filter((scope) => !principal.scopes.has(scope));
  if (excess.length === 0) return [];
  return [problem('NOT_ALLOWED', `You cannot give scopes you lack: ${excess.join(', ')}.`, path)];
}
