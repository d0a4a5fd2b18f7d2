/** Subjects, versions and contexts for tests of evaluators. */
import type {
  EvaluationContext,
  EvaluationStep,
  EvaluationSubject,
  EvaluatorVersion,
} from '../../src/evaluators/evaluation.js';
import type { JsonObject, JsonValue } from '../../src/ingest/run-event.js';
import { systemIds } from '../../src/platform/ids.js';

type Run = EvaluationSubject['run'];

export function runOf(outputs: JsonValue, more: Partial<Run> = {}): Run {
  return {
    id: '018f0000-0000-7000-8000-000000000001',
    traceId: '018f0000-0000-7000-8000-000000000001',
    name: 'agent',
    runType: 'chain',
    inputs: { question: 'What is the capital of France?' },
    outputs,
    error: null,
    latency: 1.5,
    firstTokenLatency: 0.25,
    totalTokens: 120,
    totalCost: '0.0031',
    tags: [],
    metadata: {},
    ...more,
  };
}

export function subjectOf(
  outputs: JsonValue,
  reference?: JsonValue,
  more: Partial<Run> = {},
): EvaluationSubject {
  return {
    run: runOf(outputs, more),
    ...(reference !== undefined && {
      example: {
        id: '018f0000-0000-7000-8000-0000000000e1',
        inputs: { question: 'What is the capital of France?' },
        reference,
        metadata: { topic: 'geography' },
        splits: ['base'],
      },
    }),
  };
}

export function toolStep(name: string, inputs: JsonValue = {}): EvaluationStep {
  return {
    id: systemIds.uuid(),
    parentRunId: null,
    name,
    runType: 'tool',
    inputs,
    outputs: null,
    error: null,
    latency: 0.1,
  };
}

export function versionOf(kind: string, config: JsonObject, feedbackKey = 'quality'): EvaluatorVersion {
  return {
    uuid: '018f0000-0000-7000-8000-0000000000f1',
    workspaceId: '018f0000-0000-7000-8000-0000000000a1',
    evaluatorId: '018f0000-0000-7000-8000-0000000000b1',
    evaluatorName: 'quality of answers',
    version: 1,
    kind,
    feedbackKey,
    config,
    configHash: '00',
  };
}

export function contextOf(more: Partial<EvaluationContext> = {}): EvaluationContext {
  return {
    evaluationId: '018f0000-0000-7000-8000-0000000000c1',
    projectName: 'judges',
    seed: 7,
    signal: new AbortController().signal,
    ...more,
  };
}
