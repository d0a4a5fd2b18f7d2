/**
 * A streaming parser for multipart/form-data. Parts are delimited by the boundary alone: clients declare lengths
 * in two different ways, and some not at all. Nothing is held but the bytes that may be the start of a boundary.
 */
import { AppError } from '../platform/errors.js';

export interface PartHeaders {
  readonly name: string;
  /** Without parameters, lower case. */
  readonly contentType: string | undefined;
  readonly filename: string | undefined;
}

export interface PartHandler {
  onPart(headers: PartHeaders): void;
  /** Valid until the handler's owner has waited for what it started; never empty. */
  onData(data: Buffer): void;
  onPartEnd(): void;
}

export const MAX_HEADER_BYTES = 16 * 1024;
export const MAX_PARTS = 30_000;
const CRLF = '\r\n';
const DASH = 0x2d;

type State = 'preamble' | 'delimiter' | 'headers' | 'body' | 'epilogue';

/**
 * The boundary of a multipart/form-data content type.
 * @throws AppError UNSUPPORTED_MEDIA_TYPE for any other type.
 */
export function boundaryOf(contentType: string | undefined): string {
  const match = /^multipart\/form-data\s*;(?:.*;)?\s*boundary=(?:"([^"]{1,200})"|([^\s;"]{1,200}))/i.exec(
    contentType ?? '',
  );
  const boundary = match?.[1] ?? match?.[2];
  if (boundary === undefined) {
    throw new AppError('UNSUPPORTED_MEDIA_TYPE', 'Content-Type must be multipart/form-data with a boundary.');
  }
  return boundary;
}

export class MultipartParser {
  readonly #delimiter: Buffer;
  readonly #handler: PartHandler;
  // A line break in front makes the first boundary look like all others.
  #rest: Buffer = Buffer.from(CRLF);
  #state: State = 'preamble';
  #parts = 0;

  constructor(boundary: string, handler: PartHandler) {
    this.#delimiter = Buffer.from(`${CRLF}--${boundary}`, 'latin1');
    this.#handler = handler;
  }

  /** @throws AppError BAD_USER_INPUT when the bytes are no multipart body. */
  write(chunk: Buffer): void {
    const data = this.#rest.length === 0 ? chunk : Buffer.concat([this.#rest, chunk]);
    let at = 0;
    while (at < data.length) {
      const next = this.#step(data, at);
      if (next === undefined) break;
      at = next;
    }
    this.#rest = data.subarray(at);
  }

  /** @throws AppError BAD_USER_INPUT when the closing boundary did not come. */
  end(): void {
    if (this.#state === 'epilogue') return;
    // A body without any part is legal as an empty one.
    if (
      this.#state === 'delimiter' &&
      this.#rest.length === 2 &&
      this.#rest[0] === DASH &&
      this.#rest[1] === DASH
    ) {
      return;
    }
    throw new AppError('BAD_USER_INPUT', 'The multipart body ends before its closing boundary.');
  }

  /** Where to go on; undefined when more bytes are needed. */
  #step(data: Buffer, at: number): number | undefined {
    switch (this.#state) {
      case 'preamble':
      case 'body':
        return this.#content(data, at);
      case 'delimiter':
        return this.#afterDelimiter(data, at);
      case 'headers':
        return this.#headers(data, at);
      case 'epilogue':
        return data.length;
    }
  }

  #content(data: Buffer, at: number): number | undefined {
    const found = data.indexOf(this.#delimiter, at);
    const end = found === -1 ? data.length - this.#delimiter.length + 1 : found;
    if (end > at && this.#state === 'body') this.#handler.onData(data.subarray(at, end));
    if (found === -1) return end > at ? end : undefined;
    if (this.#state === 'body') this.#handler.onPartEnd();
    this.#state = 'delimiter';
    return found + this.#delimiter.length;
  }

  #afterDelimiter(data: Buffer, at: number): number | undefined {
    if (data.length - at < 2) return undefined;
    if (data[at] === DASH && data[at + 1] === DASH) {
      this.#state = 'epilogue';
      return at + 2;
    }
    const end = data.indexOf(CRLF, at);
    if (
      end === -1
        ? data.length - at > MAX_HEADER_BYTES
        : data.subarray(at, end).some((byte) => byte !== 0x20 && byte !== 0x09)
    ) {
      throw new AppError(
        'BAD_USER_INPUT',
        'A multipart boundary is followed by something else than a line end.',
      );
    }
    if (end === -1) return undefined;
    this.#state = 'headers';
    // The line break stays: headers end with an empty line, even when there are none.
    return end;
  }

  #headers(data: Buffer, at: number): number | undefined {
    const end = data.indexOf('\r\n\r\n', at);
    if ((end === -1 ? data.length : end) - at > MAX_HEADER_BYTES) {
      throw new AppError(
        'BAD_USER_INPUT',
        `The headers of a part are longer than ${MAX_HEADER_BYTES} bytes.`,
      );
    }
    if (end === -1) return undefined;
    this.#parts += 1;
    if (this.#parts > MAX_PARTS) {
      throw new AppError('PAYLOAD_TOO_LARGE', `A multipart body may have at most ${MAX_PARTS} parts.`);
    }
    this.#handler.onPart(parseHeaders(data.toString('utf8', at, end)));
    this.#state = 'body';
    return end + 4;
  }
}

const NAME = /;\s*name=(?:"((?:[^"\\]|\\.)*)"|([^\s;"]+))/i;
const FILENAME = /;\s*filename=(?:"((?:[^"\\]|\\.)*)"|([^\s;"]+))/i;

function parseHeaders(text: string): PartHeaders {
  let disposition = '';
  let contentType: string | undefined;
  for (const line of text.split(CRLF)) {
    const colon = line.indexOf(':');
    if (colon === -1) continue;
    const header = line.slice(0, colon).trim().toLowerCase();
    const value = line.slice(colon + 1);
    if (header === 'content-disposition') disposition = value;
    else if (header === 'content-type') contentType = mimeOf(value);
    else if (header === 'content-encoding' && value.trim().toLowerCase() !== 'identity') {
      throw new AppError(
        'UNSUPPORTED_MEDIA_TYPE',
        'Parts cannot have an encoding of their own; compress the whole body.',
      );
    }
  }
  const name = parameter(disposition, NAME);
  if (name === undefined) {
    throw new AppError('BAD_USER_INPUT', 'A part has no name in its Content-Disposition.');
  }
  return { name, contentType, filename: parameter(disposition, FILENAME) };
}

function mimeOf(header: string): string | undefined {
  const semicolon = header.indexOf(';');
  const type = (semicolon === -1 ? header : header.slice(0, semicolon)).trim().toLowerCase();
  return type === '' ? undefined : type;
}

/** Quoted with backslashes or with percent signs for quotes and line ends (browsers), or bare. */
function parameter(disposition: string, pattern: RegExp): string | undefined {
  const match = pattern.exec(disposition);
  const quoted = match?.[1];
  const value =
    quoted === undefined ? match?.[2] : quoted.includes('\\') ? quoted.replace(/\\(.)/g, '$1') : quoted;
  return value?.includes('%') === true
    ? value.replace(/%22|%0D|%0A/gi, (escape) => decodeURIComponent(escape))
    : value;
}
