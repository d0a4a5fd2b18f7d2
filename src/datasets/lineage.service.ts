/** Examples made from runs, and datasets made from datasets. What is copied stays, whatever becomes of its source. */
import type pg from 'pg';
import type { Clock } from '../platform/clock.js';
import type { Idempotency } from '../platform/idempotency.js';
import type { Ids } from '../platform/ids.js';
import { failed, ok, problem } from '../platform/result.js';
import type { Problem, Result } from '../platform/result.js';
import type { RunRow } from '../runs/run-columns.js';
import type { RunService } from '../runs/run.service.js';
import { requireScope } from '../tenancy/principal.js';
import type { Principal, WorkspaceScope } from '../tenancy/principal.js';
import type { AsOf, Dataset, Example, ExampleAttachment } from './dataset.js';
import type { DatasetService } from './dataset.service.js';
import { copyAttachments, deleteAttachments } from './example-attachments.store.js';
import type { AttachmentSource } from './example-attachments.store.js';
import { MAX_EXAMPLE_ATTACHMENTS } from './example.js';
import type { ExampleDraft } from './example.js';
import type { ExampleImporter, ImportOutcome, IncomingRow } from './example-importer.js';
import { writerOf } from './example.service.js';
import type { WriteOptions } from './example.service.js';
import { ExampleStore } from './example.store.js';
import type { ExampleWriter } from './example-writer.js';
import { mapRun } from './run-mapping.js';
import type { RunMapping, SourceRun } from './run-mapping.js';
import { lockDataset, noSuchDataset } from './version-writer.js';
import type { ExampleWrite } from './version-writer.js';

export interface LineageServiceDeps {
  readonly pool: pg.Pool;
  readonly datasets: DatasetService;
  readonly examples: ExampleStore;
  readonly runs: Pick<RunService, 'findRuns'>;
  readonly writer: ExampleWriter;
  readonly importer: ExampleImporter;
  readonly idempotency: Idempotency;
  readonly clock: Clock;
  readonly ids: Ids;
}

export interface FromRuns {
  /** Any runs, not only roots. */
  readonly runIds: readonly string[];
  readonly mapping?: RunMapping | undefined;
  readonly splits?: readonly string[] | undefined;
  /** Copies the files of the runs too. */
  readonly withAttachments?: boolean | undefined;
  /** Leaves out runs of which the dataset has an example already. */
  readonly skipExisting?: boolean | undefined;
}

export interface CloneRequest {
  readonly sourceId: string;
  /** The newest version where absent. */
  readonly asOf?: AsOf | undefined;
  /** Only examples in any of these. */
  readonly splits?: readonly string[] | undefined;
  /** Only these examples. */
  readonly exampleIds?: readonly string[] | undefined;
  /** Adds to a dataset, or makes one, with the source's schemas. */
  readonly target:
    { readonly datasetId: string } | { readonly name: string; readonly description?: string | null };
}

const without = (ids: readonly string[], known: readonly string[]): readonly string[] => {
  const left = new Set(known);
  return ids.filter((id) => !left.has(id));
};

export const MAX_RUNS_PER_CALL = 1_000;
const PAGE = { limit: 500, maxBytes: 8 * 1024 * 1024 };

export class LineageService {
  readonly #deps: LineageServiceDeps;

  constructor(deps: LineageServiceDeps) {
    this.#deps = deps;
  }

  /** What examples these runs would make: a draft or the parts that are missing, by run; foreign runs are left out. */
  async preview(
    principal: Principal,
    runIds: readonly string[],
    mapping: RunMapping = {},
  ): Promise<Map<string, ReturnType<typeof mapRun>>> {
    requireScope(principal, 'content');
    const runs = await this.#findRuns(principal, runIds);
    return new Map(runs.map((run) => [run.uuid, mapRun(run, mapping)]));
  }

