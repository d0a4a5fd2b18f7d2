/**
 * Results that are asked for page by page: kept for a moment under a key of everything they are made from, so that the
 * next page finds what the first one computed. Those who ask at once share one computation.
 */
export interface RecentResultsOptions {
  readonly ttlMs: number;
  readonly entries: number;
  /** Results with more rows are given, and not kept. */
  readonly maxRows: number;
  readonly nowMs: () => number;
}

interface Entry<Row> {
  readonly rows: Promise<readonly Row[]>;
  readonly untilMs: number;
}

export class RecentResults<Row> {
  readonly #options: RecentResultsOptions;
  /** The oldest first. */
  readonly #entries = new Map<string, Entry<Row>>();

  constructor(options: RecentResultsOptions) {
    this.#options = options;
  }

  get(key: string, compute: () => Promise<readonly Row[]>): Promise<readonly Row[]> {
    const { ttlMs, entries, maxRows, nowMs } = this.#options;
    const now = nowMs();
    for (const [each, { untilMs }] of this.#entries) if (untilMs <= now) this.#entries.delete(each);
    const known = this.#entries.get(key);
    if (known !== undefined) return known.rows;
    const entry = { rows: compute(), untilMs: now + ttlMs };
    const forget = (): void => {
      if (this.#entries.get(key) === entry) this.#entries.delete(key);
    };
    this.#entries.set(key, entry);
    entry.rows.then((rows) => {
      if (rows.length > maxRows) forget();
    }, forget);
    const [oldest] = this.#entries.keys();
    if (this.#entries.size > entries && oldest !== undefined) this.#entries.delete(oldest);
    return entry.rows;
  }
}
