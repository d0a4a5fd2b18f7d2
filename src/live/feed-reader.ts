/**
 * The one tail of the feed in a process. Woken by the doorbell, and every two seconds at the latest, it reads the
 * rows below the horizon in log order and hands them to the sink. It survives a database that goes away: it keeps its
 * position and goes on from there.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { Gauge } from 'prom-client';
import type { Registry } from 'prom-client';
import type { Clock } from '../platform/clock.js';
import { everywhere } from '../platform/db-scope.js';
import type { Doorbell } from '../platform/doorbell.js';
import type { Logger } from '../platform/log.js';
import { beforeXid, isTrimmed, wholeRow } from './feed-position.js';
import type { FeedPosition } from './feed-position.js';
import type { FeedStore } from './feed.store.js';
import { FEED_TOPIC } from './feed.js';
import type { FeedRow } from './feed.js';

export interface FeedSink {
  /**
   * Takes rows in log order. After it resolves everything up to `upTo` has been read. If it rejects it is
   * called again with these rows, and possibly more.
   */
  deliver(rows: readonly FeedRow[], upTo: FeedPosition): Promise<void>;
  /** The log starts anew at `to`: before it, events may be missing that nobody can read any more. */
  restart(to: FeedPosition): void;
}

export interface FeedReaderDeps {
  readonly store: Pick<FeedStore, 'readSnapshot' | 'readAfter' | 'isHeldBack' | 'lagSeconds'>;
  readonly sink: FeedSink;
  readonly doorbell: Doorbell;
  readonly registry: Registry;
  readonly clock: Clock;
  readonly log: Logger;
  /** The longest wait between two looks. Default 2 s: what a live event may be late by without any doorbell. */
  readonly pollMs?: number;
  /** Rows per read. Default 200. */
  readonly batch?: number;
}

const FIRST_RETRY_MS = 100;
/** First wait when rows are held back by an open transaction whose end nobody will ring for. */
const HELD_BACK_MS = 10;

export class FeedReader {
  readonly #deps: FeedReaderDeps;
  readonly #pollMs: number;
  readonly #batch: number;
  readonly #stopping = new AbortController();
  #position: FeedPosition | undefined;
  #lastReadMs: number;
  /** The horizon that something still open holds, and since when it was seen to. */
  #held: { readonly horizon: bigint; readonly sinceMs: number } | undefined;
  #running: Promise<void> | undefined;
  #wake: () => void = () => undefined;
  #rung = false;

  constructor(deps: FeedReaderDeps) {
    this.#deps = deps;
    this.#pollMs = deps.pollMs ?? 2_000;
    this.#batch = deps.batch ?? 200;
    this.#lastReadMs = deps.clock.now().getTime();
    const collect = async (gauge: Gauge): Promise<void> => gauge.set(await this.#lagSeconds());
    new Gauge({
      name: 'tracewell_feed_lag_seconds',
      help: 'Age of the oldest change that live subscribers of this process have not been offered.',
      registers: [deps.registry],
      async collect() {
        await collect(this);
      },
    });
    const collectAge = async (gauge: Gauge): Promise<void> => gauge.set(await this.#horizonAgeSeconds());
    new Gauge({
      name: 'tracewell_feed_xmin_age_seconds',
      help: 'How long the oldest open transaction of the database server has held back what is committed after it.',
      registers: [deps.registry],
      async collect() {
        await collectAge(this);
      },
    });
  }

  /** Starts at the present horizon. Returns at once; the sink is restarted there as soon as the database answers. */
  start(): void {
    if (this.#running !== undefined) throw new Error('A feed reader can be started once.');
    const silence = this.#deps.doorbell.listen(FEED_TOPIC, () => {
      this.#rung = true;
      this.#wake();
    });
    this.#running = everywhere('feed reading', () => this.#run()).finally(silence);
  }

  /** Waits for the delivery under way. Idempotent. */
  async stop(): Promise<void> {
    this.#stopping.abort();
    this.#wake();
    await this.#running;
  }

  async #run(): Promise<void> {
    let retryMs = FIRST_RETRY_MS;
    let heldBackMs = HELD_BACK_MS;
    while (!this.#stopping.signal.aborted) {
      try {
        this.#rung = false;
        const state = await this.#readOnce();
        retryMs = FIRST_RETRY_MS;
        if (state === 'more') continue;
        if (state === 'level') heldBackMs = HELD_BACK_MS;
        await this.#pause(state === 'level' ? this.#pollMs : Math.min(heldBackMs, this.#pollMs));
        if (state === 'held back') heldBackMs *= 2;
      } catch (error) {
        this.#deps.log.warn({ err: error, retryMs }, 'the feed could not be read');
        await sleep(retryMs, undefined, { signal: this.#stopping.signal }).catch(() => undefined);
        retryMs = Math.min(retryMs * 2, this.#pollMs);
      }
    }
  }

  async #readOnce(): Promise<'more' | 'level' | 'held back'> {
    const { store, sink, clock, log } = this.#deps;
    const horizon = await this.#readHorizon();
    const level = beforeXid(horizon);
    if (this.#position === undefined || this.#position.xid > level.xid) {
      // Transaction ids only run backwards on a database that was restored or failed over to an older copy.
      if (this.#position !== undefined) {
        log.error('the feed went back in time, subscribers are told of a gap');
      }
      this.#position = level;
      sink.restart(level);
      return 'level';
    }
    const { rows, floor } = await store.readAfter(this.#position, horizon, this.#batch);
    if (isTrimmed(this.#position, floor)) {
      log.error('the feed was trimmed before it was read, subscribers are told of a gap');
      this.#position = floor;
      sink.restart(floor);
      return 'more';
    }
    const last = rows.length < this.#batch ? level : positionOfLast(rows);
    await sink.deliver(rows, last);
    this.#position = last;
    this.#lastReadMs = clock.now().getTime();
    if (rows.length === this.#batch) return 'more';
    return (await store.isHeldBack(horizon)) ? 'held back' : 'level';
  }

  async #pause(ms: number): Promise<void> {
    if (this.#rung || this.#stopping.signal.aborted) return;
    await new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, ms);
      this.#wake = () => {
        clearTimeout(timer);
        resolve();
      };
    });
    this.#wake = () => undefined;
  }

  async #readHorizon(): Promise<bigint> {
    const { horizon, end } = await this.#deps.store.readSnapshot();
    if (horizon >= end) this.#held = undefined;
    else if (this.#held?.horizon !== horizon) {
      this.#held = { horizon, sinceMs: this.#deps.clock.now().getTime() };
    }
    return horizon;
  }

  /** Exact to the time between two looks. While the database does not answer, what was known last. */
  async #horizonAgeSeconds(): Promise<number> {
    await this.#readHorizon().catch(() => undefined);
    return this.#held === undefined ? 0 : (this.#deps.clock.now().getTime() - this.#held.sinceMs) / 1_000;
  }

  /** While the database does not answer, the time since it last did. */
  async #lagSeconds(): Promise<number> {
    const silent = (this.#deps.clock.now().getTime() - this.#lastReadMs) / 1_000;
    if (this.#position === undefined) return silent;
    const position = this.#position;
    return everywhere('feed reading', () => this.#deps.store.lagSeconds(position)).catch(() => silent);
  }
}

function positionOfLast(rows: readonly FeedRow[]): FeedPosition {
  const last = rows.at(-1);
  if (last === undefined) throw new Error('a full page has rows');
  return wholeRow(last);
}
