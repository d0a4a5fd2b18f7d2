/**
 * Positions in the feed and their form outside, the cursor. A position says "everything up to and including
 * this entry was seen". It holds no secret and opens no door: whoever reads from it still reads only the rows of
 * the own workspace.
 */
import { AppError } from '../platform/errors.js';

export interface FeedPosition {
  readonly xid: bigint;
  readonly seq: bigint;
  /** The last seen entry of the row, or WHOLE_ROW. */
  readonly index: number;
}

export const WHOLE_ROW = 0xffff_ffff;

/** The only node there is. The format has room for a vector of logs (one per database server). */
const NODE = 0;
const VERSION = 1;
const BYTES = 23;
const LAST_SEQ = 0x7fff_ffff_ffff_ffffn;

/** Everything below the horizon was seen. */
export const beforeXid = (horizon: bigint): FeedPosition => ({
  xid: horizon > 0n ? horizon - 1n : 0n,
  seq: LAST_SEQ,
  index: WHOLE_ROW,
});

/** Every entry of the row was seen. */
export const wholeRow = (row: { readonly xid: string; readonly seq: string }): FeedPosition => ({
  xid: BigInt(row.xid),
  seq: BigInt(row.seq),
  index: WHOLE_ROW,
});

/** Negative, zero or positive, as for sort. */
export function comparePositions(a: FeedPosition, b: FeedPosition): number {
  if (a.xid !== b.xid) return a.xid < b.xid ? -1 : 1;
  if (a.seq !== b.seq) return a.seq < b.seq ? -1 : 1;
  return a.index - b.index;
}

export const laterOf = (a: FeedPosition, b: FeedPosition): FeedPosition =>
  comparePositions(a, b) >= 0 ? a : b;

/** Whether rows behind `position` may have been trimmed away, given the last row that was. */
export const isTrimmed = (position: FeedPosition, floor: FeedPosition): boolean =>
  comparePositions(position, floor) < 0;

export function encodeCursor(position: FeedPosition): string {
  const bytes = Buffer.alloc(BYTES);
  bytes.writeUInt8(VERSION, 0);
  bytes.writeUInt16BE(NODE, 1);
  bytes.writeBigUInt64BE(position.xid, 3);
  bytes.writeBigUInt64BE(position.seq, 11);
  bytes.writeUInt32BE(position.index, 19);
  return bytes.toString('base64url');
}

/** @throws AppError BAD_USER_INPUT for anything encodeCursor did not make. */
export function decodeCursor(cursor: string): FeedPosition {
  const bytes =
    cursor.length === Math.ceil((BYTES * 4) / 3) ? Buffer.from(cursor, 'base64url') : Buffer.alloc(0);
  // Node skips characters outside the alphabet, so only the round trip proves a cursor.
  if (bytes.length !== BYTES || bytes.toString('base64url') !== cursor || bytes.readUInt8(0) !== VERSION) {
    throw foreignCursor();
  }
  const seq = bytes.readBigUInt64BE(11);
  if (bytes.readUInt16BE(1) !== NODE || seq > LAST_SEQ) throw foreignCursor();
  return { xid: bytes.readBigUInt64BE(3), seq, index: bytes.readUInt32BE(19) };
}

export const foreignCursor = (): AppError =>
  new AppError('BAD_USER_INPUT', "This is not a cursor of this installation's change feed.", {
    path: ['after'],
  });
