/** Use cases of sharing: a link lets anyone who has it read one trace, until it expires or is taken back. */
import { randomUUID } from 'node:crypto';
import type { Clock } from '../platform/clock.js';
import { everywhere, inWorkspace } from '../platform/db-scope.js';
import { AppError } from '../platform/errors.js';
import { isUuid } from '../platform/ids.js';
import { failed, ok, problem, type Result } from '../platform/result.js';
import type { RunService } from '../runs/run.service.js';
import { requireScope, type Principal, type Scope } from '../tenancy/principal.js';
import type { RunShare, RunShareStore } from './run-share.store.js';

export interface RunShareServiceOptions {
  readonly store: RunShareStore;
  readonly runs: RunService;
  readonly clock: Clock;
}

export interface ShareOptions {
  /** Made by the client; must be unguessable. Default: made here. */
  readonly token?: string | undefined;
  /** Default: never. */
  readonly expiresAt?: Date | undefined;
}

/** A share that was opened by its token, and the caller its holder is: one who may read the workspace's runs. */
export interface OpenedShare {
  readonly share: RunShare;
  /** Reaches the whole workspace: whoever uses it keeps to `share.traceId`. */
  readonly principal: Principal;
}

const READ_ALL: ReadonlySet<Scope> = new Set(['read', 'content']);

export class RunShareService {
  readonly #store: RunShareStore;
  readonly #runs: RunService;
  readonly #clock: Clock;

  constructor(options: RunShareServiceOptions) {
    this.#store = options.store;
    this.#runs = options.runs;
    this.#clock = options.clock;
  }

  /** A run has one share: sharing again renews its expiry and keeps its token. */
  async share(principal: Principal, runId: string, options: ShareOptions = {}): Promise<Result<RunShare>> {
    const scope = requireScope(principal, 'write');
    // A share shows content: whoever may not see it cannot show it to the world either.
    requireScope(principal, 'content');
    const { token, expiresAt } = options;
    if (token !== undefined && !isUuid(token)) {
      return failed(problem('INVALID', 'A share token must be a UUID.', ['token']));
    }
    const now = this.#clock.now();
    if (expiresAt !== undefined && !(expiresAt > now)) {
      return failed(problem('INVALID', 'A share must expire in the future.', ['expiresAt']));
    }
    const run = await this.#runs.findRun(principal, runId, ['traceId']);
    if (run?.traceId === undefined) return failed(problem('NOT_FOUND', 'Run not found.', ['runId']));
    const share = await this.#store.upsert(
      scope,
      {
        token: token?.toLowerCase() ?? randomUUID(),
        runId: run.uuid,
        traceId: run.traceId,
        expiresAt: expiresAt?.toISOString() ?? null,
      },
      now.toISOString(),
    );
    return share === undefined
      ? failed(problem('ALREADY_EXISTS', 'This token is taken.', ['token']))
      : ok(share);
  }

  /** Shares of these runs that are still good, by run id. */
  async findByRuns(principal: Principal, runIds: readonly string[]): Promise<Map<string, RunShare>> {
    const scope = requireScope(principal, 'read');
    if (runIds.length === 0) return new Map();
    const shares = await this.#store.findByRuns(scope, runIds, this.#clock.now().toISOString());
    return new Map(shares.map((share) => [share.runId, share]));
  }

  /** The link stops working at once. Returns whether there was one. */
  async unshare(principal: Principal, runId: string): Promise<boolean> {
    return this.#store.delete(requireScope(principal, 'write'), runId);
  }

  /**
   * Does `work` for a caller without a key, who holds the link.
   * @throws AppError NOT_FOUND for unknown, expired and malformed tokens alike.
   */
  async open<T>(token: string, work: (opened: OpenedShare) => Promise<T>): Promise<T> {
    const opened = await this.#open(token);
    return inWorkspace(opened.share.workspaceId, () => work(opened));
  }

  async #open(token: string): Promise<OpenedShare> {
    const now = this.#clock.now().toISOString();
    const share = isUuid(token)
      ? await everywhere('link lookup', () => this.#store.open(token.toLowerCase(), now))
      : undefined;
    if (share === undefined) throw new AppError('NOT_FOUND', 'Shared run not found.');
    const principal: Principal = {
      keyId: share.token,
      kind: 'service',
      organizationId: '',
      workspaceId: share.workspaceId,
      userId: undefined,
      scopes: READ_ALL,
      expiresAtMs: share.expiresAt === null ? undefined : Date.parse(share.expiresAt),
    };
    return { share, principal };
  }
}
