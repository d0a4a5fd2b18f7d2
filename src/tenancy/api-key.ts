/**
 * API keys: what one is, how its secret is written and how it is stored. A secret is 256 random bits, so one HMAC
 * with a pepper is enough to store it and its digest can be the index. The checksum lets typing errors and secret
 * scanners be answered without a look-up.
 */
import { createHash, createHmac, randomBytes } from 'node:crypto';
import type { Scope } from './principal.js';

export type KeyKind = 'service' | 'personal';

/** A key as its workspace's admins see it: everything but the secret, of which only a digest exists. */
export interface ApiKey {
  readonly id: string;
  readonly organizationId: string;
  /** Undefined for a key of every workspace of the organisation (or every workspace of its member). */
  readonly workspaceId: string | undefined;
  /**
   * The member a personal token belongs to. On a service key: the member for whom it also administers the
   * organisation; only the first key of an installation has one.
   */
  readonly userId: string | undefined;
  readonly kind: KeyKind;
  readonly name: string;
  readonly hint: string;
  readonly scopes: readonly Scope[];
  readonly expiresAt: Date | undefined;
  readonly revokedAt: Date | undefined;
  /** Exact to a minute. */
  readonly lastUsedAt: Date | undefined;
  /** Until then the secret from before the last rotation works too. */
  readonly previousExpiresAt: Date | undefined;
  readonly createdAt: Date;
}

const PREFIX: Record<KeyKind, string> = { service: 'lsv2_sk_', personal: 'lsv2_pt_' };
const OURS = /^lsv2_(?:sk|pt)_[\w-]{43}_[0-9a-f]{6}$/;
const CHECKSUM_LENGTH = 6;

/** Any printable string of this size may be a key: TRACEWELL_INIT_API_KEY is the operator's to choose. */
const ACCEPTABLE = /^[\x21-\x7e]{32,256}$/;

const checksum = (body: string): string =>
  createHash('sha256').update(body).digest('hex').slice(0, CHECKSUM_LENGTH);

/** A new secret: `lsv2_sk_` (service) or `lsv2_pt_` (personal), 43 characters of 32 random bytes, `_`, 6 of checksum. */
export function makeKey(kind: KeyKind, random: (size: number) => Buffer = randomBytes): string {
  const body = PREFIX[kind] + random(32).toString('base64url');
  return `${body}_${checksum(body)}`;
}

/**
 * Whether a presented key can be one at all. Keys of our own form must have the right checksum; other strings pass
 * when they are 32 to 256 printable ASCII characters without spaces.
 */
export function checksumOk(key: string): boolean {
  if (!OURS.test(key)) return ACCEPTABLE.test(key);
  return checksum(key.slice(0, -CHECKSUM_LENGTH - 1)) === key.slice(-CHECKSUM_LENGTH);
}

/** What is stored instead of the key, and what it is looked up by. */
export function keyMac(pepper: string, key: string): Buffer {
  return createHmac('sha256', pepper).update(key).digest();
}

/** The prefix, if it is one of ours, and the last four characters (of a key of ours: the checksum's, not the secret's). */
export function keyHint(key: string): string {
  return `${OURS.test(key) ? key.slice(0, PREFIX.service.length) : ''}…${key.slice(-4)}`;
}
