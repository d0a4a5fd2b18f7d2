/**
 * Calls of language models: claimed, so that no two processes make the same one; within the provider's limits; tried
 * again while that may help; recorded the moment they are answered, before anything else is done with the answer.
 *
 *   claim ──▶ gate ──▶ request ──▶ record ──▶ run ──▶ outcome
 *     │         ▲          │ throttled, unavailable
 *     │         └─ back-off┘
 *     └─ already recorded ──▶ run, where it was not written ──▶ outcome
 *
 * A process that dies before the record has made a call that counts for nothing: the next one makes it again. One that
 * dies after it has made a call that is never made again.
 */
import { createHash, randomInt } from 'node:crypto';
import { setMaxListeners } from 'node:events';
import type pg from 'pg';
import type { RunSink } from '../ingest/intake.js';
import type { Clock } from '../platform/clock.js';
import { inWorkspace } from '../platform/db-scope.js';
import { assertNever } from '../platform/errors.js';
import type { Logger } from '../platform/log.js';
import type { Metrics } from '../platform/metrics.js';
import type { Sleep } from '../platform/sleep.js';
import { VaultError } from '../platform/vault.js';
import { trustedScope } from '../tenancy/principal.js';
import { startHeartbeat } from './heartbeat.js';
import { readAnswer } from './model-answer.js';
import type {
  ModelCallContext,
  ModelClient,
  ModelFailureCode,
  ModelOutcome,
  ModelRequest,
} from './model-call.js';
import type { CallKey, CallRecord, Claim, ModelCallStore } from './model-call.store.js';
import { costOf, hasPrice } from './model-provider.js';
import type { CallableProvider, ModelProviderService } from './model-provider.service.js';
import { callRun, callRunId } from './model-run.js';
import type { CallTrace } from './model-run.js';
import type { AttemptOutcome, ProviderClient } from './provider-client.js';
import type { ProviderGate } from './provider-gate.js';
import type { ProviderGateStore } from './provider-gate.store.js';
import { backoffMs } from './retry.js';

export interface ModelClientDeps {
  readonly pool: pg.Pool;
  readonly calls: ModelCallStore;
  readonly providers: Pick<ModelProviderService, 'forCall'>;
  readonly gate: ProviderGate;
  readonly gates: ProviderGateStore;
  readonly client: ProviderClient;
  readonly runs: RunSink;
  readonly clock: Clock;
  readonly sleep: Sleep;
  readonly log: Logger;
  readonly metrics: Pick<Metrics, 'modelRequests' | 'modelRequestSeconds' | 'modelWaitSeconds'>;
  /** In [0, 1): spreads attempts that would otherwise come together. */
  readonly random?: () => number;
  /** How long a claim outlives its process. Default 10 s; renewed three times as often. */
  readonly leaseMs?: number;
}

const LEASE_MS = 10_000;
/** Requests for one call in one execution. */
export const MAX_ATTEMPTS = 4;
/** A wait the provider asks for is kept up to here; above it the caller is told to come back. */
export const MAX_WAIT_MS = 60_000;
/** How long a call stands in line for its provider. */
const PATIENCE_MS = 300_000;
/** Between two looks at a call that another execution makes. */
const FOLLOW_MS = 250;
const MAX_CALL_ID_LENGTH = 500;

/** Why a call was not answered. Nothing was paid. */
interface CallFailure {
  readonly kind: 'failed';
  readonly code: ModelFailureCode;
  readonly message: string;
  readonly retryable: boolean;
  readonly retryAfterMs?: number;
}

type Answered = Extract<AttemptOutcome, { kind: 'answered' }>;

/** One claimed execution of a call. */
interface Execution {
  readonly claim: Claim;
  readonly request: ModelRequest;
  readonly context: ModelCallContext;
  /** The caller's, or aborted because the claim was lost. */
  readonly signal: AbortSignal;
  attempts: number;
  startedMs: number | undefined;
}

export class RecordingModelClient implements ModelClient {
  readonly #deps: ModelClientDeps;

  constructor(deps: ModelClientDeps) {
    this.#deps = deps;
  }

