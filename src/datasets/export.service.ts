/**
 * Datasets as files, made while they are sent: one page of examples at a time, all of one version, however long the
 * client takes and whoever writes meanwhile. Needs the content scope.
 */
import type { ContentReads } from '../audit/content-read.js';
import type { FeedbackService } from '../feedback/feedback.service.js';
import type { JsonObject, JsonValue } from '../ingest/run-event.js';
import { inWorkspace } from '../platform/db-scope.js';
import { AppError } from '../platform/errors.js';
import type { RunQuery } from '../runs/run-query.js';
import type { RunService } from '../runs/run.service.js';
import { requireScope } from '../tenancy/principal.js';
import type { Principal, WorkspaceScope } from '../tenancy/principal.js';
import { answerOf, promptOf } from './chat-messages.js';
import { csvRow } from './csv-cell.js';
import type { AsOf, Dataset, Example, ExampleAttachment } from './dataset.js';
import type { DatasetService } from './dataset.service.js';
import { EXAMPLE_CONTENT } from './example.service.js';
import type { ExampleKeysStore } from './example-keys.store.js';
import type { ExampleStore } from './example.store.js';

export const EXPORT_FORMATS = ['jsonl', 'csv', 'openai', 'preferences'] as const;
/**
 * jsonl: examples, without loss but for the bytes of their files. csv: a column for each key. openai: fine-tuning, one conversation per example with
 * outputs. preferences: prompt, chosen and rejected, of runs over the examples that feedback has corrected.
 */
export type ExportFormat = (typeof EXPORT_FORMATS)[number];

export interface ExportOptions {
  readonly format: ExportFormat;
  /** The newest version where absent. */
  readonly asOf?: AsOf | undefined;
  readonly splits?: readonly string[] | undefined;
}

export interface ExportedFile {
  readonly name: string;
  readonly contentType: string;
  readonly version: number | null;
  readonly chunks: AsyncIterable<string>;
}

export interface ExportServiceDeps {
  readonly datasets: DatasetService;
  readonly examples: ExampleStore;
  readonly keys: ExampleKeysStore;
  readonly runs: Pick<RunService, 'listRuns'>;
  readonly feedback: Pick<FeedbackService, 'listByRuns'>;
  readonly contentReads: ContentReads;
}

const PAGE = { limit: 500, maxBytes: 4 * 1024 * 1024 };
const RUN_PAGE = 50;
const CORRECTIONS_PER_READ = 20;
const EXAMPLES_PER_QUERY = 100;
export const MAX_CSV_COLUMNS = 1_000;
const JSONL = 'application/x-ndjson; charset=utf-8';

export class ExportService {
  readonly #deps: ExportServiceDeps;

  constructor(deps: ExportServiceDeps) {
    this.#deps = deps;
  }

  /** @throws AppError NOT_FOUND for a dataset or version that is not there. */
  async exportDataset(
    principal: Principal,
    datasetId: string,
    options: ExportOptions,
  ): Promise<ExportedFile> {
    const scope = requireScope(principal, 'read');
    requireScope(principal, 'content');
    const { datasets } = this.#deps;
    const dataset = await datasets.getDataset(principal, datasetId);
    const { format, asOf, splits } = options;
    const version = asOf === undefined ? dataset.version : await datasets.resolve(principal, dataset, asOf);
    const examples = this.#pages(principal, scope, { datasetId: dataset.uuid, version, splits });
    const file = (suffix: string, contentType: string, chunks: AsyncIterable<string>): ExportedFile => ({
      name: `${fileName(dataset)}-v${version}${suffix}`,
      contentType,
      version,
      chunks,
    });
    switch (format) {
      case 'jsonl':
        return file('.jsonl', JSONL, lines(examples, jsonLine));
      case 'openai':
        return file('.openai.jsonl', JSONL, lines(examples, trainingLine));
      case 'preferences':
        return file('.preferences.jsonl', JSONL, this.#preferencesOf(principal, examples));
      case 'csv': {
        const pin = { datasetId: dataset.uuid, version, splits };
        const columns = await this.#deps.keys.columns(scope, pin, MAX_CSV_COLUMNS);
        return file('.csv', 'text/csv; charset=utf-8', csvLines(examples, columns));
      }
    }
  }

  /** Preference pairs of the runs that match: what was asked, what a correction says, what the run answered. */
  exportPreferences(principal: Principal, query: RunQuery): ExportedFile {
    requireScope(principal, 'read');
    requireScope(principal, 'content');
    const chunks = this.#preferencesOfRuns(principal, query);
    return { name: 'preferences.jsonl', contentType: JSONL, version: null, chunks };
  }

  async *#pages(
    principal: Principal,
    scope: WorkspaceScope,
    { datasetId, version, splits }: { datasetId: string; version: number; splits: ExportOptions['splits'] },
  ): AsyncGenerator<readonly Example[], void, undefined> {
    for (let after: string | undefined; ;) {
      const request = { ...PAGE, splits, after };
      // Each by itself: who pulls at the stream is not who opened it.
      const page = await inWorkspace(scope.workspaceId, () =>
        this.#deps.examples.page(scope, datasetId, version, request),
      );
      if (page.length === 0) return;
      const ids = page.map(({ uuid }) => uuid);
      this.#deps.contentReads.note(principal, { type: 'example', ids, fields: EXAMPLE_CONTENT });
      yield page;
      after = page.at(-1)?.uuid;
    }
  }

