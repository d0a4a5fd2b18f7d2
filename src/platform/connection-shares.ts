/**
 * How many connections of a pool one workspace may hold at once, so that its slow queries leave some to the others.
 * What is above that waits in the workspace's own line, and not for long.
 */
import { AppError } from './errors.js';

export interface ShareOptions {
  readonly perWorkspace: number;
  /** The longest wait in line in milliseconds. Default MAX_WAIT_MS. */
  readonly maxWaitMs?: number;
}

export const MAX_WAIT_MS = 5_000;

/** Called once: without an error when a connection may be taken, which is to be given back. */
type Waiting = (refusal?: AppError) => void;

interface Share {
  held: number;
  readonly line: Set<Waiting>;
}

/** The share of a pool of `max` connections: two thirds, where that leaves any. */
export const shareOf = (max: number): number => Math.max(1, Math.floor((max * 2) / 3));

export class ConnectionShares {
  readonly #options: ShareOptions;
  readonly #shares = new Map<string, Share>();

  constructor(options: ShareOptions) {
    this.#options = options;
  }

  take(workspaceId: string, go: Waiting): void {
    const { perWorkspace, maxWaitMs = MAX_WAIT_MS } = this.#options;
    const share = this.#shares.get(workspaceId) ?? { held: 0, line: new Set<Waiting>() };
    this.#shares.set(workspaceId, share);
    if (share.held < perWorkspace) {
      share.held += 1;
      go();
      return;
    }
    const waiting: Waiting = (refusal) => {
      clearTimeout(timer);
      share.line.delete(waiting);
      go(refusal);
    };
    const timer = setTimeout(() => {
      waiting(
        new AppError(
          'UNAVAILABLE',
          'Too many slow queries of this workspace are running. Try again shortly.',
        ),
      );
    }, maxWaitMs);
    share.line.add(waiting);
  }

  giveBack(workspaceId: string): void {
    const share = this.#shares.get(workspaceId);
    if (share === undefined) return;
    const [next] = share.line;
    if (next !== undefined) {
      next();
      return;
    }
    share.held -= 1;
    if (share.held === 0) this.#shares.delete(workspaceId);
  }
}
