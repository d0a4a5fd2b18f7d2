/** What can be done to examples, each within a transaction its caller commits. Callers are checked before. */
import { setImmediate } from 'node:timers/promises';
import type pg from 'pg';
import type { Clock } from '../platform/clock.js';
import type { Ids } from '../platform/ids.js';
import { failed, ok, problem } from '../platform/result.js';
import type { Problem, Result } from '../platform/result.js';
import { changedRow, exampleProblems, newRow } from './example.js';
import type { ExampleChange, ExampleDraft, ExampleRow } from './example.js';
import { deleteAttachments, nameAttachments } from './example-attachments.store.js';
import { copyIntoVersion } from './example-row.js';
import { ExampleSchemas, violationProblem } from './example-schemas.js';
import { ExampleStore } from './example.store.js';
import {
  changeSplit,
  claimIds,
  closeCurrent,
  currentSizes,
  findKnown,
  readCurrent,
  removeForEver,
} from './example-write.store.js';
import { writeVersion } from './version-writer.js';
import type { ExampleWrite, WritePlace, Writer } from './version-writer.js';

/** Examples one call may bring or name. */
export const MAX_EXAMPLES_PER_CALL = 50_000;
/** Problems that are told at once. */
const MAX_PROBLEMS = 100;
/** Hashed before others get their turn. */
const BYTES_PER_TURN = 512 * 1024;
const MAX_BATCH_ROWS = 1_000;
const MAX_BATCH_BYTES = 8 * 1024 * 1024;

export interface ExampleWriterDeps {
  readonly clock: Clock;
  readonly ids: Ids;
}

const bytesOf = (row: { readonly inputs: string; readonly outputs: string | null }): number =>
  row.inputs.length + (row.outputs?.length ?? 0);

/** Lists of at most so many items and bytes, in order; an item larger than that comes alone. */
export function* batches<T>(items: Iterable<T>, bytes: (item: T) => number): Generator<T[], void, undefined> {
  let batch: T[] = [];
  let size = 0;
  for (const item of items) {
    const more = bytes(item);
    if (batch.length > 0 && (batch.length === MAX_BATCH_ROWS || size + more > MAX_BATCH_BYTES)) {
      yield batch;
      batch = [];
      size = 0;
    }
    batch.push(item);
    size += more;
  }
  if (batch.length > 0) yield batch;
}

const at = (index: number): string[] => ['examples', String(index)];

export class ExampleWriter {
  readonly #deps: ExampleWriterDeps;

  constructor(deps: ExampleWriterDeps) {
    this.#deps = deps;
  }

