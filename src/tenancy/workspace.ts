/** Organisations, workspaces and their members: what they are, and which names they may have. */
import { problem } from '../platform/result.js';
import type { Problem } from '../platform/result.js';
import type { OrganizationRole, WorkspaceRole } from './access.js';

export interface Organization {
  readonly id: string;
  readonly name: string;
  readonly createdAt: Date;
}

export interface Workspace {
  readonly id: string;
  readonly organizationId: string;
  readonly name: string;
  /** The owner name in prompt identifiers and links; unique over the installation. */
  readonly handle: string;
  readonly createdAt: Date;
}

export interface User {
  readonly id: string;
  readonly email: string;
  readonly name: string;
}

export interface WorkspaceMember {
  readonly user: User;
  readonly role: WorkspaceRole;
  readonly organizationRole: OrganizationRole;
  readonly createdAt: Date;
}

const MAX_NAME = 100;
const CONTROL = /[\p{Cc}\p{Cs}]/u;
const HANDLE = /^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$/;
// Deliberately loose: whether an address works is known only by writing to it.
const EMAIL = /^[^\s@]{1,64}@[^\s@]{1,255}$/;

/** Problems of a name people give to a key, a workspace or themselves; `name` is trimmed already. */
export function nameProblems(name: string, path: readonly string[]): Problem[] {
  if (name.length >= 1 && name.length <= MAX_NAME && !CONTROL.test(name)) return [];
  return [problem('INVALID', `A name has 1 to ${MAX_NAME} characters and no control characters.`, path)];
}

export function handleProblems(handle: string, path: readonly string[]): Problem[] {
  if (HANDLE.test(handle)) return [];
  return [
    problem(
      'INVALID',
      'A handle has 1 to 63 lower-case letters, digits and dashes, no dash at either end.',
      path,
    ),
  ];
}

export function emailProblems(email: string, path: readonly string[]): Problem[] {
  if (EMAIL.test(email) && !CONTROL.test(email)) return [];
  return [problem('INVALID', 'This is not an e-mail address.', path)];
}

/** A handle made from a name: `Évaluation & Tests` becomes `evaluation-tests`. May be empty. */
export function handleFrom(name: string): string {
  return name
    .normalize('NFKD')
    .toLowerCase()
    .replaceAll(/\p{M}/gu, '')
    .replaceAll(/[^a-z0-9]+/g, '-')
    .slice(0, 63)
    .replaceAll(/^-+|-+$/g, '');
}
