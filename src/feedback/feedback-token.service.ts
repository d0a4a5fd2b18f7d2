/** Use cases of feedback tokens: a browser without a key may say one thing about one run. */
import { randomUUID } from 'node:crypto';
import type { JsonObject, JsonValue } from '../ingest/run-event.js';
import type { Clock } from '../platform/clock.js';
import { everywhere, inWorkspace } from '../platform/db-scope.js';
import { AppError } from '../platform/errors.js';
import type { Idempotency } from '../platform/idempotency.js';
import { isUuid } from '../platform/ids.js';
import { cleanText } from '../platform/json-text.js';
import { failed, ok, problem, type Result } from '../platform/result.js';
import { requireScope, trustedScope, type Principal } from '../tenancy/principal.js';
import { definitionProblems, type FeedbackConfigDefinition } from './feedback-config.js';
import type { FeedbackService } from './feedback.service.js';
import { insertFeedbackTokens } from './feedback-token.store.js';
import type { FeedbackToken, FeedbackTokenStore } from './feedback-token.store.js';
import { MAX_KEY_LENGTH, type Feedback } from './feedback.js';

export interface FeedbackTokenServiceOptions {
  readonly store: FeedbackTokenStore;
  readonly feedback: FeedbackService;
  readonly idempotency: Idempotency;
  readonly clock: Clock;
}

export interface FeedbackTokenDraft {
  /** Made by the client; must be unguessable. Default: made here. */
  readonly id?: string | undefined;
  readonly runId: string;
  readonly key: string;
  readonly config?: FeedbackConfigDefinition | undefined;
  /** Default: three hours from now. At most a year. */
  readonly expiresAt?: Date | undefined;
}

/** What a holder of a token says. */
export interface TokenFeedback {
  readonly score?: number | boolean | null;
  readonly value?: JsonValue;
  readonly comment?: string | null;
  readonly correction?: JsonValue;
  readonly metadata?: JsonObject | null;
}

const HOUR_MS = 3_600_000;
const DEFAULT_LIFE_MS = 3 * HOUR_MS;
const LONGEST_LIFE_MS = 366 * 24 * HOUR_MS;
const MAX_TOKENS = 100;

export class FeedbackTokenService {
  readonly #store: FeedbackTokenStore;
  readonly #feedback: FeedbackService;
  readonly #idempotency: Idempotency;
  readonly #clock: Clock;

  constructor(options: FeedbackTokenServiceOptions) {
    this.#store = options.store;
    this.#feedback = options.feedback;
    this.#idempotency = options.idempotency;
    this.#clock = options.clock;
  }

  /** All or none. Whoever may create feedback may let others do it. */
  async create(
    principal: Principal,
    drafts: readonly FeedbackTokenDraft[],
    idempotencyKey?: string | null,
  ): Promise<Result<FeedbackToken[]>> {
    const scope = requireScope(principal, principal.scopes.has('ingest') ? 'ingest' : 'write');
    if (drafts.length > MAX_TOKENS) {
      throw new AppError('PAYLOAD_TOO_LARGE', `At most ${MAX_TOKENS} tokens fit one request.`);
    }
    const now = this.#clock.now();
    const tokens: FeedbackToken[] = [];
    for (const draft of drafts) {
      const key = cleanText(draft.key);
      const expiresAt = draft.expiresAt ?? new Date(now.getTime() + DEFAULT_LIFE_MS);
      const life = expiresAt.getTime() - now.getTime();
      if (!isUuid(draft.runId)) return failed(problem('INVALID', 'runId must be a UUID.', ['runId']));
      if (draft.id !== undefined && !isUuid(draft.id)) {
        return failed(problem('INVALID', 'id must be a UUID.', ['id']));
      }
      if (key === '' || key.length > MAX_KEY_LENGTH) {
        return failed(problem('INVALID', `key must have 1 to ${MAX_KEY_LENGTH} characters.`, ['key']));
      }
      if (!(life > 0 && life <= LONGEST_LIFE_MS)) {
        return failed(problem('INVALID', 'A token must expire in the future, within a year.', ['expiresAt']));
      }
      const problems = draft.config === undefined ? [] : definitionProblems(draft.config);
      if (problems.length > 0) return failed(...problems);
      tokens.push({
        id: draft.id?.toLowerCase() ?? randomUUID(),
        workspaceId: scope.workspaceId,
        runId: draft.runId.toLowerCase(),
        key,
        config: draft.config ?? null,
        createdAt: now,
        expiresAt,
      });
    }
    const call = { mutation: 'createFeedbackToken', key: idempotencyKey, input: drafts };
    return this.#idempotency.once(principal, call, async (tx) =>
      (await insertFeedbackTokens(tx, scope, tokens))
        ? ok(tokens)
        : failed(problem('ALREADY_EXISTS', 'A token with this id already exists.', ['id'])),
    );
  }

  /** The run's tokens that are still good, in order of creation. */
  async list(
    principal: Principal,
    runId: string,
    page: { readonly limit: number; readonly offset: number },
  ): Promise<FeedbackToken[]> {
    return this.#store.list(requireScope(principal, 'read'), runId, this.#clock.now(), page);
  }

  /**
   * Stores what a holder of the token says; each use is feedback of its own.
   * @throws AppError NOT_FOUND for unknown and expired tokens alike.
   */
  async redeem(tokenId: string, said: TokenFeedback): Promise<Result<Feedback>> {
    const token = isUuid(tokenId)
      ? await everywhere('link lookup', () => this.#store.find(tokenId.toLowerCase()))
      : undefined;
    if (token === undefined || token.expiresAt <= this.#clock.now()) {
      throw new AppError('NOT_FOUND', 'Feedback token not found or expired.');
    }
    const { metadata, ...judgement } = said;
    return inWorkspace(token.workspaceId, () =>
      this.#feedback.createTrusted(trustedScope(token.workspaceId), {
        ...judgement,
        runId: token.runId,
        key: token.key,
        source: { type: 'app', ...(metadata ? { metadata } : {}) },
        config: token.config,
      }),
    );
  }
}