  call(request: ModelRequest, context: ModelCallContext): Promise<ModelOutcome> {
    if (context.callId === '' || context.callId.length > MAX_CALL_ID_LENGTH) {
      throw new RangeError(`A call's id has 1 to ${MAX_CALL_ID_LENGTH} characters.`);
    }
    return inWorkspace(context.workspaceId, () => this.#call(request, context));
  }

  async #call(request: ModelRequest, context: ModelCallContext): Promise<ModelOutcome> {
    const { pool, calls, sleep, leaseMs = LEASE_MS } = this.#deps;
    const key: CallKey = { scope: trustedScope(context.workspaceId), callId: context.callId };
    const call = {
      providerId: request.providerId,
      model: request.model,
      ownerId: context.ownerId ?? null,
    };
    for (;;) {
      context.signal.throwIfAborted();
      const claim = await calls.claim(pool, key, call, leaseMs);
      const outcome =
        claim === undefined
          ? await this.#recorded(key, request, context)
          : await this.#execute(claim, request, context);
      if (outcome !== undefined) return outcome;
      // Somebody else makes this very call: its answer will be ours.
      if (claim === undefined) await sleep(FOLLOW_MS, context.signal);
    }
  }

  /** Undefined where the claim was lost to another execution. */
  async #execute(
    claim: Claim,
    request: ModelRequest,
    context: ModelCallContext,
  ): Promise<ModelOutcome | undefined> {
    const { pool, calls, log, leaseMs = LEASE_MS } = this.#deps;
    const lost = new AbortController();
    // One job makes many calls; none of them is forgotten on its signal.
    setMaxListeners(0, context.signal);
    const ended = combined(context.signal, lost.signal);
    const heartbeat = startHeartbeat(leaseMs / 3, async () => {
      try {
        if (!(await calls.renew(pool, claim, leaseMs))) lost.abort();
      } catch (error) {
        log.warn({ err: error, callId: claim.callId }, 'the claim on a model call was not renewed');
      }
    });
    const execution: Execution = {
      claim,
      request,
      context,
      signal: ended.signal,
      attempts: 0,
      startedMs: undefined,
    };
    try {
      return await this.#run(execution);
    } catch (error) {
      if (lost.signal.aborted && !context.signal.aborted) return undefined;
      // Called off, or the database is away: then the lease runs out by itself.
      await calls.release(pool, claim, execution.attempts, null).catch(() => undefined);
      throw error;
    } finally {
      heartbeat.stop();
      ended.clear();
    }
  }

  async #run(execution: Execution): Promise<ModelOutcome | undefined> {
    const { claim, request } = execution;
    const provider = await this.#provider(claim, request.providerId);
    if ('code' in provider) return this.#fail(execution, provider, undefined);
    const result = await this.#attempts(execution, provider);
    return result.kind === 'failed'
      ? this.#fail(execution, result, provider)
      : this.#answer(execution, result, provider);
  }

  async #provider({ scope }: Claim, id: string): Promise<CallableProvider | CallFailure> {
    try {
      const provider = await this.#deps.providers.forCall(scope, id);
      return provider ?? failure('PROVIDER_REFUSED', 'There is no such model provider.', false);
    } catch (error) {
      if (!(error instanceof VaultError)) throw error;
      return failure('PROVIDER_REFUSED', error.message, false);
    }
  }

  async #attempts(execution: Execution, provider: CallableProvider): Promise<Answered | CallFailure> {
    const { sleep, random = systemRandom } = this.#deps;
    for (let failed = 0; ;) {
      const result = await this.#attempt(execution, provider);
      if (result.kind === 'answered' || result.kind === 'failed') return result;
      if (result.kind === 'refused') return failure('PROVIDER_REFUSED', result.message, false);
      failed += 1;
      const { retryAfterMs } = result;
      if (failed === MAX_ATTEMPTS || (retryAfterMs ?? 0) > MAX_WAIT_MS) return givenUp(result);
      await sleep(Math.max(retryAfterMs ?? 0, backoffMs(failed, random())), execution.signal);
    }
  }

  /** One request, within the limits. */
  async #attempt(execution: Execution, provider: CallableProvider): Promise<AttemptOutcome | CallFailure> {
    const { gate, client, clock, metrics } = this.#deps;
    const { claim, request, context, signal } = execution;
    const key = { scope: claim.scope, providerId: provider.uuid };
    const stopWaiting = metrics.modelWaitSeconds.startTimer();
    const entry = await gate.enter(key, provider, { patienceMs: PATIENCE_MS, signal });
    stopWaiting();
    if (entry.kind === 'broken') {
      const message = 'The provider did not answer several calls in a row and is left alone for a while.';
      return { ...failure('PROVIDER_UNAVAILABLE', message, true), retryAfterMs: entry.retryAfterMs };
    }
    if (entry.kind === 'crowded') {
      const message = 'Other calls of this provider took all the time this one could wait.';
      return { ...failure('RATE_LIMITED', message, true), retryAfterMs: entry.retryAfterMs };
    }
    try {
      const planned = { hasPrice: hasPrice(provider, request.model) };
      if (context.maySpend !== undefined && !(await context.maySpend(planned))) {
        return failure('SPEND_CAP', 'The spend cap is reached, or cannot be kept.', false);
      }
      execution.attempts += 1;
      execution.startedMs ??= clock.now().getTime();
      const stopTimer = metrics.modelRequestSeconds.startTimer();
      const result = await client.attempt(provider, request, { key: requestKey(claim), signal });
      stopTimer();
      metrics.modelRequests.inc({ outcome: result.kind });
      await this.#note(key, result);
      return result;
    } finally {
      await entry.leave();
    }
  }

  async #note(key: { scope: Claim['scope']; providerId: string }, result: AttemptOutcome): Promise<void> {
    const { pool, gates } = this.#deps;
    switch (result.kind) {
      case 'answered':
      case 'refused':
        return gates.noteAnswer(pool, key);
      case 'throttled':
        return gates.noteThrottle(pool, key, Math.min(result.retryAfterMs ?? 1_000, MAX_WAIT_MS));
      case 'unavailable':
        return gates.noteFailure(pool, key);
      default:
        return assertNever(result);
    }
  }

  /** The record comes first: from here on the call is not made again, whatever happens. */
  async #answer(
    execution: Execution,
    { text, usage, ending }: Answered,
    provider: CallableProvider,
  ): Promise<ModelOutcome | undefined> {
    const { pool, calls, clock, log } = this.#deps;
    const { claim, request, context } = execution;
    const cost = usage === null ? null : costOf(provider.prices, request.model, usage);
    const startedMs = execution.startedMs ?? clock.now().getTime();
    const error = answerError(text, request, ending);
    const record: CallRecord = {
      state: error === null ? 'answered' : 'failed',
      claim: claim.claim,
      answer: storable(text),
      error,
      promptTokens: usage?.promptTokens ?? 0,
      completionTokens: usage?.completionTokens ?? 0,
      cost: cost?.total ?? null,
      runId: context.trace.runId ?? callRunId(context.workspaceId, claim.callId, claim.claim, startedMs),
      startedMs,
      finishedMs: clock.now().getTime(),
    };
    if (!(await calls.finish(pool, claim, record, execution.attempts))) {
      log.warn(
        { workspaceId: context.workspaceId, callId: claim.callId },
        'a model call was answered too late',
      );
      return undefined;
    }
    return this.#conclude(record, provider, request, context);
  }

  async #recorded(
    key: CallKey,
    request: ModelRequest,
    context: ModelCallContext,
  ): Promise<ModelOutcome | undefined> {
    const { pool, calls, providers } = this.#deps;
    const record = await calls.findRecord(pool, key);
    if (record === undefined) return undefined;
    if (record.traced) return outcomeOf(record, request);
    const provider = await providers.forCall(key.scope, request.providerId).catch(() => undefined);
    return this.#conclude(record, provider, request, context);
  }

  /** Writes the run of a recorded call. May be done twice: it is the same run. */
  async #conclude(
    record: CallRecord,
    provider: CallableProvider | undefined,
    request: ModelRequest,
    context: ModelCallContext,
  ): Promise<ModelOutcome> {
    const outcome = outcomeOf(record, request);
    const usage = { promptTokens: record.promptTokens, completionTokens: record.completionTokens };
    const parts = costOf(provider?.prices ?? [], request.model, usage);
    await this.#write(request, context, {
      ...record,
      provider,
      answer: { text: record.answer, value: outcome.kind === 'answered' ? outcome.value : null },
      error: record.error?.message,
      usage,
      // Prices may have changed since the call was recorded.
      cost: record.cost === null ? null : parts?.total === record.cost ? parts : { total: record.cost },
    });
    await this.#deps.calls.markTraced(this.#deps.pool, {
      scope: trustedScope(context.workspaceId),
      callId: context.callId,
    });
    return outcome;
  }

  async #fail(
    { claim, request, context, attempts, startedMs }: Execution,
    { code, message, retryable, retryAfterMs }: CallFailure,
    provider: CallableProvider | undefined,
  ): Promise<ModelOutcome> {
    const { pool, calls, clock } = this.#deps;
    await calls.release(pool, claim, attempts, { code, message });
    const now = clock.now().getTime();
    const from = startedMs ?? now;
    const runId = context.trace.runId ?? callRunId(context.workspaceId, claim.callId, claim.claim, from);
    // An error can never be taken out of a run again: one that was promised waits for what is final.
    if (context.trace.runId === undefined || !(retryable || code === 'SPEND_CAP')) {
      await this.#write(request, context, {
        runId,
        startedMs: from,
        finishedMs: now,
        provider,
        answer: undefined,
        error: `${code}: ${message}`,
        usage: undefined,
        cost: null,
      });
    }
    const later = retryAfterMs === undefined ? {} : { retryAfterMs };
    return { kind: 'failed', code, message, retryable, ...later, usage: null, runId };
  }

  async #write(request: ModelRequest, context: ModelCallContext, trace: CallTrace): Promise<void> {
    const [refusal] = await this.#deps.runs.write([callRun(request, context, trace)]);
    if (refusal === undefined) return;
    const { workspaceId } = context;
    this.#deps.log.error(
      { workspaceId, runId: trace.runId, refusal },
      'the run of a model call was not stored',
    );
  }
}

