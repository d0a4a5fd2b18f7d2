/**
 * Request bodies as bounded streams. Bytes are counted after decompression while they arrive, so that a bomb costs
 * no more than the limit, and against a budget of the whole process, so that many large requests are turned away
 * with 503 instead of ending it.
 */
import { isUtf8 } from 'node:buffer';
import type { IncomingMessage } from 'node:http';
import zlib from 'node:zlib';
import type { Transform } from 'node:stream';
import { AppError } from '../platform/errors.js';
import { JsonShapeError, parseInTurns } from '../platform/json-cursor.js';
import { cleanJsonText, isDeeperThan, MAX_JSON_DEPTH, takesLongToParse } from '../platform/json-text.js';
import type { Metrics } from '../platform/metrics.js';
import { badZstd, MAX_WINDOW_BYTES, ZstdDecoder, ZstdFrameGuard } from './zstd.js';

export interface BodyLimits {
  readonly maxEncodedBytes: number;
  readonly maxDecodedBytes: number;
}

const MB = 1024 * 1024;
export const JSON_LIMITS: BodyLimits = { maxEncodedBytes: 32 * MB, maxDecodedBytes: 128 * MB };
/** Attachments are written as they arrive and hardly compress, so both sides may be as large. */
export const MULTIPART_LIMITS: BodyLimits = { maxEncodedBytes: 500 * MB, maxDecodedBytes: 500 * MB };

/**
 * A body that grows more than this is a bomb, once it is larger than what clients send at once: the 20 MB that /info
 * tells them and a run on top. Up to there repetitive payloads grow as much and are none.
 */
export const MAX_RATIO = 200;
export const RATIO_FREE_BYTES = 48 * MB;

/** What one request holds of the process's budget. */
export interface Lease {
  /** @throws AppError UNAVAILABLE when the process holds too much already. */
  add(bytes: number): void;
  release(): void;
}

export class BodyReader {
  readonly #maxInFlightBytes: number;
  readonly #metrics: Metrics;
  #inFlight = 0;

  constructor(deps: { maxInFlightBytes: number; metrics: Metrics }) {
    this.#maxInFlightBytes = deps.maxInFlightBytes;
    this.#metrics = deps.metrics;
  }

  lease(): Lease {
    let held = 0;
    return {
      add: (bytes) => {
        if (this.#inFlight + bytes > this.#maxInFlightBytes) {
          this.#metrics.ingestShed.inc({ reason: 'bytes' });
          throw new AppError('UNAVAILABLE', 'Too much is being taken in at this moment. Try again shortly.');
        }
        held += bytes;
        this.#hold(bytes);
      },
      release: () => {
        this.#hold(-held);
        held = 0;
      },
    };
  }

  #hold(bytes: number): void {
    this.#inFlight += bytes;
    this.#metrics.ingestInFlightBytes.set(this.#inFlight);
  }

  /**
   * The decoded body, piece by piece. Whoever stops early leaves a connection that can still be answered.
   * @throws AppError PAYLOAD_TOO_LARGE, UNSUPPORTED_MEDIA_TYPE (encoding), BAD_USER_INPUT (broken or cut off).
   */
  async *chunks(request: IncomingMessage, limits: BodyLimits): AsyncGenerator<Buffer, void, undefined> {
    const declared = Number(request.headers['content-length'] ?? 0);
    if (declared > limits.maxEncodedBytes) throw tooLarge('encoded', limits.maxEncodedBytes);
    const counter = new ByteCounter(limits, this.#metrics);
    const encoding = (request.headers['content-encoding'] ?? 'identity').trim().toLowerCase();
    try {
      if (encoding === 'identity' || encoding === '') yield* identity(request, counter);
      else if (encoding === 'gzip' || encoding === 'x-gzip') {
        yield* inflated(request, zlib.createGunzip({ chunkSize: 65_536 }), counter);
      } else if (encoding === 'zstd') yield* zstd(request, counter);
      else {
        throw new AppError(
          'UNSUPPORTED_MEDIA_TYPE',
          'Content-Encoding must be one of identity, gzip, zstd, and only one.',
        );
      }
    } finally {
      // Also where nothing was read at all.
      request.resume();
    }
  }

  /** The decoded body as a whole, counted against the lease. */
  async bytes(request: IncomingMessage, lease: Lease, limits: BodyLimits = JSON_LIMITS): Promise<Buffer> {
    const chunks: Buffer[] = [];
    for await (const chunk of this.chunks(request, limits)) {
      lease.add(chunk.length);
      chunks.push(chunk);
    }
    return chunks.length === 1 && chunks[0] !== undefined ? chunks[0] : Buffer.concat(chunks);
  }

  /**
   * The decoded body as JSON whose strings can be stored; undefined when it is empty.
   * @throws AppError BAD_USER_INPUT when it is no UTF-8, no JSON or nested too deep.
   */
  async json(request: IncomingMessage): Promise<unknown> {
    const lease = this.lease();
    try {
      const bytes = await this.bytes(request, lease);
      if (bytes.length === 0) return undefined;
      const text = cleanJsonText(utf8(bytes));
      if (takesLongToParse(text)) return await parseSlowly(text);
      if (isDeeperThan(text, MAX_JSON_DEPTH)) throw tooDeep();
      return parseJson(text);
    } finally {
      lease.release();
    }
  }
}

/** @throws AppError BAD_USER_INPUT when the bytes are no UTF-8. */
export function utf8(bytes: Buffer): string {
  if (!isUtf8(bytes)) throw new AppError('BAD_USER_INPUT', 'The body is not valid UTF-8.');
  return bytes.toString('utf8');
}

const tooDeep = (): AppError =>
  new AppError('BAD_USER_INPUT', `The body nests deeper than ${MAX_JSON_DEPTH} levels.`);
