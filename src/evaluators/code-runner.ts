/** Evaluators that are code of users, run in the sandbox. What the code answers is read as strictly as a webhook's. */
import type { Sandbox, StopReason } from '../sandbox/sandbox.js';
import type {
  EvaluationContext,
  EvaluationErrorCode,
  EvaluationOutcome,
  EvaluationSubject,
  EvaluatorVersion,
} from './evaluation.js';
import type { CodeRunner } from './evaluator-runtime.js';
import { readScores } from './score-answer.js';

/** What the clock shows: the same for ever, because the same code and subject must give the same score. */
export const CLOCK = Date.UTC(2026, 0, 1);
const BUSY_RETRY_MS = 5_000;

const ERRORS: Readonly<
  Record<StopReason, { readonly code: EvaluationErrorCode; readonly retryable: boolean }>
> = {
  timeout: { code: 'TIMEOUT', retryable: false },
  // Also a machine that is too busy can be the reason.
  killed: { code: 'TIMEOUT', retryable: true },
  memory: { code: 'MEMORY_LIMIT', retryable: false },
  threw: { code: 'EVALUATOR_FAILED', retryable: false },
  answer: { code: 'EVALUATOR_FAILED', retryable: false },
  crashed: { code: 'EVALUATOR_FAILED', retryable: true },
  input: { code: 'NOT_APPLICABLE', retryable: false },
  busy: { code: 'RATE_LIMITED', retryable: true },
  unavailable: { code: 'EVALUATOR_FAILED', retryable: true },
};

export class SandboxedCode implements CodeRunner {
  readonly #sandbox: Sandbox;

  constructor({ sandbox }: { sandbox: Sandbox }) {
    this.#sandbox = sandbox;
  }

  async run(
    code: string,
    subject: EvaluationSubject,
    { feedbackKey, workspaceId }: EvaluatorVersion,
    { seed, signal }: EvaluationContext,
  ): Promise<EvaluationOutcome> {
    const { run, example, steps } = subject;
    const input = JSON.stringify({ run, example: example ?? null, steps: steps ?? null });
    const task = { owner: workspaceId, code, input, seed: seed >>> 0, now: CLOCK };
    const outcome = await this.#sandbox.run(task, signal);
    const extent = { judgeRunIds: [], cost: null, ...(outcome.log !== '' && { log: outcome.log }) };
    if (outcome.kind === 'stopped') {
      const { code: errorCode, retryable } = ERRORS[outcome.reason];
      const error = { code: errorCode, message: outcome.message, retryable };
      return {
        kind: 'failed',
        error: outcome.reason === 'busy' ? { ...error, retryAfterMs: BUSY_RETRY_MS } : error,
        ...extent,
      };
    }
    const scores = readScores(JSON.parse(outcome.text), feedbackKey);
    if (scores.ok) return { kind: 'scored', scores: scores.value, ...extent };
    const message = scores.problems[0]?.message ?? '';
    return { kind: 'failed', error: { code: 'EVALUATOR_FAILED', message, retryable: false }, ...extent };
  }
}
