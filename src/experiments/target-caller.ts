/** Calls targets: a model through the model client, or an address through the guarded way out. */
import type { Example } from '../datasets/dataset.js';
import { pick } from '../evaluators/pick.js';
import type { JsonObject, JsonValue } from '../ingest/run-event.js';
import type { MaySpend, ModelClient } from '../models/model-call.js';
import type { Clock } from '../platform/clock.js';
import { OutboundError } from '../platform/outbound.js';
import type { OutboundClient, OutboundResponse } from '../platform/outbound.js';
import type { Vault } from '../platform/vault.js';
import type { UnitError } from './experiment.js';
import { isObject, MissingInput, renderBody, renderMessages } from './target.js';
import type { HttpTarget, ModelTarget, Target, TemplateValues } from './target.js';

export interface TargetCall {
  readonly workspaceId: string;
  readonly experimentId: string;
  readonly projectName: string;
  /** Names the call for ever: an execution that died and its successor make the same. */
  readonly callId: string;
  readonly example: Example;
  /** The row's run, below which a model's is written. */
  readonly run: { readonly runId: string; readonly traceId: string; readonly dottedOrder: string };
  /** For one attempt, once it has begun. */
  readonly deadlineMs: number;
  readonly signal: AbortSignal;
  readonly maySpend: MaySpend;
}

/** Times are microseconds since the epoch, of the attempt that counts; null where the answer was known before. */
export type TargetAnswer = {
  readonly startUs: number | null;
  readonly endUs: number | null;
  /** US dollars of all calls under this id; null where no price is known. */
  readonly cost: string | null;
  /** The model's own run. */
  readonly modelRunId: string | null;
} & (
  | { readonly kind: 'answered'; readonly outputs: JsonObject }
  | {
      readonly kind: 'failed';
      readonly error: UnitError;
      readonly retryable: boolean;
      readonly retryAfterMs?: number | undefined;
    }
);

export interface TargetCallerDeps {
  readonly models: ModelClient;
  readonly outbound: Pick<OutboundClient, 'request'>;
  readonly vault: Pick<Vault, 'open'>;
  readonly clock: Clock;
}

const MAX_ANSWER_BYTES = 8 * 1024 * 1024;

/** Sealed headers of targets open only within their workspace. */
export const targetBinding = (workspaceId: string): readonly string[] => ['experiment target', workspaceId];

/** Time during which a call may take `deadlineMs`, from when it really begins. */
class Attempt {
  readonly #controller = new AbortController();
  readonly #clock: Clock;
  readonly #deadlineMs: number;
  readonly #outer: AbortSignal;
  readonly #onAbort = (): void => this.#controller.abort(this.#outer.reason);
  #timer: NodeJS.Timeout | undefined;
  startUs: number | null = null;
  timedOut = false;

