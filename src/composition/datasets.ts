/** Datasets, and what fills them from traces. */
import { DatasetCleanup, DatasetDeletions } from '../datasets/dataset-cleanup.js';
import { DatasetDiffStore } from '../datasets/dataset-diff.store.js';
import { DatasetShareService } from '../datasets/dataset-share.service.js';
import { DatasetShareStore } from '../datasets/dataset-share.store.js';
import { DatasetVersionStore } from '../datasets/dataset-version.store.js';
import { DatasetService } from '../datasets/dataset.service.js';
import { DatasetStore } from '../datasets/dataset.store.js';
import { ExampleImporter } from '../datasets/example-importer.js';
import { ExampleKeysStore } from '../datasets/example-keys.store.js';
import { ExampleWriter } from '../datasets/example-writer.js';
import { ExampleService } from '../datasets/example.service.js';
import { ExampleStore } from '../datasets/example.store.js';
import { ExportService } from '../datasets/export.service.js';
import { ImportService } from '../datasets/import.service.js';
import { ImportStore } from '../datasets/import.store.js';
import { LineageService } from '../datasets/lineage.service.js';
import type { FeedbackService } from '../feedback/feedback.service.js';
import { CandidateStore } from '../harvest/candidate.store.js';
import { HarvestPreviewService } from '../harvest/harvest-preview.service.js';
import { HarvestRunStore } from '../harvest/harvest-run.store.js';
import { HarvestSource } from '../harvest/harvest-source.js';
import { HarvestWorkService } from '../harvest/harvest-work.service.js';
import { HarvestWriter } from '../harvest/harvest-writer.js';
import { HarvestService } from '../harvest/harvest.service.js';
import { HarvestStore } from '../harvest/harvest.store.js';
import { createPool } from '../platform/db.js';
import type { JobQueue } from '../platform/jobs/queue.js';
import type { ProjectService } from '../projects/project.service.js';
import type { RunService } from '../runs/run.service.js';
import { clock, ids } from './foundation.js';
import type { AppOptions, Foundation } from './foundation.js';

export function createDatasets(
  { databaseUrl, reads, writes, idempotency, contentReads, log }: Foundation,
  { databaseRole: role, lifecycle }: AppOptions,
  { runs, feedback, jobQueue }: { runs: RunService; feedback: FeedbackService; jobQueue: JobQueue },
) {
  // The one statement that makes a version of all an import brought takes longer than other writes may.
  const bulk = createPool({
    url: databaseUrl,
    name: 'datasets',
    max: 3,
    statementTimeoutMs: 120_000,
    role,
    log,
  });
  lifecycle.onStop('pool datasets', () => bulk.end());
  const exampleStore = new ExampleStore({ db: reads });
  const exampleWriter = new ExampleWriter({ clock, ids });
  const datasets = new DatasetService({
    pool: writes,
    datasets: new DatasetStore({ db: reads }),
    versions: new DatasetVersionStore({ db: reads }),
    examples: exampleStore,
    deletions: new DatasetDeletions({ queue: jobQueue }),
    idempotency,
    contentReads,
    clock,
    ids,
  });
  const examples = new ExampleService({
    pool: writes,
    datasets,
    examples: exampleStore,
    diffs: new DatasetDiffStore({ db: reads }),
    writer: exampleWriter,
    idempotency,
    contentReads,
  });
  const importer = new ExampleImporter({ pool: bulk, clock, ids });
  return {
    exampleStore,
    exampleWriter,
    exampleImporter: importer,
    datasets,
    examples,
    imports: new ImportService({
      importer,
      imports: new ImportStore({ db: reads }),
      idempotency,
      contentReads,
    }),
    exports: new ExportService({
      datasets,
      examples: exampleStore,
      keys: new ExampleKeysStore({ db: reads }),
      runs,
      feedback,
      contentReads,
    }),
    lineage: new LineageService({
      pool: writes,
      datasets,
      examples: exampleStore,
      runs,
      writer: exampleWriter,
      importer,
      idempotency,
      clock,
      ids,
    }),
    datasetShares: new DatasetShareService({ store: new DatasetShareStore({ db: writes }), clock }),
    datasetCleanup: new DatasetCleanup({ pool: writes, clock }),
  };
}

export function createHarvests(
  { reads, writes: pool, idempotency, contentReads }: Foundation,
  parts: {
    readonly jobQueue: JobQueue;
    readonly runs: RunService;
    readonly projects: ProjectService;
    readonly datasets: DatasetService;
    readonly exampleStore: ExampleStore;
  },
) {
  const { jobQueue: queue, datasets, projects } = parts;
  const candidates = new CandidateStore();
  const stores = { harvests: new HarvestStore(), runs: new HarvestRunStore(), candidates };
  const writer = new HarvestWriter({ candidates, clock, ids });
  const source = new HarvestSource({
    db: reads,
    runs: parts.runs,
    projects,
    examples: parts.exampleStore,
    candidates,
  });
  const harvests = new HarvestService({
    ...stores,
    pool,
    queue,
    writer,
    datasets,
    projects,
    idempotency,
    contentReads,
    clock,
    ids,
  });
  return {
    harvests,
    harvestPreviews: new HarvestPreviewService({ harvests, datasets, source, clock }),
    harvestWork: new HarvestWorkService({ ...stores, pool, datasets, source, writer, clock }),
  };
}
