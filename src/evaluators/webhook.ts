/**
 * Evaluators that live elsewhere: the subject is posted to an address, the answer is a score. Requests are signed as
 * Standard Webhooks has it (webhook-id, webhook-timestamp, webhook-signature), so that the receiver can tell ours
 * from others' and an old one from a new one.
 */
import { createHmac } from 'node:crypto';
import type { Clock } from '../platform/clock.js';
import { OutboundError } from '../platform/outbound.js';
import type { OutboundClient, OutboundResponse } from '../platform/outbound.js';
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

export interface WebhookDeps {
  readonly outbound: Pick<OutboundClient, 'request'>;
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
  { outbound, clock, secrets }: WebhookDeps,
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
  const nothing = { judgeRunIds: [], cost: null };
  const failed = (error: EvaluationError): EvaluationOutcome => ({ kind: 'failed', error, ...nothing });
  let response: OutboundResponse;
  try {
    response = await outbound.request({
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
      maxBytes: MAX_RESPONSE_BYTES,
      signal: context.signal,
    });
  } catch (error) {
    context.signal.throwIfAborted();
    if (error instanceof OutboundError) return failed(failureOf(error));
    throw error;
  }
  const refusal = refusalOf(response);
  if (refusal !== undefined) return failed(refusal);
  const scores = readScores(parsed(Buffer.from(response.body).toString()), feedbackKey);
  if (scores.ok) return { kind: 'scored', scores: scores.value, ...nothing };
  const message = `The webhook answered with no score. ${scores.problems[0]?.message ?? ''}`;
  return failed({ code: 'UNREADABLE_ANSWER', message, retryable: false });
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

function failureOf({ failure, message, retryable }: OutboundError): EvaluationError {
  switch (failure) {
    case 'refused':
    case 'redirects':
      return { code: 'PROVIDER_REFUSED', message, retryable };
    case 'timeout':
      return { code: 'TIMEOUT', message, retryable };
    case 'connection':
    case 'aborted':
      return { code: 'PROVIDER_UNAVAILABLE', message, retryable };
    case 'too_large':
      return { code: 'UNREADABLE_ANSWER', message, retryable };
  }
}

function refusalOf({ status, headers }: OutboundResponse): EvaluationError | undefined {
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
