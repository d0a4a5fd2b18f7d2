/**
 * Doorbells over LISTEN/NOTIFY: one channel, one connection of its own that listens and rings. A connection
 * that answers no keep-alive is thrown away: behind a balancer it can look open for hours and hear nothing.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import pg from 'pg';
import { connectionConfig } from './db.js';
import { decodeRing, DoorbellListeners, encodeRing, PendingRings } from './doorbell-listeners.js';
import type { Doorbell } from './doorbell.js';
import type { Logger } from './log.js';

export interface PostgresDoorbellOptions {
  readonly url: string;
  readonly log: Logger;
  /** Installations that share a database server's database use different channels. */
  readonly channel?: string;
  /** A connection silent for this long, plus as long again for the answer, is replaced. Default 5 s. */
  readonly keepaliveMs?: number;
}

const FIRST_RETRY_MS = 100;
const LAST_RETRY_MS = 5_000;

export class PostgresDoorbell implements Doorbell {
  readonly #options: Required<PostgresDoorbellOptions>;
  readonly #listeners: DoorbellListeners;
  readonly #pending = new PendingRings();
  readonly #closing = new AbortController();
  readonly #connection: Promise<void>;
  #client: pg.Client | undefined;
  #sending = false;

  constructor(options: PostgresDoorbellOptions) {
    this.#options = { channel: 'tracewell', keepaliveMs: 5_000, ...options };
    this.#listeners = new DoorbellListeners(options.log);
    this.#connection = this.#stayConnected();
  }

  ring(topic: string, payload = ''): void {
    if (this.#isClosing) return;
    queueMicrotask(() => this.#listeners.wake(topic, payload));
    this.#pending.add(encodeRing(topic, payload));
    void this.#flush();
  }

  listen(topic: string, wake: (payload: string) => void): () => void {
    return this.#listeners.listen(topic, wake);
  }

  async close(): Promise<void> {
    this.#closing.abort();
    this.#listeners.clear();
    await this.#connection;
  }

  get #isClosing(): boolean {
    return this.#closing.signal.aborted;
  }

  async #stayConnected(): Promise<void> {
    const { log } = this.#options;
    const { signal } = this.#closing;
    let retryMs = FIRST_RETRY_MS;
    while (!this.#isClosing) {
      const lost = new AbortController();
      const client = this.#newClient(lost);
      try {
        await client.connect();
        await client.query(`listen ${pg.escapeIdentifier(this.#options.channel)}`);
        this.#client = client;
        retryMs = FIRST_RETRY_MS;
        void this.#flush();
        await this.#keepAlive(client, AbortSignal.any([lost.signal, this.#closing.signal]));
      } catch (error) {
        if (!signal.aborted) log.warn({ err: error, retryMs }, 'doorbell connection lost');
      }
      this.#client = undefined;
      destroy(client);
      await pause(retryMs, this.#closing.signal);
      retryMs = Math.min(retryMs * 2, LAST_RETRY_MS);
    }
  }

  #newClient(lost: AbortController): pg.Client {
    const { url, keepaliveMs } = this.#options;
    const client = new pg.Client({
      ...connectionConfig({ url, name: 'doorbell', statementTimeoutMs: 5_000 }),
      query_timeout: keepaliveMs,
    });
    client.on('error', () => lost.abort());
    client.on('end', () => lost.abort());
    client.on('notification', ({ payload, processId }) => {
      // Our own rings were delivered when they were rung.
      if (payload === undefined || processId === ownProcessId(client)) return;
      const ring = decodeRing(payload);
      this.#listeners.wake(ring.topic, ring.payload);
    });
    return client;
  }

  async #keepAlive(client: pg.Client, stop: AbortSignal): Promise<void> {
    for (;;) {
      await pause(this.#options.keepaliveMs, stop);
      if (this.#isClosing) return;
      if (stop.aborted) throw new Error('The doorbell connection was closed by the server.');
      await client.query('/* doorbell.keepalive */ select 1');
    }
  }

  /** At most one statement is on its way; rings that come meanwhile are sent together after it. */
  async #flush(): Promise<void> {
    if (this.#sending) return;
    this.#sending = true;
    try {
      while (this.#client !== undefined && this.#pending.size > 0) {
        const messages = this.#pending.takeAll();
        await this.#client
          .query('/* doorbell.ring */ select pg_notify($1, message) from unnest($2::text[]) as message', [
            this.#options.channel,
            messages,
          ])
          .catch((error: unknown) => {
            for (const message of messages) this.#pending.add(message);
            throw error;
          });
      }
    } catch (error) {
      this.#options.log.warn({ err: error }, 'doorbell could not be rung');
      // The next connection sends what is pending.
      if (this.#client !== undefined) destroy(this.#client);
    } finally {
      this.#sending = false;
    }
  }
}

/** pg has the backend's pid, its types do not. */
const ownProcessId = (client: pg.Client): number | undefined =>
  (client as unknown as { processID?: number }).processID;

/** end() would wait for a farewell that a half-open connection never gets. */
function destroy(client: pg.Client): void {
  const { connection } = client as unknown as { connection?: { stream?: { destroy(): void } } };
  client.end().catch(() => undefined);
  connection?.stream?.destroy();
}

/** Resolves after `ms` or as soon as `signal` aborts. */
async function pause(ms: number, signal: AbortSignal): Promise<void> {
  await sleep(ms, undefined, { signal }).catch(() => undefined);
}
