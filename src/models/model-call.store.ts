/**
 * The record of calls, and who works on them.
 *
 *   (none) ──claim──▶ running ──▶ answered | failed   paid for; never asked again
 *                     │    ▲
 *              release▼    │claim, or a lease that ran out
 *                     open ┘
 *
 * Times are the database's: clocks of processes differ. A claim number fences an execution that lost its lease.
 */
import type { Queryable } from '../platform/db.js';
import type { WorkspaceScope } from '../tenancy/principal.js';
import type { ModelFailureCode } from './model-call.js';

/** How long a record is kept: so long the same call is never made, nor paid for, again. */
export const MODEL_CALL_DAYS = 90;

export interface CallKey {
  readonly scope: WorkspaceScope;
  readonly callId: string;
}

export interface NewCall {
  readonly providerId: string;
  readonly model: string;
  readonly ownerId: string | null;
}

export interface Claim extends CallKey {
  readonly claim: number;
}

/** What was answered and paid for. */
export interface CallRecord {
  readonly state: 'answered' | 'failed';
  readonly claim: number;
  /** Empty where the call failed without a text. */
  readonly answer: string;
  readonly error: { readonly code: ModelFailureCode; readonly message: string } | null;
  readonly promptTokens: number;
  readonly completionTokens: number;
  /** Decimal text. */
  readonly cost: string | null;
  readonly runId: string;
  /** Milliseconds since the epoch. */
  readonly startedMs: number;
  readonly finishedMs: number;
}

const RECORD = `state, claim, answer, error, prompt_tokens as "promptTokens", completion_tokens as "completionTokens",
  trim_scale(cost)::text as cost, run_id as "runId", traced,
  (extract(epoch from started_at) * 1000)::float8 as "startedMs",
  (extract(epoch from finished_at) * 1000)::float8 as "finishedMs"`;

export class ModelCallStore {
  /** Undefined while somebody else works on it, and once it is over. */
  async claim(
    db: Queryable,
    { scope, callId }: CallKey,
    call: NewCall,
    leaseMs: number,
  ): Promise<Claim | undefined> {
    const { rows } = await db.query<{ claim: number }>(
      `/* model_calls.claim */
      insert into model_calls as c (workspace_id, call_id, provider_id, model, owner_id, state, claim, claimed_until, created_at)
      values ($1, $2, $3, $4, $5, 'running', 1, clock_timestamp() + $6 * interval '1 millisecond', clock_timestamp())
      on conflict (workspace_id, call_id) do update set
        provider_id = excluded.provider_id, model = excluded.model, owner_id = excluded.owner_id,
        state = 'running', claim = c.claim + 1, claimed_until = excluded.claimed_until
      where c.state = 'open' or (c.state = 'running' and c.claimed_until < clock_timestamp())
      returning c.claim`,
      [scope.workspaceId, callId, call.providerId, call.model, call.ownerId, leaseMs],
    );
    return rows[0] && { scope, callId, claim: rows[0].claim };
  }

  /** Undefined while the call is not over. */
  async findRecord(
    db: Queryable,
    { scope, callId }: CallKey,
  ): Promise<(CallRecord & { readonly traced: boolean }) | undefined> {
    const { rows } = await db.query<CallRecord & { traced: boolean } & Record<string, unknown>>(
      `/* model_calls.find_record */
      select ${RECORD} from model_calls
      where workspace_id = $1 and call_id = $2 and state in ('answered', 'failed')
      limit 1`,
      [scope.workspaceId, callId],
    );
    return rows[0];
  }

  /** Whether the claim still holds; it then does so for another `leaseMs`. */
  async renew(db: Queryable, { scope, callId, claim }: Claim, leaseMs: number): Promise<boolean> {
    const { rowCount } = await db.query(
      `/* model_calls.renew */
      update model_calls set claimed_until = clock_timestamp() + $4 * interval '1 millisecond'
      where workspace_id = $1 and call_id = $2 and claim = $3 and state = 'running'`,
      [scope.workspaceId, callId, claim, leaseMs],
    );
    return rowCount === 1;
  }

  /** Whether it counts: false where another execution has taken over. */
  async finish(
    db: Queryable,
    { scope, callId, claim }: Claim,
    record: CallRecord,
    attempts: number,
  ): Promise<boolean> {
    const { rowCount } = await db.query(
      `/* model_calls.finish */
      update model_calls set state = $4, answer = $5, error = $6, prompt_tokens = $7, completion_tokens = $8,
        cost = $9, run_id = $10, started_at = to_timestamp($11::float8 / 1000),
        finished_at = to_timestamp($12::float8 / 1000), attempts = attempts + $13, claimed_until = null
      where workspace_id = $1 and call_id = $2 and claim = $3 and state = 'running'`,
      [
        scope.workspaceId,
        callId,
        claim,
        record.state,
        record.answer,
        record.error === null ? null : JSON.stringify(record.error),
        record.promptTokens,
        record.completionTokens,
        record.cost,
        record.runId,
        record.startedMs,
        record.finishedMs,
        attempts,
      ],
    );
    return rowCount === 1;
  }

  /** Gives the call back: it was not answered. */
  async release(
    db: Queryable,
    { scope, callId, claim }: Claim,
    attempts: number,
    error: CallRecord['error'],
  ): Promise<void> {
    await db.query(
      `/* model_calls.release */
      update model_calls set state = 'open', claimed_until = null, attempts = attempts + $4, error = $5
      where workspace_id = $1 and call_id = $2 and claim = $3 and state = 'running'`,
      [scope.workspaceId, callId, claim, attempts, error === null ? null : JSON.stringify(error)],
    );
  }

  async markTraced(db: Queryable, { scope, callId }: CallKey): Promise<void> {
    await db.query(
      '/* model_calls.mark_traced */ update model_calls set traced = true where workspace_id = $1 and call_id = $2',
      [scope.workspaceId, callId],
    );
  }

  /** US dollars of all calls of an owner, decimal text. Calls without a known price count nothing. */
  async spentBy(db: Queryable, scope: WorkspaceScope, ownerId: string): Promise<string> {
    const { rows } = await db.query<{ spent: string }>(
      `/* model_calls.spent_by */
      select trim_scale(coalesce(sum(cost), 0))::text as spent from model_calls
      where workspace_id = $1 and owner_id = $2`,
      [scope.workspaceId, ownerId],
    );
    return rows[0]?.spent ?? '0';
  }
}

/** Removes records of all workspaces. Returns how many; call again while it equals `batch`. */
export async function trimModelCalls(db: Queryable, until: Date, batch: number): Promise<number> {
  const { rowCount } = await db.query(
    `/* model_calls.trim */
    delete from model_calls
    where (workspace_id, call_id) in (
      select workspace_id, call_id from model_calls where created_at <= $1 order by created_at limit $2
    )`,
    [until.toISOString(), batch],
  );
  return rowCount ?? 0;
}
