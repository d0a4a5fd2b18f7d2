/**
 * A valid call of every field of Query, Mutation and Subscription: the owner's succeeds, everybody else's is refused.
 * Documents are made from the schema and select everything, so that a new field of a type is looked at by itself; a
 * new root field needs an entry here.
 */
import { randomUUID } from 'node:crypto';
import {
  getNamedType,
  getNullableType,
  isAbstractType,
  isEnumType,
  isInputObjectType,
  isListType,
  isNonNullType,
  isObjectType,
  isScalarType,
} from 'graphql';
import type {
  GraphQLField,
  GraphQLInputType,
  GraphQLNamedType,
  GraphQLObjectType,
  GraphQLSchema,
} from 'graphql';
import { v7 } from 'uuid';
import type { Scope } from '../../src/tenancy/principal.js';
import type { Names } from './names.js';

type Args = Readonly<Record<string, unknown>>;

export interface GraphqlCall {
  /** Any one of these scopes opens the field; `any` is every key. */
  readonly opens: readonly Scope[] | 'any';
  /** Needed besides. */
  readonly also?: readonly Scope[];
  /** Only for who administers the organisation. */
  readonly organization?: true;
  /** Argument sets. The first succeeds for the owner; all are tried by others. */
  readonly args: (names: Names) => readonly Args[];
}

const fresh = (what: string): string => `${what} ${randomUUID()}`;
const page = { first: 5 };
const now = (): string => new Date().toISOString();

/** Every way a filter can name something. */
const wheres = ({ run, child, project, example, thread, feedbackKey }: Names): Args[] => [
  { match: { id: { eq: run } } },
  { match: { and: [{ id: { in: [run, child] } }, { projectId: { eq: project } }] } },
  { match: { or: [{ traceId: { eq: run } }, { parentRunId: { eq: run } }] } },
  { match: { not: { id: { neq: run } } } },
  { match: { referenceExampleId: { eq: example } } },
  { match: { feedback: { key: { eq: feedbackKey } } } },
  { match: { threadId: { eq: thread } } },
  { filter: `eq(id, "${run}")` },
  { traceMatch: { id: { eq: run } }, treeMatch: { id: { eq: child } } },
];

const feedbackFilters = (names: Names): Args[] => [
  { ids: [names.feedback] },
  { runIds: [names.run] },
  { traceId: names.run },
  { project: { id: names.project } },
  { project: { name: names.projectName } },
  { keys: [names.feedbackKey] },
  { threadId: names.thread },
];

const item = (names: Names): Args => ({
  id: names.run,
  traceId: names.run,
  parentRunId: null,
  project: { id: names.project },
  referenceExampleId: names.example,
});

const comparedOf = (names: Names): Args => ({ baseline: names.project, candidates: [names.steered[3]] });

const experimentOf = (names: Names): Args => ({
  datasetId: names.dataset,
  target: { http: { url: 'https://targets.invalid/' } },
  evaluators: [{ id: names.evaluator }],
});

