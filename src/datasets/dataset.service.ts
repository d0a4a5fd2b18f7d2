/** Use cases over datasets, for every protocol. Rows of a deleted dataset are removed by a job afterwards. */
import type pg from 'pg';
import type { ContentReads } from '../audit/content-read.js';
import type { Clock } from '../platform/clock.js';
import { sqlState, transaction } from '../platform/db.js';
import type { Queryable } from '../platform/db.js';
import { AppError } from '../platform/errors.js';
import type { Idempotency } from '../platform/idempotency.js';
import type { Ids } from '../platform/ids.js';
import { failed, ok, problem } from '../platform/result.js';
import type { Problem, Result } from '../platform/result.js';
import { requireScope } from '../tenancy/principal.js';
import type { Principal, WorkspaceScope } from '../tenancy/principal.js';
import { datasetProblems, tagProblems } from './dataset.js';
import type {
  AsOf,
  Dataset,
  DatasetDraft,
  DatasetFilter,
  DatasetPatch,
  DatasetVersion,
  SchemaViolation,
} from './dataset.js';
import type { DatasetListRequest, DatasetStore } from './dataset.store.js';
import type { DatasetTag, DatasetVersionStore } from './dataset-version.store.js';
import { ExampleSchemas, violationProblem } from './example-schemas.js';
import type { ExampleStore } from './example.store.js';
import { lockDataset, noSuchDataset } from './version-writer.js';

/** Hands the removal of a dataset's rows to a job, in the transaction that deletes the dataset. */
export interface DatasetDeletionQueue {
  enqueue(tx: Queryable, scope: WorkspaceScope, datasetId: string): Promise<void>;
}

export interface DatasetServiceDeps {
  readonly pool: pg.Pool;
  readonly datasets: DatasetStore;
  readonly versions: DatasetVersionStore;
  readonly examples: ExampleStore;
  readonly deletions: DatasetDeletionQueue;
  readonly idempotency: Idempotency;
  readonly contentReads: ContentReads;
  readonly clock: Clock;
  readonly ids: Ids;
}

/** One example's violations of given or stored schemas. */
export interface ExampleViolation extends SchemaViolation {
  readonly exampleId: string;
}

export interface Violations {
  /** The version that was checked. */
  readonly version: number;
  readonly checked: number;
  /** Whether all examples were checked, not only as many as one call may. */
  readonly complete: boolean;
  readonly violations: readonly ExampleViolation[];
}

const PAGE = { limit: 500, maxBytes: 8 * 1024 * 1024 };
/** Examples one call looks at. */
export const MAX_CHECKED = 100_000;
const MAX_VIOLATIONS = 100;
const UNIQUE_VIOLATION = '23505';
const TRIES = 3;

const taken = (name: string): Result<never> =>
  failed(problem('ALREADY_EXISTS', `There is a dataset named "${name}".`, ['name']));

export class DatasetService {
  private readonly deps: DatasetServiceDeps;

  constructor(deps: DatasetServiceDeps) {
    this.deps = deps;
  }

  /** Up to `limit + 1` datasets in reading order. */
  async listDatasets(principal: Principal, request: DatasetListRequest): Promise<Dataset[]> {
    return this.deps.datasets.list(requireScope(principal, 'read'), request);
  }

  /** How many match; `limit + 1` stands for "more than limit". */
  async countDatasets(principal: Principal, filter: DatasetFilter, limit: number): Promise<number> {
    return this.deps.datasets.count(requireScope(principal, 'read'), filter, limit);
  }

  /** In no particular order; missing and foreign ones are left out. */
  async findDatasets(principal: Principal, ids: readonly string[]): Promise<Dataset[]> {
    const scope = requireScope(principal, 'read');
    return ids.length === 0 ? [] : this.deps.datasets.findByIds(scope, [...new Set(ids)]);
  }

  /** In no particular order; names are unique in a workspace. */
  async findDatasetsByName(principal: Principal, names: readonly string[]): Promise<Dataset[]> {
    const scope = requireScope(principal, 'read');
    return names.length === 0 ? [] : this.deps.datasets.findByNames(scope, [...new Set(names)]);
  }

  async findDataset(principal: Principal, id: string): Promise<Dataset | undefined> {
    return (await this.findDatasets(principal, [id]))[0];
  }

  /** @throws AppError NOT_FOUND */
  async getDataset(principal: Principal, id: string): Promise<Dataset> {
    const dataset = await this.findDataset(principal, id);
    if (dataset === undefined) throw new AppError('NOT_FOUND', 'Dataset not found.');
    return dataset;
  }

