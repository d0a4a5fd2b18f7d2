/**
 * Rows in Postgres' binary COPY format, written into one growing buffer. The format and its type encodings:
 * Postgres documentation, "COPY / Binary Format" and the send functions of each type.
 */

const SIGNATURE = Buffer.from('PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0', 'latin1');
const POSTGRES_EPOCH_US = 946_684_800_000_000;
const POSTGRES_EPOCH_DAY = 10_957;
const TEXT_OID = 25;
const TWO_32 = 4_294_967_296;

/** Texts up to this length are written here while they are ASCII: calling out costs more than that. */
const SHORT_TEXT = 24;

/** Value of each hexadecimal digit, by character code. */
const NIBBLES = new Uint8Array(128);
for (let value = 0; value < 16; value += 1) {
  const digit = value.toString(16);
  NIBBLES[digit.charCodeAt(0)] = value;
  NIBBLES[digit.toUpperCase().charCodeAt(0)] = value;
}
/** Where the two digits of each byte of a UUID are in its text. */
const DIGITS = [0, 2, 4, 6, 9, 11, 14, 16, 19, 21, 24, 26, 28, 30, 32, 34] as const;

export class CopyBuffer {
  #buffer: Buffer;
  #view: DataView;
  #length = 0;
  #lastDay = '';
  #lastDate = 0;

  constructor(initialBytes = 64 * 1024) {
    this.#buffer = Buffer.allocUnsafe(initialBytes);
    this.#view = viewOf(this.#buffer);
    this.#length = SIGNATURE.copy(this.#buffer);
  }

  /** Bytes written so far, header included. */
  get length(): number {
    return this.#length;
  }

  /** The whole stream, trailer included. The buffer may not be written to afterwards. */
  finish(): Buffer {
    this.#room(2);
    this.#view.setInt16(this.#length, -1);
    this.#length += 2;
    return this.#buffer.subarray(0, this.#length);
  }

  row(fields: number): void {
    this.#room(2);
    this.#view.setInt16(this.#length, fields);
    this.#length += 2;
  }

  null(): void {
    this.#size(-1, 0);
  }

  uuid(value: string | undefined): void {
    if (value === undefined) return this.null();
    this.#size(16, 16);
    for (const digit of DIGITS) {
      const high = NIBBLES[value.charCodeAt(digit)] ?? 0;
      this.#buffer[this.#length++] = (high << 4) | (NIBBLES[value.charCodeAt(digit + 1)] ?? 0);
    }
  }

  text(value: string | undefined): void {
    if (value === undefined) return this.null();
    // A code unit takes three bytes of UTF-8 at most; the length is filled in once it is known.
    this.#room(4 + value.length * 3);
    const written = this.#writeText(value, this.#length + 4);
    this.#view.setInt32(this.#length, written);
    this.#length += 4 + written;
  }

  jsonb(value: string | undefined): void {
    if (value === undefined) return this.null();
    this.#room(5 + value.length * 3);
    const written = this.#writeText(value, this.#length + 5);
    this.#view.setInt32(this.#length, written + 1);
    this.#buffer[this.#length + 4] = 1;
    this.#length += 5 + written;
  }

