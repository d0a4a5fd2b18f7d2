/**
 * Carries deliveries from the outbox to the engine: lease, add, delete. A crash in between leaves the lease to
 * expire, and the delivery is added again under the same id, which the engine ignores. Any number may run.
 */
import type pg from 'pg';
import type { Doorbell } from '../doorbell.js';
import type { Logger } from '../log.js';
import type { JobEngine } from './engine.js';
import type { JobStore } from './job.store.js';
import { startLoop } from './loop.js';
import type { Loop } from './loop.js';
import { OUTBOX_TOPIC } from './queue.js';
import { HIGH_WATER } from './redis-guard.js';

const BATCH = 500;
const EVERY_MS = 500;
/** While the engine is full. */
const PRESSED_EVERY_MS = 5_000;

export interface DispatcherOptions {
  readonly pool: pg.Pool;
  readonly store: JobStore;
  readonly engine: JobEngine;
  readonly doorbell: Doorbell;
  readonly log: Logger;
  /** Share of the engine's memory above which deliveries wait here. Default 0.7. */
  readonly highWater?: number;
}

export class OutboxDispatcher {
  private readonly options: DispatcherOptions;
  private loop: Loop | undefined;
  private unlisten: (() => void) | undefined;
  private pressed = false;
  private lookAgainAt = 0;

  constructor(options: DispatcherOptions) {
    this.options = options;
  }

  start(): void {
    const { doorbell, log } = this.options;
    this.loop = startLoop({
      name: 'outbox',
      everyMs: EVERY_MS,
      work: async () => (await this.dispatchOnce()) === BATCH,
      log,
    });
    this.unlisten = doorbell.listen(OUTBOX_TOPIC, () => this.loop?.wake());
  }

  /** Whether the engine is too full to be given more. */
  get isPressed(): boolean {
    return this.pressed;
  }

  /** Carries one batch. Returns how many deliveries; none while the engine is full. */
  async dispatchOnce(): Promise<number> {
    const { pool, store, engine } = this.options;
    if (await this.isFull()) return 0;
    const deliveries = await store.leaseOutbox(pool, BATCH);
    if (deliveries.length === 0) return 0;
    await engine.add(deliveries);
    await store.removeFromOutbox(
      pool,
      deliveries.map((delivery) => delivery.outboxId),
    );
    return deliveries.length;
  }

  async stop(): Promise<void> {
    this.unlisten?.();
    await this.loop?.stop();
  }

  private async isFull(): Promise<boolean> {
    const now = performance.now();
    if (now < this.lookAgainAt) return this.pressed;
    const pressure = await this.options.engine.pressure();
    const pressed = pressure >= (this.options.highWater ?? HIGH_WATER);
    if (pressed !== this.pressed) {
      this.options.log.warn({ pressure }, pressed ? 'job queue is full' : 'job queue has room');
    }
    this.pressed = pressed;
    this.lookAgainAt = now + (pressed ? PRESSED_EVERY_MS : 1_000);
    return pressed;
  }
}
