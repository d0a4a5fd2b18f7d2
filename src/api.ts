/** The GraphQL API over the services of app.ts: resolver instances, schema, and how an operation is run. */
import type { App } from './app.js';
import { DATASET_NODE } from './datasets/dataset.inputs.js';
import { DatasetLoaders } from './datasets/dataset.loaders.js';
import { DatasetResolver } from './datasets/dataset.resolver.js';
import {
  DatasetDiffResolver,
  DatasetExamplesResolver,
  ExampleDifferenceResolver,
  RunExamplesResolver,
} from './datasets/example-places.resolver.js';
import { ExampleResolver } from './datasets/example.resolver.js';
import { DatasetFilesResolver, DatasetImportResolver } from './datasets/import.resolver.js';
import { EXAMPLE_NODE } from './datasets/example.types.js';
import { ComparisonResolver } from './comparison/comparison.resolver.js';
import { PairComparisonResolver } from './comparison/pair-comparison.resolver.js';
import { EvaluatorLoaders } from './evaluators/evaluator.loaders.js';
import { EvaluatorResolver, EvaluatorVersionResolver } from './evaluators/evaluator.resolver.js';
import { EVALUATOR_NODE, EVALUATOR_VERSION_NODE } from './evaluators/evaluator.types.js';
import { ExperimentControlResolver } from './experiments/experiment-control.resolver.js';
import { ExperimentLiveResolver } from './experiments/experiment-live.resolver.js';
import { ExperimentLoaders } from './experiments/experiment.loaders.js';
import { ExperimentResolver, ExperimentRowResolver } from './experiments/experiment.resolver.js';
import { EXPERIMENT_NODE } from './experiments/experiment.types.js';
import { ContentReadResolver } from './audit/content-read.resolver.js';
import { FeedbackConfigResolver } from './feedback/feedback-config.resolver.js';
import { FeedbackResolver } from './feedback/feedback.resolver.js';
import { FEEDBACK_NODE } from './feedback/feedback.types.js';
import { RunFeedbackResolver } from './feedback/run-feedback.resolver.js';
import { FilterResolver } from './filters/filter.resolver.js';
import { GateLoaders } from './gates/gate.loaders.js';
import { GateResolver } from './gates/gate.resolver.js';
import { GATE_EVALUATION_NODE, GATE_NODE } from './gates/gate.types.js';
import { HarvestResolver, HarvestRunResolver } from './harvest/harvest.resolver.js';
import { HARVEST_NODE, HARVEST_RUN_NODE } from './harvest/harvest.types.js';
import { requirePrincipal } from './graphql/context.js';
import type { LoaderFactory } from './graphql/context.js';
import { ErrorPresenter } from './graphql/errors.js';
import { Executor } from './graphql/executor.js';
import { OperationGate } from './graphql/gate.js';
import { NodeResolver, NodeTypes } from './graphql/node.resolver.js';
import { buildTracewellSchema } from './graphql/schema.js';
import { traceSlowResolvers } from './graphql/tracing.js';
import { NO_TRUSTED_DOCUMENTS } from './graphql/trusted-documents.js';
import { JobLoaders } from './jobs/job.loaders.js';
import { JobResolver } from './jobs/job.resolver.js';
import { JOB_NODE } from './jobs/job.types.js';
import { LiveResolver } from './live/live.resolver.js';
import { isTracing } from './platform/telemetry.js';
import { PROJECT_NODE } from './projects/project.inputs.js';
import { ModelProviderResolver } from './models/model-provider.resolver.js';
import { MODEL_PROVIDER_NODE } from './models/model-provider.types.js';
import { ProjectLoaders } from './projects/project.loaders.js';
import { ProjectsResolver } from './projects/project.resolver.js';
import { RunIntakeResolver } from './runs/run-intake.resolver.js';
import { RunStatsResolver } from './runs/run-stats.resolver.js';
import { RunLoaders } from './runs/run.loaders.js';
import { RunResolver } from './runs/run.resolver.js';
import { RUN_NODE } from './runs/run.types.js';
import type { AttachmentLinks } from './runs/run.types.js';
import { TraceResolver } from './runs/trace.resolver.js';
import { TRACE_NODE } from './runs/trace.types.js';
import { ScheduleResolver } from './schedules/schedule.resolver.js';
import { SCHEDULE_NODE } from './schedules/schedule.types.js';
import { RunShareResolver } from './sharing/run-share.resolver.js';
import { ApiKeyResolver, apiKeyNodes } from './tenancy/api-key.resolver.js';
import { MemberResolver } from './tenancy/member.resolver.js';
import { trustedScope } from './tenancy/principal.js';
import { RateLimitResolver } from './tenancy/rate-limit.resolver.js';
import { ViewerResolver } from './tenancy/viewer.resolver.js';
import { WorkspaceResolver, workspaceNodes } from './tenancy/workspace.resolver.js';
import { ThreadResolver } from './threads/thread.resolver.js';

