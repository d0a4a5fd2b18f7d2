/** zstd frames made by hand: enough of RFC 8878 to write stored and repeated blocks with any window. */

const MAGIC = Buffer.from([0x28, 0xb5, 0x2f, 0xfd]);
export const BLOCK = 128 * 1024;

/** A frame header with a window descriptor: 2^(10 + exponent) bytes. */
export const frameHeader = (windowExponent: number): Buffer =>
  Buffer.concat([MAGIC, Buffer.from([0, windowExponent << 3])]);

export function block(type: 'stored' | 'repeated', size: number, content: Buffer, last: boolean): Buffer {
  const header = Buffer.alloc(3);
  header.writeUIntLE((size << 3) | ((type === 'repeated' ? 1 : 0) << 1) | (last ? 1 : 0), 0, 3);
  return Buffer.concat([header, content]);
}

/** The data as stored blocks, with a window of 1 MB. */
export function storedFrame(data: Buffer): Buffer {
  const blocks: Buffer[] = [frameHeader(10)];
  for (let at = 0; at === 0 || at < data.length; at += BLOCK) {
    const piece = data.subarray(at, at + BLOCK);
    blocks.push(block('stored', piece.length, piece, at + BLOCK >= data.length));
  }
  return Buffer.concat(blocks);
}

/** `bytes` spaces in four bytes per 128 KiB. */
export function bomb(bytes: number): Buffer {
  const blocks: Buffer[] = [frameHeader(10)];
  for (let at = 0; at < bytes; at += BLOCK) {
    blocks.push(block('repeated', BLOCK, Buffer.from(' '), at + BLOCK >= bytes));
  }
  return Buffer.concat(blocks);
}
