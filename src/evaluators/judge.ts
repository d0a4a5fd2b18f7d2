/**
 * A language model as judge: asked k times, answers read from the structured field only and never out of prose. The
 * median or the majority of the readable answers is kept; an answer that cannot be read is an error, never a score.
 */
import { createHmac } from 'node:crypto';
import { v5 } from 'uuid';
import type { JsonObject, JsonValue } from '../ingest/run-event.js';
import type { ModelClient, ModelOutcome, ModelRequest } from '../models/model-call.js';
import { quantileOfSorted, standardDeviation } from '../statistics/summary.js';
import type {
  EvaluationContext,
  EvaluationError,
  EvaluationOutcome,
  EvaluationSubject,
  EvaluatorVersion,
  FailedEvaluation,
  Spread,
} from './evaluation.js';
import type { ConfigOf, JudgeScore, ModelCallConfig } from './evaluator-config.js';
import { renderMessages, type TemplateValues } from './judge-template.js';
import { pickPresent, pick } from './pick.js';
import { sumOfMoney } from './money.js';

/** Namespace of ids of model calls that are derived from evaluations. */
const CALLS = '7c9a1c6e-0f0e-4b6e-9a55-8f3d0d2b9c11';
const MAX_COMMENT_LENGTH = 16_384;

export interface JudgeDeps {
  readonly models: ModelClient;
  /** Fences are derived from it; the same in every process of the installation. */
  readonly fenceKey: Buffer;
}

/** One question to the judge. */
export interface Question {
  /** Tells the questions of one evaluation apart; part of the call's id. */
  readonly label: string;
  readonly values: TemplateValues;
  readonly task: string;
  readonly schema: JsonObject;
}

/** What came of one question. `value` is the answer as `read` understood it. */
export type Answer<T> =
  | { readonly kind: 'read'; readonly value: T; readonly reasoning: string | undefined }
  | { readonly kind: 'lost'; readonly error: EvaluationError };

export interface Asked<T> {
  readonly answers: readonly Answer<T>[];
  readonly judgeRunIds: readonly string[];
  readonly cost: string | null;
}

/** Asks all questions at once; how many really run at a time is the model client's business. */
export async function ask<T>(
  deps: JudgeDeps,
  evaluator: EvaluatorVersion,
  config: ModelCallConfig,
  questions: readonly Question[],
  context: EvaluationContext,
  read: (answer: JsonValue) => T | undefined,
): Promise<Asked<T>> {
  const outcomes = await Promise.all(
    questions.map((question, index) => {
      const callId = v5(`${context.evaluationId}/${question.label}`, CALLS);
      // Unguessable without the key, and the same when the evaluation is tried again: so is the request.
      const fence = createHmac('sha256', deps.fenceKey).update(callId).digest('hex').slice(0, 32);
      const request: ModelRequest = {
        providerId: config.providerId,
        model: config.model,
        messages: renderMessages(config.messages, question.values, { fence, task: question.task }),
        parameters: seeded(config.parameters, context.seed + index),
        schema: question.schema,
      };
      return deps.models.call(request, {
        workspaceId: evaluator.workspaceId,
        callId,
        ...(context.ownerId !== undefined && { ownerId: context.ownerId }),
        trace: {
          projectName: context.projectName,
          name: evaluator.evaluatorName,
          metadata: {
            evaluator_id: evaluator.evaluatorId,
            evaluator_version: evaluator.version,
            evaluation_id: context.evaluationId,
            question: question.label,
          },
        },
        signal: context.signal,
        ...(context.maySpend && { maySpend: context.maySpend }),
      });
    }),
  );
  context.signal.throwIfAborted();
  return {
    answers: outcomes.map((outcome) => toAnswer(outcome, read)),
    judgeRunIds: outcomes.map(({ runId }) => runId),
    cost: sumOfMoney(outcomes.map(({ usage }) => usage?.cost ?? null)),
  };
}

/** A config that asks for a seed gets another one per question: equal seeds would make k repeats one. */
const seeded = (parameters: JsonObject, seed: number): JsonObject =>
  typeof parameters['seed'] === 'number'
    ? { ...parameters, seed: (parameters['seed'] + seed) >>> 1 }
    : parameters;