  bytes(value: Buffer): void {
    this.#size(value.length, value.length);
    value.copy(this.#buffer, this.#length);
    this.#length += value.length;
  }

  int4(value: number): void {
    this.#size(4, 4);
    this.#view.setInt32(this.#length, value);
    this.#length += 4;
  }

  /** An integer within ±2^53. */
  int8(value: number | undefined): void {
    if (value === undefined) return this.null();
    this.#size(8, 8);
    const high = Math.floor(value / TWO_32);
    this.#view.setInt32(this.#length, high);
    this.#view.setUint32(this.#length + 4, value - high * TWO_32);
    this.#length += 8;
  }

  float8(value: number | undefined): void {
    if (value === undefined) return this.null();
    this.#size(8, 8);
    this.#view.setFloat64(this.#length, value);
    this.#length += 8;
  }

  /** Microseconds since the Unix epoch. */
  timestamp(us: number | undefined): void {
    this.int8(us === undefined ? undefined : us - POSTGRES_EPOCH_US);
  }

  /** `YYYY-MM-DD`. */
  date(day: string): void {
    if (day !== this.#lastDay) {
      this.#lastDay = day;
      this.#lastDate = Date.parse(day) / 86_400_000 - POSTGRES_EPOCH_DAY;
    }
    this.int4(this.#lastDate);
  }

  /** Decimal text such as `0.000001` or `1e-7`. Digits of base 10,000, most significant first. */
  numeric(value: string | undefined): void {
    if (value === undefined) return this.null();
    const { negative, digits, weight, scale } = numericDigits(value);
    this.#size(8 + digits.length * 2, 8 + digits.length * 2);
    const buffer = this.#buffer;
    let at = buffer.writeInt16BE(digits.length, this.#length);
    at = buffer.writeInt16BE(weight, at);
    at = buffer.writeUInt16BE(negative ? 0x4000 : 0, at);
    at = buffer.writeUInt16BE(scale, at);
    for (const digit of digits) at = buffer.writeInt16BE(digit, at);
    this.#length = at;
  }

  textArray(values: readonly string[]): void {
    const start = this.#length;
    this.#room(28);
    this.#length += 4;
    this.#raw32(values.length === 0 ? 0 : 1);
    this.#raw32(0);
    this.#raw32(TEXT_OID);
    if (values.length > 0) {
      this.#raw32(values.length);
      this.#raw32(1);
      for (const value of values) this.text(value);
    }
    this.#view.setInt32(start, this.#length - start - 4);
  }

  #raw32(value: number): void {
    this.#view.setInt32(this.#length, value);
    this.#length += 4;
  }

  #size(declared: number, bytes: number): void {
    this.#room(4 + bytes);
    this.#view.setInt32(this.#length, declared);
    this.#length += 4;
  }

  #room(bytes: number): void {
    const needed = this.#length + bytes;
    if (needed <= this.#buffer.length) return;
    const grown = Buffer.allocUnsafe(Math.max(needed, this.#buffer.length * 2));
    this.#buffer.copy(grown, 0, 0, this.#length);
    this.#buffer = grown;
    this.#view = viewOf(grown);
  }

  /** Bytes written at `start`, for which there is room. */
  #writeText(value: string, start: number): number {
    const { length } = value;
    if (length > SHORT_TEXT) return this.#buffer.write(value, start, 'utf8');
    for (let index = 0; index < length; index += 1) {
      const code = value.charCodeAt(index);
      if (code > 0x7f) return this.#buffer.write(value, start, 'utf8');
      this.#buffer[start + index] = code;
    }
    return length;
  }
}

const viewOf = (buffer: Buffer): DataView =>
  new DataView(buffer.buffer, buffer.byteOffset, buffer.byteLength);

interface NumericDigits {
  readonly negative: boolean;
  readonly digits: number[];
  readonly weight: number;
  readonly scale: number;
}

const DECIMAL = /^(-?)(\d*)(?:\.(\d*))?(?:[eE]([+-]?\d+))?$/;

/** @throws on anything that is not a decimal number. */
function numericDigits(text: string): NumericDigits {
  const match = DECIMAL.exec(text);
  if (match === null || (match[2] === '' && (match[3] ?? '') === '')) {
    throw new Error(`not a decimal number: ${text.slice(0, 40)}`);
  }
  const exponent = Number(match[4] ?? 0);
  let whole = match[2] ?? '';
  let fraction = match[3] ?? '';
  if (exponent > 0) {
    fraction = fraction.padEnd(exponent, '0');
    whole += fraction.slice(0, exponent);
    fraction = fraction.slice(exponent);
  } else if (exponent < 0) {
    whole = whole.padStart(-exponent, '0');
    fraction = whole.slice(whole.length + exponent) + fraction;
    whole = whole.slice(0, whole.length + exponent);
  }
  const scale = fraction.length;
  whole = whole.padStart(Math.ceil(whole.length / 4) * 4, '0');
  fraction = fraction.padEnd(Math.ceil(fraction.length / 4) * 4, '0');
  let weight = whole.length / 4 - 1;
  const all = (whole + fraction).match(/\d{4}/g)?.map(Number) ?? [];
  while (all.length > 0 && all[0] === 0) {
    all.shift();
    weight -= 1;
  }
  while (all.length > 0 && all.at(-1) === 0) all.pop();
  return {
    negative: match[1] === '-' && all.length > 0,
    digits: all,
    weight: all.length === 0 ? 0 : weight,
    scale,
  };
}