const failure = (code: ModelFailureCode, message: string, retryable: boolean): CallFailure => ({
  kind: 'failed',
  code,
  message,
  retryable,
});

function givenUp(result: Extract<AttemptOutcome, { kind: 'throttled' | 'unavailable' }>): CallFailure {
  const { message, retryAfterMs } = result;
  const code =
    result.kind === 'throttled' ? 'RATE_LIMITED' : result.timedOut ? 'TIMEOUT' : 'PROVIDER_UNAVAILABLE';
  return { ...failure(code, message, true), ...(retryAfterMs !== undefined && { retryAfterMs }) };
}

/** What is wrong with an answer that came and was paid for. */
function answerError(
  text: string,
  { schema }: ModelRequest,
  ending: Answered['ending'],
): CallRecord['error'] {
  if (ending === 'declined') {
    return { code: 'PROVIDER_REFUSED', message: 'The model or its filter declined to answer.' };
  }
  const read = readAnswer(text, schema);
  if (read.kind === 'readable') return null;
  const message = ending === 'cut' ? `${read.message} It was cut at the limit of tokens.` : read.message;
  return { code: 'UNREADABLE_ANSWER', message };
}

function outcomeOf(record: CallRecord, { schema }: ModelRequest): ModelOutcome {
  const { answer, promptTokens, completionTokens, cost, runId } = record;
  const usage = { promptTokens, completionTokens, cost };
  const read = readAnswer(answer, schema);
  const error =
    record.error ??
    (read.kind === 'readable' ? null : { code: 'UNREADABLE_ANSWER' as const, message: read.message });
  if (error !== null) return { kind: 'failed', ...error, retryable: false, usage, runId };
  return {
    kind: 'answered',
    text: answer,
    value: read.kind === 'readable' ? read.value : null,
    usage,
    runId,
  };
}

/** Postgres takes no NUL and no half of a pair. Within JSON they are escaped and stay. */
const storable = (text: string): string => text.toWellFormed().replaceAll('\0', '\u2400');

/** Names the call to the provider, and nothing else about it. */
const requestKey = ({ scope, callId }: Claim): string =>
  createHash('sha256')
    .update(JSON.stringify([scope.workspaceId, callId]))
    .digest('hex')
    .slice(0, 32);

const systemRandom = (): number => randomInt(2 ** 32) / 2 ** 32;

/** AbortSignal.any keeps what it made as long as a long-lived signal lives; this lets go. */
function combined(...signals: AbortSignal[]): { readonly signal: AbortSignal; clear(): void } {
  const controller = new AbortController();
  const onAbort = (): void => controller.abort(signals.find(({ aborted }) => aborted)?.reason);
  for (const signal of signals) signal.addEventListener('abort', onAbort, { once: true });
  if (signals.some(({ aborted }) => aborted)) onAbort();
  return {
    signal: controller.signal,
    clear: () => signals.forEach((signal) => signal.removeEventListener('abort', onAbort)),
  };
}