export const QUERIES: Readonly<Record<string, GraphqlCall>> = {
  apiKeys: { opens: ['admin'], args: () => [page] },
  compareExperiments: {
    opens: ['read'],
    args: (names) => [{ experiments: comparedOf(names) }],
  },
  comparedExamples: {
    opens: ['read'],
    args: (names) => [
      { ...page, experiments: comparedOf(names) },
      {
        ...page,
        experiments: comparedOf(names),
        where: {
          metric: names.feedbackKey,
          passedBy: [names.project],
          failedBy: [names.steered[3]],
          changed: { experiment: names.steered[3], to: 'WORSE' },
        },
      },
    ],
  },
  pairComparison: { opens: ['read'], args: (names) => [{ id: names.compared[0] }] },
  contentReads: {
    opens: ['admin'],
    args: (names) => [
      page,
      { ...page, apiKeyId: names.apiKey },
      { ...page, userId: names.user },
      { ...page, objectId: names.run, timeRange: { from: '2020-01-01T00:00:00Z' } },
    ],
  },
  evaluator: {
    opens: ['read'],
    args: (names) => [{ id: names.evaluator }, { name: names.evaluatorName }],
  },
  evaluatorKinds: { opens: 'any', args: () => [{}] },
  evaluators: {
    opens: ['read'],
    args: (names) => [
      page,
      { ...page, nameContains: names.evaluatorName },
      { ...page, kinds: ['EXACT_MATCH'], feedbackKeys: [names.feedbackKey], archived: null },
    ],
  },
  dataset: { opens: ['read'], args: (names) => [{ id: names.dataset }, { name: names.datasetName }] },
  datasetImport: { opens: ['read'], args: (names) => [{ id: names.datasetImport }] },
  datasetDiff: {
    opens: ['read'],
    args: (names) => [{ datasetId: names.dataset, from: { version: 0 }, to: { tag: 'latest' } }],
  },
  datasetViolations: {
    opens: ['read'],
    also: ['content'],
    args: (names) => [{ datasetId: names.dataset, inputsSchema: { required: ['missing'] } }],
  },
  datasets: { opens: ['read'], args: (names) => [page, { ...page, nameContains: names.datasetName }] },
  example: {
    opens: ['read'],
    args: (names) => [{ id: names.example }, { id: names.example, asOf: { version: 1 } }],
  },
  experiment: {
    opens: ['read'],
    args: (names) => [{ id: names.project }, { name: names.projectName }, { id: names.steered[3] }],
  },
  experiments: {
    opens: ['read'],
    args: (names) => [
      page,
      { ...page, datasetIds: [names.dataset] },
      { ...page, nameContains: names.projectName, kind: 'CLIENT' },
    ],
  },
  feedback: {
    opens: ['read'],
    args: (names) => [page, ...feedbackFilters(names).map((filter) => ({ ...page, ...filter }))],
  },
  feedbackConfigs: {
    opens: ['read'],
    args: (names) => [page, { ...page, keys: names.doomedFeedbackKeys }, { ...page, nameContains: 'canary' }],
  },
  feedbackStats: { opens: ['read'], args: (names) => [{}, ...feedbackFilters(names)] },
  filterVocabulary: { opens: 'any', args: () => [{}] },
  harvest: {
    opens: ['read'],
    args: (names) => [{ id: names.harvest }, { name: names.harvestName }],
  },
  harvestRun: { opens: ['read'], args: (names) => [{ id: names.harvestRun }] },
  harvestRuns: {
    opens: ['read'],
    args: (names) => [page, { ...page, harvestId: names.harvest, states: ['PROPOSED'] }],
  },
  harvests: { opens: ['read'], args: (names) => [page, { ...page, datasetId: names.dataset }] },
  previewHarvest: {
    opens: ['content'],
    also: ['read'],
    args: (names) => [
      { of: { harvestId: names.harvest } },
      { of: { draft: { datasetId: names.dataset, definition: { projectIds: [names.project] } } } },
    ],
  },
  gate: { opens: ['read'], args: (names) => [{ id: names.gate }, { name: names.gateName }] },
  gates: { opens: ['read'], args: () => [page] },
  job: { opens: ['read'], args: (names) => [{ id: names.job }] },
  jobs: { opens: ['read'], args: () => [page] },
  modelProvider: { opens: ['read'], args: (names) => [{ id: names.modelProvider }] },
  modelProviders: { opens: ['read'], args: () => [page] },
  node: {
    opens: ['read'],
    args: (names) => [
      { id: globalId('Run', names.run) },
      { id: globalId('Trace', names.run) },
      { id: globalId('Dataset', names.dataset) },
      { id: globalId('Example', names.example) },
      { id: globalId('Project', names.project) },
      { id: globalId('Feedback', names.feedback) },
      { id: globalId('Job', names.job) },
      { id: globalId('Evaluator', names.evaluator) },
      { id: globalId('EvaluatorVersion', names.evaluatorVersion) },
      { id: globalId('ModelProvider', names.modelProvider) },
      { id: globalId('Experiment', names.project) },
      { id: globalId('Schedule', names.schedule) },
      { id: globalId('Gate', names.gate) },
      { id: globalId('GateEvaluation', names.gateEvaluation) },
      { id: globalId('Harvest', names.harvest) },
      { id: globalId('HarvestRun', names.harvestRun) },
    ],
  },
  nodes: {
    opens: ['read'],
    // In parts: selecting everything of every type costs much for each id.
    args: (names) => [
      { ids: [globalId('Run', names.run), globalId('Run', names.child), globalId('Trace', names.run)] },
      {
        ids: [
          globalId('Project', names.project),
          globalId('Feedback', names.feedback),
          globalId('Job', names.job),
        ],
      },
      { ids: [globalId('ModelProvider', names.modelProvider)] },
      { ids: [globalId('Dataset', names.dataset), globalId('Example', names.example)] },
    ],
  },
  project: { opens: ['read'], args: (names) => [{ id: names.project }, { name: names.projectName }] },
  projects: {
    opens: ['read'],
    args: (names) => [
      page,
      { ...page, referenceDatasetIds: [names.dataset] },
      { ...page, nameContains: names.projectName },
    ],
  },
  run: { opens: ['read'], args: (names) => [{ id: names.run }, { id: names.child }] },
  rateLimit: { opens: 'any', args: () => [{}] },
  runStats: {
    opens: ['read'],
    args: (names) => [
      {},
      { projects: [{ id: names.project }], groupBy: [{ by: 'NAME' }] },
      { projects: [{ name: names.projectName }], groupBy: [{ by: 'PROJECT' }] },
      { groupBy: [{ by: 'TAG' }] },
      { groupBy: [{ by: 'MODEL' }] },
      { groupBy: [{ by: 'METADATA', key: 'note' }], bucket: 'DAY' },
      ...wheres(names).map((where) => ({ where })),
    ],
  },
  runs: {
    opens: ['read'],
    args: (names) => [
      page,
      { ...page, project: { id: names.project } },
      { ...page, project: { name: names.projectName } },
      { ...page, traceId: names.run },
      { ...page, threadId: names.thread },
      ...wheres(names).map((where) => ({ ...page, where })),
    ],
  },
  schedule: { opens: ['read'], args: (names) => [{ id: names.schedule }] },
  schedules: { opens: ['read'], args: () => [page, { ...page, kind: 'EXPERIMENT' }] },
  thread: {
    opens: ['read'],
    args: (names) => [
      { id: names.thread, project: { id: names.project } },
      { id: names.thread, project: { name: names.projectName } },
    ],
  },
  threads: {
    opens: ['read'],
    args: (names) => [
      { ...page, project: { id: names.project } },
      ...wheres(names).map((where) => ({ ...page, project: { id: names.project }, where })),
    ],
  },
  trace: { opens: ['read'], args: (names) => [{ id: names.run }] },
  validateFilter: { opens: 'any', args: () => [{ filter: 'eq(name, "a")' }] },
  viewer: { opens: 'any', args: () => [{}] },
  workspaceMembers: { opens: ['admin'], args: () => [page] },
  workspaces: { opens: 'any', args: () => [page] },
};

