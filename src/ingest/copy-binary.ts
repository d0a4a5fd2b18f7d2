/**
 * Rows in Postgres' binary COPY format, written into one growing buffer. The format and its type encodings:
 * Postgres documentation, "COPY / Binary Format" and the send functions of each type.
 */

const SIGNATURE = Buffer.from('PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0', 'latin1');
const POSTGRES_EPOCH_US = 946_684_800_000_000;
const POSTGRES_EPOCH_DAY = 10_957;
const TEXT_OID = 25;
const TWO_32 = 4_294_967_296;

export class CopyBuffer {
  #buffer: Buffer;
  #length = 0;

  constructor(initialBytes = 64 * 1024) {
    this.#buffer = Buffer.allocUnsafe(initialBytes);
    this.#length = SIGNATURE.copy(this.#buffer);
  }

  /** Bytes written so far, header included. */
  get length(): number {
    return this.#length;
  }

  /** The whole stream, trailer included. The buffer may not be written to afterwards. */
  finish(): Buffer {
    this.#room(2);
    this.#buffer.writeInt16BE(-1, this.#length);
    this.#length += 2;
    return this.#buffer.subarray(0, this.#length);
  }

  row(fields: number): void {
    this.#room(2);
    this.#buffer.writeInt16BE(fields, this.#length);
    this.#length += 2;
  }

  null(): void {
    this.#size(-1, 0);
  }

  uuid(value: string | undefined): void {
    if (value === undefined) return this.null();
    this.#size(16, 16);
    // Five hex groups; writing them apart saves making the string without dashes.
    const at = this.#length;
    const buffer = this.#buffer;
    buffer.write(value.slice(0, 8), at, 4, 'hex');
    buffer.write(value.slice(9, 13), at + 4, 2, 'hex');
    buffer.write(value.slice(14, 18), at + 6, 2, 'hex');
    buffer.write(value.slice(19, 23), at + 8, 2, 'hex');
    buffer.write(value.slice(24), at + 10, 6, 'hex');
    this.#length += 16;
  }

  text(value: string | undefined): void {
    if (value === undefined) return this.null();
    // A code unit takes three bytes of UTF-8 at most; the length is filled in once it is known.
    this.#room(4 + value.length * 3);
    const written = this.#buffer.write(value, this.#length + 4, 'utf8');
    this.#buffer.writeInt32BE(written, this.#length);
    this.#length += 4 + written;
  }

  jsonb(value: string | undefined): void {
    if (value === undefined) return this.null();
    this.#room(5 + value.length * 3);
    const written = this.#buffer.write(value, this.#length + 5, 'utf8');
    this.#buffer.writeInt32BE(written + 1, this.#length);
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
    this.#buffer.writeInt32BE(value, this.#length);
    this.#length += 4;
  }

  /** An integer within ±2^53. */
  int8(value: number | undefined): void {
    if (value === undefined) return this.null();
    this.#size(8, 8);
    const high = Math.floor(value / TWO_32);
    this.#buffer.writeInt32BE(high, this.#length);
    this.#buffer.writeUInt32BE(value - high * TWO_32, this.#length + 4);
    this.#length += 8;
  }

  float8(value: number | undefined): void {
    if (value === undefined) return this.null();
    this.#size(8, 8);
    this.#buffer.writeDoubleBE(value, this.#length);
    this.#length += 8;
  }

  /** Microseconds since the Unix epoch. */
  timestamp(us: number | undefined): void {
    this.int8(us === undefined ? undefined : us - POSTGRES_EPOCH_US);
  }

  /** `YYYY-MM-DD`. */
  date(day: string): void {
    this.int4(Date.parse(day) / 86_400_000 - POSTGRES_EPOCH_DAY);
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
    this.#buffer.writeInt32BE(this.#length - start - 4, start);
  }

  #raw32(value: number): void {
    this.#buffer.writeInt32BE(value, this.#length);
    this.#length += 4;
  }

  #size(declared: number, bytes: number): void {
    this.#room(4 + bytes);
    this.#buffer.writeInt32BE(declared, this.#length);
    this.#length += 4;
  }

  #room(bytes: number): void {
    const needed = this.#length + bytes;
    if (needed <= this.#buffer.length) return;
    const grown = Buffer.allocUnsafe(Math.max(needed, this.#buffer.length * 2));
    this.#buffer.copy(grown, 0, 0, this.#length);
    this.#buffer = grown;
  }
}

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
