/**
 * Collects content reads and writes them in batches, off the path of requests. A read of one operation joins what the
 * operation has read before, so that a page of runs is one row. Memory is bounded: when the database cannot keep up,
 * further reads of content are refused rather than unrecorded. A process that is killed loses what it noted in the
 * last two seconds; one that is stopped writes it.
 */
import { Gauge } from 'prom-client';
import type { Registry } from 'prom-client';
import type { Clock } from '../platform/clock.js';
import { isTransient, sqlState } from '../platform/db.js';
import { everywhere } from '../platform/db-scope.js';
import { AppError } from '../platform/errors.js';
import type { Ids } from '../platform/ids.js';
import type { Logger } from '../platform/log.js';
import { MAX_IDS } from './content-read.js';
import type { ContentCaller, ContentNote, ContentReads } from './content-read.js';
import type { ContentReadPartitions } from './content-read-partition.store.js';
import type { ContentReadRow, ContentReadStore } from './content-read.store.js';

export interface ContentReadLogDeps {
  readonly store: Pick<ContentReadStore, 'save'>;
  readonly partitions: Pick<ContentReadPartitions, 'ensure'>;
  readonly registry: Registry;
  readonly clock: Clock;
  readonly ids: Ids;
  readonly log: Logger;
  /** Default 2 s. */
  readonly flushMs?: number;
  /** Ids that may wait to be written. Default 200,000: some 20 MB. */
  readonly maxWaitingIds?: number;
}

/** Rows of one statement, and how many are worth not waiting for the timer. */
const BATCH = 500;
/** Rows that may wait to be written. */
const MAX_WAITING_ROWS = 20_000;
/** A stream goes on for hours: it has a row for each flush, everything else one. */
const CLOSED_BY_FLUSH = 'live';
const LAST_TRIES = 3;
const NO_PARTITION = '23514';

/** One row, and what of it is not written yet. */
interface Entry {
  readonly row: Omit<ContentReadRow, 'objectIds' | 'objectCount' | 'fields'>;
  /** Kept ids, written or not, so that an object counts once. */
  readonly known: Set<string>;
  unwrittenIds: string[];
  unwrittenCount: number;
  fields: Set<string>;
}

export class ContentReadLog implements ContentReads {
  readonly #deps: ContentReadLogDeps;
  readonly #flushMs: number;
  readonly #maxWaitingIds: number;
  /** By operation and type. Operations go with their requests. */
  readonly #entries = new WeakMap<object, Map<string, Entry>>();
  #waiting = new Set<Entry>();
  #waitingIds = 0;
  #timer: NodeJS.Timeout | undefined;
  #flushing: Promise<void> | undefined;

  constructor(deps: ContentReadLogDeps) {
    this.#deps = deps;
    this.#flushMs = deps.flushMs ?? 2_000;
    this.#maxWaitingIds = deps.maxWaitingIds ?? 200_000;
    const rows = (): number => this.#waiting.size;
    new Gauge({
      name: 'tracewell_content_reads_waiting',
      help: 'Operations whose reads of content wait to be recorded.',
      registers: [deps.registry],
      collect() {
        this.set(rows());
      },
    });
  }

  /** Rows that wait to be written. */
  get waiting(): number {
    return this.#waiting.size;
  }