/** In an order in which the owner can make all of them. */
export const MUTATIONS: Readonly<Record<string, GraphqlCall>> = {
  createRuns: {
    opens: ['ingest'],
    args: (names) => [
      {
        input: {
          runs: [
            { ...item(names), id: v7(), traceId: null, name: 'new', runType: 'CHAIN', startTime: now() },
          ],
        },
      },
      { input: { runs: [{ ...item(names), name: 'taken over', runType: 'CHAIN', startTime: now() }] } },
      {
        input: {
          runs: [
            {
              id: v7(),
              traceId: names.run,
              parentRunId: names.run,
              name: 'child',
              runType: 'CHAIN',
              startTime: now(),
            },
          ],
        },
      },
    ],
  },
  updateRuns: {
    opens: ['ingest'],
    args: (names) => [
      { input: { runs: [{ ...item(names), name: 'renamed' }] } },
      { input: { runs: [{ id: names.child, traceId: names.run, parentRunId: names.run, name: 'renamed' }] } },
      { input: { runs: [{ id: names.run, project: { name: names.projectName }, name: 'renamed' }] } },
    ],
  },
  createFeedback: {
    opens: ['ingest', 'write'],
    args: (names) => [
      { input: { feedback: [{ runId: names.run, key: names.feedbackKey, score: 1 }] } },
      { input: { feedback: [{ projectId: names.project, key: names.feedbackKey, score: 1 }] } },
      { input: { feedback: [{ id: names.feedback, runId: names.run, key: names.feedbackKey, score: 0 }] } },
    ],
  },
  updateFeedback: {
    opens: ['write'],
    args: (names) => [{ input: { id: names.feedback, score: 0.25, comment: 'changed' } }],
  },
  deleteFeedback: { opens: ['write'], args: (names) => [{ input: { ids: [names.doomedFeedback[0]] } }] },
  createFeedbackConfig: {
    opens: ['write'],
    args: (names) => [
      { input: { key: fresh('key'), config: { type: 'FREEFORM' } } },
      { input: { key: names.doomedFeedbackKeys[0], config: { type: 'FREEFORM' } } },
    ],
  },
  updateFeedbackConfig: {
    opens: ['write'],
    args: (names) => [{ input: { key: names.doomedFeedbackKeys[0], isLowerScoreBetter: true } }],
  },
  deleteFeedbackConfig: {
    opens: ['write'],
    args: (names) => [{ input: { key: names.doomedFeedbackKeys[0] } }],
  },
  createFeedbackToken: {
    opens: ['ingest', 'write'],
    args: (names) => [{ input: { runId: names.run, key: names.feedbackKey } }],
  },
  createDataset: {
    opens: ['write'],
    args: (names) => [{ input: { name: fresh('dataset') } }, { input: { name: names.datasetName } }],
  },
  updateDataset: {
    opens: ['write'],
    args: (names) => [
      {
        input: {
          id: names.dataset,
          patch: {
            description: 'changed',
            inputsSchema: { type: 'object' },
            baselineExperimentId: names.project,
          },
        },
      },
    ],
  },
  createExamples: {
    opens: ['write'],
    args: (names) => [
      { input: { datasetId: names.dataset, examples: [{ inputs: { q: 1 }, sourceRunId: names.run }] } },
      { input: { datasetId: names.dataset, examples: [{ inputs: {}, id: names.example }] } },
    ],
  },
  createExamplesFromRuns: {
    opens: ['write'],
    also: ['read', 'content'],
    args: (names) => [{ input: { datasetId: names.dataset, runIds: [names.child] } }],
  },
  updateExamples: {
    opens: ['write'],
    args: (names) => [
      {
        input: {
          datasetId: names.dataset,
          examples: [{ id: names.example, metadata: { changed: fresh('x') }, sourceRunId: names.child }],
        },
      },
    ],
  },
  setSplit: {
    opens: ['write'],
    args: (names) => [{ input: { datasetId: names.dataset, split: 'test', exampleIds: [names.example] } }],
  },
  tagDatasetVersion: {
    opens: ['write'],
    args: (names) => [{ input: { datasetId: names.dataset, tag: 'prod', asOf: { version: 1 } } }],
  },
  untagDatasetVersion: {
    opens: ['write'],
    args: (names) => [{ input: { datasetId: names.dataset, tag: 'prod' } }],
  },
  importExamples: {
    opens: ['write'],
    args: (names) => [
      { input: { datasetId: names.dataset, format: 'JSONL', content: '{"inputs":{"q":2}}' } },
      {
        input: {
          datasetId: names.dataset,
          format: 'JSONL',
          content: `{"inputs":{},"id":"${names.example}"}`,
          mode: 'QUARANTINE',
        },
      },
    ],
  },
  cloneDataset: {
    opens: ['write'],
    also: ['read', 'content'],
    args: (names) => [
      { input: { datasetId: names.dataset, target: { name: fresh('clone') } } },
      { input: { datasetId: names.dataset, target: { datasetId: names.doomedDatasets[1] } } },
    ],
  },
  shareDataset: {
    opens: ['write'],
    also: ['content'],
    args: (names) => [{ input: { datasetId: names.dataset } }],
  },
  unshareDataset: { opens: ['write'], args: (names) => [{ input: { datasetId: names.dataset } }] },
  deleteExamples: {
    opens: ['write'],
    args: (names) => [
      { input: { ids: [names.doomedExamples[0]] } },
      { input: { ids: [names.example], hard: true } },
    ],
  },
  deleteDataset: { opens: ['write'], args: (names) => [{ input: { id: names.doomedDatasets[0] } }] },
  createProject: {
    opens: ['write'],
    args: (names) => [
      { input: { name: fresh('project'), referenceDatasetId: names.dataset } },
      { input: { name: names.projectName } },
    ],
  },
  updateProject: {
    opens: ['write'],
    args: (names) => [{ input: { id: names.project, patch: { description: 'changed' } } }],
  },
  deleteProject: { opens: ['write'], args: (names) => [{ input: { id: names.doomedProjects[0] } }] },
  shareRun: { opens: ['write'], also: ['content'], args: (names) => [{ input: { runId: names.run } }] },
  unshareRun: { opens: ['write'], args: (names) => [{ input: { runId: names.run } }] },
  cancelJob: { opens: ['write'], args: (names) => [{ id: names.job }] },
  deleteTraces: {
    opens: ['write'],
    args: (names) => [
      { input: { project: { id: names.project }, traceIds: [names.doomedTraces[0]] } },
      { input: { project: { name: names.projectName }, traceIds: [names.run] } },
    ],
  },
  createApiKey: {
    opens: ['admin'],
    args: (names) => [
      { input: { name: 'made', scopes: ['READ'] } },
      { input: { name: 'made', scopes: ['READ'], kind: 'PERSONAL', userId: names.user } },
    ],
  },
  updateApiKey: {
    opens: ['admin'],
    args: (names) => [{ input: { id: names.apiKey, patch: { name: 'renamed', scopes: ['READ', 'ADMIN'] } } }],
  },
  rotateApiKey: { opens: ['admin'], args: (names) => [{ input: { id: names.apiKey } }] },
  revokeApiKey: { opens: ['admin'], args: (names) => [{ input: { id: names.doomedApiKeys[0] } }] },
  createEvaluator: {
    opens: ['write'],
    args: () => [
      {
        input: {
          name: fresh('evaluator'),
          kind: 'REGEX',
          feedbackKey: 'own',
          config: { pattern: 'a' },
        },
      },
    ],
  },
  updateEvaluator: {
    opens: ['write'],
    args: (names) => [{ input: { id: names.evaluator, patch: { config: { expected: fresh('expected') } } } }],
  },
  archiveEvaluator: {
    opens: ['write'],
    args: (names) => [{ input: { id: names.doomedEvaluators[0], archived: true } }],
  },
  tryEvaluator: {
    opens: ['write'],
    also: ['read', 'content'],
    args: (names) => [
      { input: { evaluatorId: names.evaluator, run: { given: { outputs: 'x' } } } },
      {
        input: {
          definition: { kind: 'REGEX', config: { pattern: 'a' } },
          run: { runId: names.run },
          reference: { given: { reference: 'x' } },
        },
      },
      {
        input: {
          definition: { kind: 'REGEX', config: { pattern: 'a' } },
          run: { given: { outputs: 'x' } },
          otherRun: { runId: names.run },
          reference: { exampleId: names.example },
        },
      },
    ],
  },
  startExperiment: {
    opens: ['write'],
    also: ['read'],
    args: (names) => [
      { input: { experiment: { ...experimentOf(names), name: fresh('experiment') } } },
      { input: { experiment: { ...experimentOf(names), name: names.projectName } } },
      {
        input: {
          experiment: {
            target: { runs: { experimentId: names.project } },
            evaluators: [{ name: names.evaluatorName }],
          },
        },
      },
      {
        input: {
          experiment: {
            datasetId: names.dataset,
            target: {
              model: {
                providerId: names.modelProvider,
                model: 'm',
                messages: [{ role: 'USER', content: 'x' }],
              },
            },
            evaluators: [],
          },
        },
      },
    ],
  },
  createGate: {
    opens: ['write'],
    args: (names) => [
      { input: { name: fresh('gate'), rules: [{ kind: 'no_regression' }] } },
      { input: { name: names.gateName, rules: [{ kind: 'no_regression' }] } },
    ],
  },
  updateGate: {
    opens: ['write'],
    args: (names) => [{ input: { id: names.gate, description: 'changed' } }],
  },
  evaluateGate: {
    opens: ['write'],
    also: ['read'],
    args: (names) => [
      {
        input: {
          gate: { id: names.gate },
          candidate: { id: names.project },
          baseline: { id: names.steered[3] },
        },
      },
      { input: { gate: { name: names.gateName }, candidate: { name: names.projectName } } },
    ],
  },
  deleteGate: { opens: ['write'], args: (names) => [{ input: { id: names.doomedGates[0] } }] },
  pauseExperiment: { opens: ['write'], args: (names) => [{ input: { id: names.steered[0] } }] },
  resumeExperiment: { opens: ['write'], args: (names) => [{ input: { id: names.steered[1] } }] },
  cancelExperiment: { opens: ['write'], args: (names) => [{ input: { id: names.steered[2] } }] },
  retryFailedExperiment: { opens: ['write'], args: (names) => [{ input: { id: names.steered[3] } }] },
  startComparison: {
    opens: ['write'],
    also: ['read'],
    args: (names) => [
      { input: { first: names.project, second: names.rival, evaluator: { id: names.pairwise } } },
    ],
  },
  cancelComparison: { opens: ['write'], args: (names) => [{ input: { id: names.compared[0] } }] },
  resumeComparison: { opens: ['write'], args: (names) => [{ input: { id: names.compared[1] } }] },
  createExperimentSchedule: {
    opens: ['write'],
    also: ['read'],
    args: (names) => [
      {
        input: {
          schedule: { name: fresh('schedule'), cron: '0 3 * * *' },
          experiment: experimentOf(names),
        },
      },
    ],
  },
  updateSchedule: {
    opens: ['write'],
    args: (names) => [{ input: { id: names.schedule, cron: '0 4 * * *' } }],
  },
  deleteSchedule: { opens: ['write'], args: (names) => [{ input: { id: names.doomedSchedules[0] } }] },
  createHarvest: {
    opens: ['write'],
    also: ['read', 'content'],
    args: (names) => [
      {
        input: {
          name: fresh('harvest'),
          datasetId: names.dataset,
          definition: { projectIds: [names.project], where: { match: { id: { eq: names.run } } } },
        },
      },
      { input: { name: names.harvestName, datasetId: names.dataset, definition: {} } },
    ],
  },
  updateHarvest: {
    opens: ['write'],
    also: ['read', 'content'],
    args: (names) => [
      {
        input: {
          id: names.harvest,
          description: fresh('changed'),
          datasetId: names.dataset,
          definition: { projectIds: [names.project] },
        },
      },
    ],
  },
  runHarvest: {
    opens: ['write'],
    also: ['content'],
    args: (names) => [{ input: { id: names.harvest } }],
  },
  approveHarvestRun: {
    opens: ['write'],
    also: ['content'],
    args: (names) => [{ input: { id: names.proposals[0], candidates: [names.child] } }],
  },
  rejectHarvestRun: { opens: ['write'], args: (names) => [{ input: { id: names.proposals[1] } }] },
  cancelHarvestRun: { opens: ['write'], args: (names) => [{ input: { id: names.proposals[2] } }] },
  createHarvestSchedule: {
    opens: ['write'],
    also: ['read', 'content'],
    args: (names) => [
      { input: { schedule: { name: fresh('schedule'), cron: '0 6 * * 1' }, harvestId: names.harvest } },
    ],
  },
  deleteHarvest: { opens: ['write'], args: (names) => [{ input: { id: names.doomedHarvests[0] } }] },
  createModelProvider: {
    opens: ['admin'],
    args: () => [
      {
        input: {
          name: fresh('provider'),
          kind: 'OPENAI_COMPATIBLE',
          baseUrl: 'https://models.invalid/v1',
          secret: 'sk-0123456789',
        },
      },
    ],
  },
  updateModelProvider: {
    opens: ['admin'],
    args: (names) => [{ input: { id: names.modelProvider, patch: { maxConcurrency: 3 } } }],
  },
  testModelProvider: {
    opens: ['admin'],
    args: (names) => [{ input: { id: names.modelProvider, model: 'm' } }],
  },
  deleteModelProvider: {
    opens: ['admin'],
    args: (names) => [{ input: { id: names.doomedModelProviders[0] } }],
  },
  addWorkspaceMember: {
    opens: ['admin'],
    args: () => [{ input: { email: `m-${randomUUID()}@example.org`, name: 'Member', role: 'VIEWER' } }],
  },
  updateWorkspaceMember: {
    opens: ['admin'],
    args: (names) => [{ input: { userId: names.user, role: 'EDITOR' } }],
  },
  removeWorkspaceMember: {
    opens: ['admin'],
    args: (names) => [{ input: { userId: names.doomedUsers[0] } }],
  },
  updateOrganizationMember: {
    opens: ['admin'],
    organization: true,
    args: (names) => [{ input: { userId: names.user, role: 'ADMIN' } }],
  },
  removeOrganizationMember: {
    opens: ['admin'],
    organization: true,
    args: (names) => [{ input: { userId: names.doomedUsers[1] } }],
  },
  createWorkspace: {
    opens: ['admin'],
    organization: true,
    args: () => [{ input: { name: fresh('workspace') } }],
  },
  updateWorkspace: {
    opens: ['admin'],
    args: (names) => [{ input: { id: names.workspace, patch: { name: 'renamed' } } }],
  },
  deleteWorkspace: {
    opens: ['admin'],
    organization: true,
    args: (names) => [{ input: { id: names.doomedWorkspace } }],
  },
};