function toAnswer<T>(outcome: ModelOutcome, read: (answer: JsonValue) => T | undefined): Answer<T> {
  if (outcome.kind === 'failed') {
    const { code, message, retryable, retryAfterMs } = outcome;
    return {
      kind: 'lost',
      error: { code, message, retryable, ...(retryAfterMs !== undefined && { retryAfterMs }) },
    };
  }
  const value = read(outcome.value);
  if (value === undefined) {
    const message = 'The answer of the judge does not have the form it was asked for.';
    return { kind: 'lost', error: { code: 'UNREADABLE_ANSWER', message, retryable: false } };
  }
  const reasoning = isObject(outcome.value) ? outcome.value['reasoning'] : undefined;
  return {
    kind: 'read',
    value,
    reasoning:
      typeof reasoning === 'string' ? reasoning.slice(0, MAX_COMMENT_LENGTH).toWellFormed() : undefined,
  };
}

const isObject = (value: JsonValue): value is JsonObject =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

/** Fewer than a majority could be read: the error that most deserves to be known, with what the others cost. */
export function tooFewRead<T>({ answers, judgeRunIds, cost }: Asked<T>): FailedEvaluation | undefined {
  const lost = answers.flatMap((answer) => (answer.kind === 'lost' ? [answer.error] : []));
  const read = answers.length - lost.length;
  if (read > answers.length / 2) return undefined;
  // Where one is worth another try, the whole evaluation is: answers that are there are not asked for again.
  const first = lost.find(({ retryable }) => retryable) ?? lost[0];
  if (first === undefined) return undefined;
  const waits = lost.flatMap(({ retryAfterMs }) => retryAfterMs ?? []);
  const message =
    answers.length === 1
      ? first.message
      : `${read} of ${answers.length} answers could be used. ${first.message}`;
  const error = { ...first, message, ...(waits.length > 0 && { retryAfterMs: Math.max(...waits) }) };
  return { kind: 'failed', error, judgeRunIds, cost };
}

export async function judge(
  deps: JudgeDeps,
  evaluator: EvaluatorVersion,
  config: ConfigOf<'llm_judge'>,
  subject: EvaluationSubject,
  context: EvaluationContext,
): Promise<EvaluationOutcome> {
  const values = judgeValues(config, subject);
  const question = { values, task: JUDGE_TASK, schema: answerSchema(config) };
  const questions = Array.from({ length: config.repeats }, (_, index) => ({
    ...question,
    label: String(index),
  }));
  const asked = await ask(deps, evaluator, config, questions, context, (answer) =>
    readScore(config.score, answer),
  );
  const failure = tooFewRead(asked);
  if (failure !== undefined) return failure;

  const read = asked.answers.flatMap((answer) => (answer.kind === 'read' ? [answer] : []));
  const given = read.map(({ value }) => value);
  const kept = keep(config.score, given);
  const nearest = read.reduce((best, answer) => (closer(answer.value, best.value, kept) ? answer : best));
  const { judgeRunIds, cost } = asked;
  return {
    kind: 'scored',
    scores: [
      {
        key: evaluator.feedbackKey,
        ...toScore(config.score, kept),
        ...(nearest.reasoning !== undefined && { comment: nearest.reasoning }),
      },
    ],
    spread: spreadOf(config.repeats, given, kept),
    judgeRunIds,
    cost,
  };
}

const JUDGE_TASK =
  'You are a judge. Judge the output of an application by the criteria in the messages, and answer with JSON of the required form only.';

/** Stands for the fence, which differs from call to call; no stored text holds it. */
const NO_FENCE = '\u0000';

/**
 * Exactly what a judge is shown of a subject: its messages with everything filled in.
 * @throws NotApplicable where they ask for what is not there.
 */
export function judgeMaterial(config: ConfigOf<'llm_judge'>, subject: EvaluationSubject): JsonValue {
  const shown = renderMessages(config.messages, judgeValues(config, subject), {
    fence: NO_FENCE,
    task: JUDGE_TASK,
  });
  return shown.map(({ role, content }) => [role, content]);
}

