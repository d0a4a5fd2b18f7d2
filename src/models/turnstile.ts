/** One at a time, in order of arrival. Whoever is through may rest there until somebody outside wakes it. */
import type { Sleep } from '../platform/sleep.js';

export class Turnstile {
  #occupied = false;
  readonly #waiting: (() => void)[] = [];
  #resting: AbortController | undefined;

  get isEmpty(): boolean {
    return !this.#occupied && this.#waiting.length === 0;
  }

  /** @throws the signal's reason; then there is nothing to leave. */
  async enter(signal: AbortSignal): Promise<void> {
    signal.throwIfAborted();
    if (!this.#occupied) {
      this.#occupied = true;
      return;
    }
    await new Promise<void>((resolve, reject) => {
      const pass = (): void => {
        signal.removeEventListener('abort', giveUp);
        resolve();
      };
      const giveUp = (): void => {
        this.#waiting.splice(this.#waiting.indexOf(pass), 1);
        reject(signal.reason as Error);
      };
      signal.addEventListener('abort', giveUp, { once: true });
      this.#waiting.push(pass);
    });
  }

  leave(): void {
    const next = this.#waiting.shift();
    if (next === undefined) this.#occupied = false;
    else next();
  }

  /** @param wakeable whether `wake` ends the rest early. @throws the signal's reason. */
  async rest(ms: number, sleep: Sleep, signal: AbortSignal, wakeable: boolean): Promise<void> {
    const controller = new AbortController();
    const onAbort = (): void => controller.abort();
    signal.addEventListener('abort', onAbort, { once: true });
    if (wakeable) this.#resting = controller;
    try {
      await sleep(ms, controller.signal);
    } catch (error) {
      if (!controller.signal.aborted) throw error;
    } finally {
      signal.removeEventListener('abort', onAbort);
      this.#resting = undefined;
    }
    signal.throwIfAborted();
  }

  wake(): void {
    this.#resting?.abort();
  }
}
