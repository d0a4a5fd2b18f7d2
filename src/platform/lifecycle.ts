/**
 * Starting and stopping a process in order. What is started registers how it stops; stopping runs these in
 * reverse, each with its own time limit, because a part that hangs must not keep the others from closing.
 *
 *   running ──first signal──▶ stopping (orderly) ──all stopped──▶ exit 0
 *                                 │ a further signal after a grace period, or the deadline ──▶ exit 1
 */
import type { Logger } from './log.js';

const SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;
/** A terminal and a supervisor often both signal; a second one this soon means the same wish. */
const GRACE_MS = 5_000;
const DEFAULT_DEADLINE_MS = 30_000;

interface Stop {
  readonly name: string;
  readonly run: () => Promise<void>;
  readonly timeoutMs: number;
}

export class Lifecycle {
  readonly #log: Logger;
  readonly #stops: Stop[] = [];
  #stopping: Promise<void> | undefined;
  #stoppingSince = 0;

  readonly #deadlineMs: number;

  constructor(log: Logger, deadlineMs = DEFAULT_DEADLINE_MS) {
    this.#log = log;
    this.#deadlineMs = deadlineMs;
  }

  /** Whether an orderly stop has begun. */
  get stopping(): boolean {
    return this.#stopping !== undefined;
  }

  /** Registers how to stop something that was just started. Last registered stops first. */
  onStop(name: string, run: () => Promise<void>, timeoutMs = 10_000): void {
    this.#stops.push({ name, run, timeoutMs });
  }

  /** Stops everything in order. Always the same promise; resolves when all have stopped or were given up. */
  stop(): Promise<void> {
    this.#stopping ??= this.#runStops();
    return this.#stopping;
  }

  /**
   * Makes signals stop this process: orderly at first, at once when asked again. So does the end of a parent that
   * keeps this process, because nobody else would ever stop it, and its ports would stay taken. Call once per process.
   */
  handleSignals(): void {
    process.once('disconnect', () => {
      if (this.#stopping !== undefined) return;
      this.#log.warn('the parent process is gone, stopping');
      void this.exit(0);
    });
    for (const signal of SIGNALS) {
      process.on(signal, () => {
        if (this.#stopping === undefined) {
          this.#log.info({ signal }, 'stopping');
          void this.exit(0);
        } else if (performance.now() - this.#stoppingSince > GRACE_MS) {
          this.#log.warn({ signal }, 'stopping at once');
          process.exit(1);
        }
      });
    }
  }

  /** Stops everything, then ends the process with `code`; with 1 when that takes too long. */
  async exit(code: number): Promise<never> {
    const deadline = setTimeout(() => {
      this.#log.error('could not stop in time');
      process.exit(1);
    }, this.#deadlineMs);
    deadline.unref();
    await this.stop();
    process.exit(code);
  }

  async #runStops(): Promise<void> {
    this.#stoppingSince = performance.now();
    for (const stop of this.#stops.reverse()) {
      try {
        await within(stop.run(), stop.timeoutMs);
      } catch (error) {
        this.#log.error({ err: error, part: stop.name }, 'did not stop in order');
      }
    }
  }
}

async function within(work: Promise<void>, timeoutMs: number): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  const timeout = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`took longer than ${timeoutMs} ms`)), timeoutMs);
  });
  try {
    await Promise.race([work, timeout]);
  } finally {
    clearTimeout(timer);
  }
}
