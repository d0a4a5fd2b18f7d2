/**
 * Any number of examples as one version, in bounded memory. Rows are checked and copied onto the stage as they come,
 * each batch in a transaction of its own; one short transaction then moves them into the version. All or nothing, or
 * with a quarantine: rows that do not fit are kept aside with what is wrong with them.
 */
import type pg from 'pg';
import type { Clock } from '../platform/clock.js';
import type { Ids } from '../platform/ids.js';
import { failed, ok, problem } from '../platform/result.js';
import type { Problem, Result } from '../platform/result.js';
import { canonicalJson } from '../platform/canonical-json.js';
import { transaction } from '../platform/db.js';
import type { Dataset, DatasetVersion } from './dataset.js';
import { DatasetStore } from './dataset.store.js';
import { exampleProblems, newRow } from './example.js';
import type { ExampleDraft } from './example.js';
import { copyOntoStage } from './example-row.js';
import type { StagedRow } from './example-row.js';
import { ExampleSchemas, violationProblem } from './example-schemas.js';
import { clearStage, insertStaged, stagedConflicts, unstage } from './example-write.store.js';
import type { StagedConflict } from './example-write.store.js';
import { rowProblem } from './import-mapping.js';
import type { MappedRow, RowProblem } from './import-mapping.js';
import { ImportStore, MAX_REJECT_LENGTH } from './import.store.js';
import type { DatasetImport, ImportFormat, ImportMode, RejectedRow } from './import.store.js';
import { noSuchDataset, writeVersion } from './version-writer.js';
import type { Writer } from './version-writer.js';

/** One row on its way in. */
export type IncomingRow = MappedRow & {
  /** From 1. */
  readonly row: number;
  /** As it came, to be shown where it is rejected. */
  readonly raw: () => string;
};

/** Runs the work that makes the version in a transaction, or answers what it answered before. */
export type Commit = (work: (tx: pg.PoolClient) => Promise<ImportOutcome>) => Promise<ImportOutcome>;

export interface ImportOptions {
  readonly format: ImportFormat;
  readonly mode: ImportMode;
  /** Default: a transaction of its own. */
  readonly commit?: Commit | undefined;
}

export interface ImportOutcome extends DatasetImport {
  /** The version it made. */
  readonly made: DatasetVersion | null;
}

export interface ExampleImporterDeps {
  /** For statements that may take long. */
  readonly pool: pg.Pool;
  readonly clock: Clock;
  readonly ids: Ids;
}

const MAX_BATCH_ROWS = 1_000;
const MAX_BATCH_BYTES = 8 * 1024 * 1024;
const MAX_REJECT_BATCH = 200;
/** Problems of an import that is refused as a whole. */
const MAX_PROBLEMS = 100;

/** A failed result, thrown to roll the transaction back. */
class Refused extends Error {
  constructor(readonly problems: readonly Problem[]) {
    super('The import was refused.');
  }
}

export class ExampleImporter {
  readonly #deps: ExampleImporterDeps;

  constructor(deps: ExampleImporterDeps) {
    this.#deps = deps;
  }

