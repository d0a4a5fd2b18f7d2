/** What is asked of a language model and what came of it, for judges and for experiment targets alike. Pure. */
import type { JsonObject, JsonValue } from '../ingest/run-event.js';
import type { RunOrigin } from '../runs/run-origin.js';

export interface ModelMessage {
  readonly role: 'system' | 'user' | 'assistant';
  readonly content: string;
}

export interface ModelRequest {
  readonly providerId: string;
  readonly model: string;
  readonly messages: readonly ModelMessage[];
  /** Temperature, top_p, max_tokens and whatever else the provider takes, under its own names. */
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
      /** The answer as the schema wants it; null where none was asked for. */
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
      /** Also an answer that could not be read was paid for. Null where nothing was answered. */
      readonly usage: ModelUsage | null;
      readonly runId: string;
    };

/** What is known of a request before it is sent. */
export interface PlannedCall {
  /** Whether the provider has a price for the model. */
  readonly hasPrice: boolean;
}

/** False: it must not be sent, because a spend cap is reached or cannot be kept. */
export type MaySpend = (call: PlannedCall) => Promise<boolean>;

export interface ModelCallContext {
  readonly workspaceId: string;
  /**
   * Names this call, at most 500 characters; for 90 days there is no other of this name. What was answered and paid for, readable or not, is answered from
   * the record when it is asked for again; what failed otherwise is tried again.
   */
  readonly callId: string;
  /** What the cost counts for, such as an experiment's id: spend is summed by it. */
  readonly ownerId?: string;
  /** The run that is written for the call: where, below what, and what else is known of it. */
  readonly trace: {
    readonly projectName: string;
    readonly name: string;
    readonly parent?: { readonly runId: string; readonly traceId: string; readonly dottedOrder: string };
    readonly referenceExampleId?: string;
    readonly metadata: JsonObject;
    /** Default `judge`. Marks the run, so that no rule evaluates it. */
    readonly origin?: RunOrigin;
    /**
     * The run's id, where it was promised to somebody. Then the run is written once: when the call is answered or has
     * failed for good. Default: an id of its own for each execution, failed ones included.
     */
    readonly runId?: string;
  };
  readonly signal: AbortSignal;
  /** Asked before every request to the provider. */
  readonly maySpend?: MaySpend;
}

/**
 * Calls models within their limits. Never throws for what a provider does; rejects with the signal's reason when it is
 * called off, and when the database cannot be reached. Asking twice at once for the same call waits for the first.
 */
export interface ModelClient {
  call(request: ModelRequest, context: ModelCallContext): Promise<ModelOutcome>;
}
