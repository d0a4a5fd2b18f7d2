/** Runs: taking them in, finding and reading them, what is said of them. */
import { ExperimentNewsStore } from '../experiments/experiment-news.store.js';
import { ExperimentService } from '../experiments/experiment.service.js';
import { FeedbackConfigService } from '../feedback/feedback-config.service.js';
import { FeedbackConfigStore } from '../feedback/feedback-config.store.js';
import { FeedbackStatsStore } from '../feedback/feedback-stats.store.js';
import { FeedbackTokenService } from '../feedback/feedback-token.service.js';
import { FeedbackTokenStore } from '../feedback/feedback-token.store.js';
import { FeedbackService } from '../feedback/feedback.service.js';
import { FeedbackStore } from '../feedback/feedback.store.js';
import { IntakeService } from '../ingest/intake.js';
import { PartitionCatalog } from '../ingest/partition-catalog.js';
import { ProjectResolver } from '../ingest/project-resolver.js';
import { RunWriter } from '../ingest/run-writer.js';
import { RunZones } from '../ingest/run-zones.js';
import { FeedStore } from '../live/feed.store.js';
import { LiveRunStore } from '../live/live-run.store.js';
import { createPool } from '../platform/db.js';
import type { JobQueue } from '../platform/jobs/queue.js';
import { ProjectStatsStore } from '../projects/project-stats.store.js';
import { ProjectService } from '../projects/project.service.js';
import { ProjectStore } from '../projects/project.store.js';
import { RunDayStore } from '../runs/run-day.store.js';
import { RunStatsStore } from '../runs/run-stats.store.js';
import { RunService } from '../runs/run.service.js';
import { RunStore } from '../runs/run.store.js';
import { TraceStore } from '../runs/trace.store.js';
import { SearchIndexer } from '../search/search-indexer.js';
import { SearchService } from '../search/search.service.js';
import { SearchStore } from '../search/search.store.js';
import { RunShareService } from '../sharing/run-share.service.js';
import { RunShareStore } from '../sharing/run-share.store.js';
import { ThreadService } from '../threads/thread.service.js';
import { ThreadStore } from '../threads/thread.store.js';
import { ProjectDeletions } from '../upkeep/project-deletions.js';
import { clock, ids } from './foundation.js';
import type { AppOptions, Foundation } from './foundation.js';

export function createFeedback({ writes, prisma, idempotency, contentReads, doorbell }: Foundation) {
  const configStore = new FeedbackConfigStore();
  const feedback = new FeedbackService({
    pool: writes,
    store: new FeedbackStore(),
    stats: new FeedbackStatsStore(),
    configs: configStore,
    idempotency,
    contentReads,
    doorbell,
    clock,
    ids,
  });
  return {
    feedback,
    feedbackConfigs: new FeedbackConfigService({ pool: writes, store: configStore, idempotency, clock }),
    feedbackTokens: new FeedbackTokenService({
      store: new FeedbackTokenStore({ prisma }),
      feedback,
      idempotency,
      clock,
    }),
  };
}

export function createIngest(
  { databaseUrl, writes, doorbell, metrics, log }: Foundation,
  { config, lifecycle }: AppOptions,
) {
  const pool = createPool({
    url: databaseUrl,
    name: 'ingest',
    max: config.ingest.lanes,
    statementTimeoutMs: 10_000,
    // Used by the run writer alone, whose transactions hold what several workspaces have sent.
    rows: 'everywhere',
    log,
  });
  lifecycle.onStop('pool ingest', () => pool.end());
  metrics.watchPool('ingest', pool);
  const writer = new RunWriter({
    pool,
    lanes: config.ingest.lanes,
    projects: new ProjectResolver({ pool: writes, ids, clock }),
    zones: new RunZones({ pool: writes, partitions: new PartitionCatalog({ pool: writes }) }),
    doorbell,
    clock,
    log,
    onFlush: ({ rows, seconds }) => {
      metrics.writerBatchRuns.observe(rows);
      metrics.writerFlushSeconds.observe(seconds);
    },
  });
  lifecycle.onStop('run writer', () => writer.close());
  return { runSink: writer, intake: new IntakeService({ sink: writer, clock, ids, log, metrics }) };
}

export function createSearch({ reads, writes, log }: Foundation) {
  const store = new SearchStore();
  const indexer = new SearchIndexer({ pool: writes, store, feed: new FeedStore({ pool: writes }), log });
  return { indexer, search: new SearchService({ pool: reads, store, indexer, clock, log }) };
}

/**
 * What live subscribers are shown, on connections of their own: the queries of callers cannot hold events up. A search
 * that waits for its index gives up sooner, because the subscriber asks again.
 */
export function createLiveReading({ live, feed, log }: Foundation, indexer: SearchIndexer) {
  const searchOptions = { pool: live, store: new SearchStore(), indexer, clock, log, maxWaitMs: 2_000 };
  return {
    tail: new FeedStore({ pool: feed }),
    replay: new FeedStore({ pool: live }),
    liveRuns: new LiveRunStore({
      db: live,
      runs: new RunStore({ db: live }),
      days: new RunDayStore({ db: live }),
      search: new SearchService(searchOptions),
      experiments: new ExperimentNewsStore({ db: live }),
    }),
  };
}

export function createReading(
  { reads, writes, idempotency, contentReads, doorbell }: Foundation,
  search: SearchService,
  jobQueue: JobQueue,
) {
  const runStore = new RunStore({ db: reads });
  const days = new RunDayStore({ db: reads });
  const runs = new RunService({
    pool: writes,
    runs: runStore,
    traces: new TraceStore({ db: reads }),
    stats: new RunStatsStore({ db: reads }),
    days,
    search,
    contentReads,
    doorbell,
    clock,
  });
  return {
    runStore,
    runDays: days,
    runs,
    projects: new ProjectService({
      pool: writes,
      projects: new ProjectStore({ db: writes }),
      stats: new ProjectStatsStore({ db: reads }),
      days,
      deletions: new ProjectDeletions({ queue: jobQueue }),
      idempotency,
      clock,
      ids,
    }),
    threads: new ThreadService({ threads: new ThreadStore({ db: reads }), days, search, contentReads }),
    experiments: new ExperimentService({ db: reads, contentReads }),
    shares: new RunShareService({ store: new RunShareStore({ db: writes }), runs, clock }),
  };
}
