/**
 * Links that show one attachment to whoever has them, for a limited time: SDKs and browsers fetch attachments
 * without credentials. The token names workspace, run, name and expiry, and a MAC over them.
 */
import { createHmac, timingSafeEqual } from 'node:crypto';

export interface LinkTarget {
  readonly workspaceId: string;
  readonly runId: string;
  readonly name: string;
  /** Seconds since the epoch. */
  readonly expiresAt: number;
}

const MAC_BYTES = 24;
const HEADER_BYTES = 16 + 16 + 6;

/** The links' own key, so that a MAC of one kind is never good for another. */
export function linkKey(pepper: string): Buffer {
  return createHmac('sha256', pepper).update('tracewell attachment links v1').digest();
}

const uuidBytes = (id: string): Buffer => Buffer.from(id.replaceAll('-', ''), 'hex');
const uuidText = (bytes: Buffer): string =>
  bytes.toString('hex').replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, '$1-$2-$3-$4-$5');

const macOf = (key: Buffer, payload: Buffer): Buffer =>
  createHmac('sha256', key).update(payload).digest().subarray(0, MAC_BYTES);

export function makeToken(key: Buffer, target: LinkTarget): string {
  const expiry = Buffer.alloc(6);
  expiry.writeUIntBE(target.expiresAt, 0, 6);
  const payload = Buffer.concat([
    uuidBytes(target.workspaceId),
    uuidBytes(target.runId),
    expiry,
    Buffer.from(target.name),
  ]);
  return Buffer.concat([macOf(key, payload), payload]).toString('base64url');
}

/** Undefined for a token that is forged, damaged or expired: a caller is not told which. */
export function readToken(key: Buffer, token: string, nowSeconds: number): LinkTarget | undefined {
  const bytes = Buffer.from(token, 'base64url');
  if (bytes.length < MAC_BYTES + HEADER_BYTES) return undefined;
  const payload = bytes.subarray(MAC_BYTES);
  if (!timingSafeEqual(bytes.subarray(0, MAC_BYTES), macOf(key, payload))) return undefined;
  const expiresAt = payload.readUIntBE(32, 6);
  if (expiresAt < nowSeconds) return undefined;
  return {
    workspaceId: uuidText(payload.subarray(0, 16)),
    runId: uuidText(payload.subarray(16, 32)),
    name: payload.toString('utf8', HEADER_BYTES),
    expiresAt,
  };
}
