/** Who is asking, and what for. Resolved once per request or socket; services assert a scope first. */
import { AppError } from '../platform/errors.js';

/**
 * ingest: write runs and feedback, read nothing back. read: everything but content. content: inputs, outputs,
 * errors, events and attachments of runs. write: change projects, runs, feedback, configs. admin: keys, members,
 * workspaces.
 */
export const SCOPES = ['ingest', 'read', 'content', 'write', 'admin'] as const;
export type Scope = (typeof SCOPES)[number];

/** One request of a caller. What it reads of content is recorded under it. */
export interface Operation {
  /** The id that logs and the response carry. */
  readonly requestId: string;
  via: 'graphql' | 'rest' | 'live' | 'link';
  /** Method and route; the name of a GraphQL operation once that is known. */
  name: string;
}

export interface Principal {
  readonly keyId: string;
  readonly kind: 'service' | 'personal';
  readonly organizationId: string;
  /** The workspace of this request: the key's own, or the one picked with X-Tenant-Id. */
  readonly workspaceId: string;
  readonly userId: string | undefined;
  readonly scopes: ReadonlySet<Scope>;
  /** Milliseconds since the epoch after which the key is no longer good; sockets close then. */
  readonly expiresAtMs: number | undefined;
  /** Whether the caller may also administer the organisation: its workspaces, its keys, its members. Absent: no. */
  readonly organizationAdmin?: boolean;
  /** Whether the key reaches one workspace or picks among several with X-Tenant-Id. Absent: one. */
  readonly reach?: 'workspace' | 'organization';
  /** What the caller asks with this principal. Absent outside of requests. */
  readonly operation?: Operation;
}

declare const scoped: unique symbol;

/** Proof that the caller may work in a workspace. Stores take this, never a bare id. */
export interface WorkspaceScope {
  readonly workspaceId: string;
  readonly [scoped]: true;
}

/**
 * The caller's workspace, if the caller has `scope`.
 * @throws AppError FORBIDDEN naming the missing scope.
 */
export function requireScope(principal: Principal, scope: Scope): WorkspaceScope {
  if (!principal.scopes.has(scope)) {
    throw new AppError('FORBIDDEN', `This key lacks the scope "${scope}".`, {
      details: { missingScope: scope },
    });
  }
  return trustedScope(principal.workspaceId);
}

/**
 * For what concerns more than the caller's workspace.
 * @throws AppError FORBIDDEN unless the caller administers the organisation.
 */
export function requireOrganizationAdmin(principal: Principal): { readonly organizationId: string } {
  requireScope(principal, 'admin');
  if (principal.organizationAdmin !== true) {
    throw new AppError('FORBIDDEN', 'This needs a key that administers the whole organisation.', {
      details: { missingScope: 'admin', reach: 'organization' },
    });
  }
  return { organizationId: principal.organizationId };
}

/** For work that is not done for a caller: workers, upkeep, public share links after their token was found. */
export function trustedScope(workspaceId: string): WorkspaceScope {
  return { workspaceId } as WorkspaceScope;
}

/** Whether inputs, outputs, errors, events and attachments may be shown. */
export const mayReadContent = (principal: Principal): boolean => principal.scopes.has('content');
