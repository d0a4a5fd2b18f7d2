/** Use cases of importing: files, and what became of them. Every import makes one version, or none. */
import { Readable } from 'node:stream';
import type { ContentReads } from '../audit/content-read.js';
import type { Idempotency } from '../platform/idempotency.js';
import { failed, ok, problem } from '../platform/result.js';
import type { Result } from '../platform/result.js';
import { requireScope } from '../tenancy/principal.js';
import type { Principal } from '../tenancy/principal.js';
import { brokenRow } from './example-importer.js';
import type { Commit, ExampleImporter, ImportOutcome, IncomingRow } from './example-importer.js';
import { writerOf } from './example.service.js';
import { readCsv, readJsonl } from './import-file.js';
import { CsvMapping, mapJsonLine } from './import-mapping.js';
import type { CsvOptions, ImportMapping } from './import-mapping.js';
import type { DatasetImport, ImportMode, ImportStore, RejectedRow } from './import.store.js';

export interface FileImport {
  readonly format: 'csv' | 'jsonl';
  readonly mode: ImportMode;
  readonly mapping?: ImportMapping | undefined;
  readonly csv?: CsvOptions | undefined;
  /** Kept with the version. */
  readonly note?: string | null | undefined;
}

/** A file that is small enough to be said in one piece. */
export interface TextImport extends FileImport {
  readonly content: string;
}

export interface ImportServiceDeps {
  readonly importer: ExampleImporter;
  readonly imports: ImportStore;
  readonly idempotency: Idempotency;
  readonly contentReads: ContentReads;
}

export const MAX_TEXT_BYTES = 512 * 1_024;
const MAX_SHOWN = 100;
const DEFAULT_DELIMITER = ',';

export class ImportService {
  readonly #deps: ImportServiceDeps;

  constructor(deps: ImportServiceDeps) {
    this.#deps = deps;
  }

  /** Takes in a file while it arrives. Nothing is written before all of it was read. */
  async importFile(
    principal: Principal,
    datasetId: string,
    chunks: AsyncIterable<Buffer>,
    file: FileImport,
    commit?: Commit,
  ): Promise<Result<ImportOutcome>> {
    const writer = writerOf(principal, requireScope(principal, 'write'), file.note);
    const { format, mode, mapping = {} } = file;
    const options = { format, mode, commit };
    if (format === 'jsonl') {
      return this.#deps.importer.run(writer, datasetId, jsonlRows(chunks, mapping), options);
    }
    const delimiter = file.csv?.delimiter ?? DEFAULT_DELIMITER;
    if (!/^[\t -!#-~]$/.test(delimiter)) {
      return failed(problem('INVALID', 'The delimiter is one ASCII character, not a quote.', ['delimiter']));
    }
    const rows = readCsv(chunks, { delimiter });
    const mapped = await headed(rows, mapping, file.csv ?? {});
    return mapped.ok ? this.#deps.importer.run(writer, datasetId, mapped.value, options) : mapped;
  }

  /** The same of a text. With an idempotency key, sending it again adds nothing. */
  async importText(
    principal: Principal,
    datasetId: string,
    { content, ...file }: TextImport,
    idempotencyKey?: string | null,
  ): Promise<Result<ImportOutcome>> {
    const bytes = Buffer.from(content);
    if (bytes.length > MAX_TEXT_BYTES) {
      const message = `The text has more than ${MAX_TEXT_BYTES / 1_024} KiB: send it to POST /datasets/{id}/import.`;
      return failed(problem('LIMIT_EXCEEDED', message, ['content']));
    }
    const input = { datasetId, content, ...file };
    const call = { mutation: 'importExamples', key: idempotencyKey, input };
    const commit: Commit = (work) => this.#deps.idempotency.once(principal, call, work);
    return this.importFile(principal, datasetId, Readable.from([bytes]), file, commit);
  }

  /** Imports of a dataset, newest first, behind the import `after`. */
  async listImports(
    principal: Principal,
    datasetId: string,
    page: { readonly limit: number; readonly after?: string | undefined } = { limit: MAX_SHOWN },
  ): Promise<DatasetImport[]> {
    return this.#deps.imports.list(requireScope(principal, 'read'), datasetId, page);
  }

  async findImport(principal: Principal, importId: string): Promise<DatasetImport | undefined> {
    return this.#deps.imports.find(requireScope(principal, 'read'), importId);
  }

  /** Rows an import put into quarantine, in order, behind row `after`. Content. */
  async listRejects(
    principal: Principal,
    importId: string,
    page: { readonly after?: number; readonly limit: number },
  ): Promise<RejectedRow[]> {
    const scope = requireScope(principal, 'read');
    requireScope(principal, 'content');
    this.#deps.contentReads.note(principal, { type: 'dataset_import', ids: [importId], fields: ['rejects'] });
    return this.#deps.imports.listRejects(scope, importId, page);
  }
}

async function* jsonlRows(
  chunks: AsyncIterable<Buffer>,
  mapping: ImportMapping,
): AsyncGenerator<IncomingRow, void, undefined> {
  for await (const line of readJsonl(chunks)) {
    const { row, raw } = line;
    if ('problem' in line) yield brokenRow(row, raw, line.problem);
    else yield { row, raw: () => raw, ...mapJsonLine(line.text, mapping) };
  }
}

/** Reads the header, which says what the rows behind it are. */
async function headed(
  rows: ReturnType<typeof readCsv>,
  mapping: ImportMapping,
  options: CsvOptions,
): Promise<Result<AsyncIterable<IncomingRow>>> {
  const first = await rows.next();
  const header = first.done === true ? undefined : first.value;
  const refused = async (message: string): Promise<Result<never>> => {
    await rows.return();
    return failed(problem('INVALID', message, ['rows', String(header?.row ?? 1)]));
  };
  if (header === undefined) {
    return refused('The file is empty: a CSV file starts with a row of column names.');
  }
  if ('problem' in header) return refused(`Row ${header.row}, the header, ${header.problem}`);
  const columns = CsvMapping.of(header.cells, mapping, options);
  if (!columns.ok) {
    await rows.return();
    return columns;
  }
  return ok(csvRows(rows, columns.value));
}

async function* csvRows(
  rows: ReturnType<typeof readCsv>,
  columns: CsvMapping,
): AsyncGenerator<IncomingRow, void, undefined> {
  for await (const line of rows) {
    const { row, raw } = line;
    if ('problem' in line) yield brokenRow(row, raw, line.problem);
    else yield { row, raw: () => raw, ...columns.map(line.cells) };
  }
}
