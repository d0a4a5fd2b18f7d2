/** From rows of a file to examples: which columns or keys are inputs, outputs, metadata, splits and ids. Pure. */
import type { JsonObject, JsonValue } from '../ingest/run-event.js';
import { parseWireTime } from '../ingest/wire-time.js';
import { isUuid } from '../platform/ids.js';
import { cleanJsonText, isDeeperThan, MAX_JSON_DEPTH } from '../platform/json-text.js';
import { failed, ok, problem } from '../platform/result.js';
import type { Result } from '../platform/result.js';
import { undoFormulaGuard } from './csv-cell.js';
import { payloadOf } from './example.js';
import type { ExampleDraft } from './example.js';

/** What columns of a CSV file, or keys of a JSONL file without `inputs`, stand for. */
export interface ImportMapping {
  readonly inputKeys?: readonly string[] | undefined;
  readonly outputKeys?: readonly string[] | undefined;
  readonly metadataKeys?: readonly string[] | undefined;
  /** A column of names, separated by commas. */
  readonly splitKey?: string | undefined;
  readonly idKey?: string | undefined;
}

export interface CsvOptions {
  /** One character. Default: a comma. */
  readonly delimiter?: string | undefined;
  /** Cells that are JSON and no string become what they say: `1`, `true`, `{"a": 1}`. Default: all are strings. */
  readonly jsonCells?: boolean | undefined;
  /** Takes back the apostrophe that exports put before cells a spreadsheet would run. */
  readonly guardedCells?: boolean | undefined;
}

export interface RowProblem {
  readonly code: string;
  readonly message: string;
  readonly path: readonly string[];
}

export type MappedRow = { readonly draft: ExampleDraft } | { readonly problems: readonly RowProblem[] };

export const rowProblem = (message: string, path: readonly string[] = []): RowProblem => ({
  code: 'INVALID',
  message,
  path,
});

const refused = (message: string, path: readonly string[] = []): MappedRow => ({
  problems: [rowProblem(message, path)],
});

type Place = 'inputs' | 'outputs' | 'metadata' | 'split' | 'id' | 'name' | 'source_run_id' | 'created_at';

interface Column {
  readonly index: number;
  readonly place: Place;
  /** The key within inputs, outputs or metadata. */
  readonly key: string;
}

const PLAIN_PLACES: readonly string[] = ['id', 'name', 'source_run_id', 'created_at'];
const PREFIXED = /^(inputs|outputs|metadata)\.(.+)$/s;

/** How the columns of one CSV file are read. */
export class CsvMapping {
  readonly #columns: readonly Column[];
  readonly #width: number;
  readonly #options: CsvOptions;

  private constructor(columns: readonly Column[], width: number, options: CsvOptions) {
    this.#columns = columns;
    this.#width = width;
    this.#options = options;
  }

  /**
   * Without any keys named, columns are taken as exports name them: `inputs.question`, `outputs.answer`,
   * `metadata.topic`, `split`, `id`.
   */
  static of(header: readonly string[], mapping: ImportMapping, options: CsvOptions): Result<CsvMapping> {
    const repeated = header.find((name, index) => header.indexOf(name) !== index);
    if (repeated !== undefined) return failed(problem('INVALID', `The column "${repeated}" comes twice.`));
    const said = [mapping.inputKeys, mapping.outputKeys, mapping.metadataKeys].some(
      (keys) => (keys?.length ?? 0) > 0,
    );
    const named = said ? namedColumns(header, mapping) : prefixedColumns(header, mapping);
    if (!named.ok) return named;
    if (!named.value.some(({ place }) => place === 'inputs')) {
      const message = 'No column is an input: name some in "input_keys", or call them "inputs.…".';
      return failed(problem('INVALID', message, ['input_keys']));
    }
    return ok(new CsvMapping(named.value, header.length, options));
  }

