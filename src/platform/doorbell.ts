/**
 * Doorbells wake other processes: "there is news on this topic". They may be lost, doubled or late; whoever is
 * woken reads the truth from Postgres, and looks by itself every few seconds anyway.
 */
export interface Doorbell {
  /** Rings a topic in every process, this one included. Never throws; rings of one topic may be coalesced. */
  ring(topic: string, payload?: string): void;
  /** Calls `wake` for each ring. It must be quick and must not throw. Returns a function that stops listening. */
  listen(topic: string, wake: (payload: string) => void): () => void;
  /** Idempotent. */
  close(): Promise<void>;
}
