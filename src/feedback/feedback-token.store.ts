/** Rows of feedback tokens. A token is found by its unguessable id before the workspace is known. */
import type { Prisma } from '../generated/prisma/client.js';
import type { Queryable } from '../platform/db.js';
import type { PrismaClient } from '../platform/prisma.js';
import type { WorkspaceScope } from '../tenancy/principal.js';
import type { FeedbackConfigDefinition } from './feedback-config.js';

/** A link that lets anyone who has it leave feedback of one key on one run. */
export interface FeedbackToken {
  readonly id: string;
  readonly workspaceId: string;
  readonly runId: string;
  readonly key: string;
  /** Becomes the key's config with the first feedback, if it has none by then. */
  readonly config: FeedbackConfigDefinition | null;
  readonly createdAt: Date;
  readonly expiresAt: Date;
}

export class FeedbackTokenStore {
  readonly #prisma: PrismaClient;

  constructor({ prisma }: { prisma: PrismaClient }) {
    this.#prisma = prisma;
  }

  /** Expired ones included. */
  async find(id: string): Promise<FeedbackToken | undefined> {
    const row = await this.#prisma.feedbackToken.findFirst({ where: { id } });
    return row === null ? undefined : toToken(row);
  }

  /** Those still good at `now`, in order of creation. */
  async list(
    scope: WorkspaceScope,
    runId: string,
    now: Date,
    page: { readonly limit: number; readonly offset: number },
  ): Promise<FeedbackToken[]> {
    const rows = await this.#prisma.feedbackToken.findMany({
      where: { workspaceId: scope.workspaceId, runId, expiresAt: { gt: now } },
      orderBy: [{ createdAt: 'asc' }, { id: 'asc' }],
      take: page.limit,
      skip: page.offset,
    });
    return rows.map(toToken);
  }
}

/**
 * False where one of the ids is taken, by whomever; the caller then rolls back what was written. In a transaction
 * of the caller's, which Prisma could not join.
 */
export async function insertFeedbackTokens(
  tx: Queryable,
  scope: WorkspaceScope,
  tokens: readonly Omit<FeedbackToken, 'workspaceId'>[],
): Promise<boolean> {
  const { rowCount } = await tx.query(
    `/* feedback_tokens.insert */
    insert into feedback_tokens (workspace_id, id, run_id, key, config, created_at, expires_at)
    select $1, * from unnest($2::uuid[], $3::uuid[], $4::text[], $5::jsonb[], $6::timestamptz[], $7::timestamptz[])
    on conflict do nothing`,
    [
      scope.workspaceId,
      tokens.map(({ id }) => id),
      tokens.map(({ runId }) => runId),
      tokens.map(({ key }) => key),
      tokens.map(({ config }) => (config === null ? null : JSON.stringify(config))),
      tokens.map(({ createdAt }) => createdAt.toISOString()),
      tokens.map(({ expiresAt }) => expiresAt.toISOString()),
    ],
  );
  return rowCount === tokens.length;
}

interface TokenRow extends Omit<FeedbackToken, 'config'> {
  readonly config: Prisma.JsonValue;
}

// The column is only ever written by insertFeedbackTokens() above.
const toToken = (row: TokenRow): FeedbackToken => ({
  ...row,
  config: row.config as unknown as FeedbackConfigDefinition | null,
});
