/**
 * What both doorbells share: who listens in this process, how a ring looks on the wire, and which rings still
 * have to be sent. A ring reaches listeners of its own process directly, whether or not the server is there.
 */
import type { Logger } from './log.js';

type Wake = (payload: string) => void;

/** NOTIFY refuses 8,000 bytes; the rest is room for the sender's name. */
const MAX_MESSAGE_BYTES = 7_900;
/** Distinct rings kept while the server is away. Rings may be lost; what they announce is in Postgres. */
const MAX_PENDING = 1_000;

export class DoorbellListeners {
  readonly #wakes = new Map<string, Set<Wake>>();

  constructor(private readonly log: Logger) {}

  listen(topic: string, wake: Wake): () => void {
    const wakes = this.#wakes.get(topic) ?? new Set();
    this.#wakes.set(topic, wakes);
    // An entry of its own per call, so that one function can listen twice and stop once.
    const entry: Wake = (payload) => wake(payload);
    wakes.add(entry);
    return () => {
      wakes.delete(entry);
      if (wakes.size === 0 && this.#wakes.get(topic) === wakes) this.#wakes.delete(topic);
    };
  }

  wake(topic: string, payload: string): void {
    for (const wake of this.#wakes.get(topic) ?? []) {
      try {
        wake(payload);
      } catch (error) {
        this.log.error({ err: error, topic }, 'a doorbell listener threw');
      }
    }
  }

  clear(): void {
    this.#wakes.clear();
  }
}

/** Rings waiting to be sent, each distinct one once. */
export class PendingRings {
  readonly #messages = new Set<string>();

  get size(): number {
    return this.#messages.size;
  }

  add(message: string): void {
    this.#messages.add(message);
    if (this.#messages.size <= MAX_PENDING) return;
    for (const oldest of this.#messages) {
      this.#messages.delete(oldest);
      return;
    }
  }

  takeAll(): string[] {
    const all = [...this.#messages];
    this.#messages.clear();
    return all;
  }
}

/** A payload that does not fit is left out: the ring still wakes, and whoever is woken looks for itself. */
export function encodeRing(topic: string, payload: string): string {
  const message = `${topic} ${payload}`;
  return Buffer.byteLength(message) <= MAX_MESSAGE_BYTES ? message : `${topic} `;
}

export function decodeRing(message: string): { topic: string; payload: string } {
  const space = message.indexOf(' ');
  return space === -1
    ? { topic: message, payload: '' }
    : { topic: message.slice(0, space), payload: message.slice(space + 1) };
}
