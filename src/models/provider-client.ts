/**
 * One request to a provider and what came of it, over the `ai` package and the guarded way out. The library's own
 * retries, telemetry and warnings are off: whether to try again is decided by the model client.
 */
import type { LanguageModel, ToolSet } from 'ai';
import type { JsonObject } from '../ingest/run-event.js';
import type { Clock } from '../platform/clock.js';
import { OutboundError } from '../platform/outbound.js';
import type { OutboundClient } from '../platform/outbound.js';
import type { ModelRequest } from './model-call.js';
import type { TokenCounts } from './model-provider.js';
import type { CallableProvider } from './model-provider.service.js';
import { retryAfterOf } from './retry.js';

export type AttemptOutcome =
  | {
      readonly kind: 'answered';
      /** The answer's text, or the input of the tool it was asked to give as JSON. */
      readonly text: string;
      /** Null where the provider does not say what it counted. */
      readonly usage: TokenCounts | null;
      readonly ending: 'complete' | 'cut' | 'declined';
    }
  | { readonly kind: 'throttled'; readonly message: string; readonly retryAfterMs: number | undefined }
  /** Nobody there, or nobody able: 5xx, a lost connection, half an answer. */
  | {
      readonly kind: 'unavailable';
      readonly message: string;
      readonly timedOut: boolean;
      readonly retryAfterMs: number | undefined;
    }
  /** The same request will not be answered however often it is sent. */
  | { readonly kind: 'refused'; readonly message: string };

const MAX_ANSWER_BYTES = 16 * 1024 * 1024;
const MAX_MESSAGE_LENGTH = 500;
const TOOL = 'answer';
/** What this file says itself: parameters must not change what is asked or how it is answered. */
const OWN_FIELDS = new Set([
  'messages',
  'model',
  'n',
  'output_config',
  'output_format',
  'response_format',
  'stream',
  'stream_options',
  'system',
  'tool_choice',
  'tools',
]);

const load = async () => {
  const ai = await import('ai');
  const openAi = await import('@ai-sdk/openai-compatible');
  const anthropic = await import('@ai-sdk/anthropic');
  globalThis.AI_SDK_LOG_WARNINGS = false;
  return { ...ai, ...openAi, ...anthropic };
};
let loaded: ReturnType<typeof load> | undefined;

/** Loaded at the first call: most processes never make one. */
const library = (): ReturnType<typeof load> => (loaded ??= load());

export interface ProviderClientDeps {
  readonly outbound: OutboundClient;
  readonly clock: Clock;
}

export class ProviderClient {
  readonly #deps: ProviderClientDeps;

  constructor(deps: ProviderClientDeps) {
    this.#deps = deps;
  }

  /**
   * @param key sent as Idempotency-Key: the same for every attempt of one call.
   * @throws the signal's reason.
   */
  async attempt(
    provider: CallableProvider,
    request: ModelRequest,
    { key, signal }: { key: string; signal: AbortSignal },
  ): Promise<AttemptOutcome> {
    signal.throwIfAborted();
    try {
      return await this.#generate(provider, request, key, signal);
    } catch (error) {
      signal.throwIfAborted();
      return this.#failure(error, provider);
    }
  }

