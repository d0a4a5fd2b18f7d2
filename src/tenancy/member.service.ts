/**
 * Use cases of membership. Roles cap personal tokens, so every change here is followed by a ring that makes all
 * processes ask again; tokens of a member who leaves are revoked in the same transaction.
 */
import type pg from 'pg';
import type { Clock } from '../platform/clock.js';
import { transaction } from '../platform/db.js';
import { everywhere } from '../platform/db-scope.js';
import type { Doorbell } from '../platform/doorbell.js';
import type { Ids } from '../platform/ids.js';
import type { PageWindow } from '../platform/keyset.js';
import { failed, ok, problem } from '../platform/result.js';
import type { Result } from '../platform/result.js';
import type { OrganizationRole, WorkspaceRole } from './access.js';
import { KEYS_TOPIC } from './authenticator.js';
import type { KeyStore } from './key.store.js';
import type { MemberStore } from './member.store.js';
import { requireOrganizationAdmin, requireScope } from './principal.js';
import type { Principal } from './principal.js';
import { emailProblems, nameProblems } from './workspace.js';
import type { User, WorkspaceMember } from './workspace.js';

export interface MemberDraft {
  readonly email: string;
  /** Used only where nobody has this address yet; the part before the @ otherwise. */
  readonly name: string | undefined;
  readonly role: WorkspaceRole;
}

export interface MemberServiceDeps {
  readonly pool: pg.Pool;
  readonly members: MemberStore;
  readonly keys: KeyStore;
  readonly doorbell: Doorbell;
  readonly ids: Ids;
  readonly clock: Clock;
}

export class MemberService {
  readonly #deps: MemberServiceDeps;

  constructor(deps: MemberServiceDeps) {
    this.#deps = deps;
  }

  /** The caller as a person; undefined for service keys. Needs no scope. */
  async currentUser(principal: Principal): Promise<User | undefined> {
    if (principal.userId === undefined) return undefined;
    return this.#deps.members.findUser(principal.organizationId, principal.userId);
  }

  /** Up to `limit + 1` members of the caller's workspace, in the order they came. */
  async list(principal: Principal, window: PageWindow): Promise<WorkspaceMember[]> {
    return this.#deps.members.list(requireScope(principal, 'admin'), window);
  }

  /** How many `list` has, looking at no more than `limit + 1`. */
  async count(principal: Principal, limit: number): Promise<number> {
    return this.#deps.members.count(requireScope(principal, 'admin'), limit);
  }

  /** Adds whoever has this address to the caller's workspace, and to its organisation as a plain member. */
  async add(principal: Principal, draft: MemberDraft): Promise<Result<WorkspaceMember>> {
    const scope = requireScope(principal, 'admin');
    const email = draft.email.trim().toLowerCase();
    const name = draft.name?.trim() ?? email.split('@')[0] ?? '';
    const problems = [...emailProblems(email, ['email']), ...nameProblems(name, ['name'])];
    if (problems.length > 0) return failed(...problems);
    return this.#change(principal, async (members) => {
      const now = this.#deps.clock.now();
      const userId = await members.ensureUser({ id: this.#deps.ids.uuid(), email, name }, now);
      if (!(await members.add(principal, userId, draft.role, now))) {
        return failed(problem('ALREADY_EXISTS', 'This user is a member already.', ['email']));
      }
      return found(await members.find(scope, userId));
    });
  }

