/** Batched reads of one operation: datasets, their shares, and examples now, as of a version and by source run. */
import DataLoader from 'dataloader';
import type { Principal } from '../tenancy/principal.js';
import type { Dataset } from './dataset.js';
import type { DatasetService } from './dataset.service.js';
import type { DatasetShareService } from './dataset-share.service.js';
import type { DatasetShare } from './dataset-share.store.js';
import type { ExampleService } from './example.service.js';
import type { Pin, ShownExample } from './example.store.js';

const MAX_BATCH = 500;

export interface DatasetLoaderDeps {
  readonly datasets: DatasetService;
  readonly examples: ExampleService;
  readonly shares: DatasetShareService;
  readonly principal: Principal;
}

export class DatasetLoaders {
  readonly byId: DataLoader<string, Dataset | undefined>;
  readonly byName: DataLoader<string, Dataset | undefined>;
  readonly share: DataLoader<string, DatasetShare | undefined>;
  private readonly deps: DatasetLoaderDeps;
  // Examples with and without content are different reads.
  private readonly examples = new Map<string, DataLoader<string, ShownExample | undefined>>();
  private readonly sources = new Map<string, DataLoader<string, readonly ShownExample[]>>();

  constructor(deps: DatasetLoaderDeps) {
    this.deps = deps;
    const { datasets, shares, principal } = deps;
    this.byId = new DataLoader(
      async (ids: readonly string[]) => {
        const found = await datasets.findDatasets(principal, ids);
        const byId = new Map(found.map((dataset) => [dataset.uuid, dataset]));
        return ids.map((id) => byId.get(id));
      },
      { name: 'datasets.find', maxBatchSize: MAX_BATCH },
    );
    this.byName = new DataLoader(
      async (names: readonly string[]) => {
        const found = await datasets.findDatasetsByName(principal, names);
        const byName = new Map(found.map((dataset) => [dataset.name, dataset]));
        return names.map((name) => byName.get(name));
      },
      { name: 'datasets.findNamed', maxBatchSize: MAX_BATCH },
    );
    this.share = new DataLoader(
      async (ids: readonly string[]) => {
        const found = await shares.findByDatasets(principal, ids);
        return ids.map((id) => found.get(id));
      },
      { name: 'datasets.shares', maxBatchSize: MAX_BATCH },
    );
  }

  /** The newest state of an example of any dataset. */
  example(id: string, content: boolean): Promise<ShownExample | undefined> {
    const { examples, principal } = this.deps;
    return this.lazily(`now/${content}`, (ids) => examples.findExamples(principal, ids, { content })).load(
      id,
    );
  }

  /** An example as it was in a version. */
  exampleAt(
    place: { readonly datasetId: string; readonly pin: Pin },
    id: string,
    content: boolean,
  ): Promise<ShownExample | undefined> {
    const { examples, principal } = this.deps;
    return this.lazily(`${place.datasetId}/${place.pin}/${content}`, (ids) =>
      examples.findExamplesIn(principal, place, ids, { content }),
    ).load(id);
  }

  /** The first examples made from a run. */
  bySource(runId: string, first: number, content: boolean): Promise<readonly ShownExample[]> {
    const { examples, principal } = this.deps;
    const key = `${first}/${content}`;
    let loader = this.sources.get(key);
    if (loader === undefined) {
      loader = new DataLoader<string, readonly ShownExample[]>(
        async (runIds) => {
          const found = await examples.findBySource(principal, runIds, first, { content });
          return runIds.map((id) => found.filter(({ sourceRunId }) => sourceRunId === id));
        },
        { name: 'examples.findBySource', maxBatchSize: MAX_BATCH },
      );
      this.sources.set(key, loader);
    }
    return loader.load(runId);
  }

  private lazily(
    key: string,
    find: (ids: readonly string[]) => Promise<readonly ShownExample[]>,
  ): DataLoader<string, ShownExample | undefined> {
    let loader = this.examples.get(key);
    if (loader === undefined) {
      loader = new DataLoader<string, ShownExample | undefined>(
        async (ids) => {
          const found = new Map((await find(ids)).map((example) => [example.uuid, example]));
          return ids.map((id) => found.get(id));
        },
        { name: 'examples.find', maxBatchSize: MAX_BATCH },
      );
      this.examples.set(key, loader);
    }
    return loader;
  }
}
