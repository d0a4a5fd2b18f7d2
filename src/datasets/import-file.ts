/**
 * Rows of an uploaded CSV or JSONL file, one at a time while it arrives. A row that cannot be read costs only itself and
 * is named by its number; nothing is held but the row that is being read.
 */
import { isUtf8 } from 'node:buffer';
import { Readable } from 'node:stream';
import { parse } from 'csv-parse';
import { cleanText } from '../platform/json-text.js';
import { MAX_EXAMPLE_BYTES } from './example.js';

export interface FileRow {
  /** From 1: the line of a JSONL file; of a CSV file the row as spreadsheets count, the header being the first. */
  readonly row: number;
  /** As it came. */
  readonly raw: string;
}

export interface CsvRow extends FileRow {
  readonly cells: readonly string[];
}

export interface JsonlRow extends FileRow {
  readonly text: string;
}

/** A row that is none. */
export interface BrokenRow extends FileRow {
  readonly problem: string;
}

const MAX_ROW_BYTES = MAX_EXAMPLE_BYTES + 1024 * 1024;
const NEWLINE = 0x0a;
const CARRIAGE_RETURN = 0x0d;
const BOM = Buffer.from([0xef, 0xbb, 0xbf]);
const NOT_UTF8 = 'is not valid UTF-8';

/** The file without a byte order mark. */
async function* withoutBom(chunks: AsyncIterable<Buffer>): AsyncGenerator<Buffer, void, undefined> {
  let head: Buffer | undefined = Buffer.alloc(0);
  for await (const chunk of chunks) {
    if (head === undefined) {
      yield chunk;
      continue;
    }
    const start: Buffer = Buffer.concat([head, chunk]);
    if (start.length < BOM.length) {
      head = start;
      continue;
    }
    head = undefined;
    yield start.subarray(0, BOM.length).equals(BOM) ? start.subarray(BOM.length) : start;
  }
  if (head !== undefined && head.length > 0) yield head;
}

/** Lines of a JSONL file; blank ones are counted and left out. */
export async function* readJsonl(
  chunks: AsyncIterable<Buffer>,
): AsyncGenerator<JsonlRow | BrokenRow, void, undefined> {
  let parts: Buffer[] = [];
  let bytes = 0;
  let row = 0;
  const take = (): JsonlRow | BrokenRow | undefined => {
    const line = Buffer.concat(parts);
    const whole = bytes;
    parts = [];
    bytes = 0;
    row += 1;
    if (whole > MAX_ROW_BYTES) {
      return { row, raw: cleanText(line.toString()), problem: `is longer than ${MAX_ROW_BYTES} bytes` };
    }
    const text = line.at(-1) === CARRIAGE_RETURN ? line.subarray(0, -1) : line;
    if (!isUtf8(text)) return { row, raw: cleanText(text.toString()), problem: NOT_UTF8 };
    const raw = text.toString();
    return raw.trim() === '' ? undefined : { row, raw, text: raw };
  };
  for await (const chunk of withoutBom(chunks)) {
    let start = 0;
    for (let end = chunk.indexOf(NEWLINE); end !== -1; end = chunk.indexOf(NEWLINE, start)) {
      parts.push(chunk.subarray(start, end));
      bytes += end - start;
      const line = take();
      if (line !== undefined) yield line;
      start = end + 1;
    }
    bytes += chunk.length - start;
    // The beginning of a line that is too long is enough to show it.
    if (bytes <= MAX_ROW_BYTES) parts.push(chunk.subarray(start));
  }
  if (bytes === 0) return;
  const line = take();
  if (line !== undefined) yield line;
}

interface ParsedRecord {
  readonly row: number;
  readonly record: readonly string[];
  readonly raw: string;
}

/**
 * Rows of a CSV file (RFC 4180), the header among them; blank ones are counted and left out. A quote that is not closed
 * makes one broken row of all that follows.
 */
export async function* readCsv(
  chunks: AsyncIterable<Buffer>,
  { delimiter }: { delimiter: string },
): AsyncGenerator<CsvRow | BrokenRow, void, undefined> {
  let row = 0;
  const skipped: BrokenRow[] = [];
  const parser = parse({
    // Bytes as they are: whether they are UTF-8 is asked of each row.
    encoding: 'latin1',
    delimiter,
    info: true,
    raw: true,
    relax_column_count: true,
    // Rows with quotes in the wrong places end at their line, and are found by their raw text.
    relax_quotes: true,
    skip_records_with_error: true,
    max_record_size: MAX_ROW_BYTES,
    // With `info` and `raw` a record is more than the declared cells.
    on_record: (parsed) => {
      row += 1;
      return { ...(parsed as unknown as Omit<ParsedRecord, 'row'>), row } as unknown as string[];
    },
    on_skip: (error, raw) => {
      row += 1;
      skipped.push({ row, raw: shown(raw ?? ''), problem: describe(error?.code) });
      return undefined;
    },
  });
  const source = Readable.from(withoutBom(chunks), { objectMode: false, highWaterMark: 256 * 1024 });
  source.on('error', (error) => parser.destroy(error));
  source.pipe(parser);
  const strict = strictRow(delimiter);
  try {
    for await (const parsed of parser as AsyncIterable<ParsedRecord>) {
      while (skipped[0] !== undefined && skipped[0].row < parsed.row) yield skipped.shift() as BrokenRow;
      const one = toRow(parsed, strict);
      if (one !== undefined) yield one;
    }
    yield* skipped;
  } finally {
    source.destroy();
    parser.destroy();
  }
}

function toRow({ row, record, raw }: ParsedRecord, strict: RegExp): CsvRow | BrokenRow | undefined {
  if (record.length === 1 && record[0] === '') return undefined;
  if (raw.includes('"') && !strict.test(raw)) {
    return { row, raw: shown(raw), problem: 'has a quote in the middle of a cell' };
  }
  const cells: string[] = [];
  for (const cell of record) {
    const bytes = Buffer.from(cell, 'latin1');
    if (!isUtf8(bytes)) return { row, raw: shown(raw), problem: NOT_UTF8 };
    cells.push(cleanText(bytes.toString()));
  }
  return { row, raw: shown(raw), cells };
}

/** A row whose quotes are where RFC 4180 wants them. Each character is looked at once. */
function strictRow(delimiter: string): RegExp {
  const escaped = delimiter.replace(/[\\^\]-]/g, '\\$&');
  const cell = `(?:"[^"]*(?:""[^"]*)*"|[^"\\r\\n${escaped}]*)`;
  const between = delimiter.replace(/[.*+?^${}()|[\]\\]/g, '\\$&');
  return new RegExp(`^${cell}(?:${between}${cell})*[\\r\\n]*$`);
}

/** Of a row read as single bytes. */
const shown = (raw: string): string =>
  cleanText(Buffer.from(raw, 'latin1').toString()).replace(/[\r\n]+$/, '');

function describe(code: string | undefined): string {
  if (code === 'CSV_QUOTE_NOT_CLOSED') return 'has a quote that is not closed';
  if (code === 'CSV_MAX_RECORD_SIZE') return `is longer than ${MAX_ROW_BYTES} bytes`;
  return 'is not a CSV row';
}