export const SUBSCRIPTIONS: Readonly<Record<string, GraphqlCall>> = {
  runEvents: { opens: ['read'], args: (names) => [{ project: names.project }] },
  traceEvents: { opens: ['read'], args: (names) => [{ traceId: names.run }] },
  experimentEvents: { opens: ['read'], args: (names) => [{ experimentId: names.project }] },
};

const globalId = (type: string, uuid: string): string =>
  Buffer.from(`${type}:${uuid}`, 'latin1').toString('base64url');

/** Given to fields of other types than the roots, which the documents here leave out; each has a test of its own. */
export const NESTED: Readonly<Record<string, string>> = {
  'ExperimentRowWhereInput.exampleIds': 'test/experiments/reading.test.ts',
};

// ── Documents from the schema ──────────────────────────────────────────────────────────────────────────────

const PAGE = 3;
const DEPTH = 3;

/** Everything the type has, a few levels deep; lists are short. Fields named in `ambiguous` get an alias. */
function selectAll(
  schema: GraphQLSchema,
  type: GraphQLNamedType,
  depth: number,
  ambiguous: ReadonlySet<string> = new Set(),
  only?: ReadonlySet<string>,
): string {
  if (isAbstractType(type)) {
    const possible = schema.getPossibleTypes(type).filter(({ name }) => only?.has(name) ?? true);
    const unclear = ambiguousFields(possible);
    const parts = possible.map((one) => `... on ${one.name} ${selectAll(schema, one, depth, unclear)}`);
    return `{ __typename ${parts.join(' ')} }`;
  }
  if (!isObjectType(type)) return '';
  const fields = Object.values(type.getFields()).flatMap((field) => {
    const selection = selectField(schema, type, field, depth);
    if (selection === undefined) return [];
    return [ambiguous.has(field.name) ? `${field.name}_${type.name}: ${selection}` : selection];
  });
  return `{ __typename ${fields.join(' ')} }`;
}