  async update(principal: Principal, userId: string, role: WorkspaceRole): Promise<Result<WorkspaceMember>> {
    const scope = requireScope(principal, 'admin');
    return this.#change(principal, async (members) => {
      await members.setRole(scope, userId, role);
      return found(await members.find(scope, userId));
    });
  }

  /**
   * Takes a member out of the caller's workspace and revokes their tokens for it. Whoever has no workspace left
   * leaves the organisation. Owners and admins of the organisation enter every workspace by that role, so they
   * cannot be taken out of one.
   */
  async remove(principal: Principal, userId: string): Promise<Result<WorkspaceMember>> {
    const scope = requireScope(principal, 'admin');
    const { organizationId, workspaceId } = principal;
    return this.#change(principal, async (members, keys) => {
      const member = await members.find(scope, userId);
      if (member === undefined) return noSuchMember();
      if (member.organizationRole !== 'member') {
        return failed(
          problem(
            'CONFLICT',
            `As ${member.organizationRole} of the organisation this user enters every workspace.`,
            ['userId'],
          ),
        );
      }
      const now = this.#deps.clock.now();
      await members.remove(scope, userId);
      await everywhere('organisation', async () => {
        const stays = await members.hasWorkspace(organizationId, userId);
        if (!stays) await members.removeFromOrganization(organizationId, userId);
        await keys.revokePersonal(
          { organizationId, userId, workspaceId: stays ? workspaceId : undefined },
          now,
        );
      });
      return ok(member);
    });
  }

  /** Only owners make and unmake owners, and the last one stays. */
  async setOrganizationRole(
    principal: Principal,
    userId: string,
    role: OrganizationRole,
  ): Promise<Result<User>> {
    const { organizationId } = requireOrganizationAdmin(principal);
    return this.#change(principal, async (members) => {
      const refusal = await this.#ownerRefusal(principal, members, userId, role);
      if (refusal !== undefined) return refusal;
      await members.setOrganizationRole(organizationId, userId, role);
      return found(await members.findUser(organizationId, userId));
    });
  }

  /** Takes a user out of the organisation and all its workspaces, and revokes their tokens. */
  async removeFromOrganization(principal: Principal, userId: string): Promise<Result<User>> {
    const { organizationId } = requireOrganizationAdmin(principal);
    return this.#change(principal, async (members, keys) => {
      const refusal = await this.#ownerRefusal(principal, members, userId, undefined);
      if (refusal !== undefined) return refusal;
      const user = await members.findUser(organizationId, userId);
      const now = this.#deps.clock.now();
      await everywhere('organisation', async () => {
        await members.removeFromOrganization(organizationId, userId);
        await keys.revokePersonal({ organizationId, userId, workspaceId: undefined }, now);
      });
      return found(user);
    });
  }

  /** Why a user's role in the organisation may not become `next` (undefined: none at all). */
  async #ownerRefusal(
    principal: Principal,
    members: MemberStore,
    userId: string,
    next: OrganizationRole | undefined,
  ): Promise<Result<never> | undefined> {
    const { organization: current } = await members.findRoles(principal, userId);
    if (current === undefined) return noSuchMember();
    if (current !== 'owner' && next !== 'owner') return undefined;
    if (principal.userId !== undefined) {
      const caller = await members.findRoles(principal, principal.userId);
      if (caller.organization !== 'owner') {
        return failed(problem('NOT_ALLOWED', 'Only owners make and unmake owners.', ['userId']));
      }
    }
    if (next === 'owner' || (await members.hasOtherOwner(principal.organizationId, userId))) return undefined;
    return failed(problem('CONFLICT', 'The last owner of an organisation cannot be removed.', ['userId']));
  }

  async #change<T>(
    principal: Principal,
    change: (members: MemberStore, keys: KeyStore) => Promise<Result<T>>,
  ): Promise<Result<T>> {
    const outcome = await transaction(this.#deps.pool, async (tx) => {
      const members = this.#deps.members.within(tx);
      await members.lockOrganization(principal.organizationId);
      return change(members, this.#deps.keys.within(tx));
    });
    if (outcome.ok) this.#deps.doorbell.ring(KEYS_TOPIC, '');
    return outcome;
  }
}

const noSuchMember = (): Result<never> =>
  failed(problem('NOT_FOUND', 'There is no such member.', ['userId']));

const found = <T>(value: T | undefined): Result<T> => (value === undefined ? noSuchMember() : ok(value));
