/** Work that repeats: every so often, and at once when woken. Never twice at the same time. */
import { everywhere } from '../db-scope.js';
import type { Logger } from '../log.js';

export interface Loop {
  /** Runs the work soon; while it is running, once more after it. */
  wake(): void;
  /** Resolves when the round that is running is over; none starts afterwards. Idempotent. */
  stop(): Promise<void>;
}

export interface LoopOptions {
  readonly name: string;
  readonly everyMs: number;
  /** True: there is more to do, go on at once. Errors are logged, and the next round comes in its time. */
  readonly work: () => Promise<boolean>;
  readonly log: Logger;
}

export function startLoop({ name, everyMs, work, log }: LoopOptions): Loop {
  let stopped = false;
  let woken = false;
  let timer: NodeJS.Timeout | undefined;
  let running: Promise<void> | undefined;

  // A function, because the flag changes while the work is awaited.
  const takeWoken = (): boolean => woken;
  const round = async (): Promise<void> => {
    woken = false;
    let again = false;
    try {
      again = await work();
    } catch (error) {
      log.warn({ err: error, loop: name }, 'a round of background work failed');
    }
    running = undefined;
    schedule(again || takeWoken() ? 0 : everyMs);
  };
  const schedule = (delayMs: number): void => {
    if (stopped) return;
    clearTimeout(timer);
    timer = setTimeout(() => {
      // Not in the scope of who woke it.
      running ??= everywhere('jobs', round);
    }, delayMs);
    timer.unref();
  };

  schedule(0);
  return {
    wake: () => {
      woken = true;
      if (running === undefined) schedule(0);
    },
    stop: async () => {
      stopped = true;
      clearTimeout(timer);
      await running;
    },
  };
}