/** Members of a union may have fields of the same name and different types, which one document cannot both have. */
function ambiguousFields(types: readonly GraphQLObjectType[]): ReadonlySet<string> {
  const seen = new Map<string, Set<string>>();
  for (const type of types) {
    for (const { name, type: of } of Object.values(type.getFields())) {
      seen.set(name, (seen.get(name) ?? new Set()).add(String(of)));
    }
  }
  return new Set([...seen].filter(([, of]) => of.size > 1).map(([name]) => name));
}

function selectField(
  schema: GraphQLSchema,
  parent: GraphQLObjectType,
  field: GraphQLField<unknown, unknown>,
  depth: number,
): string | undefined {
  const named = getNamedType(field.type);
  const isLeaf = isScalarType(named) || isEnumType(named);
  // Nodes are the same objects as those in edges.
  if (parent.name.endsWith('Edge') && field.name === 'node') return undefined;
  if (!isLeaf && depth === 0) return undefined;
  const pages = field.args.some(({ name }) => name === 'first');
  const missing = field.args.some(
    ({ name, type, defaultValue }) => isNonNullType(type) && defaultValue === undefined && name !== 'first',
  );
  if (missing) return undefined;
  const call = `${field.name}${pages ? `(first: ${PAGE})` : ''}`;
  if (isLeaf) return call;
  const inner = isObjectType(named) && !named.name.endsWith('Connection') ? depth - 1 : depth;
  return `${call} ${selectAll(schema, named, inner)}`;
}

