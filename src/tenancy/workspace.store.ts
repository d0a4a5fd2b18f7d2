/** Organisations and workspaces as rows. Lists are short and rarely read, so this goes through Prisma. */
import type { Queryable } from '../platform/db.js';
import type { PageWindow } from '../platform/keyset.js';
import type { PrismaClient } from '../platform/prisma.js';
import type { Organization, Workspace } from './workspace.js';

/** Which workspaces of an organisation are meant: one, all a user may enter, or all. */
export interface WorkspaceReach {
  readonly organizationId: string;
  readonly workspaceId?: string;
  readonly userId?: string;
}

const COLUMNS = { id: true, organizationId: true, name: true, handle: true, createdAt: true } as const;

const UNIQUE_VIOLATION = 'P2002';

function whereOf({ organizationId, workspaceId, userId }: WorkspaceReach) {
  return {
    organizationId,
    deletedAt: null,
    ...(workspaceId === undefined ? {} : { id: workspaceId }),
    ...(userId === undefined
      ? {}
      : {
          OR: [
            { members: { some: { userId } } },
            { organization: { members: { some: { userId, role: { in: ['owner', 'admin'] } } } } },
          ],
        }),
  };
}

export class WorkspaceStore {
  readonly #prisma: PrismaClient;

  constructor(deps: { prisma: PrismaClient }) {
    this.#prisma = deps.prisma;
  }

  async findOrganization(id: string): Promise<Organization | undefined> {
    return (await this.#prisma.organization.findUnique({ where: { id } })) ?? undefined;
  }

  /** Undefined for deleted ones and for those out of reach. */
  async find(reach: WorkspaceReach & { readonly workspaceId: string }): Promise<Workspace | undefined> {
    return (await this.#prisma.workspace.findFirst({ where: whereOf(reach), select: COLUMNS })) ?? undefined;
  }

  async listByIds(reach: WorkspaceReach, ids: readonly string[]): Promise<Workspace[]> {
    return this.#prisma.workspace.findMany({
      where: { AND: [whereOf(reach), { id: { in: [...ids] } }] },
      take: ids.length,
      select: COLUMNS,
    });
  }

  /** Up to `limit + 1`, oldest first: ids are made in order of time. Relies on workspaces_by_organization. */
  async list(reach: WorkspaceReach, window: PageWindow): Promise<Workspace[]> {
    const behind = window.boundary?.id;
    const beyond = window.backward ? { lt: behind } : { gt: behind };
    return this.#prisma.workspace.findMany({
      where: { AND: [whereOf(reach), behind === undefined ? {} : { id: beyond as { gt: string } }] },
      orderBy: { id: window.backward ? 'desc' : 'asc' },
      take: window.limit + 1,
      select: COLUMNS,
    });
  }

  /** How many there are, looking at no more than `limit + 1`. */
  async count(reach: WorkspaceReach, limit: number): Promise<number> {
    return this.#prisma.workspace.count({ where: whereOf(reach), take: limit + 1 });
  }

  /** `taken` where the handle belongs to another workspace; undefined where there is no such workspace. */
  async update(
    reach: WorkspaceReach & { readonly workspaceId: string },
    change: { name?: string; handle?: string },
  ): Promise<Workspace | 'taken' | undefined> {
    const changed = await unlessTaken(
      this.#prisma.workspace.updateManyAndReturn({ where: whereOf(reach), data: change, select: COLUMNS }),
    );
    return changed === undefined ? 'taken' : changed[0];
  }

  /**
   * Marks a workspace as deleted. False where it is the last of its organisation: the row lock on the organisation
   * lets one deletion at a time count what is left.
   */
  async remove(reach: { organizationId: string; workspaceId: string }, at: Date): Promise<boolean> {
    return this.#prisma.$transaction(async (tx) => {
      await tx.$executeRaw`/* workspaces.lock_organization */
        select 1 from organizations where id = ${reach.organizationId}::uuid for update`;
      const others = {
        organizationId: reach.organizationId,
        deletedAt: null,
        id: { not: reach.workspaceId },
      };
      if ((await tx.workspace.findFirst({ where: others, select: { id: true } })) === null) return false;
      await tx.workspace.updateMany({ where: whereOf(reach), data: { deletedAt: at } });
      return true;
    });
  }
}

/** False where the handle is taken, by anybody. In a transaction of the caller's, which Prisma could not join. */
export async function insertWorkspace(tx: Queryable, workspace: Workspace): Promise<boolean> {
  const { id, organizationId, name, handle, createdAt } = workspace;
  const { rowCount } = await tx.query(
    `/* workspaces.insert */
    insert into workspaces (id, organization_id, name, handle, created_at)
    values ($1, $2, $3, $4, $5)
    on conflict (handle) do nothing`,
    [id, organizationId, name, handle, createdAt.toISOString()],
  );
  return rowCount === 1;
}

async function unlessTaken<T>(attempt: Promise<T>): Promise<T | undefined> {
  try {
    return await attempt;
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === UNIQUE_VIOLATION) return undefined;
    throw error;
  }
}