  async #generate(
    provider: CallableProvider,
    { model, messages, parameters, schema }: ModelRequest,
    key: string,
    signal: AbortSignal,
  ): Promise<AttemptOutcome> {
    const ai = await library();
    const asTool = schema !== undefined && usesTool(provider);
    const settings = {
      model: await this.#model(provider, model, parameters),
      messages: [...messages],
      allowSystemInMessages: true,
      maxRetries: 0,
      abortSignal: signal,
      headers: { 'idempotency-key': key },
    };
    try {
      if (asTool) {
        const tools: ToolSet = { [TOOL]: { inputSchema: ai.jsonSchema(schema) } };
        const result = await ai.generateText({
          ...settings,
          tools,
          toolChoice: { type: 'tool', toolName: TOOL },
        });
        const [call] = result.toolCalls;
        const input: unknown = call?.input;
        const text =
          input === undefined ? result.text : typeof input === 'string' ? input : JSON.stringify(input);
        return answered(text, result.usage, result.finishReason);
      }
      const output =
        schema === undefined ? undefined : ai.Output.object({ schema: ai.jsonSchema(schema), name: TOOL });
      const result = await ai.generateText({ ...settings, ...(output && { output }) });
      return answered(result.text, result.usage, result.finishReason);
    } catch (error) {
      // The library could not read what was answered; we read it ourselves, and it was paid for.
      if (!ai.NoObjectGeneratedError.isInstance(error)) throw error;
      return answered(error.text ?? '', error.usage, error.finishReason);
    }
  }

  async #model(
    provider: CallableProvider,
    model: string,
    parameters: JsonObject,
  ): Promise<Exclude<LanguageModel, string>> {
    const { createAnthropic, createOpenAICompatible } = await library();
    const { secret, headers } = provider.credentials;
    const limits = { timeoutMs: provider.timeoutMs, maxBytes: MAX_ANSWER_BYTES };
    const settings = {
      baseURL: provider.baseUrl,
      headers,
      fetch: withParameters(this.#deps.outbound.fetchWith(limits), parameters),
    };
    if (provider.kind === 'anthropic') {
      // The library would otherwise look for a key in the environment.
      return createAnthropic({ ...settings, apiKey: secret ?? 'none' })(model);
    }
    return createOpenAICompatible({
      ...settings,
      name: 'provider',
      supportsStructuredOutputs: true,
      ...(secret !== null && { apiKey: secret }),
    })(model);
  }

  async #failure(error: unknown, provider: CallableProvider): Promise<AttemptOutcome> {
    const { APICallError, InvalidResponseDataError, JSONParseError, TypeValidationError } = await library();
    if (error instanceof OutboundError) {
      const { message, retryable } = error;
      if (!retryable) return { kind: 'refused', message };
      return { kind: 'unavailable', message, timedOut: error.failure === 'timeout', retryAfterMs: undefined };
    }
    const status = APICallError.isInstance(error) ? error.statusCode : undefined;
    if (APICallError.isInstance(error) && status !== undefined && (status < 200 || status >= 300)) {
      const retryAfterMs = retryAfterOf(error.responseHeaders?.['retry-after'], this.#deps.clock.now());
      const said = shown(error.message, provider);
      if (status === 429) {
        return { kind: 'throttled', message: `The provider says 429: ${said}`, retryAfterMs };
      }
      if (PASSING.has(status) || status >= 500) {
        return {
          kind: 'unavailable',
          message: `The provider says ${status}: ${said}`,
          timedOut: false,
          retryAfterMs,
        };
      }
      return { kind: 'refused', message: `The provider says ${status}: ${said}` };
    }
    const unreadable = [APICallError, InvalidResponseDataError, JSONParseError, TypeValidationError];
    if (unreadable.some((kind) => kind.isInstance(error))) {
      const message = 'The provider answered with something that its protocol does not know.';
      return { kind: 'unavailable', message, timedOut: false, retryAfterMs: undefined };
    }
    throw error;
  }
}

/** Timeout, too early, and the conflicts that servers report under load. */
const PASSING = new Set([408, 409, 425]);

const usesTool = ({ kind, structuredOutput }: CallableProvider): boolean =>
  kind === 'openai_compatible' && structuredOutput === 'tool_call';

interface CountedTokens {
  readonly inputTokens: number | undefined;
  readonly outputTokens: number | undefined;
}

function answered(
  text: string,
  usage: CountedTokens | undefined,
  finishReason: string | undefined,
): AttemptOutcome {
  const { inputTokens, outputTokens } = usage ?? {};
  return {
    kind: 'answered',
    text,
    usage:
      inputTokens === undefined || outputTokens === undefined
        ? null
        : { promptTokens: inputTokens, completionTokens: outputTokens },
    ending: finishReason === 'content-filter' ? 'declined' : finishReason === 'length' ? 'cut' : 'complete',
  };
}

/** Parameters go out under the names the caller gave them, whatever the library knows of them. */
function withParameters(send: typeof globalThis.fetch, parameters: JsonObject): typeof globalThis.fetch {
  const extras = Object.entries(parameters).filter(([name]) => !OWN_FIELDS.has(name));
  if (extras.length === 0) return send;
  return (input, init) => {
    if (typeof init?.body !== 'string') return send(input, init);
    const body = { ...(JSON.parse(init.body) as object), ...Object.fromEntries(extras) };
    return send(input, { ...init, body: JSON.stringify(body) });
  };
}

/** What a provider says may repeat what it was sent. */
function shown(message: string, { credentials }: CallableProvider): string {
  const secrets = [credentials.secret ?? '', ...Object.values(credentials.headers)];
  return secrets
    .filter((secret) => secret.length > 3)
    .reduce((text, secret) => text.replaceAll(secret, '***'), message)
    .slice(0, MAX_MESSAGE_LENGTH)
    .toWellFormed();
}