export type Operation = 'query' | 'mutation' | 'subscription';

function rootField(
  schema: GraphQLSchema,
  operation: Operation,
  name: string,
): GraphQLField<unknown, unknown> {
  const root = {
    query: schema.getQueryType(),
    mutation: schema.getMutationType(),
    subscription: schema.getSubscriptionType(),
  }[operation];
  const field = root?.getFields()[name];
  if (field === undefined) throw new Error(`There is no ${operation} ${name}.`);
  return field;
}

/** Of the nodes that are asked for: everything of every type is more than one document may hold. */
function typesNamedBy({ id, ids }: Args): ReadonlySet<string> | undefined {
  const types = [id, ids].flat().flatMap((each) => {
    const text = typeof each === 'string' ? Buffer.from(each, 'base64url').toString('latin1') : '';
    return /^([A-Z][A-Za-z]*):/.exec(text)?.[1] ?? [];
  });
  return types.length === 0 ? undefined : new Set(types);
}

/** The document that calls the field with these arguments as variables and selects everything, under the alias `it`. */
export function documentFor(schema: GraphQLSchema, operation: Operation, name: string, args: Args): string {
  const field = rootField(schema, operation, name);
  const used = field.args.filter((arg) => arg.name in args);
  const declared = used.map((arg) => `$${arg.name}: ${String(arg.type)}`).join(', ');
  const passed = used.map((arg) => `${arg.name}: $${arg.name}`).join(', ');
  const selection = selectAll(schema, getNamedType(field.type), DEPTH, new Set(), typesNamedBy(args));
  return `${operation} ${declared && `(${declared})`} { it: ${name}${passed && `(${passed})`} ${selection} }`;
}

