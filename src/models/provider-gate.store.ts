/**
 * Who may call a provider now, decided in Postgres for all processes on either job engine. Whoever asks locks the
 * provider's gate, so that two processes never count the same free slot; a slot is a lease, so that a dead process
 * keeps none. Times are the database's.
 */
import type { Queryable } from '../platform/db.js';
import type { WorkspaceScope } from '../tenancy/principal.js';
import type { ModelProvider } from './model-provider.js';

export interface GateKey {
  readonly scope: WorkspaceScope;
  readonly providerId: string;
}

export type GateLimits = Pick<ModelProvider, 'maxConcurrency' | 'requestsPerMinute'>;

export type GateDecision =
  | { readonly kind: 'granted' }
  /** No slot is free (no time is known), or the bucket is empty, or the provider asked for quiet. */
  | { readonly kind: 'wait'; readonly ms: number | undefined }
  /** Too many calls in a row were not answered. */
  | { readonly kind: 'broken'; readonly ms: number };

interface GateRow extends Record<string, unknown> {
  readonly tokens: number;
  readonly ageMs: number;
  readonly pauseMs: number;
  readonly brokenMs: number;
  readonly failures: number;
}

/** Calls in a row without an answer after which others are refused at once, and for how long before one may try. */
export const BREAK_AFTER = 5;
export const BROKEN_MS = 10_000;
/** After so many 429 in a row the whole provider is left alone for the time it asked for. */
export const PAUSE_AFTER = 3;
/** What a bucket holds: a tenth of a minute's requests, so that a burst is not the whole minute's. */
const BURST = 0.1;

export const burstOf = (requestsPerMinute: number): number =>
  Math.max(1, Math.floor(requestsPerMinute * BURST));

export class ProviderGateStore {
  /** Within a transaction of its own, which is short: it holds the gate. */
  async enter(
    tx: Queryable,
    key: GateKey,
    limits: GateLimits,
    slotId: string,
    leaseMs: number,
  ): Promise<GateDecision> {
    const gate = await this.#lock(tx, key, limits);
    if (gate.brokenMs > 0) return { kind: 'broken', ms: gate.brokenMs };
    if (gate.pauseMs > 0) return { kind: 'wait', ms: gate.pauseMs };
    const { requestsPerMinute } = limits;
    const tokens = refilled(gate, requestsPerMinute);
    if (requestsPerMinute !== null && tokens < 1) {
      return { kind: 'wait', ms: ((1 - tokens) * 60_000) / requestsPerMinute };
    }
    if ((await this.#slotsTaken(tx, key)) >= limits.maxConcurrency) return { kind: 'wait', ms: undefined };
    await this.#grant(tx, key, { slotId, leaseMs, tokens: tokens - 1, probe: gate.failures >= BREAK_AFTER });
    return { kind: 'granted' };
  }

  async #lock(tx: Queryable, { scope, providerId }: GateKey, limits: GateLimits): Promise<GateRow> {
    const values = [scope.workspaceId, providerId];
    const read = (): Promise<{ rows: GateRow[] }> =>
      tx.query<GateRow>(
        `/* model_gates.lock */
        select tokens, failures,
          extract(epoch from clock_timestamp() - refilled_at)::float8 * 1000 as "ageMs",
          coalesce(extract(epoch from paused_until - clock_timestamp()), 0)::float8 * 1000 as "pauseMs",
          coalesce(extract(epoch from broken_until - clock_timestamp()), 0)::float8 * 1000 as "brokenMs"
        from model_gates where workspace_id = $1 and provider_id = $2 for update`,
        values,
      );
    const known = await read();
    if (known.rows[0] !== undefined) return known.rows[0];
    await tx.query(
      `/* model_gates.make */
      insert into model_gates (workspace_id, provider_id, tokens, refilled_at)
      values ($1, $2, $3, clock_timestamp()) on conflict do nothing`,
      [...values, burstOf(limits.requestsPerMinute ?? 1)],
    );
    const made = await read();
    if (made.rows[0] === undefined) throw new Error('The gate of a provider vanished.');
    return made.rows[0];
  }

  /** A statement of its own: the one that waited for the lock still sees what was before it. */
  async #slotsTaken(tx: Queryable, { scope, providerId }: GateKey): Promise<number> {
    const values = [scope.workspaceId, providerId];
    await tx.query(
      `/* model_slots.expire */
      delete from model_slots where workspace_id = $1 and provider_id = $2 and held_until < clock_timestamp()`,
      values,
    );
    const { rows } = await tx.query<{ taken: number }>(
      `/* model_slots.count */
      select count(*)::int as taken from model_slots where workspace_id = $1 and provider_id = $2`,
      values,
    );
    return rows[0]?.taken ?? 0;
  }