  /**
   * Takes in all rows. With all_or_nothing the first problems are the failure, and nothing was written; reading goes on
   * until a hundred are found, so that not each try finds one more.
   */
  async run(
    writer: Writer,
    datasetId: string,
    rows: AsyncIterable<IncomingRow>,
    { commit = (work) => transaction(this.#deps.pool, work), ...options }: ImportOptions,
  ): Promise<Result<ImportOutcome>> {
    const [dataset] = await new DatasetStore({ db: this.#deps.pool }).findByIds(writer.scope, [datasetId]);
    if (dataset === undefined) return noSuchDataset();
    const intake = new Intake(this.#deps, writer, dataset, options);
    let done = false;
    try {
      const problems = await intake.take(rows);
      if (problems.length > 0) return failed(...problems);
      const outcome = await commit((tx) => intake.apply(tx));
      done = outcome.uuid === intake.id;
      return ok(outcome);
    } catch (error) {
      if (error instanceof Refused) return failed(...error.problems);
      throw error;
    } finally {
      await intake.tidy({ keepRejects: done });
    }
  }
}

class Intake {
  readonly #id: string;
  readonly #schemas: ExampleSchemas;
  #batch: StagedRow[] = [];
  #batchBytes = 0;
  #staged = 0;
  #copied: Promise<void> = Promise.resolve();
  #rejects: RejectedRow[] = [];
  #rejected = 0;
  #ownIds = false;
  readonly #problems: Problem[] = [];

  constructor(
    private readonly deps: ExampleImporterDeps,
    private readonly writer: Writer,
    private readonly dataset: Dataset,
    private readonly options: Omit<ImportOptions, 'commit'>,
  ) {
    this.#id = deps.ids.uuid();
    this.#schemas = ExampleSchemas.stored(dataset);
  }

  get id(): string {
    return this.#id;
  }

  /** Puts rows onto the stage. Returns what is wrong with an import that cannot be. */
  async take(rows: AsyncIterable<IncomingRow>): Promise<readonly Problem[]> {
    for await (const incoming of rows) {
      const problems = 'problems' in incoming ? incoming.problems : this.#check(incoming.draft);
      if (problems.length > 0) await this.#reject(incoming, problems);
      else if ('draft' in incoming && this.#problems.length === 0) {
        await this.#stage(incoming.row, incoming.draft);
      }
      if (this.#problems.length >= MAX_PROBLEMS) break;
    }
    if (this.#problems.length > 0) return this.#problems.slice(0, MAX_PROBLEMS);
    await this.#flush();
    await this.#copied;
    await this.#flushRejects();
    return [];
  }

  #check(draft: ExampleDraft): readonly RowProblem[] {
    const { inputs, outputs = null } = draft;
    return [
      ...exampleProblems(draft, []),
      ...this.#schemas.violations({ inputs, outputs }).map((violation) => violationProblem(violation, [])),
    ].map(({ code, message, path }) => ({ code, message, path }));
  }

  async #stage(position: number, draft: ExampleDraft): Promise<void> {
    const { ids, clock } = this.deps;
    if (draft.id !== undefined) this.#ownIds = true;
    const row = newRow(draft, draft.id ?? ids.uuid(), clock.now().getTime() * 1_000);
    this.#batch.push({ ...row, position });
    this.#batchBytes += row.inputs.length + (row.outputs?.length ?? 0);
    if (this.#batch.length >= MAX_BATCH_ROWS || this.#batchBytes >= MAX_BATCH_BYTES) await this.#flush();
  }

  /** Rows of the next batch are read while this one is copied. */
  async #flush(): Promise<void> {
    const batch = this.#batch;
    this.#batch = [];
    this.#batchBytes = 0;
    await this.#copied;
    this.#staged += batch.length;
    this.#copied = copyOntoStage(this.deps.pool, this.writer.scope, this.#id, batch);
    // Reported to whoever waits for it next.
    this.#copied.catch(() => undefined);
  }

  async #reject({ row, raw }: IncomingRow, problems: readonly RowProblem[]): Promise<void> {
    this.#rejected += 1;
    if (this.options.mode === 'all_or_nothing') {
      this.#problems.push(...problems.map((one) => importProblem(row, one)));
      return;
    }
    this.#rejects.push({ row, content: raw().slice(0, MAX_REJECT_LENGTH).toWellFormed(), problems });
    if (this.#rejects.length >= MAX_REJECT_BATCH) await this.#flushRejects();
  }

  async #flushRejects(db: pg.Pool | pg.PoolClient = this.deps.pool): Promise<void> {
    const rejects = this.#rejects;
    this.#rejects = [];
    const place = { importId: this.#id, datasetId: this.dataset.uuid };
    await new ImportStore({ db }).addRejects(this.writer.scope, place, rejects, this.deps.clock.now());
  }

  /** Moves what is staged into a new version. */
  async apply(tx: pg.PoolClient): Promise<ImportOutcome> {
    const { scope, actor } = this.writer;
    const stageId = this.#id;
    const result = await writeVersion(tx, this.writer, this.dataset.uuid, this.deps.clock, async (place) => {
      if (!sameSchemas(this.dataset, place.dataset)) {
        const message = 'The schemas of the dataset changed during the import. Import again.';
        return failed(problem('CONFLICT', message, [], true));
      }
      if (this.#ownIds) await this.#resolveConflicts(tx);
      const { claimed, inserted } = await insertStaged(tx, scope, place, stageId);
      if (inserted !== this.#staged) throw new Error('staged examples were lost');
      if (claimed !== inserted) {
        const message = 'An id of the import was taken meanwhile by another dataset.';
        return failed(problem('CONFLICT', message, [], true));
      }
      return ok({ added: inserted, modified: 0, removed: 0, value: [] });
    });
    if (!result.ok) throw new Refused(result.problems);
    const { version, made } = result.value;
    const done = await new ImportStore({ db: tx }).insert(
      scope,
      {
        uuid: this.#id,
        datasetId: this.dataset.uuid,
        ...this.options,
        version: made ? (version?.version ?? null) : null,
        imported: this.#staged,
        rejected: this.#rejected,
        actor,
      },
      this.deps.clock.now(),
    );
    return { ...done, made: made ? version : null };
  }

  /** Rows whose id cannot be theirs: refused, or with a quarantine put aside. */
  async #resolveConflicts(tx: pg.PoolClient): Promise<void> {
    const place = { datasetId: this.dataset.uuid, stageId: this.#id };
    for (;;) {
      const conflicts = await stagedConflicts(tx, this.writer.scope, place, MAX_REJECT_BATCH);
      if (conflicts.length === 0) return;
      if (this.options.mode === 'all_or_nothing') {
        const told = conflicts.slice(0, MAX_PROBLEMS);
        throw new Refused(
          told.map((conflict) => importProblem(conflict.position, conflictProblem(conflict))),
        );
      }
      const rejects = conflicts.map((conflict) => ({
        row: conflict.position,
        content: JSON.stringify({ id: conflict.id }),
        problems: [conflictProblem(conflict)],
      }));
      const positions = conflicts.map(({ position }) => position);
      await unstage(tx, this.writer.scope, this.#id, positions);
      this.#staged -= positions.length;
      this.#rejected += positions.length;
      this.#rejects.push(...rejects);
      await this.#flushRejects(tx);
    }
  }

  async tidy({ keepRejects }: { keepRejects: boolean }): Promise<void> {
    const { scope } = this.writer;
    await this.#copied.catch(() => undefined);
    if (this.#staged > 0) await clearStage(this.deps.pool, scope, this.#id);
    if (!keepRejects && this.#rejected > 0) {
      await new ImportStore({ db: this.deps.pool }).deleteRejects(scope, this.#id);
    }
  }
}

const sameSchemas = (a: Dataset, b: Dataset): boolean =>
  canonicalJson([a.inputsSchema, a.outputsSchema]) === canonicalJson([b.inputsSchema, b.outputsSchema]);

function conflictProblem({ id, kind }: StagedConflict): RowProblem {
  switch (kind) {
    case 'repeated':
      return { code: 'INVALID', message: `has the id ${id} of an earlier row`, path: ['id'] };
    case 'exists':
      return { code: 'ALREADY_EXISTS', message: `has the id ${id} of an example`, path: ['id'] };
    case 'elsewhere':
      return { code: 'CONFLICT', message: `has the id ${id} of an example of another dataset`, path: ['id'] };
  }
}

/** A row's problem as one of the whole import. */
function importProblem(row: number, { code, message, path }: RowProblem): Problem {
  const known =
    code === 'ALREADY_EXISTS' || code === 'CONFLICT' || code === 'LIMIT_EXCEEDED' ? code : 'INVALID';
  return problem(known, `Row ${row} ${message}`, ['rows', String(row), ...path]);
}

/** A row that could not be read. */
export const brokenRow = (row: number, raw: string, message: string): IncomingRow => ({
  row,
  raw: () => raw,
  problems: [rowProblem(message)],
});
