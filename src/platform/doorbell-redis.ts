/**
 * Doorbells over Redis publish/subscribe: one channel, one connection that listens and one that rings. A
 * listening connection that answers no PING is replaced, as a half-open one hears nothing. In a cluster each is with some
 * node: a ring reaches those at other nodes too.
 */
import { randomUUID } from 'node:crypto';
import type { Redis } from 'ioredis';
import { decodeRing, DoorbellListeners, encodeRing, PendingRings } from './doorbell-listeners.js';
import type { Doorbell } from './doorbell.js';
import type { Logger } from './log.js';
import { createRedisNode } from './redis.js';

export interface RedisDoorbellOptions {
  readonly url: string;
  readonly log: Logger;
  /** Installations that share a Redis use different channels. */
  readonly channel?: string;
  /** A connection silent for this long, plus as long again for the answer, is replaced. Default 5 s. */
  readonly keepaliveMs?: number;
}

export class RedisDoorbell implements Doorbell {
  readonly #options: Required<RedisDoorbellOptions>;
  readonly #listeners: DoorbellListeners;
  readonly #pending = new PendingRings();
  /** Says which rings were ours: those were delivered when they were rung. */
  readonly #sender = randomUUID();
  readonly #subscriber: Redis;
  readonly #publisher: Redis;
  readonly #keepalive: NodeJS.Timeout;
  #sending = false;
  #closing: Promise<void> | undefined;

  constructor(options: RedisDoorbellOptions) {
    const { url, log } = options;
    this.#options = { channel: 'tracewell', keepaliveMs: 5_000, ...options };
    this.#listeners = new DoorbellListeners(log);
    this.#subscriber = createRedisNode({ url, log, name: 'doorbell', use: 'subscriber' });
    this.#publisher = createRedisNode({ url, log, name: 'doorbell-ring', use: 'commands' });
    this.#subscriber.on('message', (_channel: string, message: string) => this.#hear(message));
    this.#subscriber.subscribe(this.#options.channel).catch((error: unknown) => {
      if (!this.#isClosed) log.warn({ err: error }, 'doorbell could not subscribe');
    });
    this.#publisher.on('ready', () => void this.#flush());
    this.#keepalive = setInterval(() => void this.#checkAlive(), this.#options.keepaliveMs);
    this.#keepalive.unref();
  }

  ring(topic: string, payload = ''): void {
    if (this.#isClosed) return;
    queueMicrotask(() => this.#listeners.wake(topic, payload));
    this.#pending.add(encodeRing(topic, payload));
    void this.#flush();
  }

  listen(topic: string, wake: (payload: string) => void): () => void {
    return this.#listeners.listen(topic, wake);
  }

  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  get #isClosed(): boolean {
    return this.#closing !== undefined;
  }

  async #close(): Promise<void> {
    clearInterval(this.#keepalive);
    this.#listeners.clear();
    await Promise.all([this.#subscriber, this.#publisher].map(disconnect));
  }

  #hear(message: string): void {
    const { topic: sender, payload: rest } = decodeRing(message);
    if (this.#isClosed || sender === this.#sender) return;
    const ring = decodeRing(rest);
    this.#listeners.wake(ring.topic, ring.payload);
  }

  async #checkAlive(): Promise<void> {
    if (this.#subscriber.status !== 'ready') return;
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<'late'>((resolve) => {
      timer = setTimeout(() => resolve('late'), this.#options.keepaliveMs);
      timer.unref();
    });
    const answer = await Promise.race([this.#subscriber.ping().catch(() => 'lost'), late]);
    clearTimeout(timer);
    if (answer === 'late' && !this.#isClosed) {
      this.#options.log.warn('doorbell connection is silent, reconnecting');
      this.#subscriber.disconnect(true);
    }
  }

  /** At most one message is on its way; rings that come meanwhile are coalesced behind it. */
  async #flush(): Promise<void> {
    if (this.#sending) return;
    this.#sending = true;
    try {
      while (!this.#isClosed && this.#pending.size > 0 && this.#publisher.status === 'ready') {
        const messages = this.#pending.takeAll();
        try {
          const pipeline = this.#publisher.pipeline();
          for (const message of messages) {
            pipeline.publish(this.#options.channel, `${this.#sender} ${message}`);
          }
          const results = (await pipeline.exec()) ?? [];
          const failure = results.find(([error]) => error !== null)?.[0];
          if (failure) throw failure;
        } catch (error) {
          for (const message of messages) this.#pending.add(message);
          this.#options.log.warn({ err: error }, 'doorbell could not be rung');
          return;
        }
      }
    } finally {
      this.#sending = false;
    }
  }
}

/** Resolves once the connection is gone, half-open ones included. */
async function disconnect(redis: Redis): Promise<void> {
  if (redis.status === 'end') return;
  const ended = new Promise<void>((resolve) => redis.once('end', () => resolve()));
  // Between two attempts there is no socket, and nothing says that it has ended.
  const hasSocket = redis.status !== 'reconnecting';
  redis.disconnect();
  if (!hasSocket) return;
  await ended;
}