// V8's message quotes the body; bodies do not belong into answers and logs.
const noJson = (cause: unknown): AppError =>
  new AppError('BAD_USER_INPUT', 'The body is not valid JSON.', { cause });

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw noJson(cause);
  }
}

async function parseSlowly(text: string): Promise<unknown> {
  try {
    return await parseInTurns(text, MAX_JSON_DEPTH);
  } catch (cause) {
    if (cause instanceof SyntaxError) throw noJson(cause);
    if (!(cause instanceof JsonShapeError)) throw cause;
    throw cause.problem === 'deep'
      ? tooDeep()
      : new AppError('PAYLOAD_TOO_LARGE', `The body holds ${cause.message}.`);
  }
}

const tooLarge = (what: 'encoded' | 'decoded', limit: number): AppError =>
  new AppError(
    'PAYLOAD_TOO_LARGE',
    `The body is larger than ${limit} bytes${what === 'decoded' ? ' after decompression' : ''}.`,
  );

class ByteCounter {
  #encoded = 0;
  #decoded = 0;

  constructor(
    private readonly limits: BodyLimits,
    private readonly metrics: Metrics,
  ) {}

  received(bytes: number): void {
    this.#encoded += bytes;
    if (this.#encoded > this.limits.maxEncodedBytes) throw tooLarge('encoded', this.limits.maxEncodedBytes);
  }

  produced(bytes: number): void {
    this.#decoded += bytes;
    this.metrics.ingestBytes.inc(bytes);
    if (this.#decoded > this.limits.maxDecodedBytes) throw tooLarge('decoded', this.limits.maxDecodedBytes);
    if (this.#decoded > RATIO_FREE_BYTES && this.#decoded > this.#encoded * MAX_RATIO) {
      throw new AppError(
        'PAYLOAD_TOO_LARGE',
        `The body grows more than ${MAX_RATIO} times when it is decompressed.`,
      );
    }
  }
}

async function* received(
  request: IncomingMessage,
  counter: ByteCounter,
): AsyncGenerator<Buffer, void, undefined> {
  try {
    for await (const chunk of request.iterator({ destroyOnReturn: false }) as AsyncIterable<Buffer>) {
      counter.received(chunk.length);
      yield chunk;
    }
  } catch (error) {
    if (error instanceof AppError) throw error;
    throw new AppError('BAD_USER_INPUT', 'The request ended before its body did.', { cause: error });
  } finally {
    // What the client still sends is read and forgotten: it then gets to see the answer, and the connection ends.
    request.resume();
  }
}

async function* identity(
  request: IncomingMessage,
  counter: ByteCounter,
): AsyncGenerator<Buffer, void, undefined> {
  for await (const chunk of received(request, counter)) {
    counter.produced(chunk.length);
    yield chunk;
  }
}

/** Feeds a decoder one received chunk at a time and yields what comes out, so that neither side runs ahead. */
async function* inflated(
  request: IncomingMessage,
  decoder: Transform,
  counter: ByteCounter,
  guard?: ZstdFrameGuard,
): AsyncGenerator<Buffer, void, undefined> {
  const feeding = feed(request, decoder, counter, guard);
  // Reported through the decoder, which is destroyed with the error.
  feeding.catch(() => undefined);
  try {
    for await (const chunk of decoder as AsyncIterable<Buffer>) {
      counter.produced(chunk.length);
      yield chunk;
    }
    await feeding;
  } catch (error) {
    if (error instanceof AppError) throw error;
    throw guard === undefined
      ? new AppError('BAD_USER_INPUT', 'The request body is not valid gzip.', { cause: error })
      : badZstd(error);
  } finally {
    decoder.destroy();
  }
}

async function feed(
  request: IncomingMessage,
  decoder: Transform,
  counter: ByteCounter,
  guard: ZstdFrameGuard | undefined,
): Promise<void> {
  try {
    for await (const chunk of received(request, counter)) {
      guard?.inspect(chunk);
      if (decoder.destroyed) return;
      if (!decoder.write(chunk)) await writable(decoder);
    }
    decoder.end();
  } catch (error) {
    decoder.destroy(error instanceof Error ? error : new Error(String(error)));
    throw error;
  }
}

function writable(decoder: Transform): Promise<void> {
  return new Promise((resolve) => {
    const done = (): void => {
      decoder.off('drain', done).off('close', done);
      resolve();
    };
    decoder.on('drain', done).on('close', done);
  });
}

/** Present in Node 22.15 and later, unknown to the type definitions of Node 20. */
interface NativeZstd {
  createZstdDecompress?: (options: { params: Record<number, number>; chunkSize: number }) => Transform;
  constants: { ZSTD_d_windowLogMax?: number };
}

async function* zstd(
  request: IncomingMessage,
  counter: ByteCounter,
): AsyncGenerator<Buffer, void, undefined> {
  const native = zlib as unknown as NativeZstd;
  const windowLogMax = native.constants.ZSTD_d_windowLogMax;
  if (native.createZstdDecompress !== undefined && windowLogMax !== undefined) {
    const decoder = native.createZstdDecompress({
      params: { [windowLogMax]: Math.log2(MAX_WINDOW_BYTES) },
      chunkSize: 65_536,
    });
    yield* inflated(request, decoder, counter, new ZstdFrameGuard());
    return;
  }
  let out: Buffer[] = [];
  const decoder = new ZstdDecoder((data) => {
    counter.produced(data.length);
    out.push(data);
  });
  for await (const chunk of received(request, counter)) {
    decoder.push(chunk, false);
    yield* out;
    out = [];
  }
  decoder.push(Buffer.alloc(0), true);
  yield* out;
}