  constructor({ signal, deadlineMs }: TargetCall, clock: Clock) {
    this.#clock = clock;
    this.#deadlineMs = deadlineMs;
    this.#outer = signal;
    if (signal.aborted) this.#onAbort();
    else signal.addEventListener('abort', this.#onAbort, { once: true });
  }

  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  /** Called again when the same call is tried again: the last one counts. */
  begin(): void {
    clearTimeout(this.#timer);
    this.startUs = this.nowUs();
    this.#timer = setTimeout(() => {
      this.timedOut = true;
      this.#controller.abort(new Error('The deadline passed.'));
    }, this.#deadlineMs);
  }

  end(): void {
    clearTimeout(this.#timer);
    this.#outer.removeEventListener('abort', this.#onAbort);
  }

  nowUs(): number {
    return this.#clock.now().getTime() * 1_000;
  }
}

export class TargetCaller {
  readonly #deps: TargetCallerDeps;

  constructor(deps: TargetCallerDeps) {
    this.#deps = deps;
  }

  /** Never throws for what a target does. Rejects with the signal's reason when it is called off. */
  async call(target: Extract<Target, { kind: 'model' | 'http' }>, call: TargetCall): Promise<TargetAnswer> {
    call.signal.throwIfAborted();
    const attempt = new Attempt(call, this.#deps.clock);
    try {
      return target.kind === 'model'
        ? await this.#model(target, call, attempt)
        : await this.#http(target, call, attempt);
    } catch (error) {
      if (error instanceof MissingInput) return fail('NOT_APPLICABLE', error.message, false, attempt);
      if (attempt.timedOut) {
        return fail('TIMEOUT', `It took longer than ${call.deadlineMs} ms.`, true, attempt);
      }
      throw error;
    } finally {
      attempt.end();
    }
  }

  async #model(target: ModelTarget, call: TargetCall, attempt: Attempt): Promise<TargetAnswer> {
    const { providerId, model, parameters, schema } = target;
    const outcome = await this.#deps.models.call(
      {
        providerId,
        model,
        messages: renderMessages(target.messages, valuesOf(call.example)),
        parameters,
        ...(schema && { schema }),
      },
      {
        workspaceId: call.workspaceId,
        callId: call.callId,
        ownerId: call.experimentId,
        trace: {
          projectName: call.projectName,
          name: model,
          parent: call.run,
          metadata: { experiment_id: call.experimentId },
          origin: 'target',
        },
        signal: attempt.signal,
        // Asked right before each request, after every wait in line: there the time of the target begins.
        maySpend: async (planned) => {
          const allowed = await call.maySpend(planned);
          if (allowed) attempt.begin();
          return allowed;
        },
      },
    );
    const cost = outcome.usage?.cost ?? null;
    const { runId: modelRunId } = outcome;
    if (outcome.kind === 'failed') {
      const { code, message, retryable, retryAfterMs } = outcome;
      return { ...fail(code, message, retryable, attempt), cost, modelRunId, retryAfterMs };
    }
    const value = schema === undefined ? outcome.text : outcome.value;
    return {
      kind: 'answered',
      outputs: asOutputs(value),
      startUs: attempt.startUs,
      endUs: attempt.startUs === null ? null : attempt.nowUs(),
      cost,
      modelRunId,
    };
  }

  async #http(target: HttpTarget, call: TargetCall, attempt: Attempt): Promise<TargetAnswer> {
    const values = valuesOf(call.example);
    const body =
      target.method === 'GET'
        ? undefined
        : JSON.stringify(target.body === undefined ? values.inputs : renderBody(target.body, values));
    const headers: Record<string, string> = {
      'content-type': 'application/json',
      accept: 'application/json',
    };
    for (const { name, value, sealed } of target.headers) {
      headers[name.toLowerCase()] =
        sealed === undefined
          ? (value ?? '')
          : this.#deps.vault.open(sealed, targetBinding(call.workspaceId)).reveal();
    }
    attempt.begin();
    try {
      const answer = await this.#deps.outbound.request({
        url: target.url,
        method: target.method,
        headers: { ...headers, 'idempotency-key': call.callId },
        ...(body !== undefined && { body }),
        timeoutMs: call.deadlineMs,
        maxBytes: MAX_ANSWER_BYTES,
        signal: attempt.signal,
      });
      return read(target, answer, attempt);
    } catch (error) {
      if (!(error instanceof OutboundError)) throw error;
      call.signal.throwIfAborted();
      const code =
        error.failure === 'timeout' || attempt.timedOut
          ? 'TIMEOUT'
          : error.failure === 'refused' || error.failure === 'redirects'
            ? 'TARGET_REFUSED'
            : 'TARGET_UNAVAILABLE';
      return fail(code, error.message, error.retryable || attempt.timedOut, attempt);
    }
  }
}

const valuesOf = ({ inputs, metadata }: Example): TemplateValues => ({
  inputs: JSON.parse(inputs) as JsonValue,
  metadata,
});

/** Outputs of runs are objects; anything else is put under `output`. */
const asOutputs = (value: JsonValue): JsonObject => (isObject(value) ? value : { output: value });

function read(
  target: HttpTarget,
  { status, headers, body }: OutboundResponse,
  attempt: Attempt,
): TargetAnswer {
  if (status < 200 || status > 299) {
    const retryable = status === 408 || status === 425 || status === 429 || status >= 500;
    const seconds = Number(headers['retry-after']);
    return {
      ...fail(
        retryable ? 'TARGET_UNAVAILABLE' : 'TARGET_REFUSED',
        `The target answered with status ${status}.`,
        retryable,
        attempt,
      ),
      retryAfterMs: Number.isFinite(seconds) ? seconds * 1_000 : undefined,
    };
  }
  let value: JsonValue;
  try {
    value = JSON.parse(Buffer.from(body).toString('utf8')) as JsonValue;
  } catch {
    return fail('UNREADABLE_ANSWER', 'The target answered with something that is no JSON.', false, attempt);
  }
  const output = pick(value, target.outputPath);
  if (output === undefined) {
    const message = `The target's answer has nothing at the path "${target.outputPath}".`;
    return fail('UNREADABLE_ANSWER', message, false, attempt);
  }
  return {
    kind: 'answered',
    outputs: asOutputs(output),
    startUs: attempt.startUs,
    endUs: attempt.nowUs(),
    cost: null,
    modelRunId: null,
  };
}

const fail = (
  code: string,
  message: string,
  retryable: boolean,
  attempt: Attempt,
): Extract<TargetAnswer, { kind: 'failed' }> => ({
  kind: 'failed',
  error: { code, message },
  retryable,
  startUs: attempt.startUs,
  endUs: attempt.nowUs(),
  cost: null,
  modelRunId: null,
});