function judgeValues(
  config: ConfigOf<'llm_judge'>,
  { run, example, steps }: EvaluationSubject,
): TemplateValues {
  const reference =
    example === undefined || example.reference === null
      ? undefined
      : pick(example.reference, config.referencePath);
  const input = pick(example?.inputs ?? run.inputs, config.inputPath);
  return {
    output: pickPresent(run.outputs, config.outputPath, 'output'),
    ...(input !== undefined && { input }),
    ...(reference !== undefined && { reference }),
    metadata: run.metadata,
    ...(example && { exampleMetadata: example.metadata }),
    error: run.error,
    ...(steps && { steps: steps.map((step) => ({ ...step })) }),
  };
}

function answerSchema({ score, reasoning }: ConfigOf<'llm_judge'>): JsonObject {
  return objectSchema(reasoning, 'score', scoreSchema(score));
}

/** Reasoning first: a judge that has to say why before what is right more often. */
export function objectSchema(reasoning: boolean, field: string, schema: JsonObject): JsonObject {
  return {
    type: 'object',
    properties: {
      ...(reasoning && { reasoning: { type: 'string', description: 'Why, in a few sentences.' } }),
      [field]: schema,
    },
    required: reasoning ? ['reasoning', field] : [field],
    additionalProperties: false,
  };
}

function scoreSchema(score: JudgeScore): JsonObject {
  switch (score.type) {
    case 'number':
      return { type: score.integer ? 'integer' : 'number', minimum: score.min, maximum: score.max };
    case 'boolean':
      return { type: 'boolean' };
    case 'labels': {
      const meanings = score.labels.flatMap(({ label, description }) =>
        description === undefined ? [] : [`${label}: ${description}`],
      );
      return {
        type: 'string',
        enum: score.labels.map(({ label }) => label),
        ...(meanings.length > 0 && { description: meanings.join('\n') }),
      };
    }
  }
}

type Given = number | string;

/** The answer as a number, "true"/"false" or a label; undefined for everything that was not asked for. */
export function readScore(score: JudgeScore, answer: JsonValue): Given | undefined {
  const given = isObject(answer) && Object.hasOwn(answer, 'score') ? answer['score'] : undefined;
  switch (score.type) {
    case 'number': {
      if (typeof given !== 'number' || !Number.isFinite(given)) return undefined;
      if (given < score.min || given > score.max) return undefined;
      return score.integer && !Number.isInteger(given) ? undefined : given;
    }
    case 'boolean':
      return typeof given === 'boolean' ? String(given) : undefined;
    case 'labels':
      return score.labels.find(({ label }) => label === given)?.label;
  }
}

/** The median of numbers; the most frequent label, ties to the one that the config lists first (false before true). */
export function keep(score: JudgeScore, given: readonly Given[]): Given {
  if (score.type === 'number') return quantileOfSorted(Float64Array.from(given, Number).sort(), 0.5);
  const order = score.type === 'boolean' ? ['false', 'true'] : score.labels.map(({ label }) => label);
  const times = (label: string): number => given.filter((value) => value === label).length;
  return order.reduce((best, label) => (times(label) > times(best) ? label : best));
}

function closer(value: Given, best: Given, kept: Given): boolean {
  if (typeof kept === 'number') return Math.abs(Number(value) - kept) < Math.abs(Number(best) - kept);
  return value === kept && best !== kept;
}

function toScore(score: JudgeScore, kept: Given): { score: number | boolean; value?: JsonValue } {
  if (typeof kept === 'number') return { score: kept };
  if (score.type === 'labels') {
    return { score: score.labels.find(({ label }) => label === kept)?.score ?? 0, value: kept };
  }
  return { score: kept === 'true' };
}

export function spreadOf(repeats: number, given: readonly Given[], kept: Given): Spread {
  const numbers = given.filter((value) => typeof value === 'number');
  return {
    repeats,
    values: given,
    unreadable: repeats - given.length,
    standardDeviation: numbers.length < 2 ? null : standardDeviation(Float64Array.from(numbers)),
    agreement: given.filter((value) => value === kept).length / given.length,
  };
}
