/**
 * The way to a provider: at most so many calls at once and per minute, over all processes. Calls of this process stand
 * in line and only the first of the line asks the database, so that many who wait cost no more than one.
 */
import { randomInt } from 'node:crypto';
import type pg from 'pg';
import { transaction } from '../platform/db.js';
import type { Ids } from '../platform/ids.js';
import type { Logger } from '../platform/log.js';
import type { Sleep } from '../platform/sleep.js';
import { startHeartbeat } from './heartbeat.js';
import type { GateKey, GateLimits, ProviderGateStore } from './provider-gate.store.js';
import { Turnstile } from './turnstile.js';

export type Entry =
  /** Call `leave` when the call is over, whatever came of it. */
  | { readonly kind: 'entered'; readonly leave: () => Promise<void> }
  | { readonly kind: 'broken'; readonly retryAfterMs: number }
  /** Waiting took longer than the caller wanted. */
  | { readonly kind: 'crowded'; readonly retryAfterMs: number };

export interface ProviderGateDeps {
  readonly pool: pg.Pool;
  readonly store: ProviderGateStore;
  readonly ids: Ids;
  readonly sleep: Sleep;
  readonly log: Logger;
  /** How long a slot outlives its process. Default 10 s; renewed three times as often. */
  readonly leaseMs?: number;
}

const LEASE_MS = 10_000;
/** Between two looks for a free slot while another process holds them all, and how much of it is left to chance. */
const POLL_MS = 150;
const POLL_JITTER_MS = 100;
const CROWDED_RETRY_MS = 5_000;

export class ProviderGate {
  readonly #deps: ProviderGateDeps;
  readonly #lines = new Map<string, Turnstile>();

  constructor(deps: ProviderGateDeps) {
    this.#deps = deps;
  }

  /** @throws the signal's reason. */
  async enter(
    key: GateKey,
    limits: GateLimits,
    { patienceMs, signal }: { patienceMs: number; signal: AbortSignal },
  ): Promise<Entry> {
    const until = performance.now() + patienceMs;
    const line = this.#lineOf(key);
    await line.enter(signal);
    try {
      for (;;) {
        const { decision, slotId } = await this.#ask(key, limits);
        if (decision.kind === 'granted') return this.#entered(key, slotId);
        if (decision.kind === 'broken') return { kind: 'broken', retryAfterMs: Math.ceil(decision.ms) };
        const waitMs = decision.ms ?? POLL_MS + randomInt(POLL_JITTER_MS);
        if (performance.now() + waitMs > until) {
          return { kind: 'crowded', retryAfterMs: Math.ceil(decision.ms ?? CROWDED_RETRY_MS) };
        }
        await line.rest(waitMs, this.#deps.sleep, signal, decision.ms === undefined);
      }
    } finally {
      line.leave();
      if (line.isEmpty) this.#lines.delete(nameOf(key));
    }
  }

  async #ask(key: GateKey, limits: GateLimits) {
    const { pool, store, ids, leaseMs = LEASE_MS } = this.#deps;
    const slotId = ids.uuid();
    const decision = await transaction(pool, (tx) => store.enter(tx, key, limits, slotId, leaseMs));
    return { decision, slotId };
  }

  #entered(key: GateKey, slotId: string): Entry {
    const { pool, store, log, leaseMs = LEASE_MS } = this.#deps;
    const report = (error: unknown): void =>
      log.warn({ err: error, workspaceId: key.scope.workspaceId, providerId: key.providerId }, 'model slot');
    const heartbeat = startHeartbeat(leaseMs / 3, () =>
      store.renew(pool, key, slotId, leaseMs).catch(report),
    );
    return {
      kind: 'entered',
      leave: async () => {
        heartbeat.stop();
        // A slot that could not be given back is free when its lease is over.
        await store.leave(pool, key, slotId).catch(report);
        this.#lines.get(nameOf(key))?.wake();
      },
    };
  }

  #lineOf(key: GateKey): Turnstile {
    const name = nameOf(key);
    const line = this.#lines.get(name) ?? new Turnstile();
    this.#lines.set(name, line);
    return line;
  }
}

const nameOf = ({ scope, providerId }: GateKey): string => `${scope.workspaceId}/${providerId}`;