  async *#preferencesOf(
    principal: Principal,
    pages: AsyncIterable<readonly Example[]>,
  ): AsyncGenerator<string, void, undefined> {
    for await (const page of pages) {
      const ids = page.map(({ uuid }) => uuid);
      for (let at = 0; at < ids.length; at += EXAMPLES_PER_QUERY) {
        const referenceExampleIds = ids.slice(at, at + EXAMPLES_PER_QUERY);
        yield* this.#preferencesOfRuns(principal, { referenceExampleIds });
      }
    }
  }

  async *#preferencesOfRuns(principal: Principal, query: RunQuery): AsyncGenerator<string, void, undefined> {
    const { workspaceId } = principal;
    const { runs } = this.#deps;
    for (let boundary: { value: string; id: string } | undefined; ;) {
      const window = { limit: RUN_PAGE, backward: false, boundary };
      const found = await inWorkspace(workspaceId, () =>
        runs.listRuns(principal, query, { direction: 'asc', window, fields: ['inputs', 'outputs'] }),
      );
      const page = found.slice(0, RUN_PAGE);
      const corrections = await this.#correctionsOf(
        principal,
        page.map(({ uuid }) => uuid),
      );
      let text = '';
      for (const { uuid, inputs, outputs } of page) {
        for (const correction of corrections.get(uuid) ?? []) {
          text += preferenceLine(inputs, outputs, correction);
        }
      }
      if (text !== '') yield text;
      const last = page.at(-1);
      if (last === undefined || found.length <= RUN_PAGE) return;
      boundary = { value: last.startTime, id: last.uuid };
    }
  }

  /** By run, newest first. */
  async #correctionsOf(
    principal: Principal,
    runIds: readonly string[],
  ): Promise<ReadonlyMap<string, readonly JsonValue[]>> {
    const byRun = new Map<string, JsonValue[]>();
    const read = async (ids: readonly string[], boundary?: { value: string; id: string }): Promise<void> => {
      const window = { limit: CORRECTIONS_PER_READ, backward: false, boundary };
      const given = await inWorkspace(principal.workspaceId, () =>
        this.#deps.feedback.listByRuns(principal, ids, window, { corrected: true }),
      );
      for (const id of ids) {
        const all = given.filter(({ runId }) => runId === id);
        const page = all.slice(0, CORRECTIONS_PER_READ);
        byRun.set(id, [...(byRun.get(id) ?? []), ...page.map(({ correction }) => correction)]);
        const last = page.at(-1);
        if (last === undefined || all.length <= CORRECTIONS_PER_READ) continue;
        await read([id], { value: last.createdAt, id: last.id });
      }
    };
    await read(runIds);
    return byRun;
  }
}

const fileName = ({ name }: Dataset): string =>
  name
    .normalize('NFKD')
    .replace(/[^A-Za-z0-9._-]+/g, '-')
    .replace(/^[-.]+|-+$/g, '')
    .slice(0, 80) || 'dataset';

async function* lines(
  pages: AsyncIterable<readonly Example[]>,
  line: (example: Example) => string,
): AsyncGenerator<string, void, undefined> {
  for await (const page of pages) {
    const text = page.map(line).join('');
    if (text !== '') yield text;
  }
}