  note(caller: ContentCaller, { type, ids, fields }: ContentNote): void {
    if (ids.length === 0 || fields.length === 0) return;
    if (this.#waitingIds >= this.#maxWaitingIds || this.#waiting.size >= MAX_WAITING_ROWS) {
      throw new AppError('UNAVAILABLE', 'Reads of content cannot be recorded at this moment.');
    }
    const entry = this.#entryOf(caller, type);
    for (const id of ids) {
      if (entry.known.has(id)) continue;
      entry.unwrittenCount += 1;
      if (entry.known.size >= MAX_IDS) continue;
      entry.known.add(id);
      entry.unwrittenIds.push(id);
      this.#waitingIds += 1;
    }
    for (const field of fields) entry.fields.add(field);
    this.#waiting.add(entry);
    if (this.#waiting.size >= BATCH) void this.flush();
    else this.#timer ??= setTimeout(() => void this.flush(), this.#flushMs).unref();
  }

  /** Writes what waits; whoever calls while that goes on waits for the same. Never rejects. */
  flush(): Promise<void> {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#flushing ??= this.#writeAll().finally(() => {
      this.#flushing = undefined;
      if (this.#waiting.size > 0) {
        this.#timer ??= setTimeout(() => void this.flush(), this.#flushMs).unref();
      }
    });
    return this.#flushing;
  }

  /** Writes the rest. Call when nothing reads any more and the database is still there. */
  async close(): Promise<void> {
    for (let tries = 0; tries < LAST_TRIES && (tries === 0 || this.#waiting.size > 0); tries += 1) {
      await this.flush();
    }
    clearTimeout(this.#timer);
    if (this.#waiting.size > 0) {
      this.#deps.log.error(
        { rows: this.#waiting.size },
        'content reads could not be recorded before the end',
      );
    }
  }

  #entryOf(caller: ContentCaller, type: string): Entry {
    const { operation } = caller;
    const byType = operation === undefined ? undefined : this.#entries.get(operation);
    const present = byType?.get(type);
    if (present !== undefined && (operation?.via !== CLOSED_BY_FLUSH || this.#waiting.has(present))) {
      return present;
    }
    const entry = this.#newEntry(caller, type);
    if (byType !== undefined) byType.set(type, entry);
    else if (operation !== undefined) this.#entries.set(operation, new Map([[type, entry]]));
    return entry;
  }

  #newEntry({ workspaceId, keyId, kind, userId, operation }: ContentCaller, type: string): Entry {
    const via = operation?.via ?? 'system';
    const byLink = via === 'link';
    return {
      row: {
        workspaceId,
        id: this.#deps.ids.uuid(),
        readAt: this.#deps.clock.now(),
        caller: byLink || via === 'system' ? via : kind,
        // Of a link the id is the secret itself.
        keyId: byLink || via === 'system' ? null : keyId,
        userId: byLink ? null : (userId ?? null),
        requestId: operation?.requestId ?? '',
        via,
        operation: operation?.name ?? '',
        objectType: type,
      },
      known: new Set(),
      unwrittenIds: [],
      unwrittenCount: 0,
      fields: new Set(),
    };
  }

  async #writeAll(): Promise<void> {
    while (this.#waiting.size > 0) {
      const batch = [...this.#waiting].slice(0, BATCH);
      const rows = batch.map((entry) => this.#take(entry));
      try {
        // Not done for the request whose timer this is.
        await everywhere('content reads', () => this.#save(rows));
      } catch (error) {
        batch.forEach((entry, index) => this.#putBack(entry, rows[index]));
        this.#deps.log.warn({ err: error, waiting: this.#waiting.size }, 'content reads wait to be recorded');
        return;
      }
    }
  }

  /** @throws what may pass. A row that can never be written must not keep all others from it. */
  async #save(rows: readonly ContentReadRow[]): Promise<void> {
    const { store, partitions, clock, log } = this.#deps;
    try {
      await store.save(rows);
    } catch (error) {
      if (isTransient(error)) throw error;
      // The month has no partition where no worker has run for long.
      if (sqlState(error) === NO_PARTITION) await partitions.ensure(clock.now());
      else if (rows.length === 1) {
        log.error({ err: error, requestId: rows[0]?.requestId }, 'a content read cannot be recorded');
        return;
      }
      for (const row of rows) await this.#saveAgain(row);
    }
  }

  async #saveAgain(row: ContentReadRow): Promise<void> {
    try {
      await this.#deps.store.save([row]);
    } catch (error) {
      if (isTransient(error)) throw error;
      this.#deps.log.error({ err: error, requestId: row.requestId }, 'a content read cannot be recorded');
    }
  }

  #take(entry: Entry): ContentReadRow {
    const row = {
      ...entry.row,
      objectIds: entry.unwrittenIds,
      objectCount: entry.unwrittenCount,
      fields: [...entry.fields].sort(),
    };
    this.#waiting.delete(entry);
    this.#waitingIds -= entry.unwrittenIds.length;
    entry.unwrittenIds = [];
    entry.unwrittenCount = 0;
    return row;
  }

  #putBack(entry: Entry, row: ContentReadRow | undefined): void {
    if (row === undefined) return;
    entry.unwrittenIds = [...row.objectIds, ...entry.unwrittenIds];
    entry.unwrittenCount += row.objectCount;
    this.#waitingIds += row.objectIds.length;
    this.#waiting.add(entry);
  }
}
