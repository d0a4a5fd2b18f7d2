/** The statements on members of workspaces and organisations, and on the users behind them. */
import type { Queryable } from '../platform/db.js';
import { keysetCondition, keysetOrder } from '../platform/keyset.js';
import type { Keyset, PageWindow } from '../platform/keyset.js';
import type { OrganizationRole, WorkspaceRole } from './access.js';
import type { WorkspaceScope } from './principal.js';
import type { User, WorkspaceMember } from './workspace.js';

/** A workspace with its organisation, as every Principal has them. */
export interface Place {
  readonly organizationId: string;
  readonly workspaceId: string;
}

export interface Roles {
  readonly organization: OrganizationRole | undefined;
  readonly workspace: WorkspaceRole | undefined;
}

interface MemberRow extends Record<string, unknown> {
  user_id: string;
  email: string;
  name: string;
  role: string;
  organization_role: string;
  created_at_ms: number;
}

const parseMember = (row: MemberRow): WorkspaceMember => ({
  user: { id: row.user_id, email: row.email, name: row.name },
  role: row.role as WorkspaceRole,
  organizationRole: row.organization_role as OrganizationRole,
  createdAt: new Date(row.created_at_ms),
});

const SELECT_MEMBER = `select m.user_id, u.email, u.name, m.role, coalesce(om.role, 'member') as organization_role,
  floor(extract(epoch from m.created_at) * 1000)::double precision as created_at_ms
from workspace_members m
join workspaces w on w.id = m.workspace_id
join users u on u.id = m.user_id
left join organization_members om on om.organization_id = w.organization_id and om.user_id = m.user_id`;

// User ids are made in order of time, so this is the order in which people came.
const OLDEST_FIRST: Keyset = {
  value: 'm.user_id',
  type: 'uuid',
  id: 'm.user_id',
  direction: 'asc',
  nullable: false,
};

export class MemberStore {
  readonly #db: Queryable;

  constructor(deps: { db: Queryable }) {
    this.#db = deps.db;
  }

  /** The same store inside a transaction. */
  within(tx: Queryable): MemberStore {
    return new MemberStore({ db: tx });
  }

