/** Use cases of organisations and workspaces. A workspace of another organisation answers like a missing one. */
import type { Clock } from '../platform/clock.js';
import { everywhere } from '../platform/db-scope.js';
import type { Doorbell } from '../platform/doorbell.js';
import { AppError } from '../platform/errors.js';
import type { Idempotency } from '../platform/idempotency.js';
import type { Ids } from '../platform/ids.js';
import type { PageWindow } from '../platform/keyset.js';
import { failed, ok, problem } from '../platform/result.js';
import type { Result } from '../platform/result.js';
import { KEYS_TOPIC } from './authenticator.js';
import { requireOrganizationAdmin, requireScope } from './principal.js';
import type { Principal } from './principal.js';
import { handleFrom, handleProblems, nameProblems } from './workspace.js';
import type { Organization, Workspace } from './workspace.js';
import { insertWorkspace } from './workspace.store.js';
import type { WorkspaceReach, WorkspaceStore } from './workspace.store.js';

export interface WorkspaceDraft {
  readonly name: string;
  /** Made from the name where it is not given. */
  readonly handle: string | undefined;
}

/** Absent leaves. */
export interface WorkspacePatch {
  readonly name?: string;
  readonly handle?: string;
}

/** The caller's workspace in the words of the LangSmith protocol's `/settings` and `/workspaces`. */
export interface TenantDescription {
  readonly id: string;
  readonly organization_id: string;
  readonly display_name: string;
  readonly tenant_handle: string;
  readonly created_at: string;
}

// What a client of the protocol, which knows no paging here, is shown at most.
const MAX_TENANTS = 1_000;

export interface WorkspaceServiceDeps {
  readonly workspaces: WorkspaceStore;
  readonly idempotency: Idempotency;
  readonly doorbell: Doorbell;
  readonly ids: Ids;
  readonly clock: Clock;
}

export class WorkspaceService {
  readonly #deps: WorkspaceServiceDeps;

  constructor(deps: WorkspaceServiceDeps) {
    this.#deps = deps;
  }

  /** The caller's organisation. Needs no scope: a key may know where it belongs. */
  async organization(principal: Principal): Promise<Organization> {
    const organization = await this.#deps.workspaces.findOrganization(principal.organizationId);
    if (organization === undefined) throw new AppError('FORBIDDEN', 'The organisation of this key is gone.');
    return organization;
  }

  /** The caller's workspace. Needs no scope. */
  async current(principal: Principal): Promise<Workspace> {
    const { organizationId, workspaceId } = principal;
    const workspace = await this.#deps.workspaces.find({ organizationId, workspaceId });
    if (workspace === undefined) throw new AppError('FORBIDDEN', 'The workspace of this key was deleted.');
    return workspace;
  }

  /** Up to `limit + 1` of the workspaces the caller may pick or administer, oldest first. Needs no scope. */
  async list(principal: Principal, window: PageWindow): Promise<Workspace[]> {
    return everywhere('organisation', () => this.#deps.workspaces.list(reachOf(principal), window));
  }

  /** How many `list` has, looking at no more than `limit + 1`. */
  async count(principal: Principal, limit: number): Promise<number> {
    return everywhere('organisation', () => this.#deps.workspaces.count(reachOf(principal), limit));
  }

  /** Those of `ids` that `list` would have, in any order. Needs no scope. */
  async listByIds(principal: Principal, ids: readonly string[]): Promise<Workspace[]> {
    return everywhere('organisation', () => this.#deps.workspaces.listByIds(reachOf(principal), ids));
  }

  /** Data of `GET /settings`. Needs no scope. */
  async describeTenant(principal: Principal): Promise<TenantDescription> {
    return toTenant(await this.current(principal));
  }

  /** Data of `GET /workspaces`. Needs no scope. */
  async describeTenants(principal: Principal): Promise<TenantDescription[]> {
    const window = { limit: MAX_TENANTS - 1, backward: false, boundary: undefined };
    return (await this.list(principal, window)).map(toTenant);
  }

  async create(
    principal: Principal,
    draft: WorkspaceDraft,
    idempotencyKey?: string | null,
  ): Promise<Result<Workspace>> {
    const { organizationId } = requireOrganizationAdmin(principal);
    const name = draft.name.trim();
    const handle = draft.handle ?? handleFrom(name);
    const problems = [...nameProblems(name, ['name']), ...handleProblems(handle, ['handle'])];
    if (problems.length > 0) return failed(...problems);
    const call = { mutation: 'createWorkspace', key: idempotencyKey, input: draft };
    return this.#deps.idempotency.once(principal, call, async (tx) => {
      const id = this.#deps.ids.uuid();
      const createdAt = this.#deps.clock.now();
      const workspace: Workspace = { id, organizationId, name, handle, createdAt };
      return (await insertWorkspace(tx, workspace)) ? ok(workspace) : handleTaken(['handle']);
    });
  }

  /** The caller's own workspace, or any of the organisation for who administers it. */
  async update(principal: Principal, id: string, patch: WorkspacePatch): Promise<Result<Workspace>> {
    const { workspaceId } = requireScope(principal, 'admin');
    if (id !== workspaceId && principal.organizationAdmin !== true) return noSuchWorkspace();
    const name = patch.name?.trim();
    const problems = [
      ...(name === undefined ? [] : nameProblems(name, ['patch', 'name'])),
      ...(patch.handle === undefined ? [] : handleProblems(patch.handle, ['patch', 'handle'])),
    ];
    if (problems.length > 0) return failed(...problems);
    const changed = await this.#deps.workspaces.update(
      { organizationId: principal.organizationId, workspaceId: id },
      {
        ...(name === undefined ? {} : { name }),
        ...(patch.handle === undefined ? {} : { handle: patch.handle }),
      },
    );
    if (changed === 'taken') return handleTaken(['patch', 'handle']);
    return changed === undefined ? noSuchWorkspace() : ok(changed);
  }

  /** Its keys stop working and nobody sees its runs any more; the rows stay until upkeep removes them. */
  async remove(principal: Principal, id: string): Promise<Result<Workspace>> {
    const { organizationId } = requireOrganizationAdmin(principal);
    const reach = { organizationId, workspaceId: id };
    const workspace = await this.#deps.workspaces.find(reach);
    if (workspace === undefined) return noSuchWorkspace();
    if (!(await this.#deps.workspaces.remove(reach, this.#deps.clock.now()))) {
      return failed(problem('CONFLICT', 'The last workspace of an organisation cannot be deleted.', ['id']));
    }
    this.#deps.doorbell.ring(KEYS_TOPIC, '');
    return ok(workspace);
  }
}

function reachOf(principal: Principal): WorkspaceReach {
  const { organizationId, workspaceId, userId } = principal;
  if (principal.organizationAdmin === true) return { organizationId };
  if (principal.reach !== 'organization') return { organizationId, workspaceId };
  return userId === undefined ? { organizationId } : { organizationId, userId };
}

const toTenant = (workspace: Workspace): TenantDescription => ({
  id: workspace.id,
  organization_id: workspace.organizationId,
  display_name: workspace.name,
  tenant_handle: workspace.handle,
  created_at: workspace.createdAt.toISOString(),
});

const noSuchWorkspace = (): Result<Workspace> =>
  failed(problem('NOT_FOUND', 'There is no such workspace.', ['id']));

const handleTaken = (path: readonly string[]): Result<Workspace> =>
  failed(problem('ALREADY_EXISTS', 'This handle is taken; choose another one.', path));