  async createDataset(
    principal: Principal,
    draft: DatasetDraft,
    { idempotencyKey }: { idempotencyKey?: string | null | undefined } = {},
  ): Promise<Result<Dataset>> {
    const scope = requireScope(principal, 'write');
    const problems = [...datasetProblems(draft), ...schemaProblems(draft)];
    if (problems.length > 0) return failed(...problems);
    const call = { mutation: 'createDataset', key: idempotencyKey, input: draft };
    return this.deps.idempotency.once(principal, call, async (tx) => {
      const { ids, clock } = this.deps;
      const datasets = this.deps.datasets.within(tx);
      const made = await datasets.insert(scope, { ...draft, id: draft.id ?? ids.uuid() }, clock.now());
      if (made !== undefined) return ok(made);
      const [namesake] = await datasets.findByNames(scope, [draft.name]);
      return namesake === undefined
        ? failed(problem('ALREADY_EXISTS', 'The id is that of a dataset, or of one just deleted.', ['id']))
        : taken(draft.name);
    });
  }

  /**
   * Schemas are taken only where all examples of the newest version satisfy them: otherwise the first violations are
   * the problems, and `force` takes the schemas all the same.
   */
  async updateDataset(
    principal: Principal,
    id: string,
    patch: DatasetPatch,
    { force = false }: { force?: boolean } = {},
  ): Promise<Result<Dataset>> {
    const scope = requireScope(principal, 'write');
    const problems = [...datasetProblems(patch), ...schemaProblems(patch)];
    if (problems.length > 0) return failed(...problems);
    const checks = !force && (patch.inputsSchema !== undefined || patch.outputsSchema !== undefined);
    // Examples are read without holding the lock; where somebody wrote meanwhile, the newer version is read too.
    for (let tries = 1; ; tries += 1) {
      const [before] = await this.deps.datasets.findByIds(scope, [id]);
      if (before === undefined) return noSuchDataset(['id']);
      if (checks) {
        const found = await this.check(scope, before, schemasAfter(before, patch));
        if (found.violations.length > 0) return failed(...found.violations.map(toProblem));
        if (!found.complete) {
          const message = `The dataset has more than ${MAX_CHECKED} examples: they are not checked, set "force".`;
          return failed(problem('LIMIT_EXCEEDED', message, ['force']));
        }
      }
      const result = await this.replace(scope, before, patch, checks);
      if (result !== undefined) return result;
      if (tries === TRIES) {
        const message = 'Examples are being written to this dataset. Try again shortly.';
        return failed(problem('CONFLICT', message, ['id'], true));
      }
    }
  }

  /** Undefined where the dataset is not any more what was checked. */
  private async replace(
    scope: WorkspaceScope,
    before: Dataset,
    patch: DatasetPatch,
    pinned: boolean,
  ): Promise<Result<Dataset> | undefined> {
    try {
      return await transaction(this.deps.pool, async (tx) => {
        const locked = await lockDataset(tx, scope, before.uuid);
        if (locked === undefined) return noSuchDataset(['id']);
        if (pinned && locked.version !== before.version) return undefined;
        const after = await this.deps.datasets
          .within(tx)
          .update(scope, before.uuid, patch, this.deps.clock.now());
        return after === undefined ? noSuchDataset(['id']) : ok(after);
      });
    } catch (error) {
      if (sqlState(error) === UNIQUE_VIOLATION) return taken(patch.name ?? '');
      throw error;
    }
  }

  /**
   * Name, example ids and links are free at once; the rows are removed soon after.
   * @returns the deleted dataset's id.
   */
  async deleteDataset(principal: Principal, id: string): Promise<Result<string>> {
    const scope = requireScope(principal, 'write');
    const deleted = await transaction(this.deps.pool, async (tx) => {
      if ((await lockDataset(tx, scope, id)) === undefined) return false;
      await this.deps.datasets.within(tx).delete(scope, id);
      await this.deps.deletions.enqueue(tx, scope, id);
      return true;
    });
    return deleted ? ok(id) : noSuchDataset(['id']);
  }

  // ── Schemas ──────────────────────────────────────────────────────────────────────────────────────────────

  /**
   * Which examples of a version (default: the newest) do not satisfy the dataset's schemas, or those given instead.
   * The first hundred violations; needs the content scope, because messages show what is inside.
   */
  async findViolations(
    principal: Principal,
    datasetId: string,
    schemas: Pick<DatasetPatch, 'inputsSchema' | 'outputsSchema'>,
    asOf?: AsOf,
  ): Promise<Result<Violations>> {
    const scope = requireScope(principal, 'read');
    requireScope(principal, 'content');
    const problems = schemaProblems(schemas);
    if (problems.length > 0) return failed(...problems);
    const dataset = await this.getDataset(principal, datasetId);
    const version = asOf === undefined ? dataset.version : await this.resolve(principal, dataset, asOf);
    const found = await this.check(scope, { ...dataset, version }, schemasAfter(dataset, schemas));
    const ids = found.violations.map(({ exampleId }) => exampleId);
    this.deps.contentReads.note(principal, { type: 'example', ids, fields: ['violations'] });
    return ok(found);
  }