  /** All or none. Ids are given back in order of the drafts. */
  async create(
    tx: pg.PoolClient,
    writer: Writer,
    datasetId: string,
    drafts: readonly ExampleDraft[],
  ): Promise<Result<ExampleWrite>> {
    const { ids, clock } = this.#deps;
    const problems = [...tooMany(drafts.length), ...firstProblems(drafts)];
    if (problems.length > 0) return failed(...problems);
    const nowUs = clock.now().getTime() * 1_000;
    const rows: ExampleRow[] = [];
    let bytes = 0;
    for (const draft of drafts) {
      const row = newRow(draft, draft.id ?? ids.uuid(), nowUs);
      rows.push(row);
      bytes += bytesOf(row);
      if (bytes < BYTES_PER_TURN) continue;
      bytes = 0;
      await setImmediate();
    }
    const repeated = repetitions(rows.map(({ id }) => id));
    if (repeated.length > 0) return failed(...repeated);
    return writeVersion(tx, writer, datasetId, clock, async (place) => {
      const refused = [...violations(place, drafts), ...(await this.#taken(place, rows))];
      if (refused.length > 0) return failed(...refused.slice(0, MAX_PROBLEMS));
      for (const batch of batches(rows, bytesOf)) await copyIntoVersion(tx, writer.scope, place, batch);
      return ok({ added: rows.length, modified: 0, removed: 0, value: rows.map(({ id }) => id) });
    });
  }

  async #taken({ tx, scope, datasetId }: WritePlace, rows: readonly ExampleRow[]): Promise<Problem[]> {
    if (rows.length === 0) return [];
    const taken = await claimIds(
      tx,
      scope,
      datasetId,
      rows.map(({ id }) => id),
    );
    const index = new Map(rows.map(({ id }, position) => [id, position]));
    return taken.map((row) =>
      row.datasetId === datasetId
        ? problem('ALREADY_EXISTS', `There is an example ${row.id} already.`, [
            ...at(index.get(row.id) ?? 0),
            'id',
          ])
        : problem('CONFLICT', `The id ${row.id} belongs to an example of another dataset.`, [
            ...at(index.get(row.id) ?? 0),
            'id',
          ]),
    );
  }

  /** All or none. Changes that change nothing are left out; without any other, no version is made. */
  async update(
    tx: pg.PoolClient,
    writer: Writer,
    datasetId: string,
    changes: readonly ExampleChange[],
  ): Promise<Result<ExampleWrite>> {
    const problems = [
      ...tooMany(changes.length),
      ...firstProblems(changes),
      ...repetitions(changes.map(({ id }) => id)),
    ];
    if (problems.length > 0) return failed(...problems.slice(0, MAX_PROBLEMS));
    return writeVersion(tx, writer, datasetId, this.#deps.clock, async (place) => {
      const { scope } = writer;
      const ids = changes.map(({ id }) => id);
      const sizes = await currentSizes(tx, scope, datasetId, ids);
      const missing = await missingProblems(place, ids, sizes);
      if (missing.length > 0) return failed(...missing.slice(0, MAX_PROBLEMS));
      const schemas = ExampleSchemas.stored(place.dataset);
      const refused: Problem[] = [];
      const changed: string[] = [];
      const indexed = changes.map((change, index) => ({ change, index }));
      for (const batch of batches(indexed, ({ change }) => (sizes.get(change.id) ?? 0) + saidBytes(change))) {
        const rows = await this.#changedRows(place, batch, schemas, refused);
        if (refused.length >= MAX_PROBLEMS) break;
        if (refused.length > 0) continue;
        const rowIds = rows.map(({ id }) => id);
        await closeCurrent(tx, scope, place, rowIds);
        await copyIntoVersion(tx, scope, place, rows);
        changed.push(...rowIds);
      }
      if (refused.length > 0) return failed(...refused.slice(0, MAX_PROBLEMS));
      return ok({ added: 0, modified: changed.length, removed: 0, value: changed });
    });
  }

  async #changedRows(
    { tx, scope, datasetId }: WritePlace,
    batch: readonly { change: ExampleChange; index: number }[],
    schemas: ExampleSchemas,
    refused: Problem[],
  ): Promise<ExampleRow[]> {
    const ids = batch.map(({ change }) => change.id);
    const current = new Map(
      (await readCurrent(tx, scope, datasetId, ids)).map((row) => [row.id, row] as const),
    );
    const rows: ExampleRow[] = [];
    for (const { change, index } of batch) {
      const before = current.get(change.id);
      const after = before && changedRow(before, change);
      if (after === undefined || after === before) continue;
      const outputs = after.outputs === null ? null : { text: after.outputs };
      const found = schemas.violations({ inputs: { text: after.inputs }, outputs });
      refused.push(...found.map((violation) => violationProblem(violation, at(index))));
      rows.push(after);
    }
    const renamed = batch.flatMap(({ change }) => Object.values(change.operations?.rename ?? {}));
    if (renamed.length > 0) {
      await nameAttachments(
        tx,
        scope,
        rows.flatMap(({ attachments }) => attachments.filter(({ name }) => renamed.includes(name))),
      );
    }
    return rows;
  }

  /** From the newest version on. Examples that are deleted already are left out; unknown ones are refused. */
  async delete(
    tx: pg.PoolClient,
    writer: Writer,
    datasetId: string,
    ids: readonly string[],
  ): Promise<Result<ExampleWrite>> {
    const many = tooMany(ids.length, 'ids');
    if (many.length > 0) return failed(...many);
    return writeVersion(tx, writer, datasetId, this.#deps.clock, async (place) => {
      const closed = await closeCurrent(tx, writer.scope, place, ids);
      const unknown = await unknownProblems(place, ids, closed);
      if (unknown.length > 0) return failed(...unknown.slice(0, MAX_PROBLEMS));
      return ok({ added: 0, modified: 0, removed: closed.length, value: closed });
    });
  }

  /** From all versions, with their files; their ids are free again. A version is made where the newest changes. */
  async deleteForEver(
    tx: pg.PoolClient,
    writer: Writer,
    datasetId: string,
    ids: readonly string[],
  ): Promise<Result<ExampleWrite>> {
    const many = tooMany(ids.length, 'ids');
    if (many.length > 0) return failed(...many);
    return writeVersion(tx, writer, datasetId, this.#deps.clock, async (place) => {
      const { removed, current, attachmentIds } = await removeForEver(tx, writer.scope, datasetId, ids);
      const unknown = await unknownProblems(place, ids, removed);
      if (unknown.length > 0) return failed(...unknown.slice(0, MAX_PROBLEMS));
      await deleteAttachments(tx, writer.scope, attachmentIds);
      return ok({ added: 0, modified: 0, removed: current, value: removed });
    });
  }

  /** Puts examples into a split, or takes them out of it; those that are so already are left out. */
  async setSplit(
    tx: pg.PoolClient,
    writer: Writer,
    datasetId: string,
    change: { readonly split: string; readonly remove: boolean; readonly ids: readonly string[] },
  ): Promise<Result<ExampleWrite>> {
    const many = tooMany(change.ids.length, 'exampleIds');
    if (many.length > 0) return failed(...many);
    return writeVersion(tx, writer, datasetId, this.#deps.clock, async (place) => {
      const sizes = await currentSizes(tx, writer.scope, datasetId, change.ids);
      const missing = await missingProblems(place, change.ids, sizes, (index) => [
        'exampleIds',
        String(index),
      ]);
      if (missing.length > 0) return failed(...missing.slice(0, MAX_PROBLEMS));
      const changed = await changeSplit(tx, writer.scope, place, change);
      return ok({ added: 0, modified: changed.length, removed: 0, value: changed });
    });
  }
}

