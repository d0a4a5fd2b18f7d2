/**
 * Runs evaluator versions: reads the stored config, hands the subject to the kind, and turns everything a kind
 * cannot do into an error with a code. Faults of ours (a bug, a lost database) are thrown.
 */
import type { JsonValue } from '../ingest/run-event.js';
import { failed, problem, type Result } from '../platform/result.js';
import type {
  EvaluationContext,
  EvaluationErrorCode,
  EvaluationOutcome,
  EvaluationSubject,
  EvaluatorRuntime,
  EvaluatorVersion,
  FailedEvaluation,
  PairOutcome,
  PairSubject,
} from './evaluation.js';
import { isEvaluatorKind, parseConfig, type EvaluatorKind, type EvaluatorSpec } from './evaluator-config.js';
import { judge, judgeMaterial, type JudgeDeps } from './judge.js';
import { mentions } from './judge-template.js';
import { comparePair } from './pairwise.js';
import { NotApplicable } from './pick.js';
import * as text from './text-kinds.js';
import { toolTrajectory } from './tool-trajectory.js';
import * as values from './value-kinds.js';
import { callWebhook, type WebhookDeps } from './webhook.js';

/** Runs user code where it can do no harm. */
export interface CodeRunner {
  run(
    code: string,
    subject: EvaluationSubject,
    evaluator: EvaluatorVersion,
    context: EvaluationContext,
  ): Promise<EvaluationOutcome>;
}

export interface EvaluatorRuntimeDeps {
  readonly judges: JudgeDeps;
  readonly webhooks: WebhookDeps;
  readonly code: CodeRunner;
}

export class KindRuntime implements EvaluatorRuntime {
  readonly #deps: EvaluatorRuntimeDeps;
  /** Reading a config costs more than most rules do. */
  readonly #specs = new WeakMap<EvaluatorVersion, EvaluatorSpec>();

  constructor(deps: EvaluatorRuntimeDeps) {
    this.#deps = deps;
  }

  async evaluate(
    evaluator: EvaluatorVersion,
    subject: EvaluationSubject,
    context: EvaluationContext,
  ): Promise<EvaluationOutcome> {
    return applied(context, () => this.#evaluate(evaluator, subject, context));
  }

  async compare(
    evaluator: EvaluatorVersion,
    pair: PairSubject,
    context: EvaluationContext,
  ): Promise<PairOutcome> {
    return applied(context, () => {
      const spec = this.#specOf(evaluator);
      if (spec.kind !== 'pairwise') {
        throw new NotApplicable(`An evaluator of kind ${spec.kind} looks at one run.`);
      }
      return comparePair(this.#deps.judges, evaluator, spec.config, pair, context);
    });
  }

  materialOf(evaluator: EvaluatorVersion, subject: EvaluationSubject): JsonValue | undefined {
    try {
      const spec = this.#specOf(evaluator);
      if (UNREPEATABLE.has(spec.kind)) return undefined;
      if (spec.kind === 'llm_judge') return judgeMaterial(spec.config, subject);
      const steps = subject.steps?.map(({ name, runType, inputs }) => [name, runType, inputs]);
      return [subject.run.outputs, subject.example?.reference ?? null, steps ?? null];
    } catch (error) {
      // It will be said when it is evaluated.
      if (error instanceof NotApplicable) return undefined;
      throw error;
    }
  }

  needsSteps(evaluator: EvaluatorVersion): boolean {
    const parsed = readSpec(evaluator);
    if (!parsed.ok) return false;
    const { kind, config } = parsed.value;
    if (kind === 'code' || kind === 'webhook') return config.steps;
    return kind === 'tool_trajectory' || (kind === 'llm_judge' && mentions(config.messages, 'steps'));
  }

  /** @throws NotApplicable for what this version of the program cannot have stored. */
  #specOf(evaluator: EvaluatorVersion): EvaluatorSpec {
    const known = this.#specs.get(evaluator);
    if (known !== undefined) return known;
    const parsed = readSpec(evaluator);
    if (!parsed.ok) {
      throw new NotApplicable(`The evaluator cannot be used. ${parsed.problems[0]?.message ?? ''}`);
    }
    this.#specs.set(evaluator, parsed.value);
    return parsed.value;
  }

  async #evaluate(
    evaluator: EvaluatorVersion,
    subject: EvaluationSubject,
    context: EvaluationContext,
  ): Promise<EvaluationOutcome> {
    const { judges, webhooks, code } = this.#deps;
    const spec = this.#specOf(evaluator);
    if (spec.kind === 'llm_judge') return judge(judges, evaluator, spec.config, subject, context);
    if (spec.kind === 'code') return code.run(spec.config.code, subject, evaluator, context);
    if (spec.kind === 'webhook') return callWebhook(webhooks, evaluator, spec.config, subject, context);
    if (spec.kind === 'pairwise') throw new NotApplicable('An evaluator of kind pairwise compares two runs.');
    const score = { key: evaluator.feedbackKey, ...applyRule(spec, subject) };
    return { kind: 'scored', scores: [score], judgeRunIds: [], cost: null };
  }
}

/**
 * Kinds that look at what differs between two runs with the same output, as code does that is given the whole run, and
 * those behind which others answer.
 */
const UNREPEATABLE: ReadonlySet<EvaluatorKind> = new Set(['latency', 'cost', 'code', 'webhook', 'pairwise']);

type RuleSpec = Exclude<EvaluatorSpec, { kind: 'llm_judge' | 'code' | 'webhook' | 'pairwise' }>;

/** The kinds that need nothing but the subject. */
export function applyRule(spec: RuleSpec, subject: EvaluationSubject): text.Verdict {
  switch (spec.kind) {
    case 'exact_match':
      return text.exactMatch(spec.config, subject);
    case 'contains':
      return text.contains(spec.config, subject);
    case 'forbidden_phrases':
      return text.forbiddenPhrases(spec.config, subject);
    case 'required_keywords':
      return text.requiredKeywords(spec.config, subject);
    case 'regex':
      return text.regex(spec.config, subject);
    case 'length':
      return text.length(spec.config, subject);
    case 'edit_distance':
      return text.editDistance(spec.config, subject);
    case 'json_schema':
      return values.jsonSchema(spec.config, subject);
    case 'numeric_tolerance':
      return values.numericTolerance(spec.config, subject);
    case 'latency':
      return values.latency(spec.config, subject);
    case 'cost':
      return values.cost(spec.config, subject);
    case 'tool_trajectory':
      return toolTrajectory(spec.config, subject);
  }
}

function readSpec({ kind, config }: EvaluatorVersion): Result<EvaluatorSpec> {
  if (isEvaluatorKind(kind)) return parseConfig(kind, config);
  return failed(problem('INVALID', `This installation knows no evaluators of kind "${kind}".`));
}

async function applied<Outcome>(
  { signal }: EvaluationContext,
  work: () => Promise<Outcome>,
): Promise<Outcome | FailedEvaluation> {
  signal.throwIfAborted();
  try {
    return await work();
  } catch (error) {
    if (error instanceof NotApplicable) return failure('NOT_APPLICABLE', error.message);
    throw error;
  }
}

const failure = (code: EvaluationErrorCode, message: string): FailedEvaluation => ({
  kind: 'failed',
  error: { code, message, retryable: false },
  judgeRunIds: [],
  cost: null,
});
