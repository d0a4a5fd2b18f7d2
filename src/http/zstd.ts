/**
 * zstd within bounds. A frame's header names the window a decoder must allocate, and a decoder believes it; so
 * headers are read here first. Native where Node has it (22.15 and later), in JavaScript otherwise.
 */
import { Decompress } from 'fzstd';
import { AppError } from '../platform/errors.js';

/** The SDKs stay at 2 MB; 128 MB windows are possible and cost as much memory per request. */
export const MAX_WINDOW_BYTES = 8 * 1024 * 1024;

const MAGIC = 0xfd2fb528;
const isSkippable = (magic: number): boolean => magic >>> 4 === 0x0184d2a5;

/**
 * Walks through the frames of a stream: header, blocks, checksum, next frame. It keeps only the few bytes of a
 * header that a chunk cuts in two.
 */
export class ZstdFrameGuard {
  #rest: Buffer = Buffer.alloc(0);
  #skip = 0;
  #inFrame = false;
  #checksumBytes = 0;
  /** Window of the frame under way. */
  windowBytes = 0;

  /** @throws AppError PAYLOAD_TOO_LARGE for a window above the limit, BAD_USER_INPUT for what is no zstd. */
  inspect(chunk: Buffer): void {
    const data = this.#rest.length === 0 ? chunk : Buffer.concat([this.#rest, chunk]);
    this.#rest = Buffer.alloc(0);
    for (let at = 0; at < data.length;) {
      if (this.#skip > 0) {
        const step = Math.min(this.#skip, data.length - at);
        this.#skip -= step;
        at += step;
        continue;
      }
      const used = this.#inFrame ? this.#block(data, at) : this.#header(data, at);
      if (used === 0) {
        this.#rest = Buffer.from(data.subarray(at));
        return;
      }
      at += used;
    }
  }

  /** Bytes of a block header at `at`, whose content is then skipped; 0 when more bytes are needed. */
  #block(data: Buffer, at: number): number {
    if (data.length - at < 3) return 0;
    const header = data.readUIntLE(at, 3);
    const type = (header >> 1) & 3;
    this.#skip = type === 1 /* RLE */ ? 1 : header >>> 3;
    if ((header & 1) === 1) {
      this.#inFrame = false;
      this.#skip += this.#checksumBytes;
    }
    return 3;
  }

  #header(data: Buffer, at: number): number {
    const left = data.length - at;
    if (left < 4) return 0;
    const magic = data.readUInt32LE(at);
    if (isSkippable(magic)) {
      if (left < 8) return 0;
      this.#skip = data.readUInt32LE(at + 4);
      return 8;
    }
    if (magic !== MAGIC) throw badZstd();
    if (left < 5) return 0;
    const descriptor = data.readUInt8(at + 4);
    const single = (descriptor >> 5) & 1;
    const dictionaryBytes = [0, 1, 2, 4][descriptor & 3] ?? 0;
    const sizeFlag = descriptor >> 6;
    const sizeBytes = sizeFlag === 0 ? single : 1 << sizeFlag;
    const length = 5 + (1 - single) + dictionaryBytes + sizeBytes;
    if (left < length) return 0;
    this.windowBytes =
      single === 1 ? contentSize(data, at + length - sizeBytes, sizeBytes) : windowOf(data.readUInt8(at + 5));
    if (this.windowBytes > MAX_WINDOW_BYTES) {
      throw new AppError('PAYLOAD_TOO_LARGE', `A zstd window may have at most ${MAX_WINDOW_BYTES} bytes.`);
    }
    this.#checksumBytes = ((descriptor >> 2) & 1) * 4;
    this.#inFrame = true;
    return length;
  }
}

function windowOf(byte: number): number {
  const base = 2 ** (10 + (byte >> 3));
  return base + (base / 8) * (byte & 7);
}

function contentSize(data: Buffer, at: number, bytes: number): number {
  if (bytes === 8) return Number(data.readBigUInt64LE(at));
  return data.readUIntLE(at, bytes) + (bytes === 2 ? 256 : 0);
}

export const badZstd = (cause?: unknown): AppError =>
  new AppError('BAD_USER_INPUT', 'The request body is not valid zstd.', { cause });

// Each block moves the whole window; a stream of empty blocks would move terabytes for a few bytes sent.
const FREE_MOVES = 2 * 1024 ** 3;
const MOVES_PER_BYTE = 128;

/** Decodes in JavaScript, chunk by chunk. `onData` may throw to stop within one block of 128 KiB. */
export class ZstdDecoder {
  readonly #guard = new ZstdFrameGuard();
  readonly #decoder: Decompress;
  #moved = 0;
  #produced = 0;

  constructor(onData: (data: Buffer) => void) {
    this.#decoder = new Decompress((data) => {
      this.#moved += this.#guard.windowBytes;
      this.#produced += data.length;
      if (this.#moved > FREE_MOVES + this.#produced * MOVES_PER_BYTE) {
        throw new AppError('PAYLOAD_TOO_LARGE', 'The zstd body has too many blocks for its size.');
      }
      if (data.length > 0) onData(Buffer.from(data.buffer, data.byteOffset, data.byteLength));
    });
  }

  push(chunk: Buffer, final: boolean): void {
    this.#guard.inspect(chunk);
    try {
      this.#decoder.push(chunk, final);
    } catch (error) {
      throw error instanceof AppError ? error : badZstd(error);
    }
  }
}