function saidBytes(change: ExampleChange): number {
  return (change.inputs?.text.length ?? 0) + (change.outputs?.text.length ?? 0);
}

function tooMany(count: number, field = 'examples'): Problem[] {
  return count > MAX_EXAMPLES_PER_CALL
    ? [problem('LIMIT_EXCEEDED', `One call may bring ${MAX_EXAMPLES_PER_CALL} examples.`, [field])]
    : [];
}

function firstProblems(said: readonly (ExampleDraft | ExampleChange)[]): Problem[] {
  const problems: Problem[] = [];
  for (const [index, item] of said.entries()) {
    problems.push(...exampleProblems(item, at(index)));
    if (problems.length >= MAX_PROBLEMS) break;
  }
  return problems.slice(0, MAX_PROBLEMS);
}

function repetitions(ids: readonly string[]): Problem[] {
  const seen = new Set<string>();
  return ids
    .flatMap((id, index) => {
      if (!seen.has(id)) {
        seen.add(id);
        return [];
      }
      return [problem('INVALID', `The id ${id} comes twice.`, [...at(index), 'id'])];
    })
    .slice(0, MAX_PROBLEMS);
}

function violations({ dataset }: WritePlace, drafts: readonly ExampleDraft[]): Problem[] {
  const schemas = ExampleSchemas.stored(dataset);
  if (schemas.areEmpty) return [];
  const problems: Problem[] = [];
  for (const [index, { inputs, outputs }] of drafts.entries()) {
    const found = schemas.violations({ inputs, outputs: outputs ?? null });
    problems.push(...found.map((violation) => violationProblem(violation, at(index))));
    if (problems.length >= MAX_PROBLEMS) break;
  }
  return problems;
}

/** Examples that have no current row: another dataset's are in conflict, others are not found. */
async function missingProblems(
  { tx, scope, datasetId }: WritePlace,
  ids: readonly string[],
  present: ReadonlyMap<string, unknown>,
  path: (index: number) => string[] = (index) => [...at(index), 'id'],
): Promise<Problem[]> {
  const missing = ids.map((id, index) => ({ id, index })).filter(({ id }) => !present.has(id));
  if (missing.length === 0) return [];
  const owners = await new ExampleStore({ db: tx }).datasetsOf(
    scope,
    missing.map(({ id }) => id),
  );
  return missing.map(({ id, index }) => {
    const owner = owners.get(id);
    return owner === undefined || owner === datasetId
      ? problem('NOT_FOUND', `Example ${id} not found.`, path(index))
      : problem('CONFLICT', `Example ${id} belongs to another dataset.`, path(index));
  });
}

/** Examples the dataset never had. */
async function unknownProblems(
  { tx, scope, datasetId }: WritePlace,
  ids: readonly string[],
  met: readonly string[],
): Promise<Problem[]> {
  const found = new Set(met);
  const open = ids.filter((id) => !found.has(id));
  if (open.length === 0) return [];
  const known = await findKnown(tx, scope, datasetId, open);
  return ids.flatMap((id, index) =>
    found.has(id) || known.has(id)
      ? []
      : [problem('NOT_FOUND', `Example ${id} not found.`, ['ids', String(index)])],
  );
}