  /** Up to `limit + 1` members. Relies on the primary key of workspace_members. */
  async list(scope: WorkspaceScope, window: PageWindow): Promise<WorkspaceMember[]> {
    const params: unknown[] = [scope.workspaceId];
    const { rows } = await this.#db.query<MemberRow>(
      `/* members.list */
${SELECT_MEMBER}
where m.workspace_id = $1 and ${keysetCondition(OLDEST_FIRST, window, params)}
order by ${keysetOrder(OLDEST_FIRST, window)}
limit $${params.push(window.limit + 1)}`,
      params,
    );
    return rows.map(parseMember);
  }

  async count(scope: WorkspaceScope, limit: number): Promise<number> {
    const { rows } = await this.#db.query<{ found: number }>(
      `/* members.count */
select count(*)::integer as found
from (select from workspace_members where workspace_id = $1 limit $2) as matching`,
      [scope.workspaceId, limit + 1],
    );
    return rows[0]?.found ?? 0;
  }

  async find(scope: WorkspaceScope, userId: string): Promise<WorkspaceMember | undefined> {
    const { rows } = await this.#db.query<MemberRow>(
      `/* members.find */ ${SELECT_MEMBER} where m.workspace_id = $1 and m.user_id = $2 limit 1`,
      [scope.workspaceId, userId],
    );
    return rows[0] && parseMember(rows[0]);
  }

  async findRoles(place: Place, userId: string): Promise<Roles> {
    const { rows } = await this.#db.query<{ organization: string | null; workspace: string | null }>(
      `/* members.find_roles */
select
  (select role from organization_members where organization_id = $1 and user_id = $3) as organization,
  (select m.role from workspace_members m join workspaces w on w.id = m.workspace_id and w.organization_id = $1
   where m.workspace_id = $2 and m.user_id = $3) as workspace`,
      [place.organizationId, place.workspaceId, userId],
    );
    return {
      organization: (rows[0]?.organization as OrganizationRole | null) ?? undefined,
      workspace: (rows[0]?.workspace as WorkspaceRole | null) ?? undefined,
    };
  }

  async findUser(organizationId: string, userId: string): Promise<User | undefined> {
    const { rows } = await this.#db.query<User & Record<string, unknown>>(
      `/* members.find_user */
select u.id, u.email, u.name
from users u
join organization_members m on m.user_id = u.id and m.organization_id = $1
where u.id = $2
limit 1`,
      [organizationId, userId],
    );
    return rows[0];
  }

  /** Changes of membership happen one after the other in an organisation: its last owner depends on it. */
  async lockOrganization(organizationId: string): Promise<void> {
    await this.#db.query('/* members.lock */ select 1 from organizations where id = $1 limit 1 for update', [
      organizationId,
    ]);
  }

  /** The id of the user with this address, made with `draft` where there is none. */
  async ensureUser(draft: User, at: Date): Promise<string> {
    const { rows } = await this.#db.query<{ id: string }>(
      `/* members.ensure_user */
insert into users as u (id, email, name, created_at) values ($1, $2, $3, $4)
on conflict (email) do update set email = u.email
returning u.id`,
      [draft.id, draft.email, draft.name, at],
    );
    return rows[0]?.id ?? draft.id;
  }

  /** False where the user is a member already. Also makes them a member of the organisation. */
  async add(place: Place, userId: string, role: WorkspaceRole, at: Date): Promise<boolean> {
    await this.#db.query(
      `/* members.join_organization */
insert into organization_members (organization_id, user_id, role, created_at) values ($1, $2, 'member', $3)
on conflict do nothing`,
      [place.organizationId, userId, at],
    );
    const { rowCount } = await this.#db.query(
      `/* members.add */
insert into workspace_members (workspace_id, user_id, role, created_at) values ($1, $2, $3, $4)
on conflict do nothing`,
      [place.workspaceId, userId, role, at],
    );
    return rowCount === 1;
  }

  /** False where there is no such member. */
  async setRole(scope: WorkspaceScope, userId: string, role: WorkspaceRole): Promise<boolean> {
    const { rowCount } = await this.#db.query(
      '/* members.set_role */ update workspace_members set role = $3 where workspace_id = $1 and user_id = $2',
      [scope.workspaceId, userId, role],
    );
    return rowCount === 1;
  }

  async remove(scope: WorkspaceScope, userId: string): Promise<void> {
    await this.#db.query(
      '/* members.remove */ delete from workspace_members where workspace_id = $1 and user_id = $2',
      [scope.workspaceId, userId],
    );
  }

  /** Leaves the organisation with every workspace of it. */
  async removeFromOrganization(organizationId: string, userId: string): Promise<void> {
    await this.#db.query(
      `/* members.leave_workspaces */
delete from workspace_members m
using workspaces w
where w.id = m.workspace_id and w.organization_id = $1 and m.user_id = $2`,
      [organizationId, userId],
    );
    await this.#db.query(
      '/* members.leave_organization */ delete from organization_members where organization_id = $1 and user_id = $2',
      [organizationId, userId],
    );
  }

  async setOrganizationRole(organizationId: string, userId: string, role: OrganizationRole): Promise<void> {
    await this.#db.query(
      `/* members.set_organization_role */
update organization_members set role = $3 where organization_id = $1 and user_id = $2`,
      [organizationId, userId, role],
    );
  }

  /** Whether the user is a member of any live workspace of the organisation. */
  async hasWorkspace(organizationId: string, userId: string): Promise<boolean> {
    const { rowCount } = await this.#db.query(
      `/* members.has_workspace */
select 1
from workspace_members m
join workspaces w on w.id = m.workspace_id and w.organization_id = $1 and w.deleted_at is null
where m.user_id = $2
limit 1`,
      [organizationId, userId],
    );
    return rowCount === 1;
  }

  /** Whether somebody else owns the organisation too. Only true for long under `lockOrganization`. */
  async hasOtherOwner(organizationId: string, userId: string): Promise<boolean> {
    const { rowCount } = await this.#db.query(
      `/* members.other_owner */
select 1 from organization_members where organization_id = $1 and role = 'owner' and user_id <> $2 limit 1`,
      [organizationId, userId],
    );
    return rowCount === 1;
  }
}
