/**
 * The composition root: every client, store and service, built once and given what it needs. A gateway and a
 * worker build the same and use different parts of it. What is started here is stopped by `close`, in reverse.
 */
import { createHmac } from 'node:crypto';
import { AttachmentService } from './attachments/attachment.service.js';
import { AttachmentStore } from './attachments/attachment.store.js';
import { ContentReadService } from './audit/content-read.service.js';
import { ContentReadStore } from './audit/content-read.store.js';
import { createDatasets, createHarvests } from './composition/datasets.js';
import { createComparison, createEvaluators, createExperiments } from './composition/evaluation.js';
import { clock, createFoundation, ids } from './composition/foundation.js';
import type { AppOptions } from './composition/foundation.js';
import { createModels } from './composition/models.js';
import { createRateLimiter, createTenancy } from './composition/tenancy.js';
import { createFeedback, createIngest, createReading, createSearch } from './composition/traces.js';
import { Cursors } from './graphql/cursor.js';
import { JobListStore } from './jobs/job-list.store.js';
import { JobService } from './jobs/job.service.js';
import { createJobs } from './platform/jobs/queue.js';

export type App = ReturnType<typeof createApp>;

export function createApp(options: AppOptions) {
  const foundation = createFoundation(options);
  const { redisUrl, doorbell, reads } = foundation;
  const jobs = createJobs({ redisUrl, ids, doorbell });
  const { indexer, search } = createSearch(foundation);
  const ingest = createIngest(foundation, options);
  const reading = createReading(foundation, search, jobs.jobQueue);
  const feedback = createFeedback(foundation);
  const models = createModels(foundation, options, ingest.runSink);
  const datasets = createDatasets(foundation, options, { ...reading, ...feedback, ...jobs });
  const harvests = createHarvests(foundation, { ...jobs, ...reading, ...datasets });
  const evaluators = createEvaluators(foundation, options, {
    ...models,
    ...feedback,
    ...reading,
    ...datasets,
  });
  return {
    ...foundation,
    ...jobs,
    indexer,
    search,
    ...reading,
    jobs: new JobService({
      jobs: new JobListStore({ db: reads }),
      queue: jobs.jobStore,
      db: reads,
      doorbell,
    }),
    // Signed with a key of their own, the same in every process of the installation.
    cursors: new Cursors({ key: createHmac('sha256', options.pepper).update('cursors').digest() }),
    clock,
    ids,
    ...createTenancy(foundation, options),
    rateLimiter: createRateLimiter(foundation, options),
    contentReadService: new ContentReadService({ store: new ContentReadStore({ db: reads }) }),
    attachments: new AttachmentService({
      store: new AttachmentStore({ pool: foundation.writes }),
      contentReads: foundation.contentReads,
      clock,
      ids,
      pepper: options.pepper,
    }),
    ...feedback,
    ...createComparison(foundation, options, { ...reading, ...feedback }),
    ...datasets,
    ...evaluators,
    ...harvests,
    ...createExperiments(foundation, options, {
      ...reading,
      ...harvests,
      ...jobs,
      ...models,
      ...feedback,
      ...datasets,
      ...evaluators,
      ...ingest,
    }),
    ...ingest,
    ...models,
  };
}
