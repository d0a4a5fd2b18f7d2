/** Use cases of the configs of feedback keys. */
import type pg from 'pg';
import type { Clock } from '../platform/clock.js';
import { transaction } from '../platform/db.js';
import type { Queryable } from '../platform/db.js';
import type { Idempotency } from '../platform/idempotency.js';
import { cleanText } from '../platform/json-text.js';
import { failed, ok, problem, type Result } from '../platform/result.js';
import { requireScope, type Principal, type WorkspaceScope } from '../tenancy/principal.js';
import {
  definitionProblems,
  sameDefinition,
  type FeedbackConfig,
  type FeedbackConfigDefinition,
} from './feedback-config.js';
import type { ConfigFilter, ConfigPage, FeedbackConfigStore } from './feedback-config.store.js';
import { MAX_KEY_LENGTH } from './feedback.js';

export interface FeedbackConfigServiceOptions {
  readonly pool: pg.Pool;
  readonly store: FeedbackConfigStore;
  readonly idempotency: Idempotency;
  readonly clock: Clock;
}

/** Absent leaves. */
export interface FeedbackConfigPatch {
  readonly definition?: FeedbackConfigDefinition;
  readonly isLowerScoreBetter?: boolean;
}

export class FeedbackConfigService {
  readonly #pool: pg.Pool;
  readonly #store: FeedbackConfigStore;
  readonly #idempotency: Idempotency;
  readonly #clock: Clock;

  constructor(options: FeedbackConfigServiceOptions) {
    this.#pool = options.pool;
    this.#store = options.store;
    this.#idempotency = options.idempotency;
    this.#clock = options.clock;
  }

  /** The same definition again answers the stored one; another one is ALREADY_EXISTS. */
  async create(
    principal: Principal,
    key: string,
    definition: FeedbackConfigDefinition,
    isLowerScoreBetter = false,
    idempotencyKey?: string | null,
  ): Promise<Result<FeedbackConfig>> {
    const scope = requireScope(principal, 'write');
    const name = cleanText(key);
    if (name === '' || name.length > MAX_KEY_LENGTH) {
      return failed(
        problem('INVALID', `A feedback key must have 1 to ${MAX_KEY_LENGTH} characters.`, ['key']),
      );
    }
    const clean = cleanDefinition(definition);
    const problems = definitionProblems(clean);
    if (problems.length > 0) return failed(...problems);
    const now = this.#clock.now().toISOString();
    const input = { name, definition, isLowerScoreBetter };
    const call = { mutation: 'createFeedbackConfig', key: idempotencyKey, input };
    return this.#idempotency.once(principal, call, async (tx) => {
      const created = await this.#store.insert(tx, scope, name, clean, isLowerScoreBetter, now);
      if (created !== undefined) return ok(created);
      const existing = (await this.#store.find(tx, scope, [name])).get(name);
      if (
        existing !== undefined &&
        sameDefinition(existing, clean) &&
        existing.isLowerScoreBetter === isLowerScoreBetter
      ) {
        return ok(existing);
      }
      return failed(
        problem('ALREADY_EXISTS', `The feedback key "${name}" already has another config.`, ['key']),
      );
    });
  }

  /** The key's config, made now if it had none. For whatever writes scores of a known scale; in its transaction. */
  async ensure(
    tx: Queryable,
    scope: WorkspaceScope,
    key: string,
    definition: FeedbackConfigDefinition,
    isLowerScoreBetter: boolean,
  ): Promise<FeedbackConfig> {
    const now = this.#clock.now().toISOString();
    const created = await this.#store.insert(tx, scope, key, definition, isLowerScoreBetter, now);
    const config = created ?? (await this.#store.lock(tx, scope, key));
    if (config === undefined) throw new Error('A feedback config vanished while it was looked for.');
    return config;
  }

  /** Stored feedback is not judged again. */
  async update(
    principal: Principal,
    key: string,
    patch: FeedbackConfigPatch,
  ): Promise<Result<FeedbackConfig>> {
    const scope = requireScope(principal, 'write');
    const definition = patch.definition === undefined ? undefined : cleanDefinition(patch.definition);
    const problems = definition === undefined ? [] : definitionProblems(definition);
    if (problems.length > 0) return failed(...problems);
    const now = this.#clock.now().toISOString();
    const updated = await transaction(this.#pool, async (tx) => {
      const current = await this.#store.lock(tx, scope, key);
      if (current === undefined) return undefined;
      const direction = patch.isLowerScoreBetter ?? current.isLowerScoreBetter;
      return this.#store.replace(tx, scope, key, definition ?? current, direction, now);
    });
    return updated === undefined ? failed(notFound(key)) : ok(updated);
  }

  async delete(principal: Principal, key: string): Promise<Result<string>> {
    const scope = requireScope(principal, 'write');
    return (await this.#store.delete(this.#pool, scope, key)) ? ok(key) : failed(notFound(key));
  }

  /** Up to `limit + 1` in order of key, in reading order. */
  async list(principal: Principal, filter: ConfigFilter, page: ConfigPage): Promise<FeedbackConfig[]> {
    return this.#store.list(this.#pool, requireScope(principal, 'read'), filter, page);
  }

  /** How many match, counted up to `limit`. */
  async count(principal: Principal, filter: ConfigFilter, limit: number): Promise<number> {
    return this.#store.count(this.#pool, requireScope(principal, 'read'), filter, limit);
  }
}

const notFound = (key: string) => problem('NOT_FOUND', `Feedback config not found: "${key}".`, ['key']);

const cleanDefinition = (definition: FeedbackConfigDefinition): FeedbackConfigDefinition => ({
  ...definition,
  categories: definition.categories.map(({ value, label }) => ({
    value,
    label: label === null ? null : cleanText(label),
  })),
});
