/** Waiting as a dependency, so that tests need not. */
import { setTimeout as wait } from 'node:timers/promises';

export interface Sleep {
  /** Resolves after `ms`; rejects with the signal's reason. */
  (ms: number, signal: AbortSignal): Promise<void>;
}

export const systemSleep: Sleep = async (ms, signal) => {
  try {
    await wait(ms, undefined, { signal });
  } catch (error) {
    signal.throwIfAborted();
    throw error;
  }
};
