/**
 * CSV files that come in a form, with which columns are inputs and outputs beside them. Names of columns may come
 * behind the file, so the file is held, against the budget of all bodies, until the form was read.
 */
import type { FastifyRequest } from 'fastify';
import { z } from 'zod';
import type { FileImport } from '../datasets/import.service.js';
import { utf8 } from '../http/body.js';
import type { Lease } from '../http/body.js';
import { boundaryOf, MultipartParser } from '../http/multipart.js';
import type { PartHandler, PartHeaders } from '../http/multipart.js';
import { AppError } from '../platform/errors.js';
import { cleanText } from '../platform/json-text.js';

const MB = 1024 * 1024;
const LIMITS = { maxEncodedBytes: 64 * MB, maxDecodedBytes: 64 * MB };
const MAX_FIELD_BYTES = MB;

export interface CsvForm {
  /** Of the file, as its sender calls it. */
  readonly fileName: string | undefined;
  readonly chunks: readonly Buffer[];
  /** The values of a field, in order. */
  all(name: string): string[] | undefined;
  one(name: string): string | undefined;
}

class FormCollector implements PartHandler {
  readonly fields = new Map<string, string[]>();
  file: { readonly name: string | undefined; readonly chunks: Buffer[] } | undefined;
  readonly #lease: Lease;
  #current: { readonly name: string; readonly chunks: Buffer[] } | undefined;
  #fieldBytes = 0;

  constructor(lease: Lease) {
    this.#lease = lease;
  }

  onPart({ name, filename }: PartHeaders): void {
    if (name === 'file') {
      if (this.file !== undefined) throw new AppError('UNPROCESSABLE', 'file: comes twice');
      this.file = { name: filename, chunks: [] };
      this.#current = undefined;
    } else this.#current = { name, chunks: [] };
  }

  onData(data: Buffer): void {
    this.#lease.add(data.length);
    if (this.#current === undefined) {
      this.file?.chunks.push(data);
      return;
    }
    this.#fieldBytes += data.length;
    if (this.#fieldBytes > MAX_FIELD_BYTES) {
      throw new AppError('PAYLOAD_TOO_LARGE', `Fields beside the file may have ${MAX_FIELD_BYTES} bytes.`);
    }
    this.#current.chunks.push(data);
  }

  onPartEnd(): void {
    const current = this.#current;
    this.#current = undefined;
    if (current === undefined) return;
    const values = this.fields.get(current.name) ?? [];
    values.push(cleanText(utf8(Buffer.concat(current.chunks))));
    this.fields.set(current.name, values);
  }
}

/** Reads the form and does `work` with it; what it holds is given back afterwards. */
export async function withCsvForm<T>(
  request: FastifyRequest,
  work: (form: CsvForm) => Promise<T>,
): Promise<T> {
  const { bodies } = request.server;
  const lease = bodies.lease();
  try {
    const collector = new FormCollector(lease);
    const parser = new MultipartParser(boundaryOf(request.headers['content-type']), collector);
    for await (const chunk of bodies.chunks(request.raw, LIMITS)) parser.write(chunk);
    parser.end();
    const { file, fields } = collector;
    if (file === undefined) throw new AppError('UNPROCESSABLE', 'file: is missing');
    return await work({
      fileName: file.name === undefined ? undefined : cleanText(file.name),
      chunks: file.chunks,
      all: (name) => fields.get(name),
      one: (name) => fields.get(name)?.[0],
    });
  } finally {
    lease.release();
    // A refusal may come before the body was looked at.
    request.raw.resume();
  }
}

/** Every value of such a file is a string, whatever it looks like. */
export const toCsvImport = (form: CsvForm): FileImport => ({
  format: 'csv',
  mode: 'all_or_nothing',
  mapping: {
    inputKeys: form.all('input_keys'),
    outputKeys: form.all('output_keys'),
    metadataKeys: form.all('metadata_keys'),
  },
});

/** The fields of the form that describe a dataset; without a name it is called after its file. */
export function csvDatasetBody(form: CsvForm): Record<string, unknown> {
  const metadata = form.one('metadata');
  return {
    name: form.one('name') ?? form.fileName,
    description: form.one('description'),
    data_type: form.one('data_type'),
    ...(metadata !== undefined && { metadata: parseObject(metadata) }),
  };
}

function parseObject(text: string): unknown {
  try {
    return z.record(z.string(), z.unknown()).parse(JSON.parse(text));
  } catch (cause) {
    throw new AppError('UNPROCESSABLE', 'metadata: is not a JSON object', { cause });
  }
}