/** Datasets and examples, and where other types lead to them. */
function datasetResolvers(app: App, links: AttachmentLinks, publicUrl: string | undefined) {
  const { cursors, datasets, examples, imports, lineage, datasetShares: shares } = app;
  const loaders: LoaderFactory<DatasetLoaders> = (context) =>
    new DatasetLoaders({ datasets, examples, shares, principal: requirePrincipal(context) });
  const places = { examples, cursors, links, loaders };
  const dataset = new DatasetResolver({
    datasets,
    examples,
    lineage,
    shares,
    cursors,
    loaders,
    publicUrl,
  });
  const example = new ExampleResolver({ examples, lineage, links, loaders });
  const all = [
    dataset,
    example,
    new DatasetDiffResolver(places),
    new DatasetExamplesResolver(places),
    new DatasetFilesResolver({ examples, imports, publicUrl }),
    new DatasetImportResolver({ imports }),
    new ExampleDifferenceResolver(places),
    new RunExamplesResolver(places),
  ];
  return { dataset, example, all };
}

export function createApi(app: App, publicUrl: string | undefined, trusted = NO_TRUSTED_DOCUMENTS) {
  const { cursors, runs, projects, jobs, keys, workspaces, members, feedback } = app;
  const projectLoaders: LoaderFactory<ProjectLoaders> = (context) =>
    new ProjectLoaders({ service: projects, principal: requirePrincipal(context) });
  const runLoaders: LoaderFactory<RunLoaders> = (context) =>
    new RunLoaders({ service: runs, principal: requirePrincipal(context) });
  const jobLoaders: LoaderFactory<JobLoaders> = (context) =>
    new JobLoaders({ service: jobs, principal: requirePrincipal(context) });
  const experimentLoaders: LoaderFactory<ExperimentLoaders> = (context) =>
    new ExperimentLoaders({ service: app.experiments, principal: requirePrincipal(context) });
  const links: AttachmentLinks = {
    presign: ({ workspaceId, runId, name }) =>
      `${publicUrl ?? ''}${app.attachments.presign(trustedScope(workspaceId), runId, name)}`,
  };

  const ofDatasets = datasetResolvers(app, links, publicUrl);
  const runResolver = new RunResolver({ runs, cursors, links, runLoaders, projectLoaders });
  const projectResolver = new ProjectsResolver({ projects, cursors, loaders: projectLoaders });
  const jobResolver = new JobResolver({ jobs, cursors, loaders: jobLoaders });
  const gateLoaders: LoaderFactory<GateLoaders> = (context) =>
    new GateLoaders({ service: app.gates, principal: requirePrincipal(context) });
  const gateResolver = new GateResolver({ gates: app.gates, loaders: gateLoaders, cursors });
  const experimentResolver = new ExperimentResolver({
    experiments: app.experiments,
    cursors,
    loaders: experimentLoaders,
    projectLoaders,
  });
  const evaluatorLoaders: LoaderFactory<EvaluatorLoaders> = (context) =>
    new EvaluatorLoaders({ service: app.evaluators, principal: requirePrincipal(context) });
  const evaluatorResolver = new EvaluatorResolver({
    evaluators: app.evaluators,
    trials: app.evaluatorTrials,
    loaders: evaluatorLoaders,
    cursors,
  });
  const feedbackResolver = new FeedbackResolver({ feedback, cursors, projectLoaders });
  const scheduleResolver = new ScheduleResolver({ schedules: app.schedules, cursors });
  const harvestResolver = new HarvestResolver({
    harvests: app.harvests,
    previews: app.harvestPreviews,
    schedules: app.schedules,
    cursors,
  });
  const modelProviderResolver = new ModelProviderResolver({
    providers: app.modelProviders,
    trial: app.providerTrial,
    cursors,
  });
  const traceResolver = new TraceResolver({ runs, cursors, links, runLoaders, projectLoaders });
  const nodeTypes = new NodeTypes()
    .register('ApiKey', apiKeyNodes(keys))
    .register('Workspace', workspaceNodes(workspaces))
    .register(DATASET_NODE, ofDatasets.dataset.loadNodes)
    .register(EXAMPLE_NODE, ofDatasets.example.loadNodes)
    .register(GATE_NODE, gateResolver.loadNodes)
    .register(GATE_EVALUATION_NODE, gateResolver.loadEvaluations)
    .register(EVALUATOR_NODE, evaluatorResolver.loadNodes)
    .register(EVALUATOR_VERSION_NODE, evaluatorResolver.loadVersions)
    .register(EXPERIMENT_NODE, experimentResolver.loadNodes)
    .register(FEEDBACK_NODE, feedbackResolver.loadNodes)
    .register(HARVEST_NODE, harvestResolver.loadNodes)
    .register(HARVEST_RUN_NODE, harvestResolver.loadRuns)
    .register(JOB_NODE, jobResolver.loadNodes)
    .register(MODEL_PROVIDER_NODE, modelProviderResolver.loadNodes)
    .register(PROJECT_NODE, projectResolver.loadNodes)
    .register(RUN_NODE, runResolver.loadNodes)
    .register(SCHEDULE_NODE, scheduleResolver.loadNodes)
    .register(TRACE_NODE, traceResolver.loadNodes);

  const schema = buildTracewellSchema([
    ...ofDatasets.all,
    runResolver,
    projectResolver,
    jobResolver,
    feedbackResolver,
    new ApiKeyResolver({ keys, cursors }),
    new ContentReadResolver({ reads: app.contentReadService, cursors }),
    evaluatorResolver,
    new EvaluatorVersionResolver({ loaders: evaluatorLoaders }),
    experimentResolver,
    new ExperimentControlResolver({ control: app.experimentControl, schedules: app.schedules }),
    new ExperimentLiveResolver({ links }),
    new ComparisonResolver({ comparisons: app.comparisons, experimentLoaders, cursors }),
    new PairComparisonResolver({ control: app.comparativeControl, comparisons: app.comparisons }),
    gateResolver,
    new ExperimentRowResolver({ loaders: experimentLoaders, runLoaders, links }),
    new FeedbackConfigResolver({ configs: app.feedbackConfigs, tokens: app.feedbackTokens, cursors }),
    new FilterResolver(),
    harvestResolver,
    new HarvestRunResolver({ harvests: app.harvests, cursors }),
    new LiveResolver({ links }),
    new MemberResolver({ members, cursors }),
    modelProviderResolver,
    new NodeResolver({ nodeTypes }),
    new RateLimitResolver({ clock: app.clock }),
    new RunFeedbackResolver({ feedback, cursors }),
    new RunIntakeResolver({ intake: app.intake, ids: app.ids }),
    new RunShareResolver({ shares: app.shares, publicUrl }),
    new RunStatsResolver({ runs, projectLoaders }),
    scheduleResolver,
    new ThreadResolver({ threads: app.threads, cursors, projectLoaders }),
    traceResolver,
    new ViewerResolver({ keys, members, workspaces }),
    new WorkspaceResolver({ workspaces, cursors }),
  ]);
  if (isTracing()) traceSlowResolvers(schema);
  return {
    schema,
    gate: new OperationGate({
      schema,
      limiter: app.rateLimiter,
      trusted,
      onRejected: (rule) => app.metrics.graphqlRejected.inc({ rule }),
    }),
    executor: new Executor({ schema }),
    presenter: new ErrorPresenter({ log: app.log, ids: app.ids }),
  };
}

export type Api = ReturnType<typeof createApi>;