  async #grant(
    tx: Queryable,
    { scope, providerId }: GateKey,
    slot: { slotId: string; leaseMs: number; tokens: number; probe: boolean },
  ): Promise<void> {
    // Whoever tries a broken provider closes it to the others until the answer is known.
    await tx.query(
      `/* model_gates.grant */
      update model_gates set tokens = $3, refilled_at = clock_timestamp(), paused_until = null,
        broken_until = case when $4 then clock_timestamp() + $5 * interval '1 millisecond' end
      where workspace_id = $1 and provider_id = $2`,
      [scope.workspaceId, providerId, slot.tokens, slot.probe, BROKEN_MS],
    );
    await tx.query(
      `/* model_slots.take */
      insert into model_slots (workspace_id, provider_id, id, held_until)
      values ($1, $2, $3, clock_timestamp() + $4 * interval '1 millisecond')`,
      [scope.workspaceId, providerId, slot.slotId, slot.leaseMs],
    );
  }

  async renew(db: Queryable, { scope, providerId }: GateKey, slotId: string, leaseMs: number): Promise<void> {
    await db.query(
      `/* model_slots.renew */
      update model_slots set held_until = clock_timestamp() + $4 * interval '1 millisecond'
      where workspace_id = $1 and provider_id = $2 and id = $3`,
      [scope.workspaceId, providerId, slotId, leaseMs],
    );
  }

  async leave(db: Queryable, { scope, providerId }: GateKey, slotId: string): Promise<void> {
    await db.query(
      '/* model_slots.leave */ delete from model_slots where workspace_id = $1 and provider_id = $2 and id = $3',
      [scope.workspaceId, providerId, slotId],
    );
  }

  /** It answered: whatever was held against it is forgotten. */
  async noteAnswer(db: Queryable, { scope, providerId }: GateKey): Promise<void> {
    await db.query(
      `/* model_gates.note_answer */
      update model_gates set failures = 0, throttled = 0, broken_until = null
      where workspace_id = $1 and provider_id = $2 and (failures > 0 or throttled > 0 or broken_until is not null)`,
      [scope.workspaceId, providerId],
    );
  }

  /** It said 429: it lives. */
  async noteThrottle(db: Queryable, { scope, providerId }: GateKey, pauseMs: number): Promise<void> {
    await db.query(
      `/* model_gates.note_throttle */
      update model_gates set failures = 0, broken_until = null, throttled = throttled + 1,
        paused_until = case when throttled + 1 >= $4
          then greatest(paused_until, clock_timestamp() + $3 * interval '1 millisecond') else paused_until end
      where workspace_id = $1 and provider_id = $2`,
      [scope.workspaceId, providerId, pauseMs, PAUSE_AFTER],
    );
  }

  /** It did not answer, or with 5xx. */
  async noteFailure(db: Queryable, { scope, providerId }: GateKey): Promise<void> {
    await db.query(
      `/* model_gates.note_failure */
      update model_gates set failures = failures + 1,
        broken_until = case when failures + 1 >= $3
          then clock_timestamp() + $4 * interval '1 millisecond' else broken_until end
      where workspace_id = $1 and provider_id = $2`,
      [scope.workspaceId, providerId, BREAK_AFTER, BROKEN_MS],
    );
  }
}

function refilled({ tokens, ageMs }: GateRow, requestsPerMinute: number | null): number {
  // Without a limit nothing is taken from the bucket either.
  if (requestsPerMinute === null) return 1;
  return Math.min(burstOf(requestsPerMinute), tokens + (Math.max(0, ageMs) * requestsPerMinute) / 60_000);
}
