/** Rows of feedback tokens. A token is found by its unguessable id before the workspace is known. */
import { Prisma } from '../generated/prisma/client.js';
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

  /** False where one of the ids is taken, by whomever; nothing is written then. */
  async insert(
    scope: WorkspaceScope,
    tokens: readonly Omit<FeedbackToken, 'workspaceId'>[],
  ): Promise<boolean> {
    try {
      await this.#prisma.feedbackToken.createMany({
        data: tokens.map(({ config, ...token }) => ({
          ...token,
          workspaceId: scope.workspaceId,
          config:
            config === null
              ? Prisma.DbNull
              : { ...config, categories: config.categories.map((each) => ({ ...each })) },
        })),
      });
      return true;
    } catch (error) {
      if (error instanceof Prisma.PrismaClientKnownRequestError && error.code === 'P2002') return false;
      throw error;
    }
  }

  /** Expired ones included. */
  async find(id: string): Promise<FeedbackToken | undefined> {
    const row = await this.#prisma.feedbackToken.findUnique({ where: { id } });
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

interface TokenRow extends Omit<FeedbackToken, 'config'> {
  readonly config: Prisma.JsonValue;
}

// The column is only ever written by insert() above.
const toToken = (row: TokenRow): FeedbackToken => ({
  ...row,
  config: row.config as unknown as FeedbackConfigDefinition | null,
});