  private async check(
    scope: WorkspaceScope,
    { uuid, version }: Dataset,
    wanted: Pick<Dataset, 'inputsSchema' | 'outputsSchema'>,
  ): Promise<Violations> {
    const schemas = ExampleSchemas.stored(wanted);
    const violations: ExampleViolation[] = [];
    let checked = 0;
    let after: string | undefined;
    while (!schemas.areEmpty && checked < MAX_CHECKED && violations.length < MAX_VIOLATIONS) {
      const page = await this.deps.examples.page(scope, uuid, version, { ...PAGE, after });
      if (page.length === 0) return { version, checked, complete: true, violations };
      for (const { uuid: exampleId, inputs, outputs } of page) {
        const found = schemas.violations({
          inputs: { text: inputs },
          outputs: outputs === null ? null : { text: outputs },
        });
        violations.push(...found.map((violation) => ({ ...violation, exampleId })));
      }
      checked += page.length;
      after = page.at(-1)?.uuid;
    }
    return { version, checked, complete: schemas.areEmpty, violations: violations.slice(0, MAX_VIOLATIONS) };
  }

  // ── Versions and tags ────────────────────────────────────────────────────────────────────────────────────

  /** Undefined where nothing is meant: an unknown tag or version, a time before the first version. */
  async findVersion(
    principal: Principal,
    datasetId: string,
    asOf: AsOf,
  ): Promise<DatasetVersion | undefined> {
    const scope = requireScope(principal, 'read');
    if ((await this.findDataset(principal, datasetId)) === undefined) return undefined;
    return this.deps.versions.find(scope, datasetId, asOf);
  }

  /**
   * The version's number. 0, the empty state, for a time before the first version.
   * @throws AppError NOT_FOUND for an unknown tag or version.
   */
  async resolve(
    principal: Principal,
    dataset: Pick<Dataset, 'uuid' | 'version'>,
    asOf: AsOf,
  ): Promise<number> {
    const scope = requireScope(principal, 'read');
    if ('version' in asOf && asOf.version === 0) return 0;
    if ('tag' in asOf && asOf.tag === 'latest') return dataset.version;
    const version = await this.deps.versions.find(scope, dataset.uuid, asOf);
    if (version !== undefined) return version.version;
    if ('time' in asOf) return 0;
    throw new AppError('NOT_FOUND', 'The dataset has no such version.', { path: ['asOf'] });
  }

  /** Up to `limit + 1` versions, newest first. */
  async listVersions(
    principal: Principal,
    datasetId: string,
    request: Parameters<DatasetVersionStore['list']>[2],
  ): Promise<DatasetVersion[]> {
    return this.deps.versions.list(requireScope(principal, 'read'), datasetId, request);
  }

  /** In order of their names; `latest` is not among them. */
  async listTags(principal: Principal, datasetId: string): Promise<DatasetTag[]> {
    return this.deps.versions.listTags(requireScope(principal, 'read'), datasetId);
  }

  /** Names a version, or moves the name to it. */
  async tagVersion(
    principal: Principal,
    datasetId: string,
    tag: string,
    asOf: AsOf,
  ): Promise<Result<DatasetVersion>> {
    const scope = requireScope(principal, 'write');
    const problems = tagProblems(tag);
    if (problems.length > 0) return failed(...problems);
    return transaction(this.deps.pool, async (tx): Promise<Result<DatasetVersion>> => {
      if ((await lockDataset(tx, scope, datasetId)) === undefined) return noSuchDataset();
      const versions = this.deps.versions.within(tx);
      const meant = await versions.find(scope, datasetId, asOf);
      if (meant === undefined) {
        return failed(problem('NOT_FOUND', 'The dataset has no such version.', ['asOf']));
      }
      const { version } = meant;
      if (!(await versions.setTag(scope, datasetId, { tag, version }, this.deps.clock.now()))) {
        return failed(problem('LIMIT_EXCEEDED', 'The dataset has too many tags.', ['tag']));
      }
      return ok((await versions.find(scope, datasetId, { version })) ?? meant);
    });
  }

  /** Whether there was such a tag. */
  async untag(principal: Principal, datasetId: string, tag: string): Promise<boolean> {
    const scope = requireScope(principal, 'write');
    return this.deps.versions.deleteTag(scope, datasetId, tag);
  }
}

const schemasAfter = (
  { inputsSchema, outputsSchema }: Dataset,
  patch: Pick<DatasetPatch, 'inputsSchema' | 'outputsSchema'>,
): Pick<Dataset, 'inputsSchema' | 'outputsSchema'> => ({
  inputsSchema: patch.inputsSchema === undefined ? inputsSchema : patch.inputsSchema,
  outputsSchema: patch.outputsSchema === undefined ? outputsSchema : patch.outputsSchema,
});

function schemaProblems({
  inputsSchema = null,
  outputsSchema = null,
}: Pick<DatasetPatch, 'inputsSchema' | 'outputsSchema'>): readonly Problem[] {
  const schemas = ExampleSchemas.of({ inputsSchema, outputsSchema });
  return schemas.ok ? [] : schemas.problems;
}

const toProblem = (violation: ExampleViolation): Problem =>
  violationProblem(violation, [`${violation.field}Schema`, 'examples', violation.exampleId]);