  /** All or none, in one version. Needs the content scope: examples show what runs contain. */
  async createFromRuns(
    principal: Principal,
    datasetId: string,
    request: FromRuns,
    { idempotencyKey, note }: WriteOptions = {},
  ): Promise<Result<ExampleWrite>> {
    const scope = requireScope(principal, 'write');
    requireScope(principal, 'content');
    const runIds = [...new Set(request.runIds)];
    if (runIds.length > MAX_RUNS_PER_CALL) {
      const message = `One call may bring ${MAX_RUNS_PER_CALL} runs.`;
      return failed(problem('LIMIT_EXCEEDED', message, ['runIds']));
    }
    const call = {
      mutation: 'createExamplesFromRuns',
      key: idempotencyKey,
      input: { datasetId, request, note },
    };
    return this.#deps.idempotency.once(principal, call, async (tx) => {
      const wanted =
        request.skipExisting === true
          ? without(runIds, await this.#deps.examples.findSources(scope, datasetId, runIds))
          : runIds;
      const found = await this.#drafts(principal, wanted, request);
      if (!found.ok) return found;
      let drafts = found.value;
      if (request.skipExisting === true) {
        // Asked again behind the lock every writer takes: the same call may have come twice.
        if ((await lockDataset(tx, scope, datasetId)) === undefined) return noSuchDataset();
        const known = new Set(await new ExampleStore({ db: tx }).findSources(scope, datasetId, wanted));
        drafts = drafts.filter(({ run }) => !known.has(run.uuid));
      }
      const files = request.withAttachments === true ? await this.#filesOf(tx, scope, drafts) : undefined;
      return this.#deps.writer.create(
        tx,
        writerOf(principal, scope, note),
        datasetId,
        drafts.map(({ draft }) => ({
          ...draft,
          attachments: files?.get(draft.sourceRunId ?? '') ?? [],
        })),
      );
    });
  }

  /** Copies files of runs for examples, by `run id/name`; those that are not there are left out. Content. */
  async copyRunFiles(
    principal: Principal,
    wanted: readonly { readonly runId: string; readonly name: string }[],
  ): Promise<Map<string, ExampleAttachment>> {
    const scope = requireScope(principal, 'write');
    requireScope(principal, 'content');
    const sources = wanted.map(({ runId, name }) => ({ ownerId: runId, name, newId: this.#deps.ids.uuid() }));
    const copies = await this.#copyFiles(this.#deps.pool, scope, sources);
    return new Map(
      sources.flatMap(({ ownerId, name, newId }) => {
        const copy = copies.get(newId);
        return copy === undefined ? [] : [[`${ownerId}/${name}`, copy] as const];
      }),
    );
  }

  /** Removes files that were stored for examples which then were not written. */
  async discardFiles(principal: Principal, ids: readonly string[]): Promise<void> {
    await deleteAttachments(this.#deps.pool, requireScope(principal, 'write'), ids);
  }

  async #findRuns(principal: Principal, runIds: readonly string[]): Promise<(RunRow & SourceRun)[]> {
    return this.#deps.runs.findRuns(principal, runIds, ['inputs', 'outputs', 'metadata', 'attachments']);
  }

  async #drafts(
    principal: Principal,
    runIds: readonly string[],
    { mapping = {}, splits }: FromRuns,
  ): Promise<Result<{ draft: ExampleDraft; run: RunRow }[]>> {
    const runs = new Map((await this.#findRuns(principal, runIds)).map((run) => [run.uuid, run]));
    const problems: Problem[] = [];
    const drafts = runIds.flatMap((id, index) => {
      const run = runs.get(id);
      if (run === undefined) {
        problems.push(problem('NOT_FOUND', `Run ${id} not found.`, ['runIds', String(index)]));
        return [];
      }
      const mapped = mapRun(run, mapping);
      if ('missing' in mapped) {
        const parts = mapped.missing.map(({ from }) => from).join(', ');
        problems.push(problem('INVALID', `Run ${id} has no ${parts}.`, ['runIds', String(index)]));
        return [];
      }
      return [{ draft: { ...mapped.draft, splits }, run }];
    });
    return problems.length > 0 ? failed(...problems.slice(0, 100)) : ok(drafts);
  }

  async #filesOf(
    tx: pg.PoolClient,
    scope: WorkspaceScope,
    drafts: readonly { readonly run: RunRow }[],
  ): Promise<Map<string, ExampleAttachment[]>> {
    const sources = drafts.flatMap(({ run }) =>
      (run.attachments ?? [])
        .slice(0, MAX_EXAMPLE_ATTACHMENTS)
        .map(({ name }) => ({ ownerId: run.uuid, name, newId: this.#deps.ids.uuid() })),
    );
    const copies = await this.#copyFiles(tx, scope, sources);
    const byRun = new Map<string, ExampleAttachment[]>();
    for (const { ownerId, newId } of sources) {
      const copy = copies.get(newId);
      if (copy !== undefined) byRun.set(ownerId, [...(byRun.get(ownerId) ?? []), copy]);
    }
    return byRun;
  }

  #copyFiles(
    db: pg.Pool | pg.PoolClient,
    scope: WorkspaceScope,
    sources: readonly AttachmentSource[],
  ): Promise<Map<string, ExampleAttachment>> {
    const chunkIds = sources.map(() => this.#deps.ids.uuid());
    return copyAttachments(db, scope, sources, chunkIds, this.#deps.clock.now());
  }

  // ── Clones ───────────────────────────────────────────────────────────────────────────────────────────────

  /** Copies the examples of a version, under new ids, as one version of the target. All or none. */
  async cloneDataset(
    principal: Principal,
    request: CloneRequest,
  ): Promise<Result<{ readonly dataset: Dataset; readonly outcome: ImportOutcome }>> {
    const scope = requireScope(principal, 'write');
    requireScope(principal, 'content');
    const { datasets, importer } = this.#deps;
    const source = await datasets.findDataset(principal, request.sourceId);
    if (source === undefined) return failed(problem('NOT_FOUND', 'Dataset not found.', ['sourceId']));
    const version =
      request.asOf === undefined ? source.version : await datasets.resolve(principal, source, request.asOf);
    const target = await this.#target(principal, source, request);
    if (!target.ok) return target;
    const note = `cloned from ${source.uuid} version ${version}`;
    const writer = writerOf(principal, scope, note);
    const copied: string[] = [];
    const rows = this.#clonedRows(scope, source.uuid, version, request, copied);
    let done = false;
    try {
      const outcome = await importer.run(writer, target.value.uuid, rows, {
        format: 'examples',
        mode: 'all_or_nothing',
      });
      if (!outcome.ok) return outcome;
      done = true;
      const dataset = (await datasets.findDataset(principal, target.value.uuid)) ?? target.value;
      return ok({ dataset, outcome: outcome.value });
    } finally {
      if (!done) {
        await deleteAttachments(this.#deps.pool, scope, copied);
        if ('name' in request.target) await datasets.deleteDataset(principal, target.value.uuid);
      }
    }
  }

  async #target(principal: Principal, source: Dataset, { target }: CloneRequest): Promise<Result<Dataset>> {
    const { datasets } = this.#deps;
    if ('datasetId' in target) {
      const existing = await datasets.findDataset(principal, target.datasetId);
      return existing === undefined
        ? failed(problem('NOT_FOUND', 'Dataset not found.', ['target', 'datasetId']))
        : ok(existing);
    }
    const { dataType, metadata, inputsSchema, outputsSchema, transformations } = source;
    return datasets.createDataset(principal, {
      name: target.name,
      description: target.description ?? source.description,
      dataType,
      metadata,
      inputsSchema,
      outputsSchema,
      transformations,
    });
  }

  async *#clonedRows(
    scope: WorkspaceScope,
    datasetId: string,
    version: number,
    { splits, exampleIds }: CloneRequest,
    copied: string[],
  ): AsyncGenerator<IncomingRow, void, undefined> {
    const wanted = exampleIds === undefined ? undefined : new Set(exampleIds);
    let row = 0;
    for (let after: string | undefined; ;) {
      const page = await this.#deps.examples.page(scope, datasetId, version, { ...PAGE, splits, after });
      if (page.length === 0) return;
      after = page.at(-1)?.uuid;
      const chosen = wanted === undefined ? page : page.filter(({ uuid }) => wanted.has(uuid));
      const files = await this.#cloneFiles(scope, chosen);
      copied.push(...[...files.values()].flat().map(({ id }) => id));
      for (const example of chosen) {
        row += 1;
        const { uuid, inputs, outputs, metadata, name, sourceRunId } = example;
        const draft: ExampleDraft = {
          inputs: { text: inputs, value: JSON.parse(inputs) as never },
          outputs: outputs === null ? null : { text: outputs, value: JSON.parse(outputs) as never },
          metadata,
          // A name made of the id would name another example.
          name: name === `#${uuid.slice(-4)}` ? undefined : name,
          splits: example.splits,
          sourceRunId,
          attachments: files.get(uuid) ?? [],
        };
        yield { row, raw: () => inputs, draft };
      }
    }
  }

  async #cloneFiles(
    scope: WorkspaceScope,
    examples: readonly Example[],
  ): Promise<Map<string, ExampleAttachment[]>> {
    const planned = examples.flatMap(({ uuid, attachments }) =>
      attachments.map(({ id, name }) => ({
        example: uuid,
        source: { ownerId: id, name, newId: this.#deps.ids.uuid() },
      })),
    );
    const copies = await this.#copyFiles(
      this.#deps.pool,
      scope,
      planned.map(({ source }) => source),
    );
    const files = new Map<string, ExampleAttachment[]>();
    for (const { example, source } of planned) {
      const copy = copies.get(source.newId);
      if (copy !== undefined) files.set(example, [...(files.get(example) ?? []), copy]);
    }
    return files;
  }
}
