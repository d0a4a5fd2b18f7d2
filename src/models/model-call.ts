/** What is asked of a language model and what came of it, for judges and for experiment targets alike. Pure. */
import type { JsonObject, JsonValue } from '../ingest/run-event.js';

export interface ModelMessage {
  readonly role: 'system' | 'user' | 'assistant';
  readonly content: string;
}

export interface ModelRequest {
  readonly providerId: string;
  readonly model: string;
  readonly messages: readonly ModelMessage[];
  /** Temperature, top_p, max_tokens and whatever else the provider takes. */
  readonly parameters: JsonObject;
  /** A JSON schema the answer must satisfy. */
  readonly schema?: JsonObject;
}

export interface ModelUsage {
  readonly promptTokens: number;
  readonly completionTokens: number;
  /** US dollars, decimal text; null where the provider's price for this model is not known. */
  readonly cost: string | null;
}

export type ModelFailureCode =
  | 'UNREADABLE_ANSWER'
  | 'TIMEOUT'
  | 'PROVIDER_UNAVAILABLE'
  | 'PROVIDER_REFUSED'
  | 'RATE_LIMITED'
  | 'SPEND_CAP';

export type ModelOutcome =
  | {
      readonly kind: 'answered';
      readonly text: string;
      /** The answer as an object, where a schema was asked for. */
      readonly value: JsonValue;
      readonly usage: ModelUsage;
      readonly runId: string;
    }
  | {
      readonly kind: 'failed';
      readonly code: ModelFailureCode;
      readonly message: string;
      readonly retryable: boolean;
      readonly retryAfterMs?: number;
      /** Also an answer that could not be read was paid for. */
      readonly usage: ModelUsage | null;
      readonly runId: string;
    };

export interface ModelCallContext {
  readonly workspaceId: string;
  /** Names this call for ever; asking again under it answers from the record and costs nothing. */
  readonly callId: string;
  /** The run that is written for the call: where, below what, and what else is known of it. */
  readonly trace: {
    readonly projectName: string;
    readonly name: string;
    readonly parent?: { readonly runId: string; readonly traceId: string; readonly dottedOrder: string };
    readonly referenceExampleId?: string;
    readonly metadata: JsonObject;
  };
  readonly signal: AbortSignal;
  readonly maySpend?: () => Promise<boolean>;
}

/** Calls models within their limits. Never throws for what a provider does. */
export interface ModelClient {
  call(request: ModelRequest, context: ModelCallContext): Promise<ModelOutcome>;
}