  map(cells: readonly string[]): MappedRow {
    if (cells.length !== this.#width) {
      return refused(`has ${cells.length} cells where the header has ${this.#width}`);
    }
    const objects = { inputs: {}, outputs: {}, metadata: {} } as Record<string, JsonObject>;
    const plain: Partial<Record<Place, string>> = {};
    for (const { index, place, key } of this.#columns) {
      const cell = cells[index] ?? '';
      const object = objects[place];
      if (object === undefined) plain[place] = cell;
      else if (place === 'inputs' || cell !== '') define(object, key, this.#value(cell));
    }
    const hasOutputs =
      this.#columns.some(({ place }) => place === 'outputs') &&
      Object.keys(objects['outputs'] ?? {}).length > 0;
    return draftOf({
      inputs: objects['inputs'] ?? {},
      outputs: hasOutputs ? (objects['outputs'] ?? null) : null,
      metadata: objects['metadata'] ?? {},
      splits: plain.split === undefined ? undefined : splitNames(plain.split),
      id: plain.id || undefined,
      name: plain.name || undefined,
      sourceRunId: plain.source_run_id || undefined,
      createdAt: plain.created_at || undefined,
    });
  }

  #value(cell: string): JsonValue {
    const text = this.#options.guardedCells === true ? undoFormulaGuard(cell) : cell;
    if (this.#options.jsonCells !== true || isDeeperThan(text, MAX_JSON_DEPTH)) return text;
    try {
      const value = JSON.parse(text) as JsonValue;
      return typeof value === 'string' ? text : value;
    } catch {
      return text;
    }
  }
}

const splitNames = (cell: string): string[] =>
  cell
    .split(',')
    .map((name) => name.trim())
    .filter((name) => name !== '');

/** Own keys only, also where the key is `__proto__`. */
function define(object: JsonObject, key: string, value: JsonValue): void {
  Object.defineProperty(object, key, { value, enumerable: true, configurable: true, writable: true });
}

function namedColumns(header: readonly string[], mapping: ImportMapping): Result<readonly Column[]> {
  const wanted: [field: string, place: Place, key: string][] = [
    ...(mapping.inputKeys ?? []).map((key): [string, Place, string] => ['input_keys', 'inputs', key]),
    ...(mapping.outputKeys ?? []).map((key): [string, Place, string] => ['output_keys', 'outputs', key]),
    ...(mapping.metadataKeys ?? []).map((key): [string, Place, string] => ['metadata_keys', 'metadata', key]),
    ...ownColumns(mapping),
  ];
  const missing = wanted.filter(([, , key]) => !header.includes(key));
  if (missing.length > 0) {
    return failed(
      ...missing.map(([field, , key]) => problem('INVALID', `The file has no column "${key}".`, [field])),
    );
  }
  return ok(wanted.map(([, place, key]) => ({ index: header.indexOf(key), place, key })));
}

const ownColumns = ({ splitKey, idKey }: ImportMapping): [string, Place, string][] => [
  ...(splitKey === undefined ? [] : [['split_key', 'split', splitKey] as [string, Place, string]]),
  ...(idKey === undefined ? [] : [['id_key', 'id', idKey] as [string, Place, string]]),
];

function prefixedColumns(header: readonly string[], mapping: ImportMapping): Result<readonly Column[]> {
  const columns = header.flatMap((name, index): Column[] => {
    const match = PREFIXED.exec(name);
    if (match !== null) return [{ index, place: match[1] as Place, key: match[2] ?? '' }];
    if (name === (mapping.splitKey ?? 'split')) return [{ index, place: 'split', key: name }];
    if (name === (mapping.idKey ?? 'id')) return [{ index, place: 'id', key: name }];
    return PLAIN_PLACES.includes(name) && name !== 'id' ? [{ index, place: name as Place, key: name }] : [];
  });
  return ok(columns);
}

/** A line of a JSONL file: an example as exports write it, or, with keys named, any object. */
export function mapJsonLine(text: string, mapping: ImportMapping): MappedRow {
  const clean = cleanJsonText(text);
  if (isDeeperThan(clean, MAX_JSON_DEPTH)) return refused(`nests deeper than ${MAX_JSON_DEPTH} levels`);
  let value: JsonValue;
  try {
    value = JSON.parse(clean) as JsonValue;
  } catch {
    return refused('is not valid JSON');
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    return refused('is not a JSON object');
  }
  const named = (mapping.inputKeys?.length ?? 0) > 0;
  const missing = (named ? (mapping.inputKeys ?? []) : ['inputs']).find((key) => !Object.hasOwn(value, key));
  if (missing !== undefined) return refused(`has no "${missing}"`, [missing]);
  return named ? mapFlat(value, mapping) : mapExample(value, mapping);
}

/** An object whose keys are named by the mapping. */
function mapFlat(value: JsonObject, mapping: ImportMapping): MappedRow {
  const pick = (keys: readonly string[] = []): JsonObject => {
    const object: JsonObject = {};
    for (const key of keys) if (Object.hasOwn(value, key)) define(object, key, value[key] ?? null);
    return object;
  };
  const outputs = pick(mapping.outputKeys);
  return withSplits(mapping.splitKey === undefined ? undefined : value[mapping.splitKey], (splits) =>
    draftOf({
      inputs: pick(mapping.inputKeys),
      outputs: Object.keys(outputs).length === 0 ? null : outputs,
      metadata: pick(mapping.metadataKeys),
      splits,
      id: mapping.idKey === undefined ? undefined : (value[mapping.idKey] ?? undefined),
      name: undefined,
      sourceRunId: undefined,
      createdAt: undefined,
    }),
  );
}

/** An example as exports write it. */
function mapExample(value: JsonObject, mapping: ImportMapping): MappedRow {
  const metadata = value['metadata'] ?? {};
  if (typeof metadata !== 'object' || Array.isArray(metadata)) {
    return refused('has metadata that is not an object', ['metadata']);
  }
  return withSplits(value[mapping.splitKey ?? 'splits'] ?? value['split'], (splits) =>
    draftOf({
      inputs: value['inputs'] ?? null,
      outputs: value['outputs'] ?? null,
      metadata,
      splits,
      id: value[mapping.idKey ?? 'id'] ?? undefined,
      name: value['name'] ?? undefined,
      sourceRunId: value['source_run_id'] ?? undefined,
      createdAt: value['created_at'] ?? undefined,
    }),
  );
}

function withSplits(
  said: JsonValue | undefined,
  map: (splits: readonly string[] | undefined) => MappedRow,
): MappedRow {
  if (said === undefined || said === null) return map(undefined);
  const splits = typeof said === 'string' ? [said] : said;
  return isStrings(splits) ? map(splits) : refused('has splits that are not names', ['splits']);
}

const isStrings = (value: JsonValue): value is string[] =>
  Array.isArray(value) && value.every((item) => typeof item === 'string');

interface Said {
  readonly inputs: JsonValue;
  readonly outputs: JsonValue;
  readonly metadata: JsonObject;
  readonly splits: readonly string[] | undefined;
  readonly id: JsonValue | undefined;
  readonly name: JsonValue | undefined;
  readonly sourceRunId: JsonValue | undefined;
  readonly createdAt: JsonValue | undefined;
}

function draftOf(said: Said): MappedRow {
  const problems: RowProblem[] = [];
  const { inputs, outputs, metadata, splits, id, name, sourceRunId, createdAt } = said;
  if (inputs === null) problems.push(rowProblem('has no inputs', ['inputs']));
  if (id !== undefined && !isUuid(id)) problems.push(rowProblem('has an id that is not a UUID', ['id']));
  if (name !== undefined && typeof name !== 'string') {
    problems.push(rowProblem('has a name that is no text', ['name']));
  }
  if (sourceRunId !== undefined && !isUuid(sourceRunId)) {
    problems.push(rowProblem('has a source run that is not a UUID', ['source_run_id']));
  }
  const createdUs = parseWireTime(createdAt);
  if (Number.isNaN(createdUs)) problems.push(rowProblem('has a time that is none', ['created_at']));
  if (problems.length > 0) return { problems };
  return {
    draft: {
      id: (id as string | undefined)?.toLowerCase(),
      name: name as string | undefined,
      inputs: payloadOf(inputs),
      outputs: outputs === null ? null : payloadOf(outputs),
      metadata,
      splits,
      sourceRunId: (sourceRunId as string | undefined)?.toLowerCase(),
      createdUs,
    },
  };
}
