/**
 * Evaluators that live elsewhere: the subject is posted to an address, the answer is a score. Requests are signed as
 * Standard Webhooks has it (webhook-id, webhook-timestamp, webhook-signature), so that the receiver can tell ours
 * from others' and an old one from a new one.
 */
import { createHmac } from 'node:crypto';
import type { Clock } from '../platform/clock.js';
import type {
  EvaluationContext,
  EvaluationError,
  EvaluationOutcome,
  EvaluationSubject,
  EvaluatorVersion,
} from './evaluation.js';
import type { ConfigOf } from './evaluator-config.js';
import { NotApplicable } from './pick.js';
import { readScores } from './score-answer.js';

/** Of the request, as the intake's limits keep runs below 25 MB. */
export const MAX_REQUEST_LENGTH = 8_388_608;
export const MAX_RESPONSE_BYTES = 262_144;

export interface OutboundRequest {
  readonly url: string;
  readonly method: 'POST';
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string;
  /** For everything together, redirects included. */
  readonly timeoutMs: number;
  readonly maxResponseBytes: number;
  readonly signal: AbortSignal;
}

export type OutboundResult =
  | {
      readonly kind: 'answered';
      readonly status: number;
      readonly headers: Readonly<Record<string, string>>;
      readonly body: string;
    }
  | {
      readonly kind: 'failed';
      /** refused: the address may not be called; broken: what came is no HTTP answer of the allowed size. */
      readonly reason: 'refused' | 'timeout' | 'unreachable' | 'broken';
      readonly message: string;
    };

/** Calls addresses that users name, but no address inside our own network. */
export interface OutboundHttp {
  send(request: OutboundRequest): Promise<OutboundResult>;
}

export interface WebhookDeps {
  readonly http: OutboundHttp;
  readonly clock: Clock;
  readonly secrets: WebhookSecrets;
}

/** The secret of each evaluator's webhook, derived and therefore nowhere stored. */
export class WebhookSecrets {
  readonly #key: Buffer;

  constructor({ pepper }: { pepper: string }) {
    this.#key = createHmac('sha256', pepper).update('webhook evaluators').digest();
  }

  /** In the form libraries for Standard Webhooks take. */
  of(workspaceId: string, evaluatorId: string): string {
    return `whsec_${this.#bytes(workspaceId, evaluatorId).toString('base64')}`;
  }

  sign(workspaceId: string, evaluatorId: string, message: string): string {
    const mac = createHmac('sha256', this.#bytes(workspaceId, evaluatorId)).update(message);
    return `v1,${mac.digest('base64')}`;
  }

  #bytes(workspaceId: string, evaluatorId: string): Buffer {
    return createHmac('sha256', this.#key).update(`${workspaceId}/${evaluatorId}`).digest();
  }
}

export async function callWebhook(
  { http, clock, secrets }: WebhookDeps,
  evaluator: EvaluatorVersion,
  config: ConfigOf<'webhook'>,
  subject: EvaluationSubject,
  context: EvaluationContext,
): Promise<EvaluationOutcome> {
  const { workspaceId, evaluatorId, evaluatorName, version, feedbackKey } = evaluator;
  const body = JSON.stringify({
    type: 'evaluation.requested',
    evaluation_id: context.evaluationId,
    evaluator: { id: evaluatorId, name: evaluatorName, version, key: feedbackKey },
    run: subject.run,
    example: subject.example ?? null,
    ...(config.steps && { steps: subject.steps ?? [] }),
  });
  if (body.length > MAX_REQUEST_LENGTH) {
    throw new NotApplicable(
      `The subject has ${body.length} characters as JSON; webhooks take ${MAX_REQUEST_LENGTH}.`,
    );
  }
  const timestamp = String(Math.floor(clock.now().getTime() / 1_000));
  const result = await http.send({
    url: config.url,
    method: 'POST',
    headers: {
      'content-type': 'application/json',
      'webhook-id': context.evaluationId,
      'webhook-timestamp': timestamp,
      'webhook-signature': secrets.sign(
        workspaceId,
        evaluatorId,
        `${context.evaluationId}.${timestamp}.${body}`,
      ),
    },
    body,
    timeoutMs: config.timeoutMs,
    maxResponseBytes: MAX_RESPONSE_BYTES,
    signal: context.signal,
  });
  context.signal.throwIfAborted();
  const nothing = { judgeRunIds: [], cost: null };
  const error = result.kind === 'failed' ? failureOf(result) : refusalOf(result);
  if (error !== undefined) return { kind: 'failed', error, ...nothing };
  const scores = result.kind === 'answered' ? readScores(parsed(result.body), feedbackKey) : undefined;
  if (scores?.ok === true) return { kind: 'scored', scores: scores.value, ...nothing };
  const reason = scores?.problems[0]?.message ?? '';
  return {
    kind: 'failed',
    error: {
      code: 'UNREADABLE_ANSWER',
      message: `The webhook answered with no score. ${reason}`,
      retryable: false,
    },
    ...nothing,
  };
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

function failureOf({ reason, message }: OutboundResult & { kind: 'failed' }): EvaluationError {
  switch (reason) {
    case 'refused':
      return { code: 'PROVIDER_REFUSED', message, retryable: false };
    case 'timeout':
      return { code: 'TIMEOUT', message, retryable: true };
    case 'unreachable':
      return { code: 'PROVIDER_UNAVAILABLE', message, retryable: true };
    case 'broken':
      return { code: 'UNREADABLE_ANSWER', message, retryable: false };
  }
}

function refusalOf({ status, headers }: OutboundResult & { kind: 'answered' }): EvaluationError | undefined {
  if (status >= 200 && status < 300) return undefined;
  const message = `The webhook answered with status ${status}.`;
  if (status === 429) {
    const seconds = Number(headers['retry-after']);
    const wait = seconds > 0 && seconds <= 3_600 ? { retryAfterMs: seconds * 1_000 } : {};
    return { code: 'RATE_LIMITED', message, retryable: true, ...wait };
  }
  return status >= 500
    ? { code: 'PROVIDER_UNAVAILABLE', message, retryable: true }
    : { code: 'PROVIDER_REFUSED', message, retryable: false };
}
