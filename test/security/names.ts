/**
 * Everything a call may name. A call is made once with what belongs to the tenant under attack, once with the same
 * kinds of names of nothing at all, and both answers must be alike.
 */
import { randomUUID } from 'node:crypto';
import { v7 } from 'uuid';

/** What is used up by a call that succeeds has one instance per protocol. */
export interface Names {
  readonly project: string;
  readonly projectName: string;
  /** Their calls delete them. */
  readonly doomedProjects: readonly string[];
  /** Root of a trace with a child, feedback, attachment, thread. */
  readonly run: string;
  readonly child: string;
  readonly doomedTraces: readonly string[];
  readonly dataset: string;
  readonly datasetName: string;
  readonly doomedDatasets: readonly string[];
  readonly datasetImport: string;
  readonly datasetShareToken: string;
  readonly example: string;
  readonly doomedExamples: readonly string[];
  /** Of experiments set against each other. */
  readonly doomedComparatives: readonly string[];
  readonly gate: string;
  readonly gateName: string;
  readonly doomedGates: readonly string[];
  readonly gateEvaluation: string;
  readonly thread: string;
  readonly feedback: string;
  readonly doomedFeedback: readonly string[];
  readonly feedbackKey: string;
  readonly doomedFeedbackKeys: readonly string[];
  readonly feedbackToken: string;
  readonly shareToken: string;
  readonly attachmentToken: string;
  readonly job: string;
  readonly apiKey: string;
  readonly doomedApiKeys: readonly string[];
  readonly user: string;
  readonly doomedUsers: readonly string[];
  readonly evaluator: string;
  readonly evaluatorName: string;
  readonly evaluatorVersion: string;
  readonly doomedEvaluators: readonly string[];
  /** An evaluator that compares, a second experiment, and comparisons that can be cancelled and resumed. */
  readonly pairwise: string;
  readonly rival: string;
  readonly compared: readonly string[];
  readonly modelProvider: string;
  readonly doomedModelProviders: readonly string[];
  /** Experiments in the states in which they can be paused, resumed, cancelled, tried again. */
  readonly steered: readonly string[];
  readonly schedule: string;
  readonly doomedSchedules: readonly string[];
  readonly harvest: string;
  readonly harvestName: string;
  readonly doomedHarvests: readonly string[];
  readonly harvestRun: string;
  /** Executions that can be approved, rejected, cancelled. */
  readonly proposals: readonly string[];
  readonly workspace: string;
  readonly doomedWorkspace: string;
}

/** Of nobody. */
export function nobodysNames(): Names {
  const ids = (count: number): string[] => Array.from({ length: count }, () => randomUUID());
  return {
    project: v7(),
    projectName: `nothing ${randomUUID()}`,
    doomedProjects: ids(3),
    run: v7(),
    child: v7(),
    doomedTraces: ids(3).map(() => v7()),
    dataset: randomUUID(),
    datasetName: `nothing ${randomUUID()}`,
    doomedDatasets: ids(3),
    datasetImport: randomUUID(),
    datasetShareToken: randomUUID(),
    example: randomUUID(),
    doomedExamples: ids(6),
    doomedComparatives: ids(1),
    gate: randomUUID(),
    gateName: `nothing ${randomUUID()}`,
    doomedGates: ids(1),
    gateEvaluation: randomUUID(),
    thread: `nothing ${randomUUID()}`,
    feedback: randomUUID(),
    doomedFeedback: ids(2),
    feedbackKey: `nothing ${randomUUID()}`,
    doomedFeedbackKeys: ids(2).map((id) => `nothing ${id}`),
    feedbackToken: randomUUID(),
    shareToken: randomUUID(),
    attachmentToken: Buffer.from(randomUUID().repeat(3)).toString('base64url'),
    job: randomUUID(),
    apiKey: randomUUID(),
    doomedApiKeys: ids(2),
    user: randomUUID(),
    doomedUsers: ids(2),
    evaluator: randomUUID(),
    evaluatorName: `nothing ${randomUUID()}`,
    evaluatorVersion: randomUUID(),
    doomedEvaluators: ids(1),
    pairwise: randomUUID(),
    rival: v7(),
    compared: ids(2),
    modelProvider: randomUUID(),
    doomedModelProviders: ids(1),
    steered: ids(4),
    schedule: randomUUID(),
    doomedSchedules: ids(1),
    harvest: randomUUID(),
    harvestName: `nothing ${randomUUID()}`,
    doomedHarvests: ids(1),
    harvestRun: randomUUID(),
    proposals: ids(3),
    workspace: randomUUID(),
    doomedWorkspace: randomUUID(),
  };
}

/** Pairs of a name and what stands for it in a comparison. */
export function labelled(names: Names): [name: string, label: string][] {
  return Object.entries(names).flatMap(([label, value]): [string, string][] =>
    typeof value === 'string'
      ? [[value, label]]
      : (value as string[]).map((one, index) => [one, `${label}${index}`]),
  );
}
