/** Trying a provider out: one small request, so that a wrong address or key is found before it matters. */
import { randomUUID } from 'node:crypto';
import { failed, ok, problem } from '../platform/result.js';
import type { Result } from '../platform/result.js';
import { requireScope } from '../tenancy/principal.js';
import type { Principal } from '../tenancy/principal.js';
import type { CallableProvider, ModelProviderService } from './model-provider.service.js';
import { isModelName } from './model-provider.js';
import type { AttemptOutcome, ProviderClient } from './provider-client.js';
import type { ProviderGate } from './provider-gate.js';

export interface TrialOutcome {
  readonly answered: boolean;
  readonly model: string;
  /** Seconds until the answer; null where there was none. */
  readonly latency: number | null;
  /** What went wrong, for people; null where nothing did. */
  readonly message: string | null;
}

export interface ProviderTrialDeps {
  readonly providers: ModelProviderService;
  readonly gate: ProviderGate;
  readonly client: ProviderClient;
}

const QUESTION = 'Answer with the word "ok".';
/** Someone is looking at a screen. */
const PATIENCE_MS = 5_000;
const MAX_TIMEOUT_MS = 20_000;

export class ProviderTrial {
  readonly #deps: ProviderTrialDeps;

  constructor(deps: ProviderTrialDeps) {
    this.#deps = deps;
  }

  /** Sends one request, within the provider's limits and on its bill. Not recorded. */
  async run(
    principal: Principal,
    id: string,
    model: string | undefined,
    signal: AbortSignal,
  ): Promise<Result<TrialOutcome>> {
    const scope = requireScope(principal, 'admin');
    const { providers, gate } = this.#deps;
    const provider = await providers.forCall(scope, id);
    if (provider === undefined) {
      return failed(problem('NOT_FOUND', 'There is no such model provider.', ['id']));
    }
    const name = model ?? provider.defaultModel;
    if (name === null || !isModelName(name)) {
      return failed(problem('INVALID', 'The provider has no default model: name one.', ['model']));
    }
    const key = { scope, providerId: id };
    const entry = await gate.enter(key, provider, { patienceMs: PATIENCE_MS, signal });
    if (entry.kind !== 'entered') {
      const message = entry.kind === 'broken' ? 'It did not answer several calls in a row.' : 'It is busy.';
      return ok({ answered: false, model: name, latency: null, message });
    }
    try {
      return ok(await this.#try(provider, name, signal));
    } finally {
      await entry.leave();
    }
  }

  async #try(provider: CallableProvider, model: string, signal: AbortSignal): Promise<TrialOutcome> {
    const started = performance.now();
    const outcome: AttemptOutcome = await this.#deps.client.attempt(
      { ...provider, timeoutMs: Math.min(provider.timeoutMs, MAX_TIMEOUT_MS) },
      {
        providerId: provider.uuid,
        model,
        messages: [{ role: 'user', content: QUESTION }],
        parameters: {},
      },
      { key: randomUUID(), signal },
    );
    const answered = outcome.kind === 'answered';
    return {
      answered,
      model,
      latency: answered ? (performance.now() - started) / 1_000 : null,
      message: answered ? null : outcome.message,
    };
  }
}