/** Line breaks in JSON text are white space: within strings they are escaped. */
const oneLine = (text: string): string => text.replace(/[\r\n]+/g, ' ');

/** UTC text of Postgres as RFC 3339. */
const rfc3339 = (time: string): string => time.replace(' ', 'T').replace(/\+00$/, 'Z');

/** Files do not travel in lines; that one is missing can be seen. */
const toFileNote = ({ name, mimeType, size }: ExampleAttachment): JsonObject => ({
  name,
  mime_type: mimeType,
  size,
});

/** Payloads as they are stored, digits included. */
function jsonLine(example: Example): string {
  const { uuid, name, inputs, outputs, metadata, splits, sourceRunId, createdAt, attachments } = example;
  const head = `"id":"${uuid}","name":${JSON.stringify(name)},"inputs":${oneLine(inputs)}`;
  const rest = {
    metadata,
    splits,
    ...(sourceRunId !== null && { source_run_id: sourceRunId }),
    created_at: rfc3339(createdAt),
    ...(attachments.length > 0 && { attachments: attachments.map(toFileNote) }),
  };
  return `{${head},"outputs":${outputs === null ? 'null' : oneLine(outputs)},${JSON.stringify(rest).slice(1)}\n`;
}

const parsed = (text: string | null | undefined): JsonValue =>
  text === null || text === undefined ? null : (JSON.parse(text) as JsonValue);

/** Nothing for an example that asks or answers nothing. */
function trainingLine({ inputs, outputs }: Example): string {
  const prompt = promptOf(parsed(inputs));
  const answer = answerOf(parsed(outputs));
  return prompt.length === 0 || answer.length === 0
    ? ''
    : `${JSON.stringify({ messages: [...prompt, ...answer] })}\n`;
}

/** Nothing where the correction says what the run had answered. */
function preferenceLine(
  inputs: string | null | undefined,
  outputs: string | null | undefined,
  correction: JsonValue,
): string {
  const prompt = promptOf(parsed(inputs));
  const chosen = answerOf(correction);
  const rejected = answerOf(parsed(outputs));
  if (prompt.length === 0 || chosen.length === 0 || rejected.length === 0) return '';
  if (JSON.stringify(chosen) === JSON.stringify(rejected)) return '';
  return `${JSON.stringify({ prompt, chosen, rejected })}\n`;
}

/** Keys of the examples of a file, in the order of its columns. */
export interface CsvColumns {
  readonly inputs: readonly string[];
  readonly outputs: readonly string[];
  readonly metadata: readonly string[];
}

const cellOf = (value: JsonValue | undefined): string =>
  value === undefined || value === null ? '' : typeof value === 'string' ? value : JSON.stringify(value);

/** Its member of this name; of something that is no object, all of it under the empty name. */
function member(value: JsonValue, key: string): JsonValue | undefined {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    return key === '' ? value : undefined;
  }
  return Object.hasOwn(value, key) ? value[key] : undefined;
}

async function* csvLines(
  pages: AsyncIterable<readonly Example[]>,
  columns: CsvColumns,
): AsyncGenerator<string, void, undefined> {
  const groups = ['inputs', 'outputs', 'metadata'] as const;
  const names = groups.flatMap((group) => columns[group].map((key) => `${group}.${key}`));
  yield csvRow(['id', ...names, 'split', 'source_run_id', 'created_at']);
  for await (const page of pages) {
    yield page
      .map((example) => {
        const values = {
          inputs: parsed(example.inputs),
          outputs: parsed(example.outputs),
          metadata: example.metadata as JsonValue,
        };
        return csvRow([
          example.uuid,
          ...groups.flatMap((group) => columns[group].map((key) => cellOf(member(values[group], key)))),
          example.splits.join(','),
          example.sourceRunId ?? '',
          rfc3339(example.createdAt),
        ]);
      })
      .join('');
  }
}

/** @throws AppError BAD_USER_INPUT */
export function toExportFormat(value: string): ExportFormat {
  const format = EXPORT_FORMATS.find((known) => known === value);
  if (format === undefined) {
    throw new AppError('BAD_USER_INPUT', `format must be one of ${EXPORT_FORMATS.join(', ')}.`, {
      path: ['format'],
    });
  }
  return format;
}
