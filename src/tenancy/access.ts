/** Who a key makes its caller: pure rules from what is stored about a key to a Principal or a refusal. */
import type { ErrorCode } from '../platform/errors.js';
import type { KeyKind } from './api-key.js';
import { SCOPES } from './principal.js';
import type { Principal, Scope } from './principal.js';

export type OrganizationRole = 'owner' | 'admin' | 'member';

export const WORKSPACE_ROLES = ['admin', 'editor', 'viewer', 'annotator'] as const;
export type WorkspaceRole = (typeof WORKSPACE_ROLES)[number];

/** A role caps what a personal token may do, whatever scopes the token was given. */
const ROLE_SCOPES: Readonly<Record<WorkspaceRole, readonly Scope[]>> = {
  admin: SCOPES,
  editor: ['ingest', 'read', 'content', 'write'],
  viewer: ['read', 'content'],
  annotator: ['read', 'content'],
};

/** What is stored about a key, its member and the one workspace that is asked for. */
export interface KeyFacts {
  readonly keyId: string;
  readonly kind: KeyKind;
  readonly organizationId: string;
  /** The only workspace of the key; undefined for a key that reaches several. */
  readonly workspaceId: string | undefined;
  readonly userId: string | undefined;
  readonly scopes: readonly Scope[];
  readonly expiresAtMs: number | undefined;
  readonly revoked: boolean;
  readonly lastUsedAtMs: number | undefined;
  /** Whether the presented secret is the one from before a rotation, and until when it works. */
  readonly byPrevious: boolean;
  readonly previousExpiresAtMs: number | undefined;
  readonly organizationRole: OrganizationRole | undefined;
  /** The live workspace of the organisation that was asked for, else the key's own; undefined where there is none. */
  readonly target: { readonly workspaceId: string; readonly role: WorkspaceRole | undefined } | undefined;
}

/** What was asked for cannot be a workspace's id. */
export const MALFORMED: unique symbol = Symbol('malformed');

/** Which workspace the caller picked: none, one, or something that cannot be one. */
export type RequestedWorkspace = string | typeof MALFORMED | undefined;

interface AccessRefusal {
  readonly code: ErrorCode;
  readonly message: string;
  readonly details: Readonly<Record<string, unknown>>;
}

export type Access =
  | { readonly ok: true; readonly principal: Principal }
  | { readonly ok: false; readonly refusal: AccessRefusal };

const refuse = (code: ErrorCode, message: string, details: Readonly<Record<string, unknown>>): Access => ({
  ok: false,
  refusal: { code, message, details },
});
const unauthenticated = (reason: string, message: string): Access =>
  refuse('UNAUTHENTICATED', message, { reason });
// One answer for malformed, unknown, deleted and foreign ids: it must not tell which ids exist.
const noSuchWorkspace = (): Access =>
  refuse('FORBIDDEN', 'X-Tenant-Id is not a workspace this key may use.', { reason: 'workspace' });

const isOrganizationRuler = (facts: KeyFacts): boolean =>
  facts.organizationRole === 'owner' || facts.organizationRole === 'admin';

/** The moment the presented secret stops working by itself. */
function endsAt(facts: KeyFacts): number | undefined {
  const ends = [facts.expiresAtMs, facts.byPrevious ? facts.previousExpiresAtMs : undefined];
  return ends.reduce((a, b) => (a === undefined ? b : b === undefined ? a : Math.min(a, b)), undefined);
}

function effectiveScopes(facts: KeyFacts, role: WorkspaceRole | undefined): ReadonlySet<Scope> {
  if (facts.kind === 'service' || isOrganizationRuler(facts)) return new Set(facts.scopes);
  const allowed = role === undefined ? [] : ROLE_SCOPES[role];
  return new Set(facts.scopes.filter((scope) => allowed.includes(scope)));
}

/** Decides what the holder of a key may do in the workspace asked for, at `nowMs`. */
export function decideAccess(facts: KeyFacts, requested: RequestedWorkspace, nowMs: number): Access {
  if (facts.revoked) return unauthenticated('revoked', 'This API key was revoked.');
  const expiresAtMs = endsAt(facts);
  if (expiresAtMs !== undefined && expiresAtMs <= nowMs) {
    return facts.byPrevious && facts.expiresAtMs !== expiresAtMs
      ? unauthenticated('rotated', 'This API key was replaced by a newer secret.')
      : unauthenticated('expired', `This API key expired on ${new Date(expiresAtMs).toISOString()}.`);
  }
  if (facts.kind === 'personal' && facts.organizationRole === undefined) {
    return unauthenticated('membership', 'The member this token belongs to has left the organisation.');
  }
  if (requested === MALFORMED) return noSuchWorkspace();
  if (facts.workspaceId === undefined && requested === undefined) {
    return refuse('FORBIDDEN', 'This key reaches several workspaces: pick one with the X-Tenant-Id header.', {
      error: 'org_scoped_key_requires_workspace',
    });
  }
  if (facts.workspaceId !== undefined && requested !== undefined && requested !== facts.workspaceId) {
    return noSuchWorkspace();
  }
  const { target } = facts;
  if (target === undefined) {
    return requested === undefined
      ? refuse('FORBIDDEN', 'The workspace of this key was deleted.', { reason: 'workspace' })
      : noSuchWorkspace();
  }
  if (facts.kind === 'personal' && target.role === undefined && !isOrganizationRuler(facts)) {
    return facts.workspaceId === undefined
      ? noSuchWorkspace()
      : unauthenticated('membership', 'The member this token belongs to has left the workspace.');
  }
  const scopes = effectiveScopes(facts, target.role);
  return {
    ok: true,
    principal: {
      keyId: facts.keyId,
      kind: facts.kind,
      organizationId: facts.organizationId,
      workspaceId: target.workspaceId,
      userId: facts.kind === 'personal' ? facts.userId : undefined,
      scopes,
      expiresAtMs,
      organizationAdmin: scopes.has('admin') && administersOrganization(facts),
      reach: facts.workspaceId === undefined ? 'organization' : 'workspace',
    },
  };
}

/**
 * Whether a key with the admin scope administers the whole organisation: a service key of all workspaces, the
 * first key of the installation, or an unbound token of an owner or admin. A token bound to one workspace stays in
 * it, or binding would protect nothing.
 */
function administersOrganization(facts: KeyFacts): boolean {
  if (facts.kind === 'service') return facts.workspaceId === undefined || isOrganizationRuler(facts);
  return facts.workspaceId === undefined && isOrganizationRuler(facts);
}
