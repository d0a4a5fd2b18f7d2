/** Every resolver class of the API. A class that is not listed here does not exist for clients. */
import { ContentReadResolver } from '../audit/content-read.resolver.js';
import { PairComparisonResolver } from '../comparison/pair-comparison.resolver.js';
import { ComparisonResolver } from '../comparison/comparison.resolver.js';
import { EvaluatorResolver, EvaluatorVersionResolver } from '../evaluators/evaluator.resolver.js';
import { ExperimentControlResolver } from '../experiments/experiment-control.resolver.js';
import { ExperimentLiveResolver } from '../experiments/experiment-live.resolver.js';
import { ExperimentResolver, ExperimentRowResolver } from '../experiments/experiment.resolver.js';
import { FeedbackConfigResolver } from '../feedback/feedback-config.resolver.js';
import { FeedbackResolver } from '../feedback/feedback.resolver.js';
import { RunFeedbackResolver } from '../feedback/run-feedback.resolver.js';
import { FilterResolver } from '../filters/filter.resolver.js';
import { GateResolver } from '../gates/gate.resolver.js';
import { HarvestResolver, HarvestRunResolver } from '../harvest/harvest.resolver.js';
import { JobResolver } from '../jobs/job.resolver.js';
import { LiveResolver } from '../live/live.resolver.js';
import { ModelProviderResolver } from '../models/model-provider.resolver.js';
import { ProjectsResolver } from '../projects/project.resolver.js';
import { RunIntakeResolver } from '../runs/run-intake.resolver.js';
import { RunStatsResolver } from '../runs/run-stats.resolver.js';
import { RunResolver } from '../runs/run.resolver.js';
import { TraceResolver } from '../runs/trace.resolver.js';
import { ScheduleResolver } from '../schedules/schedule.resolver.js';
import { RunShareResolver } from '../sharing/run-share.resolver.js';
import { ApiKeyResolver } from '../tenancy/api-key.resolver.js';
import { MemberResolver } from '../tenancy/member.resolver.js';
import { RateLimitResolver } from '../tenancy/rate-limit.resolver.js';
import { ViewerResolver } from '../tenancy/viewer.resolver.js';
import { WorkspaceResolver } from '../tenancy/workspace.resolver.js';
import { ThreadResolver } from '../threads/thread.resolver.js';
import { DatasetResolver } from '../datasets/dataset.resolver.js';
import {
  DatasetDiffResolver,
  DatasetExamplesResolver,
  ExampleDifferenceResolver,
  RunExamplesResolver,
} from '../datasets/example-places.resolver.js';
import { ExampleResolver } from '../datasets/example.resolver.js';
import { DatasetFilesResolver, DatasetImportResolver } from '../datasets/import.resolver.js';
import { NodeResolver } from './node.resolver.js';

// The constructor's parameters differ from class to class and do not matter here.
export type ResolverClass = new (...dependencies: never[]) => object;

export const RESOLVER_CLASSES: readonly ResolverClass[] = [
  DatasetDiffResolver,
  DatasetExamplesResolver,
  DatasetFilesResolver,
  DatasetImportResolver,
  DatasetResolver,
  ExampleDifferenceResolver,
  ExampleResolver,
  RunExamplesResolver,
  ComparisonResolver,
  PairComparisonResolver,
  GateResolver,
  ApiKeyResolver,
  ContentReadResolver,
  EvaluatorResolver,
  EvaluatorVersionResolver,
  ExperimentControlResolver,
  ExperimentLiveResolver,
  ExperimentResolver,
  ExperimentRowResolver,
  FeedbackConfigResolver,
  FeedbackResolver,
  FilterResolver,
  HarvestResolver,
  HarvestRunResolver,
  JobResolver,
  LiveResolver,
  MemberResolver,
  ModelProviderResolver,
  NodeResolver,
  ProjectsResolver,
  RateLimitResolver,
  RunFeedbackResolver,
  RunIntakeResolver,
  RunResolver,
  RunShareResolver,
  RunStatsResolver,
  ScheduleResolver,
  ThreadResolver,
  TraceResolver,
  ViewerResolver,
  WorkspaceResolver,
];
