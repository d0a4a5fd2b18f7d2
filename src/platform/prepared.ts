/**
 * Prepared statements without naming them by hand: a text that is run again and again on a pool gets a name, so
 * that Postgres parses it once per connection and may keep its plan. Texts are counted first because filters make
 * ever new ones, and a connection never forgets a statement it has prepared.
 */
import pg from 'pg';

/** Runs before a text is worth preparing. */
const PREPARE_AFTER = 5;
/** Names per pool; what comes later is never prepared. */
const MAX_NAMES = 300;
/** Texts counted at once; beyond it counting starts over. */
const MAX_COUNTED = 5_000;

export class StatementNames {
  readonly #names = new Map<string, string>();
  readonly #counts = new Map<string, number>();

  /** The name a text is prepared under; undefined while it is not. */
  nameOf(text: string): string | undefined {
    const name = this.#names.get(text);
    if (name !== undefined || this.#names.size >= MAX_NAMES) return name;
    const count = (this.#counts.get(text) ?? 0) + 1;
    if (count < PREPARE_AFTER) {
      if (this.#counts.size >= MAX_COUNTED) this.#counts.clear();
      this.#counts.set(text, count);
      return undefined;
    }
    this.#counts.delete(text);
    const made = `tw${this.#names.size}`;
    this.#names.set(text, made);
    return made;
  }
}

type Query = (...args: unknown[]) => unknown;
export type Callback = (error: Error | null | undefined, result: unknown) => void;

/**
 * A promise of what is given to a callback. For queries that are made outside of the driver, and for its own: where it
 * sets the callback of a query only after making it, V8 keeps what the query has brought much longer.
 */
export async function promised(run: (done: Callback) => unknown): Promise<unknown> {
  try {
    return await new Promise((resolve, reject) => {
      run((error, result) => {
        if (!error) resolve(result);
        else reject(error);
      });
    });
  } catch (error) {
    // The stack of the caller, not of the socket the answer came from.
    if (error instanceof Error) Error.captureStackTrace(error);
    throw error;
  }
}

/** A client class for one pool: texts with values are prepared once they proved to be frequent. */
export function preparingClient(
  names: StatementNames,
  Client: typeof pg.Client = pg.Client,
): typeof pg.Client {
  class PreparingClient extends Client {
    constructor(config?: string | pg.ClientConfig) {
      super(config);
      const query = this.query.bind(this) as Query;
      const prepared: Query = (...args) => {
        const [text, values, ...rest] = args;
        if (typeof text !== 'string' || !Array.isArray(values)) return query(...args);
        const name = names.nameOf(text);
        const config = { text, values: values as unknown[], ...(name !== undefined && { name }) };
        return rest.length > 0 ? query(config, ...rest) : promised((done) => query(config, done));
      };
      this.query = prepared as typeof this.query;
    }
  }
  return PreparingClient;
}