// ── Coverage ───────────────────────────────────────────────────────────────────────────────────────────────

const isId = (type: GraphQLInputType): boolean => ['ID', 'UUID'].includes(getNamedType(type).name);

/** Every argument and input field that takes an id, as `Query.run.id` or `ProjectRef.id`. */
export function idCoordinates(schema: GraphQLSchema): string[] {
  const found: string[] = [];
  for (const root of [schema.getQueryType(), schema.getMutationType(), schema.getSubscriptionType()]) {
    for (const field of Object.values(root?.getFields() ?? {})) {
      for (const arg of field.args) {
        if (isId(arg.type)) found.push(`${root?.name ?? ''}.${field.name}.${arg.name}`);
      }
    }
  }
  for (const type of Object.values(schema.getTypeMap())) {
    if (!isInputObjectType(type)) continue;
    for (const field of Object.values(type.getFields())) {
      if (isId(field.type)) found.push(`${type.name}.${field.name}`);
    }
  }
  return found;
}

/** The coordinates that a call's arguments give a value. */
export function usedCoordinates(
  schema: GraphQLSchema,
  operation: Operation,
  name: string,
  args: Args,
): string[] {
  const used: string[] = [];
  const visit = (type: GraphQLInputType, value: unknown): void => {
    const bare = getNullableType(type);
    if (value === null || value === undefined) return;
    if (isListType(bare)) {
      for (const one of Array.isArray(value) ? value : [value]) visit(bare.ofType, one);
    } else if (isInputObjectType(bare)) {
      for (const [key, inner] of Object.entries(value as Args)) {
        const field = bare.getFields()[key];
        if (field === undefined) continue;
        if (inner !== null) used.push(`${bare.name}.${key}`);
        visit(field.type, inner);
      }
    }
  };
  const field = rootField(schema, operation, name);
  const root = `${operation[0]?.toUpperCase() ?? ''}${operation.slice(1)}`;
  for (const arg of field.args) {
    if (args[arg.name] === undefined) continue;
    used.push(`${root}.${name}.${arg.name}`);
    visit(arg.type, args[arg.name]);
  }
  return used;
}
